/* verb_status.c: what there is, what runs, and whether all is well.
 *
 * Owns the report: checks (checkup.h), models, devices, running programs, the last benchmark, the
 * choice for the default model, the settings in force. Models' checksums are doctor's: status is
 * quick. Exit status 0 where nothing has failed, else 1.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "cli/checkup.h"
#include "cli/choice.h"
#include "cli/look.h"
#include "cli/verbs.h"
#include "observe/instance.h"

enum { BENCHMARK_MAX = 16 << 20 };

struct status {
    struct cli *c;
    struct checkup up;
    struct plan_choice choice;
    struct instance_info *running; /* [n_running] */
    size_t n_running;
    struct json *benchmark; /* of the last one; NULL */
    struct str benchmark_text;
    int64_t benchmark_time;
};

static bool serves(const struct instance_info *i) {
    return strcmp(i->verb, "serve") == 0;
}

/* ---- gathering -------------------------------------------------------------------------- */

/* A file that is not one of ours is as good as none. */
static void read_benchmark(struct status *s) {
    struct buf path;
    struct os_file_info info;
    char *text = NULL;
    size_t n = 0;
    buf_init(&path, 65536);
    buf_printf(&path, "%s/%s", s->up.state_path, INSTANCE_BENCHMARK);
    if (!path.failed && !os_file_info(path.p, &info, NULL) &&
        !os_read_file(path.p, BENCHMARK_MAX, &text, &n, NULL)) {
        while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' ')) {
            n--;
        }
        if (json_parse(text, n, &s->benchmark, NULL) == ERR_OK &&
            json_kind(s->benchmark) == JSON_IS_OBJECT) {
            s->benchmark_text = str_of(text, n);
            s->benchmark_time = info.mtime;
            text = NULL;
        } else {
            json_free(s->benchmark);
            s->benchmark = NULL;
        }
    }
    mem_free(text);
    buf_fini(&path);
}

static enum err_code gather(struct status *s, struct err *e) {
    struct err why = {0};
    char line[512];
    enum err_code rc = checkup_run(&s->up, s->c, false, e);
    if (rc || (rc = choice_make(&s->choice, s->c, &s->up.machine, e)) || !s->up.state_path) {
        return rc;
    }
    rc = instance_list(s->up.state_path, &s->running, &s->n_running, &why);
    if (rc == ERR_NOMEM) {
        *e = why;
        return rc;
    }
    if (rc) {
        checkup_add(&s->up, CHECK_WARNING, "running programs", "%s",
                    err_line(&why, line, sizeof line));
    }
    read_benchmark(s);
    return buf_check(&s->up.checks, e);
}

static void status_fini(struct status *s) {
    json_free(s->benchmark);
    mem_free((char *)(uintptr_t)s->benchmark_text.p);
    mem_free(s->running);
    checkup_fini(&s->up);
}

/* ---- as data ---------------------------------------------------------------------------- */

/* How tokens of a model are chosen: the value of a field, and in out [n] who has set it. */
static double sampling_in_force(const struct cli *c, const struct checkup_model *m,
                                enum sampling_field f, char *out, size_t n, const char **from) {
    const char *name = sampling_name(f);
    bool own = m->sampling.said[f] && knobs_origin(c->k, name) == KNOB_DEFAULT;
    *from = own ? "model" : knobs_origin_text(c->k, name, out, n);
    return own                   ? m->sampling.value[f]
           : f == SAMPLING_TOP_K ? (double)knobs_int(c->k, name)
                                 : knobs_real(c->k, name);
}

/* A model's file has floats: 0.6 of one is not the double 0.6. */
static void put_value(struct json_writer *w, double v) {
    if ((double)(float)v == v) {
        json_put_float(w, (float)v);
    } else {
        json_put_real(w, v);
    }
}

static void put_sampling(const struct cli *c, const struct checkup_model *m,
                         struct json_writer *w) {
    char place[320];
    const char *from;
    json_key(w, "sampling");
    json_open(w, '{');
    for (int i = 0; i < SAMPLING_N; i++) {
        double v = sampling_in_force(c, m, (enum sampling_field)i, place, sizeof place, &from);
        json_key(w, sampling_name((enum sampling_field)i));
        json_open(w, '{');
        json_key(w, "value");
        put_value(w, v);
        json_member_z(w, "from", from);
        json_close(w, '}');
    }
    json_close(w, '}');
}

static void put_models(const struct status *s, struct json_writer *w) {
    size_t n;
    const struct checkup_model *m = checkup_models(&s->up, &n);
    json_member_or_null(w, "store", s->up.store_path ? s->up.store_path : "");
    json_key(w, "models");
    json_open(w, '[');
    for (size_t i = 0; i < n; i++) {
        json_open(w, '{');
        json_member_or_null(w, "name", m[i].name);
        json_key(w, "ok");
        json_put_bool(w, m[i].ok);
        json_member_uint(w, "bytes", m[i].bytes);
        json_member_or_null(w, "architecture", m[i].architecture);
        json_member_uint(w, "parameters", m[i].parameters);
        json_member_uint(w, "context", m[i].context);
        json_member_or_null(w, "sha256", m[i].sha256);
        put_sampling(s->c, &m[i], w);
        json_close(w, '}');
    }
    json_close(w, ']');
}

/* What can compute, the processor first. */
static void put_devices(const struct status *s, struct json_writer *w) {
    const struct machine *m = &s->up.machine;
    const char *level = look_level(s->c);
    json_key(w, "devices");
    json_open(w, '[');
    json_open(w, '{');
    json_member_or_null(w, "device", "cpu");
    json_member_or_null(w, "kind", "cpu");
    json_member_or_null(w, "name", m->cpu.name);
    json_member_or_null(w, "level", level ? level : "");
    json_member_uint(w, "threads", (uint64_t)m->cpu.budget);
    json_member_uint(w, "memory_total", m->memory.total);
    json_member_uint(w, "memory_free", m->memory.usable);
    json_key(w, "usable");
    json_put_bool(w, true);
    json_close(w, '}');
    for (int i = 0; i < m->n_gpu; i++) {
        const struct machine_gpu *g = &m->gpu[i];
        char device[24];
        snprintf(device, sizeof device, "%s:%d", machine_gpu_kind_name(g->kind), g->index);
        json_open(w, '{');
        json_member_or_null(w, "device", device);
        json_member_or_null(w, "kind", machine_gpu_kind_name(g->kind));
        json_member_or_null(w, "name", g->name);
        json_member_uint(w, "memory_total", g->memory_total);
        json_member_uint(w, "memory_free", g->memory_free);
        json_key(w, "usable");
        json_put_bool(w, g->usable);
        json_member_or_null(w, "why", g->why);
        json_close(w, '}');
    }
    json_close(w, ']');
}

static void put_running(const struct status *s, struct json_writer *w) {
    const struct instance_info *server = NULL;
    json_key(w, "instances");
    json_open(w, '[');
    for (size_t i = 0; i < s->n_running; i++) {
        const struct instance_info *r = &s->running[i];
        server = !server && serves(r) ? r : server;
        json_open(w, '{');
        json_member_uint(w, "process", r->process);
        json_key(w, "started");
        json_put_int(w, r->started);
        json_member_or_null(w, "verb", r->verb);
        json_member_or_null(w, "model", r->model);
        json_member_or_null(w, "device", r->device);
        json_member_uint(w, "memory", r->memory);
        json_close(w, '}');
    }
    json_close(w, ']');
    json_key(w, "server");
    json_open(w, '{');
    json_key(w, "running");
    json_put_bool(w, server != NULL);
    if (server) {
        json_member_uint(w, "process", server->process);
        json_member_or_null(w, "model", server->model);
    }
    json_close(w, '}');
}

static int put_json(const struct status *s) {
    struct json_writer w;
    struct err e = {0};
    cli_json_begin(s->c, &w);
    checkup_put(&s->up, &w);
    json_member_or_null(&w, "platform", s->up.machine.platform);
    put_models(s, &w);
    put_devices(s, &w);
    put_running(s, &w);
    choice_put(&w, &s->choice);
    json_key(&w, "benchmark");
    if (s->benchmark) {
        json_put_raw(&w, s->benchmark_text);
        json_key(&w, "benchmark_time");
        json_put_int(&w, s->benchmark_time);
    } else {
        json_put_null(&w);
    }
    look_put_warnings(&w, &s->up.machine);
    json_key(&w, "config");
    json_open(&w, '{');
    settings_show_json(&s->c->settings, s->c->k, &w, &e); /* a failed one is a check's matter */
    json_close(&w, '}');
    cli_json_end(s->c, &w);
    return checkup_healthy(&s->up) ? EXIT_DONE : EXIT_FAILED;
}

/* ---- for people ------------------------------------------------------------------------- */

static void heading(struct cli *c, const char *text) {
    cli_printf(c, "\n%s:\n", text);
}

/* Of the settings of choice those that are not the program's own. */
static void print_sampling(struct cli *c, const struct checkup_model *m) {
    char place[320];
    const char *from, *gap = "  ";
    for (int i = 0; i < SAMPLING_N; i++) {
        double v = sampling_in_force(c, m, (enum sampling_field)i, place, sizeof place, &from);
        if (strcmp(from, "default") != 0) {
            cli_printf(c, "%s%s %g (", gap, sampling_name((enum sampling_field)i), v);
            cli_put_text(c, from, strlen(from));
            cli_puts(c, ")");
            gap = ", ";
        }
    }
    cli_puts(c, gap[0] == ',' ? "\n" : "");
}

static void print_models(const struct status *s) {
    size_t n;
    const struct checkup_model *m = checkup_models(&s->up, &n);
    char size[32];
    heading(s->c, "Models");
    for (size_t i = 0; i < n; i++) {
        cli_put_text(s->c, m[i].name, strlen(m[i].name));
        cli_puts(s->c, ", ");
        cli_put_text(s->c, m[i].architecture, strlen(m[i].architecture));
        cli_printf(s->c, "%s%s%s\n", m[i].architecture[0] ? ", " : "",
                   cli_bytes(m[i].bytes, size, sizeof size), m[i].ok ? "" : ", broken");
        if (m[i].ok) {
            print_sampling(s->c, &m[i]);
        }
    }
    if (n == 0) {
        cli_puts(s->c, "none in the store\n");
    }
}

static void print_running(const struct status *s) {
    char when[64], size[32];
    heading(s->c, "Running");
    for (size_t i = 0; i < s->n_running; i++) {
        const struct instance_info *r = &s->running[i];
        os_strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", r->started);
        cli_printf(s->c, "%llu ", (unsigned long long)r->process);
        cli_put_text(s->c, r->verb, strlen(r->verb));
        cli_puts(s->c, ", ");
        cli_put_text(s->c, r->model, strlen(r->model));
        cli_printf(s->c, ", %s, since %s\n", cli_bytes(r->memory, size, sizeof size), when);
    }
    if (s->n_running == 0) {
        cli_puts(s->c, "nothing\n");
    }
}

static double median_of(const struct json *benchmark, const char *phase) {
    const struct json *speed = json_find(json_find(benchmark, phase), "tokens_per_second");
    return json_num(json_find(speed, "median"));
}

static void print_benchmark(const struct status *s) {
    char when[64];
    heading(s->c, "Last benchmark");
    if (!s->benchmark) {
        cli_puts(s->c, "none\n");
        return;
    }
    struct str model = json_str(json_find(s->benchmark, "model"));
    os_strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", s->benchmark_time);
    cli_put_text(s->c, model.p, model.n);
    cli_printf(s->c, ", %s: prefill %.1f, decode %.1f tokens per second\n", when,
               median_of(s->benchmark, "prefill"), median_of(s->benchmark, "decode"));
}

/* What the environment has set, by the names of its variables. */
static void print_environment(const struct status *s) {
    size_t n;
    const struct knob *table = knobs_table(&n);
    char name[96], shown[KNOB_SHOWN];
    bool any = false;
    heading(s->c, "Environment");
    for (size_t i = 0; i < n; i++) {
        if (!(table[i].flags & KNOB_NO_ENV) && knobs_origin(s->c->k, table[i].name) == KNOB_ENV) {
            const char *text =
                knob_shown(&table[i], knobs_text(s->c->k, table[i].name), shown, sizeof shown);
            cli_printf(s->c, "%s=", knobs_origin_text(s->c->k, table[i].name, name, sizeof name));
            cli_put_text(s->c, text, strlen(text));
            cli_puts(s->c, "\n");
            any = true;
        }
    }
    if (!any) {
        cli_puts(s->c, "no IGN_ variable is set\n");
    }
}

static int print(const struct status *s) {
    const struct machine *m = &s->up.machine;
    bool healthy = checkup_healthy(&s->up);
    cli_printf(s->c, "ign %s on %s: %s\n", ign_version(), m->platform,
               healthy ? "healthy" : "not healthy");
    checkup_print(&s->up, false);
    heading(s->c, "For " CHOICE_MODEL);
    choice_print(s->c, m, &s->choice);
    print_models(s);
    print_running(s);
    print_benchmark(s);
    print_environment(s);
    if (m->n_warning > 0) {
        heading(s->c, "Warnings");
    }
    for (int i = 0; i < m->n_warning; i++) {
        cli_printf(s->c, "%s\n", m->warning[i]);
    }
    return healthy ? EXIT_DONE : EXIT_FAILED;
}

static int run(struct cli *c) {
    struct status s = {.c = c};
    struct err e = {0};
    int code;
    if (gather(&s, &e)) {
        code = cli_fail(c, &e);
    } else {
        code = c->json ? put_json(&s) : print(&s);
    }
    status_fini(&s);
    return code;
}

const struct verb verb_status = {
    .args = {.name = "status",
             .operands = "",
             .about = "models, devices, what runs, and whether all is well",
             .groups = KNOB_ALL,
             .flag_groups = KNOB_STORE | KNOB_DEVICE | KNOB_PLAN,
             .any_environment = true},
    .run = run,
    .any_settings = true,
};
