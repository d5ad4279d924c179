/* chunks.c: see chunks.h.
 */
#include "cli/chunks.h"

#include "base/os.h"
#include "cli/open_model.h"
#include "cli/progress.h"

enum { TEXT_MAX = 256 << 20 };

void chunks_init(struct chunks *t, struct cli *c) {
    *t = (struct chunks){.c = c};
    buf_init(&t->text, (size_t)2 * TEXT_MAX);
    answer_init(&t->answer, c, false);
    t->answer.user = t;
}

void chunks_close(struct chunks *t) {
    ign_session_free(t->s);
    ign_model_close(t->m);
    ign_free(t->ids);
    t->s = NULL;
    t->m = NULL;
    t->ids = NULL;
}

void chunks_fini(struct chunks *t) {
    chunks_close(t);
    answer_fini(&t->answer);
    buf_fini(&t->text);
}

int chunks_read(struct chunks *t) {
    struct err e = {0};
    const char *file = knobs_str(t->c->k, "file");
    return cli_read(file ? file : "-", TEXT_MAX, &t->text, &e) ? cli_fail(t->c, &e) : EXIT_DONE;
}

/* ---- opening --------------------------------------------------------------------------------- */

static int open_model(struct chunks *t, const char *path) {
    ign_model_info info;
    t->context = (int)knobs_int(t->c->k, "context");
    int code = path ? engine_file_open(t->c, path, t->context, 0, &t->m)
                    : engine_model_open(t->c, t->context, &t->m);
    if (code != EXIT_DONE) {
        return code;
    }
    ign_model_get_info(t->m, &info);
    t->n_vocab = (size_t)info.vocabulary;
    if (info.context_trained < t->context && !knobs_given(t->c->k, "context")) {
        t->context = info.context_trained;
    }
    return EXIT_DONE;
}

/* Ids of the text, as the model wants it to begin; and its BOS, which is what it makes of nothing.
 */
static ign_status encode(struct chunks *t, ign_error *e) {
    int32_t *none = NULL;
    size_t n = 0;
    ign_status rc = ign_encode(t->m, "", 0, false, -1, &none, &n, e);
    if (!rc) {
        t->bos = n > 0 ? none[0] : -1;
        rc = ign_encode(t->m, t->text.p ? t->text.p : "", t->text.len, false, -1, &t->ids,
                        &t->n_ids, e);
    }
    ign_free(none);
    return rc;
}

int chunks_open(struct chunks *t, const char *path) {
    struct err e = {0};
    ign_error why = {0};
    int code = open_model(t, path);
    if (code != EXIT_DONE) {
        return code;
    }
    if (encode(t, &why)) {
        return cli_fail_data_ign(t->c, &why);
    }
    t->n_chunk = t->n_ids / (size_t)t->context;
    if (t->n_chunk == 0) {
        err_set(&e, ERR_USAGE, "the text has %zu tokens, less than one chunk of %d", t->n_ids,
                t->context);
        err_hint(&e, "take a longer text, or a smaller --context");
        return cli_fail(t->c, &e);
    }
    return ign_session_create(t->m, 0, NULL, &t->s, &why) ? cli_fail_ign(t->c, &why) : EXIT_DONE;
}

size_t chunks_scored(const struct chunks *t) {
    return t->n_chunk * (size_t)(t->context - 1 - t->context / 2);
}

/* ---- asking ---------------------------------------------------------------------------------- */

static void on_logits(void *arg, int position, const float *logit, int n_vocab) {
    struct chunks *t = ((struct answer *)arg)->user;
    if (position >= t->context / 2 && position < t->context - 1) {
        t->row(t->arg, logit, n_vocab, t->now[position + 1]);
    }
}

/* Where something is scored, the first half only fills the cache: its logits are not computed. */
static ign_status ask(struct chunks *t, int32_t *ids, ign_error *e) {
    size_t half = t->row ? (size_t)t->context / 2 : 0, n = (size_t)t->context - half;
    int32_t kept = ids[0];
    ign_request first = {.ids = ids, .n_ids = half, .logprobs = -1};
    ign_request rest = {.ids = ids + half, .n_ids = n, .logprobs = -1};
    ign_status rc = ign_session_truncate(t->s, 0, e);
    rest.on_logits = t->row ? on_logits : NULL;
    t->answer.stop = IGN_STOP_NONE;
    t->now = ids;
    ids[0] = t->bos >= 0 ? t->bos : kept;
    if (!rc && half > 0) {
        rc = answer_run(&t->answer, t->m, t->s, &first, e);
    }
    if (!rc && t->answer.stop != IGN_STOP_CANCELLED) {
        rc = answer_run(&t->answer, t->m, t->s, &rest, e);
    }
    ids[0] = kept;
    return rc;
}

int chunks_run(struct chunks *t, const char *what) {
    ign_error why = {0};
    struct progress bar;
    ign_status rc = IGN_OK;
    double start = os_now();
    progress_begin(&bar, t->c, what);
    for (size_t i = 0; i < t->n_chunk && !rc && !t->failed.code; i++) {
        progress_draw(&bar, i, t->n_chunk);
        rc = ask(t, t->ids + i * (size_t)t->context, &why);
        if (!rc && t->answer.stop == IGN_STOP_CANCELLED) {
            err_set(&t->failed, ERR_CANCELLED, "interrupted after %zu of %zu chunks", i,
                    t->n_chunk);
        }
    }
    progress_end(&bar);
    t->seconds = os_now() - start;
    return rc ? cli_fail_ign(t->c, &why) : t->failed.code ? cli_fail(t->c, &t->failed) : EXIT_DONE;
}

int chunks_output(struct cli *c, const char *path) {
    struct os_out *o;
    struct err e = {0};
    if (os_out_open(&o, path, &e)) {
        return cli_fail(c, &e);
    }
    os_out_drop(o);
    return EXIT_DONE;
}
