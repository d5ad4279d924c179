/* cgroup.c: what the control groups leave of the machine, in both of their versions.
 *
 * Owns finding this process's groups (/proc/self/cgroup, and where they are mounted), and the
 * limits of each group on the way up: a container's limit is often its parent's. Refuses weights
 * and shares, which limit nobody while the machine is idle.
 * Invariant: the least limit counts; a file that is missing or holds nonsense limits nothing, and
 * nonsense is a warning.
 */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "device/machine_part.h"

/* A group's folder, and how much of its path is the mount point, above which there is nothing. */
struct group {
    char folder[768];
    size_t top;
};

enum group_kind { UNIFIED, CPU_V1, MEMORY_V1, GROUP_N };

/* ---- finding the groups ---------------------------------------------------------------- */

/* Whether a comma-separated list has the word. */
static bool list_has(struct str list, const char *word) {
    while (list.n > 0) {
        const char *comma = memchr(list.p, ',', list.n);
        size_t len = comma ? (size_t)(comma - list.p) : list.n;
        if (str_is(str_of(list.p, len), word)) {
            return true;
        }
        len += comma != NULL;
        list = str_of(list.p + len, list.n - len);
    }
    return false;
}

/* Lines of /proc/self/cgroup: "0::/path" or "4:cpu,cpuacct:/path". */
static void paths_read(const char *text, char path[GROUP_N][512]) {
    for (const char *at = text; at && *at; at = strchr(at, '\n'), at = at ? at + 1 : NULL) {
        size_t line = strcspn(at, "\n");
        const char *list = memchr(at, ':', line);
        const char *end = list ? memchr(list + 1, ':', line - (size_t)(list + 1 - at)) : NULL;
        if (!end) {
            continue;
        }
        struct str names = str_of(list + 1, (size_t)(end - list - 1));
        size_t n = line - (size_t)(end + 1 - at);
        enum group_kind kind = names.n == 0                ? UNIFIED
                               : list_has(names, "cpu")    ? CPU_V1
                               : list_has(names, "memory") ? MEMORY_V1
                                                           : GROUP_N;
        if (kind < GROUP_N && n > 0 && n < sizeof path[kind]) {
            memcpy(path[kind], end + 1, n);
            path[kind][n] = '\0';
        }
    }
}

/* The next word of a line, its octal escapes undone; false if it does not fit or is not there. */
static bool word_next(const char **p, char *out, size_t n) {
    size_t len = 0;
    const char *at = *p + strspn(*p, " ");
    for (; *at && *at != ' ' && *at != '\n' && len + 1 < n; at++) {
        if (at[0] == '\\' && at[1] >= '0' && at[1] <= '3' && at[2] >= '0' && at[2] <= '7' &&
            at[3] >= '0' && at[3] <= '7') {
            out[len++] = (char)((at[1] - '0') * 64 + (at[2] - '0') * 8 + (at[3] - '0'));
            at += 3;
        } else {
            out[len++] = *at;
        }
    }
    out[len] = '\0';
    *p = at;
    return len > 0 && (!*at || *at == ' ' || *at == '\n');
}

/* A path below the mount's root is a folder below its mount point; any other (a group namespace
 * shows such) is seen only as the mount point itself. */
static void group_place(struct group *g, const char *point, const char *root, const char *path) {
    size_t n = strcmp(root, "/") == 0 ? 0 : strlen(root);
    const char *rest = "";
    if (strncmp(path, root, n) == 0 && path[n] == '/' && !strstr(path, "/..")) {
        rest = strcmp(path + n, "/") == 0 ? "" : path + n;
    }
    int len = snprintf(g->folder, sizeof g->folder, "%s%s", point, rest);
    g->top = strlen(point);
    if (len < 0 || (size_t)len >= sizeof g->folder) {
        g->folder[0] = '\0';
    }
}

/* Lines of /proc/self/mountinfo: id parent device root point options ... - type source options. */
static void mounts_read(const char *text, char path[GROUP_N][512], struct group group[GROUP_N]) {
    for (const char *at = text; at && *at; at = strchr(at, '\n'), at = at ? at + 1 : NULL) {
        char skip[512], root[512], point[256], type[16], options[256];
        const char *p = at, *dash = strstr(at, " - ");
        if (!dash || dash > at + strcspn(at, "\n") || !word_next(&p, skip, sizeof skip) ||
            !word_next(&p, skip, sizeof skip) || !word_next(&p, skip, sizeof skip) ||
            !word_next(&p, root, sizeof root) || !word_next(&p, point, sizeof point)) {
            continue;
        }
        p = dash + 3;
        if (!word_next(&p, type, sizeof type) || !word_next(&p, skip, sizeof skip) ||
            !word_next(&p, options, sizeof options)) {
            continue;
        }
        bool v1 = strcmp(type, "cgroup") == 0;
        if (strcmp(type, "cgroup2") == 0 && !group[UNIFIED].folder[0]) {
            group_place(&group[UNIFIED], point, root, path[UNIFIED]);
        }
        if (v1 && list_has(str_c(options), "cpu") && !group[CPU_V1].folder[0]) {
            group_place(&group[CPU_V1], point, root, path[CPU_V1]);
        }
        if (v1 && list_has(str_c(options), "memory") && !group[MEMORY_V1].folder[0]) {
            group_place(&group[MEMORY_V1], point, root, path[MEMORY_V1]);
        }
    }
}

/* ---- limits of one group --------------------------------------------------------------- */

struct walk {
    struct machine *m;
    struct sys_root *r;
    const char *folder; /* of the group that is looked at */
    char path[1024];    /* of the file that was opened last */
};

static const char *file_in(struct walk *w, const char *name) {
    snprintf(w->path, sizeof w->path, "%s/%s", w->folder, name);
    return sys_text(w->r, w->path);
}

/* Of a long path the end, which tells more. */
static void from_set(char *out, size_t n, const char *path) {
    size_t len = strlen(path);
    bool cut = len >= n;
    sys_words(out, n, cut ? path + len - (n - 1) : path);
    if (cut) {
        out[0] = out[1] = out[2] = '.';
    }
}

/* A number in a file of one number. False: no limit, no file; nonsense is a warning. */
static bool limit_in(struct walk *w, const char *name, uint64_t *v) {
    const char *text = file_in(w, name), *p = text;
    if (!text || strncmp(text, "max", 3) == 0 || strncmp(text, "-1", 2) == 0) {
        return false;
    }
    if (!sys_parse(&p, v) || p[strspn(p, " \n")] != '\0') {
        machine_warn(w->m, "%s holds no number, and is taken for no limit", w->path);
        return false;
    }
    return true;
}

static void quota_take(struct walk *w, const char *name, uint64_t quota, uint64_t period) {
    struct machine_cpu *c = &w->m->cpu;
    double cpus = period ? (double)quota / (double)period : 0;
    if (quota == 0 || period == 0 || period > 1000000000 || cpus > 1e6) {
        machine_warn(w->m, "%s/%s holds no quota that can be, and is taken for none", w->folder,
                     name);
    } else if (c->quota == 0 || cpus < c->quota) {
        c->quota = cpus;
        snprintf(w->path, sizeof w->path, "%s/%s", w->folder, name);
        from_set(c->quota_from, sizeof c->quota_from, w->path);
    }
}

static void quota_unified(struct walk *w) {
    uint64_t quota, period;
    const char *p = file_in(w, "cpu.max");
    if (!p || strncmp(p, "max", 3) == 0) {
        return;
    }
    if (sys_parse(&p, &quota) && sys_parse(&p, &period) && p[strspn(p, " \n")] == '\0') {
        quota_take(w, "cpu.max", quota, period);
    } else {
        machine_warn(w->m, "%s holds no quota, and is taken for none", w->path);
    }
}

static void quota_v1(struct walk *w) {
    uint64_t quota, period;
    if (limit_in(w, "cpu.cfs_quota_us", &quota) && limit_in(w, "cpu.cfs_period_us", &period)) {
        quota_take(w, "cpu.cfs_quota_us", quota, period);
    }
}

/* Cached pages of files, which the kernel gives back before it lets anybody run out: the same that
 * MemAvailable counts for the whole machine. */
static uint64_t reclaimable(struct walk *w, const char *inactive, const char *active) {
    const char *text = file_in(w, "memory.stat");
    const char *keys[] = {inactive, active};
    uint64_t sum = 0;
    for (size_t i = 0; text && i < 2; i++) {
        uint64_t v;
        const char *p = sys_line(text, keys[i]);
        if (p && sys_parse(&p, &v) && __builtin_add_overflow(sum, v, &sum)) {
            return 0;
        }
    }
    return sum;
}

static void memory_take(struct walk *w, const char *limit_name, const char *use_name,
                        const char *inactive, const char *active) {
    /* Version 1 says "no limit" by the largest number of pages. */
    enum { NO_LIMIT_BIT = 62 };
    struct machine_memory *mem = &w->m->memory;
    uint64_t limit, use = 0;
    if (!limit_in(w, limit_name, &limit) || limit >> NO_LIMIT_BIT) {
        return;
    }
    if (limit == 0) {
        machine_warn(w->m, "%s holds 0, and is taken for no limit: nothing runs in such a group",
                     w->path);
        return;
    }
    if (mem->limit_from[0] == '\0' || limit < mem->limit) {
        mem->limit = limit;
        from_set(mem->limit_from, sizeof mem->limit_from, w->path);
    }
    limit_in(w, use_name, &use);
    uint64_t back = reclaimable(w, inactive, active);
    use -= back < use ? back : use;
    uint64_t left = limit > use ? limit - use : 0;
    mem->limit_left = left < mem->limit_left ? left : mem->limit_left;
}

static void group_limits(struct walk *w, enum group_kind kind) {
    if (kind == UNIFIED) {
        quota_unified(w);
        memory_take(w, "memory.max", "memory.current", "inactive_file", "active_file");
        memory_take(w, "memory.high", "memory.current", "inactive_file", "active_file");
    } else if (kind == CPU_V1) {
        quota_v1(w);
    } else {
        memory_take(w, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file",
                    "total_active_file");
    }
}

void cgroup_read(struct machine *m, struct sys_root *r) {
    struct group group[GROUP_N] = {0};
    char path[GROUP_N][512] = {"/", "/", "/"};
    const char *text = sys_text(r, "/proc/self/cgroup");
    if (text) {
        paths_read(text, path);
    }
    text = sys_text(r, "/proc/self/mountinfo");
    if (text) {
        mounts_read(text, path, group);
    }
    m->memory.limit_left = UINT64_MAX;
    for (int kind = 0; kind < GROUP_N; kind++) {
        struct group *g = &group[kind];
        struct walk w = {.m = m, .r = r, .folder = g->folder};
        while (g->folder[0]) {
            group_limits(&w, (enum group_kind)kind);
            char *slash = strrchr(g->folder, '/');
            if (!slash || (size_t)(slash - g->folder) < g->top) {
                break;
            }
            *slash = '\0';
        }
    }
    if (m->memory.limit_from[0] == '\0') {
        m->memory.limit_left = 0;
    }
}
