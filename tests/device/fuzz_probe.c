/* fuzz_probe.c: any lines of a child through the parent's reading.
 *
 * Whatever a child prints, devices and warnings keep their bounds and their texts are printable.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "device/probe.h"

static void demand_text(const char *s, size_t n) {
    size_t len = 0;
    while (len < n && s[len]) {
        if (s[len] < ' ' || s[len] > '~') {
            abort();
        }
        len++;
    }
    if (len == n) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static struct machine m;
    struct os_child child = {.end = OS_CHILD_EXITED};
    m = (struct machine){0};
    probe_report(&m, GPU_CUDA, str_of((const char *)data, n), &child, 5);
    for (int i = 0; i < m.n_gpu; i++) {
        const struct machine_gpu *g = &m.gpu[i];
        demand_text(g->name, sizeof g->name);
        demand_text(g->driver, sizeof g->driver);
        demand_text(g->why, sizeof g->why);
        if (g->memory_free > g->memory_total || g->memory_total > (uint64_t)1 << 48 ||
            g->index < 0 || g->index >= MACHINE_GPU_MAX || g->name[0] == '\0' ||
            g->why[0] == '\0' || g->link_width < 0 || g->link_width > 64 ||
            (g->usable && g->capability_major < 7)) {
            abort();
        }
    }
    for (int i = 0; i < m.n_warning; i++) {
        demand_text(m.warning[i], sizeof *m.warning);
    }
    if (m.n_gpu > MACHINE_GPU_MAX || m.n_warning > MACHINE_WARNING_MAX || mem_live() != 0) {
        abort();
    }
    return 0;
}
