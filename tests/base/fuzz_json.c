/* fuzz_json.c: any bytes through the JSON reader, and what it accepts through the writer.
 *
 * What was written must be read again, and writing that must give the same bytes. The walk of
 * json_scan.h must take whatever the tree reader takes, but for zero bytes.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json_scan.h"
#include "base/mem.h"

static void copy(struct json_writer *w, const struct json *j) {
    switch (json_kind(j)) {
    case JSON_IS_NULL: json_put_null(w); break;
    case JSON_IS_BOOL: json_put_bool(w, json_bool(j)); break;
    case JSON_IS_INT: json_put_int(w, json_int(j)); break;
    case JSON_IS_REAL: json_put_real(w, json_num(j)); break;
    case JSON_IS_STR: json_put_str(w, json_str(j)); break;
    case JSON_IS_ARRAY:
        json_open(w, '[');
        for (size_t i = 0; i < json_count(j); i++) {
            copy(w, json_at(j, i));
        }
        json_close(w, ']');
        break;
    case JSON_IS_OBJECT: {
        void *iter = NULL;
        struct str key;
        const struct json *value;
        json_open(w, '{');
        while (json_next(j, &iter, &key, &value)) {
            json_key(w, key.p);
            copy(w, value);
        }
        json_close(w, '}');
        break;
    }
    }
}

static bool write_again(const char *p, size_t n, struct buf *out) {
    struct json *root;
    struct json_writer w;
    struct err e = {0};
    if (json_parse(p, n, &root, &e)) {
        return false;
    }
    json_writer_init(&w, out);
    copy(&w, root);
    json_free(root);
    return !out->failed;
}

static bool walks(const char *p, size_t n) {
    struct json_scan s;
    struct json_value v;
    char *copy = mem_alloc(n, 1); /* its end is where a sanitizer sees it */
    memcpy(copy, n ? p : copy, n);
    json_scan_begin(&s, copy, n, NULL);
    bool ok = json_scan_value(&s, &v);
    ok = json_scan_end(&s) == ERR_OK && ok;
    if (ok && v.kind == JSON_IS_STR) {
        char *out = mem_alloc(v.text.n, 1);
        json_unescape(v.text, out);
        mem_free(out);
    }
    mem_free(copy);
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    struct buf once, twice;
    buf_init(&once, 1 << 24);
    buf_init(&twice, 1 << 24);
    bool walked = walks((const char *)data, n);
    if (write_again((const char *)data, n, &once)) {
        bool zero = memchr(data, 0, n) != NULL; /* which ends a text for the tree reader */
        if (!(walked || zero) || !write_again(once.p, once.len, &twice) ||
            !str_eq(str_of(once.p, once.len), str_of(twice.p, twice.len))) {
            abort();
        }
    }
    buf_fini(&once);
    buf_fini(&twice);
    if (mem_live() != 0) {
        abort();
    }
    return 0;
}
