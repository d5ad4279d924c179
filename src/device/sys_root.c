/* sys_root.c: reading small system files, and the notations in them.
 *
 * Owns what sys_root.h promises.
 */
#include "device/sys_root.h"

#include <stdio.h>
#include <string.h>

#include "base/os.h"

const char *sys_text(struct sys_root *r, const char *path) {
    char whole[1024];
    size_t got = 0;
    r->text[0] = '\0';
    if (r->read) {
        return r->read(r->arg, path, r->text, SYS_TEXT_MAX) ? r->text : NULL;
    }
    int n = snprintf(whole, sizeof whole, "%s%s", r->folder, path);
    if (n < 0 || (size_t)n >= sizeof whole ||
        os_read_head(whole, r->text, SYS_TEXT_MAX, &got, NULL)) {
        return NULL;
    }
    return r->text;
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t';
}

bool sys_parse(const char **p, uint64_t *v) {
    const char *at = *p;
    uint64_t n = 0;
    while (is_blank(*at)) {
        at++;
    }
    if (*at < '0' || *at > '9') {
        return false;
    }
    for (; *at >= '0' && *at <= '9'; at++) {
        if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *at - '0', &n)) {
            return false;
        }
    }
    *p = at;
    *v = n;
    return true;
}

bool sys_number(struct sys_root *r, const char *path, uint64_t *v) {
    const char *p = sys_text(r, path);
    return p && sys_parse(&p, v) && p[strspn(p, " \t\n")] == '\0';
}

const char *sys_line(const char *text, const char *key) {
    size_t n = strlen(key);
    for (const char *at = text; at; at = strchr(at, '\n')) {
        at += *at == '\n';
        if (strncmp(at, key, n) == 0) {
            at += n;
            at += strspn(at, " \t");
            at += *at == ':';
            return at + strspn(at, " \t");
        }
    }
    return NULL;
}

void sys_words(char *out, size_t n, const char *line) {
    size_t len = 0;
    for (; *line && *line != '\n' && len + 1 < n; line++) {
        if (is_blank(*line)) {
            if (len > 0 && out[len - 1] != ' ') {
                out[len++] = ' ';
            }
        } else {
            out[len++] = *line > ' ' && *line <= '~' ? *line : '?';
        }
    }
    len -= len > 0 && out[len - 1] == ' ';
    if (n > 0) {
        out[len] = '\0';
    }
}

bool sys_cpu_in(const struct sys_cpus *s, int cpu) {
    return cpu >= 0 && cpu < SYS_CPU_MAX && (s->bits[cpu / 64] >> cpu % 64 & 1);
}

bool sys_cpu_list(struct sys_cpus *s, const char *text) {
    memset(s, 0, sizeof *s);
    for (const char *p = text;; p++) {
        uint64_t first, last;
        if (!sys_parse(&p, &first)) {
            break;
        }
        last = first;
        if (*p == '-') {
            p++;
            if (!sys_parse(&p, &last)) {
                break;
            }
        }
        if (first > last || last >= SYS_CPU_MAX) {
            break;
        }
        for (uint64_t i = first; i <= last; i++) {
            s->bits[i / 64] |= (uint64_t)1 << i % 64;
        }
        if (*p != ',') {
            if (*p == '\0' || *p == '\n') {
                return true;
            }
            break;
        }
    }
    memset(s, 0, sizeof *s);
    return false;
}

int sys_cpu_count(const struct sys_cpus *s) {
    int n = 0;
    for (int i = 0; i < SYS_CPU_MAX / 64; i++) {
        n += __builtin_popcountll(s->bits[i]);
    }
    return n;
}

int sys_cpu_first(const struct sys_cpus *s) {
    for (int i = 0; i < SYS_CPU_MAX; i++) {
        if (sys_cpu_in(s, i)) {
            return i;
        }
    }
    return -1;
}

void sys_cpu_text(const struct sys_cpus *s, char *out, size_t n) {
    size_t len = 0;
    out[0] = '\0';
    for (int i = 0; i < SYS_CPU_MAX; i++) {
        char part[32];
        int last = i;
        if (!sys_cpu_in(s, i)) {
            continue;
        }
        while (sys_cpu_in(s, last + 1)) {
            last++;
        }
        int k = snprintf(part, sizeof part, last > i ? "%s%d-%d" : "%s%d", len ? "," : "", i, last);
        if (len + (size_t)k + sizeof "..." > n) {
            snprintf(out + len, n - len, "...");
            return;
        }
        memcpy(out + len, part, (size_t)k + 1);
        len += (size_t)k;
        i = last;
    }
}
