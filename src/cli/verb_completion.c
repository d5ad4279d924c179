/* verb_completion.c: the script that teaches a shell the verbs and their flags.
 *
 * Owns one choice; the scripts are made in config/knob_completion.c.
 */
#include "cli/verbs.h"
#include "config/knob_completion.h"

static int run(struct cli *c) {
    struct err e = {0};
    struct buf script;
    const char *shell = knobs_operand(c->k, 0);
    buf_init(&script, 1 << 20);
    if (!knobs_completion(&script, cli_knob_verbs(), shell)) {
        err_set(&e, ERR_USAGE, "there is no completion for '%s'", shell);
        err_hint(&e, "ign completion bash, zsh or fish");
    } else if (!buf_check(&script, &e)) {
        cli_put_answer(c, str_of(script.p, script.len));
    }
    buf_fini(&script);
    return e.code ? cli_fail(c, &e) : EXIT_DONE;
}

const struct verb verb_completion = {
    .args = {.name = "completion",
             .operands = "bash|zsh|fish",
             .min_operand = 1,
             .max_operand = 1,
             .about = "a script that lets a shell complete verbs, flags and values"},
    .run = run,
    .any_settings = true,
};
