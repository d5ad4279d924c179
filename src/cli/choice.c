/* choice.c: see choice.h.
 */
#include "cli/choice.h"

#include <string.h>

#include "model/need.h"

enum err_code choice_make(struct plan_choice *p, const struct cli *c, const struct machine *m,
                          struct err *e) {
    struct plan_model model;
    struct model_opts mo = {0};
    struct plan_opts o = {
        .context = knobs_given(c->k, "context") ? (int)knobs_int(c->k, "context") : 0,
        .threads = (int)knobs_int(c->k, "threads"),
        .quant = -1,
        .max_memory = knobs_size(c->k, "max-memory"),
    };
    enum err_code code = need_of_name(&model, CHOICE_MODEL, &mo, e);
    if (!code && !(code = plan_make(p, &model, m, &o, e)) && !p->row.fits && p->nearest.total) {
        p->row = p->nearest;
    }
    return code;
}

static bool memory_optimized(const struct plan_choice *p) {
    return p->row.quant == PLAN_INT8 || p->row.quant == PLAN_INT4;
}

/* The predecessor's word for what computes. */
static const char *type_of(const struct plan_choice *p) {
    return strncmp(p->device, "cuda", 4) == 0    ? "cuda"
           : strncmp(p->device, "metal", 5) == 0 ? "mps"
                                                 : "none";
}

static void label(struct cli *c, const char *text) {
    cli_printf(c, "%-17s ", text);
}

void choice_put(struct json_writer *w, const struct plan_choice *p) {
    json_key(w, "chosen");
    json_open(w, '{');
    json_key(w, "device");
    json_put_z(w, p->device);
    json_key(w, "type");
    json_put_z(w, type_of(p));
    json_key(w, "precision");
    json_put_z(w, p->precision);
    json_key(w, "quantization");
    json_put_z(w, plan_quant_name(p->row.quant));
    json_key(w, "context");
    json_put_int(w, p->row.context);
    json_key(w, "model");
    json_put_z(w, CHOICE_MODEL);
    json_key(w, "fits");
    json_put_bool(w, p->row.fits);
    json_key(w, "total_bytes");
    json_put_uint(w, p->row.total);
    json_key(w, "threads");
    json_put_int(w, p->threads);
    json_key(w, "batch");
    json_put_int(w, p->batch);
    json_key(w, "memory_optimized");
    json_put_bool(w, memory_optimized(p));
    json_key(w, "why");
    json_put_z(w, p->why);
    json_key(w, "gpu");
    json_put_z(w, p->gpu[0] ? p->gpu : NULL);
    json_close(w, '}');
}

void choice_print(struct cli *c, const struct machine *m, const struct plan_choice *p) {
    char usable[32];
    const struct {
        const char *name, *value;
    } lines[] = {{"Type", type_of(p)},
                 {"Device", p->device},
                 {"Device memory", cli_bytes(m->memory.usable, usable, sizeof usable)},
                 {"Precision", p->precision},
                 {"Quantization", plan_quant_name(p->row.quant)}};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        label(c, lines[i].name);
        cli_printf(c, "%s\n", lines[i].value);
    }
    label(c, "Workers");
    cli_printf(c, "%d\n", p->threads);
    label(c, "Batch size");
    cli_printf(c, "%d\n", p->batch);
    label(c, "Max context");
    cli_printf(c, "%d\n", p->row.context);
    label(c, "Memory-optimized");
    cli_printf(c, "%s\n", memory_optimized(p) ? "yes" : "no");
    label(c, "Why");
    cli_printf(c, "%s\n", p->why);
    if (p->gpu[0]) {
        label(c, "");
        cli_printf(c, "%s\n", p->gpu);
    }
}
