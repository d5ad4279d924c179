/* models_job.h: what the actions of `ign models` share: verb_models.c has the table of them, and
 * those that bring and carry; models_list.c, models_catalog.c and models_pull.c the others.
 */
#ifndef IGN_CLI_MODELS_JOB_H
#define IGN_CLI_MODELS_JOB_H

#include "cli/cli.h"
#include "cli/progress.h"
#include "store/catalogue.h"
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

/* Text that somebody else has written, as it may stand on a terminal. */
void models_put(struct cli *c, const char *text);
/* What other programs of this machine keep: struct elsewhere_model in `found`. ERR_NOMEM. */
enum err_code models_elsewhere(struct buf *found, struct err *e);
/* The catalogues that count: the first that is there, and those that it extends. */
enum err_code models_catalogue(struct cli *c, struct catalogue *all, struct err *e);

/* The actions; an exit code. */
int models_list(struct models_job *j);
int models_verify(struct models_job *j, const char *name); /* "": all */
int models_sweep(struct models_job *j);
int models_catalog(struct models_job *j, const char *name); /* "": all */
int models_pull(struct models_job *j, const char *what);

#endif
