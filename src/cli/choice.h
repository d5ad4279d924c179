/* choice.h: what would be chosen on this machine for the model that the product is made for.
 *
 * Owns that model's name and how a choice is shown, in the words of the program's predecessor.
 * Refuses to choose: plan.h does.
 */
#ifndef IGN_CLI_CHOICE_H
#define IGN_CLI_CHOICE_H

#include "cli/cli.h"
#include "device/plan.h"

/* As the predecessor's default was. */
#define CHOICE_MODEL "llama3.1-8b"

/* With the --context, --threads and --max-memory of the call; where that does not fit, the nearest
 * that does. For a verb with KNOB_PLAN. */
enum err_code choice_make(struct plan_choice *p, const struct cli *c, const struct machine *m,
                          struct err *e);
/* Puts "chosen" and its object. */
void choice_put(struct json_writer *w, const struct plan_choice *p);
void choice_print(struct cli *c, const struct machine *m, const struct plan_choice *p);

#endif
