/* open_model.h: from --model to something that can be asked.
 *
 * Owns the two ways of opening: the tokenizer of a file alone, and a model that computes, with the
 * options of the command line. Refuses to choose for the user: what does not fit or is not there
 * is an error with a hint.
 */
#ifndef IGN_CLI_OPEN_MODEL_H
#define IGN_CLI_OPEN_MODEL_H

#include "cli/cli.h"
#include "format/gguf.h"
#include "model/model.h"
#include "text/tokenizer.h"
#include "text/vocab.h"

/* Path (mem_free) of `name`: a path, a name in the store (--store, else the user's data folder), or
 * with NULL the demo model. */
enum err_code model_path_find(struct cli *c, const char *name, char **path, struct err *e);

/* The same for a file that is to be loaded: with no more bits than --quantization says, made where
 * need be. Returns an exit code, the error printed. */
int model_path_ready(struct cli *c, const char *name, char **path);

/* The folder of running programs and of the last benchmark: --state, else the user's; its text is
 * given or in `b`. NULL where there is no home. */
const char *state_folder(struct cli *c, struct buf *b);
/* The folder of models likewise: --store, else the user's. */
const char *store_folder(struct cli *c, struct buf *b);

/* A file's tokenizer: enough for text and ids. Its weights are not looked at, and need not be
 * there. */
struct text_model {
    struct gguf *file;
    struct vocab *vocab;
    struct tokenizer *tok;
};

/* With --model. Returns an exit code, the error printed. */
int text_model_open(struct cli *c, struct text_model *t);
void text_model_close(struct text_model *t); /* a half-opened one is fine */

/* What the KV cache is to hold: --kv-type; f32 with --device plain; NULL: what fits. */
const char *kv_type_wanted(const struct cli *c);

/* Positions that any model may be given, whatever it was trained for. */
enum { CONTEXT_FREE = 32768 };
/* ERR_RANGE: `asked` positions by `flag` are more than that, and than the model's n_ctx. */
enum err_code context_refuse(int64_t asked, int n_ctx, const char *flag, struct err *e);

/* Opens --model with the flags of the machine; prints its sizes before it loads (the log does) and
 * ends the program on Ctrl-C meanwhile. `context`: positions, 0 for --context or its default.
 * Returns an exit code, the error printed. */
int engine_model_open(struct cli *c, int context, ign_model **m);
/* The same for a file that has been found, its context and batch settled; 0: as the flags say. */
int engine_file_open(struct cli *c, const char *path, int context, int batch, ign_model **m);
/* What loading is to be planned with, as the flags say: device, level, type of the KV cache. */
void engine_plan_options(struct cli *c, struct model_opts *o);

#endif
