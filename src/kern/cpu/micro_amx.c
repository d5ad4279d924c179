/* micro_amx.c: panels and tiles of quantized weights for processors with AMX (tiles of bytes).
 *
 * Owns instructions, not arithmetic: micro.h and micro_c.c define every result to the bit. One
 * TDPBSSD gives 256 sums of products of 16 columns; what these are multiplied by and added to, in
 * vectors of one row and 16 tokens, costs several times as much. While tiles are in use the
 * processor multiplies vectors of 512 bits through one port in place of two, so that
 * multiplications are what counts here; additions and shuffles have the other port. Refuses float
 * weights and few rows of activations: what micro_avx512.c and its neighbours have does not wait
 * for sums of bytes. Only static functions and micro_init_amx. Invariant: the tile registers are in
 * their initial state whenever no tile is being multiplied, so that no switch of threads has to
 * save them.
 */
#include "kern/cpu/micro_bits_avx512.h"

#define SIDE 16 /* rows of weights and tokens of one product */
#define ROWS 32 /* in two parts of SIDE */
#define TOKS SIDE

/* ---- layouts -----------------------------------------------------------------------------------
 *
 * The products of blocks j, j + 8, j + 16, ... of a row are added to lane j. They are computed one
 * after the other, so that the lane stays in registers, and the blocks lie in this order: of lane
 * 0, of lane 1, ... A panel has those of 16 rows, then those of the other 16.
 *
 * A panel's block: signed bytes [row][32], d [row], one for each half in a split format, then
 * minimums likewise. A tile begins with d [token]; its block, in dwords [token]: activations [8],
 * multipliers, what is added to a narrow format's products, s for each minimum.
 *
 * In a narrow format both halves' sums are packed to int16, which they have to fit, for VPMADDWD to
 * multiply and add them in pairs: 16 * 15 * 127 does; of five bits without an offset, 16 is taken
 * off each weight, and added in the end as 16 times mul * (sum of q) of both halves. In the others
 * a sum and its multiplier are exact as floats, so that their product rounds as the integer one's
 * conversion does. Less than 2^22, a sum plus the bits of 1.5 * 2^23 is that float plus the sum,
 * and an FMA takes the former's product off again: an addition in place of a conversion.
 */

INLINE int fmt_rest(int type) { /* taken off each byte of five bits, and added again in the end */
    return fmt_narrow(type) && fmt_offset(type) == 0 && fmt_bits(type) == 5 ? 16 : 0;
}

INLINE int fmt_center(int type) { /* taken off each byte before it is multiplied */
    return fmt_offset(type) + fmt_rest(type);
}

INLINE int panel_block(int type) {
    return 32 * SIDE + 64 * (fmt_scales(type) + fmt_mins(type));
}

/* Places in a tile's block, in lines of 16 tokens. */
enum { AT_MUL = 8 };

INLINE int at_more(int type) {
    return AT_MUL + (fmt_narrow(type) ? 1 : 2);
}

INLINE int at_min(int type) {
    return at_more(type) + (fmt_rest(type) != 0 ? 1 : 0);
}

INLINE int tile_block(int type) {
    return 64 * (at_min(type) + fmt_mins(type));
}

/* Where block b of n is in this order. */
INLINE int64_t place(int64_t b, int64_t n) {
    int64_t j = b % 8;
    return j * (n / 8) + (j < n % 8 ? j : n % 8) + b / 8;
}

/* ---- unpacking --------------------------------------------------------------------------------
 */

/* to[j]: the place of block j of a group, of which there are n. */
INLINE void unpack_scales(int type, const uint8_t *const g[SIDE], int n, uint8_t *const to[8]) {
    __m512 d[4][8];
    rows_scales(type, g, d);
    for (int i = 0; i < fmt_scales(type) + fmt_mins(type); i++) {
        for (int j = 0; j < n; j++) {
            _mm512_storeu_ps(to[j] + 32 * SIDE + 64 * i, d[i][j]);
        }
    }
}

/* Rows r and r + 1: a line of each block. */
INLINE void unpack_pair(int type, const uint8_t *const g[SIDE], int r, int n,
                        uint8_t *const to[8]) {
    __m512i v[8];
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        v[j] = two_blocks(type, (struct two){g[r], g[r + 1]}, j);
        if (fmt_center(type) != 0) {
            v[j] = _mm512_sub_epi8(v[j], _mm512_set1_epi8((char)fmt_center(type)));
        }
    }
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        if (j < n) {
            store512(to[j] + 32 * r, v[j]);
        }
    }
}

/* Sixteen rows. */
INLINE void unpack_rows(int type, const uint8_t *const *row, int64_t n_block, uint8_t *to) {
    const int bytes = fmt_group_bytes(type);
    for (int64_t b = 0; b < n_block; b += 8) {
        int n = n_block - b < 8 ? (int)(n_block - b) : 8;
        uint8_t part[SIDE][PART_BYTES], *at[8];
        const uint8_t *g[SIDE];
        for (int j = 0; j < n; j++) {
            at[j] = to + place(b + j, n_block) * panel_block(type);
        }
        group_rows(type, row, SIDE, b / 8 * bytes, g);
        group_copies(type, SIDE, n, part, g);
        unpack_scales(type, g, n, at);
        for (int r = 0; r < SIDE; r += 2) {
            unpack_pair(type, g, r, n, at);
        }
    }
}

INLINE void unpack_q(int type, const uint8_t *const *row, int64_t n_col, uint8_t *to) {
    const int64_t n = n_col / MICRO_BLOCK;
    for (int r = 0; r < ROWS; r += SIDE, to += n * panel_block(type)) {
        unpack_rows(type, row + r, n, to);
    }
}

/* ---- packing ----------------------------------------------------------------------------------
 */

/* Eight dwords at `at` of each of sixteen tokens' groups, to eight registers of [token]. */
INLINE void columns(const struct act_group *const g[TOKS], size_t at, __m512i v[8]) {
#pragma GCC unroll 8
    for (int t = 0; t < 8; t++) {
        v[t] = join(load256((const uint8_t *)g[t] + at), load256((const uint8_t *)g[t + 8] + at));
    }
    transpose16x8(v);
}

INLINE __m512i as_floats(__m512i v) {
    return _mm512_castps_si512(_mm512_cvtepi32_ps(v));
}

/* The multipliers of both halves [token], and sums times them. */
INLINE void put_factors(int type, const __m512i mul[2], const __m512i sum[2], uint8_t *to) {
    __m512i both[2] = {_mm512_mullo_epi32(mul[0], sum[0]), _mm512_mullo_epi32(mul[1], sum[1])};
    if (fmt_narrow(type)) {
        store512(to + 64 * AT_MUL, _mm512_or_si512(mul[0], _mm512_slli_epi32(mul[1], 16)));
    }
    for (int h = 0; h < 2 && !fmt_narrow(type); h++) {
        store512(to + 64 * (AT_MUL + h), as_floats(mul[h]));
    }
    if (fmt_rest(type) != 0) {
        __m512i more = _mm512_add_epi32(both[0], both[1]);
        more = _mm512_mullo_epi32(more, _mm512_set1_epi32(fmt_rest(type)));
        store512(to + 64 * at_more(type), more);
    }
    for (int h = 0; h < 2 && fmt_mins(type) == 2; h++) {
        store512(to + 64 * (at_min(type) + h), as_floats(both[h]));
    }
}

/* Blocks b to b + 7 of n. */
INLINE void pack_group(int type, const struct act_group *const g[TOKS], int64_t b, int64_t n,
                       uint8_t *tile) {
    __m512i mul[16], sum[16], s[8], q[8];
    for (int i = 0; i < 2; i++) {
        columns(g, offsetof(struct act_group, pair) + 32 * (size_t)i, mul + 8 * i);
        columns(g, offsetof(struct act_group, sum) + 32 * (size_t)i, sum + 8 * i);
    }
    for (int i = 0; i < 16; i++) {
        mul[i] = _mm512_srli_epi32(mul[i], 16);
    }
    columns(g, offsetof(struct act_group, s), s);
    for (int j = 0; j < 8 && b + j < n; j++) {
        const int h0 = micro_half(j, 0), h1 = micro_half(j, 1);
        uint8_t *to = tile + place(b + j, n) * tile_block(type);
        columns(g, offsetof(struct act_group, q) + 32 * (size_t)j, q);
        for (int i = 0; i < 8; i++) {
            store512(to + 64 * i, q[i]);
        }
        put_factors(type, (const __m512i[2]){mul[h0], mul[h1]},
                    (const __m512i[2]){sum[h0], sum[h1]}, to);
        if (fmt_mins(type) == 1) {
            store512(to + 64 * at_min(type), s[j]);
        }
    }
}

INLINE void pack_q(int type, const void *const *x, int n_tok, int64_t n_col, uint8_t *tile) {
    static const struct act_group zero; /* tokens that the tile does not have */
    const struct act_group *g[TOKS];
    const int64_t n = n_col / MICRO_BLOCK;
    float d[TOKS];
    for (int t = 0; t < TOKS; t++) {
        g[t] = t < n_tok ? x[t] : &zero;
        d[t] = g[t]->d;
    }
    memcpy(tile, d, sizeof d);
    for (int64_t b = 0; b < n; b += 8) {
        pack_group(type, g, b, n, tile + sizeof d);
        for (int t = 0; t < n_tok; t++) {
            g[t]++;
        }
    }
}

/* ---- products ---------------------------------------------------------------------------------
 */

/* Palette 1: rows and bytes of a row of each tile register. 0 to 3: sums [row][token]; 4 and 5:
 * weights of half a block [row][16]; 6 and 7: its activations [4][token][4]. */
static const struct {
    uint8_t palette, start, none[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} tile_config __attribute__((aligned(64))) = {
    .palette = 1,
    .bytes = {64, 64, 64, 64, 16, 16, 64, 64},
    .rows = {SIDE, SIDE, SIDE, SIDE, SIDE, SIDE, 4, 4},
};

/* The compiler knows nothing of what a tile instruction reads and writes. */
#define TILE_FENCE() __asm__ volatile("" ::: "memory")

/* The block that is multiplied next: two ahead of the one whose sums are used. And lines to fetch,
 * one with each block. */
struct ahead {
    const uint8_t *w, *x;
    const uint8_t *panel, *tile; /* where to begin again: w after both parts of it, x after each */
    int64_t n, at, left_x;       /* blocks in a part; passed of the panel; left of the tile */
    const struct micro_wanted *next;
    int left;
};

INLINE void ahead_next(int type, struct ahead *a) {
    a->w += panel_block(type);
    a->x += tile_block(type);
    a->at++;
    if (--a->left_x == 0) {
        a->x = a->tile;
        a->left_x = a->n;
        if (a->at == ROWS / SIDE * a->n) { /* what is multiplied from now on is not used */
            a->w = a->panel;
        }
    }
    if (a->left > 0) {
        micro_fetch(a->next, --a->left);
    }
}

/* Sums of the halves of block a begin in two tiles, of which what was there goes to dot before,
 * [half][row][token]: it is ready by now, and a tile that is stored sooner holds up the others. */
#define TURN(name, sum0, sum1)                                                                     \
    INLINE void turn_##name(const struct ahead *a, int32_t *dot) {                                 \
        _tile_loadd(4, a->w, 32);                                                                  \
        _tile_stored(sum0, dot, 64);                                                               \
        _tile_loadd(6, a->x, 64);                                                                  \
        _tile_zero(sum0);                                                                          \
        _tile_dpbssd(sum0, 4, 6);                                                                  \
        _tile_loadd(5, a->w + 16, 32);                                                             \
        _tile_stored(sum1, dot + SIDE * TOKS, 64);                                                 \
        _tile_loadd(7, a->x + 256, 64);                                                            \
        _tile_zero(sum1);                                                                          \
        _tile_dpbssd(sum1, 5, 7);                                                                  \
        TILE_FENCE();                                                                              \
    }
TURN(even, 0, 1)
TURN(odd, 2, 3)

/* What a block of a tile has beside activations: a register for all of its tokens each. */
struct factors {
    __m512i pair, more;
    __m512 mul[2], less[2], s[2];
};

#define BIAS      12582912.0f /* 1.5 * 2^23 */
#define BIAS_BITS 0x4b400000

INLINE void load_factors(int type, const uint8_t *x, struct factors *f) {
    if (fmt_narrow(type)) {
        f->pair = load512(x + 64 * AT_MUL);
    }
    for (int h = 0; h < 2 && !fmt_narrow(type); h++) {
        f->mul[h] = load512_ps(x + 64 * (AT_MUL + h));
        f->less[h] = _mm512_mul_ps(f->mul[h], _mm512_set1_ps(-BIAS));
    }
    if (fmt_rest(type) != 0) {
        f->more = load512(x + 64 * at_more(type));
    }
    for (int m = 0; m < fmt_mins(type); m++) {
        f->s[m] = load512_ps(x + 64 * (at_min(type) + m));
    }
}

INLINE __m512 each(const float *p) {
    return _mm512_set1_ps(*p);
}

/* The sums of half h times their multipliers. */
INLINE __m512 half_product(__m512i sum, const struct factors *f, int h) {
    sum = _mm512_add_epi32(sum, _mm512_set1_epi32(BIAS_BITS));
    return _mm512_fmadd_ps(_mm512_castsi512_ps(sum), f->mul[h], f->less[h]);
}

/* The sums of both halves side by side, as int16: [token][half]. */
INLINE __m512i pairs(__m512i half0, __m512i half1) {
    const __m512i order =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15));
    return _mm512_shuffle_epi8(_mm512_packs_epi32(half0, half1), order);
}

/* A row of a block, its sums in v, added to its lane. */
INLINE __m512 row_add(int type, const __m512i v[2], const float *d, const struct factors *f,
                      __m512 lane) {
    if (fmt_narrow(type)) {
        __m512i pair = pairs(v[0], v[1]);
        pair = fmt_rest(type) != 0 ? _mm512_dpwssd_epi32(f->more, pair, f->pair)
                                   : _mm512_madd_epi16(pair, f->pair);
        lane = _mm512_fmadd_ps(_mm512_cvtepi32_ps(pair), each(d), lane);
    } else if (fmt_split(type)) {
        lane = _mm512_fmadd_ps(half_product(v[0], f, 0), each(d), lane);
        lane = _mm512_fmadd_ps(half_product(v[1], f, 1), each(d + SIDE), lane);
    } else {
        __m512 both =
            _mm512_fmadd_ps(_mm512_cvtepi32_ps(v[1]), f->mul[1], half_product(v[0], f, 0));
        lane = _mm512_fmadd_ps(both, each(d), lane);
    }
    for (int i = 0; i < fmt_mins(type); i++) {
        lane = _mm512_fmadd_ps(f->s[i], each(d + SIDE * (fmt_scales(type) + i)), lane);
    }
    return lane;
}

/* Adds the block at w and x, in the tiles of odd blocks or of even ones, to its lane. */
INLINE void block_add(int type, int odd, const uint8_t *w, const uint8_t *x, struct ahead *a,
                      __m512 sum[SIDE]) {
    int32_t dot[2][SIDE * TOKS] __attribute__((aligned(64)));
    struct factors f;
    if (odd) {
        turn_odd(a, dot[0]);
    } else {
        turn_even(a, dot[0]);
    }
    ahead_next(type, a);
    load_factors(type, x, &f);
    const float *d = (const float *)(const void *)(w + 32 * SIDE);
#pragma GCC unroll 16
    for (int r = 0; r < SIDE; r++) {
        __m512i v[2] = {load512(dot[0] + TOKS * r), load512(dot[1] + TOKS * r)};
        sum[r] = row_add(type, v, d + r, &f, sum[r]);
    }
}

/* A lane of sixteen rows: n blocks from w and x on, of which two are in the tiles, the first in
 * those of odd blocks or not. Put at `lane`, or added to what is there. */
INLINE void lane_run(int type, int odd, const uint8_t *w, const uint8_t *x, int64_t n,
                     struct ahead *a, bool add, float *lane) {
    __m512 sum[SIDE];
#pragma GCC unroll 16
    for (int r = 0; r < SIDE; r++) {
        sum[r] = _mm512_setzero_ps();
    }
    for (; n > 1; n -= 2, w += 2 * panel_block(type), x += 2 * tile_block(type)) {
        block_add(type, odd, w, x, a, sum);
        block_add(type, !odd, w + panel_block(type), x + tile_block(type), a, sum);
    }
    if (n == 1) {
        block_add(type, odd, w, x, a, sum);
    }
#pragma GCC unroll 16
    for (int r = 0; r < SIDE; r++) {
        __m512 v = sum[r];
        v = add ? _mm512_add_ps(_mm512_load_ps(lane + TOKS * r), v) : v;
        _mm512_store_ps(lane + TOKS * r, v);
    }
}

/* Four sums of two lanes each, [row][token], in the order of micro_sum8, times the tokens' scales;
 * y[token] of ROWS. */
INLINE void lanes_put(const float *lane, __m512 d, int n_tok, float *y) {
    __m512i sum[SIDE], v[8];
#pragma GCC unroll 16
    for (int r = 0; r < SIDE; r++) {
        __m512 l[4];
        for (int j = 0; j < 4; j++) {
            l[j] = _mm512_load_ps(lane + (SIDE * j + r) * TOKS);
        }
        __m512 all = _mm512_add_ps(_mm512_add_ps(l[0], l[2]), _mm512_add_ps(l[1], l[3]));
        sum[r] = _mm512_castps_si512(_mm512_mul_ps(d, all));
    }
    for (int half = 0; half < 2; half++) {
        for (int r = 0; r < 8; r++) {
            v[r] = half ? _mm512_shuffle_i64x2(sum[r], sum[r + 8], 0xee)
                        : _mm512_shuffle_i64x2(sum[r], sum[r + 8], 0x44);
        }
        transpose16x8(v);
        for (int t = 0; t < 8 && 8 * half + t < n_tok; t++) {
            store512(y + (8 * half + t) * ROWS, v[t]);
        }
    }
}

INLINE void tile_q(int type, const void *panel, const void *tile, int n_tok, int64_t n_col,
                   const struct micro_wanted *next, float *y) {
    float lane[4 * SIDE * TOKS] __attribute__((aligned(64)));
    int32_t none[2 * SIDE * TOKS];
    const int64_t n = n_col / MICRO_BLOCK;
    const uint8_t *w = panel, *const first = (const uint8_t *)tile + 64;
    struct ahead a = {w, first, w, first, n, 0, n, next, micro_fetch_more(next, ROWS / SIDE * n)};
    TILE_FENCE();
    _tile_loadconfig(&tile_config);
    turn_even(&a, none);
    ahead_next(type, &a);
    turn_odd(&a, none);
    ahead_next(type, &a);
    for (int part = 0; part < ROWS; part += SIDE) {
        const uint8_t *x = first;
        for (int j = 0; j < 8; j++) {
            int64_t there = (n - j + 7) / 8;
            float *sum = lane + j % 4 * SIDE * TOKS;
            if (a.at % 2) {
                lane_run(type, 1, w, x, there, &a, j >= 4, sum);
            } else {
                lane_run(type, 0, w, x, there, &a, j >= 4, sum);
            }
            w += there * panel_block(type);
            x += there * tile_block(type);
        }
        lanes_put(lane, load512_ps(tile), n_tok, y + part);
    }
    _tile_release();
}

#define UNPACK_Q(name, type)                                                                       \
    static void unpack_##name(const uint8_t *const *row, int64_t n_col, void *panel) {             \
        unpack_q(type, row, n_col, panel);                                                         \
    }
#define TILE_Q(name, type)                                                                         \
    static void pack_##name(const void *const *x, int n_tok, int64_t n_col, void *tile) {          \
        pack_q(type, x, n_tok, n_col, tile);                                                       \
    }                                                                                              \
    static void tile_##name(const void *panel, const void *tile, int n_tok, int64_t n_col,         \
                            const struct micro_wanted *next, float *y) {                           \
        tile_q(type, panel, tile, n_tok, n_col, next, y);                                          \
    }

MICRO_FORMATS(UNPACK_Q)

/* Formats that differ only in how their bytes and scales are read share tiles. */
TILE_Q(narrow, DT_Q4_0)
TILE_Q(min4, DT_Q4_K)
TILE_Q(min5, DT_Q5_K)
TILE_Q(split, DT_Q6_K)
TILE_Q(mins, DT_Q2_K)
TILE_Q(wide, DT_Q8_0)

/* ---- the table ------------------------------------------------------------------------------ */

INLINE void set_panels(struct micro_format *f, int type) {
    f->rows = ROWS;
    f->toks = TOKS;
    f->panel_bytes = (size_t)(ROWS / SIDE * 8 * panel_block(type));
    f->tile_bytes = (size_t)(64 + 8 * tile_block(type));
}

#define TILED_AS(f, name) ((f)->pack = pack_##name, (f)->tile = tile_##name)

INLINE void set_tile(struct micro_format *f, int type) {
    if (fmt_signed(type)) {
        TILED_AS(f, wide);
    } else if (fmt_split(type) && fmt_mins(type) == 0) {
        TILED_AS(f, split);
    } else if (fmt_split(type)) {
        TILED_AS(f, mins);
    } else if (fmt_mins(type) == 0) {
        TILED_AS(f, narrow);
    } else if (fmt_bits(type) == 4) {
        TILED_AS(f, min4);
    } else {
        TILED_AS(f, min5);
    }
}

#define ENTRY_Q(name, type)                                                                        \
    m->fmt[type].unpack = unpack_##name;                                                           \
    set_tile(&m->fmt[type], type);                                                                 \
    set_panels(&m->fmt[type], type);

/* Lanes of a few blocks, which have to be begun and put away each, win nothing. */
#define SHORT_COLS 1024

void micro_init_amx(struct micro *m) {
    m->name = "amx";
    m->short_cols = SHORT_COLS;
    memcpy(m->short_fmt, m->fmt, sizeof m->fmt);
    MICRO_FORMATS(ENTRY_Q)
}
