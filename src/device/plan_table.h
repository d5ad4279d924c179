/* plan_table.h: the decision table: what is wanted on each kind of device, best first.
 *
 * Owns preferences only. Whether a rule's choice fits is arithmetic, done for the model at hand in
 * plan.c: a row that promises what its memory cannot hold cannot be written here.
 */
#ifndef IGN_DEVICE_PLAN_TABLE_H
#define IGN_DEVICE_PLAN_TABLE_H

#include "device/plan.h"

enum plan_where { PLAN_CPU, PLAN_CUDA, PLAN_METAL };

struct plan_rule {
    enum plan_where where;
    int cores; /* physical cores that the processor must have, at least */
    enum plan_quant quant;
    int context;
    int batch; /* tokens of a step */
    int share; /* percent of the memory that may be taken; the rest is for others */
};

extern const struct plan_rule plan_rules[];
extern const int plan_n_rule;

/* What a rule comes to for one model. */
struct plan_pick {
    const struct plan_rule *rule;
    struct plan_row row; /* sums only, no verdict */
    int batch;
    bool fits;
};

/* The first rule for `where` whose choice fits into `memory` bytes; else the last one, which asks
 * for the least, and `fits` is false. What `o` asks for stands, a model of a file has the file's
 * quantization, and no context is chosen that is longer than the model's. */
struct plan_pick plan_pick(enum plan_where where, const struct plan_model *model,
                           const struct plan_opts *o, uint64_t memory, int cores, int threads);

/* The four sums of a row and its total. The memory of a discrete GPU holds no vocabulary and no
 * program. */
struct plan_row plan_row_of(enum plan_where where, const struct plan_model *model,
                            const struct plan_opts *o, enum plan_quant quant, int context,
                            int threads, int batch);

#endif
