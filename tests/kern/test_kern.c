/* test_kern.c: the back ends through their table: cpu against plain, and against itself.
 *
 * Owns one small scene per operation. cpu may differ from plain by what int8 activations cost,
 * bounded here from the weights and activations themselves; with other thread counts, chunks and
 * batches it must not differ at all. Kernels alone are kern_check's.
 */
#include "blocks.h"
#include "kern/cpu/micro.h"
#include "kern/host.h"
#include "rig.h"

/* Steps of one or more sequences laid out in pages that are not in order. */
enum { MAX_TOK = 64, PAGE_TOK = 8, N_PAGE = 40, PAGES_OF_SEQ = 12 };

struct steps {
    int32_t tok[MAX_TOK], pos[MAX_TOK], seq[MAX_TOK], out[MAX_TOK];
    int32_t page[3 * PAGES_OF_SEQ], page_start[4];
    struct step s;
};

/* Tokens of sequence q from position p0 on are added to the step. */
static void steps_add(struct steps *t, int seq, int p0, int n) {
    for (int i = 0; i < n; i++) {
        int at = t->s.n_tok++;
        t->tok[at] = (seq * 31 + p0 + i) % 17;
        t->pos[at] = p0 + i;
        t->seq[at] = seq;
        t->out[at] = at;
    }
}

static void steps_init(struct steps *t, int n_seq) {
    memset(t, 0, sizeof *t);
    for (int i = 0; i < 3 * PAGES_OF_SEQ; i++) {
        t->page[i] = (i * 7 + 3) % (3 * PAGES_OF_SEQ);
    }
    for (int i = 0; i <= n_seq; i++) {
        t->page_start[i] = i * PAGES_OF_SEQ;
    }
    t->s = (struct step){.n_seq = n_seq,
                         .tok = t->tok,
                         .pos = t->pos,
                         .seq = t->seq,
                         .out = t->out,
                         .page = t->page,
                         .page_start = t->page_start};
}

static void steps_rows(struct steps *t, int n) {
    steps_init(t, 1);
    steps_add(t, 0, 0, n);
    t->s.n_out = n;
}

/* ---- matmul ---------------------------------------------------------------------------------- */

/* y = W x + b on one device. */
static float *matmul_on(const char *name, const char *level, int n_thread, enum dtype type,
                        const uint8_t *w, int64_t n_row, int64_t n_col, const float *x, int n,
                        const float *bias) {
    struct rig r = rig_open(name, level, n_thread, MAX_TOK);
    const void *mat[1] = {w}, *vec[1] = {bias};
    kern_weight weight = rig_load(&r, type, 1, n_row, n_col, mat);
    kern_weight b = rig_load(&r, DT_F32, 1, 1, n_row, vec);
    struct err e = {0};
    assert_int_equal(r.k->ready(r.d, &e), ERR_OK);
    kern_ref xr = rig_alloc(&r, (size_t)n * (size_t)n_col, x);
    kern_ref yr = rig_alloc(&r, (size_t)n * (size_t)n_row, NULL);
    float *y = mem_alloc((size_t)n * (size_t)n_row, sizeof *y);
    struct steps t;
    steps_rows(&t, n);
    r.k->begin(r.d, &t.s);
    r.k->matmul(r.d, yr, xr, weight, b, ROWS_TOK, false);
    r.k->matmul(r.d, yr, xr, weight, 0, ROWS_OUT, true);
    run_end(&r);
    r.k->read(r.d, yr, y, (size_t)n * (size_t)n_row);
    rig_close(&r);
    return y;
}

/* What rounding the activations to int8 may cost: half a step per element, a step being the half's
 * largest over 127, rounded up to a multiple of the row's over 127 * MICRO_MUL. */
static float matmul_bound(enum dtype type, const uint8_t *w, int64_t n_col, const float *x) {
    float *wf = mem_alloc((size_t)n_col, sizeof *wf);
    double bound = 0, top = 0;
    quant_decode(type, w, wf, (size_t)n_col);
    for (int64_t i = 0; i < n_col; i++) {
        top = fabs((double)x[i]) > top ? fabs((double)x[i]) : top;
    }
    for (int64_t i = 0; i < n_col; i++) {
        bound += 2e-6 * fabs((double)wf[i] * x[i]);
        if (type != DT_F32 && type != DT_F16 && type != DT_BF16) {
            double half = 0;
            for (int64_t j = i / 16 * 16; j < i / 16 * 16 + 16; j++) {
                half = fabs((double)x[j]) > half ? fabs((double)x[j]) : half;
            }
            bound += 0.5001 * fabs((double)wf[i]) * (half / 127 + top / (127.0 * MICRO_MUL));
        }
    }
    mem_free(wf);
    return (float)(2 * bound + 1e-6); /* the test adds the product twice */
}

static void matmul_case(struct rng *g, enum dtype type, int64_t n_row, int64_t n_col, int n) {
    uint8_t *w = mem_alloc(blocks_size(type, n_row, n_col), 1);
    size_t row_bytes = blocks_size(type, 1, n_col);
    blocks_fill(g, type, BLOCKS_RANDOM, n_row, n_col, w);
    float *x = floats(g, (size_t)n * (size_t)n_col, 2.0f), *b = floats(g, (size_t)n_row, 1.0f);
    x[0] *= 50; /* an outlier */
    float *want = matmul_on("plain", NULL, 1, type, w, n_row, n_col, x, n, b);
    float *got = matmul_on("cpu", NULL, 1, type, w, n_row, n_col, x, n, b);
    for (int t = 0; t < n; t++) {
        float *solo =
            matmul_on("cpu", NULL, 2, type, w, n_row, n_col, x + (size_t)t * (size_t)n_col, 1, b);
        assert_same(got + (size_t)t * (size_t)n_row, solo, (size_t)n_row);
        mem_free(solo);
        for (int64_t i = 0; i < n_row; i++) {
            size_t at = (size_t)t * (size_t)n_row + (size_t)i;
            float bound =
                matmul_bound(type, w + (size_t)i * row_bytes, n_col, x + (size_t)t * (size_t)n_col);
            assert_near(got + at, want + at, 1, bound);
        }
    }
    for (int i = 0; micro_level(i) != NULL; i++) {
        const char *level = micro_level(i);
        struct micro m;
        if (micro_choose(&m, level, NULL) == ERR_OK) {
            float *two = matmul_on("cpu", level, 2, type, w, n_row, n_col, x, n, b);
            assert_same(got, two, (size_t)n * (size_t)n_row);
            mem_free(two);
        }
    }
    mem_free(w);
    mem_free(x);
    mem_free(b);
    mem_free(want);
    mem_free(got);
}

static void test_matmul(void **state) {
    (void)state;
    static const int tokens[] = {1, 2, 3, 6, 11, MICRO_TOKS + 1}; /* two tiles at every level */
    struct rng g;
    rng_seed(&g, 1);
    for (int i = 0; i < BLOCKS_TYPES; i++) {
        unsigned block = dtype_info(blocks_types[i])->block;
        int64_t odd = block == 256 ? 768 : block == 32 ? 352 : 203;
        for (size_t n = 0; n < sizeof tokens / sizeof tokens[0]; n++) {
            matmul_case(&g, blocks_types[i], 37, odd, tokens[n]);
        }
        matmul_case(&g, blocks_types[i], 2, 256, 7);
        matmul_case(&g, blocks_types[i], 1, 256, 7); /* a matrix of one row is no mere vector */
    }
}

enum { MIX_N = 3, MIX_ROW = 19, MIX_COL = 352, MIX_TOK = 12 };

/* Matrices of several formats, of which each wants the rows that they share in a form of its own:
 * y [MIX_N][MIX_TOK][MIX_ROW]. */
static void mixed_on(const char *level, uint8_t *const w[MIX_N], const enum dtype type[MIX_N],
                     const float *x, float *y) {
    struct rig r = rig_open("cpu", level, 2, MAX_TOK);
    kern_weight weight[MIX_N];
    kern_ref out[MIX_N], in = rig_alloc(&r, (size_t)MIX_TOK * MIX_COL, x);
    for (int i = 0; i < MIX_N; i++) {
        const void *mat[1] = {w[i]};
        weight[i] = rig_load(&r, type[i], 1, MIX_ROW, MIX_COL, mat);
        out[i] = rig_alloc(&r, (size_t)MIX_TOK * MIX_ROW, NULL);
    }
    struct err e = {0};
    assert_int_equal(r.k->ready(r.d, &e), ERR_OK);
    struct steps t;
    steps_rows(&t, MIX_TOK);
    r.k->begin(r.d, &t.s);
    kern_qkv(
        r.k, r.d,
        &(struct kern_qkv){in, out[0], out[1], out[2], weight[0], weight[1], weight[2], 0, 0, 0});
    run_end(&r);
    for (int i = 0; i < MIX_N; i++) {
        r.k->read(r.d, out[i], y + i * MIX_TOK * MIX_ROW, (size_t)MIX_TOK * MIX_ROW);
    }
    rig_close(&r);
}

static void test_mixed_formats(void **state) {
    (void)state;
    static const enum dtype types[][MIX_N] = {
        {DT_Q4_0, DT_Q8_0, DT_Q4_1}, {DT_Q8_0, DT_Q4_1, DT_IQ4_NL}, {DT_Q5_0, DT_F16, DT_Q5_0}};
    struct rng g;
    rng_seed(&g, 5);
    float *x = floats(&g, (size_t)MIX_TOK * MIX_COL, 2.0f);
    for (size_t k = 0; k < sizeof types / sizeof types[0]; k++) {
        static float want[MIX_N * MIX_TOK * MIX_ROW], got[MIX_N * MIX_TOK * MIX_ROW];
        uint8_t *w[MIX_N];
        for (int i = 0; i < MIX_N; i++) {
            w[i] = mem_alloc(blocks_size(types[k][i], MIX_ROW, MIX_COL), 1);
            blocks_fill(&g, types[k][i], BLOCKS_RANDOM, MIX_ROW, MIX_COL, w[i]);
        }
        mixed_on("c", w, types[k], x, want);
        for (int i = 1; micro_level(i) != NULL; i++) {
            struct micro m;
            if (micro_choose(&m, micro_level(i), NULL) == ERR_OK) {
                mixed_on(micro_level(i), w, types[k], x, got);
                assert_same(want, got, MIX_N * MIX_TOK * MIX_ROW);
            }
        }
        for (int i = 0; i < MIX_N; i++) {
            mem_free(w[i]);
        }
    }
    mem_free(x);
}

/* ---- a layer's worth of operations --------------------------------------------------------------
 */

enum { D = 64, HEADS = 6, KV = 2, DH = 16, FF = 96, EXPERTS = 5, USED = 2, VOCAB = 17 };

struct layer {
    struct rig r;
    kern_weight emb, norm, wq, wk, wv, wo, bq, freq, gate, up, down, route, egate, eup, edown;
    kern_ref x, h, q, k, v, a, g, u, logit, sel, eg, eu, ed, y;
};

struct layer_data {
    uint8_t *mat[12][EXPERTS];
    float *norm, *bias, *freq;
};

static uint8_t *layer_mat(struct rng *g, enum dtype type, int64_t n_row, int64_t n_col) {
    uint8_t *p = mem_alloc(blocks_size(type, n_row, n_col), 1);
    blocks_fill(g, type, BLOCKS_RANDOM, n_row, n_col, p);
    return p;
}

/* The same numbers for every device of a test. */
static void data_init(struct layer_data *m, enum dtype type) {
    static const int shape[12][2] = {{VOCAB, D},      {HEADS * DH, D}, {KV * DH, D}, {KV * DH, D},
                                     {D, HEADS * DH}, {FF, D},         {FF, D},      {D, FF},
                                     {EXPERTS, D},    {FF, D},         {FF, D},      {D, FF}};
    struct rng g;
    rng_seed(&g, 7);
    memset(m, 0, sizeof *m);
    for (int i = 0; i < 12; i++) {
        for (int e = 0; e < (i < 9 ? 1 : EXPERTS); e++) {
            m->mat[i][e] = layer_mat(&g, type, shape[i][0], shape[i][1]);
        }
    }
    m->norm = floats(&g, D, 2.0f);
    m->bias = floats(&g, HEADS * DH, 0.5f);
    m->freq = floats(&g, DH / 2, 1.0f);
}

static void data_fini(struct layer_data *m) {
    for (int i = 0; i < 12; i++) {
        for (int e = 0; e < EXPERTS; e++) {
            mem_free(m->mat[i][e]);
        }
    }
    mem_free(m->norm);
    mem_free(m->bias);
    mem_free(m->freq);
}

static kern_weight load_vec(struct rig *r, const float *p, int n) {
    const void *mat[1] = {p};
    return rig_load(r, DT_F32, 1, 1, n, mat);
}

static void layer_open(struct layer *l, const struct layer_data *m, enum dtype type,
                       const char *name, int n_thread, enum dtype kv_type) {
    struct rig *r = &l->r;
    *r = rig_open(name, NULL, n_thread, MAX_TOK);
#define LOAD(i, n_mat, row, col) rig_load(r, type, n_mat, row, col, (const void *const *)m->mat[i])
    l->emb = LOAD(0, 1, VOCAB, D);
    l->wq = LOAD(1, 1, HEADS * DH, D);
    l->wk = LOAD(2, 1, KV * DH, D);
    l->wv = LOAD(3, 1, KV * DH, D);
    l->wo = LOAD(4, 1, D, HEADS * DH);
    l->gate = LOAD(5, 1, FF, D);
    l->up = LOAD(6, 1, FF, D);
    l->down = LOAD(7, 1, D, FF);
    l->route = LOAD(8, 1, EXPERTS, D);
    l->egate = LOAD(9, EXPERTS, FF, D);
    l->eup = LOAD(10, EXPERTS, FF, D);
    l->edown = LOAD(11, EXPERTS, D, FF);
    l->norm = load_vec(r, m->norm, D);
    l->bq = load_vec(r, m->bias, HEADS * DH);
    l->freq = load_vec(r, m->freq, DH / 2);
    struct err e = {0};
    assert_int_equal(r->k->ready(r->d, &e), ERR_OK);
    struct kern_kv kv = {1, KV, DH, PAGE_TOK, N_PAGE, kv_type, 0};
    assert_int_equal(r->k->kv_open(r->d, &kv, &e), ERR_OK);
    kern_ref *refs[] = {&l->x, &l->h,     &l->q,   &l->k,  &l->v,  &l->a,  &l->g,
                        &l->u, &l->logit, &l->sel, &l->eg, &l->eu, &l->ed, &l->y};
    for (size_t i = 0; i < sizeof refs / sizeof refs[0]; i++) {
        *refs[i] = rig_alloc(r, MAX_TOK * USED * FF * 2, NULL);
    }
}

/* One layer over a step; the result is in x: embed, attention, ffn, experts. */
static void layer_run(struct layer *l, const struct step *s, int window, bool halves) {
    const struct kern *k = l->r.k;
    struct kern_dev *d = l->r.d;
    struct kern_rope rope = {HEADS, DH, DH - 4, halves, l->freq, 1.25f, 0};
    size_t allocations = mem_count();
    k->begin(d, s);
    bool gemma = window > 0; /* with all that its kind of layer has more */
    k->embed(d, l->x, l->emb, gemma ? 1.5f : 1.0f);
    k->rmsnorm(d, l->h, l->x, l->norm, ROWS_TOK, 1, D, 1e-5f);
    kern_qkv(k, d, &(struct kern_qkv){l->h, l->q, l->k, l->v, l->wq, l->wk, l->wv, l->bq, 0, 0});
    if (gemma) {
        k->rmsnorm(d, l->q, l->q, l->norm, ROWS_TOK, HEADS, DH, 1e-5f);
    }
    k->rope(d, l->q, &rope);
    rope.n_head = KV;
    k->rope(d, l->k, &rope);
    kern_store_attend(k, d, l->a, l->q, l->k, l->v,
                      &(struct kern_attend){0, HEADS, KV, DH, 0.25f, window, gemma ? 2.0f : 0.0f});
    k->matmul(d, l->x, l->a, l->wo, 0, ROWS_TOK, true);
    k->rmsnorm(d, l->h, l->x, l->norm, ROWS_TOK, 1, D, 1e-5f);
    kern_ffn(k, d,
             &(struct kern_ffn){l->h, gemma ? l->h : l->x, l->g, l->u, l->gate, l->up, l->down, FF,
                                gemma ? ACT_GELU : ACT_SILU, !gemma});
    if (gemma) {
        k->add(d, l->x, l->h, D);
    }
    k->rmsnorm(d, l->h, l->x, l->norm, ROWS_TOK, 1, D, 1e-5f);
    kern_moe(k, d,
             &(struct kern_moe){l->h, l->x, l->logit, l->sel, l->eg, l->eu, l->ed, l->route,
                                l->egate, l->eup, l->edown, EXPERTS, USED, D, FF, ACT_SILU});
    k->add(d, l->x, l->h, D);
    if (gemma) {
        k->softcap(d, l->x, ROWS_TOK, D, 30);
    }
    k->gather(d, l->y, l->x, D);
    run_end(&l->r);
    assert_int_equal(mem_count(), allocations); /* a step takes no memory */
}

static void layer_read(struct layer *l, kern_ref ref, float *out, int n) {
    l->r.k->read(l->r.d, ref, out, (size_t)n * D);
}

/* Float weights: cpu must be as close to plain as two orders of f32 sums are. */
static void test_layer_against_plain(void **state) {
    (void)state;
    struct layer_data m;
    struct layer a, b;
    static float ya[MAX_TOK * D], yb[MAX_TOK * D];
    data_init(&m, DT_F32);
    for (int window = 0; window < 20; window += 9) {
        layer_open(&a, &m, DT_F32, "plain", 2, DT_F32);
        layer_open(&b, &m, DT_F32, "cpu", 2, DT_F32);
        struct steps t;
        for (int round = 0; round < 3; round++) { /* three sequences, grown in turn */
            steps_init(&t, 3);
            steps_add(&t, 0, round * 9, 9);
            steps_add(&t, 1, round * 20, 20);
            steps_add(&t, 2, round, 1);
            t.s.n_out = 2;
            t.out[0] = 3;
            t.out[1] = 29;
            layer_run(&a, &t.s, window, window == 9);
            layer_run(&b, &t.s, window, window == 9);
            layer_read(&a, a.x, ya, t.s.n_tok);
            layer_read(&b, b.x, yb, t.s.n_tok);
            assert_near(ya, yb, (size_t)t.s.n_tok * D, 4e-3f); /* attention in integers */
            layer_read(&b, b.y, ya, 2);
            assert_same(ya, yb + 3 * D, D);
            assert_same(ya + D, yb + 29 * D, D);
        }
        rig_close(&a.r);
        rig_close(&b.r);
    }
    data_fini(&m);
}

enum { LONG = 50, SHORT = 21 };

/* Two sequences, in steps as `chunk` says: 0 is all at once, n is n tokens of each at a time. */
static void layer_chunks(const struct layer_data *m, enum dtype type, int n_thread, int chunk,
                         int window, float *out) {
    struct layer l;
    layer_open(&l, m, type, "cpu", n_thread, DT_F16);
    static float y[MAX_TOK * D];
    int done[2] = {0, 0}, len[2] = {LONG, SHORT};
    if (chunk == 0) {
        chunk = LONG;
        len[1] = MAX_TOK - LONG;
    }
    while (done[0] < len[0] || done[1] < len[1]) {
        struct steps t;
        steps_init(&t, 2);
        int n[2];
        for (int i = 0; i < 2; i++) {
            n[i] = len[i] - done[i] < chunk ? len[i] - done[i] : chunk;
            steps_add(&t, i, done[i], n[i]);
        }
        layer_run(&l, &t.s, window, true);
        layer_read(&l, l.x, y, t.s.n_tok);
        memcpy(out + done[0] * D, y, (size_t)n[0] * D * sizeof *y);
        memcpy(out + (LONG + done[1]) * D, y + n[0] * D, (size_t)n[1] * D * sizeof *y);
        done[0] += n[0];
        done[1] += n[1];
    }
    rig_close(&l.r);
}

/* Threads, chunks and batches leave no trace in the bits. */
static void test_layer_same_bits(void **state) {
    (void)state;
    static float one[(LONG + SHORT) * D], other[(LONG + SHORT) * D];
    enum dtype types[] = {DT_F32, DT_Q4_0, DT_Q4_1, DT_Q5_0, DT_Q5_1, DT_Q8_0, DT_IQ4_NL, DT_F16};
    static const int chunks[] = {7, 3, 2, 13, 32};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct layer_data m;
        data_init(&m, types[i]);
        for (int window = 0; window < 20; window += 11) {
            memset(one, 0, sizeof one);
            layer_chunks(&m, types[i], 1, 1, window, one);
            for (size_t c = 0; c < sizeof chunks / sizeof chunks[0]; c++) {
                layer_chunks(&m, types[i], 2, chunks[c], window, other);
                assert_same(one, other, (LONG + SHORT) * D);
            }
            layer_chunks(&m, types[i], 2, 0, window, other);
            assert_same(one, other, (MAX_TOK)*D);
        }
        data_fini(&m);
    }
}

/* ---- attention
 * ------------------------------------------------------------------------------------ */

/* More than two parts of a walk; the last LAST positions are looked at. */
enum { POS = 2060, LAST = 20, CHUNK_MAX = 204, A_ROW_MAX = 1024 };

struct att_case {
    const char *device, *level;
    int n_thread;
    enum dtype type;
    int page_tok, d_head, window, n_head, n_kv;
    int layer;  /* of two: of int8 the first has f16 keys */
    int chunk;  /* tokens in a step, of the last positions */
    bool apart; /* kv_store and attend, not both in one */
};

static void att_step(struct rig *r, const kern_ref ref[4], const struct att_case *c, int pos, int n,
                     const float *x) {
    static int32_t at[CHUNK_MAX], seq[CHUNK_MAX], page[POS];
    int32_t page_start[2] = {0, (POS + c->page_tok - 1) / c->page_tok};
    struct step s = {n, 1, 0, NULL, at, seq, NULL, page, page_start, NULL};
    const float scale = 1.2f / sqrtf((float)c->d_head), cap = c->window ? 5.0f : 0;
    struct kern_attend a = {c->layer, c->n_head, c->n_kv, c->d_head, scale, c->window, cap};
    size_t q = (size_t)c->n_head * (size_t)c->d_head, kv = (size_t)c->n_kv * (size_t)c->d_head;
    for (int i = 0; i < n; i++) {
        at[i] = pos + i;
    }
    for (int i = 0; i < page_start[1]; i++) {
        page[i] = i ^ 1; /* not in order */
    }
    r->k->write(r->d, ref[0], x + (size_t)pos * q, (size_t)n * q);
    r->k->write(r->d, ref[1], x + 1 + (size_t)pos * kv, (size_t)n * kv);
    r->k->write(r->d, ref[2], x + 3 + (size_t)pos * kv, (size_t)n * kv);
    r->k->begin(r->d, &s);
    if (pos < POS - LAST || c->apart) {
        r->k->kv_store(r->d, c->layer, ref[1], ref[2]);
    }
    if (pos >= POS - LAST && c->apart) {
        r->k->attend(r->d, ref[3], ref[0], &a);
    } else if (pos >= POS - LAST) {
        kern_store_attend(r->k, r->d, ref[3], ref[0], ref[1], ref[2], &a);
    }
    run_end(r);
}

/* What the last positions give, [LAST, n_head * d_head]. */
static void att_run(const struct att_case *c, float *out) {
    struct rig r = rig_open(c->device, c->level, c->n_thread, CHUNK_MAX);
    size_t row = (size_t)c->n_head * (size_t)c->d_head, n = CHUNK_MAX * row;
    struct kern_kv kv = {2, c->n_kv, c->d_head, c->page_tok, POS / c->page_tok + 2, c->type, 0};
    struct err e = {0};
    struct rng g;
    kern_ref ref[4];
    static float x[POS * A_ROW_MAX + 3];
    rng_seed(&g, 5);
    for (size_t i = 0; i < sizeof x / sizeof *x; i++) { /* some channels are large */
        x[i] = blocks_uniform(&g, -1, 1) * (i % 37 == 0 ? 8 : 1);
    }
    assert_int_equal(r.k->ready(r.d, &e), ERR_OK);
    assert_int_equal(r.k->kv_open(r.d, &kv, &e), ERR_OK);
    for (int i = 0; i < 4; i++) {
        ref[i] = rig_alloc(&r, n, NULL);
    }
    for (int pos = 0; pos < POS - LAST; pos += CHUNK_MAX) {
        att_step(&r, ref, c, pos, CHUNK_MAX, x);
    }
    for (int pos = POS - LAST, m; pos < POS; pos += m) {
        m = pos + c->chunk < POS ? c->chunk : POS - pos;
        att_step(&r, ref, c, pos, m, x);
        r.k->read(r.d, ref[3], out + (size_t)(pos - POS + LAST) * row, (size_t)m * row);
    }
    rig_close(&r);
}

/* The fast walk is near the definition for every type of cache, page and head; and its bits depend
 * neither on the level, nor on threads (eight of them walk parts side by side), nor on chunks. */
static void test_attention(void **state) {
    (void)state;
    enum { TYPES = 4 };
    static const enum dtype types[TYPES] = {DT_F32, DT_F16, DT_I8, DT_I8};
    static const int layers[TYPES] = {1, 0, 1, 0};
    static const int shapes[][5] = {/* page_tok, d_head, window, n_head, n_kv */
                                    {32, 32, 0, 6, 2},    {8, 32, 0, 6, 2},   {64, 20, 0, 6, 2},
                                    {32, 16, 1100, 6, 2}, {32, 128, 0, 8, 2}, {32, 64, 0, 7, 1},
                                    {16, 64, 700, 4, 4}};
    static float want[LAST * A_ROW_MAX], base[LAST * A_ROW_MAX], other[LAST * A_ROW_MAX];
    assert_int_equal((POS - LAST) % CHUNK_MAX, 0);
    for (size_t i = 0; i < TYPES * sizeof shapes / sizeof shapes[0]; i++) {
        const int *shape = shapes[i / TYPES];
        struct att_case c = {"plain",  NULL,     2,        types[i % TYPES],  shape[0], shape[1],
                             shape[2], shape[3], shape[4], layers[i % TYPES], LAST,     false};
        size_t n = (size_t)LAST * (size_t)c.n_head * (size_t)c.d_head;
        att_run(&c, want);
        c.device = "cpu";
        c.level = "c";
        c.n_thread = 1;
        c.apart = true;
        att_run(&c, base);
        c.apart = false;
        assert_near(want, base, n, c.d_head > 32 ? 4e-3f : 2e-3f); /* of numbers up to 8 */
        for (int l = 0; micro_level(l) != NULL; l++) {
            struct micro m;
            c.level = micro_level(l);
            if (micro_choose(&m, c.level, NULL) != ERR_OK) {
                continue;
            }
            static const int ways[][2] = {{8, 1}, {8, 13}, {8, LAST}, {1, 7}, {1, LAST}};
            for (int k = 0; k < (l == 0 ? 1 : 5); k++) { /* C is slow */
                c.n_thread = ways[k][0];
                c.chunk = ways[k][1];
                att_run(&c, other);
                assert_same(base, other, n);
            }
        }
    }
}

/* int8: half a step of its group's scale is all that is lost, and the scale is the least bf16 that
 * is not below a 127th of the largest; what is not finite stays so. */
static void test_kv_quantize(void **state) {
    (void)state;
    struct rng g;
    rng_seed(&g, 9);
    for (int n = 1; n < 80; n++) {
        float x[80];
        int8_t q[80];
        bf16_t scale[3];
        for (int i = 0; i < n; i++) {
            x[i] = blocks_uniform(&g, -1, 1) * (n % 4 == 0 ? 3e38f : n % 4 == 1 ? 1e-25f : 9.0f);
        }
        if (n % 5 == 0) {
            memset(x, 0, sizeof x);
        }
        host_kv_quantize(x, n, q, scale);
        for (int i = 0; i < n; i++) {
            float s = f32_from_bf16(scale[i / 32]);
            assert_true(fabsf(q[i] * s - x[i]) <= 0.501f * s);
        }
        for (int from = 0; from < n; from += 32) {
            float top = 0;
            for (int i = from; i < n && i < from + 32; i++) {
                top = fabsf(x[i]) > top ? fabsf(x[i]) : top;
            }
            bf16_t s = scale[from / 32];
            assert_true(f32_from_bf16(s) >= top / 127.0f);
            assert_true(top == 0 || f32_from_bf16((bf16_t)(s - 1)) < top / 127.0f);
        }
        x[n - 1] = n % 2 ? NAN : INFINITY;
        host_kv_quantize(x, n, q, scale);
        assert_true(isnan(f32_from_bf16(scale[(n - 1) / 32])));
    }
}

/* The fast transform is the product with Sylvester's matrix, block by block; twice is `block` times
 * the identity. Blocks divide heads. */
static void test_kv_turn(void **state) {
    (void)state;
    static const int heads[][2] = {{64, 64}, {128, 128}, {256, 128}, {80, 16},
                                   {96, 32}, {20, 4},    {7, 1},     {192, 64}};
    struct rng g;
    rng_seed(&g, 21);
    for (size_t c = 0; c < sizeof heads / sizeof heads[0]; c++) {
        int n = heads[c][0], block = heads[c][1];
        float x[256], y[256];
        assert_int_equal(host_kv_block(n), block);
        for (int i = 0; i < n; i++) {
            x[i] = y[i] = blocks_uniform(&g, -1, 1);
        }
        host_kv_turn(y, n, block);
        for (int i = 0; i < n; i++) {
            double sum = 0;
            for (int k = 0; k < block; k++) { /* minus where row and column share odd many bits */
                int shared = __builtin_popcount((unsigned)(i % block & k));
                sum += (shared % 2 ? -1.0 : 1.0) * x[i / block * block + k];
            }
            assert_true(fabs(y[i] - sum) <= 1e-5 * block);
        }
        host_kv_turn(y, n, block);
        for (int i = 0; i < n; i++) {
            assert_true(fabsf(y[i] / (float)block - x[i]) <= 1e-5f);
        }
    }
}

/* A turned head loses less to an outlier: a step is set by the head's size, not by its largest. */
static void turning_spreads_an_outlier(void **state) {
    (void)state;
    float x[64], y[64];
    double lost[2] = {0, 0};
    struct rng g;
    rng_seed(&g, 22);
    for (int i = 0; i < 64; i++) {
        x[i] = blocks_uniform(&g, -1, 1) + (i % 32 == 5 ? 100.0f : 0.0f);
    }
    for (int turn = 0; turn < 2; turn++) {
        int8_t q[64];
        bf16_t scale[2];
        memcpy(y, x, sizeof y);
        host_kv_turn(y, 64, turn ? 64 : 1);
        host_kv_quantize(y, 64, q, scale);
        for (int i = 0; i < 64; i++) {
            y[i] = (float)q[i] * f32_from_bf16(scale[i / 32]);
        }
        host_kv_turn(y, 64, turn ? 64 : 1);
        for (int i = 0; i < 64; i++) {
            double d = (turn ? y[i] / 64 : y[i]) - x[i];
            lost[turn] += d * d;
        }
    }
    assert_true(lost[1] * 4 < lost[0]);
}

/* What keys lose by `less` is what was said, for both kinds of pairs, and the same bits on both
 * back ends at every level; without it nothing is lost. */
static void test_rope_less(void **state) {
    (void)state;
    enum { R_DH = 12, R_ROT = 8, R_HEAD = 2, R_TOK = 3, R_N = R_DH * R_HEAD };
    static const char *const devices[][2] = {
        {"plain", NULL}, {"cpu", "c"}, {"cpu", "avx2"}, {"cpu", "avx512"}};
    float freq[R_ROT / 2] = {1.0f, 0x1p-14f, 0x1p-15f, 1e-6f}, less[R_N], x[R_N * R_TOK];
    int32_t pos[R_TOK] = {0, 9, 4000}, seq[R_TOK] = {0}, page[1] = {0}, page_start[2] = {0, 1};
    struct step s = {R_TOK, 1, 0, NULL, pos, seq, NULL, page, page_start, NULL};
    struct rng g;
    rng_seed(&g, 23);
    for (int i = 0; i < R_N * R_TOK; i++) {
        x[i] = blocks_uniform(&g, -1, 1);
        less[i % R_N] = (float)(i % R_N + 1);
    }
    for (int c = 0; c < 8; c++) {
        struct micro m;
        bool halves = c % 2;
        const char *level = devices[c / 2][1];
        if (level != NULL && micro_choose(&m, level, NULL) != ERR_OK) {
            continue;
        }
        struct rig r = rig_open(devices[c / 2][0], level, 1, R_TOK);
        kern_weight w = load_vec(&r, freq, R_ROT / 2), b = load_vec(&r, less, R_N);
        struct err e = {0};
        struct kern_kv kv = {1, R_HEAD, R_DH, 8, 1, DT_I8, 0};
        assert_int_equal(r.k->ready(r.d, &e), ERR_OK);
        assert_int_equal(r.k->kv_open(r.d, &kv, &e), ERR_OK);
        kern_ref ref[2] = {rig_alloc(&r, R_N * R_TOK, NULL), rig_alloc(&r, R_N * R_TOK, NULL)};
        float got[2][R_N * R_TOK];
        for (int i = 0; i < 2; i++) {
            r.k->write(r.d, ref[i], x, R_N * R_TOK);
        }
        r.k->begin(r.d, &s);
        for (int i = 0; i < 2; i++) {
            r.k->rope(r.d, ref[i],
                      &(struct kern_rope){R_HEAD, R_DH, R_ROT, halves, w, 1.25f, i ? b : 0});
        }
        run_end(&r);
        for (int i = 0; i < 2; i++) {
            r.k->read(r.d, ref[i], got[i], R_N * R_TOK);
        }
        for (int i = 0; i < R_N * R_TOK; i++) {
            int dim = i % R_DH, pair = halves ? dim % (R_ROT / 2) : dim / 2;
            float part = dim >= R_ROT ? 1 : pair >= 2 ? 1.25f : 0;
            assert_true(got[1][i] == got[0][i] - less[i % R_N] * part);
        }
        rig_close(&r);
    }
}

/* ---- pages, cancelling, losing the file
 * ------------------------------------------------------------ */

static void test_pages(void **state) {
    (void)state;
    static const char *const names[] = {"cpu", "plain"};
    for (int i = 0; i < 4; i++) {
        struct rig r = rig_open(names[i / 2], NULL, 1, 4);
        struct kern_kv kv = {2, 1, 4, 2, 3, i % 2 ? DT_F16 : DT_I8, 0};
        struct err e = {0};
        uint8_t in[2 * 2 * 1 * 2 * 4 * 2], out[sizeof in];
        size_t bytes = i % 2 ? sizeof in : 2 * (4 * 2 + 3 * (4 + 2)); /* int8: a scale for 4 */
        assert_int_equal(kern_kv_page_bytes(&kv), bytes);
        assert_int_equal(r.k->kv_open(r.d, &kv, &e), ERR_OK);
        for (size_t j = 0; j < sizeof in; j++) {
            in[j] = (uint8_t)(j * 5);
        }
        r.k->kv_write_page(r.d, 1, in);
        r.k->kv_copy_page(r.d, 2, 1);
        r.k->kv_read_page(r.d, 2, out);
        assert_memory_equal(in, out, bytes);
        rig_close(&r);
    }
}

/* Keys and values of all layers and heads fill a page without gap or overlap, in their order. */
static void test_heads_fill_a_page(void **state) {
    (void)state;
    static const enum dtype types[] = {DT_F32, DT_F16, DT_I8};
    static const int shapes[][2] = {{8, 64}, {2, 20}}; /* page_tok, d_head */
    for (int i = 0; i < 6; i++) {
        struct rig r = rig_open("cpu", NULL, 1, 4);
        struct kern_kv kv = {3, 2, shapes[i % 2][1], shapes[i % 2][0], 2, types[i / 2], 0};
        struct err e = {0};
        assert_int_equal(r.k->kv_open(r.d, &kv, &e), ERR_OK);
        const char *first = NULL, *at = NULL;
        for (int h = 0; h < 3 * 2 * 2; h++) {
            int layer = h / 4, value = h / 2 % 2;
            struct host_kv own = host_kv_at(r.d, layer, value, h % 2, 0);
            const char *start = own.scale ? (const char *)own.scale : own.v;
            first = h == 0 ? start : first;
            assert_ptr_equal(start, h == 0 ? start : at);
            at = start + kern_kv_head_bytes(&kv, layer, value);
        }
        assert_ptr_equal(at, first + kern_kv_page_bytes(&kv));
        struct host_kv next = host_kv_at(r.d, 0, 0, 0, 1);
        assert_ptr_equal(at, next.scale ? (const char *)next.scale : next.v);
        rig_close(&r);
    }
}

static void test_too_large_a_cache(void **state) {
    (void)state;
    static const char *const names[] = {"cpu", "plain"};
    for (int i = 0; i < 2; i++) {
        struct rig r = rig_open(names[i], NULL, 1, 1);
        struct kern_kv kv = {512, 64, 1024, 64, 1 << 26, DT_F32, 0}; /* 2^60 bytes */
        struct err e = {0};
        assert_int_equal(r.k->kv_open(r.d, &kv, &e), ERR_NOMEM);
        assert_non_null(strstr(e.where, "KV cache of 4294967296 positions"));
        rig_close(&r);
    }
}

static void test_end_says_what_went_wrong(void **state) {
    (void)state;
    static const char *const names[] = {"cpu", "plain"};
    for (int i = 0; i < 2; i++) {
        struct rig r = rig_open(names[i], NULL, 2, 4);
        float w[4 * 8] = {0};
        const void *mat[1] = {w};
        volatile int lost = 0, cancel = 1;
        struct kern_tensor t = {"blk.0.test", DT_F32, 1, 4, 8, mat, &lost};
        struct err e = {0};
        kern_weight weight;
        assert_int_equal(r.k->load(r.d, &t, &weight, &e), ERR_OK);
        assert_int_equal(r.k->ready(r.d, &e), ERR_OK);
        kern_ref x = rig_alloc(&r, 32, NULL), y = rig_alloc(&r, 16, NULL);
        struct steps s;
        steps_rows(&s, 4);
        s.s.cancel = &cancel;
        r.k->begin(r.d, &s.s);
        r.k->matmul(r.d, y, x, weight, 0, ROWS_TOK, false);
        assert_int_equal(r.k->end(r.d, &e), ERR_CANCELLED);
        err_clear(&e);
        s.s.cancel = NULL;
        lost = 1;
        r.k->begin(r.d, &s.s);
        r.k->matmul(r.d, y, x, weight, 0, ROWS_TOK, false);
        assert_int_equal(r.k->end(r.d, &e), ERR_IO);
        assert_non_null(strstr(e.where, "blk.0.test"));
        rig_close(&r);
    }
}

/* Activations that are not finite must reach the result, whatever the weights. */
static void test_not_finite_is_seen(void **state) {
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    struct rng g;
    rng_seed(&g, 3);
    for (int i = 0; i < BLOCKS_TYPES; i++) {
        enum dtype type = blocks_types[i];
        uint8_t *w = mem_alloc(blocks_size(type, 3, 256), 1);
        blocks_fill(&g, type, BLOCKS_RANDOM, 3, 256, w);
        for (int n = 1; n < 8; n += 6) {
            float *x = floats(&g, (size_t)n * 256, 1.0f), zero[3] = {0};
            x[(n - 1) * 256 + 77] = bad[i % 3];
            float *y = matmul_on("cpu", NULL, 1, type, w, 3, 256, x, n, zero);
            for (int k = 0; k < n * 3; k++) {
                assert_int_equal(isfinite(y[k]) != 0, k / 3 != n - 1);
            }
            mem_free(x);
            mem_free(y);
        }
        mem_free(w);
    }
}

static int32_t argmax_of(const float *x, size_t n) {
    size_t best = 0;
    bool odd = false;
    for (size_t i = 0; i < n; i++) {
        odd = odd || isnan(x[i]) || x[i] == INFINITY;
        best = x[i] > x[best] ? i : best;
    }
    return odd || x[best] == -INFINITY ? -1 : (int32_t)best;
}

/* Many ties, and numbers that are no logits: the first of the largest, or -1. */
static void test_argmax(void **state) {
    (void)state;
    static const float odd[] = {-INFINITY, INFINITY, NAN, 3.4e38f, 3.2e38f, -3.4e38f, 0, -0.0f};
    enum { N_ROW = 19, MOST = 4000, ODD = sizeof odd / sizeof *odd };
    static const size_t dims[] = {1, 2, 31, 32, 33, 500, 1023, MOST};
    struct rng g;
    rng_seed(&g, 7);
    for (size_t k = 0; k < sizeof dims / sizeof *dims; k++) {
        size_t dim = dims[k], n = N_ROW * dim;
        float *x = floats(&g, n, 1);
        int32_t want[N_ROW], got[N_ROW];
        for (int row = 0; row < N_ROW; row++) {
            float *r = x + (size_t)row * dim;
            for (size_t i = 0; i < dim; i++) {
                r[i] = row == 5 ? -INFINITY : (float)(rng_next(&g) % (uint64_t)(row + 1)) - 20;
            }
            for (int i = 0; row % 4 == 0 && i < 3; i++) {
                r[rng_next(&g) % dim] = odd[rng_next(&g) % ODD];
            }
            want[row] = argmax_of(r, dim);
        }
        for (int i = 0; i < 5; i++) {
            struct rig r = rig_open(i ? "cpu" : "plain", i > 2 ? "c" : NULL, i, 4);
            kern_ref ref = rig_alloc(&r, n, x);
            r.k->argmax(r.d, ref, N_ROW, dim, got);
            assert_memory_equal(got, want, sizeof want);
            rig_close(&r);
        }
        mem_free(x);
    }
}

/* Behind each buffer is a place that belongs to none. */
static void test_buffers_are_apart(void **state) {
    (void)state;
    for (size_t n = 1; n < 200; n += 21) { /* 64 and 127 among them */
        struct rig r = rig_open("cpu", NULL, 1, 1);
        kern_ref a = rig_alloc(&r, n, NULL), b = rig_alloc(&r, n, NULL);
        assert_true(a > 0 && b >= a + n + 64);
        rig_close(&r);
    }
}

static void test_names(void **state) {
    (void)state;
    struct kern_dev *d = NULL;
    struct kern_opts o = {.n_thread = 1, .max_tok = 1, .max_out = 1, .level = "avx1024"};
    struct err e = {0};
    assert_null(kern_find("abacus"));
    assert_ptr_equal(kern_find("cpu"), kern_list[0]);
    assert_int_equal(kern_find("cpu")->open(&d, &o, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.what, "avx1024"));
    assert_non_null(strstr(e.hint, "c, "));
    assert_null(strchr(e.hint, ';')); /* which the command line takes for the hint's beginning */
    assert_null(d);
    kern_find("cpu")->close(NULL);
    kern_find("plain")->close(NULL);
}

static void test_nothing_is_left(void **state) {
    (void)state;
    assert_int_equal(mem_live(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_argmax),
        cmocka_unit_test(test_buffers_are_apart),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_matmul),
        cmocka_unit_test(test_mixed_formats),
        cmocka_unit_test(test_layer_against_plain),
        cmocka_unit_test(test_layer_same_bits),
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_kv_quantize),
        cmocka_unit_test(test_kv_turn),
        cmocka_unit_test(turning_spreads_an_outlier),
        cmocka_unit_test(test_rope_less),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_heads_fill_a_page),
        cmocka_unit_test(test_too_large_a_cache),
        cmocka_unit_test(test_end_says_what_went_wrong),
        cmocka_unit_test(test_not_finite_is_seen),
        cmocka_unit_test(test_nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
