/* half.c: binary16 and bfloat16 in integer arithmetic.
 *
 * Owns the definition that SIMD conversions are checked against: the results are those of the
 * F16C instructions, quieted NaNs included. Refuses tables: 64 Ki entries would evict weights.
 * Invariant: no result depends on the rounding mode of the floating point unit.
 */
#include "base/half.h"

float f32_from_f16(f16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    uint32_t exp = h >> 10 & 0x1f;
    uint32_t frac = h & 0x3ff;
    if (exp == 0) {
        /* Subnormal: frac * 2^-24, exact in binary32. */
        return f32_from_bits(sign | f32_bits((float)frac * 0x1p-24f));
    }
    if (exp == 31) {
        uint32_t quiet = frac ? 0x400000 : 0;
        return f32_from_bits(sign | 0x7f800000 | quiet | frac << 13);
    }
    return f32_from_bits(sign | (exp + 112) << 23 | frac << 13);
}

/* v >> shift, rounded to nearest, ties to even; shift in 1..31. */
static uint32_t round_shift(uint32_t v, unsigned shift) {
    uint32_t half = 1u << (shift - 1);
    uint32_t rest = v & ((half << 1) - 1);
    uint32_t q = v >> shift;
    return q + (rest > half || (rest == half && (q & 1)));
}

f16_t f16_from_f32(float f) {
    uint32_t u = f32_bits(f);
    uint32_t sign = u >> 16 & 0x8000;
    uint32_t mag = u & 0x7fffffff;
    if (mag > 0x7f800000) {
        return (f16_t)(sign | 0x7e00 | (mag >> 13 & 0x3ff));
    }
    if (mag >= 0x477ff000) { /* 65520 and more round to infinity */
        return (f16_t)(sign | 0x7c00);
    }
    if (mag >= 0x38800000) { /* 2^-14: a carry out of the fraction rightly raises the exponent */
        return (f16_t)(sign | (round_shift(mag, 13) - (112u << 10)));
    }
    if (mag < 0x33000000) { /* below 2^-25: zero */
        return (f16_t)sign;
    }
    unsigned shift = 126 - (mag >> 23);
    return (f16_t)(sign | round_shift((mag & 0x7fffff) | 0x800000, shift));
}

bf16_t bf16_from_f32(float f) {
    uint32_t u = f32_bits(f);
    if ((u & 0x7fffffff) > 0x7f800000) {
        return (bf16_t)(u >> 16 | 0x40);
    }
    return (bf16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
