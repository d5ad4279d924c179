/* checkup.h: whether this machine, its folders and its models are in order.
 *
 * Owns the list of checks that `doctor` and `status` share, each with a verdict and what to do, and
 * the list of models that the store holds. Refuses to mend anything: it says what would.
 * Invariant: a check that could not be made is not in order, and says why.
 */
#ifndef IGN_CLI_CHECKUP_H
#define IGN_CLI_CHECKUP_H

#include "cli/cli.h"
#include "device/machine.h"
#include "model/sampling.h"

/* WARNING is worth knowing, and no reason to call the machine unhealthy. */
enum verdict { CHECK_OK, CHECK_WARNING, CHECK_FAILED };

struct check {
    char name[160];
    enum verdict verdict;
    char detail[512], fix[320]; /* UTF-8, perhaps from a hostile file; fix "" where all is well */
};

struct checkup_model {
    char *name; /* of the file in the store */
    uint64_t bytes, parameters, context;
    char architecture[64], sha256[65]; /* as its NAME.sha256 says; "" */
    int64_t mtime;
    struct sampling_own sampling; /* what it says of choosing tokens */
    bool ok;                      /* it can be opened and, where `thorough`, has its checksum */
};

/* Lifetime: the caller's; zeroed or checkup_run, then checkup_fini. */
struct checkup {
    struct cli *c;
    bool thorough; /* read whole models to compare their checksums */
    struct machine machine;
    struct buf store, state;             /* texts of the next two */
    const char *store_path, *state_path; /* NULL: no home */
    struct buf checks;                   /* struct check [] */
    struct buf models;                   /* struct checkup_model [] */
};

/* Makes all checks. ERR_CANCELLED after Ctrl-C, ERR_NOMEM; what is wrong with the machine is a
 * verdict, not an error. */
enum err_code checkup_run(struct checkup *u, struct cli *c, bool thorough, struct err *e);
void checkup_fini(struct checkup *u);

const struct check *checkup_checks(const struct checkup *u, size_t *n);
const struct checkup_model *checkup_models(const struct checkup *u, size_t *n);
bool checkup_healthy(const struct checkup *u); /* nothing has failed */

/* Puts "healthy" and "checks": name, ok, verdict, detail, and fix (null where all is well). */
void checkup_put(const struct checkup *u, struct json_writer *w);
/* A line for each check, `all` or what is not in order only, and below it what to do. */
void checkup_print(const struct checkup *u, bool all);

/* ---- among the files of checkup ------------------------------------------------------------- */

/* Adds one; the texts are cut where they are too long, between two characters. */
struct check *checkup_add(struct checkup *u, enum verdict v, const char *name, const char *fmt, ...)
    IGN_PRINTF(4, 5);
void check_fix(struct check *k, const char *fmt, ...) IGN_PRINTF(2, 3);

/* checkup_models.c: the store's files. ERR_CANCELLED, ERR_NOMEM. */
enum err_code checkup_store(struct checkup *u, struct err *e);

#endif
