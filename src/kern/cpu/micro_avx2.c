/* micro_avx2.c: the micro-kernels for processors with AVX2, FMA and F16C.
 *
 * Owns instructions, not arithmetic: micro.h and micro_c.c define every result to the bit, and
 * kern_check compares. Refuses to be called where the processor lacks any of the three.
 * Only static functions and micro_init_avx2; this file alone is compiled with -mavx2 -mfma -mf16c.
 *
 * Every kernel is one inline function over the type as a constant: micro_bits_avx2.h has what a
 * format's bits mean.
 */
#include <math.h>

#include "kern/cpu/micro_bits_avx2.h"

/* Keeps a sum where it is written: compilers turn long chains of integer additions into trees,
 * which need more registers than there are. */
#define KEEP(v) __asm__("" : "+x"(v))

/* ---- activations -------------------------------------------------------------------------- */

INLINE uint32_t max_bits(__m256i v) {
    __m128i m = _mm_max_epu32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(m);
}

INLINE __m256i round_half(const float *x, __m256 inv, __m256i *second) {
    const __m256i low = _mm256_set1_epi32(-127), high = _mm256_set1_epi32(127);
    __m256i a = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), inv));
    __m256i b = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8), inv));
    *second = _mm256_max_epi32(_mm256_min_epi32(b, high), low);
    return _mm256_max_epi32(_mm256_min_epi32(a, high), low);
}

/* The full block at x; equal to micro_c.c's quantize_block. */
INLINE void quantize_block(const float *x, int b, float top, float d, struct act_group *g) {
    const __m256i mask = _mm256_set1_epi32(0x7fffffff);
    int mul[2] = {1, 1}, sum[2] = {0, 0};
    __m256i q = _mm256_setzero_si256();
    if (top > 0) {
        __m256i v[4];
        for (int h = 0; h < 2; h++) {
            __m256i a = _mm256_and_si256(load256(x + 16 * h), mask);
            __m256i c = _mm256_and_si256(load256(x + 16 * h + 8), mask);
            float most = f32_from_bits(max_bits(_mm256_max_epu32(a, c)));
            mul[h] = (int)ceilf(most * (MICRO_MUL / top));
            mul[h] = mul[h] < 1 ? 1 : mul[h] > MICRO_MUL ? MICRO_MUL : mul[h];
            v[2 * h] =
                round_half(x + 16 * h, _mm256_set1_ps(1.0f / ((float)mul[h] * d)), &v[2 * h + 1]);
        }
        __m256i w0 = _mm256_packs_epi32(v[0], v[1]), w1 = _mm256_packs_epi32(v[2], v[3]);
        q = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(w0, w1),
                                        _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
        /* sums of each half: bytes in pairs, then in fours, then across the 128-bit lane */
        __m256i s =
            _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), q), _mm256_set1_epi16(1));
        s = _mm256_add_epi32(s, _mm256_shuffle_epi32(s, 0x4e));
        s = _mm256_add_epi32(s, _mm256_shuffle_epi32(s, 0xb1));
        sum[0] = _mm256_extract_epi32(s, 0);
        sum[1] = _mm256_extract_epi32(s, 4);
    }
    _mm256_store_si256((__m256i *)(g->q + b * MICRO_BLOCK), q);
    for (int h = 0; h < 2; h++) {
        g->mul[micro_half(b, h)] = mul[h];
        g->sum[micro_half(b, h)] = sum[h];
    }
    g->s[b] = (float)(mul[0] * sum[0] + mul[1] * sum[1]);
}

/* Meanwhile fetches what follows the row, which mostly is the next one. */
static void quantize_avx2(const float *x, int64_t n, struct act_group *out) {
    const __m256i mask = _mm256_set1_epi32(0x7fffffff);
    __m256i most = _mm256_setzero_si256();
    int64_t i = 0;
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
    for (int64_t b = 0; b < micro_groups(n) * MICRO_GROUP; b++) {
        int64_t left = n - b * MICRO_BLOCK;
        struct act_group *g = out + b / MICRO_GROUP;
        for (int k = 0; k < MICRO_BLOCK; k += 16) {
            _mm_prefetch((const char *)(x + n + b * MICRO_BLOCK + k), _MM_HINT_T1);
        }
        g->d = finite ? d : NAN;
        if (left >= MICRO_BLOCK) {
            quantize_block(x + b * MICRO_BLOCK, (int)(b % MICRO_GROUP), top, d, g);
        } else {
            float part[MICRO_BLOCK] = {0};
            for (int64_t k = 0; k < left; k++) {
                part[k] = x[b * MICRO_BLOCK + k];
            }
            quantize_block(part, (int)(b % MICRO_GROUP), top, d, g);
        }
    }
}

/* ---- matrix times vector, quantized ------------------------------------------------------------
 */

INLINE __m256i block_dot(int type, const uint8_t *g, const int8_t *q, int j) {
    __m256i w = block_bytes(type, g, j), x = load256(q + j * MICRO_BLOCK);
    if (fmt_signed(type)) {
        return _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
    }
    return _mm256_maddubs_epi16(w, x);
}

/* Sums of the halves of blocks j..j+3, int32 in the order of micro_half. The first additions are
 * done in int16 where the products leave room: 4 of 63 * 127 * 2 do not, 2 do; 4 of 31 * 127 * 2
 * do. */
INLINE __m256i four_dots(int type, const uint8_t *g, const int8_t *q, int j) {
    const __m256i one = _mm256_set1_epi16(1);
    __m256i a = block_dot(type, g, q, j), b = block_dot(type, g, q, j + 1);
    __m256i c = block_dot(type, g, q, j + 2), d = block_dot(type, g, q, j + 3);
    if (fmt_signed(type)) {
        a = _mm256_hadd_epi32(_mm256_madd_epi16(a, one), _mm256_madd_epi16(b, one));
        c = _mm256_hadd_epi32(_mm256_madd_epi16(c, one), _mm256_madd_epi16(d, one));
        return _mm256_hadd_epi32(a, c);
    }
    a = _mm256_hadd_epi16(a, b);
    c = _mm256_hadd_epi16(c, d);
    if (fmt_bits(type) == 6) {
        return _mm256_hadd_epi32(_mm256_madd_epi16(a, one), _mm256_madd_epi16(c, one));
    }
    return _mm256_madd_epi16(_mm256_hadd_epi16(a, c), one);
}

/* [half 0 of 4 | half 1 of 4] twice, to [half h of 8]. */
INLINE __m256i halves(__m256i a, __m256i b, int h) {
    return h ? _mm256_permute2x128_si256(a, b, 0x31) : _mm256_permute2x128_si256(a, b, 0x20);
}

/* Adds the products of one group to the eight lanes. */
INLINE __m256 group_add(int type, const uint8_t *const g[2], const struct act_group *x,
                        __m256 acc) {
    struct scales s = group_scales(type, g);
    __m256i dot[2], h[2];
    __m256 f[2];
    for (int k = 0; k < 2; k++) {
        dot[k] = _mm256_setzero_si256();
        if (!fmt_small(type)) {
            dot[k] = four_dots(type, g[0], x->q, 4 * k);
        } else if (g[k] != NULL) {
            dot[k] = four_dots(type, g[k], x->q + 4 * k * MICRO_BLOCK, 0);
        }
        if (fmt_offset(type) != 0) {
            int bits = __builtin_ctz((unsigned)fmt_offset(type));
            dot[k] = _mm256_sub_epi32(dot[k], _mm256_slli_epi32(load256(x->sum + 8 * k), bits));
        }
        if (!fmt_signed(type)) {
            dot[k] = _mm256_mullo_epi32(dot[k], load256(x->mul + 8 * k));
        }
    }
    for (int i = 0; i < 2; i++) {
        h[i] = halves(dot[0], dot[1], i);
        f[i] = _mm256_cvtepi32_ps(h[i]);
    }
    if (fmt_signed(type)) {
        __m256i mul[2] = {load256(x->mul), load256(x->mul + 8)};
        __m256 t = _mm256_mul_ps(f[0], _mm256_cvtepi32_ps(halves(mul[0], mul[1], 0)));
        t = _mm256_fmadd_ps(f[1], _mm256_cvtepi32_ps(halves(mul[0], mul[1], 1)), t);
        acc = _mm256_fmadd_ps(t, s.d[0], acc);
    } else if (fmt_split(type)) {
        acc = _mm256_fmadd_ps(f[0], s.d[0], acc);
        acc = _mm256_fmadd_ps(f[1], s.d[1], acc);
    } else {
        __m256 sum = _mm256_cvtepi32_ps(_mm256_add_epi32(h[0], h[1]));
        acc = _mm256_fmadd_ps(sum, s.d[0], acc);
    }
    if (fmt_mins(type) == 1) {
        acc = _mm256_fmadd_ps(s.min[0], _mm256_load_ps(x->s), acc);
    } else if (fmt_mins(type) == 2) {
        __m256i a = _mm256_mullo_epi32(load256(x->mul), load256(x->sum));
        __m256i b = _mm256_mullo_epi32(load256(x->mul + 8), load256(x->sum + 8));
        acc = _mm256_fmadd_ps(s.min[0], _mm256_cvtepi32_ps(halves(a, b, 0)), acc);
        acc = _mm256_fmadd_ps(s.min[1], _mm256_cvtepi32_ps(halves(a, b, 1)), acc);
    }
    return acc;
}

/* The last blocks of 32 of a row, fewer than eight. */
INLINE __m256 tail_add(int type, const uint8_t *g, int left, const struct act_group *x,
                       __m256 acc) {
    uint8_t part[4 * sizeof(struct block_q8_0)] = {
        0}; /* missing blocks are zeros: they add nothing */
    const int bytes = fmt_bytes(type);
    const uint8_t *last = left % 4 > 0 ? part : NULL, *from = g + left / 4 * 4 * bytes;
    switch (left % 4) { /* sizes known to the compiler: no call */
    case 1: memcpy(part, from, (size_t)bytes); break;
    case 2: memcpy(part, from, (size_t)(2 * bytes)); break;
    case 3: memcpy(part, from, (size_t)(3 * bytes)); break;
    }
    if (left >= 4 && last != NULL) {
        return group_add(type, (const uint8_t *const[2]){g, part}, x, acc);
    }
    return group_add(type, (const uint8_t *const[2]){left >= 4 ? g : part, NULL}, x, acc);
}

INLINE void gemv_q(int type, const uint8_t *w, size_t row_bytes, int n_row,
                   const struct act_group *x, int64_t n_col, float *y) {
    int64_t n_group = n_col / 256;
    int left = (int)(n_col % 256) / MICRO_BLOCK;
    int quad = fmt_small(type) ? 4 * fmt_bytes(type) : 0;
    int step = fmt_small(type) ? 2 * quad : fmt_bytes(type);
    for (int r = 0; r < n_row; r++, w += row_bytes) {
        const uint8_t *g = w;
        __m256 acc = _mm256_setzero_ps();
        for (int64_t i = 0; i < n_group; i++, g += step) {
            fetch_row(g, step);
            acc = group_add(type, (const uint8_t *const[2]){g, g + quad}, x + i, acc);
        }
        if (fmt_small(type) && left > 0) {
            acc = tail_add(type, g, left, x + n_group, acc);
        }
        y[r] = x->d * sum8(acc);
    }
}

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
 * Signed bytes go through int16: a panel holds the weights as [16][row][2] and d [row], a tile
 * activations as [16][token][2] and multipliers as floats [half][token].
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

INLINE int fmt_scales(int type) { /* d in a block of a panel, multipliers in one of a tile */
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

INLINE int panel_block(int type) {
    return fmt_signed(type) ? 1024 + 64 : 512 + 64 * (fmt_scales(type) + fmt_mins(type));
}

INLINE int tile_block(int type) {
    return 4 * TOKS_AVX2 * (fmt_signed(type) ? 16 + 2 : at_min(type) + fmt_mins(type));
}

INLINE void transpose8(__m256i v[8]) {
    __m256i a[8], b[8];
    for (int i = 0; i < 4; i++) {
        a[2 * i] = _mm256_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
        a[2 * i + 1] = _mm256_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        b[4 * i] = _mm256_unpacklo_epi64(a[4 * i], a[4 * i + 2]);
        b[4 * i + 1] = _mm256_unpackhi_epi64(a[4 * i], a[4 * i + 2]);
        b[4 * i + 2] = _mm256_unpacklo_epi64(a[4 * i + 1], a[4 * i + 3]);
        b[4 * i + 3] = _mm256_unpackhi_epi64(a[4 * i + 1], a[4 * i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x20);
        v[i + 4] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x31);
    }
}

INLINE void store256(void *p, __m256i v) {
    _mm256_storeu_si256((__m256i *)p, v);
}

/* v[row] to panel places `step` bytes apart, as [..][row]. */
INLINE void store_rows(uint8_t *to, int step, int n, __m256i v[8]) {
    transpose8(v);
    for (int i = 0; i < n; i++) {
        store256(to + i * step, v[i]);
    }
}

/* Scales of `n` blocks of eight rows: each becomes a column of eight. */
INLINE void unpack_scales(int type, const uint8_t *const g[8], int n, uint8_t *to) {
    __m256i v[4][8];
    const int n_d = fmt_scales(type);
    for (int r = 0; r < 8; r++) {
        struct scales s = group_scales(
            type,
            (const uint8_t *const[2]){g[r], g[r] + (fmt_small(type) ? 4 * fmt_bytes(type) : 0)});
        for (int i = 0; i < n_d; i++) {
            v[i][r] = _mm256_castps_si256(s.d[i]);
        }
        for (int i = 0; i < fmt_mins(type); i++) {
            v[n_d + i][r] = _mm256_castps_si256(s.min[i]);
        }
    }
    uint8_t *at = to + (fmt_signed(type) ? 1024 : 512);
    for (int i = 0; i < n_d + fmt_mins(type); i++) {
        store_rows(at + 64 * i, panel_block(type), n, v[i]);
    }
}

/* The bytes of block j of eight rows. */
INLINE void unpack_block(int type, const uint8_t *const g[8], int j, uint8_t *to) {
    const __m256i words = _mm256_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15, 0,
                                           1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15);
    __m256i v[8], u[8];
    for (int r = 0; r < 8; r++) {
        __m256i b = block_bytes(type, g[r], j);
        if (fmt_split(type)) {
            v[r] = b;
            continue;
        }
        if (!fmt_signed(type)) { /* halves side by side, two columns of each in a dword */
            v[r] = _mm256_shuffle_epi8(_mm256_permute4x64_epi64(b, 0xd8), words);
            continue;
        }
        v[r] = _mm256_cvtepi8_epi16(_mm256_castsi256_si128(b));
        u[r] = _mm256_cvtepi8_epi16(_mm256_extracti128_si256(b, 1));
    }
    store_rows(to, 64, 8, v);
    if (fmt_signed(type)) {
        store_rows(to + 512, 64, 8, u);
    }
}

INLINE void unpack_q(int type, const uint8_t *const *row, int64_t n_col, uint8_t *to) {
    const int step = fmt_small(type) ? 8 * fmt_bytes(type) : fmt_bytes(type);
    for (int64_t b = 0; b < n_col / MICRO_BLOCK; b += 8, to += 8 * panel_block(type)) {
        int n = n_col / MICRO_BLOCK - b < 8 ? (int)(n_col / MICRO_BLOCK - b) : 8;
        for (int half = 0; half < 2; half++) {
            uint8_t part[8][8 * sizeof(struct block_q8_0)];
            const uint8_t *g[8];
            for (int r = 0; r < 8; r++) {
                g[r] = row[half * 8 + r] + b / 8 * step;
                if (n < 8) { /* never read past a row's end */
                    memset(part[r], 0, sizeof part[r]);
                    memcpy(part[r], g[r], (size_t)(n * fmt_bytes(type)));
                    g[r] = part[r];
                }
            }
            unpack_scales(type, g, n, to + half * 32);
#pragma GCC unroll 8
            for (int j = 0; j < 8; j++) {
                if (j < n) {
                    unpack_block(type, g, j, to + half * 32 + j * panel_block(type));
                }
            }
        }
    }
}

/* One block of one token into its column of a tile: to[i * TOKS_AVX2]. */
INLINE void column_signed(const struct act_group *x, int j, int32_t *to) {
    __m256i q = load256(x->q + j * MICRO_BLOCK);
    int32_t v[16];
    store256(v, _mm256_cvtepi8_epi16(_mm256_castsi256_si128(q)));
    store256(v + 8, _mm256_cvtepi8_epi16(_mm256_extracti128_si256(q, 1)));
    for (int i = 0; i < 16; i++) {
        to[i * TOKS_AVX2] = v[i];
    }
    for (int h = 0; h < 2; h++) {
        float mul = (float)x->mul[micro_half(j, h)];
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
        mul[h] = x->mul[micro_half(j, h)];
        sum[h] = mul[h] * x->sum[micro_half(j, h)];
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

/* The lanes of one block [2 * token + half of the rows]. */
typedef float lane_rows[2 * TOKS_AVX2][8];

INLINE void lane_fma(lane_rows lane, int i, __m256 sum, __m256 d) {
    _mm256_storeu_ps(lane[i], _mm256_fmadd_ps(sum, d, _mm256_loadu_ps(lane[i])));
}

/* Integer products of one block: of a narrow format as floats in out[token][rows 0..7, 8..15]; of a
 * split one each chain is a half, and goes to the lanes at once. */
INLINE void block_unsigned(int type, int n_tok, const uint8_t *w, const uint8_t *x, __m256 out[][2],
                           lane_rows lane) {
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
                    lane_fma(lane, 2 * t + i, _mm256_cvtepi32_ps(p),
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

/* Adds one block's sums and minimums to its lanes. */
INLINE void block_end(int type, int n_tok, const uint8_t *w, const uint8_t *x, __m256 sum[][2],
                      lane_rows lane) {
    const uint8_t *wd = w + (fmt_signed(type) ? 1024 : 512), *min = wd + 64 * fmt_scales(type);
#pragma GCC unroll 6
    for (int t = 0; t < n_tok; t++) {
        for (int i = 0; i < 2; i++) {
            __m256 acc = _mm256_loadu_ps(lane[2 * t + i]);
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

INLINE void tile_n(int type, int n_tok, const uint8_t *w, const uint8_t *x, int64_t n_block,
                   const struct micro_wanted *next, lane_rows lane[8]) {
    int left = micro_fetch_more(next, n_block);
    for (int64_t b = 0; b < n_block; b++, w += panel_block(type), x += tile_block(type)) {
        __m256 sum[TOKS_AVX2][2];
        lane_rows *own = &lane[b % 8];
        if (left > 0) {
            micro_fetch(next, --left);
        }
        if (fmt_signed(type)) {
            block_signed(n_tok, w, x, sum);
        } else {
            block_unsigned(type, n_tok, w, x, sum, *own);
        }
        if (!fmt_split(type) || fmt_mins(type) > 0) {
            block_end(type, n_tok, w, x, sum, *own);
        }
    }
}

INLINE void tile_q(int type, const void *panel, const void *tile, int n_tok, int64_t n_col,
                   const struct micro_wanted *next, float *y) {
    lane_rows lane[8] __attribute__((aligned(32)));
    const uint8_t *x = (const uint8_t *)tile + TILE_HEAD;
    int64_t n = n_col / MICRO_BLOCK;
    memset(lane, 0, sizeof lane);
    if (n_tok <= 2) {
        tile_n(type, 2, panel, x, n, next, lane);
    } else if (n_tok <= 4) {
        tile_n(type, 4, panel, x, n, next, lane);
    } else {
        tile_n(type, 6, panel, x, n, next, lane);
    }
    for (int i = 0; i < 2 * n_tok; i++) {
        __m256 l[8];
        for (int j = 0; j < 8; j++) {
            l[j] = _mm256_load_ps(lane[j][i]);
        }
        __m256 even = _mm256_add_ps(_mm256_add_ps(l[0], l[4]), _mm256_add_ps(l[2], l[6]));
        __m256 odd = _mm256_add_ps(_mm256_add_ps(l[1], l[5]), _mm256_add_ps(l[3], l[7]));
        __m256 d = dword_ps(tile, 0, i / 2);
        _mm256_storeu_ps(y + 8 * i, _mm256_mul_ps(d, _mm256_add_ps(even, odd)));
    }
}

#define FORMAT_Q(name, type)                                                                       \
    static void gemv_##name(const uint8_t *w, size_t row_bytes, int n_row, const void *x,          \
                            int64_t n_col, float *y) {                                             \
        gemv_q(type, w, row_bytes, n_row, x, n_col, y);                                            \
    }                                                                                              \
    static void unpack_##name(const uint8_t *const *row, int64_t n_col, void *panel) {             \
        unpack_q(type, row, n_col, panel);                                                         \
    }                                                                                              \
    static void tile_##name(const void *panel, const void *tile, int n_tok, int64_t n_col,         \
                            const struct micro_wanted *next, float *y) {                           \
        tile_q(type, panel, tile, n_tok, n_col, next, y);                                          \
    }

FORMAT_Q(q4_0, DT_Q4_0)
FORMAT_Q(q4_1, DT_Q4_1)
FORMAT_Q(q5_0, DT_Q5_0)
FORMAT_Q(q5_1, DT_Q5_1)
FORMAT_Q(q8_0, DT_Q8_0)
FORMAT_Q(q2_k, DT_Q2_K)
FORMAT_Q(q3_k, DT_Q3_K)
FORMAT_Q(q4_k, DT_Q4_K)
FORMAT_Q(q5_k, DT_Q5_K)
FORMAT_Q(q6_k, DT_Q6_K)
FORMAT_Q(q8_k, DT_Q8_K)
FORMAT_Q(iq4_nl, DT_IQ4_NL)
FORMAT_Q(iq4_xs, DT_IQ4_XS)

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

/* ---- float weights
 * ------------------------------------------------------------------------------- */

INLINE int float_bytes(int type) {
    return type == DT_F32 ? 4 : 2;
}

INLINE __m256 load_float(int type, const uint8_t *p) {
    switch (type) {
    case DT_F32: return _mm256_loadu_ps((const float *)(const void *)p);
    case DT_F16: return _mm256_cvtph_ps(load128(p));
    default: return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load128(p)), 16));
    }
}

/* The last n < 8 elements of a row, zeros after them. */
INLINE __m256 load_tail(int type, const uint8_t *p, int n) {
    uint8_t part[32] = {0};
    memcpy(part, p, (size_t)(n * float_bytes(type)));
    return load_float(type, part);
}

/* One step of eight columns from column i on. */
INLINE void gemv_step(int type, int rows, int n_tok, const uint8_t *w, size_t row_bytes,
                      const void *const *x, int64_t i, __m256 (*acc)[4]) {
    __m256 v[3];
    for (int t = 0; t < n_tok; t++) {
        v[t] = _mm256_loadu_ps((const float *)x[t] + i);
    }
    for (int r = 0; r < rows; r++) {
        __m256 u = load_float(type, w + (size_t)r * row_bytes + i * float_bytes(type));
        for (int t = 0; t < n_tok; t++) {
            acc[t][r] = _mm256_fmadd_ps(u, v[t], acc[t][r]);
        }
    }
}

/* y[t * n_row + r] of `rows` <= 4 rows and n_tok <= 3 rows of activations. */
INLINE void gemv_rows(int type, int rows, int n_tok, const uint8_t *w, size_t row_bytes, int n_row,
                      const void *const *x, int64_t n_col, float *y) {
    const int line = 64 / float_bytes(type);
    __m256 acc[3][4];
    int64_t i = 0;
    for (int t = 0; t < n_tok; t++) {
        for (int r = 0; r < rows; r++) {
            acc[t][r] = _mm256_setzero_ps();
        }
    }
    for (; i + line <= n_col; i += line) {
        fetch_rows(w, row_bytes, rows, (size_t)i * (size_t)float_bytes(type), 64);
#pragma GCC unroll 4
        for (int k = 0; k < line; k += 8) {
            gemv_step(type, rows, n_tok, w, row_bytes, x, i + k, acc);
        }
    }
    for (; i + 8 <= n_col; i += 8) {
        gemv_step(type, rows, n_tok, w, row_bytes, x, i, acc);
    }
    for (int r = 0; r < rows; r++) {
        __m256 u = _mm256_setzero_ps();
        if (i < n_col) {
            u = load_tail(type, w + (size_t)r * row_bytes + i * float_bytes(type),
                          (int)(n_col - i));
        }
        for (int t = 0; t < n_tok; t++) {
            if (i < n_col) {
                acc[t][r] = _mm256_fmadd_ps(u, _mm256_loadu_ps((const float *)x[t] + i), acc[t][r]);
            }
            y[t * n_row + r] = sum8(acc[t][r]);
        }
    }
}

INLINE void gemv_f(int type, const uint8_t *w, size_t row_bytes, int n_row, const void *x,
                   int64_t n_col, float *y) {
    int r = 0;
    for (; r + 4 <= n_row; r += 4) {
        gemv_rows(type, 4, 1, w + (size_t)r * row_bytes, row_bytes, n_row, &x, n_col, y + r);
    }
    for (; r < n_row; r++) {
        gemv_rows(type, 1, 1, w + (size_t)r * row_bytes, row_bytes, n_row, &x, n_col, y + r);
    }
}

INLINE void gemm_small_f(int type, const uint8_t *w, size_t row_bytes, int n_row,
                         const void *const *x, int n_tok, int64_t n_col, float *y) {
    int r = 0;
    for (; r + 4 <= n_row; r += 4, w += 4 * row_bytes) {
        for (int t = 0; t < n_tok;) { /* four rows stay in cache while activations pass */
            float *to = y + t * n_row + r;
            switch (n_tok - t) {
            case 1:
                gemv_rows(type, 4, 1, w, row_bytes, n_row, x + t, n_col, to);
                t++;
                break;
            case 2:
            case 4:
                gemv_rows(type, 4, 2, w, row_bytes, n_row, x + t, n_col, to);
                t += 2;
                break;
            default:
                gemv_rows(type, 4, 3, w, row_bytes, n_row, x + t, n_col, to);
                t += 3;
                break;
            }
        }
    }
    for (; r < n_row; r++, w += row_bytes) {
        for (int t = 0; t < n_tok; t++) {
            gemv_rows(type, 1, 1, w, row_bytes, n_row, x + t, n_col, y + t * n_row + r);
        }
    }
}

INLINE void unpack_f(int type, const uint8_t *const *row, int64_t n_col, float *panel) {
    for (int r = 0; r < ROWS_AVX2; r++) {
        int64_t i = 0;
        for (; i + 8 <= n_col; i += 8, panel += 8) {
            _mm256_storeu_ps(panel, load_float(type, row[r] + i * float_bytes(type)));
        }
        if (i < n_col) {
            _mm256_storeu_ps(panel,
                             load_tail(type, row[r] + i * float_bytes(type), (int)(n_col - i)));
            panel += 8;
        }
    }
}

/* The order of micro_sum8, for four sums at once. */
INLINE __m128 sum8x4(const __m256 v[4]) {
    __m128 x[4];
    for (int i = 0; i < 4; i++) {
        x[i] = _mm_add_ps(_mm256_castps256_ps128(v[i]), _mm256_extractf128_ps(v[i], 1));
    }
    __m128 a = _mm_add_ps(_mm_movelh_ps(x[0], x[1]), _mm_movehl_ps(x[1], x[0]));
    __m128 b = _mm_add_ps(_mm_movelh_ps(x[2], x[3]), _mm_movehl_ps(x[3], x[2]));
    return _mm_add_ps(_mm_shuffle_ps(a, b, 0x88), _mm_shuffle_ps(a, b, 0xdd));
}

/* Products of n_a <= 3 rows and 4 rows of `dim` floats (a multiple of 8): out[i] has the four. */
INLINE void dots_x4(int n_a, const float *a, int64_t a_step, const float *b, int64_t b_step,
                    int64_t dim, __m128 *out) {
    __m256 acc[3][4];
    for (int i = 0; i < n_a; i++) {
        for (int k = 0; k < 4; k++) {
            acc[i][k] = _mm256_setzero_ps();
        }
    }
    for (int64_t c = 0; c < dim; c += 8) {
        __m256 v[3];
        for (int i = 0; i < n_a; i++) {
            v[i] = _mm256_loadu_ps(a + i * a_step + c);
        }
        for (int k = 0; k < 4; k++) {
            __m256 u = _mm256_loadu_ps(b + k * b_step + c);
            for (int i = 0; i < n_a; i++) {
                acc[i][k] = _mm256_fmadd_ps(u, v[i], acc[i][k]);
            }
        }
    }
    for (int i = 0; i < n_a; i++) {
        out[i] = sum8x4(acc[i]);
    }
}

static void tile_f(const void *panel, const void *tile, int n_tok, int64_t n_col,
                   const struct micro_wanted *next, float *y) {
    const int64_t step = micro_pad8(n_col);
    const float *w = panel, *x = tile;
    micro_fetch_more(next, 0);
    for (int t = 0; t < n_tok; t += 3) {
        int n = n_tok - t < 3 ? n_tok - t : 3;
        for (int r = 0; r < ROWS_AVX2; r += 4) {
            __m128 out[3];
            if (n == 3) {
                dots_x4(3, x + t * step, step, w + r * step, step, step, out);
            } else if (n == 2) {
                dots_x4(2, x + t * step, step, w + r * step, step, step, out);
            } else {
                dots_x4(1, x + t * step, step, w + r * step, step, step, out);
            }
            for (int i = 0; i < n; i++) {
                _mm_storeu_ps(y + (t + i) * ROWS_AVX2 + r, out[i]);
            }
        }
    }
}

#define FORMAT_F(name, type)                                                                       \
    static void gemv_##name(const uint8_t *w, size_t row_bytes, int n_row, const void *x,          \
                            int64_t n_col, float *y) {                                             \
        gemv_f(type, w, row_bytes, n_row, x, n_col, y);                                            \
    }                                                                                              \
    static void gemm_small_##name(const uint8_t *w, size_t row_bytes, int n_row,                   \
                                  const void *const *x, int n_tok, int64_t n_col, float *y) {      \
        gemm_small_f(type, w, row_bytes, n_row, x, n_tok, n_col, y);                               \
    }                                                                                              \
    static void unpack_##name(const uint8_t *const *row, int64_t n_col, void *panel) {             \
        unpack_f(type, row, n_col, panel);                                                         \
    }

FORMAT_F(f32, DT_F32)
FORMAT_F(f16, DT_F16)
FORMAT_F(bf16, DT_BF16)

/* ---- rows
 * ------------------------------------------------------------------------------------------ */

/* All ones in the first n < 8 lanes. */
INLINE __m256i first_lanes(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static void rmsnorm_avx2(const float *x, const float *w, int n, float eps, float *y) {
    __m256 acc = _mm256_setzero_ps();
    __m256i tail = first_lanes(n % 8);
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 v = _mm256_loadu_ps(x + i);
        acc = _mm256_fmadd_ps(v, v, acc);
    }
    if (i < n) {
        __m256 v = _mm256_maskload_ps(x + i, tail);
        acc = _mm256_fmadd_ps(v, v, acc);
    }
    float mean = sum8(acc) / (float)n;
    __m256 scale = _mm256_set1_ps(1.0f / sqrtf(mean + eps));
    for (i = 0; i + 8 <= n; i += 8) {
        __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), scale);
        _mm256_storeu_ps(y + i, _mm256_mul_ps(v, _mm256_loadu_ps(w + i)));
    }
    if (i < n) {
        __m256 v = _mm256_mul_ps(_mm256_maskload_ps(x + i, tail), scale);
        _mm256_maskstore_ps(y + i, tail, _mm256_mul_ps(v, _mm256_maskload_ps(w + i, tail)));
    }
}

static void layernorm_avx2(const float *x, const float *w, const float *b, int n, float eps,
                           float *y) {
    __m256 sum = _mm256_setzero_ps(), square = _mm256_setzero_ps();
    __m256i tail = first_lanes(n % 8);
    int whole = n / 8 * 8;
    for (int i = 0; i < whole; i += 8) {
        sum = _mm256_add_ps(sum, _mm256_loadu_ps(x + i));
    }
    sum = _mm256_add_ps(sum, _mm256_maskload_ps(x + whole, tail));
    __m256 mean = _mm256_set1_ps(sum8(sum) / (float)n);
    for (int i = 0; i < whole; i += 8) {
        __m256 d = _mm256_sub_ps(_mm256_loadu_ps(x + i), mean);
        square = _mm256_fmadd_ps(d, d, square);
    }
    __m256 d = _mm256_sub_ps(_mm256_maskload_ps(x + whole, tail), mean);
    d = _mm256_and_ps(d, _mm256_castsi256_ps(tail));
    square = _mm256_fmadd_ps(d, d, square);
    __m256 scale = _mm256_set1_ps(1.0f / sqrtf(sum8(square) / (float)n + eps));
    for (int i = 0; i < whole; i += 8) {
        __m256 v = _mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(x + i), mean), scale);
        v = _mm256_fmadd_ps(v, _mm256_loadu_ps(w + i), _mm256_loadu_ps(b + i));
        _mm256_storeu_ps(y + i, v);
    }
    __m256 v = _mm256_mul_ps(_mm256_sub_ps(_mm256_maskload_ps(x + whole, tail), mean), scale);
    v = _mm256_fmadd_ps(v, _mm256_maskload_ps(w + whole, tail),
                        _mm256_maskload_ps(b + whole, tail));
    _mm256_maskstore_ps(y + whole, tail, v);
}

/* micro_exp, eight at once. */
INLINE __m256 exp8(__m256 x) {
    __m256 low = _mm256_cmp_ps(x, _mm256_set1_ps(-87.0f), _CMP_LT_OQ);
    x = _mm256_min_ps(_mm256_set1_ps(88.5f), x); /* this order keeps NaN */
    __m256 k = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)),
                               _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fmadd_ps(k, _mm256_set1_ps(-0.693145752f), x);
    r = _mm256_fmadd_ps(k, _mm256_set1_ps(-1.42860677e-6f), r);
    __m256 p = _mm256_set1_ps(1.0f / 5040);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 720));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 120));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 24));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 6));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    __m256i ki = _mm256_cvtps_epi32(k);
    __m256i k0 = _mm256_srai_epi32(_mm256_add_epi32(ki, _mm256_srli_epi32(ki, 31)), 1);
    __m256i k1 = _mm256_sub_epi32(ki, k0), bias = _mm256_set1_epi32(127);
    __m256 e0 = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(k0, bias), 23));
    __m256 e1 = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(k1, bias), 23));
    return _mm256_andnot_ps(low, _mm256_mul_ps(_mm256_mul_ps(p, e0), e1));
}

INLINE __m256 gelu_erf(__m256 x) {
    const __m256 sign = _mm256_set1_ps(-0.0f), one = _mm256_set1_ps(1.0f);
    __m256 z = _mm256_mul_ps(_mm256_andnot_ps(sign, x), _mm256_set1_ps(0.707106781f));
    __m256 t = _mm256_div_ps(one, _mm256_fmadd_ps(_mm256_set1_ps(0.3275911f), z, one));
    __m256 p = _mm256_set1_ps(1.061405429f);
    p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(-1.453152027f));
    p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(1.421413741f));
    p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(-0.284496736f));
    p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(0.254829592f));
    p = _mm256_mul_ps(_mm256_mul_ps(p, t), exp8(_mm256_xor_ps(_mm256_mul_ps(z, z), sign)));
    __m256 rest = _mm256_mul_ps(_mm256_mul_ps(_mm256_set1_ps(0.5f), x), p);
    __m256 high = _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_GE_OQ);
    return _mm256_blendv_ps(rest, _mm256_sub_ps(x, rest), high);
}

INLINE __m256 activate(__m256 x, enum kern_act act) {
    if (act == ACT_GELU_ERF) {
        return gelu_erf(x);
    }
    const __m256 one = _mm256_set1_ps(1.0f);
    if (act == ACT_SILU) {
        __m256 minus = _mm256_xor_ps(x, _mm256_set1_ps(-0.0f));
        return _mm256_div_ps(x, _mm256_add_ps(one, exp8(minus)));
    }
    __m256 cube = _mm256_mul_ps(_mm256_mul_ps(_mm256_set1_ps(0.044715f), x), x);
    __m256 u = _mm256_mul_ps(_mm256_set1_ps(0.797884561f), _mm256_fmadd_ps(cube, x, x));
    __m256 e = _mm256_add_ps(exp8(_mm256_mul_ps(_mm256_set1_ps(2.0f), u)), one);
    __m256 t = _mm256_sub_ps(one, _mm256_div_ps(_mm256_set1_ps(2.0f), e));
    return _mm256_mul_ps(_mm256_mul_ps(_mm256_set1_ps(0.5f), x), _mm256_add_ps(one, t));
}

INLINE void activate_all(float *x, int n, enum kern_act act) {
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        _mm256_storeu_ps(x + i, activate(_mm256_loadu_ps(x + i), act));
    }
    if (i < n) {
        __m256i m = first_lanes(n - i);
        _mm256_maskstore_ps(x + i, m, activate(_mm256_maskload_ps(x + i, m), act));
    }
}

static void activate_avx2(float *x, int n, enum kern_act act) {
    switch (act) { /* constant inside of the loops */
    case ACT_SILU: activate_all(x, n, ACT_SILU); break;
    case ACT_GELU: activate_all(x, n, ACT_GELU); break;
    default: activate_all(x, n, ACT_GELU_ERF); break;
    }
}

INLINE void act_mul_all(float *gate, const float *up, int n, enum kern_act act) {
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 g = activate(_mm256_loadu_ps(gate + i), act);
        _mm256_storeu_ps(gate + i, _mm256_mul_ps(g, _mm256_loadu_ps(up + i)));
    }
    if (i < n) {
        __m256i m = first_lanes(n - i);
        __m256 g = activate(_mm256_maskload_ps(gate + i, m), act);
        _mm256_maskstore_ps(gate + i, m, _mm256_mul_ps(g, _mm256_maskload_ps(up + i, m)));
    }
}

static void act_mul_avx2(float *gate, const float *up, int n, enum kern_act act) {
    switch (act) {
    case ACT_SILU: act_mul_all(gate, up, n, ACT_SILU); break;
    case ACT_GELU: act_mul_all(gate, up, n, ACT_GELU); break;
    default: act_mul_all(gate, up, n, ACT_GELU_ERF); break;
    }
}

INLINE __m256 cap8(__m256 x, float cap) {
    const __m256 one = _mm256_set1_ps(1.0f), two = _mm256_set1_ps(2.0f);
    __m256 e = _mm256_add_ps(exp8(_mm256_mul_ps(_mm256_set1_ps(2.0f / cap), x)), one);
    return _mm256_mul_ps(_mm256_set1_ps(cap), _mm256_sub_ps(one, _mm256_div_ps(two, e)));
}

static void softcap_avx2(float *x, int n, float cap) {
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        _mm256_storeu_ps(x + i, cap8(_mm256_loadu_ps(x + i), cap));
    }
    if (i < n) {
        __m256i m = first_lanes(n - i);
        _mm256_maskstore_ps(x + i, m, cap8(_mm256_maskload_ps(x + i, m), cap));
    }
}

static void add_avx2(float *y, const float *x, int n) {
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        _mm256_storeu_ps(y + i, _mm256_add_ps(_mm256_loadu_ps(y + i), _mm256_loadu_ps(x + i)));
    }
    for (; i < n; i++) {
        y[i] += x[i];
    }
}

static void axpy_avx2(float *y, float a, const float *x, int n) {
    __m256 v = _mm256_set1_ps(a);
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        _mm256_storeu_ps(y + i, _mm256_fmadd_ps(v, _mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i)));
    }
    for (; i < n; i++) {
        y[i] = fmaf(a, x[i], y[i]);
    }
}

static void rotate_avx2(float *head, const float *cos, const float *sin, int half) {
    int i = 0;
    for (; i + 8 <= half; i += 8) {
        __m256 u = _mm256_loadu_ps(head + i), v = _mm256_loadu_ps(head + i + half);
        __m256 c = _mm256_loadu_ps(cos + i), s = _mm256_loadu_ps(sin + i);
        _mm256_storeu_ps(head + i, _mm256_fmsub_ps(u, c, _mm256_mul_ps(v, s)));
        _mm256_storeu_ps(head + i + half, _mm256_fmadd_ps(u, s, _mm256_mul_ps(v, c)));
    }
    for (; i < half; i++) {
        float u = head[i], v = head[i + half];
        head[i] = fmaf(u, cos[i], -(v * sin[i]));
        head[i + half] = fmaf(u, sin[i], v * cos[i]);
    }
}

static void rotate_pairs_avx2(float *head, const float *cos, const float *sin, int half) {
    int i = 0;
    for (; i + 4 <= half; i += 4) {
        __m128 c = _mm_loadu_ps(cos + i), s = _mm_loadu_ps(sin + i);
        __m256 cs = _mm256_set_m128(_mm_unpackhi_ps(c, s), _mm_unpacklo_ps(c, s));
        __m256 sc = _mm256_set_m128(_mm_unpackhi_ps(s, c), _mm_unpacklo_ps(s, c));
        __m256 x = _mm256_loadu_ps(head + 2 * i);
        __m256 v = _mm256_mul_ps(_mm256_movehdup_ps(x), sc);
        _mm256_storeu_ps(head + 2 * i, _mm256_fmaddsub_ps(_mm256_moveldup_ps(x), cs, v));
    }
    for (; i < half; i++) {
        float u = head[2 * i], v = head[2 * i + 1];
        head[2 * i] = fmaf(u, cos[i], -(v * sin[i]));
        head[2 * i + 1] = fmaf(u, sin[i], v * cos[i]);
    }
}

static void f32_to_f16_avx2(const float *x, f16_t *y, int n) {
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        _mm_storeu_si128((__m128i *)(y + i), _mm256_cvtps_ph(_mm256_loadu_ps(x + i), 0));
    }
    for (; i < n; i++) {
        y[i] = f16_from_f32(x[i]);
    }
}

static void f16_to_f32_avx2(const f16_t *x, float *y, int n) {
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        _mm256_storeu_ps(y + i, _mm256_cvtph_ps(load128(x + i)));
    }
    for (; i < n; i++) {
        y[i] = f32_from_f16(x[i]);
    }
}

/* ---- the table
 * ------------------------------------------------------------------------------------- */

#define ENTRY_Q(name, type, packing)                                                               \
    (struct micro_format) {                                                                        \
        MICRO_ACT_Q8, ROWS_AVX2, TOKS_AVX2, 2, gemv_##name, m->fmt[type].gemm_small,               \
            unpack_##name, pack_##packing, tile_##name, (size_t)(8 * panel_block(type)),           \
            (size_t)(TILE_HEAD + 8 * tile_block(type))                                             \
    }

void micro_init_avx2(struct micro *m) {
    m->name = "avx2";
    m->gemm_min = 4;
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
    m->fmt[DT_F32].gemv = gemv_f32;
    m->fmt[DT_F32].gemm_small = gemm_small_f32;
    m->fmt[DT_F32].unpack = unpack_f32;
    m->fmt[DT_F32].tile = tile_f;
    m->fmt[DT_F16].gemv = gemv_f16;
    m->fmt[DT_F16].gemm_small = gemm_small_f16;
    m->fmt[DT_F16].unpack = unpack_f16;
    m->fmt[DT_F16].tile = tile_f;
    m->fmt[DT_BF16].gemv = gemv_bf16;
    m->fmt[DT_BF16].gemm_small = gemm_small_bf16;
    m->fmt[DT_BF16].unpack = unpack_bf16;
    m->fmt[DT_BF16].tile = tile_f;
    m->quantize = quantize_avx2;
    m->rmsnorm = rmsnorm_avx2;
    m->layernorm = layernorm_avx2;
    m->activate = activate_avx2;
    m->act_mul = act_mul_avx2;
    m->add = add_avx2;
    m->softcap = softcap_avx2;
    m->axpy = axpy_avx2;
    m->rotate = rotate_avx2;
    m->rotate_pairs = rotate_pairs_avx2;
    m->f32_to_f16 = f32_to_f16_avx2;
    m->f16_to_f32 = f16_to_f32_avx2;
}
