/* fake_opencl.c: an OpenCL loader with one platform: a GPU and the processor.
 */
#include <stdint.h>

#include "fake_act.h"

SHOWN int clGetPlatformIDs(unsigned n, const void **platform, unsigned *found);
SHOWN int clGetDeviceIDs(const void *platform, uint64_t type, unsigned n, const void **device,
                         unsigned *found);
SHOWN int clGetDeviceInfo(const void *device, unsigned what, size_t n, void *value, size_t *used);

static const char gpu[] = "Fake Arc", cpu[] = "Fake processor";

int clGetPlatformIDs(unsigned n, const void **platform, unsigned *found) {
    (void)n;
    if (plays("hang") || plays("hang-second")) {
        hang();
    }
    platform[0] = gpu;
    *found = 1;
    return plays("none") ? -1001 : plays("strange-error") ? -6 : 0;
}

int clGetDeviceIDs(const void *platform, uint64_t type, unsigned n, const void **device,
                   unsigned *found) {
    (void)platform;
    (void)type;
    for (unsigned i = 0; i < n; i++) {
        device[i] = i == 0 ? gpu : cpu;
    }
    *found = plays("many") ? 4000000000u : 2;
    return 0;
}

int clGetDeviceInfo(const void *device, unsigned what, size_t n, void *value, size_t *used) {
    uint64_t number = what == 0x1000   ? (device == gpu ? 4 : 2)
                      : what == 0x101F ? (plays("absurd") ? (uint64_t)-1 : (uint64_t)16 << 30)
                      : what == 0x1027 ? !plays("busy")
                                       : 0;
    (void)used;
    if (what < 0x102B || what > 0x102F) {
        memcpy(value, &number, n < sizeof number ? n : sizeof number);
        return 0;
    }
    const char *text = what == 0x102B ? device : what == 0x102D ? "24.1" : "OpenCL 3.0 fake";
    snprintf(value, n, "%s", text);
    return 0;
}
