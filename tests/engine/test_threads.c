/* test_threads.c: one owner steps; other threads submit and cancel as they like. Each request has
 * exactly one last event, and the ones that were not cancelled have the tokens that they have
 * alone. Meant to be run under the thread sanitizer, too.
 */
#include <stdatomic.h>

#include "base/os.h"
#include "engine/engine_rig.h"

enum { N_CLIENT = 4, N_ROUND = 40, N_NEW = 12 };

/* Who has the word about a client's request. */
enum phase { WORKING, ENDED, INSPECTED };

struct client {
    ign_session *s;
    struct answer solo, a;
    int32_t ids[40];
    int n_ids;
    uint64_t seed;
    atomic_int phase;
    int served, cancelled;
    int failed_line; /* cmocka's asserts are for the main thread only */
};

static atomic_int done;

static void on_event(void *arg, const ign_event *ev) {
    struct client *c = arg;
    rig_on_event(&c->a, ev);
    if (ev->stop != IGN_STOP_NONE) {
        atomic_store(&c->phase, ENDED);
    }
}

static void check(struct client *c, bool ok, int line) {
    if (!ok && !c->failed_line) {
        c->failed_line = line;
    }
}

static void wait_for(struct client *c, enum phase phase) {
    while (atomic_load(&c->phase) != (int)phase) {
        os_sleep(2e-5);
    }
}

static void client_run(void *arg) {
    struct client *c = arg;
    for (int round = 0; round < N_ROUND; round++) {
        bool cancels = tiny_random(&c->seed) % 2;
        ign_request r = rig_request(c->ids, (size_t)c->n_ids, N_NEW, &c->a);
        ign_error e = {0};
        r.on_event = on_event;
        r.arg = c;
        check(c, ign_session_submit(c->s, &r, &e) == IGN_OK, __LINE__);
        if (cancels) {
            os_sleep((double)(tiny_random(&c->seed) % 1000) * 4e-6);
            ign_session_cancel(c->s);
        }
        wait_for(c, ENDED);
        check(c, c->a.n_last == 1 && c->a.n <= N_NEW, __LINE__);
        check(c, !memcmp(c->a.ids, c->solo.ids, (size_t)c->a.n * sizeof(int32_t)), __LINE__);
        if (c->a.stop == IGN_STOP_CANCELLED) {
            check(c, cancels, __LINE__);
            c->cancelled++;
        } else {
            check(c, c->a.stop == IGN_STOP_LENGTH && c->a.n == N_NEW, __LINE__);
            c->served++;
        }
        atomic_store(&c->phase, INSPECTED);
        wait_for(c, WORKING);
    }
    atomic_fetch_add(&done, 1);
}

/* The owner's loop: steps, and empties the sessions whose request has ended. */
static void serve(ign_model *m, struct client *c) {
    while (atomic_load(&done) < N_CLIENT) {
        if (rig_step(m) == 0) {
            os_yield();
        }
        for (int i = 0; i < N_CLIENT; i++) {
            if (atomic_load(&c[i].phase) == INSPECTED) {
                ign_error e = {0};
                assert_int_equal(ign_session_truncate(c[i].s, 0, &e), IGN_OK);
                atomic_store(&c[i].phase, WORKING);
            }
        }
    }
}

static void test_submit_and_cancel_from_threads(void **state) {
    (void)state;
    ign_model *m = rig_open(NULL, &(ign_model_options){.context = 512, .batch = 16, .threads = 2});
    struct client *c = calloc(N_CLIENT, sizeof *c);
    struct os_thread *t[N_CLIENT];
    struct err err = {0};
    int served = 0;
    for (int i = 0; i < N_CLIENT; i++) {
        ign_error e = {0};
        c[i].seed = (uint64_t)i;
        c[i].n_ids = 5 + 10 * i;
        rig_prompt(c[i].ids, c[i].n_ids, (uint64_t)i);
        c[i].s = rig_session(m, 64, rig_greedy());
        rig_ask(m, c[i].s, c[i].ids, (size_t)c[i].n_ids, N_NEW, &c[i].solo);
        assert_int_equal(ign_session_truncate(c[i].s, 0, &e), IGN_OK);
    }
    for (int i = 0; i < N_CLIENT; i++) {
        assert_int_equal(os_thread_start(&t[i], client_run, &c[i], &err), ERR_OK);
    }
    serve(m, c);
    for (int i = 0; i < N_CLIENT; i++) {
        os_thread_join(t[i]);
        assert_int_equal(c[i].failed_line, 0);
        assert_int_equal(c[i].served + c[i].cancelled, N_ROUND);
        served += c[i].served;
        ign_session_free(c[i].s);
    }
    assert_true(served > 0);
    free(c);
    ign_model_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_submit_and_cancel_from_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
