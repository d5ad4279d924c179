/* action.c: from flags and events to a line of the audit log.
 *
 * Owns the reading of the key, and which error's name becomes the outcome. Invariant: `open` is
 * changed under the lock.
 */
#include "cli/action.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "cli/cli.h"
#include "store/store.h"

enum { KEY_MIN = 16, KEY_MAX = 4096 };

#define TEXT_MAX ((size_t)1 << 28)

/* ---- flags ----------------------------------------------------------------------------------- */

static enum err_code key_read(const char *path, struct action *a, struct err *e) {
    size_t n = 0;
    enum err_code rc = cli_read_secret(path, "the key", KEY_MAX, &a->key, &n, e);
    if (!rc && n < KEY_MIN) {
        rc = err_set(e, ERR_RANGE, "a key of %zu bytes is too short", n);
        err_hint(e, "take at least %d: head -c 32 /dev/urandom | base64 > FILE", KEY_MIN);
    }
    if (rc) {
        if (!e->where[0]) {
            err_where(e, "--audit-key-file %s", path);
        }
        return rc;
    }
    a->log.key = a->key;
    a->log.n_key = n;
    return ERR_OK;
}

enum err_code action_log(struct cli *c, struct err *e) {
    struct action *a = &c->action;
    const char *key = knobs_str(c->k, "audit-key-file");
    a->log.path = knobs_str(c->k, "audit");
    const char *log = knobs_str(c->k, "log-file");
    if (a->log.path && log && strcmp(a->log.path, log) == 0) {
        err_set(e, ERR_USAGE, "--audit and --log-file name the same file, %s", log);
        err_hint(e, "give the audit log a file of its own");
        return ERR_USAGE;
    }
    return key ? key_read(key, a, e) : ERR_OK;
}

int action_options(struct cli *c) {
    struct err e = {0};
    return action_log(c, &e) ? cli_fail(c, &e) : EXIT_DONE;
}

static enum err_code prepare(struct cli *c, struct err *e) {
    struct action *a = &c->action;
    struct json_writer w;
    a->texts = knobs_bool(c->k, "audit-text");
    a->lock = os_mutex_create();
    if (!a->lock) {
        return err_set(e, ERR_NOMEM, "out of memory");
    }
    buf_init(&a->parameters, TEXT_MAX);
    buf_init(&a->prompt, TEXT_MAX);
    buf_init(&a->answer, TEXT_MAX);
    json_writer_init(&w, &a->parameters);
    knobs_put_given(c->k, a->texts, &w);
    return buf_check(&a->parameters, e);
}

void action_fini(struct cli *c) {
    struct action *a = &c->action;
    mem_free(a->key);
    os_mutex_free(a->lock);
    buf_fini(&a->parameters);
    buf_fini(&a->prompt);
    buf_fini(&a->answer);
}

/* ---- begin and end ----------------------------------------------------------------------------
 */

int action_begin(struct cli *c) {
    struct action *a = &c->action;
    struct err e = {0};
    if (!c->verb->acts || a->open) {
        return EXIT_DONE;
    }
    if (!a->lock) {
        int code = action_options(c);
        if (code != EXIT_DONE || !a->log.path) {
            return code;
        }
        if (prepare(c, &e)) {
            return cli_fail(c, &e);
        }
    }
    if (audit_ready(&a->log, &e)) {
        return cli_fail(c, &e);
    }
    os_mutex_lock(a->lock);
    a->open = true;
    a->prompt_tokens = a->new_tokens = -1;
    c->failure = ERR_OK;
    buf_reset(&a->prompt);
    buf_reset(&a->answer);
    os_mutex_unlock(a->lock);
    return EXIT_DONE;
}

static struct str text_of(const struct buf *b) {
    return str_of(b->len > 0 ? b->p : NULL, b->len);
}

static enum err_code write_line(struct cli *c, const char *outcome, struct err *e) {
    struct action *a = &c->action;
    enum err_code rc = ERR_OK;
    os_mutex_lock(a->lock);
    if (a->open) {
        struct audit_entry entry = {.verb = c->verb->args.name,
                                    .outcome = outcome,
                                    .model = a->model[0] ? a->model : NULL,
                                    .model_sha256 = a->model_sha256[0] ? a->model_sha256 : NULL,
                                    .parameters = a->parameters.p,
                                    .prompt = text_of(&a->prompt),
                                    .answer = text_of(&a->answer),
                                    .prompt_tokens = a->prompt_tokens,
                                    .new_tokens = a->new_tokens};
        a->open = false;
        rc = audit_write(&a->log, &entry, e);
    }
    os_mutex_unlock(a->lock);
    return rc;
}

int action_end(struct cli *c, int code) {
    struct action *a = &c->action;
    struct err e = {0};
    if (!a->lock) {
        return code;
    }
    const char *outcome = code == EXIT_DONE          ? "done"
                          : code == EXIT_INTERRUPTED ? "interrupted"
                          : c->failure               ? err_name(c->failure)
                                                     : "failed";
    if (!write_line(c, outcome, &e)) {
        return code;
    }
    a->failed = true;
    err_hint(&e, "what was done is not in the audit log");
    c->json = c->json && !c->out_begun; /* its one document is out already */
    cli_fail(c, &e);
    return EXIT_FAILED;
}

void action_interrupted(void *cli) {
    struct cli *c = cli;
    if (c->action.lock) {
        write_line(c, "interrupted", NULL);
    }
}

/* ---- what happens in between -------------------------------------------------------------------
 */

void action_model(struct cli *c, const char *path) {
    struct action *a = &c->action;
    if (a->lock) {
        const char *slash = strrchr(path, '/');
        os_mutex_lock(a->lock);
        snprintf(a->model, sizeof a->model, "%s", slash ? slash + 1 : path);
        store_sha256(path, a->model_sha256);
        os_mutex_unlock(a->lock);
    }
}

void action_count(struct cli *c, int prompt_tokens, int new_tokens) {
    struct action *a = &c->action;
    if (a->lock) {
        os_mutex_lock(a->lock);
        a->prompt_tokens = (a->prompt_tokens > 0 ? a->prompt_tokens : 0) + prompt_tokens;
        a->new_tokens = (a->new_tokens > 0 ? a->new_tokens : 0) + new_tokens;
        os_mutex_unlock(a->lock);
    }
}

void action_texts(struct cli *c, struct str prompt, struct str answer) {
    struct action *a = &c->action;
    if (a->lock && a->texts) {
        os_mutex_lock(a->lock);
        buf_reset(&a->prompt);
        buf_reset(&a->answer);
        buf_put(&a->prompt, prompt.p, prompt.n);
        buf_put(&a->answer, answer.p, answer.n);
        os_mutex_unlock(a->lock);
    }
}
