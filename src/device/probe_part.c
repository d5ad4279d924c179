/* probe_part.c: the child's side of the lines, and the opening of drivers.
 *
 * Owns what probe_part.h promises. Refuses to judge: what a driver says is passed on as it is, only
 * in a form that JSON can hold.
 */
#include "device/probe_part.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "device/probe.h"

static void line_end(struct probe *p, struct json_writer *w) {
    json_close(w, '}');
    buf_putc(p->out, '\n');
    p->flush(p->arg);
}

static void line_begin(struct probe *p, struct json_writer *w, const char *key) {
    json_writer_init(w, p->out);
    json_open(w, '{');
    json_key(w, key);
}

void probe_step(struct probe *p, const char *call) {
    struct json_writer w;
    line_begin(p, &w, "step");
    json_put_z(&w, call);
    line_end(p, &w);
}

void probe_warn(struct probe *p, const char *fmt, ...) {
    char text[512];
    struct json_writer w;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    line_begin(p, &w, "warning");
    json_put_z(&w, text);
    line_end(p, &w);
}

/* The reader's numbers have 63 bits; no memory has more. */
static void put_size(struct json_writer *w, const char *key, uint64_t v) {
    json_key(w, key);
    json_put_int(w, v >> 63 ? INT64_MAX : (int64_t)v);
}

static void put_number(struct json_writer *w, const char *key, int v) {
    json_key(w, key);
    json_put_int(w, v);
}

void probe_found(struct probe *p, const struct probe_device *d) {
    const struct machine_gpu *g = &d->gpu;
    struct json_writer w;
    line_begin(p, &w, "device");
    json_open(&w, '{');
    put_number(&w, "index", g->index);
    json_key(&w, "name");
    json_put_z(&w, g->name);
    json_key(&w, "driver");
    json_put_z(&w, g->driver);
    json_key(&w, "why");
    json_put_z(&w, g->why);
    put_number(&w, "cuda", d->cuda);
    put_number(&w, "major", g->capability_major);
    put_number(&w, "minor", g->capability_minor);
    put_size(&w, "memory_total", g->memory_total);
    put_size(&w, "memory_free", g->memory_free);
    json_key(&w, "unified");
    json_put_bool(&w, g->unified);
    put_number(&w, "link_generation", g->link_generation);
    put_number(&w, "link_width", g->link_width);
    json_close(&w, '}');
    line_end(p, &w);
}

struct os_library *probe_open(struct probe *p, const char *name, const char *file) {
    struct os_library *l = NULL;
    struct err e = {0};
    char path[1024];
    bool here = false;
    if (p->drivers) {
        snprintf(path, sizeof path, "%s/%s", p->drivers, file);
        here = os_file_exists(path);
        if (!here) {
            return NULL;
        }
    }
    probe_step(p, file);
    if (os_library_open(&l, here ? path : name, &e) == ERR_OK) {
        return l; /* for good: the child ends without unloading it */
    }
    /* The loader's sentence begins with the library that it could not open: another one, where this
     * one is there and lacks what it needs. */
    bool absent = strncmp(e.what, name, strlen(name)) == 0 && strstr(e.what, "No such file");
    if (here || !absent) {
        probe_warn(p, "%s cannot be loaded: %s", file, e.what);
    }
    return NULL;
}

bool probe_bind(struct probe *p, struct os_library *l, void *api, const struct probe_symbol *s,
                size_t n, const char *file) {
    for (size_t i = 0; i < n; i++) {
        void *fn = os_library_find(l, s[i].name);
        if (!fn) {
            probe_warn(p, "%s has no %s: it is too old, or something else", file, s[i].name);
            return false;
        }
        memcpy((char *)api + s[i].at, &fn, sizeof fn);
    }
    return true;
}

void probe_kind(const char *kind, const char *drivers, struct buf *out, void (*flush)(void *arg),
                void *arg) {
    struct probe p = {.drivers = drivers, .out = out, .flush = flush, .arg = arg};
    struct json_writer w;
    if (strcmp(kind, machine_gpu_kind_name(GPU_CUDA)) == 0) {
        probe_cuda(&p);
    } else if (strcmp(kind, machine_gpu_kind_name(GPU_METAL)) == 0) {
        probe_metal(&p);
    } else if (strcmp(kind, machine_gpu_kind_name(GPU_OPENCL)) == 0) {
        probe_opencl(&p);
    }
    line_begin(&p, &w, "end");
    json_put_bool(&w, true);
    line_end(&p, &w);
}
