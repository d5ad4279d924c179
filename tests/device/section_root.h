/* section_root.h: a machine's /proc and /sys in one text, for tests and the fuzzer.
 *
 * A line "== PATH" begins a file, which ends before the next such line; what stands before the
 * first is a remark. The files of roots/ are such texts, and the fuzzer's seeds, too.
 */
#ifndef IGN_TESTS_DEVICE_SECTION_ROOT_H
#define IGN_TESTS_DEVICE_SECTION_ROOT_H

#include <string.h>

#include "base/buf.h"
#include "device/machine_part.h"

static bool section_read(void *arg, const char *path, char *out, size_t n) {
    const struct str *all = arg;
    size_t len = strlen(path);
    const char *at = all->p, *end = all->p + all->n;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *next = newline ? newline + 1 : end;
        bool found = (size_t)(next - at) == len + 4 && memcmp(at, "== ", 3) == 0 &&
                     memcmp(at + 3, path, len) == 0;
        at = next;
        if (!found) {
            continue;
        }
        size_t k = 0;
        bool fresh = true; /* at the start of a line */
        while (at + k < end && k + 1 < n &&
               !(fresh && end - (at + k) >= 3 && memcmp(at + k, "== ", 3) == 0)) {
            out[k] = at[k];
            fresh = at[k] == '\n';
            k++;
        }
        out[k] = '\0';
        return true;
    }
    return false;
}

/* A machine by its text; `text` has SYS_TEXT_MAX bytes for the files. */
static void section_machine(struct machine *m, struct str all, char *text) {
    struct sys_root r = {.folder = "", .read = section_read, .arg = &all, .text = text};
    machine_read_root(m, &r);
}

#endif
