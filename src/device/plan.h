/* plan.h: what fits this machine, why, and what else would.
 *
 * Owns the arithmetic of memory (weights, KV cache, scratch, program) and the choice of device,
 * quantization, context, threads and batch, in one decision table. Refuses files and models: their
 * numbers come in a `struct plan_model`, filled by model/ from a file or by plan_known from a name.
 * Invariant: a plan that says `fits` stays below every limit it was given; every `no` has a reason
 * with numbers.
 */
#ifndef IGN_DEVICE_PLAN_H
#define IGN_DEVICE_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "device/machine.h"

enum plan_quant { PLAN_FP32, PLAN_FP16, PLAN_INT8, PLAN_INT4, PLAN_QUANT_N };

/* The numbers of a model that memory and speed depend on. Lifetime: the caller's. */
struct plan_model {
    char name[64];
    int n_layer, d_model, n_head, n_kv, d_head, d_ff, n_vocab, n_ctx;
    int n_exp, n_used; /* 0, 0: dense */
    bool tied;         /* the output matrix is the embedding table */
    bool bias;         /* of q, k, v */
    bool is_file;      /* weights_bytes[file_quant] is a file's own; others would be made from it */
    enum plan_quant file_quant;
    uint64_t n_param;
    uint64_t weights_bytes[PLAN_QUANT_N]; /* of all tensors in each quantization */
    uint64_t active_bytes[PLAN_QUANT_N];  /* read for one token: all but unused experts */
    uint64_t text_bytes;                  /* vocabulary, merges, template in memory */
};

struct plan_opts {
    int context;                      /* 0: choose */
    int threads, batch;               /* 0: choose */
    int quant;                        /* enum plan_quant, or -1: choose */
    const char *device;               /* "auto", "cpu", "plain" */
    int kv_bytes;                     /* of one number in the KV cache: 2 or 4 */
    uint64_t max_memory;              /* --max-memory, bytes; 0: none */
    double read_gb_per_s, gmac_per_s; /* this machine's ceilings; 0: not measured, no estimate */
};

struct plan_row {
    enum plan_quant quant;
    int context;
    uint64_t weights, kv, scratch, program, total; /* bytes */
    bool fits;
    char why[160];          /* the reason of a no; "" */
    double tokens_per_s[2]; /* decode, estimated range; 0, 0: no estimate */
    double prefill_tokens_per_s[2];
};

enum { PLAN_ROW_MAX = PLAN_QUANT_N * 8 };

struct plan_choice {
    struct plan_row row;     /* what was asked for; where that does not fit, with the reason */
    struct plan_row nearest; /* where it does not fit: the nearest that does; total 0: none */
    char device[16], precision[8]; /* "cpu"; of the arithmetic: "fp32" */
    int threads, batch;
    uint64_t available;  /* the least of all limits */
    char limited_by[64]; /* which limit that is: "--max-memory", "memory.max", "available memory" */
    char why[192];
    struct plan_row table[PLAN_ROW_MAX]; /* [n_row] every quantization by context */
    int n_row;
};

/* The decision. ERR_RANGE for options out of bounds; what does not fit is no error here. */
enum err_code plan_make(struct plan_choice *p, const struct plan_model *model,
                        const struct machine *m, const struct plan_opts *o, struct err *e);

/* The shape that a user's spelling names ("llama3.1-8b", "Qwen2.5-8B", "Mistral 8x7B", ...), every
 * weights_bytes filled. ERR_NOTFOUND lists the known names. */
enum err_code plan_known(struct plan_model *model, const char *name, struct err *e);

const char *plan_quant_name(enum plan_quant q); /* "fp32", "fp16", "int8", "int4" */

#endif
