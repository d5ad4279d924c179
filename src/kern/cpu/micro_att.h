/* micro_att.h: attention's micro-kernels, a part of the table of micro.h.
 *
 * Owns the definition of their arithmetic, and the two ways in which keys and values reach them: as
 * tiles of integers, made once for many queries, or as runs of the cache, read in place for few.
 * Refuses sequences, parts of a walk and threads: attention.c and attend_all.c have those.
 * Invariant: what scores and mixed values are made of depends on one query or one position alone,
 * so that no bit depends on a batch.
 *
 * They are sums of products of integers, exact in int32 in any order:
 *   query   groups of 32 dimensions, |q| <= MICRO_ATT_INT, a power of two as their scale
 *   key     the same groups, |k| <= 2^13, a power of two; an int8 key as it is, its group's scale
 *   score   sum over groups, ascending: fma((float)(sum of q * k) * q_scale, k_scale, score)
 *   value   |v| <= 2^12, one scale for the position; of int8, whose groups have scales, the largest
 *   weight  2^(score - top) times its value's scale, in steps of 1 / MICRO_ATT_INT of the tile's
 *           largest
 *   mixed   fma((float)(sum of weight * v), step, y * keep) for each tile of positions
 * A power of two keeps what f16 keeps of the two largest binades, so keys and values from f16 lose
 * about as much again as they lost there.
 */
#ifndef IGN_KERN_CPU_MICRO_ATT_H
#define IGN_KERN_CPU_MICRO_ATT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/half.h"

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
    const char *stream[MICRO_AHEAD]; /* 1 << log_n of them, four at least */
    uint32_t next, end;              /* lines, counted through all streams in turn */
    int log_n;
};

/* Prefetches the next line, into L2 as micro_fetch does. */
static inline void micro_ahead_line(struct micro_ahead *a) {
    if (a && a->next < a->end) {
        uint32_t i = a->next++;
        const char *stream = a->stream[i & ((1u << a->log_n) - 1)];
        __builtin_prefetch(stream + (size_t)(i >> a->log_n) * 64, 0, 2);
    }
}

/* Prefetches the next four lines, one of each of four streams, of which there are four at least:
 * whoever calls this calls nothing else, so `next` is a multiple of four. */
static inline void micro_ahead_lines(struct micro_ahead *a) {
    if (a->next < a->end) {
        uint32_t i = a->next & ((1u << a->log_n) - 1);
        size_t at = (size_t)(a->next >> a->log_n) * 64;
        a->next += 4;
        for (uint32_t k = i; k < i + 4; k++) {
            __builtin_prefetch(a->stream[k] + at, 0, 2);
        }
    }
}

/* Keys or values of one head, read in place: runs of `each` positions, a multiple of 16. While a
 * run is read, the bytes at the same offsets from `near` are prefetched into L1: they are what is
 * read half a tile later. */
struct micro_runs {
    struct micro_rows run[MICRO_ATT_TILE / 16];
    const char *near[MICRO_ATT_TILE / 16];
    struct micro_ahead *ahead; /* as in struct micro_tile, never NULL */
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

#endif
