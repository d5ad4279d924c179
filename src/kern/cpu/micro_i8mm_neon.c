/* micro_i8mm_neon.c: panels and tiles for processors with SMMLA (the extension for matrix products
 * of bytes: Cortex-A510 and later, Neoverse V1 and N2, Apple M2).
 *
 * Owns instructions, not arithmetic, as micro_neon.c does. An SMMLA multiplies eight columns of two
 * rows by those of two tokens and adds to four sums, exactly: twice the work of an SDOT. What has
 * one row of activations stays as micro_dotprod_neon.c left it.
 * Only static functions and micro_init_i8mm; this file alone is compiled with +i8mm.
 */
#include "kern/cpu/micro_entries_neon.h"

#define ORDER BY_PAIRS

/* One block of a unit's pair of tokens. */
struct tokens {
    int8x16_t q[2][2]; /* [half][eight columns][token][8] */
    struct factors f;
};

INLINE struct tokens load_tokens(int type, const uint8_t *x, int pair) {
    struct tokens o;
    const uint8_t *f = x + factor_at(type, BY_PAIRS, 0, 2 * pair);
    for (int h = 0; h < 2; h++) {
        const int8_t *q = (const int8_t *)x + 64 * pair + 32 * h;
        o.q[h][0] = vld1q_s8(q);
        o.q[h][1] = vld1q_s8(q + 16);
        o.f.mul[h] = vld1q_s32((const int32_t *)(const void *)f + 4 * h);
        o.f.fmul[h] = vcvtq_f32_s32(o.f.mul[h]);
        o.f.s[h] = vld1q_f32((const float *)(const void *)f + 8 + (h < fmt_mins(type) ? 4 * h : 0));
    }
    return o;
}

/* n blocks of one lane: sums [4 pairs of rows][2 pairs of tokens][row][token]. */
INLINE void lane_run(int type, int n_pair, const uint8_t *w, const uint8_t *x, int64_t n,
                     float *sums) {
    float32x4_t acc[4][2];
    for (int p = 0; p < 4; p++) {
        acc[p][0] = acc[p][1] = vdupq_n_f32(0);
    }
    for (; n > 0; n--, w += panel_block(type, BY_PAIRS), x += tile_block(type, BY_PAIRS)) {
        struct tokens tok[2];
        for (int t = 0; t < n_pair; t++) {
            tok[t] = load_tokens(type, x, t);
        }
#pragma GCC unroll 4
        for (int p = 0; p < 4; p++) {
            const int8_t *v = (const int8_t *)w + 64 * p;
            const float *d = (const float *)(const void *)(w + AT_SCALES) + 4 * p;
            int8x16_t row[2][2] = {{vld1q_s8(v), vld1q_s8(v + 16)},
                                   {vld1q_s8(v + 32), vld1q_s8(v + 48)}};
            float32x4_t scale[2], min[2];
            for (int h = 0; h < 2; h++) {
                scale[h] = vld1q_f32(d + (h < fmt_scales(type) ? 2 * STRIP * h : 0));
                int m = fmt_scales(type) + h;
                min[h] = h < fmt_mins(type) ? vld1q_f32(d + 2 * STRIP * m) : vdupq_n_f32(0);
            }
#pragma GCC unroll 2
            for (int t = 0; t < n_pair; t++) {
                int32x4_t dot[2];
                for (int h = 0; h < 2; h++) {
                    dot[h] = vmmlaq_s32(vdupq_n_s32(0), row[h][0], tok[t].q[h][0]);
                    dot[h] = vmmlaq_s32(dot[h], row[h][1], tok[t].q[h][1]);
                }
                acc[p][t] = block_add(type, dot, &tok[t].f, scale, min, acc[p][t]);
            }
        }
    }
    for (int p = 0; p < 4; p++) {
        vst1q_f32(sums + 8 * p, acc[p][0]);
        vst1q_f32(sums + 8 * p + 4, acc[p][1]);
    }
}

/* The lanes of a unit's tokens u, u + 1 and of eight rows, to y + u * ROWS_NEON. */
INLINE void put_pair(const float *sums, const float *d2, bool second, float *y) {
    float32x4_t d = vcombine_f32(vld1_f32(d2), vld1_f32(d2));
    for (int p = 0; p < 4; p += 2) { /* (r, t) (r, t') (r', t) (r', t') */
        float32x4_t a = lanes_sum(sums + 8 * p, UNIT * STRIP, d);
        float32x4_t b = lanes_sum(sums + 8 * p + 8, UNIT * STRIP, d);
        vst1q_f32(y + 2 * p, vuzp1q_f32(a, b));
        if (second) {
            vst1q_f32(y + ROWS_NEON + 2 * p, vuzp2q_f32(a, b));
        }
    }
}

INLINE void tile_q(int type, const uint8_t *panel, const uint8_t *tile, int n_tok, int64_t n_col,
                   float *y) {
    const int64_t n_group = micro_groups(n_col), n_block = n_col / MICRO_BLOCK;
    const size_t w_lane = (size_t)(n_group * panel_block(type, BY_PAIRS));
    const size_t x_lane = (size_t)(n_group * tile_block(type, BY_PAIRS));
    const float *d = (const float *)(const void *)tile;
    for (int u = 0; u < n_tok; u += UNIT) {
        const uint8_t *x = tile + TILE_HEAD + (size_t)(u / UNIT * 8) * x_lane;
        for (int r = 0; r < ROWS_NEON; r += STRIP) {
            const uint8_t *w = panel + (size_t)r * w_lane;
            float sums[8][UNIT * STRIP], *to = y + u * ROWS_NEON + r;
            for (int b = 0; b < 8; b++) {
                const uint8_t *wb = w + (size_t)b * w_lane, *xb = x + (size_t)b * x_lane;
                if (n_tok - u > 2) {
                    lane_run(type, 2, wb, xb, lane_blocks(n_block, b), sums[b]);
                } else {
                    lane_run(type, 1, wb, xb, lane_blocks(n_block, b), sums[b]);
                }
            }
            put_pair(sums[0], d + u, n_tok - u > 1, to);
            if (n_tok - u > 2) {
                put_pair(sums[0] + 4, d + u + 2, n_tok - u > 3, to + 2 * ROWS_NEON);
            }
        }
    }
}

MICRO_FORMATS(UNPACK_NEON)
SHARED_NEON

void micro_init_i8mm(struct micro *m) {
    m->name = "i8mm";
    m->gemm_min = 3;
    MICRO_FORMATS(SET_PANELS_NEON)
}
