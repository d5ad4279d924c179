/* gguf_walk.h: touches everything that a parsed GGUF shows, as a reader of it would.
 *
 * Owns the checks of what gguf.h promises: views inside the bytes, indexes that find every key
 * and name, getters that agree with types. Ends the program if one is broken; under a sanitizer a
 * view outside its buffer ends it too. Used by the fuzzer and by the every-byte tests.
 */
#ifndef IGN_TESTS_FORMAT_GGUF_WALK_H
#define IGN_TESTS_FORMAT_GGUF_WALK_H

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/gguf.h"

#define WALK_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static inline uint64_t walk_bytes(const void *p, size_t n) {
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum = sum * 31 + ((const uint8_t *)p)[i];
    }
    return sum;
}

/* Every getter on one key, whose type at most one of them agrees with. */
static inline uint64_t walk_getters(const struct gguf *g, const char *key) {
    uint64_t u = 0;
    double f = 0;
    bool flag = false;
    struct str s = {0};
    const struct gguf_kv *kv;
    int ok = (gguf_get_u64(g, key, &u, NULL) == ERR_OK) +
             (gguf_get_f64(g, key, &f, NULL) == ERR_OK) +
             (gguf_get_str(g, key, &s, NULL) == ERR_OK) +
             (gguf_get_bool_or(g, key, false, &flag, NULL) == ERR_OK) +
             (gguf_get_array(g, key, GGUF_STRING, &kv, NULL) == ERR_OK);
    WALK_CHECK(ok <= 1);
    return u + (uint64_t)flag + walk_bytes(s.p, s.n) + (f > 0);
}

static inline uint64_t walk_kv(const struct gguf *g, const struct gguf_kv *kv) {
    char *key = (char *)malloc(kv->key.n + 1);
    uint64_t sum = walk_bytes(kv->data, (size_t)kv->bytes), pos = 0, n = 0;
    WALK_CHECK(key);
    memcpy(key, kv->key.p, kv->key.n);
    key[kv->key.n] = '\0';
    WALK_CHECK(gguf_find(g, key) == kv);
    sum += walk_getters(g, key);
    free(key);
    if (kv->elem == GGUF_STRING) {
        for (struct str s; s = gguf_next_str(kv, &pos), s.p; n++) {
            sum += walk_bytes(s.p, s.n);
        }
        WALK_CHECK(n == kv->n && pos == kv->bytes);
        return sum;
    }
    for (uint64_t i = 0; i < kv->n; i++) {
        bool real = kv->elem == GGUF_F32 || kv->elem == GGUF_F64;
        sum += real ? gguf_f64_at(kv, i) > 0 : (uint64_t)gguf_int_at(kv, i);
    }
    return sum;
}

static inline uint64_t walk_tensor(const struct gguf *g, const struct gguf_tensor *t) {
    char name[80];
    size_t row, bytes;
    WALK_CHECK(t->name.n >= 1 && t->name.n < sizeof name);
    memcpy(name, t->name.p, t->name.n);
    name[t->name.n] = '\0';
    WALK_CHECK(gguf_find_tensor(g, name) == t);
    WALK_CHECK(t->n_dim >= 1 && t->n_dim <= 4 && dtype_row_bytes(t->type, t->dim[0], &row));
    bytes = row * t->dim[1] * t->dim[2] * t->dim[3];
    WALK_CHECK(bytes == t->bytes && bytes > 0);
    return walk_bytes(t->data, t->bytes);
}

static inline uint64_t walk_all(const struct gguf *g) {
    uint64_t sum = 0;
    for (size_t i = 0; i < g->n_kv; i++) {
        sum += walk_kv(g, &g->kv[i]);
    }
    for (size_t i = 0; i < g->n_tensor; i++) {
        sum += walk_tensor(g, &g->tensor[i]);
    }
    WALK_CHECK(!gguf_find(g, "") && !gguf_find_tensor(g, "")); /* never allowed in a file */
    return sum;
}

/* Parses p[0..n) and walks it. Whatever the bytes are: a result or a whole error, no leak. */
static inline enum err_code walk_parse(const void *p, size_t n) {
    struct gguf *g;
    struct err e = {0};
    size_t live = mem_live();
    enum err_code rc = gguf_parse(&g, "sample.gguf", p, n, &e);
    WALK_CHECK(rc == e.code && (rc == ERR_OK) == (g != NULL));
    if (rc) {
        WALK_CHECK(e.what[0] && strstr(e.where, "sample.gguf") && e.hint[0]);
    } else {
        volatile uint64_t sum = walk_all(g);
        (void)sum;
    }
    gguf_close(g);
    WALK_CHECK(mem_live() == live);
    return rc;
}

#endif
