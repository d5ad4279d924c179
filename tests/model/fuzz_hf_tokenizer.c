/* fuzz_hf_tokenizer.c: any bytes as a tokenizer.json (where they begin with a brace) or as a
 * tokenizer.model, to pieces, keys, a vocabulary and the ids of a text.
 */
#include <stdlib.h>
#include <string.h>

#include "model/hf.h"
#include "model/vocab_load.h"
#include "text/tokenizer.h"

static void demand(bool condition) {
    if (!condition) {
        abort();
    }
}

static void encode(const struct gguf *g) {
    static const char text[] = "ab a\xE2\x96\x81 <s>x</s> \xC3\xA9 12\n";
    struct vocab *v = NULL;
    struct tokenizer *t = NULL;
    struct ids ids = {0};
    if (!vocab_load(&v, g, NULL) && !tokenizer_create(&t, v, NULL)) {
        enum err_code rc =
            tokenizer_encode(t, text, sizeof text - 1, NULL, true, BOS_AUTO, 0, &ids, NULL);
        for (size_t i = 0; !rc && i < ids.n; i++) {
            demand(ids.id[i] >= 0 && (uint32_t)ids.id[i] < vocab_size(v));
        }
    }
    ids_fini(&ids);
    tokenizer_free(t);
    vocab_free(v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct hf_vocab v;
    struct gguf_build b;
    struct gguf *g;
    struct err e = {0};
    hf_vocab_init(&v, size);
    enum err_code rc = size && data[0] == '{' ? hf_tokenizer_json(&v, (const char *)data, size, &e)
                                              : hf_tokenizer_model(&v, data, size, &e);
    demand(!rc || (e.code == rc && e.what[0]));
    if (!rc) {
        gguf_build_begin(&b, "fuzz", &e);
        hf_vocab_put(&b, &v, 0, &e);
        if (gguf_build_end(&b, &g) == ERR_OK) {
            encode(g);
            gguf_close(g);
        }
    }
    hf_vocab_fini(&v);
    demand(mem_live() == 0);
    return 0;
}
