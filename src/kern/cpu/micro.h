/* micro.h: the CPU back end's private table of micro-kernels, and the layouts they share.
 *
 * Owns the definition of the arithmetic; attention's is in micro_att.h. C fills the table first
 * (micro_c.c) and is the definition; an ISA file overwrites entries and must give the same bits.
 * Refuses threads, handles and shapes larger than a panel: matmul.c and attention.c have those.
 *
 * The product of a quantized row and a row of activations, in blocks of 32 columns with two halves
 * of 16; all multiplications and sums of integers are exact in int32:
 *   w[i] = d_w * (integer w[i]) + min        (d_w includes the sub-block's integer scale)
 *   x[i] = d_x * mul[half] * q[i]            (d_x: one for the row; mul: an integer)
 *   I(half) = sum of w * q
 * A block is added to lane[b % 8] by what kind of format it is:
 *   narrow  fma((float)(mul0 * I0 + mul1 * I1), d_w, lane)        of 5 bits at most
 *   split   fma((float)(mul0 * I0), d_w[0], lane), then half 1    a scale for 16 columns
 *   wide    fma(fma((float)I1, mul1, (float)I0 * mul0), d_w, lane)    of 8 bits
 * then fma(min, s, lane) where the format has minimums, s = (float)(sum of mul * q). The result is
 * d_x times the sum of the 8 lanes by micro_sum8.
 * Since the integers are exact, only the lanes fix the bits: matrix-vector and matrix-matrix
 * kernels give the same ones, in any batch.
 * The product of a float row has 8 lanes, lane[i % 8] = fma(w[i], x[i], lane[i % 8]).
 */
#ifndef IGN_KERN_CPU_MICRO_H
#define IGN_KERN_CPU_MICRO_H

#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/half.h"
#include "kern/cpu/micro_att.h"
#include "kern/kern.h"

#define MICRO_BLOCK 32 /* columns with one activation scale */
#define MICRO_GROUP 8  /* blocks in an act_group: 256 columns */
#define MICRO_ROWS  32 /* weight rows in a panel, at most */
#define MICRO_TOKS  16 /* activation rows in a tile, at most */
#define MICRO_SMALL 16 /* activation rows in a small batch, at most */

/* ---- activations ----------------------------------------------------------------------- */

/* mul at most. 2 * 16 * 31 * 127 * mul of a narrow format and 16 * 63 * 127 * mul of a split one,
 * before its offset is taken off, fit in int32. */
#define MICRO_MUL 16383

/* 256 activations of one row; what lies past the end of the row is zero.
 * pair, sum and prod are indexed by micro_half: the order in which a reduction inside the
 * 128-bit lanes of a 256-bit register leaves the halves. */
struct act_group {
    _Alignas(64) int8_t q[256]; /* -127..127 */
    int32_t pair[16];           /* mul, 1..MICRO_MUL, of each half: twice, as int16 */
    int32_t sum[16];            /* sum of q over each half */
    int32_t prod[16];           /* mul * sum */
    float s[8];                 /* prod, both halves of each block */
    float d;                    /* scale of the row; NaN if an activation is not finite */
};

static inline int micro_half(int block, int half) {
    return block / 4 * 8 + half * 4 + block % 4;
}

static inline int micro_mul(const struct act_group *g, int block, int half) {
    return g->pair[micro_half(block, half)] >> 16;
}

/* What half `half` of a block has; returns its product. */
static inline int micro_put_half(struct act_group *g, int block, int half, int mul, int sum) {
    const int i = micro_half(block, half);
    g->pair[i] = mul * 0x10001;
    g->sum[i] = sum;
    g->prod[i] = mul * sum;
    return g->prod[i];
}

static inline int64_t micro_groups(int64_t n_col) {
    return (n_col + 255) / 256;
}

/* Columns of a float row in memory: a multiple of 8, zeros at the end. */
static inline int64_t micro_pad8(int64_t n_col) {
    return (n_col + 7) / 8 * 8;
}

static inline float micro_sum8(const float l[8]) {
    return ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]));
}

/* Of sixteen lanes, as micro_att.weigh leaves them. */
static inline float micro_sum16(const float l[16]) {
    float sum[8];
    for (int i = 0; i < 8; i++) {
        sum[i] = l[i] + l[i + 8];
    }
    return micro_sum8(sum);
}

enum micro_act { MICRO_ACT_Q8, MICRO_ACT_F32 }; /* struct act_group[]; float[micro_pad8] */

/* Bytes of one row of activations. */
static inline size_t micro_act_bytes(enum micro_act kind, int64_t n_col) {
    return kind == MICRO_ACT_Q8 ? (size_t)micro_groups(n_col) * sizeof(struct act_group)
                                : (size_t)micro_pad8(n_col) * sizeof(float);
}

/* ---- formats ---------------------------------------------------------------------------- */

/* How a block is added to its lane, and how many minimums it has: see above. */
enum micro_kind { MICRO_NARROW, MICRO_NARROW_MIN, MICRO_SPLIT, MICRO_SPLIT_MINS, MICRO_WIDE };

/* One block of 32 weights as the definition sees it. */
struct micro_block {
    int8_t w[32];
    float d[2];   /* [0] for the whole block, or one for each half (split) */
    float min[2]; /* likewise; sign included */
};
typedef void (*micro_block_fn)(const uint8_t *row, int64_t block, struct micro_block *out);

/* DO(name, type) for each quantized format. */
#define MICRO_FORMATS(DO)                                                                          \
    DO(q4_0, DT_Q4_0)                                                                              \
    DO(q4_1, DT_Q4_1)                                                                              \
    DO(q5_0, DT_Q5_0)                                                                              \
    DO(q5_1, DT_Q5_1)                                                                              \
    DO(q8_0, DT_Q8_0)                                                                              \
    DO(q2_k, DT_Q2_K)                                                                              \
    DO(q3_k, DT_Q3_K)                                                                              \
    DO(q4_k, DT_Q4_K)                                                                              \
    DO(q5_k, DT_Q5_K)                                                                              \
    DO(q6_k, DT_Q6_K)                                                                              \
    DO(q8_k, DT_Q8_K)                                                                              \
    DO(iq4_nl, DT_IQ4_NL)                                                                          \
    DO(iq4_xs, DT_IQ4_XS)

/* Cache lines to prefetch while a tile is computed, the most urgent last. The tile's kernel fetches
 * one with each block: a burst of prefetches would stall until the first of them arrive. */
#define MICRO_WANTED 256
struct micro_wanted {
    int n;
    const void *line[MICRO_WANTED];
};

/* Prefetches line i into L2, which takes more misses at a time than L1. */
static inline void micro_fetch(const struct micro_wanted *w, int i) {
    __builtin_prefetch(w->line[i], 0, 2);
}

/* Prefetches the lines beyond one for each of n_block blocks at once; returns how many are left, at
 * most one for each block. NULL: 0. */
static inline int micro_fetch_more(const struct micro_wanted *w, int64_t n_block) {
    if (!w) {
        return 0;
    }
    int n = w->n;
    while (n > n_block) {
        micro_fetch(w, --n);
    }
    return n;
}

/* A quantized row in an order that belongs to the kernels that read it. */
struct micro_order {
    void (*arrange)(const struct act_group *x, int64_t n_col, void *to); /* NULL: as it is */
    size_t group; /* bytes for each act_group */
};

/* How the back end multiplies by weights of one type. A panel holds `rows` rows of weights,
 * a tile up to `toks` rows of activations, both in a layout that belongs to
 * `tile`'s kernel; formats with the same `pack` share tiles. */
struct micro_format {
    enum micro_act act;
    int rows;                         /* in a panel, at most MICRO_ROWS */
    int toks;                         /* in a tile, at most MICRO_TOKS */
    int small_min;                    /* activation rows from which gemm_small pays: 1 or 2 */
    struct micro_order vector, small; /* of gemv's row, of gemm_small's rows */
    /* y[r] = row r . x for n_row rows, row_bytes apart; x as `act` and `vector` say */
    void (*gemv)(const uint8_t *w, size_t row_bytes, int n_row, const void *x, int64_t n_col,
                 float *y);
    /* The same for a small batch: y[t * n_row + r] = row r . x[t], n_tok <= MICRO_SMALL; what is
     * decoded of a row serves all of x. x[t] as `act` and `small` say. */
    void (*gemm_small)(const uint8_t *w, size_t row_bytes, int n_row, const void *const *x,
                       int n_tok, int64_t n_col, float *y);
    void (*unpack)(const uint8_t *const *row, int64_t n_col, void *panel);
    void (*pack)(const void *const *x, int n_tok, int64_t n_col, void *tile);
    /* y [n_tok][rows]; next is fetched meanwhile, if the level does so */
    void (*tile)(const void *panel, const void *tile, int n_tok, int64_t n_col,
                 const struct micro_wanted *next, float *y);
    size_t panel_bytes, tile_bytes; /* for each 256 columns */
    /* gemm_small of rows of activations in tiles, of which the last may have room; NULL where a
     * level has none. */
    void (*gemm_tiles)(const uint8_t *w, size_t row_bytes, int n_row, const void *const *tile,
                       int n_tok, int64_t n_col, float *y);
};

/* ---- the table ---------------------------------------------------------------------------- */

struct micro {
    const char *name;
    int gemm_min;  /* activation rows from which panels pay; at most MICRO_SMALL + 1 */
    int tiles_min; /* activation rows from which gemm_tiles pays, up to MICRO_SMALL of them */
    struct micro_format fmt[DT_MAX];
    int64_t short_cols;                    /* rows of fewer columns than this take short_fmt: */
    struct micro_format short_fmt[DT_MAX]; /* a lower level's, as fast for them; 0: no rows do */

    void (*quantize)(const float *x, int64_t n, struct act_group *out);
    /* y = x / sqrt(mean(x^2) + eps) * w */
    void (*rmsnorm)(const float *x, const float *w, int n, float eps, float *y);
    /* y = (x - mean) / sqrt(variance + eps) * w + b: sums in 8 lanes, lane[i % 8] */
    void (*layernorm)(const float *x, const float *w, const float *b, int n, float eps, float *y);
    /* x = act(x) */
    void (*activate)(float *x, int n, enum kern_act act);
    /* gate = act(gate) * up */
    void (*act_mul)(float *gate, const float *up, int n, enum kern_act act);
    void (*add)(float *y, const float *x, int n);
    /* x = cap * tanh(x / cap) */
    void (*softcap)(float *x, int n, float cap);
    /* The largest of x [n], n >= 1; NaN where one of them is */
    float (*largest)(const float *x, int n);
    /* y += a x */
    void (*axpy)(float *y, float a, const float *x, int n);
    /* (head[i], head[i + half]) rotated by cos[i], sin[i] */
    void (*rotate)(float *head, const float *cos, const float *sin, int half);
    /* (head[2i], head[2i + 1]) */
    void (*rotate_pairs)(float *head, const float *cos, const float *sin, int half);
    void (*f32_to_f16)(const float *x, f16_t *y, int n);
    void (*f16_to_f32)(const f16_t *x, float *y, int n);
    struct micro_att att;
};

/* exp with a relative error below 2e-7 for x in [-87, 88]; 0 below, exp(88.5) above. */
float micro_exp(float x);
/* 2^x with a relative error below 2e-7 for x in [-125, 0]; 0 below; not for x above. */
float micro_exp2(float x);

static inline const struct micro_format *micro_format_of(const struct micro *m, enum dtype type,
                                                         int64_t n_col) {
    return n_col < m->short_cols ? &m->short_fmt[type] : &m->fmt[type];
}

/* Fills the table with portable C. */
void micro_init_c(struct micro *m);
void micro_att_init_c(struct micro *m);
#if defined(__x86_64__)
/* Overwrites what AVX2, FMA and F16C do better; only where the processor has all three. */
void micro_init_avx2(struct micro *m);
void micro_rows_init_avx2(struct micro *m);
void micro_att_init_avx2(struct micro *m);
void micro_small_init_avx2(struct micro *m);
void micro_four_init_avx2(struct micro *m);
/* Overwrites what AVX-512 (F, BW, VL, DQ, VBMI), VNNI and GFNI do better, after micro_init_avx2. */
void micro_init_avx512(struct micro *m);
void micro_gemv_init_avx512(struct micro *m);
void micro_four_init_avx512(struct micro *m);
void micro_rows_init_avx512(struct micro *m);
void micro_att_init_avx512(struct micro *m);
void micro_small_init_avx512(struct micro *m);
/* Overwrites what AMX (tiles of bytes) does better, after all of avx512. */
void micro_init_amx(struct micro *m);
#elif defined(__aarch64__)
/* Overwrites what NEON does better, on every processor of aarch64. */
void micro_init_neon(struct micro *m);
void micro_rows_init_neon(struct micro *m);
void micro_att_init_neon(struct micro *m);
/* Overwrites what SDOT does better, after micro_init_neon; SMMLA, after micro_init_dotprod. */
void micro_init_dotprod(struct micro *m);
void micro_init_i8mm(struct micro *m);
#endif

/* The definition of a format: NULL for F32, F16, BF16. */
micro_block_fn micro_block(enum dtype type, enum micro_kind *kind);

/* The levels of this kind of processor from the least, "c", to the best; NULL behind the last. */
const char *micro_level(int i);

/* A level by its name, or NULL for the best that the processor has, for which the system is asked,
 * for good, for what it gives only then (os_cpu_ask_tiles). ERR_UNSUPPORTED names the levels. */
enum err_code micro_choose(struct micro *m, const char *level, struct err *e);

#endif
