/* machine_load.c: see machine_load.h.
 */
#include "device/machine_load.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "device/sys_root.h"

enum { TICK_KINDS = 8, STEAL = 7, IDLE = 3, IOWAIT = 4, FREQUENCIES = 64 };

/* A frequency that a processor can have, MHz. */
#define MHZ_MAX 20000

/* Those that this process may use; every one where that is not known. */
static void allowed_read(struct sys_cpus *s, struct sys_root *r) {
    const char *text = sys_text(r, "/proc/self/status");
    const char *list = text ? sys_line(text, "Cpus_allowed_list") : NULL;
    if (!list || !sys_cpu_list(s, list)) {
        memset(s, 0xff, sizeof *s);
    }
}

/* "cpuN user nice system idle iowait irq softirq steal ...": time of guests is in user's. */
static void ticks_add(struct machine_load *l, const char *line, const struct sys_cpus *s) {
    uint64_t cpu, v[TICK_KINDS];
    const char *p = line + 3;
    if (*p < '0' || *p > '9' || !sys_parse(&p, &cpu) || cpu >= SYS_CPU_MAX ||
        !sys_cpu_in(s, (int)cpu)) {
        return;
    }
    for (int i = 0; i < TICK_KINDS; i++) {
        if (!sys_parse(&p, &v[i]) || v[i] >> 48) {
            return;
        }
    }
    for (int i = 0; i < TICK_KINDS; i++) {
        l->total += v[i];
        l->busy += i == IDLE || i == IOWAIT || i == STEAL ? 0 : v[i];
    }
    l->steal += v[STEAL];
    l->cpus++;
}

static void stat_read(struct machine_load *l, struct sys_root *r, const struct sys_cpus *s) {
    const char *line = sys_text(r, "/proc/stat");
    while (line && l->cpus < SYS_CPU_MAX) {
        if (strncmp(line, "cpu", 3) == 0) {
            ticks_add(l, line, s);
        }
        line = strchr(line, '\n');
        line = line ? line + 1 : NULL;
    }
}

/* "4.31 3.40 ..." */
static double average_read(struct sys_root *r) {
    const char *p = sys_text(r, "/proc/loadavg");
    uint64_t whole, hundredth;
    if (!p || !sys_parse(&p, &whole) || *p++ != '.' || !sys_parse(&p, &hundredth) ||
        whole > 1000000 || hundredth > 99) {
        return NAN;
    }
    return (double)whole + (double)hundredth / 100;
}

static double mhz_read(struct sys_root *r, const struct sys_cpus *s) {
    double sum = 0;
    int n = 0;
    for (int i = 0; i < SYS_CPU_MAX && n < FREQUENCIES; i++) {
        char path[96];
        uint64_t khz;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_cur_freq", i);
        if (!sys_cpu_in(s, i)) {
            continue;
        }
        if (!sys_number(r, path, &khz) || khz / 1000 > MHZ_MAX) {
            break;
        }
        sum += (double)khz / 1000;
        n++;
    }
    const char *line = n == 0 ? sys_text(r, "/proc/cpuinfo") : NULL;
    while (line && n < FREQUENCIES) {
        const char *p = sys_line(line, "cpu MHz");
        uint64_t mhz;
        if (!p) {
            break;
        }
        if (sys_parse(&p, &mhz) && mhz <= MHZ_MAX) {
            sum += (double)mhz;
            n++;
        }
        line = strchr(p, '\n');
    }
    return n > 0 && sum > 0 ? sum / n : NAN;
}

void machine_load_read(struct machine_load *l, const char *root) {
    struct sys_root r = {.folder = root ? root : "", .text = mem_alloc(SYS_TEXT_MAX, 1)};
    struct sys_cpus allowed;
    *l = (struct machine_load){
        .wall = os_now(), .own = os_cpu_seconds(), .average = NAN, .mhz = NAN};
    if (!r.text) {
        return;
    }
    allowed_read(&allowed, &r);
    stat_read(l, &r, &allowed);
    l->average = average_read(&r);
    l->mhz = mhz_read(&r, &allowed);
    mem_free(r.text);
}

/* 0..100; the two clocks of a process and of its machine do not agree to the last tick. */
static double percent(double part, double whole) {
    double p = 100 * part / whole;
    return p > 100 ? 100 : p > 0 ? p : p <= 0 ? 0 : NAN;
}

void machine_noise_between(struct machine_noise *n, const struct machine_load *from,
                           const struct machine_load *to, int threads) {
    double seconds = to->wall - from->wall, own = to->own - from->own;
    *n = (struct machine_noise){.seconds = seconds,
                                .steal_percent = NAN,
                                .other_percent = NAN,
                                .own_percent = NAN,
                                .average = to->average,
                                .mhz_from = from->mhz,
                                .mhz_to = to->mhz};
    if (!(seconds > 0)) {
        return;
    }
    n->own_percent = percent(own, seconds * threads);
    if (to->cpus < 1 || to->cpus != from->cpus || to->total <= from->total ||
        to->steal < from->steal || to->busy < from->busy) {
        return; /* a processor came or went */
    }
    double total = (double)(to->total - from->total);
    n->steal_percent = percent((double)(to->steal - from->steal), total);
    n->other_percent =
        percent((double)(to->busy - from->busy) / total - own / (seconds * to->cpus), 1);
}
