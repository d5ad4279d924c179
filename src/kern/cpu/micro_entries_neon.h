/* micro_entries_neon.h: the quantized formats' entries of a level of aarch64, as macros.
 *
 * Owns which formats share packing and tiles. Refuses arithmetic.
 * Invariant: what a format is (micro_fmt.h) alone decides its entry.
 */
#ifndef IGN_KERN_CPU_MICRO_ENTRIES_NEON_H
#define IGN_KERN_CPU_MICRO_ENTRIES_NEON_H

#include "kern/cpu/micro_quant_neon.h"

#define VECTOR_NEON(name, type)                                                                    \
    static void gemv_##name(const uint8_t *w, size_t row_bytes, int n_row, const void *x,          \
                            int64_t n_col, float *y) {                                             \
        gemv_q(type, w, row_bytes, n_row, x, n_col, y);                                            \
    }                                                                                              \
    static void gemm_small_##name(const uint8_t *w, size_t row_bytes, int n_row,                   \
                                  const void *const *x, int n_tok, int64_t n_col, float *y) {      \
        gemm_small_q(type, w, row_bytes, n_row, x, n_tok, n_col, y);                               \
    }

#define UNPACK_NEON(name, type)                                                                    \
    static void unpack_##name(const uint8_t *const *row, int64_t n_col, void *panel) {             \
        unpack_q(type, ORDER, row, n_col, panel);                                                  \
    }

/* Formats that differ only in how their bytes and scales are read share tiles, and all share the
 * packing of activations but Q2_K, whose minimums are of half a block. */
#define PACK_NEON(name, type)                                                                      \
    static void pack_##name(const void *const *x, int n_tok, int64_t n_col, void *tile) {          \
        pack_q(type, ORDER, x, n_tok, n_col, tile);                                                \
    }
#define TILE_NEON(name, type)                                                                      \
    static void tile_##name(const void *panel, const void *tile, int n_tok, int64_t n_col,         \
                            const struct micro_wanted *next, float *y) {                           \
        micro_fetch_more(next, 0);                                                                 \
        tile_q(type, panel, tile, n_tok, n_col, y);                                                \
    }

#define SHARED_NEON                                                                                \
    PACK_NEON(any, DT_Q4_0)                                                                        \
    PACK_NEON(mins, DT_Q2_K)                                                                       \
    TILE_NEON(narrow, DT_Q4_0)                                                                     \
    TILE_NEON(narrow_min, DT_Q4_1)                                                                 \
    TILE_NEON(split, DT_Q6_K)                                                                      \
    TILE_NEON(split_mins, DT_Q2_K)                                                                 \
    TILE_NEON(wide, DT_Q8_0)

INLINE void set_panels(struct micro_format *f, int type, enum order o) {
    f->rows = ROWS_NEON;
    f->toks = TOKS_NEON;
    f->panel_bytes = (size_t)(ROWS_NEON * panel_block(type, o));
    f->tile_bytes = (size_t)(TILE_HEAD + TOKS_NEON / UNIT * 8 * tile_block(type, o));
}

#define SET_VECTOR_NEON(name, type)                                                                \
    m->fmt[type].gemv = gemv_##name;                                                               \
    m->fmt[type].gemm_small = gemm_small_##name;

#define SET_PANELS_NEON(name, type)                                                                \
    set_panels(&m->fmt[type], type, ORDER);                                                        \
    m->fmt[type].unpack = unpack_##name;                                                           \
    m->fmt[type].pack = fmt_mins(type) == 2 ? pack_mins : pack_any;                                \
    m->fmt[type].tile = fmt_signed(type)      ? tile_wide                                          \
                        : fmt_mins(type) == 2 ? tile_split_mins                                    \
                        : fmt_split(type)     ? tile_split                                         \
                        : fmt_mins(type) == 1 ? tile_narrow_min                                    \
                                              : tile_narrow;

#endif
