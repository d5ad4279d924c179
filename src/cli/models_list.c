/* models_list.c: what the store has, in lists: models, what is in quarantine, what is half pulled,
 * what other programs of this machine keep; and what is thrown away because it is of no use any
 * more.
 *
 * Owns the words for a model's state. Refuses to judge: the store does. It opens no connection.
 */
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "cli/models_job.h"
#include "quant/encode.h"
#include "store/derived.h"
#include "store/elsewhere.h"
#include "store/pull.h"

enum { WHY = 100 };

/* A line of a list stays one line, whatever a file is called. */
void models_put(struct cli *c, const char *text) {
    for (size_t n; *text; text += n) {
        n = strcspn(text, "\r\n\t");
        cli_put_text(c, text, n);
        if (text[n]) {
            cli_puts(c, "?");
            n++;
        }
    }
}

/* ---- list, verify ---------------------------------------------------------------------------- */

static const char *const state_name[] = {
    [DEPOT_RECORDED] = "recorded",
    [DEPOT_UNRECORDED] = "no record",
    [DEPOT_VERIFIED] = "verified",
    [DEPOT_BROKEN] = "broken, in quarantine",
    [DEPOT_BROKEN_HERE] = "broken, still there",
    [DEPOT_QUARANTINED] = "in quarantine",
};

static void put_models(const struct models_job *j, const char *key, const struct buf *models,
                       struct json_writer *w) {
    const struct depot_model *m = (const struct depot_model *)(const void *)models->p;
    char stale[WHY];
    json_key(w, key);
    json_open(w, '[');
    for (size_t i = 0; i < models->len / sizeof *m; i++) {
        json_open(w, '{');
        json_member_z(w, "name", m[i].name);
        json_member_uint(w, "bytes", m[i].bytes);
        json_member_uint(w, "files", m[i].n_file);
        json_key(w, "folder");
        json_put_bool(w, m[i].folder);
        json_member_or_null(w, "sha256", m[i].sha256);
        json_member_z(w, "state", state_name[m[i].state]);
        json_member_or_null(w, "why", m[i].why);
        json_key(w, "derived");
        json_put_bool(w, derived_is(&j->depot, m[i].name, QUANT_VERSION, stale, sizeof stale));
        json_member_or_null(w, "stale", stale);
        json_close(w, '}');
    }
    json_close(w, ']');
}

/* A remark behind a name. */
static void put_remark(struct cli *c, const char *text) {
    if (text[0]) {
        cli_puts(c, "  (");
        models_put(c, text);
        cli_puts(c, ")");
    }
}

static void print_models(const struct models_job *j, const struct buf *models) {
    const struct depot_model *m = (const struct depot_model *)(const void *)models->p;
    struct cli *c = j->c;
    char size[32], stale[WHY];
    for (size_t i = 0; i < models->len / sizeof *m; i++) {
        cli_printf(c, "%10s  %-22s ", cli_bytes(m[i].bytes, size, sizeof size),
                   state_name[m[i].state]);
        models_put(c, m[i].name);
        put_remark(c, m[i].why);
        derived_is(&j->depot, m[i].name, QUANT_VERSION, stale, sizeof stale);
        put_remark(c, stale);
        cli_puts(c, "\n");
    }
}

static void put_elsewhere(const struct buf *found, struct json_writer *w) {
    size_t n;
    const struct elsewhere_model *m = elsewhere_at(found, &n);
    json_key(w, "elsewhere");
    json_open(w, '[');
    for (size_t i = 0; i < n; i++) {
        json_open(w, '{');
        json_member_z(w, "program", m[i].kind == ELSEWHERE_OLLAMA ? "ollama" : "hugging face");
        json_member_z(w, "name", m[i].name);
        json_member_z(w, "path", m[i].path);
        json_close(w, '}');
    }
    json_close(w, ']');
}

static void print_elsewhere(struct cli *c, const struct buf *found) {
    size_t n;
    const struct elsewhere_model *m = elsewhere_at(found, &n);
    for (size_t i = 0; i < n; i++) {
        cli_printf(c, "%10s  %-22s ", "",
                   m[i].kind == ELSEWHERE_OLLAMA ? "in Ollama's store" : "in Hugging Face's");
        models_put(c, m[i].name);
        cli_puts(c, "\n");
    }
}

/* Formats a path from an environment variable and looks there; nothing where it is not set. */
static enum err_code look_below(const char *variable, const char *tail, bool ollama,
                                struct buf *found, struct err *e) {
    const char *top = knobs_env(variable);
    struct buf path;
    if (!top) {
        return ERR_OK;
    }
    buf_init(&path, 65536);
    buf_printf(&path, "%s%s", top, tail);
    enum err_code rc = buf_check(&path, e);
    if (!rc) {
        rc = ollama ? elsewhere_ollama(path.p, found, e) : elsewhere_hugging_face(path.p, found, e);
    }
    buf_fini(&path);
    return rc;
}

/* Where those programs keep their models, by their own rules: the first place that is set. */
enum err_code models_elsewhere(struct buf *found, struct err *e) {
    enum err_code rc = knobs_env("OLLAMA_MODELS")
                           ? look_below("OLLAMA_MODELS", "", true, found, e)
                           : look_below("HOME", "/.ollama/models", true, found, e);
    if (!rc) {
        rc = elsewhere_ollama("/usr/share/ollama/.ollama/models", found, e);
    }
    if (!rc) {
        rc = knobs_env("HF_HUB_CACHE") ? look_below("HF_HUB_CACHE", "", false, found, e)
             : knobs_env("HF_HOME")
                 ? look_below("HF_HOME", "/hub", false, found, e)
                 : look_below("HOME", "/.cache/huggingface/hub", false, found, e);
    }
    return rc;
}

/* What a pull has begun. */
static void put_begun(const struct buf *begun, struct json_writer *w) {
    const struct pull_begun *b = (const struct pull_begun *)(const void *)begun->p;
    json_key(w, "pulling");
    json_open(w, '[');
    for (size_t i = 0; i < begun->len / sizeof *b; i++) {
        json_open(w, '{');
        json_member_z(w, "name", b[i].name);
        json_member_uint(w, "bytes", b[i].bytes);
        json_close(w, '}');
    }
    json_close(w, ']');
}

static void print_begun(struct cli *c, const struct buf *begun) {
    const struct pull_begun *b = (const struct pull_begun *)(const void *)begun->p;
    char size[32];
    for (size_t i = 0; i < begun->len / sizeof *b; i++) {
        cli_printf(c, "%10s  %-22s ", cli_bytes(b[i].bytes, size, sizeof size), "pulled in part");
        models_put(c, b[i].name);
        cli_puts(c, "\n");
    }
}

int models_list(struct models_job *j) {
    struct cli *c = j->c;
    struct buf models, found, begun, broken;
    struct err e = {0};
    depot_models_init(&models);
    depot_models_init(&broken);
    elsewhere_init(&found);
    pull_list_init(&begun);
    enum err_code rc = depot_list(&j->depot, &models, &e);
    rc = rc ? rc : depot_list_quarantine(&j->depot, &broken, &e);
    rc = rc ? rc : pull_list(&j->depot, &begun, &e);
    rc = rc ? rc : models_elsewhere(&found, &e);
    int code = rc ? models_fail(j, &e) : EXIT_DONE;
    if (!rc && c->json) {
        struct json_writer w;
        cli_json_begin(c, &w);
        json_member_z(&w, "store", j->depot.dir);
        put_models(j, "models", &models, &w);
        put_models(j, "quarantine", &broken, &w);
        put_begun(&begun, &w);
        put_elsewhere(&found, &w);
        cli_json_end(c, &w);
    } else if (!rc) {
        print_models(j, &models);
        print_models(j, &broken);
        print_begun(c, &begun);
        print_elsewhere(c, &found);
        if (models.len + broken.len == 0) {
            cli_note(c, "the store %s is empty", j->depot.dir);
        }
    }
    pull_list_fini(&begun);
    elsewhere_fini(&found);
    depot_models_fini(&broken);
    depot_models_fini(&models);
    return code;
}

int models_verify(struct models_job *j, const char *name) {
    struct cli *c = j->c;
    struct buf models;
    struct err e = {0};
    bool broken = false;
    depot_models_init(&models);
    enum err_code rc = depot_verify(&j->depot, name[0] ? name : NULL, &models, &e);
    progress_end(&j->bar);
    const struct depot_model *m = (const struct depot_model *)(const void *)models.p;
    for (size_t i = 0; i < models.len / sizeof *m; i++) {
        broken = broken || m[i].state == DEPOT_BROKEN || m[i].state == DEPOT_BROKEN_HERE;
    }
    int code = rc ? models_fail(j, &e) : broken ? EXIT_FAILED : EXIT_DONE;
    if (!rc && c->json) {
        struct json_writer w;
        cli_json_begin(c, &w);
        json_key(&w, "ok");
        json_put_bool(&w, !broken);
        put_models(j, "models", &models, &w);
        cli_json_end(c, &w);
    } else if (!rc) {
        print_models(j, &models);
    }
    depot_models_fini(&models);
    return code;
}

/* ---- sweep ----------------------------------------------------------------------------------- */

int models_sweep(struct models_job *j) {
    struct cli *c = j->c;
    struct buf models;
    struct err e = {0};
    struct json_writer w;
    char stale[WHY];
    depot_models_init(&models);
    enum err_code rc = depot_list(&j->depot, &models, &e);
    const struct depot_model *m = (const struct depot_model *)(const void *)models.p;
    bool listed = !rc;
    if (listed && c->json) {
        cli_json_begin(c, &w);
        json_key(&w, "removed");
        json_open(&w, '[');
    }
    for (size_t i = 0; i < models.len / sizeof *m && !rc; i++) {
        if (!derived_is(&j->depot, m[i].name, QUANT_VERSION, stale, sizeof stale) || !stale[0] ||
            (rc = depot_remove(&j->depot, m[i].name, &e))) {
            continue;
        }
        if (c->json) {
            json_open(&w, '{');
            json_member_z(&w, "name", m[i].name);
            json_member_z(&w, "why", stale);
            json_close(&w, '}');
        } else {
            models_put(c, m[i].name);
            cli_printf(c, ": removed, %s\n", stale);
        }
    }
    if (listed && c->json) { /* an error is the line on the other stream then */
        json_close(&w, ']');
        cli_json_end(c, &w);
        cli_flush(c);
        c->json = !rc;
    }
    int code = rc ? models_fail(j, &e) : EXIT_DONE;
    depot_models_fini(&models);
    return code;
}
