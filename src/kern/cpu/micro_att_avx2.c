/* micro_att_avx2.c: attention for processors with AVX2, FMA and F16C.
 *
 * Owns instructions, not arithmetic: see micro_att_c.c. A tile has its integers in pairs, as
 * VPMADDWD takes them: keys [dim / 2][64 positions][2], values [64 / 2][dim][2]. Queries and
 * weights pass as broadcasts of pairs, and all sums of a block of queries stay in registers while
 * the tile goes by. Only static functions and micro_att_init_avx2.
 */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kern/cpu/micro.h"

#define INLINE static inline __attribute__((always_inline))

/* sum += v where it is, for the compiler moves sums about and keeps copies of them in memory. */
#define ADD(sum, v) __asm__("vpaddd %1, %0, %0" : "+x"(sum) : "x"(v))

#define TILE  MICRO_ATT_TILE
#define GROUP MICRO_ATT_GROUP

INLINE __m256i load(const void *p) {
    return _mm256_loadu_si256((const __m256i *)p);
}

INLINE void store(void *p, __m256i v) {
    _mm256_storeu_si256((__m256i *)p, v);
}

/* ---- products -------------------------------------------------------------------------------- */

/* Two integers that lie side by side, in every lane. */
INLINE __m256i pair(const int16_t *p) {
    int32_t both;
    memcpy(&both, p, sizeof both);
    return _mm256_set1_epi32(both);
}

/* acc[i][v] of n_q <= 6 rows: products of `n` pairs of each row of x, x_step apart, and sixteen
 * lanes of pairs at u, u_step apart. */
INLINE void sum_pairs(int n_q, __m256i acc[6][2], const int16_t *x, int x_step, const int16_t *u,
                      int u_step, int n, struct micro_ahead *ahead) {
#pragma GCC unroll 6
    for (int i = 0; i < n_q; i++) {
        acc[i][0] = acc[i][1] = _mm256_setzero_si256();
    }
    for (int k = 0; k < n; k++, x += 2, u += u_step) {
        __m256i low = load(u), high = load(u + 16);
        if (k % 2 == 0) {
            micro_ahead_line(ahead);
        }
#pragma GCC unroll 6
        for (int i = 0; i < n_q; i++) {
            __m256i both = pair(x + i * x_step);
            ADD(acc[i][0], _mm256_madd_epi16(both, low));
            ADD(acc[i][1], _mm256_madd_epi16(both, high));
        }
    }
}

/* n_q <= 6 queries at the tile's positions. */
INLINE void scores_block(int n_q, const int16_t *q, const float *q_scale, int dim,
                         const struct micro_tile *k, float *s) {
    const int groups = (dim + GROUP - 1) / GROUP;
    for (int g = 0; g < groups; g++) {
        int d = g * GROUP, n = dim - d < GROUP ? (dim - d) / 2 : GROUP / 2;
        for (int p = 0; p < TILE; p += 16) {
            __m256i acc[6][2];
            sum_pairs(n_q, acc, q + d, dim, k->v + d * TILE + 2 * p, 2 * TILE, n, k->ahead);
#pragma GCC unroll 6
            for (int i = 0; i < n_q; i++) {
                __m256 scale = _mm256_set1_ps(q_scale[i * groups + g]);
#pragma GCC unroll 2
                for (int v = 0; v < 2; v++) {
                    float *at = s + i * TILE + p + 8 * v;
                    __m256 sum = g ? _mm256_loadu_ps(at) : _mm256_setzero_ps();
                    __m256 f = _mm256_mul_ps(_mm256_cvtepi32_ps(acc[i][v]), scale);
                    __m256 by = _mm256_loadu_ps(k->scale + g * TILE + p + 8 * v);
                    _mm256_storeu_ps(at, _mm256_fmadd_ps(f, by, sum));
                }
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

static void scores_avx2(const int16_t *q, const float *q_scale, int n_q, int dim,
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

/* Sixteen columns of n_q <= 6 rows of y, `dim` apart: y[i] * keep[i] + step[i] * acc[i]. */
INLINE void put_mixed(int n_q, __m256i acc[][2], float *y, int dim, const float *keep,
                      const float *step) {
#pragma GCC unroll 6
    for (int i = 0; i < n_q; i++) {
        __m256 kept = _mm256_set1_ps(keep[i]), size = _mm256_set1_ps(step[i]);
#pragma GCC unroll 2
        for (int k = 0; k < 2; k++) {
            float *at = y + i * dim + 8 * k;
            __m256 old = _mm256_mul_ps(_mm256_loadu_ps(at), kept);
            _mm256_storeu_ps(at, _mm256_fmadd_ps(_mm256_cvtepi32_ps(acc[i][k]), size, old));
        }
    }
}

/* n_q <= 6 rows of y. */
INLINE void mix_rows(int n_q, float *y, int dim, const float *keep, const int16_t *w,
                     const float *step, const struct micro_tile *v, int n_pos) {
    for (int c = 0; c < dim; c += 16) {
        __m256i acc[6][2];
        sum_pairs(n_q, acc, w, TILE, v->v + 2 * c, 2 * dim, n_pos / 2, v->ahead);
        put_mixed(n_q, acc, y + c, dim, keep, step);
    }
}

#define ROWS(n)                                                                                    \
    case n: mix_rows(n, y, dim, keep, w, step, v, n_pos); break

static void mix_avx2(float *y, int n_q, int dim, const float *keep, const int16_t *w,
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

/* micro_exp2 of n <= 4 vectors. Each step is taken by all of them, for a chain of steps is longer
 * than what a core looks ahead. */
INLINE void exp2_vectors(int n, __m256 x[4]) {
    static const float more[] = {1.339887440e-3f, 9.618437357e-3f, 5.550332471e-2f,
                                 2.402264791e-1f, 6.931472028e-1f, 1.0f};
    __m256 r[4], p[4];
#pragma GCC unroll 4
    for (int i = 0; i < n; i++) {
        r[i] = _mm256_round_ps(x[i], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        r[i] = _mm256_sub_ps(x[i], r[i]);
        p[i] = _mm256_set1_ps(1.535336188e-4f);
    }
#pragma GCC unroll 6
    for (int k = 0; k < 6; k++) {
#pragma GCC unroll 4
        for (int i = 0; i < n; i++) {
            p[i] = _mm256_fmadd_ps(p[i], r[i], _mm256_set1_ps(more[k]));
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < n; i++) {
        __m256 low = _mm256_cmp_ps(x[i], _mm256_set1_ps(-125.0f), _CMP_LT_OQ);
        __m256i e = _mm256_slli_epi32(_mm256_cvtps_epi32(x[i]), 23);
        e = _mm256_add_epi32(_mm256_castps_si256(p[i]), e);
        x[i] = _mm256_andnot_ps(low, _mm256_castsi256_ps(e));
    }
}

/* Those of positions p..p+7 that are in [from, to). */
INLINE __m256 inside(int p, int from, int to) {
    __m256i at = _mm256_add_epi32(_mm256_set1_epi32(p), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    __m256i low = _mm256_cmpgt_epi32(_mm256_set1_epi32(from), at);
    __m256i high = _mm256_cmpgt_epi32(_mm256_set1_epi32(to), at);
    return _mm256_castsi256_ps(_mm256_andnot_si256(low, high));
}

INLINE float max8(__m256 v) {
    __m128 h = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    h = _mm_max_ps(h, _mm_movehl_ps(h, h));
    return _mm_cvtss_f32(_mm_max_ss(h, _mm_movehdup_ps(h)));
}

INLINE uint32_t largest8(__m256i v) {
    __m128i h = _mm_max_epu32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    h = _mm_max_epu32(h, _mm_shuffle_epi32(h, 0x4e));
    return (uint32_t)_mm_cvtsi128_si32(_mm_max_epu32(h, _mm_shuffle_epi32(h, 0xb1)));
}

/* The largest score in [from, to); all: that is every position. */
INLINE float top_score(bool all, const float *s, int n_pos, int from, int to) {
    const __m256 none = _mm256_set1_ps(-INFINITY);
    __m256 m = none;
    for (int p = 0; p < n_pos; p += 8) {
        __m256 v = _mm256_loadu_ps(s + p);
        v = all ? v : _mm256_blendv_ps(none, v, inside(p, from, to));
        m = _mm256_max_ps(v, m);
    }
    return max8(m);
}

/* A row that is weighed. */
struct weigh {
    float *s;
    const float *v_scale;
    int from, to;
    __m256 top, sum[2];
    __m256i most; /* the bits of the largest weights */
};

/* 8 * n positions from p on: s becomes 2^(s - top) times the scales of the values. */
INLINE void weigh_vectors(bool all, int n, struct weigh *r, int p) {
    __m256 e[4];
#pragma GCC unroll 4
    for (int i = 0; i < n; i++) {
        e[i] = _mm256_sub_ps(_mm256_loadu_ps(r->s + p + 8 * i), r->top);
    }
    exp2_vectors(n, e);
#pragma GCC unroll 4
    for (int i = 0; i < n; i++) {
        __m256 there = _mm256_cmp_ps(e[i], _mm256_set1_ps(MICRO_ATT_LEAST), _CMP_NLT_UQ);
        if (!all) {
            __m256 in = inside(p + 8 * i, r->from, r->to);
            e[i] = _mm256_and_ps(e[i], in);
            there = _mm256_and_ps(there, in);
        }
        r->sum[i % 2] = _mm256_add_ps(r->sum[i % 2], e[i]);
        __m256 w =
            _mm256_mul_ps(_mm256_and_ps(e[i], there), _mm256_loadu_ps(r->v_scale + p + 8 * i));
        w = _mm256_and_ps(w, there);
        _mm256_storeu_ps(r->s + p + 8 * i, w);
        w = _mm256_and_ps(w, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff)));
        r->most = _mm256_max_epu32(r->most, _mm256_castps_si256(w));
    }
}

/* The bits of the largest weight of a row are the result. */
INLINE uint32_t weigh_row(bool all, float *s, int n_pos, int from, int to, const float *v_scale,
                          float top, float keep, float *total) {
    __m256 kept = _mm256_set1_ps(keep);
    struct weigh r = {.s = s,
                      .v_scale = v_scale,
                      .from = from,
                      .to = to,
                      .top = _mm256_set1_ps(top),
                      .sum = {_mm256_mul_ps(_mm256_loadu_ps(total), kept),
                              _mm256_mul_ps(_mm256_loadu_ps(total + 8), kept)}};
    int p = 0;
    for (; p + 32 <= n_pos; p += 32) {
        weigh_vectors(all, 4, &r, p);
    }
    if (p < n_pos) {
        weigh_vectors(all, 2, &r, p);
    }
    _mm256_storeu_ps(total, r.sum[0]);
    _mm256_storeu_ps(total + 8, r.sum[1]);
    return largest8(r.most);
}

/* x * factor to the nearest integers, zeros where `any` is zero. */
INLINE __m256i scaled(const float *x, __m256 factor, __m256 any) {
    return _mm256_cvtps_epi32(_mm256_and_ps(_mm256_mul_ps(_mm256_loadu_ps(x), factor), any));
}

/* Rows take each step together, for each ends in a chain of single numbers: those of one row pass
 * beside the next. */
static void weigh_avx2(float *s, int n_q, int n_pos, const int *from, const int *to,
                       const float *v_scale, float *top, float *total, float *keep, int16_t *w,
                       float *step) {
    for (int i = 0; i < n_q; i++) {
        bool all = from[i] <= 0 && to[i] >= n_pos;
        float *row = s + i * TILE, most = all ? top_score(true, row, n_pos, 0, n_pos)
                                              : top_score(false, row, n_pos, from[i], to[i]);
        keep[i] = 1.0f;
        if (most > top[i]) {
            keep[i] = micro_exp2(top[i] - most);
            top[i] = most;
        }
    }
    for (int i = 0; i < n_q; i++) {
        float *row = s + i * TILE, *sum = total + i * 16;
        uint32_t bits = 0;
        if (from[i] <= 0 && to[i] >= n_pos) {
            bits = weigh_row(true, row, n_pos, 0, n_pos, v_scale, top[i], keep[i], sum);
        } else if (from[i] < to[i]) {
            bits = weigh_row(false, row, n_pos, from[i], to[i], v_scale, top[i], keep[i], sum);
        }
        step[i] = f32_from_bits(bits); /* the largest weight, until the loop below */
    }
    for (int i = 0; i < n_q; i++, s += TILE, w += TILE) {
        __m256 factor = _mm256_set1_ps(micro_att_parts(MICRO_ATT_INT, step[i]));
        __m256 any = _mm256_cmp_ps(factor, _mm256_setzero_ps(), _CMP_GT_OQ);
        step[i] = step[i] * (1.0f / MICRO_ATT_INT);
        for (int p = 0; p < n_pos; p += 16) {
            __m256i low = scaled(s + p, factor, any), high = scaled(s + p + 8, factor, any);
            store(w + p, _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8));
        }
    }
}

/* ---- tiles ----------------------------------------------------------------------------------- */

/* micro_att_factor and micro_att_scale of eight largest. */
INLINE __m256 factor_of(__m256i largest, int n) {
    __m256i e = _mm256_max_epu32(_mm256_srli_epi32(largest, 23), _mm256_set1_epi32(16));
    e = _mm256_sub_epi32(_mm256_set1_epi32(253 + n), e);
    return _mm256_castsi256_ps(_mm256_slli_epi32(e, 23));
}

INLINE __m256 scale_of(__m256i largest, int n) {
    __m256i e = _mm256_max_epu32(_mm256_srli_epi32(largest, 23), _mm256_set1_epi32(16));
    e = _mm256_slli_epi32(_mm256_add_epi32(e, _mm256_set1_epi32(1 - n)), 23);
    __m256i odd = _mm256_cmpgt_epi32(largest, _mm256_set1_epi32(0x7f7fffff));
    __m256i nan = _mm256_set1_epi32(0x7fc00000);
    return _mm256_castsi256_ps(_mm256_or_si256(e, _mm256_and_si256(odd, nan)));
}

/* Eight numbers of a cache of floats from place `at` on. */
INLINE __m256 floats(int type, const void *v, size_t at) {
    if (type == MICRO_KV_F32) {
        return _mm256_loadu_ps((const float *)v + at);
    }
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)((const f16_t *)v + at)));
}

/* What takes eight numbers to integers: f32 their factor; f16, which are far from the largest
 * float, 1.5 * 2^23 of their scale, for the sum of a number and that has the integer in its lowest
 * bits without a product. Where the scale is NaN any integer does: its products become NaN. */
INLINE __m256 whole_by(int type, __m256i largest, __m256 scale, int n) {
    return type == MICRO_KV_F32 ? factor_of(largest, n)
                                : _mm256_mul_ps(scale, _mm256_set1_ps(12582912.0f));
}

/* The nearest integers, in the low halves of the lanes. */
INLINE __m256i nearest(int type, __m256 x, __m256 by) {
    __m256 sum = type == MICRO_KV_F32 ? _mm256_fmadd_ps(x, by, _mm256_set1_ps(12582912.0f))
                                      : _mm256_add_ps(x, by);
    return _mm256_castps_si256(sum);
}

/* Pairs of the low halves of a and b. Whole bytes move on a port that has less to do than that of
 * shifts. */
INLINE __m256i pairs(__m256i a, __m256i b) {
    return _mm256_blend_epi16(a, _mm256_bslli_epi128(b, 2), 0xaa);
}

/* The larger of the sizes at `at` and those in most: of eight f32, of sixteen and eight f16. */
INLINE __m256i larger32(__m256i most, const float *at) {
    return _mm256_max_epu32(most, _mm256_and_si256(load(at), _mm256_set1_epi32(0x7fffffff)));
}

INLINE __m256i larger16(__m256i most, const f16_t *at) {
    return _mm256_max_epu16(most, _mm256_and_si256(load(at), _mm256_set1_epi16(0x7fff)));
}

/* f16 as the bits of f32. */
INLINE __m256i widen_bits(__m128i half) {
    return _mm256_castps_si256(_mm256_cvtph_ps(half));
}

/* The largest sizes of dimensions d..end, an even number, at sixteen positions, as the bits of f32.
 */
INLINE void largest_keys(int type, const struct micro_rows *k, int p, int d, int end,
                         __m256i most[2]) {
    const size_t step = (size_t)k->step;
    size_t at = (size_t)d * step + (size_t)p;
    most[0] = most[1] = _mm256_setzero_si256();
    if (type == MICRO_KV_F32) {
        for (; d < end; d++, at += step) {
            most[0] = larger32(most[0], (const float *)k->v + at);
            most[1] = larger32(most[1], (const float *)k->v + at + 8);
        }
        return;
    }
#pragma GCC unroll 4
    for (; d < end; d += 2, at += 2 * step) {
        most[0] = larger16(most[0], (const f16_t *)k->v + at);
        most[1] = larger16(most[1], (const f16_t *)k->v + at + step);
    }
    __m256i both = _mm256_max_epu16(most[0], most[1]);
    most[0] = widen_bits(_mm256_castsi256_si128(both));
    most[1] = widen_bits(_mm256_extracti128_si256(both, 1));
}

INLINE void keys_floats(int type, const struct micro_rows *k, int dim, int n_pos, int at,
                        const struct micro_tile *to) {
    const size_t step = (size_t)k->step;
    for (int p = 0; p < n_pos; p += 16) {
        for (int g = 0; g < dim; g += GROUP) {
            int end = g + GROUP < dim ? g + GROUP : dim;
            __m256i most[2];
            __m256 by[2];
            largest_keys(type, k, p, g, end, most);
#pragma GCC unroll 2
            for (int v = 0; v < 2; v++) {
                __m256 scale = scale_of(most[v], 13);
                by[v] = whole_by(type, most[v], scale, 13);
                _mm256_storeu_ps(to->scale + g / GROUP * TILE + at + p + 8 * v, scale);
            }
            for (int d = g; d < end; d += 2) {
                size_t from = (size_t)d * step + (size_t)p;
#pragma GCC unroll 2
                for (int v = 0; v < 2; v++, from += 8) {
                    __m256i a = nearest(type, floats(type, k->v, from), by[v]);
                    __m256i b = nearest(type, floats(type, k->v, from + step), by[v]);
                    store(to->v + d * TILE + 2 * (at + p + 8 * v), pairs(a, b));
                }
                micro_ahead_line(to->ahead);
            }
        }
    }
}

static void keys_f32(const struct micro_rows *k, int dim, int n_pos, int at,
                     const struct micro_tile *to) {
    keys_floats(MICRO_KV_F32, k, dim, n_pos, at, to);
}

static void keys_f16(const struct micro_rows *k, int dim, int n_pos, int at,
                     const struct micro_tile *to) {
    keys_floats(MICRO_KV_F16, k, dim, n_pos, at, to);
}

static void keys_i8(const struct micro_rows *k, int dim, int n_pos, int at,
                    const struct micro_tile *to) {
    const size_t step = (size_t)k->step;
    struct micro_ahead *ahead = to->ahead;
    for (int p = 0; p < n_pos; p += 16) {
        for (int d = 0; d < dim; d += 2) {
            const int8_t *from = (const int8_t *)k->v + (size_t)d * step + p;
            __m128i a = _mm_loadu_si128((const __m128i *)from);
            __m128i b = _mm_loadu_si128((const __m128i *)(from + step));
            int16_t *put = to->v + d * TILE + 2 * (at + p);
            store(put, _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(a, b)));
            store(put + 16, _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(a, b)));
            micro_ahead_line(ahead);
        }
        for (int g = 0; g * GROUP < dim; g++) {
            for (int h = 0; h < 16; h += 8) {
                const bf16_t *scale = k->scale + (size_t)g * step + p + h;
                __m256i u = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)scale));
                store(to->scale + g * TILE + at + p + h, _mm256_slli_epi32(u, 16));
            }
        }
    }
}

/* The largest of each of eight rows of eight, by halves of what is left. */
INLINE __m128i largest_rows(__m128i v[8]) {
    for (int i = 0; i < 4; i++) { /* rows 2i and 2i + 1, four of each */
        v[i] = _mm_max_epu16(_mm_unpacklo_epi16(v[2 * i], v[2 * i + 1]),
                             _mm_unpackhi_epi16(v[2 * i], v[2 * i + 1]));
    }
    for (int i = 0; i < 2; i++) {
        v[i] = _mm_max_epu16(_mm_unpacklo_epi32(v[2 * i], v[2 * i + 1]),
                             _mm_unpackhi_epi32(v[2 * i], v[2 * i + 1]));
    }
    return _mm_max_epu16(_mm_unpacklo_epi64(v[0], v[1]), _mm_unpackhi_epi64(v[0], v[1]));
}

/* The sizes of eight values' largest numbers, as the bits of f32. */
INLINE __m256i largest_values(int type, const void *v, size_t step, int dim) {
    if (type == MICRO_KV_F32) {
        uint32_t bits[8];
        for (int p = 0; p < 8; p++) {
            __m256i most = _mm256_setzero_si256();
            for (int j = 0; j < dim; j += 8) {
                most = larger32(most, (const float *)v + (size_t)p * step + j);
            }
            bits[p] = largest8(most);
        }
        return load(bits);
    }
    __m128i row[8];
    for (int p = 0; p < 8; p++) {
        __m256i most = _mm256_setzero_si256();
#pragma GCC unroll 8
        for (int j = 0; j < dim; j += 16) {
            most = larger16(most, (const f16_t *)v + (size_t)p * step + j);
        }
        row[p] = _mm_max_epu16(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
    }
    return widen_bits(largest_rows(row));
}

INLINE void values_floats(int type, const struct micro_rows *v, int dim, int n_pos, int at,
                          const struct micro_tile *to) {
    const size_t step = (size_t)v->step, size = type == MICRO_KV_F32 ? 4 : 2;
    struct micro_ahead *ahead = to->ahead;
    for (int p = 0; p < n_pos;) {
        float by[8];
        size_t from = (size_t)p * step;
        __m256i most = largest_values(type, (const char *)v->v + from * size, step, dim);
        __m256 scale = scale_of(most, 12);
        _mm256_storeu_ps(to->scale + at + p, scale);
        _mm256_storeu_ps(by, whole_by(type, most, scale, 12));
        for (int i = 0; i < 8; i += 2, p += 2, from += 2 * step) {
            __m256 a = _mm256_set1_ps(by[i]), b = _mm256_set1_ps(by[i + 1]);
            int16_t *put = to->v + (at + p) * dim;
#pragma GCC unroll 4
            for (int j = 0; j < dim; j += 8) {
                __m256i x = nearest(type, floats(type, v->v, from + (size_t)j), a);
                __m256i y = nearest(type, floats(type, v->v, from + step + (size_t)j), b);
                store(put + 2 * j, pairs(x, y));
                if (j % 32 == 0) {
                    micro_ahead_line(ahead);
                }
            }
        }
    }
}

static void values_f32(const struct micro_rows *v, int dim, int n_pos, int at,
                       const struct micro_tile *to) {
    values_floats(MICRO_KV_F32, v, dim, n_pos, at, to);
}

/* The usual heads have code of their own, where loops over dimensions are unrolled. */
static void values_f16(const struct micro_rows *v, int dim, int n_pos, int at,
                       const struct micro_tile *to) {
    switch (dim) {
    case 64: values_floats(MICRO_KV_F16, v, 64, n_pos, at, to); break;
    case 128: values_floats(MICRO_KV_F16, v, 128, n_pos, at, to); break;
    default: values_floats(MICRO_KV_F16, v, dim, n_pos, at, to);
    }
}

/* [position][group], of 2 or 4 groups, becomes [position / 2][group][2]. */
INLINE __m128i side_by_side(int groups, __m128i v) {
    if (groups == 2) {
        return _mm_shufflehi_epi16(_mm_shufflelo_epi16(v, 0xd8), 0xd8);
    }
    return groups == 4 ? _mm_unpacklo_epi16(v, _mm_unpackhi_epi64(v, v)) : v;
}

/* micro_att_value_parts of 1, 2, 4 or 8 groups; of all but 8 side by side. */
INLINE void value_parts(int groups, const bf16_t *scale, float *to, int16_t *part) {
    const __m256i all = _mm256_set1_epi32(0x7fff);
    for (int i = 0; i < 2 * groups; i++, scale += 8, part += 8, to += 8 / groups) {
        __m256i size = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)scale));
        size = _mm256_and_si256(size, all);
        __m256i most = size;
        most = groups > 1 ? _mm256_max_epi32(most, _mm256_shuffle_epi32(most, 0xb1)) : most;
        most = groups > 2 ? _mm256_max_epi32(most, _mm256_shuffle_epi32(most, 0x4e)) : most;
        most = groups > 4 ? _mm256_max_epi32(most, _mm256_permute2x128_si256(most, most, 1)) : most;
        __m256 largest = _mm256_castsi256_ps(_mm256_slli_epi32(most, 16));
        __m256i odd = _mm256_cmpgt_epi32(most, _mm256_set1_epi32(0x7f7f));
        __m256 unit = _mm256_mul_ps(largest, _mm256_set1_ps(0x1p-5f));
        unit = _mm256_blendv_ps(unit, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000)),
                                _mm256_castsi256_ps(odd));
        float units[8];
        _mm256_storeu_ps(units, unit);
        for (int k = 0; k < 8 / groups; k++) {
            to[k] = units[k * groups];
        }
        __m256 good = _mm256_and_ps(_mm256_cmp_ps(largest, _mm256_set1_ps(0x1p-100f), _CMP_GE_OQ),
                                    _mm256_cmp_ps(largest, _mm256_set1_ps(0x1p125f), _CMP_LT_OQ));
        __m256 one = _mm256_div_ps(_mm256_set1_ps(4096.0f), largest);
        __m256 share = _mm256_mul_ps(_mm256_castsi256_ps(_mm256_slli_epi32(size, 16)), one);
        __m256i n = _mm256_cvtps_epi32(_mm256_and_ps(share, good));
        __m128i own = _mm_packs_epi32(_mm256_castsi256_si128(n), _mm256_extracti128_si256(n, 1));
        _mm_storeu_si128((__m128i *)part, side_by_side(groups, own));
    }
}

/* Those of sixteen values, two positions side by side: part[16 / 2][group][2]. */
INLINE void any_parts(int groups, const bf16_t *scale, float *to, int16_t *part) {
    int16_t own[16 * MICRO_ATT_DIM / GROUP];
    switch (groups) {
    case 1: value_parts(1, scale, to, part); return;
    case 2: value_parts(2, scale, to, part); return;
    case 4: value_parts(4, scale, to, part); return;
    case 8: value_parts(8, scale, to, own); break;
    default: micro_att_value_parts(scale, groups, to, own);
    }
    for (int p = 0; p < 16; p += 2) {
        for (int g = 0; g < groups; g++) {
            part[p * groups + 2 * g] = own[p * groups + g];
            part[p * groups + 2 * g + 1] = own[(p + 1) * groups + g];
        }
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
        for (int g = 0; g < dim; g += GROUP, own += 2) {
            __m256i part = pair(own);
            int end = g + GROUP < dim ? g + GROUP : dim;
#pragma GCC unroll 2
            for (int j = g; j < end; j += 16) {
                __m128i x = _mm_loadu_si128((const __m128i *)(from + j));
                __m128i y = _mm_loadu_si128((const __m128i *)(from + step + j));
                __m256i low = _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(x, y));
                __m256i high = _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(x, y));
                store(put + 2 * j, _mm256_mulhrs_epi16(_mm256_slli_epi16(low, 8), part));
                store(put + 2 * j + 16, _mm256_mulhrs_epi16(_mm256_slli_epi16(high, 8), part));
            }
            micro_ahead_line(ahead);
        }
    }
}

/* ---- queries --------------------------------------------------------------------------------- */

static void query_avx2(const float *x, int dim, int16_t *to, float *scale) {
    const __m256i most = _mm256_set1_epi32(MICRO_ATT_INT),
                  least = _mm256_set1_epi32(-MICRO_ATT_INT);
    for (int d = 0; d < dim; d += GROUP, scale++) {
        const int end = d + GROUP < dim ? d + GROUP : dim;
        __m256i size = _mm256_setzero_si256();
        for (int i = d; i < end; i += 8) {
            size = larger32(size, x + i);
        }
        uint32_t bits = largest8(size);
        __m256 factor = _mm256_set1_ps(micro_att_factor(bits, 13));
        __m256 any = _mm256_castsi256_ps(_mm256_set1_epi32(bits < 0x7f800000 ? -1 : 0));
        *scale = micro_att_scale(bits, 13);
        for (int i = d; i < end; i += 16) {
            __m256i low = scaled(x + i, factor, any), high = scaled(x + i + 8, factor, any);
            low = _mm256_max_epi32(_mm256_min_epi32(low, most), least);
            high = _mm256_max_epi32(_mm256_min_epi32(high, most), least);
            store(to + i, _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8));
        }
    }
}

/* ---- few queries ----------------------------------------------------------------------------- */

/* Adds the products of pairs, sixteen lanes of them, to the sums of n_q <= 4 rows of x, x_step
 * apart. */
INLINE void add_pairs(int n_q, __m256i acc[4][2], const int16_t *x, int x_step,
                      const __m256i u[2]) {
#pragma GCC unroll 4
    for (int i = 0; i < n_q; i++) {
        __m256i both = pair(x + i * x_step);
#pragma GCC unroll 2
        for (int v = 0; v < 2; v++) {
            ADD(acc[i][v], _mm256_madd_epi16(both, u[v]));
        }
    }
}

INLINE void clear_sums(int n_q, __m256i acc[4][2]) {
#pragma GCC unroll 4
    for (int i = 0; i < n_q; i++) {
        acc[i][0] = acc[i][1] = _mm256_setzero_si256();
    }
}

/* Pairs of sixteen int8 at a and b. */
INLINE void wide_pairs(const int8_t *a, const int8_t *b, __m256i u[2]) {
    __m128i x = _mm_loadu_si128((const __m128i *)a), y = _mm_loadu_si128((const __m128i *)b);
    u[0] = _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(x, y));
    u[1] = _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(x, y));
}

/* Eight positions' scales of a group of int8 keys. */
INLINE __m256 key_scales(const struct micro_rows *k, int g, int p) {
    const bf16_t *scale = k->scale + (size_t)g * (size_t)k->step + (size_t)p;
    __m256i u = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)scale));
    return _mm256_castsi256_ps(_mm256_slli_epi32(u, 16));
}

/* The scale of a group at sixteen positions, and what takes floats to integers. */
INLINE void group_key_scales(int type, const struct micro_rows *k, int p, int d, int end,
                             __m256 scale[2], __m256 by[2]) {
    __m256i most[2];
    if (type != MICRO_KV_I8) {
        largest_keys(type, k, p, d, end, most);
    }
#pragma GCC unroll 2
    for (int v = 0; v < 2; v++) {
        bool whole = type == MICRO_KV_I8;
        scale[v] = whole ? key_scales(k, d / GROUP, p + 8 * v) : scale_of(most[v], 13);
        by[v] = whole ? _mm256_setzero_ps() : whole_by(type, most[v], scale[v], 13);
    }
}

/* Two dimensions of sixteen keys, rows of bytes apart, in pairs. */
INLINE void key_pairs(int type, const char *from, size_t row, const __m256 by[2], __m256i u[2]) {
    if (type == MICRO_KV_I8) {
        wide_pairs((const int8_t *)from, (const int8_t *)from + row, u);
        return;
    }
#pragma GCC unroll 2
    for (size_t v = 0; v < 2; v++) {
        __m256i a = nearest(type, floats(type, from, 8 * v), by[v]);
        u[v] = pairs(a, nearest(type, floats(type, from + row, 8 * v), by[v]));
    }
}

/* n_q <= 4 queries at sixteen positions from p on. */
INLINE void scores_run(int type, int n_q, const struct micro_runs *runs, int run, int p,
                       const int16_t *q, const float *q_scale, int dim, float *s) {
    const struct micro_rows *k = &runs->run[run];
    const int groups = (dim + GROUP - 1) / GROUP, size = type == MICRO_KV_I8 ? 1 : 2;
    const size_t row = (size_t)(k->step * size);
    const char *from = (const char *)k->v + p * size;
    const char *near = runs->near[run] + p / 32 * 32 * size + (p % 32 ? 2 * row / size : 0);
    for (int g = 0; g < groups; g++) {
        int end = (g + 1) * GROUP < dim ? (g + 1) * GROUP : dim;
        __m256i acc[4][2];
        __m256 by[2], scale[2];
        group_key_scales(type, k, p, g * GROUP, end, scale, by);
        clear_sums(n_q, acc);
        for (int d = g * GROUP; d < end; d += 2, from += 2 * row, near += 2 * row) {
            __m256i u[2];
            key_pairs(type, from, row, by, u);
            if (d % (16 / size) == 0) {
                micro_ahead_lines(runs->ahead);
            }
            if (type != MICRO_KV_I8 || d % 4 == 0) {
                _mm_prefetch(near, _MM_HINT_T0);
            }
            add_pairs(n_q, acc, q + d, dim, u);
        }
#pragma GCC unroll 4
        for (int i = 0; i < n_q; i++) {
            __m256 unit = _mm256_set1_ps(q_scale[i * groups + g]);
#pragma GCC unroll 2
            for (int v = 0; v < 2; v++) {
                float *at = s + i * TILE + 8 * v;
                __m256 sum = g ? _mm256_loadu_ps(at) : _mm256_setzero_ps();
                __m256 f = _mm256_mul_ps(_mm256_cvtepi32_ps(acc[i][v]), unit);
                _mm256_storeu_ps(at, _mm256_fmadd_ps(f, scale[v], sum));
            }
        }
    }
}

INLINE void scores_runs(int type, int n_q, const struct micro_runs *k, const int16_t *q,
                        const float *q_scale, int dim, int n_pos, float *s) {
    for (int p = 0; p < n_pos; p += 16) {
        scores_run(type, n_q, k, p / k->each, p % k->each, q, q_scale, dim, s + p);
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

/* own: a float for each position, what takes it to integers. */
INLINE void scales_floats(const struct micro_runs *v, int dim, int n_pos, float *scale,
                          int16_t *own) {
    for (int p = 0; p < n_pos; p += 8) {
        const struct micro_rows *run = &v->run[p / v->each];
        const f16_t *from = (const f16_t *)run->v + (size_t)(p % v->each) * (size_t)run->step;
        __m256i most = largest_values(MICRO_KV_F16, from, (size_t)run->step, dim);
        __m256 own_scale = scale_of(most, 12);
        __m256 by = whole_by(MICRO_KV_F16, most, own_scale, 12);
        _mm256_storeu_ps(scale + p, own_scale);
        store(own + 2 * p, _mm256_castps_si256(by));
    }
}

static void value_scales_f16(const struct micro_runs *v, int dim, int n_pos, float *scale,
                             int16_t *own) {
    switch (dim) {
    case 64: scales_floats(v, 64, n_pos, scale, own); break;
    case 128: scales_floats(v, 128, n_pos, scale, own); break;
    default: scales_floats(v, dim, n_pos, scale, own);
    }
}

/* own: [position / 2][group][2] */
static void value_scales_i8(const struct micro_runs *v, int dim, int n_pos, float *scale,
                            int16_t *own) {
    const int groups = (dim + GROUP - 1) / GROUP;
    for (int p = 0; p < n_pos; p += 16) {
        const struct micro_rows *run = &v->run[p / v->each];
        any_parts(groups, run->scale + p % v->each * groups, scale + p, own + p * groups);
    }
}

/* Sixteen columns of two values, rows of bytes apart, in pairs; own is what these columns have of
 * it. Of int8 u[0] has columns 0 to 3 and 8 to 11. */
INLINE void value_pairs(int type, const char *from, size_t row, const int16_t *own, __m256i u[2]) {
    if (type == MICRO_KV_I8) {
        __m128i x = _mm_loadu_si128((const __m128i *)from);
        __m128i y = _mm_loadu_si128((const __m128i *)(from + row));
        __m256i both = _mm256_set_m128i(_mm_unpackhi_epi8(x, y), _mm_unpacklo_epi8(x, y));
        __m256i part = pair(own), zero = _mm256_setzero_si256(); /* below a byte: times 256 */
        u[0] = _mm256_mulhrs_epi16(_mm256_unpacklo_epi8(zero, both), part);
        u[1] = _mm256_mulhrs_epi16(_mm256_unpackhi_epi8(zero, both), part);
        return;
    }
    float by[2];
    memcpy(by, own, sizeof by);
    __m256 a = _mm256_set1_ps(by[0]), b = _mm256_set1_ps(by[1]);
#pragma GCC unroll 2
    for (size_t v = 0; v < 2; v++) {
        __m256i x = nearest(type, floats(type, from, 8 * v), a);
        u[v] = pairs(x, nearest(type, floats(type, from + row, 8 * v), b));
    }
}

/* Sums of columns as value_pairs has them, in their order. */
INLINE void order_sums(int type, int n_q, __m256i acc[4][2]) {
#pragma GCC unroll 4
    for (int i = 0; i < n_q && type == MICRO_KV_I8; i++) {
        __m256i low = _mm256_permute2x128_si256(acc[i][0], acc[i][1], 0x20);
        acc[i][1] = _mm256_permute2x128_si256(acc[i][0], acc[i][1], 0x31);
        acc[i][0] = low;
    }
}

/* n_q <= 4 rows of y. */
INLINE void mix_runs(int type, int n_q, float *y, int dim, const float *keep, const int16_t *w,
                     const float *step, const struct micro_runs *v, const int16_t *own, int n_pos) {
    const int groups = (dim + GROUP - 1) / GROUP, size = type == MICRO_KV_I8 ? 1 : 2;
    const int per_pos = type == MICRO_KV_I8 ? groups : 2; /* of own */
    for (int c = 0; c < dim; c += 16) {
        __m256i acc[4][2];
        clear_sums(n_q, acc);
        const int16_t *part = own + (type == MICRO_KV_I8 ? c / GROUP * 2 : 0), *wp = w;
        for (int left = n_pos, run = 0; left > 0; left -= v->each, run++) {
            const int n = left < v->each ? left : v->each;
            const size_t row = (size_t)(v->run[run].step * size);
            const char *from = (const char *)v->run[run].v + c * size;
            const char *near = v->near[run] + c * n * size;
            for (int p = 0; p < n; p += 2, from += 2 * row, near += 32 * size) {
                __m256i u[2];
                value_pairs(type, from, row, part, u);
                if (p % (16 / size) == 0) {
                    micro_ahead_lines(v->ahead);
                }
                if (type != MICRO_KV_I8 || p % 4 == 0) {
                    _mm_prefetch(near, _MM_HINT_T0);
                }
                add_pairs(n_q, acc, wp, TILE, u);
                part += 2 * per_pos;
                wp += 2;
            }
        }
        order_sums(type, n_q, acc);
        put_mixed(n_q, acc, y + c, dim, keep, step);
    }
}

#define MIX(n)                                                                                     \
    case n: mix_runs(type, n, y, dim, keep, w, step, v, own, n_pos); break

INLINE void mix_few(int type, float *y, int n_q, int dim, const float *keep, const int16_t *w,
                    const float *step, const struct micro_runs *v, const int16_t *own, int n_pos) {
    switch (n_q) {
        MIX(1);
        MIX(2);
        MIX(3);
        MIX(4);
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

void micro_att_init_avx2(struct micro *m) {
    m->att = (struct micro_att){.keys = {keys_f32, keys_f16, keys_i8},
                                .values = {values_f32, values_f16, values_i8},
                                .query = query_avx2,
                                .scores = scores_avx2,
                                .weigh = weigh_avx2,
                                .mix = mix_avx2,
                                .few = 4,
                                .scores_few = {NULL, scores_few_f16, scores_few_i8},
                                .value_scales = {NULL, value_scales_f16, value_scales_i8},
                                .mix_few = {NULL, mix_few_f16, mix_few_i8}};
}
