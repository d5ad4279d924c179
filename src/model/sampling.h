/* sampling.h: how a model's own file says that its tokens are best chosen.
 *
 * Owns the names (general.sampling.* of GGUF files; generation_config.json of folders, which ends
 * up under the same keys) and the bounds, which are those of the flags. Refuses to choose: what a
 * user has set counts more, and what nobody has set is the program's default. Invariant: what is
 * `said` is within its bounds.
 */
#ifndef IGN_MODEL_SAMPLING_H
#define IGN_MODEL_SAMPLING_H

#include "base/json.h"
#include "format/gguf_build.h"

enum sampling_field {
    SAMPLING_TEMPERATURE,
    SAMPLING_TOP_K,
    SAMPLING_TOP_P,
    SAMPLING_MIN_P,
    SAMPLING_REPEAT_PENALTY,
    SAMPLING_N
};

struct sampling_own {
    bool said[SAMPLING_N];
    double value[SAMPLING_N];
};

/* What g says. A value that is no number or out of bounds is not said, and warned of. */
void sampling_read(struct sampling_own *s, const struct gguf *g);
/* The flag that sets a field: "top-k". */
const char *sampling_name(enum sampling_field f);
/* The same from generation_config.json (NULL: there is none) to keys; do_sample = false is a
 * temperature of 0. `where` is the file's path, for warnings. */
void sampling_put(struct gguf_build *b, const struct json *generation, const char *where);

#endif
