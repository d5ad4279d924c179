/* micro_avx2.c: the micro-kernels for processors with AVX2, FMA and F16C.
 *
 * Owns instructions, not arithmetic: micro.h and micro_c.c define every result to the bit, and
 * kern_check compares. Refuses to be called where the processor lacks any of the three. Float
 * weights and rows of floats are in micro_rows_avx2.c. Only static functions and micro_init_avx2;
 * the files *_avx2.c alone are compiled with -mavx2 -mfma -mf16c.
 *
 * Every kernel is one inline function over the type as a constant: micro_bits_avx2.h has what a
 * format's bits mean.
 */
#include <math.h>

#include "kern/cpu/micro_panel_avx2.h"

/* ---- activations -------------------------------------------------------------------------- */

#define QUAD_COLS (4 * MICRO_BLOCK)

INLINE uint32_t max_bits(__m256i v) {
    __m128i m = _mm_max_epu32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(m);
}

/* Lane i: the largest of v[i], pairs being joined until one is left; v is spent. */
INLINE __m256 max8x8(__m256 v[8]) {
    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_max_ps(_mm256_unpacklo_ps(v[2 * i], v[2 * i + 1]),
                             _mm256_unpackhi_ps(v[2 * i], v[2 * i + 1]));
    }
    for (int i = 0; i < 2; i++) {
        __m256d a = _mm256_castps_pd(v[2 * i]), b = _mm256_castps_pd(v[2 * i + 1]);
        v[i] = _mm256_max_ps(_mm256_castpd_ps(_mm256_unpacklo_pd(a, b)),
                             _mm256_castpd_ps(_mm256_unpackhi_pd(a, b)));
    }
    return _mm256_max_ps(_mm256_permute2f128_ps(v[0], v[1], 0x20),
                         _mm256_permute2f128_ps(v[0], v[1], 0x31));
}

/* Lane i: max(|x[i]|, |x[i + 8]|). */
INLINE __m256 absmax16(const float *x) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return _mm256_max_ps(_mm256_andnot_ps(sign, _mm256_loadu_ps(x)),
                         _mm256_andnot_ps(sign, _mm256_loadu_ps(x + 8)));
}

/* 16 activations as int16, as VPACKSSDW leaves them: x[0..3], x[8..11] | x[4..7], x[12..15]. */
INLINE __m256i round16(const float *x, __m256 inv) {
    return _mm256_packs_epi32(_mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), inv)),
                              _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8), inv)));
}

/* Stores mul and sum, [half][block], of quad k of a group, and what follows from them. */
INLINE void put_quad(__m256i mul, __m256i sum, int k, struct act_group *g) {
    __m256i prod = _mm256_mullo_epi32(mul, sum);
    __m128i both = _mm_add_epi32(_mm256_castsi256_si128(prod), _mm256_extracti128_si256(prod, 1));
    store256(g->pair + 8 * k, _mm256_or_si256(mul, _mm256_slli_epi32(mul, 16)));
    store256(g->sum + 8 * k, sum);
    store256(g->prod + 8 * k, prod);
    _mm_storeu_ps(g->s + 4 * k, _mm_cvtepi32_ps(both));
}

/* The 128 activations at x as quad k of a group, as micro_c.c's quantize_block has each block;
 * top > 0 and d are the row's. No clamp to +-127, which is the definition's alone: |x| is mul * 127
 * * d at most but for six roundings, so a product is below 127.0001 and rounds to 127. */
INLINE void quantize_quad(const float *x, int k, float top, float d, struct act_group *g) {
    const __m256i bytes = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7), one8 = _mm256_set1_epi8(1);
    __m256 v[8];
    __m256i sum[4];
    float inv[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        v[i] = absmax16(x + MICRO_BLOCK * (i % 4) + 16 * (i / 4));
    }
    __m256 mul = _mm256_ceil_ps(_mm256_mul_ps(max8x8(v), _mm256_set1_ps(MICRO_MUL / top)));
    mul = _mm256_max_ps(_mm256_min_ps(mul, _mm256_set1_ps(MICRO_MUL)), _mm256_set1_ps(1));
    _mm256_storeu_ps(inv, _mm256_div_ps(_mm256_set1_ps(1), _mm256_mul_ps(mul, _mm256_set1_ps(d))));
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++, x += MICRO_BLOCK) {
        __m256i q = _mm256_packs_epi16(round16(x, _mm256_set1_ps(inv[i])),
                                       round16(x + 16, _mm256_set1_ps(inv[4 + i])));
        q = _mm256_permutevar8x32_epi32(q, bytes);
        store256(g->q + MICRO_BLOCK * (4 * k + i), q);
        sum[i] = _mm256_maddubs_epi16(one8, q);
    }
    sum[0] =
        _mm256_hadd_epi16(_mm256_hadd_epi16(sum[0], sum[1]), _mm256_hadd_epi16(sum[2], sum[3]));
    put_quad(_mm256_cvtps_epi32(mul), _mm256_madd_epi16(sum[0], _mm256_set1_epi16(1)), k, g);
}

/* The same of the first `left` of 128, zeros behind them; left may be negative, top 0. */
INLINE void quantize_rest(const float *x, int left, int k, float top, float d,
                          struct act_group *g) {
    const __m256i place = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    float part[QUAD_COLS];
    if (left <= 0 || top == 0) {
        for (int i = 0; i < 4; i++) {
            store256(g->q + MICRO_BLOCK * (4 * k + i), _mm256_setzero_si256());
        }
        put_quad(_mm256_set1_epi32(1), _mm256_setzero_si256(), k, g);
        return;
    }
    for (int i = 0; i < QUAD_COLS; i += 8) {
        __m256i there = _mm256_cmpgt_epi32(_mm256_set1_epi32(left - i), place);
        _mm256_storeu_ps(part + i, _mm256_maskload_ps(x + i, there));
    }
    quantize_quad(part, k, top, d, g);
}

/* Meanwhile fetches what follows the row, which mostly is the next one. */
static void quantize_avx2(const float *x, int64_t n, struct act_group *out) {
    const __m256i mask = _mm256_set1_epi32(0x7fffffff);
    __m256i most = _mm256_setzero_si256();
    int64_t i = 0;
#pragma GCC unroll 4 /* a loop's own instructions were half of it */
    for (; i + 8 <= n; i += 8) {
        most = _mm256_max_epu32(most, _mm256_and_si256(load256(x + i), mask));
    }
    uint32_t bits = max_bits(most);
    for (; i < n; i++) {
        uint32_t a = f32_bits(x[i]) & 0x7fffffffu;
        bits = a > bits ? a : bits;
    }
    bool finite = bits < 0x7f800000u;
    float top = finite && f32_from_bits(bits) >= 1e-30f ? f32_from_bits(bits) : 0;
    float d = top / (127.0f * MICRO_MUL);
    for (int64_t at = 0; at < micro_groups(n) * 256; at += QUAD_COLS) {
        const int k = (int)(at / QUAD_COLS % 2);
        struct act_group *g = out + at / 256;
        int left = n - at < QUAD_COLS ? (int)(n - at) : QUAD_COLS;
        for (int j = 0; j < left; j += 16) {
            _mm_prefetch((const char *)(x + n + at + j), _MM_HINT_T1);
        }
        g->d = finite ? d : NAN;
        if (left == QUAD_COLS && top > 0) {
            quantize_quad(x + at, k, top, d, g);
        } else {
            quantize_rest(x + at, left, k, top, d, g);
        }
    }
}

/* ---- matrix times vector, signed bytes --------------------------------------------------------
 *
 * Each row by itself. The unsigned formats are in micro_four_avx2.c. */

/* Sums of the products of two columns. */
INLINE __m256i block_dot(int type, const uint8_t *g, const int8_t *q, int j) {
    __m256i w = block_bytes(type, g, j), x = load256(q + j * MICRO_BLOCK);
    return _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
}

/* Sums of the halves of the first n of quad k's four blocks, int32 in the order of micro_half.
 * Zeros where there is no block. */
INLINE __m256i quad_dots(int type, const uint8_t *g, const struct act_group *x, int k, int n) {
    const __m256i one = _mm256_set1_epi16(1);
    __m256i v[4];
    for (int i = 0; i < 4; i++) {
        v[i] = i < n ? block_dot(type, g, x->q, 4 * k + i) : _mm256_setzero_si256();
        v[i] = _mm256_madd_epi16(v[i], one);
    }
    return _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
}

/* [half 0 of 4 | half 1 of 4] twice, to [half h of 8]. */
INLINE __m256i halves(__m256i a, __m256i b, int h) {
    return h ? _mm256_blend_epi32(_mm256_castsi128_si256(_mm256_extracti128_si256(a, 1)), b, 0xf0)
             : _mm256_inserti128_si256(a, _mm256_castsi256_si128(b), 1);
}

/* Adds quad_dots of two quads, with their scales, to the eight lanes. */
INLINE __m256 quads_add(const __m256i dot[2], __m256 d, const struct act_group *x, __m256 acc) {
    __m256 f[2], m[2];
    for (int h = 0; h < 2; h++) {
        f[h] = _mm256_cvtepi32_ps(halves(dot[0], dot[1], h));
        m[h] = _mm256_cvtepi32_ps(_mm256_srli_epi32(half_of(x->pair, h), 16));
    }
    return _mm256_fmadd_ps(_mm256_fmadd_ps(f[1], m[1], _mm256_mul_ps(f[0], m[0])), d, acc);
}

#define QUAD(n)                                                                                    \
    case n:                                                                                        \
        dot[k] = quad_dots(type, g, x, k, n);                                                      \
        d[k] = quad_halves(type, g + 4 * k * fmt_bytes(type), n);                                  \
        break

/* The last `left` < 8 blocks of 32 of a row: nothing behind them is read. */
INLINE __m256 tail_add(int type, const uint8_t *g, int left, const struct act_group *x,
                       __m256 acc) {
    __m256i dot[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    __m128i d[2] = {_mm_setzero_si128(), _mm_setzero_si128()};
    for (int k = 0; 4 * k < left; k++) {
        switch (left - 4 * k < 4 ? left - 4 * k : 4) { /* numbers known to the compiler */
            QUAD(1);
            QUAD(2);
            QUAD(3);
            QUAD(4);
        }
    }
    return quads_add(dot, small_scales(type, d[0], d[1]).d[0], x, acc);
}

/* Adds the products of one group, of which `left` blocks are there, to the eight lanes. */
INLINE __m256 group_add(int type, const uint8_t *g, int left, const struct act_group *x,
                        __m256 acc) {
    if (left < MICRO_GROUP) {
        return tail_add(type, g, left, x, acc);
    }
    __m256i dot[2] = {quad_dots(type, g, x, 0, 4), quad_dots(type, g, x, 1, 4)};
    return quads_add(dot, group_scales(type, g).d[0], x, acc);
}

#include "kern/cpu/micro_gemv_rows.h"

/* ---- panels and tiles, quantized
 * ------------------------------------------------------------------
 *
 * A panel has 16 rows. In a narrow format it holds for each block: the bytes as [8][row][4], where
 * the four are columns 2g, 2g + 1 of half 0 and of half 1; d [row]; minimums [row]. In a split one:
 * the bytes as [8][row][4], the columns in order; d [half][row]; minimums [half][row]. A tile holds
 * for each block: activations as [8][token][4] in the same order; multipliers as int16 [token][2],
 * of both halves (narrow) or of each half twice, [half][token][2] (split); what centers each chain
 * of sums, int16 [chain][token][2]; what is added to the product of a narrow block whose values are
 * not the bytes less the center, int32 [token]; then s for each minimum.
 *
 * A 16-bit lane thus sums the products of one row and one half, 16 (narrow) or 8 columns (split),
 * and one multiply-add with the multiplier ends the chain. Only the last sum has to fit: additions
 * wrap, so it does not matter what came between. 16 * 15 * 127 fits; 16 * (-16..15) * 127 and 8 *
 * (-32..31) * 127 do, which is why 5 and 6 bits are centered. The two products that VPMADDUBSW adds
 * by itself, where it would saturate, are 2 * 63 * 127 at most.
 *
 * Signed bytes go through int16: a panel holds the weights as [16][row][2], the two being columns
 * 4i and 4i + 2, then 4i + 1 and 4i + 3, and d [row]; a tile activations as [16][token][2] in the
 * same order and multipliers as floats [half][token].
 *
 * A tile begins with d [token] of the rows of activations, in a line of its own.
 */

#define ROWS_AVX2 16
#define TOKS_AVX2 6
#define TILE_HEAD 64 /* bytes before the first block of a tile */

/* Chains of sums in 16 bits in a block: one a half where it has its own scale. */
INLINE int fmt_chains(int type) {
    return fmt_split(type) ? 2 : 1;
}

INLINE int fmt_center(int type) { /* taken off each byte within the chain */
    return fmt_bits(type) == 5 ? 16 : fmt_offset(type);
}

INLINE int fmt_rest(int type) { /* and what is taken off behind it */
    return fmt_offset(type) - fmt_center(type);
}

/* Places in a tile's block, unsigned formats. */
INLINE int at_center(int type) {
    return 8 + fmt_scales(type);
}

INLINE int at_rest(int type) {
    return at_center(type) + (fmt_center(type) != 0 ? fmt_chains(type) : 0);
}

INLINE int at_min(int type) {
    return at_rest(type) + (fmt_rest(type) != 0 ? 1 : 0);
}

INLINE int tile_block(int type) {
    return 4 * TOKS_AVX2 * (fmt_signed(type) ? 16 + 2 : at_min(type) + fmt_mins(type));
}

/* n_block blocks of 16 rows from `first` on, where a group begins, to a panel of them. */
INLINE void unpack_blocks(int type, const uint8_t *const *row, int64_t first, int64_t n_block,
                          uint8_t *to) {
    const int step = fmt_group_bytes(type);
    for (int64_t b = first; b < first + n_block; b += 8, to += 8 * panel_block(type)) {
        int n = first + n_block - b < 8 ? (int)(first + n_block - b) : 8;
        for (int half = 0; half < 2; half++) {
            const uint8_t *g[8];
            group_rows(type, row + half * 8, 8, b / 8 * step, g);
            unpack_group(type, g, n, to + half * 32);
        }
    }
}

/* One block of one token into its column of a tile: to[i * TOKS_AVX2]. */
INLINE void column_signed(const struct act_group *x, int j, int32_t *to) {
    __m256i q = load256(x->q + j * MICRO_BLOCK);
    int32_t even[8], odd[8];
    store256(even, _mm256_srai_epi16(_mm256_slli_epi16(q, 8), 8));
    store256(odd, _mm256_srai_epi16(q, 8));
    for (int i = 0; i < 8; i++) {
        to[2 * i * TOKS_AVX2] = even[i];
        to[(2 * i + 1) * TOKS_AVX2] = odd[i];
    }
    for (int h = 0; h < 2; h++) {
        float mul = (float)micro_mul(x, j, h);
        memcpy(&to[(16 + h) * TOKS_AVX2], &mul, sizeof mul);
    }
}

INLINE int32_t pair16(int low, int high) {
    return (int32_t)((uint32_t)(low & 0xffff) | (uint32_t)high << 16);
}

/* -center times the sum of the activations whose products share a lane: in a split format columns
 * 4k + 2i, 4k + 2i + 1 of the half are lane i, in a narrow one all of half i are. */
INLINE void column_center(int type, __m256i q, int32_t *to) {
    int16_t pair[16]; /* sums of columns 2g, 2g + 1 */
    store256(pair, _mm256_maddubs_epi16(_mm256_set1_epi8(1), q));
    for (int a = 0; a < fmt_chains(type); a++) {
        int sum[2] = {0, 0};
        for (int k = 0; k < 8; k++) {
            sum[fmt_split(type) ? k % 2 : 0] += pair[8 * a + k];
            sum[1] += fmt_split(type) ? 0 : pair[8 + k];
        }
        to[a * TOKS_AVX2] = pair16(-fmt_center(type) * sum[0], -fmt_center(type) * sum[1]);
    }
}

INLINE void column_unsigned(int type, const struct act_group *x, int j, int32_t *to) {
    __m256i q = load256(x->q + j * MICRO_BLOCK);
    __m128i low = _mm256_castsi256_si128(q), high = _mm256_extracti128_si256(q, 1);
    int32_t v[8];
    int mul[2], sum[2];
    if (fmt_split(type)) {
        store256(v, q);
    } else {
        _mm_storeu_si128((__m128i *)v, _mm_unpacklo_epi16(low, high));
        _mm_storeu_si128((__m128i *)(v + 4), _mm_unpackhi_epi16(low, high));
    }
    for (int i = 0; i < 8; i++) {
        to[i * TOKS_AVX2] = v[i];
    }
    for (int h = 0; h < 2; h++) {
        mul[h] = micro_mul(x, j, h);
        sum[h] = x->prod[micro_half(j, h)];
        if (fmt_split(type)) {
            to[(8 + h) * TOKS_AVX2] = pair16(mul[h], mul[h]);
        }
        if (fmt_mins(type) == 2) {
            float s = (float)sum[h];
            memcpy(&to[(at_min(type) + h) * TOKS_AVX2], &s, sizeof s);
        }
    }
    if (!fmt_split(type)) {
        to[8 * TOKS_AVX2] = pair16(mul[0], mul[1]);
    }
    if (fmt_center(type) != 0) {
        column_center(type, q, to + at_center(type) * TOKS_AVX2);
    }
    if (fmt_rest(type) != 0) {
        to[at_rest(type) * TOKS_AVX2] = -fmt_rest(type) * (sum[0] + sum[1]);
    }
    if (fmt_mins(type) == 1) {
        memcpy(&to[at_min(type) * TOKS_AVX2], &x->s[j], sizeof x->s[j]);
    }
}

INLINE void pack_q(int type, const void *const *x, int n_tok, int64_t n_col, uint8_t *tile) {
    static const struct act_group zero; /* tokens that the tile does not have */
    for (int t = 0; t < TOKS_AVX2; t++) {
        ((float *)(void *)tile)[t] = t < n_tok ? ((const struct act_group *)x[t])->d : 0;
    }
    tile += TILE_HEAD;
    for (int64_t b = 0; b < n_col / MICRO_BLOCK; b++, tile += tile_block(type)) {
        for (int t = 0; t < TOKS_AVX2; t++) {
            const struct act_group *g = t < n_tok ? (const struct act_group *)x[t] + b / 8 : &zero;
            int32_t *to = (int32_t *)(void *)tile + t;
            if (fmt_signed(type)) {
                column_signed(g, (int)(b % 8), to);
            } else {
                column_unsigned(type, g, (int)(b % 8), to);
            }
        }
    }
}

INLINE __m256i dword(const uint8_t *tile, int i, int t) {
    int32_t v;
    memcpy(&v, tile + 4 * (i * TOKS_AVX2 + t), sizeof v);
    return _mm256_set1_epi32(v);
}

INLINE __m256 dword_ps(const uint8_t *tile, int i, int t) {
    return _mm256_castsi256_ps(dword(tile, i, t));
}

INLINE __m256 load_lane(const uint8_t *w) {
    return _mm256_loadu_ps((const float *)(const void *)w);
}

/* Lane j of micro.h, the sums of blocks j, j + 8, ..., for a tile: [2 * token + half of the 16
 * rows][row]. */
typedef float lane_rows[2 * TOKS_AVX2][8];

/* Zeros, read in place of a lane before its first block, so that lanes are not cleared. */
static const lane_rows no_lanes __attribute__((aligned(32)));

INLINE void lane_fma(const lane_rows old, lane_rows lane, int i, __m256 sum, __m256 d) {
    _mm256_storeu_ps(lane[i], _mm256_fmadd_ps(sum, d, _mm256_loadu_ps(old[i])));
}

/* Integer products of one block: of a narrow format as floats in out[token][rows 0..7, 8..15]; of a
 * split one each chain is a half, and goes to the lanes at once, old -> lane. */
INLINE void block_unsigned(int type, int n_tok, const uint8_t *w, const uint8_t *x, __m256 out[][2],
                           const lane_rows old, lane_rows lane) {
    const int each = 8 / fmt_chains(type);
#pragma GCC unroll 2
    for (int a = 0; a < fmt_chains(type); a++) {
        __m256i acc[TOKS_AVX2][2];
#pragma GCC unroll 8
        for (int g = a * each; g < (a + 1) * each; g++) {
            __m256i w0 = load256(w + g * 64), w1 = load256(w + g * 64 + 32);
#pragma GCC unroll 6
            for (int t = 0; t < n_tok; t++) {
                __m256i q = dword(x, g, t);
                __m256i p0 = _mm256_maddubs_epi16(w0, q), p1 = _mm256_maddubs_epi16(w1, q);
                bool first = g == a * each;
                if (first && fmt_center(type) != 0) {
                    acc[t][0] = acc[t][1] = dword(x, at_center(type) + a, t);
                    first = false;
                }
                acc[t][0] = first ? p0 : _mm256_add_epi16(acc[t][0], p0);
                acc[t][1] = first ? p1 : _mm256_add_epi16(acc[t][1], p1);
                KEEP(acc[t][0]);
                KEEP(acc[t][1]);
            }
        }
#pragma GCC unroll 6
        for (int t = 0; t < n_tok; t++) {
            __m256i mul = dword(x, 8 + a, t);
            for (int i = 0; i < 2; i++) {
                __m256i p = _mm256_madd_epi16(acc[t][i], mul);
                if (fmt_split(type)) {
                    lane_fma(a == 0 ? old : lane, lane, 2 * t + i, _mm256_cvtepi32_ps(p),
                             load_lane(w + 512 + 64 * a + 32 * i));
                    continue;
                }
                if (fmt_rest(type) != 0) {
                    p = _mm256_add_epi32(p, dword(x, at_rest(type), t));
                }
                out[t][i] = _mm256_cvtepi32_ps(p);
            }
        }
    }
}

/* Of signed weights in int16: each half's sums, as floats times the multipliers, in t. */
INLINE void block_signed(int n_tok, const uint8_t *w, const uint8_t *x, __m256 t[][2]) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++) {
        __m256i sum[TOKS_AVX2][2];
#pragma GCC unroll 8
        for (int g = 8 * half; g < 8 * half + 8; g++) {
            __m256i w0 = load256(w + g * 64), w1 = load256(w + g * 64 + 32);
#pragma GCC unroll 6
            for (int i = 0; i < n_tok; i++) {
                __m256i q = dword(x, g, i);
                __m256i p0 = _mm256_madd_epi16(w0, q), p1 = _mm256_madd_epi16(w1, q);
                sum[i][0] = g % 8 == 0 ? p0 : _mm256_add_epi32(sum[i][0], p0);
                sum[i][1] = g % 8 == 0 ? p1 : _mm256_add_epi32(sum[i][1], p1);
                KEEP(sum[i][0]);
                KEEP(sum[i][1]);
            }
        }
#pragma GCC unroll 6
        for (int i = 0; i < n_tok; i++) {
            __m256 mul = dword_ps(x, 16 + half, i);
            for (int k = 0; k < 2; k++) {
                __m256 f = _mm256_cvtepi32_ps(sum[i][k]);
                t[i][k] = half == 0 ? _mm256_mul_ps(f, mul) : _mm256_fmadd_ps(f, mul, t[i][k]);
            }
        }
    }
}

/* Ends one block: old -> lane, plus sums and minimums. In a split format block_unsigned has stored
 * the sums in lane, and old is not read. */
INLINE void block_end(int type, int n_tok, const uint8_t *w, const uint8_t *x, __m256 sum[][2],
                      const lane_rows old, lane_rows lane) {
    const uint8_t *wd = w + panel_scales(type), *min = wd + 64 * fmt_scales(type);
#pragma GCC unroll 6
    for (int t = 0; t < n_tok; t++) {
        for (int i = 0; i < 2; i++) {
            __m256 acc = _mm256_loadu_ps((fmt_split(type) ? lane : old)[2 * t + i]);
            if (!fmt_split(type)) {
                acc = _mm256_fmadd_ps(sum[t][i], load_lane(wd + 32 * i), acc);
            }
            for (int m = 0; m < fmt_mins(type); m++) {
                acc = _mm256_fmadd_ps(load_lane(min + 64 * m + 32 * i),
                                      dword_ps(x, at_min(type) + m, t), acc);
            }
            _mm256_storeu_ps(lane[2 * t + i], acc);
        }
    }
}

/* Adds n_block blocks to the lanes. Where they are not `begun` they hold nothing yet, and the first
 * block of each lane adds to zeros; where they are, all eight have had a block. */
INLINE void tile_n(int type, int n_tok, const uint8_t *w, const uint8_t *x, int64_t n_block,
                   const struct micro_wanted *next, bool begun, lane_rows lane[8]) {
    int left = next != NULL ? next->n : 0;
    const int each = (left + (int)n_block - 1) / (int)n_block;
    for (int64_t b = 0; b < n_block; b++, w += panel_block(type), x += tile_block(type)) {
        __m256 sum[TOKS_AVX2][2];
        lane_rows *own = &lane[b % 8];
        const lane_rows *old = begun || b >= 8 ? (const lane_rows *)own : &no_lanes;
        for (int i = 0; i < each && left > 0; i++) {
            micro_fetch(next, --left);
        }
        if (fmt_signed(type)) {
            block_signed(n_tok, w, x, sum);
        } else {
            block_unsigned(type, n_tok, w, x, sum, *old, *own);
        }
        if (!fmt_split(type) || fmt_mins(type) > 0) {
            block_end(type, n_tok, w, x, sum, *old, *own);
        }
    }
}

/* Adds the products of n_block blocks to the lanes: of n_tok tokens, of a tile's if there are more.
 */
INLINE void tile_add(int type, const uint8_t *w, const uint8_t *x, int n_tok, int64_t n_block,
                     const struct micro_wanted *next, bool begun, lane_rows lane[8]) {
    if (n_tok <= 2) {
        tile_n(type, 2, w, x, n_block, next, begun, lane);
    } else if (n_tok <= 4) {
        tile_n(type, 4, w, x, n_block, next, begun, lane);
    } else {
        tile_n(type, 6, w, x, n_block, next, begun, lane);
    }
}

/* Parts of a format's functions that two of them have: under the sanitizers functions of their own,
 * or clang takes minutes for each of the two. */
#ifdef IGN_TORTURE
#define SHARED static __attribute__((noinline))
#else
#define SHARED INLINE
#endif
typedef void (*unpack_fn)(const uint8_t *const *row, int64_t first, int64_t n_block, uint8_t *to);
typedef void (*tile_add_fn)(const uint8_t *w, const uint8_t *x, int n_tok, int64_t n_block,
                            const struct micro_wanted *next, bool begun, lane_rows lane[8]);

/* y [n_tok][rows] of the lanes of n_block blocks; lanes that got no block count as zeros. */
INLINE void tile_put(const lane_rows lane[8], int64_t n_block, const uint8_t *tile, int n_tok,
                     float *y) {
    const lane_rows *from[8];
    for (int j = 0; j < 8; j++) {
        from[j] = j < n_block ? &lane[j] : &no_lanes;
    }
    for (int i = 0; i < 2 * n_tok; i++) {
        __m256 l[8];
        for (int j = 0; j < 8; j++) {
            l[j] = _mm256_load_ps((*from[j])[i]);
        }
        __m256 even = _mm256_add_ps(_mm256_add_ps(l[0], l[4]), _mm256_add_ps(l[2], l[6]));
        __m256 odd = _mm256_add_ps(_mm256_add_ps(l[1], l[5]), _mm256_add_ps(l[3], l[7]));
        __m256 d = dword_ps(tile, 0, i / 2);
        _mm256_storeu_ps(y + 8 * i, _mm256_mul_ps(d, _mm256_add_ps(even, odd)));
    }
}

INLINE void tile_q(tile_add_fn add, const void *panel, const void *tile, int n_tok, int64_t n_col,
                   const struct micro_wanted *next, float *y) {
    lane_rows lane[8] __attribute__((aligned(32)));
    const int64_t n_block = n_col / MICRO_BLOCK;
    add(panel, (const uint8_t *)tile + TILE_HEAD, n_tok, n_block, next, false, lane);
    tile_put(lane, n_block, tile, n_tok, y);
}

/* ---- small batches, quantized --------------------------------------------------------------
 *
 * A part of a panel's columns is unpacked into the first cache and multiplied by the one to three
 * tiles of the batch while it is there. The panel's rows come from four streams
 * (micro_bits_avx2.h), four neighbours each; meanwhile the streams' next rows are fetched in the
 * order of memory, a part of them with each part of the columns. */

#define PART_GROUPS 2
#define PART_BLOCKS (MICRO_GROUP * PART_GROUPS)
_Static_assert(PART_BLOCKS >= 8, "a first part begins every lane");
#define TILES_SMALL ((MICRO_SMALL + TOKS_AVX2 - 1) / TOKS_AVX2)

/* Part c of n of the `each` rows behind each stream's. */
INLINE void list_ahead(const uint8_t *const row[ROWS_AVX2], int each, size_t row_bytes, int c,
                       int n, struct micro_wanted *next) {
    const int64_t line = (int64_t)((size_t)each * row_bytes / 64) + 1;
    next->n = 0;
    for (int64_t i = line * (c + 1) / n - 1; i >= line * c / n && next->n < MICRO_WANTED; i--) {
        for (int k = 0; k < ROWS_AVX2; k += each) {
            next->line[next->n++] = row[k] + (size_t)each * row_bytes + 64 * i;
        }
    }
}

/* The products of 16 rows, v [tile][token][rows]. */
INLINE void panel_tiles(int type, unpack_fn unpack, tile_add_fn add,
                        const uint8_t *const row[ROWS_AVX2], int each, size_t row_bytes,
                        const void *const *tile, int n_tok, int64_t n_col, float *v) {
    const int n_block = (int)(n_col / MICRO_BLOCK);
    const int n_part = (n_block + PART_BLOCKS - 1) / PART_BLOCKS;
    uint8_t panel[PART_BLOCKS * (1024 + 64)] __attribute__((aligned(64)));
    lane_rows lane[TILES_SMALL][8] __attribute__((aligned(32)));
    for (int c = 0; c < n_part; c++) {
        const int at = c * PART_BLOCKS, n = n_block - at < PART_BLOCKS ? n_block - at : PART_BLOCKS;
        struct micro_wanted next;
        list_ahead(row, each, row_bytes, c, n_part, &next);
        unpack(row, at, n, panel);
        for (int t = 0; t < n_tok; t += TOKS_AVX2) {
            const uint8_t *x = (const uint8_t *)tile[t / TOKS_AVX2] + TILE_HEAD;
            add(panel, x + at * tile_block(type), n_tok - t, n, t == 0 ? &next : NULL, c > 0,
                lane[t / TOKS_AVX2]);
        }
    }
    for (int t = 0; t < n_tok; t += TOKS_AVX2) {
        const int n = n_tok - t < TOKS_AVX2 ? n_tok - t : TOKS_AVX2;
        tile_put(lane[t / TOKS_AVX2], n_block, tile[t / TOKS_AVX2], n, v + t * ROWS_AVX2);
    }
}

INLINE void tiles_q(int type, unpack_fn unpack, tile_add_fn add, const uint8_t *w, size_t row_bytes,
                    int n_row, const void *const *tile, int n_tok, int64_t n_col, float *y) {
    const int apart = stream_apart(row_bytes, n_row);
    const int each = apart == 1 ? ROWS_AVX2 : ROWS_AVX2 / STREAMS;
    for (int r = 0; r < (apart == 1 ? n_row : apart); r += each) {
        const uint8_t *row[ROWS_AVX2];
        int place[ROWS_AVX2];
        float v[MICRO_SMALL * ROWS_AVX2];
        for (int i = 0; i < ROWS_AVX2; i++) { /* at a stream's end the next one's first rows */
            int p = r + i % each + i / each * apart;
            place[i] = p < n_row ? p : n_row - 1;
            row[i] = w + (size_t)place[i] * row_bytes;
        }
        panel_tiles(type, unpack, add, row, each, row_bytes, tile, n_tok, n_col, v);
        for (int t = 0; t < n_tok; t++) {
            for (int i = 0; i < ROWS_AVX2; i++) {
                y[t * n_row + place[i]] = v[t * ROWS_AVX2 + i];
            }
        }
    }
}

#define GEMV_Q(name, type)                                                                         \
    static void gemv_##name(const uint8_t *w, size_t row_bytes, int n_row, const void *x,          \
                            int64_t n_col, float *y) {                                             \
        gemv_q(type, w, row_bytes, n_row, x, n_col, y);                                            \
    }

#define SIGNED_FORMATS(DO)                                                                         \
    DO(q8_0, DT_Q8_0)                                                                              \
    DO(q8_k, DT_Q8_K)                                                                              \
    DO(iq4_nl, DT_IQ4_NL)                                                                          \
    DO(iq4_xs, DT_IQ4_XS)

SIGNED_FORMATS(GEMV_Q)

#define FORMAT_Q(name, type)                                                                       \
    SHARED void unpack_blocks_##name(const uint8_t *const *row, int64_t first, int64_t n_block,    \
                                     uint8_t *to) {                                                \
        unpack_blocks(type, row, first, n_block, to);                                              \
    }                                                                                              \
    static void unpack_##name(const uint8_t *const *row, int64_t n_col, void *panel) {             \
        unpack_blocks_##name(row, 0, n_col / MICRO_BLOCK, panel);                                  \
    }                                                                                              \
    SHARED void tile_add_##name(const uint8_t *w, const uint8_t *x, int n_tok, int64_t n_block,    \
                                const struct micro_wanted *next, bool begun, lane_rows lane[8]) {  \
        tile_add(type, w, x, n_tok, n_block, next, begun, lane);                                   \
    }                                                                                              \
    static void tiles_##name(const uint8_t *w, size_t row_bytes, int n_row,                        \
                             const void *const *tile, int n_tok, int64_t n_col, float *y) {        \
        tiles_q(type, unpack_blocks_##name, tile_add_##name, w, row_bytes, n_row, tile, n_tok,     \
                n_col, y);                                                                         \
    }                                                                                              \
    static void tile_##name(const void *panel, const void *tile, int n_tok, int64_t n_col,         \
                            const struct micro_wanted *next, float *y) {                           \
        tile_q(tile_add_##name, panel, tile, n_tok, n_col, next, y);                               \
    }

MICRO_FORMATS(FORMAT_Q)

/* Formats that differ neither in center and rest nor in minimums share tiles. */
#define PACK_Q(name, type)                                                                         \
    static void pack_##name(const void *const *x, int n_tok, int64_t n_col, void *tile) {          \
        pack_q(type, x, n_tok, n_col, tile);                                                       \
    }

PACK_Q(q4_0, DT_Q4_0)
PACK_Q(q5_0, DT_Q5_0)
PACK_Q(q2_k, DT_Q2_K)
PACK_Q(q3_k, DT_Q3_K)
PACK_Q(q6_k, DT_Q6_K)
PACK_Q(min4, DT_Q4_K)
PACK_Q(min5, DT_Q5_K)
PACK_Q(signed, DT_Q8_0)

/* ---- the table
 * ------------------------------------------------------------------------------------- */

#define ENTRY_Q(name, type, packing)                                                               \
    (struct micro_format) {                                                                        \
        .act = MICRO_ACT_Q8, .rows = ROWS_AVX2, .toks = TOKS_AVX2, .small_min = 2,                 \
        .gemv = m->fmt[type].gemv, .gemm_small = m->fmt[type].gemm_small, .unpack = unpack_##name, \
        .pack = pack_##packing, .tile = tile_##name,                                               \
        .panel_bytes = (size_t)(8 * panel_block(type)),                                            \
        .tile_bytes = (size_t)(TILE_HEAD + 8 * tile_block(type)),                                  \
        .gemm_tiles = fmt_signed(type) ? NULL : tiles_##name,                                      \
    }

#define GEMV_ENTRY(name, type) m->fmt[type].gemv = gemv_##name;

void micro_init_avx2(struct micro *m) {
    m->name = "avx2";
    m->gemm_min = 4;
    m->tiles_min = 12;
    m->fmt[DT_Q4_0] = ENTRY_Q(q4_0, DT_Q4_0, q4_0);
    m->fmt[DT_Q4_1] = ENTRY_Q(q4_1, DT_Q4_1, min4);
    m->fmt[DT_Q5_0] = ENTRY_Q(q5_0, DT_Q5_0, q5_0);
    m->fmt[DT_Q5_1] = ENTRY_Q(q5_1, DT_Q5_1, min5);
    m->fmt[DT_Q8_0] = ENTRY_Q(q8_0, DT_Q8_0, signed);
    m->fmt[DT_Q2_K] = ENTRY_Q(q2_k, DT_Q2_K, q2_k);
    m->fmt[DT_Q3_K] = ENTRY_Q(q3_k, DT_Q3_K, q3_k);
    m->fmt[DT_Q4_K] = ENTRY_Q(q4_k, DT_Q4_K, min4);
    m->fmt[DT_Q5_K] = ENTRY_Q(q5_k, DT_Q5_K, min5);
    m->fmt[DT_Q6_K] = ENTRY_Q(q6_k, DT_Q6_K, q6_k);
    m->fmt[DT_Q8_K] = ENTRY_Q(q8_k, DT_Q8_K, signed);
    m->fmt[DT_IQ4_NL] = ENTRY_Q(iq4_nl, DT_IQ4_NL, signed);
    m->fmt[DT_IQ4_XS] = ENTRY_Q(iq4_xs, DT_IQ4_XS, signed);
    SIGNED_FORMATS(GEMV_ENTRY)
    m->quantize = quantize_avx2;
}
