/* knob_help.h: what the reader of command lines and the writer of help pages share.
 *
 * Owns the rule that says which knobs a verb takes and how a variable is called. Private to
 * config/: everybody else includes config/knobs.h.
 */
#ifndef IGN_CONFIG_KNOB_HELP_H
#define IGN_CONFIG_KNOB_HELP_H

#include "config/knobs.h"

/* Groups in the order of help, a NULL title at the end. */
struct knob_heading {
    unsigned group;
    const char *title;
};
extern const struct knob_heading knob_headings[];

/* "(0..2; default 0.7; IGN_TEMPERATURE)", with only what there is; empty if there is nothing. */
void knob_facts(const struct knob *k, bool is_own, char *out, size_t n);

/* Whether a knob of the table is one of the verb's: of its groups, and not replaced by its own. */
bool knob_of_verb(const struct knob *knob, const struct knob_verb *verb);
/* Whether a knob of the verb is one of its flags, too. */
bool knob_flag_of_verb(const struct knob *knob, const struct knob_verb *verb);
/* The group under whose heading a verb's help has it: of two, the first. */
unsigned knob_group_for(const struct knob *knob, const struct knob_verb *verb);
/* The i-th knob that a verb takes: its own, which are the first n_own, then those of the table;
 * NULL past the last. */
const struct knob *knob_at(const struct knob_verb *verb, size_t i);
/* Whether a file may have it: what the environment may set, but for the name of a file itself. */
bool knob_is_setting(const struct knob *knob);
/* "top-p" -> "IGN_TOP_P". */
void knob_env_name(const struct knob *knob, char out[KNOB_ENV_MAX]);

#endif
