/* error_table.c: the rows, and the page made of them.
 *
 * Owns the wording. Invariant: each code but ERR_OK has a meaning, a hint and an example, and a
 * test runs every example (tests/cli/check_troubles.py).
 */
#include "cli/error_table.h"

#include "cli/cli.h"

static const struct error_row rows[ERR_N] = {
    [ERR_NOMEM] =
        {EXIT_FAILED,
         "The system gave no memory for something small: a limit of this process, or a machine at "
         "its end. What a model needs as a whole is looked at before, and is `no_fit`.",
         "take a smaller model or --context, or free some memory",
         {{"head -c 40000000 /dev/zero >big.txt; ulimit -v 60000; "
           "ign generate --model model.gguf --prompt-file big.txt",
           "a limit on the memory of the process"}}},
    [ERR_IO] =
        {EXIT_FAILED,
         "A file could not be read or written: permissions, a full disk, a disk that fails, or a "
         "file that became shorter while it was in use.",
         "look at what is there, and at its permissions",
         {{"ulimit -f 0; ign logits --model model.gguf --ids 1 --output logits.f32",
           "no room for a file"},
          {"ln -s loop loop; ign generate --model model.gguf --prompt-file loop",
           "a link that names itself"}}},
    [ERR_NOTFOUND] = {EXIT_NOTFOUND,
                      "A file, a folder or a model is not there. A model is looked for as a path, "
                      "and then by its name in the store.",
                      "look at the name and its folder",
                      {{"ign inspect nothing.gguf", "no such file"},
                       {"ign generate --model nothing --prompt x", "no model of that name"},
                       {"ign generate --prompt x", "no model named, and no demo model in the "
                                                   "store"}}},
    [ERR_FORMAT] = {EXIT_FAILED,
                    "A file breaks its own format: a download that was cut off, another kind of "
                    "file, a broken template, an audit log that was changed. The place in the file "
                    "is in the message.",
                    "mend what is named there, or take another file",
                    {{"echo 'not a model' >text.gguf; ign inspect text.gguf", "not a model file"},
                     {"head -c 5000 model.gguf >cut.gguf; "
                      "ign generate --model cut.gguf --prompt x",
                      "a download that was cut off"},
                     {"ign tokenize --model . --text x", "a folder in place of a file"}}},
    [ERR_UNSUPPORTED] = {EXIT_FAILED,
                         "A file is well formed, and of a kind that this program does not know: an "
                         "old format, a new architecture or tensor type.",
                         "take a file of another kind",
                         {{"printf 'GGML old' >old.bin; ign inspect old.bin",
                           "a format of long ago"}}},
    [ERR_USAGE] =
        {EXIT_USAGE,
         "The command line is not right: an unknown verb, flag or key of a settings file, "
         "a value that is missing, flags that exclude each other.",
         "--help has the flags and their values",
         {{"ign generate --model model.gguf --promt x", "a flag that is misspelt"},
          {"ign generate --model model.gguf", "no prompt"},
          {"ign audit verify", "no audit log is named"}}},
    [ERR_RANGE] =
        {EXIT_USAGE,
         "A value is out of its bounds, or not of its kind; the message names the bounds.",
         "--help has the flags and their values",
         {{"ign generate --model model.gguf --prompt x --temperature 9",
           "more than the largest temperature"},
          {"IGN_TOP_P=high ign generate --model model.gguf --prompt x",
           "a variable that is no number"}}},
    [ERR_NOFIT] = {EXIT_NOFIT,
                   "The model, its context or the prompt does not fit: into memory (what is "
                   "available, the limit of a container, --max-memory), or into the context. "
                   "Refused before anything is loaded.",
                   "take a smaller model or --context, or free some memory",
                   {{"ign generate --model model.gguf --prompt x --max-memory 2MB",
                     "a budget that is too small"},
                    {"head -c 3000 model.gguf | tr -c a-z x >long.txt; "
                     "ign generate --model model.gguf --prompt-file long.txt",
                     "a prompt longer than the context"}}},
    [ERR_DEVICE] = {EXIT_FAILED,
                    "What computes has failed, or has computed something that is not a number: a "
                    "model file with broken weights, a driver that fails.",
                    "see what 'ign initialize' says of the model, get its file again, or take "
                    "another --device",
                    {{"ign generate --model nan.gguf --prompt x", "weights that are not numbers"}}},
    [ERR_LIMIT] = {EXIT_FAILED,
                   "Input is larger than anything sensible: a prompt of more than 64 MiB, a "
                   "template that does not end, nesting without end.",
                   "take less at once",
                   {{"head -c 100000000 /dev/zero | "
                     "ign generate --model model.gguf --prompt-file -",
                     "a prompt of 100 MB"}}},
    [ERR_CANCELLED] = {EXIT_INTERRUPTED,
                       "Ctrl-C, SIGTERM, or the end of a time limit outside of the program. What "
                       "was generated so far has been printed, and files are whole.",
                       "let it run to its end",
                       {{"sleep 3 | timeout --preserve-status -s INT 2 "
                         "ign generate --model model.gguf --prompt-file -",
                         "Ctrl-C while it waits for the prompt"}}},
};

const struct error_row *error_row(enum err_code code) {
    return (unsigned)code < ERR_N ? &rows[code] : &rows[ERR_IO];
}

static void put_row(struct buf *out, enum err_code code) {
    const struct error_row *r = &rows[code];
    buf_printf(out, "\n## `%s`, exit code %d\n\n%s\n\nWhat to do: %s.\n\n```sh\n", err_name(code),
               r->exit, r->means, r->hint);
    for (int i = 0; i < ERROR_EXAMPLES && r->examples[i].command; i++) {
        buf_printf(out, "# %s\n%s\n", r->examples[i].about, r->examples[i].command);
    }
    buf_puts(out, "```\n");
}

static const char page_head[] =
    "# When something goes wrong\n\n"
    "An error is one line on standard error, `ign: error: WHAT (WHERE); WHAT TO DO`. With "
    "`--json`\n"
    "standard output has `{\"error\":{\"code\",\"message\",\"hint\"}}`, too: the code is one of\n"
    "those below, the message is WHAT (WHERE), the hint WHAT TO DO. Where an error has a better "
    "hint\n"
    "than the one shown here, that one is printed. What is interrupted may say `ign: interrupted` "
    "and\n"
    "no more.\n\n"
    "Each code has commands that provoke it. They are for a folder with a small model, "
    "`model.gguf`,\n"
    "and one whose weights are not numbers, `nan.gguf`, with no model in the store; a test runs "
    "every\n"
    "one. This page is what `ign help --errors` prints.\n\n"
    "| exit code | error codes |\n|---|---|\n";

void error_table_page(struct buf *out) {
    buf_puts(out, page_head);
    for (int exit = EXIT_FAILED; exit <= EXIT_INTERRUPTED; exit++) {
        bool any = false;
        for (int code = ERR_OK + 1; code < ERR_N; code++) {
            if (rows[code].exit == exit) {
                if (!any) {
                    buf_printf(out, "| %d | ", exit);
                }
                buf_printf(out, "%s`%s`", any ? ", " : "", err_name((enum err_code)code));
                any = true;
            }
        }
        buf_puts(out, any ? " |\n" : "");
    }
    for (int code = ERR_OK + 1; code < ERR_N; code++) {
        put_row(out, (enum err_code)code);
    }
}

void error_table_json(struct json_writer *w) {
    json_open(w, '[');
    for (int code = ERR_OK + 1; code < ERR_N; code++) {
        const struct error_row *r = &rows[code];
        json_open(w, '{');
        json_key(w, "code");
        json_put_z(w, err_name((enum err_code)code));
        json_key(w, "exit");
        json_put_int(w, r->exit);
        json_key(w, "means");
        json_put_z(w, r->means);
        json_key(w, "hint");
        json_put_z(w, r->hint);
        json_key(w, "examples");
        json_open(w, '[');
        for (int i = 0; i < ERROR_EXAMPLES && r->examples[i].command; i++) {
            json_put_z(w, r->examples[i].command);
        }
        json_close(w, ']');
        json_close(w, '}');
    }
    json_close(w, ']');
}
