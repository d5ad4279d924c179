/* quantized.c: see quantized.h.
 */
#include "cli/quantized.h"

#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "cli/open_model.h"
#include "cli/progress.h"
#include "device/machine.h"
#include "device/plan.h"
#include "model/need.h"
#include "model/quantize.h"
#include "model/source.h"
#include "quant/encode.h"
#include "store/derived.h"

/* ---- what is wanted -------------------------------------------------------------------------- */

/* fp32 and fp16 are the words of plans, f32 and f16 those of files. */
static const struct mix_kind *kind_of(const char *asked) {
    return mix_find(strcmp(asked, "fp32") == 0   ? "f32"
                    : strcmp(asked, "fp16") == 0 ? "f16"
                                                 : asked);
}

/* Whether the file is what was asked for: by its bits where a word for these was asked for, else by
 * what it says of itself. */
static bool is_already(const struct gguf *g, const char *asked, const struct mix_kind *kind) {
    uint64_t file_type = UINT64_MAX;
    int bits = plan_quant_find(asked);
    if (bits >= 0) {
        return (int)need_quant(need_type(g)) == bits;
    }
    return gguf_find(g, "general.file_type") &&
           !gguf_get_u64(g, "general.file_type", &file_type, NULL) &&
           file_type == kind->file_type && need_type(g) == kind->type;
}

enum err_code quantized_wanted(struct cli *c, const struct gguf *g, const struct mix_kind **kind,
                               uint64_t *bytes, struct err *e) {
    const char *asked = knobs_str(c->k, "quantization");
    struct quantize_job job = {.in = g, .kind = kind_of(asked)};
    *kind = NULL;
    *bytes = 0;
    if (!job.kind || g->n_tensor == 0 || is_already(g, asked, job.kind)) {
        return ERR_OK;
    }
    enum err_code rc = quantize_plan(&job, e);
    mem_free(job.tensor);
    if (rc) {
        return rc;
    }
    if (job.bytes_out >= job.bytes_in) {
        enum dtype has = need_type(g);
        rc = err_set(e, ERR_USAGE, "the file is %s (%s), not %s", plan_quant_name(need_quant(has)),
                     dtype_info(has)->name, asked);
        err_where(e, "--quantization");
        err_hint(e, "leave it out, or take a file of this model in %s", asked);
        return rc;
    }
    *kind = job.kind;
    *bytes = job.bytes_out;
    return ERR_OK;
}

/* ---- making it ------------------------------------------------------------------------------- */

struct making {
    struct cli *c;
    struct gguf *g;
    const struct mix_kind *kind;
    struct depot depot;
    struct derived derived;
    struct progress bar;
    const char *doing; /* what the bar says */
};

static void draw(struct making *m, const char *what, uint64_t done, uint64_t total) {
    if (m->doing != what) {
        progress_end(&m->bar);
        progress_begin(&m->bar, m->c, what);
        m->doing = what;
    }
    progress_draw(&m->bar, (size_t)(done >> 20), (size_t)(total >> 20));
}

static void on_hash(void *arg, const char *what, uint64_t done, uint64_t total) {
    (void)what;
    draw(arg, "checksum, MB", done, total);
}

static void on_weights(void *arg, uint64_t done, uint64_t total) {
    draw(arg, "quantizing, million weights", done, total);
}

/* Where the model's files lie, for their hashes. */
static enum err_code open_derived(struct making *m, const char *path, struct err *e) {
    bool folder = source_is_folder(path);
    size_t n = folder ? 0 : m->g->n_part;
    char **file = mem_zalloc(n + 1, sizeof *file);
    enum err_code rc = file ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory for paths");
    for (size_t i = 0; i < n && !rc; i++) {
        file[i] = gguf_part_path(m->g, i);
        rc = file[i] ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory for paths");
    }
    struct derived_as as = {
        .type = m->kind->name, .kind = m->kind->file_type, .version = QUANT_VERSION};
    rc = rc ? rc : derived_open(&m->derived, &m->depot, path, (const char *const *)file, n, &as, e);
    for (size_t i = 0; i < n && file; i++) {
        mem_free(file[i]);
    }
    mem_free(file);
    return rc;
}

/* Waits for whoever is making a file in this store, this one perhaps. */
static enum err_code begin(struct making *m, struct err *e) {
    bool busy = true, said = false;
    enum err_code rc = ERR_OK;
    while (!rc && busy && !(rc = derived_begin(&m->derived, &busy, e)) && busy) {
        if (!said) {
            cli_note(m->c, "ign: another program quantizes a model in this store; waiting for it");
        }
        said = true;
        if (os_stopped(m->depot.stop)) {
            return err_set(e, ERR_CANCELLED, "interrupted");
        }
        os_sleep(0.1);
    }
    return rc;
}

static enum err_code make(struct making *m, struct err *e) {
    struct cli *c = m->c;
    struct machine machine;
    struct quant_search search;
    struct quantize_job job = {.in = m->g,
                               .kind = m->kind,
                               .search = &search,
                               .cancel = interrupt_count(c->intr),
                               .progress = on_weights,
                               .arg = m};
    enum err_code rc = begin(m, e);
    if (rc || m->derived.there) {
        return rc;
    }
    cli_note(c, "ign: quantizing to %s, once; it stays in the store as %s", m->kind->name,
             m->derived.name);
    job.out = m->derived.to;
    machine_read(&machine, NULL);
    if (!(rc = quant_search_choose(&search, NULL, e)) &&
        !(rc = pool_create(&job.pool, plan_threads(&machine.cpu, (int)knobs_int(c->k, "threads")),
                           e)) &&
        !(rc = quantize_run(&job, e))) {
        rc = derived_commit(&m->derived, e);
    }
    pool_free(job.pool);
    mem_free(job.tensor);
    return rc;
}

/* A file that was cut or overwritten since is made again. */
static enum err_code drop_damaged(struct making *m, struct err *e) {
    struct gguf *g = NULL;
    if (!m->derived.there) {
        return ERR_OK;
    }
    enum err_code rc = source_open(&g, m->derived.path, false, e);
    gguf_close(g);
    if (rc != ERR_FORMAT) {
        return rc;
    }
    *e = (struct err){0};
    cli_note(m->c, "ign: %s in the store is damaged, and made again", m->derived.name);
    m->derived.there = false;
    return os_remove_file(m->derived.path, e);
}

static enum err_code find_or_make(struct making *m, char **path, struct err *e) {
    struct buf folder;
    char *found;
    buf_init(&folder, 65536);
    m->depot = (struct depot){.dir = store_folder(m->c, &folder),
                              .stop = interrupt_count(m->c->intr),
                              .report = on_hash,
                              .arg = m};
    enum err_code rc = ERR_OK;
    if (!m->depot.dir) {
        rc = err_set(e, ERR_NOTFOUND, "no store is known for what is quantized: HOME is not set");
        err_hint(e, "name one with --store FOLDER");
    }
    rc = rc ? rc : open_derived(m, *path, e);
    rc = rc ? rc : drop_damaged(m, e);
    if (!rc && !m->derived.there) {
        rc = make(m, e);
    }
    progress_end(&m->bar);
    if (!rc) {
        found = mem_strdup(m->derived.path, strlen(m->derived.path));
        rc = found ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory for a path");
        if (found) {
            mem_free(*path);
            *path = found;
        }
    }
    derived_close(&m->derived);
    buf_fini(&folder);
    return rc;
}

int quantized_path(struct cli *c, char **path) {
    struct making m = {.c = c};
    struct err e = {0};
    uint64_t bytes;
    if (strcmp(knobs_str(c->k, "quantization"), "auto") == 0) {
        return EXIT_DONE;
    }
    if (source_open(&m.g, *path, false, &e)) {
        return cli_fail_data(c, &e);
    }
    enum err_code rc = quantized_wanted(c, m.g, &m.kind, &bytes, &e);
    if (!rc && m.kind) {
        interrupt_waits(c->intr); /* what is half made is swept up, not left */
        rc = find_or_make(&m, path, &e);
        interrupt_ends(c->intr);
    }
    gguf_close(m.g);
    return rc ? cli_fail(c, &e) : EXIT_DONE;
}
