/* verbs.h: the verbs, each with a file of its own.
 *
 * Owns the list of what main.c can run.
 */
#ifndef IGN_CLI_VERBS_H
#define IGN_CLI_VERBS_H

#include "cli/cli.h"

extern const struct verb verb_generate, verb_chat, verb_inspect, verb_tokenize, verb_detokenize,
    verb_template, verb_logits, verb_perplexity, verb_audit, verb_benchmark, verb_detect,
    verb_doctor, verb_status, verb_initialize, verb_models, verb_config, verb_completion, verb_help,
    verb_version, verb_quantize, verb_imatrix, verb_compare, verb_embed;
/* Started by the program itself, and not in the list. */
extern const struct verb verb_probe;

#endif
