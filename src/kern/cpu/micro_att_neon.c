/* micro_att_neon.c: attention for every processor of aarch64.
 *
 * Owns instructions, not arithmetic: micro_att_c.c defines every result to the bit. A tile is laid
 * out as there; four queries times sixteen positions, or columns, are sixteen chains of sums in
 * registers. Refuses to fetch ahead: nothing says yet that it pays.
 * Only static functions and micro_att_init_neon.
 */
#include <math.h>

#include "kern/cpu/micro_bits_neon.h"

#define TILE  MICRO_ATT_TILE
#define GROUP MICRO_ATT_GROUP

/* ---- products -------------------------------------------------------------------------- */

/* acc[i] of n_q <= 4 rows: products of n numbers of each row of x, x_step apart, and sixteen
 * numbers at u, u_step apart. */
INLINE void sum_products(int n_q, int32x4_t acc[4][4], const int16_t *x, int x_step,
                         const int16_t *u, int u_step, int n) {
#pragma GCC unroll 4
    for (int i = 0; i < n_q; i++) {
        for (int c = 0; c < 4; c++) {
            acc[i][c] = vdupq_n_s32(0);
        }
    }
    for (int k = 0; k < n; k++, x++, u += u_step) {
        int16x8_t low = vld1q_s16(u), high = vld1q_s16(u + 8);
#pragma GCC unroll 4
        for (int i = 0; i < n_q; i++) {
            int16_t w = x[i * x_step];
            acc[i][0] = vmlal_n_s16(acc[i][0], vget_low_s16(low), w);
            acc[i][1] = vmlal_n_s16(acc[i][1], vget_high_s16(low), w);
            acc[i][2] = vmlal_n_s16(acc[i][2], vget_low_s16(high), w);
            acc[i][3] = vmlal_n_s16(acc[i][3], vget_high_s16(high), w);
        }
    }
}

/* n_q <= 4 queries at the tile's positions. */
INLINE void scores_block(int n_q, const int16_t *q, const float *q_scale, int dim,
                         const struct micro_tile *k, float *s) {
    const int groups = (dim + GROUP - 1) / GROUP;
    for (int g = 0; g < groups; g++) {
        int d = g * GROUP, n = dim - d < GROUP ? dim - d : GROUP;
        for (int p = 0; p < TILE; p += 16) {
            int32x4_t acc[4][4];
            sum_products(n_q, acc, q + d, dim, k->v + d * TILE + p, TILE, n);
#pragma GCC unroll 4
            for (int i = 0; i < n_q; i++) {
                for (int c = 0; c < 4; c++) {
                    float *at = s + i * TILE + p + 4 * c;
                    float32x4_t f = vmulq_n_f32(vcvtq_f32_s32(acc[i][c]), q_scale[i * groups + g]);
                    float32x4_t sum = g > 0 ? vld1q_f32(at) : vdupq_n_f32(0);
                    vst1q_f32(at, vfmaq_f32(sum, f, vld1q_f32(k->scale + g * TILE + p + 4 * c)));
                }
            }
        }
    }
}

static void scores_neon(const int16_t *q, const float *q_scale, int n_q, int dim,
                        const struct micro_tile *k, float *s) {
    const int groups = (dim + GROUP - 1) / GROUP;
    for (; n_q >= 4; n_q -= 4, q += 4 * dim, q_scale += 4 * groups, s += 4 * TILE) {
        scores_block(4, q, q_scale, dim, k, s);
    }
    for (; n_q > 0; n_q--, q += dim, q_scale += groups, s += TILE) {
        scores_block(1, q, q_scale, dim, k, s);
    }
}

/* n_q <= 4 rows of y. */
INLINE void mix_rows(int n_q, float *y, int dim, const float *keep, const int16_t *w,
                     const float *step, const int16_t *v, int n_pos) {
    for (int j = 0; j < dim; j += 16) {
        int32x4_t acc[4][4];
        sum_products(n_q, acc, w, TILE, v + j, dim, n_pos);
#pragma GCC unroll 4
        for (int i = 0; i < n_q; i++) {
            for (int c = 0; c < 4; c++) {
                float *at = y + i * dim + j + 4 * c;
                float32x4_t kept = vmulq_n_f32(vld1q_f32(at), keep[i]);
                vst1q_f32(at, vfmaq_n_f32(kept, vcvtq_f32_s32(acc[i][c]), step[i]));
            }
        }
    }
}

static void mix_neon(float *y, int n_q, int dim, const float *keep, const int16_t *w,
                     const float *step, const struct micro_tile *v, int n_pos) {
    int i = 0;
    for (; i + 4 <= n_q; i += 4) {
        mix_rows(4, y + i * dim, dim, keep + i, w + i * TILE, step + i, v->v, n_pos);
    }
    for (; i < n_q; i++) {
        mix_rows(1, y + i * dim, dim, keep + i, w + i * TILE, step + i, v->v, n_pos);
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

/* s becomes 2^(s - top) times the scales of the values; the bits of the largest are the result. */
INLINE uint32_t weigh_row(float *s, int n_pos, int from, int to, const float *v_scale, float top,
                          float keep, float *total) {
    uint32x4_t most = vdupq_n_u32(0);
    float32x4_t sum[4];
    for (int c = 0; c < 4; c++) {
        sum[c] = vmulq_n_f32(vld1q_f32(total + 4 * c), keep);
    }
    for (int p = 0; p < n_pos; p += 16) {
#pragma GCC unroll 4
        for (int c = 0; c < 4; c++) {
            int at = p + 4 * c;
            uint32x4_t there = inside(at, from, to);
            float32x4_t e = exp2x4(vsubq_f32(vld1q_f32(s + at), vdupq_n_f32(top)));
            uint32x4_t own = vandq_u32(vreinterpretq_u32_f32(e), there);
            sum[c] = vaddq_f32(sum[c], vreinterpretq_f32_u32(own));
            there = vbicq_u32(there, vcltq_f32(e, vdupq_n_f32(MICRO_ATT_LEAST)));
            own = vandq_u32(own, there);
            e = vmulq_f32(vreinterpretq_f32_u32(own), vld1q_f32(v_scale + at));
            own = vandq_u32(vreinterpretq_u32_f32(e), there);
            vst1q_f32(s + at, vreinterpretq_f32_u32(own));
            most = vmaxq_u32(most, vandq_u32(own, vdupq_n_u32(0x7fffffff)));
        }
    }
    for (int c = 0; c < 4; c++) {
        vst1q_f32(total + 4 * c, sum[c]);
    }
    return vmaxvq_u32(most);
}

static void weigh_neon(float *s, int n_q, int n_pos, const int *from, const int *to,
                       const float *v_scale, float *top, float *total, float *keep, int16_t *w,
                       float *step) {
    for (int i = 0; i < n_q; i++, s += TILE, w += TILE, total += 16) {
        keep[i] = 1.0f;
        step[i] = 0.0f;
        if (from[i] >= to[i]) {
            memset(w, 0, (size_t)n_pos * sizeof *w);
            continue;
        }
        float most = most_of(s, n_pos, from[i], to[i]);
        if (most > top[i]) {
            keep[i] = micro_exp2(top[i] - most);
            top[i] = most;
        }
        uint32_t bits = weigh_row(s, n_pos, from[i], to[i], v_scale, top[i], keep[i], total);
        float largest = f32_from_bits(bits), factor = micro_att_parts(MICRO_ATT_INT, largest);
        step[i] = largest * (1.0f / MICRO_ATT_INT);
        for (int p = 0; p < n_pos; p += 4) {
            float32x4_t x = vmulq_n_f32(vld1q_f32(s + p), factor);
            int32x4_t whole = factor > 0 ? vcvtnq_s32_f32(x) : vdupq_n_s32(0);
            vst1_s16(w + p, vmovn_s32(whole));
        }
    }
}

/* ---- tiles ----------------------------------------------------------------------------------- */

/* micro_att_factor and micro_att_scale of four largest. */
INLINE float32x4_t factor_of(uint32x4_t largest, unsigned n) {
    uint32x4_t e = vmaxq_u32(vshrq_n_u32(largest, 23), vdupq_n_u32(16));
    return vreinterpretq_f32_u32(vshlq_n_u32(vsubq_u32(vdupq_n_u32(253 + n), e), 23));
}

INLINE float32x4_t scale_of(uint32x4_t largest, unsigned n) {
    uint32x4_t e = vmaxq_u32(vshrq_n_u32(largest, 23), vdupq_n_u32(16));
    e = vshlq_n_u32(vsubq_u32(e, vdupq_n_u32(n - 1)), 23);
    uint32x4_t odd = vcgeq_u32(largest, vdupq_n_u32(0x7f800000));
    return vreinterpretq_f32_u32(vbslq_u32(odd, vdupq_n_u32(0x7fc00000), e));
}

/* Four numbers of a cache of floats from place `at` on. */
INLINE float32x4_t floats(enum micro_kv type, const void *v, size_t at) {
    return type == MICRO_KV_F32 ? vld1q_f32((const float *)v + at)
                                : half4(vld1_u16((const f16_t *)v + at));
}

INLINE uint32x4_t larger(uint32x4_t most, float32x4_t x) {
    return vmaxq_u32(most, vandq_u32(vreinterpretq_u32_f32(x), vdupq_n_u32(0x7fffffff)));
}

INLINE int16x4_t nearest(float32x4_t x, float32x4_t factor) {
    return vmovn_s32(vcvtnq_s32_f32(vmulq_f32(x, factor)));
}

INLINE void keys_floats(enum micro_kv type, const struct micro_rows *k, int dim, int n_pos, int at,
                        const struct micro_tile *to) {
    const size_t step = (size_t)k->step;
    for (int p = 0; p < n_pos; p += 4) {
        for (int g = 0; g < dim; g += GROUP) {
            int end = g + GROUP < dim ? g + GROUP : dim;
            uint32x4_t most = vdupq_n_u32(0);
            for (int d = g; d < end; d++) {
                most = larger(most, floats(type, k->v, (size_t)d * step + (size_t)p));
            }
            float32x4_t factor = factor_of(most, 13);
            vst1q_f32(to->scale + g / GROUP * TILE + at + p, scale_of(most, 13));
            for (int d = g; d < end; d++) {
                float32x4_t x = floats(type, k->v, (size_t)d * step + (size_t)p);
                vst1_s16(to->v + d * TILE + at + p, nearest(x, factor));
            }
        }
    }
}

INLINE void values_floats(enum micro_kv type, const struct micro_rows *v, int dim, int n_pos,
                          int at, const struct micro_tile *to) {
    for (int p = 0; p < n_pos; p++) {
        size_t from = (size_t)p * (size_t)v->step;
        uint32x4_t sizes = vdupq_n_u32(0);
        for (int j = 0; j < dim; j += 4) {
            sizes = larger(sizes, floats(type, v->v, from + (size_t)j));
        }
        uint32_t most = vmaxvq_u32(sizes);
        float32x4_t factor = vdupq_n_f32(micro_att_factor(most, 12));
        to->scale[at + p] = micro_att_scale(most, 12);
        for (int j = 0; j < dim; j += 4) {
            float32x4_t x = floats(type, v->v, from + (size_t)j);
            vst1_s16(to->v + (at + p) * dim + j, nearest(x, factor));
        }
    }
}

#define TILE_OF(name, type)                                                                        \
    static void keys_##name(const struct micro_rows *r, int dim, int n_pos, int at,                \
                            const struct micro_tile *to) {                                         \
        keys_floats(type, r, dim, n_pos, at, to);                                                  \
    }                                                                                              \
    static void values_##name(const struct micro_rows *r, int dim, int n_pos, int at,              \
                              const struct micro_tile *to) {                                       \
        values_floats(type, r, dim, n_pos, at, to);                                                \
    }

TILE_OF(f32, MICRO_KV_F32)
TILE_OF(f16, MICRO_KV_F16)

static void keys_i8(const struct micro_rows *k, int dim, int n_pos, int at,
                    const struct micro_tile *to) {
    const size_t step = (size_t)k->step;
    for (int d = 0; d < dim; d++) {
        for (int p = 0; p < n_pos; p += 16) {
            int8x16_t x = vld1q_s8((const int8_t *)k->v + (size_t)d * step + p);
            vst1q_s16(to->v + d * TILE + at + p, vmovl_s8(vget_low_s8(x)));
            vst1q_s16(to->v + d * TILE + at + p + 8, vmovl_s8(vget_high_s8(x)));
        }
        for (int p = 0; d % GROUP == 0 && p < n_pos; p += 4) {
            uint16x4_t scale = vld1_u16(k->scale + (size_t)(d / GROUP) * step + p);
            vst1q_f32(to->scale + d / GROUP * TILE + at + p,
                      vreinterpretq_f32_u32(vshll_n_u16(scale, 16)));
        }
    }
}

static void values_i8(const struct micro_rows *v, int dim, int n_pos, int at,
                      const struct micro_tile *to) {
    const int groups = (dim + GROUP - 1) / GROUP;
    int16_t part[16 * MICRO_ATT_DIM / GROUP];
    for (int p = 0; p < n_pos; p++) {
        const int8_t *from = (const int8_t *)v->v + (size_t)p * (size_t)v->step;
        if (p % 16 == 0) {
            micro_att_value_parts(v->scale + p * groups, groups, to->scale + at + p, part);
        }
        for (int j = 0; j < dim; j += 8) {
            int16x8_t x = vshll_n_s8(vld1_s8(from + j), 8);
            x = vqrdmulhq_n_s16(x, part[p % 16 * groups + j / GROUP]);
            vst1q_s16(to->v + (at + p) * dim + j, x);
        }
    }
}

void micro_att_init_neon(struct micro *m) {
    m->att = (struct micro_att){.keys = {keys_f32, keys_f16, keys_i8},
                                .values = {values_f32, values_f16, values_i8},
                                .query = micro_att_query,
                                .scores = scores_neon,
                                .weigh = weigh_neon,
                                .mix = mix_neon};
}
