/* quantize.c: see quantize.h.
 *
 * Owns the chunks. A chunk is some rows of one tensor; its items are runs of rows that one thread
 * decodes and encodes. Item 0 of each loop writes the chunk before, so that the disk and the
 * processors work at once. Invariant: errors of an item are summed in the order of the rows.
 */
#include "model/quantize.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"
#include "model/imatrix.h"
#include "quant/encode.h"

enum {
    BATCH = 1 << 13, /* elements that are decoded before they are encoded, at least one row */
    ITEM = 1 << 16,  /* elements that a thread takes at once, at least one row */
    CHUNK = 1 << 22, /* elements in memory at once, at least one row */
    ITEM_MOST = 2 * (CHUNK / ITEM) + 2
};

struct chunk {
    uint8_t *out; /* [cap] encoded rows */
    size_t cap, bytes;
};

struct walk {
    struct quantize_job *job;
    struct gguf_writer *w;
    float *row;    /* [threads, batch] decoded rows for each thread */
    float *weight; /* [widest] importance of the matrix in hand, or NULL */
    uint64_t widest, batch;
    struct chunk chunk[2]; /* one is computed, the other written */
    int now;

    /* the chunk in hand */
    const struct gguf_tensor *t;
    struct gguf_tensor column; /* a bias whose elements move, as a matrix with rows of one */
    enum dtype to;
    const uint8_t *src; /* of the matrix in hand */
    uint64_t first;     /* its row that the chunk begins with */
    uint64_t d_head;    /* rows of a head that are to lie in pairs; 0: rows lie as they are */
    size_t src_row, out_row;
    const float *importance; /* [dim[0]] or NULL */
    uint64_t n_row, item_row;
    double err[ITEM_MOST]; /* of each item */
    atomic_int refused;
    enum err_code wrote;
    struct err write_err;
    uint64_t done, total; /* elements */
};

/* ---- planning ---------------------------------------------------------------------------------
 */

static bool is_key(const struct gguf_kv *kv, const char *key) {
    return str_is(kv->key, key);
}

/* A number of the architecture's own keys; `def` where there is none. */
static uint64_t arch_number(const struct gguf *g, const char *part, uint64_t def) {
    struct str arch;
    struct buf key;
    uint64_t v = def;
    buf_init(&key, 4096);
    if (gguf_find(g, "general.architecture") &&
        !gguf_get_str(g, "general.architecture", &arch, NULL) && arch.n < 256) {
        buf_put(&key, arch.p, arch.n);
        buf_puts(&key, part);
        const struct gguf_kv *kv = key.failed ? NULL : gguf_find(g, key.p);
        if (!kv || kv->type == GGUF_ARRAY || gguf_get_u64(g, key.p, &v, NULL)) {
            v = def;
        }
    }
    buf_fini(&key);
    return v;
}

static bool is_arch(const struct gguf *g, const char *name) {
    struct str arch = {0};
    return !gguf_get_str(g, "general.architecture", &arch, NULL) && str_is(arch, name);
}

/* A directory that was built has no alignment of its own. */
static uint32_t file_align(const struct gguf *g) {
    return g->version ? g->alignment : 32;
}

static struct mix_model describe(const struct quantize_job *job) {
    const struct gguf *g = job->in;
    uint64_t heads = arch_number(g, ".attention.head_count", 1);
    uint64_t kv = arch_number(g, ".attention.head_count_kv", heads);
    uint64_t layers = arch_number(g, ".block_count", 0);
    return (struct mix_model){
        .n_layer = layers < 1000000 ? (int)layers : 0,
        .n_exp = (int)(arch_number(g, ".expert_count", 0) & 0xffff),
        .n_group = kv > 0 && heads / kv < 1000 ? (int)(heads / kv) : 1,
        .tied = !gguf_find_tensor(g, "output.weight"),
        .importance = job->importance != NULL,
        .align = file_align(g),
        .is_70b = layers == 80 && (is_arch(g, "llama") ? heads != kv : is_arch(g, "qwen2")),
    };
}

static uint64_t rows_of(const struct gguf_tensor *t) {
    return t->dim[1] * t->dim[2] * t->dim[3];
}

enum err_code quantize_plan(struct quantize_job *job, struct err *e) {
    const struct gguf *g = job->in;
    struct mix_model model = describe(job);
    struct mix_tensor *mix = mem_zalloc(g->n_tensor, sizeof *mix);
    job->tensor = mem_zalloc(g->n_tensor, sizeof *job->tensor);
    if (!job->tensor || !mix) {
        mem_free(mix);
        return err_set(e, ERR_NOMEM, "no memory for a list of %zu tensors", g->n_tensor);
    }
    for (size_t i = 0; i < g->n_tensor; i++) {
        const struct gguf_tensor *t = &g->tensor[i];
        mix[i] = (struct mix_tensor){.name = t->name,
                                     .n_dim = t->n_dim,
                                     .n_col = t->dim[0],
                                     .n_row = rows_of(t),
                                     .from = (enum dtype)t->type};
    }
    mix_plan(job->kind, &model, mix, g->n_tensor);
    job->bytes_in = job->bytes_out = job->n_param = 0;
    for (size_t i = 0; i < g->n_tensor; i++) {
        const struct gguf_tensor *t = &g->tensor[i];
        struct quantize_tensor *q = &job->tensor[i];
        size_t row = 0;
        q->name = t->name;
        q->from = mix[i].from;
        q->to = mix[i].to;
        dtype_row_bytes(q->to, t->dim[0], &row);
        q->n = t->dim[0] * rows_of(t);
        q->bytes = row * rows_of(t);
        job->bytes_in += t->bytes;
        job->bytes_out += q->bytes;
        job->n_param += q->n;
    }
    mem_free(mix);
    return ERR_OK;
}

/* Pairs as they are, but for what speaks of the file and not of the model. */
static void put_pairs(struct gguf_writer *w, const struct quantize_job *job) {
    const struct gguf *g = job->in;
    for (size_t i = 0; i < g->n_kv; i++) {
        const struct gguf_kv *kv = &g->kv[i];
        if (!is_key(kv, "general.file_type") && !is_key(kv, "general.quantization_version") &&
            !is_key(kv, "general.alignment") && !str_starts(kv->key, "split.") &&
            !(job->importance && str_starts(kv->key, "quantize.imatrix."))) {
            gguf_write_kv(w, kv);
        }
    }
    if (w->alignment != 32) {
        gguf_write_u32(w, "general.alignment", w->alignment);
    }
    gguf_write_u32(w, "general.quantization_version", 2);
    gguf_write_u32(w, "general.file_type", job->kind->file_type);
    if (job->importance) {
        imatrix_put_keys(job->importance, w);
    }
}

static enum err_code check_room(const char *path, uint64_t need, struct err *e) {
    uint64_t room;
    const char *slash = strrchr(path, '/');
    size_t n = !slash ? 0 : slash == path ? 1 : (size_t)(slash - path);
    char *folder = n ? mem_strdup(path, n) : mem_strdup(".", 1);
    if (!folder) {
        return err_set(e, ERR_NOMEM, "out of memory");
    }
    enum err_code rc = os_disk_free(folder, &room, e);
    if (!rc && room < need) {
        rc = err_set(e, ERR_NOFIT, "the file would have %.2f GB, and the disk has room for %.2f GB",
                     (double)need / 1e9, (double)room / 1e9);
        err_where(e, "%s", path);
        err_hint(e, "make room on that disk, or take a smaller type");
    }
    mem_free(folder);
    return rc;
}

/* ---- chunks ------------------------------------------------------------------------------------
 */

static void write_chunk(struct walk *k) {
    struct chunk *c = &k->chunk[!k->now];
    if (c->bytes && !k->wrote) {
        k->wrote = gguf_write_data(k->w, c->out, c->bytes, &k->write_err);
    }
    c->bytes = 0;
}

/* The place of output row r in the input. A folder has the first halves of a head's rows before the
 * second ones, files of the llama family have them in pairs. */
static uint64_t source_row(const struct walk *k, uint64_t r) {
    uint64_t in_head = k->d_head ? r % k->d_head : 0;
    return k->d_head ? r - in_head + in_head % 2 * (k->d_head / 2) + in_head / 2 : r;
}

/* Rows first..end of the chunk. */
static void encode_rows(struct walk *k, uint64_t first, uint64_t end, float *x, double *err) {
    const struct quant_search *s = k->job->search;
    size_t n = (size_t)k->t->dim[0], most = n < BATCH ? BATCH / n : 1, n_row;
    for (uint64_t r = first; r < end; r += n_row) {
        n_row = end - r < most ? (size_t)(end - r) : most;
        for (size_t i = 0; i < n_row; i++) {
            const uint8_t *from = k->src + (size_t)source_row(k, k->first + r + i) * k->src_row;
            if (k->t->type == DT_F16) {
                s->from_f16((const f16_t *)(const void *)from, x + i * n, n);
            } else {
                quant_decode((enum dtype)k->t->type, from, x + i * n, n);
            }
        }
        if (!quant_encode(s, k->to, x, k->importance, k->chunk[k->now].out + r * k->out_row, n,
                          n_row, err)) {
            atomic_store(&k->refused, 1);
            return;
        }
    }
}

static void run_item(void *arg, int item, int thread) {
    struct walk *k = arg;
    if (item == 0) {
        write_chunk(k);
        return;
    }
    uint64_t first = (uint64_t)(item - 1) * k->item_row, end = first + k->item_row;
    k->err[item - 1] = 0;
    if (!atomic_load(&k->refused)) {
        encode_rows(k, first, end < k->n_row ? end : k->n_row, k->row + (size_t)thread * k->batch,
                    &k->err[item - 1]);
    }
}

static enum err_code check_chunk(struct walk *k, struct err *e) {
    if (k->wrote) {
        *e = k->write_err;
        return k->wrote;
    }
    if (atomic_load(&k->refused)) {
        enum err_code rc = err_set(
            e, ERR_FORMAT, "tensor '%.*s' has a value that is not finite, or too large for %s",
            (int)(k->t->name.n < 80 ? k->t->name.n : 80), k->t->name.p, dtype_info(k->to)->name);
        err_where(e, "%s", k->job->in->path);
        return rc;
    }
    if (k->job->in->part && k->job->in->part[k->t->part].lost) {
        return err_set(e, ERR_IO, "%s could not be read while it was in use", k->job->in->path);
    }
    return os_stopped(k->job->cancel) ? err_set(e, ERR_CANCELLED, "interrupted") : ERR_OK;
}

/* Computes n_row rows at k->src while the chunk before is written. */
static enum err_code run_chunk(struct walk *k, double *err, struct err *e) {
    int n_item = (int)((k->n_row + k->item_row - 1) / k->item_row);
    k->chunk[k->now].bytes = (size_t)k->n_row * k->out_row;
    pool_run(k->job->pool, run_item, k, n_item + 1);
    for (int i = 0; i < n_item; i++) {
        *err += k->err[i];
    }
    if (k->job->in->part) {
        os_map_done(&k->job->in->part[k->t->part], k->src + (size_t)k->first * k->src_row,
                    (size_t)k->n_row * k->src_row);
    }
    k->now = !k->now;
    k->done += k->n_row * k->t->dim[0];
    if (k->job->progress) {
        k->job->progress(k->job->arg, k->done, k->total);
    }
    return check_chunk(k, e);
}

/* What is computed but not written yet. */
static enum err_code flush(struct walk *k, struct err *e) {
    write_chunk(k);
    if (k->wrote) {
        *e = k->write_err;
    }
    return k->wrote;
}

static enum err_code copy_tensor(struct walk *k, struct err *e) {
    const struct gguf_tensor *t = k->t;
    for (uint64_t m = 0; m < t->dim[2]; m++) {
        const uint8_t *p = gguf_matrix(t, m);
        size_t left = gguf_matrix_bytes(t);
        while (left > 0) {
            size_t n = left < (size_t)CHUNK ? left : (size_t)CHUNK;
            enum err_code rc = gguf_write_data(k->w, p, n, e);
            if (!rc) {
                rc = check_chunk(k, e);
            }
            if (rc) {
                return rc;
            }
            if (k->job->in->part) {
                os_map_done(&k->job->in->part[t->part], p, n);
            }
            p += n;
            left -= n;
        }
    }
    k->done += t->dim[0] * rows_of(t);
    return ERR_OK;
}

/* Matrix m of the tensor in hand, chunk by chunk. */
static enum err_code encode_matrix(struct walk *k, uint64_t m, double *err, struct err *e) {
    uint64_t n_row = k->t->dim[1] * k->t->dim[3];
    uint64_t most = CHUNK / k->t->dim[0];
    k->src = gguf_matrix(k->t, m);
    most = most < 1 ? 1 : most;
    k->item_row = ITEM / k->t->dim[0];
    k->item_row = k->item_row < 1 ? 1 : k->item_row;
    for (uint64_t r = 0; r < n_row; r += most) {
        k->first = r;
        k->n_row = n_row - r < most ? n_row - r : most;
        enum err_code rc = run_chunk(k, err, e);
        if (rc) {
            return rc;
        }
    }
    return ERR_OK;
}

static enum err_code encode_tensor(struct walk *k, struct quantize_tensor *q, struct err *e) {
    double err = 0;
    enum err_code rc = ERR_OK;
    dtype_row_bytes(q->from, k->t->dim[0], &k->src_row);
    dtype_row_bytes(q->to, k->t->dim[0], &k->out_row);
    for (uint64_t m = 0; m < k->t->dim[2] && !rc; m++) {
        rc = imatrix_weights(k->job->importance, k->t, m, k->weight, &k->importance, e);
        if (!rc) {
            rc = encode_matrix(k, m, &err, e);
        }
    }
    q->rmse = q->n ? sqrt(err / (double)q->n) : 0;
    return rc ? rc : flush(k, e);
}

static bool has(struct str name, const char *part) {
    size_t n = strlen(part);
    return name.n >= n && memcmp(name.p + name.n - n, part, n) == 0;
}

/* k->d_head of the tensor in hand, and k->t where that is a bias. */
static enum err_code order_rows(struct walk *k, struct err *e) {
    const struct gguf *g = k->job->in;
    struct str arch, name = k->t->name;
    uint64_t heads = arch_number(g, ".attention.head_count", 0);
    bool q = has(name, ".attn_q.weight") || has(name, ".attn_q.bias");
    bool key = has(name, ".attn_k.weight") || has(name, ".attn_k.bias");
    k->d_head = 0;
    if (!g->rope_halves || !(q || key) || gguf_get_str(g, "general.architecture", &arch, NULL) ||
        !str_is(arch, "llama")) {
        return ERR_OK;
    }
    heads = key ? arch_number(g, ".attention.head_count_kv", heads) : heads;
    if (k->t->n_dim == 1) {
        k->column = *k->t;
        k->column.n_dim = 2;
        k->column.dim[1] = k->column.dim[0];
        k->column.dim[0] = 1;
        k->t = &k->column;
    }
    if (k->t->n_dim != 2 || heads == 0 || k->t->dim[1] % (2 * heads) != 0) {
        return err_set(e, ERR_UNSUPPORTED, "the rows of '%.*s' cannot be put into a file's order",
                       (int)(name.n < 80 ? name.n : 80), name.p);
    }
    k->d_head = k->t->dim[1] / heads;
    return ERR_OK;
}

/* Blocks that stay as they are. Floats are looked at even so: one that is not finite would be found
 * only when the model speaks. */
static bool is_copied(const struct walk *k, const struct quantize_tensor *q) {
    bool floats = quant_can_encode(q->to) && dtype_info(q->to)->block == 1;
    return q->from == q->to && !floats && !k->d_head;
}

static enum err_code write_tensors(struct walk *k, struct err *e) {
    const struct gguf *g = k->job->in;
    for (size_t i = 0; i < g->n_tensor; i++) {
        struct quantize_tensor *q = &k->job->tensor[i];
        enum err_code rc;
        k->t = &g->tensor[i];
        k->to = q->to;
        if ((rc = order_rows(k, e))) {
            return rc;
        }
        rc = is_copied(k, q) ? copy_tensor(k, e) : encode_tensor(k, q, e);
        if (rc || (rc = gguf_write_end(k->w, e))) {
            return rc;
        }
    }
    return ERR_OK;
}

/* ---- all of it ---------------------------------------------------------------------------------
 */

static enum err_code alloc_walk(struct walk *k, struct err *e) {
    const struct gguf *g = k->job->in;
    size_t most = 0, n;
    for (size_t i = 0; i < g->n_tensor; i++) {
        const struct gguf_tensor *t = &g->tensor[i];
        uint64_t rows = CHUNK / t->dim[0];
        size_t row = 0;
        dtype_row_bytes(k->job->tensor[i].to, t->dim[0], &row);
        rows = rows < 1 ? 1 : rows > rows_of(t) ? rows_of(t) : rows;
        most = row * rows > most ? row * (size_t)rows : most;
        k->widest = t->dim[0] > k->widest ? t->dim[0] : k->widest;
    }
    k->batch = k->widest > BATCH ? k->widest : BATCH;
    bool fits = size_mul((size_t)pool_threads(k->job->pool), k->batch, &n);
    k->row = fits ? mem_alloc(n, sizeof *k->row) : NULL;
    k->weight = mem_alloc(k->widest, sizeof *k->weight);
    k->chunk[0].out = mem_alloc(most, 1);
    k->chunk[1].out = mem_alloc(most, 1);
    if (!k->row || !k->weight || !k->chunk[0].out || !k->chunk[1].out) {
        return err_set(e, ERR_NOMEM, "no memory for two chunks of %zu bytes", most);
    }
    return ERR_OK;
}

enum err_code quantize_run(struct quantize_job *job, struct err *e) {
    struct gguf_writer w;
    struct walk *k = mem_zalloc(1, sizeof *k);
    enum err_code rc;
    gguf_write_init(&w, file_align(job->in));
    if (!k) {
        rc = err_set(e, ERR_NOMEM, "out of memory");
        goto done;
    }
    k->job = job;
    k->w = &w;
    if ((!job->tensor && (rc = quantize_plan(job, e))) || (rc = alloc_walk(k, e))) {
        goto done;
    }
    k->total = job->n_param;
    put_pairs(&w, job);
    for (size_t i = 0; i < job->in->n_tensor; i++) {
        const struct gguf_tensor *t = &job->in->tensor[i];
        gguf_write_tensor(&w, t->name, job->tensor[i].to, t->n_dim, t->dim, job->tensor[i].bytes);
    }
    job->bytes_out = gguf_write_size(&w);
    if ((rc = check_room(job->out, job->bytes_out, e)) ||
        (rc = gguf_write_begin(&w, job->out, e)) || (rc = write_tensors(k, e))) {
        goto done;
    }
    rc = gguf_write_commit(&w, e);
done:
    gguf_write_fini(&w);
    if (k) {
        mem_free(k->row);
        mem_free(k->weight);
        mem_free(k->chunk[0].out);
        mem_free(k->chunk[1].out);
    }
    mem_free(k);
    return rc;
}
