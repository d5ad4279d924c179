/* test_cost.c: multiply-adds and bytes of a token, against sums made by hand from the shapes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/config.h"
#include "model/cost.h"
#include "model/small_model.h"

/* Of one layer: q and output, k and v; norms. */
enum {
    ATTENTION = 2 * SMALL_D * SMALL_D + 2 * SMALL_D * SMALL_KV,
    FFN = 3 * SMALL_D * SMALL_FF,
    NORMS = 2 * SMALL_D,
    TABLE = SMALL_D * SMALL_VOCAB
};

static struct model_cost cost_of(struct small_opts o, bool tied, enum dtype kv, struct config *c) {
    struct model_cost cost;
    struct builder b;
    struct gguf *g = NULL;
    size_t n;
    small_build(&b, &o);
    if (!tied) {
        small_tensor(&b, &o, "output.weight", SMALL_D, SMALL_VOCAB, 1);
    }
    uint8_t *bytes = builder_take(&b, &n);
    builder_fini(&b);
    assert_int_equal(gguf_parse(&g, "small.gguf", bytes, n, NULL), ERR_OK);
    assert_int_equal(config_read(c, g, NULL), ERR_OK);
    model_cost(&cost, g, c, kv);
    gguf_close(g);
    free(bytes);
    return cost;
}

static void same(double got, double wanted) {
    if (got != wanted) {
        fail_msg("%g, not %g", got, wanted);
    }
}

static void test_dense(void **state) {
    (void)state;
    struct config c;
    for (int tied = 0; tied < 2; tied++) {
        struct model_cost cost = cost_of((struct small_opts){0}, tied, DT_F16, &c);
        assert_int_equal(c.tied, tied);
        same(cost.out_mac, TABLE);
        assert_int_equal(cost.out_type, DT_F32);
        for (int t = 0; t < DT_MAX; t++) {
            same(cost.mac[t], t == DT_F32 ? 2 * (ATTENTION + FFN) : 0);
        }
        /* The last norm, and one row of the embedding table. */
        same(cost.weights_bytes, 4 * (2 * (ATTENTION + FFN + NORMS) + TABLE + 2 * SMALL_D));
    }
}

static void test_cache(void **state) {
    (void)state;
    struct config c;
    struct model_cost cost = cost_of((struct small_opts){0}, true, DT_F16, &c);
    same(cost.kv_bytes, 2 * 2 * SMALL_KV * 2); /* keys and values, two layers, two bytes */
    same(model_cost_bytes(&cost, 10), cost.weights_bytes + 10 * cost.kv_bytes);
    cost.window = 4;
    same(model_cost_bytes(&cost, 10), cost.weights_bytes + 4 * cost.kv_bytes);
    same(model_cost_bytes(&cost, 3), cost.weights_bytes + 3 * cost.kv_bytes);
    same(cost_of((struct small_opts){0}, true, DT_F32, &c).kv_bytes, 2 * cost.kv_bytes);
    same(model_cost_kv(&c, DT_I8), /* of the first layer the keys are f16 */
         c.n_kv * (3 * (c.d_head + 2 * ((c.d_head + 31) / 32)) + 2 * c.d_head));
    same(cost.att_mac, 2 * 2 * c.n_head * c.d_head); /* scores and values, two layers */
    same(model_cost_attention(&cost, 2, 3), cost.att_mac * (3 + 4 + 4)); /* of a window of 4 */
    cost.window = 0;
    same(model_cost_attention(&cost, 2, 3), cost.att_mac * (3 + 4 + 5));
}

/* Two of four experts are used; the router is a matrix like any other. */
static void test_experts(void **state) {
    (void)state;
    struct config c;
    struct model_cost cost = cost_of((struct small_opts){.experts = true}, true, DT_F16, &c);
    assert_int_equal(c.n_used, 2);
    same(cost.mac[DT_F32], 2 * (ATTENTION + 2 * FFN + SMALL_D * SMALL_EXP));
    same(cost.weights_bytes,
         4 * (2 * (ATTENTION + 2 * FFN + SMALL_D * SMALL_EXP + NORMS) + TABLE + 2 * SMALL_D));
}

/* Files of 2023 have a tensor for each expert: the same model costs the same. */
static void test_single_experts(void **state) {
    (void)state;
    static const char *const files[] = {"tests/model/golden/tiny-mixtral.gguf",
                                        "tests/model/golden/tiny-mixtral-old.gguf"};
    struct model_cost cost[2];
    for (int i = 0; i < 2; i++) {
        struct gguf *g = NULL;
        struct config c;
        assert_int_equal(gguf_open(&g, files[i], false, NULL), ERR_OK);
        assert_int_equal(config_read(&c, g, NULL), ERR_OK);
        assert_true(c.n_used < c.n_exp);
        model_cost(&cost[i], g, &c, DT_F16);
        gguf_close(g);
    }
    assert_memory_equal(cost[0].mac, cost[1].mac, sizeof cost[0].mac);
    same(cost[0].weights_bytes, cost[1].weights_bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_dense), cmocka_unit_test(test_cache),
                                       cmocka_unit_test(test_single_experts),
                                       cmocka_unit_test(test_experts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
