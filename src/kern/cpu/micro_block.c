/* micro_block.c: each quantized format as integer weights, scales and minimums: the definition
 * that every kernel of the format follows.
 *
 * Owns the reading of the blocks' bits for the CPU back end. The real values w * d + min equal
 * quant_decode's up to the rounding of that expression: d times an integer scale is exact in f32.
 * Invariant: |w| is at most 31 in a narrow format, 32 in a split one, 128 in a wide one, so that
 * sums of products with q times MICRO_MUL fit int32 in the first two.
 */
#include <string.h>

#include "kern/cpu/micro.h"
#include "quant/quant.h"

/* ---- blocks of 32 ------------------------------------------------------------------------ */

static void nibbles16(const uint8_t q[16], int offset, int8_t w[32]) {
    for (int i = 0; i < 16; i++) {
        w[i] = (int8_t)((q[i] & 15) - offset);
        w[i + 16] = (int8_t)((q[i] >> 4) - offset);
    }
}

static void block_q4_0(const uint8_t *row, int64_t b, struct micro_block *o) {
    const struct block_q4_0 *s = (const struct block_q4_0 *)row + b;
    o->d[0] = f32_from_f16(s->d);
    nibbles16(s->q, 8, o->w);
}

static void block_q4_1(const uint8_t *row, int64_t b, struct micro_block *o) {
    const struct block_q4_1 *s = (const struct block_q4_1 *)row + b;
    o->d[0] = f32_from_f16(s->d);
    o->min[0] = f32_from_f16(s->m);
    nibbles16(s->q, 0, o->w);
}

static void fifth_bits(const uint8_t h[4], int8_t w[32]) {
    for (int i = 0; i < 32; i++) {
        w[i] = (int8_t)(w[i] + ((h[i / 8] >> (i % 8) & 1) << 4));
    }
}

static void block_q5_0(const uint8_t *row, int64_t b, struct micro_block *o) {
    const struct block_q5_0 *s = (const struct block_q5_0 *)row + b;
    o->d[0] = f32_from_f16(s->d);
    nibbles16(s->q, 16, o->w);
    fifth_bits(s->h, o->w);
}

static void block_q5_1(const uint8_t *row, int64_t b, struct micro_block *o) {
    const struct block_q5_1 *s = (const struct block_q5_1 *)row + b;
    o->d[0] = f32_from_f16(s->d);
    o->min[0] = f32_from_f16(s->m);
    nibbles16(s->q, 0, o->w);
    fifth_bits(s->h, o->w);
}

static void block_q8_0(const uint8_t *row, int64_t b, struct micro_block *o) {
    const struct block_q8_0 *s = (const struct block_q8_0 *)row + b;
    o->d[0] = f32_from_f16(s->d);
    for (int i = 0; i < 32; i++) {
        o->w[i] = s->q[i];
    }
}

static void block_iq4_nl(const uint8_t *row, int64_t b, struct micro_block *o) {
    const struct block_iq4_nl *s = (const struct block_iq4_nl *)row + b;
    o->d[0] = f32_from_f16(s->d);
    for (int i = 0; i < 16; i++) {
        o->w[i] = quant_iq4_values[s->q[i] & 15];
        o->w[i + 16] = quant_iq4_values[s->q[i] >> 4];
    }
}

/* ---- an eighth of a block of 256 ---------------------------------------------------------- */

static void block_q2_k(const uint8_t *row, int64_t b, struct micro_block *o) {
    const struct block_q2_k *s = (const struct block_q2_k *)row + b / 8;
    int j = (int)(b % 8);
    const uint8_t *q = s->q + j / 4 * 32, *sc = s->sc + 2 * j;
    float dmin = f32_from_f16(s->dmin);
    for (int i = 0; i < 32; i++) {
        o->w[i] = (int8_t)(q[i] >> (j % 4 * 2) & 3);
    }
    for (int h = 0; h < 2; h++) {
        o->d[h] = f32_from_f16(s->d) * (float)(sc[h] & 15);
        o->min[h] = -(dmin * (float)(sc[h] >> 4));
    }
}

/* Six-bit scales of Q3_K: low nibbles in bytes 0..7, two high bits each in bytes 8..11. */
static int q3_scale(const uint8_t sc[12], int i) {
    int low = i < 8 ? sc[i] & 15 : sc[i - 8] >> 4;
    return (low | (sc[8 + i % 4] >> (i / 4 * 2) & 3) << 4) - 32;
}

static void block_q3_k(const uint8_t *row, int64_t b, struct micro_block *o) {
    const struct block_q3_k *s = (const struct block_q3_k *)row + b / 8;
    int j = (int)(b % 8);
    const uint8_t *q = s->q + j / 4 * 32;
    for (int i = 0; i < 32; i++) {
        o->w[i] = (int8_t)((q[i] >> (j % 4 * 2) & 3) - (s->h[i] >> j & 1 ? 0 : 4));
    }
    o->d[0] = f32_from_f16(s->d) * (float)q3_scale(s->sc, 2 * j);
    o->d[1] = f32_from_f16(s->d) * (float)q3_scale(s->sc, 2 * j + 1);
}

static void block_q4_k(const uint8_t *row, int64_t b, struct micro_block *o) {
    const struct block_q4_k *s = (const struct block_q4_k *)row + b / 8;
    int j = (int)(b % 8);
    const uint8_t *q = s->q + j / 2 * 32;
    uint8_t scale, min;
    quant_k4_scale(s->sc, j, &scale, &min);
    o->d[0] = f32_from_f16(s->d) * (float)scale;
    o->min[0] = -(f32_from_f16(s->dmin) * (float)min);
    for (int i = 0; i < 32; i++) {
        o->w[i] = (int8_t)(q[i] >> (j % 2 * 4) & 15);
    }
}

static void block_q5_k(const uint8_t *row, int64_t b, struct micro_block *o) {
    const struct block_q5_k *s = (const struct block_q5_k *)row + b / 8;
    int j = (int)(b % 8);
    const uint8_t *q = s->q + j / 2 * 32;
    uint8_t scale, min;
    quant_k4_scale(s->sc, j, &scale, &min);
    o->d[0] = f32_from_f16(s->d) * (float)scale;
    o->min[0] = -(f32_from_f16(s->dmin) * (float)min);
    for (int i = 0; i < 32; i++) {
        o->w[i] = (int8_t)((q[i] >> (j % 2 * 4) & 15) + ((s->h[i] >> j & 1) << 4));
    }
}

static void block_q6_k(const uint8_t *row, int64_t b, struct micro_block *o) {
    const struct block_q6_k *s = (const struct block_q6_k *)row + b / 8;
    int j = (int)(b % 8);
    const uint8_t *ql = s->ql + j / 4 * 64 + j % 2 * 32, *qh = s->qh + j / 4 * 32;
    o->d[0] = f32_from_f16(s->d) * (float)s->sc[2 * j];
    o->d[1] = f32_from_f16(s->d) * (float)s->sc[2 * j + 1];
    for (int i = 0; i < 32; i++) {
        int low = ql[i] >> (j % 4 / 2 * 4) & 15, high = qh[i] >> (j % 4 * 2) & 3;
        o->w[i] = (int8_t)((low | high << 4) - 32);
    }
}

static void block_q8_k(const uint8_t *row, int64_t b, struct micro_block *o) {
    const struct block_q8_k *s = (const struct block_q8_k *)row + b / 8;
    o->d[0] = s->d;
    for (int i = 0; i < 32; i++) {
        o->w[i] = s->q[b % 8 * 32 + i];
    }
}

static void block_iq4_xs(const uint8_t *row, int64_t b, struct micro_block *o) {
    const struct block_iq4_xs *s = (const struct block_iq4_xs *)row + b / 8;
    int j = (int)(b % 8);
    int scale = ((s->sc_l[j / 2] >> (j % 2 * 4) & 15) | (s->sc_h >> (2 * j) & 3) << 4) - 32;
    const uint8_t *q = s->q + j * 16;
    o->d[0] = f32_from_f16(s->d) * (float)scale;
    for (int i = 0; i < 16; i++) {
        o->w[i] = quant_iq4_values[q[i] & 15];
        o->w[i + 16] = quant_iq4_values[q[i] >> 4];
    }
}

micro_block_fn micro_block(enum dtype type, enum micro_kind *kind) {
    *kind = MICRO_NARROW;
    switch (type) {
    case DT_Q4_0: return block_q4_0;
    case DT_Q5_0: return block_q5_0;
    default: break;
    }
    *kind = MICRO_NARROW_MIN;
    switch (type) {
    case DT_Q4_1: return block_q4_1;
    case DT_Q5_1: return block_q5_1;
    case DT_Q4_K: return block_q4_k;
    case DT_Q5_K: return block_q5_k;
    default: break;
    }
    *kind = type == DT_Q2_K ? MICRO_SPLIT_MINS : MICRO_SPLIT;
    switch (type) {
    case DT_Q2_K: return block_q2_k;
    case DT_Q3_K: return block_q3_k;
    case DT_Q6_K: return block_q6_k;
    default: break;
    }
    *kind = MICRO_WIDE;
    switch (type) {
    case DT_Q8_0: return block_q8_0;
    case DT_Q8_K: return block_q8_k;
    case DT_IQ4_NL: return block_iq4_nl;
    case DT_IQ4_XS: return block_iq4_xs;
    default: return NULL;
    }
}
