/* verb_detect.c: what this machine has, and what would be chosen on it.
 *
 * Owns the two forms, for people and as JSON. Looking is look.h's, choosing plan.h's.
 */
#include <stdio.h>
#include <string.h>

#include "cli/choice.h"
#include "cli/look.h"
#include "cli/verbs.h"

static const struct knob own[] = {
    {.name = "detailed", .type = KNOB_BOOL, .help = "everything that is known"},
};

/* ---- as data --------------------------------------------------------------------------- */

static void put_json(struct cli *c, const struct machine *m, const struct plan_choice *p) {
    struct json_writer w;
    cli_json_begin(c, &w);
    json_key(&w, "platform");
    json_put_z(&w, m->platform);
    look_put_cpu(c, &w, m);
    look_put_memory(&w, m);
    look_put_gpus(&w, m);
    choice_put(&w, p);
    look_put_warnings(&w, m);
    cli_json_end(c, &w);
}

/* ---- for people ------------------------------------------------------------------------ */

static void label(struct cli *c, const char *text) {
    cli_printf(c, "%-17s ", text);
}

static void print_cpu(struct cli *c, const struct machine *m) {
    const struct machine_cpu *cpu = &m->cpu;
    const char *level = look_level(c);
    label(c, "Processor");
    cli_printf(c, "%s, %d cores, %d threads\n", cpu->name[0] ? cpu->name : "unknown", cpu->cores,
               cpu->threads);
    if (cpu->usable < cpu->threads) {
        label(c, "");
        cli_printf(c, "%d threads of %d cores are this program's (affinity)\n", cpu->usable,
                   cpu->usable_cores);
    }
    if (cpu->quota > 0) {
        label(c, "");
        cli_printf(c, "%g processors are granted to it (%s)\n", cpu->quota, cpu->quota_from);
    }
    if (level) {
        label(c, "Kernels");
        cli_printf(c, "%s\n", level);
    }
}

static void print_cpu_detail(struct cli *c, const struct machine *m) {
    const struct machine_cpu *cpu = &m->cpu;
    char l1d[32], l2[32], l3[32];
    label(c, "Vendor");
    cli_printf(c, "%s\n", cpu->vendor[0] ? cpu->vendor : "unknown");
    label(c, "Instructions");
    for (int i = 0; i < cpu->n_isa; i++) {
        cli_printf(c, "%s%s", i ? " " : "", cpu->isa[i]);
    }
    cli_puts(c, cpu->n_isa ? "\n" : "none that the program knows\n");
    label(c, "Cores");
    cli_printf(c, "%d in %d sockets, %d threads\n", cpu->cores, cpu->sockets, cpu->threads);
    label(c, "Usable");
    cli_printf(c, "threads %s of %d cores, %d of the slower kind\n", cpu->affinity,
               cpu->usable_cores, cpu->slow_cores);
    label(c, "Budget");
    cli_printf(c, "%d threads\n", cpu->budget);
    label(c, "Caches");
    cli_printf(c, "L1 data %s, L2 %s, L3 %s\n", cli_bytes(cpu->l1d, l1d, sizeof l1d),
               cli_bytes(cpu->l2, l2, sizeof l2), cli_bytes(cpu->l3, l3, sizeof l3));
}

static void print_memory(struct cli *c, const struct machine *m) {
    const struct machine_memory *mem = &m->memory;
    char a[32], b[32];
    label(c, "Memory");
    cli_printf(c, "%s, %s available\n", cli_bytes(mem->total, a, sizeof a),
               cli_bytes(mem->available, b, sizeof b));
    if (mem->limit) {
        label(c, "");
        cli_printf(c, "limited to %s, of which %s are left (%s)\n",
                   cli_bytes(mem->limit, a, sizeof a), cli_bytes(mem->limit_left, b, sizeof b),
                   mem->limit_from);
    }
}

static void print_gpu(struct cli *c, const struct machine_gpu *g, bool detailed) {
    char where[24], total[32], free[32];
    snprintf(where, sizeof where, "%s:%d", machine_gpu_kind_name(g->kind), g->index);
    label(c, "GPU");
    cli_printf(c, "%-9s %s, %s%s\n", where, g->name,
               cli_bytes(g->memory_total, total, sizeof total),
               g->unified ? " shared with the processor" : "");
    label(c, "");
    cli_printf(c, "%-9s %s\n", g->usable ? "" : "unusable", g->why);
    if (!detailed) {
        return;
    }
    label(c, "");
    cli_printf(c, "%-9s driver %s", "", g->driver[0] ? g->driver : "unknown");
    if (g->capability_major) {
        cli_printf(c, ", compute capability %d.%d", g->capability_major, g->capability_minor);
    }
    if (g->memory_free) {
        cli_printf(c, ", %s free", cli_bytes(g->memory_free, free, sizeof free));
    }
    if (g->link_width) {
        cli_printf(c, ", PCI Express %d x%d", g->link_generation, g->link_width);
    }
    cli_puts(c, "\n");
}

static void print(struct cli *c, const struct machine *m, const struct plan_choice *p) {
    bool detailed = knobs_bool(c->k, "detailed");
    label(c, "Platform");
    cli_printf(c, "%s\n", m->platform);
    print_cpu(c, m);
    if (detailed) {
        print_cpu_detail(c, m);
    }
    print_memory(c, m);
    for (int i = 0; i < m->n_gpu; i++) {
        print_gpu(c, &m->gpu[i], detailed);
    }
    if (m->n_gpu == 0) {
        label(c, "GPU");
        cli_puts(c, "none found\n");
    }
    cli_puts(c, "\nFor " CHOICE_MODEL ":\n");
    choice_print(c, m, p);
    for (int i = 0; i < m->n_warning; i++) {
        cli_puts(c, i ? "" : "\n");
        label(c, i ? "" : "Warnings");
        cli_printf(c, "%s\n", m->warning[i]);
    }
}

static int run(struct cli *c) {
    struct machine m;
    struct plan_choice p;
    struct err e = {0};
    if (look_machine(c, &m, true, &e) || choice_make(&p, c, &m, &e)) {
        return cli_fail(c, &e);
    }
    if (c->json) {
        put_json(c, &m, &p);
    } else {
        print(c, &m, &p);
    }
    return EXIT_DONE;
}

const struct verb verb_detect = {
    .args = {.name = "detect-gpu",
             .operands = "",
             .about = "what this machine has, and what would be chosen on it",
             .groups = KNOB_DEVICE | KNOB_PLAN,
             .own = own,
             .n_own = sizeof own / sizeof *own},
    .run = run,
};
