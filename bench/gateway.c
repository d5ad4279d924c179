/* gateway.c: a stand-in for a SCADA gateway: a little work on every core, twenty times a second.
 *
 * Owns one thread for each CPU that it may use, kept on that CPU. Every 50 ms each does a fixed
 * amount of work, integer arithmetic over 2 MiB of its own memory, about 10 ms on a machine with
 * nothing else to do; how late it started and how long it took are recorded.
 *     gateway calibrate              prints the units of work that take 10 ms here
 *     gateway SECONDS UNITS          prints "LATE_US WORK_US" for each piece of work
 * Invariant: a piece that starts late does not move the ones after it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PERIOD 50e-3
#define WORK   10e-3
#define WORDS  ((size_t)1 << 18) /* of 8 bytes: more than a core's own cache has to itself */

struct piece {
    double late, took; /* seconds */
};

struct worker {
    pthread_t id;
    int cpu;
    double start;
    long units;
    size_t n_piece;
    struct piece *piece; /* [n_piece] */
    uint64_t *mem;       /* [WORDS] */
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void sleep_until(double when) {
    struct timespec t = {.tv_sec = (time_t)when};
    t.tv_nsec = (long)((when - (double)t.tv_sec) * 1e9);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {
    }
}

/* A unit reads and writes 64 words, far from those of the unit before. */
static void work(uint64_t *mem, long units) {
    uint64_t x = 1;
    for (long u = 0; u < units; u++) {
        uint64_t *p = mem + (size_t)(u * 8 * 1237) % (WORDS - 64);
        for (int i = 0; i < 64; i++) {
            x = (x ^ p[i]) * 0x9e3779b97f4a7c15u + 1;
            p[i] = x;
        }
    }
}

static void *run(void *arg) {
    struct worker *w = arg;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(w->cpu, &set);
    sched_setaffinity(0, sizeof set, &set);
    for (size_t i = 0; i < w->n_piece; i++) {
        double due = w->start + (double)i * PERIOD;
        sleep_until(due);
        double began = now();
        work(w->mem, w->units);
        w->piece[i] = (struct piece){began - due, now() - began};
    }
    return NULL;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median of many, each after a pause as between two pieces: the clock of an idle core is not
 * that of a busy one. */
static int calibrate(void) {
    enum { TIMES = 41 };
    uint64_t *mem = calloc(WORDS, sizeof *mem);
    double took[TIMES];
    long units = 20000;
    for (int round = 0; mem && round < 3; round++) {
        for (int i = 0; i < TIMES; i++) {
            sleep_until(now() + PERIOD - WORK);
            double t = now();
            work(mem, units);
            took[i] = now() - t;
        }
        qsort(took, TIMES, sizeof *took, compare);
        units = (long)((double)units * WORK / took[TIMES / 2]);
    }
    printf("%ld\n", units);
    free(mem);
    return mem ? 0 : 1;
}

static bool worker_start(struct worker *w, int cpu, double start, size_t n_piece, long units) {
    *w = (struct worker){.cpu = cpu, .start = start, .units = units, .n_piece = n_piece};
    w->piece = calloc(n_piece, sizeof *w->piece);
    w->mem = calloc(WORDS, sizeof *w->mem);
    if (!w->piece || !w->mem) {
        return false;
    }
    memset(w->mem, 1, WORDS * sizeof *w->mem);
    return pthread_create(&w->id, NULL, run, w) == 0;
}

static int measure(double seconds, long units) {
    static struct worker w[CPU_SETSIZE];
    cpu_set_t set;
    int n = 0;
    double start = now() + 0.1;
    if (sched_getaffinity(0, sizeof set, &set) != 0) {
        return 1;
    }
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &set) &&
            !worker_start(&w[n++], cpu, start, (size_t)(seconds / PERIOD), units)) {
            return 1;
        }
    }
    for (int i = 0; i < n; i++) {
        pthread_join(w[i].id, NULL);
        for (size_t k = 0; k < w[i].n_piece; k++) {
            printf("%.1f %.1f\n", w[i].piece[k].late * 1e6, w[i].piece[k].took * 1e6);
        }
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "calibrate") == 0) {
        return calibrate();
    }
    if (argc == 3 && strtod(argv[1], NULL) >= PERIOD && strtol(argv[2], NULL, 10) > 0) {
        return measure(strtod(argv[1], NULL), strtol(argv[2], NULL, 10));
    }
    fprintf(stderr, "gateway: usage: gateway calibrate | gateway SECONDS UNITS\n");
    return 2;
}
