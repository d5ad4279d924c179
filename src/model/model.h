/* model.h: the page to read first: what a model is, as data.
 *
 * A model is its configuration (numbers from the file), its weights (handles in a device), and
 * its buffers; forward.c computes one step over them and reads like the paper. Architectures are
 * descriptors that turn a file's metadata into feature fields; nothing past config.c asks for a
 * name. Owns the structs; refuses sessions, sampling and scheduling: those are engine/'s.
 */
#ifndef IGN_MODEL_MODEL_H
#define IGN_MODEL_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "device/plan.h"
#include "format/gguf.h"
#include "kern/kern.h"
#include "text/chat.h"
#include "text/tokenizer.h"
#include "text/vocab.h"

/* ---- numbers ------------------------------------------------------------------------------ */

enum { CONFIG_LAYER_MAX = 1024 };

/* How the vectors of a text's tokens become one: numbers of the GGUF specification. */
enum model_pooling { POOL_NONE, POOL_MEAN, POOL_CLS, POOL_LAST, POOL_RANK };

struct config {
    const char *arch; /* descriptor's name, for messages only */
    int n_layer;
    int d_model;      /* width of the residual stream */
    int n_head, n_kv; /* query heads; key and value heads */
    int d_head;
    int d_ff; /* hidden width of one feed-forward block, or of one expert */
    int n_vocab;
    int n_ctx;         /* longest context that the model was trained for */
    int n_exp, n_used; /* experts, and how many of them a token uses; 0, 0: dense */
    int window; /* positions that a local layer attends to, itself included; 0: no such layer */
    bool local[CONFIG_LAYER_MAX]; /* [n_layer] layer i is local; else it attends to all positions */
    float norm_eps;
    float attn_scale; /* of q.k; mostly 1 / sqrt(d_head) */
    enum kern_act act;
    bool qkv_bias, out_bias;   /* attention's linear layers have biases */
    bool tied;                 /* output.weight is the embedding table */
    bool qk_norm;              /* heads of q and k are normalized before they rotate */
    bool post_norm;            /* what attention and feed-forward give is normalized, then added */
    bool fused;                /* one matrix holds the rows of q, k, v; another those of gate, up */
    float embed_scale;         /* on a token's row of the embedding table; 1 */
    float attn_cap, logit_cap; /* cap * tanh(x / cap) on scores, on logits; 0: as they are */

    int n_rot;        /* rotated dimensions of each head */
    bool rope_halves; /* pairs (i, i + n_rot/2); else neighbours */
    float rope_base;
    float rope_base_local; /* of local layers, whose angles are never scaled; 0: as in all others */
    float rope_scale;      /* on sine and cosine (YaRN, long factors); else 1 */

    bool headless; /* a decoder without an output matrix */
    int text_max;  /* tokens that are read of a text to be embedded; 0: as many as there is room for
                    */
    bool encoder;  /* encoder_forward.h; n_ctx is a text's longest */
    int n_pos;     /* encoders: rows of the table of positions */
    int n_type;    /* encoders: rows of the table of token types; 0: no such table */
    enum model_pooling pooling; /* POOL_NONE: the file does not say */
};

/* Whether it can write: what has no output matrix gives vectors only. */
static inline bool config_has_logits(const struct config *c) {
    return !c->encoder && !c->headless;
}

/* ---- weights: handles in the device; the bytes stay where the file is mapped ---------------- */

struct layer {
    kern_weight attn_norm;           /* [d_model] */
    kern_weight wq;                  /* [n_head * d_head, d_model] */
    kern_weight wk, wv;              /* [n_kv * d_head, d_model] */
    kern_weight bq, bk, bv;          /* [rows of wq, wk, wv]; 0 where there is none */
    kern_weight q_norm, k_norm;      /* [d_head]; 0 where there is none */
    kern_weight wo;                  /* [d_model, n_head * d_head] */
    kern_weight bo;                  /* [d_model]; 0 where there is none */
    kern_weight ffn_norm;            /* [d_model] */
    kern_weight attn_post, ffn_post; /* [d_model]; 0 where there is none */
    kern_weight w_route;             /* [n_exp, d_model]; 0 in a dense model */
    kern_weight w_gate, w_up;        /* [d_ff, d_model], times n_exp */
    kern_weight w_down;              /* [d_model, d_ff], times n_exp */
};

struct rotation {
    kern_weight freq; /* f32 [n_rot / 2]: angle per position of each pair */
    float scale;      /* on sine and cosine */
};

struct weights {
    kern_weight embed;       /* [n_vocab, d_model] */
    kern_weight out_norm;    /* [d_model] */
    kern_weight out;         /* [n_vocab, d_model]; may be `embed` */
    struct rotation rope[2]; /* of layers that attend to all; of local ones */
    struct layer *layer;     /* [n_layer] */
    uint64_t bytes;          /* of all tensors, as mapped */
    uint64_t n_param;
};

/* ---- buffers of one step, in the device ---------------------------------------------------- */

struct buffers {
    kern_ref x;         /* [max_tok, d_model] residual stream */
    kern_ref h;         /* [max_tok, d_model] normalized */
    kern_ref k, v;      /* [max_tok, n_kv * d_head] */
    kern_ref gate, up;  /* [max_tok * max(1, n_used), d_ff] */
    kern_ref q, att;    /* [max_tok, n_head * d_head], in the memory of gate and up: attention has
                         * ended where feed forward begins */
    kern_ref exp_logit; /* experts: [max_tok, n_exp] */
    kern_ref exp_sel;   /* [max_tok, 2 n_used] the choice; the device's secret */
    kern_ref exp_down;  /* [max_tok * n_used, d_model] */
    kern_ref xo;        /* [max_out, d_model] rows whose logits are wanted */
    kern_ref logits;    /* [max_out, n_vocab] */
};

/* ---- the model ------------------------------------------------------------------------------ */

struct model_opts {
    const char *device;    /* "cpu", "plain", or NULL / "auto" */
    const char *cpu_level; /* forced instruction set, or NULL */
    int n_thread;          /* 0: as many as the machine has cores for (plan_threads) */
    int duty;              /* percent of their time that they may use; 0: 100 */
    int n_ctx;             /* positions in the KV pool; 0: 4096 or the model's own, if less */
    int max_tok;           /* tokens in a step; 0: 512 */
    int max_out;           /* rows with logits in a step; 0: 64 */
    enum dtype kv_type;    /* DT_F16, DT_F32 or DT_I8 */
    int page_tok;          /* positions in a KV page; 0: 32 */
    bool kv_shrink;        /* int8 in place of f16 where that does not fit */
    bool no_mmap, no_large_pages, mlock;
    uint64_t max_memory;     /* bytes that the process may have in all; 0: what is available */
    const char *system_root; /* where /proc and /sys are; NULL: here */
};

/* The way of the mapped weights into large pages of memory (os_map_settle). */
struct settling {
    bool wanted;      /* and not at its end */
    const char *root; /* model_opts.system_root, the model's own copy */
    char *text;       /* [SYS_TEXT_MAX] room for looking at what others leave */
    uint64_t reserve; /* bytes of usable memory that are left alone */
    int looked;       /* pages that may still be moved before it is looked at again */
    size_t part, at;  /* how far: bytes of a part of the file */
    double pages;     /* left, about */
    int moved;        /* pages */
    double spent;     /* seconds for them */
    double computed;  /* seconds of all steps */
    double credit;    /* seconds that may be spent */
};

struct model {
    struct gguf *file;
    struct config cfg;
    struct vocab *vocab;
    struct tokenizer *tok;
    struct chat *chat; /* NULL where the template cannot be parsed: see chat_err */
    struct err chat_err;
    struct str tmpl;   /* the file's chat template; empty if none */
    struct str prompt; /* in front of a text to be embedded; empty if none */

    const struct kern *kern; /* NULL until model_load */
    struct kern_dev *dev;
    struct kern_kv kv; /* shape of the page pool */
    int max_tok, max_out;
    struct settling settling;
    struct plan_row plan; /* what loading was found to take, before it took anything */
    struct weights w;
    struct encoder *enc; /* encoders: in place of w's layers; else NULL */
    struct buffers b;
    struct arena mem; /* lifetime: the model's */
};

/* Opens the file and reads everything but weights: configuration (if it has tensors), vocabulary,
 * chat template. Enough for tokenize, template, inspect. Any error of gguf_open, config_read,
 * vocab_load; a template that cannot be parsed is none, for it is needed only by who uses it.
 * A file without tensors has cfg.n_layer == 0. On failure *m is NULL. */
enum err_code model_open(struct model **m, const char *path, const struct model_opts *o,
                         struct err *e);
/* Binds weights, opens the device, allocates buffers and the KV pool. Once per model; after a
 * failure model_close is all that is left to do. ERR_NOFIT (with the numbers, before anything is
 * allocated), ERR_FORMAT (names the tensor that is missing or has the wrong shape), ERR_USAGE
 * (no such device), ERR_RANGE (options), ERR_UNSUPPORTED, ERR_NOMEM. */
enum err_code model_load(struct model *m, const struct model_opts *o, struct err *e);
void model_close(struct model *m); /* NULL and half-opened are fine */

/* One step up to the vectors that logits are made of: those of all tokens of the step are then in
 * m->b.h [n_tok, d_model]; s->out is not looked at. Errors as below. */
enum err_code model_hidden(struct model *m, const struct step *s, struct err *e);
/* Ends a step, for the three that compute one: the device's word, and whether the file was there.
 */
enum err_code model_end(struct model *m, struct err *e);

/* After a step of so many seconds: moves weights into large pages for an eighth of that time, 25 ms
 * at most, if there was memory for it at loading, they do not lie in such pages for the most part,
 * and much more was computed already than all of them will cost. Ends for good once other programs
 * have taken so much that less than a reserve would be left. */
void model_settle(struct model *m, double computed);
/* The part of the file, 0 to 1, that lies in large pages of memory now; -1: not known. */
double model_large_pages(const struct model *m);

/* Computes one step; logits of the rows s->out are then in m->b.logits [n_out, n_vocab].
 * ERR_CANCELLED, ERR_IO, ERR_DEVICE: the step is void. s->n_tok <= max_tok, n_out <= max_out.
 * ERR_RANGE: an id outside of the vocabulary; nothing was computed. */
enum err_code model_forward(struct model *m, const struct step *s, struct err *e);

#endif
