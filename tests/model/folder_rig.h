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

#define RIG_POOLING "1_Pooling" /* the only folder in one of them */

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

/* Removes what is in the folder, or in its folder `in`. */
static inline void rig_clear_in(const char *in) {
    char **names, name[256];
    size_t n;
    assert_int_equal(os_list(in ? rig_path(in) : rig_folder, &names, &n, NULL), ERR_OK);
    for (size_t i = 0; i < n; i++) {
        snprintf(name, sizeof name, "%s%s%s", in ? in : "", in ? "/" : "", names[i]);
        unlink(rig_path(name));
    }
    mem_free(names);
}

/* Empties the folder, which may hold the folder of a pooling module. */
static inline void rig_clear(void) {
    if (os_file_exists(rig_path(RIG_POOLING))) {
        rig_clear_in(RIG_POOLING);
        rmdir(rig_path(RIG_POOLING));
    }
    rig_clear_in(NULL);
}

/* Empties the folder and copies the files of golden/NAME, and of its pooling module, into it. */
static inline void rig_copy(const char *name) {
    char from[512], **names, *text;
    size_t n, bytes;
    rig_clear();
    snprintf(from, sizeof from, "%s/%s", rig_golden, name);
    assert_int_equal(os_list(from, &names, &n, NULL), ERR_OK);
    for (size_t i = 0; i < n; i++) {
        bool pooling = strcmp(names[i], RIG_POOLING) == 0;
        const char *to = pooling ? RIG_POOLING "/config.json" : names[i];
        snprintf(from, sizeof from, "%s/%s/%s", rig_golden, name, to);
        if (pooling) {
            assert_int_equal(os_mkdirs(rig_path(RIG_POOLING), NULL), ERR_OK);
        }
        rig_read(from, &text, &bytes);
        rig_write(to, text, bytes);
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
