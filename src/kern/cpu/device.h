/* device.h: the open CPU back end, shared by the files of kern/cpu.
 *
 * Owns the list of its scratch memory: all of it taken by ready and kv_open, sized by the largest
 * step and the widest weight. Invariant: nothing here outlives a step except the memory itself.
 */
#ifndef IGN_KERN_CPU_DEVICE_H
#define IGN_KERN_CPU_DEVICE_H

#include "kern/cpu/micro.h"
#include "kern/host.h"

/* Below this many floats an operation is done before a second thread would have started. */
#define SERIAL_FLOATS 16384
/* A loop that reads no more than this, once, takes some ten microseconds (pool_run_parts). */
#define BRIEF_BYTES (2 << 20)

/* Attention's softmax is of base two: e^x = 2^(x / ln 2). */
#define CPU_LOG2_E 1.44269504f

/* Heads and positions in whole registers of 16 numbers. */
static inline int cpu_up16(int n) {
    return (n + 15) / 16 * 16;
}

struct cpu_dev {
    struct kern_dev host; /* first: the table's functions cast */
    struct micro micro;

    /* matmul.c: activations of a run, as int8 or padded floats, and packed in tiles */
    uint8_t *act;     /* [few_row], then [n_thread, tile_row], of micro_act_bytes(widest) */
    uint8_t *tile;    /* tiles of max_row rows of activations */
    uint8_t *ordered; /* [few_row] in the orders of their kernels; or one row in each of them */
    uint8_t *panel;   /* [n_thread, 2] of the largest panel */
    size_t act_bytes, tile_bytes, panel_bytes; /* capacity of one row, tile, panel */
    size_t tile_share;                         /* of one row in a tile */
    size_t ordered_bytes;                      /* of one row of `ordered` */
    int max_row;                               /* in a run */
    int few_row;                               /* room for rows that no tile is made of */
    int tile_row;                              /* in a tile, at most */
    int32_t *exp_start; /* [most_mat + 1]: an expert's first place in exp_row */
    int32_t *exp_row;   /* [max_tok * most_mat]: choices, grouped by expert */

    /* attention.c */
    float *rope_cos, *rope_sin; /* [max_tok, n_rot / 2] of the table below */
    size_t rope_cap;            /* floats in each */
    kern_weight rope_freq;      /* whose angles they hold for this step; 0: nothing yet */
    float rope_scale;
    uint8_t *att; /* [n_thread] of att_bytes */
    float *split; /* [item, part, slot] sums of parts that are walked side by side */
    size_t att_bytes;
    int32_t *span; /* [max_tok + 1] first tokens of what attends together, the last one's end */
};

/* A piece of scratch: where its address goes, and its bytes. */
struct cpu_part {
    void **to;
    size_t bytes;
};

/* cpu.c */
uint64_t cpu_parts_bytes(const struct cpu_part *part, int n);
/* 64-byte aligned, freed by close. ERR_NOMEM, which says what it was for. */
enum err_code cpu_parts_take(const struct cpu_part *part, int n, const char *what, struct err *e);

/* matmul.c; widen makes room for one more weight, ready does so for all that are loaded */
void cpu_matmul_widen(struct cpu_dev *d, enum dtype type, int64_t n_col, int n_mat);
uint64_t cpu_matmul_bytes(struct cpu_dev *d);
enum err_code cpu_matmul_ready(struct cpu_dev *d, struct err *e);
void cpu_matmul(struct kern_dev *d, kern_ref y, kern_ref x, kern_weight w, kern_weight b,
                enum kern_rows rows, bool add);
void cpu_qkv(struct kern_dev *d, const struct kern_qkv *a);
void cpu_ffn(struct kern_dev *d, const struct kern_ffn *a);
void cpu_matmul_exp(struct kern_dev *d, kern_ref y, kern_ref x, kern_weight w, kern_ref sel,
                    int n_used, bool per_choice);
void cpu_moe(struct kern_dev *d, const struct kern_moe *a);

/* attention.c */
uint64_t cpu_attention_bytes(struct cpu_dev *d, const struct kern_kv *kv);
enum err_code cpu_attention_ready(struct cpu_dev *d, const struct kern_kv *kv, struct err *e);
void cpu_rope(struct kern_dev *d, kern_ref x, const struct kern_rope *r);
void cpu_kv_store(struct kern_dev *d, int layer, kern_ref k, kern_ref v);
void cpu_store_attend(struct kern_dev *d, kern_ref y, kern_ref q, kern_ref k, kern_ref v,
                      const struct kern_attend *a);
void cpu_attend(struct kern_dev *d, kern_ref y, kern_ref q, const struct kern_attend *a);

/* attend_all.c */
uint64_t cpu_attend_all_bytes(struct cpu_dev *d, const struct kern_kv *kv);
enum err_code cpu_attend_all_ready(struct cpu_dev *d, const struct kern_kv *kv, struct err *e);
void cpu_attend_all(struct kern_dev *d, const struct kern_attend_all *a);

/* cpu_ops.c */
void cpu_embed_sum(struct kern_dev *d, kern_ref x, kern_weight token, kern_weight position,
                   kern_weight type);
void cpu_layernorm(struct kern_dev *d, kern_ref y, kern_ref x, kern_weight w, kern_weight b,
                   int dim, float eps);
void cpu_activate(struct kern_dev *d, kern_ref x, int dim, enum kern_act act);
void cpu_argmax(struct kern_dev *d, kern_ref x, size_t n, size_t dim, int32_t *at);
void cpu_embed(struct kern_dev *d, kern_ref x, kern_weight table, float scale);
void cpu_gather(struct kern_dev *d, kern_ref y, kern_ref x, int dim);
void cpu_rmsnorm(struct kern_dev *d, kern_ref y, kern_ref x, kern_weight w, enum kern_rows rows,
                 int n, int dim, float eps);
void cpu_act_mul(struct kern_dev *d, kern_ref gate, kern_ref up, int dim, enum kern_act act);
void cpu_add(struct kern_dev *d, kern_ref y, kern_ref x, int dim);
void cpu_softcap(struct kern_dev *d, kern_ref x, enum kern_rows rows, int dim, float cap);
void cpu_route(struct kern_dev *d, kern_ref sel, kern_ref logit, int n_exp, int n_used);
void cpu_mix_exp(struct kern_dev *d, kern_ref y, kern_ref x, kern_ref sel, int n_used, int dim);

#endif
