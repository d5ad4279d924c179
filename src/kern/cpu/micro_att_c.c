/* micro_att_c.c: attention's micro-kernels in portable C: the definition that the ISA files equal.
 *
 * Owns how queries, keys, values and weights become integers, and the order of what is summed in
 * floats: a score over the groups of a head, a mixed value over the tiles, a total in sixteen lanes
 * over positions. Refuses pages, sequences and threads: attention.c has those. Invariant: the
 * arithmetic of micro_att.h, to the bit. A tile here is keys [dim][MICRO_ATT_TILE], values
 * [MICRO_ATT_TILE][dim].
 */
#include <math.h>
#include <string.h>

#include "kern/cpu/micro.h"

#define TILE  MICRO_ATT_TILE
#define GROUP MICRO_ATT_GROUP

/* 2^k 2^r with k the nearest integer to x, and 2^r by Cephes' polynomial of degree 6. */
float micro_exp2(float x) {
    const float round = 12582912.0f; /* 1.5 * 2^23: what is added to it loses its fraction */
    if (isnan(x)) {
        return x;
    }
    if (x < -125.0f) {
        return 0.0f;
    }
    float k = (x + round) - round, r = x - k;
    float p = 1.535336188e-4f;
    p = fmaf(p, r, 1.339887440e-3f);
    p = fmaf(p, r, 9.618437357e-3f);
    p = fmaf(p, r, 5.550332471e-2f);
    p = fmaf(p, r, 2.402264791e-1f);
    p = fmaf(p, r, 6.931472028e-1f);
    p = fmaf(p, r, 1.0f);
    return f32_from_bits(f32_bits(p) + ((uint32_t)(int32_t)k << 23));
}

/* ---- integers -------------------------------------------------------------------------- */

static uint32_t size_bits(float x) {
    return f32_bits(x) & 0x7fffffffu;
}

static uint32_t larger(uint32_t a, uint32_t b) {
    return a > b ? a : b;
}

/* x * factor, |x| * factor <= 2^15, to the nearest integer, to even between two. */
static int16_t nearest(float x, float factor) {
    const float round = 12582912.0f;
    return (int16_t)(int)((x * factor + round) - round);
}

void micro_att_query(const float *x, int dim, int16_t *to, float *scale) {
    for (int d = 0; d < dim; d += GROUP, x += GROUP, to += GROUP, scale++) {
        int n = dim - d < GROUP ? dim - d : GROUP;
        uint32_t most = 0;
        for (int i = 0; i < n; i++) {
            most = larger(most, size_bits(x[i]));
        }
        bool finite = most < 0x7f800000;
        float factor = micro_att_factor(most, 13);
        *scale = micro_att_scale(most, 13);
        for (int i = 0; i < n; i++) {
            int v = finite ? nearest(x[i], factor) : 0;
            v = v > MICRO_ATT_INT ? MICRO_ATT_INT : v < -MICRO_ATT_INT ? -MICRO_ATT_INT : v;
            to[i] = (int16_t)v;
        }
    }
}

static float number(enum micro_kv type, const void *v, size_t at) {
    return type == MICRO_KV_F32 ? ((const float *)v)[at] : f32_from_f16(((const f16_t *)v)[at]);
}

static void keys_float(enum micro_kv type, const struct micro_rows *k, int dim, int n_pos, int at,
                       const struct micro_tile *to) {
    for (int p = 0; p < n_pos; p++) {
        for (int g = 0; g < dim; g += GROUP) {
            int end = g + GROUP < dim ? g + GROUP : dim;
            uint32_t most = 0;
            for (int d = g; d < end; d++) {
                most = larger(most, size_bits(number(type, k->v, (size_t)(d * k->step + p))));
            }
            float factor = micro_att_factor(most, 13);
            to->scale[g / GROUP * TILE + at + p] = micro_att_scale(most, 13);
            for (int d = g; d < end; d++) {
                float x = number(type, k->v, (size_t)(d * k->step + p));
                to->v[d * TILE + at + p] = most < 0x7f800000 ? nearest(x, factor) : 0;
            }
        }
    }
}

static void keys_i8(const struct micro_rows *k, int dim, int n_pos, int at,
                    const struct micro_tile *to) {
    for (int p = 0; p < n_pos; p++) {
        for (int d = 0; d < dim; d++) {
            if (d % GROUP == 0) {
                bf16_t scale = k->scale[d / GROUP * k->step + p];
                to->scale[d / GROUP * TILE + at + p] = f32_from_bf16(scale);
            }
            to->v[d * TILE + at + p] = ((const int8_t *)k->v)[d * k->step + p];
        }
    }
}

static void values_float(enum micro_kv type, const struct micro_rows *v, int dim, int n_pos, int at,
                         const struct micro_tile *to) {
    for (int p = 0; p < n_pos; p++) {
        uint32_t most = 0;
        for (int j = 0; j < dim; j++) {
            most = larger(most, size_bits(number(type, v->v, (size_t)(p * v->step + j))));
        }
        float factor = micro_att_factor(most, 12);
        to->scale[at + p] = micro_att_scale(most, 12);
        for (int j = 0; j < dim; j++) {
            float x = number(type, v->v, (size_t)(p * v->step + j));
            to->v[(at + p) * dim + j] = most < 0x7f800000 ? nearest(x, factor) : 0;
        }
    }
}

static void values_i8(const struct micro_rows *v, int dim, int n_pos, int at,
                      const struct micro_tile *to) {
    const int groups = (dim + GROUP - 1) / GROUP;
    int16_t part[16 * MICRO_ATT_DIM / GROUP];
    for (int p = 0; p < n_pos; p++) {
        if (p % 16 == 0) {
            micro_att_value_parts(v->scale + p * groups, groups, to->scale + at + p, part);
        }
        for (int j = 0; j < dim; j++) {
            int x = ((const int8_t *)v->v)[p * v->step + j] * 256;
            x = (x * part[p % 16 * groups + j / GROUP] + 0x4000) >> 15;
            to->v[(at + p) * dim + j] = (int16_t)x;
        }
    }
}

#define TILE_OF(name, type)                                                                        \
    static void keys_##name(const struct micro_rows *r, int dim, int n_pos, int at,                \
                            const struct micro_tile *to) {                                         \
        keys_float(type, r, dim, n_pos, at, to);                                                   \
    }                                                                                              \
    static void values_##name(const struct micro_rows *r, int dim, int n_pos, int at,              \
                              const struct micro_tile *to) {                                       \
        values_float(type, r, dim, n_pos, at, to);                                                 \
    }

TILE_OF(f32, MICRO_KV_F32)
TILE_OF(f16, MICRO_KV_F16)

/* ---- products -------------------------------------------------------------------------- */

/* The sum may pass int32 only where it will not count: at positions that hold anything. */
static void scores(const int16_t *q, const float *q_scale, int n_q, int dim,
                   const struct micro_tile *k, float *s) {
    const int groups = (dim + GROUP - 1) / GROUP;
    for (int i = 0; i < n_q; i++, q += dim, q_scale += groups, s += TILE) {
        for (int p = 0; p < TILE; p++) {
            s[p] = 0;
            for (int g = 0; g < groups; g++) {
                int end = (g + 1) * GROUP < dim ? (g + 1) * GROUP : dim;
                uint32_t sum = 0;
                for (int d = g * GROUP; d < end; d++) {
                    sum += (uint32_t)(q[d] * k->v[d * TILE + p]);
                }
                s[p] = fmaf((float)(int32_t)sum * q_scale[g], k->scale[g * TILE + p], s[p]);
            }
        }
    }
}

static void mix(float *y, int n_q, int dim, const float *keep, const int16_t *w, const float *step,
                const struct micro_tile *v, int n_pos) {
    for (int i = 0; i < n_q; i++, y += dim, w += TILE) {
        for (int j = 0; j < dim; j++) {
            uint32_t sum = 0;
            for (int p = 0; p < n_pos; p++) {
                sum += (uint32_t)(w[p] * v->v[p * dim + j]);
            }
            y[j] = fmaf((float)(int32_t)sum, step[i], y[j] * keep[i]);
        }
    }
}

/* ---- weights --------------------------------------------------------------------------- */

/* A row of weights as integers. Those outside of [from, to) are zero. */
static void whole_weights(float *s, int n_pos, int from, int to, const float *v_scale, int16_t *w,
                          float *step) {
    uint32_t most = 0;
    for (int p = from; p < to; p++) {
        s[p] = s[p] < MICRO_ATT_LEAST ? 0 : s[p] * v_scale[p];
        most = larger(most, size_bits(s[p]));
    }
    float largest = f32_from_bits(most), factor = micro_att_parts(MICRO_ATT_INT, largest);
    *step = largest * (1.0f / MICRO_ATT_INT);
    for (int p = 0; p < n_pos; p++) {
        bool counts = p >= from && p < to && factor > 0;
        w[p] = counts ? nearest(s[p], factor) : 0;
    }
}

static void weigh(float *s, int n_q, int n_pos, const int *from, const int *to,
                  const float *v_scale, float *top, float *total, float *keep, int16_t *w,
                  float *step) {
    for (int i = 0; i < n_q; i++, s += TILE, w += TILE, total += 16) {
        float most = -INFINITY;
        keep[i] = 1.0f;
        step[i] = 0.0f;
        if (from[i] >= to[i]) {
            memset(w, 0, (size_t)n_pos * sizeof *w);
            continue;
        }
        for (int p = from[i]; p < to[i]; p++) {
            most = s[p] > most ? s[p] : most;
        }
        if (most > top[i]) {
            keep[i] = micro_exp2(top[i] - most);
            top[i] = most;
        }
        for (int l = 0; l < 16; l++) {
            total[l] *= keep[i];
        }
        for (int p = 0; p < n_pos; p++) {
            s[p] = p >= from[i] && p < to[i] ? micro_exp2(s[p] - top[i]) : 0.0f;
            total[p % 16] += s[p];
        }
        whole_weights(s, n_pos, from[i], to[i], v_scale, w, &step[i]);
    }
}

void micro_att_init_c(struct micro *m) {
    m->att = (struct micro_att){.keys = {keys_f32, keys_f16, keys_i8},
                                .values = {values_f32, values_f16, values_i8},
                                .query = micro_att_query,
                                .scores = scores,
                                .weigh = weigh,
                                .mix = mix};
}
