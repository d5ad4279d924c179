/* knob_man.h: the manual, as pages in man(7).
 *
 * Owns ign(1), one ign-VERB(1) for each verb, and ign.toml(5), made from the table. Refuses to
 * install them: the build does.
 */
#ifndef IGN_CONFIG_KNOB_MAN_H
#define IGN_CONFIG_KNOB_MAN_H

#include "config/knobs.h"

/* Each appends one page. */
void knobs_man_program(struct buf *out, struct knob_verbs verbs);
void knobs_man_verb(struct buf *out, const struct knob_verb *verb);
void knobs_man_file(struct buf *out);

#endif
