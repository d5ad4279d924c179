/* test_profile.c: every operation's time lands in its stage, and all stages hold all of the time.
 *
 * The device is one whose operations move a clock of the test by known amounts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "kern/profile.h"

static struct {
    double now, waited;
    int n_call, n_close;
} test;

static double test_now(void) {
    return test.now;
}

static double fake_waited(struct kern_dev *d) {
    assert_ptr_equal(d, &test);
    return test.waited;
}

/* Each takes a second, of which threads wait for a quarter. */
static void spend(struct kern_dev *d) {
    assert_ptr_equal(d, &test);
    test.n_call++;
    test.now += 1;
    test.waited += 0.25;
}

static void fake_close(struct kern_dev *d) {
    assert_ptr_equal(d, &test);
    test.n_close++;
}
static void fake_begin(struct kern_dev *d, const struct step *s) {
    (void)s;
    spend(d);
}
static enum err_code fake_end(struct kern_dev *d, struct err *e) {
    spend(d);
    return err_set(e, ERR_IO, "the end's own");
}
static void fake_read(struct kern_dev *d, kern_ref src, float *dst, size_t n) {
    assert_true(src == 1 && !dst && n == 3);
    spend(d);
}
static void fake_argmax(struct kern_dev *d, kern_ref x, size_t n, size_t dim, int32_t *at) {
    assert_true(x == 1 && n == 2 && dim == 3 && !at);
    spend(d);
}
static void fake_embed(struct kern_dev *d, kern_ref x, kern_weight table, float scale) {
    assert_true(x == 1 && table == 2 && scale == 3.0f);
    spend(d);
}
static void fake_gather(struct kern_dev *d, kern_ref y, kern_ref x, int dim) {
    assert_true(y == 1 && x == 2 && dim == 3);
    spend(d);
}
static void fake_rmsnorm(struct kern_dev *d, kern_ref y, kern_ref x, kern_weight w,
                         enum kern_rows rows, int n, int dim, float eps) {
    assert_true(y == 1 && x == 2 && w == 3 && rows == ROWS_OUT && n == 4 && dim == 5 &&
                eps == 6.0f);
    spend(d);
}
static void fake_matmul(struct kern_dev *d, kern_ref y, kern_ref x, kern_weight w, kern_weight b,
                        enum kern_rows rows, bool add) {
    assert_true(y == 1 && x == 2 && w == 3 && b == 4 && add == (rows == ROWS_TOK));
    spend(d);
}
static void fake_rope(struct kern_dev *d, kern_ref x, const struct kern_rope *r) {
    assert_true(x == 1 && r);
    spend(d);
}
static void fake_kv_store(struct kern_dev *d, int layer, kern_ref k, kern_ref v) {
    assert_true(layer == 1 && k == 2 && v == 3);
    spend(d);
}
static void fake_attend(struct kern_dev *d, kern_ref y, kern_ref q, const struct kern_attend *a) {
    assert_true(y == 1 && q == 2 && a);
    spend(d);
}
static void fake_store_attend(struct kern_dev *d, kern_ref y, kern_ref q, kern_ref k, kern_ref v,
                              const struct kern_attend *a) {
    assert_true(y == 1 && q == 2 && k == 3 && v == 4 && a);
    spend(d);
}
static void fake_add(struct kern_dev *d, kern_ref y, kern_ref x, int dim) {
    assert_true(y == 1 && x == 2 && dim == 3);
    spend(d);
}
static void fake_softcap(struct kern_dev *d, kern_ref x, enum kern_rows rows, int dim, float cap) {
    assert_true(x == 1 && rows == ROWS_OUT && dim == 3 && cap == 4.0f);
    spend(d);
}
static void fake_qkv(struct kern_dev *d, const struct kern_qkv *a) {
    (void)a;
    spend(d);
}
static void fake_ffn(struct kern_dev *d, const struct kern_ffn *a) {
    (void)a;
    spend(d);
}
static void fake_moe(struct kern_dev *d, const struct kern_moe *a) {
    (void)a;
    spend(d);
}

static const struct kern fake = {
    .close = fake_close,
    .read = fake_read,
    .argmax = fake_argmax,
    .begin = fake_begin,
    .end = fake_end,
    .embed = fake_embed,
    .gather = fake_gather,
    .rmsnorm = fake_rmsnorm,
    .matmul = fake_matmul,
    .rope = fake_rope,
    .kv_store = fake_kv_store,
    .attend = fake_attend,
    .add = fake_add,
    .softcap = fake_softcap,
    .qkv = fake_qkv,
    .store_attend = fake_store_attend,
    .ffn = fake_ffn,
    .moe = fake_moe,
    .waited = fake_waited,
};

/* One of each operation, one second of the scheduler's own before each; what forward would call. */
static void run_all(const struct kern *k, struct kern_dev *d) {
    struct kern_rope rope = {0};
    struct kern_attend attend = {0};
    struct kern_qkv qkv = {0};
    struct kern_ffn ffn = {0};
    struct kern_moe moe = {0};
    struct err e = {0};
    k->begin(d, NULL);
    test.now += 1, k->embed(d, 1, 2, 3.0f);
    test.now += 1, k->rmsnorm(d, 1, 2, 3, ROWS_OUT, 4, 5, 6.0f);
    test.now += 1, k->qkv(d, &qkv);
    test.now += 1, k->rope(d, 1, &rope);
    test.now += 1, k->kv_store(d, 1, 2, 3);
    test.now += 1, k->attend(d, 1, 2, &attend);
    test.now += 1, k->store_attend(d, 1, 2, 3, 4, &attend);
    test.now += 1, k->matmul(d, 1, 2, 3, 4, ROWS_TOK, true);
    test.now += 1, k->ffn(d, &ffn);
    test.now += 1, k->moe(d, &moe);
    test.now += 1, k->gather(d, 1, 2, 3);
    test.now += 1, k->matmul(d, 1, 2, 3, 4, ROWS_OUT, false);
    test.now += 1, k->softcap(d, 1, ROWS_OUT, 3, 4.0f);
    assert_int_equal(k->end(d, &e), ERR_IO);
    assert_string_equal(e.what, "the end's own");
    k->read(d, 1, NULL, 3);
    k->argmax(d, 1, 2, 3, NULL);
}

static double sum_of(const struct profile *p, int row) {
    double sum = 0;
    for (int s = 0; s < STAGE_N; s++) {
        assert_true(p->seconds[row][s] >= 0);
        sum += p->seconds[row][s];
    }
    return sum;
}

static void test_stages(void **state) {
    (void)state;
    struct profile p = {.now = test_now};
    const struct kern *k = &fake;
    struct kern_dev *d = (struct kern_dev *)&test;
    memset(&test, 0, sizeof test);
    assert_int_equal(profile_wrap(&p, &k, &d, NULL), ERR_OK);
    assert_ptr_not_equal(k, &fake);
    test.waited = 100; /* of a time before the profile */
    profile_begin(&p);
    for (int phase = 0; phase < PHASE_N; phase++) {
        test.now += 7;
        profile_take(&p, STAGE_CALLER);
        test.now += 3;
        profile_take(&p, STAGE_SCHEDULE);
        profile_step(&p, (enum profile_phase)phase, phase ? 1 : 20);
        run_all(k, d);
        test.now += 2;
        profile_lap(&p, STAGE_DETOKENIZE);
        profile_step_end(&p);
    }
    double all = test.now;
    for (int phase = 0; phase < PHASE_N; phase++) {
        double once[STAGE_N] = {[STAGE_LOGITS] = 2.25,
                                [STAGE_ATTEND] = 1.5,
                                [STAGE_SAMPLE] = 1.5,
                                [STAGE_DETOKENIZE] = 2,
                                [STAGE_CALLER] = 7};
        /* begin and end are the scheduler's, and threads waited in both. */
        once[STAGE_SCHEDULE] = 3 + 13 + 2 * 0.75;
        once[STAGE_SYNC] = 17 * 0.25;
        for (int s = 0; s < STAGE_N; s++) {
            double want = once[s] > 0 ? once[s] : 0.75;
            if (p.seconds[phase][s] != want) {
                fail_msg("phase %d, %s: %g, not %g", phase, profile_stage_name(s),
                         p.seconds[phase][s], want);
            }
        }
        assert_int_equal(p.n_step[phase], 1);
    }
    assert_int_equal(p.n_tok[PHASE_PREFILL], 20);
    assert_true(sum_of(&p, PHASE_PREFILL) + sum_of(&p, PHASE_DECODE) == all);
    assert_true(sum_of(&p, PHASE_N) == 0);
    profile_begin(&p);
    assert_true(sum_of(&p, PHASE_DECODE) == 0 && p.n_step[PHASE_DECODE] == 0);
    k->close(d);
    assert_int_equal(test.n_close, 1);
    assert_int_equal(mem_live(), 0);
}

/* A device that stores and attends one after the other has a stage for each. */
static void test_apart(void **state) {
    (void)state;
    struct profile p = {.now = test_now};
    struct kern apart = fake;
    const struct kern *k = &apart;
    struct kern_dev *d = (struct kern_dev *)&test;
    memset(&test, 0, sizeof test);
    apart.store_attend = NULL;
    assert_int_equal(profile_wrap(&p, &k, &d, NULL), ERR_OK);
    profile_begin(&p);
    profile_step(&p, PHASE_DECODE, 1);
    k->store_attend(d, 1, 2, 2, 3, &(struct kern_attend){.layer = 1});
    assert_true(p.seconds[PHASE_DECODE][STAGE_KV_STORE] == 0.75);
    assert_true(p.seconds[PHASE_DECODE][STAGE_ATTEND] == 0.75);
    k->close(d);
    assert_int_equal(mem_live(), 0);
}

/* Nothing is called through, and nothing changes, where there is no memory. */
static void test_no_memory(void **state) {
    (void)state;
    struct profile p = {.now = test_now};
    const struct kern *k = &fake;
    struct kern_dev *d = (struct kern_dev *)&test;
    struct err e = {0};
    if (!mem_fail_at(1)) {
        return; /* memory fails in the torture build alone */
    }
    enum err_code rc = profile_wrap(&p, &k, &d, &e);
    mem_fail_at(0);
    assert_int_equal(rc, ERR_NOMEM);
    assert_ptr_equal(k, &fake);
    assert_ptr_equal(d, &test);
    assert_int_equal(mem_live(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_stages), cmocka_unit_test(test_apart),
                                       cmocka_unit_test(test_no_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
