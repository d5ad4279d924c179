/* benchmark_profile.c: where the time of requests goes, by stage.
 *
 * Owns the wholes, which it times on its own from step to step, and what a prompt takes before the
 * first step: the template and the tokenizer, once for each request. The stages inside of steps are
 * the engine's. What no stage has is shown as `other`.
 * Invariant: the stages of a phase and its `other` add up to its seconds.
 */
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "cli/benchmark.h"

enum { PREFILL, DECODE, PHASES };

static const char *const phase_name[PHASES] = {"prefill", "decode"};

/* ---- measuring ------------------------------------------------------------------------------ */

static ign_status make_message(struct benchmark_profile *p, ign_error *e) {
    struct json_writer w;
    struct err err = {0};
    buf_init(&p->message, 1 << 26);
    json_writer_init(&w, &p->message);
    json_open(&w, '[');
    json_open(&w, '{');
    json_member_z(&w, "role", "user");
    json_member_z(&w, "content", p->text);
    json_close(&w, '}');
    json_close(&w, ']');
    if (buf_check(&p->message, &err)) {
        err_line(&err, e->text, sizeof e->text);
        return e->code = (ign_status)err.code;
    }
    return IGN_OK;
}

ign_status benchmark_profile_begin(struct benchmark *b, const int32_t *ids, int n, ign_error *e) {
    struct benchmark_profile *p = &b->profile;
    ign_status rc = ign_decode(b->model, ids, (size_t)n, false, &p->text, &p->n_text, e);
    rc = rc ? rc : make_message(p, e);
    rc = rc ? rc : ign_profile_begin(b->model, e);
    p->at = os_now();
    return rc;
}

/* A template takes what a chat takes longer than its text alone. One that cannot be read, or none
 * at all, takes nothing. */
ign_status benchmark_profile_prompt(struct benchmark *b, ign_error *e) {
    struct benchmark_profile *p = &b->profile;
    int32_t *ids = NULL;
    size_t n = 0;
    double start = os_now();
    ign_status rc = ign_encode(b->model, p->text, p->n_text, false, -1, &ids, &n, e);
    double tokenizer = os_now() - start;
    ign_free(ids);
    if (rc) {
        return rc;
    }
    start = os_now();
    rc = ign_encode_chat(b->model, p->message.p, NULL, &ids, &n, NULL);
    double both = os_now() - start;
    ign_free(ids);
    if (rc || both < tokenizer) {
        both = tokenizer;
    }
    p->tokenizing += tokenizer;
    p->templating += both - tokenizer;
    p->whole[PREFILL] += both;
    p->at = os_now();
    return IGN_OK;
}

void benchmark_profile_step(struct benchmark *b) {
    struct benchmark_profile *p = &b->profile;
    ign_profile now[PHASES];
    double at = os_now();
    ign_profile_get(b->model, &now[PREFILL], &now[DECODE]);
    for (int i = 0; i < PHASES; i++) {
        if (now[i].steps > p->phase[i].steps) {
            p->whole[i] += at - p->at;
            p->at = at;
        }
        p->phase[i] = now[i];
    }
}

void benchmark_profile_fini(struct benchmark_profile *p) {
    ign_free(p->text);
    buf_fini(&p->message);
}

/* ---- showing -------------------------------------------------------------------------------- */

enum { LINES = IGN_STAGES + 3 };

struct lines {
    const char *name[LINES];
    double seconds[LINES];
};

static struct lines lines_of(const struct benchmark_profile *p, int phase) {
    const ign_profile *f = &p->phase[phase];
    struct lines l = {.name = {"template", "tokenizing"}};
    double other = p->whole[phase];
    l.seconds[0] = phase == PREFILL ? p->templating : 0;
    l.seconds[1] = phase == PREFILL ? p->tokenizing : 0;
    for (int i = 0; i < IGN_STAGES; i++) {
        l.name[i + 2] = f->stage[i];
        l.seconds[i + 2] = f->seconds[i];
    }
    for (int i = 0; i < LINES - 1; i++) {
        other -= l.seconds[i];
    }
    l.name[LINES - 1] = "other";
    l.seconds[LINES - 1] = other;
    return l;
}

void benchmark_profile_put_json(const struct benchmark *b, struct json_writer *w) {
    const struct benchmark_profile *p = &b->profile;
    json_key(w, "profile");
    json_open(w, '{');
    for (int i = 0; i < PHASES; i++) {
        struct lines l = lines_of(p, i);
        json_key(w, phase_name[i]);
        json_open(w, '{');
        json_member_int(w, "steps", (int64_t)p->phase[i].steps);
        json_member_int(w, "tokens", (int64_t)p->phase[i].tokens);
        json_member_real(w, "seconds", p->whole[i]);
        json_key(w, "stages");
        json_open(w, '{');
        for (int k = 0; k < LINES; k++) {
            json_member_real(w, l.name[k], l.seconds[k]);
        }
        json_close(w, '}');
        json_close(w, '}');
    }
    json_close(w, '}');
}

static void text_bar(const struct benchmark *b, double share) {
    enum { CELLS = 20 };
    char bar[CELLS + 1];
    for (int k = 0; k < CELLS; k++) {
        bar[k] = k < (int)(share * CELLS + 0.5) ? '#' : '.';
    }
    bar[CELLS] = '\0';
    cli_printf(b->c, " [%s]", bar);
}

void benchmark_profile_put_text(const struct benchmark *b) {
    const struct benchmark_profile *p = &b->profile;
    struct lines l[PHASES];
    cli_puts(b->c, "profile   ");
    for (int i = 0; i < PHASES; i++) {
        l[i] = lines_of(p, i);
        cli_printf(b->c, "%s %s %llu tokens in %.3f s", i ? "," : "", phase_name[i],
                   (unsigned long long)p->phase[i].tokens, p->whole[i]);
    }
    cli_puts(b->c, "; microseconds a token and share:\n");
    for (int k = 0; k < LINES; k++) {
        cli_printf(b->c, "  %-16s", l[0].name[k]);
        for (int i = 0; i < PHASES; i++) {
            double tokens = p->phase[i].tokens > 0 ? (double)p->phase[i].tokens : 1;
            double share = p->whole[i] > 0 ? l[i].seconds[k] / p->whole[i] : 0;
            cli_printf(b->c, " %9.1f %5.1f %%", 1e6 * l[i].seconds[k] / tokens, 100 * share);
            if (b->c->out_terminal) {
                text_bar(b, share);
            }
        }
        cli_puts(b->c, "\n");
    }
}
