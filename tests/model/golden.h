/* golden.h: reads the golden files that tools/make_golden.py and tools/make_tiny_models.py write.
 *
 * The format is described in tools/golden_file.py. Only tests include this; a broken golden file
 * fails the test that opens it. Little-endian hosts, as the program's formats are.
 */
#ifndef IGN_TESTS_MODEL_GOLDEN_H
#define IGN_TESTS_MODEL_GOLDEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct golden {
    int32_t n_tok, n_vocab, n_top, n_fixed, n_greedy_from, n_greedy;
    const int32_t *tok;    /* [n_tok] */
    const int32_t *fixed;  /* [n_fixed] */
    const int32_t *greedy; /* [n_greedy] */
    const char *row;       /* [n_tok] records */
    size_t row_bytes;
    char *bytes; /* the file, mem_free */
};

struct golden_row {
    float lse;             /* log of the sum of exp over all logits */
    const int32_t *top_id; /* [n_top] largest first */
    const float *top;      /* [n_top] */
    const float *fixed;    /* [n_fixed] */
};

bool golden_open(struct golden *g, const char *path);
void golden_close(struct golden *g);
struct golden_row golden_at(const struct golden *g, int pos);

/* How far logits [n_vocab] are from the golden row. */
struct golden_diff {
    double max_abs; /* over the logits that the file has */
    double kl;      /* KL(golden || logits), nats. Where only the top is kept, the rest is one
                     * outcome more: a lower bound, tight because the top holds nearly all mass */
};
struct golden_diff golden_compare(const struct golden *g, int pos, const float *logits);

#endif
