/* test_mix.c: the types that tensors get, where a small real model would not tell.
 *
 * The choices are llama.cpp's (llama_tensor_get_type); files of both are compared elsewhere.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "quant/mix.h"

static enum dtype value_of(const char *kind, const struct mix_model *m, int layer) {
    char name[48];
    snprintf(name, sizeof name, "blk.%d.attn_v.weight", layer);
    return mix_choose(mix_find(kind), m, str_c(name), 2, 8192, DT_F16);
}

/* Of 70B the values' matrices are an eighth of the queries', and get five bits at least. */
static void test_70b(void **state) {
    (void)state;
    struct mix_model big = {.n_layer = 80, .n_group = 8, .is_70b = true}, other = big;
    other.is_70b = false;
    static const struct {
        const char *kind;
        int layer;
        enum dtype big, other;
    } want[] = {
        {"q4_k_m", 0, DT_Q6_K, DT_Q6_K},  {"q4_k_m", 11, DT_Q5_K, DT_Q4_K},
        {"q4_k_s", 0, DT_Q5_K, DT_Q5_K},  {"q4_k_s", 40, DT_Q5_K, DT_Q4_K},
        {"q3_k_m", 40, DT_Q5_K, DT_Q4_K}, {"q2_k", 40, DT_Q5_K, DT_Q4_K},
        {"q6_k", 40, DT_Q6_K, DT_Q6_K},   {"q8_0", 40, DT_Q8_0, DT_Q8_0},
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        assert_int_equal(value_of(want[i].kind, &big, want[i].layer), want[i].big);
        assert_int_equal(value_of(want[i].kind, &other, want[i].layer), want[i].other);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_70b)};
    return cmocka_run_group_tests_name("mix", tests, NULL, NULL);
}
