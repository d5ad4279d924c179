/* cpu_info.c: the processor: who made it, what it can, how many cores, which of them are ours.
 *
 * Owns /proc/cpuinfo, the processors under /sys/devices/system/cpu, and this process's affinity.
 * Refuses control groups. On this machine the instruction sets come from the processor itself; of
 * another machine's root, from its cpuinfo.
 */
#include <stdio.h>
#include <string.h>

#include "base/os.h"
#include "device/machine_part.h"

#define CPU_FOLDER "/sys/devices/system/cpu"

/* The names of os_cpu_has, and what cpuinfo calls the same. */
static const struct {
    const char *name, *flag;
} isa_sets[] = {
    {"ssse3", "ssse3"},
    {"sse4.1", "sse4_1"},
    {"popcnt", "popcnt"},
    {"avx", "avx"},
    {"f16c", "f16c"},
    {"fma", "fma"},
    {"bmi1", "bmi1"},
    {"bmi2", "bmi2"},
    {"avx2", "avx2"},
    {"avxvnni", "avx_vnni"},
    {"avx512f", "avx512f"},
    {"avx512dq", "avx512dq"},
    {"avx512bw", "avx512bw"},
    {"avx512vl", "avx512vl"},
    {"avx512vbmi", "avx512vbmi"},
    {"avx512vnni", "avx512_vnni"},
    {"avx512bf16", "avx512_bf16"},
    {"gfni", "gfni"},
    {"amxtile", "amx_tile"},
    {"amxint8", "amx_int8"},
    {"neon", "asimd"},
    {"dotprod", "asimddp"},
    {"i8mm", "i8mm"},
    {"bf16", "bf16"},
};
_Static_assert(sizeof isa_sets / sizeof *isa_sets <= MACHINE_ISA_MAX, "isa[] holds every set");

/* Whether a line of cpuinfo has the word. */
static bool flag_given(const char *line, const char *word) {
    size_t n = strlen(word);
    while (line && *line && *line != '\n') {
        size_t len = strcspn(line, " \t\n");
        if (len == n && memcmp(line, word, n) == 0) {
            return true;
        }
        line += len;
        line += strspn(line, " \t");
    }
    return false;
}

static void isa_read(struct machine_cpu *c, const struct sys_root *r, const char *info) {
    bool here = !r->read && !r->folder[0];
    const char *flags = sys_line(info, "flags");
    flags = flags ? flags : sys_line(info, "Features"); /* ARM */
    for (size_t i = 0; i < sizeof isa_sets / sizeof *isa_sets; i++) {
        if (here ? os_cpu_has(isa_sets[i].name) : flag_given(flags, isa_sets[i].flag)) {
            c->isa[c->n_isa++] = isa_sets[i].name;
        }
    }
}

/* ARM's cpuinfo has a number in place of a maker (Arm's "Main ID Register" lists them). */
static void arm_vendor(struct machine_cpu *c, const char *implementer) {
    static const struct {
        const char *number, *name;
    } makers[] = {{"0x41", "ARM"},       {"0x42", "Broadcom"}, {"0x46", "Fujitsu"},
                  {"0x48", "HiSilicon"}, {"0x4e", "NVIDIA"},   {"0x51", "Qualcomm"},
                  {"0x61", "Apple"},     {"0xc0", "Ampere"}};
    sys_words(c->vendor, sizeof c->vendor, implementer);
    for (size_t i = 0; i < sizeof makers / sizeof *makers; i++) {
        if (strcmp(c->vendor, makers[i].number) == 0) {
            snprintf(c->vendor, sizeof c->vendor, "%s", makers[i].name);
        }
    }
}

static void name_read(struct machine_cpu *c, const char *info) {
    const char *vendor = sys_line(info, "vendor_id"), *name = sys_line(info, "model name");
    const char *implementer = sys_line(info, "CPU implementer"), *part = sys_line(info, "CPU part");
    if (vendor) {
        sys_words(c->vendor, sizeof c->vendor, vendor);
    } else if (implementer) {
        arm_vendor(c, implementer);
    }
    if (name) {
        sys_words(c->name, sizeof c->name, name);
    } else if (part) {
        char number[16];
        sys_words(number, sizeof number, part);
        snprintf(c->name, sizeof c->name, "%s part %s", c->vendor, number);
    }
}

/* Where threads are not listed one by one: the lines that begin a thread's block. */
static int threads_counted(const char *info) {
    int n = 0;
    for (const char *at = info; (at = sys_line(at, "processor")) && n < SYS_CPU_MAX;) {
        n++;
    }
    return n;
}

/* The first thread of the same core, which stands for it; -1: the system does not say. */
static int core_of(struct sys_root *r, int cpu) {
    static const char *const names[] = {"core_cpus_list", "thread_siblings_list"};
    char path[96];
    struct sys_cpus siblings;
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, CPU_FOLDER "/cpu%d/topology/%s", cpu, names[i]);
        const char *text = sys_text(r, path);
        if (text && sys_cpu_list(&siblings, text) && sys_cpu_in(&siblings, cpu)) {
            return sys_cpu_first(&siblings);
        }
    }
    return -1;
}

static void add(struct sys_cpus *s, int cpu) {
    s->bits[cpu / 64] |= (uint64_t)1 << cpu % 64;
}

/* Cores and packages by the files of each thread; false if there are none. */
static bool topology_read(struct machine_cpu *c, struct sys_root *r, const struct sys_cpus *online,
                          const struct sys_cpus *usable) {
    struct sys_cpus cores = {0}, ours = {0}, packages = {0}, slow = {0};
    char path[96];
    const char *text = sys_text(r, "/sys/devices/cpu_atom/cpus");
    if (text) {
        sys_cpu_list(&slow, text); /* else empty */
    }
    for (int cpu = 0; cpu < SYS_CPU_MAX; cpu++) {
        uint64_t package = 0;
        int core = sys_cpu_in(online, cpu) ? core_of(r, cpu) : -1;
        if (core < 0) {
            if (sys_cpu_in(online, cpu)) {
                return false;
            }
            continue;
        }
        snprintf(path, sizeof path, CPU_FOLDER "/cpu%d/topology/physical_package_id", cpu);
        sys_number(r, path, &package); /* an ARM board says -1 */
        add(&packages, package < SYS_CPU_MAX ? (int)package : 0);
        add(&cores, core);
        if (sys_cpu_in(usable, cpu)) {
            c->slow_cores += sys_cpu_in(&slow, cpu) && !sys_cpu_in(&ours, core);
            add(&ours, core);
        }
    }
    c->cores = sys_cpu_count(&cores);
    c->usable_cores = sys_cpu_count(&ours);
    c->sockets = sys_cpu_count(&packages);
    return c->cores > 0;
}

/* By cpuinfo's figures of the first package, where the files are missing. */
static void topology_guess(struct machine_cpu *c, uint64_t siblings, uint64_t cores) {
    bool told = cores > 0 && cores <= siblings && siblings <= (uint64_t)c->threads;
    int per_core = told ? (int)(siblings / cores) : 1;
    c->sockets = told ? c->threads / (int)siblings : 1;
    c->cores = (c->threads + per_core - 1) / per_core;
    c->usable_cores = (c->usable + per_core - 1) / per_core;
}

static uint64_t line_number(const char *info, const char *key) {
    uint64_t v = 0;
    const char *p = sys_line(info, key);
    return p && sys_parse(&p, &v) ? v : 0;
}

/* "32K", "8M", or bytes; 0: not a size of a cache. */
static uint64_t cache_size(const char *text) {
    uint64_t v;
    if (!text || !sys_parse(&text, &v) || v > (uint64_t)1 << 32) {
        return 0;
    }
    v *= *text == 'K' ? 1024 : *text == 'M' ? 1 << 20 : 1;
    return v <= (uint64_t)1 << 32 ? v : 0;
}

static void caches_read(struct machine_cpu *c, struct sys_root *r, int cpu) {
    enum { INDEX_MAX = 8 };
    char path[96];
    for (int i = 0; i < INDEX_MAX; i++) {
        uint64_t level;
        snprintf(path, sizeof path, CPU_FOLDER "/cpu%d/cache/index%d/level", cpu, i);
        if (!sys_number(r, path, &level)) {
            continue;
        }
        snprintf(path, sizeof path, CPU_FOLDER "/cpu%d/cache/index%d/type", cpu, i);
        const char *type = sys_text(r, path);
        if (!type || strncmp(type, "Instruction", 11) == 0) {
            continue;
        }
        snprintf(path, sizeof path, CPU_FOLDER "/cpu%d/cache/index%d/size", cpu, i);
        uint64_t size = cache_size(sys_text(r, path));
        uint64_t *where = level == 1 ? &c->l1d : level == 2 ? &c->l2 : level == 3 ? &c->l3 : NULL;
        if (where) {
            *where = size;
        }
    }
}

/* The threads that this process may use: those of its mask that are there. */
static void affinity_read(struct machine *m, struct sys_root *r, const struct sys_cpus *online,
                          struct sys_cpus *usable) {
    const char *status = sys_text(r, "/proc/self/status");
    const char *list = status ? sys_line(status, "Cpus_allowed_list") : NULL;
    if (!list || !sys_cpu_list(usable, list)) {
        *usable = *online;
        machine_warn(m, "/proc/self/status does not say which processors this process may use");
    }
    for (size_t i = 0; i < sizeof usable->bits / sizeof *usable->bits; i++) {
        usable->bits[i] &= online->bits[i];
    }
    if (sys_cpu_count(usable) == 0) {
        *usable = *online;
    }
}

static void platform_read(struct machine *m, struct sys_root *r) {
    const char *arch = sys_text(r, "/proc/sys/kernel/arch");
    char word[32];
    os_platform(m->platform, sizeof m->platform);
    if (arch && (r->folder[0] || r->read)) {
        sys_words(word, sizeof word, arch);
        snprintf(m->platform, sizeof m->platform, "linux %s", word);
    }
}

void cpu_info_read(struct machine *m, struct sys_root *r) {
    struct machine_cpu *c = &m->cpu;
    struct sys_cpus online = {0}, usable = {0};
    platform_read(m, r);
    const char *info = sys_text(r, "/proc/cpuinfo");
    if (!info) {
        machine_warn(m, "/proc/cpuinfo cannot be read: the processor is not known");
        info = "";
    }
    name_read(c, info);
    isa_read(c, r, info);
    uint64_t siblings = line_number(info, "siblings"), cores = line_number(info, "cpu cores");
    int counted = threads_counted(info);
    const char *list = sys_text(r, CPU_FOLDER "/online");
    if (!list || !sys_cpu_list(&online, list)) {
        for (int i = 0; i < (counted ? counted : 1); i++) {
            add(&online, i);
        }
        if (!counted) {
            machine_warn(m, "the number of processors cannot be read: 1 is assumed");
        }
    }
    c->threads = sys_cpu_count(&online);
    affinity_read(m, r, &online, &usable);
    c->usable = sys_cpu_count(&usable);
    sys_cpu_text(&usable, c->affinity, sizeof c->affinity);
    if (!topology_read(c, r, &online, &usable)) {
        c->slow_cores = 0;
        topology_guess(c, siblings, cores);
    }
    caches_read(c, r, sys_cpu_first(&usable));
}
