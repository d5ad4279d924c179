/* fuzz_hf_config.c: any text as a folder's config.json, to keys and on to a configuration.
 *
 * Embedding table and output matrix are there, so that config_read gets as far as it can.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/config.h"

static void demand(bool condition) {
    if (!condition) {
        abort();
    }
}

static void read_on(struct gguf_build *b) {
    static const float row[64] = {0};
    struct gguf *g;
    struct config c;
    struct gguf_tensor t = {.name = str_c("token_embd.weight"),
                            .type = DT_F32,
                            .n_dim = 2,
                            .dim = {64, 1, 1, 1},
                            .data = (const uint8_t *)row,
                            .bytes = sizeof row};
    gguf_build_tensor(b, &t);
    if (gguf_build_end(b, &g) == ERR_OK) {
        if (config_read(&c, g, NULL) == ERR_OK) {
            float freq[CONFIG_D_HEAD_MAX / 2];
            demand(c.n_layer > 0 && c.n_head > 0 && c.n_kv > 0 && c.d_head > 0);
            if (rope_freqs(&c, g, c.n_ctx, freq, NULL) == ERR_OK) {
                demand(isfinite(freq[0]) && isfinite(c.rope_scale));
            }
        }
        gguf_close(g);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct gguf_build b;
    struct json *root;
    struct err e = {0};
    const struct arch *a;
    if (json_parse((const char *)data, size, &root, NULL) == ERR_OK) {
        gguf_build_begin(&b, "fuzz", &e);
        enum err_code rc = hf_config(&b, &a, root, "config.json", &e);
        demand(!rc || (e.code == rc && e.what[0]));
        if (rc) {
            struct gguf *g;
            b.code = rc;
            demand(gguf_build_end(&b, &g) != ERR_OK);
        } else {
            read_on(&b);
        }
        json_free(root);
    }
    demand(mem_live() == 0);
    return 0;
}
