/* fuzz_hf_settings.c: any text as a folder's generation_config.json and tokenizer_config.json, to
 * keys beside a small vocabulary, and on to what is said of sampling and of the ends of an answer.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "model/config.h"
#include "model/hf.h"
#include "model/sampling.h"
#include "model/vocab_load.h"

enum { N_PIECE = 8 };

static void demand(bool condition) {
    if (!condition) {
        abort();
    }
}

static void check(enum err_code rc, const struct err *e) {
    demand(rc ? e->code == rc && e->what[0] : !e->code);
}

static void read_on(const struct gguf *g) {
    struct sampling_own own;
    struct vocab *v = NULL;
    sampling_read(&own, g);
    for (int i = 0; i < SAMPLING_N; i++) {
        demand(!own.said[i] || (own.value[i] >= 0 && own.value[i] <= INT32_MAX));
    }
    if (vocab_load(&v, g, NULL) == ERR_OK) {
        demand(vocab_bos(v) < N_PIECE && vocab_eos(v) < N_PIECE);
        vocab_free(v);
    }
}

static void put_all(const struct hf_texts *t, struct err *e) {
    static const char *const names[N_PIECE] = {"<unk>", "<s>", "</s>", "<pad>",
                                               "a",     "b",   "ab",   "c"};
    struct hf_vocab v;
    struct gguf_build b;
    struct gguf *g;
    hf_vocab_init(&v, 4096);
    v.spm = true;
    for (uint64_t i = 0; i < N_PIECE; i++) {
        hf_piece_add(&v, i, str_c(names[i]), i < 4, 0, e);
    }
    gguf_build_begin(&b, "fuzz", e);
    enum err_code rc = hf_vocab_put(&b, &v, 0, e);
    rc = rc ? rc : hf_settings_put(&b, &v, t);
    rc = rc ? rc : hf_tokenizer_limit_put(&b, &arch_llama, t->tokenizer, e);
    check(rc, e);
    uint32_t most = hf_known_int(&b, &arch_llama, "truncation_length");
    demand(most == 0 || (most >= 2 && most <= CONFIG_CTX_MAX));
    b.code = rc;
    if (gguf_build_end(&b, &g) == ERR_OK) {
        read_on(g);
        gguf_close(g);
    }
    hf_vocab_fini(&v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct err e = {0};
    struct json *j;
    enum err_code rc = hf_settings((const char *)data, size, &j, &e);
    check(rc, &e);
    if (!rc) {
        struct hf_texts t = {.path = "fuzz", .config = j, .tokenizer = j, .generation = j, .e = &e};
        put_all(&t, &e);
        json_free(j);
    }
    demand(mem_live() == 0);
    return 0;
}
