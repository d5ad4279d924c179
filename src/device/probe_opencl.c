/* probe_opencl.c: what the OpenCL loader knows, of every platform. Runs in the child only.
 *
 * Owns the few functions and numbers of OpenCL 1.1 that are used here, declared by hand as its
 * specification gives them. A device that is the processor itself (PoCL) is reported and never
 * usable: the cpu back end serves it better.
 */
#include <stdio.h>

#include "device/probe_part.h"

#define OPENCL_FILE "libOpenCL.so.1"

enum {
    CL_DEVICE_NOT_FOUND = -1,
    CL_PLATFORM_NOT_FOUND_KHR = -1001,
    CL_DEVICE_TYPE = 0x1000,
    CL_DEVICE_GLOBAL_MEM_SIZE = 0x101F,
    CL_DEVICE_AVAILABLE = 0x1027,
    CL_DEVICE_NAME = 0x102B,
    CL_DRIVER_VERSION = 0x102D,
    CL_DEVICE_VERSION = 0x102F,
    CL_DEVICE_HOST_UNIFIED_MEMORY = 0x1035,
    CL_TYPE_CPU = 2
};
#define CL_DEVICE_TYPE_ALL 0xFFFFFFFFu

struct opencl_api {
    int (*platforms)(unsigned n, void **platform, unsigned *found);
    int (*devices)(void *platform, uint64_t type, unsigned n, void **device, unsigned *found);
    int (*info)(void *device, unsigned what, size_t n, void *value, size_t *used);
};

static const struct probe_symbol symbols[] = {
    {"clGetPlatformIDs", offsetof(struct opencl_api, platforms)},
    {"clGetDeviceIDs", offsetof(struct opencl_api, devices)},
    {"clGetDeviceInfo", offsetof(struct opencl_api, info)},
};

static void text_of(const struct opencl_api *cl, void *device, unsigned what, char *out, size_t n) {
    char text[256] = "";
    if (cl->info(device, what, sizeof text - 1, text, NULL)) {
        text[0] = '\0';
    }
    text[sizeof text - 1] = '\0';
    snprintf(out, n, "%.*s", (int)n - 1, text);
}

static uint64_t number_of(const struct opencl_api *cl, void *device, unsigned what, size_t bytes) {
    uint64_t v = 0; /* little-endian, as every processor of this program is */
    return cl->info(device, what, bytes, &v, NULL) == 0 ? v : 0;
}

static void device_found(struct probe *p, const struct opencl_api *cl, void *device, int index) {
    struct probe_device d = {.gpu = {.index = index}};
    struct machine_gpu *g = &d.gpu;
    char driver[32], version[24];
    probe_step(p, "clGetDeviceInfo");
    text_of(cl, device, CL_DEVICE_NAME, g->name, sizeof g->name);
    text_of(cl, device, CL_DRIVER_VERSION, driver, sizeof driver);
    text_of(cl, device, CL_DEVICE_VERSION, version, sizeof version);
    snprintf(g->driver, sizeof g->driver, "%s (%.10s)", driver, version); /* "OpenCL 3.0" */
    g->memory_total = number_of(cl, device, CL_DEVICE_GLOBAL_MEM_SIZE, sizeof(uint64_t));
    g->unified = number_of(cl, device, CL_DEVICE_HOST_UNIFIED_MEMORY, sizeof(unsigned)) == 1;
    if (number_of(cl, device, CL_DEVICE_TYPE, sizeof(uint64_t)) & CL_TYPE_CPU) {
        snprintf(g->why, sizeof g->why, "it is the processor itself, which is used without OpenCL");
    } else if (number_of(cl, device, CL_DEVICE_AVAILABLE, sizeof(unsigned)) != 1) {
        snprintf(g->why, sizeof g->why, "its driver says that it is not available");
    }
    probe_found(p, &d);
}

void probe_opencl(struct probe *p) {
    struct opencl_api cl;
    void *platform[MACHINE_GPU_MAX], *device[MACHINE_GPU_MAX];
    unsigned n_platform = 0;
    int index = 0;
    struct os_library *l = probe_open(p, OPENCL_FILE, OPENCL_FILE);
    if (!l || !probe_bind(p, l, &cl, symbols, sizeof symbols / sizeof *symbols, OPENCL_FILE)) {
        return;
    }
    probe_step(p, "clGetPlatformIDs");
    int rc = cl.platforms(MACHINE_GPU_MAX, platform, &n_platform);
    if (rc && rc != CL_PLATFORM_NOT_FOUND_KHR) {
        probe_warn(p, "OpenCL does not start: error %d", rc);
    }
    if (rc) {
        return;
    }
    for (unsigned i = 0; i < n_platform && i < MACHINE_GPU_MAX; i++) {
        unsigned n = 0;
        probe_step(p, "clGetDeviceIDs");
        rc = cl.devices(platform[i], CL_DEVICE_TYPE_ALL, MACHINE_GPU_MAX, device, &n);
        if (rc && rc != CL_DEVICE_NOT_FOUND) {
            probe_warn(p, "a platform of OpenCL does not tell its devices: error %d", rc);
        }
        if (rc) {
            continue;
        }
        if (n > MACHINE_GPU_MAX) {
            probe_warn(p,
                       "a platform of OpenCL says that it has %u devices; at most %d are looked at",
                       n, MACHINE_GPU_MAX);
        }
        for (unsigned k = 0; k < n && k < MACHINE_GPU_MAX; k++) {
            device_found(p, &cl, device[k], index++);
        }
    }
}
