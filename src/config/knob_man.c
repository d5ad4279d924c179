/* knob_man.c: from the table to roff.
 *
 * Owns what the pages say beside the table. Invariant: text of the table reaches roff through
 * man_text only, so that no dot, quote, minus or backslash in it is taken for roff's own.
 */
#include "config/knob_man.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "config/folders.h"
#include "config/knob_help.h"
#include "config/knob_value.h"

/* ---- roff ------------------------------------------------------------------------------- */

static void man_text(struct buf *out, const char *text) {
    for (; *text; text++) {
        if (*text == '\\') {
            buf_puts(out, "\\e");
        } else if (*text == '-') {
            buf_puts(out, "\\-");
        } else if (*text == '\'') {
            buf_puts(out, "\\(aq");
        } else if (*text == '.') {
            buf_puts(out, ".\\&");
        } else {
            buf_putc(out, *text);
        }
    }
}

static void man_font(struct buf *out, char font, const char *text) {
    buf_printf(out, "\\f%c", font);
    man_text(out, text);
    buf_puts(out, "\\fR");
}

/* A sentence: from "what computes" to "What computes." and a new line. */
static void man_sentence(struct buf *out, const char *text) {
    char first[2] = {(char)toupper((unsigned char)text[0]), '\0'};
    man_text(out, first);
    man_text(out, text + 1);
    buf_puts(out, ".\n");
}

/* Paragraphs as they stand below; lines in bold where they begin with four blanks. */
static void man_prose(struct buf *out, const char *const *lines) {
    for (; *lines; lines++) {
        if (!**lines) {
            buf_puts(out, ".PP\n");
        } else if (strncmp(*lines, "    ", 4) == 0) {
            buf_puts(out, ".br\n");
            man_font(out, 'B', *lines);
            buf_puts(out, "\n");
        } else {
            man_text(out, *lines);
            buf_putc(out, '\n');
        }
    }
}

static void man_head(struct buf *out, const char *title, int section, const char *name,
                     const char *about) {
    buf_puts(out, ".TH ");
    for (const char *p = title; *p; p++) {
        buf_putc(out, (char)toupper((unsigned char)*p));
    }
    buf_printf(out, " %d %s \"ign %s\"\n.SH NAME\n", section, IGN_DATE, IGN_VERSION);
    man_text(out, name);
    buf_puts(out, " \\- ");
    man_text(out, about);
    buf_puts(out, "\n");
}

/* ---- parts of pages --------------------------------------------------------------------- */

static void man_flag(struct buf *out, const struct knob *k, bool is_own) {
    char facts[400];
    buf_puts(out, ".TP\n\\fB\\-\\-");
    man_text(out, k->name);
    buf_puts(out, "\\fR");
    if (k->unit) {
        buf_putc(out, ' ');
        man_font(out, 'I', k->unit);
    }
    buf_putc(out, '\n');
    man_sentence(out, k->help);
    knob_facts(k, is_own, facts, sizeof facts);
    if (facts[0]) {
        man_text(out, facts);
        buf_putc(out, '\n');
    }
}

static void man_flags(struct buf *out, const struct knob_verb *verb) {
    const struct knob *k;
    buf_puts(out, ".SH OPTIONS\n");
    for (size_t i = 0; i < verb->n_own; i++) {
        man_flag(out, &verb->own[i], true);
    }
    for (const struct knob_heading *h = knob_headings; h->title; h++) {
        bool open = false;
        for (size_t i = verb->n_own; (k = knob_at(verb, i)); i++) {
            if (knob_group_for(k, verb) == h->group) {
                if (!open) {
                    buf_printf(out, ".SS %s\n", h->title);
                }
                man_flag(out, k, false);
                open = true;
            }
        }
    }
}

static void man_files(struct buf *out) {
    static const char *const files[] = {FOLDER_SYSTEM_CONFIG "/ign.toml", "~/.config/ign/ign.toml",
                                        NULL};
    static const char *const about[] = {
        "settings of this machine",
        "settings of this user, which win over those of the machine; XDG_CONFIG_HOME may name "
        "another folder than ~/.config"};
    buf_puts(out, ".SH FILES\n");
    for (size_t i = 0; files[i]; i++) {
        buf_puts(out, ".TP\n");
        man_font(out, 'I', files[i]);
        buf_putc(out, '\n');
        man_sentence(out, about[i]);
    }
}

static void man_status(struct buf *out) {
    static const char *const codes[][2] = {
        {"0", "done"},
        {"1", "failed: input or output, a broken model, a device"},
        {"2", "wrong use, or a value out of its bounds"},
        {"3", "does not fit: refused before anything is loaded"},
        {"4", "a model or a file is not there"},
        {"130", "interrupted; what was made so far is there, and files are whole"},
    };
    buf_puts(out, ".SH EXIT STATUS\n");
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        buf_printf(out, ".TP\n%s\n", codes[i][0]);
        man_sentence(out, codes[i][1]);
    }
}

static void man_environment(struct buf *out) {
    static const char *const lines[] = {
        "A flag wins over its variable, which stands behind it above; a variable wins over the",
        "files, and a file over the default. An empty variable is one that is not set. Where none",
        "of them sets --temperature, --top-k, --top-p, --min-p or --repeat-penalty, what the",
        "model's own file says of it counts before the default: general.sampling.* of a GGUF file,",
        "generation_config.json of a folder, as 'ign inspect' shows it.",
        "NO_COLOR turns colours off.",
        NULL};
    buf_puts(out, ".SH ENVIRONMENT\n");
    man_prose(out, lines);
}

/* ---- pages ------------------------------------------------------------------------------ */

void knobs_man_program(struct buf *out, struct knob_verbs verbs) {
    static const char *const about[] = {
        "ign loads a language model from a file, computes it on this machine, and answers. It",
        "needs no internet and sends nothing anywhere.",
        "",
        "The result goes to standard output, everything else to standard error. With --json the",
        "result is one JSON document. An error is one line that says what, where, and what to do.",
        "",
        "ign module llm-infrastructure VERB is the same as ign VERB.",
        "ign help VERB tells the flags of a verb; so does its own page of this manual.",
        NULL};
    man_head(out, "ign", 1, "ign", "a language model on this machine");
    buf_puts(out, ".SH SYNOPSIS\n\\fBign\\fR \\fIVERB\\fR [\\fIflags\\fR] [\\fIoperands\\fR]\n"
                  ".SH DESCRIPTION\n");
    man_prose(out, about);
    buf_puts(out, ".SH VERBS\n");
    for (size_t i = 0; i < verbs.n; i++) {
        buf_puts(out, ".TP\n");
        man_font(out, 'B', verbs.at[i]->name);
        if (verbs.at[i]->operands[0]) {
            buf_putc(out, ' ');
            man_font(out, 'I', verbs.at[i]->operands);
        }
        buf_putc(out, '\n');
        man_sentence(out, verbs.at[i]->about);
    }
    man_files(out);
    man_status(out);
    buf_puts(out, ".SH SEE ALSO\n");
    for (size_t i = 0; i < verbs.n; i++) {
        buf_puts(out, ".BR ign\\-");
        man_text(out, verbs.at[i]->name);
        buf_puts(out, " (1),\n");
    }
    buf_puts(out, ".BR ign.toml (5)\n");
}

void knobs_man_verb(struct buf *out, const struct knob_verb *verb) {
    char title[64];
    snprintf(title, sizeof title, "ign-%s", verb->name);
    man_head(out, title, 1, title, verb->about);
    buf_puts(out, ".SH SYNOPSIS\n\\fBign ");
    man_text(out, verb->name);
    buf_puts(out, "\\fR [\\fIflags\\fR]");
    if (verb->operands[0]) {
        buf_putc(out, ' ');
        man_font(out, 'I', verb->operands);
    }
    buf_puts(out, "\n.SH DESCRIPTION\n");
    man_sentence(out, verb->about);
    man_flags(out, verb);
    man_environment(out);
    man_files(out);
    man_status(out);
    buf_puts(out, ".SH SEE ALSO\n.BR ign (1),\n.BR ign.toml (5)\n");
}

static const char *type_name(const struct knob *k) {
    switch (k->type) {
    case KNOB_BOOL: return "true or false";
    case KNOB_INT: return "a whole number";
    case KNOB_UINT64: return "a whole number from 0 to 18446744073709551615";
    case KNOB_REAL: return "a number";
    case KNOB_SIZE: return "a number of bytes, or text such as \"8GiB\"";
    case KNOB_STR: return "text";
    case KNOB_CHOICE: return "one of these texts";
    case KNOB_LIST: return "an array of texts";
    }
    return "";
}

static void man_key(struct buf *out, const struct knob *k) {
    char bounds[160];
    buf_puts(out, ".TP\n");
    man_font(out, 'B', k->name);
    buf_puts(out, " = ");
    man_text(out, type_name(k));
    knob_bounds(k, bounds, sizeof bounds);
    if (bounds[0]) {
        buf_puts(out, k->type == KNOB_CHOICE ? ": " : ", ");
        man_text(out, bounds);
    }
    buf_putc(out, '\n');
    man_sentence(out, k->help);
    if (k->def) {
        buf_puts(out, "Default: ");
        man_text(out, k->def);
        buf_puts(out, "\n");
    }
}

void knobs_man_file(struct buf *out) {
    static const char *const format[] = {
        "A settings file has a line for each setting:",
        "    # how this site uses its model",
        "    model = \"/srv/models/qwen.gguf\"",
        "    temperature = 0.2",
        "    mlock = true",
        "    stop = [\"<|end|>\", 'User:']",
        "    [chat]",
        "    system = \"Answer in one sentence.\"",
        "    temperature = 0.7",
        "",
        "Keys are the names of flags without their dashes. What stands in front of the first",
        "[verb] holds for every verb that takes such a flag, what stands below one for that verb",
        "alone. Flags of one call, such as --prompt and --json, cannot be in a file.",
        "",
        "Of several files the one that is read last wins: the machine's, the user's, and that of",
        "--config or IGN_CONFIG; a variable wins over files, and a flag over both. An empty text",
        "takes a setting back to its default.",
        "",
        "The format is a part of TOML 1.0, in UTF-8: comments from # to the end of the line;",
        "texts in \"double quotes\" with the escapes \\\" \\\\ \\n \\t \\r \\b \\f \\uXXXX",
        "\\UXXXXXXXX, or in 'single",
        "quotes' as they are (so write Windows paths); whole and real decimal numbers; true and",
        "false; arrays of texts, on any number of lines; and [verb]. Anything else is refused, as",
        "are unknown keys, a key that is there twice, and values of a wrong kind or out of bounds:",
        "the error names file, line and column. No verb but config, help, version, doctor, status",
        "and completion runs with a broken file.",
        "",
        "Sizes are numbers of bytes or texts: K, M, G, T and KiB, MiB, GiB, TiB are powers of",
        "1024, KB, MB, GB, TB are powers of 1000; a decimal point is allowed.",
        "",
        "No setting holds a secret: where a key is needed, a setting names the file that has it.",
        NULL};
    size_t n;
    const struct knob *table = knobs_table(&n);
    man_head(out, "ign.toml", 5, "ign.toml", "settings of ign");
    buf_puts(out, ".SH DESCRIPTION\n");
    man_prose(out, format);
    buf_puts(out, ".SH SETTINGS\n");
    for (size_t i = 0; i < n; i++) {
        if (knob_is_setting(&table[i])) {
            man_key(out, &table[i]);
        }
    }
    man_files(out);
    buf_puts(out, ".SH SEE ALSO\n.BR ign (1),\n.BR ign\\-config (1)\n");
}
