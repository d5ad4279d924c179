/* ceiling.c: clocks and threads around the loops of cpu/peak.h.
 *
 * A short run hands each thread several items, so that one that is slowed by a neighbour takes
 * fewer; a rate is all the work over the time from the first to the last.
 * Invariant: nothing is measured while another figure is.
 */
#include "kern/ceiling.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/pool.h"
#include "device/machine.h"
#include "kern/cpu/micro.h"
#include "kern/cpu/peak.h"

/* Read in turn, so that each byte comes from memory each time. An item of reading is short enough
 * that a run of all threads is. */
enum {
    MEMORY_USUAL = 256 << 20,
    MEMORY_MOST = 1 << 30,
    MEMORY_LEAST = 16 << 20,
    READ_PART = 1 << 20
};
enum { ITEMS_EACH = 4, READS_EACH = 64, ROUNDS_MAX = 1 << 22 };
#define ITEM_SECONDS 300e-6

struct work {
    struct pool *pool;
    int threads;
    struct peak peak;
    peak_fn fn; /* of the figure that is measured now; NULL: reading */
    int rounds; /* in an item */
    uint8_t *memory;
    size_t size, at; /* `at`: where the next run reads */
    uint64_t macs;   /* of an item */
};

static void item_fill(void *arg, int item, int thread) {
    struct work *w = arg;
    (void)thread;
    memset(w->memory + (size_t)item * READ_PART, item + 1, READ_PART);
}

static void item_read(void *arg, int item, int thread) {
    struct work *w = arg;
    (void)thread;
    size_t at = (w->at + (size_t)item * READ_PART) % w->size;
    w->peak.read(w->memory + at, READ_PART);
}

static void item_macs(void *arg, int item, int thread) {
    struct work *w = arg;
    (void)item;
    (void)thread;
    w->fn(w->rounds);
}

/* One short run: bytes read or multiply-adds, and the seconds they took. */
static double run_once(struct work *w, double *took) {
    int n = w->threads * (w->fn ? ITEMS_EACH : READS_EACH);
    double start = os_now();
    pool_run(w->pool, w->fn ? item_macs : item_read, w, n);
    *took = os_now() - start;
    if (w->fn) {
        return (double)n * (double)w->macs;
    }
    w->at = (w->at + (size_t)n * READ_PART) % w->size;
    return (double)n * READ_PART;
}

static peak_fn loop_of(const struct work *w, enum ceiling which) {
    const peak_fn fn[CEILING_N] = {
        [CEILING_F32] = w->peak.f32,     [CEILING_BF16] = w->peak.bf16,
        [CEILING_INT8] = w->peak.int8,   [CEILING_INT4] = w->peak.int4,
        [CEILING_INT5] = w->peak.int5,   [CEILING_INT6] = w->peak.int6,
        [CEILING_INT16] = w->peak.int16,
    };
    return fn[which];
}

/* The first figure that has the same loop as this one; CEILING_N: there is no such loop. */
static enum ceiling same_loop(const struct work *w, enum ceiling which) {
    enum ceiling first = CEILING_READ;
    if (which != CEILING_READ && !loop_of(w, which)) {
        return CEILING_N;
    }
    while (loop_of(w, first) != loop_of(w, which)) {
        first++;
    }
    return first;
}

/* Makes it the one that is measured, with rounds enough for an item of ITEM_SECONDS. */
static void set_loop(struct work *w, enum ceiling which) {
    double seconds = 0;
    w->fn = loop_of(w, which);
    for (w->rounds = 32; w->fn && w->rounds < ROUNDS_MAX && seconds < ITEM_SECONDS;) {
        w->rounds *= 2;
        double start = os_now();
        w->macs = w->fn(w->rounds);
        seconds = os_now() - start;
    }
}

/* The rate of one turn, GMAC/s or GB/s. Its first run wakes the threads and does not count, two at
 * least do. Of arithmetic the rate of the best short run; of reading that of all together, since
 * some find what they read in the last-level cache, as no reading of all weights does. */
static double run_turn(struct work *w, double seconds, const volatile int *stop) {
    double best = 0, all = 0, time = 0, took, end = os_now() + seconds;
    run_once(w, &took);
    for (int i = 0; (i < 2 || os_now() < end) && !os_stopped(stop); i++) {
        double done = run_once(w, &took);
        best = took > 0 && done / took > best ? done / took : best;
        all += done;
        time += took;
    }
    return 1e-9 * (w->fn || time <= 0 ? best : all / time);
}

/* ---- figures ------------------------------------------------------------------------------- */

const char *ceiling_name(enum ceiling which) {
    static const char *const name[CEILING_N] = {"read", "f32",  "bf16", "int8",
                                                "int4", "int5", "int6", "int16"};
    return name[which];
}

double ceiling_rate(const struct ceilings *c, enum ceiling which) {
    double best = 0;
    for (int i = 0; i < CEILING_REPEAT; i++) {
        best = c->turn[which][i] > best ? c->turn[which][i] : best;
    }
    return best;
}

/* Values that come from a table use a byte's whole range. */
enum ceiling ceiling_of(enum dtype type) {
    switch (type) {
    case DT_Q2_K:
    case DT_Q3_K:
    case DT_Q4_0:
    case DT_Q4_1:
    case DT_Q4_K: return CEILING_INT4;
    case DT_Q5_0:
    case DT_Q5_1:
    case DT_Q5_K: return CEILING_INT5;
    case DT_Q6_K: return CEILING_INT6;
    case DT_F32:
    case DT_F16:
    case DT_BF16: return CEILING_F32;
    default: return CEILING_INT8;
    }
}

static double spread_of(const double turn[CEILING_REPEAT]) {
    double v[CEILING_REPEAT];
    for (int i = 0; i < CEILING_REPEAT; i++) { /* insertion sort */
        int at = i;
        for (; at > 0 && v[at - 1] > turn[i]; at--) {
            v[at] = v[at - 1];
        }
        v[at] = turn[i];
    }
    double median = v[CEILING_REPEAT / 2];
    return median > 0 ? (v[CEILING_REPEAT - 1] - v[0]) / median : 0;
}

static void sum_up(struct ceilings *c) {
    c->read_gb_per_s = ceiling_rate(c, CEILING_READ);
    c->f32_gmac_per_s = ceiling_rate(c, CEILING_F32);
    c->bf16_gmac_per_s = ceiling_rate(c, CEILING_BF16);
    c->int8_gmac_per_s = ceiling_rate(c, CEILING_INT8);
    for (int t = 0; t < DT_MAX; t++) {
        bool known = dtype_info((uint32_t)t)->block > 0;
        enum ceiling of = ceiling_of((enum dtype)t);
        c->quant_gmac_per_s[t] = known && of != CEILING_F32 ? ceiling_rate(c, of) : 0;
    }
    for (int i = 0; i < CEILING_N; i++) {
        c->spread_of[i] = spread_of(c->turn[i]);
        c->spread = c->spread_of[i] > c->spread ? c->spread_of[i] : c->spread;
    }
}

/* ---- measuring ----------------------------------------------------------------------------- */

/* Far more than the last-level cache holds, and at most a quarter of the memory that is free. */
static size_t memory_size(void) {
    struct machine m;
    size_t size = MEMORY_USUAL;
    machine_read(&m, NULL);
    while (size < MEMORY_MOST && size < 8 * m.cpu.l3) {
        size *= 2;
    }
    while (size > MEMORY_LEAST && size > m.memory.usable / 4) {
        size /= 2;
    }
    return size;
}

static enum err_code work_open(struct work *w, struct ceilings *c, const char *level, int threads,
                               struct err *e) {
    struct micro m;
    enum err_code code = micro_choose(&m, level, e);
    if (code != ERR_OK) {
        return code;
    }
    peak_choose(&w->peak, m.name);
    w->threads = threads > 0 ? threads : os_cpu_count();
    snprintf(c->level, sizeof c->level, "%s", m.name);
    c->threads = w->threads;
    code = pool_create(&w->pool, w->threads, e);
    if (code != ERR_OK) {
        return code;
    }
    w->size = memory_size();
    w->memory = os_pages(w->size);
    if (!w->memory) {
        return err_set(e, ERR_NOMEM, "out of memory for %zu MiB to read from", w->size >> 20);
    }
    os_pages_large(w->memory, w->size); /* the best there is: files may lie so, too */
    pool_run(w->pool, item_fill, w, (int)(w->size / READ_PART));
    return ERR_OK;
}

static void work_close(struct work *w) {
    os_pages_free(w->memory, w->size);
    pool_free(w->pool);
}

/* Turn r of every figure; a loop that several have is measured once. */
static enum err_code measure_turn(struct work *w, struct ceilings *c, int r, double seconds,
                                  const volatile int *stop, struct err *e) {
    for (int i = 0; i < CEILING_N; i++) {
        enum ceiling first = same_loop(w, (enum ceiling)i);
        if (first == (enum ceiling)i) {
            set_loop(w, first);
            c->turn[i][r] = run_turn(w, seconds, stop);
        } else if (first != CEILING_N) {
            c->turn[i][r] = c->turn[first][r];
        }
        if (os_stopped(stop)) {
            return err_set(e, ERR_CANCELLED, "stopped while the ceilings were measured");
        }
    }
    return ERR_OK;
}

enum err_code ceilings_measure(struct ceilings *c, const char *level, int threads, double seconds,
                               const volatile int *stop, struct err *e) {
    struct work w = {0};
    *c = (struct ceilings){0};
    enum err_code code = work_open(&w, c, level, threads, e);
    if (code != ERR_OK) {
        goto done;
    }
    int loops = 0;
    for (int i = 0; i < CEILING_N; i++) {
        loops += same_loop(&w, (enum ceiling)i) == (enum ceiling)i;
    }
    for (int r = 0; r < CEILING_REPEAT && code == ERR_OK; r++) {
        code = measure_turn(&w, c, r, seconds / (CEILING_REPEAT * loops), stop, e);
    }
    if (code == ERR_OK) {
        sum_up(c);
    }
done:
    work_close(&w);
    return code;
}
