/* micro_gemv_avx512.c: quantized matrices times one row of activations, for processors with AVX-512
 * (F, BW, VL, DQ, VBMI) and VNNI.
 *
 * Owns instructions, not arithmetic: micro.h and micro_c.c define every result to the bit. Each row
 * of weights is computed by itself: formats of signed bytes, which need no decoding. Refuses the
 * others, which micro_four_avx512.c has, and several rows of activations: micro_small_avx512.c has
 * those. Only static functions and micro_gemv_init_avx512. Invariant: nothing behind a row is read.
 */
#include "kern/cpu/micro_bits_avx512.h"

/* ---- matrix times vector, quantized ---------------------------------------------------------
 *
 * 256 columns of a row are four registers of bytes, two blocks in each, with 128 added.
 * One VPDPBUSD with the activations leaves four dwords for each half of a block: sums of 16
 * products of at most 255 * 127, exact.
 */

/* A super-block's bytes. */
INLINE void super_bytes(const uint8_t *g, __m512i v[4]) {
    for (int i = 0; i < 4; i++) {
        v[i] = _mm512_xor_si512(load512(((const struct block_q8_k *)g)->q + 64 * i),
                                _mm512_set1_epi8((char)128));
    }
}

/* Bytes and scales of `left` <= 8 blocks of Q8_0; the others are zeros. */
INLINE void q8_bytes(const uint8_t *g, int left, __m512i v[4], struct scales *s) {
    const struct block_q8_0 *b = (const struct block_q8_0 *)g;
    f16_t d[8] = {0};
    for (int j = 0; j < 8 && j < left; j++) {
        d[j] = b[j].d;
    }
    s->d[0] = _mm256_cvtph_ps(load128(d));
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m256i low = 2 * i < left ? load256(b[2 * i].q) : _mm256_setzero_si256();
        __m256i high = 2 * i + 1 < left ? load256(b[2 * i + 1].q) : _mm256_setzero_si256();
        v[i] = _mm512_xor_si512(join(low, high), _mm512_set1_epi8((char)128));
    }
}

/* The sums of four registers' lanes, each of four dwords, in micro_half's order. */
INLINE __m512i sum_halves(const __m512i v[4]) {
    const __m512i order = _mm512_setr_epi32(0, 8, 1, 9, 4, 12, 5, 13, 2, 10, 3, 11, 6, 14, 7, 15);
    __m512i a[2];
    for (int i = 0; i < 2; i++) {
        a[i] = _mm512_add_epi32(_mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]),
                                _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]));
    }
    a[0] = _mm512_add_epi32(_mm512_unpacklo_epi64(a[0], a[1]), _mm512_unpackhi_epi64(a[0], a[1]));
    return _mm512_permutexvar_epi32(order, a[0]);
}

/* Half h of the eight blocks, from micro_half's order. */
INLINE __m256 half_ps(__m512 v, int h) {
    return _mm512_castps512_ps256(h ? _mm512_shuffle_f32x4(v, v, 0x0d)
                                    : _mm512_shuffle_f32x4(v, v, 0x08));
}

/* Adds the products of one group, of which `left` blocks are there, to the eight lanes. */
INLINE __m256 group_add(int type, const uint8_t *g, int left, const struct act_group *x,
                        __m256 acc) {
    struct scales s;
    __m512i v[4];
    if (type == DT_Q8_0) {
        q8_bytes(g, left, v, &s);
    } else {
        super_bytes(g, v);
        s = group_scales(type, g);
    }
    for (int i = 0; i < 4; i++) {
        v[i] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), v[i], load512(x->q + 64 * i));
    }
    __m512i dot = _mm512_sub_epi32(sum_halves(v), _mm512_slli_epi32(load512(x->sum), 7));
    __m512 f = _mm512_cvtepi32_ps(dot);
    __m512 m = _mm512_cvtepi32_ps(_mm512_srli_epi32(load512(x->pair), 16));
    __m256 t = _mm256_mul_ps(half_ps(f, 0), half_ps(m, 0));
    t = _mm256_fmadd_ps(half_ps(f, 1), half_ps(m, 1), t);
    return _mm256_fmadd_ps(t, s.d[0], acc);
}

#include "kern/cpu/micro_gemv_rows.h"

#define GEMV_Q(name, type)                                                                         \
    static void gemv_##name(const uint8_t *w, size_t row_bytes, int n_row, const void *x,          \
                            int64_t n_col, float *y) {                                             \
        gemv_q(type, w, row_bytes, n_row, x, n_col, y);                                            \
    }

GEMV_Q(q8_0, DT_Q8_0)
GEMV_Q(q8_k, DT_Q8_K)

void micro_gemv_init_avx512(struct micro *m) {
    m->fmt[DT_Q8_0].gemv = gemv_q8_0;
    m->fmt[DT_Q8_K].gemv = gemv_q8_k;
}
