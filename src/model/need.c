/* need.c: see need.h.
 */
#include "model/need.h"

#include <stdio.h>
#include <string.h>

#include "model/config.h"
#include "model/cost.h"
#include "model/vocab_load.h"

#if defined(IGN_TORTURE)
enum { PAGE_TOK = 2 }; /* give page borders a chance */
#else
enum { PAGE_TOK = 32 };
#endif
enum { CONTEXT = 4096, MAX_TOK = 512, MAX_OUT = 64 };

static int or_default(int v, int def) {
    return v ? v : def;
}

struct model_opts need_settle(const struct config *c, const struct model_opts *o) {
    struct model_opts r = *o;
    r.n_ctx = or_default(o->n_ctx, c->n_ctx < CONTEXT ? c->n_ctx : CONTEXT);
    r.max_tok = or_default(o->max_tok, MAX_TOK);
    if (c->encoder) { /* a text is computed in one step, or not at all */
        r.n_ctx = r.n_ctx < c->n_ctx ? r.n_ctx : c->n_ctx;
        r.max_tok = r.max_tok > r.n_ctx ? r.max_tok : r.n_ctx;
    }
    r.max_out = or_default(o->max_out, MAX_OUT);
    r.page_tok = or_default(o->page_tok, PAGE_TOK);
    return r;
}

struct kern_kv need_kv(const struct config *c, const struct model_opts *o) {
    return (struct kern_kv){
        .n_layer = c->n_layer,
        .n_kv = c->n_kv,
        .d_head = c->d_head,
        .page_tok = o->page_tok,
        .n_page = c->encoder ? 0 : (o->n_ctx + o->page_tok - 1) / o->page_tok,
        .type = o->kv_type,
        .n_all = c->encoder ? o->n_ctx : 0,
    };
}

void need_buffers(struct need_buffer w[NEED_BUFFER], struct buffers *b, const struct config *c,
                  const struct model_opts *o) {
    uint64_t tok = (uint64_t)o->max_tok, out = (uint64_t)o->max_out, d = (uint64_t)c->d_model;
    uint64_t q = (uint64_t)c->n_head * (uint64_t)c->d_head;
    uint64_t kv = (uint64_t)c->n_kv * (uint64_t)c->d_head;
    uint64_t exp = (uint64_t)c->n_exp, used = (uint64_t)c->n_used;
    uint64_t ff = (used ? used : 1) * (uint64_t)c->d_ff;
    uint64_t wide = tok * (ff > q ? ff : q); /* for feed forward and attention in turn */
    uint64_t decodes = !c->encoder;          /* an encoder has no use for the rest */
    uint64_t makes_text = config_has_logits(c);
    const struct need_buffer list[NEED_BUFFER] = {
        {&b->x, tok * d},
        {&b->h, decodes * tok * d},
        {&b->k, tok * kv},
        {&b->v, tok * kv},
        {&b->gate, wide},
        {&b->up, wide},
        {&b->exp_logit, tok * exp},
        {&b->exp_sel, tok * used * 2},
        {&b->exp_down, tok * used * d},
        {&b->xo, makes_text * out * d},
        {&b->logits, makes_text * out * (uint64_t)c->n_vocab},
    };
    memcpy(w, list, sizeof list);
}

enum err_code need_device(const struct kern **k, const char *name, struct err *e) {
    if (!name || !strcmp(name, "auto")) {
        *k = kern_list[0];
        return ERR_OK;
    }
    *k = kern_find(name);
    if (*k) {
        return ERR_OK;
    }
    char known[96] = "";
    size_t n = 0;
    for (const struct kern *const *p = kern_list; *p && n < sizeof known; p++) {
        n += (size_t)snprintf(known + n, sizeof known - n, ", %s", (*p)->name);
    }
    err_set(e, ERR_USAGE, "no device is called '%s'", name);
    err_hint(e, "this program knows: auto%s", known);
    return ERR_USAGE;
}

/* ---- scratch as a straight line -----------------------------------------------------------------
 */

struct asker {
    const struct kern *k;
    const struct config *c;
    const struct model_opts *o; /* settled */
    const struct kern_tensor *t;
    size_t n;
};

static uint64_t ask(const struct asker *a, int max_tok, int n_thread, int n_ctx) {
    struct model_opts r = *a->o;
    struct buffers none;
    struct need_buffer w[NEED_BUFFER];
    r.max_tok = max_tok;
    r.n_ctx = n_ctx;
    struct kern_opts ko = {
        .n_thread = n_thread, .max_tok = max_tok, .max_out = r.max_out, .level = r.cpu_level};
    struct kern_kv kv = need_kv(a->c, &r);
    uint64_t sum = a->k->scratch_bytes(&ko, a->t, a->n, &kv);
    need_buffers(w, &none, a->c, &r);
    for (int i = 0; i < NEED_BUFFER; i++) {
        sum += w[i].n * sizeof(float);
    }
    return sum;
}

/* Four questions give the four coefficients: the back end's sizes are linear, in multiples of its
 * tiles, from MAX_OUT tokens on. With experts they are below the line for as few tokens as no tile
 * is made of (few_row in kern/cpu). */
static struct plan_scratch line_of(const struct asker *a) {
    enum { TOK = 768, CTX = 1024 };
    uint64_t base = ask(a, TOK, 1, CTX);
    struct plan_scratch s = {
        .per_tok = (ask(a, 2 * TOK, 1, CTX) - base) / TOK,
        .per_thread_pos = (ask(a, TOK, 1, 2 * CTX) - base) / CTX,
    };
    s.per_thread = ask(a, TOK, 2, CTX) - base - s.per_thread_pos * CTX;
    s.fixed = base - s.per_tok * TOK - s.per_thread - s.per_thread_pos * CTX;
    return s;
}

/* ---- a file -------------------------------------------------------------------------------------
 */

enum plan_quant need_quant(enum dtype type) {
    const struct dtype_info *t = dtype_info(type);
    double bits = 8.0 * t->bytes / t->block;
    return bits <= 6 ? PLAN_INT4 : bits <= 9 ? PLAN_INT8 : bits <= 16 ? PLAN_FP16 : PLAN_FP32;
}

static bool is_layer(const struct gguf_tensor *t) {
    return t->name.n > 4 && memcmp(t->name.p, "blk.", 4) == 0 && t->n_dim > 1;
}

enum dtype need_type(const struct gguf *g) {
    uint64_t sum[DT_MAX] = {0};
    uint32_t most = DT_F32;
    for (size_t i = 0; i < g->n_tensor; i++) {
        const struct gguf_tensor *t = &g->tensor[i];
        if (is_layer(t)) {
            sum[t->type] += t->dim[0] * t->dim[1] * t->dim[2];
            most = sum[t->type] > sum[most] ? t->type : most;
        }
    }
    return (enum dtype)most;
}

static uint64_t strings_of(const struct gguf *g, const char *key, uint32_t *n) {
    const struct gguf_kv *kv = gguf_find(g, key);
    if (!kv || kv->type != GGUF_ARRAY || kv->elem != GGUF_STRING || kv->n > UINT32_MAX) {
        return 0; /* vocab_load says what is wrong */
    }
    *n = (uint32_t)kv->n;
    return kv->bytes - kv->n * sizeof(uint64_t);
}

/* Vocabulary and tokenizer, and what they were read from: the file's pages, which stay mapped, or
 * what a built directory holds. */
static uint64_t text_of(const struct gguf *g, uint64_t tensor_bytes) {
    struct vocab_spec s = {.model = VOCAB_SPM};
    struct str name = {0}, pre = {0};
    uint64_t text = strings_of(g, "tokenizer.ggml.tokens", &s.n_vocab), file = g->own.used;
    strings_of(g, "tokenizer.ggml.merges", &s.n_merge);
    if (!gguf_get_str(g, "tokenizer.ggml.model", &name, NULL)) {
        vocab_model_find(name, &s); /* or else vocab_load says what is wrong */
    }
    if (!gguf_get_str(g, "tokenizer.ggml.pre", &pre, NULL)) {
        s.pre = pre;
    }
    bool whole = false;
    if (gguf_find(g, "tokenizer.ign.ignore_merges") &&
        !gguf_get_bool_or(g, "tokenizer.ign.ignore_merges", false, &whole, NULL)) {
        s.whole_words = whole ? 1 : -1;
    }
    uint64_t flags = gguf_find(g, "tokenizer.ign.token_flags") ? s.n_vocab : 0;
    for (size_t i = 0; i < g->n_part; i++) {
        file += g->part[i].size;
    }
    return vocab_need(&s, text) + flags + tokenizer_need(&s, text) +
           (file > tensor_bytes ? file - tensor_bytes : 0);
}

static bool is_factors(struct str name) {
    return str_is(name, "rope_freqs.weight") || str_starts(name, "rope_factors_");
}

static int count_factors(const struct gguf *g) {
    int n = 0;
    for (size_t i = 0; i < g->n_tensor; i++) {
        n += is_factors(g->tensor[i].name);
    }
    return n;
}

static void copy_shape(struct plan_model *p, const struct gguf *g, const struct config *c) {
    struct str name = {0};
    *p = (struct plan_model){
        .n_layer = c->n_layer,
        .d_model = c->d_model,
        .n_head = c->n_head,
        .n_kv = c->encoder ? 0 : c->n_kv, /* of which nothing is kept */
        .d_head = c->d_head,
        .d_ff = c->d_ff,
        .n_vocab = c->n_vocab,
        .n_ctx = c->n_ctx,
        .n_exp = c->n_exp,
        .n_used = c->n_used,
        .tied = c->tied || c->headless, /* no second matrix of n_vocab rows */
        .bias = c->qkv_bias,
        .qk_norm = c->qk_norm,
        .post_norm = c->post_norm,
        .fused = c->fused,
        .n_factors = count_factors(g),
        .is_file = true,
    };
    gguf_get_str(g, "general.name", &name, NULL);
    snprintf(p->name, sizeof p->name, "%.*s", (int)(name.n < 63 ? name.n : 63), name.p);
}

/* What is loaded of a file, as weights.c does it: a fused matrix is several weights, and angles are
 * computed from factors. t [n_tensor * PARTS + N_ANGLES]; returns how many there are. */
enum { PARTS = 3, N_ANGLES = 2 };

static size_t list_weights(struct kern_tensor *t, const struct gguf *g, const struct config *c) {
    size_t n = 0;
    for (size_t i = 0; i < g->n_tensor; i++) {
        const struct gguf_tensor *u = &g->tensor[i];
        bool qkv = c->fused && str_ends(u->name, ".attn_qkv.weight");
        int parts = qkv ? PARTS : c->fused && str_ends(u->name, ".ffn_up.weight") ? 2 : 1;
        for (int k = 0; k < parts && !is_factors(u->name); k++) {
            t[n++] = (struct kern_tensor){.type = (enum dtype)u->type,
                                          .n_mat = (int)u->dim[2],
                                          .n_row = (int64_t)u->dim[1] / parts,
                                          .n_col = (int64_t)u->dim[0]};
        }
    }
    int angles = c->encoder ? 0 : c->rope_base_local > 0 ? N_ANGLES : 1;
    for (int k = 0; k < angles; k++) {
        t[n++] =
            (struct kern_tensor){.type = DT_F32, .n_mat = 1, .n_row = 1, .n_col = c->n_rot / 2};
    }
    return n;
}

enum err_code need_of_file(struct plan_model *p, const struct gguf *g, const struct config *c,
                           const struct model_opts *o, struct err *e) {
    struct model_opts r = need_settle(c, o);
    struct asker a = {.c = c, .o = &r};
    enum err_code rc = need_device(&a.k, o->device, e);
    if (rc) {
        return rc;
    }
    struct kern_tensor *t = mem_zalloc(g->n_tensor * PARTS + N_ANGLES, sizeof *t);
    if (!t) {
        return err_set(e, ERR_NOMEM, "no memory for a list of %zu tensors", g->n_tensor);
    }
    copy_shape(p, g, c);
    plan_sizes(p);
    enum dtype type = need_type(g);
    p->file_quant = need_quant(type);
    snprintf(p->file_type, sizeof p->file_type, "%s", dtype_info(type)->name);
    p->weights_bytes[p->file_quant] = 0;
    for (size_t i = 0; i < g->n_tensor; i++) {
        const struct gguf_tensor *u = &g->tensor[i];
        p->weights_bytes[p->file_quant] += u->bytes;
    }
    a.n = list_weights(t, g, c);
    struct model_cost cost;
    model_cost(&cost, g, c, DT_F16);
    p->active_bytes[p->file_quant] = (uint64_t)cost.weights_bytes;
    p->text_bytes = text_of(g, p->weights_bytes[p->file_quant]);
    a.t = t;
    struct plan_scratch line = line_of(&a);
    for (int q = 0; q < PLAN_QUANT_N; q++) { /* the others differ by little, and are not run */
        p->scratch[q] = line;
    }
    mem_free(t);
    return ERR_OK;
}

/* ---- a name -------------------------------------------------------------------------------------
 */

enum err_code need_of_name(struct plan_model *p, const char *name, const struct model_opts *o,
                           struct err *e) {
    static const enum dtype type[PLAN_QUANT_N] = {DT_F32, DT_F16, DT_Q8_0, DT_Q4_K};
    const struct kern *k;
    enum err_code rc = need_device(&k, o->device, e);
    if (rc || (rc = plan_known(p, name, e))) {
        return rc;
    }
    const struct config c = {
        .n_layer = p->n_layer,
        .d_model = p->d_model,
        .n_head = p->n_head,
        .n_kv = p->n_kv,
        .d_head = p->d_head,
        .d_ff = p->d_ff,
        .n_vocab = p->n_vocab,
        .n_ctx = p->n_ctx,
        .n_exp = p->n_exp,
        .n_used = p->n_used,
    };
    struct model_opts r = need_settle(&c, o);
    int n_exp = c.n_exp ? c.n_exp : 1;
    for (int q = 0; q < PLAN_QUANT_N; q++) {
        /* the widest rows decide, and Q6_K has the largest panels of Q4_K_M */
        const struct kern_tensor t[] = {
            {.type = type[q], .n_mat = n_exp, .n_row = c.d_model, .n_col = c.d_ff},
            {.type = type[q], .n_mat = 1, .n_row = c.d_model, .n_col = c.n_head * c.d_head},
            {.type = q == PLAN_INT4 ? DT_Q6_K : type[q],
             .n_mat = n_exp,
             .n_row = c.d_model,
             .n_col = c.d_ff},
        };
        struct asker a = {.k = k, .c = &c, .o = &r, .t = t, .n = sizeof t / sizeof *t};
        p->scratch[q] = line_of(&a);
    }
    return ERR_OK;
}
