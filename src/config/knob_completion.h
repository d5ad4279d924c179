/* knob_completion.h: what a shell needs to complete the words of every verb.
 *
 * Owns three scripts, made from the table and the list of verbs. Refuses to install them.
 */
#ifndef IGN_CONFIG_KNOB_COMPLETION_H
#define IGN_CONFIG_KNOB_COMPLETION_H

#include "config/knobs.h"

/* Appends the script for "bash", "zsh" or "fish"; false if the shell is none of them. */
bool knobs_completion(struct buf *out, struct knob_verbs verbs, const char *shell);

#endif
