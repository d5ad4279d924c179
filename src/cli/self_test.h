/* self_test.h: whether a model that has been loaded is one.
 *
 * Owns the signs of a broken model: matrices that are zero, scores that are not finite, all the
 * same, or blind to what came before, and an answer of one token repeated. Refuses to judge sense:
 * a model with random weights is legal, and passes; so does one that answers badly.
 * Invariant: every failure says which sign it was.
 */
#ifndef IGN_CLI_SELF_TEST_H
#define IGN_CLI_SELF_TEST_H

#include "cli/answer.h"
#include "format/gguf.h"

enum { SELF_TEST_TOKENS = 50 }; /* as many as the predecessor's, */
#define SELF_TEST_SECONDS 15.0  /* or what a slow machine gets done in this time */

/* ERR_FORMAT names a matrix of the file that holds nothing but zeros: a download that was never
 * finished, a disk that lost it. Cheap where there is none. */
enum err_code self_test_weights(const struct gguf *g, struct err *e);

/* Answers `prompt` (through the chat template, if there is one) with up to SELF_TEST_TOKENS tokens
 * in `a`, which the caller has initialized, and looks at the scores on the way. IGN_DEVICE with the
 * sign that was found; whatever ign_step and ign_encode_chat give. */
ign_status self_test_answer(struct cli *c, ign_model *m, const char *prompt, struct answer *a,
                            ign_error *e);

#endif
