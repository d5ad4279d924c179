/* half.h: IEEE 754 binary16 and bfloat16, bit for bit, in portable C.
 *
 * Owns the conversions (round to nearest even; NaN stays NaN, infinities and subnormals kept).
 * SIMD code has its own instructions and is checked against these.
 */
#ifndef IGN_BASE_HALF_H
#define IGN_BASE_HALF_H

#include <stdint.h>
#include <string.h>

typedef uint16_t f16_t;
typedef uint16_t bf16_t;

static inline float f32_from_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline uint32_t f32_bits(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline float f32_from_bf16(bf16_t h) {
    return f32_from_bits((uint32_t)h << 16);
}

float f32_from_f16(f16_t h);
f16_t f16_from_f32(float f);
bf16_t bf16_from_f32(float f);

#endif
