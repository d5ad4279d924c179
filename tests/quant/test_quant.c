/* test_quant.c: the decoders against `gguf.quants`, bit for bit, over every scale there is.
 *
 * Owns the C half of the test blocks that tools/make_quant_golden.py describes; both halves must
 * make the same bytes. Invariant: a wrong bit in any of the 65,536 blocks of a type changes its
 * hash.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/dtype.h"
#include "base/half.h"
#include "quant/quant.h"
#include "quant/quant_golden.h"

#define N_GOLDEN    (sizeof quant_golden / sizeof quant_golden[0])
#define N_BLOCK     65536u
#define SHOWN_BLOCK 0x2e66u
#define GOLDEN      0x9e3779b97f4a7c15u
#define BLOCK_BYTES 512

static uint64_t mix(uint64_t x) {
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static void put_u16(uint8_t *p, uint32_t v) {
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

/* Block b of golden entry g, at p. */
static void make_block(size_t g, uint32_t b, uint8_t *p) {
    size_t bytes = dtype_info(quant_golden[g].type)->bytes, words = (bytes + 7) / 8;
    for (size_t w = 0; w < words; w++) {
        uint64_t at = ((uint64_t)quant_golden[g].type << 40) + b * words + w + 1;
        uint64_t v = mix(at * GOLDEN);
        for (size_t k = 0; k < 8 && w * 8 + k < bytes; k++) {
            p[w * 8 + k] = (uint8_t)(v >> (8 * k));
        }
    }
    put_u16(p + quant_golden[g].scale, b);
    if (quant_golden[g].second >= 0) {
        put_u16(p + quant_golden[g].second, b * 40503);
    }
}

static uint32_t bits_of(float x) {
    return x != x ? 0x7fc00000u : f32_bits(x);
}

static void test_every_scale(void **state) {
    size_t g = (size_t)(uintptr_t)*state;
    const struct dtype_info *info = dtype_info(quant_golden[g].type);
    _Alignas(4) uint8_t block[BLOCK_BYTES];
    float out[QK_K];
    uint64_t hash = 0;
    assert_true(info->bytes <= sizeof block && info->block <= QK_K);
    for (uint32_t b = 0; b < N_BLOCK; b++) {
        make_block(g, b, block);
        quant_decode(quant_golden[g].type, block, out, info->block);
        for (uint64_t i = 0; i < info->block; i++) {
            uint64_t at = (uint64_t)b * info->block + i;
            hash += mix((at << 32 | bits_of(out[i])) * GOLDEN);
        }
    }
    assert_int_equal(hash, quant_golden[g].hash);
}

/* Eight blocks in one call; the first values by themselves, so that a difference can be read. */
static void test_first_values(void **state) {
    size_t g = (size_t)(uintptr_t)*state;
    const struct dtype_info *info = dtype_info(quant_golden[g].type);
    _Alignas(4) uint8_t block[8 * BLOCK_BYTES];
    float out[8 * QK_K];
    for (uint32_t b = 0; b < 8; b++) {
        make_block(g, SHOWN_BLOCK + b, block + b * info->bytes);
    }
    quant_decode(quant_golden[g].type, block, out, 8 * info->block);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(bits_of(out[i]), quant_golden[g].first[i]);
    }
}

/* The scales of Q4_K and Q5_K: every pair of six-bit values, packed at every position. */
static void test_k4_scale(void **state) {
    (void)state;
    for (int j = 0; j < 8; j++) {
        for (unsigned v = 0; v < 64 * 64; v++) {
            unsigned s = v % 64, m = v / 64;
            uint8_t sc[12], scale, min;
            for (int fill = 0; fill < 2; fill++) {
                memset(sc, fill ? 0xff : 0, sizeof sc);
                if (j < 4) {
                    sc[j] = (uint8_t)((sc[j] & 0xc0) | s);
                    sc[j + 4] = (uint8_t)((sc[j + 4] & 0xc0) | m);
                } else {
                    sc[j + 4] = (uint8_t)((s & 15) | (m & 15) << 4);
                    sc[j - 4] = (uint8_t)((sc[j - 4] & 63) | (s >> 4) << 6);
                    sc[j] = (uint8_t)((sc[j] & 63) | (m >> 4) << 6);
                }
                quant_k4_scale(sc, j, &scale, &min);
                assert_int_equal(scale, s);
                assert_int_equal(min, m);
            }
        }
    }
}

/* Every readable type has a golden entry, so that a new one cannot come without its check. */
static void test_all_types_covered(void **state) {
    (void)state;
    size_t readable = 0;
    for (uint32_t t = 0; t < DT_MAX; t++) {
        readable += dtype_info(t)->block != 0;
    }
    assert_int_equal(readable, N_GOLDEN);
}

int main(void) {
    struct CMUnitTest tests[2 * N_GOLDEN + 2];
    static char names[2 * N_GOLDEN][48];
    size_t n = 0;
    for (size_t g = 0; g < N_GOLDEN; g++) {
        const char *type = dtype_info(quant_golden[g].type)->name;
        void *which = (void *)(uintptr_t)g;
        snprintf(names[n], sizeof names[n], "test_every_scale %s", type);
        tests[n] = (struct CMUnitTest){names[n], test_every_scale, NULL, NULL, which};
        n++;
        snprintf(names[n], sizeof names[n], "test_first_values %s", type);
        tests[n] = (struct CMUnitTest){names[n], test_first_values, NULL, NULL, which};
        n++;
    }
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_k4_scale);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_all_types_covered);
    return _cmocka_run_group_tests("quant", tests, n, NULL, NULL);
}
