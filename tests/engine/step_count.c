/* step_count.c: a prompt and some tokens of a model, in a function by which a tool counts them.
 *
 *   step_count MODEL
 *
 * One thread, level avx2, no guesses. Refuses to count: tools/count_instructions.py does, and
 * expects on standard output the compiler's version and then a line for each call of `counted`.
 * Ends with status 77 where the processor has no AVX2.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "ign.h"

enum { PROMPT = 32, NEW = 4 };

static const char text[] =
    "The filler on line 4 stopped at 06:12 because the infeed starved; the operator cleared the "
    "jam, acknowledged the alarm and restarted after three minutes and forty seconds. Since the "
    "shift began the line has made 18,240 bottles, 412 of which the checkweigher rejected.";

static struct {
    ign_model *m;
    ign_session *session;
    ign_error e;
    int busy, n_new;
} s;

static void need(ign_status rc) {
    if (rc) {
        fprintf(stderr, "step_count: %s\n", s.e.text);
        exit(1);
    }
}

static void on_event(void *arg, const ign_event *ev) {
    (void)arg;
    s.n_new += ev->id >= 0;
}

/* The tool counts what happens from here to the return; never merged into its callers. */
void counted(int n_new);
__attribute__((noinline)) void counted(int n_new) {
    while (s.n_new < n_new && s.busy > 0) {
        need(ign_step(s.m, &s.busy, &s.e));
    }
    __asm__ volatile("" ::: "memory");
}

static void ask(const int32_t *ids, size_t n) {
    ign_request r = {.ids = ids,
                     .n_ids = n,
                     .max_tokens = NEW + (n > 0), /* one comes with the prompt */
                     .ignore_eos = true,
                     .logprobs = -1,
                     .on_event = on_event};
    need(ign_session_submit(s.session, &r, &s.e));
    s.busy = 1;
    s.n_new = 0;
}

int main(int argc, char **argv) {
    const ign_model_options o = {.device = "cpu",
                                 .cpu_level = "avx2",
                                 .threads = 1,
                                 .context = 256,
                                 .no_speculation = true,
                                 .no_large_pages = true};
    ign_sampling greedy = {.top_p = 1, .typical = 1, .repeat_penalty = 1}, usual;
    int32_t *ids = NULL;
    size_t n = 0;
    if (argc != 2) {
        fprintf(stderr, "usage: step_count MODEL\n");
        return 2;
    }
    if (!os_cpu_has("avx2")) {
        printf("this processor has no AVX2\n");
        return 77;
    }
    printf("compiler %s\n", __VERSION__);
    ign_sampling_default(&usual);
    usual.seed = 1;
    need(ign_model_open(&s.m, argv[1], &o, &s.e));
    need(ign_encode(s.m, text, sizeof text - 1, false, -1, &ids, &n, &s.e));
    need(ign_session_create(s.m, 2 * PROMPT, &greedy, &s.session, &s.e));
    ask(ids, n < PROMPT ? n : PROMPT);
    printf("prompt of %d tokens\n", PROMPT);
    counted(1);
    printf("%d tokens, greedy\n", NEW);
    counted(NEW + 1);
    need(ign_session_set_sampling(s.session, &usual, &s.e));
    ask(NULL, 0);
    printf("%d tokens, sampled\n", NEW);
    counted(NEW);
    ign_session_free(s.session);
    ign_free(ids);
    ign_model_close(s.m);
    return 0;
}
