/* micro_att_avx512.c: attention for processors with AVX-512 and VNNI.
 *
 * Owns instructions, not arithmetic: see micro_att_c.c. A tile has its integers in pairs, as
 * VPDPWSSD takes them: keys [dim / 2][64 positions][2], values [64 / 2][dim][2]. Queries and
 * weights pass as broadcasts of pairs, and all sums of a block of queries stay in registers while
 * the tile goes by. Only static functions and micro_att_init_avx512.
 */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kern/cpu/micro.h"

#define INLINE static inline __attribute__((always_inline))

/* Or the compiler keeps a copy of each sum in memory. */
#define KEEP(v) __asm__("" : "+v"(v))

#define TILE  MICRO_ATT_TILE
#define GROUP MICRO_ATT_GROUP

/* ---- products -------------------------------------------------------------------------------- */

/* Two integers that lie side by side, in every lane. */
INLINE __m512i pair(const int16_t *p) {
    int32_t both;
    memcpy(&both, p, sizeof both);
    return _mm512_set1_epi32(both);
}

/* n_q <= 6 queries at the tile's positions. */
INLINE void scores_block(int n_q, const int16_t *q, const float *q_scale, int dim,
                         const struct micro_tile *k, float *s) {
    const int groups = (dim + GROUP - 1) / GROUP;
    for (int g = 0; g < groups; g++) {
        __m512i acc[6][4];
        int end = (g + 1) * GROUP < dim ? (g + 1) * GROUP : dim;
#pragma GCC unroll 6
        for (int i = 0; i < n_q; i++) {
#pragma GCC unroll 4
            for (int v = 0; v < 4; v++) {
                acc[i][v] = _mm512_setzero_si512();
            }
        }
        for (int d = g * GROUP; d < end; d += 2) {
            __m512i u[4];
#pragma GCC unroll 4
            for (int v = 0; v < 4; v++) {
                u[v] = _mm512_loadu_si512(k->v + d * TILE + 32 * v);
            }
            micro_ahead_line(k->ahead);
#pragma GCC unroll 6
            for (int i = 0; i < n_q; i++) {
                __m512i w = pair(q + i * dim + d);
#pragma GCC unroll 4
                for (int v = 0; v < 4; v++) {
                    acc[i][v] = _mm512_dpwssd_epi32(acc[i][v], u[v], w);
                    KEEP(acc[i][v]);
                }
            }
        }
#pragma GCC unroll 6
        for (int i = 0; i < n_q; i++) {
            __m512 scale = _mm512_set1_ps(q_scale[i * groups + g]);
#pragma GCC unroll 4
            for (int v = 0; v < 4; v++) {
                float *at = s + i * TILE + 16 * v;
                __m512 sum = g ? _mm512_loadu_ps(at) : _mm512_setzero_ps();
                __m512 f = _mm512_mul_ps(_mm512_cvtepi32_ps(acc[i][v]), scale);
                f = _mm512_fmadd_ps(f, _mm512_loadu_ps(k->scale + g * TILE + 16 * v), sum);
                _mm512_storeu_ps(at, f);
            }
        }
    }
}

#define BLOCK(n)                                                                                   \
    case n: scores_block(n, q, q_scale, dim, k, s); break

/* Of n queries as many as go together: six, but of the last seven or eight half. */
INLINE int together(int n) {
    return n > 8 ? 6 : n > 6 ? 4 : n;
}

static void scores_avx512(const int16_t *q, const float *q_scale, int n_q, int dim,
                          const struct micro_tile *k, float *s) {
    const int groups = (dim + GROUP - 1) / GROUP;
    for (int n; n_q > 0; n_q -= n, q += n * dim, q_scale += n * groups, s += n * TILE) {
        n = together(n_q);
        switch (n) {
            BLOCK(1);
            BLOCK(2);
            BLOCK(3);
            BLOCK(4);
            BLOCK(5);
            BLOCK(6);
        }
    }
}

INLINE void clear_sums(int n_q, int n_v, __m512i acc[][4]) {
#pragma GCC unroll 8
    for (int i = 0; i < n_q; i++) {
#pragma GCC unroll 4
        for (int k = 0; k < n_v; k++) {
            acc[i][k] = _mm512_setzero_si512();
        }
    }
}

/* Pairs of positions u, 16 * n_v columns of them, times the weights of n_q <= 8 rows. */
INLINE void add_pairs(int n_q, int n_v, __m512i acc[][4], const int16_t *w, const __m512i u[4]) {
#pragma GCC unroll 8
    for (int i = 0; i < n_q; i++) {
        __m512i both = pair(w + i * TILE);
#pragma GCC unroll 4
        for (int k = 0; k < n_v; k++) {
            acc[i][k] = _mm512_dpwssd_epi32(acc[i][k], u[k], both);
            KEEP(acc[i][k]);
        }
    }
}

/* 16 * n_v columns of n_q <= 8 rows of y, `dim` apart: y[i] * keep[i] + step[i] * acc[i]. */
INLINE void put_mixed(int n_q, int n_v, __m512i acc[][4], float *y, int dim, const float *keep,
                      const float *step) {
#pragma GCC unroll 8
    for (int i = 0; i < n_q; i++) {
        __m512 kept = _mm512_set1_ps(keep[i]), size = _mm512_set1_ps(step[i]);
#pragma GCC unroll 4
        for (int k = 0; k < n_v; k++) {
            float *at = y + i * dim + 16 * k;
            __m512 old = _mm512_mul_ps(_mm512_loadu_ps(at), kept);
            _mm512_storeu_ps(at, _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[i][k]), size, old));
        }
    }
}

/* n_q <= 6 rows of y, 16 * n_v columns from c on. */
INLINE void mix_block(int n_q, int n_v, float *y, int dim, int c, const float *keep,
                      const int16_t *w, const float *step, const struct micro_tile *v, int n_pos) {
    __m512i acc[6][4];
    clear_sums(n_q, n_v, acc);
    for (int p = 0; p < n_pos; p += 2) {
        __m512i u[4];
#pragma GCC unroll 4
        for (int k = 0; k < n_v; k++) {
            u[k] = _mm512_loadu_si512(v->v + p * dim + 2 * c + 32 * k);
        }
        micro_ahead_line(v->ahead);
        add_pairs(n_q, n_v, acc, w + p, u);
    }
    put_mixed(n_q, n_v, acc, y + c, dim, keep, step);
}

INLINE void mix_rows(int n_q, float *y, int dim, const float *keep, const int16_t *w,
                     const float *step, const struct micro_tile *v, int n_pos) {
    int c = 0;
    for (; c + 64 <= dim; c += 64) {
        mix_block(n_q, 4, y, dim, c, keep, w, step, v, n_pos);
    }
    for (; c < dim; c += 16) {
        mix_block(n_q, 1, y, dim, c, keep, w, step, v, n_pos);
    }
}

#define ROWS(n)                                                                                    \
    case n: mix_rows(n, y, dim, keep, w, step, v, n_pos); break

static void mix_avx512(float *y, int n_q, int dim, const float *keep, const int16_t *w,
                       const float *step, const struct micro_tile *v, int n_pos) {
    for (int n; n_q > 0; n_q -= n, y += n * dim, w += n * TILE, keep += n, step += n) {
        n = together(n_q);
        switch (n) {
            ROWS(1);
            ROWS(2);
            ROWS(3);
            ROWS(4);
            ROWS(5);
            ROWS(6);
        }
    }
}

/* ---- weights --------------------------------------------------------------------------------- */

/* micro_exp2, sixteen at once. */
INLINE __m512 exp2x16(__m512 x) {
    __mmask16 there = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-125.0f), _CMP_NLT_UQ);
    __m512 k = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_sub_ps(x, k);
    __m512 p = _mm512_set1_ps(1.535336188e-4f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.339887440e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(9.618437357e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.550332471e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.402264791e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(6.931472028e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    __m512i e = _mm512_slli_epi32(_mm512_cvtps_epi32(k), 23);
    return _mm512_castsi512_ps(_mm512_maskz_add_epi32(there, _mm512_castps_si512(p), e));
}

/* Those of positions p..p+15 that are in [from, to). */
INLINE __mmask16 inside(int p, int from, int to) {
    unsigned high = to - p >= 16 ? 0xffffu : to > p ? (1u << (to - p)) - 1 : 0;
    unsigned low = from - p >= 16 ? 0xffffu : from > p ? (1u << (from - p)) - 1 : 0;
    return (__mmask16)(high & ~low);
}

/* s becomes 2^(s - top) times the scales of the values; the largest of these is the result. */
INLINE __m512i weigh_row(float *s, int n_pos, int from, int to, const float *v_scale, float top,
                         float keep, float *total) {
    __m512 sum = _mm512_mul_ps(_mm512_loadu_ps(total), _mm512_set1_ps(keep));
    __m512 t = _mm512_set1_ps(top);
    __m512i most = _mm512_setzero_si512();
    for (int p = 0; p < n_pos; p += 16) {
        __mmask16 there = inside(p, from, to);
        __m512 e = exp2x16(_mm512_sub_ps(_mm512_loadu_ps(s + p), t));
        sum = _mm512_add_ps(sum, _mm512_maskz_mov_ps(there, e));
        there &= _mm512_cmp_ps_mask(e, _mm512_set1_ps(MICRO_ATT_LEAST), _CMP_NLT_UQ);
        e = _mm512_maskz_mul_ps(there, e, _mm512_loadu_ps(v_scale + p));
        _mm512_storeu_ps(s + p, e);
        __m512i bits = _mm512_castps_si512(e);
        most = _mm512_max_epu32(most, _mm512_and_si512(bits, _mm512_set1_epi32(0x7fffffff)));
    }
    _mm512_storeu_ps(total, sum);
    return most;
}

static void weigh_avx512(float *s, int n_q, int n_pos, const int *from, const int *to,
                         const float *v_scale, float *top, float *total, float *keep, int16_t *w,
                         float *step) {
    for (int i = 0; i < n_q; i++, s += TILE, w += TILE, total += 16) {
        keep[i] = 1.0f;
        step[i] = 0.0f;
        if (from[i] >= to[i]) {
            memset(w, 0, (size_t)n_pos * sizeof *w);
            continue;
        }
        __m512 m = _mm512_set1_ps(-INFINITY);
        for (int p = 0; p < n_pos; p += 16) {
            m = _mm512_mask_max_ps(m, inside(p, from[i], to[i]), _mm512_loadu_ps(s + p), m);
        }
        float most = _mm512_reduce_max_ps(m);
        if (most > top[i]) {
            keep[i] = micro_exp2(top[i] - most);
            top[i] = most;
        }
        __m512i bits = weigh_row(s, n_pos, from[i], to[i], v_scale, top[i], keep[i], total);
        float largest = f32_from_bits(_mm512_reduce_max_epu32(bits));
        float factor = micro_att_parts(MICRO_ATT_INT, largest);
        step[i] = largest * (1.0f / MICRO_ATT_INT);
        __mmask16 any = factor > 0 ? 0xffff : 0;
        for (int p = 0; p < n_pos; p += 16) {
            __m512 x = _mm512_maskz_mul_ps(any, _mm512_loadu_ps(s + p), _mm512_set1_ps(factor));
            _mm256_storeu_si256((__m256i *)(w + p), _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(x)));
        }
    }
}

/* ---- tiles ----------------------------------------------------------------------------------- */

/* micro_att_factor and micro_att_scale of sixteen largest. */
INLINE __m512 factor_of(__m512i largest, int n) {
    __m512i e = _mm512_max_epu32(_mm512_srli_epi32(largest, 23), _mm512_set1_epi32(16));
    e = _mm512_sub_epi32(_mm512_set1_epi32(253 + n), e);
    return _mm512_castsi512_ps(_mm512_slli_epi32(e, 23));
}

INLINE __m512 scale_of(__m512i largest, int n) {
    __m512i e = _mm512_max_epu32(_mm512_srli_epi32(largest, 23), _mm512_set1_epi32(16));
    e = _mm512_slli_epi32(_mm512_add_epi32(e, _mm512_set1_epi32(1 - n)), 23);
    __mmask16 odd = _mm512_cmpge_epu32_mask(largest, _mm512_set1_epi32(0x7f800000));
    return _mm512_castsi512_ps(_mm512_mask_mov_epi32(e, odd, _mm512_set1_epi32(0x7fc00000)));
}

/* Sixteen numbers of a cache of floats from place `at` on. */
INLINE __m512 floats(int type, const void *v, size_t at) {
    if (type == MICRO_KV_F32) {
        return _mm512_loadu_ps((const float *)v + at);
    }
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)((const f16_t *)v + at)));
}

/* The nearest integers to x * factor, in the low halves of the lanes. */
INLINE __m512i nearest(__m512 x, __m512 factor) {
    const __m512 round = _mm512_set1_ps(12582912.0f);
    return _mm512_castps_si512(_mm512_fmadd_ps(x, factor, round));
}

/* Pairs of the low halves of a and b. */
INLINE __m512i pairs(__m512i a, __m512i b) {
    return _mm512_mask_blend_epi16(0xaaaaaaaau, a, _mm512_slli_epi32(b, 16));
}

/* Of f32: the larger of sixteen sizes at `at` and those in most. */
INLINE __m512i larger32(__m512i most, const float *at) {
    __m512i size = _mm512_and_si512(_mm512_loadu_si512(at), _mm512_set1_epi32(0x7fffffff));
    return _mm512_max_epu32(most, size);
}

/* Of f16, sixteen and thirty-two. */
INLINE __m256i larger16(__m256i most, const f16_t *at) {
    __m256i x = _mm256_loadu_si256((const __m256i *)at);
    return _mm256_max_epu16(most, _mm256_and_si256(x, _mm256_set1_epi16(0x7fff)));
}

INLINE __m512i larger16x2(__m512i most, const f16_t *at) {
    __m512i size = _mm512_and_si512(_mm512_loadu_si512(at), _mm512_set1_epi16(0x7fff));
    return _mm512_max_epu16(most, size);
}

/* f16 as the bits of f32. */
INLINE __m512i widen_bits(__m256i half) {
    return _mm512_castps_si512(_mm512_cvtph_ps(half));
}

/* The largest sizes of dimensions d..end at 16 * n_v positions, as the bits of f32. */
INLINE void largest_keys(int type, int n_v, const struct micro_rows *k, int p, int d, int end,
                         __m512i most[2]) {
    __m512i all = _mm512_setzero_si512();
    const size_t step = (size_t)k->step;
    for (; d < end; d++) {
        size_t at = (size_t)d * step + (size_t)p;
        if (type == MICRO_KV_F32) {
            all = larger32(all, (const float *)k->v + at);
        } else if (n_v == 1) {
            __m256i half = larger16(_mm512_castsi512_si256(all), (const f16_t *)k->v + at);
            all = _mm512_castsi256_si512(half);
        } else {
            all = larger16x2(all, (const f16_t *)k->v + at);
        }
    }
    most[0] = type == MICRO_KV_F32 ? all : widen_bits(_mm512_castsi512_si256(all));
    most[1] = n_v == 1 ? most[0] : widen_bits(_mm512_extracti64x4_epi64(all, 1));
}

/* Sixteen int8 of two rows, side by side in pairs, as the high bytes of int16. */
INLINE __m512i high_pairs(const int8_t *a, const int8_t *b) {
    const __m512i count = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i from = _mm512_add_epi32(_mm512_mullo_epi32(count, _mm512_set1_epi32(0x01000100)),
                                          _mm512_set1_epi32(0x20000000));
    __m512i x = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)a));
    x = _mm512_mask_broadcast_i32x4(x, 0xff00, _mm_loadu_si128((const __m128i *)b));
    return _mm512_maskz_permutexvar_epi8(0xaaaaaaaaaaaaaaaa, from, x);
}

/* Pairs of dimensions d and d + 1 at sixteen positions from p on; of int8 as they are. */
INLINE __m512i key_pairs(int type, const struct micro_rows *k, int d, int p, __m512 factor) {
    const size_t step = (size_t)k->step, at = (size_t)d * step + (size_t)p;
    if (type == MICRO_KV_I8) {
        const int8_t *from = (const int8_t *)k->v + at;
        return _mm512_srai_epi16(high_pairs(from, from + step), 8);
    }
    __m512i a = nearest(floats(type, k->v, at), factor);
    return pairs(a, nearest(floats(type, k->v, at + step), factor));
}

/* 16 * n_v positions from p on. */
INLINE void keys_run(int type, int n_v, const struct micro_rows *k, int dim, int p, int at,
                     const struct micro_tile *to) {
    for (int g = 0; g < dim; g += GROUP) {
        int end = g + GROUP < dim ? g + GROUP : dim;
        __m512i most[2];
        __m512 factor[2];
        largest_keys(type, n_v, k, p, g, end, most);
#pragma GCC unroll 2
        for (int v = 0; v < n_v; v++) {
            factor[v] = factor_of(most[v], 13);
            float *scale = to->scale + g / GROUP * TILE + at + p + 16 * v;
            _mm512_storeu_ps(scale, scale_of(most[v], 13));
        }
        for (int d = g; d < end; d += 2) {
#pragma GCC unroll 2
            for (int v = 0; v < n_v; v++) {
                __m512i u = key_pairs(type, k, d, p + 16 * v, factor[v]);
                _mm512_storeu_si512(to->v + d * TILE + 2 * (at + p + 16 * v), u);
            }
            micro_ahead_line(to->ahead);
        }
    }
}

static void keys_f32(const struct micro_rows *k, int dim, int n_pos, int at,
                     const struct micro_tile *to) {
    for (int p = 0; p < n_pos; p += 16) {
        keys_run(MICRO_KV_F32, 1, k, dim, p, at, to);
    }
}

static void keys_f16(const struct micro_rows *k, int dim, int n_pos, int at,
                     const struct micro_tile *to) {
    int p = 0;
    for (; p + 32 <= n_pos; p += 32) {
        keys_run(MICRO_KV_F16, 2, k, dim, p, at, to);
    }
    if (p < n_pos) {
        keys_run(MICRO_KV_F16, 1, k, dim, p, at, to);
    }
}

static void keys_i8(const struct micro_rows *k, int dim, int n_pos, int at,
                    const struct micro_tile *to) {
    const size_t step = (size_t)k->step;
    struct micro_ahead *ahead = to->ahead;
    for (int p = 0; p < n_pos; p += 16) {
        const int8_t *from = (const int8_t *)k->v + p;
        int16_t *put = to->v + 2 * (at + p);
        for (int d = 0; d < dim; d += 4, from += 4 * step, put += 4 * TILE) {
            __m512i a = high_pairs(from, from + step);
            __m512i b = high_pairs(from + 2 * step, from + 3 * step);
            _mm512_storeu_si512(put, _mm512_srai_epi16(a, 8));
            _mm512_storeu_si512(put + 2 * TILE, _mm512_srai_epi16(b, 8));
            micro_ahead_line(ahead);
        }
        for (int g = 0; g * GROUP < dim; g++) {
            const bf16_t *scale = k->scale + (size_t)g * step + p;
            __m512i u = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)scale));
            _mm512_storeu_si512(to->scale + g * TILE + at + p, _mm512_slli_epi32(u, 16));
        }
    }
}

/* The largest of each of sixteen rows of eight, by halves of what is left. */
INLINE __m256i largest_rows(const __m128i row[16]) {
    __m256i v[8];
    for (int i = 0; i < 8; i++) {
        v[i] = _mm256_set_m128i(row[i + 8], row[i]);
    }
    for (int i = 0; i < 4; i++) { /* rows 2i and 2i + 1, four of each */
        v[i] = _mm256_max_epu16(_mm256_unpacklo_epi16(v[2 * i], v[2 * i + 1]),
                                _mm256_unpackhi_epi16(v[2 * i], v[2 * i + 1]));
    }
    for (int i = 0; i < 2; i++) {
        v[i] = _mm256_max_epu16(_mm256_unpacklo_epi32(v[2 * i], v[2 * i + 1]),
                                _mm256_unpackhi_epi32(v[2 * i], v[2 * i + 1]));
    }
    return _mm256_max_epu16(_mm256_unpacklo_epi64(v[0], v[1]), _mm256_unpackhi_epi64(v[0], v[1]));
}

/* The sizes of sixteen values' largest numbers, as the bits of f32. */
INLINE __m512i largest_values(int type, const void *v, size_t step, int dim) {
    if (type == MICRO_KV_F32) {
        uint32_t bits[16];
        for (int p = 0; p < 16; p++) {
            __m512i most = _mm512_setzero_si512();
            for (int j = 0; j < dim; j += 16) {
                most = larger32(most, (const float *)v + (size_t)p * step + j);
            }
            bits[p] = _mm512_reduce_max_epu32(most);
        }
        return _mm512_loadu_si512(bits);
    }
    __m128i row[16];
    for (int p = 0; p < 16; p++) {
        const f16_t *at = (const f16_t *)v + (size_t)p * step;
        __m512i wide = _mm512_setzero_si512();
        int j = 0;
        for (; j + 32 <= dim; j += 32) {
            wide = larger16x2(wide, at + j);
        }
        __m256i most =
            _mm256_max_epu16(_mm512_castsi512_si256(wide), _mm512_extracti64x4_epi64(wide, 1));
        most = j < dim ? larger16(most, at + j) : most;
        row[p] = _mm_max_epu16(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
    }
    return widen_bits(largest_rows(row));
}

INLINE void values_floats(int type, const struct micro_rows *v, int dim, int n_pos, int at,
                          const struct micro_tile *to) {
    const size_t step = (size_t)v->step, size = type == MICRO_KV_F32 ? 4 : 2;
    struct micro_ahead *ahead = to->ahead;
    for (int p = 0; p < n_pos;) {
        float factor[16];
        size_t from = (size_t)p * step;
        __m512i most = largest_values(type, (const char *)v->v + from * size, step, dim);
        _mm512_storeu_ps(to->scale + at + p, scale_of(most, 12));
        _mm512_storeu_ps(factor, factor_of(most, 12));
        for (int i = 0; i < 16; i += 2, p += 2, from += 2 * step) {
            __m512 a = _mm512_set1_ps(factor[i]), b = _mm512_set1_ps(factor[i + 1]);
            int16_t *put = to->v + (at + p) * dim;
#pragma GCC unroll 4
            for (int j = 0; j < dim; j += 16) {
                __m512i x = nearest(floats(type, v->v, from + (size_t)j), a);
                __m512i y = nearest(floats(type, v->v, from + step + (size_t)j), b);
                _mm512_storeu_si512(put + 2 * j, pairs(x, y));
                micro_ahead_line(ahead);
            }
        }
    }
}

static void values_f32(const struct micro_rows *v, int dim, int n_pos, int at,
                       const struct micro_tile *to) {
    values_floats(MICRO_KV_F32, v, dim, n_pos, at, to);
}

static void values_f16(const struct micro_rows *v, int dim, int n_pos, int at,
                       const struct micro_tile *to) {
    values_floats(MICRO_KV_F16, v, dim, n_pos, at, to);
}

/* micro_att_value_parts of 1, 2, 4 or 8 groups. */
INLINE void value_parts(int groups, const bf16_t *scale, float *to, int16_t *part) {
    const int n = 16 / groups; /* values in a register */
    const __mmask16 first = (__mmask16)(0xffff / ((1 << groups) - 1));
    for (int i = 0; i < groups; i++, scale += 16, part += 16, to += n) {
        __m512i size = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)scale));
        size = _mm512_and_si512(size, _mm512_set1_epi32(0x7fff));
        __m512i most = size;
        most = groups > 1 ? _mm512_max_epu32(most, _mm512_shuffle_epi32(most, 0xb1)) : most;
        most = groups > 2 ? _mm512_max_epu32(most, _mm512_shuffle_epi32(most, 0x4e)) : most;
        most = groups > 4 ? _mm512_max_epu32(most, _mm512_shuffle_i32x4(most, most, 0xb1)) : most;
        __m512 largest = _mm512_castsi512_ps(_mm512_slli_epi32(most, 16));
        __mmask16 odd = _mm512_cmpge_epu32_mask(most, _mm512_set1_epi32(0x7f80));
        __m512 unit = _mm512_mul_ps(largest, _mm512_set1_ps(0x1p-5f));
        unit = _mm512_mask_mov_ps(unit, odd, _mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000)));
        _mm512_mask_storeu_ps(to, (__mmask16)((1 << n) - 1), _mm512_maskz_compress_ps(first, unit));
        __mmask16 good = _mm512_cmp_ps_mask(largest, _mm512_set1_ps(0x1p-100f), _CMP_GE_OQ);
        good &= _mm512_cmp_ps_mask(largest, _mm512_set1_ps(0x1p125f), _CMP_LT_OQ);
        __m512 own = _mm512_maskz_div_ps(good, _mm512_set1_ps(4096.0f), largest);
        __m512 share =
            _mm512_maskz_mul_ps(good, _mm512_castsi512_ps(_mm512_slli_epi32(size, 16)), own);
        _mm256_storeu_si256((__m256i *)part, _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(share)));
    }
}

INLINE void any_parts(int groups, const bf16_t *scale, float *to, int16_t *part) {
    switch (groups) {
    case 1: value_parts(1, scale, to, part); break;
    case 2: value_parts(2, scale, to, part); break;
    case 4: value_parts(4, scale, to, part); break;
    case 8: value_parts(8, scale, to, part); break;
    default: micro_att_value_parts(scale, groups, to, part);
    }
}

static void values_i8(const struct micro_rows *v, int dim, int n_pos, int at,
                      const struct micro_tile *to) {
    const size_t step = (size_t)v->step;
    const int groups = (dim + GROUP - 1) / GROUP;
    struct micro_ahead *ahead = to->ahead;
    int16_t parts[16 * MICRO_ATT_DIM / GROUP];
    for (int p = 0; p < n_pos; p += 2) {
        const int8_t *from = (const int8_t *)v->v + (size_t)p * step;
        int16_t *put = to->v + (at + p) * dim;
        if (p % 16 == 0) {
            any_parts(groups, v->scale + p * groups, to->scale + at + p, parts);
        }
        const int16_t *own = parts + p % 16 * groups;
        for (int g = 0; g < dim; g += GROUP, own++) {
            __m512i part = _mm512_set1_epi32((int)((uint32_t)own[0] | (uint32_t)own[groups] << 16));
            int end = g + GROUP < dim ? g + GROUP : dim;
#pragma GCC unroll 2
            for (int j = g; j < end; j += 16) {
                __m512i u = high_pairs(from + j, from + step + j);
                _mm512_storeu_si512(put + 2 * j, _mm512_mulhrs_epi16(u, part));
            }
            micro_ahead_line(ahead);
        }
    }
}

/* ---- few queries ----------------------------------------------------------------------------- */

/* Prefetches a line of the next tile into L2, and one of what is read soon into L1. */
INLINE void fetch(struct micro_ahead *ahead, const char *near) {
    micro_ahead_line(ahead);
    _mm_prefetch(near, _MM_HINT_T0);
}

/* Sixteen positions' scales of a group of int8 keys. */
INLINE __m512 key_scales(const struct micro_rows *k, int g, int p) {
    const bf16_t *scale = k->scale + (size_t)g * (size_t)k->step + (size_t)p;
    __m512i u = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)scale));
    return _mm512_castsi512_ps(_mm512_slli_epi32(u, 16));
}

/* n_q <= 8 queries at 16 * n_v positions from p on. */
INLINE void scores_run(int type, int n_q, int n_v, const struct micro_runs *runs, int run, int p,
                       const int16_t *q, const float *q_scale, int dim, float *s) {
    const struct micro_rows *k = &runs->run[run];
    const char *near = runs->near[run];
    const size_t row = (size_t)k->step * (type == MICRO_KV_I8 ? 1 : 2);
    const int groups = (dim + GROUP - 1) / GROUP;
    for (int g = 0; g < groups; g++) {
        int first = g * GROUP, end = first + GROUP < dim ? first + GROUP : dim;
        __m512i most[2], acc[8][2];
        __m512 factor[2], scale[2];
        if (type != MICRO_KV_I8) {
            largest_keys(type, n_v, k, p, first, end, most);
        }
#pragma GCC unroll 2
        for (int v = 0; v < n_v; v++) {
            bool whole = type == MICRO_KV_I8;
            factor[v] = whole ? _mm512_setzero_ps() : factor_of(most[v], 13);
            scale[v] = whole ? key_scales(k, g, p + 16 * v) : scale_of(most[v], 13);
#pragma GCC unroll 8
            for (int i = 0; i < n_q; i++) {
                acc[i][v] = _mm512_setzero_si512();
            }
        }
        for (int d = first; d < end; d += 2) {
            __m512i u[2];
#pragma GCC unroll 2
            for (int v = 0; v < n_v; v++) {
                u[v] = key_pairs(type, k, d, p + 16 * v, factor[v]);
            }
            size_t at = (size_t)d * row + (size_t)p * (type == MICRO_KV_I8 ? 1 : 2);
            fetch(runs->ahead, near + at);
            if (type != MICRO_KV_I8) {
                fetch(runs->ahead, near + at + row);
            }
#pragma GCC unroll 8
            for (int i = 0; i < n_q; i++) {
                __m512i w = pair(q + i * dim + d);
#pragma GCC unroll 2
                for (int v = 0; v < n_v; v++) {
                    acc[i][v] = _mm512_dpwssd_epi32(acc[i][v], u[v], w);
                    KEEP(acc[i][v]);
                }
            }
        }
#pragma GCC unroll 8
        for (int i = 0; i < n_q; i++) {
            __m512 by = _mm512_set1_ps(q_scale[i * groups + g]);
#pragma GCC unroll 2
            for (int v = 0; v < n_v; v++) {
                float *at = s + i * TILE + 16 * v;
                __m512 sum = g ? _mm512_loadu_ps(at) : _mm512_setzero_ps();
                __m512 f = _mm512_mul_ps(_mm512_cvtepi32_ps(acc[i][v]), by);
                _mm512_storeu_ps(at, _mm512_fmadd_ps(f, scale[v], sum));
            }
        }
    }
}

INLINE void scores_runs(int type, int n_q, const struct micro_runs *k, const int16_t *q,
                        const float *q_scale, int dim, int n_pos, float *s) {
    for (int at = 0, run = 0; at < n_pos; at += k->each, run++) {
        int n = n_pos - at < k->each ? n_pos - at : k->each, p = 0;
        for (; p + 32 <= n; p += 32) {
            scores_run(type, n_q, 2, k, run, p, q, q_scale, dim, s + at + p);
        }
        if (p < n) {
            scores_run(type, n_q, 1, k, run, p, q, q_scale, dim, s + at + p);
        }
    }
}

#define SCORES(n)                                                                                  \
    case n: scores_runs(type, n, k, q, q_scale, dim, n_pos, s); break

INLINE void scores_few(int type, const struct micro_runs *k, const int16_t *q, const float *q_scale,
                       int n_q, int dim, int n_pos, float *s) {
    switch (n_q) {
        SCORES(1);
        SCORES(2);
        SCORES(3);
        SCORES(4);
        SCORES(5);
        SCORES(6);
        SCORES(7);
        SCORES(8);
    }
}

static void scores_few_f16(const struct micro_runs *k, const int16_t *q, const float *q_scale,
                           int n_q, int dim, int n_pos, float *s) {
    scores_few(MICRO_KV_F16, k, q, q_scale, n_q, dim, n_pos, s);
}

static void scores_few_i8(const struct micro_runs *k, const int16_t *q, const float *q_scale,
                          int n_q, int dim, int n_pos, float *s) {
    scores_few(MICRO_KV_I8, k, q, q_scale, n_q, dim, n_pos, s);
}

/* own: a float for each position, its factor. */
static void value_scales_f16(const struct micro_runs *v, int dim, int n_pos, float *scale,
                             int16_t *own) {
    for (int p = 0; p < n_pos; p += 16) {
        const struct micro_rows *run = &v->run[p / v->each];
        const f16_t *from = (const f16_t *)run->v + (size_t)(p % v->each) * (size_t)run->step;
        __m512i most = largest_values(MICRO_KV_F16, from, (size_t)run->step, dim);
        _mm512_storeu_ps(scale + p, scale_of(most, 12));
        _mm512_storeu_ps(own + 2 * p, factor_of(most, 12));
    }
}

/* own: [position][group] */
static void value_scales_i8(const struct micro_runs *v, int dim, int n_pos, float *scale,
                            int16_t *own) {
    const int groups = (dim + GROUP - 1) / GROUP;
    for (int p = 0; p < n_pos; p += 16) {
        const struct micro_rows *run = &v->run[p / v->each];
        any_parts(groups, run->scale + p % v->each * groups, scale + p, own + p * groups);
    }
}

/* Adds n positions of a run to the sums of n_q <= 8 rows, 16 * n_v columns from c on. */
INLINE void mix_run(int type, int n_q, int n_v, __m512i acc[8][4], const struct micro_rows *run,
                    const char *near, struct micro_ahead *ahead, int dim, int c, const int16_t *own,
                    const int16_t *w, int n) {
    const int groups = (dim + GROUP - 1) / GROUP;
    const size_t step = (size_t)run->step, size = type == MICRO_KV_I8 ? 1 : 2;
    near += (size_t)(c * n) * size; /* line by line, whichever columns these are */
    for (int p = 0; p < n; p += 2) {
        const size_t from = (size_t)p * step + (size_t)c;
        __m512i u[4];
#pragma GCC unroll 4
        for (int k = 0; k < n_v; k++) {
            const size_t at = from + 16 * (size_t)k;
            if (type == MICRO_KV_I8) {
                const int8_t *x = (const int8_t *)run->v + at;
                const int16_t *part = own + p * groups + (c + 16 * k) / GROUP;
                uint32_t both = (uint16_t)part[0] | (uint32_t)part[groups] << 16;
                u[k] = _mm512_mulhrs_epi16(high_pairs(x, x + step), _mm512_set1_epi32((int)both));
            } else {
                float factor[2];
                memcpy(factor, own + 2 * p, sizeof factor);
                __m512i a = nearest(floats(type, run->v, at), _mm512_set1_ps(factor[0]));
                __m512i b = nearest(floats(type, run->v, at + step), _mm512_set1_ps(factor[1]));
                u[k] = pairs(a, b);
            }
        }
#pragma GCC unroll 4
        for (size_t line = 0; line < 32 * (size_t)n_v * size; line += 64, near += 64) {
            fetch(ahead, near);
        }
        add_pairs(n_q, n_v, acc, w + p, u);
    }
}

/* n_q <= 8 rows of y, 16 * n_v columns from c on. */
INLINE void mix_runs(int type, int n_q, int n_v, float *y, int dim, int c, const float *keep,
                     const int16_t *w, const float *step, const struct micro_runs *v,
                     const int16_t *own, int n_pos) {
    const int groups = (dim + GROUP - 1) / GROUP;
    __m512i acc[8][4];
    clear_sums(n_q, n_v, acc);
    for (int at = 0, run = 0; at < n_pos; at += v->each, run++) {
        int n = n_pos - at < v->each ? n_pos - at : v->each;
        mix_run(type, n_q, n_v, acc, &v->run[run], v->near[run], v->ahead, dim, c,
                own + at * (type == MICRO_KV_I8 ? groups : 2), w + at, n);
    }
    put_mixed(n_q, n_v, acc, y + c, dim, keep, step);
}

/* As many columns at once as leave all sums in registers. */
INLINE void mix_columns(int type, int n_q, float *y, int dim, const float *keep, const int16_t *w,
                        const float *step, const struct micro_runs *v, const int16_t *own,
                        int n_pos) {
    const int n_v = n_q > 5 ? 2 : 4;
    int c = 0;
    for (; c + 16 * n_v <= dim; c += 16 * n_v) {
        mix_runs(type, n_q, n_v, y, dim, c, keep, w, step, v, own, n_pos);
    }
    for (; c < dim; c += 16) {
        mix_runs(type, n_q, 1, y, dim, c, keep, w, step, v, own, n_pos);
    }
}

#define MIX(n)                                                                                     \
    case n: mix_columns(type, n, y, dim, keep, w, step, v, own, n_pos); break

INLINE void mix_few(int type, float *y, int n_q, int dim, const float *keep, const int16_t *w,
                    const float *step, const struct micro_runs *v, const int16_t *own, int n_pos) {
    switch (n_q) {
        MIX(1);
        MIX(2);
        MIX(3);
        MIX(4);
        MIX(5);
        MIX(6);
        MIX(7);
        MIX(8);
    }
}

static void mix_few_f16(float *y, int n_q, int dim, const float *keep, const int16_t *w,
                        const float *step, const struct micro_runs *v, const int16_t *own,
                        int n_pos) {
    mix_few(MICRO_KV_F16, y, n_q, dim, keep, w, step, v, own, n_pos);
}

static void mix_few_i8(float *y, int n_q, int dim, const float *keep, const int16_t *w,
                       const float *step, const struct micro_runs *v, const int16_t *own,
                       int n_pos) {
    mix_few(MICRO_KV_I8, y, n_q, dim, keep, w, step, v, own, n_pos);
}

void micro_att_init_avx512(struct micro *m) {
    m->att = (struct micro_att){.keys = {keys_f32, keys_f16, keys_i8},
                                .values = {values_f32, values_f16, values_i8},
                                .query = m->att.query, /* AVX2's */
                                .scores = scores_avx512,
                                .weigh = weigh_avx512,
                                .mix = mix_avx512,
                                .few = 8,
                                .scores_few = {NULL, scores_few_f16, scores_few_i8},
                                .value_scales = {NULL, value_scales_f16, value_scales_i8},
                                .mix_few = {NULL, mix_few_f16, mix_few_i8}};
}
