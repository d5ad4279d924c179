/* micro_quant_neon.h: what the levels of aarch64 share for quantized weights: the end of a block's
 * sum, the layouts of panels and tiles, and their making.
 *
 * Refuses products: micro_dots_neon.h and micro_i8mm_neon.c have those. A function's type is a
 * constant. Nothing here needs more than ARMv8.0.
 * Invariant: integers are exact, floats are added in micro.h's order.
 */
#ifndef IGN_KERN_CPU_MICRO_QUANT_NEON_H
#define IGN_KERN_CPU_MICRO_QUANT_NEON_H

#include "kern/cpu/micro_bits_neon.h"

/* ---- what ends a block ------------------------------------------------------------------- */

/* What four products of a block are multiplied by, for each half; fmul: mul, for wide formats. */
struct factors {
    int32x4_t mul[2];
    float32x4_t fmul[2], s[2];
};

/* Adds a block's sums of products to its lane. */
INLINE float32x4_t block_add(int type, const int32x4_t dot[2], const struct factors *f,
                             const float32x4_t d[2], const float32x4_t min[2], float32x4_t lane) {
    if (fmt_signed(type)) {
        float32x4_t v = vmulq_f32(vcvtq_f32_s32(dot[0]), f->fmul[0]);
        v = vfmaq_f32(v, vcvtq_f32_s32(dot[1]), f->fmul[1]);
        lane = vfmaq_f32(lane, v, d[0]);
    } else if (fmt_split(type)) {
        lane = vfmaq_f32(lane, vcvtq_f32_s32(vmulq_s32(dot[0], f->mul[0])), d[0]);
        lane = vfmaq_f32(lane, vcvtq_f32_s32(vmulq_s32(dot[1], f->mul[1])), d[1]);
    } else {
        int32x4_t v = vmlaq_s32(vmulq_s32(dot[0], f->mul[0]), dot[1], f->mul[1]);
        lane = vfmaq_f32(lane, vcvtq_f32_s32(v), d[0]);
    }
    for (int m = 0; m < fmt_mins(type); m++) {
        lane = vfmaq_f32(lane, min[m], f->s[m]);
    }
    return lane;
}

/* ---- panels and tiles ---------------------------------------------------------------------------
 *
 * A panel has two strips of eight rows, each [8 lanes][group][block]: the blocks of one lane lie
 * one behind the other, so that its sums stay in registers from the first to the last. A block
 * holds the weights as signed bytes, offset taken off, then the scales and the minimums of the
 * eight rows. A tile begins with d [token] and has three units of four tokens, each likewise
 * [8 lanes][group][block]: activations, multipliers, s.
 *
 * What a register of the inner product holds is an order of its own:
 *   by fours  w [half][4 quads of columns][row][4]      x [half][token][16]      mul, s
 * [half][token] by pairs  w [2 rows][half][2 eights][row][8]        x [2 tokens][half][2
 * eights][token][8], scales (r, r, r', r')                     mul, s [2 tokens][half] (t, t', t,
 * t')
 */

#define ROWS_NEON 16
#define TOKS_NEON 12
#define STRIP     8
#define UNIT      4
#define TILE_HEAD 64 /* bytes before the first block of a tile */
#define AT_SCALES (STRIP * MICRO_BLOCK)

enum order { BY_FOURS, BY_PAIRS };

/* Bytes of one factor of a strip, of a unit. */
INLINE int row_factor(enum order o) {
    return 4 * STRIP * (o == BY_PAIRS ? 2 : 1);
}

INLINE int tok_factor(enum order o) {
    return 4 * UNIT * (o == BY_PAIRS ? 2 : 1);
}

INLINE int panel_block(int type, enum order o) {
    return AT_SCALES + row_factor(o) * (fmt_scales(type) + fmt_mins(type));
}

INLINE int tile_block(int type, enum order o) {
    return UNIT * MICRO_BLOCK + tok_factor(o) * (fmt_mins(type) == 2 ? 4 : 3);
}

/* Blocks of lane b in a row of n. */
INLINE int64_t lane_blocks(int64_t n, int b) {
    return (n - b + 7) / 8;
}

/* Of a group at a row's end, which is read from a copy. */
#define PART_BYTES (8 * sizeof(struct block_q8_0))

INLINE const uint8_t *group_at(int type, const uint8_t *row, int64_t i, int64_t n_block,
                               uint8_t part[PART_BYTES]) {
    const uint8_t *g = row + i * fmt_group_bytes(type);
    if (fmt_small(type) && n_block - 8 * i < 8) {
        memset(part, 0, PART_BYTES);
        memcpy(part, g, (size_t)((n_block - 8 * i) * fmt_bytes(type)));
        g = part;
    }
    return g;
}

INLINE void transpose4(uint32x4_t v[4]) {
    uint32x4_t a = vtrn1q_u32(v[0], v[1]), b = vtrn2q_u32(v[0], v[1]);
    uint32x4_t c = vtrn1q_u32(v[2], v[3]), d = vtrn2q_u32(v[2], v[3]);
    uint64x2_t a2 = vreinterpretq_u64_u32(a), b2 = vreinterpretq_u64_u32(b);
    uint64x2_t c2 = vreinterpretq_u64_u32(c), d2 = vreinterpretq_u64_u32(d);
    v[0] = vreinterpretq_u32_u64(vtrn1q_u64(a2, c2));
    v[1] = vreinterpretq_u32_u64(vtrn1q_u64(b2, d2));
    v[2] = vreinterpretq_u32_u64(vtrn2q_u64(a2, c2));
    v[3] = vreinterpretq_u32_u64(vtrn2q_u64(b2, d2));
}

/* One factor of four blocks, v[row] with four blocks each, to rows 4q..4q+3 of n blocks. */
INLINE void store_factors(enum order o, float32x4_t v[4], int q, int n, uint8_t *to, size_t step) {
    uint32x4_t u[4];
    for (int r = 0; r < 4; r++) {
        u[r] = vreinterpretq_u32_f32(v[r]);
    }
    transpose4(u);
    for (int j = 0; j < 4 && j < n; j++) {
        uint32_t *at = (uint32_t *)(void *)(to + (size_t)j * step);
        if (o == BY_FOURS) {
            vst1q_u32(at + 4 * q, u[j]);
        } else {
            vst1q_u32(at + 8 * q, vzip1q_u32(u[j], u[j]));
            vst1q_u32(at + 8 * q + 4, vzip2q_u32(u[j], u[j]));
        }
    }
}

/* step: from a block to the next one of the row, which is another lane's. */
INLINE void unpack_scales(int type, enum order o, const uint8_t *const g[STRIP], int n, uint8_t *to,
                          size_t step) {
    const int n_d = fmt_scales(type);
    for (int q = 0; q < 2; q++) {
        struct scales s[4];
        for (int r = 0; r < 4; r++) {
            group_scales(type, g[4 * q + r], &s[r]);
        }
        for (int i = 0; i < n_d + fmt_mins(type); i++) {
            for (int k = 0; k < 2; k++) {
                float32x4_t v[4];
                for (int r = 0; r < 4; r++) {
                    v[r] = i < n_d ? s[r].d[i][k] : s[r].min[i - n_d][k];
                }
                uint8_t *at = to + AT_SCALES + i * row_factor(o) + (size_t)(4 * k) * step;
                store_factors(o, v, q, n - 4 * k, at, step);
            }
        }
    }
}

INLINE void unpack_block(int type, enum order o, const uint8_t *const g[STRIP], int j,
                         uint8_t *to) {
    uint8x16_t w[STRIP][2];
#pragma GCC unroll 8
    for (int r = 0; r < STRIP; r++) {
        struct block_bytes b = block_bytes(type, g[r], j);
        for (int h = 0; h < 2; h++) {
            w[r][h] = vsubq_u8(b.v[h], vdupq_n_u8((uint8_t)fmt_offset(type)));
        }
    }
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
#pragma GCC unroll 4
        for (int p = 0; p < 4 && o == BY_PAIRS; p++) {
            uint64x2_t a = vreinterpretq_u64_u8(w[2 * p][h]);
            uint64x2_t b = vreinterpretq_u64_u8(w[2 * p + 1][h]);
            vst1q_u8(to + 64 * p + 32 * h, vreinterpretq_u8_u64(vtrn1q_u64(a, b)));
            vst1q_u8(to + 64 * p + 32 * h + 16, vreinterpretq_u8_u64(vtrn2q_u64(a, b)));
        }
#pragma GCC unroll 2
        for (int q = 0; q < 2 && o == BY_FOURS; q++) {
            uint32x4_t v[4];
            for (int r = 0; r < 4; r++) {
                v[r] = vreinterpretq_u32_u8(w[4 * q + r][h]);
            }
            transpose4(v);
            for (int c = 0; c < 4; c++) {
                vst1q_u8(to + 128 * h + 32 * c + 16 * q, vreinterpretq_u8_u32(v[c]));
            }
        }
    }
}

INLINE void unpack_q(int type, enum order o, const uint8_t *const *row, int64_t n_col,
                     uint8_t *panel) {
    const int64_t n_group = micro_groups(n_col), n_block = n_col / MICRO_BLOCK;
    const size_t bytes = (size_t)panel_block(type, o), step = (size_t)n_group * bytes;
    for (int r = 0; r < ROWS_NEON; r += STRIP, panel += 8 * step) {
        for (int64_t i = 0; i < n_group; i++) {
            uint8_t part[STRIP][PART_BYTES];
            const uint8_t *g[STRIP];
            uint8_t *to = panel + (size_t)i * bytes;
            int n = n_block - 8 * i < 8 ? (int)(n_block - 8 * i) : 8;
            for (int k = 0; k < STRIP; k++) {
                g[k] = group_at(type, row[r + k], i, n_block, part[k]);
            }
            unpack_scales(type, o, g, n, to, step);
#pragma GCC unroll 8
            for (int j = 0; j < 8; j++) {
                if (j < n) {
                    unpack_block(type, o, g, j, to + (size_t)j * step);
                }
            }
        }
    }
}

INLINE void put_factor(enum order o, uint8_t *to, int t, const void *v) {
    if (o == BY_FOURS) {
        memcpy(to + 4 * t, v, 4);
    } else { /* 16 bytes for a pair; the halves' pairs are next to each other */
        memcpy(to + 4 * (t % 2), v, 4);
        memcpy(to + 4 * (t % 2) + 8, v, 4);
    }
}

/* Where factor i (mul of half 0 and 1, then s) of token t's pair, or of all four, begins. */
INLINE int factor_at(int type, enum order o, int i, int t) {
    int n = fmt_mins(type) == 2 ? 4 : 3;
    return UNIT * MICRO_BLOCK + (o == BY_FOURS ? 16 * i : 16 * (n * (t / 2) + i));
}

/* Block j of one token. */
INLINE void pack_token(int type, enum order o, const struct act_group *x, int j, int t,
                       uint8_t *to) {
    const int8_t *q = x->q + j * MICRO_BLOCK;
    for (int h = 0; h < 2; h++) {
        int mul = micro_mul(x, j, h);
        float s = fmt_mins(type) == 2 ? (float)x->prod[micro_half(j, h)] : x->s[j];
        put_factor(o, to + factor_at(type, o, h, t), t, &mul);
        if (h < fmt_mins(type) || h == 0) {
            put_factor(o, to + factor_at(type, o, 2 + h, t), t, &s);
        }
        if (o == BY_FOURS) {
            memcpy(to + 64 * h + 16 * t, q + 16 * h, 16);
        } else {
            memcpy(to + 64 * (t / 2) + 32 * h + 8 * (t % 2), q + 16 * h, 8);
            memcpy(to + 64 * (t / 2) + 32 * h + 8 * (t % 2) + 16, q + 16 * h + 8, 8);
        }
    }
}

INLINE void pack_q(int type, enum order o, const void *const *x, int n_tok, int64_t n_col,
                   uint8_t *tile) {
    static const struct act_group zero; /* tokens that the tile does not have */
    const int64_t n_group = micro_groups(n_col);
    float d[TOKS_NEON] = {0};
    for (int t = 0; t < n_tok; t++) {
        d[t] = ((const struct act_group *)x[t])->d;
    }
    memcpy(tile, d, sizeof d);
    tile += TILE_HEAD;
    for (int u = 0; u < n_tok; u += UNIT) {
        for (int b = 0; b < 8; b++) {
            for (int64_t i = 0; i < n_group; i++, tile += tile_block(type, o)) {
                for (int t = 0; t < UNIT; t++) {
                    const struct act_group *g =
                        u + t < n_tok ? (const struct act_group *)x[u + t] + i : &zero;
                    pack_token(type, o, g, b, t, tile);
                }
            }
        }
    }
}

/* d times the sum of the lanes l[8], each a register of results. */
INLINE float32x4_t lanes_sum(const float *l, size_t step, float32x4_t d) {
    float32x4_t v[8];
    for (int b = 0; b < 8; b++) {
        v[b] = vld1q_f32(l + (size_t)b * step);
    }
    float32x4_t even = vaddq_f32(vaddq_f32(v[0], v[4]), vaddq_f32(v[2], v[6]));
    float32x4_t odd = vaddq_f32(vaddq_f32(v[1], v[5]), vaddq_f32(v[3], v[7]));
    return vmulq_f32(d, vaddq_f32(even, odd));
}

#endif
