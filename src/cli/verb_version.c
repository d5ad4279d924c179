/* verb_version.c: which program this is.
 *
 * Owns one line.
 */
#include "cli/verbs.h"

static int run(struct cli *c) {
    cli_note_settings(c);
    if (!c->json) {
        cli_printf(c, "ign %s\n", ign_version());
        return EXIT_DONE;
    }
    struct json_writer w;
    cli_json_begin(c, &w);
    json_key(&w, "name");
    json_put_z(&w, "ign");
    json_key(&w, "version");
    json_put_z(&w, ign_version());
    cli_json_end(c, &w);
    return EXIT_DONE;
}

const struct verb verb_version = {
    .args = {.name = "version", .operands = "", .about = "the version of the program"},
    .run = run,
    .any_settings = true,
};
