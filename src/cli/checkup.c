/* checkup.c: the machine's part of the checks: processor, memory, limits, folders, drivers,
 * settings, audit log, clock.
 *
 * Owns the bounds between the verdicts, each beside its check. The models are checkup_models.c's.
 */
#include "cli/checkup.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/utf8.h"
#include "cli/action.h"
#include "cli/look.h"
#include "cli/open_model.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

/* ---- the list --------------------------------------------------------------------------- */

static void text_end(char *z, size_t n, int wanted) {
    if (wanted >= (int)n) {
        size_t len = n - 1;
        len -= utf8_pending(z, len);
        z[len] = '\0';
    }
}

struct check *checkup_add(struct checkup *u, enum verdict v, const char *name, const char *fmt,
                          ...) {
    static struct check lost; /* memory is out: nobody will see it */
    struct check k = {.verdict = v};
    va_list ap;
    text_end(k.name, sizeof k.name, snprintf(k.name, sizeof k.name, "%s", name));
    va_start(ap, fmt);
    text_end(k.detail, sizeof k.detail, vsnprintf(k.detail, sizeof k.detail, fmt, ap));
    va_end(ap);
    buf_put(&u->checks, &k, sizeof k);
    return u->checks.failed ? &lost : (struct check *)(u->checks.p + u->checks.len - sizeof k);
}

void check_fix(struct check *k, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    text_end(k->fix, sizeof k->fix, vsnprintf(k->fix, sizeof k->fix, fmt, ap));
    va_end(ap);
}

const struct check *checkup_checks(const struct checkup *u, size_t *n) {
    *n = u->checks.len / sizeof(struct check);
    return (const struct check *)u->checks.p;
}

const struct checkup_model *checkup_models(const struct checkup *u, size_t *n) {
    *n = u->models.len / sizeof(struct checkup_model);
    return (const struct checkup_model *)u->models.p;
}

bool checkup_healthy(const struct checkup *u) {
    size_t n;
    const struct check *k = checkup_checks(u, &n);
    for (size_t i = 0; i < n; i++) {
        if (k[i].verdict == CHECK_FAILED) {
            return false;
        }
    }
    return true;
}

/* ---- processor and memory --------------------------------------------------------------- */

static void check_processor(struct checkup *u) {
    const struct machine_cpu *cpu = &u->machine.cpu;
    const char *level = look_level(u->c);
    if (!level) {
        checkup_add(u, CHECK_OK, "processor", "%s", cpu->name);
        return;
    }
    if (strcmp(level, "c") == 0) {
        struct check *k =
            checkup_add(u, CHECK_WARNING, "processor",
                        "%s: no instruction set that the kernels are written for", cpu->name);
        check_fix(k, "it works, slowly; take a machine with AVX2 or better");
        return;
    }
    checkup_add(u, CHECK_OK, "processor", "%s, level %s, %d threads to use", cpu->name, level,
                cpu->budget);
}

static void check_memory(struct checkup *u) {
    const struct machine_memory *m = &u->machine.memory;
    char usable[32], total[32];
    cli_bytes(m->usable, usable, sizeof usable);
    cli_bytes(m->total, total, sizeof total);
    enum verdict v = m->usable < 512 * MIB ? CHECK_FAILED
                     : m->usable < 6 * GIB ? CHECK_WARNING
                                           : CHECK_OK;
    struct check *k = checkup_add(u, v, "memory", "%s of %s can be used%s%s", usable, total,
                                  m->limit ? ", limited by " : "", m->limit ? m->limit_from : "");
    if (v == CHECK_FAILED) {
        check_fix(k, "not even a small model fits: end other programs, or raise the limit");
    } else if (v == CHECK_WARNING) {
        check_fix(k, "a model of the 8B class needs about 6 GiB; 'ign initialize --dry-run' says "
                     "what fits");
    }
}

static void check_quota(struct checkup *u) {
    const struct machine_cpu *cpu = &u->machine.cpu;
    if (cpu->quota > 0 && cpu->quota < 1) {
        struct check *k = checkup_add(u, CHECK_WARNING, "processor quota",
                                      "%.2f of a processor (%s)", cpu->quota, cpu->quota_from);
        check_fix(k, "raise the control group's quota: below one processor answers stall");
    } else if (cpu->quota > 0) {
        checkup_add(u, CHECK_OK, "processor quota", "%.2f processors (%s)", cpu->quota,
                    cpu->quota_from);
    }
}

static void check_limits(struct checkup *u) {
    uint64_t files = os_limit(OS_LIMIT_FILES), lock = os_limit(OS_LIMIT_LOCKED);
    char text[32];
    if (files < 64) {
        struct check *k =
            checkup_add(u, CHECK_FAILED, "open files", "at most %llu", (unsigned long long)files);
        check_fix(k, "raise the limit: ulimit -n 1024, or LimitNOFILE= in the service");
    } else {
        checkup_add(u, CHECK_OK, "open files", "at most %llu", (unsigned long long)files);
    }
    if (lock == UINT64_MAX) {
        checkup_add(u, CHECK_OK, "locked memory", "no limit");
        return;
    }
    struct check *k = checkup_add(u, CHECK_OK, "locked memory", "at most %s, for --mlock",
                                  cli_bytes(lock, text, sizeof text));
    check_fix(k, "--mlock needs as much as the model's file: ulimit -l, or LimitMEMLOCK=");
}

/* ---- folders ---------------------------------------------------------------------------- */

/* The nearest folder above `path` that is there, in `b`. */
static const char *folder_above(struct buf *b, const char *path) {
    buf_reset(b);
    buf_puts(b, path);
    while (!b->failed && b->len > 1 && !os_file_exists(b->p)) {
        while (b->len > 1 && b->p[b->len - 1] != '/') {
            b->len--;
        }
        b->len -= b->len > 1;
        b->p[b->len] = '\0';
    }
    return b->failed ? NULL : b->p;
}

static void check_disk(struct checkup *u, const char *name, const char *path, uint64_t least,
                       uint64_t enough) {
    struct err e = {0};
    struct buf b;
    uint64_t left = 0;
    char line[512], text[32];
    buf_init(&b, 65536);
    const char *at = folder_above(&b, path);
    if (!at || os_disk_free(at, &left, &e)) {
        checkup_add(u, CHECK_FAILED, name, "%s", err_line(&e, line, sizeof line));
    } else {
        enum verdict v = left < least ? CHECK_FAILED : left < enough ? CHECK_WARNING : CHECK_OK;
        struct check *k =
            checkup_add(u, v, name, "%s free for %s", cli_bytes(left, text, sizeof text), path);
        if (v != CHECK_OK) {
            check_fix(k, "make room on that disk, or choose another folder");
        }
    }
    buf_fini(&b);
}

/* Whether what is nearest above is a folder in which this user may make others. */
static bool may_be_made(const char *path) {
    struct os_file_info info;
    struct buf b;
    buf_init(&b, 65536);
    const char *at = folder_above(&b, path);
    bool may = at && os_file_info(at, &info, NULL) == ERR_OK && info.is_folder && info.writable;
    buf_fini(&b);
    return may;
}

/* `flag` names another one; a store is read, the state folder is written. */
static void check_folder(struct checkup *u, const char *name, const char *path, const char *flag,
                         bool is_store) {
    struct os_file_info info;
    struct err e = {0};
    char line[512];
    enum err_code rc = os_file_info(path, &info, &e);
    if (rc == ERR_NOTFOUND && !is_store && !may_be_made(path)) {
        struct check *k =
            checkup_add(u, CHECK_FAILED, name, "%s cannot be made by this user", path);
        check_fix(k, "make it and give it to this user, or choose another with %s", flag);
    } else if (rc == ERR_NOTFOUND) {
        struct check *k =
            checkup_add(u, is_store ? CHECK_WARNING : CHECK_OK, name, "%s is not there yet", path);
        if (is_store) {
            check_fix(k, "put GGUF files there, or fetch a small model: ign models pull demo");
        }
    } else if (rc) {
        struct check *k = checkup_add(u, CHECK_FAILED, name, "%s", err_line(&e, line, sizeof line));
        check_fix(k, "give this user access to the folder, or choose another with %s", flag);
    } else if (!info.is_folder) {
        struct check *k = checkup_add(u, CHECK_FAILED, name, "%s is not a folder", path);
        check_fix(k, "move that file away, or choose another folder with %s", flag);
    } else if (!info.readable || (!is_store && !info.writable)) {
        struct check *k = checkup_add(u, CHECK_FAILED, name, "%s may not be %s by this user", path,
                                      info.readable ? "written" : "read");
        check_fix(k, "chmod or chown it, or choose another folder with %s", flag);
    } else {
        checkup_add(u, CHECK_OK, name, "%s, %s", path,
                    info.writable ? "may be written" : "read-only");
    }
}

/* FILE.RANDOM.PROCESS.tmp, as os_write_file makes them, whose process is gone. */
static bool is_leftover(const char *name) {
    size_t n = strlen(name), digits = 0;
    if (n < 6 || strcmp(name + n - 4, ".tmp") != 0) {
        return false;
    }
    uint64_t process = 0, scale = 1;
    for (size_t i = n - 4; i > 0 && name[i - 1] >= '0' && name[i - 1] <= '9'; i--, digits++) {
        process += (uint64_t)(name[i - 1] - '0') * scale;
        scale *= 10;
    }
    return digits > 0 && digits < 10 && n > digits + 5 && name[n - 5 - digits] == '.' &&
           !os_process_alive(process);
}

static void check_leftovers(struct checkup *u) {
    const char *const folders[] = {u->store_path, u->state_path};
    char first[256] = "";
    int found = 0;
    for (size_t f = 0; f < sizeof folders / sizeof *folders; f++) {
        char **names = NULL;
        size_t n = 0;
        if (folders[f] && os_list(folders[f], &names, &n, NULL) == ERR_OK) {
            for (size_t i = 0; i < n; i++) {
                if (is_leftover(names[i]) && found++ == 0) {
                    snprintf(first, sizeof first, "%s/%s", folders[f], names[i]);
                }
            }
        }
        mem_free(names);
    }
    if (found == 0) {
        checkup_add(u, CHECK_OK, "leftovers", "no temporary file of a program that was cut off");
    } else {
        struct check *k =
            checkup_add(u, CHECK_WARNING, "leftovers",
                        "%d temporary file%s of programs that were cut off: %s%s", found,
                        found == 1 ? "" : "s", first, found > 1 ? ", ..." : "");
        check_fix(k, "remove what ends in .tmp there");
    }
}

static void check_folders(struct checkup *u) {
    if (!u->store_path || !u->state_path) {
        struct check *k = checkup_add(u, CHECK_WARNING, "home",
                                      "HOME is not set: no store, no "
                                      "state folder");
        check_fix(k, "set HOME, or give --store and --state");
    }
    if (u->store_path) {
        check_folder(u, "store", u->store_path, "--store", true);
        check_disk(u, "disk of the store", u->store_path, 64 * MIB, 5 * GIB);
    }
    if (u->state_path) {
        check_folder(u, "state folder", u->state_path, "--state", false);
        check_disk(u, "disk of the state folder", u->state_path, MIB, 64 * MIB);
    }
    check_leftovers(u);
}

/* ---- drivers, settings, clock ----------------------------------------------------------- */

static enum err_code check_drivers(struct checkup *u, struct err *e) {
    struct buf text;
    int own = u->machine.n_warning; /* of the machine itself, without drivers */
    enum err_code rc = look_machine(u->c, &u->machine, true, e);
    if (rc) {
        return rc;
    }
    buf_init(&text, 512);
    for (int i = 0; i < u->machine.n_gpu; i++) {
        const struct machine_gpu *g = &u->machine.gpu[i];
        buf_printf(&text, "%s%s:%d %s (%s)", i ? ", " : "", machine_gpu_kind_name(g->kind),
                   g->index, g->name, g->usable ? "usable" : g->why);
    }
    bool warned = u->machine.n_warning > own;
    const char *found = text.len ? text.p : "no accelerator found; the processor computes";
    struct check *k = checkup_add(u, warned ? CHECK_WARNING : CHECK_OK, "drivers", "%s%s%s", found,
                                  warned ? "; " : "", warned ? u->machine.warning[own] : "");
    if (warned) {
        check_fix(k, "repair or remove that driver; 'ign detect-gpu --detailed' shows all");
    }
    buf_fini(&text);
    return ERR_OK;
}

static void check_configuration(struct checkup *u) {
    const struct settings *s = &u->c->settings;
    const struct err *broken = settings_error(s);
    struct err e = {0};
    char line[512];
    if (!broken && settings_check(s, &e)) {
        broken = &e;
    }
    if (broken) {
        struct err head = *broken;
        head.hint[0] = '\0';
        struct check *k =
            checkup_add(u, CHECK_FAILED, "configuration", "%s", err_line(&head, line, sizeof line));
        check_fix(k, "%s", broken->hint[0] ? broken->hint : "mend that line");
        return;
    }
    int n = 0;
    for (const struct settings_file *f = s->files; f; f = f->next) {
        n += f->state == SETTINGS_READ;
    }
    char stray[KNOB_ENV_MAX], near[KNOB_ENV_MAX];
    if (knobs_env_stray(stray, near)) {
        struct check *k = checkup_add(u, CHECK_WARNING, "configuration",
                                      "%s is set, but there is no such setting", stray);
        check_fix(k, near[0] ? "did you mean %s?" : "'ign config show' lists all settings", near);
        return;
    }
    checkup_add(u, CHECK_OK, "configuration", "%d file%s read", n, n == 1 ? "" : "s");
}

/* Whether a file that is not there could be made: nobody makes its folder. */
static bool file_may_be_made(const char *path) {
    struct os_file_info info;
    struct buf folder;
    const char *cut = strrchr(path, '/');
    buf_init(&folder, 65536);
    buf_put(&folder, cut ? path : ".", cut && cut > path ? (size_t)(cut - path) : 1);
    bool may = !buf_check(&folder, NULL) && os_file_info(folder.p, &info, NULL) == ERR_OK &&
               info.is_folder && info.writable;
    buf_fini(&folder);
    return may;
}

/* Nothing where no audit log is kept. One that is not there yet is not made. */
static void check_audit(struct checkup *u) {
    struct audit_report r = {.intact = true};
    struct err e = {0};
    char line[512];
    const struct audit_opts *log = &u->c->action.log;
    enum err_code rc = action_log(u->c, &e);
    if (!rc && !log->path) {
        return;
    }
    if (!rc && !os_file_exists(log->path)) {
        rc = file_may_be_made(log->path) ? ERR_OK
                                         : err_set(&e, ERR_IO, "its folder cannot be written");
    } else if (!rc) {
        rc = audit_verify(log, &r, &e);
        rc = rc || !r.intact ? rc : audit_ready(log, &e);
    }
    if (rc) {
        struct err head = e;
        head.hint[0] = '\0';
        struct check *k =
            checkup_add(u, CHECK_FAILED, "audit log", "%s: %s", log->path ? log->path : "--audit",
                        err_line(&head, line, sizeof line));
        check_fix(k, "%s",
                  e.hint[0] ? e.hint : "let this user write it, or choose another (--audit)");
    } else if (!r.intact) {
        struct check *k = checkup_add(u, CHECK_FAILED, "audit log", "%s: %s", log->path, r.why);
        check_fix(k, "keep that file for whoever looks into it, and begin another (--audit)");
    } else {
        checkup_add(u, CHECK_OK, "audit log", "%s, %llu entries, intact", log->path,
                    (unsigned long long)r.entries);
    }
}

/* A certificate, a log and an audit are worth what the clock is worth. */
static void check_clock(struct checkup *u) {
    enum { DAY = 86400 };
    const int64_t year_2024 = 1704067200, year_2100 = 4102444800, now = os_wall_time();
    char text[64];
    size_t n;
    int64_t newest = 0;
    const struct checkup_model *m = checkup_models(u, &n);
    for (size_t i = 0; i < n; i++) {
        newest = m[i].mtime > newest ? m[i].mtime : newest;
    }
    double before = os_now();
    os_sleep(1e-3);
    os_strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S %z", now);
    const char *wrong = os_now() <= before                    ? "its steady clock stands still"
                        : now < year_2024 || now >= year_2100 ? "no plausible year"
                        : newest > now + DAY ? "a model of the store is from the future"
                                             : NULL;
    struct check *k = checkup_add(u, wrong ? CHECK_FAILED : CHECK_OK, "clock", "%s%s%s", text,
                                  wrong ? ": " : "", wrong ? wrong : "");
    if (wrong) {
        check_fix(k, "set the clock (timedatectl, or the network's time server)");
    }
}

/* ---- all -------------------------------------------------------------------------------- */

enum err_code checkup_run(struct checkup *u, struct cli *c, bool thorough, struct err *e) {
    *u = (struct checkup){.c = c, .thorough = thorough};
    buf_init(&u->store, 65536);
    buf_init(&u->state, 65536);
    buf_init(&u->checks, (size_t)1 << 26);
    buf_init(&u->models, (size_t)1 << 26);
    u->store_path = store_folder(c, &u->store);
    u->state_path = state_folder(c, &u->state);
    enum err_code rc = look_machine(c, &u->machine, false, e);
    if (rc) {
        return rc;
    }
    check_processor(u);
    check_memory(u);
    check_quota(u);
    check_limits(u);
    check_folders(u);
    if ((rc = checkup_store(u, e)) || (rc = check_drivers(u, e))) {
        return rc;
    }
    check_configuration(u);
    check_audit(u);
    check_clock(u);
    rc = buf_check(&u->checks, e);
    return rc ? rc : buf_check(&u->models, e);
}

void checkup_fini(struct checkup *u) {
    size_t n;
    const struct checkup_model *m = checkup_models(u, &n);
    for (size_t i = 0; i < n; i++) {
        mem_free(m[i].name);
    }
    buf_fini(&u->models);
    buf_fini(&u->checks);
    buf_fini(&u->state);
    buf_fini(&u->store);
}

static const char *const verdict_name[] = {"ok", "warning", "failed"};

void checkup_put(const struct checkup *u, struct json_writer *w) {
    size_t n;
    const struct check *k = checkup_checks(u, &n);
    json_key(w, "healthy");
    json_put_bool(w, checkup_healthy(u));
    json_key(w, "checks");
    json_open(w, '[');
    for (size_t i = 0; i < n; i++) {
        json_open(w, '{');
        json_key(w, "name");
        json_put_z(w, k[i].name);
        json_key(w, "ok");
        json_put_bool(w, k[i].verdict != CHECK_FAILED);
        json_key(w, "verdict");
        json_put_z(w, verdict_name[k[i].verdict]);
        json_key(w, "detail");
        json_put_z(w, k[i].detail);
        json_key(w, "fix");
        json_put_z(w, k[i].fix[0] ? k[i].fix : NULL);
        json_close(w, '}');
    }
    json_close(w, ']');
}

void checkup_print(const struct checkup *u, bool all) {
    size_t n;
    const struct check *k = checkup_checks(u, &n);
    for (size_t i = 0; i < n; i++) {
        if (!all && k[i].verdict == CHECK_OK) {
            continue;
        }
        cli_printf(u->c, "%-8s ", verdict_name[k[i].verdict]);
        cli_put_text(u->c, k[i].name, strlen(k[i].name));
        cli_puts(u->c, ": ");
        cli_put_text(u->c, k[i].detail, strlen(k[i].detail));
        if (k[i].verdict != CHECK_OK && k[i].fix[0]) {
            cli_puts(u->c, "\n         -> ");
            cli_put_text(u->c, k[i].fix, strlen(k[i].fix));
        }
        cli_puts(u->c, "\n");
    }
}
