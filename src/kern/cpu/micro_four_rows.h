/* micro_four_rows.h: the walk of one row of activations over a quantized matrix, four rows of
 * weights side by side, written once for the ISA files of x86-64 that include it, after they have
 * defined
 *   struct vector_group  256 activations as their kernels read them
 *   act_group_four       which arranges them
 *   four_rows            the products of four rows, one of each stream (micro_bits_avx2.h), of
 * which `end` says that the matrix may end with one of them
 *
 * Owns the order in which rows pass, and the table's entries. Refuses formats of which each row is
 * computed by itself: micro_gemv_rows.h has that walk. Invariant: results past the matrix's end are
 * dropped.
 */

INLINE void arrange_four(int type, const struct act_group *x, int64_t n_col, void *to) {
    struct vector_group *o = to;
    for (int64_t i = 0; i < micro_groups(n_col); i++, x++, o++) {
        act_group_four(type, x, o);
    }
}

INLINE void gemv_four(int type, const uint8_t *w, size_t row_bytes, int n_row,
                      const struct vector_group *x, int64_t n_col, float *y) {
    const int apart = stream_apart(row_bytes, n_row);
    for (int i = 0; i * STREAMS < n_row; i++) {
        const int row = stream_first(apart, i);
        const bool end = row + (STREAMS - 1) * apart >= n_row - 1;
        const uint8_t *g[STREAMS];
        float v[STREAMS];
        stream_at(w, row_bytes, n_row, apart, row, g);
        _mm_storeu_ps(v, four_rows(type, g, end, x, n_col));
        stream_put(v, n_row, apart, row, y);
    }
}

#define GEMV_FOUR(name, type)                                                                      \
    static void gemv_##name(const uint8_t *w, size_t row_bytes, int n_row, const void *x,          \
                            int64_t n_col, float *y) {                                             \
        gemv_four(type, w, row_bytes, n_row, x, n_col, y);                                         \
    }                                                                                              \
    static void arrange_##name(const struct act_group *x, int64_t n_col, void *to) {               \
        arrange_four(type, x, n_col, to);                                                          \
    }

#define FOUR_ENTRY(name, type)                                                                     \
    m->fmt[type].gemv = gemv_##name;                                                               \
    m->fmt[type].vector = (struct micro_order){arrange_##name, sizeof(struct vector_group)};

/* DO(name, type) for each format of unsigned bytes. */
#define UNSIGNED_FORMATS(DO)                                                                       \
    DO(q4_0, DT_Q4_0)                                                                              \
    DO(q4_1, DT_Q4_1)                                                                              \
    DO(q5_0, DT_Q5_0)                                                                              \
    DO(q5_1, DT_Q5_1)                                                                              \
    DO(q2_k, DT_Q2_K)                                                                              \
    DO(q3_k, DT_Q3_K)                                                                              \
    DO(q4_k, DT_Q4_K)                                                                              \
    DO(q5_k, DT_Q5_K)                                                                              \
    DO(q6_k, DT_Q6_K)
