/* micro_avx512.c: the micro-kernels for processors with AVX-512 (F, BW, VL, DQ, VBMI) and VNNI.
 *
 * Owns instructions, not arithmetic: micro.h and micro_c.c define every result to the bit, and
 * kern_check compares. Refuses to be called where the processor lacks any of these. What is not
 * here is as fast in 256 bits, and stays as micro_avx2.c left it.
 * Only static functions and micro_init_avx512; this file alone is compiled with -mavx512 flags.
 */
#include "kern/cpu/micro_bits_avx512.h"

/* ---- panels and tiles, quantized ---------------------------------------------------------------
 *
 * A panel has 32 rows and holds for each block: unsigned bytes, signed ones plus 128; then d [row],
 * one for each half in a split format; then minimums likewise. Bytes are [8][row][4], the columns
 * in order, or in a narrow format [4][quad_row][half][4]: the four columns that one VPDPBUSD
 * multiplies are of one half or, in turn, of both.
 *
 * A tile begins with d [token], in a line of its own, and holds for each block, all as dwords
 * [token], narrow ones [token][half]: activations [8]; what centers each half's sum of products
 * (-center * sum of q), where the format is centered; then, as [token] always, the multipliers:
 * both as int16 in one dword (narrow), or a float for each half; what is then added to the product
 * (narrow formats whose values are not the bytes less the center); s for each minimum.
 *
 * In a narrow format both halves' sums have to fit in int16, to be packed side by side, multiplied
 * and added by one VPDPWSSD: 16 * 15 * 127 does; of 5 bits 16 * (-16..15) * 127 does. In the others
 * a sum and its multiplier are exact as floats, so that their product rounds as the integer one's
 * conversion does. There are none where sums begin at the bits of the float 1.5 * 2^23: being less
 * than 2^22 they end at those of 1.5 * 2^23 + sum, and an FMA rounds that times the multiplier less
 * 1.5 * 2^23 times the multiplier once. The latter, of 16 bits, is in the tile behind them.
 */

#define ROWS_512  32
#define TOKS_512  12
#define TILE_HEAD 64 /* bytes before the first block of a tile */

INLINE int fmt_center(int type) { /* taken off each byte before the multiplier */
    return fmt_signed(type)      ? 128
           : fmt_split(type)     ? fmt_offset(type)
           : fmt_bits(type) == 5 ? 16
                                 : 0;
}

INLINE int fmt_rest(int type) { /* and what is taken off behind it */
    return fmt_narrow(type) ? fmt_offset(type) - fmt_center(type) : 0;
}

INLINE int panel_block(int type) {
    return 1024 + 128 * (fmt_scales(type) + fmt_mins(type));
}

#define BIAS      12582912.0f /* 1.5 * 2^23 */
#define BIAS_BITS 0x4b400000

/* Halves whose sums begin at BIAS_BITS: of a wide format the second is multiplied in one FMA with
 * the first's product added, and has to be a float before. */
INLINE int fmt_biased(int type) {
    return fmt_narrow(type) ? 0 : fmt_split(type) ? 2 : 1;
}

/* Places in a tile's block. */
INLINE int at_mul(int type) {
    return fmt_center(type) != 0 ? 10 : 8;
}

INLINE int at_bias(int type) {
    return at_mul(type) + (fmt_narrow(type) ? 1 : 2);
}

INLINE int at_rest(int type) {
    return at_bias(type) + fmt_biased(type);
}

INLINE int at_min(int type) {
    return at_rest(type) + (fmt_rest(type) != 0 ? 1 : 0);
}

INLINE int tile_block(int type) {
    return 4 * TOKS_512 * (at_min(type) + fmt_mins(type));
}

INLINE void unpack_scales(int type, const uint8_t *const g[16], int n, uint8_t *to) {
    __m512 d[4][8];
    rows_scales(type, g, d);
    for (int i = 0; i < fmt_scales(type) + fmt_mins(type); i++) {
        for (int j = 0; j < n; j++) {
            _mm512_storeu_ps(to + j * panel_block(type) + 1024 + 128 * i, d[i][j]);
        }
    }
}

/* v[r]: a block of row r and one of row r + 8, to [4][quad_row][half], 256 bytes apart. */
INLINE void store_pairs(__m512i v[8], uint8_t *to) {
    const __m512i halves = _mm512_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
    const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
    const __m512i high = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
    for (int r = 0; r < 8; r++) {
        v[r] = _mm512_permutexvar_epi32(halves, v[r]);
    }
    for (int i = 0; i < 2; i++) {
        __m512i even[2], odd[2];
        for (int k = 0; k < 2; k++) {
            even[k] = _mm512_unpacklo_epi64(v[2 * i + 4 * k], v[2 * i + 4 * k + 1]);
            odd[k] = _mm512_unpackhi_epi64(v[2 * i + 4 * k], v[2 * i + 4 * k + 1]);
        }
        store512(to + 64 * i, _mm512_permutex2var_epi64(even[0], low, even[1]));
        store512(to + 256 + 64 * i, _mm512_permutex2var_epi64(odd[0], low, odd[1]));
        store512(to + 512 + 64 * i, _mm512_permutex2var_epi64(even[0], high, even[1]));
        store512(to + 768 + 64 * i, _mm512_permutex2var_epi64(odd[0], high, odd[1]));
    }
}

/* Rows 0..15 or 16..31 (part 1) of a block. */
INLINE void unpack_block(int type, const uint8_t *const g[16], int j, int part, uint8_t *to) {
    __m512i v[8];
    for (int r = 0; r < 8; r++) {
        v[r] = two_blocks(type, (struct two){g[r], g[r + 8]}, j);
        if (fmt_signed(type)) {
            v[r] = _mm512_xor_si512(v[r], _mm512_set1_epi8((char)128));
        }
    }
    if (fmt_narrow(type)) {
        store_pairs(v, to + 128 * part);
    } else {
        transpose16x8(v);
        for (int i = 0; i < 8; i++) {
            store512(to + 64 * part + 128 * i, v[i]);
        }
    }
}

INLINE void unpack_q(int type, const uint8_t *const *row, int64_t n_col, uint8_t *to) {
    const int step = fmt_group_bytes(type);
    for (int64_t b = 0; b < n_col / MICRO_BLOCK; b += 8, to += 8 * panel_block(type)) {
        int n = n_col / MICRO_BLOCK - b < 8 ? (int)(n_col / MICRO_BLOCK - b) : 8;
        for (int half = 0; half < 2; half++) {
            uint8_t part[16][PART_BYTES];
            const uint8_t *g[16];
            group_rows(type, row + half * 16, 16, b / 8 * step, g);
            group_copies(type, 16, n, part, g);
            unpack_scales(type, g, n, to + half * 64);
#pragma GCC unroll 8
            for (int j = 0; j < 8; j++) {
                if (j < n) {
                    unpack_block(type, g, j, half, to + j * panel_block(type));
                }
            }
        }
    }
}

INLINE void put_float(int32_t *to, float v) {
    memcpy(to, &v, sizeof v);
}

/* Where dword i of half h is in a tile's block, of activations (i < 4) or centers (i = 4): see
 * above. */
INLINE int at_half(int type, int i, int h, int t) {
    return fmt_narrow(type) ? (i * TOKS_512 + t) * 2 + h
                            : ((i < 4 ? i + 4 * h : 8 + h) * TOKS_512) + t;
}

/* Block j of token t into its column of a tile. */
INLINE void pack_column(int type, const struct act_group *x, int j, int t, int32_t *block) {
    int32_t q[8], *to = block + t;
    memcpy(q, x->q + j * MICRO_BLOCK, sizeof q);
    for (int i = 0; i < 8; i++) {
        block[at_half(type, i % 4, i / 4, t)] = q[i];
    }
    int total = 0, pair = 0;
    for (int h = 0; h < 2; h++) {
        int mul = micro_mul(x, j, h), sum = x->sum[micro_half(j, h)];
        total += x->prod[micro_half(j, h)];
        pair |= mul << (16 * h);
        if (fmt_center(type) != 0) {
            block[at_half(type, 4, h, t)] =
                -fmt_center(type) * sum + (h < fmt_biased(type) ? BIAS_BITS : 0);
        }
        if (!fmt_narrow(type)) {
            put_float(to + (at_mul(type) + h) * TOKS_512, (float)mul);
        }
        if (h < fmt_biased(type)) {
            put_float(to + (at_bias(type) + h) * TOKS_512, -BIAS * (float)mul);
        }
        if (fmt_mins(type) == 2) {
            put_float(to + (at_min(type) + h) * TOKS_512, (float)(mul * sum));
        }
    }
    if (fmt_narrow(type)) {
        to[at_mul(type) * TOKS_512] = pair;
    }
    if (fmt_rest(type) != 0) {
        to[at_rest(type) * TOKS_512] = -fmt_rest(type) * total;
    }
    if (fmt_mins(type) == 1) {
        put_float(to + at_min(type) * TOKS_512, x->s[j]);
    }
}

INLINE void pack_q(int type, const void *const *x, int n_tok, int64_t n_col, uint8_t *tile) {
    static const struct act_group zero; /* tokens that the tile does not have */
    for (int t = 0; t < TOKS_512; t++) {
        put_float((int32_t *)(void *)tile + t, t < n_tok ? ((const struct act_group *)x[t])->d : 0);
    }
    tile += TILE_HEAD;
    for (int64_t b = 0; b < n_col / MICRO_BLOCK; b++, tile += tile_block(type)) {
        for (int t = 0; t < TOKS_512; t++) {
            const struct act_group *g = t < n_tok ? (const struct act_group *)x[t] + b / 8 : &zero;
            pack_column(type, g, (int)(b % 8), t, (int32_t *)(void *)tile);
        }
    }
}

INLINE __m512i dword(const uint8_t *tile, int i, int t) {
    int32_t v;
    memcpy(&v, tile + 4 * (i * TOKS_512 + t), sizeof v);
    return _mm512_set1_epi32(v);
}

INLINE __m512 dword_ps(const uint8_t *tile, int i, int t) {
    return _mm512_castsi512_ps(dword(tile, i, t));
}

/* Lanes of all eight blocks: [8][token][row]. A block's own: [token][row]. */
#define BLOCK_LANES (TOKS_512 * ROWS_512)

/* The bytes of a block in the panel's order. All sixteen registers stay loaded while the tokens
 * pass, so that the few products which end one token's sums run beside the many of the next. */
struct weights {
    __m512i v[16];
};

/* Sums of products of a block with one token, in narrow formats [rows 0..15, 16..31][2 registers of
 * quad_row], else [half][rows 0..15, 16..31]. Two tokens are eight chains of sums, as many as hide
 * the latency of a VPDPBUSD. */
INLINE __m512i half_dword(int type, const uint8_t *x, int i, int h, int t) {
    if (!fmt_narrow(type)) {
        return dword(x, i < 4 ? i + 4 * h : 8 + h, t);
    }
    int64_t v;
    memcpy(&v, x + 8 * (i * TOKS_512 + t), sizeof v);
    return _mm512_set1_epi64(v);
}

INLINE void block_dots(int type, const struct weights *w, const uint8_t *x, int t,
                       __m512i dot[2][4]) {
#pragma GCC unroll 2
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < 4; i++) {
            __m512i start =
                i / 2 < fmt_biased(type) ? _mm512_set1_epi32(BIAS_BITS) : _mm512_setzero_si512();
            dot[k][i] = fmt_center(type) != 0 ? half_dword(type, x, 4, i / 2, t + k) : start;
        }
    }
#pragma GCC unroll 4
    for (int g = 0; g < 4; g++) {
#pragma GCC unroll 2
        for (int k = 0; k < 2; k++) {
            for (int i = 0; i < 4; i++) {
                __m512i v = w->v[fmt_narrow(type) ? 4 * g + i : 2 * (g + 4 * (i / 2)) + i % 2];
                dot[k][i] = _mm512_dpbusd_epi32(dot[k][i], v, half_dword(type, x, g, i / 2, t + k));
            }
        }
    }
}

INLINE __m512 lane_fma(__m512 lane, __m512 v, const uint8_t *d) {
    return _mm512_fmadd_ps(v, load512_ps(d), lane);
}

/* One block of sixteen rows (part 0 or 1) added to a token's lane. */
INLINE __m512 block_add(int type, const __m512i dot[4], int part, const uint8_t *d,
                        const uint8_t *x, int t, __m512 lane) {
    const int mul = at_mul(type);
    if (fmt_narrow(type)) {
        __m512i pair = _mm512_packs_epi32(dot[2 * part], dot[2 * part + 1]);
        __m512i v = fmt_rest(type) != 0
                        ? _mm512_dpwssd_epi32(dword(x, at_rest(type), t), pair, dword(x, mul, t))
                        : _mm512_madd_epi16(pair, dword(x, mul, t));
        lane = lane_fma(lane, _mm512_cvtepi32_ps(v), d);
    } else {
        __m512 v[2];
        for (int h = 0; h < fmt_biased(type); h++) {
            v[h] = _mm512_fmadd_ps(_mm512_castsi512_ps(dot[2 * h + part]), dword_ps(x, mul + h, t),
                                   dword_ps(x, at_bias(type) + h, t));
        }
        if (fmt_split(type)) {
            lane = lane_fma(lane, v[0], d);
            lane = lane_fma(lane, v[1], d + 128);
        } else {
            v[1] = _mm512_cvtepi32_ps(dot[2 + part]);
            lane = lane_fma(lane, _mm512_fmadd_ps(v[1], dword_ps(x, mul + 1, t), v[0]), d);
        }
    }
    for (int m = 0; m < fmt_mins(type); m++) {
        lane = lane_fma(lane, dword_ps(x, at_min(type) + m, t), d + 128 * (fmt_scales(type) + m));
    }
    return lane;
}

/* For each pair of tokens a share of: the next block of the panel, from L2 to L1; a later block of
 * the tile, to L1; and of the tile, which may be in L3 only, a still later one to L2, which takes
 * more misses at a time. */
#define TILE_NEAR 3
#define TILE_FAR  24

INLINE void fetch_blocks(int type, const uint8_t *w, const uint8_t *x, int t) {
    for (int i = 0; i < 4; i++) {
        _mm_prefetch((const char *)w + panel_block(type) + 64 * (2 * t + i), _MM_HINT_T0);
    }
    for (int i = 0; i < 2 && 64 * (t + i) < tile_block(type); i++) {
        const char *at = (const char *)x + 64 * (t + i);
        _mm_prefetch(at + TILE_FAR * tile_block(type), _MM_HINT_T1);
        _mm_prefetch(at + TILE_NEAR * tile_block(type), _MM_HINT_T0);
    }
}

/* Blocks b to end; the first eight find no sums in their lanes yet. */
INLINE void tile_blocks(int type, int n_tok, const uint8_t *w, const uint8_t *x, int64_t b,
                        int64_t end, bool first, const struct micro_wanted *next, int *left,
                        float *all) {
    w += b * panel_block(type);
    x += b * tile_block(type);
    for (; b < end; b++, w += panel_block(type), x += tile_block(type)) {
        float *lane = all + b % 8 * BLOCK_LANES;
        struct weights v;
        if (*left > 0) {
            micro_fetch(next, --*left);
        }
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            v.v[i] = load512(w + i * 64);
        }
        for (int t = 0; t < n_tok; t += 2) {
            __m512i dot[2][4];
            fetch_blocks(type, w, x, t);
            block_dots(type, &v, x, t, dot);
            for (int k = 0; k < 2; k++, lane += ROWS_512) {
                for (int i = 0; i < 2; i++) {
                    __m512 sum = first ? _mm512_setzero_ps() : _mm512_load_ps(lane + 16 * i);
                    sum = block_add(type, dot[k], i, w + 1024 + 64 * i, x, t + k, sum);
                    _mm512_store_ps(lane + 16 * i, sum);
                }
            }
        }
    }
}

INLINE void tile_q(int type, const void *panel, const void *tile, int n_tok, int64_t n_col,
                   const struct micro_wanted *next, float *y) {
    float lane[8 * BLOCK_LANES] __attribute__((aligned(64)));
    const uint8_t *x = (const uint8_t *)tile + TILE_HEAD;
    int64_t n = n_col / MICRO_BLOCK;
    int left = micro_fetch_more(next, n);
    if (n < 8) {
        memset(lane + n * BLOCK_LANES, 0, (size_t)(8 - n) * BLOCK_LANES * sizeof *lane);
    }
    tile_blocks(type, n_tok, panel, x, 0, n < 8 ? n : 8, true, next, &left, lane);
    tile_blocks(type, n_tok, panel, x, 8, n, false, next, &left, lane);
    for (int t = 0; t < n_tok; t++) {
        for (int i = 0; i < 32; i += 16) {
            __m512 l[8];
            for (int j = 0; j < 8; j++) {
                l[j] = _mm512_load_ps(lane + j * BLOCK_LANES + t * ROWS_512 + i);
            }
            __m512 even = _mm512_add_ps(_mm512_add_ps(l[0], l[4]), _mm512_add_ps(l[2], l[6]));
            __m512 odd = _mm512_add_ps(_mm512_add_ps(l[1], l[5]), _mm512_add_ps(l[3], l[7]));
            __m512 sum = _mm512_mul_ps(dword_ps(tile, 0, t), _mm512_add_ps(even, odd));
            _mm512_storeu_ps(y + t * ROWS_512 + i, sum);
        }
    }
}

#define UNPACK_Q(name, type)                                                                       \
    static void unpack_##name(const uint8_t *const *row, int64_t n_col, void *panel) {             \
        unpack_q(type, row, n_col, panel);                                                         \
    }
#define PACK_Q(name, type)                                                                         \
    static void pack_##name(const void *const *x, int n_tok, int64_t n_col, void *tile) {          \
        pack_q(type, x, n_tok, n_col, tile);                                                       \
    }
#define TILE_Q(name, type)                                                                         \
    static void tile_##name(const void *panel, const void *tile, int n_tok, int64_t n_col,         \
                            const struct micro_wanted *next, float *y) {                           \
        tile_q(type, panel, tile, n_tok, n_col, next, y);                                          \
    }

MICRO_FORMATS(UNPACK_Q)

/* Formats that differ only in how their bytes and scales are read share tiles. */
PACK_Q(q4_0, DT_Q4_0)
PACK_Q(min4, DT_Q4_K)
PACK_Q(q5_0, DT_Q5_0)
PACK_Q(min5, DT_Q5_K)
PACK_Q(q2_k, DT_Q2_K)
PACK_Q(q3_k, DT_Q3_K)
PACK_Q(q6_k, DT_Q6_K)
PACK_Q(wide, DT_Q8_0)
TILE_Q(q4_0, DT_Q4_0)
TILE_Q(min4, DT_Q4_K)
TILE_Q(q5_0, DT_Q5_0)
TILE_Q(min5, DT_Q5_K)
TILE_Q(q2_k, DT_Q2_K)
TILE_Q(split, DT_Q6_K)
TILE_Q(wide, DT_Q8_0)

/* ---- the table ------------------------------------------------------------------------------ */

INLINE void set_q(struct micro_format *f, int type) {
    f->rows = ROWS_512;
    f->toks = TOKS_512;
    f->gemm_tiles = NULL;
    f->panel_bytes = (size_t)(8 * panel_block(type));
    f->tile_bytes = (size_t)(TILE_HEAD + 8 * tile_block(type));
}

#define ENTRY_Q(type, name, packing, tiling)                                                       \
    m->fmt[type].unpack = unpack_##name;                                                           \
    m->fmt[type].pack = pack_##packing;                                                            \
    m->fmt[type].tile = tile_##tiling;                                                             \
    set_q(&m->fmt[type], type)

void micro_init_avx512(struct micro *m) {
    m->name = "avx512";
    m->gemm_min = 6;
    ENTRY_Q(DT_Q4_0, q4_0, q4_0, q4_0);
    ENTRY_Q(DT_Q4_1, q4_1, min4, min4);
    ENTRY_Q(DT_Q5_0, q5_0, q5_0, q5_0);
    ENTRY_Q(DT_Q5_1, q5_1, min5, min5);
    ENTRY_Q(DT_Q8_0, q8_0, wide, wide);
    ENTRY_Q(DT_Q2_K, q2_k, q2_k, q2_k);
    ENTRY_Q(DT_Q3_K, q3_k, q3_k, split);
    ENTRY_Q(DT_Q4_K, q4_k, min4, min4);
    ENTRY_Q(DT_Q5_K, q5_k, min5, min5);
    ENTRY_Q(DT_Q6_K, q6_k, q6_k, split);
    ENTRY_Q(DT_Q8_K, q8_k, wide, wide);
    ENTRY_Q(DT_IQ4_NL, iq4_nl, wide, wide);
    ENTRY_Q(DT_IQ4_XS, iq4_xs, wide, wide);
}
