/* peak_dot_neon.c: the integer loops of peak.h with SDOT and SMMLA, and that of bf16 with BFMMLA.
 *
 * Only static functions, peak_init_dotprod and peak_init_i8mm; each loop has no instruction beyond
 * ARMv8.0 but the one it is for. The rate does not depend on the weights' bits.
 * Invariant: as in peak_neon.c.
 */
#include <arm_neon.h>

#include "kern/cpu/peak.h"

#define HIDE(v) __asm__ volatile("" : "+w"(v))

enum { CHAINS = 16 };

static uint64_t peak_int8_dotprod(int n) {
    int32x4_t acc[CHAINS];
    int8x16_t w = vdupq_n_s8(3), x = vdupq_n_s8(5);
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++) {
        acc[i] = vdupq_n_s32(0);
    }
    for (int k = 0; k < n; k++) {
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++) {
            acc[i] = vdotq_s32(acc[i], w, x);
            HIDE(acc[i]);
        }
    }
    return (uint64_t)n * CHAINS * 16;
}

static uint64_t peak_int8_i8mm(int n) {
    int32x4_t acc[CHAINS];
    int8x16_t w = vdupq_n_s8(3), x = vdupq_n_s8(5);
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++) {
        acc[i] = vdupq_n_s32(0);
    }
    for (int k = 0; k < n; k++) {
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++) {
            acc[i] = vmmlaq_s32(acc[i], w, x);
            HIDE(acc[i]);
        }
    }
    return (uint64_t)n * CHAINS * 32;
}

static uint64_t peak_bf16_i8mm(int n) {
    float32x4_t acc[CHAINS];
    volatile uint16_t half = 0x3f00, quarter = 0x3e80; /* as constants gcc 12 makes f16 of them */
    bfloat16x8_t w = vreinterpretq_bf16_u16(vdupq_n_u16(half));
    bfloat16x8_t x = vreinterpretq_bf16_u16(vdupq_n_u16(quarter));
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++) {
        acc[i] = vdupq_n_f32(0);
    }
    for (int k = 0; k < n; k++) {
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++) {
            acc[i] = vbfmmlaq_f32(acc[i], w, x);
            HIDE(acc[i]);
        }
    }
    return (uint64_t)n * CHAINS * 16;
}

void peak_init_dotprod(struct peak *p) {
    p->int8 = p->int4 = p->int5 = p->int6 = peak_int8_dotprod;
}

void peak_init_i8mm(struct peak *p, bool bf16) {
    p->int8 = p->int4 = p->int5 = p->int6 = peak_int8_i8mm;
    p->bf16 = bf16 ? peak_bf16_i8mm : NULL;
}
