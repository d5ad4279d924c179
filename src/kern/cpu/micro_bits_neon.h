/* micro_bits_neon.h: blocks of quantized weights as NEON registers: bytes in the order of the
 * columns, and scales of 256 columns at a time.
 *
 * Owns what a format's bits mean to the ISA files of aarch64, which alone include it. Refuses
 * arithmetic on activations. Nothing here needs more than ARMv8.0. A new format is one case in
 * block_bytes and one in group_scales, over the type as a constant.
 * Invariant: the values and scales are those of micro_block.c, to the bit.
 */
#ifndef IGN_KERN_CPU_MICRO_BITS_NEON_H
#define IGN_KERN_CPU_MICRO_BITS_NEON_H

#include <arm_neon.h>
#include <string.h>

#include "kern/cpu/micro_fmt.h"

/* ---- registers ------------------------------------------------------------------------- */

/* The order of micro_sum8, of lanes 0..3 and 4..7. */
INLINE float sum8(float32x4_t low, float32x4_t high) {
    float32x4_t v = vaddq_f32(low, high);
    return vpadds_f32(vadd_f32(vget_low_f32(v), vget_high_f32(v)));
}

INLINE float32x4_t half4(uint16x4_t h) {
    return vcvt_f32_f16(vreinterpret_f16_u16(h));
}

/* One f16 in all lanes. */
INLINE float32x4_t half1(f16_t h) {
    return half4(vdup_n_u16(h));
}

/* Shifts want a constant in the source: n is one, folded away. */
INLINE uint8x16_t shift_right(uint8x16_t v, int n) {
    switch (n) {
    case 0: return v;
    case 1: return vshrq_n_u8(v, 1);
    case 2: return vshrq_n_u8(v, 2);
    case 3: return vshrq_n_u8(v, 3);
    case 4: return vshrq_n_u8(v, 4);
    case 5: return vshrq_n_u8(v, 5);
    case 6: return vshrq_n_u8(v, 6);
    default: return vshrq_n_u8(v, 7);
    }
}

INLINE uint8x16_t shift_left(uint8x16_t v, int n) {
    switch (n) {
    case 0: return v;
    case 1: return vshlq_n_u8(v, 1);
    case 2: return vshlq_n_u8(v, 2);
    case 3: return vshlq_n_u8(v, 3);
    case 4: return vshlq_n_u8(v, 4);
    case 5: return vshlq_n_u8(v, 5);
    default: return vshlq_n_u8(v, 6);
    }
}

/* Each byte of v, moved so that bit n comes to place `to`; those bits of it that are in `mask`. */
INLINE uint8x16_t bits(uint8x16_t v, int n, int to, int mask) {
    v = n > to ? shift_right(v, n - to) : shift_left(v, to - n);
    bool clean = to == 0 && mask == 0xff >> n; /* the shift has left nothing else */
    return clean ? v : vandq_u8(v, vdupq_n_u8((uint8_t)mask));
}

/* ---- bytes of a block --------------------------------------------------------------------- */

/* 32 bytes in the order of the columns: half 0 and half 1. */
struct block_bytes {
    uint8x16_t v[2];
};

/* Low nibbles, then high nibbles. */
INLINE struct block_bytes nibbles(const uint8_t *q) {
    uint8x16_t x = vld1q_u8(q);
    return (struct block_bytes){{vandq_u8(x, vdupq_n_u8(15)), vshrq_n_u8(x, 4)}};
}

/* With 16 in every byte whose bit of h is set. */
INLINE struct block_bytes nibbles_fifth(const uint8_t *q, const uint8_t h[4]) {
    static const uint8_t at[32] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1,
                                   2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3};
    const uint8x16_t bit = vreinterpretq_u8_u64(vdupq_n_u64(UINT64_C(0x8040201008040201)));
    struct block_bytes b = nibbles(q);
    uint32_t word;
    memcpy(&word, h, sizeof word);
    uint8x16_t all = vreinterpretq_u8_u32(vdupq_n_u32(word));
    for (int i = 0; i < 2; i++) {
        uint8x16_t set = vtstq_u8(vqtbl1q_u8(all, vld1q_u8(at + 16 * i)), bit);
        b.v[i] = vorrq_u8(b.v[i], vandq_u8(set, vdupq_n_u8(16)));
    }
    return b;
}

INLINE struct block_bytes iq4_bytes(const uint8_t *q) {
    uint8x16_t table = vreinterpretq_u8_s8(vld1q_s8(quant_iq4_values));
    struct block_bytes b = nibbles(q);
    return (struct block_bytes){{vqtbl1q_u8(table, b.v[0]), vqtbl1q_u8(table, b.v[1])}};
}

/* Half i of block j of a super-block. */
INLINE uint8x16_t super_bytes(int type, const uint8_t *g, int j, int i) {
    switch (type) {
    case DT_Q2_K:
        return bits(vld1q_u8(((const struct block_q2_k *)g)->q + j / 4 * 32 + 16 * i), j % 4 * 2, 0,
                    3);
    case DT_Q3_K: {
        const struct block_q3_k *s = (const struct block_q3_k *)g;
        uint8x16_t low = bits(vld1q_u8(s->q + j / 4 * 32 + 16 * i), j % 4 * 2, 0, 3);
        return vorrq_u8(low, bits(vld1q_u8(s->h + 16 * i), j, 2, 4));
    }
    case DT_Q4_K:
        return bits(vld1q_u8(((const struct block_q4_k *)g)->q + j / 2 * 32 + 16 * i), j % 2 * 4, 0,
                    15);
    case DT_Q5_K: {
        const struct block_q5_k *s = (const struct block_q5_k *)g;
        uint8x16_t low = bits(vld1q_u8(s->q + j / 2 * 32 + 16 * i), j % 2 * 4, 0, 15);
        return vorrq_u8(low, bits(vld1q_u8(s->h + 16 * i), j, 4, 16));
    }
    case DT_Q6_K: {
        const struct block_q6_k *s = (const struct block_q6_k *)g;
        uint8x16_t low = vld1q_u8(s->ql + j / 4 * 64 + j % 2 * 32 + 16 * i);
        uint8x16_t high = vld1q_u8(s->qh + j / 4 * 32 + 16 * i);
        return vorrq_u8(bits(low, j % 4 / 2 * 4, 0, 15), bits(high, j % 4 * 2, 4, 48));
    }
    default: return vld1q_u8((const uint8_t *)((const struct block_q8_k *)g)->q + j * 32 + 16 * i);
    }
}

/* Block j of the group that starts at g: unsigned with fmt_offset, or signed. */
INLINE struct block_bytes block_bytes(int type, const uint8_t *g, int j) {
    const uint8_t *b = fmt_small(type) ? g + j * fmt_bytes(type) : g;
    switch (type) {
    case DT_Q4_0: return nibbles(((const struct block_q4_0 *)b)->q);
    case DT_Q4_1: return nibbles(((const struct block_q4_1 *)b)->q);
    case DT_Q5_0: {
        const struct block_q5_0 *s = (const struct block_q5_0 *)b;
        return nibbles_fifth(s->q, s->h);
    }
    case DT_Q5_1: {
        const struct block_q5_1 *s = (const struct block_q5_1 *)b;
        return nibbles_fifth(s->q, s->h);
    }
    case DT_Q8_0: {
        const uint8_t *q = (const uint8_t *)((const struct block_q8_0 *)b)->q;
        return (struct block_bytes){{vld1q_u8(q), vld1q_u8(q + 16)}};
    }
    case DT_IQ4_NL: return iq4_bytes(((const struct block_iq4_nl *)b)->q);
    case DT_IQ4_XS: return iq4_bytes(((const struct block_iq4_xs *)b)->q + j * 16);
    default: return (struct block_bytes){{super_bytes(type, g, j, 0), super_bytes(type, g, j, 1)}};
    }
}

/* ---- scales of a group ---------------------------------------------------------------------- */

/* A group's scales and minimums, sign included: [0] alone, or one for each half where the format
 * is split; blocks 0..3 and 4..7. */
struct scales {
    float32x4_t d[2][2], min[2][2];
};

/* Bytes [block] times a scale. */
INLINE void times_u8(float32x4_t d, uint8x8_t v, float32x4_t out[2]) {
    uint16x8_t w = vmovl_u8(v);
    out[0] = vmulq_f32(d, vcvtq_f32_u32(vmovl_u16(vget_low_u16(w))));
    out[1] = vmulq_f32(d, vcvtq_f32_u32(vmovl_u16(vget_high_u16(w))));
}

INLINE void times_i8(float32x4_t d, int8x8_t v, float32x4_t out[2]) {
    int16x8_t w = vmovl_s8(v);
    out[0] = vmulq_f32(d, vcvtq_f32_s32(vmovl_s16(vget_low_s16(w))));
    out[1] = vmulq_f32(d, vcvtq_f32_s32(vmovl_s16(vget_high_s16(w))));
}

/* Six-bit scales and minimums of Q4_K and Q5_K. */
INLINE void set_k4(struct scales *s, f16_t d, f16_t dmin, const uint8_t sc[12]) {
    uint32_t a, b, c;
    memcpy(&a, sc, 4);
    memcpy(&b, sc + 4, 4);
    memcpy(&c, sc + 8, 4);
    uint64_t s0 = a & 0x3f3f3f3fu, s1 = (c & 0x0f0f0f0fu) | (a >> 2 & 0x30303030u);
    uint64_t m0 = b & 0x3f3f3f3fu, m1 = (c >> 4 & 0x0f0f0f0fu) | (b >> 2 & 0x30303030u);
    times_u8(half1(d), vcreate_u8(s0 | s1 << 32), s->d[0]);
    times_u8(half1(dmin ^ 0x8000), vcreate_u8(m0 | m1 << 32), s->min[0]);
}

INLINE int8x16_t q3_scales(const uint8_t sc[12]) {
    uint32_t a, b, t;
    memcpy(&a, sc, 4);
    memcpy(&b, sc + 4, 4);
    memcpy(&t, sc + 8, 4);
    const uint32_t low = 0x0f0f0f0fu, high = 0x30303030u;
    uint64_t x = (a & low) | (t << 4 & high), y = (b & low) | (t << 2 & high);
    uint64_t z = (a >> 4 & low) | (t & high), w = (b >> 4 & low) | (t >> 2 & high);
    uint8x16_t v = vcombine_u8(vcreate_u8(x | y << 32), vcreate_u8(z | w << 32));
    return vsubq_s8(vreinterpretq_s8_u8(v), vdupq_n_s8(32));
}

/* Signed bytes [block][half] times d. */
INLINE void set_halves(struct scales *s, f16_t d, int8x16_t sc) {
    int8x8_t a = vget_low_s8(sc), b = vget_high_s8(sc);
    times_i8(half1(d), vuzp1_s8(a, b), s->d[0]);
    times_i8(half1(d), vuzp2_s8(a, b), s->d[1]);
}

INLINE void set_iq4(struct scales *s, const struct block_iq4_xs *b) {
    static const int32_t by_low[8] = {0, -4, -8, -12, -16, -20, -24, -28};
    static const int32_t by_high[8] = {4, 2, 0, -2, -4, -6, -8, -10};
    uint32_t low;
    memcpy(&low, b->sc_l, sizeof low);
    for (int i = 0; i < 2; i++) {
        uint32x4_t l = vshlq_u32(vdupq_n_u32(low), vld1q_s32(by_low + 4 * i));
        uint32x4_t h = vshlq_u32(vdupq_n_u32(b->sc_h), vld1q_s32(by_high + 4 * i));
        l = vorrq_u32(vandq_u32(l, vdupq_n_u32(15)), vandq_u32(h, vdupq_n_u32(48)));
        int32x4_t v = vsubq_s32(vreinterpretq_s32_u32(l), vdupq_n_s32(32));
        s->d[0][i] = vmulq_f32(half1(b->d), vcvtq_f32_s32(v));
    }
}

/* The f16 at byte `at` of each of eight blocks. */
INLINE void small_halves(int type, const uint8_t *g, int at, float32x4_t out[2]) {
    uint16_t h[8];
    for (int j = 0; j < 8; j++) {
        memcpy(&h[j], g + j * fmt_bytes(type) + at, sizeof h[j]);
    }
    out[0] = half4(vld1_u16(h));
    out[1] = half4(vld1_u16(h + 4));
}

INLINE void set_q2(struct scales *s, const struct block_q2_k *b) {
    uint8x16_t x = vld1q_u8(b->sc), high = vshrq_n_u8(x, 4);
    set_halves(s, b->d, vreinterpretq_s8_u8(vandq_u8(x, vdupq_n_u8(15))));
    uint8x8_t low4 = vget_low_u8(high), high4 = vget_high_u8(high);
    times_u8(half1(b->dmin ^ 0x8000), vuzp1_u8(low4, high4), s->min[0]);
    times_u8(half1(b->dmin ^ 0x8000), vuzp2_u8(low4, high4), s->min[1]);
}

INLINE void group_scales(int type, const uint8_t *g, struct scales *s) {
    switch (type) {
    case DT_Q2_K: set_q2(s, (const struct block_q2_k *)g); break;
    case DT_Q3_K: {
        const struct block_q3_k *b = (const struct block_q3_k *)g;
        set_halves(s, b->d, q3_scales(b->sc));
        break;
    }
    case DT_Q4_K: {
        const struct block_q4_k *b = (const struct block_q4_k *)g;
        set_k4(s, b->d, b->dmin, b->sc);
        break;
    }
    case DT_Q5_K: {
        const struct block_q5_k *b = (const struct block_q5_k *)g;
        set_k4(s, b->d, b->dmin, b->sc);
        break;
    }
    case DT_Q6_K: {
        const struct block_q6_k *b = (const struct block_q6_k *)g;
        set_halves(s, b->d, vld1q_s8(b->sc));
        break;
    }
    case DT_Q8_K: s->d[0][0] = s->d[0][1] = vdupq_n_f32(((const struct block_q8_k *)g)->d); break;
    case DT_IQ4_XS: set_iq4(s, (const struct block_iq4_xs *)g); break;
    default:
        small_halves(type, g, 0, s->d[0]);
        if (fmt_mins(type) == 1) {
            small_halves(type, g, 2, s->min[0]);
        }
    }
}

#endif
