/* knob_completion.c: the scripts for bash, zsh and fish.
 *
 * Owns their text. All three do the same: verbs first (also behind "module llm-infrastructure"),
 * then the flags of that verb, the choices of a flag, and files or folders where a value or an
 * operand is one. Invariant: a name that comes from the table needs no quotes in any shell.
 */
#include "config/knob_completion.h"

#include <string.h>

#include "config/knob_help.h"

/* What can stand behind a flag, or in place of an operand. */
enum words { WORDS_NONE, WORDS_FREE, WORDS_CHOICE, WORDS_FILE, WORDS_FOLDER, WORDS_VERB };

static enum words words_of(const struct knob *k) {
    if (k->type == KNOB_BOOL) {
        return WORDS_NONE;
    }
    if (k->type == KNOB_CHOICE) {
        return WORDS_CHOICE;
    }
    if (strcmp(k->unit, "FILE") == 0 || strcmp(k->unit, "MODEL") == 0 ||
        strcmp(k->unit, "PATH") == 0) {
        return WORDS_FILE;
    }
    return strcmp(k->unit, "FOLDER") == 0 ? WORDS_FOLDER : WORDS_FREE;
}

static enum words operands_of(const struct knob_verb *verb) {
    return verb->max_operand == 0                  ? WORDS_NONE
           : strcmp(verb->operands, "[VERB]") == 0 ? WORDS_VERB
           : strchr(verb->operands, '|')           ? WORDS_CHOICE
                                                   : WORDS_FILE;
}

/* The choices of "a|b FILE|c" with blanks between, without what follows each. */
static void put_choices(struct buf *out, const char *choices) {
    for (; *choices; choices += strcspn(choices, "|")) {
        if (*choices == '|') {
            buf_putc(out, ' ');
            choices++;
        }
        buf_put(out, choices, strcspn(choices, "| "));
    }
}

static void put_verbs(struct buf *out, struct knob_verbs verbs) {
    for (size_t i = 0; i < verbs.n; i++) {
        buf_printf(out, "%s%s", i ? " " : "", verbs.at[i]->name);
    }
}

/* Text inside of single quotes, which are closed over a quote: '\''; `special` get a backslash. */
static void put_quoted(struct buf *out, const char *text, const char *special) {
    for (; *text; text++) {
        if (strchr(special, *text)) {
            buf_putc(out, '\\');
        }
        if (*text == '\'') {
            buf_puts(out, "'\\''");
        } else {
            buf_putc(out, *text);
        }
    }
}

/* ---- bash ------------------------------------------------------------------------------- */

/* bash cuts words at '=' too: --device=cpu arrives as three. */
static const char bash_head[] =
    "# bash completion for ign. Try it: source <(ign completion bash)\n"
    "# Keep it: ign completion bash >~/.local/share/bash-completion/completions/ign\n"
    "_ign() {\n"
    "    local cur=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} at=1\n"
    "    local flags='' words='' paths=''\n"
    "    COMPREPLY=()\n"
    "    if [[ $cur == = ]]; then\n"
    "        cur=''\n"
    "    elif [[ $before == = ]]; then\n"
    "        before=${COMP_WORDS[COMP_CWORD - 2]}\n"
    "    fi\n"
    "    if [[ ${COMP_WORDS[1]} == module && $COMP_CWORD -gt 1 ]]; then\n"
    "        if [[ $COMP_CWORD -eq 2 ]]; then\n"
    "            COMPREPLY=($(compgen -W llm-infrastructure -- \"$cur\"))\n"
    "            return\n"
    "        fi\n"
    "        at=3\n"
    "    fi\n";

static const char bash_tail[] = "    esac\n"
                                "    if [[ $cur == -* ]]; then\n"
                                "        words=\"$flags --help --version\"\n"
                                "        paths=''\n"
                                "    fi\n"
                                "    if [[ -n $paths ]]; then\n"
                                "        compopt -o filenames 2>/dev/null\n"
                                "        local IFS=$'\\n'\n"
                                "        COMPREPLY=($(compgen -A \"$paths\" -- \"$cur\"))\n"
                                "    else\n"
                                "        COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
                                "    fi\n"
                                "}\n"
                                "complete -F _ign ign\n";

/* The command of a case. */
static void bash_words(struct buf *out, enum words words, const char *choices,
                       struct knob_verbs verbs) {
    switch (words) {
    case WORDS_CHOICE:
        buf_puts(out, "words='");
        put_choices(out, choices);
        buf_puts(out, "'");
        break;
    case WORDS_VERB:
        buf_puts(out, "words='");
        put_verbs(out, verbs);
        buf_puts(out, "'");
        break;
    case WORDS_FILE: buf_puts(out, "paths=file"); break;
    case WORDS_FOLDER: buf_puts(out, "paths=directory"); break;
    case WORDS_NONE:
    case WORDS_FREE: buf_puts(out, ":"); break;
    }
}

static void bash_verb(struct buf *out, const struct knob_verb *verb, struct knob_verbs verbs) {
    const struct knob *k;
    buf_printf(out, "    %s)\n        flags='", verb->name);
    for (size_t i = 0; (k = knob_at(verb, i)); i++) {
        buf_printf(out, "%s--%s", i ? " " : "", k->name);
    }
    buf_puts(out, "'\n        case $before in\n");
    for (size_t i = 0; (k = knob_at(verb, i)); i++) {
        if (words_of(k) != WORDS_NONE) {
            buf_printf(out, "        --%s) ", k->name);
            bash_words(out, words_of(k), k->choices, verbs);
            buf_puts(out, " ;;\n");
        }
    }
    buf_puts(out, "        *) ");
    bash_words(out, operands_of(verb), verb->operands, verbs);
    buf_puts(out, " ;;\n        esac\n        ;;\n");
}

static void bash_script(struct buf *out, struct knob_verbs verbs) {
    buf_puts(out, bash_head);
    buf_puts(out, "    if [[ $COMP_CWORD -eq $at ]]; then\n        COMPREPLY=($(compgen -W '");
    put_verbs(out, verbs);
    buf_puts(out, "' -- \"$cur\"))\n        return\n    fi\n"
                  "    case ${COMP_WORDS[at]} in\n");
    for (size_t i = 0; i < verbs.n; i++) {
        bash_verb(out, verbs.at[i], verbs);
    }
    buf_puts(out, bash_tail);
}

/* ---- zsh -------------------------------------------------------------------------------- */

static const char zsh_head[] = "#compdef ign\n"
                               "# zsh completion for ign. Keep it in a folder of $fpath:\n"
                               "# ign completion zsh >~/.zsh/completions/_ign\n"
                               "_ign_verbs() {\n"
                               "    local -a verbs\n"
                               "    verbs=(\n";

static const char zsh_middle[] = "    )\n"
                                 "    _describe -t verbs verb verbs\n"
                                 "}\n"
                                 "_ign() {\n"
                                 "    local curcontext=$curcontext state line\n"
                                 "    typeset -A opt_args\n"
                                 "    integer at=2\n"
                                 "    if [[ $words[2] == module ]] && (( CURRENT > 2 )); then\n"
                                 "        if (( CURRENT == 3 )); then\n"
                                 "            compadd llm-infrastructure\n"
                                 "            return\n"
                                 "        fi\n"
                                 "        at=4\n"
                                 "    fi\n"
                                 "    if (( CURRENT == at )); then\n"
                                 "        _ign_verbs\n"
                                 "        return\n"
                                 "    fi\n"
                                 "    words=(\"${(@)words[at,-1]}\")\n"
                                 "    (( CURRENT -= at - 1 ))\n"
                                 "    case $words[1] in\n";

static const char zsh_tail[] = "    esac\n"
                               "}\n"
                               "if [[ $funcstack[1] == _ign ]]; then\n"
                               "    _ign \"$@\"\n"
                               "else\n"
                               "    compdef _ign ign\n"
                               "fi\n";

static void zsh_words(struct buf *out, enum words words, const char *choices) {
    switch (words) {
    case WORDS_CHOICE:
        buf_puts(out, "(");
        put_choices(out, choices);
        buf_puts(out, ")");
        break;
    case WORDS_VERB: buf_puts(out, "_ign_verbs"); break;
    case WORDS_FILE: buf_puts(out, "_files"); break;
    case WORDS_FOLDER: buf_puts(out, "_files -/"); break;
    case WORDS_NONE:
    case WORDS_FREE: buf_puts(out, " "); break;
    }
}

/* '*--device=[what computes]:NAME:(auto cpu plain)'; the star: also when it is there already. */
static void zsh_flag(struct buf *out, const struct knob *k) {
    buf_printf(out, " \\\n            '%s--%s%s[", k->type == KNOB_LIST ? "*" : "", k->name,
               k->type == KNOB_BOOL ? "" : "=");
    put_quoted(out, k->help, "[]\\:");
    buf_puts(out, "]");
    if (k->type != KNOB_BOOL) {
        buf_printf(out, ":%s:", k->unit);
        zsh_words(out, words_of(k), k->choices);
    }
    buf_puts(out, "'");
}

static void zsh_verb(struct buf *out, const struct knob_verb *verb) {
    const struct knob *k;
    buf_printf(out,
               "    %s)\n        _arguments '--help[what the verb takes]' "
               "'--version[of the program]'",
               verb->name);
    for (size_t i = 0; (k = knob_at(verb, i)); i++) {
        zsh_flag(out, k);
    }
    if (verb->max_operand > 0) {
        buf_puts(out, " \\\n            '*:operand:");
        zsh_words(out, operands_of(verb), verb->operands);
        buf_puts(out, "'");
    }
    buf_puts(out, "\n        ;;\n");
}

static void zsh_script(struct buf *out, struct knob_verbs verbs) {
    buf_puts(out, zsh_head);
    for (size_t i = 0; i < verbs.n; i++) {
        buf_printf(out, "        '%s:", verbs.at[i]->name);
        put_quoted(out, verbs.at[i]->about, "\\:");
        buf_puts(out, "'\n");
    }
    buf_puts(out, zsh_middle);
    for (size_t i = 0; i < verbs.n; i++) {
        zsh_verb(out, verbs.at[i]);
    }
    buf_puts(out, zsh_tail);
}

/* ---- fish ------------------------------------------------------------------------------- */

static const char fish_head[] =
    "# fish completion for ign.\n"
    "# Keep it: ign completion fish >~/.config/fish/completions/ign.fish\n"
    "function __ign_words # those before the cursor, from the verb on\n"
    "    set -l words (commandline -opc)\n"
    "    set -e words[1]\n"
    "    if test \"$words[1]\" = module; and test \"$words[2]\" = llm-infrastructure\n"
    "        set -e words[1..2]\n"
    "    end\n"
    "    string join -- \\n $words\n"
    "end\n"
    "function __ign_in # a verb\n"
    "    set -l words (__ign_words)\n"
    "    test \"$words[1]\" = $argv[1]\n"
    "end\n"
    "function __ign_none # no verb yet\n"
    "    test (count (__ign_words)) -eq 0\n"
    "end\n"
    "complete -c ign -f\n"
    "complete -c ign -n '__ign_in module' -a llm-infrastructure\n"
    "complete -c ign -n 'not __ign_none' -l help -d 'what the verb takes'\n"
    "complete -c ign -n 'not __ign_none' -l version -d 'of the program'\n";

static void fish_words(struct buf *out, enum words words, const char *choices,
                       struct knob_verbs verbs) {
    switch (words) {
    case WORDS_CHOICE:
        buf_puts(out, " -x -a '");
        put_choices(out, choices);
        buf_puts(out, "'");
        break;
    case WORDS_VERB:
        buf_puts(out, " -x -a '");
        put_verbs(out, verbs);
        buf_puts(out, "'");
        break;
    case WORDS_FILE: buf_puts(out, " -r -F"); break;
    case WORDS_FOLDER: buf_puts(out, " -x -a '(__fish_complete_directories)'"); break;
    case WORDS_FREE: buf_puts(out, " -x"); break;
    case WORDS_NONE: break;
    }
}

static void fish_verb(struct buf *out, const struct knob_verb *verb, struct knob_verbs verbs) {
    const struct knob *k;
    buf_printf(out, "complete -c ign -n __ign_none -a %s -d '", verb->name);
    put_quoted(out, verb->about, "\\");
    buf_puts(out, "'\n");
    if (verb->max_operand > 0) {
        buf_printf(out, "complete -c ign -n '__ign_in %s'", verb->name);
        fish_words(out, operands_of(verb), verb->operands, verbs);
        buf_putc(out, '\n');
    }
    for (size_t i = 0; (k = knob_at(verb, i)); i++) {
        buf_printf(out, "complete -c ign -n '__ign_in %s' -l %s", verb->name, k->name);
        fish_words(out, words_of(k), k->choices, verbs);
        buf_puts(out, " -d '");
        put_quoted(out, k->help, "\\");
        buf_puts(out, "'\n");
    }
}

static void fish_script(struct buf *out, struct knob_verbs verbs) {
    buf_puts(out, fish_head);
    for (size_t i = 0; i < verbs.n; i++) {
        fish_verb(out, verbs.at[i], verbs);
    }
}

bool knobs_completion(struct buf *out, struct knob_verbs verbs, const char *shell) {
    if (strcmp(shell, "bash") == 0) {
        bash_script(out, verbs);
    } else if (strcmp(shell, "zsh") == 0) {
        zsh_script(out, verbs);
    } else if (strcmp(shell, "fish") == 0) {
        fish_script(out, verbs);
    } else {
        return false;
    }
    return true;
}
