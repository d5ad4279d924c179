/* micro_att_c.c: attention's micro-kernels in portable C: the definition that the ISA files equal.
 *
 * Owns the order of each sum: a score is one chain of fma over the dimensions of a head, a mixed
 * value one chain over the positions, a total sixteen lanes over them. Refuses pages, sequences and
 * threads: attention.c has those. Invariant: micro.h's arithmetic, to the bit.
 */
#include <math.h>
#include <string.h>

#include "kern/cpu/micro.h"

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

static float number(enum micro_kv type, const void *v, size_t at) {
    return type == MICRO_KV_F32   ? ((const float *)v)[at]
           : type == MICRO_KV_F16 ? f32_from_f16(((const f16_t *)v)[at])
                                  : (float)((const int8_t *)v)[at];
}

static float key(enum micro_kv type, const struct micro_rows *k, int d, int p) {
    float v = number(type, k->v, (size_t)d * (size_t)k->step + (size_t)p);
    return type == MICRO_KV_I8 ? v * f32_from_bf16(k->scale[d / 32 * k->step + p]) : v;
}

static float value(enum micro_kv type, const struct micro_rows *r, int dim, int p, int j) {
    float v = number(type, r->v, (size_t)p * (size_t)r->step + (size_t)j);
    return type == MICRO_KV_I8 ? v * f32_from_bf16(r->scale[p * ((dim + 31) / 32) + j / 32]) : v;
}

static void scores(enum micro_kv type, const float *q, int n_q, int dim, const struct micro_rows *k,
                   int n_pos, float *s, int s_step) {
    for (int i = 0; i < n_q; i++, q += dim, s += s_step) {
        for (int p = 0; p < n_pos; p++) {
            float sum = 0;
            for (int d = 0; d < dim; d++) {
                sum = fmaf(q[d], key(type, k, d, p), sum);
            }
            s[p] = sum;
        }
    }
}

static void mix(enum micro_kv type, float *y, int n_q, int dim, const float *keep, const float *s,
                int s_step, const struct micro_rows *v, int n_pos) {
    for (int i = 0; i < n_q; i++, y += dim, s += s_step) {
        for (int j = 0; j < dim; j++) {
            float sum = keep ? y[j] * keep[i] : y[j];
            for (int p = 0; p < n_pos; p++) {
                sum = fmaf(s[p], value(type, v, dim, p, j), sum);
            }
            y[j] = sum;
        }
    }
}

static void keys(enum micro_kv type, const struct micro_rows *k, int dim, int n_pos, float *to,
                 int to_step) {
    for (int d = 0; d < dim; d++, to += to_step) {
        for (int p = 0; p < n_pos; p++) {
            to[p] = key(type, k, d, p);
        }
    }
}

static void values(enum micro_kv type, const struct micro_rows *v, int dim, int n_pos, float *to) {
    for (int p = 0; p < n_pos; p++, to += dim) {
        for (int j = 0; j < dim; j++) {
            to[j] = value(type, v, dim, p, j);
        }
    }
}

/* The larger of two where none is NaN; the second where the first is. */
static float larger(float a, float b) {
    return a > b ? a : b;
}

static void softmax_c(float *s, int s_step, int n_q, int n_pos, const int *from, const int *to,
                      float *top, float *total, float *keep) {
    for (int i = 0; i < n_q; i++, s += s_step, total += 16) {
        float most = -INFINITY;
        keep[i] = 1.0f;
        if (from[i] >= to[i]) {
            memset(s, 0, (size_t)n_pos * sizeof *s);
            continue;
        }
        for (int p = from[i]; p < to[i]; p++) {
            most = larger(s[p], most);
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
    }
}

#include "kern/cpu/micro_att_entries.h"

void micro_att_init_c(struct micro *m) {
    att_entries(m->att);
    m->softmax = softmax_c;
}
