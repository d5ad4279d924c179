/* test_utf8.c: UTF-8 against a second definition that shares no table with the first.
 *
 * The reference computes a value from the bits and asks whether it is one that needs this many
 * bytes; a prefix is viable if completing it with 80s or with BFs gives such a value.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/utf8.h"

/* The value of a whole sequence of n bytes, or -1. */
static int64_t ref_value(const unsigned char *p, size_t n) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    static const unsigned char lead[] = {0, 0x00, 0xc0, 0xe0, 0xf0};
    static const unsigned char mask[] = {0, 0x80, 0xe0, 0xf0, 0xf8};
    if ((p[0] & mask[n]) != lead[n]) {
        return -1;
    }
    uint32_t v = p[0] & (unsigned char)~mask[n];
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return -1;
        }
        v = v << 6 | (p[i] & 0x3f);
    }
    return v < least[n] || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff) ? -1 : (int64_t)v;
}

/* What utf8_decode must give. */
static int ref_decode(const unsigned char *p, size_t n, uint32_t *cp) {
    for (size_t k = 1; k <= 4 && k <= n; k++) {
        int64_t v = ref_value(p, k);
        if (v >= 0) {
            *cp = (uint32_t)v;
            return (int)k;
        }
    }
    *cp = 0xfffd;
    int best = 1;
    for (size_t k = 1; k <= 3 && k <= n; k++) {
        for (size_t whole = k + 1; whole <= 4; whole++) {
            unsigned char lo[4], hi[4];
            memset(lo, 0x80, 4);
            memset(hi, 0xbf, 4);
            memcpy(lo, p, k);
            memcpy(hi, p, k);
            if (ref_value(lo, whole) >= 0 || ref_value(hi, whole) >= 0) {
                best = (int)k;
            }
        }
    }
    return -best;
}

static void test_every_scalar_value(void **state) {
    (void)state;
    for (uint32_t cp = 0; cp <= 0x10ffff; cp++) {
        if (cp >= 0xd800 && cp <= 0xdfff) {
            continue;
        }
        char out[4];
        uint32_t back;
        int n = utf8_encode(cp, out);
        if (ref_value((unsigned char *)out, (size_t)n) != cp ||
            utf8_decode(out, (size_t)n, &back) != n || back != cp || !utf8_valid(out, (size_t)n) ||
            utf8_pending(out, (size_t)n) != 0) {
            fail_msg("U+%04X", cp);
        }
        for (int k = 1; k < n; k++) {
            if (utf8_decode(out, (size_t)k, &back) != -k || back != UTF8_BAD ||
                utf8_pending(out, (size_t)k) != (size_t)k || utf8_valid(out, (size_t)k)) {
                fail_msg("U+%04X cut to %d bytes", cp, k);
            }
        }
    }
}

static void check_all(const unsigned char *p, size_t n) {
    struct buf want, got;
    bool valid = true;
    size_t pending = 0;
    buf_init(&want, 1000);
    buf_init(&got, 1000);
    for (size_t i = 0; i < n;) {
        uint32_t a, b;
        int k = ref_decode(p + i, n - i, &a);
        int m = utf8_decode((const char *)p + i, n - i, &b);
        if (k != m || a != b) {
            fail_msg("%02x %02x %02x %02x: %d U+%04X, not %d U+%04X", p[i],
                     i + 1 < n ? p[i + 1] : 0, i + 2 < n ? p[i + 2] : 0, i + 3 < n ? p[i + 3] : 0,
                     m, b, k, a);
        }
        size_t used = (size_t)(k < 0 ? -k : k);
        valid = valid && k > 0;
        if (k < 0) {
            buf_put(&want, "\xef\xbf\xbd", 3);
            unsigned char more[8];
            memcpy(more, p + i, used);
            memset(more + used, 0x80, 4);
            bool open = ref_decode(more, used + 3, &a) > 0;
            memset(more + used, 0xbf, 4);
            open = open || ref_decode(more, used + 3, &a) > 0;
            pending = i + used == n && open ? used : 0;
        } else {
            buf_put(&want, p + i, used);
        }
        i += used;
    }
    utf8_clean(&got, (const char *)p, n);
    assert_int_equal(got.len, want.len);
    assert_memory_equal(got.p, want.p, want.len);
    assert_int_equal(utf8_valid((const char *)p, n), valid);
    assert_int_equal(utf8_pending((const char *)p, n), pending);
    buf_fini(&want);
    buf_fini(&got);
}

/* All pairs of bytes, and all triples and quadruples of the bytes where the rules change. */
static void test_all_borders(void **state) {
    (void)state;
    static const unsigned char edge[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf,
                                         0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee,
                                         0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff};
    const size_t n = sizeof edge;
    for (unsigned a = 0; a < 256; a++) {
        for (unsigned b = 0; b < 256; b++) {
            check_all((unsigned char[]){(unsigned char)a, (unsigned char)b}, 2);
        }
    }
    for (size_t i = 0; i < n * n * n; i++) {
        unsigned char p[4] = {edge[i / n / n], edge[i / n % n], edge[i % n]};
        check_all(p, 3);
        for (size_t j = 0; j < n; j += 3) {
            p[3] = edge[j];
            check_all(p, 4);
        }
    }
}

static void test_random_bytes(void **state) {
    (void)state;
    struct rng r;
    rng_seed(&r, 1);
    for (int round = 0; round < 100000; round++) {
        unsigned char p[40];
        size_t n = 1 + rng_next(&r) % sizeof p;
        for (size_t i = 0; i < n; i++) {
            uint64_t x = rng_next(&r);
            /* Half of the bytes continue, a quarter lead, the rest are anything. */
            p[i] = (unsigned char)(x & 1   ? 0x80 | (x >> 8 & 0x3f)
                                   : x & 2 ? 0xc0 | (x >> 8 & 0x3f)
                                           : x >> 8);
        }
        check_all(p, n);
    }
    assert_int_equal(mem_live(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_scalar_value),
        cmocka_unit_test(test_all_borders),
        cmocka_unit_test(test_random_bytes),
    };
    return cmocka_run_group_tests_name("utf8", tests, NULL, NULL);
}
