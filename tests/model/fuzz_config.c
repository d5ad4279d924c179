/* fuzz_config.c: any bytes as a GGUF file, to a configuration, the angles of its rotation, and what
 * it would take.
 */
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "model/config.h"
#include "model/need.h"

static void demand(bool condition) {
    if (!condition) {
        abort();
    }
}

static void read_on(const struct gguf *g) {
    static float freq[CONFIG_D_HEAD_MAX / 2];
    struct config c;
    struct err e = {0};
    enum err_code rc = config_read(&c, g, &e);
    demand(!rc || (e.code == rc && e.what[0]));
    if (rc) {
        return;
    }
    demand(c.n_layer > 0 && c.n_layer <= CONFIG_LAYER_MAX && c.n_head % c.n_kv == 0);
    demand(c.d_head > 0 && c.n_rot <= c.d_head && isfinite(c.attn_scale));
    demand(c.encoder ? c.n_ctx > 0 && c.n_ctx <= c.n_pos : c.n_rot > 1);
    demand(isfinite(c.attn_cap) && isfinite(c.logit_cap) && c.embed_scale > 0);
    for (int i = 0; i < c.n_layer; i++) {
        demand(!c.local[i] || c.window > 0);
    }
    for (int n_ctx = 1; !c.encoder && n_ctx < 1 << 24; n_ctx *= 64) {
        if (rope_freqs(&c, g, n_ctx, freq, NULL) == ERR_OK) {
            demand(isfinite(freq[0]) && freq[c.n_rot / 2 - 1] >= 0 && isfinite(c.rope_scale));
        }
    }
    if (c.rope_base_local > 0) {
        rope_freqs_local(&c, freq);
        demand(freq[0] == 1 && isfinite(freq[c.n_rot / 2 - 1]));
    }
    struct plan_model p;
    struct model_opts o = {.kv_type = DT_F16};
    demand(need_of_file(&p, g, &c, &o, NULL) == ERR_OK && p.n_layer == c.n_layer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct gguf *g = NULL;
    if (gguf_parse(&g, "fuzz", data, size, NULL) == ERR_OK) {
        if (g->n_tensor > 0) {
            read_on(g);
        }
        gguf_close(g);
    }
    demand(mem_live() == 0);
    return 0;
}
