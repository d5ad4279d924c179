/* fake_cuda.c: a CUDA driver that acts out: two unequal GPUs, or what fake_act.h and IGN_FAKE say.
 *
 * Owns no truth: only the calls that src/device/probe_cuda.c makes, by the numbers of the real
 * ones.
 */
#include "fake_act.h"

static int start_code(void) {
    return plays("no-device")       ? 100
           : plays("no-permission") ? 800
           : plays("mismatch")      ? 803
           : plays("stub")          ? 34
           : plays("strange-error") ? -77
                                    : 0;
}

SHOWN int cuInit(unsigned flags);
SHOWN int cuDriverGetVersion(int *version);
SHOWN int cuDeviceGetCount(int *n);
SHOWN int cuDeviceGet(int *device, int index);
SHOWN int cuDeviceGetName(char *name, int n, int device);
SHOWN int cuDeviceTotalMem_v2(size_t *bytes, int device);
SHOWN int cuDeviceGetAttribute(int *value, int attribute, int device);
SHOWN int cuDeviceGetPCIBusId(char *id, int n, int device);

int cuInit(unsigned flags) {
    (void)flags;
    if (plays("hang")) {
        hang();
    }
    return start_code();
}

int cuDriverGetVersion(int *version) {
    *version = plays("old-driver") ? 11040 : plays("absurd") ? -2147483647 : 12040;
    return 0;
}

int cuDeviceGetCount(int *n) {
    *n = plays("none") ? 0 : plays("negative") ? -3 : plays("many") ? 1000000 : 2;
    return 0;
}

int cuDeviceGet(int *device, int index) {
    *device = index + 40;
    if (index == 1) {
        if (plays("hang-second")) {
            hang();
        }
        misbehave();
        return plays("busy") ? 46 : 0;
    }
    return 0;
}

int cuDeviceGetName(char *name, int n, int device) {
    if (plays("garbage")) {
        memset(name, device == 40 ? 0xff : 0x1b, (size_t)n); /* and no end */
    } else {
        snprintf(name, (size_t)n, "%s", device == 40 ? "Fake RTX 9000" : "Fake GTX 1060");
    }
    return 0;
}

int cuDeviceTotalMem_v2(size_t *bytes, int device) {
    *bytes = plays("absurd") ? (device == 40 ? (size_t)-1 : 4096)
                             : (size_t)(device == 40 ? 24 : 6) << 30;
    return 0;
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
    bool first = device == 40;
    switch (attribute) {
    case 75: *value = plays("absurd") ? -7 : first ? 8 : 6; break;
    case 76: *value = plays("absurd") ? 1000 : first ? 9 : 1; break;
    case 20: *value = plays("prohibited") ? 2 : 0; break;
    default: *value = 0; break;
    }
    return 0;
}

int cuDeviceGetPCIBusId(char *id, int n, int device) {
    snprintf(id, (size_t)n, "0000:0%d:00.0", device - 39);
    return 0;
}
