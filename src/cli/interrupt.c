/* interrupt.c: the watching thread.
 *
 * Owns the mode and the lock around it. Invariant: the lock is never held while anything is
 * computed or printed, except by the thread that is about to end the program.
 */
#include "cli/interrupt.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/os.h"

struct interrupt {
    volatile int *count;
    bool json;
    void (*last)(void *); /* called before the program is ended, with `arg` */
    void *arg;
    struct os_mutex *lock;
    struct os_thread *thread;
    ign_session *one;            /* where a list of one is kept */
    ign_session *const *session; /* [n_session] to be cancelled */
    size_t n_session;
    bool ends; /* no session: end the program */
    bool done;
};

static void end_program(const struct interrupt *i) {
    static const char line[] = "ign: interrupted\n";
    static const char doc[] = "{\"error\":{\"code\":\"cancelled\",\"message\":\"interrupted\","
                              "\"hint\":\"\"}}\n";
    i->last(i->arg);
    if (i->json) {
        os_write_fd(1, doc, sizeof doc - 1, NULL);
    }
    os_write_fd(2, line, sizeof line - 1, NULL);
    _Exit(130);
}

/* Sleeps grow from 1 to 20 ms: a short command does not wait for this thread when it ends. */
static void watch(void *arg) {
    struct interrupt *i = arg;
    bool done = false;
    double pause = 0.001;
    while (!done) {
        os_mutex_lock(i->lock);
        done = i->done;
        if (!done && os_stopped(i->count)) {
            for (size_t k = 0; k < i->n_session; k++) {
                ign_session_cancel(i->session[k]);
            }
            if (i->ends) {
                end_program(i);
            }
        }
        os_mutex_unlock(i->lock);
        if (!done) {
            os_sleep(pause);
            pause = pause < 0.018 ? pause * 1.1 : 0.02;
        }
    }
}

enum err_code interrupt_create(struct interrupt **out, volatile int *count, bool json,
                               void (*last)(void *), void *arg, struct err *e) {
    *out = NULL;
    struct interrupt *i = mem_zalloc(1, sizeof *i);
    if (!i) {
        return err_set(e, ERR_NOMEM, "out of memory");
    }
    i->count = count;
    i->json = json;
    i->last = last;
    i->arg = arg;
    i->ends = true;
    i->lock = os_mutex_create();
    enum err_code rc =
        i->lock ? os_thread_start(&i->thread, watch, i, e) : err_set(e, ERR_NOMEM, "out of memory");
    if (rc) {
        interrupt_free(i);
        return rc;
    }
    *out = i;
    return ERR_OK;
}

void interrupt_cancels_all(struct interrupt *i, ign_session *const *s, size_t n) {
    os_mutex_lock(i->lock);
    i->session = s;
    i->n_session = n;
    i->ends = false;
    os_mutex_unlock(i->lock);
}

void interrupt_free(struct interrupt *i) {
    if (!i) {
        return;
    }
    if (i->thread) {
        os_mutex_lock(i->lock);
        i->done = true;
        os_mutex_unlock(i->lock);
        os_thread_join(i->thread);
    }
    os_mutex_free(i->lock);
    mem_free(i);
}

void interrupt_cancels(struct interrupt *i, ign_session *s) {
    interrupt_waits(i);
    i->one = s;
    interrupt_cancels_all(i, &i->one, 1);
}

void interrupt_waits(struct interrupt *i) {
    interrupt_cancels_all(i, NULL, 0);
}

void interrupt_ends(struct interrupt *i) {
    os_mutex_lock(i->lock);
    i->n_session = 0;
    i->ends = true;
    os_mutex_unlock(i->lock);
}

bool interrupt_seen(const struct interrupt *i) {
    return os_stopped(i->count);
}

const volatile int *interrupt_count(const struct interrupt *i) {
    return i->count;
}

void interrupt_forget(struct interrupt *i) {
    __atomic_store_n(i->count, 0, __ATOMIC_RELAXED);
}
