/* hf_steps.h: the steps of a tokenizer.json, its "normalizer" and "pre_tokenizer", as plain data.
 *
 * Owns the reading of those two parts; a GGUF file that no common keys describe carries them as
 * they stood (tokenizer.ign.normalizer, tokenizer.ign.pre_tokenizer) and is read by the same code.
 * What would change ids and is not known is refused with its place in the file.
 */
#ifndef IGN_MODEL_HF_STEPS_H
#define IGN_MODEL_HF_STEPS_H

#include "base/json.h"
#include "base/mem.h"
#include "text/normalizer.h"
#include "text/splitter.h"

struct hf_steps {
    struct norm_step *norm; /* [n_norm] */
    uint32_t n_norm;
    struct split_step *split; /* [n_split] */
    uint32_t n_split;
    bool bytes;       /* the last step is ByteLevel: the model sees bytes, and not characters */
    struct arena mem; /* of all of it */
};

void hf_steps_init(struct hf_steps *s);
void hf_steps_fini(struct hf_steps *s);
/* Reads the two parts, each of which may be NULL. ERR_FORMAT, ERR_UNSUPPORTED, ERR_LIMIT
 * (a string to look for), ERR_NOMEM. */
enum err_code hf_steps_read(struct hf_steps *s, const struct json *normalizer,
                            const struct json *pre_tokenizer, struct err *e);

#endif
