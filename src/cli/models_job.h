/* models_job.h: what the actions of `ign models` share: verb_models.c has those that stay on this
 * machine, models_pull.c those that look for models elsewhere.
 */
#ifndef IGN_CLI_MODELS_JOB_H
#define IGN_CLI_MODELS_JOB_H

#include "cli/cli.h"
#include "cli/progress.h"
#include "store/depot.h"

struct models_job {
    struct cli *c;
    struct depot depot;
    struct buf path; /* of the store */
    struct progress bar;
    char file[256]; /* whose bar is drawn */
};

/* Ends the bar and prints the error. */
int models_fail(struct models_job *j, const struct err *e);

/* The actions; an exit code. */
int models_catalog(struct models_job *j);
int models_pull(struct models_job *j, const char *what);

#endif
