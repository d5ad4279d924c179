/* hparam.h: one number of a model's metadata, with its bounds.
 *
 * Owns the key's full name ("llama.block_count"), the rule for per-layer arrays (taken where all
 * layers agree, refused otherwise) and the message when a value is out of bounds. Private to
 * config.c, rope.c and the descriptors. A value out of bounds is a broken file: ERR_FORMAT.
 */
#ifndef IGN_MODEL_HPARAM_H
#define IGN_MODEL_HPARAM_H

#include "base/err.h"
#include "format/gguf.h"

struct hparam {
    const struct gguf *g;
    const char *arch; /* prefix of the keys */
    int n_layer;      /* length of per-layer arrays; 0: not known yet, arrays are refused */
    struct err *e;
};

#define HPARAM_REQUIRED (-1) /* as `def`: the key must be there */

/* `name` is the key after the architecture's prefix. def is given back unchecked when the key is
 * absent; what the file says must lie in min..max. ERR_FORMAT, ERR_UNSUPPORTED (layers differ). */
enum err_code hparam_int(const struct hparam *h, const char *name, int def, int min, int max,
                         int *out);
/* As hparam_int for a finite real in min..max; NaN never is. */
enum err_code hparam_real(const struct hparam *h, const char *name, double def, double min,
                          double max, double *out);
/* Whether the key is there and a list. */
bool hparam_is_array(const struct hparam *h, const char *name);
/* A list of booleans or integers, one for each layer: out [n_layer]. ERR_FORMAT. */
enum err_code hparam_flags(const struct hparam *h, const char *name, bool *out);
/* The text of a key; empty if absent. */
enum err_code hparam_str(const struct hparam *h, const char *name, struct str *out);

#endif
