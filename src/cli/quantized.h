/* quantized.h: --quantization: a model's file with no more bits than were asked for.
 *
 * Owns the comparison of what a file has with what is wanted, and the making of a smaller one in
 * the store, once: the next start finds it there (store/derived.h). Refuses to make anything
 * larger, and to go on without a store: both are errors that say what to do.
 */
#ifndef IGN_CLI_QUANTIZED_H
#define IGN_CLI_QUANTIZED_H

#include "cli/cli.h"
#include "format/gguf.h"
#include "quant/mix.h"

/* What `g` is to become for --quantization, and how large its tensors are then; NULL: it is right
 * as it is. ERR_USAGE: it has fewer bits than that. */
enum err_code quantized_wanted(struct cli *c, const struct gguf *g, const struct mix_kind **kind,
                               uint64_t *bytes, struct err *e);
/* Puts the path (mem_free) of the file that --quantization asks for in the place of *path: the same
 * one, one that is there, or one that is made now. Returns an exit code, the error printed. */
int quantized_path(struct cli *c, char **path);

#endif
