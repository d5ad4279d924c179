/* probe_metal.c: Apple's GPUs, asked of Metal through the Objective-C run time. Runs in the child
 * only.
 *
 * Owns the messages that are sent. Neither Metal nor Objective-C is linked: both are opened at run
 * time, so that this file compiles everywhere and finds nothing where there is no Metal. A message
 * is a call of objc_msgSend by the type of its method, as Apple's documentation asks.
 */
#include <stdio.h>
#include <string.h>

#include "device/probe_part.h"

#define OBJC_FILE  "libobjc.A.dylib"
#define METAL_FILE "Metal"

struct objc_api {
    void *(*selector)(const char *name); /* sel_registerName */
    void (*send)(void);                  /* objc_msgSend, never called by this type */
};

struct metal_api {
    void *(*devices)(void); /* MTLCopyAllDevices: an NSArray */
};

static const struct probe_symbol objc_symbols[] = {
    {"sel_registerName", offsetof(struct objc_api, selector)},
    {"objc_msgSend", offsetof(struct objc_api, send)},
};
static const struct probe_symbol metal_symbols[] = {
    {"MTLCopyAllDevices", offsetof(struct metal_api, devices)},
};

typedef uint64_t (*send_uint)(void *object, void *selector);
typedef bool (*send_bool)(void *object, void *selector);
typedef void *(*send_object)(void *object, void *selector);
typedef void *(*send_at)(void *object, void *selector, uint64_t index);

static void device_found(struct probe *p, const struct objc_api *o, void *device, int index) {
    struct probe_device d = {.gpu = {.index = index}};
    struct machine_gpu *g = &d.gpu;
    probe_step(p, "a message to MTLDevice");
    void *name = ((send_object)o->send)(device, o->selector("name"));
    const char *text = name ? ((send_object)o->send)(name, o->selector("UTF8String")) : NULL;
    snprintf(g->name, sizeof g->name, "%.*s", (int)sizeof g->name - 1, text ? text : "");
    snprintf(g->driver, sizeof g->driver, "Metal");
    g->unified = ((send_bool)o->send)(device, o->selector("hasUnifiedMemory"));
    g->memory_total = ((send_uint)o->send)(device, o->selector("recommendedMaxWorkingSetSize"));
    uint64_t used = ((send_uint)o->send)(device, o->selector("currentAllocatedSize"));
    g->memory_free = used < g->memory_total ? g->memory_total - used : 0;
    probe_found(p, &d);
}

void probe_metal(struct probe *p) {
    struct objc_api o;
    struct metal_api metal;
    struct os_library *lib =
        probe_open(p, "/System/Library/Frameworks/Metal.framework/Metal", METAL_FILE);
    if (!lib || !probe_bind(p, lib, &metal, metal_symbols, 1, METAL_FILE)) {
        return;
    }
    lib = probe_open(p, "/usr/lib/libobjc.A.dylib", OBJC_FILE);
    if (!lib || !probe_bind(p, lib, &o, objc_symbols, 2, OBJC_FILE)) {
        return;
    }
    probe_step(p, "MTLCopyAllDevices");
    void *all = metal.devices();
    uint64_t n = all ? ((send_uint)o.send)(all, o.selector("count")) : 0;
    if (n > MACHINE_GPU_MAX) {
        probe_warn(p, "Metal says that it has %llu devices; at most %d are looked at",
                   (unsigned long long)n, MACHINE_GPU_MAX);
    }
    for (uint64_t i = 0; i < n && i < MACHINE_GPU_MAX; i++) {
        device_found(p, &o, ((send_at)o.send)(all, o.selector("objectAtIndex:"), i), (int)i);
    }
}
