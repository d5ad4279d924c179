/* micro_small_rows.h: the walk of a small batch over rows and columns, written once for the ISA
 * files that include it, after they have defined struct group, decode and group_add.
 *
 * Owns the order in which weights and activations pass: two rows at a time, and no more columns
 * than leave all rows of activations in the first cache. Refuses instructions of one level.
 * Invariant: the columns of a row pass in their order, whatever n_tok is.
 */
/* See micro_avx2.c. */
#define AHEAD 8192

/* Groups from..end of `rows` rows, times n_tok rows of activations: added to acc[t][row]. `ahead`:
 * bytes from here to what is fetched meanwhile. */
INLINE void small_part(int type, int rows, const uint8_t *w, size_t row_bytes, size_t ahead,
                       const void *const *x, int n_tok, int64_t from, int64_t end,
                       __m256 (*acc)[2]) {
    const int step = fmt_small(type) ? 8 * fmt_bytes(type) : fmt_bytes(type);
    w += from * step;
    for (int64_t i = from; i < end; i++, w += step) {
        struct group o[2];
        if (ahead == 0) { /* whole rows pass: both are fetched as one stream */
            for (int b = 0; b < rows * step; b += 64) {
                _mm_prefetch((const char *)w + AHEAD + (rows - 1) * i * step + b, _MM_HINT_T0);
            }
        }
        for (int r = 0; r < rows; r++) {
            const uint8_t *g = w + (size_t)r * row_bytes;
            for (int b = 0; ahead != 0 && b < step; b += 64) {
                _mm_prefetch((const char *)g + ahead + b, _MM_HINT_T0);
            }
            decode(type, g, &o[r]);
        }
        group_add(type, rows, o, x, n_tok, i, acc);
    }
}

/* The blocks behind the last whole group; missing ones are zeros: they add nothing. */
INLINE void small_tail(int type, int rows, const uint8_t *w, size_t row_bytes, const void *const *x,
                       int n_tok, int64_t n_col, __m256 (*acc)[2]) {
    uint8_t part[2][8 * sizeof(struct block_q8_0)] = {{0}};
    const int64_t n_group = n_col / 256, left = n_col % 256 / MICRO_BLOCK;
    struct group o[2];
    for (int r = 0; r < rows; r++) {
        const uint8_t *g = w + (size_t)r * row_bytes + n_group * 8 * fmt_bytes(type);
        memcpy(part[r], g, (size_t)(left * fmt_bytes(type)));
        decode(type, part[r], &o[r]);
    }
    group_add(type, rows, o, x, n_tok, n_group, acc);
}

/* Groups of all rows of activations that stay in the first cache while rows pass. */
#define NEAR 40

/* Sums stay in registers where n_tok is known to the compiler. */
INLINE void small_rows(int type, int rows, const uint8_t *w, size_t row_bytes, int n_row,
                       const void *const *x, int n_tok, int64_t n_col, float *y) {
    const int step = fmt_small(type) ? 8 * fmt_bytes(type) : fmt_bytes(type);
    const int64_t n_group = n_col / 256;
    int64_t part = n_tok * n_group <= NEAR ? n_group : NEAR / n_tok;
    __m256 acc[MICRO_ROWS][MICRO_SMALL][2];
    for (int r = 0; r < n_row; r += rows) {
        for (int t = 0; t < n_tok; t++) {
            acc[r / rows][t][0] = acc[r / rows][t][1] = _mm256_setzero_ps();
        }
    }
    for (int64_t from = 0; from < n_group; from += part) {
        int64_t end = from + part < n_group ? from + part : n_group;
        size_t ahead = part == n_group ? 0 : (size_t)(part * step);
        if (part < n_group && end == n_group) {
            ahead = (size_t)n_row * row_bytes - (size_t)(from * step);
        }
        for (int r = 0; r < n_row; r += rows) {
            __m256 a[MICRO_SMALL][2];
            for (int t = 0; t < n_tok; t++) {
                a[t][0] = acc[r / rows][t][0];
                a[t][1] = acc[r / rows][t][1];
            }
            small_part(type, rows, w + (size_t)r * row_bytes, row_bytes, ahead, x, n_tok, from, end,
                       a);
            for (int t = 0; t < n_tok; t++) {
                acc[r / rows][t][0] = a[t][0];
                acc[r / rows][t][1] = a[t][1];
            }
        }
    }
    for (int r = 0; r < n_row; r += rows) {
        if (fmt_small(type) && n_col % 256 != 0) {
            small_tail(type, rows, w + (size_t)r * row_bytes, row_bytes, x, n_tok, n_col,
                       acc[r / rows]);
        }
        for (int t = 0; t < n_tok; t++) {
            for (int k = 0; k < rows; k++) {
                y[t * n_row + r + k] =
                    ((const struct small_group *)x[t])->d * sum8(acc[r / rows][t][k]);
            }
        }
    }
}

INLINE void small_q(int type, const uint8_t *w, size_t row_bytes, int n_row, const void *const *x,
                    int n_tok, int64_t n_col, float *y) {
    if (n_row % 2 != 0) { /* only at the end of a matrix */
        small_rows(type, 1, w, row_bytes, n_row, x, n_tok, n_col, y);
        return;
    }
    switch (n_tok) {
    case 1: small_rows(type, 1, w, row_bytes, n_row, x, 1, n_col, y); break;
    case 2: small_rows(type, 2, w, row_bytes, n_row, x, 2, n_col, y); break;
    case 3: small_rows(type, 2, w, row_bytes, n_row, x, 3, n_col, y); break;
    case 4: small_rows(type, 2, w, row_bytes, n_row, x, 4, n_col, y); break;
    default: small_rows(type, 2, w, row_bytes, n_row, x, n_tok, n_col, y); break;
    }
}

#define SMALL_Q(name, type)                                                                        \
    static void gemm_small_##name(const uint8_t *w, size_t row_bytes, int n_row,                   \
                                  const void *const *x, int n_tok, int64_t n_col, float *y) {      \
        small_q(type, w, row_bytes, n_row, x, n_tok, n_col, y);                                    \
    }

SMALL_Q(q4_0, DT_Q4_0)
SMALL_Q(q4_1, DT_Q4_1)
SMALL_Q(q5_0, DT_Q5_0)
SMALL_Q(q5_1, DT_Q5_1)
SMALL_Q(q8_0, DT_Q8_0)
SMALL_Q(q2_k, DT_Q2_K)
SMALL_Q(q3_k, DT_Q3_K)
SMALL_Q(q4_k, DT_Q4_K)
SMALL_Q(q5_k, DT_Q5_K)
SMALL_Q(q6_k, DT_Q6_K)
SMALL_Q(q8_k, DT_Q8_K)
SMALL_Q(iq4_nl, DT_IQ4_NL)
SMALL_Q(iq4_xs, DT_IQ4_XS)

INLINE void small_init(struct micro *m) {
    m->small_group = sizeof(struct small_group);
    m->fmt[DT_Q4_0].gemm_small = gemm_small_q4_0;
    m->fmt[DT_Q4_1].gemm_small = gemm_small_q4_1;
    m->fmt[DT_Q5_0].gemm_small = gemm_small_q5_0;
    m->fmt[DT_Q5_1].gemm_small = gemm_small_q5_1;
    m->fmt[DT_Q8_0].gemm_small = gemm_small_q8_0;
    m->fmt[DT_Q2_K].gemm_small = gemm_small_q2_k;
    m->fmt[DT_Q3_K].gemm_small = gemm_small_q3_k;
    m->fmt[DT_Q4_K].gemm_small = gemm_small_q4_k;
    m->fmt[DT_Q5_K].gemm_small = gemm_small_q5_k;
    m->fmt[DT_Q6_K].gemm_small = gemm_small_q6_k;
    m->fmt[DT_Q8_K].gemm_small = gemm_small_q8_k;
    m->fmt[DT_IQ4_NL].gemm_small = gemm_small_iq4_nl;
    m->fmt[DT_IQ4_XS].gemm_small = gemm_small_iq4_xs;
}
