/* settings_show.c: the settings that count, written down again.
 *
 * Owns the two forms: a file that could be read again, and JSON. Refuses to print. A verb's values
 * are those that the verb itself would read: they come from knobs_read with no flags.
 */
#include <string.h>

#include "config/knob_help.h"
#include "config/settings.h"

enum { PLACE_MAX = 400, COMMENT_COLUMN = 40 };

static bool has_value(const struct knobs *k, const struct knob *knob) {
    return knob->type == KNOB_BOOL || knobs_text(k, knob->name);
}

/* ---- as a file -------------------------------------------------------------------------- */

static void put_list(struct buf *out, const struct knobs *k, const char *name) {
    buf_putc(out, '[');
    for (size_t i = 0; i < knobs_count(k, name); i++) {
        buf_puts(out, i ? ", " : "");
        toml_put_string(out, knobs_item(k, name, i));
    }
    buf_putc(out, ']');
}

static void put_value(struct buf *out, const struct knobs *k, const struct knob *knob) {
    const char *name = knob->name;
    char shown[KNOB_SHOWN];
    switch (knob->type) {
    case KNOB_BOOL: buf_puts(out, knobs_bool(k, name) ? "true" : "false"); break;
    case KNOB_INT: buf_printf(out, "%lld", (long long)knobs_int(k, name)); break;
    case KNOB_UINT64: buf_printf(out, "%llu", (unsigned long long)knobs_uint64(k, name)); break;
    case KNOB_REAL: buf_printf(out, "%.15g", knobs_real(k, name)); break;
    case KNOB_LIST: put_list(out, k, name); break;
    default: toml_put_string(out, knob_shown(knob, knobs_text(k, name), shown, sizeof shown));
    }
}

/* A path may hold any byte but zero; a comment may not. */
static void put_comment(struct buf *out, const char *text) {
    buf_puts(out, "# ");
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        buf_putc(out, c < 0x20 || c == 0x7F ? '?' : *text);
    }
}

static void put_line(struct buf *out, const struct knobs *k, const struct knob *knob, bool origin) {
    char place[PLACE_MAX];
    size_t start = out->len;
    if (has_value(k, knob)) {
        buf_printf(out, "%s = ", knob->name);
        put_value(out, k, knob);
    } else {
        buf_printf(out, "# %s is not set", knob->name);
    }
    if (origin && has_value(k, knob)) {
        do {
            buf_putc(out, ' ');
        } while (out->len - start < COMMENT_COLUMN && !out->failed);
        put_comment(out, knobs_origin_text(k, knob->name, place, sizeof place));
    }
    buf_putc(out, '\n');
}

/* ---- as JSON ---------------------------------------------------------------------------- */

static void put_json_value(struct json_writer *w, const struct knobs *k, const struct knob *knob) {
    const char *name = knob->name;
    char shown[KNOB_SHOWN];
    if (!has_value(k, knob)) {
        json_put_null(w);
        return;
    }
    switch (knob->type) {
    case KNOB_BOOL: json_put_bool(w, knobs_bool(k, name)); break;
    case KNOB_INT: json_put_int(w, knobs_int(k, name)); break;
    case KNOB_UINT64: json_put_uint(w, knobs_uint64(k, name)); break;
    case KNOB_REAL: json_put_real(w, knobs_real(k, name)); break;
    case KNOB_SIZE: json_put_uint(w, knobs_size(k, name)); break;
    case KNOB_LIST:
        json_open(w, '[');
        for (size_t i = 0; i < knobs_count(k, name); i++) {
            json_put_z(w, knobs_item(k, name, i));
        }
        json_close(w, ']');
        break;
    case KNOB_STR:
    case KNOB_CHOICE:
        json_put_z(w, knob_shown(knob, knobs_text(k, name), shown, sizeof shown));
        break;
    }
}

static void put_json_knob(struct json_writer *w, const struct knobs *k, const struct knob *knob) {
    static const char *const origin[] = {
        [KNOB_DEFAULT] = "default",
        [KNOB_FILE] = "file",
        [KNOB_ENV] = "environment",
        [KNOB_FLAG] = "flag",
    };
    char place[PLACE_MAX];
    json_key(w, knob->name);
    json_open(w, '{');
    json_key(w, "value");
    put_json_value(w, k, knob);
    json_key(w, "origin");
    json_put_z(w, origin[knobs_origin(k, knob->name)]);
    json_key(w, "where");
    json_put_z(w, knobs_origin_text(k, knob->name, place, sizeof place));
    json_close(w, '}');
}

/* ---- verbs ------------------------------------------------------------------------------ */

static bool has_table(const struct settings *s, const char *verb) {
    for (const struct settings_file *f = s->files; f; f = f->next) {
        for (const struct toml_table *t = f->toml.tables; t; t = t->next) {
            if (strcmp(t->name, verb) == 0) {
                return true;
            }
        }
    }
    return false;
}

/* Whether a line of a file gives the verb another value than everybody has. */
static bool differs(const struct settings *s, const struct knobs *k, const struct knob_verb *verb,
                    const struct knob *knob) {
    const struct settings_file *file;
    return knob_is_setting(knob) && knob_of_verb(knob, verb) &&
           knobs_origin(k, knob->name) <= KNOB_FILE &&
           settings_find(s, verb->name, knob->name, &file) !=
               settings_find(s, "", knob->name, &file);
}

/* What is different for a verb: as JSON where `w` is not NULL. */
static enum err_code show_verb(const struct settings *s, const struct knobs *all,
                               const struct knob_verb *verb, bool origin, struct buf *out,
                               struct json_writer *w, struct err *e) {
    size_t n;
    const struct knob *table = knobs_table(&n);
    struct knobs *k = NULL;
    bool open = false;
    enum err_code rc = has_table(s, verb->name) ? knobs_read(&k, verb, s, 0, NULL, e) : ERR_OK;
    for (size_t i = 0; k && i < n; i++) {
        if (!differs(s, all, verb, &table[i])) {
            continue;
        }
        if (!open && w) {
            json_key(w, verb->name);
            json_open(w, '{');
        } else if (!open) {
            buf_printf(out, "\n[%s]\n", verb->name);
        }
        open = true;
        if (w) {
            put_json_knob(w, k, &table[i]);
        } else {
            put_line(out, k, &table[i], origin);
        }
    }
    if (open && w) {
        json_close(w, '}');
    }
    knobs_free(k);
    return rc;
}

enum err_code settings_show(const struct settings *s, const struct knobs *k, bool origin,
                            struct buf *out, struct err *e) {
    size_t n;
    const struct knob *table = knobs_table(&n);
    enum err_code rc = ERR_OK;
    for (size_t i = 0; i < n; i++) {
        if (knob_is_setting(&table[i])) {
            put_line(out, k, &table[i], origin);
        }
    }
    for (size_t i = 0; i < s->verbs.n && !rc; i++) {
        rc = show_verb(s, k, s->verbs.at[i], origin, out, NULL, e);
    }
    return rc ? rc : buf_check(out, e);
}

enum err_code settings_show_json(const struct settings *s, const struct knobs *k,
                                 struct json_writer *w, struct err *e) {
    size_t n;
    const struct knob *table = knobs_table(&n);
    enum err_code rc = ERR_OK;
    json_key(w, "knobs");
    json_open(w, '{');
    for (size_t i = 0; i < n; i++) {
        if (knob_is_setting(&table[i])) {
            put_json_knob(w, k, &table[i]);
        }
    }
    json_close(w, '}');
    json_key(w, "verbs");
    json_open(w, '{');
    for (size_t i = 0; i < s->verbs.n && !rc; i++) {
        rc = show_verb(s, k, s->verbs.at[i], false, w->out, w, e);
    }
    json_close(w, '}');
    return rc;
}

enum err_code settings_check(const struct settings *s, struct err *e) {
    enum err_code rc = ERR_OK;
    for (size_t i = 0; i < s->verbs.n && !rc; i++) {
        struct knobs *k = NULL;
        rc = knobs_read(&k, s->verbs.at[i], s, 0, NULL, e);
        knobs_free(k);
    }
    return rc;
}
