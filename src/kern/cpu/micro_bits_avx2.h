/* micro_bits_avx2.h: blocks of quantized weights as AVX2 registers: bytes in the order of the
 * columns, and scales of 256 columns at a time.
 *
 * Owns what a format's bits mean to the ISA files of x86-64, which alone include it. Refuses
 * arithmetic on activations. Quantized weights come out of memory as 32 bytes a block in one of two
 * kinds: unsigned (up to 63, with an offset that is taken off as offset * sum of activations), or
 * signed bytes. A new format is one case in block_bytes and one in group_scales, over the type as a
 * constant. Invariant: the values and scales are those of micro_block.c, to the bit.
 */
#ifndef IGN_KERN_CPU_MICRO_BITS_AVX2_H
#define IGN_KERN_CPU_MICRO_BITS_AVX2_H

#include <immintrin.h>
#include <string.h>

#include "kern/cpu/micro_fmt.h"

/* Hides from the compiler what v is: sums stay in the order written, since as trees they would need
 * more registers than there are; what is loaded once stays so; zeros are not stored by memset. */
#define KEEP(v) __asm__("" : "+x"(v))

/* The order of micro_sum8. */
INLINE float sum8(__m256 v) {
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}

/* ---- weights on their way ------------------------------------------------------------------
 *
 * One row of activations, or a small batch, takes a matrix as four streams, a quarter of the rows
 * each, side by side. The processor's own prefetcher stops at each page and follows one stream in
 * it: of a single one it has few lines on their way while a core computes, of four enough; rows
 * that are neighbours share pages, and look like one stream that leaps. Lines come from memory to
 * L2 early, and to L1, which has to hold the activations, too, and takes few misses at a time,
 * late. Past the end of the weights a fetch is a hint without effect. */
#define STREAMS      4
#define AHEAD_FAR    4096 /* bytes, to L2; a row's end is followed by the next one */
#define AHEAD_NEAR   768  /* to L1 */
#define STREAM_TURN  600  /* of one stream, some ten lines, before the next has its turn */
#define STREAM_LEAST 2048 /* of a stream; in place of shorter ones, neighbours side by side */

/* Rows between those side by side. */
INLINE int stream_apart(size_t row_bytes, int n_row) {
    int part = (n_row + STREAMS - 1) / STREAMS;
    return (size_t)part * row_bytes < STREAM_LEAST ? 1 : part;
}

/* The first of the four rows of step i, of which there are a quarter of the rows. */
INLINE int stream_first(int apart, int i) {
    return apart == 1 ? i * STREAMS : i;
}

/* Four rows; past the matrix's end its last row again, whose results are dropped. */
INLINE void stream_at(const uint8_t *w, size_t row_bytes, int n_row, int apart, int row,
                      const uint8_t *g[STREAMS]) {
    for (int k = 0; k < STREAMS; k++, row += apart) {
        g[k] = w + (size_t)(row < n_row ? row : n_row - 1) * row_bytes;
    }
}

/* `bytes` of a stream are read now. */
INLINE void stream_fetch(const uint8_t *g, int bytes) {
    for (int i = 0; i < bytes; i += 64) {
        _mm_prefetch((const char *)g + AHEAD_FAR + i, _MM_HINT_T1);
        _mm_prefetch((const char *)g + AHEAD_NEAR + i, _MM_HINT_T0);
    }
}

INLINE void streams_fetch(const uint8_t *const g[STREAMS], int bytes) {
    for (int k = 0; k < STREAMS; k++) {
        stream_fetch(g[k], bytes);
    }
}

INLINE void stream_move(const uint8_t *g[STREAMS], int bytes) {
    for (int k = 0; k < STREAMS; k++) {
        g[k] += bytes;
    }
}

/* Those rows' results are v. */
INLINE void stream_put(const float v[STREAMS], int n_row, int apart, int row, float *y) {
    for (int k = 0; k < STREAMS && row < n_row; k++, row += apart) {
        y[row] = v[k];
    }
}

/* ---- rows of a panel ----------------------------------------------------------------------- */

/* So many rows at a time are more streams than the processor's own prefetcher follows. */
#define UNPACK_AHEAD 512

/* Room for a group of the widest blocks of 32, in whole registers: decoders read all of it. */
#define PART_BYTES ((8 * (int)sizeof(struct block_q8_0) + 31) / 32 * 32)

/* The first n blocks of a group, 1 <= n < 8, at `from`, zeros behind them. By whole registers: rows
 * are often short, and the string instructions that memset and memcpy may become take longer to
 * start than this takes. */
INLINE void copy_blocks(int type, const uint8_t *from, int n, uint8_t to[PART_BYTES]) {
    const int bytes = n * fmt_bytes(type);
    __m256i zero = _mm256_setzero_si256();
    KEEP(zero);
    for (int i = 0; i < PART_BYTES; i += 32) {
        _mm256_storeu_si256((__m256i *)(void *)(to + i), zero);
    }
    for (int i = 0; i < bytes; i += 16) { /* the last 16 overlap those before */
        int at = i < bytes - 16 ? i : bytes - 16;
        _mm_storeu_si128((__m128i *)(void *)(to + at),
                         _mm_loadu_si128((const __m128i *)(const void *)(from + at)));
    }
}

/* A group of n_row rows, which begins `at` bytes behind their beginnings, to g. */
INLINE void group_rows(int type, const uint8_t *const *row, int n_row, int64_t at,
                       const uint8_t **g) {
    const int bytes = fmt_group_bytes(type);
    for (int r = 0; r < n_row; r++) {
        g[r] = row[r] + at;
        for (int i = 0; i < bytes; i += 64) {
            _mm_prefetch((const char *)g[r] + UNPACK_AHEAD + i, _MM_HINT_T0);
        }
    }
}

/* For decoders that read all eight blocks of a group: the last one of a row of blocks of 32, which
 * may have n < 8 of them, as copies in `part`, so that nothing is read past a row's end. */
INLINE void group_copies(int type, int n_row, int n, uint8_t (*part)[PART_BYTES],
                         const uint8_t **g) {
    for (int r = 0; fmt_small(type) && n < 8 && r < n_row; r++) {
        copy_blocks(type, g[r], n, part[r]);
        g[r] = part[r];
    }
}

/* ---- bytes of a block --------------------------------------------------------------------- */

INLINE __m256i load256(const void *p) {
    return _mm256_loadu_si256((const __m256i *)p);
}

INLINE __m128i load128(const void *p) {
    return _mm_loadu_si128((const __m128i *)p);
}

INLINE __m256i two128(const void *low, const void *high) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(load128(low)), load128(high), 1);
}

INLINE uint16_t u16_at(const uint8_t *p) {
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

INLINE int32_t i32_at(const uint8_t *p) {
    int32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Of sixteen numbers in the order of micro_half those of half h of the eight blocks. */
INLINE __m256i half_of(const int32_t v[16], int h) {
    return two128(v + 4 * h, v + 8 + 4 * h);
}

/* 16 bytes to 32: low nibbles, then high nibbles. */
INLINE __m256i nibbles(const uint8_t *q) {
    __m128i x = load128(q);
    __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(x), _mm_srli_epi16(x, 4), 1);
    return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

/* 16 in every byte whose bit of h is set. */
INLINE __m256i fifth_bits(const uint8_t *h) {
    const __m256i spread = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2,
                                            2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    __m256i x = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(i32_at(h)), spread), bit);
    return _mm256_and_si256(_mm256_cmpeq_epi8(x, bit), _mm256_set1_epi8(16));
}

/* Bits of each byte moved left by n (right if negative), those of `mask` kept. Shifts are by 16
 * bits, so the mask must leave out what crosses a byte. */
INLINE __m256i shift_mask(__m256i x, int n, int mask) {
    x = n > 0 ? _mm256_slli_epi16(x, n) : n < 0 ? _mm256_srli_epi16(x, -n) : x;
    return _mm256_and_si256(x, _mm256_set1_epi8((char)mask));
}

/* Block j of the group that starts at g: 32 bytes in the order of the columns. */
INLINE __m256i block_bytes(int type, const uint8_t *g, int j) {
    const uint8_t *b = fmt_small(type) ? g + j * fmt_bytes(type) : g;
    switch (type) {
    case DT_Q4_0: return nibbles(((const struct block_q4_0 *)b)->q);
    case DT_Q4_1: return nibbles(((const struct block_q4_1 *)b)->q);
    case DT_Q5_0: {
        const struct block_q5_0 *s = (const struct block_q5_0 *)b;
        return _mm256_or_si256(nibbles(s->q), fifth_bits(s->h));
    }
    case DT_Q5_1: {
        const struct block_q5_1 *s = (const struct block_q5_1 *)b;
        return _mm256_or_si256(nibbles(s->q), fifth_bits(s->h));
    }
    case DT_Q8_0: return load256(((const struct block_q8_0 *)b)->q);
    case DT_Q2_K:
        return shift_mask(load256(((const struct block_q2_k *)b)->q + j / 4 * 32), -(j % 4 * 2), 3);
    case DT_Q3_K: {
        const struct block_q3_k *s = (const struct block_q3_k *)b;
        return _mm256_or_si256(shift_mask(load256(s->q + j / 4 * 32), -(j % 4 * 2), 3),
                               shift_mask(load256(s->h), 2 - j, 4));
    }
    case DT_Q4_K:
        return shift_mask(load256(((const struct block_q4_k *)b)->q + j / 2 * 32), -(j % 2 * 4),
                          15);
    case DT_Q5_K: {
        const struct block_q5_k *s = (const struct block_q5_k *)b;
        return _mm256_or_si256(shift_mask(load256(s->q + j / 2 * 32), -(j % 2 * 4), 15),
                               shift_mask(load256(s->h), 4 - j, 16));
    }
    case DT_Q6_K: {
        const struct block_q6_k *s = (const struct block_q6_k *)b;
        __m256i low = load256(s->ql + j / 4 * 64 + j % 2 * 32);
        return _mm256_or_si256(shift_mask(low, -(j % 4 / 2 * 4), 15),
                               shift_mask(load256(s->qh + j / 4 * 32), 4 - j % 4 * 2, 48));
    }
    case DT_Q8_K: return load256(((const struct block_q8_k *)b)->q + j * 32);
    default: {
        const uint8_t *q = type == DT_IQ4_NL ? ((const struct block_iq4_nl *)b)->q
                                             : ((const struct block_iq4_xs *)b)->q + j * 16;
        __m256i table = _mm256_broadcastsi128_si256(load128(quant_iq4_values));
        return _mm256_shuffle_epi8(table, nibbles(q));
    }
    }
}

/* ---- scales of a group ---------------------------------------------------------------------- */

/* The one or two f16 that each of n <= 4 blocks at g begins with: the first of all, then the
 * second; zeros where there is no block. */
INLINE __m128i quad_halves(int type, const uint8_t *g, int n) {
    const int step = fmt_bytes(type);
    __m128i v = _mm_setzero_si128();
    if (fmt_mins(type) == 0) {
        v = n > 0 ? _mm_insert_epi16(v, u16_at(g), 0) : v;
        v = n > 1 ? _mm_insert_epi16(v, u16_at(g + step), 1) : v;
        v = n > 2 ? _mm_insert_epi16(v, u16_at(g + 2 * step), 2) : v;
        return n > 3 ? _mm_insert_epi16(v, u16_at(g + 3 * step), 3) : v;
    }
    v = n > 0 ? _mm_insert_epi32(v, i32_at(g), 0) : v;
    v = n > 1 ? _mm_insert_epi32(v, i32_at(g + step), 1) : v;
    v = n > 2 ? _mm_insert_epi32(v, i32_at(g + 2 * step), 2) : v;
    v = n > 3 ? _mm_insert_epi32(v, i32_at(g + 3 * step), 3) : v;
    return _mm_shuffle_epi8(v, _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
}

INLINE __m256 half1(f16_t h) {
    return _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(h)));
}

/* Six-bit scales and minimums of Q4_K and Q5_K, a byte each. */
INLINE void k4_scales(const uint8_t sc[12], __m128i *scale, __m128i *min) {
    uint32_t a, b, c;
    memcpy(&a, sc, 4);
    memcpy(&b, sc + 4, 4);
    memcpy(&c, sc + 8, 4);
    uint64_t s0 = a & 0x3f3f3f3fu, s1 = (c & 0x0f0f0f0fu) | (a >> 2 & 0x30303030u);
    uint64_t m0 = b & 0x3f3f3f3fu, m1 = (c >> 4 & 0x0f0f0f0fu) | (b >> 2 & 0x30303030u);
    *scale = _mm_cvtsi64_si128((long long)(s0 | s1 << 32));
    *min = _mm_cvtsi64_si128((long long)(m0 | m1 << 32));
}

INLINE __m128i q3_scales(const uint8_t sc[12]) {
    uint32_t a, b, t;
    memcpy(&a, sc, 4);
    memcpy(&b, sc + 4, 4);
    memcpy(&t, sc + 8, 4);
    const uint32_t low = 0x0f0f0f0fu, high = 0x30303030u;
    __m128i x =
        _mm_setr_epi32((int)((a & low) | (t << 4 & high)), (int)((b & low) | (t << 2 & high)),
                       (int)((a >> 4 & low) | (t & high)), (int)((b >> 4 & low) | (t >> 2 & high)));
    return _mm_sub_epi8(x, _mm_set1_epi8(32));
}

/* A group's scales and minimums, sign included, per block: [0] alone, or one for each half where
 * the format is split. */
struct scales {
    __m256 d[2], min[2];
};

/* Of two quads' quad_halves. */
INLINE struct scales small_scales(int type, __m128i a, __m128i b) {
    struct scales s;
    s.d[0] = _mm256_cvtph_ps(_mm_unpacklo_epi64(a, b));
    s.d[1] = s.min[0] = s.min[1] = _mm256_setzero_ps();
    if (fmt_mins(type) == 1) {
        s.min[0] = _mm256_cvtph_ps(_mm_unpackhi_epi64(a, b));
    }
    return s;
}

/* Integers as bytes [block] times a scale. */
INLINE __m256 times_u8(__m256 d, __m128i v) {
    return _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(v)));
}

INLINE __m256 times_i8(__m256 d, __m128i v) {
    return _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(v)));
}

/* d, and behind it dmin, in every lane; the latter with its sign changed. */
INLINE void spread_d_dmin(const f16_t *d, __m256 *scale, __m256 *min) {
    __m256 both = _mm256_cvtph_ps(_mm_set1_epi32(i32_at((const uint8_t *)d)));
    *scale = _mm256_moveldup_ps(both);
    *min = _mm256_xor_ps(_mm256_movehdup_ps(both), _mm256_set1_ps(-0.0f));
}

INLINE void set_k4(struct scales *s, const f16_t *d, const uint8_t sc[12]) {
    __m128i scale, min;
    __m256 by, less;
    k4_scales(sc, &scale, &min);
    spread_d_dmin(d, &by, &less);
    s->d[0] = times_u8(by, scale);
    s->min[0] = times_u8(less, min);
}

/* Bytes [block][half] to [half][block]. */
INLINE __m128i by_half(__m128i v) {
    return _mm_shuffle_epi8(v, _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
}

INLINE void set_halves(struct scales *s, f16_t d, __m128i sc) {
    sc = by_half(sc);
    s->d[0] = times_i8(half1(d), sc);
    s->d[1] = times_i8(half1(d), _mm_srli_si128(sc, 8));
}

INLINE __m256 iq4_scales(const struct block_iq4_xs *b) {
    __m256i l = _mm256_srlv_epi32(_mm256_set1_epi32(i32_at(b->sc_l)),
                                  _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
    __m256i h = _mm256_srlv_epi32(_mm256_set1_epi32(b->sc_h << 4),
                                  _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14));
    l = _mm256_and_si256(l, _mm256_set1_epi32(15));
    h = _mm256_and_si256(h, _mm256_set1_epi32(48));
    l = _mm256_sub_epi32(_mm256_or_si256(l, h), _mm256_set1_epi32(32));
    return _mm256_mul_ps(half1(b->d), _mm256_cvtepi32_ps(l));
}

/* Of the group at g, all of whose blocks are there. */
INLINE struct scales group_scales(int type, const uint8_t *g) {
    struct scales s;
    s.d[0] = s.d[1] = s.min[0] = s.min[1] = _mm256_setzero_ps();
    switch (type) {
    case DT_Q4_K: {
        const struct block_q4_k *b = (const struct block_q4_k *)g;
        set_k4(&s, &b->d, b->sc);
        break;
    }
    case DT_Q5_K: {
        const struct block_q5_k *b = (const struct block_q5_k *)g;
        set_k4(&s, &b->d, b->sc);
        break;
    }
    case DT_IQ4_XS: s.d[0] = iq4_scales((const struct block_iq4_xs *)g); break;
    case DT_Q2_K: {
        const struct block_q2_k *b = (const struct block_q2_k *)g;
        __m128i x = load128(b->sc), low = _mm_set1_epi8(15);
        __m128i min = by_half(_mm_and_si128(_mm_srli_epi16(x, 4), low));
        set_halves(&s, b->d, _mm_and_si128(x, low));
        __m256 by, less;
        spread_d_dmin(&b->d, &by, &less);
        s.min[0] = times_u8(less, min);
        s.min[1] = times_u8(less, _mm_srli_si128(min, 8));
        break;
    }
    case DT_Q3_K: {
        const struct block_q3_k *b = (const struct block_q3_k *)g;
        set_halves(&s, b->d, q3_scales(b->sc));
        break;
    }
    case DT_Q6_K: {
        const struct block_q6_k *b = (const struct block_q6_k *)g;
        set_halves(&s, b->d, load128(b->sc));
        break;
    }
    case DT_Q8_K: s.d[0] = _mm256_broadcast_ss(&((const struct block_q8_k *)g)->d); break;
    default:
        return small_scales(type, quad_halves(type, g, 4),
                            quad_halves(type, g + 4 * fmt_bytes(type), 4));
    }
    return s;
}

#endif
