/* plan.h: what fits this machine, why, and what else would.
 *
 * Owns the arithmetic of memory (weights, KV cache, scratch, program) and the choice of device,
 * quantization, context, threads and batch, in one decision table (plan_table.h). Refuses files,
 * models and back ends: their numbers come in a `struct plan_model`, which model/need.h fills from
 * a file or from a name.
 * Invariant: a plan that says `fits` stays below every limit it was given; every `no` has a reason
 * with numbers.
 */
#ifndef IGN_DEVICE_PLAN_H
#define IGN_DEVICE_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "device/machine.h"

enum plan_quant { PLAN_FP32, PLAN_FP16, PLAN_INT8, PLAN_INT4, PLAN_QUANT_N };

/* What a back end takes beside weights and KV cache: linear in what the options decide. Bytes. */
struct plan_scratch {
    uint64_t fixed;
    uint64_t per_tok;        /* of each token that a step can have */
    uint64_t per_thread;     /* of each thread */
    uint64_t per_thread_pos; /* of each thread and position of the context */
};

/* The numbers of a model that memory and speed depend on. Lifetime: the caller's. */
struct plan_model {
    char name[64];
    int n_layer, d_model, n_head, n_kv, d_head, d_ff, n_vocab, n_ctx;
    int n_exp, n_used;       /* 0, 0: dense */
    bool tied;               /* the output matrix is the embedding table */
    bool bias;               /* of q, k, v */
    bool qk_norm, post_norm; /* norms of heads of q and k; after attention and feed-forward */
    bool fused;              /* q, k, v are one matrix; gate and up another */
    int n_factors;           /* lists of factors for the rotation that the file brings */
    bool is_file; /* weights_bytes[file_quant] is a file's own; others would be made from it */
    enum plan_quant file_quant;
    char file_type[16]; /* as the file says it: "Q4_K_M"; "" */
    uint64_t n_param;
    uint64_t weights_bytes[PLAN_QUANT_N];      /* of all tensors in each quantization */
    uint64_t active_bytes[PLAN_QUANT_N];       /* read for one token: all but unused experts */
    uint64_t text_bytes;                       /* vocabulary, merges, template in memory */
    struct plan_scratch scratch[PLAN_QUANT_N]; /* of the device that will compute */
};

struct plan_opts {
    int context;         /* 0: choose */
    int threads, batch;  /* 0: choose */
    int quant;           /* enum plan_quant, or -1: choose */
    const char *device;  /* NULL, "auto", "cpu", "plain" */
    int kv_bytes;        /* of one number in the KV cache: 4, 2, or 1 (and scales); 0: 2 */
    bool kv_shrink;      /* take 1 where 2 does not fit */
    int page_tok;        /* positions in a page of the KV cache; 0: 32 */
    uint64_t max_memory; /* --max-memory, bytes; 0: none */
    double read_gb_per_s, gmac_per_s; /* this machine's ceilings; 0: not measured, no estimate */
};

struct plan_row {
    enum plan_quant quant;
    int context;
    int kv_bytes;                                  /* as in plan_opts: 4, 2 or 1 */
    uint64_t weights, kv, scratch, program, total; /* bytes */
    bool fits;
    char why[160];                  /* the reason of a no; "" */
    double tokens_per_s[2];         /* decode, estimated range; 0, 0: no estimate */
    double prefill_tokens_per_s[2]; /* of a prompt, estimated range */
};

enum { PLAN_ROW_MAX = PLAN_QUANT_N * 8, PLAN_WARNING_MAX = 5 };

struct plan_choice {
    struct plan_row row;     /* what was asked for; where that does not fit, with the reason */
    struct plan_row nearest; /* where it does not fit: the nearest that does; total 0: none */
    struct plan_row least;   /* the least of this model that could be asked for, fit or not */
    char device[16], precision[8]; /* "cpu"; of the arithmetic: "fp32" */
    int threads, batch;
    uint64_t available;  /* the least of all limits */
    char limited_by[96]; /* which limit that is: "--max-memory", a control group's file, ... */
    char why[256];
    int int8_context; /* the longest that an int8 KV cache would make fit, where that is more than
                         the row's, or the row does not fit; 0 */
    char gpu[192];    /* what an accelerator of this machine would take, once it can; "" */
    struct plan_row table[PLAN_ROW_MAX]; /* [n_row] every quantization by context */
    int n_row;
    char warning[PLAN_WARNING_MAX][160]; /* [n_warning] what was asked for and is not wise */
    int n_warning;
};

#define PLAN_UNKNOWN ((uint64_t)4 << 30)

/* The decision. ERR_RANGE for options out of bounds, ERR_USAGE for a quantization that the file
 * does not have; what does not fit is no error here. */
enum err_code plan_make(struct plan_choice *p, const struct plan_model *model,
                        const struct machine *m, const struct plan_opts *o, struct err *e);
/* What does not fit as the error that it is for whoever wanted to load: ERR_NOFIT with the numbers
 * of p->row, and p->nearest as the hint, or what p->least needs. */
enum err_code plan_refuse(const struct plan_choice *p, struct err *e);
/* The memory that may be taken: the least of what is available, the control group's limit and
 * max_memory (0: none), and in by [n] which of them it is. UINT64_MAX where nothing is known: then
 * nothing that was asked for is refused, and what was not is chosen as for PLAN_UNKNOWN. */
uint64_t plan_available(const struct machine_memory *m, uint64_t max_memory, char *by, size_t n);
/* Threads to start: what was asked for, cut to the processor's budget; 0 asks for as many as are
 * worth it, the physical cores of that budget. */
int plan_threads(const struct machine_cpu *c, int asked);

/* The shape that a user's spelling names ("llama3.1-8b", "Qwen2.5-8B", "Mistral 8x7B", ...), all of
 * it but `scratch`, which depends on a back end: model_need_known has that too. ERR_NOTFOUND lists
 * the known names. */
enum err_code plan_known(struct plan_model *model, const char *name, struct err *e);
/* n_param, weights_bytes and active_bytes from the shape: the fields from n_layer to n_factors. */
void plan_sizes(struct plan_model *model);

const char *plan_quant_name(enum plan_quant q); /* "fp32", "fp16", "int8", "int4" */
/* The quantization called so; -1 for "auto", NULL and whatever has no name. */
int plan_quant_find(const char *name);

#endif
