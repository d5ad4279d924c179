/* rig.h: an open back end with what a test of its operations needs.
 *
 * Owns the opening, and comparisons near and to the bit. One invariant: what fails, fails the test.
 */
#ifndef IGN_TESTS_KERN_RIG_H
#define IGN_TESTS_KERN_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "blocks.h"
#include "kern/kern.h"

struct rig {
    const struct kern *k;
    struct kern_dev *d;
};

static inline struct rig rig_open(const char *name, const char *level, int n_thread, int max_tok) {
    struct rig r = {kern_find(name), NULL};
    struct kern_opts o = {.n_thread = n_thread, .max_tok = max_tok, .max_out = max_tok};
    struct err e = {0};
    o.level = level;
    assert_non_null(r.k);
    assert_int_equal(r.k->open(&r.d, &o, &e), ERR_OK);
    return r;
}

static inline void rig_close(struct rig *r) {
    r->k->close(r->d);
}

static inline kern_ref rig_alloc(struct rig *r, size_t n, const float *init) {
    struct err e = {0};
    kern_ref ref;
    assert_int_equal(r->k->alloc(r->d, n, &ref, &e), ERR_OK);
    if (init != NULL) {
        r->k->write(r->d, ref, init, n);
    }
    return ref;
}

static inline kern_weight rig_load(struct rig *r, enum dtype type, int n_mat, int64_t n_row,
                                   int64_t n_col, const void *const *mat) {
    struct kern_tensor t = {
        .name = "test", .type = type, .n_mat = n_mat, .n_row = n_row, .n_col = n_col, .mat = mat};
    struct err e = {0};
    kern_weight w;
    assert_int_equal(r->k->load(r->d, &t, &w, &e), ERR_OK);
    return w;
}

static inline float *floats(struct rng *g, size_t n, float top) {
    float *p = mem_alloc(n, sizeof *p);
    assert_non_null(p);
    for (size_t i = 0; i < n; i++) {
        p[i] = blocks_uniform(g, -top, top);
    }
    return p;
}

static inline void assert_near(const float *a, const float *b, size_t n, float tol) {
    for (size_t i = 0; i < n; i++) {
        if (!(fabsf(a[i] - b[i]) <= tol)) {
            fail_msg("element %zu: %g and %g differ by more than %g", i, (double)a[i], (double)b[i],
                     (double)tol);
        }
    }
}

static inline void assert_same(const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (f32_bits(a[i]) != f32_bits(b[i])) {
            fail_msg("element %zu: %.9g and %.9g are not the same bits", i, (double)a[i],
                     (double)b[i]);
        }
    }
}

static inline void run_end(struct rig *r) {
    struct err e = {0};
    assert_int_equal(r->k->end(r->d, &e), ERR_OK);
}

#endif
