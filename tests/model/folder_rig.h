/* folder_rig.h: a copy of a model folder, to be broken in one place at a time.
 *
 * Owns a folder under TMPDIR with the files of one of golden/'s folders. Header only; every failure
 * fails the test.
 */
#ifndef IGN_TESTS_MODEL_FOLDER_RIG_H
#define IGN_TESTS_MODEL_FOLDER_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/os.h"

static const char *rig_golden; /* tests/model/golden */
static char rig_folder[256];

static inline const char *rig_path(const char *name) {
    static char paths[4][512];
    static unsigned next;
    char *p = paths[next++ % 4];
    snprintf(p, sizeof paths[0], "%s/%s", rig_folder, name);
    return p;
}

static inline void rig_write(const char *name, const void *p, size_t n) {
    FILE *f = fopen(rig_path(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static inline void rig_write_text(const char *name, const char *text) {
    rig_write(name, text, strlen(text));
}

static inline void rig_read(const char *path, char **text, size_t *n) {
    assert_int_equal(os_read_file(path, (size_t)1 << 26, text, n, NULL), ERR_OK);
}

static inline void rig_clear(void) {
    char **names;
    size_t n;
    assert_int_equal(os_list(rig_folder, &names, &n, NULL), ERR_OK);
    for (size_t i = 0; i < n; i++) {
        unlink(rig_path(names[i]));
    }
    mem_free(names);
}

/* Empties the folder and copies the files of golden/NAME, not its folders, into it. */
static inline void rig_copy(const char *name) {
    char from[512], **names, *text;
    size_t n, bytes;
    rig_clear();
    snprintf(from, sizeof from, "%s/%s", rig_golden, name);
    assert_int_equal(os_list(from, &names, &n, NULL), ERR_OK);
    for (size_t i = 0; i < n; i++) {
        snprintf(from, sizeof from, "%s/%s/%s", rig_golden, name, names[i]);
        struct os_file_info info;
        assert_int_equal(os_file_info(from, &info, NULL), ERR_OK);
        if (info.is_folder) {
            continue;
        }
        rig_read(from, &text, &bytes);
        rig_write(names[i], text, bytes);
        mem_free(text);
    }
    mem_free(names);
}

/* Puts `to` in the place of the first `from` in a file; from == NULL: `to` becomes the file. */
static inline void rig_replace(const char *name, const char *from, const char *to) {
    char *text;
    size_t n;
    if (!from) {
        rig_write_text(name, to);
        return;
    }
    rig_read(rig_path(name), &text, &n);
    char *at = NULL;
    for (size_t i = 0; !at && i + strlen(from) <= n; i++) {
        at = memcmp(text + i, from, strlen(from)) == 0 ? text + i : NULL;
    }
    if (!at) {
        fail_msg("%s has no '%s'", name, from);
        return;
    }
    FILE *f = fopen(rig_path(name), "wb");
    assert_non_null(f);
    fwrite(text, 1, (size_t)(at - text), f);
    fwrite(to, 1, strlen(to), f);
    fwrite(at + strlen(from), 1, n - (size_t)(at - text) - strlen(from), f);
    assert_int_equal(fclose(f), 0);
    mem_free(text);
}

static inline int rig_setup(void **state) {
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(rig_folder, sizeof rig_folder, "%s/ign_folder_XXXXXX", tmp ? tmp : "/tmp");
    return mkdtemp(rig_folder) ? 0 : -1;
}

static inline int rig_teardown(void **state) {
    (void)state;
    rig_clear();
    return rmdir(rig_folder);
}

#endif
