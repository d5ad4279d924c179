/* micro_gemv_rows.h: the walk of one row of activations over a quantized matrix, each row of
 * weights by itself, written once for the ISA files of x86-64 that include it, after they have
 * defined
 *   group_add        which adds the products of one group, of which `left` of MICRO_GROUP blocks
 *                    are there, to the eight lanes of a row
 *
 * Owns the order in which weights pass: some groups of each of four streams in turn
 * (micro_bits_avx2.h). Refuses instructions of one level, and rows whose sums end together
 * (micro_four_*.c). Invariant: the columns of a row pass in their order; nothing behind a row
 * is read if group_add reads nothing behind `left` blocks.
 */

/* Adds groups c..c+n of the row g, of n_col columns, to the eight lanes. */
INLINE __m256 groups_add(int type, const uint8_t *g, int64_t c, int n, const struct act_group *x,
                         int64_t n_col, __m256 acc) {
    const int step = fmt_group_bytes(type);
    const int left = (int)(n_col % 256) / MICRO_BLOCK;
    g += c * step;
    for (int i = 0; i < n; i++, g += step) {
        stream_fetch(g, step);
        acc = group_add(type, g, MICRO_GROUP, x + c + i, acc);
    }
    if (fmt_small(type) && left > 0 && c + n == n_col / 256) {
        acc = group_add(type, g, left, x + c + n, acc);
    }
    return acc;
}

/* A stream gives way to the next after some lines: the sums of all of them would not fit in
 * registers beside what a group needs. */
INLINE void gemv_q(int type, const uint8_t *w, size_t row_bytes, int n_row,
                   const struct act_group *x, int64_t n_col, float *y) {
    const int apart = stream_apart(row_bytes, n_row), turn = STREAM_TURN / fmt_group_bytes(type);
    const int64_t n_group = n_col / 256;
    for (int i = 0; i * STREAMS < n_row; i++) {
        const int row = stream_first(apart, i);
        const uint8_t *g[STREAMS];
        __m256 acc[STREAMS];
        float v[STREAMS];
        stream_at(w, row_bytes, n_row, apart, row, g);
        for (int k = 0; k < STREAMS; k++) {
            acc[k] = _mm256_setzero_ps();
        }
        int64_t c = 0;
        do {
            int n = n_group - c < turn ? (int)(n_group - c) : turn;
#pragma GCC unroll 1
            for (int k = 0; k < STREAMS; k++) {
                acc[k] = groups_add(type, g[k], c, n, x, n_col, acc[k]);
            }
            c += n;
        } while (c < n_group);
        for (int k = 0; k < STREAMS; k++) {
            v[k] = x->d * sum8(acc[k]);
        }
        stream_put(v, n_row, apart, row, y);
    }
}
