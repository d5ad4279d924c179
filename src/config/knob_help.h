/* knob_help.h: what the reader of command lines and the writer of help pages share.
 *
 * Owns the rule that says which knobs a verb takes and how a variable is called. Private to
 * config/: everybody else includes config/knobs.h.
 */
#ifndef IGN_CONFIG_KNOB_HELP_H
#define IGN_CONFIG_KNOB_HELP_H

#include "config/knobs.h"

#define KNOB_ENV_MAX 64

/* Whether a knob of the table is one of the verb's: of its groups, and not replaced by its own. */
bool knob_of_verb(const struct knob *knob, const struct knob_verb *verb);
/* "top-p" -> "IGN_TOP_P". */
void knob_env_name(const struct knob *knob, char out[KNOB_ENV_MAX]);

#endif
