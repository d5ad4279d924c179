/* micro_small_rows.h: the walk of a small batch over rows and columns, written once for the ISA
 * files that include it, after they have defined
 *   SMALL_ROWS       rows that are decoded together, of the STREAMS that pass side by side
 *   struct group     256 columns of these rows, decoded
 *   struct lanes     their eight sums each, for one row of activations
 *   decode, group_add, lanes_zero, lanes_take, lanes_put
 *
 * Owns the order in which weights and activations pass: a row of each of four streams at a time
 * (micro_bits_avx2.h), all columns, each 256 of them times all rows of activations, which are in
 * L2. Refuses instructions of one level. Invariant: the columns of a row pass in their order,
 * whatever n_tok is.
 */

/* The blocks behind the last whole group, at g. What is decoded beyond them belongs to the rows
 * below, or, where `last` says that there may be none, is copied zeros; either way their lanes
 * stay. */
INLINE void small_tail(int type, const uint8_t *const g[SMALL_ROWS], bool last,
                       const void *const *x, int n_tok, int64_t n_col, struct lanes *acc) {
    const int64_t n_group = n_col / 256;
    const int left = (int)(n_col % 256) / MICRO_BLOCK;
    uint8_t part[SMALL_ROWS][PART_BYTES];
    const uint8_t *from[SMALL_ROWS];
    struct lanes sum[MICRO_SMALL];
    struct group o;
    for (int r = 0; r < SMALL_ROWS; r++) {
        from[r] = g[r];
        if (last) {
            copy_blocks(type, g[r], left, part[r]);
            from[r] = part[r];
        }
    }
    decode(type, from, &o);
    for (int t = 0; t < n_tok; t++) {
        sum[t] = acc[t];
    }
    group_add(type, &o, x, n_tok, n_group, sum);
    for (int t = 0; t < n_tok; t++) {
        lanes_take(&acc[t], &sum[t], left);
    }
}

/* Results of a row of each stream. */
INLINE void small_put(struct lanes (*acc)[MICRO_SMALL], const void *const *x, int n_tok, int n_row,
                      int apart, int row, float *y) {
    for (int t = 0; t < n_tok; t += 2) { /* of an odd number the last one twice */
        int u = t + 1 < n_tok ? t + 1 : t;
        const float d[2] = {((const struct small_group *)x[t])->d,
                            ((const struct small_group *)x[u])->d};
        float v[2][STREAMS];
        for (int k = 0; k < STREAMS; k += SMALL_ROWS) {
            const struct lanes *a = acc[k / SMALL_ROWS];
            lanes_put(&a[t], &a[u], d, v[0] + k, v[1] + k);
        }
        stream_put(v[0], n_row, apart, row, y + t * n_row);
        stream_put(v[1], n_row, apart, row, y + u * n_row);
    }
}

/* Sums stay in registers where n_tok is known to the compiler. */
INLINE void small_rows(int type, const uint8_t *w, size_t row_bytes, int n_row,
                       const void *const *x, int n_tok, int64_t n_col, float *y) {
    const int step = fmt_group_bytes(type);
    const int apart = stream_apart(row_bytes, n_row);
    for (int i = 0; i * STREAMS < n_row; i++) {
        const int row = stream_first(apart, i);
        struct lanes acc[STREAMS / SMALL_ROWS][MICRO_SMALL];
        const uint8_t *g[STREAMS];
        stream_at(w, row_bytes, n_row, apart, row, g);
        for (int k = 0; k < STREAMS / SMALL_ROWS; k++) {
            for (int t = 0; t < n_tok; t++) {
                acc[k][t] = lanes_zero();
            }
        }
        for (int64_t c = 0; c < n_col / 256; c++, stream_move(g, step)) {
            streams_fetch(g, step);
#pragma GCC unroll 1
            for (int k = 0; k < STREAMS; k += SMALL_ROWS) {
                struct group o;
                decode(type, g + k, &o);
                group_add(type, &o, x, n_tok, c, acc[k / SMALL_ROWS]);
            }
        }
        bool last = row + (STREAMS - 1) * apart >= n_row - 1 || n_col < 256;
        for (int k = 0; fmt_small(type) && n_col % 256 != 0 && k < STREAMS; k += SMALL_ROWS) {
            small_tail(type, g + k, last, x, n_tok, n_col, acc[k / SMALL_ROWS]);
        }
        small_put(acc, x, n_tok, n_row, apart, row, y);
    }
}

INLINE void small_q(int type, const uint8_t *w, size_t row_bytes, int n_row, const void *const *x,
                    int n_tok, int64_t n_col, float *y) {
    if (n_tok == 1) {
        small_rows(type, w, row_bytes, n_row, x, 1, n_col, y);
    } else {
        small_rows(type, w, row_bytes, n_row, x, n_tok, n_col, y);
    }
}

#define SMALL_Q(name, type)                                                                        \
    static void gemm_small_##name(const uint8_t *w, size_t row_bytes, int n_row,                   \
                                  const void *const *x, int n_tok, int64_t n_col, float *y) {      \
        small_q(type, w, row_bytes, n_row, x, n_tok, n_col, y);                                    \
    }

MICRO_FORMATS(SMALL_Q)

#define SMALL_ENTRY(name, type)                                                                    \
    m->fmt[type].gemm_small = gemm_small_##name;                                                   \
    m->fmt[type].small = order;                                                                    \
    m->fmt[type].small_min = 2;

INLINE void small_init(struct micro *m, struct micro_order order) {
    MICRO_FORMATS(SMALL_ENTRY)
}
