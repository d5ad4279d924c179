/* verb_probe.c: the child that asks one kind of driver. Not for people, and not in help.
 *
 * Owns the child's output: the lines of device/probe_part.h go to a descriptor that drivers do not
 * know, and what they print themselves is lost. Invariant: it ends without running anything that a
 * driver has left behind for the end.
 */
#include <stdlib.h>

#include "base/os.h"
#include "cli/verbs.h"
#include "device/probe.h"

struct lines {
    struct buf text;
    int fd;
};

static void flush(void *arg) {
    struct lines *l = arg;
    if (os_write_fd(l->fd, l->text.p, l->text.len, NULL)) {
        _Exit(EXIT_FAILED); /* nobody listens any more */
    }
    buf_reset(&l->text);
}

static int run(struct cli *c) {
    struct lines l = {.fd = 1};
    struct err e = {0};
    os_child_bind();
    buf_init(&l.text, 1 << 16);
    if (os_output_take(&l.fd, &e)) {
        return cli_fail(c, &e);
    }
    probe_kind(knobs_operand(c->k, 0), knobs_str(c->k, "drivers"), &l.text, flush, &l);
    _Exit(EXIT_DONE);
}

static const struct knob own[] = {
    {.name = "drivers", .type = KNOB_STR, .unit = "FOLDER", .help = "where the drivers are"},
};

const struct verb verb_probe = {
    .args = {.name = "probe-devices",
             .operands = "KIND",
             .min_operand = 1,
             .max_operand = 1,
             .about = "ask one kind of driver for its devices",
             .own = own,
             .n_own = sizeof own / sizeof *own},
    .run = run,
    .any_settings = true,
};
