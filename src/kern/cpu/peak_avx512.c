/* peak_avx512.c: the loops of peak.h with AVX-512 (F, BW, VL), VNNI and BF16.
 *
 * Only static functions and peak_init_avx512. Four products of bytes are added in one instruction
 * of 64, whatever the weights' bits are: every integer rate is the same.
 * Invariant: as in peak_avx2.c, with 32 registers.
 */
#include <immintrin.h>

#include "kern/cpu/peak.h"

#define HIDE(v) __asm__ volatile("" : "+v"(v))

enum { CHAINS = 16, FAR = 2048, NEAR = 512 };

static uint64_t peak_read_avx512(const uint8_t *p, size_t n) {
    __m512i acc[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        acc[i] = _mm512_setzero_si512();
    }
    for (size_t at = 0; at < n; at += sizeof acc) {
        const uint8_t *v = p + at;
        for (size_t line = 0; line < sizeof acc; line += 64) { /* see peak_avx2.c */
            _mm_prefetch((const char *)p + (at + FAR < n ? at + FAR : at) + line, _MM_HINT_T1);
            _mm_prefetch((const char *)p + at + NEAR + line, _MM_HINT_T0);
        }
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            acc[i] = _mm512_xor_si512(acc[i], _mm512_load_si512(v + i * 64));
        }
    }
    for (int i = 1; i < 8; i++) {
        acc[0] = _mm512_xor_si512(acc[0], acc[i]);
    }
    return (uint64_t)_mm512_reduce_add_epi64(acc[0]);
}

static uint64_t peak_f32_avx512(int n) {
    __m512 acc[CHAINS], w = _mm512_set1_ps(0.5f), x = _mm512_set1_ps(0.25f);
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++) {
        acc[i] = _mm512_setzero_ps();
    }
    for (int k = 0; k < n; k++) {
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++) {
            acc[i] = _mm512_fmadd_ps(w, x, acc[i]);
            HIDE(acc[i]);
        }
    }
    return (uint64_t)n * CHAINS * 16;
}

static uint64_t peak_bf16_avx512(int n) {
    __m512 acc[CHAINS];
    __m512bh w = (__m512bh)_mm512_set1_epi16(0x3f00), x = (__m512bh)_mm512_set1_epi16(0x3e80);
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++) {
        acc[i] = _mm512_setzero_ps();
    }
    for (int k = 0; k < n; k++) {
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++) {
            acc[i] = _mm512_dpbf16_ps(acc[i], w, x);
            HIDE(acc[i]);
        }
    }
    return (uint64_t)n * CHAINS * 32;
}

static uint64_t peak_int8_avx512(int n) {
    __m512i acc[CHAINS], w = _mm512_set1_epi8(3), x = _mm512_set1_epi8(5);
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++) {
        acc[i] = _mm512_setzero_si512();
    }
    for (int k = 0; k < n; k++) {
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++) {
            acc[i] = _mm512_dpbusd_epi32(acc[i], w, x);
            HIDE(acc[i]);
        }
    }
    return (uint64_t)n * CHAINS * 64;
}

static uint64_t peak_int16_avx512(int n) {
    __m512i acc[CHAINS], w = _mm512_set1_epi16(3), x = _mm512_set1_epi16(5);
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++) {
        acc[i] = _mm512_setzero_si512();
    }
    for (int k = 0; k < n; k++) {
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++) {
            acc[i] = _mm512_dpwssd_epi32(acc[i], w, x);
            HIDE(acc[i]);
        }
    }
    return (uint64_t)n * CHAINS * 32;
}

void peak_init_avx512(struct peak *p, bool bf16) {
    *p = (struct peak){
        .read = peak_read_avx512,
        .f32 = peak_f32_avx512,
        .bf16 = bf16 ? peak_bf16_avx512 : NULL,
        .int8 = peak_int8_avx512,
        .int4 = peak_int8_avx512,
        .int5 = peak_int8_avx512,
        .int6 = peak_int8_avx512,
        .int16 = peak_int16_avx512,
    };
}
