/* knobs.c: from words and environment variables to checked values.
 *
 * Owns the parsing of flags, and the only getenv. Refuses what a text means as a value
 * (knob_value.c), the table's content (knob_table.c) and the help page (knob_help.c).
 * Invariant: after knobs_read every value slot holds a value of its knob's type, within bounds.
 */
#include "config/knobs.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/mem.h"
#include "config/knob_help.h"
#include "config/knob_value.h"
#include "config/settings.h"

struct knobs {
    const struct knob_verb *verb;
    bool help;
    struct value *values; /* [n_value] own knobs first */
    size_t n_value;
    const char **operands; /* [n_operand], [argc] allocated */
    size_t n_operand;
};

const char *knobs_env(const char *name) {
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

/* ---- the words of a verb --------------------------------------------------------------- */

/* The value whose knob has the name word[0..n), or NULL. */
static struct value *knobs_find(const struct knobs *k, const char *word, size_t n) {
    for (size_t i = 0; i < k->n_value; i++) {
        const char *name = k->values[i].knob->name;
        if (strlen(name) == n && memcmp(name, word, n) == 0) {
            return &k->values[i];
        }
    }
    return NULL;
}

static enum err_code knobs_unknown(const struct knobs *k, const char *word, struct err *e) {
    const char *names[256];
    size_t n = 0, len = strcspn(word, "=");
    char name[64];
    for (; n < k->n_value && n < sizeof names / sizeof names[0]; n++) {
        names[n] = k->values[n].knob->name;
    }
    err_set(e, ERR_USAGE, "ign %s does not know the flag %.*s", k->verb->name, (int)len, word);
    size_t dashes = strspn(word, "-");
    const char *near = NULL;
    if (len > dashes && len - dashes < sizeof name) {
        memcpy(name, word + dashes, len - dashes);
        name[len - dashes] = '\0';
        near = knobs_nearest(name, names, n);
    }
    if (near) {
        err_hint(e, "did you mean --%s?", near);
    } else {
        err_hint(e, "see ign %s --help", k->verb->name);
    }
    return ERR_USAGE;
}

/* Whether `word` is a flag of this verb: then it is hardly meant as another flag's value. */
static bool knobs_is_flag(const struct knobs *k, const char *word) {
    return strncmp(word, "--", 2) == 0 && knobs_find(k, word + 2, strcspn(word + 2, "="));
}

/* The flag argv[*i]; moves *i past the value if that is the next word. */
static enum err_code knobs_read_flag(struct knobs *k, int argc, char *const *argv, int *i,
                                     struct err *e) {
    const char *word = argv[*i], *text = strchr(word, '=');
    struct value *v =
        strncmp(word, "--", 2) == 0 ? knobs_find(k, word + 2, strcspn(word + 2, "=")) : NULL;
    if (!v) {
        return knobs_unknown(k, word, e);
    }
    if (!v->is_own && !knob_flag_of_verb(v->knob, k->verb)) {
        err_set(e, ERR_USAGE, "ign %s shows the setting %s, but does not take it as a flag",
                k->verb->name, v->knob->name);
        err_hint(e, "'ign config show --%s VALUE' shows what a flag would change", v->knob->name);
        return ERR_USAGE;
    }
    if (text) {
        text++;
    } else if (v->knob->type == KNOB_BOOL) {
        text = "true";
    } else {
        if (*i + 1 >= argc || knobs_is_flag(k, argv[*i + 1])) {
            err_set(e, ERR_USAGE, "%s needs a value", word);
            err_hint(e, "%s %s", word, v->knob->unit);
            return ERR_USAGE;
        }
        text = argv[++*i];
    }
    v->origin = KNOB_FLAG;
    v->text = text;
    if (v->knob->type == KNOB_LIST) {
        v->flags[v->n_item++] = text;
        v->items = v->flags;
    }
    return ERR_OK;
}

static enum err_code knobs_read_words(struct knobs *k, int argc, char *const *argv, struct err *e) {
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0) {
            for (i++; i < argc; i++) {
                k->operands[k->n_operand++] = argv[i];
            }
        } else if (argv[i][0] != '-' || argv[i][1] == '\0') {
            k->operands[k->n_operand++] = argv[i];
        } else {
            enum err_code code = knobs_read_flag(k, argc, argv, &i, e);
            if (code) {
                return code;
            }
        }
    }
    return ERR_OK;
}

static bool value_read_env(struct value *v) {
    char name[KNOB_ENV_MAX];
    knob_env_name(v->knob, name);
    v->text = knobs_env(name);
    if (!v->text) {
        return false;
    }
    v->origin = KNOB_ENV;
    v->items = &v->text;
    v->n_item = 1;
    return true;
}

/* An empty text takes a setting back to its default. */
static void value_read_file(struct value *v, const struct settings *s, const char *verb) {
    const struct toml_entry *entry = settings_find(s, verb, v->knob->name, &v->file);
    if (!entry || (entry->kind == TOML_STRING && entry->texts[0][0] == '\0')) {
        return;
    }
    v->origin = KNOB_FILE;
    v->line = entry->line;
    v->text = entry->n_text ? entry->texts[0] : NULL;
    v->items = entry->texts;
    v->n_item = entry->n_text;
}

/* Where no flag was given: the environment, then the files, then the default. */
static void knobs_read_settings(struct knobs *k, const struct settings *s) {
    for (size_t i = 0; i < k->n_value; i++) {
        struct value *v = &k->values[i];
        if (v->origin == KNOB_FLAG) {
            continue;
        }
        if (!v->is_own && !(v->knob->flags & KNOB_NO_ENV) && !value_read_env(v) && s) {
            value_read_file(v, s, k->verb->name);
        }
        if (v->origin == KNOB_DEFAULT) {
            v->text = v->knob->def;
        }
    }
}

static const char *value_place(const struct value *v, char *out, size_t n) {
    char name[KNOB_ENV_MAX];
    switch (v->origin) {
    case KNOB_DEFAULT: snprintf(out, n, "default"); break;
    case KNOB_FILE: snprintf(out, n, "%s, line %d", v->file->path, v->line); break;
    case KNOB_ENV:
        knob_env_name(v->knob, name);
        snprintf(out, n, "%s", name);
        break;
    case KNOB_FLAG: snprintf(out, n, "--%s", v->knob->name); break;
    }
    return out;
}

/* Turns texts into values; switches first, as they may lift the bounds of others. */
static enum err_code knobs_resolve(struct knobs *k, struct err *e) {
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < k->n_value; i++) {
            struct value *v = &k->values[i];
            const char *lift = v->knob->lift;
            if (!v->text || (v->knob->type == KNOB_BOOL) != (pass == 0)) {
                continue;
            }
            bool lifted = lift && knobs_bool(k, lift);
            if (v->origin == KNOB_ENV && k->verb->any_environment && value_set(v, lifted, NULL)) {
                v->origin = KNOB_DEFAULT;
                v->text = v->knob->def;
                if (!v->text) {
                    continue;
                }
            }
            enum err_code code = value_set(v, lifted, e);
            if (code) {
                char place[320];
                if (v->origin == KNOB_FILE) { /* its place is a line, not the key's name */
                    err_where(e, "%s", v->knob->name);
                }
                err_where(e, "%s", value_place(v, place, sizeof place));
                return code;
            }
        }
    }
    return ERR_OK;
}

static enum err_code knobs_check_operands(const struct knobs *k, struct err *e) {
    int n = (int)k->n_operand;
    const struct knob_verb *verb = k->verb;
    if (n > verb->max_operand) {
        /* Not the word itself: it may be part of a prompt that was typed without quotes. */
        err_set(e, ERR_USAGE, "ign %s was given %d word%s more than it takes", verb->name,
                n - verb->max_operand, n - verb->max_operand == 1 ? "" : "s");
        err_hint(e, "put a text with blanks in quotes; see ign %s --help", verb->name);
    } else if (n < verb->min_operand) {
        err_set(e, ERR_USAGE, "ign %s needs %s", verb->name, verb->operands);
    } else {
        return ERR_OK;
    }
    err_hint(e, "see ign %s --help", verb->name);
    return ERR_USAGE;
}

/* ---- one call -------------------------------------------------------------------------- */

static enum err_code knobs_create(struct knobs **out, const struct knob_verb *verb, int argc,
                                  struct err *e) {
    size_t words = argc > 0 ? (size_t)argc : 1;
    struct knobs *k = mem_zalloc(1, sizeof *k);
    *out = k;
    if (!k) {
        goto fail;
    }
    k->verb = verb;
    k->operands = mem_alloc(words, sizeof *k->operands);
    size_t n = 0;
    while (knob_at(verb, n)) {
        n++;
    }
    k->values = mem_zalloc(n, sizeof *k->values);
    if (!k->operands || !k->values) {
        goto fail;
    }
    k->n_value = n;
    for (size_t i = 0; i < k->n_value; i++) {
        struct value *v = &k->values[i];
        *v = (struct value){.knob = knob_at(verb, i), .is_own = i < verb->n_own};
        if (v->knob->type == KNOB_LIST) {
            v->flags = mem_alloc(words, sizeof *v->flags);
            if (!v->flags) {
                goto fail;
            }
        }
    }
    return ERR_OK;
fail:
    return err_set(e, ERR_NOMEM, "out of memory reading the command line");
}

static bool word_present(int argc, char *const *argv, const char *word) {
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], word) == 0) {
            return true;
        }
    }
    return false;
}

enum err_code knobs_read(struct knobs **out, const struct knob_verb *verb, const struct settings *s,
                         int argc, char *const *argv, struct err *e) {
    struct knobs *k = NULL;
    *out = NULL;
    enum err_code code = knobs_create(&k, verb, argc, e);
    if (code) {
        goto fail;
    }
    k->help = word_present(argc, argv, "--help") || word_present(argc, argv, "-h");
    if (!k->help) {
        code = knobs_read_words(k, argc, argv, e);
        if (code) {
            goto fail;
        }
        code = argv ? knobs_check_operands(k, e) : ERR_OK;
        if (code) {
            goto fail;
        }
        knobs_read_settings(k, s);
        code = knobs_resolve(k, e);
        if (code) {
            goto fail;
        }
    }
    *out = k;
    return ERR_OK;
fail:
    knobs_free(k);
    return code;
}

void knobs_free(struct knobs *k) {
    if (!k) {
        return;
    }
    for (size_t i = 0; i < k->n_value; i++) {
        mem_free(k->values[i].flags);
    }
    mem_free(k->values);
    mem_free(k->operands);
    mem_free(k);
}

bool knobs_help_wanted(const struct knobs *k) {
    return k->help;
}

bool knobs_json_wanted(int argc, char *const *argv) {
    return word_present(argc, argv, "--json");
}

const char *knobs_config_wanted(int argc, char *const *argv) {
    const char *path = knobs_env("IGN_CONFIG");
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strncmp(argv[i], "--config=", 9) == 0) {
            path = argv[i] + 9;
        } else if (strcmp(argv[i], "--config") == 0 && i + 1 < argc) {
            path = argv[++i];
        }
    }
    return path;
}

/* ---- getters --------------------------------------------------------------------------- */

static const struct value *knobs_look(const struct knobs *k, const char *name) {
    const struct value *v = knobs_find(k, name, strlen(name));
    assert(v && "a verb asked for a knob that it does not take");
    return v;
}

static const struct value *knobs_get(const struct knobs *k, const char *name) {
    knobs_look(k, name);
    struct value *v = knobs_find(k, name, strlen(name));
    v->asked = true;
    return v;
}

bool knobs_bool(const struct knobs *k, const char *name) {
    const struct value *v = knobs_get(k, name);
    assert(v->knob->type == KNOB_BOOL);
    return v->b;
}

int64_t knobs_int(const struct knobs *k, const char *name) {
    const struct value *v = knobs_get(k, name);
    assert(v->knob->type == KNOB_INT);
    return v->i;
}

uint64_t knobs_uint64(const struct knobs *k, const char *name) {
    const struct value *v = knobs_get(k, name);
    assert(v->knob->type == KNOB_UINT64);
    return v->u;
}

uint64_t knobs_size(const struct knobs *k, const char *name) {
    const struct value *v = knobs_get(k, name);
    assert(v->knob->type == KNOB_SIZE);
    return v->u;
}

double knobs_real(const struct knobs *k, const char *name) {
    const struct value *v = knobs_get(k, name);
    assert(v->knob->type == KNOB_REAL);
    return v->r;
}

const char *knobs_str(const struct knobs *k, const char *name) {
    const struct value *v = knobs_get(k, name);
    assert(v->knob->type == KNOB_STR || v->knob->type == KNOB_CHOICE);
    return v->text;
}

size_t knobs_count(const struct knobs *k, const char *name) {
    return knobs_get(k, name)->n_item;
}

const char *knobs_item(const struct knobs *k, const char *name, size_t i) {
    const struct value *v = knobs_get(k, name);
    assert(i < v->n_item);
    return v->items[i];
}

enum knob_origin knobs_origin(const struct knobs *k, const char *name) {
    return knobs_look(k, name)->origin;
}

const char *knobs_origin_text(const struct knobs *k, const char *name, char *out, size_t n) {
    return value_place(knobs_look(k, name), out, n);
}

const char *knobs_text(const struct knobs *k, const char *name) {
    return knobs_look(k, name)->text;
}

bool knobs_given(const struct knobs *k, const char *name) {
    return knobs_get(k, name)->origin != KNOB_DEFAULT;
}

const char *knob_shown(const struct knob *knob, const char *text, char *out, size_t n) {
    return text && (knob->flags & KNOB_ADDRESS) ? address_shown(text, out, n) : text;
}

const char *knobs_idle_flag(const struct knobs *k, size_t *i) {
    while (*i < k->n_value) {
        const struct value *v = &k->values[(*i)++];
        if (v->origin == KNOB_FLAG && !v->asked) {
            return v->knob->name;
        }
    }
    return NULL;
}

const char *knobs_flag_beside(const struct knobs *k, const char *names) {
    for (size_t i = 0; i < k->n_value; i++) {
        const struct knob *knob = k->values[i].knob;
        bool common = !k->values[i].is_own && (knob->group & KNOB_COMMON);
        size_t n = strlen(knob->name);
        const char *at = names;
        while (*at && !(strcspn(at, " ") == n && memcmp(at, knob->name, n) == 0)) {
            at += strcspn(at, " ");
            at += strspn(at, " ");
        }
        if (k->values[i].origin == KNOB_FLAG && !common && !*at) {
            return knob->name;
        }
    }
    return NULL;
}

static void put_value(const struct value *v, struct json_writer *w) {
    char shown[KNOB_SHOWN];
    switch (v->knob->type) {
    case KNOB_BOOL: json_put_bool(w, v->b); break;
    case KNOB_INT: json_put_int(w, v->i); break;
    case KNOB_UINT64:
    case KNOB_SIZE: json_put_uint(w, v->u); break;
    case KNOB_REAL: json_put_real(w, v->r); break;
    case KNOB_STR:
    case KNOB_CHOICE: json_put_z(w, knob_shown(v->knob, v->text, shown, sizeof shown)); break;
    case KNOB_LIST:
        json_open(w, '[');
        for (size_t i = 0; i < v->n_item; i++) {
            json_put_z(w, v->items[i]);
        }
        json_close(w, ']');
        break;
    }
}

void knobs_put_given(const struct knobs *k, bool texts, struct json_writer *w) {
    json_open(w, '{');
    for (size_t i = 0; i < k->n_value; i++) {
        const struct value *v = &k->values[i];
        if (v->origin != KNOB_DEFAULT && (texts || !(v->knob->flags & KNOB_TEXT))) {
            json_key(w, v->knob->name);
            put_value(v, w);
        }
    }
    json_close(w, '}');
}

size_t knobs_operands(const struct knobs *k) {
    return k->n_operand;
}

const char *knobs_operand(const struct knobs *k, size_t i) {
    assert(i < k->n_operand);
    return k->operands[i];
}
