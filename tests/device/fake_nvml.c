/* fake_nvml.c: NVML to fake_cuda.c's driver, with the same GPUs in the other order.
 */
#include "fake_act.h"

struct memory {
    unsigned long long total, free, used;
};

SHOWN int nvmlInit_v2(void);
SHOWN int nvmlSystemGetDriverVersion(char *version, unsigned n);
SHOWN int nvmlDeviceGetCount_v2(unsigned *n);
SHOWN int nvmlDeviceGetHandleByIndex_v2(unsigned index, const void **device);
SHOWN int nvmlDeviceGetHandleByPciBusId_v2(const char *id, const void **device);
SHOWN int nvmlDeviceGetName(const void *device, char *name, unsigned n);
SHOWN int nvmlDeviceGetMemoryInfo(const void *device, struct memory *m);
SHOWN int nvmlDeviceGetCudaComputeCapability(const void *device, int *major, int *minor);
SHOWN int nvmlDeviceGetCurrPcieLinkGeneration(const void *device, unsigned *generation);
SHOWN int nvmlDeviceGetCurrPcieLinkWidth(const void *device, unsigned *width);

static const char small[] = "Fake GTX 1060", large[] = "Fake RTX 9000";

int nvmlInit_v2(void) {
    return plays("mismatch") ? 18 : plays("no-nvml") ? 9 : 0;
}

int nvmlSystemGetDriverVersion(char *version, unsigned n) {
    if (plays("garbage")) {
        memset(version, 0x07, n);
    } else {
        snprintf(version, n, "550.54.14");
    }
    return 0;
}

int nvmlDeviceGetCount_v2(unsigned *n) {
    *n = 2;
    return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, const void **device) {
    *device = index == 0 ? small : large;
    return 0;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *id, const void **device) {
    *device = strcmp(id, "0000:01:00.0") == 0 ? large : small;
    return strcmp(id, "0000:01:00.0") == 0 || strcmp(id, "0000:02:00.0") == 0 ? 0 : 6;
}

int nvmlDeviceGetName(const void *device, char *name, unsigned n) {
    snprintf(name, n, "%s", (const char *)device);
    return 0;
}

int nvmlDeviceGetMemoryInfo(const void *device, struct memory *m) {
    m->total = (device == large ? 24ull : 6ull) << 30;
    m->free = plays("absurd") ? -1ull : m->total - (1ull << 30);
    m->used = 1ull << 30;
    return 0;
}

int nvmlDeviceGetCudaComputeCapability(const void *device, int *major, int *minor) {
    *major = device == large ? 8 : 6;
    *minor = device == large ? 9 : 1;
    return 0;
}

int nvmlDeviceGetCurrPcieLinkGeneration(const void *device, unsigned *generation) {
    *generation = plays("absurd") ? 4000000000u : device == large ? 4 : 3;
    return 0;
}

int nvmlDeviceGetCurrPcieLinkWidth(const void *device, unsigned *width) {
    *width = device == large ? 16 : 8;
    return 0;
}
