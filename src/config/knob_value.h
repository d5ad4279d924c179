/* knob_value.h: one setting's value, and the text that it is made of.
 *
 * Owns the meaning of a text for each type of knob. Refuses to know where the text comes from.
 * Private to config/: everybody else includes config/knobs.h.
 */
#ifndef IGN_CONFIG_KNOB_VALUE_H
#define IGN_CONFIG_KNOB_VALUE_H

#include "config/knobs.h"

struct value {
    const struct knob *knob;
    enum knob_origin origin;
    bool is_own;
    bool asked;       /* somebody has got its value */
    const char *text; /* as it was given or defaulted; NULL: neither */
    union {
        bool b;
        int64_t i;
        uint64_t u;
        double r;
    };
    const char **flags;       /* of a LIST: what the flags gave, [argc] allocated */
    const char *const *items; /* [n_item] of a LIST, wherever they come from */
    size_t n_item;
    const struct settings_file *file; /* KNOB_FILE: where, */
    int line;                         /* and in which line */
};

/* Sets the value from v->text, which is not NULL, by the knob's type and bounds. `lifted`: max does
 * not count. ERR_RANGE; the caller says where the text stands. */
enum err_code value_set(struct value *v, bool lifted, struct err *e);

/* "512..32768", "64MiB or more", "f16|f32": what a knob takes, in out [n]; empty where anything
 * goes. */
void knob_bounds(const struct knob *k, char *out, size_t n);

#endif
