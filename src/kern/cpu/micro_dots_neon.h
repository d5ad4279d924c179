/* micro_dots_neon.h: products of quantized weights by sums over the columns of one register.
 *
 * Owns the products with one row of activations and with a small batch, and tiles in the order "by
 * fours". Refuses to choose instructions: the file that includes this one has defined
 *   int32x4_t dot16(int8x16_t w, int8x16_t x)   four sums that add up to 16 products'
 *   int32x4_t dot_rows(int type, const int8x16_t w[4], int8x16_t x)   four rows' sums over 16
 *       columns: w[c] has columns 4c..4c+3 of four rows, x all 16 of a token
 *   RUN_TOKS   tokens at a time in a tile: as many as the registers hold, 2 or 4
 * Invariant: both are exact for the weights of a type and activations in -127..127.
 */
#ifndef IGN_KERN_CPU_MICRO_DOTS_NEON_H
#define IGN_KERN_CPU_MICRO_DOTS_NEON_H

#include "kern/cpu/micro_quant_neon.h"

/* ---- matrix times vector, and a small batch ---------------------------------------------------
 *
 * Four blocks at a time: their eight halves are eight registers of bytes, the eight sums of four
 * fold into two registers in the order of micro_half. Offsets are taken off with the sums of
 * activations that a group has: bytes stay within 0..63, or are signed.
 */

struct quad {
    int8x16_t w[4][2];
};

/* Blocks 4k..4k+3 of the group at g. */
INLINE struct quad quad_bytes(int type, const uint8_t *g, int k) {
    struct quad o;
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        struct block_bytes b = block_bytes(type, g, 4 * k + j);
        o.w[j][0] = vreinterpretq_s8_u8(b.v[0]);
        o.w[j][1] = vreinterpretq_s8_u8(b.v[1]);
    }
    return o;
}

INLINE float32x4_t quad_add(int type, const struct quad *w, const struct scales *s, int k,
                            const struct act_group *x, float32x4_t lane) {
    const int8_t *q = x->q + 128 * k;
    struct factors f;
    int32x4_t dot[2], sum[2];
    float32x4_t d[2], min[2];
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        int32x4_t p[4];
        for (int j = 0; j < 4; j++) {
            p[j] = dot16(w->w[j][h], vld1q_s8(q + 32 * j + 16 * h));
        }
        dot[h] = vpaddq_s32(vpaddq_s32(p[0], p[1]), vpaddq_s32(p[2], p[3]));
        sum[h] = vld1q_s32(x->sum + 8 * k + 4 * h);
        f.mul[h] = vshrq_n_s32(vld1q_s32(x->pair + 8 * k + 4 * h), 16);
        if (fmt_offset(type) != 0) {
            dot[h] = vmlsq_s32(dot[h], sum[h], vdupq_n_s32(fmt_offset(type)));
        }
        f.fmul[h] = vcvtq_f32_s32(f.mul[h]);
        f.s[h] = fmt_mins(type) == 1 ? vld1q_f32(x->s + 4 * k)
                                     : vcvtq_f32_s32(vld1q_s32(x->prod + 8 * k + 4 * h));
        d[h] = s->d[h < fmt_scales(type) ? h : 0][k];
        min[h] = h < fmt_mins(type) ? s->min[h][k] : vdupq_n_f32(0);
    }
    return block_add(type, dot, &f, d, min, lane);
}

INLINE void gemv_q(int type, const uint8_t *w, size_t row_bytes, int n_row,
                   const struct act_group *x, int64_t n_col, float *y) {
    for (int r = 0; r < n_row; r++, w += row_bytes) {
        float32x4_t lane[2] = {vdupq_n_f32(0), vdupq_n_f32(0)};
        for (int64_t i = 0; i < micro_groups(n_col); i++) {
            uint8_t part[PART_BYTES];
            const uint8_t *g = group_at(type, w, i, n_col / MICRO_BLOCK, part);
            struct scales s;
            group_scales(type, g, &s);
#pragma GCC unroll 2
            for (int k = 0; k < 2; k++) {
                struct quad q = quad_bytes(type, g, k);
                lane[k] = quad_add(type, &q, &s, k, x + i, lane[k]);
            }
        }
        y[r] = x->d * sum8(lane[0], lane[1]);
    }
}

INLINE void gemm_small_q(int type, const uint8_t *w, size_t row_bytes, int n_row,
                         const void *const *x, int n_tok, int64_t n_col, float *y) {
    for (int r = 0; r < n_row; r++, w += row_bytes) {
        float32x4_t lane[MICRO_SMALL][2];
        for (int t = 0; t < n_tok; t++) {
            lane[t][0] = lane[t][1] = vdupq_n_f32(0);
        }
        for (int64_t i = 0; i < micro_groups(n_col); i++) {
            uint8_t part[PART_BYTES];
            const uint8_t *g = group_at(type, w, i, n_col / MICRO_BLOCK, part);
            struct scales s;
            group_scales(type, g, &s);
#pragma GCC unroll 2
            for (int k = 0; k < 2; k++) {
                struct quad q = quad_bytes(type, g, k);
                for (int t = 0; t < n_tok; t++) {
                    const struct act_group *a = (const struct act_group *)x[t] + i;
                    lane[t][k] = quad_add(type, &q, &s, k, a, lane[t][k]);
                }
            }
        }
        for (int t = 0; t < n_tok; t++) {
            y[t * n_row + r] = ((const struct act_group *)x[t])->d * sum8(lane[t][0], lane[t][1]);
        }
    }
}

/* ---- tiles --------------------------------------------------------------------------------- */

/* Lane t of four, in all lanes. */
INLINE int32x4_t spread(int32x4_t v, int t) {
    switch (t) {
    case 0: return vdupq_laneq_s32(v, 0);
    case 1: return vdupq_laneq_s32(v, 1);
    case 2: return vdupq_laneq_s32(v, 2);
    default: return vdupq_laneq_s32(v, 3);
    }
}

INLINE float32x4_t spread_f32(float32x4_t v, int t) {
    return vreinterpretq_f32_s32(spread(vreinterpretq_s32_f32(v), t));
}

/* The sums of tokens with one half of a block: dot[token][rows 0..3, 4..7][half]. */
INLINE void half_dots(int type, int n_tok, const uint8_t *w, const uint8_t *x, int h,
                      int32x4_t dot[RUN_TOKS][2][2]) {
    int8x16_t v[2][4];
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        v[0][c] = vld1q_s8((const int8_t *)w + 128 * h + 32 * c);
        v[1][c] = vld1q_s8((const int8_t *)w + 128 * h + 32 * c + 16);
    }
#pragma GCC unroll 4
    for (int t = 0; t < n_tok; t++) {
        int8x16_t q = vld1q_s8((const int8_t *)x + 64 * h + 16 * t);
        dot[t][0][h] = dot_rows(type, v[0], q);
        dot[t][1][h] = dot_rows(type, v[1], q);
    }
}

/* n blocks of one lane, n_tok tokens of a unit from `first` on: sums [token][8 rows]. */
INLINE void lane_run(int type, int first, int n_tok, const uint8_t *w, const uint8_t *x, int64_t n,
                     float *sums) {
    float32x4_t acc[RUN_TOKS][2];
    for (int t = 0; t < n_tok; t++) {
        acc[t][0] = acc[t][1] = vdupq_n_f32(0);
    }
    for (; n > 0; n--, w += panel_block(type, BY_FOURS), x += tile_block(type, BY_FOURS)) {
        int32x4_t dot[RUN_TOKS][2][2];
        struct factors all;
        half_dots(type, n_tok, w, x + 16 * first, 0, dot);
        half_dots(type, n_tok, w, x + 16 * first, 1, dot);
        for (int h = 0; h < 2; h++) {
            const uint8_t *f = x + factor_at(type, BY_FOURS, 0, 0);
            all.mul[h] = vld1q_s32((const int32_t *)(const void *)f + 4 * h);
            all.fmul[h] = vcvtq_f32_s32(all.mul[h]);
            all.s[h] =
                vld1q_f32((const float *)(const void *)f + 8 + (h < fmt_mins(type) ? 4 * h : 0));
        }
#pragma GCC unroll 4
        for (int t = 0; t < n_tok; t++) {
            struct factors f;
            for (int h = 0; h < 2; h++) {
                f.mul[h] = spread(all.mul[h], first + t);
                f.fmul[h] = spread_f32(all.fmul[h], first + t);
                f.s[h] = spread_f32(all.s[h], first + t);
            }
            for (int i = 0; i < 2; i++) {
                const float *d = (const float *)(const void *)(w + AT_SCALES) + 4 * i;
                float32x4_t scale[2], min[2];
                for (int h = 0; h < 2; h++) {
                    scale[h] = vld1q_f32(d + (h < fmt_scales(type) ? STRIP * h : 0));
                    int m = fmt_scales(type) + h;
                    min[h] = h < fmt_mins(type) ? vld1q_f32(d + STRIP * m) : vdupq_n_f32(0);
                }
                acc[t][i] = block_add(type, dot[t][i], &f, scale, min, acc[t][i]);
            }
        }
    }
    for (int t = 0; t < n_tok; t++) {
        vst1q_f32(sums + STRIP * (first + t), acc[t][0]);
        vst1q_f32(sums + STRIP * (first + t) + 4, acc[t][1]);
    }
}

INLINE void tile_q(int type, const uint8_t *panel, const uint8_t *tile, int n_tok, int64_t n_col,
                   float *y) {
    const int64_t n_group = micro_groups(n_col), n_block = n_col / MICRO_BLOCK;
    const size_t w_lane = (size_t)(n_group * panel_block(type, BY_FOURS));
    const size_t x_lane = (size_t)(n_group * tile_block(type, BY_FOURS));
    for (int u = 0; u < n_tok; u += UNIT) {
        const uint8_t *x = tile + TILE_HEAD + (size_t)(u / UNIT * 8) * x_lane;
        for (int r = 0; r < ROWS_NEON; r += STRIP) {
            const uint8_t *w = panel + (size_t)r * w_lane;
            float sums[8][UNIT * STRIP];
            for (int b = 0; b < 8; b++) {
                const uint8_t *wb = w + (size_t)b * w_lane, *xb = x + (size_t)b * x_lane;
                const int64_t n = lane_blocks(n_block, b);
                if (RUN_TOKS == 4 && n_tok - u > 2) {
                    lane_run(type, 0, RUN_TOKS, wb, xb, n, sums[b]);
                    continue;
                }
                lane_run(type, 0, 2, wb, xb, n, sums[b]);
                if (n_tok - u > 2) {
                    lane_run(type, 2, 2, wb, xb, n, sums[b]);
                }
            }
            for (int t = u; t < u + UNIT && t < n_tok; t++) {
                float32x4_t d = vld1q_dup_f32((const float *)(const void *)tile + t);
                for (int i = 0; i < STRIP; i += 4) {
                    vst1q_f32(y + t * ROWS_NEON + r + i,
                              lanes_sum(sums[0] + (t - u) * STRIP + i, UNIT * STRIP, d));
                }
            }
        }
    }
}

#endif
