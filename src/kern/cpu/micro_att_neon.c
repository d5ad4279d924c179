/* micro_att_neon.c: attention for every processor of aarch64.
 *
 * Owns instructions, not arithmetic: micro_att_c.c defines every result to the bit. Four queries
 * times sixteen positions, or columns, are sixteen chains of sums in registers; keys and values are
 * widened on the way in. Refuses to fetch ahead: nothing says yet that it pays.
 * Only static functions and micro_att_init_neon.
 */
#include <math.h>

#include "kern/cpu/micro_bits_neon.h"

/* Sixteen numbers. */
struct wide {
    float32x4_t v[4];
};

INLINE struct wide load16(enum micro_kv type, const void *p, size_t at) {
    struct wide o;
    if (type == MICRO_KV_F32) {
        for (int i = 0; i < 4; i++) {
            o.v[i] = vld1q_f32((const float *)p + at + 4 * i);
        }
    } else if (type == MICRO_KV_F16) {
        for (int i = 0; i < 4; i++) {
            o.v[i] = half4(vld1_u16((const uint16_t *)p + at + 4 * i));
        }
    } else {
        int8x16_t x = vld1q_s8((const int8_t *)p + at);
        int16x8_t low = vmovl_s8(vget_low_s8(x)), high = vmovl_s8(vget_high_s8(x));
        o.v[0] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(low)));
        o.v[1] = vcvtq_f32_s32(vmovl_s16(vget_high_s16(low)));
        o.v[2] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(high)));
        o.v[3] = vcvtq_f32_s32(vmovl_s16(vget_high_s16(high)));
    }
    return o;
}

/* Keys of sixteen positions from p on. */
INLINE struct wide keys16(enum micro_kv type, const struct micro_rows *k, int d, int p) {
    struct wide o = load16(type, k->v, (size_t)d * (size_t)k->step + (size_t)p);
    for (int i = 0; i < 4 && type == MICRO_KV_I8; i++) {
        uint16x4_t scale = vld1_u16(k->scale + d / 32 * k->step + p + 4 * i);
        o.v[i] = vmulq_f32(o.v[i], vreinterpretq_f32_u32(vshll_n_u16(scale, 16)));
    }
    return o;
}

/* Values of sixteen columns from j on, a multiple of 16. */
INLINE struct wide values16(enum micro_kv type, const struct micro_rows *r, int dim, int p, int j) {
    struct wide o = load16(type, r->v, (size_t)p * (size_t)r->step + (size_t)j);
    for (int i = 0; i < 4 && type == MICRO_KV_I8; i++) {
        float scale = f32_from_bf16(r->scale[p * ((dim + 31) / 32) + j / 32]);
        o.v[i] = vmulq_n_f32(o.v[i], scale);
    }
    return o;
}

/* n_q <= 4 queries, sixteen positions. */
INLINE void scores_block(enum micro_kv type, int n_q, const float *q, int dim,
                         const struct micro_rows *k, int p, float *s, int s_step) {
    float32x4_t acc[4][4];
#pragma GCC unroll 4
    for (int i = 0; i < n_q; i++) {
        for (int c = 0; c < 4; c++) {
            acc[i][c] = vdupq_n_f32(0);
        }
    }
    for (int d = 0; d < dim; d++) {
        struct wide u = keys16(type, k, d, p);
#pragma GCC unroll 4
        for (int i = 0; i < n_q; i++) {
            for (int c = 0; c < 4; c++) {
                acc[i][c] = vfmaq_n_f32(acc[i][c], u.v[c], q[i * dim + d]);
            }
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < n_q; i++) {
        for (int c = 0; c < 4; c++) {
            vst1q_f32(s + i * s_step + p + 4 * c, acc[i][c]);
        }
    }
}

INLINE void scores(enum micro_kv type, const float *q, int n_q, int dim, const struct micro_rows *k,
                   int n_pos, float *s, int s_step) {
    for (int p = 0; p < n_pos; p += 16) {
        int i = 0;
        for (; i + 4 <= n_q; i += 4) {
            scores_block(type, 4, q + i * dim, dim, k, p, s + i * s_step, s_step);
        }
        if (n_q - i >= 2) {
            scores_block(type, 2, q + i * dim, dim, k, p, s + i * s_step, s_step);
            i += 2;
        }
        if (i < n_q) {
            scores_block(type, 1, q + i * dim, dim, k, p, s + i * s_step, s_step);
        }
    }
}

/* n_q <= 4 rows of y, sixteen columns from j on. */
INLINE void mix_block(enum micro_kv type, int n_q, float *y, int dim, int j, const float *keep,
                      const float *s, int s_step, const struct micro_rows *v, int n_pos) {
    float32x4_t acc[4][4];
#pragma GCC unroll 4
    for (int i = 0; i < n_q; i++) {
        for (int c = 0; c < 4; c++) {
            acc[i][c] = vld1q_f32(y + i * dim + j + 4 * c);
            acc[i][c] = keep != NULL ? vmulq_n_f32(acc[i][c], keep[i]) : acc[i][c];
        }
    }
    for (int p = 0; p < n_pos; p++) {
        struct wide u = values16(type, v, dim, p, j);
#pragma GCC unroll 4
        for (int i = 0; i < n_q; i++) {
            for (int c = 0; c < 4; c++) {
                acc[i][c] = vfmaq_n_f32(acc[i][c], u.v[c], s[i * s_step + p]);
            }
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < n_q; i++) {
        for (int c = 0; c < 4; c++) {
            vst1q_f32(y + i * dim + j + 4 * c, acc[i][c]);
        }
    }
}

INLINE void mix(enum micro_kv type, float *y, int n_q, int dim, const float *keep, const float *s,
                int s_step, const struct micro_rows *v, int n_pos) {
    const int next = keep != NULL ? 1 : 0; /* queries' steps in keep */
    for (int j = 0; j < dim; j += 16) {
        const float *kept = keep, *w = s;
        float *row = y;
        int left = n_q;
        for (; left >= 4; left -= 4, row += 4 * dim, w += 4 * s_step, kept += 4 * next) {
            mix_block(type, 4, row, dim, j, kept, w, s_step, v, n_pos);
        }
        for (; left > 0; left--, row += dim, w += s_step, kept += next) {
            mix_block(type, 1, row, dim, j, kept, w, s_step, v, n_pos);
        }
    }
}

INLINE void keys(enum micro_kv type, const struct micro_rows *k, int dim, int n_pos, float *to,
                 int to_step) {
    for (int d = 0; d < dim; d++, to += to_step) {
        for (int p = 0; p < n_pos; p += 16) {
            struct wide u = keys16(type, k, d, p);
            for (int i = 0; i < 4; i++) {
                vst1q_f32(to + p + 4 * i, u.v[i]);
            }
        }
    }
}

INLINE void values(enum micro_kv type, const struct micro_rows *v, int dim, int n_pos, float *to) {
    for (int p = 0; p < n_pos; p++, to += dim) {
        for (int j = 0; j < dim; j += 16) {
            struct wide u = values16(type, v, dim, p, j);
            for (int i = 0; i < 4; i++) {
                vst1q_f32(to + j + 4 * i, u.v[i]);
            }
        }
    }
}

/* ---- weights --------------------------------------------------------------------------- */

/* micro_exp2, four at once. */
INLINE float32x4_t exp2x4(float32x4_t x) {
    const float32x4_t round = vdupq_n_f32(12582912.0f);
    uint32x4_t low = vcltq_f32(x, vdupq_n_f32(-125.0f)); /* not of NaN */
    float32x4_t k = vsubq_f32(vaddq_f32(x, round), round), r = vsubq_f32(x, k);
    float32x4_t p = vdupq_n_f32(1.535336188e-4f);
    p = vfmaq_f32(vdupq_n_f32(1.339887440e-3f), p, r);
    p = vfmaq_f32(vdupq_n_f32(9.618437357e-3f), p, r);
    p = vfmaq_f32(vdupq_n_f32(5.550332471e-2f), p, r);
    p = vfmaq_f32(vdupq_n_f32(2.402264791e-1f), p, r);
    p = vfmaq_f32(vdupq_n_f32(6.931472028e-1f), p, r);
    p = vfmaq_f32(vdupq_n_f32(1.0f), p, r);
    int32x4_t bits = vaddq_s32(vreinterpretq_s32_f32(p), vshlq_n_s32(vcvtq_s32_f32(k), 23));
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_s32(bits), low));
}

/* Which of the positions p..p+3 are in [from, to). */
INLINE uint32x4_t inside(int p, int from, int to) {
    static const int32_t place[4] = {0, 1, 2, 3};
    int32x4_t at = vaddq_s32(vld1q_s32(place), vdupq_n_s32(p));
    return vandq_u32(vcgeq_s32(at, vdupq_n_s32(from)), vcltq_s32(at, vdupq_n_s32(to)));
}

INLINE float most_of(const float *s, int n_pos, int from, int to) {
    float32x4_t most = vdupq_n_f32(-INFINITY);
    for (int p = 0; p < n_pos; p += 4) {
        float32x4_t x = vld1q_f32(s + p);
        uint32x4_t more = vandq_u32(vcgtq_f32(x, most), inside(p, from, to)); /* NaN is not */
        most = vbslq_f32(more, x, most);
    }
    return vmaxvq_f32(most);
}

static void softmax_neon(float *s, int s_step, int n_q, int n_pos, const int *from, const int *to,
                         float *top, float *total, float *keep) {
    for (int i = 0; i < n_q; i++, s += s_step, total += 16) {
        keep[i] = 1.0f;
        if (from[i] >= to[i]) {
            memset(s, 0, (size_t)n_pos * sizeof *s);
            continue;
        }
        float most = most_of(s, n_pos, from[i], to[i]);
        if (most > top[i]) {
            keep[i] = micro_exp2(top[i] - most);
            top[i] = most;
        }
        float32x4_t sum[4];
        for (int c = 0; c < 4; c++) {
            sum[c] = vmulq_n_f32(vld1q_f32(total + 4 * c), keep[i]);
        }
        for (int p = 0; p < n_pos; p += 16) {
#pragma GCC unroll 4
            for (int c = 0; c < 4; c++) {
                int at = p + 4 * c;
                float32x4_t e = exp2x4(vsubq_f32(vld1q_f32(s + at), vdupq_n_f32(top[i])));
                uint32x4_t there = inside(at, from[i], to[i]);
                e = vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(e), there));
                vst1q_f32(s + at, e);
                sum[c] = vaddq_f32(sum[c], e);
            }
        }
        for (int c = 0; c < 4; c++) {
            vst1q_f32(total + 4 * c, sum[c]);
        }
    }
}

/* ---- the table ------------------------------------------------------------------------------ */

#include "kern/cpu/micro_att_entries.h"

void micro_att_init_neon(struct micro *m) {
    att_entries(m->att);
    m->softmax = softmax_neon;
}
