/* settings.c: see settings.h.
 *
 * Owns what may stand in a file, and in which words it is refused. An error names the file, the
 * line and the key. Invariant: a file is checked whole before any of its entries counts.
 */
#include "config/settings.h"

#include <stdio.h>
#include <string.h>

#include "base/os.h"
#include "config/knob_help.h"
#include "config/knob_value.h"

/* ---- what a file may say ---------------------------------------------------------------- */

static const struct knob_verb *find_verb(const struct settings *s, const char *name) {
    for (size_t i = 0; i < s->verbs.n; i++) {
        if (strcmp(s->verbs.at[i]->name, name) == 0) {
            return s->verbs.at[i];
        }
    }
    return NULL;
}

static const struct knob *find_own(const struct knob_verb *verb, const char *name) {
    for (size_t i = 0; verb && i < verb->n_own; i++) {
        if (strcmp(verb->own[i].name, name) == 0) {
            return &verb->own[i];
        }
    }
    return NULL;
}

/* The key is none that a file may have there: says why. */
static void refuse_key(const struct toml_entry *entry, const struct knob_verb *verb,
                       const struct knob *known, struct err *e) {
    const char *names[256];
    size_t n = 0, n_table;
    const struct knob *table = knobs_table(&n_table);
    for (size_t i = 0; i < n_table && n < sizeof names / sizeof *names; i++) {
        if (knob_is_setting(&table[i]) && (!verb || knob_of_verb(&table[i], verb))) {
            names[n++] = table[i].name;
        }
    }
    const char *near = knobs_nearest(entry->key, names, n);
    if (find_own(verb, entry->key) || (known && !knob_is_setting(known))) {
        err_set(e, ERR_USAGE, "%s cannot be in a file: it is for one call", entry->key);
        err_hint(e, "take it out, and give --%s to the call", entry->key);
    } else if (known) {
        err_set(e, ERR_USAGE, "ign %s does not take %s", verb->name, entry->key);
        err_hint(e, "take it out of [%s]", verb->name);
    } else {
        err_set(e, ERR_USAGE, "there is no setting %s", entry->key);
        if (near) {
            err_hint(e, "did you mean %s?", near);
        } else {
            err_hint(e, "'ign config show' lists all settings");
        }
    }
}

/* The knob that an entry sets, or NULL and the error. */
static const struct knob *find_knob(const struct toml_entry *entry, const struct knob_verb *verb,
                                    struct err *e) {
    size_t n;
    const struct knob *table = knobs_table(&n), *known = NULL;
    for (size_t i = 0; i < n && !known; i++) {
        known = strcmp(table[i].name, entry->key) == 0 ? &table[i] : NULL;
    }
    if (!known || !knob_is_setting(known) || (verb && !knob_of_verb(known, verb))) {
        refuse_key(entry, verb, known, e);
        return NULL;
    }
    return known;
}

/* ---- kinds of values -------------------------------------------------------------------- */

static const char *const kind_name[] = {
    [TOML_STRING] = "text in quotes", [TOML_INTEGER] = "a number", [TOML_REAL] = "a number",
    [TOML_BOOL] = "true or false",    [TOML_ARRAY] = "an array",
};

#define BIT(kind) (1u << (kind))

/* The kinds that stand for each type of knob. */
static unsigned kinds_of(enum knob_type type) {
    switch (type) {
    case KNOB_BOOL: return BIT(TOML_BOOL);
    case KNOB_INT:
    case KNOB_UINT64: return BIT(TOML_INTEGER);
    case KNOB_REAL: return BIT(TOML_INTEGER) | BIT(TOML_REAL);
    case KNOB_SIZE: return BIT(TOML_INTEGER) | BIT(TOML_STRING);
    case KNOB_STR:
    case KNOB_CHOICE: return BIT(TOML_STRING);
    case KNOB_LIST: return BIT(TOML_ARRAY);
    }
    return 0;
}

static const char *wanted_of(enum knob_type type) {
    switch (type) {
    case KNOB_BOOL: return "true or false, without quotes";
    case KNOB_INT:
    case KNOB_UINT64: return "a whole number, without quotes";
    case KNOB_REAL: return "a number, without quotes";
    case KNOB_SIZE: return "a number of bytes, or text such as \"8GiB\"";
    case KNOB_LIST: return "an array such as [\"a\", \"b\"]";
    default: return "text in quotes";
    }
}

static enum err_code check_value(const struct toml_entry *entry, const struct knob *knob,
                                 struct err *e) {
    if (!(kinds_of(knob->type) & BIT(entry->kind))) {
        err_set(e, ERR_USAGE, "%s is %s, which is not what it takes", entry->key,
                kind_name[entry->kind]);
        err_hint(e, "write %s", wanted_of(knob->type));
        return ERR_USAGE;
    }
    if (knob->type == KNOB_LIST || entry->texts[0][0] == '\0') {
        return ERR_OK;
    }
    /* A switch elsewhere may take the bound away: then knobs_read judges. */
    struct value v = {.knob = knob, .origin = KNOB_FILE, .text = entry->texts[0]};
    return value_set(&v, knob->lift != NULL, e);
}

/* ---- a file ----------------------------------------------------------------------------- */

static enum err_code check_tables(const struct settings *s, const struct toml *t, struct err *e) {
    const char *names[64];
    size_t n = 0;
    for (; n < s->verbs.n && n < sizeof names / sizeof *names; n++) {
        names[n] = s->verbs.at[n]->name;
    }
    for (const struct toml_table *table = t->tables; table; table = table->next) {
        if (table->line == 0 || find_verb(s, table->name)) {
            continue;
        }
        const char *near = knobs_nearest(table->name, names, n);
        err_set(e, ERR_USAGE, "[%s] is not the name of a verb", table->name);
        err_where(e, "line %d", table->line);
        if (near) {
            err_hint(e, "did you mean [%s]?", near);
        } else {
            err_hint(e, "'ign help' lists the verbs");
        }
        return ERR_USAGE;
    }
    return ERR_OK;
}

static enum err_code check_entries(const struct settings *s, const struct toml *t, struct err *e) {
    for (const struct toml_entry *entry = t->entries; entry; entry = entry->next) {
        const struct knob *knob = find_knob(entry, find_verb(s, entry->table->name), e);
        if (knob && check_value(entry, knob, e)) {
            err_where(e, "%s", entry->key);
        }
        if (e->code) {
            err_where(e, "line %d, column %d", entry->line, entry->column);
            return e->code;
        }
    }
    return ERR_OK;
}

static enum err_code read_file(const struct settings *s, struct settings_file *f, struct err *e) {
    char *text = NULL;
    size_t n = 0;
    enum err_code rc = os_read_file(f->path, TOML_BYTES_MAX, &text, &n, e);
    if (rc) {
        return rc; /* names the file already */
    }
    rc = toml_parse(&f->toml, text, n, e);
    rc = rc ? rc : check_tables(s, &f->toml, e);
    rc = rc ? rc : check_entries(s, &f->toml, e);
    if (rc) {
        err_where(e, "%s", f->path);
        toml_fini(&f->toml);
    }
    mem_free(text);
    return rc;
}

enum err_code settings_read(struct settings *s, const char *path, bool needed, struct err *e) {
    struct settings_file *f = mem_zalloc(1, sizeof *f), **last = &s->files;
    if (!f || !(f->path = mem_strdup(path, strlen(path)))) {
        mem_free(f);
        return err_set(e, ERR_NOMEM, "out of memory reading settings");
    }
    while (*last) {
        last = &(*last)->next;
    }
    *last = f;
    enum err_code rc = read_file(s, f, &f->why);
    if (rc == ERR_NOTFOUND && !needed) {
        err_clear(&f->why);
        return ERR_OK;
    }
    f->state = rc ? SETTINGS_BROKEN : SETTINGS_READ;
    if (rc && e && !e->code) {
        *e = f->why;
    }
    return rc;
}

void settings_init(struct settings *s, struct knob_verbs verbs) {
    *s = (struct settings){.verbs = verbs};
}

void settings_fini(struct settings *s) {
    while (s->files) {
        struct settings_file *f = s->files;
        s->files = f->next;
        toml_fini(&f->toml);
        mem_free(f->path);
        mem_free(f);
    }
}

const struct err *settings_error(const struct settings *s) {
    for (const struct settings_file *f = s->files; f; f = f->next) {
        if (f->state == SETTINGS_BROKEN) {
            return &f->why;
        }
    }
    return NULL;
}

/* ---- which line counts ------------------------------------------------------------------ */

static const struct toml_entry *find_in(const struct settings_file *f, const char *table,
                                        const char *name) {
    for (const struct toml_entry *entry = f->toml.entries; entry; entry = entry->next) {
        if (strcmp(entry->table->name, table) == 0 && strcmp(entry->key, name) == 0) {
            return entry;
        }
    }
    return NULL;
}

const struct toml_entry *settings_find(const struct settings *s, const char *verb, const char *name,
                                       const struct settings_file **file) {
    const struct toml_entry *found = NULL;
    for (const struct settings_file *f = s->files; f; f = f->next) {
        const struct toml_entry *entry = find_in(f, verb, name);
        entry = entry ? entry : find_in(f, "", name);
        if (entry) {
            found = entry;
            *file = f;
        }
    }
    return found;
}
