/* plan_show.h: a plan, as data and for people.
 *
 * Owns the words and the JSON keys, which are the same in every verb. Refuses to plan: plan.h does.
 */
#ifndef IGN_CLI_PLAN_SHOW_H
#define IGN_CLI_PLAN_SHOW_H

#include "cli/cli.h"
#include "device/plan.h"

/* The key "plan" and its object, with the whole table in `rows`. */
void plan_put(struct json_writer *w, const struct plan_choice *p);
/* What was chosen, on a few lines, and its warnings as notes. */
void plan_print(struct cli *c, const struct plan_model *model, const struct plan_choice *p);
/* Every quantization by context, with the reason of each no. */
void plan_print_table(struct cli *c, const struct plan_choice *p);

#endif
