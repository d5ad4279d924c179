/* micro_att_avx2.c: attention for processors with AVX2, FMA and F16C.
 *
 * Owns instructions, not arithmetic: see micro_att_c.c. Eight positions, or eight dimensions of a
 * value, lie in a register; queries pass as broadcasts, and all sums of a block of queries stay in
 * registers while a tile or page goes by. Numbers of the cache are widened on their way in.
 * Only static functions and micro_att_init_avx2.
 */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kern/cpu/micro.h"

#define INLINE static inline __attribute__((always_inline))

INLINE size_t bytes_of(int type) {
    return type == MICRO_KV_F32 ? 4 : type == MICRO_KV_F16 ? 2 : 1;
}

/* Eight numbers from place `at` on, without their scale. */
INLINE __m256 numbers(int type, const void *v, size_t at) {
    const char *p = (const char *)v + at * bytes_of(type);
    if (type == MICRO_KV_F32) {
        return _mm256_loadu_ps((const float *)(const void *)p);
    }
    if (type == MICRO_KV_F16) {
        return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
    }
    __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)p);
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
}

/* Eight scales. */
INLINE __m256 scales(const bf16_t *s) {
    __m256i u = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)s));
    return _mm256_castsi256_ps(_mm256_slli_epi32(u, 16));
}

/* Into the second cache: as many are under way there as memory needs, twice what the first's misses
 * allow, and from there the processor's own fetching of lines in sequence keeps up. */
INLINE void fetch(const void *p, size_t at) {
    _mm_prefetch((const char *)p + at, _MM_HINT_T1);
}

/* ---- scores ---------------------------------------------------------------------------------- */

/* n_q <= 6 queries at 16 positions. `ahead` NULL: nothing is fetched. */
INLINE void scores_block(int type, int n_q, const float *q, int dim, const struct micro_rows *k,
                         int p, const void *ahead, float *s, int s_step) {
    __m256 acc[6][2], scale[2];
    const size_t step = (size_t)k->step;
#pragma GCC unroll 6
    for (int i = 0; i < n_q; i++) {
        acc[i][0] = acc[i][1] = _mm256_setzero_ps();
    }
    for (int group = 0; group < dim; group += 32) {
        int end = group + 32 < dim ? group + 32 : dim;
        if (type == MICRO_KV_I8) {
            scale[0] = scales(k->scale + (size_t)(group / 32) * step + p);
            scale[1] = scales(k->scale + (size_t)(group / 32) * step + p + 8);
        }
        for (int d = group; d < end; d++) {
            __m256 u[2];
#pragma GCC unroll 2
            for (int v = 0; v < 2; v++) {
                u[v] = numbers(type, k->v, (size_t)d * step + (size_t)(p + 8 * v));
                u[v] = type == MICRO_KV_I8 ? _mm256_mul_ps(u[v], scale[v]) : u[v];
            }
            if (ahead) {
                fetch(ahead, (size_t)d * step * bytes_of(type));
            }
#pragma GCC unroll 6
            for (int i = 0; i < n_q; i++) {
                __m256 w = _mm256_broadcast_ss(q + i * dim + d);
                acc[i][0] = _mm256_fmadd_ps(w, u[0], acc[i][0]);
                acc[i][1] = _mm256_fmadd_ps(w, u[1], acc[i][1]);
            }
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < n_q; i++) {
        _mm256_storeu_ps(s + i * s_step + p, acc[i][0]);
        _mm256_storeu_ps(s + i * s_step + p + 8, acc[i][1]);
    }
}

#define BLOCK(n)                                                                                   \
    case n: scores_block(type, n, q, dim, k, p, ahead, s, s_step); break

/* n_q <= 6 queries at all positions. */
INLINE void scores_rows(int type, const float *q, int n_q, int dim, const struct micro_rows *k,
                        int n_pos, const void *next, float *s, int s_step) {
    for (int p = 0; p < n_pos; p += 16) {
        const void *ahead = p == 0 ? next : NULL;
        switch (n_q) {
            BLOCK(1);
            BLOCK(2);
            BLOCK(3);
            BLOCK(4);
            BLOCK(5);
            BLOCK(6);
        }
    }
}

/* Of n queries as many as go together: six, but of the last seven or eight half, and four of an
 * int8 cache, which has scales in registers, too. */
INLINE int together(int type, int n) {
    return type == MICRO_KV_I8 && n > 4 ? 4 : n > 8 ? 6 : n > 6 ? 4 : n;
}

INLINE void scores(int type, const float *q, int n_q, int dim, const struct micro_rows *k,
                   int n_pos, float *s, int s_step) {
    for (int i = 0, n; i < n_q; i += n) {
        n = together(type, n_q - i);
        scores_rows(type, q + i * dim, n, dim, k, n_pos,
                    type != MICRO_KV_F32 && i == 0 ? k->ahead : NULL, s + i * s_step, s_step);
    }
}

/* ---- softmax --------------------------------------------------------------------------------- */

/* micro_exp2, eight at once. */
INLINE __m256 exp2x8(__m256 x) {
    __m256 low = _mm256_cmp_ps(x, _mm256_set1_ps(-125.0f), _CMP_LT_OQ);
    __m256 k = _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_sub_ps(x, k);
    __m256 p = _mm256_set1_ps(1.535336188e-4f);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.339887440e-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(9.618437357e-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(5.550332471e-2f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(2.402264791e-1f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(6.931472028e-1f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    __m256i e = _mm256_slli_epi32(_mm256_cvtps_epi32(k), 23);
    e = _mm256_add_epi32(_mm256_castps_si256(p), e);
    return _mm256_andnot_ps(low, _mm256_castsi256_ps(e));
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

static void softmax_avx2(float *s, int s_step, int n_q, int n_pos, const int *from, const int *to,
                         float *top, float *total, float *keep) {
    const __m256 none = _mm256_set1_ps(-INFINITY);
    for (int i = 0; i < n_q; i++, s += s_step, total += 16) {
        keep[i] = 1.0f;
        if (from[i] >= to[i]) {
            memset(s, 0, (size_t)n_pos * sizeof *s);
            continue;
        }
        __m256 m = none;
        for (int p = 0; p < n_pos; p += 8) {
            __m256 v = _mm256_blendv_ps(none, _mm256_loadu_ps(s + p), inside(p, from[i], to[i]));
            m = _mm256_max_ps(v, m);
        }
        float most = max8(m);
        if (most > top[i]) {
            keep[i] = micro_exp2(top[i] - most);
            top[i] = most;
        }
        __m256 kept = _mm256_set1_ps(keep[i]), t = _mm256_set1_ps(top[i]);
        __m256 sum[2] = {_mm256_mul_ps(_mm256_loadu_ps(total), kept),
                         _mm256_mul_ps(_mm256_loadu_ps(total + 8), kept)};
        for (int p = 0; p < n_pos; p += 16) {
#pragma GCC unroll 2
            for (int h = 0; h < 2; h++) {
                float *at = s + p + 8 * h;
                __m256 e = exp2x8(_mm256_sub_ps(_mm256_loadu_ps(at), t));
                e = _mm256_and_ps(e, inside(p + 8 * h, from[i], to[i]));
                _mm256_storeu_ps(at, e);
                sum[h] = _mm256_add_ps(sum[h], e);
            }
        }
        _mm256_storeu_ps(total, sum[0]);
        _mm256_storeu_ps(total + 8, sum[1]);
    }
}

/* ---- values ---------------------------------------------------------------------------------- */

/* n_q <= 6 rows of y, 16 columns from c on. */
INLINE void mix_block(int type, int n_q, float *y, int dim, int c, const float *keep,
                      const float *s, int s_step, const struct micro_rows *r, int n_pos,
                      const void *ahead) {
    __m256 acc[6][2];
    const int groups = (dim + 31) / 32;
#pragma GCC unroll 6
    for (int i = 0; i < n_q; i++) {
        __m256 k = _mm256_set1_ps(keep ? keep[i] : 1.0f);
        acc[i][0] = _mm256_mul_ps(_mm256_loadu_ps(y + i * dim + c), k);
        acc[i][1] = _mm256_mul_ps(_mm256_loadu_ps(y + i * dim + c + 8), k);
    }
    for (int p = 0; p < n_pos; p++) {
        size_t at = (size_t)p * (size_t)r->step + (size_t)c;
        __m256 u[2] = {numbers(type, r->v, at), numbers(type, r->v, at + 8)};
        if (type == MICRO_KV_I8) {
            __m256 scale = _mm256_set1_ps(f32_from_bf16(r->scale[p * groups + c / 32]));
            u[0] = _mm256_mul_ps(u[0], scale);
            u[1] = _mm256_mul_ps(u[1], scale);
        }
        if (ahead) {
            fetch(ahead, at * bytes_of(type));
        }
#pragma GCC unroll 6
        for (int i = 0; i < n_q; i++) {
            __m256 w = _mm256_broadcast_ss(s + i * s_step + p);
            acc[i][0] = _mm256_fmadd_ps(w, u[0], acc[i][0]);
            acc[i][1] = _mm256_fmadd_ps(w, u[1], acc[i][1]);
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < n_q; i++) {
        _mm256_storeu_ps(y + i * dim + c, acc[i][0]);
        _mm256_storeu_ps(y + i * dim + c + 8, acc[i][1]);
    }
}

/* n_q <= 6 rows of y, all columns. */
INLINE void mix_rows(int type, int n_q, float *y, int dim, const float *keep, const float *s,
                     int s_step, const struct micro_rows *v, int n_pos, const void *ahead) {
    for (int c = 0; c < dim; c += 16) {
        bool line = c % 32 == 0; /* fetched in lines of 64 bytes, or half of one */
        mix_block(type, n_q, y, dim, c, keep, s, s_step, v, n_pos, line ? ahead : NULL);
    }
}

#define ROWS(n)                                                                                    \
    case n:                                                                                        \
        mix_rows(type, n, y + i * dim, dim, keep ? keep + i : NULL, s + i * s_step, s_step, v,     \
                 n_pos, ahead);                                                                    \
        break

INLINE void mix(int type, float *y, int n_q, int dim, const float *keep, const float *s, int s_step,
                const struct micro_rows *v, int n_pos) {
    for (int i = 0, n; i < n_q; i += n) {
        const void *ahead = type != MICRO_KV_F32 && i == 0 ? v->ahead : NULL;
        n = together(type, n_q - i);
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

/* ---- widening -------------------------------------------------------------------------------- */

INLINE void keys(int type, const struct micro_rows *k, int dim, int n_pos, float *to, int to_step) {
    for (int p = 0; p < n_pos; p += 8) {
        __m256 scale = _mm256_set1_ps(1.0f);
        for (int d = 0; d < dim; d++) {
            if (type == MICRO_KV_I8 && d % 32 == 0) {
                scale = scales(k->scale + d / 32 * k->step + p);
            }
            __m256 u = numbers(type, k->v, (size_t)d * (size_t)k->step + (size_t)p);
            u = type == MICRO_KV_I8 ? _mm256_mul_ps(u, scale) : u;
            _mm256_storeu_ps(to + (size_t)d * (size_t)to_step + p, u);
        }
    }
}

INLINE void values(int type, const struct micro_rows *v, int dim, int n_pos, float *to) {
    const int groups = (dim + 31) / 32;
    for (int p = 0; p < n_pos; p++, to += dim) {
        for (int c = 0; c < dim; c += 8) {
            __m256 u = numbers(type, v->v, (size_t)p * (size_t)v->step + (size_t)c);
            if (type == MICRO_KV_I8) {
                float scale = f32_from_bf16(v->scale[p * groups + c / 32]);
                u = _mm256_mul_ps(u, _mm256_set1_ps(scale));
            }
            _mm256_storeu_ps(to + c, u);
        }
    }
}

#include "kern/cpu/micro_att_entries.h"

void micro_att_init_avx2(struct micro *m) {
    att_entries(m->att);
    m->softmax = softmax_avx2;
}
