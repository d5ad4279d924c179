/* probe_part.h: what the child's three probes share: how they say what they find, and how they
 * reach a driver.
 *
 * Owns the lines between child and parent, each a JSON object with one member:
 *     {"step":"cuInit"}       the call that comes next, so that a hang has a name
 *     {"warning":"..."}       for the user
 *     {"device":{...}}        one accelerator
 *     {"end":true}            the last line
 * Invariant: a line is flushed before the next call into a driver.
 */
#ifndef IGN_DEVICE_PROBE_PART_H
#define IGN_DEVICE_PROBE_PART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/os.h"
#include "device/machine.h"

struct probe {
    const char *drivers; /* folder in place of the system's search path; NULL: none */
    struct buf *out;
    void (*flush)(void *arg);
    void *arg;
};

/* A machine_gpu as a driver tells it, not believed yet: sizes and numbers may be anything. `why`
 * is a reason against using it that only the driver could tell. */
struct probe_device {
    struct machine_gpu gpu;
    int cuda; /* newest CUDA version that the driver knows, 12040 for 12.4; 0: not CUDA */
};

void probe_step(struct probe *p, const char *call);
void probe_warn(struct probe *p, const char *fmt, ...) IGN_PRINTF(2, 3);
void probe_found(struct probe *p, const struct probe_device *d);

/* Opens a driver's library: `file` in the folder of drivers, or else `name` as the system finds it.
 * NULL where there is none, which is no news; a library that is there and cannot be loaded is a
 * warning. */
struct os_library *probe_open(struct probe *p, const char *name, const char *file);

/* A function of a library, and where its pointer goes in the caller's struct. */
struct probe_symbol {
    const char *name;
    size_t at;
};
/* Fills api from s[0..n); a symbol that is missing is a warning and false. */
bool probe_bind(struct probe *p, struct os_library *l, void *api, const struct probe_symbol *s,
                size_t n, const char *file);

void probe_cuda(struct probe *p);
void probe_metal(struct probe *p);
void probe_opencl(struct probe *p);

#endif
