/* vocab_load.h: a GGUF file's tokenizer.* keys to a vocabulary.
 *
 * Owns the names of the keys and the check of element types and counts. One of the two places
 * where text/ and format/ meet (load.c is the other).
 */
#ifndef IGN_MODEL_VOCAB_LOAD_H
#define IGN_MODEL_VOCAB_LOAD_H

#include "base/err.h"
#include "format/gguf.h"
#include "text/vocab.h"

/* ERR_FORMAT names the key; ERR_UNSUPPORTED an unknown tokenizer model. */
enum err_code vocab_load(struct vocab **v, const struct gguf *g, struct err *e);

/* What a name of tokenizer.ggml.model stands for: the fields `model`, `steps`, `single` of *s;
 * false: it is not known. */
bool vocab_model_find(struct str name, struct vocab_spec *s);

#endif
