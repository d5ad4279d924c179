/* plan_show.c: see plan_show.h.
 */
#include "cli/plan_show.h"

#include <stdio.h>
#include <string.h>

#include "base/dtype.h"

/* ---- as data -----------------------------------------------------------------------------------
 */

static void put_range(struct json_writer *w, const char *key, const double range[2]) {
    json_key(w, key);
    if (range[1] <= 0) {
        json_put_null(w);
        return;
    }
    json_open(w, '[');
    json_put_real(w, range[0]);
    json_put_real(w, range[1]);
    json_close(w, ']');
}

static const char *kv_name(const struct plan_row *r) {
    return dtype_kv_name(r->kv_bytes == 4 ? DT_F32 : r->kv_bytes == 2 ? DT_F16 : DT_I8);
}

/* The members of a row, into an object that is open. */
static void put_row(struct json_writer *w, const struct plan_row *r) {
    json_member_or_null(w, "quantization", plan_quant_name(r->quant));
    json_member_uint(w, "context", (uint64_t)r->context);
    json_member_uint(w, "weights_bytes", r->weights);
    json_member_uint(w, "kv_bytes", r->kv);
    json_member_or_null(w, "kv_type", kv_name(r));
    json_member_uint(w, "scratch_bytes", r->scratch);
    json_member_uint(w, "program_bytes", r->program);
    json_member_uint(w, "total_bytes", r->total);
    json_key(w, "fits");
    json_put_bool(w, r->fits);
    put_range(w, "estimated_tokens_per_second", r->tokens_per_s);
    put_range(w, "estimated_prefill_tokens_per_second", r->prefill_tokens_per_s);
}

static void put_rows(struct json_writer *w, const struct plan_choice *p) {
    json_key(w, "rows");
    json_open(w, '[');
    for (int i = 0; i < p->n_row; i++) {
        json_open(w, '{');
        put_row(w, &p->table[i]);
        json_member_or_null(w, "why", p->table[i].why);
        json_close(w, '}');
    }
    json_close(w, ']');
}

void plan_put(struct json_writer *w, const struct plan_choice *p) {
    json_key(w, "plan");
    json_open(w, '{');
    json_member_or_null(w, "device", p->device);
    json_member_or_null(w, "precision", p->precision);
    put_row(w, &p->row);
    json_key(w, "available_bytes");
    if (p->available == UINT64_MAX) {
        json_put_null(w); /* the system does not say */
    } else {
        json_put_uint(w, p->available);
    }
    json_member_or_null(w, "limited_by", p->limited_by);
    json_member_uint(w, "threads", (uint64_t)p->threads);
    json_member_uint(w, "batch", (uint64_t)p->batch);
    json_member_or_null(w, "why", p->why);
    json_member_or_null(w, "gpu", p->gpu);
    json_key(w, "nearest");
    if (p->nearest.total > 0) {
        json_open(w, '{');
        put_row(w, &p->nearest);
        json_close(w, '}');
    } else {
        json_put_null(w);
    }
    json_key(w, "warnings");
    json_open(w, '[');
    for (int i = 0; i < p->n_warning; i++) {
        json_put_z(w, p->warning[i]);
    }
    json_close(w, ']');
    put_rows(w, p);
    json_close(w, '}');
}

/* ---- for people --------------------------------------------------------------------------------
 */

static double gb(uint64_t bytes) {
    return (double)bytes / 1e9;
}

static const char *range(const double v[2], char *out, size_t n) {
    out[0] = '\0';
    if (v[1] > 0) {
        snprintf(out, n, "%.3g-%.3g", v[0], v[1]);
    }
    return out;
}

void plan_print(struct cli *c, const struct plan_model *model, const struct plan_choice *p) {
    const struct plan_row *r = &p->row;
    char speed[32];
    cli_printf(c, "%-14s ", "Model");
    cli_put_text(c, model->name, strlen(model->name));
    cli_printf(c, ", %.3g billion parameters, %s%s%s%s\n", (double)model->n_param / 1e9,
               plan_quant_name(r->quant), model->file_type[0] ? " (" : "", model->file_type,
               model->file_type[0] ? ")" : "");
    cli_printf(c, "%-14s %s, %d threads, steps of %d tokens\n", "Device", p->device, p->threads,
               p->batch);
    cli_printf(c, "%-14s %d positions, %s in the KV cache\n", "Context", r->context, kv_name(r));
    cli_printf(c,
               "%-14s %.2f GB: weights %.2f, KV cache %.2f, scratch %.2f, program and text %.2f\n",
               "Memory", gb(r->total), gb(r->weights), gb(r->kv), gb(r->scratch), gb(r->program));
    if (p->available == UINT64_MAX) {
        cli_printf(c, "%-14s unknown: the system does not say\n", "Available");
    } else {
        cli_printf(c, "%-14s %.2f GB (%s)\n", "Available", gb(p->available), p->limited_by);
    }
    cli_printf(c, "%-14s %s; %s\n", "Verdict", r->fits ? "fits" : "does not fit", p->why);
    if (r->tokens_per_s[1] > 0) {
        cli_printf(c, "%-14s %s tokens per second, from what this machine reads at most\n",
                   "Estimate", range(r->tokens_per_s, speed, sizeof speed));
    }
    if (p->gpu[0]) {
        cli_printf(c, "%-14s %s\n", "GPU", p->gpu);
    }
    for (int i = 0; i < p->n_warning; i++) {
        cli_note(c, "ign: warning: %s", p->warning[i]);
    }
}

void plan_print_table(struct cli *c, const struct plan_choice *p) {
    bool estimated = p->row.tokens_per_s[1] > 0;
    cli_printf(c, "\n%-6s %8s %9s %9s %9s  %-5s %s\n", "", "context", "weights", "KV cache",
               "total", "fits", estimated ? "tokens/s (estimate)" : "");
    for (int i = 0; i < p->n_row; i++) {
        const struct plan_row *r = &p->table[i];
        char speed[32];
        cli_printf(c, "%-6s %8d %9.2f %9.2f %9.2f  %-5s %s%s%s\n",
                   i == 0 || r[-1].quant != r->quant ? plan_quant_name(r->quant) : "", r->context,
                   gb(r->weights), gb(r->kv), gb(r->total), r->fits ? "yes" : "no",
                   range(r->tokens_per_s, speed, sizeof speed), speed[0] && r->why[0] ? "; " : "",
                   r->why);
    }
}
