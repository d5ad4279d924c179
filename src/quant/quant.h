/* quant.h: the block formats of quantized weights: their layout and what their bits mean.
 *
 * Owns decode (and later encode): the definition that every kernel is compared with, bit for bit.
 * Refuses speed: kern/ has that. Values are little-endian; d and m are binary16.
 * Source: the GGUF specification's quantization types; `gguf.quants` is the independent check.
 */
#ifndef IGN_QUANT_QUANT_H
#define IGN_QUANT_QUANT_H

#include <stdint.h>

#include "base/dtype.h"
#include "base/half.h"

#define QK   32  /* elements in a legacy block */
#define QK_K 256 /* elements in a super-block */

/* clang-format off */
struct block_q4_0 { f16_t d; uint8_t q[16]; };                          /* x = d (q - 8) */
struct block_q4_1 { f16_t d, m; uint8_t q[16]; };                       /* x = d q + m */
struct block_q5_0 { f16_t d; uint8_t h[4]; uint8_t q[16]; };            /* x = d (q - 16) */
struct block_q5_1 { f16_t d, m; uint8_t h[4]; uint8_t q[16]; };         /* x = d q + m */
struct block_q8_0 { f16_t d; int8_t q[32]; };                           /* x = d q */
struct block_q2_k { uint8_t sc[16]; uint8_t q[64]; f16_t d, dmin; };    /* 16 blocks of 16 */
struct block_q3_k { uint8_t h[32]; uint8_t q[64]; uint8_t sc[12]; f16_t d; };
struct block_q4_k { f16_t d, dmin; uint8_t sc[12]; uint8_t q[128]; };   /* 8 blocks of 32 */
struct block_q5_k { f16_t d, dmin; uint8_t sc[12]; uint8_t h[32]; uint8_t q[128]; };
struct block_q6_k { uint8_t ql[128]; uint8_t qh[64]; int8_t sc[16]; f16_t d; };
struct block_q8_k { float d; int8_t q[256]; int16_t sum[16]; };         /* x = d q */
struct block_iq4_nl { f16_t d; uint8_t q[16]; };                        /* x = d table[q] */
struct block_iq4_xs { f16_t d; uint16_t sc_h; uint8_t sc_l[4]; uint8_t q[128]; };
/* clang-format on */

/* The 16 values of IQ4_NL and IQ4_XS. */
extern const int8_t quant_iq4_values[16];

/* Scale and minimum (6 bits each) of sub-block j, 0..7, of Q4_K and Q5_K. */
void quant_k4_scale(const uint8_t sc[12], int j, uint8_t *scale, uint8_t *min);

/* Decodes n elements (whole blocks) at `src`, of any readable type, into out [n]. */
void quant_decode(enum dtype type, const void *src, float *out, size_t n);

#endif
