/* sys_root.h: the small text files of /proc and /sys, of this machine or of another one's copy.
 *
 * Owns where they are read from and how much of each; and the reading of the few notations that
 * they use: whole numbers, lists of processors, "key: value" lines. Refuses their meaning.
 * Invariant: a file is as hostile as any other: what it holds past its bound is not looked at, what
 * is no number is absent, and every text is terminated.
 */
#ifndef IGN_DEVICE_SYS_ROOT_H
#define IGN_DEVICE_SYS_ROOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SYS_TEXT_MAX = 1 << 20, /* bytes of a file that are looked at, one for the end included */
    SYS_CPU_MAX = 8192      /* processors, the most that Linux can be built for */
};

struct sys_root {
    const char *folder; /* in front of every path; "" is this machine */
    /* In place of files, for tests: the text at `path` into out [n], terminated; false: none. */
    bool (*read)(void *arg, const char *path, char *out, size_t n);
    void *arg;
    char *text; /* [SYS_TEXT_MAX] of the file that was read last */
};

/* The file's text, or NULL; lasts until the next call. */
const char *sys_text(struct sys_root *r, const char *path);
/* The file's only number; false if there is none, or more. */
bool sys_number(struct sys_root *r, const char *path, uint64_t *v);

/* A decimal number at *p, after blanks; *p is moved behind it. False, and *p stays, where no digit
 * is, and for more than 64 bits. */
bool sys_parse(const char **p, uint64_t *v);
/* Behind `key` of the first line that starts with it, after blanks and a colon; NULL: no such. */
const char *sys_line(const char *text, const char *key);
/* A line's text for people, cut at `n`: printable ASCII, no blank twice, none at the ends. */
void sys_words(char *out, size_t n, const char *line);

/* A set of processors. */
struct sys_cpus {
    uint64_t bits[SYS_CPU_MAX / 64];
};
bool sys_cpu_in(const struct sys_cpus *s, int cpu);
/* "0-3,8": false, and an empty set, where it is not one or names more than SYS_CPU_MAX. */
bool sys_cpu_list(struct sys_cpus *s, const char *text);
int sys_cpu_count(const struct sys_cpus *s);
int sys_cpu_first(const struct sys_cpus *s); /* -1: empty */
/* The same notation in out [n]; where that is too short, "..." after the last that fits. */
void sys_cpu_text(const struct sys_cpus *s, char *out, size_t n);

#endif
