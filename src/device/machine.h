/* machine.h: what this machine has, as data: processor, memory, limits, accelerators.
 *
 * Owns the structs and the reading of them; plan.h decides what to do with them. Refuses to open a
 * GPU driver in this process: that is probe.h's, behind a child and a time limit.
 * Every file is read below `root` ("" is the machine itself), so that a test can bring a machine of
 * its own. Invariant: a number that could not be read is 0 and its absence is a warning; nothing
 * that a file or a driver says is believed past its bounds.
 */
#ifndef IGN_DEVICE_MACHINE_H
#define IGN_DEVICE_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum { MACHINE_GPU_MAX = 16, MACHINE_WARNING_MAX = 16, MACHINE_ISA_MAX = 24 };

struct machine_cpu {
    char vendor[32], name[96];
    const char *isa[MACHINE_ISA_MAX]; /* [n_isa] sets that this program knows and the CPU has */
    int n_isa;
    int sockets, cores, threads; /* of the machine: packages, physical cores, hardware threads */
    int usable;                  /* hardware threads that this process may run on (affinity) */
    char affinity[96];           /* which these are, "0-3,8"; of a long list the beginning */
    int usable_cores;            /* physical cores among them */
    int slow_cores;              /* of these, those of a hybrid processor's slower kind */
    double quota;                /* processors that the control group grants; 0: no limit */
    char quota_from[96];         /* file that says so; "" if none */
    int budget; /* threads worth starting: the least of usable and of the quota's nearest, >= 1 */
    uint64_t l1d, l2, l3; /* bytes: l1d and l2 of one core, l3 of one cluster; 0: unknown */
};

struct machine_memory {
    uint64_t total, available; /* of the machine, bytes */
    uint64_t limit;            /* of the control group, the least on the way up; 0: none */
    uint64_t limit_left;       /* what may still be taken below it: limit - use + reclaimable */
    char limit_from[96];       /* file that says so; "" if none */
    uint64_t usable;           /* what a new process may take: min(available, limit_left) */
};

enum machine_gpu_kind { GPU_CUDA, GPU_METAL, GPU_OPENCL };

struct machine_gpu {
    enum machine_gpu_kind kind;
    int index; /* among those of its kind: the N of cuda:N */
    char name[96], driver[48];
    int capability_major, capability_minor; /* CUDA's compute capability; 0: has none */
    uint64_t memory_total, memory_free;     /* bytes; Metal: recommended working set */
    bool unified;                           /* shares its memory with the processor */
    int link_generation, link_width;        /* PCI Express, now; 0: unknown or none */
    bool usable;                            /* a back end of this program could use it */
    char why[128];                          /* why not, or what is to know; "" */
};

/* Lifetime: the caller's; holds no pointers but to constants. */
struct machine {
    char platform[64]; /* "linux x86_64" */
    struct machine_cpu cpu;
    struct machine_memory memory;
    struct machine_gpu gpu[MACHINE_GPU_MAX];
    int n_gpu;
    char warning[MACHINE_WARNING_MAX][192];
    int n_warning;
};

/* Processor, memory and limits, from `root`'s /proc and /sys (NULL or "": this machine). Never
 * fails: what cannot be read is 0 and a warning. Leaves gpu[] empty. */
void machine_read(struct machine *m, const char *root);
/* memory.usable alone, in less than a millisecond and without an allocation, for who takes memory
 * bit by bit; 0: unknown. `text` [SYS_TEXT_MAX] is room of the caller's (device/sys_root.h). */
uint64_t machine_memory_usable(const char *root, char *text);
/* Once the drivers have been asked: warns of an NVIDIA card that none of them has told of. */
void machine_pci(struct machine *m, const char *root);
void machine_warn(struct machine *m, const char *fmt, ...) IGN_PRINTF(2, 3);
const char *machine_gpu_kind_name(enum machine_gpu_kind kind); /* "cuda", "metal", "opencl" */

#endif
