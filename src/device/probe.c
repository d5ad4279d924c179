/* probe.c: the parent's half: a child for each kind of driver, and what to believe of its lines.
 *
 * Owns the children, the bounds of every field, and the judgement whether a GPU could be used.
 * Refuses to load a driver. Children of all kinds run at the same time, so that the whole takes no
 * longer than the slowest, and that no longer than its limit.
 * Invariant: a device is in the report only with fields that a machine can have; whatever else was
 * said is a warning.
 */
#include "device/probe.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"
#include "device/sys_root.h"

enum {
    LINES_MAX = 1 << 16, /* bytes of a child's report */
    KIND_N = GPU_OPENCL + 1,
    SECONDS = 5,
    CAPABILITY_LEAST = 75, /* 7.5, Turing: the first with the integer matrix instructions */
    CUDA_LEAST = 12000     /* what the kernels are built with */
};
/* A GPU with less has no room for a small model and its cache. */
#define MEMORY_LEAST ((uint64_t)2 << 30)
#define MEMORY_MOST  ((uint64_t)1 << 48)

struct run {
    enum machine_gpu_kind kind;
    const struct probe_opts *o;
    double seconds;
    struct os_thread *thread;
    struct os_child child;
    struct buf out;
    enum err_code code;
    struct err e;
};

/* For people: the driver behind a kind. */
static const char *kind_title(enum machine_gpu_kind kind) {
    static const char *const titles[] = {
        [GPU_CUDA] = "NVIDIA", [GPU_METAL] = "Metal", [GPU_OPENCL] = "OpenCL"};
    return titles[kind];
}

static void child_run(void *arg) {
    struct run *r = arg;
    const char *argv[] = {r->o->program,
                          "probe-devices",
                          machine_gpu_kind_name(r->kind),
                          r->o->drivers ? "--drivers" : NULL,
                          r->o->drivers,
                          NULL};
    r->code = os_child_run(&r->child, argv, r->seconds, r->o->stop, &r->out, &r->e);
}

/* ---- a device -------------------------------------------------------------------------- */

/* An integer member within [0, most]; anything else is 0 and false. */
static bool number_in(const struct json *j, const char *key, uint64_t most, uint64_t *v) {
    const struct json *n = json_find(j, key);
    int64_t i = n && json_kind(n) == JSON_IS_INT ? json_int(n) : -1;
    bool ok = i >= 0 && (uint64_t)i <= most;
    *v = ok ? (uint64_t)i : 0;
    return ok;
}

static void words_in(const struct json *j, const char *key, char *out, size_t n) {
    const struct json *s = json_find(j, key);
    sys_words(out, n, s && json_kind(s) == JSON_IS_STR ? json_str(s).p : "");
}

static void why_set(struct machine_gpu *g, const char *fmt, ...) IGN_PRINTF(2, 3);
static void why_set(struct machine_gpu *g, const char *fmt, ...) {
    if (!g->why[0]) { /* the first reason is the one to mend first */
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(g->why, sizeof g->why, fmt, ap);
        va_end(ap);
    }
}

/* What a CUDA back end of this program would need. */
static void judge_cuda(struct machine_gpu *g, uint64_t cuda) {
    int capability = g->capability_major * 10 + g->capability_minor;
    if (capability == 0) {
        why_set(g, "its driver does not tell its compute capability");
    } else if (capability < CAPABILITY_LEAST) {
        why_set(g, "compute capability %d.%d is too old: 7.5 (Turing, 2018) or newer is needed",
                g->capability_major, g->capability_minor);
    }
    if (cuda < CUDA_LEAST) {
        why_set(g, "its driver is too old: it knows CUDA %d.%d, 12.0 is needed", (int)cuda / 1000,
                (int)cuda % 1000 / 10);
    }
}

static void judge(struct machine_gpu *g, uint64_t cuda, bool memory_told) {
    if (!memory_told) {
        why_set(g, "its driver tells a memory size that cannot be");
    }
    if (g->kind == GPU_CUDA) {
        judge_cuda(g, cuda);
    }
    if (g->memory_total < MEMORY_LEAST) {
        why_set(g, "%llu MiB of memory are too little: %llu are needed",
                (unsigned long long)(g->memory_total >> 20),
                (unsigned long long)(MEMORY_LEAST >> 20));
    }
    g->usable = !g->why[0];
    why_set(g, "found, not yet used: no back end for it in this version");
}

/* False: it is none. */
static bool device_read(struct machine *m, enum machine_gpu_kind kind, const struct json *j) {
    struct machine_gpu g = {.kind = kind};
    uint64_t index, major, minor, cuda, generation, width;
    const struct json *unified = json_find(j, "unified");
    if (!number_in(j, "index", MACHINE_GPU_MAX - 1, &index)) {
        return false;
    }
    words_in(j, "name", g.name, sizeof g.name);
    words_in(j, "driver", g.driver, sizeof g.driver);
    words_in(j, "why", g.why, sizeof g.why);
    if (!g.name[0]) {
        snprintf(g.name, sizeof g.name, "unnamed %s device", kind_title(kind));
    }
    bool told = number_in(j, "memory_total", MEMORY_MOST, &g.memory_total);
    if (!number_in(j, "memory_free", g.memory_total, &g.memory_free) && told) {
        machine_warn(m, "%s %d says that it has more memory free than it has",
                     machine_gpu_kind_name(kind), (int)index);
    }
    if (number_in(j, "major", 99, &major) && number_in(j, "minor", 9, &minor)) {
        g.capability_major = (int)major;
        g.capability_minor = (int)minor;
    }
    number_in(j, "cuda", 1000000, &cuda);
    if (number_in(j, "link_generation", 9, &generation) && number_in(j, "link_width", 64, &width)) {
        g.link_generation = (int)generation;
        g.link_width = (int)width;
    }
    g.index = (int)index;
    g.unified = unified && json_bool(unified);
    judge(&g, cuda, told);
    m->gpu[m->n_gpu++] = g;
    return true;
}

/* ---- a child's report ------------------------------------------------------------------ */

struct report {
    char step[64]; /* the call that was begun last */
    int n_warning, n_left_out;
    bool ended, nonsense;
};

static void line_read(struct machine *m, enum machine_gpu_kind kind, struct str line,
                      struct report *rep) {
    enum { WARNING_FEW = 4 }; /* of one driver: how it ended is to be said, too */
    char words[sizeof *m->warning];
    struct json *root = NULL;
    struct err e = {0};
    if (json_parse(line.p, line.n, &root, &e) || json_kind(root) != JSON_IS_OBJECT) {
        rep->nonsense = true;
    } else if (json_find(root, "device")) {
        if (m->n_gpu == MACHINE_GPU_MAX) {
            rep->n_left_out++;
        } else if (!device_read(m, kind, json_find(root, "device"))) {
            rep->nonsense = true;
        }
    } else if (json_find(root, "warning")) {
        words_in(root, "warning", words, sizeof words);
        if (rep->n_warning++ < WARNING_FEW) {
            machine_warn(m, "%s", words);
        }
    } else if (json_find(root, "step")) {
        words_in(root, "step", rep->step, sizeof rep->step);
    } else {
        rep->ended |= json_find(root, "end") != NULL;
    }
    json_free(root);
}

/* What became of the child, where it did not come to its end. */
static void end_warn(struct machine *m, enum machine_gpu_kind kind, const struct os_child *end,
                     double seconds, const struct report *rep) {
    const char *title = kind_title(kind), *step = rep->step[0] ? rep->step : "its start";
    switch (end->end) {
    case OS_CHILD_TIMEOUT:
        machine_warn(m,
                     "the %s driver did not answer within %g s (%s), and was stopped; "
                     "--probe-seconds gives it longer",
                     title, seconds, step);
        break;
    case OS_CHILD_SIGNALED:
        machine_warn(m, "the %s driver crashed (%s, signal %d)", title, step, end->code);
        break;
    case OS_CHILD_FLOOD:
        machine_warn(m, "the %s driver printed without end (%s), and was stopped", title, step);
        break;
    case OS_CHILD_EXITED:
        if (!rep->ended) {
            machine_warn(m, "the %s driver ended the process that asked it (%s, exit code %d)",
                         title, step, end->code);
        }
        break;
    }
}

/* A card that CUDA reaches is not offered a second time, as NVIDIA's OpenCL does. */
static void same_cards(struct machine *m) {
    for (int i = 0; i < m->n_gpu; i++) {
        struct machine_gpu *g = &m->gpu[i];
        for (int k = 0; k < m->n_gpu && g->kind == GPU_OPENCL && g->usable; k++) {
            const struct machine_gpu *other = &m->gpu[k];
            if (other->kind == GPU_CUDA && other->usable && strcmp(other->name, g->name) == 0) {
                g->usable = false;
                snprintf(g->why, sizeof g->why, "it is a card of CUDA's (cuda:%d)", other->index);
            }
        }
    }
}

void probe_report(struct machine *m, enum machine_gpu_kind kind, struct str lines,
                  const struct os_child *child, double seconds) {
    struct report rep = {0};
    const char *at = lines.p, *end = lines.p + lines.n;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        if (!newline) {
            break; /* the child was stopped within a line */
        }
        line_read(m, kind, str_of(at, (size_t)(newline - at)), &rep);
        at = newline + 1;
    }
    if (rep.nonsense) {
        machine_warn(m, "the %s driver's report has lines that say nothing", kind_title(kind));
    }
    if (rep.n_left_out > 0) {
        machine_warn(m, "%d %s devices are left out: at most %d are listed", rep.n_left_out,
                     kind_title(kind), MACHINE_GPU_MAX);
    }
    same_cards(m);
    end_warn(m, kind, child, seconds, &rep);
}

enum err_code probe_devices(struct machine *m, const struct probe_opts *o, struct err *e) {
    struct run run[KIND_N];
    enum err_code code = ERR_OK;
    for (int i = 0; i < KIND_N; i++) {
        struct run *r = &run[i];
        *r = (struct run){.kind = (enum machine_gpu_kind)i,
                          .o = o,
                          .seconds = o->seconds > 0 ? o->seconds : SECONDS};
        buf_init(&r->out, LINES_MAX);
        if (os_thread_start(&r->thread, child_run, r, NULL)) {
            child_run(r); /* one after the other then */
        }
    }
    for (int i = 0; i < KIND_N; i++) {
        struct run *r = &run[i];
        os_thread_join(r->thread);
        if (r->code == ERR_CANCELLED || r->code == ERR_NOMEM) {
            code = code ? code : err_set(e, r->code, "%s", r->e.what);
        } else if (r->code) {
            machine_warn(m, "%s devices were not looked for: %s", kind_title(r->kind), r->e.what);
        } else if (!code) {
            struct str lines = r->out.p ? str_of(r->out.p, r->out.len) : str_c("");
            probe_report(m, r->kind, lines, &r->child, r->seconds);
        }
        buf_fini(&r->out);
    }
    return code;
}
