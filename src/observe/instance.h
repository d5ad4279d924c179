/* instance.h: which `ign` processes run on this machine, and what was measured last.
 *
 * Owns the state folder: one file run-ID.json a running process, locked by it while it lives, a
 * file `lock` for the moments in which files come and go, and the name of benchmark.json, the last
 * result. Refuses to talk to other processes. Invariant: a file whose lock is free belongs to
 * nobody and is removed by whoever looks.
 */
#ifndef IGN_OBSERVE_INSTANCE_H
#define IGN_OBSERVE_INSTANCE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define INSTANCE_BENCHMARK "benchmark.json"

struct instance; /* this process's entry */

/* Texts are UTF-8, and may hold what a hostile file says: cli_put_text shows them. */
struct instance_info {
    uint64_t process; /* filled by instance_enter and instance_list, as is the next one */
    int64_t started;  /* seconds since 1970 */
    char verb[32], model[128], device[96];
    uint64_t memory; /* bytes planned; 0: not known */
};

/* Says that this process has a model open; makes the folder. A process has one entry: ERR_CANCELLED
 * for a second. A state folder that cannot be written is no reason to fail: *i is NULL then, and *e
 * says why. */
enum err_code instance_enter(struct instance **i, const char *folder,
                             const struct instance_info *info, struct err *e);
void instance_leave(struct instance *i); /* NULL is fine */

/* The running ones, *n in *list (mem_free), oldest first; stale files are removed. One whose file
 * cannot be understood has a process and nothing else. A folder that is not there has none.
 * ERR_IO, ERR_NOMEM. */
enum err_code instance_list(const char *folder, struct instance_info **list, size_t *n,
                            struct err *e);

#endif
