/* host.h: what the back ends whose memory is the host's have in common.
 *
 * Owns `struct kern_dev` for them: the address space, the list of weights (host addresses, never
 * copies; vectors as f32), the pool of KV pages, the current step and what went wrong in it.
 * Refuses arithmetic. plain/ and cpu/ put this struct first in their own and hand the functions
 * here to the table as they are.
 * Invariant: between begin and end nothing is allocated.
 */
#ifndef IGN_KERN_HOST_H
#define IGN_KERN_HOST_H

#include "base/half.h"
#include "base/pool.h"
#include "kern/kern.h"
#include "kern/space.h"

struct observer;

struct host_weight {
    char *name;
    enum dtype type;
    int n_mat;
    int64_t n_row, n_col;
    size_t row_bytes;
    const uint8_t **mat; /* [n_mat] rows as in the file; NULL for a vector */
    const volatile int *lost;
    kern_ref vec; /* f32 [n_col] for a vector, else 0 */
};

struct kern_dev {
    struct space mem;
    struct host_weight *weight; /* handle w is weight[w - 1] */
    int n_weight, weight_cap;
    int64_t widest; /* largest n_col of a matrix */
    int most_mat;   /* largest n_mat */
    struct kern_kv kv;
    kern_ref kv_mem;
    size_t kv_page_bytes;
    int max_tok, max_out;
    struct pool *pool;
    int n_thread;
    const struct step *step;   /* NULL outside begin/end */
    bool guard;                /* memory is unreadable outside of calls (torture builds, plain) */
    char line[160];            /* describe() */
    struct observer *observer; /* of observe.h; NULL: none */
};

/* The sizes of `d`, which is zeroed; then its threads, too. */
void host_size(struct kern_dev *d, const struct kern_opts *o);
enum err_code host_open(struct kern_dev *d, const struct kern_opts *o, struct err *e);
void host_fini(struct kern_dev *d);
/* Bytes of the list of n weights and of the vectors among them (kern.h: scratch_bytes). */
uint64_t host_scratch_bytes(const struct kern_tensor *t, size_t n);

const char *host_describe(const struct kern_dev *d);
enum err_code host_alloc(struct kern_dev *d, size_t n, kern_ref *r, struct err *e);
enum err_code host_load(struct kern_dev *d, const struct kern_tensor *t, kern_weight *w,
                        struct err *e);
void host_write(struct kern_dev *d, kern_ref dst, const float *src, size_t n);
void host_read(struct kern_dev *d, kern_ref src, float *dst, size_t n);
/* n floats from `at` on, between two operations of a step, too. */
void host_peek(struct kern_dev *d, kern_ref src, size_t at, float *dst, size_t n);

enum err_code host_kv_open(struct kern_dev *d, const struct kern_kv *kv, struct err *e);
void host_kv_copy_page(struct kern_dev *d, int dst, int src);
void host_kv_read_page(struct kern_dev *d, int page, void *dst);
void host_kv_write_page(struct kern_dev *d, int page, const void *src);

void host_begin(struct kern_dev *d, const struct step *s);
enum err_code host_end(struct kern_dev *d, struct err *e);
double host_waited(struct kern_dev *d);

/* ---- for the operations ---------------------------------------------------------------- */

static inline bool host_cancelled(const struct kern_dev *d) {
    /* Another thread writes it while the step runs. */
    return d->step->cancel && __atomic_load_n(d->step->cancel, __ATOMIC_RELAXED);
}

static inline int host_rows(const struct kern_dev *d, enum kern_rows rows) {
    return rows == ROWS_TOK ? d->step->n_tok : d->step->n_out;
}

static inline float *host_at(const struct kern_dev *d, kern_ref r, size_t n) {
    return space_at(&d->mem, r, n);
}

/* NULL for handle 0. */
const struct host_weight *host_weight(const struct kern_dev *d, kern_weight w);
/* The f32 values of a vector; NULL for handle 0. */
const float *host_vec(const struct kern_dev *d, kern_weight w);

/* Subtracts r->less, if any, from the rotated rows x [n_head, d_head] of one token, as
 * KERN_ROPE_STILL says. */
void host_rope_less(const struct kern_dev *d, const struct kern_rope *r, float *x);

/* One head's keys (value = 0) or values (1) in a page, laid out as struct kern_kv says. */
struct host_kv {
    enum dtype type; /* DT_F32, DT_F16 or DT_I8 */
    void *v;         /* the first number */
    bf16_t *scale;   /* of int8 the first scale; else NULL */
};
struct host_kv host_kv_at(const struct kern_dev *d, int layer, int value, int head, int page);
/* What is kept as int8 of a head is turned, so that no number is much larger than the others:
 * multiplied, `block` numbers at a time, by the Hadamard matrix [block, block] of ones and minus
 * ones (Sylvester's), whose square is `block` times the identity. x [n], n a multiple of block, in
 * place, by the fast transform in f32. */
void host_kv_turn(float *x, int n, int block);
/* The largest power of two that divides d_head, 128 at most. */
enum { HOST_KV_BLOCK = 128 };
int host_kv_block(int d_head);
/* The same for what a layer's keys or values are kept as: 1, which turns nothing, but for int8. */
int host_kv_block_of(const struct kern_dev *d, int layer, int value);
/* n numbers of one position as int8, and the scales of their groups. */
void host_kv_quantize(const float *x, int n, int8_t *to, bf16_t *scale);

static inline int host_kv_groups(int d_head) {
    return (d_head + DTYPE_KV_GROUP - 1) / DTYPE_KV_GROUP;
}

/* The page that holds position `pos` of sequence `seq` of the step. */
static inline int host_page(const struct kern_dev *d, int seq, int pos) {
    const struct step *s = d->step;
    return s->page[s->page_start[seq] + pos / d->kv.page_tok];
}

/* A choice of the router as it lies in `sel`: two floats each. */
struct host_choice {
    int32_t exp;
    float weight;
};

#endif
