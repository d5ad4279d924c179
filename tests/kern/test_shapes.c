/* test_shapes.c: shapes at which the cpu back end cuts its work another way.
 *
 * Owns what test_kern.c's one small layer does not reach: matrices of different formats on one
 * input, more experts than a run takes and their feed forward, rows that fill many items, prompts
 * of several spans, more query heads than a tile takes, texts of several tiles. Everything is
 * compared at every level and with several threads, to the bit where the cut must leave no trace.
 */
#include "kern/cpu/micro.h"
#include "kern/host.h"
#include "rig.h"

enum { THREADS = 3 };

/* Level i, or NULL behind the last; those that this processor lacks are passed over. */
static const char *next_level(int *i) {
    for (struct micro m; micro_level(*i) != NULL; (*i)++) {
        if (micro_choose(&m, micro_level(*i), NULL) == ERR_OK) {
            return micro_level((*i)++);
        }
    }
    return NULL;
}

static uint8_t *random_rows(struct rng *g, enum dtype type, int64_t n_row, int64_t n_col) {
    uint8_t *p = mem_alloc(blocks_size(type, n_row, n_col), 1);
    assert_non_null(p);
    blocks_fill(g, type, BLOCKS_RANDOM, n_row, n_col, p);
    return p;
}

static void rig_ready(struct rig *r) {
    struct err e = {0};
    assert_int_equal(r->k->ready(r->d, &e), ERR_OK);
}

/* ---- several matrices on one input ----------------------------------------------------------- */

enum { M_COL = 256, M_ROW = 48, M_OUT = 40, M_TOK = 40, M_ALL = 3 * M_ROW + M_OUT };

struct mixed {
    enum dtype type[3];
    uint8_t *w[3], *down;
    float *x, *bias;
};

/* q, k, v and then a gated feed forward of the same input, [n, M_ALL]; as the back end fuses them,
 * or as kern.c composes them of single products. */
static void mixed_run(const struct mixed *m, const char *level, int n_thread, int n, bool fused,
                      float *out) {
    struct rig r = rig_open("cpu", level, n_thread, n);
    struct kern single = *r.k;
    const struct kern *k = fused ? r.k : &single;
    kern_weight w[3], b[3];
    single.qkv = NULL;
    single.ffn = NULL;
    for (int i = 0; i < 3; i++) {
        const void *vec[1] = {m->bias + i * M_ROW};
        w[i] = rig_load(&r, m->type[i], 1, M_ROW, M_COL, (const void *const *)&m->w[i]);
        b[i] = rig_load(&r, DT_F32, 1, 1, M_ROW, vec);
    }
    kern_weight down = rig_load(&r, DT_F32, 1, M_OUT, M_ROW, (const void *const *)&m->down);
    kern_ref x = rig_alloc(&r, (size_t)n * M_COL, m->x), y[4];
    for (int i = 0; i < 4; i++) {
        y[i] = rig_alloc(&r, (size_t)n * M_ROW, NULL);
    }
    kern_ref gate = rig_alloc(&r, (size_t)n * M_ROW, NULL);
    kern_ref up = rig_alloc(&r, (size_t)n * M_ROW, NULL);
    rig_ready(&r);
    struct step s = {.n_tok = n};
    r.k->begin(r.d, &s);
    kern_qkv(k, r.d, &(struct kern_qkv){x, y[0], y[1], y[2], w[0], w[1], w[2], b[0], 0, b[2]});
    kern_ffn(k, r.d,
             &(struct kern_ffn){x, y[3], gate, up, w[0], w[1], down, M_ROW, ACT_SILU, false});
    run_end(&r);
    for (int i = 0; i < 4; i++) {
        size_t row = i < 3 ? M_ROW : M_OUT;
        r.k->read(r.d, y[i], out, (size_t)n * row);
        out += (size_t)n * row;
    }
    rig_close(&r);
}

/* Rows of several sizes, activations of both kinds, tiles that are shared and that are not. */
static void formats_share_an_input(void **state) {
    (void)state;
    static const enum dtype types[][3] = {
        {DT_Q4_K, DT_Q6_K, DT_F16},  {DT_Q4_1, DT_Q4_K, DT_Q5_K},     {DT_F32, DT_Q8_0, DT_Q8_0},
        {DT_Q6_K, DT_Q4_K, DT_Q4_K}, {DT_Q4_K, DT_IQ4_NL, DT_IQ4_XS}, {DT_IQ4_XS, DT_Q4_0, DT_Q2_K},
        {DT_F16, DT_BF16, DT_F32}};
    static const int tokens[] = {1, 3, 8, 11, 12, MICRO_SMALL, MICRO_SMALL + 1, M_TOK};
    static float want[M_TOK * M_ALL], got[M_TOK * M_ALL];
    struct rng g;
    rng_seed(&g, 31);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct mixed m = {.x = floats(&g, M_TOK * M_COL, 2), .bias = floats(&g, 3 * M_ROW, 1)};
        memcpy(m.type, types[i], sizeof m.type);
        for (int j = 0; j < 3; j++) {
            m.w[j] = random_rows(&g, m.type[j], M_ROW, M_COL);
        }
        m.down = random_rows(&g, DT_F32, M_OUT, M_ROW);
        for (size_t t = 0; t < sizeof tokens / sizeof tokens[0]; t++) {
            int n = tokens[t], l = 0;
            mixed_run(&m, "c", 1, n, false, want);
            for (const char *level; (level = next_level(&l)) != NULL;) {
                for (int n_thread = 1; n_thread <= THREADS; n_thread += 2) {
                    mixed_run(&m, level, n_thread, n, true, got);
                    assert_same(want, got, (size_t)n * M_ALL);
                }
            }
        }
        for (int j = 0; j < 3; j++) {
            mem_free(m.w[j]);
        }
        mem_free(m.down);
        mem_free(m.x);
        mem_free(m.bias);
    }
}

/* ---- a matrix of many rows, or of long ones -------------------------------------------------- */

struct product {
    uint8_t *w;
    int n_row, n_col;
    float *x;
};

/* y [n, n_row], in scratch for a step of n rows and no more. */
static void product_run(const struct product *p, const char *level, int n_thread, int n, float *y) {
    struct rig r = rig_open("cpu", level, n_thread, n);
    kern_weight w = rig_load(&r, DT_Q4_0, 1, p->n_row, p->n_col, (const void *const *)&p->w);
    kern_ref xr = rig_alloc(&r, (size_t)(n * p->n_col), p->x);
    kern_ref yr = rig_alloc(&r, (size_t)(n * p->n_row), NULL);
    rig_ready(&r);
    struct step s = {.n_tok = n};
    r.k->begin(r.d, &s);
    r.k->matmul(r.d, yr, xr, w, 0, ROWS_TOK, false);
    run_end(&r);
    r.k->read(r.d, yr, y, (size_t)(n * p->n_row));
    rig_close(&r);
}

enum { T_ROW = 2500, T_TOK = 20, T_MANY = 127 };

static void product_is_same(int n_row, int n_col, const int *tokens, size_t n_tokens) {
    static float want[T_TOK * T_ROW], got[T_TOK * T_ROW];
    struct rng g;
    rng_seed(&g, 32);
    struct product p = {random_rows(&g, DT_Q4_0, n_row, n_col), n_row, n_col,
                        floats(&g, (size_t)(T_MANY * n_col), 2)};
    for (size_t t = 0; t < n_tokens; t++) {
        int n = tokens[t], l = 0;
        product_run(&p, "c", 1, n, want);
        for (const char *level; (level = next_level(&l)) != NULL;) {
            for (int n_thread = 1; n_thread <= THREADS; n_thread++) {
                product_run(&p, level, n_thread, n, got);
                assert_same(want, got, (size_t)(n * n_row));
            }
        }
    }
    mem_free(p.w);
    mem_free(p.x);
}

static void rows_fill_many_items(void **state) {
    (void)state;
    static const int tokens[] = {1, 2, 12, MICRO_SMALL, MICRO_SMALL + 1, T_TOK};
    product_is_same(T_ROW, 64, tokens, sizeof tokens / sizeof tokens[0]);
}

/* So long that several threads prepare them: too few for each to have a tile's rows, and many. */
static void threads_prepare_long_rows(void **state) {
    (void)state;
    static const int tokens[] = {12, MICRO_SMALL, T_TOK, T_MANY};
    product_is_same(24, 2080, tokens, sizeof tokens / sizeof tokens[0]);
}

/* ---- experts --------------------------------------------------------------------------------- */

/* More than matrices in a run (matmul.c), some of which get many tokens, or none. */
enum { E_EXP = 40, E_USED = 3, E_TOK = 120, E_COL = 64, E_ROW = 24, E_CHOICE = E_TOK * E_USED };

struct experts {
    uint8_t *w[E_EXP];
    float *x, logit[E_TOK * E_EXP];
};

/* The choices of each token: the largest logits, of equals the lower expert. */
static void check_route(const float *logit, const struct host_choice *c) {
    for (int t = 0; t < E_TOK; t++, logit += E_EXP, c += E_USED) {
        float sum = 0;
        for (int u = 0; u < E_USED; u++) {
            int before = 0; /* experts that come before the chosen one */
            for (int i = 0; i < E_EXP; i++) {
                float own = logit[c[u].exp];
                before += logit[i] > own || (logit[i] == own && i < c[u].exp);
            }
            assert_int_equal(before, u);
            sum += c[u].weight;
        }
        assert_true(fabsf(sum - 1) < 1e-6f);
    }
}

/* A token's rows for its choices, [E_CHOICE, E_ROW]; the choices are checked. */
static void experts_run(const struct experts *m, const char *level, int n_thread, int max_tok,
                        float *y, struct host_choice *c) {
    struct rig r = rig_open("cpu", level, n_thread, max_tok);
    kern_weight w = rig_load(&r, DT_Q4_0, E_EXP, E_ROW, E_COL, (const void *const *)m->w);
    kern_ref x = rig_alloc(&r, E_TOK * E_COL, m->x), logit = rig_alloc(&r, E_TOK * E_EXP, m->logit);
    kern_ref sel = rig_alloc(&r, E_CHOICE * 2, NULL), out = rig_alloc(&r, E_CHOICE * E_ROW, NULL);
    float choice[E_CHOICE * 2];
    rig_ready(&r);
    struct step s = {.n_tok = E_TOK};
    r.k->begin(r.d, &s);
    r.k->route(r.d, sel, logit, E_EXP, E_USED);
    r.k->matmul_exp(r.d, out, x, w, sel, E_USED, false);
    run_end(&r);
    r.k->read(r.d, out, y, E_CHOICE * E_ROW);
    r.k->read(r.d, sel, choice, E_CHOICE * 2);
    memcpy(c, choice, sizeof choice);
    check_route(m->logit, c);
    rig_close(&r);
}

static void more_experts_than_a_run_takes(void **state) {
    (void)state;
    static float got[E_CHOICE * E_ROW], one[E_TOK * E_ROW];
    struct host_choice c[E_CHOICE];
    struct experts m;
    struct rng g;
    rng_seed(&g, 33);
    m.x = floats(&g, E_TOK * E_COL, 2);
    for (int i = 0; i < E_TOK * E_EXP; i++) { /* many are equal; the last experts get no token */
        const int e = i % E_EXP;
        m.logit[i] = e >= E_EXP - 4 ? -9 : (float)(rng_next(&g) % 12 + (e < 3 ? 6 : 0));
    }
    for (int e = 0; e < E_EXP; e++) {
        m.w[e] = random_rows(&g, DT_Q4_0, E_ROW, E_COL);
    }
    int l = 0;
    for (const char *level; (level = next_level(&l)) != NULL;) {
        for (int n_thread = 1; n_thread <= THREADS; n_thread += 2) {
            /* A run ends with rows for the largest step, or with the most matrices. */
            int max_tok = n_thread == 1 ? E_TOK : E_CHOICE;
            experts_run(&m, level, n_thread, max_tok, got, c);
            for (int e = 0; e < E_EXP; e++) { /* each by itself, for all tokens */
                struct rig r = rig_open("cpu", "c", 1, E_TOK);
                const void *mat[1] = {m.w[e]};
                kern_weight w = rig_load(&r, DT_Q4_0, 1, E_ROW, E_COL, mat);
                kern_ref x = rig_alloc(&r, E_TOK * E_COL, m.x);
                kern_ref y = rig_alloc(&r, E_TOK * E_ROW, NULL);
                rig_ready(&r);
                struct step s = {.n_tok = E_TOK};
                r.k->begin(r.d, &s);
                r.k->matmul(r.d, y, x, w, 0, ROWS_TOK, false);
                run_end(&r);
                r.k->read(r.d, y, one, E_TOK * E_ROW);
                for (int i = 0; i < E_CHOICE; i++) {
                    if (c[i].exp == e) {
                        assert_same(one + i / E_USED * E_ROW, got + i * E_ROW, E_ROW);
                    }
                }
                rig_close(&r);
            }
        }
    }
    for (int e = 0; e < E_EXP; e++) {
        mem_free(m.w[e]);
    }
    mem_free(m.x);
}

/* Experts' gated feed forward, [E_TOK, E_COL], as the back end fuses it, or as kern.c composes it.
 */
static void moe_run(const struct experts *m, const struct experts *up, enum dtype up_type,
                    enum kern_act act, const char *level, int n_thread, bool fused, float *out) {
    struct rig r = rig_open("cpu", level, n_thread, E_TOK);
    struct kern single = *r.k;
    single.moe = NULL;
    const void *down[E_EXP], *route[1] = {m->logit};
    for (int e = 0; e < E_EXP; e++) {
        down[e] = m->logit + e; /* any floats */
    }
    struct kern_moe a = {.n_exp = E_EXP, .n_used = E_USED, .d_model = E_COL, .d_ff = E_ROW};
    a.w_route = rig_load(&r, DT_F32, 1, E_EXP, E_COL, route);
    a.w_gate = rig_load(&r, DT_Q4_0, E_EXP, E_ROW, E_COL, (const void *const *)m->w);
    a.w_up = rig_load(&r, up_type, E_EXP, E_ROW, E_COL, (const void *const *)up->w);
    a.w_down = rig_load(&r, DT_F32, E_EXP, E_COL, E_ROW, down);
    a.act = act;
    a.x = rig_alloc(&r, E_TOK * E_COL, m->x);
    a.y = rig_alloc(&r, E_TOK * E_COL, m->x);
    a.logit = rig_alloc(&r, E_TOK * E_EXP, NULL);
    a.sel = rig_alloc(&r, E_CHOICE * 2, NULL);
    a.gate = rig_alloc(&r, E_CHOICE * E_ROW, NULL);
    a.up = rig_alloc(&r, E_CHOICE * E_ROW, NULL);
    a.down = rig_alloc(&r, E_CHOICE * E_COL, NULL);
    rig_ready(&r);
    for (int n = 1; n <= E_TOK; n += E_TOK - 1) { /* one token, then all: y adds up both */
        struct step s = {.n_tok = n};
        r.k->begin(r.d, &s);
        kern_moe(fused ? r.k : &single, r.d, &a);
        run_end(&r);
    }
    r.k->read(r.d, a.y, out, E_TOK * E_COL);
    rig_close(&r);
}

/* Gate and up of one format, and of two. */
static void experts_are_gated(void **state) {
    (void)state;
    static const enum dtype types[] = {DT_Q4_0, DT_Q8_0};
    static float want[E_TOK * E_COL], got[E_TOK * E_COL];
    struct experts m, up;
    struct rng g;
    rng_seed(&g, 38);
    m.x = floats(&g, E_TOK * E_COL, 2);
    for (int i = 0; i < E_TOK * E_EXP; i++) {
        m.logit[i] = blocks_uniform(&g, -1, 1);
    }
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        for (int e = 0; e < E_EXP; e++) {
            m.w[e] = random_rows(&g, DT_Q4_0, E_ROW, E_COL);
            up.w[e] = random_rows(&g, types[i], E_ROW, E_COL);
        }
        const enum kern_act act = i == 0 ? ACT_GELU : ACT_SILU;
        moe_run(&m, &up, types[i], act, "c", 1, false, want);
        int l = 0;
        for (const char *level; (level = next_level(&l)) != NULL;) {
            for (int n_thread = 1; n_thread <= THREADS; n_thread += 2) {
                moe_run(&m, &up, types[i], act, level, n_thread, true, got);
                assert_same(want, got, E_TOK * E_COL);
            }
        }
        for (int e = 0; e < E_EXP; e++) {
            mem_free(m.w[e]);
            mem_free(up.w[e]);
        }
    }
    mem_free(m.x);
}

/* ---- attention ------------------------------------------------------------------------------- */

/* Two prompts in one step. */
enum { A_LONG = 150, A_SHORT = 60, A_TOK = A_LONG + A_SHORT, A_DIM = 16, A_PAGE = 32, A_PAGES = 5 };

struct att_shape {
    int n_head, n_kv;
};

static void att_run(const char *device, const char *level, int n_thread, struct att_shape a,
                    bool apart, const float *x, float *out) {
    struct rig r = rig_open(device, level, n_thread, A_TOK);
    struct kern_kv kv = {1, a.n_kv, A_DIM, A_PAGE, 2 * A_PAGES, DT_F16, 0};
    int32_t pos[A_TOK], seq[A_TOK], page[2 * A_PAGES], start[3] = {0, A_PAGES, 2 * A_PAGES};
    size_t q = (size_t)(A_TOK * A_DIM * a.n_head), n = (size_t)(A_TOK * A_DIM * a.n_kv);
    struct step s = {
        .n_tok = A_TOK, .n_seq = 2, .pos = pos, .seq = seq, .page = page, .page_start = start};
    struct kern_attend at = {0, a.n_head, a.n_kv, A_DIM, 0.25f, 0, 0};
    struct err e = {0};
    for (int i = 0; i < A_TOK; i++) {
        seq[i] = i >= A_LONG;
        pos[i] = i >= A_LONG ? i - A_LONG : i;
    }
    for (int i = 0; i < 2 * A_PAGES; i++) {
        page[i] = i ^ 1;
    }
    rig_ready(&r);
    assert_int_equal(r.k->kv_open(r.d, &kv, &e), ERR_OK);
    kern_ref qr = rig_alloc(&r, q, x), kr = rig_alloc(&r, n, x + 1), vr = rig_alloc(&r, n, x + 3);
    kern_ref y = rig_alloc(&r, q, NULL);
    r.k->begin(r.d, &s);
    if (apart) {
        r.k->kv_store(r.d, 0, kr, vr);
        r.k->attend(r.d, y, qr, &at);
    } else {
        kern_store_attend(r.k, r.d, y, qr, kr, vr, &at);
    }
    run_end(&r);
    r.k->read(r.d, y, out, q);
    rig_close(&r);
}

/* More tokens, or more heads on one KV head, than go through a tile together. */
static void prompts_of_several_spans(void **state) {
    (void)state;
    static const struct att_shape shapes[] = {{8, 2}, {4, 4}, {260, 1}};
    struct rng g;
    rng_seed(&g, 34);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        size_t n = (size_t)(A_TOK * A_DIM * shapes[i].n_head);
        float *x = floats(&g, n + 3, 1), *plain = floats(&g, n, 1), *want = floats(&g, n, 1);
        float *got = floats(&g, n, 1);
        int l = 0;
        att_run("plain", NULL, 1, shapes[i], true, x, plain);
        att_run("cpu", "c", 1, shapes[i], true, x, want);
        assert_near(plain, want, n, 2e-3f);
        for (const char *level; (level = next_level(&l)) != NULL;) {
            for (int n_thread = 1; n_thread <= THREADS; n_thread += 2) {
                att_run("cpu", level, n_thread, shapes[i], false, x, got);
                assert_same(want, got, n);
            }
        }
        mem_free(x);
        mem_free(plain);
        mem_free(want);
        mem_free(got);
    }
}

/* ---- encoders -------------------------------------------------------------------------------- */

enum { X_HEAD = 3, X_LONG = 200, X_MID = 70, X_TOK = X_LONG + X_MID + 1, X_DIM_MAX = 40 };

static void all_run(const char *device, const char *level, int n_thread, int d_head, const float *x,
                    float *out) {
    struct rig r = rig_open(device, level, n_thread, X_TOK);
    struct kern_kv kv = {1, X_HEAD, d_head, 0, 0, DT_F16, X_LONG};
    int32_t pos[X_TOK], seq[X_TOK];
    size_t n = (size_t)(X_TOK * X_HEAD * d_head);
    struct step s = {.n_tok = X_TOK, .n_seq = 3, .pos = pos, .seq = seq};
    struct err e = {0};
    for (int i = 0; i < X_TOK; i++) {
        seq[i] = i < X_MID ? 0 : i < X_MID + X_LONG ? 1 : 2;
        pos[i] = seq[i] == 0 ? i : seq[i] == 1 ? i - X_MID : 0;
    }
    rig_ready(&r);
    assert_int_equal(r.k->kv_open(r.d, &kv, &e), ERR_OK);
    kern_ref ref[4];
    for (int i = 0; i < 4; i++) {
        ref[i] = rig_alloc(&r, n, x + i);
    }
    r.k->begin(r.d, &s);
    r.k->attend_all(
        r.d, &(struct kern_attend_all){ref[0], ref[1], ref[2], ref[3], X_HEAD, d_head, 0.3f});
    run_end(&r);
    r.k->read(r.d, ref[3], out, n);
    rig_close(&r);
}

static void texts_of_several_tiles(void **state) {
    (void)state;
    static const int dims[] = {20, 32, X_DIM_MAX};
    static float want[X_TOK * X_HEAD * X_DIM_MAX], got[X_TOK * X_HEAD * X_DIM_MAX];
    struct rng g;
    rng_seed(&g, 35);
    float *x = floats(&g, X_TOK * X_HEAD * X_DIM_MAX + 4, 2);
    for (size_t i = 0; i < sizeof dims / sizeof dims[0]; i++) {
        size_t n = (size_t)(X_TOK * X_HEAD * dims[i]);
        int l = 0;
        all_run("plain", NULL, 1, dims[i], x, want);
        all_run("cpu", "c", 1, dims[i], x, got);
        assert_near(want, got, n, 3e-3f);
        memcpy(want, got, sizeof want);
        for (const char *level; (level = next_level(&l)) != NULL;) {
            for (int n_thread = 1; n_thread <= THREADS; n_thread += 2) {
                all_run("cpu", level, n_thread, dims[i], x, got);
                assert_same(want, got, n);
            }
        }
    }
    mem_free(x);
}

/* A row of positions is decoded in pieces. */
static void wide_rows_are_summed(void **state) {
    (void)state;
    enum { DIM = 2080, ROWS = 3 };
    float *out[2];
    struct rng g;
    rng_seed(&g, 36);
    uint8_t *w[2] = {random_rows(&g, DT_Q4_0, ROWS, DIM), random_rows(&g, DT_Q4_0, ROWS, DIM)};
    float *type = floats(&g, DIM, 1);
    for (int i = 0; i < 2; i++) {
        struct rig r = rig_open(i ? "cpu" : "plain", NULL, 1, 2);
        int32_t tok[2] = {2, 0}, pos[2] = {1, 2}, seq[2] = {0, 0};
        struct step s = {.n_tok = 2, .n_seq = 1, .tok = tok, .pos = pos, .seq = seq};
        const void *vec[1] = {type};
        kern_weight t = rig_load(&r, DT_Q4_0, 1, ROWS, DIM, (const void *const *)&w[0]);
        kern_weight p = rig_load(&r, DT_Q4_0, 1, ROWS, DIM, (const void *const *)&w[1]);
        kern_weight b = rig_load(&r, DT_F32, 1, 1, DIM, vec);
        kern_ref x = rig_alloc(&r, 2 * DIM, NULL);
        rig_ready(&r);
        r.k->begin(r.d, &s);
        r.k->embed_sum(r.d, x, t, p, b);
        run_end(&r);
        out[i] = floats(&g, 2 * DIM, 1);
        r.k->read(r.d, x, out[i], 2 * DIM);
        rig_close(&r);
    }
    assert_near(out[0], out[1], 2 * DIM, 1e-6f);
    for (int i = 0; i < 2; i++) {
        mem_free(out[i]);
        mem_free(w[i]);
    }
    mem_free(type);
}

static void nothing_is_left(void **state) {
    (void)state;
    assert_int_equal(mem_live(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_share_an_input),
        cmocka_unit_test(rows_fill_many_items),
        cmocka_unit_test(threads_prepare_long_rows),
        cmocka_unit_test(more_experts_than_a_run_takes),
        cmocka_unit_test(experts_are_gated),
        cmocka_unit_test(prompts_of_several_spans),
        cmocka_unit_test(texts_of_several_tiles),
        cmocka_unit_test(wide_rows_are_summed),
        cmocka_unit_test(nothing_is_left),
    };
    return cmocka_run_group_tests_name("shapes", tests, NULL, NULL);
}
