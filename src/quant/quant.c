/* quant.c: decodes each block format, as the format's definition reads, one element at a time.
 *
 * Owns the meaning of the bits. Refuses speed (kern/ has it) and judgement: a scale that is NaN
 * or infinite decodes to what the arithmetic gives. Invariant: one float operation per operator,
 * in the order written here, never fused, so that the results are the same bits everywhere;
 * `gguf.quants`, the independent implementation, rounds at the same places.
 *
 * In the legacy blocks the low nibbles of q hold elements 0..15, the high ones 16..31. In the
 * super-blocks q holds halves (or quarters) of 128 (or 64) elements: its bytes are walked once
 * for each group of bits, so that byte l carries elements l, l + 32, l + 64, ... of its half.
 */
#include "quant/quant.h"

#include <assert.h>

/* The files are mapped and read as these structs. */
static_assert(sizeof(struct block_q4_0) == 18, "Q4_0");
static_assert(sizeof(struct block_q4_1) == 20, "Q4_1");
static_assert(sizeof(struct block_q5_0) == 22, "Q5_0");
static_assert(sizeof(struct block_q5_1) == 24, "Q5_1");
static_assert(sizeof(struct block_q8_0) == 34, "Q8_0");
static_assert(sizeof(struct block_q2_k) == 84, "Q2_K");
static_assert(sizeof(struct block_q3_k) == 110, "Q3_K");
static_assert(sizeof(struct block_q4_k) == 144, "Q4_K");
static_assert(sizeof(struct block_q5_k) == 176, "Q5_K");
static_assert(sizeof(struct block_q6_k) == 210, "Q6_K");
static_assert(sizeof(struct block_q8_k) == 292, "Q8_K");
static_assert(sizeof(struct block_iq4_nl) == 18, "IQ4_NL");
static_assert(sizeof(struct block_iq4_xs) == 136, "IQ4_XS");

const int8_t quant_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                     1,    13,   25,  38,  53,  69,  89,  113};

static int nibble(uint8_t byte, int high) {
    return high ? byte >> 4 : byte & 15;
}

/* ---- legacy blocks: 32 elements, out [32] ---------------------------------------------- */

static void decode_q4_0(const struct block_q4_0 *b, float *out) {
    float d = f32_from_f16(b->d);
    for (int i = 0; i < QK; i++) {
        out[i] = d * (float)(nibble(b->q[i % 16], i / 16) - 8);
    }
}

static void decode_q4_1(const struct block_q4_1 *b, float *out) {
    float d = f32_from_f16(b->d), m = f32_from_f16(b->m);
    for (int i = 0; i < QK; i++) {
        out[i] = d * (float)nibble(b->q[i % 16], i / 16) + m;
    }
}

/* The fifth bit of element i is bit i of the four bytes h. */
static int fifth_bit(const uint8_t h[4], int i) {
    return (h[i / 8] >> (i % 8) & 1) << 4;
}

static void decode_q5_0(const struct block_q5_0 *b, float *out) {
    float d = f32_from_f16(b->d);
    for (int i = 0; i < QK; i++) {
        int q = nibble(b->q[i % 16], i / 16) | fifth_bit(b->h, i);
        out[i] = d * (float)(q - 16);
    }
}

static void decode_q5_1(const struct block_q5_1 *b, float *out) {
    float d = f32_from_f16(b->d), m = f32_from_f16(b->m);
    for (int i = 0; i < QK; i++) {
        int q = nibble(b->q[i % 16], i / 16) | fifth_bit(b->h, i);
        out[i] = d * (float)q + m;
    }
}

static void decode_q8_0(const struct block_q8_0 *b, float *out) {
    float d = f32_from_f16(b->d);
    for (int i = 0; i < QK; i++) {
        out[i] = d * (float)b->q[i];
    }
}

static void decode_iq4_nl(const struct block_iq4_nl *b, float *out) {
    float d = f32_from_f16(b->d);
    for (int i = 0; i < QK; i++) {
        out[i] = d * (float)quant_iq4_values[nibble(b->q[i % 16], i / 16)];
    }
}

/* ---- super-blocks: 256 elements, out [256] --------------------------------------------- */

/* 16 sub-blocks of 16; sc holds the scale in its low nibble and the minimum in its high one. */
static void decode_q2_k(const struct block_q2_k *b, float *out) {
    float d = f32_from_f16(b->d), dmin = f32_from_f16(b->dmin);
    for (int i = 0; i < QK_K; i++) {
        int q = b->q[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
        float scale = d * (float)(b->sc[i / 16] & 15);
        float min = dmin * (float)(b->sc[i / 16] >> 4);
        out[i] = scale * (float)q - min;
    }
}

/* 16 sub-blocks of 16; of the six bits of a scale four are in sc[0..7], two in sc[8..11]. The
 * third bit of element i, whose absence takes 4 off, is bit i / 32 of h. */
static void decode_q3_k(const struct block_q3_k *b, float *out) {
    float d = f32_from_f16(b->d);
    for (int i = 0; i < QK_K; i++) {
        int j = i / 16;
        int low = nibble(b->sc[j % 8], j / 8);
        int high = b->sc[8 + j % 4] >> (j / 4 * 2) & 3;
        float scale = d * (float)((low | high << 4) - 32);
        int q = b->q[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
        int bit = b->h[i % 32] >> (i / 32) & 1;
        out[i] = scale * (float)(q - (bit ? 0 : 4));
    }
}

void quant_k4_scale(const uint8_t sc[12], int j, uint8_t *scale, uint8_t *min) {
    if (j < 4) {
        *scale = sc[j] & 63;
        *min = sc[j + 4] & 63;
    } else {
        *scale = (uint8_t)((sc[j + 4] & 15) | (sc[j - 4] >> 6) << 4);
        *min = (uint8_t)((sc[j + 4] >> 4) | (sc[j] >> 6) << 4);
    }
}

static void decode_q4_k(const struct block_q4_k *b, float *out) {
    float d = f32_from_f16(b->d), dmin = f32_from_f16(b->dmin);
    for (int j = 0; j < 8; j++) {
        uint8_t sc, mn;
        quant_k4_scale(b->sc, j, &sc, &mn);
        float scale = d * (float)sc, min = dmin * (float)mn;
        for (int l = 0; l < 32; l++) {
            int q = nibble(b->q[j / 2 * 32 + l], j % 2);
            out[j * 32 + l] = scale * (float)q - min;
        }
    }
}

/* As Q4_K; the fifth bit of element l of sub-block j is bit j of h[l]. */
static void decode_q5_k(const struct block_q5_k *b, float *out) {
    float d = f32_from_f16(b->d), dmin = f32_from_f16(b->dmin);
    for (int j = 0; j < 8; j++) {
        uint8_t sc, mn;
        quant_k4_scale(b->sc, j, &sc, &mn);
        float scale = d * (float)sc, min = dmin * (float)mn;
        for (int l = 0; l < 32; l++) {
            int q = nibble(b->q[j / 2 * 32 + l], j % 2) | (b->h[l] >> j & 1) << 4;
            out[j * 32 + l] = scale * (float)q - min;
        }
    }
}

/* 16 sub-blocks of 16; of the six bits of an element four are in ql, two in qh. */
static void decode_q6_k(const struct block_q6_k *b, float *out) {
    float d = f32_from_f16(b->d);
    for (int i = 0; i < QK_K; i++) {
        int j = i / 16;
        int low = nibble(b->ql[i / 128 * 64 + i % 64], i % 128 / 64);
        int high = b->qh[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
        float scale = d * (float)b->sc[j];
        out[i] = scale * (float)((low | high << 4) - 32);
    }
}

static void decode_q8_k(const struct block_q8_k *b, float *out) {
    for (int i = 0; i < QK_K; i++) {
        out[i] = b->d * (float)b->q[i];
    }
}

/* 8 sub-blocks of 32, each laid out as an IQ4_NL block; of the six bits of a scale four are in
 * sc_l, two in sc_h. */
static void decode_iq4_xs(const struct block_iq4_xs *b, float *out) {
    float d = f32_from_f16(b->d);
    for (int i = 0; i < QK_K; i++) {
        int j = i / 32;
        int sc = nibble(b->sc_l[j / 2], j % 2) | (b->sc_h >> (2 * j) & 3) << 4;
        float scale = d * (float)(sc - 32);
        int q = nibble(b->q[j * 16 + i % 16], i % 32 / 16);
        out[i] = scale * (float)quant_iq4_values[q];
    }
}

/* ---- rows ------------------------------------------------------------------------------ */

/* Decodes `n` elements, block by block. */
#define DECODE_BLOCKS(kind, elements)                                                              \
    do {                                                                                           \
        const struct block_##kind *b = src;                                                        \
        for (size_t i = 0; i < n / (elements); i++) {                                              \
            decode_##kind(b + i, out + i * (elements));                                            \
        }                                                                                          \
    } while (0)

void quant_decode(enum dtype type, const void *src, float *out, size_t n) {
    assert(dtype_info(type)->block && n % dtype_info(type)->block == 0);
    switch (type) {
    case DT_F32: memcpy(out, src, n * sizeof *out); break;
    case DT_F16:
        for (size_t i = 0; i < n; i++) {
            out[i] = f32_from_f16(((const f16_t *)src)[i]);
        }
        break;
    case DT_BF16:
        for (size_t i = 0; i < n; i++) {
            out[i] = f32_from_bf16(((const bf16_t *)src)[i]);
        }
        break;
    case DT_Q4_0: DECODE_BLOCKS(q4_0, QK); break;
    case DT_Q4_1: DECODE_BLOCKS(q4_1, QK); break;
    case DT_Q5_0: DECODE_BLOCKS(q5_0, QK); break;
    case DT_Q5_1: DECODE_BLOCKS(q5_1, QK); break;
    case DT_Q8_0: DECODE_BLOCKS(q8_0, QK); break;
    case DT_Q2_K: DECODE_BLOCKS(q2_k, QK_K); break;
    case DT_Q3_K: DECODE_BLOCKS(q3_k, QK_K); break;
    case DT_Q4_K: DECODE_BLOCKS(q4_k, QK_K); break;
    case DT_Q5_K: DECODE_BLOCKS(q5_k, QK_K); break;
    case DT_Q6_K: DECODE_BLOCKS(q6_k, QK_K); break;
    case DT_Q8_K: DECODE_BLOCKS(q8_k, QK_K); break;
    case DT_IQ4_NL: DECODE_BLOCKS(iq4_nl, QK); break;
    case DT_IQ4_XS: DECODE_BLOCKS(iq4_xs, QK_K); break;
    case DT_I8:
    case DT_MAX: break;
    }
}
