/* verb_help.c: the list of verbs, one verb's page, all pages.
 *
 * Owns the front page. The pages come from the tables: config/knob_help.c.
 */
#include <string.h>

#include "cli/error_table.h"
#include "cli/verbs.h"
#include "config/knob_man.h"

static void front_page(struct buf *out) {
    buf_puts(out, "ign: a language model on this machine.\n\nUsage: ign VERB [flags]\n\n");
    for (size_t i = 0; cli_verbs[i]; i++) {
        buf_printf(out, "  %-12s %s\n", cli_verbs[i]->args.name, cli_verbs[i]->args.about);
    }
    buf_puts(out, "\n'ign help VERB' tells a verb's flags, 'ign help --all' those of every verb.\n"
                  "'ign module llm-infrastructure VERB' is the same as 'ign VERB'.\n\n"
                  "Exit codes: 0 done, 1 failed, 2 wrong use, 3 does not fit, 4 not found, "
                  "130 interrupted.\n");
}

static void all_pages(struct buf *out) {
    front_page(out);
    for (size_t i = 0; cli_verbs[i]; i++) {
        buf_puts(out, "\n");
        knobs_help(out, &cli_verbs[i]->args);
    }
}

/* With --json: the verbs, or one verb's page. */
static void put_json(struct cli *c, const struct verb *v, struct str page) {
    struct json_writer w;
    cli_json_begin(c, &w);
    json_key(&w, "verbs");
    json_open(&w, '[');
    for (size_t i = 0; cli_verbs[i]; i++) {
        if (v && v != cli_verbs[i]) {
            continue;
        }
        json_open(&w, '{');
        json_key(&w, "name");
        json_put_z(&w, cli_verbs[i]->args.name);
        json_key(&w, "about");
        json_put_z(&w, cli_verbs[i]->args.about);
        json_close(&w, '}');
    }
    json_close(&w, ']');
    if (knobs_bool(c->k, "errors")) {
        json_key(&w, "errors");
        error_table_json(&w);
    }
    json_key(&w, "text");
    json_put_str(&w, page);
    cli_json_end(c, &w);
}

/* The page of the manual for `name`: a verb, the settings file, or the program where it is NULL. */
static void man_page(struct buf *out, const char *name, const struct verb *v) {
    if (v) {
        knobs_man_verb(out, &v->args);
    } else if (name) {
        knobs_man_file(out);
    } else {
        knobs_man_program(out, cli_knob_verbs());
    }
}

static int run(struct cli *c) {
    struct err e = {0};
    const char *name = knobs_operands(c->k) > 0 ? knobs_operand(c->k, 0) : NULL;
    const struct verb *v = name ? cli_find(name) : NULL;
    bool man = knobs_bool(c->k, "man");
    struct buf page;
    cli_note_settings(c);
    if (name && !v && !(man && strcmp(name, SETTINGS_NAME) == 0)) {
        err_set(&e, ERR_USAGE, "there is no verb '%s'", name);
        err_hint(&e, "'ign help' lists the verbs");
        return cli_fail(c, &e);
    }
    buf_init(&page, 1 << 20);
    if (man) {
        man_page(&page, name, v);
    } else if (v) {
        knobs_help(&page, &v->args);
    } else if (knobs_bool(c->k, "errors")) {
        error_table_page(&page);
    } else if (knobs_bool(c->k, "all")) {
        all_pages(&page);
    } else {
        front_page(&page);
    }
    enum err_code rc = buf_check(&page, &e);
    if (!rc && c->json) {
        put_json(c, v, str_of(page.p, page.len));
    } else if (!rc) {
        cli_put(c, page.p, page.len);
    }
    buf_fini(&page);
    return rc ? cli_fail(c, &e) : EXIT_DONE;
}

static const struct knob own[] = {
    {.name = "all", .type = KNOB_BOOL, .help = "the flags of every verb"},
    {.name = "errors",
     .type = KNOB_BOOL,
     .help = "every kind of error, what it means and what to do; docs/TROUBLESHOOTING.md"},
    {.name = "man",
     .type = KNOB_BOOL,
     .help = "the page as the manual has it, in man(7); of ign.toml, too"},
};

const struct verb verb_help = {
    .args = {.name = "help",
             .operands = "[VERB]",
             .max_operand = 1,
             .about = "what there is, and what it takes",
             .own = own,
             .n_own = sizeof own / sizeof *own},
    .run = run,
    .any_settings = true,
};
