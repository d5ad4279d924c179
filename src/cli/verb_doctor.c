/* verb_doctor.c: each pre-flight check, with its verdict and what to do.
 *
 * Owns the report; the checks are checkup.h's. Reads models whole where a checksum lies beside
 * them.
 */
#include "cli/checkup.h"
#include "cli/verbs.h"

static int run(struct cli *c) {
    struct checkup u;
    struct err e = {0};
    int code;
    if (checkup_run(&u, c, true, &e)) {
        code = cli_fail(c, &e);
    } else {
        code = checkup_healthy(&u) ? EXIT_DONE : EXIT_FAILED;
        if (c->json) {
            struct json_writer w;
            cli_json_begin(c, &w);
            checkup_put(&u, &w);
            cli_json_end(c, &w);
        } else {
            checkup_print(&u, true);
        }
    }
    checkup_fini(&u);
    return code;
}

const struct verb verb_doctor = {
    .args = {.name = "doctor",
             .operands = "",
             .about = "check this machine, its settings and its models",
             .groups = KNOB_STORE | KNOB_DEVICE | KNOB_AUDIT,
             .any_environment = true},
    .run = run,
    .any_settings = true,
};
