/* test_number.c: half floats over all their values, element types, and the random stream.
 *
 * Half floats are compared with the definition (sign, 2^exponent, fraction) computed in double
 * precision; the random stream with values from the authors' C programs.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/dtype.h"
#include "base/half.h"
#include "base/rng.h"

/* By the book: IEEE 754-2019, 3.4. */
static double f16_value(unsigned h) {
    int exp = (int)(h >> 10 & 31), frac = (int)(h & 1023);
    double mag = exp == 0 ? ldexp(frac, -24) : ldexp(1024 + frac, exp - 25);
    return h & 0x8000 ? -mag : mag;
}

static void test_f16_all(void **state) {
    (void)state;
    for (unsigned h = 0; h < 65536; h++) {
        float f = f32_from_f16((f16_t)h);
        if ((h & 0x7c00) == 0x7c00) {
            if (h & 0x3ff) {
                assert_true(isnan(f));
                assert_int_equal(f16_from_f32(f), h | 0x200); /* quiet, payload kept */
            } else {
                assert_true(isinf(f) && (f < 0) == (h >> 15));
                assert_int_equal(f16_from_f32(f), h);
            }
            continue;
        }
        assert_true((double)f == f16_value(h));
        assert_int_equal(signbit(f) != 0, h >> 15);
        assert_int_equal(f16_from_f32(f), h);
    }
}

/* Between each pair of neighbours: below, at and above the midpoint. */
static void test_f16_rounding(void **state) {
    (void)state;
    for (unsigned h = 0; h < 0x7c00; h++) {
        float lo = f32_from_f16((f16_t)h);
        float hi = h == 0x7bff ? 65536.0f : f32_from_f16((f16_t)(h + 1));
        float mid = (float)(((double)lo + hi) / 2);
        unsigned even = h & 1 ? h + 1 : h;
        for (int sign = 0; sign < 2; sign++) {
            float s = sign ? -1 : 1;
            unsigned bit = sign ? 0x8000 : 0;
            assert_int_equal(f16_from_f32(s * mid), even | bit);
            assert_int_equal(f16_from_f32(s * nextafterf(mid, 0)), h | bit);
            assert_int_equal(f16_from_f32(s * nextafterf(mid, 1e9f)), (h + 1) | bit);
        }
    }
    assert_int_equal(f16_from_f32(1e30f), 0x7c00);
    assert_int_equal(f16_from_f32(-1e-30f), 0x8000);
}

static void test_bf16(void **state) {
    (void)state;
    for (unsigned h = 0; h < 65536; h++) {
        float f = f32_from_bf16((bf16_t)h);
        assert_int_equal(f32_bits(f), h << 16);
        if (isnan(f)) {
            assert_int_equal(bf16_from_f32(f), h | 0x40);
            continue;
        }
        assert_int_equal(bf16_from_f32(f), h);
        uint32_t mid = h << 16 | 0x8000;
        if ((h & 0x7f80) == 0x7f80) {
            continue;
        }
        assert_int_equal(bf16_from_f32(f32_from_bits(mid)), h + (h & 1));
        assert_int_equal(bf16_from_f32(f32_from_bits(mid - 1)), h);
        assert_int_equal(bf16_from_f32(f32_from_bits(mid + 1)), h + 1);
    }
    assert_true(isnan(f32_from_bf16(bf16_from_f32(f32_from_bits(0x7f800001)))));
}

static void test_dtypes(void **state) {
    (void)state;
    size_t bytes = 0;
    assert_string_equal(dtype_info(DT_Q4_K)->name, "Q4_K");
    assert_string_equal(dtype_info(39)->name, "MXFP4");
    assert_int_equal(dtype_info(39)->block, 0);
    assert_null(dtype_info(DT_MAX)->name);
    assert_null(dtype_info(UINT32_MAX)->name);
    assert_true(dtype_row_bytes(DT_Q4_K, 512, &bytes));
    assert_int_equal(bytes, 288);
    assert_true(dtype_row_bytes(DT_F32, 0, &bytes));
    assert_int_equal(bytes, 0);
    assert_false(dtype_row_bytes(DT_Q4_K, 100, &bytes));
    assert_false(dtype_row_bytes(39, 256, &bytes));
    assert_false(dtype_row_bytes(DT_MAX, 256, &bytes));
    assert_false(dtype_row_bytes(DT_F32, UINT64_MAX, &bytes));
    for (uint32_t t = 0; t < DT_MAX; t++) {
        assert_non_null(dtype_info(t)->name);
        assert_int_equal(dtype_info(t)->block == 0, dtype_info(t)->bytes == 0);
    }
}

static void test_rng(void **state) {
    (void)state;
    struct rng r, copy;
    /* splitmix64 of 1234567, as published with the generator */
    rng_seed(&r, 1234567);
    assert_true(r.s[0] == 6457827717110365317u && r.s[1] == 3203168211198807973u &&
                r.s[2] == 9817491932198370423u && r.s[3] == 4593380528125082431u);
    /* xoshiro256** from the state 1, 2, 3, 4 */
    r = (struct rng){{1, 2, 3, 4}};
    static const uint64_t want[] = {11520u, 0u, 1509978240u, 1215971899390074240u};
    for (size_t i = 0; i < 4; i++) {
        assert_true(rng_next(&r) == want[i]);
    }
    copy = r;
    for (int i = 0; i < 1000; i++) {
        double d = rng_double(&r);
        assert_true(d >= 0 && d < 1);
        assert_true(d == rng_double(&copy));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f16_all), cmocka_unit_test(test_f16_rounding),
        cmocka_unit_test(test_bf16),    cmocka_unit_test(test_dtypes),
        cmocka_unit_test(test_rng),
    };
    return cmocka_run_group_tests_name("number", tests, NULL, NULL);
}
