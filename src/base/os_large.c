/* os_large.c: large pages of memory, for what is read from end to end again and again.
 *
 * Owns the moving of a mapped file's pages. A processor looks an address up once a page, and in a
 * virtual machine that costs most: weights in pages of 2 MiB are read up to half as fast again.
 * Few systems give such pages to a file's mapping, all of Linux gives them to memory.
 * Refuses the question whether there is memory for it: who asks has looked.
 * Invariant: a byte of the mapping has the same address and the same value, before and after.
 */
#define _GNU_SOURCE /* mremap */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "base/os.h"

#if defined(__linux__)

static uintptr_t round_up(uintptr_t at) {
    return (at + OS_LARGE - 1) / OS_LARGE * OS_LARGE;
}

double os_map_large(const struct os_map *m) {
    const uintptr_t base = (uintptr_t)m->data;
    FILE *f = m->size ? fopen("/proc/self/smaps", "r") : NULL;
    char line[512];
    bool inside = false;
    double bytes = 0;
    while (f && fgets(line, sizeof line, f)) {
        unsigned long long from, to, kb;
        if (sscanf(line, "%llx-%llx ", &from, &to) == 2) {
            inside = to > base && from < base + m->size;
        } else if (inside && (sscanf(line, "FilePmdMapped: %llu kB", &kb) == 1 ||
                              sscanf(line, "AnonHugePages: %llu kB", &kb) == 1)) {
            bytes += 1024.0 * (double)kb;
        }
    }
    if (!f) {
        return -1;
    }
    fclose(f);
    return bytes < (double)m->size ? bytes / (double)m->size : 1;
}

static long faults(void) {
    struct rusage u;
    return getrusage(RUSAGE_THREAD, &u) == 0 ? u.ru_minflt : 0;
}

/* Puts a large page of the same bytes in the place of those at `from`. */
static bool large_page(uint8_t *from) {
    uint8_t *room =
        mmap(NULL, 2 * OS_LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED) {
        return false;
    }
    uint8_t *to = room + (round_up((uintptr_t)room) - (uintptr_t)room);
    bool good = madvise(to, OS_LARGE, MADV_HUGEPAGE) == 0;
    if (good) {
        long before = faults();
        to[0] = 0;
        to[OS_LARGE - 1] = 0;
        to[OS_LARGE / 2] = 0;
        good = faults() - before < 2; /* one page holds all three, or the system has none */
    }
    if (good) {
        memcpy(to, from, OS_LARGE);
        good = mprotect(to, OS_LARGE, PROT_READ) == 0 &&
               mremap(to, OS_LARGE, OS_LARGE, MREMAP_MAYMOVE | MREMAP_FIXED, from) != MAP_FAILED;
    }
    munmap(room, (size_t)(to - room));
    munmap(good ? to + OS_LARGE : to, (size_t)(room + 2 * OS_LARGE - to) - (good ? OS_LARGE : 0));
    return good;
}

bool os_map_settle(struct os_map *m, size_t *at) {
    uintptr_t base = (uintptr_t)m->data, page = round_up(base + *at);
    if (m->copied || m->lost || page + OS_LARGE > base + m->size || !large_page((uint8_t *)page)) {
        return false;
    }
    m->settled = true;
    *at = page + OS_LARGE - base;
    return true;
}

#else

double os_map_large(const struct os_map *m) {
    (void)m;
    return -1;
}

bool os_map_settle(struct os_map *m, size_t *at) {
    (void)m, (void)at;
    return false;
}

#endif
