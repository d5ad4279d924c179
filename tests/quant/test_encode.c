/* test_encode.c: the encoders against their own decoders, other encoders, each level, and hostile
 * values. `--bench` times them.
 *
 * Invariant: what is lost is measured by quant_decode, which other tests tie to the formats.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/os.h"
#include "quant/encode.h"
#include "quant/encode_golden.h"

enum { ROWS = 64, COLS = 1024, MOST = ROWS * COLS };

static const enum dtype types[] = {DT_F32,  DT_F16,  DT_BF16, DT_Q4_0, DT_Q4_1, DT_Q5_0, DT_Q5_1,
                                   DT_Q8_0, DT_Q2_K, DT_Q3_K, DT_Q4_K, DT_Q5_K, DT_Q6_K};
enum { N_TYPE = sizeof types / sizeof *types };

static float x[MOST], y[MOST], z[MOST], weight[COLS];
static _Alignas(64) uint8_t a[MOST * 4], b[MOST * 4];
static struct quant_search best;

static uint64_t mix(uint64_t v) {
    v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9u;
    v = (v ^ v >> 27) * 0x94d049bb133111ebu;
    return v ^ v >> 31;
}

/* The rows of tools/make_encode_golden.py. */
static void fill(float *out) {
    for (uint64_t i = 0; i < MOST; i++) {
        uint64_t v = mix((i + 1) * 0x9e3779b97f4a7c15u);
        int total = 0;
        for (int k = 0; k < 4; k++) {
            total += (int)(v >> (16 * k) & 0xffff) - 32768;
        }
        out[i] = (float)(i % 64 == 63 ? 10 * total : total) * 0x1p-20f;
    }
}

/* Rows of v [rows, COLS] as type t at `out`; the error that the encoder tells. */
static double encode(const struct quant_search *s, enum dtype t, const float *v, const float *w,
                     int rows, uint8_t *out) {
    double err = 0;
    assert_true(quant_encode(s, t, v, w, out, COLS, (size_t)rows, &err));
    return err;
}

static double lost(const float *v, const float *u, size_t n) {
    double err = 0;
    for (size_t i = 0; i < n; i++) {
        err += ((double)v[i] - (double)u[i]) * ((double)v[i] - (double)u[i]);
    }
    return err;
}

/* No type loses more than the encoders of others; what is told is what was lost. */
static void test_golden(void **state) {
    (void)state;
    fill(x);
    for (size_t i = 0; i < sizeof encode_golden / sizeof *encode_golden; i++) {
        enum dtype t = encode_golden[i].type;
        double told = encode(&best, t, x, NULL, ROWS, a);
        quant_decode(t, a, y, MOST);
        double err = lost(x, y, MOST);
        print_message("%-5s lost %.6g, numpy %.6g, plain %.6g\n", dtype_info(t)->name, err,
                      encode_golden[i].numpy, encode_golden[i].plain);
        assert_true(fabs(told - err) <= 1e-4 * err);
        assert_true(encode_golden[i].numpy == 0 || err <= encode_golden[i].numpy);
        assert_true(err <= encode_golden[i].plain);
    }
}

/* What was decoded is encoded again with next to nothing lost. */
static void test_again(void **state) {
    (void)state;
    fill(x);
    for (size_t i = 0; i < N_TYPE; i++) {
        enum dtype t = types[i];
        encode(&best, t, x, NULL, ROWS, a);
        quant_decode(t, a, y, MOST);
        double first = lost(x, y, MOST);
        encode(&best, t, y, NULL, ROWS, b);
        quant_decode(t, b, z, MOST);
        double second = lost(y, z, MOST);
        size_t differ = 0;
        for (size_t k = 0; k < MOST; k++) {
            differ += y[k] != z[k];
        }
        print_message("%-5s first %.3g, second %.3g, %zu differ\n", dtype_info(t)->name, first,
                      second, differ);
        /* two bits leave it open which whole numbers a sub-block had */
        assert_true(second <= (t == DT_Q2_K ? 0.1 : 0.05) * first);
        if (dtype_info(t)->block == 1) {
            assert_int_equal(differ, 0);
        }
    }
}

/* Codes that use the whole range come back bit for bit. */
static void test_exact(void **state) {
    (void)state;
    static const struct {
        enum dtype type;
        int low, high;
        float m;
    } grids[] = {{DT_Q4_0, -8, 7, 0},
                 {DT_Q4_1, 0, 15, -0.75f},
                 {DT_Q5_0, -16, 15, 0},
                 {DT_Q5_1, 0, 31, 0.25f},
                 {DT_Q8_0, -127, 127, 0}};
    for (size_t g = 0; g < sizeof grids / sizeof *grids; g++) {
        int span = grids[g].high - grids[g].low + 1;
        for (size_t i = 0; i < COLS; i++) {
            int q = grids[g].low + (int)(mix(i + 7 * g) % (uint64_t)span);
            q = i % 32 == 0 ? grids[g].low : i % 32 == 1 ? grids[g].high : q;
            x[i] = f32_from_f16((f16_t)(0x2c00 + i / 32 * 37)) * (float)q + grids[g].m;
        }
        encode(&best, grids[g].type, x, NULL, 1, a);
        quant_decode(grids[g].type, a, y, COLS);
        for (size_t i = 0; i < COLS; i++) {
            assert_true(x[i] == y[i]);
        }
    }
}

static const char *const levels[] = {"c", "avx2", "avx512"};

static void compare_levels(const float *v, const float *w, int rows) {
    struct quant_search c, s;
    assert_int_equal(quant_search_choose(&c, "c", NULL), ERR_OK);
    for (size_t l = 1; l < sizeof levels / sizeof *levels; l++) {
        if (quant_search_choose(&s, levels[l], NULL)) {
            continue;
        }
        for (size_t i = 0; i < N_TYPE; i++) {
            memset(a, 0xaa, sizeof a);
            memset(b, 0xaa, sizeof b);
            double e = encode(&c, types[i], v, w, rows, a);
            double f = encode(&s, types[i], v, w, rows, b);
            assert_memory_equal(a, b, sizeof a);
            assert_true(e == f);
        }
    }
}

static void test_levels(void **state) {
    (void)state;
    fill(x);
    compare_levels(x, NULL, ROWS);
    for (size_t i = 0; i < COLS; i++) {
        weight[i] = (float)(mix(i) % 1000 + 1) * (i % 50 == 0 ? 1.0f : 0.001f);
    }
    compare_levels(x, weight, ROWS);
    /* wild values: all exponents that are taken, both signs */
    for (uint64_t i = 0; i < MOST; i++) {
        x[i] = f32_from_bits((uint32_t)(mix(i) % 0x477fe001u) | (uint32_t)(mix(~i) << 31));
    }
    compare_levels(x, NULL, ROWS);
    compare_levels(x, weight, ROWS);
    /* conversions: every binary16 */
    struct quant_search c;
    assert_int_equal(quant_search_choose(&c, "c", NULL), ERR_OK);
    static f16_t h[65536];
    for (uint32_t i = 0; i < 65536; i++) {
        h[i] = (f16_t)((i & 0x7c00) == 0x7c00 && (i & 0x3ff) ? 0x7e00 : i); /* one quiet NaN */
    }
    c.from_f16(h, x, 65536);
    best.from_f16(h, y, 65536);
    assert_memory_equal(x, y, 65536 * sizeof *x);
    c.to_f16(x, (f16_t *)(void *)a, 65536);
    best.to_f16(x, (f16_t *)(void *)b, 65536);
    assert_memory_equal(a, b, 65536 * sizeof(f16_t));
}

/* Every level of --cpu has kernels, or is refused by its name. */
static void test_level_names(void **state) {
    (void)state;
    static const char *const names[] = {"c", "avx2", "avx512", "amx", "neon", "dotprod", "i8mm"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct quant_search s;
        struct err e = {0};
        bool wide = strcmp(names[i], "amx") == 0, arm = i > 3;
        if (quant_search_choose(&s, names[i], &e)) {
            assert_int_equal(e.code, ERR_UNSUPPORTED);
            assert_non_null(strstr(e.what, names[i]));
        } else {
            assert_string_equal(s.name, arm ? "c" : wide ? "avx512" : names[i]);
        }
    }
    struct quant_search s;
    assert_int_equal(quant_search_choose(&s, "avx1024", NULL), ERR_UNSUPPORTED);
    assert_int_equal(quant_search_choose(&s, "amx", NULL), quant_search_choose(&s, "avx512", NULL));
}

/* Rows by themselves, of which none fills the lanes, come out as they do together. */
static void test_rows(void **state) {
    (void)state;
    enum { N = 768, R = 5 };
    fill(x);
    for (size_t i = 0; i < N; i++) {
        weight[i] = (float)(mix(i) % 1000 + 1);
    }
    for (size_t i = 0; i < N_TYPE; i++) {
        for (int weighted = 0; weighted < 2; weighted++) {
            size_t bytes;
            double err = 0, sum = 0;
            const float *w = weighted ? weight : NULL;
            assert_true(dtype_row_bytes(types[i], N, &bytes));
            assert_true(quant_encode(&best, types[i], x, w, a, N, R, &err));
            for (size_t r = 0; r < R; r++) {
                assert_true(quant_encode(&best, types[i], x + r * N, w, b + r * bytes, N, 1, &sum));
            }
            assert_memory_equal(a, b, R * bytes);
            assert_true(fabs(err - sum) <= 1e-9 * err);
        }
    }
}

/* Each of these rows is encoded without a fault, and what comes out is finite and near. */
static void test_hostile(void **state) {
    (void)state;
    for (int kind = 0; kind < 10; kind++) {
        for (int i = 0; i < COLS; i++) {
            float r = (float)(mix((uint64_t)i) % 2001) / 1000 - 1;
            switch (kind) {
            case 0: x[i] = 0; break;
            case 1: x[i] = -0.0f; break;
            case 2: x[i] = i == 5 ? 1 : 0; break;
            case 3: x[i] = 3; break;
            case 4: x[i] = -3; break;
            case 5: x[i] = 65504 * r; break;
            case 6: x[i] = 1e-40f * r; break;
            case 7: x[i] = i % 32 ? 1e-7f * r : 60000; break;
            case 8: x[i] = i % 2 ? 65504 : -65504; break;
            default: x[i] = 6e-8f * r; break;
            }
        }
        for (size_t t = 0; t < N_TYPE; t++) {
            float most = 0, off = 0;
            encode(&best, types[t], x, NULL, 1, a);
            quant_decode(types[t], a, y, COLS);
            for (int i = 0; i < COLS; i++) {
                assert_true(isfinite(y[i]));
                most = fmaxf(most, fabsf(x[i]));
                off = fmaxf(off, fabsf(x[i] - y[i]));
            }
            if (!(off <= most * 0.45f + 1e-6f)) {
                fail_msg("%s, row %d: off by %g of %g", dtype_info(types[t])->name, kind,
                         (double)off, (double)most);
            }
        }
    }
}

static void test_refused(void **state) {
    (void)state;
    static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY, 65536, -1e30f};
    double err = 0;
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        for (int at = 0; at < COLS; at += 341) {
            for (size_t t = 0; t < N_TYPE; t++) {
                bool wide = types[t] == DT_F32 || types[t] == DT_BF16;
                memset(x, 0, sizeof x);
                x[at] = bad[k];
                assert_int_equal(quant_encode(&best, types[t], x, NULL, a, COLS, 1, &err),
                                 wide && isfinite(bad[k]));
            }
        }
    }
}

/* Weighted: the weighted error is less than that of the encoding without. */
static void test_importance(void **state) {
    (void)state;
    fill(x);
    for (size_t i = 0; i < COLS; i++) {
        weight[i] = i % 8 == 0 ? 100 : 0.01f;
    }
    for (size_t t = 3; t < N_TYPE; t++) {
        double plain = 0, weighted = 0;
        encode(&best, types[t], x, NULL, ROWS, a);
        encode(&best, types[t], x, weight, ROWS, b);
        quant_decode(types[t], a, y, MOST);
        quant_decode(types[t], b, z, MOST);
        for (size_t i = 0; i < MOST; i++) {
            double w = weight[i % COLS];
            plain += w * (x[i] - y[i]) * (x[i] - y[i]);
            weighted += w * (x[i] - z[i]) * (x[i] - z[i]);
        }
        assert_true(weighted < plain);
    }
}

static void bench(void) {
    fill(x);
    for (size_t l = 0; l < sizeof levels / sizeof *levels; l++) {
        struct quant_search s;
        for (size_t t = 0; t < N_TYPE && !quant_search_choose(&s, levels[l], NULL); t++) {
            int n = 0;
            double start = os_now(), took;
            do {
                encode(&s, types[t], x, NULL, ROWS, a);
                n++;
                took = os_now() - start;
            } while (took < 0.2);
            printf("%-6s %-5s %8.1f million values/s\n", s.name, dtype_info(types[t])->name,
                   (double)MOST * n / took / 1e6);
        }
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),      cmocka_unit_test(test_again),
        cmocka_unit_test(test_exact),       cmocka_unit_test(test_levels),
        cmocka_unit_test(test_hostile),     cmocka_unit_test(test_refused),
        cmocka_unit_test(test_importance),  cmocka_unit_test(test_rows),
        cmocka_unit_test(test_level_names),
    };
    if (quant_search_choose(&best, NULL, NULL)) {
        return 1;
    }
    if (argc > 1 && strcmp(argv[1], "--bench") == 0) {
        bench();
        return 0;
    }
    return cmocka_run_group_tests_name("encode", tests, NULL, NULL);
}
