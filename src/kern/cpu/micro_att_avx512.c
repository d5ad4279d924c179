/* micro_att_avx512.c: attention for processors with AVX-512.
 *
 * Owns instructions, not arithmetic: see micro_att_c.c. Sixteen positions, or sixteen dimensions of
 * a value, lie in a register; queries pass as broadcasts, and all sums of a block of queries stay
 * in registers while a tile or page goes by. Numbers of the cache are widened on their way in. Only
 * static functions and micro_att_init_avx512.
 */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kern/cpu/micro.h"

#define INLINE static inline __attribute__((always_inline))

INLINE size_t bytes_of(int type) {
    return type == MICRO_KV_F32 ? 4 : type == MICRO_KV_F16 ? 2 : 1;
}

/* Sixteen numbers from place `at` on, without their scale. */
INLINE __m512 numbers(int type, const void *v, size_t at) {
    const char *p = (const char *)v + at * bytes_of(type);
    if (type == MICRO_KV_F32) {
        return _mm512_loadu_ps(p);
    }
    if (type == MICRO_KV_F16) {
        return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
    }
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}

/* Sixteen scales. */
INLINE __m512 scales(const bf16_t *s) {
    __m512i u = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)s));
    return _mm512_castsi512_ps(_mm512_slli_epi32(u, 16));
}

/* Into the second cache: as many are under way there as memory needs, twice what the first's misses
 * allow, and from there the processor's own fetching of lines in sequence keeps up. */
INLINE void fetch(const void *p, size_t at) {
    _mm_prefetch((const char *)p + at, _MM_HINT_T1);
}

/* ---- scores ---------------------------------------------------------------------------------- */

/* n_q queries at 16 * n_v positions. `ahead` NULL: nothing is fetched. */
INLINE void scores_block(int type, int n_q, int n_v, const float *q, int dim,
                         const struct micro_rows *k, int p, const void *ahead, float *s,
                         int s_step) {
    __m512 acc[8][4], scale[4];
    const size_t step = (size_t)k->step;
#pragma GCC unroll 8
    for (int i = 0; i < n_q; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < n_v; v++) {
            acc[i][v] = _mm512_setzero_ps();
        }
    }
    for (int group = 0; group < dim; group += 32) {
        int end = group + 32 < dim ? group + 32 : dim;
        if (type == MICRO_KV_I8) {
#pragma GCC unroll 4
            for (int v = 0; v < n_v; v++) {
                scale[v] = scales(k->scale + (size_t)(group / 32) * step + p + 16 * v);
            }
        }
        for (int d = group; d < end; d++) {
            __m512 u[4];
#pragma GCC unroll 4
            for (int v = 0; v < n_v; v++) {
                u[v] = numbers(type, k->v, (size_t)d * step + (size_t)(p + 16 * v));
                u[v] = type == MICRO_KV_I8 ? _mm512_mul_ps(u[v], scale[v]) : u[v];
            }
            if (ahead) {
                fetch(ahead, (size_t)d * step * bytes_of(type));
            }
#pragma GCC unroll 8
            for (int i = 0; i < n_q; i++) {
                __m512 w = _mm512_set1_ps(q[i * dim + d]);
#pragma GCC unroll 4
                for (int v = 0; v < n_v; v++) {
                    acc[i][v] = _mm512_fmadd_ps(w, u[v], acc[i][v]);
                }
            }
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < n_q; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < n_v; v++) {
            _mm512_storeu_ps(s + i * s_step + p + 16 * v, acc[i][v]);
        }
    }
}

#define BLOCK(n, n_v)                                                                              \
    case n: scores_block(type, n, n_v, q, dim, k, p, ahead, s, s_step); break

/* n_q <= 8 queries at 32 positions; 1 at a time at 16. */
INLINE void scores_few(int type, const float *q, int n_q, int dim, const struct micro_rows *k,
                       int p, int n_pos, float *s, int s_step) {
    const void *ahead = type != MICRO_KV_F32 && p == 0 ? k->ahead : NULL;
    if (n_pos == 16) {
        for (int i = 0; i < n_q; i++) {
            scores_block(type, 1, 1, q + i * dim, dim, k, p, ahead, s + i * s_step, s_step);
        }
        return;
    }
    switch (n_q) {
        BLOCK(1, 2);
        BLOCK(2, 2);
        BLOCK(3, 2);
        BLOCK(4, 2);
        BLOCK(5, 2);
        BLOCK(6, 2);
        BLOCK(7, 2);
        BLOCK(8, 2);
    }
}

/* n_q <= 6 queries at 64 positions of a tile. */
INLINE void scores_tile(const float *q, int n_q, int dim, const struct micro_rows *k, int p,
                        float *s, int s_step) {
    const int type = MICRO_KV_F32;
    const void *ahead = NULL;
    switch (n_q) {
        BLOCK(1, 4);
        BLOCK(2, 4);
        BLOCK(3, 4);
        BLOCK(4, 4);
        BLOCK(5, 4);
        BLOCK(6, 4);
    }
}

INLINE void scores(int type, const float *q, int n_q, int dim, const struct micro_rows *k,
                   int n_pos, float *s, int s_step) {
    int p = 0;
    for (; type == MICRO_KV_F32 && p + 64 <= n_pos; p += 64) {
        for (int i = 0; i < n_q; i += 6) {
            int n = n_q - i < 6 ? n_q - i : 6;
            scores_tile(q + i * dim, n, dim, k, p, s + i * s_step, s_step);
        }
    }
    for (; p < n_pos; p += 32) {
        int width = n_pos - p < 32 ? 16 : 32;
        for (int i = 0; i < n_q; i += 8) {
            int n = n_q - i < 8 ? n_q - i : 8;
            scores_few(type, q + i * dim, n, dim, k, p, width, s + i * s_step, s_step);
        }
    }
}

/* ---- softmax --------------------------------------------------------------------------------- */

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

static void softmax_avx512(float *s, int s_step, int n_q, int n_pos, const int *from, const int *to,
                           float *top, float *total, float *keep) {
    for (int i = 0; i < n_q; i++, s += s_step, total += 16) {
        keep[i] = 1.0f;
        if (from[i] >= to[i]) {
            memset(s, 0, (size_t)n_pos * sizeof *s);
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
        __m512 sum = _mm512_mul_ps(_mm512_loadu_ps(total), _mm512_set1_ps(keep[i]));
        __m512 t = _mm512_set1_ps(top[i]);
        for (int p = 0; p < n_pos; p += 16) {
            __m512 e = exp2x16(_mm512_sub_ps(_mm512_loadu_ps(s + p), t));
            e = _mm512_maskz_mov_ps(inside(p, from[i], to[i]), e);
            _mm512_storeu_ps(s + p, e);
            sum = _mm512_add_ps(sum, e);
        }
        _mm512_storeu_ps(total, sum);
    }
}

/* ---- values ---------------------------------------------------------------------------------- */

/* n_q rows of y, 16 * n_v columns from c on. */
INLINE void mix_block(int type, int n_q, int n_v, float *y, int dim, int c, const float *keep,
                      const float *s, int s_step, const struct micro_rows *r, int n_pos,
                      const void *ahead) {
    __m512 acc[6][4];
    const int groups = (dim + 31) / 32;
#pragma GCC unroll 6
    for (int i = 0; i < n_q; i++) {
        __m512 k = _mm512_set1_ps(keep ? keep[i] : 1.0f);
#pragma GCC unroll 4
        for (int v = 0; v < n_v; v++) {
            acc[i][v] = _mm512_mul_ps(_mm512_loadu_ps(y + i * dim + c + 16 * v), k);
        }
    }
    for (int p = 0; p < n_pos; p++) {
        size_t at = (size_t)p * (size_t)r->step + (size_t)c;
        __m512 u[4];
#pragma GCC unroll 4
        for (int v = 0; v < n_v; v++) {
            u[v] = numbers(type, r->v, at + (size_t)(16 * v));
            if (type == MICRO_KV_I8) {
                float scale = f32_from_bf16(r->scale[p * groups + (c + 16 * v) / 32]);
                u[v] = _mm512_mul_ps(u[v], _mm512_set1_ps(scale));
            }
        }
        if (ahead) {
#pragma GCC unroll 2
            for (size_t b = 0; b < (size_t)(16 * n_v) * bytes_of(type); b += 64) {
                fetch(ahead, at * bytes_of(type) + b);
            }
        }
#pragma GCC unroll 6
        for (int i = 0; i < n_q; i++) {
            __m512 w = _mm512_set1_ps(s[i * s_step + p]);
#pragma GCC unroll 4
            for (int v = 0; v < n_v; v++) {
                acc[i][v] = _mm512_fmadd_ps(w, u[v], acc[i][v]);
            }
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < n_q; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < n_v; v++) {
            _mm512_storeu_ps(y + i * dim + c + 16 * v, acc[i][v]);
        }
    }
}

/* n_q <= 6 rows of y, all columns. */
INLINE void mix_rows(int type, int n_q, float *y, int dim, const float *keep, const float *s,
                     int s_step, const struct micro_rows *v, int n_pos, const void *ahead) {
    int c = 0;
    for (; c + 64 <= dim; c += 64) {
        mix_block(type, n_q, 4, y, dim, c, keep, s, s_step, v, n_pos, ahead);
    }
    for (; c < dim; c += 16) {
        mix_block(type, n_q, 1, y, dim, c, keep, s, s_step, v, n_pos, ahead);
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
        int left = n_q - i;
        const void *ahead = type != MICRO_KV_F32 && i == 0 ? v->ahead : NULL;
        n = left > 8 ? 6 : left > 6 ? 4 : left; /* 7 and 8 in halves */
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
    for (int p = 0; p < n_pos; p += 16) {
        __m512 scale = _mm512_set1_ps(1.0f);
        for (int d = 0; d < dim; d++) {
            if (type == MICRO_KV_I8 && d % 32 == 0) {
                scale = scales(k->scale + d / 32 * k->step + p);
            }
            __m512 u = numbers(type, k->v, (size_t)d * (size_t)k->step + (size_t)p);
            u = type == MICRO_KV_I8 ? _mm512_mul_ps(u, scale) : u;
            _mm512_storeu_ps(to + (size_t)d * (size_t)to_step + p, u);
        }
    }
}

INLINE void values(int type, const struct micro_rows *v, int dim, int n_pos, float *to) {
    const int groups = (dim + 31) / 32;
    for (int p = 0; p < n_pos; p++, to += dim) {
        for (int c = 0; c < dim; c += 16) {
            __m512 u = numbers(type, v->v, (size_t)p * (size_t)v->step + (size_t)c);
            if (type == MICRO_KV_I8) {
                float scale = f32_from_bf16(v->scale[p * groups + c / 32]);
                u = _mm512_mul_ps(u, _mm512_set1_ps(scale));
            }
            _mm512_storeu_ps(to + c, u);
        }
    }
}

#include "kern/cpu/micro_att_entries.h"

void micro_att_init_avx512(struct micro *m) {
    att_entries(m->att);
    m->softmax = softmax_avx512;
}
