/* fuzz_machine.c: any /proc and /sys through machine_read_root.
 *
 * Whatever the files say, what comes out lies within its bounds and its texts are printable.
 */
#include <stdlib.h>

#include "device/section_root.h"

static void demand(bool ok) {
    if (!ok) {
        abort();
    }
}

static void demand_text(const char *s, size_t n) {
    size_t len = 0;
    while (len < n && s[len]) {
        demand(s[len] >= ' ' && s[len] <= '~');
        len++;
    }
    demand(len < n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static char text[SYS_TEXT_MAX];
    static struct machine m;
    section_machine(&m, str_of((const char *)data, n), text);
    const struct machine_cpu *c = &m.cpu;
    const struct machine_memory *mem = &m.memory;
    demand(c->threads >= 1 && c->threads <= SYS_CPU_MAX);
    demand(c->cores >= 1 && c->cores <= c->threads);
    demand(c->usable >= 1 && c->usable <= c->threads);
    demand(c->usable_cores >= 1 && c->usable_cores <= c->cores && c->usable_cores <= c->usable);
    demand(c->slow_cores >= 0 && c->slow_cores <= c->usable_cores);
    demand(c->sockets >= 1 && c->sockets <= c->threads);
    demand(c->budget >= 1 && c->budget <= c->usable);
    demand(c->quota >= 0 && c->quota <= 1e6 && (c->quota > 0) == (c->quota_from[0] != '\0'));
    demand(c->l1d <= (uint64_t)1 << 32 && c->l2 <= (uint64_t)1 << 32);
    demand((mem->limit > 0) == (mem->limit_from[0] != '\0'));
    demand(mem->usable <= mem->available && (!mem->total || mem->available <= mem->total));
    demand_text(m.platform, sizeof m.platform);
    demand_text(c->vendor, sizeof c->vendor);
    demand_text(c->name, sizeof c->name);
    demand_text(c->quota_from, sizeof c->quota_from);
    demand_text(mem->limit_from, sizeof mem->limit_from);
    for (int i = 0; i < m.n_warning; i++) {
        demand_text(m.warning[i], sizeof *m.warning);
    }
    return 0;
}
