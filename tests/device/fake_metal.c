/* fake_metal.c: Metal and the Objective-C run time in one library, opened by both their names: an
 * array of two devices that understand the messages that src/device/probe_metal.c sends.
 */
#include <stdint.h>

#include "fake_act.h"

SHOWN void *MTLCopyAllDevices(void);
SHOWN void *sel_registerName(const char *name);
SHOWN uintptr_t objc_msgSend(const void *object, const char *message, uint64_t argument);

static char all[] = "array", first[] = "Fake M3", second[] = "Fake eGPU";

void *MTLCopyAllDevices(void) {
    if (plays("hang")) {
        hang();
    }
    return plays("none") ? NULL : all;
}

void *sel_registerName(const char *name) {
    return (void *)(uintptr_t)name;
}

uintptr_t objc_msgSend(const void *object, const char *message, uint64_t argument) {
    if (strcmp(message, "count") == 0) {
        return 2;
    }
    if (strcmp(message, "objectAtIndex:") == 0) {
        return (uintptr_t)(argument == 0 ? first : second);
    }
    if (strcmp(message, "name") == 0 || strcmp(message, "UTF8String") == 0) {
        return (uintptr_t)object;
    }
    if (strcmp(message, "hasUnifiedMemory") == 0) {
        return object == first;
    }
    if (strcmp(message, "recommendedMaxWorkingSetSize") == 0) {
        return (uintptr_t)(object == first ? 24 : 1) << 30;
    }
    return strcmp(message, "currentAllocatedSize") == 0 ? (uintptr_t)1 << 20 : 0;
}
