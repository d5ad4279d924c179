/* quantize.h: a model into a GGUF file of another type.
 *
 * Owns the walk: the type of each tensor (quant/mix.h), rows decoded, encoded by all threads of a
 * pool and written while the next ones are computed. Refuses to load or run the model, and to keep
 * it: what a tensor's chunk needs is in memory, no more. Invariant: the file is the same for any
 * number of threads; it is there whole or not at all.
 */
#ifndef IGN_MODEL_QUANTIZE_H
#define IGN_MODEL_QUANTIZE_H

#include "base/pool.h"
#include "format/gguf.h"
#include "quant/mix.h"
#include "quant/quant_search.h"

struct imatrix;

struct quantize_tensor {
    struct str name; /* in the input's directory */
    enum dtype from, to;
    uint64_t bytes; /* in the output */
    uint64_t n;     /* elements */
    double rmse;    /* against the input */
};

struct quantize_job {
    const struct gguf *in;
    const char *out;
    const struct mix_kind *kind;
    const struct imatrix *importance; /* or NULL */
    const struct quant_search *search;
    struct pool *pool;
    const volatile int *cancel;                                 /* not 0: stop soon; may be NULL */
    void (*progress)(void *arg, uint64_t done, uint64_t total); /* elements; may be NULL */
    void *arg;

    /* filled in */
    struct quantize_tensor *tensor; /* [in->n_tensor], mem_free */
    uint64_t bytes_in, bytes_out;   /* of the tensors' data; of the whole file */
    uint64_t n_param;
};

/* Fills in job->tensor and the sizes (bytes_out: of the tensors' data alone) without reading a
 * weight; quantize_run does it where it was not done. ERR_NOMEM. */
enum err_code quantize_plan(struct quantize_job *job, struct err *e);
/* ERR_NOFIT: no room on the disk, found before anything is written. ERR_FORMAT: a value that is not
 * finite or that the type cannot hold (names the tensor). ERR_IO, ERR_NOMEM, ERR_CANCELLED. After
 * any of them nothing new lies at `out` or beside it. job->tensor is to be freed in every case. */
enum err_code quantize_run(struct quantize_job *job, struct err *e);

#endif
