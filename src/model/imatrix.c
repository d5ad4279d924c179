/* imatrix.c: see imatrix.h.
 *
 * Owns both forms' bytes. In the older one a layer's values are means times the number of chunks.
 */
#include "model/imatrix.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define FILE_MAX  ((size_t)1 << 30)
#define FLOOR     1e-6f /* of a column's weight, where the mean is 1: none counts for nothing */
#define SUM_TAIL  ".in_sum2"
#define COUNT_END ".counts"

/* ---- entries -----------------------------------------------------------------------------------
 */

enum err_code imatrix_create(struct imatrix **out, struct err *e) {
    struct imatrix *im = mem_zalloc(1, sizeof *im);
    *out = NULL;
    if (!im || !(im->dataset = mem_strdup("", 0)) || !(im->path = mem_strdup("", 0))) {
        imatrix_free(im);
        return err_set(e, ERR_NOMEM, "no memory for an importance matrix");
    }
    *out = im;
    return ERR_OK;
}

void imatrix_free(struct imatrix *im) {
    if (!im) {
        return;
    }
    for (size_t i = 0; i < im->n; i++) {
        mem_free(im->entry[i].name);
        mem_free(im->entry[i].sum);
        mem_free(im->entry[i].count);
    }
    mem_free(im->entry);
    mem_free(im->dataset);
    mem_free(im->path);
    mem_free(im);
}

/* A new entry with zeros at the end; NULL: no memory. */
static struct imatrix_entry *add_entry(struct imatrix *im, struct str name, uint32_t n_mat,
                                       uint32_t n_col) {
    if (im->n == im->cap) {
        size_t cap = im->cap ? 2 * im->cap : 64;
        struct imatrix_entry *grown = mem_realloc(im->entry, cap, sizeof *grown);
        if (!grown) {
            return NULL;
        }
        im->entry = grown;
        im->cap = cap;
    }
    struct imatrix_entry *t = &im->entry[im->n];
    size_t n;
    *t = (struct imatrix_entry){.n_mat = n_mat, .n_col = n_col};
    im->n++; /* what was allocated goes with the rest, whatever fails */
    if (!size_mul(n_mat, n_col, &n) || !(t->name = mem_strdup(name.p, name.n)) ||
        !(t->sum = mem_zalloc(n, sizeof *t->sum)) ||
        !(t->count = mem_zalloc(n_mat, sizeof *t->count))) {
        return NULL;
    }
    return t;
}

struct imatrix_entry *imatrix_take(struct imatrix *im, const char *name, uint32_t n_mat,
                                   uint32_t n_col) {
    /* a model asks for its layers in one order, row by row: the last one, or the one after it */
    for (size_t i = 0; i < im->n; i++) {
        size_t at = (im->last + i) % im->n;
        struct imatrix_entry *t = &im->entry[at];
        if (t->name && strcmp(t->name, name) == 0) {
            im->last = at;
            return t->n_mat == n_mat && t->n_col == n_col ? t : NULL;
        }
    }
    im->last = im->n;
    return add_entry(im, str_c(name), n_mat, n_col);
}

void imatrix_add(struct imatrix_entry *t, uint32_t m, const float *x) {
    float *sum = t->sum + (size_t)m * t->n_col;
    for (uint32_t i = 0; i < t->n_col; i++) {
        sum[i] += x[i] * x[i];
    }
    t->count[m] += 1;
}

static int compare_entries(const void *a, const void *b) {
    return strcmp(((const struct imatrix_entry *)a)->name, ((const struct imatrix_entry *)b)->name);
}

static void sort(struct imatrix *im) {
    if (im->n > 1) {
        qsort(im->entry, im->n, sizeof *im->entry, compare_entries);
    }
}

static enum err_code refuse(struct err *e, const char *path, const char *what) {
    enum err_code rc = err_set(e, ERR_FORMAT, "the file is no sound importance matrix: %s", what);
    err_where(e, "%s", path);
    err_hint(e, "make it again with 'ign imatrix'");
    return rc;
}

/* Ends a reading: every number usable, every name once. */
static enum err_code check(struct imatrix *im, const char *path, struct err *e) {
    for (size_t i = 0; i < im->n; i++) {
        const struct imatrix_entry *t = &im->entry[i];
        size_t n = (size_t)t->n_mat * t->n_col;
        for (size_t k = 0; k < n; k++) {
            if (!(t->sum[k] >= 0 && isfinite(t->sum[k]))) {
                return refuse(e, path, "a sum of squares is negative or not finite");
            }
        }
        for (size_t k = 0; k < t->n_mat; k++) {
            if (!(t->count[k] >= 0 && isfinite(t->count[k]))) {
                return refuse(e, path, "a count is negative or not finite");
            }
        }
    }
    sort(im);
    for (size_t i = 1; i < im->n; i++) {
        if (strcmp(im->entry[i - 1].name, im->entry[i].name) == 0) {
            return refuse(e, path, "a layer is there twice");
        }
    }
    return ERR_OK;
}

/* ---- reading ------------------------------------------------------------------------------------
 */

struct cursor {
    const uint8_t *p;
    size_t left;
};

static bool take_i32(struct cursor *c, int32_t *v) {
    if (c->left < 4) {
        return false;
    }
    uint32_t u =
        c->p[0] | (uint32_t)c->p[1] << 8 | (uint32_t)c->p[2] << 16 | (uint32_t)c->p[3] << 24;
    memcpy(v, &u, sizeof u);
    c->p += 4;
    c->left -= 4;
    return true;
}

/* A length, not negative, and that many bytes times `size` are there. */
static bool take_length(struct cursor *c, size_t size, int32_t *n) {
    return take_i32(c, n) && *n >= 0 && (size_t)*n <= c->left / size;
}

static enum err_code parse_entry(struct imatrix *im, struct cursor *c, const char *name,
                                 struct err *e) {
    int32_t n, calls, values;
    if (!take_length(c, 1, &n) || n == 0 || memchr(c->p, 0, (size_t)n)) {
        return refuse(e, name, "a layer's name is cut or empty");
    }
    struct str layer = str_of((const char *)c->p, (size_t)n);
    c->p += n;
    c->left -= (size_t)n;
    if (!take_i32(c, &calls) || !take_length(c, sizeof(float), &values) || values == 0) {
        return refuse(e, name, "a layer's values are cut");
    }
    struct imatrix_entry *t = add_entry(im, layer, 1, (uint32_t)values);
    if (!t) {
        return err_set(e, ERR_NOMEM, "no memory for an importance matrix");
    }
    memcpy(t->sum, c->p, (size_t)values * sizeof(float));
    t->count[0] = calls > 0 ? (float)calls : 1;
    c->p += (size_t)values * sizeof(float);
    c->left -= (size_t)values * sizeof(float);
    return ERR_OK;
}

enum err_code imatrix_parse(struct imatrix **out, const char *name, const uint8_t *p, size_t n,
                            struct err *e) {
    struct imatrix *im;
    struct cursor c = {p, n};
    int32_t entries = 0, chunks, length;
    enum err_code rc = imatrix_create(&im, e);
    *out = NULL;
    if (rc) {
        return rc;
    }
    if (!take_i32(&c, &entries) || entries < 1 || (size_t)entries > c.left / 12) {
        rc = refuse(e, name, "the number of layers is not possible");
    }
    for (int32_t i = 0; i < entries && !rc; i++) {
        rc = parse_entry(im, &c, name, e);
    }
    /* the oldest files end here */
    if (!rc && take_i32(&c, &chunks) && chunks >= 0) {
        im->n_chunk = (uint32_t)chunks;
        if (take_length(&c, 1, &length)) {
            char *dataset = mem_strdup((const char *)c.p, (size_t)length);
            if (dataset) {
                mem_free(im->dataset);
                im->dataset = dataset;
            } else {
                rc = err_set(e, ERR_NOMEM, "no memory for an importance matrix");
            }
        }
    }
    if (rc || (rc = check(im, name, e))) {
        imatrix_free(im);
        return rc;
    }
    *out = im;
    return ERR_OK;
}

static void read_f32(float *out, const uint8_t *p, size_t n) {
    memcpy(out, p, n * sizeof *out);
}

static enum err_code read_sums(struct imatrix *im, const struct gguf *g,
                               const struct gguf_tensor *t, struct err *e) {
    char name[256];
    struct str layer = str_of(t->name.p, t->name.n - strlen(SUM_TAIL));
    if (layer.n + sizeof COUNT_END > sizeof name || memchr(layer.p, 0, layer.n)) {
        return refuse(e, g->path, "a layer's name is not possible");
    }
    snprintf(name, sizeof name, "%.*s%s", (int)layer.n, layer.p, COUNT_END);
    const struct gguf_tensor *c = gguf_find_tensor(g, name);
    uint64_t n_mat = t->dim[1] * t->dim[2] * t->dim[3], n_col = t->dim[0];
    if (!c || t->type != DT_F32 || c->type != DT_F32 || n_mat > UINT32_MAX || n_col > UINT32_MAX ||
        c->bytes / sizeof(float) != n_mat) {
        return refuse(e, g->path, "a layer's sums and counts do not belong together");
    }
    struct imatrix_entry *x = add_entry(im, layer, (uint32_t)n_mat, (uint32_t)n_col);
    if (!x) {
        return err_set(e, ERR_NOMEM, "no memory for an importance matrix");
    }
    read_f32(x->sum, t->data, (size_t)(n_mat * n_col));
    read_f32(x->count, c->data, (size_t)n_mat);
    return ERR_OK;
}

static enum err_code read_keys(struct imatrix *im, const struct gguf *g, struct err *e) {
    const struct gguf_kv *sets;
    uint64_t v;
    enum err_code rc;
    if (!(rc = gguf_get_u64_or(g, "imatrix.chunk_count", 0, &v, e))) {
        im->n_chunk = (uint32_t)(v & UINT32_MAX);
        rc = gguf_get_u64_or(g, "imatrix.chunk_size", 0, &v, e);
        im->chunk_tok = (uint32_t)(v & UINT32_MAX);
    }
    if (!rc && !(rc = gguf_get_array(g, "imatrix.datasets", GGUF_STRING, &sets, e)) && sets) {
        uint64_t pos = 0;
        struct str first = gguf_next_str(sets, &pos);
        char *dataset = mem_strdup(first.p ? first.p : "", first.n);
        if (!dataset) {
            return err_set(e, ERR_NOMEM, "no memory for an importance matrix");
        }
        mem_free(im->dataset);
        im->dataset = dataset;
    }
    return rc;
}

static enum err_code read_gguf(struct imatrix **out, const char *path, struct err *e) {
    struct imatrix *im = NULL;
    struct gguf *g = NULL;
    enum err_code rc = gguf_open(&g, path, true, e);
    if (rc || (rc = imatrix_create(&im, e)) || (rc = read_keys(im, g, e))) {
        goto done;
    }
    for (size_t i = 0; i < g->n_tensor && !rc; i++) {
        if (str_ends(g->tensor[i].name, SUM_TAIL)) {
            rc = read_sums(im, g, &g->tensor[i], e);
        }
    }
    if (!rc && im->n == 0) {
        rc = refuse(e, path, "it has no layers; it may be a model");
    }
    if (!rc) {
        rc = check(im, path, e);
    }
done:
    gguf_close(g);
    if (rc) {
        imatrix_free(im);
        im = NULL;
    }
    *out = im;
    return rc;
}

enum err_code imatrix_read(struct imatrix **out, const char *path, struct err *e) {
    struct os_map m;
    struct os_file_info info;
    enum err_code rc;
    *out = NULL;
    if ((rc = os_file_info(path, &info, e))) {
        return rc;
    }
    if (info.size > FILE_MAX) {
        rc = err_set(e, ERR_LIMIT, "an importance matrix of more than 1 GiB is not read");
        err_where(e, "%s", path);
        return rc;
    }
    if ((rc = os_map_open(&m, path, true, e))) {
        return rc;
    }
    bool is_gguf = m.size >= 4 && memcmp(m.data, "GGUF", 4) == 0;
    if (!is_gguf) {
        rc = imatrix_parse(out, path, m.data, m.size, e);
    }
    os_map_close(&m);
    if (is_gguf) {
        rc = read_gguf(out, path, e);
    }
    if (!rc) {
        mem_free((*out)->path);
        if (!((*out)->path = mem_strdup(path, strlen(path)))) {
            imatrix_free(*out);
            *out = NULL;
            rc = err_set(e, ERR_NOMEM, "no memory for an importance matrix");
        }
    }
    return rc;
}

/* ---- writing
 * ------------------------------------------------------------------------------------- */

static enum err_code save_gguf(const struct imatrix *im, const char *path, struct err *e) {
    struct gguf_writer w;
    char name[512];
    enum err_code rc;
    gguf_write_init(&w, 32);
    gguf_write_str(&w, "general.type", str_c("imatrix"));
    gguf_write_strings(&w, "imatrix.datasets", 1);
    gguf_write_item(&w, str_c(im->dataset));
    gguf_write_u32(&w, "imatrix.chunk_count", im->n_chunk);
    gguf_write_u32(&w, "imatrix.chunk_size", im->chunk_tok);
    for (size_t i = 0; i < im->n; i++) {
        const struct imatrix_entry *t = &im->entry[i];
        snprintf(name, sizeof name, "%s%s", t->name, SUM_TAIL);
        gguf_write_tensor(&w, str_c(name), DT_F32, 2, (uint64_t[]){t->n_col, t->n_mat},
                          (uint64_t)t->n_col * t->n_mat * sizeof(float));
        snprintf(name, sizeof name, "%s%s", t->name, COUNT_END);
        gguf_write_tensor(&w, str_c(name), DT_F32, 2, (uint64_t[]){1, t->n_mat},
                          (uint64_t)t->n_mat * sizeof(float));
    }
    rc = gguf_write_begin(&w, path, e);
    for (size_t i = 0; i < im->n && !rc; i++) {
        const struct imatrix_entry *t = &im->entry[i];
        if (!(rc = gguf_write_data(&w, t->sum, (size_t)t->n_mat * t->n_col * sizeof(float), e)) &&
            !(rc = gguf_write_end(&w, e)) &&
            !(rc = gguf_write_data(&w, t->count, t->n_mat * sizeof(float), e))) {
            rc = gguf_write_end(&w, e);
        }
    }
    rc = rc ? rc : gguf_write_commit(&w, e);
    gguf_write_fini(&w);
    return rc;
}

static void put_i32(struct buf *b, uint32_t v) {
    uint8_t p[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};
    buf_put(b, p, 4);
}

/* Means times the number of chunks; 1 where an expert saw nothing. */
static void put_old_entry(struct buf *b, const struct imatrix_entry *t, uint32_t chunk_tok) {
    float most = 0;
    for (uint32_t m = 0; m < t->n_mat; m++) {
        most = t->count[m] > most ? t->count[m] : most;
    }
    uint32_t tok = chunk_tok ? chunk_tok : 1;
    uint32_t calls = most < 1e9f ? ((uint32_t)most + tok - 1) / tok : 1;
    calls = calls ? calls : 1;
    put_i32(b, (uint32_t)strlen(t->name));
    buf_puts(b, t->name);
    put_i32(b, calls);
    put_i32(b, t->n_mat * t->n_col);
    for (size_t i = 0; i < (size_t)t->n_mat * t->n_col; i++) {
        float count = t->count[i / t->n_col];
        float v = (count > 0 ? t->sum[i] / count : 1.0f) * (float)calls;
        buf_put(b, &v, sizeof v);
    }
}

static enum err_code save_old(const struct imatrix *im, const char *path, struct err *e) {
    struct buf b;
    buf_init(&b, FILE_MAX);
    put_i32(&b, (uint32_t)im->n);
    for (size_t i = 0; i < im->n; i++) {
        put_old_entry(&b, &im->entry[i], im->chunk_tok);
    }
    put_i32(&b, im->n_chunk);
    put_i32(&b, (uint32_t)strlen(im->dataset));
    buf_puts(&b, im->dataset);
    enum err_code rc = buf_check(&b, e);
    rc = rc ? rc : os_write_file(path, b.p, b.len, e);
    buf_fini(&b);
    return rc;
}

enum err_code imatrix_save(struct imatrix *im, const char *path, bool old, struct err *e) {
    sort(im);
    return old ? save_old(im, path, e) : save_gguf(im, path, e);
}

/* ---- use
 * ------------------------------------------------------------------------------------------ */

void imatrix_put_keys(const struct imatrix *im, struct gguf_writer *w) {
    gguf_write_str(w, "quantize.imatrix.file", str_c(im->path));
    gguf_write_str(w, "quantize.imatrix.dataset", str_c(im->dataset));
    gguf_write_u32(w, "quantize.imatrix.entries_count", (uint32_t)im->n);
    gguf_write_u32(w, "quantize.imatrix.chunks_count", im->n_chunk);
}

static const struct imatrix_entry *find(const struct imatrix *im, struct str name) {
    for (size_t i = 0; i < im->n; i++) {
        if (str_is(name, im->entry[i].name)) {
            return &im->entry[i];
        }
    }
    return NULL;
}

enum err_code imatrix_weights(const struct imatrix *im, const struct gguf_tensor *t, uint64_t m,
                              float *weight, const float **out, struct err *e) {
    const struct imatrix_entry *x = im ? find(im, t->name) : NULL;
    size_t n = (size_t)t->dim[0];
    *out = NULL;
    if (!x) {
        return ERR_OK;
    }
    /* the older form does not say how its values are cut into matrices */
    size_t all = (size_t)x->n_mat * x->n_col;
    if (t->dim[3] != 1 || all != n * t->dim[2]) {
        if (str_is(t->name, "token_embd.weight")) {
            return ERR_OK; /* a table that is looked up, not multiplied with */
        }
        enum err_code rc =
            err_set(e, ERR_FORMAT, "the importance matrix has %zu values for '%s'", all, x->name);
        err_where(e, "%s", im->path);
        err_hint(e, "make one from this model");
        return rc;
    }
    float count = x->count[(size_t)m * x->n_mat / (size_t)t->dim[2]];
    const float *sum = x->sum + (size_t)m * n;
    double total = 0;
    for (size_t i = 0; i < n; i++) {
        total += sum[i];
    }
    if (!(count > 0) || !(total > 0)) {
        return ERR_OK; /* an expert that no token chose */
    }
    float scale = (float)((double)n / total);
    for (size_t i = 0; i < n; i++) {
        weight[i] = fminf(fmaxf(sum[i] * scale, FLOOR), 1e6f);
    }
    *out = weight;
    return ERR_OK;
}
