/* kern.h: the table that every back end fills; model code sees nothing else of a device.
 *
 * Owns the contract of each operation. A back end owns its memory, the layout of weights and the
 * KV cache. Handles are offsets into the back end's own address space, never pointers.
 * Everything that changes from step to step is in `struct step`, given to `begin`; operations take
 * handles and static shapes only, so that a GPU can record them once and replay.
 *
 * Activations are f32 and row-major: [row, dim], one row per token of the step (ROWS_TOK) or per
 * row whose logits are wanted (ROWS_OUT). Operations may not fail: their memory is taken at open
 * and alloc; what goes wrong inside (a lost mapping, a cancelled step) is reported by `end`.
 * Invariants: no operation overwrites an input unless its comment says so; the order of every
 * reduction is a constant: it does not depend on the number of tokens, of threads, or on the place
 * of a token in the batch.
 */
#ifndef IGN_KERN_KERN_H
#define IGN_KERN_KERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/err.h"

struct kern_dev;              /* an open back end: one per model */
typedef uint64_t kern_ref;    /* a buffer of floats in the device; 0 is none */
typedef uint32_t kern_weight; /* a loaded matrix or vector; 0 is none */

/* ---- what changes from step to step ---------------------------------------------------- */

struct step {
    int n_tok, n_seq, n_out;
    const int32_t *tok;  /* [n_tok] ids */
    const int32_t *pos;  /* [n_tok] position in its sequence, from 0 */
    const int32_t *seq;  /* [n_tok] 0..n_seq-1, ascending; positions of one sequence ascend by 1 */
    const int32_t *out;  /* [n_out] rows of the step whose logits are wanted, ascending */
    const int32_t *page; /* page tables of all sequences, one after the other */
    const int32_t *page_start;  /* [n_seq + 1] where each sequence's table starts in `page` */
    const volatile int *cancel; /* not 0: give up soon; `end` returns ERR_CANCELLED. May be NULL */
};

/* Position p of a sequence lives in place p % page_tok of its page number p / page_tok. A page has
 * for each layer the keys of each head, [d_head, page_tok] (a dimension of neighbouring positions
 * lies side by side, as scores want it), then the values of each head, [page_tok, d_head].
 * int8: the first layer's keys are f16 (dtype_kv_part). Of the rest a head's numbers at one
 * position are first turned (host_kv_turn in host.h: a Hadamard transform, which queries and
 * results undo). A group of 32 of them (the last may be shorter) has a scale, the smallest bf16
 * that is at least (largest magnitude) / 127; a number is the scale times the nearest integer to x
 * / scale (ties to even, in f32 by the reciprocal). A group below 1e-30 is all zeros, one that is
 * not finite all NaN. A head's scales lie before its numbers: of keys [groups, page_tok], of values
 * [page_tok, groups]. */
struct kern_kv {
    int n_layer, n_kv, d_head;
    int page_tok;    /* positions in a page, a power of two */
    int n_page;      /* 0: no cache, only attend_all */
    enum dtype type; /* DT_F16, DT_F32 or DT_I8 */
    int n_all;       /* positions of the longest sequence that attend_all will see; 0: none */
};

/* ---- static shapes --------------------------------------------------------------------- */

/* W [n_mat, n_row, n_col]: n_row = outputs, n_col = inputs; y = W x. A vector has n_row = 1. */
struct kern_tensor {
    const char *name; /* for messages */
    enum dtype type;
    int n_mat; /* experts; 1 for a plain matrix */
    int64_t n_row, n_col;
    const void *const *mat; /* [n_mat] host addresses of n_row rows each; must outlive the device */
    const volatile int
        *lost; /* becomes not 0 when the host memory can no longer be read; or NULL */
};

enum kern_rows { ROWS_TOK, ROWS_OUT };
enum kern_act { ACT_SILU, ACT_GELU, ACT_GELU_ERF };

struct kern_rope {
    int n_head, d_head;
    int n_rot;        /* leading dimensions of each head that rotate, even */
    bool halves;      /* pairs (i, i + n_rot/2); else (2i, 2i + 1) */
    kern_weight freq; /* f32 [n_rot / 2]: angle per position, all scaling included */
    float scale;      /* multiplies sine and cosine (YaRN's attention factor), else 1 */
    kern_weight less; /* f32 [n_head, d_head] or 0: a K bias, which is taken out of keys again */
};

/* kern_rope.less is subtracted after the rotation: times `scale` from pairs that turn by at most
 * this angle per position (a radian in 32768), as it is from dimensions that do not rotate. What is
 * the same in the keys of all positions adds the same number to all scores of a query, and softmax
 * does not see it. A cap of scores would: models that have one keep the bias. */
#define KERN_ROPE_STILL 0x1p-15f

struct kern_attend {
    int layer;
    int n_head, n_kv, d_head; /* n_head / n_kv query heads share a KV head */
    float scale;              /* of q.k, usually 1 / sqrt(d_head) */
    int window;               /* attends to the last `window` positions, itself included; 0: all */
    float cap;                /* scores become cap * tanh(score / cap) (Gemma 2); 0: as they are */
};

/* Of an encoder: each token attends to all of its sequence, the whole of which is in the step. */
struct kern_attend_all {
    kern_ref q, k, v; /* [n_tok, n_head * d_head] */
    kern_ref y;       /* likewise; none of the three */
    int n_head, d_head;
    float scale; /* of q.k */
};

struct kern_qkv {
    kern_ref x;       /* [n_tok, d_model] */
    kern_ref q, k, v; /* [n_tok, n_head * d_head], [n_tok, n_kv * d_head] twice */
    kern_weight wq, wk, wv;
    kern_weight bq, bk, bv; /* 0: no bias */
};

struct kern_ffn {
    kern_ref x, y;     /* [n_tok, d_model]; y = W_down(act(W_gate x) * W_up x) */
    kern_ref gate, up; /* scratch, [n_tok, d_ff] */
    kern_weight w_gate, w_up, w_down;
    int d_ff;
    enum kern_act act;
    bool add; /* y +=; without it y may be x */
};

struct kern_moe {
    kern_ref x, y;                    /* [n_tok, d_model]; y += sum over chosen experts */
    kern_ref logit;                   /* scratch, [n_tok, n_exp] */
    kern_ref sel;                     /* scratch, [n_tok, n_used]: route's choice (kern_route) */
    kern_ref gate, up;                /* scratch, [n_tok * n_used, d_ff] */
    kern_ref down;                    /* scratch, [n_tok * n_used, d_model] */
    kern_weight w_route;              /* [n_exp, d_model] */
    kern_weight w_gate, w_up, w_down; /* n_mat = n_exp */
    int n_exp, n_used, d_model, d_ff;
    enum kern_act act;
};

struct kern_opts {
    int n_thread;      /* 0: one per CPU */
    int duty;          /* percent of their processors' time that the threads may use; 0: 100 */
    int max_tok;       /* rows of the largest step */
    int max_out;       /* rows with logits of the largest step */
    const char *level; /* forced instruction set ("c", "avx2", "avx512", ...), or NULL */
};

/* ---- the table ------------------------------------------------------------------------- */

struct kern {
    const char *name; /* "cpu", "plain" */

    /* Bytes that a device takes for itself, beside weights, KV pool and what alloc gives: scratch,
     * lists, copies of vectors; known before it is opened. Of a tensor only type and sizes are
     * looked at. The same list that open, load, ready and kv_open take their memory by. */
    uint64_t (*scratch_bytes)(const struct kern_opts *o, const struct kern_tensor *t, size_t n,
                              const struct kern_kv *kv);
    enum err_code (*open)(struct kern_dev **d, const struct kern_opts *o, struct err *e);
    void (*close)(struct kern_dev *d); /* NULL is fine */
    /* One line for the person: "cpu: avx2, 2 threads". Lives as long as the device. */
    const char *(*describe)(const struct kern_dev *d);

    /* Memory for n floats, zeroed. ERR_NOMEM. */
    enum err_code (*alloc)(struct kern_dev *d, size_t n, kern_ref *r, struct err *e);
    /* Takes a weight: may keep the host address (cpu) or copy and repack (GPU). Any readable
     * dtype. A vector is converted to f32. ERR_NOMEM, ERR_UNSUPPORTED. */
    enum err_code (*load)(struct kern_dev *d, const struct kern_tensor *t, kern_weight *w,
                          struct err *e);
    /* Called once after the last load: scratch that depends on the widest weight. ERR_NOMEM. */
    enum err_code (*ready)(struct kern_dev *d, struct err *e);
    /* Copies n floats; outside begin/end only. Checked against the buffer's size (assert). */
    void (*write)(struct kern_dev *d, kern_ref dst, const float *src, size_t n);
    void (*read)(struct kern_dev *d, kern_ref src, float *dst, size_t n);
    /* at[i] = the place of the largest number of row i of x [n, dim], the first of equals; -1 where
     * a number is NaN or +infinity, or all are -infinity. Outside begin/end only. A greedy choice
     * needs no more of the logits, which stay in the device. */
    void (*argmax)(struct kern_dev *d, kern_ref x, size_t n, size_t dim, int32_t *at);

    /* The KV cache: one pool of n_page pages for all layers; and scratch for attention, by d_head,
     * which without a cache is all that is looked at. Once per device. */
    enum err_code (*kv_open)(struct kern_dev *d, const struct kern_kv *kv, struct err *e);
    void (*kv_copy_page)(struct kern_dev *d, int dst, int src);
    /* One page of all layers as bytes, as struct kern_kv says: for saving sessions. The size is
     * kern_kv_page_bytes. */
    void (*kv_read_page)(struct kern_dev *d, int page, void *dst);
    void (*kv_write_page)(struct kern_dev *d, int page, const void *src);

    /* A step. `s` and what it points to must live until `end`. */
    void (*begin)(struct kern_dev *d, const struct step *s);
    /* ERR_OK: all results are there. ERR_CANCELLED, ERR_IO (a weight's mapping was lost),
     * ERR_DEVICE: the step is void; KV rows of its positions hold anything. */
    enum err_code (*end)(struct kern_dev *d, struct err *e);

    /* x [n_tok, n_col] = rows tok[] of the table, times `scale` */
    void (*embed)(struct kern_dev *d, kern_ref x, kern_weight table, float scale);
    /* y [n_out, dim] = rows out[] of x */
    void (*gather)(struct kern_dev *d, kern_ref y, kern_ref x, int dim);
    /* y = x / sqrt(mean(x^2) + eps) * w over each of the n vectors of dim that a row holds: the
     * row itself (n = 1), or every head of it. x, y [rows, n, dim], w [dim]; y may be x */
    void (*rmsnorm)(struct kern_dev *d, kern_ref y, kern_ref x, kern_weight w, enum kern_rows rows,
                    int n, int dim, float eps);
    /* y [rows, n_row] = W x + b, or y += where `add`; b may be 0; y and x distinct */
    void (*matmul)(struct kern_dev *d, kern_ref y, kern_ref x, kern_weight w, kern_weight b,
                   enum kern_rows rows, bool add);
    /* Rotates x [n_tok, n_head * d_head] in place by the positions of the step (Su et al. 2021) */
    void (*rope)(struct kern_dev *d, kern_ref x, const struct kern_rope *r);
    /* Writes k, v [n_tok, n_kv * d_head] to the step's positions of the cache */
    void (*kv_store)(struct kern_dev *d, int layer, kern_ref k, kern_ref v);
    /* y [n_tok, n_head * d_head] = softmax(q k^T * scale, causal) v, over the cache */
    void (*attend)(struct kern_dev *d, kern_ref y, kern_ref q, const struct kern_attend *a);
    /* gate [n_tok, dim] = act(gate) * up, in place */
    void (*act_mul)(struct kern_dev *d, kern_ref gate, kern_ref up, int dim, enum kern_act act);
    /* y [n_tok, dim] += x */
    void (*add)(struct kern_dev *d, kern_ref y, kern_ref x, int dim);
    /* x [rows, dim] = cap * tanh(x / cap), in place (Gemma Team 2024) */
    void (*softcap)(struct kern_dev *d, kern_ref x, enum kern_rows rows, int dim, float cap);

    /* Of encoders (Devlin et al. 2019). */
    /* x [n_tok, n_col] = rows tok[] of `token` + rows pos[] of `position` + `type` [n_col] or 0 */
    void (*embed_sum)(struct kern_dev *d, kern_ref x, kern_weight token, kern_weight position,
                      kern_weight type);
    /* y = (x - mean) / sqrt(variance + eps) * w + b over each row (Ba et al. 2016).
     * x, y [n_tok, dim], w, b [dim]; y may be x */
    void (*layernorm)(struct kern_dev *d, kern_ref y, kern_ref x, kern_weight w, kern_weight b,
                      int dim, float eps);
    /* x [n_tok, dim] = act(x), in place */
    void (*activate)(struct kern_dev *d, kern_ref x, int dim, enum kern_act act);
    /* y = softmax(q k^T * scale) v over each sequence, without the cache */
    void (*attend_all)(struct kern_dev *d, const struct kern_attend_all *a);

    /* Mixture of experts (Jiang et al. 2024): sel [n_tok, n_used] = the n_used largest of
     * logit [n_tok, n_exp] with the softmax over the chosen ones as weights. The content of `sel`
     * is the back end's secret; it takes 2 floats a choice. Ties go to the lower expert. */
    void (*route)(struct kern_dev *d, kern_ref sel, kern_ref logit, int n_exp, int n_used);
    /* y [n_tok * n_used, n_row] = W[expert] x; x is [n_tok, n_col], or [n_tok * n_used, n_col]
     * where `per_choice` */
    void (*matmul_exp)(struct kern_dev *d, kern_ref y, kern_ref x, kern_weight w, kern_ref sel,
                       int n_used, bool per_choice);
    /* y [n_tok, dim] += sum over choices, in the order of `sel`, of weight * x[n_tok, n_used, dim]
     */
    void (*mix_exp)(struct kern_dev *d, kern_ref y, kern_ref x, kern_ref sel, int n_used, int dim);

    /* Optional, NULL where a back end has nothing better than the composition in kern.c. */
    void (*qkv)(struct kern_dev *d, const struct kern_qkv *a);
    /* kv_store of k and v in a->layer, then attend; y is neither k nor v, which may still be read
     * while y is written */
    void (*store_attend)(struct kern_dev *d, kern_ref y, kern_ref q, kern_ref k, kern_ref v,
                         const struct kern_attend *a);
    void (*ffn)(struct kern_dev *d, const struct kern_ffn *a);
    void (*moe)(struct kern_dev *d, const struct kern_moe *a);
    /* Seconds for which threads of the device have waited for others inside of an operation, the
     * mean over its threads; counted from the first call on. Outside and inside of a step. */
    double (*waited)(struct kern_dev *d);
};

/* ---- kern.c ---------------------------------------------------------------------------- */

/* Back ends, best first, ended by NULL. */
extern const struct kern *const kern_list[];
const struct kern *kern_find(const char *name); /* NULL if unknown */

/* The fused entries: the back end's own, or composed from its other operations. */
void kern_qkv(const struct kern *k, struct kern_dev *d, const struct kern_qkv *a);
void kern_store_attend(const struct kern *k, struct kern_dev *d, kern_ref y, kern_ref q,
                       kern_ref key, kern_ref value, const struct kern_attend *a);
void kern_ffn(const struct kern *k, struct kern_dev *d, const struct kern_ffn *a);
void kern_moe(const struct kern *k, struct kern_dev *d, const struct kern_moe *a);

/* Of one head's keys or values in a page (scales included), and of a page: exact. */
size_t kern_kv_head_bytes(const struct kern_kv *kv, int layer, int value);
size_t kern_kv_page_bytes(const struct kern_kv *kv);

#endif
