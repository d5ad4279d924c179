/* micro.h: the CPU back end's private table of micro-kernels, and the layouts they share.
 *
 * Owns the definition of the arithmetic. C fills the table first (micro_c.c) and is the
 * definition; an ISA file overwrites entries and must give the same bits.
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
 * mul and sum are indexed by micro_half: the order in which a reduction inside the 128-bit lanes
 * of a 256-bit register leaves the halves. */
struct act_group {
    _Alignas(64) int8_t q[256]; /* -127..127 */
    int32_t mul[16];            /* 1..MICRO_MUL, of each half */
    int32_t sum[16];            /* sum of q over each half */
    float s[8];                 /* mul * sum, both halves of each block */
    float d;                    /* scale of the row; NaN if an activation is not finite */
};

static inline int micro_half(int block, int half) {
    return block / 4 * 8 + half * 4 + block % 4;
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

/* How the back end multiplies by weights of one type. A panel holds `rows` rows of weights,
 * a tile up to `toks` rows of activations, both in a layout that belongs to
 * `tile`'s kernel; formats with the same `pack` share tiles. */
struct micro_format {
    enum micro_act act;
    int rows;      /* in a panel, at most MICRO_ROWS */
    int toks;      /* in a tile, at most MICRO_TOKS */
    int small_min; /* activation rows from which gemm_small pays: 1 or 2 */
    /* y[r] = row r . x for n_row rows, row_bytes apart; x as `act` says */
    void (*gemv)(const uint8_t *w, size_t row_bytes, int n_row, const void *x, int64_t n_col,
                 float *y);
    /* The same for a small batch: y[t * n_row + r] = row r . x[t], n_tok <= MICRO_SMALL; what is
     * decoded of a row serves all of x. x[t] as micro.arrange left it, or floats as `act` says. */
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

/* ---- attention -------------------------------------------------------------------------- */

/* Scores and mixed values are sums of products of integers, exact in int32 in any order; what they
 * are made of depends on one query or one position alone, so that no bit depends on a batch:
 *   query   groups of 32 dimensions, |q| <= MICRO_ATT_INT, a power of two as their scale
 *   key     the same groups, |k| <= 2^13, a power of two; an int8 key as it is, its group's scale
 *   score   sum over groups, ascending: fma((float)(sum of q * k) * q_scale, k_scale, score)
 *   value   |v| <= 2^12, one scale for the position; of int8, whose groups have scales, the largest
 *   weight  2^(score - top) times its value's scale, in steps of 1 / MICRO_ATT_INT of the tile's
 *           largest
 *   mixed   fma((float)(sum of weight * v), step, y * keep) for each tile of positions
 * A power of two keeps what f16 keeps of the two largest binades, so keys and values from f16 lose
 * about as much again as they lost there. */
#define MICRO_ATT_TILE  64   /* positions that keys, values and weights are gathered for */
#define MICRO_ATT_GROUP 32   /* dimensions with one scale of a query or key */
#define MICRO_ATT_DIM   1024 /* dimensions of a head, at most */
#define MICRO_ATT_LEAST 0x1p-90f
#define MICRO_ATT_INT   8191 /* 8191 * 2^13 * 32 and 8191 * 2^12 * 64 are less than 2^31 */

/* Keys or values of one head at neighbouring positions, in a page of the KV cache (kern.h). Keys
 * lie with positions side by side: key(d, p) is number d * step + p, and value (p, j) is number
 * p * step + j. An int8 has a scale: scale[d / 32 * step + p] of keys, scale[p * (groups of 32 in
 * dim) + j / 32] of values. */
struct micro_rows {
    const void *v;
    const bf16_t *scale; /* of int8 only */
    int step;
};

enum micro_kv { MICRO_KV_F32, MICRO_KV_F16, MICRO_KV_I8, MICRO_KV_N };

/* A tile as integers, in a layout that belongs to the level: v[dim * MICRO_ATT_TILE];
 * scale[group][MICRO_ATT_TILE] of keys, scale[MICRO_ATT_TILE] of values. NaN where a number is not
 * finite. */
struct micro_tile {
    int16_t *v;
    float *scale;
    struct micro_ahead *ahead; /* fetched from, a line at each step of a loop; or NULL */
};

/* What the next tile is made of, as streams of equal length. They are prefetched while this tile is
 * computed, a line of each in turn: the hardware prefetcher follows each within a page of memory.
 */
#define MICRO_AHEAD 16
struct micro_ahead {
    const char *stream[MICRO_AHEAD]; /* 1 << log_n of them */
    uint32_t next, end;              /* lines, counted through all streams in turn */
    int log_n;
};

/* Prefetches the next line, into L2 as above. */
static inline void micro_ahead_line(struct micro_ahead *a) {
    if (a && a->next < a->end) {
        uint32_t i = a->next++;
        const char *stream = a->stream[i & ((1u << a->log_n) - 1)];
        __builtin_prefetch(stream + (size_t)(i >> a->log_n) * 64, 0, 2);
    }
}

/* Keys or values of one head, read in place: runs of `each` positions, a multiple of 16. While a
 * run is read, the bytes at the same offsets from `near` are prefetched into L1: they are what is
 * read half a tile later. */
struct micro_runs {
    struct micro_rows run[MICRO_ATT_TILE / 16];
    const char *near[MICRO_ATT_TILE / 16];
    struct micro_ahead *ahead; /* as in struct micro_tile */
    int each;
};

/* Turns n_pos positions, a multiple of 16, into the tile's from `at` on, a multiple of 16, too; dim
 * is a multiple of 16. */
typedef void (*micro_tile_fn)(const struct micro_rows *r, int dim, int n_pos, int at,
                              const struct micro_tile *to);

struct micro_att {
    micro_tile_fn keys[MICRO_KV_N], values[MICRO_KV_N];
    /* dim floats, a multiple of 16, as integers with a scale for each MICRO_ATT_GROUP of them */
    void (*query)(const float *x, int dim, int16_t *to, float *scale);
    /* s[i * MICRO_ATT_TILE + p] of query i at every position of the tile; q[n_q][dim], q_scale
     * [n_q][groups] as query makes them */
    void (*scores)(const int16_t *q, const float *q_scale, int n_q, int dim,
                   const struct micro_tile *k, float *s);
    /* Scores of n_q queries at n_pos positions, a multiple of 16, become weights: of row i those in
     * [from[i], to[i]), zeros elsewhere. m = their maximum; where m > top: keep = 2^(top - m) and
     * top = m; else keep = 1. s = 2^(s - top), and total[i * 16 + l] = total * keep, then plus s[p]
     * for p = l, l + 16, ... A row where nothing counts has keep = 1 and is all zeros.
     * w = s * v_scale[p] in steps of `step`, which is NaN where one of them is not finite; where s
     * is less than MICRO_ATT_LEAST, zero: the product would be subnormal, and slow. */
    void (*weigh)(float *s, int n_q, int n_pos, const int *from, const int *to,
                  const float *v_scale, float *top, float *total, float *keep, int16_t *w,
                  float *step);
    /* y[i] = y[i] * keep[i] plus step[i] * (sum of w[i * MICRO_ATT_TILE + p] * v(p)) */
    void (*mix)(float *y, int n_q, int dim, const float *keep, const int16_t *w, const float *step,
                const struct micro_tile *v, int n_pos);

    /* The same scores and mixed values for at most `few` queries (0: never), straight from the
     * pages: so few queries do not pay for writing a tile to L1 and reading it back. NULL for a
     * type of which tiles are always made. value_scales writes what `values` leaves in `scale`, and
     * into `own`, as large as a tile, what mix_few needs beside it. */
    int few;
    void (*scores_few[MICRO_KV_N])(const struct micro_runs *k, const int16_t *q,
                                   const float *q_scale, int n_q, int dim, int n_pos, float *s);
    void (*value_scales[MICRO_KV_N])(const struct micro_runs *v, int dim, int n_pos, float *scale,
                                     int16_t *own);
    void (*mix_few[MICRO_KV_N])(float *y, int n_q, int dim, const float *keep, const int16_t *w,
                                const float *step, const struct micro_runs *v, const int16_t *own,
                                int n_pos);
};

/* micro_att.query in C. */
void micro_att_query(const float *x, int dim, int16_t *to, float *scale);

/* The power of two that takes numbers whose largest has these bits, sign apart, to below 2^n; and
 * its inverse, NaN if the largest is not finite. 12 <= n <= 13. */
static inline float micro_att_factor(uint32_t largest, int n) {
    uint32_t e = largest >> 23 < 16 ? 16 : largest >> 23;
    return f32_from_bits((253 + (uint32_t)n - e) << 23);
}

static inline float micro_att_scale(uint32_t largest, int n) {
    uint32_t e = largest >> 23 < 16 ? 16 : largest >> 23;
    return f32_from_bits(largest >= 0x7f800000 ? 0x7fc00000 : (e + 1 - (uint32_t)n) << 23);
}

/* The factor that maps 0..largest to 0..n; 0, which makes all numbers 0, where `largest` is too
 * small or too large for it. */
static inline float micro_att_parts(float n, float largest) {
    return largest >= 0x1p-100f && largest < 0x1p125f ? n / largest : 0.0f;
}

/* An int8 value's groups have parts of the largest scale, 4,096 of it, and a number becomes
 * (x * 256 * part + 2^14) >> 15. For sixteen values: to[16] their scales, part[16][groups]. */
static inline void micro_att_value_parts(const bf16_t *scale, int groups, float *to,
                                         int16_t *part) {
    const float round = 12582912.0f; /* 1.5 * 2^23: what is added to it loses its fraction */
    float largest[16], own[16 * MICRO_ATT_DIM / MICRO_ATT_GROUP];
    for (int p = 0; p < 16; p++) {
        int most = 0;
        for (int g = 0; g < groups; g++) {
            int size = scale[p * groups + g] & 0x7fff;
            most = size > most ? size : most;
        }
        largest[p] = f32_from_bf16((bf16_t)most);
    }
    for (int p = 0; p < 16; p++) {
        bool finite = f32_bits(largest[p]) < 0x7f800000;
        to[p] = finite ? largest[p] * 0x1p-5f : f32_from_bits(0x7fc00000);
        largest[p] = micro_att_parts(4096, largest[p]);
    }
    for (int p = 0; p < 16; p++) {
        for (int g = 0; g < groups; g++) {
            own[p * groups + g] = largest[p];
        }
    }
    for (int i = 0; i < 16 * groups; i++) {
        float share = f32_from_bf16(scale[i] & 0x7fff) * own[i];
        part[i] = own[i] > 0 ? (int16_t)(int)((share + round) - round) : 0;
    }
}

/* ---- the table ---------------------------------------------------------------------------- */

struct micro {
    const char *name;
    int gemm_min;  /* activation rows from which panels pay; at most MICRO_SMALL + 1 */
    int tiles_min; /* activation rows from which gemm_tiles pays, up to MICRO_SMALL of them */
    struct micro_format fmt[DT_MAX];
    int64_t short_cols;                    /* rows of fewer columns than this take short_fmt: */
    struct micro_format short_fmt[DT_MAX]; /* a lower level's, as fast for them; 0: no rows do */

    /* A quantized row as gemm_small reads it: small_group bytes for each act_group, in the
     * level's own order; n_col is rounded up to whole groups. */
    size_t small_group;
    void (*arrange)(const struct act_group *x, int64_t n_col, void *to);
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
/* Overwrites what AVX-512 (F, BW, VL, DQ, VBMI) and VNNI do better, after micro_init_avx2. */
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
