/* machine_load.h: who else was at work on this machine between two looks at it.
 *
 * Owns the reading of /proc/stat, /proc/loadavg and the clock frequencies, and the arithmetic
 * between two looks. Counted are the processors that this process may run on. Refuses to judge:
 * whoever measures knows how much it bears.
 * Invariant: what could not be read, or makes no sense, is NaN, and never a number that looks fine.
 */
#ifndef IGN_DEVICE_MACHINE_LOAD_H
#define IGN_DEVICE_MACHINE_LOAD_H

#include <stdint.h>

/* One look. */
struct machine_load {
    double wall;                 /* os_now */
    double own;                  /* processor time of this process so far, seconds */
    int cpus;                    /* processors counted; 0: /proc/stat could not be read */
    uint64_t total, busy, steal; /* their clock ticks since the machine started */
    double average;              /* tasks that ran or waited to, over the last minute; NaN */
    double mhz;                  /* mean frequency now; NaN */
};

/* From `root`'s /proc and /sys (NULL or "": this machine). Never fails. */
void machine_load_read(struct machine_load *l, const char *root);

/* Percentages are of all the counted processors' time between two looks. */
struct machine_noise {
    double seconds;
    double steal_percent; /* what the hypervisor gave to other machines */
    double other_percent; /* what other processes of this machine used */
    double own_percent;   /* this process's processor time, of `threads` times the wall clock */
    double average;       /* load average at the end */
    double mhz_from, mhz_to;
};

void machine_noise_between(struct machine_noise *n, const struct machine_load *from,
                           const struct machine_load *to, int threads);

#endif
