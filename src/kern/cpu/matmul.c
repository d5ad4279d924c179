/* matmul.c: matrices times rows of activations: how the work is cut, not how it is computed.
 *
 * Owns the split into items, the choice between matrix-vector, small-batch and panel kernels, and
 * the scratch for prepared activations. A run is a set of matrices whose items go to the pool
 * together: q, k and v of one input; gate and up, of a dense layer or of a step's experts; the
 * experts' down. Each item unpacks panels of rows once, in cache, and multiplies them by all tiles
 * of activations. Invariant: the kernels give the same bits either way, so every choice made here
 * is only one of speed.
 */
#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "kern/cpu/device.h"

#define MAT_MAX 16 /* matrices in a run */
_Static_assert(MAT_MAX % 2 == 0, "whole pairs");
/* Weights in an item of the matrix-vector path, which threads take several of at a time, and one
 * where a run ends (docs/speed/DECODE.md: Where streams lie). */
#define ITEM_BYTES  (200 * 1024)
#define ITEM_SHARE  4     /* items for each thread, at least, where there are rows for it */
#define PASS_ITEMS  4     /* items in one call of a kernel: each of its streams is one item */
#define VECTOR_ROWS 1024  /* rows of a matrix in one call of gemv, at most */
#define BATCH_ROWS  256   /* of gemm_small, at most */
#define SERIAL_ACT  16384 /* so many activations are prepared before a second thread is awake */
#define PAGE_BYTES  4096
#define ROW_ORDERS  3 /* of one row that q, k and v read, each as its kernel wants it */

struct mat {
    const struct host_weight *w;
    const struct micro_format *f;
    const uint8_t *rows;   /* n_row rows of the file */
    const float *x, *bias; /* [.., n_col]; [n_row] or NULL */
    float *y;              /* [.., n_row] */
    bool add;
    int n;                 /* rows of activations */
    const int32_t *choice; /* experts: row i comes from choice[i] / div and goes to choice[i] */
    int div;
    int row0, order0, tile0; /* its first row, arranged row and tile in the device's scratch */
    int item0, n_item;       /* its first item; how many it has: none, if it goes with another */
    int item_rows;           /* rows in an item */
};

struct mat_run {
    struct cpu_dev *d;
    struct mat mat[MAT_MAX];
    int n_mat;
    bool shared; /* all matrices have the activations of the first */
    /* mat[0] and mat[1], mat[2] and mat[3], ... are pairs: the first one's y = act(its product) *
     * the second one's; both read the same prepared rows, by one kind of kernel. */
    bool glu;
    enum kern_act act;
};

/* From a matrix that has items to the next one: the second of a pair goes with the first. */
static int mat_step(const struct mat_run *r) {
    return r->glu ? 2 : 1;
}

static size_t round64(size_t n) {
    return (n + 63) / 64 * 64;
}

void cpu_matmul_widen(struct cpu_dev *d, enum dtype type, int64_t n_col, int n_mat) {
    const struct micro_format *f = micro_format_of(&d->micro, type, n_col);
    size_t group = (size_t)micro_groups(n_col);
    size_t act = round64(micro_act_bytes(f->act, n_col));
    size_t tile = round64(group * f->tile_bytes), panel = round64(group * f->panel_bytes);
    size_t ordered =
        round64(group * (f->small.group > f->vector.group ? f->small.group : f->vector.group));
    size_t share = round64(tile / (size_t)f->toks + 1);
    d->act_bytes = act > d->act_bytes ? act : d->act_bytes;
    d->tile_bytes = tile > d->tile_bytes ? tile : d->tile_bytes;
    d->tile_share = share > d->tile_share ? share : d->tile_share;
    d->panel_bytes = panel > d->panel_bytes ? panel : d->panel_bytes;
    d->tile_row = f->toks > d->tile_row ? f->toks : d->tile_row;
    d->ordered_bytes = ordered > d->ordered_bytes ? ordered : d->ordered_bytes;
    d->host.most_mat = n_mat > d->host.most_mat ? n_mat : d->host.most_mat;
}

enum { N_PART = 6 };

/* The one list of scratch, for telling and for taking. */
static uint64_t list_parts(struct cpu_dev *d, struct cpu_part part[N_PART]) {
    const struct kern_dev *h = &d->host;
    d->max_row = h->max_tok > h->max_out ? h->max_tok : h->max_out;
    size_t n_exp = (size_t)h->most_mat;
    /* whole tiles, and one that is not for each matrix of a run that has rows of its own */
    size_t parts = h->most_mat > 1 ? MAT_MAX : 1;
    size_t tiles = (size_t)d->max_row * d->tile_share + parts * d->tile_bytes;
    /* more rows than this go by panels: of one input, or of each expert in a run */
    int few = (d->micro.gemm_min - 1) * (int)parts;
    few = few < d->max_row ? few : d->max_row;
    d->few_row = few > ROW_ORDERS ? few : ROW_ORDERS;
    size_t n_act = (size_t)d->few_row + (size_t)(h->n_thread * d->tile_row);
    const struct cpu_part list[N_PART] = {
        {(void **)&d->act, n_act * d->act_bytes},
        {(void **)&d->tile, tiles},
        {(void **)&d->ordered, (size_t)d->few_row * d->ordered_bytes},
        {(void **)&d->panel, (size_t)h->n_thread * 2 * d->panel_bytes},
        {(void **)&d->exp_start, (n_exp + 1) * sizeof *d->exp_start},
        {(void **)&d->exp_row, (size_t)d->max_row * n_exp * sizeof *d->exp_row},
    };
    memcpy(part, list, sizeof list);
    return cpu_parts_bytes(part, N_PART);
}

uint64_t cpu_matmul_bytes(struct cpu_dev *d) {
    struct cpu_part part[N_PART];
    return list_parts(d, part);
}

enum err_code cpu_matmul_ready(struct cpu_dev *d, struct err *e) {
    struct cpu_part part[N_PART];
    for (int i = 0; i < d->host.n_weight; i++) {
        const struct host_weight *w = &d->host.weight[i];
        cpu_matmul_widen(d, w->type, w->n_col, w->n_mat);
    }
    list_parts(d, part);
    return cpu_parts_take(part, N_PART, "matrices", e);
}

/* ---- activations ----------------------------------------------------------------------- */

/* A small batch in tiles. */
static bool wants_tiles(const struct cpu_dev *d, const struct mat *m) {
    return m->f->gemm_tiles != NULL && m->n >= d->micro.tiles_min && m->n <= MICRO_SMALL;
}

static bool wants_panels(const struct cpu_dev *d, const struct mat *m) {
    return m->n >= d->micro.gemm_min && !wants_tiles(d, m);
}

static bool wants_packed(const struct cpu_dev *d, const struct mat *m) {
    return wants_panels(d, m) || wants_tiles(d, m);
}

static bool wants_small(const struct cpu_dev *d, const struct mat *m) {
    return m->n >= m->f->small_min && !wants_packed(d, m);
}

/* One call of a kernel takes all rows of activations. */
static bool wants_batch(const struct cpu_dev *d, const struct mat *m) {
    return wants_small(d, m) || wants_tiles(d, m);
}

static int tiles_of(const struct mat *m) {
    return (m->n + m->f->toks - 1) / m->f->toks;
}

/* The matrix's tile i in the scratch; all matrices of a run have tiles of one size. */
static uint8_t *tile_at(const struct cpu_dev *d, const struct mat *m, int i) {
    size_t bytes = round64((size_t)micro_groups(m->w->n_col) * m->f->tile_bytes);
    return d->tile + (size_t)(m->tile0 + i) * bytes;
}

/* How the kernels of vectors and of small batches read a row. */
static const struct micro_order *order_of(const struct cpu_dev *d, const struct mat *m) {
    return wants_small(d, m) ? &m->f->small : &m->f->vector;
}

static bool same_order(const struct cpu_dev *d, const struct mat *a, const struct mat *b) {
    return order_of(d, a)->arrange == order_of(d, b)->arrange;
}

/* Row i as they read it. */
static uint8_t *row_at(const struct cpu_dev *d, const struct mat *m, int i) {
    return order_of(d, m)->arrange != NULL ? d->ordered + (size_t)(m->order0 + i) * d->ordered_bytes
                                           : d->act + (size_t)(m->row0 + i) * d->act_bytes;
}

static void prepare_row(const struct cpu_dev *d, const struct mat *m, int i, uint8_t *to) {
    int64_t n_col = m->w->n_col;
    int from = m->choice != NULL ? m->choice[i] / m->div : i;
    const float *x = m->x + (size_t)from * (size_t)n_col;
    if (m->f->act == MICRO_ACT_Q8) {
        d->micro.quantize(x, n_col, (struct act_group *)to);
    } else {
        memcpy(to, x, (size_t)n_col * sizeof *x);
        memset((float *)to + n_col, 0, (size_t)(micro_pad8(n_col) - n_col) * sizeof *x);
    }
}

/* Where a tile's rows of activations, from `first` on, are prepared. Rows that are read as a tile
 * alone go to one place per thread, tile after tile, which stays in its cache. */
static uint8_t *rows_at(const struct cpu_dev *d, const struct mat *m, int first, int thread) {
    int row = wants_packed(d, m) ? d->few_row + thread * d->tile_row : m->row0 + first;
    return d->act + (size_t)row * d->act_bytes;
}

/* One tile's rows of one matrix: prepared, then packed, or brought into their kernel's order. */
static void prepare_item(void *arg, int item, int thread) {
    const struct mat_run *r = arg;
    const struct mat *m = r->mat;
    const struct cpu_dev *d = r->d;
    if (host_cancelled(&d->host)) {
        return;
    }
    while (item >= tiles_of(m)) {
        item -= tiles_of(m);
        m += mat_step(r);
    }
    int first = item * m->f->toks;
    int n = m->n - first < m->f->toks ? m->n - first : m->f->toks;
    uint8_t *rows = rows_at(d, m, first, thread);
    const void *row[MICRO_TOKS];
    for (int i = 0; i < n; i++, rows += d->act_bytes) {
        prepare_row(d, m, first + i, rows);
        row[i] = rows;
    }
    if (wants_packed(d, m)) {
        m->f->pack(row, n, m->w->n_col, tile_at(d, m, item));
        return;
    }
    const struct micro_order *order = order_of(d, m);
    for (int i = 0; order->arrange != NULL && i < n; i++) {
        order->arrange(row[i], m->w->n_col, row_at(d, m, first + i));
    }
}

/* One row that matrices read in different orders: the first one's was made with the row, and each
 * other one has a place of its own. Several rows all formats of a level read in one order. */
static void arrange_apart(struct mat_run *r) {
    const struct cpu_dev *d = r->d;
    struct mat *m = r->mat;
    if (!r->shared || wants_packed(d, m)) {
        return;
    }
    for (int i = 1; i < r->n_mat; i++) {
        const struct micro_order *order = order_of(d, &m[i]);
        int first = 0;
        while (first < i && !same_order(d, &m[first], &m[i])) {
            first++;
        }
        assert(first < i || m->n == 1);
        m[i].order0 = first;
        if (first == i && order->arrange != NULL) {
            order->arrange((const struct act_group *)d->act, m[i].w->n_col, row_at(d, &m[i], 0));
        }
    }
}

static void prepare(struct mat_run *r) {
    int n_item = 0, n_row = 0, n_mat = r->shared ? 1 : r->n_mat;
    for (int i = 0; i < n_mat; i += mat_step(r)) {
        n_item += tiles_of(&r->mat[i]);
        n_row += r->mat[i].n;
    }
    if (n_item > 1 && (int64_t)n_row * r->mat[0].w->n_col > SERIAL_ACT) {
        pool_run(r->d->host.pool, prepare_item, r, n_item);
    } else {
        for (int i = 0; i < n_item; i++) {
            prepare_item(r, i, 0);
        }
    }
    arrange_apart(r);
}

/* ---- products -------------------------------------------------------------------------- */

/* The place of row `row` of the result for activation row i. */
static float *result_at(const struct mat *m, int i, int64_t row) {
    size_t to = (size_t)(m->choice != NULL ? m->choice[i] : i);
    return m->y + to * (size_t)m->w->n_row + row;
}

/* Rows row..row+n of the result for activation row i; v is spent. */
static void put(const struct cpu_dev *d, const struct mat *m, int i, int64_t row, int n, float *v) {
    float *y = result_at(m, i, row);
    if (m->bias != NULL) {
        d->micro.add(v, m->bias + row, n);
    }
    if (m->add) {
        d->micro.add(y, v, n);
    } else {
        memcpy(y, v, (size_t)n * sizeof *y);
    }
}

static void panel_unpack(const struct mat *m, int64_t row, int n, uint8_t *panel) {
    const uint8_t *rows[MICRO_ROWS];
    for (int i = 0; i < m->f->rows; i++) { /* past the end the last row again, results dropped */
        rows[i] = m->rows + (size_t)(row + (i < n ? i : n - 1)) * m->w->row_bytes;
    }
    m->f->unpack(rows, m->w->n_col, panel);
}

/* What to prefetch while the tile of tokens t..t+n_tok is computed: the tile's share of the rows
 * that the thread will most likely unpack next, as far as there is room, and where its results go.
 */
static void list_wanted(const struct mat_run *r, const struct mat *m, int64_t row, int t, int n_tok,
                        struct micro_wanted *w) {
    const int n_line = (m->f->rows + 15) / 16, most = MICRO_WANTED - n_tok * n_line;
    int64_t next = row + m->f->rows; /* a thread takes neighbours, until few are left */
    int n = 0;
    if (next + m->f->rows <= m->w->n_row) {
        size_t bytes = (size_t)m->f->rows * m->w->row_bytes;
        size_t share = (bytes / 64 + (size_t)tiles_of(m)) / (size_t)tiles_of(m) * 64;
        size_t at = (size_t)(t / m->f->toks) * share, end = at + share < bytes ? at + share : bytes;
        for (const struct mat *k = m; k <= m + r->glu; k++) {
            const uint8_t *from = k->rows + (size_t)next * k->w->row_bytes;
            for (size_t i = at; i < end && n < most; i += 64) {
                w->line[n++] = from + i;
            }
        }
    }
    for (int i = t; i < t + n_tok; i++) {
        const float *y = result_at(m, i, row);
        for (int k = 0; k < n_line; k++) {
            w->line[n++] = y + 16 * k;
        }
    }
    w->n = n;
}

/* A panel of rows of matrix m, and of the next one where the run is a GLU, times all tiles. */
static void panel_run(const struct mat_run *r, const struct mat *m, int64_t row, int n,
                      uint8_t *panel) {
    const struct cpu_dev *d = r->d;
    panel_unpack(m, row, n, panel);
    if (r->glu) {
        panel_unpack(m + 1, row, n, panel + d->panel_bytes);
    }
    for (int t = 0; t < m->n; t += m->f->toks) {
        float v[MICRO_TOKS * MICRO_ROWS], u[MICRO_TOKS * MICRO_ROWS];
        int n_tok = m->n - t < m->f->toks ? m->n - t : m->f->toks;
        const uint8_t *tile = tile_at(d, m, t / m->f->toks);
        struct micro_wanted next;
        list_wanted(r, m, row, t, n_tok, &next);
        m->f->tile(panel, tile, n_tok, m->w->n_col, &next, v);
        if (r->glu) {
            m[1].f->tile(panel + d->panel_bytes, tile, n_tok, m->w->n_col, NULL, u);
            d->micro.act_mul(v, u, n_tok * m->f->rows, r->act);
        }
        for (int i = 0; i < n_tok; i++) {
            put(d, m, t + i, row, n, v + i * m->f->rows);
        }
    }
}

/* The same, one row of activations at a time, n <= VECTOR_ROWS. Results are read again only when
 * all n are stored, and the two matrices of a GLU are read one after the other. */
static void vector_run(const struct mat_run *r, const struct mat *m, int64_t row, int n) {
    const struct cpu_dev *d = r->d;
    const uint8_t *w = m->rows + (size_t)row * m->w->row_bytes;
    for (int i = 0; i < m->n; i++) {
        float v[VECTOR_ROWS], u[VECTOR_ROWS];
        const uint8_t *x = row_at(d, m, i);
        m->f->gemv(w, m->w->row_bytes, n, x, m->w->n_col, v);
        if (r->glu) {
            const uint8_t *w1 = m[1].rows + (size_t)row * m[1].w->row_bytes;
            m[1].f->gemv(w1, m[1].w->row_bytes, n, row_at(d, m + 1, i), m->w->n_col, u);
            d->micro.act_mul(v, u, n, r->act);
        }
        put(d, m, i, row, n, v);
    }
}

/* Rows row..row+n of m times the small batch x: its rows, or its tiles. */
static void small_gemm(const struct cpu_dev *d, const struct mat *m, int64_t row, int n,
                       const void *const *x, float *y) {
    const uint8_t *w = m->rows + (size_t)row * m->w->row_bytes;
    if (wants_tiles(d, m)) {
        m->f->gemm_tiles(w, m->w->row_bytes, n, x, m->n, m->w->n_col, y);
    } else {
        m->f->gemm_small(w, m->w->row_bytes, n, x, m->n, m->w->n_col, y);
    }
}

/* The same, a small batch of activations at once, n <= BATCH_ROWS: weights are decoded once for
 * all. */
static void small_run(const struct mat_run *r, const struct mat *m, int64_t row, int n) {
    const struct cpu_dev *d = r->d;
    const bool tiles = wants_tiles(d, m);
    const void *x[MICRO_SMALL];
    float v[MICRO_SMALL * BATCH_ROWS], u[MICRO_SMALL * BATCH_ROWS];
    for (int i = 0; i < (tiles ? tiles_of(m) : m->n); i++) {
        x[i] = tiles ? tile_at(d, m, i) : row_at(d, m, i);
    }
    small_gemm(d, m, row, n, x, v);
    if (r->glu) {
        small_gemm(d, m + 1, row, n, x, u);
        d->micro.act_mul(v, u, m->n * n, r->act);
    }
    for (int i = 0; i < m->n; i++) {
        put(d, m, i, row, n, v + i * n);
    }
}

/* Rows row..end of m. */
static void mat_rows(const struct mat_run *r, const struct mat *m, int64_t row, int64_t end,
                     int thread) {
    const struct cpu_dev *d = r->d;
    uint8_t *panel = d->panel + (size_t)thread * 2 * d->panel_bytes;
    const int step = m->item_rows * (wants_panels(d, m) ? 1 : PASS_ITEMS);
    for (; row < end && !host_cancelled(&d->host); row += step) {
        int n = end - row < step ? (int)(end - row) : step;
        if (wants_panels(d, m)) {
            panel_run(r, m, row, n, panel);
        } else if (wants_batch(d, m)) {
            small_run(r, m, row, n);
        } else {
            vector_run(r, m, row, n);
        }
    }
}

/* Items of one matrix lie side by side: they are one piece of its rows. */
static void mat_part(void *arg, int item, int n, int thread) {
    const struct mat_run *r = arg;
    for (int i = 0; i < r->n_mat; i += mat_step(r)) {
        const struct mat *m = &r->mat[i];
        int64_t from = item > m->item0 ? item - m->item0 : 0;
        int64_t to = item + n < m->item0 + m->n_item ? item + n - m->item0 : m->n_item;
        if (from < to) {
            int64_t end = to * m->item_rows;
            mat_rows(r, m, from * m->item_rows, end < m->w->n_row ? end : m->w->n_row, thread);
        }
    }
}

static void mat_item(void *arg, int item, int thread) {
    mat_part(arg, item, 1, thread);
}

/* Rows in an item of at most `bytes` of the matrix. A kernel's streams are an item apart. They are
 * up to a tenth slower where all of them are at the same offset of a page of memory, so the item is
 * made smaller until they are not. */
static int item_rows(const struct mat_run *r, const struct mat *m, size_t bytes) {
    const size_t row = m->w->row_bytes;
    if (wants_panels(r->d, m)) {
        return m->f->rows;
    }
    int most = (wants_batch(r->d, m) ? BATCH_ROWS : VECTOR_ROWS) / PASS_ITEMS;
    most = bytes / row < (size_t)most ? (int)(bytes / row) : most;
    for (int n = most; n > most / 2; n--) {
        size_t place = (size_t)n * row % PAGE_BYTES;
        if (place >= PAGE_BYTES / 4 && place <= PAGE_BYTES / 4 * 3) {
            return n;
        }
    }
    return most > 1 ? most : 1;
}

/* Cuts the run into items; gives how many. */
static int cut_items(struct mat_run *r, size_t n_byte) {
    size_t bytes = n_byte / (size_t)(ITEM_SHARE * r->d->host.n_thread);
    bytes = bytes < ITEM_BYTES ? bytes : ITEM_BYTES;
    int n_item = 0;
    for (int i = 0; i < r->n_mat; i += mat_step(r)) {
        struct mat *m = &r->mat[i];
        m->item_rows = item_rows(r, m, bytes);
        m->item0 = n_item;
        m->n_item = (int)((m->w->n_row + m->item_rows - 1) / m->item_rows);
        n_item += m->n_item;
    }
    return n_item;
}

static void run_mats(struct mat_run *r) {
    prepare(r);
    size_t n_byte = 0;
    bool vectors = true, panels = false;
    for (int i = 0; i < r->n_mat; i += mat_step(r)) {
        const struct mat *m = &r->mat[i];
        n_byte += (size_t)m->w->n_row * m->w->row_bytes;
        vectors = vectors && m->n == 1;
        panels = panels || wants_panels(r->d, m);
    }
    int n_item = cut_items(r, n_byte);
    if (panels) { /* an item is a whole panel: nothing is gained by several in one call */
        pool_run(r->d->host.pool, mat_item, r, n_item);
    } else {
        bool brief = vectors && n_byte * (r->glu ? 2 : 1) <= BRIEF_BYTES;
        pool_run_parts(r->d->host.pool, mat_part, r, n_item, brief);
    }
}

/* ---- the table's entries ----------------------------------------------------------------- */

static struct mat mat_of(const struct cpu_dev *d, kern_ref y, kern_ref x, kern_weight w,
                         kern_weight b, int n, bool add) {
    const struct host_weight *weight = host_weight(&d->host, w);
    return (struct mat){.w = weight,
                        .f = micro_format_of(&d->micro, weight->type, weight->n_col),
                        .rows = weight->mat[0],
                        .x = host_at(&d->host, x, (size_t)n * (size_t)weight->n_col),
                        .bias = host_vec(&d->host, b),
                        .y = host_at(&d->host, y, (size_t)n * (size_t)weight->n_row),
                        .add = add,
                        .n = n};
}

/* Whether one run can take both: what is prepared for a serves b. */
static bool same_rows(const struct cpu_dev *d, const struct mat *a, const struct mat *b) {
    if (a->x != b->x || a->w->n_col != b->w->n_col || a->f->act != b->f->act ||
        wants_packed(d, a) != wants_packed(d, b)) {
        return false;
    }
    return !wants_packed(d, a) || a->f->pack == b->f->pack;
}

/* Whether they can be a GLU: one run, of which one kind of kernel multiplies by both. */
static bool same_kernels(const struct cpu_dev *d, const struct mat *a, const struct mat *b) {
    return same_rows(d, a, b) && wants_small(d, a) == wants_small(d, b) &&
           wants_tiles(d, a) == wants_tiles(d, b);
}

void cpu_matmul(struct kern_dev *dev, kern_ref y, kern_ref x, kern_weight w, kern_weight b,
                enum kern_rows rows, bool add) {
    struct cpu_dev *d = (struct cpu_dev *)dev;
    struct mat_run r = {.d = d, .n_mat = 1};
    r.mat[0] = mat_of(d, y, x, w, b, host_rows(dev, rows), add);
    run_mats(&r);
}

/* Runs matrices of one input, in as few runs as their formats allow. */
static void run_shared(struct cpu_dev *d, const struct mat *m, int n) {
    for (int i = 0; i < n;) {
        struct mat_run r = {.d = d, .shared = true};
        int first = i;
        do {
            r.mat[r.n_mat++] = m[i++];
        } while (i < n && same_rows(d, &m[first], &m[i]));
        run_mats(&r);
    }
}

void cpu_qkv(struct kern_dev *dev, const struct kern_qkv *a) {
    struct cpu_dev *d = (struct cpu_dev *)dev;
    int n = dev->step->n_tok;
    struct mat m[3] = {mat_of(d, a->q, a->x, a->wq, a->bq, n, false),
                       mat_of(d, a->k, a->x, a->wk, a->bk, n, false),
                       mat_of(d, a->v, a->x, a->wv, a->bv, n, false)};
    run_shared(d, m, 3);
}

void cpu_ffn(struct kern_dev *dev, const struct kern_ffn *a) {
    struct cpu_dev *d = (struct cpu_dev *)dev;
    int n = dev->step->n_tok;
    struct mat m[2] = {mat_of(d, a->gate, a->x, a->w_gate, 0, n, false),
                       mat_of(d, a->up, a->x, a->w_up, 0, n, false)};
    if (same_kernels(d, &m[0], &m[1])) {
        struct mat_run r = {.d = d, .n_mat = 2, .shared = true, .glu = true, .act = a->act};
        r.mat[0] = m[0];
        r.mat[1] = m[1];
        run_mats(&r);
    } else {
        run_shared(d, m, 2);
        cpu_act_mul(dev, a->gate, a->up, a->d_ff, a->act);
    }
    cpu_matmul(dev, a->y, a->gate, a->w_down, 0, ROWS_TOK, a->add);
}

/* Sorts n choices by expert: d->exp_row, from d->exp_start[e] on. */
static void group_experts(struct cpu_dev *d, kern_ref ref, int n, int n_exp) {
    const struct host_choice *sel =
        (const struct host_choice *)host_at(&d->host, ref, (size_t)n * 2);
    memset(d->exp_start, 0, (size_t)(n_exp + 1) * sizeof *d->exp_start);
    for (int i = 0; i < n; i++) {
        d->exp_start[sel[i].exp + 1]++;
    }
    for (int e = 0; e < n_exp; e++) {
        d->exp_start[e + 1] += d->exp_start[e];
    }
    for (int i = 0; i < n; i++) { /* start[e] runs through e's places, ends at start[e + 1] */
        d->exp_row[d->exp_start[sel[i].exp]++] = i;
    }
    for (int e = n_exp; e > 0; e--) {
        d->exp_start[e] = d->exp_start[e - 1];
    }
    d->exp_start[0] = 0;
}

/* What the matrices of all experts have in common, rows and n yet to be set, for n choices: x is
 * [n / n_used, n_col], or [n, n_col] where per_choice; y [n, n_row]. */
static struct mat expert_mat(const struct cpu_dev *d, kern_ref y, kern_ref x, kern_weight w, int n,
                             int n_used, bool per_choice) {
    const struct host_weight *weight = host_weight(&d->host, w);
    size_t n_x = (size_t)(per_choice ? n : n / n_used) * (size_t)weight->n_col;
    return (struct mat){.w = weight,
                        .f = micro_format_of(&d->micro, weight->type, weight->n_col),
                        .x = host_at(&d->host, x, n_x),
                        .y = host_at(&d->host, y, (size_t)n * (size_t)weight->n_row),
                        .div = per_choice ? 1 : n_used};
}

/* Products of every chosen expert, choices sorted by group_experts; with `up`, y = act(m x) * (up
 * x), both of one format. A run holds as many as MAT_MAX and the scratch allow. */
static void run_experts(struct cpu_dev *d, struct mat m, const struct mat *up, enum kern_act act) {
    const struct mat_run empty = {.d = d, .glu = up != NULL, .act = act};
    struct mat_run r = empty;
    int rows = 0, tiles = 0, few = 0;
    for (int e = 0; e < m.w->n_mat; e++) {
        m.n = d->exp_start[e + 1] - d->exp_start[e];
        if (r.n_mat > 0 && (r.n_mat == MAT_MAX || rows + m.n > d->max_row)) {
            run_mats(&r);
            r = empty;
            rows = tiles = few = 0;
        }
        if (m.n == 0) {
            continue;
        }
        m.rows = m.w->mat[e];
        m.choice = d->exp_row + d->exp_start[e];
        m.row0 = m.order0 = few;
        m.tile0 = tiles;
        r.mat[r.n_mat++] = m;
        if (up != NULL) {
            r.mat[r.n_mat] = m;
            r.mat[r.n_mat].w = up->w;
            r.mat[r.n_mat++].rows = up->w->mat[e];
        }
        rows += m.n;
        tiles += tiles_of(&m);
        few += wants_packed(d, &m) ? 0 : m.n;
    }
    if (r.n_mat > 0) {
        run_mats(&r);
    }
}

void cpu_matmul_exp(struct kern_dev *dev, kern_ref y, kern_ref x, kern_weight w, kern_ref sel,
                    int n_used, bool per_choice) {
    struct cpu_dev *d = (struct cpu_dev *)dev;
    int n = dev->step->n_tok * n_used;
    struct mat m = expert_mat(d, y, x, w, n, n_used, per_choice);
    group_experts(d, sel, n, m.w->n_mat);
    run_experts(d, m, NULL, 0);
}

void cpu_moe(struct kern_dev *dev, const struct kern_moe *a) {
    struct cpu_dev *d = (struct cpu_dev *)dev;
    int n = dev->step->n_tok * a->n_used;
    cpu_matmul(dev, a->logit, a->x, a->w_route, 0, ROWS_TOK, false);
    cpu_route(dev, a->sel, a->logit, a->n_exp, a->n_used);
    group_experts(d, a->sel, n, a->n_exp);
    struct mat gate = expert_mat(d, a->gate, a->x, a->w_gate, n, a->n_used, false);
    struct mat up = expert_mat(d, a->up, a->x, a->w_up, n, a->n_used, false);
    /* One format: experts get different counts of rows, and for each of them both must go by the
     * same kernels. */
    if (gate.f == up.f) {
        run_experts(d, gate, &up, a->act);
    } else {
        run_experts(d, gate, NULL, 0);
        run_experts(d, up, NULL, 0);
        cpu_act_mul(dev, a->gate, a->up, a->n_used * a->d_ff, a->act);
    }
    run_experts(d, expert_mat(d, a->down, a->gate, a->w_down, n, a->n_used, true), NULL, 0);
    cpu_mix_exp(dev, a->y, a->down, a->sel, a->n_used, a->d_model);
}
