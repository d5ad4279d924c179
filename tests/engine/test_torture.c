/* test_torture.c: every allocation of a whole generate fails in turn: open, session, request,
 * steps, fork, save, load, close. Each failure is a plain error, nothing leaks, and once none fails
 * the answer is right. In a build without IGN_TORTURE the tests say that they are skipped.
 */
#include "base/mem.h"
#include "base/os.h"
#include "engine/engine_rig.h"

struct run {
    const char *model, *state;
    ign_status status; /* the first error */
    ign_error e;
    struct answer a;
};

/* Whether it is time to give up; a status that is an error has a text. */
static bool failed(struct run *r, ign_status status) {
    if (status != IGN_OK && r->status == IGN_OK) {
        r->status = status;
        assert_int_equal(r->e.code, status);
        assert_true(r->e.text[0] != '\0');
    }
    return r->status != IGN_OK;
}

static void step_until_done(struct run *r, ign_model *m) {
    int busy = 1;
    while (busy > 0 && !failed(r, ign_step(m, &busy, &r->e))) {
    }
    if (r->status == IGN_OK && r->a.stop == IGN_STOP_ERROR) {
        r->e = r->a.error;
        failed(r, r->e.code);
    }
}

static void generate(struct run *r) {
    static const char *const stop[] = {"never", "ever"};
    ign_model_options o = {.device = rig_device, .threads = 2, .context = 128};
    const char *chat = "[{\"role\": \"user\", \"content\": \"What does the pump say?\"}]";
    ign_model *m = NULL;
    ign_session *s = NULL, *copy = NULL;
    int32_t *ids = NULL;
    size_t n = 0;
    ign_error *e = &r->e;
    if (failed(r, ign_model_open(&m, r->model, &o, e)) ||
        failed(r, ign_encode_chat(m, chat, NULL, &ids, &n, e)) ||
        failed(r, ign_session_create(m, 0, NULL, &s, e))) {
        goto done;
    }
    ign_request q = rig_request(ids, n, 5, &r->a);
    q.stop = stop;
    q.n_stop = 2;
    if (failed(r, ign_session_submit(s, &q, e))) {
        goto done;
    }
    step_until_done(r, m);
    if (r->status != IGN_OK || failed(r, ign_session_fork(s, &copy, e)) ||
        failed(r, ign_session_save(s, r->state, e)) ||
        failed(r, ign_session_load(copy, r->state, e)) ||
        failed(r, ign_session_set_sampling(copy, NULL, e))) {
        goto done;
    }
done:
    ign_free(ids);
    ign_session_free(copy);
    ign_session_free(s);
    ign_model_close(m);
}

static void test_every_allocation_fails(void **state) {
    (void)state;
    char model[64], saved[64];
    struct run r = {.model = model, .state = saved};
    if (!mem_fail_at(0)) {
        skip();
    }
    rig_path(model);
    rig_path(saved);
    assert_true(tiny_model_write(model, NULL));
    size_t live = mem_live(), n = 1;
    for (;; n++) {
        r = (struct run){.model = model, .state = saved};
        mem_fail_at(n);
        generate(&r);
        mem_fail_at(0);
        assert_int_equal(mem_live(), live);
        if (r.status == IGN_OK) {
            break;
        }
        if (r.status != IGN_NOMEM) {
            fail_msg("allocation %zu: status %d, %s", n, (int)r.status, r.e.text);
        }
    }
    assert_int_equal(r.a.n, 5);
    assert_true(n > 50);
    unlink(model);
    unlink(saved);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_allocation_fails),
    };
    rig_device = "plain";
    int bad = cmocka_run_group_tests_name("plain", tests, NULL, NULL);
    rig_device = "cpu";
    return bad + cmocka_run_group_tests_name("cpu", tests, NULL, NULL);
}
