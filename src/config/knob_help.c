/* knob_help.c: the help page of a verb, and guessing what was meant by a wrong word.
 *
 * Owns the layout of --help. Refuses to know any knob: everything comes from the tables.
 * Invariant: no line is longer than 80 columns.
 */
#include "config/knob_help.h"

#include <stdio.h>
#include <string.h>

#include "config/folders.h"
#include "config/knob_value.h"

#define WIDTH    80
#define INDENT   28
#define NEAR_MAX 63 /* longest word that is compared */

const struct knob_heading knob_headings[] = {
    {KNOB_PROMPT, "Prompt"},    {KNOB_HISTORY, "Conversation"},
    {KNOB_SAMPLE, "Answer"},    {KNOB_TEMPLATE, "Template"},
    {KNOB_MODEL, "Model"},      {KNOB_RUN, "Machine"},
    {KNOB_DEVICE, "Detection"}, {KNOB_AUDIT, "Audit"},
    {KNOB_STORE, "Folders"},    {KNOB_PLAN, "Choice"},
    {KNOB_BUNDLE, "Bundles"},   {KNOB_PULL, "Pulling"},
    {KNOB_COMMON, "Output"},    {0, NULL},
};

bool knob_is_setting(const struct knob *knob) {
    return !(knob->flags & (KNOB_NO_ENV | KNOB_NO_FILE));
}

bool knob_of_verb(const struct knob *knob, const struct knob_verb *verb) {
    if (!(knob->group & (verb->groups | KNOB_COMMON))) {
        return false;
    }
    if (verb->groups == KNOB_ALL && knob->group != KNOB_COMMON && !knob_is_setting(knob)) {
        return false;
    }
    for (size_t i = 0; i < verb->n_own; i++) {
        if (strcmp(verb->own[i].name, knob->name) == 0) {
            return false;
        }
    }
    return true;
}

bool knob_flag_of_verb(const struct knob *knob, const struct knob_verb *verb) {
    return !verb->flag_groups || (knob->group & (verb->flag_groups | KNOB_COMMON));
}

unsigned knob_group_for(const struct knob *knob, const struct knob_verb *verb) {
    unsigned groups = verb->flag_groups ? verb->flag_groups : verb->groups;
    unsigned shared = knob->group & (groups | KNOB_COMMON);
    return shared & (~shared + 1);
}

const struct knob *knob_at(const struct knob_verb *verb, size_t i) {
    size_t n;
    const struct knob *table = knobs_table(&n);
    if (i < verb->n_own) {
        return &verb->own[i];
    }
    i -= verb->n_own;
    for (size_t j = 0; j < n; j++) {
        if (knob_of_verb(&table[j], verb) && i-- == 0) {
            return &table[j];
        }
    }
    return NULL;
}

/* Bytes of text up to a space, or, of a word that is longer than a line, up to its last choice
 * ("a|b|c") that fits. */
static size_t help_piece(const char *text) {
    size_t n = strcspn(text, " ");
    for (size_t cut = WIDTH - INDENT; n > WIDTH - INDENT && cut; cut--) {
        n = text[cut - 1] == '|' ? cut : n;
    }
    return n;
}

/* Appends words, long ones broken between choices; *column is where the line stands.
 * A blank comes before the first. */
static void help_wrap(struct buf *out, const char *text, size_t *column) {
    for (bool blank = true; *text; blank = *text == ' ') {
        text += strspn(text, " ");
        size_t n = help_piece(text);
        if (*column > INDENT && *column + blank + n > WIDTH) {
            buf_printf(out, "\n%*s", INDENT, "");
            *column = INDENT;
        } else if (*column > INDENT && blank) {
            buf_putc(out, ' ');
            (*column)++;
        }
        buf_put(out, text, n);
        *column += n;
        text += n;
    }
}

/* Appends the line of usage, broken between the choices of its operands. */
static void help_usage(struct buf *out, const struct knob_verb *verb) {
    size_t before = out->len, indent = strlen("Usage: ign  ") + strlen(verb->name);
    buf_printf(out, "Usage: ign %s [flags]%s", verb->name, verb->operands[0] ? " " : "");
    size_t column = out->len - before;
    for (const char *text = verb->operands; *text;) {
        size_t n = strcspn(text, "|");
        n += text[n] == '|';
        if (column > indent && column + n > WIDTH) {
            buf_printf(out, "\n%*s", (int)indent, "");
            column = indent;
        }
        buf_put(out, text, n);
        column += n;
        text += n;
    }
    buf_putc(out, '\n');
}

void knob_facts(const struct knob *k, bool is_own, char *out, size_t n) {
    char parts[3][160] = {"", "", ""};
    knob_bounds(k, parts[0], sizeof parts[0]);
    if (k->type == KNOB_LIST) {
        snprintf(parts[0], sizeof parts[0], "may be repeated");
    }
    if (k->def) {
        snprintf(parts[1], sizeof parts[1], "default %s", k->def);
    }
    if (!is_own && !(k->flags & KNOB_NO_ENV)) {
        knob_env_name(k, parts[2]);
    }
    size_t len = 0;
    out[0] = '\0';
    for (int i = 0; i < 3; i++) {
        if (parts[i][0] && len < n) {
            len += (size_t)snprintf(out + len, n - len, "%s%s", len ? "; " : "(", parts[i]);
        }
    }
    if (len && len < n) {
        snprintf(out + len, n - len, ")");
    }
}

static void help_knob(struct buf *out, const struct knob *k, bool is_own) {
    char facts[400];
    size_t before = out->len;
    buf_printf(out, "  --%s%s%s", k->name, k->unit ? " " : "", k->unit ? k->unit : "");
    size_t column = out->len - before;
    if (column + 2 > INDENT) {
        buf_putc(out, '\n');
        column = 0;
    }
    buf_printf(out, "%*s", (int)(INDENT - column), "");
    column = INDENT;
    help_wrap(out, k->help, &column);
    knob_facts(k, is_own, facts, sizeof facts);
    help_wrap(out, facts, &column);
    buf_putc(out, '\n');
}

void knobs_help(struct buf *out, const struct knob_verb *verb) {
    size_t n;
    const struct knob *table = knobs_table(&n);
    buf_printf(out, "ign %s: %s\n\n", verb->name, verb->about);
    help_usage(out, verb);
    if (verb->n_own) {
        buf_printf(out, "\n%c%s:\n", verb->name[0] - ('a' - 'A'), verb->name + 1);
    }
    for (size_t i = 0; i < verb->n_own; i++) {
        help_knob(out, &verb->own[i], true);
    }
    for (const struct knob_heading *h = knob_headings; h->title; h++) {
        bool open = false;
        for (size_t i = 0; i < n; i++) {
            if (knob_group_for(&table[i], verb) != h->group || !knob_of_verb(&table[i], verb) ||
                !knob_flag_of_verb(&table[i], verb)) {
                continue;
            }
            if (!open) {
                buf_printf(out, "\n%s:\n", h->title);
                open = true;
            }
            help_knob(out, &table[i], false);
        }
    }
    buf_puts(out,
             "\nWhat has a variable may be in a file too, as key = value; below [VERB] for one\n"
             "verb. The first of these wins: flag, variable, --config FILE, the file\n"
             "~/.config/ign/ign.toml, then " FOLDER_SYSTEM_CONFIG "/ign.toml.\n");
}

/* Insertions, deletions, substitutions and swaps of neighbours that turn a into b (Damerau's
 * distance in its restricted form, over three rows of the table). */
static size_t word_distance(const char *a, const char *b) {
    size_t la = strlen(a), lb = strlen(b);
    size_t rows[3][NEAR_MAX + 1];
    if (la > NEAR_MAX || lb > NEAR_MAX) {
        return NEAR_MAX;
    }
    for (size_t j = 0; j <= lb; j++) {
        rows[0][j] = j;
    }
    for (size_t i = 1; i <= la; i++) {
        size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t best = above[j - 1] + (a[i - 1] != b[j - 1]);
            best = above[j] + 1 < best ? above[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                above2[j - 2] + 1 < best) {
                best = above2[j - 2] + 1;
            }
            row[j] = best;
        }
    }
    return rows[la % 3][lb];
}

const char *knobs_nearest(const char *word, const char *const *words, size_t n) {
    const char *near = NULL;
    size_t best = 1 + strlen(word) / 3; /* more than a third wrong is another word */
    for (size_t i = 0; i < n; i++) {
        size_t d = word_distance(word, words[i]);
        if (d < best || (!near && d == best)) {
            best = d;
            near = words[i];
        }
    }
    return near;
}
