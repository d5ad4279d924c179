/* elsewhere.h: models that other programs keep on this machine.
 *
 * Owns the knowledge of their folders: Ollama's store (a manifest for each tag, blobs by hash) and
 * the cache of the Hugging Face libraries (a folder for each revision). Refuses to change anything
 * there. Invariant: what is listed exists, and lies below the folder that it was looked for in.
 */
#ifndef IGN_STORE_ELSEWHERE_H
#define IGN_STORE_ELSEWHERE_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum elsewhere_kind { ELSEWHERE_OLLAMA, ELSEWHERE_HUGGING_FACE };

struct elsewhere_model {
    enum elsewhere_kind kind;
    char *name;      /* as its program calls it: "llama3.1:8b", "Qwen/Qwen2.5-0.5B-Instruct" */
    char *path;      /* a file, or a folder */
    char *here;      /* what the store would call it: "llama3.1-8b.gguf", "Qwen2.5-0.5B-Instruct" */
    char sha256[65]; /* of a file, as that program says it is; "" for a folder */
};

/* Adds what is below a folder to `out` (struct elsewhere_model; elsewhere_fini), sorted by name; a
 * folder that is not there, or a manifest that is none, adds nothing. ERR_NOMEM. */
enum err_code elsewhere_ollama(const char *models, struct buf *out, struct err *e);
enum err_code elsewhere_hugging_face(const char *hub, struct buf *out, struct err *e);

void elsewhere_init(struct buf *out);
struct elsewhere_model *elsewhere_at(const struct buf *out, size_t *n);
void elsewhere_fini(struct buf *out);

#endif
