/* store.h: the folder where models are kept, by name.
 *
 * Owns the one function that turns what a user calls a model into a path. Refuses to open, check
 * or fetch anything. Invariant: a name never leads out of the folder; only a path, which the user
 * has typed as such, does.
 */
#ifndef IGN_STORE_STORE_H
#define IGN_STORE_STORE_H

#include "base/err.h"

/* The model taken where none is named, if it is there. */
#define STORE_DEMO_MODEL "SmolLM2-135M-Instruct.Q4_1.gguf"

/* *path (mem_free) for `name`: an existing file; else NAME or NAME.gguf in the folder `dir`; NULL:
 * the demo model. ERR_NOTFOUND lists what the folder has; ERR_USAGE for an empty name; ERR_NOMEM.
 * `dir` may be NULL where no folder is known. */
enum err_code store_resolve(const char *dir, const char *name, char **path, struct err *e);

/* The SHA-256 of a model as it is recorded beside it, in PATH.sha256 (one line of sha256sum): 64
 * digits and a zero byte; "" where nothing is recorded, or for another file. Never computed here.
 */
void store_sha256(const char *path, char hex[65]);

#endif
