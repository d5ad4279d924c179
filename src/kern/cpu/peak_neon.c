/* peak_neon.c: the loops of peak.h for every processor of aarch64.
 *
 * Only static functions and peak_init_neon. Without dot products bytes are multiplied to 16 bits;
 * how often those are added to 32 depends on the bits that a product has.
 * Invariant: sums stay in registers, as in peak_avx2.c: enough chains to hide the latency.
 */
#include <arm_neon.h>

#include "kern/cpu/peak.h"

#define HIDE(v) __asm__ volatile("" : "+w"(v))

enum { CHAINS = 16, HALF_CHAINS = 8 };

static uint64_t peak_read_neon(const uint8_t *p, size_t n) {
    uint8x16_t acc[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        acc[i] = vdupq_n_u8(0);
    }
    for (size_t at = 0; at < n; at += sizeof acc) {
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            acc[i] = veorq_u8(acc[i], vld1q_u8(p + at + 16 * i));
        }
    }
    for (int i = 1; i < 8; i++) {
        acc[0] = veorq_u8(acc[0], acc[i]);
    }
    return vaddvq_u64(vreinterpretq_u64_u8(acc[0]));
}

static uint64_t peak_f32_neon(int n) {
    float32x4_t acc[CHAINS], w = vdupq_n_f32(0.5f), x = vdupq_n_f32(0.25f);
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++) {
        acc[i] = vdupq_n_f32(0);
    }
    for (int k = 0; k < n; k++) {
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++) {
            acc[i] = vfmaq_f32(acc[i], w, x);
            HIDE(acc[i]);
        }
    }
    return (uint64_t)n * CHAINS * 4;
}

/* `adds` products of eight bytes are added in 16 bits, then go to 32. */
static inline __attribute__((always_inline)) uint64_t products(int n, int adds) {
    int32x4_t acc[HALF_CHAINS];
    int8x8_t w = vdup_n_s8(3), x = vdup_n_s8(5);
#pragma GCC unroll 8
    for (int i = 0; i < HALF_CHAINS; i++) {
        acc[i] = vdupq_n_s32(0);
    }
    for (int k = 0; k < n; k++) {
        int16x8_t sum[HALF_CHAINS];
#pragma GCC unroll 8
        for (int i = 0; i < HALF_CHAINS; i++) {
            sum[i] = vmull_s8(w, x);
            HIDE(sum[i]);
        }
        for (int a = 1; a < adds; a++) {
#pragma GCC unroll 8
            for (int i = 0; i < HALF_CHAINS; i++) {
                sum[i] = vmlal_s8(sum[i], w, x);
                HIDE(sum[i]);
            }
        }
#pragma GCC unroll 8
        for (int i = 0; i < HALF_CHAINS; i++) {
            acc[i] = vpadalq_s16(acc[i], sum[i]);
            HIDE(acc[i]);
        }
    }
    return (uint64_t)n * HALF_CHAINS * 8 * (uint64_t)adds;
}

/* 2 * 128 * 127, 8 * 32 * 127 and 16 * 16 * 127 fit in 16 bits. */
static uint64_t peak_int8_neon(int n) {
    return products(n, 2);
}

static uint64_t peak_int6_neon(int n) {
    return products(n, 8);
}

static uint64_t peak_int5_neon(int n) {
    return products(n, 16);
}

static uint64_t peak_int16_neon(int n) {
    int32x4_t acc[CHAINS];
    int16x4_t w = vdup_n_s16(3), x = vdup_n_s16(5);
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++) {
        acc[i] = vdupq_n_s32(0);
    }
    for (int k = 0; k < n; k++) {
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++) {
            acc[i] = vmlal_s16(acc[i], w, x);
            HIDE(acc[i]);
        }
    }
    return (uint64_t)n * CHAINS * 4;
}

void peak_init_neon(struct peak *p) {
    *p = (struct peak){
        .read = peak_read_neon,
        .f32 = peak_f32_neon,
        .int8 = peak_int8_neon,
        .int4 = peak_int5_neon,
        .int5 = peak_int5_neon,
        .int6 = peak_int6_neon,
        .int16 = peak_int16_neon,
    };
}
