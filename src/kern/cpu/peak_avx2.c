/* peak_avx2.c: the loops of peak.h with AVX2 and FMA.
 *
 * Only static functions and peak_init_avx2. Invariant: at most 16 registers are alive, and what a
 * compiler could see to be the same in each round is hidden from it by HIDE; unrolled from the
 * first loop on, or GCC keeps the sums in memory.
 */
#include <immintrin.h>

#include "kern/cpu/peak.h"

#define INLINE static inline __attribute__((always_inline))
/* Makes a register's value unknown; no instruction comes of it. */
#define HIDE(v) __asm__ volatile("" : "+x"(v))

enum { CHAINS = 10, ROWS = 6, FAR = 2048, NEAR = 512 };

static uint64_t peak_read_avx2(const uint8_t *p, size_t n) {
    __m256i acc[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        acc[i] = _mm256_setzero_si256();
    }
    for (size_t at = 0; at < n; at += sizeof acc) {
        const __m256i *v = (const __m256i *)(p + at);
        /* The hardware's own prefetch stops at the end of a page. */
        for (size_t line = 0; line < sizeof acc; line += 64) {
            _mm_prefetch((const char *)p + (at + FAR < n ? at + FAR : at) + line, _MM_HINT_T1);
            _mm_prefetch((const char *)p + at + NEAR + line, _MM_HINT_T0);
        }
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            acc[i] = _mm256_xor_si256(acc[i], _mm256_load_si256(v + i));
        }
    }
    for (int i = 1; i < 8; i++) {
        acc[0] = _mm256_xor_si256(acc[0], acc[i]);
    }
    __m128i half =
        _mm_xor_si128(_mm256_castsi256_si128(acc[0]), _mm256_extracti128_si256(acc[0], 1));
    return (uint64_t)_mm_cvtsi128_si64(half) ^ (uint64_t)_mm_extract_epi64(half, 1);
}

static uint64_t peak_f32_avx2(int n) {
    __m256 acc[CHAINS], w = _mm256_set1_ps(0.5f), x = _mm256_set1_ps(0.25f);
#pragma GCC unroll 10
    for (int i = 0; i < CHAINS; i++) {
        acc[i] = _mm256_setzero_ps();
    }
    for (int k = 0; k < n; k++) {
#pragma GCC unroll 10
        for (int i = 0; i < CHAINS; i++) {
            acc[i] = _mm256_fmadd_ps(w, x, acc[i]);
            HIDE(acc[i]);
        }
    }
    return (uint64_t)n * CHAINS * 8;
}

/* `sums` products of bytes are added in 16 bits, then widened: 2 sums + 1 instructions. The sums of
 * several rows go side by side, as in a tile. */
INLINE uint64_t bytes(int n, int sums) {
    __m256i acc[ROWS], s[ROWS], w = _mm256_set1_epi8(3), x = _mm256_set1_epi8(5);
    __m256i scale = _mm256_set1_epi16(1);
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; i++) {
        acc[i] = _mm256_setzero_si256();
    }
    for (int k = 0; k < n; k++) {
#pragma GCC unroll 6
        for (int i = 0; i < ROWS; i++) {
            s[i] = _mm256_maddubs_epi16(w, x);
            HIDE(x);
        }
#pragma GCC unroll 8
        for (int j = 1; j < sums; j++) {
#pragma GCC unroll 6
            for (int i = 0; i < ROWS; i++) {
                s[i] = _mm256_add_epi16(s[i], _mm256_maddubs_epi16(w, x));
                HIDE(s[i]);
                HIDE(x);
            }
        }
#pragma GCC unroll 6
        for (int i = 0; i < ROWS; i++) {
            acc[i] = _mm256_add_epi32(acc[i], _mm256_madd_epi16(s[i], scale));
            HIDE(acc[i]);
        }
    }
    return (uint64_t)n * ROWS * (uint64_t)sums * 32;
}

static uint64_t peak_int8_avx2(int n) {
    return bytes(n, 1);
}

/* 2 x 15 x 127 in each sum: eight of them fit in 16 bits. */
static uint64_t peak_int4_avx2(int n) {
    return bytes(n, 8);
}

/* 2 x 31 x 127: four. */
static uint64_t peak_int5_avx2(int n) {
    return bytes(n, 4);
}

/* 2 x 63 x 127: two. */
static uint64_t peak_int6_avx2(int n) {
    return bytes(n, 2);
}

static uint64_t peak_int16_avx2(int n) {
    __m256i acc[CHAINS], w = _mm256_set1_epi16(3), x = _mm256_set1_epi16(5);
#pragma GCC unroll 10
    for (int i = 0; i < CHAINS; i++) {
        acc[i] = _mm256_setzero_si256();
    }
    for (int k = 0; k < n; k++) {
#pragma GCC unroll 10
        for (int i = 0; i < CHAINS; i++) {
            acc[i] = _mm256_add_epi32(acc[i], _mm256_madd_epi16(w, x));
            HIDE(acc[i]);
            HIDE(x);
        }
    }
    return (uint64_t)n * CHAINS * 16;
}

void peak_init_avx2(struct peak *p) {
    *p = (struct peak){
        .read = peak_read_avx2,
        .f32 = peak_f32_avx2,
        .int8 = peak_int8_avx2,
        .int4 = peak_int4_avx2,
        .int5 = peak_int5_avx2,
        .int6 = peak_int6_avx2,
        .int16 = peak_int16_avx2,
    };
}
