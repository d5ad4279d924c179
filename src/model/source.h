/* source.h: a model, whatever it lies in: one GGUF file, a split set, or a Hugging Face folder.
 *
 * Owns the choice between them. All give the same thing, a GGUF directory (format/gguf.h): keys
 * and tensors under GGUF's names, data where the files are mapped. So there is one path from here
 * on. What a folder's directory has that a file's has not: version 0; rope_halves, where the rows
 * of Q and K are not in the order that files of this architecture have; tensors whose matrices lie
 * apart (gguf_matrix); own_output, that an output matrix is missed; `from` and `shards`, the names
 * in the folder.
 */
#ifndef IGN_MODEL_SOURCE_H
#define IGN_MODEL_SOURCE_H

#include "format/gguf.h"

/* Whether `path` is a folder (and not a file, or nothing). */
bool source_is_folder(const char *path);
/* ERR_NOTFOUND, ERR_IO, ERR_FORMAT (file, place, field), ERR_UNSUPPORTED (pickled weights, an
 * unknown tokenizer), ERR_LIMIT, ERR_NOMEM. `copy`: into memory, not mapped. gguf_close closes. */
enum err_code source_open(struct gguf **g, const char *path, bool copy, struct err *e);

#endif
