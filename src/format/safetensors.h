/* safetensors.h: the safetensors container, read and never trusted.
 *
 * Owns the header's checks, which are those of the reference implementation and stricter in what
 * is there twice: the header is at most 100,000,000 bytes of JSON that begins with a brace; every
 * entry has a known type, a shape and two offsets; the tensors lie one behind the other without a
 * gap or an overlap, each as long as its shape and type say, and fill the file to its end.
 * Refuses meaning: a name is a name, and a type that this program cannot compute with is listed
 * like any other. Source: huggingface/safetensors, safetensors/src/tensor.rs (validate).
 */
#ifndef IGN_FORMAT_SAFETENSORS_H
#define IGN_FORMAT_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"

#define SAFETENSORS_MAX_HEADER ((uint64_t)100 * 1000 * 1000)
#define SAFETENSORS_MAX_TENSOR (1u << 17) /* the largest models have some 90,000 */
#define SAFETENSORS_MAX_DIM    8

struct safetensor {
    struct str name;
    const char *type;                  /* as the format spells it: "BF16" */
    unsigned n_dim;                    /* 0: a single number */
    uint64_t dim[SAFETENSORS_MAX_DIM]; /* as in the file: the row length is the last */
    uint64_t begin, end;               /* bytes of the file */
};

struct safetensors {
    struct safetensor *tensor; /* [n_tensor] in the order of their names */
    size_t n_tensor;
    struct arena mem; /* names */
};

/* Parses and checks p[0..n), which must outlive *s; `name` is for messages. ERR_FORMAT,
 * ERR_LIMIT, ERR_UNSUPPORTED (more dimensions than SAFETENSORS_MAX_DIM), ERR_NOMEM. */
enum err_code safetensors_parse(struct safetensors **s, const char *name, const void *p, size_t n,
                                struct err *e);
void safetensors_free(struct safetensors *s); /* NULL is fine */
/* NULL if there is no tensor of that name. */
const struct safetensor *safetensors_find(const struct safetensors *s, struct str name);

#endif
