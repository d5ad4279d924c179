/* plan_table.c: see plan_table.h. In the comments: the least memory at which a rule is taken for
 * an 8B model (llama3.1-8b), which has 14.96 GiB of weights in fp16, 7.95 in int8 and 4.58 in int4,
 * and 0.125 GiB of KV cache for each 1,024 positions. The tests hold every one of them.
 */
#include "device/plan_table.h"

const struct plan_rule plan_rules[] = {
    /* A discrete card: its memory is nobody else's but the driver's and the desktop's. */
    {PLAN_CUDA, 0, PLAN_FP16, 8192, 512, 92},
    {PLAN_CUDA, 0, PLAN_INT8, 8192, 512, 92},
    {PLAN_CUDA, 0, PLAN_INT8, 4096, 512, 92},
    {PLAN_CUDA, 0, PLAN_INT4, 8192, 512, 92},
    {PLAN_CUDA, 0, PLAN_INT4, 4096, 512, 92},
    {PLAN_CUDA, 0, PLAN_INT4, 2048, 256, 92},
    /* Metal says itself what it recommends to use of the memory that it shares. */
    {PLAN_METAL, 0, PLAN_FP16, 8192, 512, 95},
    {PLAN_METAL, 0, PLAN_INT8, 8192, 512, 95},
    {PLAN_METAL, 0, PLAN_INT8, 4096, 512, 95},
    {PLAN_METAL, 0, PLAN_INT4, 8192, 512, 95},
    {PLAN_METAL, 0, PLAN_INT4, 4096, 512, 95},
    {PLAN_METAL, 0, PLAN_INT4, 2048, 256, 95},
    /* A processor reads all weights for each token, so that int8 costs half the speed of int4: only
     * where there are cores and memory to spare. A gateway lives here too. */
    {PLAN_CPU, 8, PLAN_INT8, 4096, 512, 50},
    {PLAN_CPU, 0, PLAN_INT4, 4096, 512, 75},
    {PLAN_CPU, 0, PLAN_INT4, 2048, 512, 85},
    {PLAN_CPU, 0, PLAN_INT4, 1024, 256, 95},
    {PLAN_CPU, 0, PLAN_INT4, 512, 128, 100},
};
const int plan_n_rule = sizeof plan_rules / sizeof *plan_rules;

static int least(int a, int b) {
    return a < b ? a : b;
}

static struct plan_pick pick_of(const struct plan_rule *r, const struct plan_model *model,
                                const struct plan_opts *o, int threads) {
    struct plan_pick p = {.rule = r, .batch = o->batch ? o->batch : r->batch};
    enum plan_quant q = model->is_file  ? model->file_quant
                        : o->quant >= 0 ? (enum plan_quant)o->quant
                                        : r->quant;
    int context = o->context ? o->context : least(r->context, model->n_ctx);
    p.row = plan_row_of(r->where, model, o, q, context, threads, p.batch);
    return p;
}

struct plan_pick plan_pick(enum plan_where where, const struct plan_model *model,
                           const struct plan_opts *o, uint64_t memory, int cores, int threads) {
    struct plan_pick p = {0};
    for (const struct plan_rule *r = plan_rules; r < plan_rules + plan_n_rule; r++) {
        if (r->where == where && cores >= r->cores) {
            p = pick_of(r, model, o, threads);
            p.fits = p.row.total / (uint64_t)r->share <= memory / 100;
            if (p.fits) {
                break;
            }
        }
    }
    return p;
}
