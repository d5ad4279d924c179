/* verb_config.c: the settings that count here, and the files that they come from.
 *
 * Owns three actions: show, check and path. Each looks at the files that any verb would read in
 * this place, --config among them. Refuses to write a file.
 */
#include <string.h>

#include "cli/verbs.h"

static const char *state_name(enum settings_state state) {
    switch (state) {
    case SETTINGS_ABSENT: return "absent";
    case SETTINGS_READ: return "read";
    case SETTINGS_BROKEN: return "broken";
    }
    return "";
}

/* The result stands on standard output already: the error is the line on the other stream and the
 * exit code, also with --json. */
static int finish(struct cli *c, const struct err *e) {
    if (!e || !e->code) {
        return EXIT_DONE;
    }
    cli_flush(c);
    c->json = false;
    return cli_fail(c, e);
}

static void put_files_json(struct json_writer *w, const struct settings *s) {
    json_key(w, "files");
    json_open(w, '[');
    for (const struct settings_file *f = s->files; f; f = f->next) {
        char line[900];
        json_open(w, '{');
        json_key(w, "path");
        json_put_z(w, f->path);
        json_key(w, "state");
        json_put_z(w, state_name(f->state));
        json_key(w, "error");
        json_put_z(w, f->why.code ? err_line(&f->why, line, sizeof line) : NULL);
        json_close(w, '}');
    }
    json_close(w, ']');
}

/* ---- actions ---------------------------------------------------------------------------- */

static int show(struct cli *c) {
    struct err e = {0};
    if (c->json) {
        struct json_writer w;
        cli_json_begin(c, &w);
        settings_show_json(&c->settings, c->k, &w, &e);
        put_files_json(&w, &c->settings);
        cli_json_end(c, &w);
    } else {
        struct buf text;
        buf_init(&text, 1 << 24);
        settings_show(&c->settings, c->k, knobs_bool(c->k, "origin"), &text, &e);
        cli_put_text(c, text.p, text.len);
        buf_fini(&text);
    }
    const struct err *broken = settings_error(&c->settings);
    return finish(c, broken ? broken : &e);
}

static int check(struct cli *c) {
    struct err e = {0};
    const struct err *broken = settings_error(&c->settings);
    if (!broken) {
        settings_check(&c->settings, &e);
        broken = &e;
    }
    if (c->json) {
        struct json_writer w;
        cli_json_begin(c, &w);
        json_key(&w, "ok");
        json_put_bool(&w, !broken->code);
        put_files_json(&w, &c->settings);
        cli_json_end(c, &w);
    } else {
        for (const struct settings_file *f = c->settings.files; f; f = f->next) {
            cli_printf(c, "%-7s ", state_name(f->state));
            cli_put_text(c, f->path, strlen(f->path));
            cli_puts(c, "\n");
        }
    }
    return finish(c, broken);
}

static int path(struct cli *c) {
    cli_note_settings(c);
    if (c->json) {
        struct json_writer w;
        cli_json_begin(c, &w);
        put_files_json(&w, &c->settings);
        cli_json_end(c, &w);
        return EXIT_DONE;
    }
    for (const struct settings_file *f = c->settings.files; f; f = f->next) {
        cli_put_text(c, f->path, strlen(f->path));
        cli_puts(c, "\n");
    }
    return EXIT_DONE;
}

static int run(struct cli *c) {
    const char *action = knobs_operand(c->k, 0);
    struct err e = {0};
    if (strcmp(action, "show") == 0) {
        return show(c);
    }
    if (strcmp(action, "check") == 0) {
        return check(c);
    }
    if (strcmp(action, "path") == 0) {
        return path(c);
    }
    err_set(&e, ERR_USAGE, "ign config does not know '%s'", action);
    err_hint(&e, "ign config show, check or path");
    return cli_fail(c, &e);
}

static const struct knob own[] = {
    {.name = "origin", .type = KNOB_BOOL, .help = "show: also say where each value comes from"},
};

const struct verb verb_config = {
    .args = {.name = "config",
             .operands = "show|check|path",
             .min_operand = 1,
             .max_operand = 1,
             .about = "the settings that count, and whether their files are right",
             .groups = KNOB_ALL,
             .own = own,
             .n_own = sizeof own / sizeof *own},
    .run = run,
    .any_settings = true,
};
