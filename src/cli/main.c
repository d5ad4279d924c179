/* main.c: from argv to a verb, and from its result to an exit code.
 *
 * Owns the table of verbs, the signal's counter, and the last word on standard output: what could
 * not be written there turns success into failure. Refuses to know what any verb does.
 */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "cli/cli.h"
#include "cli/verbs.h"
#include "config/folders.h"
#include "observe/instance.h"

const struct verb *const cli_verbs[] = {
    &verb_generate, &verb_chat,       &verb_inspect,    &verb_tokenize, &verb_detokenize,
    &verb_template, &verb_logits,     &verb_perplexity, &verb_audit,    &verb_benchmark,
    &verb_detect,   &verb_initialize, &verb_doctor,     &verb_status,   &verb_config,
    &verb_models,   &verb_completion, &verb_help,       &verb_version,  &verb_quantize,
    &verb_imatrix,  &verb_compare,    &verb_embed,      NULL,
};

static volatile int signals;

const struct verb *cli_find(const char *name) {
    for (size_t i = 0; cli_verbs[i]; i++) {
        if (strcmp(cli_verbs[i]->args.name, name) == 0) {
            return cli_verbs[i];
        }
    }
    return strcmp(name, verb_probe.args.name) == 0 ? &verb_probe : NULL;
}

struct knob_verbs cli_knob_verbs(void) {
    static const struct knob_verb *at[sizeof cli_verbs / sizeof *cli_verbs];
    size_t n = 0;
    for (; cli_verbs[n]; n++) {
        at[n] = &cli_verbs[n]->args;
    }
    return (struct knob_verbs){at, n};
}

static int fail_no_verb(struct cli *c, const char *word) {
    const char *names[sizeof cli_verbs / sizeof *cli_verbs];
    struct err e = {0};
    size_t n = 0;
    for (; cli_verbs[n]; n++) {
        names[n] = cli_verbs[n]->args.name;
    }
    const char *near = word ? knobs_nearest(word, names, n) : NULL;
    if (word) {
        err_set(&e, ERR_USAGE, "there is no verb '%s'", word);
    } else {
        err_set(&e, ERR_USAGE, "no verb was given");
    }
    if (near) {
        err_hint(&e, "did you mean '%s'? 'ign help' lists the verbs", near);
    } else {
        err_hint(&e, "'ign help' lists the verbs");
    }
    return cli_fail(c, &e);
}

/* A terminal that obeys escape sequences; one that says it is dumb prints them. */
static bool shows_escapes(int fd) {
    const char *term = knobs_env("TERM");
    return os_is_terminal(fd) && term && strcmp(term, "dumb") != 0;
}

/* --color, NO_COLOR (no-color.org) and what standard error is. */
static bool color_wanted(const struct knobs *k) {
    const char *color = knobs_str(k, "color");
    if (strcmp(color, "auto") == 0) {
        return shows_escapes(2) && !knobs_env("NO_COLOR");
    }
    return strcmp(color, "always") == 0;
}

/* For what this thread starts from now on: the one that waits for Ctrl-C keeps its priority. */
static enum err_code priority_set(const struct cli *c, struct err *e) {
    if (!(c->verb->args.groups & KNOB_RUN) || c->verb->args.groups == KNOB_ALL) {
        return ERR_OK;
    }
    const char *given = knobs_str(c->k, "priority");
    return os_priority_set(strcmp(given, "idle") == 0  ? OS_PRIORITY_IDLE
                           : strcmp(given, "low") == 0 ? OS_PRIORITY_LOW
                                                       : OS_PRIORITY_NORMAL,
                           e);
}

/* The machine's settings, the user's, and those of --config; each wins over the one before. All are
 * read, whatever is wrong with one of them; the first error is in *e. */
static enum err_code read_settings(struct cli *c, int argc, char *const *argv, struct err *e) {
    struct buf user;
    const char *more = knobs_config_wanted(argc, argv);
    buf_init(&user, 65536);
    settings_init(&c->settings, cli_knob_verbs());
    settings_read(&c->settings, FOLDER_SYSTEM_CONFIG "/" SETTINGS_NAME, false, e);
    if (folder_path(&user, FOLDER_CONFIG, SETTINGS_NAME)) {
        settings_read(&c->settings, user.p, false, e);
    }
    if (more) {
        settings_read(&c->settings, more, true, e);
    }
    buf_fini(&user);
    return e->code;
}

static enum err_code log_begin(const struct cli *c, struct err *e) {
    static const char *const levels[] = {"error", "warn", "info", "debug"};
    enum log_level level = c->quiet ? LOG_ERROR : c->verbose ? LOG_DEBUG : LOG_INFO;
    for (int i = 0; knobs_given(c->k, "log-level") && i <= LOG_DEBUG; i++) {
        level = strcmp(knobs_str(c->k, "log-level"), levels[i]) == 0 ? (enum log_level)i : level;
    }
    log_set_level(level);
    return log_open(knobs_str(c->k, "log-file"), strcmp(knobs_str(c->k, "log-format"), "json") == 0,
                    e);
}

/* An action is written down before its last output is let go. */
static int verb_act(struct cli *c) {
    struct err e = {0};
    double start = os_now();
    const char *name = c->verb->args.name;
    log_line(LOG_DEBUG, "%s begins", name);
    int code = priority_set(c, &e) ? cli_fail(c, &e) : action_begin(c);
    if (code == EXIT_DONE) {
        code = action_end(c, c->verb->run(c));
    }
    log_line(LOG_DEBUG, "%s ends with exit code %d after %.3f s", name, code, os_now() - start);
    return code;
}

static int verb_run(struct cli *c, int argc, char *const *argv) {
    struct err e = {0}, broken = {0};
    int code;
    if (read_settings(c, argc, argv, &broken) && !c->verb->any_settings) {
        return cli_fail(c, &broken);
    }
    if (knobs_read(&c->k, &c->verb->args, &c->settings, argc, argv, &e)) {
        return cli_fail(c, &e);
    }
    c->json = knobs_bool(c->k, "json");
    c->quiet = knobs_bool(c->k, "quiet");
    c->verbose = knobs_bool(c->k, "verbose");
    c->color = color_wanted(c->k);
    if (log_begin(c, &e)) {
        return cli_fail(c, &e);
    }
    if (interrupt_create(&c->intr, &signals, c->json, action_interrupted, c, &e)) {
        return cli_fail(c, &e);
    }
    code = verb_act(c);
    const char *idle;
    for (size_t i = 0; code == EXIT_DONE && (idle = knobs_idle_flag(c->k, &i));) {
        log_line(LOG_WARN, "the flag --%s has changed nothing here", idle);
    }
    interrupt_free(c->intr);
    instance_leave(c->instance);
    return code;
}

static bool word_given(int argc, char *const *argv, const char *word) {
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], word) == 0) {
            return true;
        }
    }
    return false;
}

/* `ign VERB --help` is `ign help VERB`, `ign VERB --version` is `ign version`. */
static int verb_or_about_it(struct cli *c, int argc, char *const *argv) {
    char json[] = "--json", *words[2];
    int n = 0;
    bool help = word_given(argc, argv, "--help") || word_given(argc, argv, "-h");
    if (!help && !word_given(argc, argv, "--version")) {
        return verb_run(c, argc, argv);
    }
    if (help) {
        words[n++] = (char *)(uintptr_t)c->verb->args.name;
    }
    if (c->json) { /* so far, from knobs_json_wanted */
        words[n++] = json;
    }
    c->verb = help ? &verb_help : &verb_version;
    return verb_run(c, n, words);
}

/* argv after `ign`, or after `ign module llm-infrastructure`. */
static int words_run(struct cli *c, int argc, char *const *argv) {
    if (argc >= 2 && strcmp(argv[0], "module") == 0 && strcmp(argv[1], "llm-infrastructure") == 0) {
        argc -= 2;
        argv += 2;
    }
    if (argc == 0) {
        return fail_no_verb(c, NULL);
    }
    const char *word = argv[0];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        word = "help";
    } else if (strcmp(word, "--version") == 0) {
        word = "version";
    }
    c->verb = cli_find(word);
    return c->verb ? verb_or_about_it(c, argc - 1, argv + 1) : fail_no_verb(c, argv[0]);
}

int main(int argc, char **argv) {
    os_streams_hold();
    struct cli c = {.out_terminal = os_is_terminal(1), .err_terminal = shows_escapes(2)};
    os_signals_catch(&signals);
    buf_init(&c.out, (size_t)1 << 40);
    c.json = knobs_json_wanted(argc, argv);
    int skip = argc > 0 ? 1 : 0;
    int code = words_run(&c, argc - skip, argv + skip);
    if (cli_flush(&c) && (code == EXIT_DONE || code == EXIT_INTERRUPTED)) {
        c.json = false;
        code = cli_fail(&c, &c.out_err);
    }
    action_fini(&c);
    knobs_free(c.k);
    settings_fini(&c.settings);
    buf_fini(&c.out);
    return code;
}
