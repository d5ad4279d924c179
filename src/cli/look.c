/* look.c: looking at the machine for a verb, and its parts as JSON.
 *
 * Owns what look.h promises.
 */
#include "cli/look.h"

#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/os.h"
#include "device/probe.h"
#include "kern/cpu/micro.h"

/* A flag that names a folder, which must be there; NULL if it was not given. */
static enum err_code folder_given(struct cli *c, const char *knob, const char **folder,
                                  struct err *e) {
    struct os_file_info info;
    *folder = knobs_str(c->k, knob);
    if (*folder && (os_file_info(*folder, &info, NULL) || !info.is_folder)) {
        err_set(e, ERR_NOTFOUND, "there is no folder '%s'", *folder);
        err_where(e, "--%s", knob);
        return ERR_NOTFOUND;
    }
    return ERR_OK;
}

enum err_code look_machine(struct cli *c, struct machine *m, bool gpus, struct err *e) {
    const char *root = NULL, *drivers = NULL;
    char *program = NULL;
    enum err_code code = folder_given(c, "system-root", &root, e);
    if (code) {
        return code;
    }
    machine_read(m, root);
    if (!gpus) {
        return ERR_OK;
    }
    if ((code = folder_given(c, "drivers", &drivers, e)) || (code = os_self_path(&program, e))) {
        return code;
    }
    if (!root || drivers) {       /* else this machine's GPUs would be taken for that one's */
        interrupt_waits(c->intr); /* it is for the children to end first */
        struct probe_opts o = {.program = program,
                               .drivers = drivers,
                               .seconds = knobs_real(c->k, "probe-seconds"),
                               .stop = interrupt_count(c->intr)};
        code = probe_devices(m, &o, e);
    }
    machine_pci(m, root);
    mem_free(program);
    return code;
}

const char *look_level(struct cli *c) {
    struct micro micro;
    return !knobs_str(c->k, "system-root") && !micro_choose(&micro, NULL, NULL) ? micro.name : NULL;
}

void look_put_cpu(struct cli *c, struct json_writer *w, const struct machine *m) {
    const struct machine_cpu *cpu = &m->cpu;
    json_key(w, "cpu");
    json_open(w, '{');
    json_member_z(w, "vendor", cpu->vendor);
    json_member_z(w, "name", cpu->name);
    json_key(w, "isa");
    json_open(w, '[');
    for (int i = 0; i < cpu->n_isa; i++) {
        json_put_z(w, cpu->isa[i]);
    }
    json_close(w, ']');
    json_member_z(w, "level", look_level(c));
    json_member_int(w, "sockets", cpu->sockets);
    json_member_int(w, "cores", cpu->cores);
    json_member_int(w, "threads", cpu->threads);
    json_member_int(w, "usable_threads", cpu->usable);
    json_member_z(w, "affinity", cpu->affinity);
    json_member_int(w, "usable_cores", cpu->usable_cores);
    json_member_int(w, "slow_cores", cpu->slow_cores);
    json_member_real(w, "quota", cpu->quota > 0 ? cpu->quota : NAN);
    json_member_or_null(w, "quota_from", cpu->quota_from);
    json_member_int(w, "budget", cpu->budget);
    json_member_uint(w, "l1d", cpu->l1d);
    json_member_uint(w, "l2", cpu->l2);
    json_member_uint(w, "l3", cpu->l3);
    json_close(w, '}');
}

void look_put_memory(struct json_writer *w, const struct machine *m) {
    const struct machine_memory *mem = &m->memory;
    json_key(w, "memory");
    json_open(w, '{');
    json_member_uint(w, "total", mem->total);
    json_member_uint(w, "available", mem->available);
    json_member_uint_or_null(w, "limit", mem->limit);
    if (mem->limit) {
        json_member_uint(w, "limit_left", mem->limit_left);
    }
    json_member_or_null(w, "limit_from", mem->limit_from);
    json_member_uint(w, "usable", mem->usable);
    json_close(w, '}');
}

void look_put_gpus(struct json_writer *w, const struct machine *m) {
    json_key(w, "gpus");
    json_open(w, '[');
    for (int i = 0; i < m->n_gpu; i++) {
        const struct machine_gpu *g = &m->gpu[i];
        char capability[16] = "";
        if (g->capability_major) {
            snprintf(capability, sizeof capability, "%d.%d", g->capability_major,
                     g->capability_minor);
        }
        json_open(w, '{');
        json_member_int(w, "index", g->index);
        json_member_z(w, "kind", machine_gpu_kind_name(g->kind));
        json_member_z(w, "name", g->name);
        json_member_or_null(w, "driver", g->driver);
        json_member_or_null(w, "capability", capability);
        json_member_uint(w, "memory_total", g->memory_total);
        json_member_uint(w, "memory_free", g->memory_free);
        json_key(w, "unified");
        json_put_bool(w, g->unified);
        json_member_int(w, "link_generation", g->link_generation);
        json_member_int(w, "link_width", g->link_width);
        json_key(w, "usable");
        json_put_bool(w, g->usable);
        json_member_z(w, "why", g->why);
        json_close(w, '}');
    }
    json_close(w, ']');
}

void look_put_warnings(struct json_writer *w, const struct machine *m) {
    json_key(w, "warnings");
    json_open(w, '[');
    for (int i = 0; i < m->n_warning; i++) {
        json_put_z(w, m->warning[i]);
    }
    json_close(w, ']');
}
