/* probe.h: which accelerators there are, asked of drivers that may hang, crash or lie.
 *
 * Owns the two halves of one program: the parent runs this program again as a child under a time
 * limit and reads a line of JSON for each device; the child loads the drivers (CUDA and NVML,
 * Metal, OpenCL) at run time and prints those lines as soon as it knows them, so that a driver that
 * hangs at the second device does not lose the first. Refuses to link a driver or to load one in
 * the parent. Invariant: whatever a driver does, the parent ends in time with a true report.
 */
#ifndef IGN_DEVICE_PROBE_H
#define IGN_DEVICE_PROBE_H

#include "base/buf.h"
#include "base/os.h"
#include "device/machine.h"

struct probe_opts {
    const char *program;      /* this program's file; the child is `program probe-devices ...` */
    const char *drivers;      /* folder looked in, in place of the system's; NULL: the system's */
    double seconds;           /* time limit of each kind of driver; 0: 5 */
    const volatile int *stop; /* a signal that ends it; may be NULL */
};

/* Adds to m->gpu and m->warning. A driver that hangs, crashes, floods or talks nonsense is a
 * warning that says which and how. ERR_CANCELLED, ERR_NOMEM; else ERR_OK. */
enum err_code probe_devices(struct machine *m, const struct probe_opts *o, struct err *e);

/* The parent's reading of one child's lines and of its end; what probe_devices does with each. */
void probe_report(struct machine *m, enum machine_gpu_kind kind, struct str lines,
                  const struct os_child *child, double seconds);

/* The child's half: appends a JSON line for each device of one kind ("cuda", "metal", "opencl") and
 * calls flush(arg) after each. `drivers` as above. Always ends with a line that says so. */
void probe_kind(const char *kind, const char *drivers, struct buf *out, void (*flush)(void *arg),
                void *arg);

#endif
