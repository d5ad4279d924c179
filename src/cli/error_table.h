/* error_table.h: one row for each kind of error.
 *
 * Owns what a kind means to the person who meets it: exit status, meaning, the hint where the error
 * has none of its own, and commands that provoke it. docs/TROUBLESHOOTING.md is printed from here.
 * Refuses the messages: they are made where the error is.
 */
#ifndef IGN_CLI_ERROR_TABLE_H
#define IGN_CLI_ERROR_TABLE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

enum { ERROR_EXAMPLES = 3 };

/* A command for sh, in a folder that has the files which error_table_page names. */
struct error_example {
    const char *command; /* NULL: no more */
    const char *about;   /* what is wrong with it */
};

struct error_row {
    int exit;          /* enum exit_code */
    const char *means; /* sentences */
    const char *hint;  /* what to do, as it is printed */
    struct error_example examples[ERROR_EXAMPLES];
};

/* Any code; one that is not known is like ERR_IO. */
const struct error_row *error_row(enum err_code code);

/* Appends docs/TROUBLESHOOTING.md; or all rows as an array. */
void error_table_page(struct buf *out);
void error_table_json(struct json_writer *w);

#endif
