/* weights.c: names and shapes of all tensors, in one place.
 *
 * Owns the GGUF names. Shapes in messages are written as in the file, row length first. `get`
 * demands a tensor. The bytes stay where they are mapped: what is built here are tables of
 * addresses, with the model's lifetime. Invariant: a handle that is not 0 has the shape that
 * model.h says.
 */
#include "model/weights.h"

#include <stdio.h>

#include "base/log.h"
#include "model/config.h"
#include "model/encoder_forward.h"

struct binder {
    struct model *m;
    const struct gguf *g;
    bool *used; /* [n_tensor] somebody asked for it */
    struct err *e;
};

struct shape {
    int n_mat;        /* experts, or 1 */
    int n_row, n_col; /* outputs, inputs; a vector has one row */
};

struct name {
    char s[64];
};

/* "blk.LAYER.PART" */
static struct name name_in(int layer, const char *part) {
    struct name n;
    snprintf(n.s, sizeof n.s, "blk.%d.%s", layer, part);
    return n;
}

static enum err_code check_shape(struct binder *b, const struct gguf_tensor *t, const char *name,
                                 struct shape s) {
    if (t->dim[0] == (uint64_t)s.n_col && t->dim[1] == (uint64_t)s.n_row &&
        t->dim[2] == (uint64_t)s.n_mat && t->dim[3] == 1) {
        return ERR_OK;
    }
    enum err_code rc = err_set(
        b->e, ERR_FORMAT,
        "tensor '%s' has the shape [%llu, %llu, %llu, %llu], expected [%d, %d, %d, 1]", name,
        (unsigned long long)t->dim[0], (unsigned long long)t->dim[1], (unsigned long long)t->dim[2],
        (unsigned long long)t->dim[3], s.n_col, s.n_row, s.n_mat);
    if (t->from.n) {
        err_where(b->e, "tensor '%.*s'", (int)(t->from.n < 80 ? t->from.n : 80), t->from.p);
        err_where(b->e, "%s", b->g->path);
    } else {
        err_where(b->e, "%s, offset %llu", b->g->path, (unsigned long long)t->entry);
    }
    return rc;
}

/* Hands n_mat matrices of one type, at mat [n_mat], to the device. */
static enum err_code load(struct binder *b, const struct gguf_tensor *t, const char *name,
                          struct shape s, const void *const *mat, kern_weight *w) {
    struct kern_tensor kt = {
        .name = name,
        .type = (enum dtype)t->type,
        .n_mat = s.n_mat,
        .n_row = s.n_row,
        .n_col = s.n_col,
        .mat = mat,
        .lost = b->g->part ? &b->g->part[t->part].lost : NULL,
    };
    return b->m->kern->load(b->m->dev, &kt, w, b->e);
}

static enum err_code get(struct binder *b, const char *name, struct shape s, kern_weight *w) {
    const struct gguf_tensor *t = gguf_find_tensor(b->g, name);
    if (!t) {
        return hf_missing(b->g, name, b->e);
    }
    b->used[t - b->g->tensor] = true;
    enum err_code rc = check_shape(b, t, name, s);
    if (rc) {
        return rc;
    }
    const void **mat = arena_alloc(&b->m->mem, (size_t)s.n_mat, sizeof *mat);
    if (!mat) {
        return err_set(b->e, ERR_NOMEM, "no memory for the weights' table");
    }
    for (int i = 0; i < s.n_mat; i++) {
        mat[i] = gguf_matrix(t, (uint64_t)i);
    }
    return load(b, t, name, s, mat, w);
}

/* Rows `row` to row + n_row of a matrix that holds more than one: `all` is the shape of the whole.
 */
static enum err_code get_rows(struct binder *b, const char *name, struct shape all, int row,
                              int n_row, kern_weight *w) {
    const struct gguf_tensor *t = gguf_find_tensor(b->g, name);
    if (!t) {
        return hf_missing(b->g, name, b->e);
    }
    enum err_code rc = check_shape(b, t, name, all);
    if (rc) {
        return rc;
    }
    b->used[t - b->g->tensor] = true;
    const void **mat = arena_alloc(&b->m->mem, 1, sizeof *mat);
    if (!mat) {
        return err_set(b->e, ERR_NOMEM, "no memory for the weights' table");
    }
    *mat = t->data + t->bytes / (size_t)all.n_row * (size_t)row;
    return load(b, t, name, (struct shape){1, n_row, all.n_col}, mat, w);
}

static enum err_code get_in(struct binder *b, int layer, const char *part, int n_row, int n_col,
                            kern_weight *w) {
    return get(b, name_in(layer, part).s, (struct shape){1, n_row, n_col}, w);
}

/* The experts' matrices: one tensor for all, or (files of 2023) one tensor for each. */
static enum err_code get_experts(struct binder *b, int layer, const char *part, struct shape s,
                                 kern_weight *w) {
    char stacked[32], single[32];
    snprintf(stacked, sizeof stacked, "%s_exps.weight", part);
    struct name name = name_in(layer, stacked);
    snprintf(single, sizeof single, "%s.0.weight", part);
    if (gguf_find_tensor(b->g, name.s) || !gguf_find_tensor(b->g, name_in(layer, single).s)) {
        return get(b, name.s, s, w);
    }
    const struct gguf_tensor *t = NULL;
    const void **mat = arena_alloc(&b->m->mem, (size_t)s.n_mat, sizeof *mat);
    if (!mat) {
        return err_set(b->e, ERR_NOMEM, "no memory for the weights' table");
    }
    for (int i = 0; i < s.n_mat; i++) {
        snprintf(single, sizeof single, "%s.%d.weight", part, i);
        name = name_in(layer, single);
        const struct gguf_tensor *u = gguf_find_tensor(b->g, name.s);
        if (!u) {
            return hf_missing(b->g, name.s, b->e);
        }
        enum err_code rc = check_shape(b, u, name.s, (struct shape){1, s.n_row, s.n_col});
        if (rc) {
            return rc;
        }
        if (t && u->type != t->type) {
            rc = err_set(b->e, ERR_UNSUPPORTED, "tensor '%s' is %s, the first expert's is %s",
                         name.s, dtype_info(u->type)->name, dtype_info(t->type)->name);
            err_where(b->e, "%s", b->g->path);
            return rc;
        }
        b->used[u - b->g->tensor] = true;
        mat[i] = u->data;
        t = u;
    }
    return load(b, t, name_in(layer, part).s, s, mat, w);
}

static enum err_code bind_ffn(struct binder *b, int i, struct layer *l) {
    const struct config *c = &b->m->cfg;
    enum err_code rc = get_in(b, i, "ffn_norm.weight", 1, c->d_model, &l->ffn_norm);
    if (rc) {
        return rc;
    }
    if (c->n_exp) {
        struct shape in = {c->n_exp, c->d_ff, c->d_model}, out = {c->n_exp, c->d_model, c->d_ff};
        if ((rc = get_in(b, i, "ffn_gate_inp.weight", c->n_exp, c->d_model, &l->w_route)) ||
            (rc = get_experts(b, i, "ffn_gate", in, &l->w_gate)) ||
            (rc = get_experts(b, i, "ffn_up", in, &l->w_up))) {
            return rc;
        }
        return get_experts(b, i, "ffn_down", out, &l->w_down);
    }
    if (c->fused) {
        struct shape all = {1, 2 * c->d_ff, c->d_model};
        if ((rc = get_rows(b, name_in(i, "ffn_up.weight").s, all, 0, c->d_ff, &l->w_gate)) ||
            (rc = get_rows(b, name_in(i, "ffn_up.weight").s, all, c->d_ff, c->d_ff, &l->w_up))) {
            return rc;
        }
    } else if ((rc = get_in(b, i, "ffn_gate.weight", c->d_ff, c->d_model, &l->w_gate)) ||
               (rc = get_in(b, i, "ffn_up.weight", c->d_ff, c->d_model, &l->w_up))) {
        return rc;
    }
    return get_in(b, i, "ffn_down.weight", c->d_model, c->d_ff, &l->w_down);
}

static enum err_code bind_qkv(struct binder *b, int i, struct layer *l) {
    const struct config *c = &b->m->cfg;
    int q = c->n_head * c->d_head, kv = c->n_kv * c->d_head;
    enum err_code rc;
    if (c->fused) {
        struct shape all = {1, q + 2 * kv, c->d_model};
        if ((rc = get_rows(b, name_in(i, "attn_qkv.weight").s, all, 0, q, &l->wq)) ||
            (rc = get_rows(b, name_in(i, "attn_qkv.weight").s, all, q, kv, &l->wk)) ||
            (rc = get_rows(b, name_in(i, "attn_qkv.weight").s, all, q + kv, kv, &l->wv))) {
            return rc;
        }
    } else if ((rc = get_in(b, i, "attn_q.weight", q, c->d_model, &l->wq)) ||
               (rc = get_in(b, i, "attn_k.weight", kv, c->d_model, &l->wk)) ||
               (rc = get_in(b, i, "attn_v.weight", kv, c->d_model, &l->wv))) {
        return rc;
    }
    if (c->qkv_bias && ((rc = get_in(b, i, "attn_q.bias", 1, q, &l->bq)) ||
                        (rc = get_in(b, i, "attn_k.bias", 1, kv, &l->bk)) ||
                        (rc = get_in(b, i, "attn_v.bias", 1, kv, &l->bv)))) {
        return rc;
    }
    if (c->qk_norm && ((rc = get_in(b, i, "attn_q_norm.weight", 1, c->d_head, &l->q_norm)) ||
                       (rc = get_in(b, i, "attn_k_norm.weight", 1, c->d_head, &l->k_norm)))) {
        return rc;
    }
    return ERR_OK;
}

static enum err_code bind_layer(struct binder *b, int i, struct layer *l) {
    const struct config *c = &b->m->cfg;
    int q = c->n_head * c->d_head, d = c->d_model;
    enum err_code rc;
    if ((rc = get_in(b, i, "attn_norm.weight", 1, d, &l->attn_norm)) || (rc = bind_qkv(b, i, l)) ||
        (rc = get_in(b, i, "attn_output.weight", d, q, &l->wo))) {
        return rc;
    }
    if (c->post_norm && ((rc = get_in(b, i, "post_attention_norm.weight", 1, d, &l->attn_post)) ||
                         (rc = get_in(b, i, "post_ffw_norm.weight", 1, d, &l->ffn_post)))) {
        return rc;
    }
    if (c->out_bias && (rc = get_in(b, i, "attn_output.bias", 1, c->d_model, &l->bo))) {
        return rc;
    }
    return bind_ffn(b, i, l);
}

/* The rotation's angles are computed here and loaded like a weight of the file. */
static enum err_code load_angles(struct binder *b, const float *freq, kern_weight *w) {
    struct model *m = b->m;
    const void **mat = arena_alloc(&m->mem, 1, sizeof *mat);
    if (!mat) {
        return err_set(b->e, ERR_NOMEM, "no memory for the rotation's angles");
    }
    *mat = freq;
    struct kern_tensor kt = {.name = "rope_freqs",
                             .type = DT_F32,
                             .n_mat = 1,
                             .n_row = 1,
                             .n_col = m->cfg.n_rot / 2,
                             .mat = mat};
    return m->kern->load(m->dev, &kt, w, b->e);
}

static enum err_code bind_rope(struct binder *b) {
    static const char *const factors[] = {"rope_freqs.weight", "rope_factors_short.weight",
                                          "rope_factors_long.weight"};
    struct model *m = b->m;
    struct rotation *rope = m->w.rope;
    size_t n = (size_t)m->cfg.n_rot / 2;
    float *freq = arena_alloc(&m->mem, 2 * n, sizeof *freq);
    if (!freq) {
        return err_set(b->e, ERR_NOMEM, "no memory for the rotation's angles");
    }
    enum err_code rc = rope_freqs(&m->cfg, b->g, m->kv.n_page * m->kv.page_tok, freq, b->e);
    if (rc || (rc = load_angles(b, freq, &rope[0].freq))) {
        return rc;
    }
    rope[0].scale = m->cfg.rope_scale;
    rope[1] = rope[0];
    for (size_t i = 0; i < sizeof factors / sizeof *factors; i++) {
        const struct gguf_tensor *t = gguf_find_tensor(b->g, factors[i]);
        if (t) {
            b->used[t - b->g->tensor] = true;
        }
    }
    if (m->cfg.rope_base_local == 0) {
        return ERR_OK;
    }
    rope_freqs_local(&m->cfg, freq + n);
    rope[1].scale = 1;
    return load_angles(b, freq + n, &rope[1].freq);
}

/* Tensors that nobody asked for: most likely the file is of a model that this program computes
 * wrongly, so the person is told; but once each, and not a thousand times. */
static void warn_unused(const struct binder *b) {
    size_t n = 0;
    for (size_t i = 0; i < b->g->n_tensor; i++) {
        struct str name = b->g->tensor[i].name;
        if (!b->used[i] && n++ < 8) {
            log_line(LOG_WARN, "%s: tensor '%.*s' is not used", b->g->path, (int)name.n, name.p);
        }
    }
    if (n > 8) {
        log_line(LOG_WARN, "%s: %zu more tensors are not used", b->g->path, n - 8);
    }
}

static enum err_code bind_all(struct binder *b) {
    struct model *m = b->m;
    const struct config *c = &m->cfg;
    struct weights *w = &m->w;
    enum err_code rc;
    struct shape table = {1, c->n_vocab, c->d_model};
    if ((rc = get(b, "token_embd.weight", table, &w->embed)) ||
        (rc = get(b, "output_norm.weight", (struct shape){1, 1, c->d_model}, &w->out_norm)) ||
        (rc = bind_rope(b))) {
        return rc;
    }
    w->out = c->headless ? 0 : w->embed;
    if (!c->tied && !c->headless && (rc = get(b, "output.weight", table, &w->out))) {
        return rc;
    }
    w->layer = arena_zalloc(&m->mem, (size_t)c->n_layer, sizeof *w->layer);
    if (!w->layer) {
        return err_set(b->e, ERR_NOMEM, "no memory for the table of %d layers", c->n_layer);
    }
    for (int i = 0; i < c->n_layer; i++) {
        if ((rc = bind_layer(b, i, &w->layer[i]))) {
            return rc;
        }
    }
    return ERR_OK;
}

/* ---- encoders ----------------------------------------------------------------------------- */

static enum err_code get_norm(struct binder *b, const char *w, const char *bias,
                              struct encoder_norm *n) {
    struct shape s = {1, 1, b->m->cfg.d_model};
    enum err_code rc = get(b, w, s, &n->w);
    return rc ? rc : get(b, bias, s, &n->b);
}

static enum err_code get_norm_in(struct binder *b, int layer, const char *part,
                                 struct encoder_norm *n) {
    char w[48], bias[48];
    snprintf(w, sizeof w, "%s.weight", part);
    snprintf(bias, sizeof bias, "%s.bias", part);
    return get_norm(b, name_in(layer, w).s, name_in(layer, bias).s, n);
}

static enum err_code bind_encoder_layer(struct binder *b, int i, struct encoder_layer *l) {
    int d = b->m->cfg.d_model, ff = b->m->cfg.d_ff;
    const struct {
        const char *part;
        int n_row, n_col;
        kern_weight *w;
    } all[] = {{"attn_q.weight", d, d, &l->wq},        {"attn_q.bias", 1, d, &l->bq},
               {"attn_k.weight", d, d, &l->wk},        {"attn_k.bias", 1, d, &l->bk},
               {"attn_v.weight", d, d, &l->wv},        {"attn_v.bias", 1, d, &l->bv},
               {"attn_output.weight", d, d, &l->wo},   {"attn_output.bias", 1, d, &l->bo},
               {"ffn_up.weight", ff, d, &l->w_up},     {"ffn_up.bias", 1, ff, &l->b_up},
               {"ffn_down.weight", d, ff, &l->w_down}, {"ffn_down.bias", 1, d, &l->b_down}};
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        enum err_code rc = get_in(b, i, all[k].part, all[k].n_row, all[k].n_col, all[k].w);
        if (rc) {
            return rc;
        }
    }
    enum err_code rc = get_norm_in(b, i, "attn_output_norm", &l->attn_norm);
    return rc ? rc : get_norm_in(b, i, "layer_output_norm", &l->layer_norm);
}

static enum err_code bind_encoder(struct binder *b) {
    struct model *m = b->m;
    const struct config *c = &m->cfg;
    struct encoder *enc = arena_zalloc(&m->mem, 1, sizeof *enc);
    enum err_code rc;
    if (!enc || !(enc->layer = arena_zalloc(&m->mem, (size_t)c->n_layer, sizeof *enc->layer))) {
        return err_set(b->e, ERR_NOMEM, "no memory for the table of %d layers", c->n_layer);
    }
    m->enc = enc;
    if ((rc =
             get(b, "token_embd.weight", (struct shape){1, c->n_vocab, c->d_model}, &m->w.embed)) ||
        (rc = get(b, "position_embd.weight", (struct shape){1, c->n_pos, c->d_model},
                  &enc->position)) ||
        (rc = get_norm(b, "token_embd_norm.weight", "token_embd_norm.bias", &enc->embed_norm))) {
        return rc;
    }
    if (c->n_type > 0) {
        struct shape all = {1, c->n_type, c->d_model};
        if ((rc = get_rows(b, "token_types.weight", all, 0, 1, &enc->type))) {
            return rc;
        }
    }
    for (int i = 0; i < c->n_layer; i++) {
        if ((rc = bind_encoder_layer(b, i, &enc->layer[i]))) {
            return rc;
        }
    }
    return ERR_OK;
}

enum err_code weights_bind(struct model *m, struct err *e) {
    struct binder b = {.m = m, .g = m->file, .e = e};
    b.used = mem_zalloc(b.g->n_tensor, sizeof *b.used);
    if (!b.used) {
        return err_set(e, ERR_NOMEM, "no memory to bind %zu tensors", b.g->n_tensor);
    }
    enum err_code rc = m->cfg.encoder ? bind_encoder(&b) : bind_all(&b);
    if (!rc) {
        warn_unused(&b);
    }
    mem_free(b.used);
    return rc;
}
