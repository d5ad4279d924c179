/* verb_audit.c: the audit log checked, or its last lines.
 *
 * Owns the report. A log that is not intact is a result, and the exit code is 1. Refuses to mend
 * anything: see docs/AUDIT.md.
 */
#include <string.h>

#include "cli/action.h"
#include "cli/verbs.h"
#include "observe/audit.h"

static int verify(struct cli *c, const struct audit_opts *o) {
    struct audit_report r;
    struct err e = {0};
    if (audit_verify(o, &r, &e)) {
        return cli_fail(c, &e);
    }
    unsigned long long entries = r.entries;
    if (c->json) {
        struct json_writer w;
        cli_json_begin(c, &w);
        json_key(&w, "entries");
        json_put_uint(&w, r.entries);
        json_key(&w, "intact");
        json_put_bool(&w, r.intact);
        json_member_uint_or_null(&w, "first_bad", r.first_bad);
        json_key(&w, "why");
        json_put_z(&w, r.intact ? NULL : r.why);
        json_key(&w, "keyed");
        json_put_bool(&w, r.keyed);
        json_key(&w, "hash");
        json_put_z(&w, r.hash[0] ? r.hash : NULL);
        cli_json_end(c, &w);
    } else if (r.intact) {
        cli_printf(c, "intact: %llu entries, %s a key, newest hash %s\n", entries,
                   r.keyed ? "with" : "without", r.hash);
    } else if (r.first_bad) {
        cli_printf(c, "not intact: %llu entries are in order; entry %llu: %s\n", entries,
                   (unsigned long long)r.first_bad, r.why);
    } else {
        cli_printf(c, "not intact: %s\n", r.why);
    }
    return r.intact ? EXIT_DONE : EXIT_FAILED;
}

static int tail(struct cli *c, const struct audit_opts *o) {
    struct err e = {0};
    struct buf lines;
    int code = EXIT_DONE;
    buf_init(&lines, (size_t)1 << 32);
    if (audit_tail(o, (size_t)knobs_int(c->k, "lines"), &lines, &e)) {
        code = cli_fail(c, &e);
    } else if (!c->json) {
        cli_put_text(c, lines.p, lines.len);
    } else {
        struct json_writer w;
        cli_json_begin(c, &w);
        json_key(&w, "lines");
        json_open(&w, '[');
        /* Each line ends in a newline; what is inside may be anything. */
        const char *end = lines.len ? lines.p + lines.len : lines.p;
        for (const char *p = lines.p, *stop; p < end; p = stop + 1) {
            stop = memchr(p, '\n', (size_t)(end - p));
            json_put_str(&w, str_of(p, (size_t)(stop - p)));
        }
        json_close(&w, ']');
        cli_json_end(c, &w);
    }
    buf_fini(&lines);
    return code;
}

static int run(struct cli *c) {
    struct err e = {0};
    const char *what = knobs_operand(c->k, 0);
    int code = action_options(c);
    if (code != EXIT_DONE) {
        return code;
    }
    struct audit_opts o = c->action.log;
    if (knobs_operands(c->k) > 1) {
        o.path = knobs_operand(c->k, 1);
    }
    if (!o.path) {
        err_set(&e, ERR_USAGE, "no audit log is named");
        err_hint(&e, "give its FILE, or set it: --audit FILE, or audit in a settings file");
    } else if (strcmp(what, "verify") == 0) {
        return verify(c, &o);
    } else if (strcmp(what, "tail") == 0) {
        return tail(c, &o);
    } else {
        err_set(&e, ERR_USAGE, "ign audit does not know '%s'", what);
        err_hint(&e, "ign audit verify [FILE], or ign audit tail [FILE]");
    }
    return cli_fail(c, &e);
}

static const struct knob own[] = {
    {.name = "lines",
     .type = KNOB_INT,
     .unit = "N",
     .def = "10",
     .min = 1,
     .max = 1000000,
     .help = "tail: how many of the last lines to show"},
};

const struct verb verb_audit = {
    .args = {.name = "audit",
             .operands = "verify|tail [FILE]",
             .min_operand = 1,
             .max_operand = 2,
             .about = "check the audit log, or show its end",
             .groups = KNOB_AUDIT,
             .own = own,
             .n_own = 1},
    .run = run,
};
