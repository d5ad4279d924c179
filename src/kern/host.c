/* host.c: see host.h.
 */
#include "kern/host.h"

#include <assert.h>
#include <string.h>

#include "base/half.h"
#include "base/mem.h"
#include "base/os.h"
#include "quant/quant.h"

/* ---- life ------------------------------------------------------------------------------ */

void host_size(struct kern_dev *d, const struct kern_opts *o) {
    d->n_thread = o->n_thread > 0 ? o->n_thread : os_cpu_count();
    d->max_tok = o->max_tok;
    d->max_out = o->max_out;
}

enum err_code host_open(struct kern_dev *d, const struct kern_opts *o, struct err *e) {
    host_size(d, o);
    enum err_code code = pool_create(&d->pool, d->n_thread, e);
    return code ? code : pool_limit(d->pool, o->duty ? o->duty : 100, e);
}

void host_fini(struct kern_dev *d) {
    pool_free(d->pool);
    for (int i = 0; i < d->n_weight; i++) {
        mem_free(d->weight[i].name);
        mem_free(d->weight[i].mat);
    }
    mem_free(d->weight);
    space_fini(&d->mem);
}

const char *host_describe(const struct kern_dev *d) {
    return d->line;
}

/* ---- memory ---------------------------------------------------------------------------- */

static void host_unlock(struct kern_dev *d) {
    if (d->guard) {
        space_protect(&d->mem, true);
    }
}

static void host_lock(struct kern_dev *d) {
    if (d->guard) {
        space_protect(&d->mem, false);
    }
}

enum err_code host_alloc(struct kern_dev *d, size_t n, kern_ref *r, struct err *e) {
    enum err_code code = space_take(&d->mem, n, r, e);
    if (code == ERR_OK) { /* kernels go down columns of rows, each in small pages of its own */
        os_pages_large(host_at(d, *r, n), n * sizeof(float));
    }
    host_lock(d);
    return code;
}

void host_write(struct kern_dev *d, kern_ref dst, const float *src, size_t n) {
    assert(d->step == NULL);
    host_unlock(d);
    memcpy(host_at(d, dst, n), src, n * sizeof *src);
    host_lock(d);
}

void host_read(struct kern_dev *d, kern_ref src, float *dst, size_t n) {
    assert(d->step == NULL);
    host_unlock(d);
    memcpy(dst, host_at(d, src, n), n * sizeof *dst);
    host_lock(d);
}

void host_peek(struct kern_dev *d, kern_ref src, size_t at, float *dst, size_t n) {
    host_unlock(d);
    memcpy(dst, host_at(d, src, at + n) + at, n * sizeof *dst);
    if (d->step == NULL) {
        host_lock(d);
    }
}

/* ---- weights --------------------------------------------------------------------------- */

/* A matrix of one row can be used as either, and is kept as a vector too. */
static bool is_vector(const struct kern_tensor *t) {
    return t->n_row == 1 && t->n_mat == 1;
}

uint64_t host_scratch_bytes(const struct kern_tensor *t, size_t n) {
    uint64_t page = os_page_size(), sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += sizeof(struct host_weight) + (uint64_t)t[i].n_mat * sizeof(void *);
        if (is_vector(&t[i])) {
            sum += ((uint64_t)t[i].n_col * sizeof(float) + page - 1) / page * page;
        }
    }
    return sum;
}

static enum err_code weight_fill(struct kern_dev *d, struct host_weight *w,
                                 const struct kern_tensor *t, struct err *e) {
    if (t->n_mat < 1 || t->n_row < 1 || t->n_col < 1 ||
        !dtype_row_bytes(t->type, (uint64_t)t->n_col, &w->row_bytes)) {
        const char *type = dtype_info(t->type)->name;
        return err_set(e, ERR_UNSUPPORTED,
                       "tensor %s: rows of %lld elements of type %s cannot be computed with",
                       t->name, (long long)t->n_col, type != NULL ? type : "unknown");
    }
    w->type = t->type;
    w->n_mat = t->n_mat;
    w->n_row = t->n_row;
    w->n_col = t->n_col;
    w->lost = t->lost;
    w->name = mem_strdup(t->name, strlen(t->name));
    if (w->name == NULL) {
        return err_set(e, ERR_NOMEM, "out of memory for the name of tensor %s", t->name);
    }
    if (is_vector(t)) {
        enum err_code code = space_take(&d->mem, (size_t)t->n_col, &w->vec, e);
        if (code != ERR_OK) {
            return code;
        }
        host_unlock(d);
        quant_decode(t->type, t->mat[0], host_at(d, w->vec, (size_t)t->n_col), (size_t)t->n_col);
        host_lock(d);
    }
    w->mat = mem_alloc((size_t)t->n_mat, sizeof *w->mat);
    if (w->mat == NULL) {
        return err_set(e, ERR_NOMEM, "out of memory for the %d addresses of tensor %s", t->n_mat,
                       t->name);
    }
    for (int i = 0; i < t->n_mat; i++) {
        w->mat[i] = t->mat[i];
    }
    d->widest = t->n_col > d->widest ? t->n_col : d->widest;
    d->most_mat = t->n_mat > d->most_mat ? t->n_mat : d->most_mat;
    return ERR_OK;
}

enum err_code host_load(struct kern_dev *d, const struct kern_tensor *t, kern_weight *w,
                        struct err *e) {
    if (d->n_weight == d->weight_cap) {
        int cap = d->weight_cap > 0 ? 2 * d->weight_cap : 64;
        struct host_weight *list = mem_realloc(d->weight, (size_t)cap, sizeof *list);
        if (list == NULL) {
            return err_set(e, ERR_NOMEM, "out of memory for a list of %d weights", cap);
        }
        d->weight = list;
        d->weight_cap = cap;
    }
    struct host_weight *slot = &d->weight[d->n_weight];
    *slot = (struct host_weight){0};
    enum err_code code = weight_fill(d, slot, t, e);
    if (code != ERR_OK) {
        mem_free(slot->name);
        mem_free(slot->mat);
        return code;
    }
    *w = (kern_weight)++d->n_weight;
    return ERR_OK;
}

const struct host_weight *host_weight(const struct kern_dev *d, kern_weight w) {
    assert(w <= (kern_weight)d->n_weight);
    return w == 0 ? NULL : &d->weight[w - 1];
}

const float *host_vec(const struct kern_dev *d, kern_weight w) {
    const struct host_weight *weight = host_weight(d, w);
    return weight == NULL ? NULL : host_at(d, weight->vec, (size_t)weight->n_col);
}

/* ---- the KV cache ---------------------------------------------------------------------- */

enum err_code host_kv_open(struct kern_dev *d, const struct kern_kv *kv, struct err *e) {
    if (kv->n_page == 0) {
        d->kv = *kv;
        return ERR_OK;
    }
    assert(d->kv_mem == 0 && kv->page_tok > 0 && (kv->page_tok & (kv->page_tok - 1)) == 0);
    if (dtype_kv_bytes(kv->type, kv->d_head) == 0) {
        return err_set(e, ERR_UNSUPPORTED, "the KV cache holds F16, F32 or I8, not %s",
                       dtype_info(kv->type)->name);
    }
    size_t total;
    d->kv = *kv;
    d->kv_page_bytes = kern_kv_page_bytes(kv);
    if (!size_mul(d->kv_page_bytes, (size_t)kv->n_page, &total)) {
        return err_set(e, ERR_NOMEM, "a KV cache of %d pages is too large", kv->n_page);
    }
    size_t n = (total + sizeof(float) - 1) / sizeof(float);
    enum err_code code = host_alloc(d, n, &d->kv_mem, e);
    if (code != ERR_OK) {
        err_where(e, "KV cache of %lld positions", (long long)kv->n_page * kv->page_tok);
    }
    return code;
}

static uint8_t *kv_page(const struct kern_dev *d, int page) {
    assert(page >= 0 && page < d->kv.n_page);
    size_t total = d->kv_page_bytes * (size_t)d->kv.n_page;
    uint8_t *base = (uint8_t *)host_at(d, d->kv_mem, (total + sizeof(float) - 1) / sizeof(float));
    return base + (size_t)page * d->kv_page_bytes;
}

void host_rope_less(const struct kern_dev *d, const struct kern_rope *r, float *x) {
    const float *less = host_vec(d, r->less), *freq = host_vec(d, r->freq);
    int half = r->n_rot / 2;
    for (int i = 0; less != NULL && i < r->d_head; i++) {
        bool turns = i < r->n_rot;
        if (turns && freq[r->halves ? i % half : i / 2] > KERN_ROPE_STILL) {
            continue;
        }
        for (int h = 0; h < r->n_head; h++) {
            x[h * r->d_head + i] -= less[h * r->d_head + i] * (turns ? r->scale : 1.0f);
        }
    }
}

struct host_kv host_kv_at(const struct kern_dev *d, int layer, int value, int head, int page) {
    const size_t n_kv = (size_t)d->kv.n_kv, first = kern_kv_head_bytes(&d->kv, 0, 0);
    size_t index = ((size_t)layer * 2 + (size_t)value) * n_kv + (size_t)head;
    size_t before = index < n_kv ? index : n_kv; /* of the first layer's keys */
    uint8_t *at =
        kv_page(d, page) + before * first + (index - before) * kern_kv_head_bytes(&d->kv, layer, 1);
    enum dtype part = dtype_kv_part(d->kv.type, layer, value);
    if (part != DT_I8) {
        return (struct host_kv){part, at, NULL};
    }
    size_t n_scale = (size_t)host_kv_groups(d->kv.d_head) * (size_t)d->kv.page_tok;
    return (struct host_kv){part, at + n_scale * sizeof(bf16_t), (bf16_t *)at};
}

/* The least bf16 that is not below x >= 0. */
static bf16_t bf16_above(float x) {
    return (bf16_t)((f32_bits(x) + 0xffff) >> 16);
}

int host_kv_block(int d_head) {
    int block = d_head & -d_head;
    return block < HOST_KV_BLOCK ? block : HOST_KV_BLOCK;
}

int host_kv_block_of(const struct kern_dev *d, int layer, int value) {
    return dtype_kv_part(d->kv.type, layer, value) == DT_I8 ? host_kv_block(d->kv.d_head) : 1;
}

void host_kv_turn(float *x, int n, int block) {
    for (int step = 1; step < block; step *= 2) {
        for (int i = 0; i < n; i += 2 * step) {
            for (int k = i; k < i + step; k++) {
                float a = x[k], b = x[k + step];
                x[k] = a + b;
                x[k + step] = a - b;
            }
        }
    }
}

void host_kv_quantize(const float *x, int n, int8_t *to, bf16_t *scale) {
    const float round = 12582912.0f; /* 1.5 * 2^23: what is added to it becomes an integer */
    for (int g = 0; g < n; g += DTYPE_KV_GROUP, scale++) {
        int end = g + DTYPE_KV_GROUP < n ? g + DTYPE_KV_GROUP : n;
        int32_t bits = 0;
        for (int i = g; i < end; i++) {
            int32_t b = (int32_t)(f32_bits(x[i]) & 0x7fffffffu);
            bits = b > bits ? b : bits;
        }
        float top = f32_from_bits((uint32_t)bits);
        bool finite = bits < 0x7f800000, any = finite && top >= 1e-30f;
        *scale = any ? bf16_above(top / 127.0f) : finite ? 0 : 0x7fc0;
        float inv = any ? 1.0f / f32_from_bf16(*scale) : 0.0f;
        for (int i = g; i < end; i++) {
            to[i] = (int8_t)(int)(any ? (x[i] * inv + round) - round : 0.0f);
        }
    }
}

void host_kv_copy_page(struct kern_dev *d, int dst, int src) {
    host_unlock(d);
    memcpy(kv_page(d, dst), kv_page(d, src), d->kv_page_bytes);
    if (d->step == NULL) {
        host_lock(d);
    }
}

void host_kv_read_page(struct kern_dev *d, int page, void *dst) {
    host_unlock(d);
    memcpy(dst, kv_page(d, page), d->kv_page_bytes);
    host_lock(d);
}

void host_kv_write_page(struct kern_dev *d, int page, const void *src) {
    host_unlock(d);
    memcpy(kv_page(d, page), src, d->kv_page_bytes);
    host_lock(d);
}

/* ---- a step ---------------------------------------------------------------------------- */

void host_begin(struct kern_dev *d, const struct step *s) {
    assert(d->step == NULL && s->n_tok <= d->max_tok && s->n_out <= d->max_out);
    host_unlock(d);
    pool_watch(d->pool, s->cancel);
    d->step = s;
}

enum err_code host_end(struct kern_dev *d, struct err *e) {
    bool cancelled = host_cancelled(d);
    d->step = NULL;
    pool_watch(d->pool, NULL);
    host_lock(d);
    for (int i = 0; i < d->n_weight; i++) {
        const struct host_weight *w = &d->weight[i];
        if (w->lost != NULL && *w->lost != 0) {
            err_set(e, ERR_IO, "the model file could not be read while it was in use");
            err_where(e, "tensor %s", w->name);
            err_hint(e, "the file was truncated or its disk failed; get it again");
            return ERR_IO;
        }
    }
    if (cancelled) {
        return err_set(e, ERR_CANCELLED, "cancelled");
    }
    return ERR_OK;
}

double host_waited(struct kern_dev *d) {
    return pool_waited(d->pool);
}
