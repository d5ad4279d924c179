/* look.h: the machine as the verbs that look at it see it, and how they show it.
 *
 * Owns the reading of the flags of detection (KNOB_DEVICE), and the JSON of a machine's parts,
 * which is the same in every verb. Refuses to choose: plan.h does.
 */
#ifndef IGN_CLI_LOOK_H
#define IGN_CLI_LOOK_H

#include "cli/cli.h"
#include "device/machine.h"

/* Processor, memory and limits, and with `gpus` the accelerators, too, which takes as long as the
 * drivers take, --probe-seconds at most. For a verb with KNOB_DEVICE; without `gpus` KNOB_RUN will
 * do. ERR_NOTFOUND for a folder that is not there, ERR_CANCELLED, ERR_NOMEM. */
enum err_code look_machine(struct cli *c, struct machine *m, bool gpus, struct err *e);

/* The level of kernels that would be used, "avx2"; NULL where the machine is not this one. */
const char *look_level(struct cli *c);

/* Each puts a key and its value: "cpu", "memory", "gpus", "warnings". */
void look_put_cpu(struct cli *c, struct json_writer *w, const struct machine *m);
void look_put_memory(struct json_writer *w, const struct machine *m);
void look_put_gpus(struct json_writer *w, const struct machine *m);
void look_put_warnings(struct json_writer *w, const struct machine *m);

#endif
