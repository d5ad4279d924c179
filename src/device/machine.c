/* machine.c: the machine as one struct: its parts in order, memory, and what a budget is.
 *
 * Owns /proc/meminfo, the warnings, and the two figures that follow from all others: how many
 * threads are worth starting and how much memory a new process may take.
 */
#include "device/machine.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "device/machine_part.h"

const char *machine_gpu_kind_name(enum machine_gpu_kind kind) {
    static const char *const names[] = {
        [GPU_CUDA] = "cuda", [GPU_METAL] = "metal", [GPU_OPENCL] = "opencl"};
    return (unsigned)kind <= GPU_OPENCL ? names[kind] : "unknown";
}

void machine_warn(struct machine *m, const char *fmt, ...) {
    char text[512];
    if (m->n_warning == MACHINE_WARNING_MAX) {
        snprintf(m->warning[MACHINE_WARNING_MAX - 1], sizeof *m->warning,
                 "there is more to warn of");
        return;
    }
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    sys_words(m->warning[m->n_warning++], sizeof *m->warning, text);
}

/* A size in kB behind `key`; false where there is none that a machine can have. */
static bool kilobytes(const char *info, const char *key, uint64_t *bytes) {
    uint64_t v;
    const char *p = sys_line(info, key);
    if (!p || !sys_parse(&p, &v) || strncmp(p, " kB", 3) != 0 || v >> 46) {
        return false;
    }
    *bytes = v * 1024;
    return true;
}

static void memory_read(struct machine *m, struct sys_root *r) {
    struct machine_memory *mem = &m->memory;
    const char *info = sys_text(r, "/proc/meminfo");
    info = info ? info : "";
    if (!kilobytes(info, "MemTotal", &mem->total)) {
        machine_warn(m, "/proc/meminfo does not say how much memory there is");
    }
    if (!kilobytes(info, "MemAvailable", &mem->available)) {
        kilobytes(info, "MemFree", &mem->available); /* before Linux 3.14, and too little */
        machine_warn(m, "/proc/meminfo does not say how much memory is available");
    }
    if (mem->total && mem->available > mem->total) {
        machine_warn(m, "/proc/meminfo says that more memory is available than there is");
        mem->available = mem->total;
    }
}

/* A quota is rounded to the nearest thread: what a last, unfunded thread adds is less than the
 * pauses that it costs everybody, once the group has used up its period. */
static int budget_of(const struct machine_cpu *c) {
    int most = c->usable > 1 ? c->usable : 1;
    if (c->quota > 0 && c->quota + 0.5 < most) {
        return c->quota + 0.5 >= 2 ? (int)(c->quota + 0.5) : 1;
    }
    return most;
}

/* Memory and the control groups. */
static void limits_read(struct machine *m, struct sys_root *r) {
    memory_read(m, r);
    cgroup_read(m, r);
    m->memory.usable = m->memory.available;
    if (m->memory.limit_from[0] && m->memory.limit_left < m->memory.usable) {
        m->memory.usable = m->memory.limit_left;
    }
}

void machine_read_root(struct machine *m, struct sys_root *r) {
    memset(m, 0, sizeof *m);
    cpu_info_read(m, r);
    limits_read(m, r);
    m->cpu.budget = budget_of(&m->cpu);
}

uint64_t machine_memory_usable(const char *root, char *text) {
    struct machine m = {0};
    struct sys_root r = {.folder = root ? root : "", .text = text};
    limits_read(&m, &r);
    return m.memory.usable;
}

void machine_read(struct machine *m, const char *root) {
    struct sys_root r = {.folder = root ? root : "", .text = mem_alloc(SYS_TEXT_MAX, 1)};
    if (r.text) {
        machine_read_root(m, &r);
        mem_free(r.text);
        return;
    }
    memset(m, 0, sizeof *m);
    os_platform(m->platform, sizeof m->platform);
    m->cpu.budget = 1;
    machine_warn(m, "out of memory for looking at the machine");
}
