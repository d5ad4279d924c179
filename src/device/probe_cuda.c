/* probe_cuda.c: NVIDIA's GPUs, asked of the CUDA driver and of NVML. Runs in the child only.
 *
 * Owns the few functions of both libraries that are called here, declared by hand as the CUDA
 * driver API and NVML references give them: no header of theirs is needed to build. CUDA says what
 * a program can use; NVML knows free memory, the driver's version and the link, without the
 * context that CUDA would want for it. Where CUDA does not start, the GPUs that NVML sees are
 * reported with the reason.
 */
#include <stdio.h>
#include <string.h>

#include "device/probe_part.h"

#define CUDA_FILE "libcuda.so.1"
#define NVML_FILE "libnvidia-ml.so.1"

enum {
    CU_ATTRIBUTE_INTEGRATED = 18,
    CU_ATTRIBUTE_COMPUTE_MODE = 20,
    CU_ATTRIBUTE_CAPABILITY_MAJOR = 75,
    CU_ATTRIBUTE_CAPABILITY_MINOR = 76,
    CU_COMPUTE_MODE_PROHIBITED = 2
};

struct cuda_api {
    int (*init)(unsigned flags);
    int (*version)(int *version);
    int (*count)(int *n);
    int (*device)(int *device, int index);
    int (*name)(char *name, int n, int device);
    int (*memory)(size_t *bytes, int device);
    int (*attribute)(int *value, int attribute, int device);
    int (*bus)(char *id, int n, int device);
};

static const struct probe_symbol cuda_symbols[] = {
    {"cuInit", offsetof(struct cuda_api, init)},
    {"cuDriverGetVersion", offsetof(struct cuda_api, version)},
    {"cuDeviceGetCount", offsetof(struct cuda_api, count)},
    {"cuDeviceGet", offsetof(struct cuda_api, device)},
    {"cuDeviceGetName", offsetof(struct cuda_api, name)},
    {"cuDeviceTotalMem_v2", offsetof(struct cuda_api, memory)},
    {"cuDeviceGetAttribute", offsetof(struct cuda_api, attribute)},
    {"cuDeviceGetPCIBusId", offsetof(struct cuda_api, bus)},
};

struct nvml_memory {
    unsigned long long total, free, used;
};

struct nvml_api {
    int (*init)(void);
    int (*driver)(char *version, unsigned n);
    int (*count)(unsigned *n);
    int (*by_index)(unsigned index, void **device);
    int (*by_bus)(const char *id, void **device);
    int (*name)(void *device, char *name, unsigned n);
    int (*memory)(void *device, struct nvml_memory *m);
    int (*capability)(void *device, int *major, int *minor);
    int (*link_generation)(void *device, unsigned *generation);
    int (*link_width)(void *device, unsigned *width);
};

static const struct probe_symbol nvml_symbols[] = {
    {"nvmlInit_v2", offsetof(struct nvml_api, init)},
    {"nvmlSystemGetDriverVersion", offsetof(struct nvml_api, driver)},
    {"nvmlDeviceGetCount_v2", offsetof(struct nvml_api, count)},
    {"nvmlDeviceGetHandleByIndex_v2", offsetof(struct nvml_api, by_index)},
    {"nvmlDeviceGetHandleByPciBusId_v2", offsetof(struct nvml_api, by_bus)},
    {"nvmlDeviceGetName", offsetof(struct nvml_api, name)},
    {"nvmlDeviceGetMemoryInfo", offsetof(struct nvml_api, memory)},
    {"nvmlDeviceGetCudaComputeCapability", offsetof(struct nvml_api, capability)},
    {"nvmlDeviceGetCurrPcieLinkGeneration", offsetof(struct nvml_api, link_generation)},
    {"nvmlDeviceGetCurrPcieLinkWidth", offsetof(struct nvml_api, link_width)},
};

struct nvidia {
    struct probe *p;
    struct cuda_api cuda;
    struct nvml_api nvml;
    bool has_nvml;
    char driver[24]; /* of NVML: "550.54.14"; "" */
    int version;     /* of CUDA */
};

struct reason {
    int code;
    const char *text;
};

/* The numbers of CUresult that a start can end with. */
static const char *cuda_reason(int code, char *other, size_t n) {
    static const struct reason reasons[] = {
        {2, "out of memory"},
        {34, "only a stub of the driver is installed"},
        {46, "the device is in use by others, or not available"},
        {100, "no GPU is there, or CUDA_VISIBLE_DEVICES hides it, or this user may not open "
              "/dev/nvidia*"},
        {101, "no such device"},
        {304, "the operating system refused, or this user may not open /dev/nvidia*"},
        {800, "this user has no permission to use it"},
        {801, "it is not supported on this machine"},
        {802, "the system is not ready yet: a service of the driver does not run"},
        {803, "the driver in the kernel and its library have different versions: restart the "
              "machine, or install the driver again"},
        {804, "the library is newer than the driver in the kernel, and this GPU cannot bridge it"},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        if (reasons[i].code == code) {
            return reasons[i].text;
        }
    }
    snprintf(other, n, "error %d of CUDA", code);
    return other;
}

static const char *nvml_reason(int code, char *other, size_t n) {
    static const struct reason reasons[] = {
        {4, "this user has no permission"},
        {9, "the driver is not loaded in the kernel"},
        {12, "a library of the driver is missing"},
        {15, "the GPU has fallen off the bus"},
        {18, "the driver in the kernel and its library have different versions: restart the "
             "machine, or install the driver again"},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        if (reasons[i].code == code) {
            return reasons[i].text;
        }
    }
    snprintf(other, n, "error %d of NVML", code);
    return other;
}

/* ---- NVML ------------------------------------------------------------------------------ */

static void nvml_start(struct nvidia *v) {
    char other[48];
    struct os_library *l = probe_open(v->p, NVML_FILE, NVML_FILE);
    if (!l || !probe_bind(v->p, l, &v->nvml, nvml_symbols,
                          sizeof nvml_symbols / sizeof *nvml_symbols, NVML_FILE)) {
        return;
    }
    probe_step(v->p, "nvmlInit_v2");
    int rc = v->nvml.init();
    if (rc) {
        probe_warn(v->p, "NVML does not start: %s", nvml_reason(rc, other, sizeof other));
        return;
    }
    v->has_nvml = true;
    if (v->nvml.driver(v->driver, sizeof v->driver)) {
        v->driver[0] = '\0';
    }
    v->driver[sizeof v->driver - 1] = '\0';
}

static void nvml_facts(struct nvidia *v, void *device, struct machine_gpu *g) {
    struct nvml_memory m = {0};
    unsigned generation = 0, width = 0;
    if (v->nvml.memory(device, &m) == 0) {
        g->memory_free = m.free;
        g->memory_total = g->memory_total ? g->memory_total : m.total;
    }
    if (v->nvml.link_generation(device, &generation) == 0 &&
        v->nvml.link_width(device, &width) == 0 && generation < 1000 && width < 1000) {
        g->link_generation = (int)generation;
        g->link_width = (int)width;
    }
}

static void driver_text(const struct nvidia *v, struct machine_gpu *g) {
    if (v->version > 0) {
        snprintf(g->driver, sizeof g->driver, "%s%sCUDA %d.%d%s", v->driver,
                 v->driver[0] ? " (" : "", v->version / 1000, v->version % 1000 / 10,
                 v->driver[0] ? ")" : "");
    } else {
        snprintf(g->driver, sizeof g->driver, "%s", v->driver);
    }
}

/* Where CUDA did not start: what there would be. */
static void nvml_devices(struct nvidia *v, const char *why) {
    unsigned n = 0;
    probe_step(v->p, "nvmlDeviceGetCount_v2");
    if (!v->has_nvml || v->nvml.count(&n) || n == 0) {
        probe_warn(v->p, "CUDA does not start: %s", why);
        return;
    }
    for (unsigned i = 0; i < n && i < MACHINE_GPU_MAX; i++) {
        struct probe_device d = {.gpu = {.index = (int)i}, .cuda = v->version};
        struct machine_gpu *g = &d.gpu;
        void *device = NULL;
        probe_step(v->p, "nvmlDeviceGetHandleByIndex_v2");
        if (v->nvml.by_index(i, &device) == 0) {
            if (v->nvml.name(device, g->name, sizeof g->name)) {
                g->name[0] = '\0';
            }
            g->name[sizeof g->name - 1] = '\0';
            v->nvml.capability(device, &g->capability_major, &g->capability_minor);
            nvml_facts(v, device, g);
        }
        driver_text(v, g);
        snprintf(g->why, sizeof g->why, "CUDA does not start: %s", why);
        probe_found(v->p, &d);
    }
}

/* ---- CUDA ------------------------------------------------------------------------------ */

static int attribute(struct nvidia *v, int device, int which) {
    int value = 0;
    return v->cuda.attribute(&value, which, device) == 0 ? value : 0;
}

static void cuda_device(struct nvidia *v, int index) {
    struct probe_device d = {.gpu = {.index = index}, .cuda = v->version};
    struct machine_gpu *g = &d.gpu;
    char bus[32] = "", other[48], step[48];
    void *same = NULL;
    int device = -1;
    size_t bytes = 0;
    driver_text(v, g);
    snprintf(step, sizeof step, "cuDeviceGet, device %d", index);
    probe_step(v->p, step);
    int rc = v->cuda.device(&device, index);
    if (rc == 0) {
        rc = v->cuda.name(g->name, sizeof g->name, device);
        g->name[sizeof g->name - 1] = '\0';
    }
    if (rc == 0) {
        rc = v->cuda.memory(&bytes, device);
    }
    if (rc) {
        snprintf(g->why, sizeof g->why, "%s", cuda_reason(rc, other, sizeof other));
        probe_found(v->p, &d);
        return;
    }
    g->memory_total = bytes;
    g->capability_major = attribute(v, device, CU_ATTRIBUTE_CAPABILITY_MAJOR);
    g->capability_minor = attribute(v, device, CU_ATTRIBUTE_CAPABILITY_MINOR);
    g->unified = attribute(v, device, CU_ATTRIBUTE_INTEGRATED) == 1;
    if (attribute(v, device, CU_ATTRIBUTE_COMPUTE_MODE) == CU_COMPUTE_MODE_PROHIBITED) {
        snprintf(g->why, sizeof g->why,
                 "its compute mode is 'prohibited': nvidia-smi -c 0 ends that");
    }
    probe_step(v->p, "nvmlDeviceGetHandleByPciBusId_v2");
    if (v->has_nvml && v->cuda.bus(bus, sizeof bus, device) == 0) {
        bus[sizeof bus - 1] = '\0';
        if (v->nvml.by_bus(bus, &same) == 0) {
            nvml_facts(v, same, g);
        }
    }
    probe_found(v->p, &d);
}

static void cuda_devices(struct nvidia *v) {
    char other[48];
    int n = 0;
    probe_step(v->p, "cuDeviceGetCount");
    int rc = v->cuda.count(&n);
    if (rc) {
        nvml_devices(v, cuda_reason(rc, other, sizeof other));
        return;
    }
    if (n < 0 || n > MACHINE_GPU_MAX) {
        probe_warn(v->p, "CUDA says that it has %d devices; at most %d are looked at", n,
                   MACHINE_GPU_MAX);
    } else if (n == 0) {
        probe_warn(v->p, "the CUDA driver is installed and finds no GPU");
    }
    for (int i = 0; i < n && i < MACHINE_GPU_MAX; i++) {
        cuda_device(v, i);
    }
}

void probe_cuda(struct probe *p) {
    struct nvidia v = {.p = p};
    char other[48];
    nvml_start(&v);
    struct os_library *l = probe_open(p, CUDA_FILE, CUDA_FILE);
    if (!l) {
        if (v.has_nvml) {
            nvml_devices(&v, CUDA_FILE " is missing");
        }
        return;
    }
    if (!probe_bind(p, l, &v.cuda, cuda_symbols, sizeof cuda_symbols / sizeof *cuda_symbols,
                    CUDA_FILE)) {
        return;
    }
    probe_step(p, "cuDriverGetVersion");
    if (v.cuda.version(&v.version) || v.version < 0) {
        v.version = 0;
    }
    probe_step(p, "cuInit");
    int rc = v.cuda.init(0);
    if (rc) {
        nvml_devices(&v, cuda_reason(rc, other, sizeof other));
    } else {
        cuda_devices(&v);
    }
}
