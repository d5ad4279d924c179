/* gguf_expect.h: what the GGUF tests say over and over: this must be taken, that refused.
 *
 * Owns the limits that every refusal keeps: 0.2 s of processor time, no block left allocated, an
 * error of one line that names the file and has no control characters. The bytes are copied to a
 * buffer of their exact size first, so that a sanitizer sees the first byte read past the end.
 */
#ifndef IGN_TESTS_FORMAT_GGUF_EXPECT_H
#define IGN_TESTS_FORMAT_GGUF_EXPECT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/mem.h"
#include "format/gguf.h"
#include "format/gguf_builder.h"

#define REFUSE_SECONDS 0.2

/* The error's line has `text` in it, and nothing that could disturb a terminal. */
static inline void expect_line(const struct err *e, const char *text) {
    char line[1024];
    err_line(e, line, sizeof line);
    for (const char *p = line; *p; p++) {
        assert_true((unsigned char)*p >= 0x20 && *p != 0x7f);
    }
    if (!strstr(line, text)) {
        fail_msg("\"%s\" is not in the error: %s", text, line);
    }
}

static inline void expect_refused(const void *p, size_t n, enum err_code code, const char *text) {
    struct gguf *g = NULL;
    struct err e = {0};
    size_t live = mem_live();
    uint8_t *copy = (uint8_t *)malloc(n ? n : 1);
    assert_non_null(copy);
    if (n) {
        memcpy(copy, p, n);
    }
    clock_t start = clock();
    enum err_code rc = gguf_parse(&g, "hostile.gguf", copy, n, &e);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    free(copy);
    assert_null(g);
    expect_line(&e, text);
    expect_line(&e, "hostile.gguf, offset ");
    expect_line(&e, "field ");
    assert_int_equal(rc, code);
    assert_int_equal(e.code, code);
    assert_true(e.hint[0] != 0);
    assert_int_equal(mem_live(), live);
    assert_true(seconds <= REFUSE_SECONDS);
}

/* Refuses the builder's file and empties the builder for the next one. */
static inline void expect_builder_refused(struct builder *b, enum err_code code, const char *text) {
    size_t n;
    uint8_t *p = builder_take(b, &n);
    builder_fini(b);
    builder_init(b);
    expect_refused(p, n, code, text);
    free(p);
}

/* Parses the builder's file, which must be right. `*bytes` (free after closing) are the file. */
static inline struct gguf *expect_taken(struct builder *b, uint8_t **bytes) {
    struct gguf *g = NULL;
    struct err e = {0};
    char line[1024];
    size_t n;
    *bytes = builder_take(b, &n);
    builder_fini(b);
    builder_init(b);
    if (gguf_parse(&g, "right.gguf", *bytes, n, &e)) {
        fail_msg("%s", err_line(&e, line, sizeof line));
    }
    return g;
}

static inline void expect_builder_taken(struct builder *b) {
    uint8_t *bytes;
    gguf_close(expect_taken(b, &bytes));
    free(bytes);
}

#endif
