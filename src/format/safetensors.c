/* safetensors.c: see safetensors.h.
 *
 * The header is walked twice: to count its entries, and to read them. Invariant: nothing is
 * allocated before the header has been checked as JSON to its end.
 */
#include "format/safetensors.h"

#include <stdio.h>
#include <string.h>

#include "base/json_scan.h"
#include "base/utf8.h"

enum { LENGTH_BYTES = 8 };

struct reader {
    struct safetensors *s;
    const char *file; /* for messages */
    const uint8_t *p;
    uint64_t size;   /* of the file */
    uint64_t header; /* bytes of JSON */
    struct err *e;
};

static int shown(struct str s) {
    size_t n = s.n < 80 ? s.n : 80;
    return (int)(n - utf8_pending(s.p, n));
}

static enum err_code damaged(const struct reader *r, enum err_code code) {
    err_where(r->e, "%s", r->file);
    err_hint(r->e, "the file is damaged or incomplete: get it again and compare its checksum");
    return code;
}

/* ---- types ------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    unsigned bits;
} types[] = {
    {"BOOL", 8},        {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},
    {"I8", 8},          {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
    {"F8_E5M2FNUZ", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16},    {"BF16", 16},
    {"I32", 32},        {"U32", 32},    {"F32", 32},    {"C64", 64},    {"F64", 64},
    {"I64", 64},        {"U64", 64},
};

static unsigned type_bits(const char *type) {
    unsigned bits = 0;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        bits = types[i].name == type ? types[i].bits : bits;
    }
    return bits;
}

/* ---- one entry -------------------------------------------------------------------------- */

static bool refuse(struct json_scan *s, const char *field, const char *what) {
    if (!s->code) {
        err_set(s->e, ERR_FORMAT, "'%s' %s", field, what);
        json_scan_fail(s, ERR_FORMAT);
    }
    return false;
}

static bool read_type(struct json_scan *s, const char **type) {
    struct json_value v;
    if (*type) {
        return refuse(s, "dtype", "is there twice");
    }
    if (!json_scan_value(s, &v)) {
        return false;
    }
    for (size_t i = 0; v.kind == JSON_IS_STR && i < sizeof types / sizeof *types; i++) {
        if (json_text_is(v.text, types[i].name)) {
            *type = types[i].name;
            return true;
        }
    }
    return refuse(s, "dtype", "is no type of the format");
}

/* A list of at most `max` whole numbers. */
static bool read_numbers(struct json_scan *s, const char *field, uint64_t *out, unsigned max,
                         unsigned *n) {
    struct json_value v;
    *n = 0;
    if (!json_scan_open(s, '[')) {
        return false;
    }
    while (json_scan_next(s, NULL) && json_scan_value(s, &v)) {
        uint64_t u;
        if (!json_text_u64(&v, &u)) {
            return refuse(s, field, "holds something that is no whole number from 0 to 2^64 - 1");
        }
        if (*n == max) {
            return refuse(s, field, "holds too many numbers");
        }
        out[(*n)++] = u;
    }
    return !s->code;
}

static bool read_entry(struct json_scan *s, struct safetensor *t) {
    struct json_value v;
    struct str key;
    bool shape = false, offsets = false;
    unsigned n;
    uint64_t at[2] = {0, 0};
    if (!json_scan_open(s, '{')) {
        return false;
    }
    while (json_scan_next(s, &key)) {
        if (json_text_is(key, "dtype")) {
            read_type(s, &t->type);
        } else if (json_text_is(key, "shape")) {
            if (shape) {
                return refuse(s, "shape", "is there twice");
            }
            shape = read_numbers(s, "shape", t->dim, SAFETENSORS_MAX_DIM, &t->n_dim);
        } else if (json_text_is(key, "data_offsets")) {
            if (offsets) {
                return refuse(s, "data_offsets", "is there twice");
            }
            offsets = read_numbers(s, "data_offsets", at, 2, &n);
            if (offsets && n != 2) {
                return refuse(s, "data_offsets", "does not hold two numbers");
            }
        } else {
            json_scan_value(s, &v);
        }
    }
    if (!s->code && (!t->type || !shape || !offsets)) {
        return refuse(s, !t->type ? "dtype" : !shape ? "shape" : "data_offsets", "is missing");
    }
    t->begin = at[0];
    t->end = at[1];
    return !s->code;
}

/* "__metadata__": strings under keys, which nobody here asks for. */
static bool read_metadata(struct json_scan *s) {
    struct json_value v;
    if (!json_scan_open(s, '{')) {
        return false;
    }
    while (json_scan_next(s, NULL) && json_scan_value(s, &v)) {
        if (v.kind != JSON_IS_STR) {
            return refuse(s, "__metadata__", "holds something that is no string");
        }
    }
    return !s->code;
}

/* ---- the header ------------------------------------------------------------------------- */

static enum err_code read_length(struct reader *r) {
    if (r->size < LENGTH_BYTES) {
        return damaged(r, err_set(r->e, ERR_FORMAT, "%llu bytes are too few for a header",
                                  (unsigned long long)r->size));
    }
    for (int i = LENGTH_BYTES; i-- > 0;) {
        r->header = r->header << 8 | r->p[i];
    }
    if (r->header > SAFETENSORS_MAX_HEADER) {
        return damaged(r, err_set(r->e, ERR_LIMIT, "a header of %llu bytes; the bound is %llu",
                                  (unsigned long long)r->header,
                                  (unsigned long long)SAFETENSORS_MAX_HEADER));
    }
    if (r->header > r->size - LENGTH_BYTES) {
        return damaged(r, err_set(r->e, ERR_FORMAT,
                                  "the file ends after %llu bytes, inside its header of %llu",
                                  (unsigned long long)r->size, (unsigned long long)r->header));
    }
    if (r->header == 0 || r->p[LENGTH_BYTES] != '{') {
        return damaged(r, err_set(r->e, ERR_FORMAT, "the header does not begin with '{'"));
    }
    return ERR_OK;
}

static enum err_code begin(const struct reader *r, struct json_scan *s) {
    json_scan_begin(s, (const char *)r->p + LENGTH_BYTES, (size_t)r->header, r->e);
    json_scan_open(s, '{');
    return s->code;
}

/* How many tensors, once all of the header has been seen to be JSON. */
static enum err_code count_entries(const struct reader *r, size_t *n) {
    struct json_scan s;
    struct json_value v;
    struct str key;
    unsigned metadata = 0;
    *n = 0;
    begin(r, &s);
    while (json_scan_next(&s, &key) && json_scan_value(&s, &v)) {
        bool extra = json_text_is(key, "__metadata__");
        metadata += extra;
        *n += !extra;
    }
    if (!s.code && (metadata > 1 || *n > SAFETENSORS_MAX_TENSOR)) {
        if (metadata > 1) {
            refuse(&s, "__metadata__", "is there twice");
        } else {
            err_set(r->e, ERR_LIMIT, "%zu tensors; the bound is %u", *n, SAFETENSORS_MAX_TENSOR);
            s.code = ERR_LIMIT;
        }
    }
    return json_scan_end(&s);
}

static enum err_code read_entries(const struct reader *r) {
    struct json_scan s;
    struct str key;
    begin(r, &s);
    while (json_scan_next(&s, &key)) {
        if (json_text_is(key, "__metadata__")) {
            read_metadata(&s);
            continue;
        }
        struct safetensor *t = &r->s->tensor[r->s->n_tensor];
        char *name = arena_alloc(&r->s->mem, key.n + 1, 1);
        if (!name) {
            return err_set(r->e, ERR_NOMEM, "out of memory for the names of %s", r->file);
        }
        t->name = str_of(name, json_unescape(key, name));
        name[t->name.n] = '\0';
        if (!read_entry(&s, t)) {
            err_where(r->e, "tensor '%.*s'", shown(t->name), t->name.p);
        }
        r->s->n_tensor++;
    }
    return json_scan_end(&s);
}

/* ---- the orders ------------------------------------------------------------------------- */

static int by_name(const struct safetensor *a, const struct safetensor *b) {
    size_t n = a->name.n < b->name.n ? a->name.n : b->name.n;
    int d = memcmp(a->name.p, b->name.p, n);
    return d ? d : (a->name.n > b->name.n) - (a->name.n < b->name.n);
}

/* Empty tensors come before the one that begins where they do. */
static int by_offset(const struct safetensor *a, const struct safetensor *b) {
    int d = (a->begin > b->begin) - (a->begin < b->begin);
    return d ? d : (a->end > b->end) - (a->end < b->end);
}

typedef int (*entry_compare)(const struct safetensor *a, const struct safetensor *b);

static void sink(struct safetensor *v, size_t root, size_t n, entry_compare cmp) {
    struct safetensor moving = v[root];
    for (size_t child; (child = 2 * root + 1) < n; root = child) {
        if (child + 1 < n && cmp(&v[child], &v[child + 1]) < 0) {
            child++;
        }
        if (cmp(&moving, &v[child]) >= 0) {
            break;
        }
        v[root] = v[child];
    }
    v[root] = moving;
}

/* Heap sort: n log n for any file, and in place. */
static void sort(struct safetensor *v, size_t n, entry_compare cmp) {
    for (size_t i = n / 2; i-- > 0;) {
        sink(v, i, n, cmp);
    }
    for (size_t i = n; i-- > 1;) {
        struct safetensor top = v[0];
        v[0] = v[i];
        v[i] = top;
        sink(v, 0, i, cmp);
    }
}

static enum err_code check_names(const struct reader *r) {
    struct safetensor *t = r->s->tensor;
    sort(t, r->s->n_tensor, by_name);
    for (size_t i = 1; i < r->s->n_tensor; i++) {
        if (by_name(&t[i - 1], &t[i]) == 0) {
            return damaged(r, err_set(r->e, ERR_FORMAT, "tensor '%.*s' is there twice",
                                      shown(t[i].name), t[i].name.p));
        }
    }
    return ERR_OK;
}

/* Bytes that shape and type ask for; false if that is no whole number, or past 64 bits on the
 * way, in the order in which the reference multiplies. */
static bool wanted_bytes(const struct safetensor *t, uint64_t *bytes) {
    uint64_t n = 1;
    for (unsigned i = 0; i < t->n_dim; i++) {
        if (__builtin_mul_overflow(n, t->dim[i], &n)) {
            return false;
        }
    }
    if (__builtin_mul_overflow(n, (uint64_t)type_bits(t->type), &n)) {
        return false;
    }
    *bytes = n / 8;
    return n % 8 == 0;
}

static enum err_code bad_tensor(const struct reader *r, const struct safetensor *t,
                                const char *what) {
    err_set(r->e, ERR_FORMAT, "tensor '%.*s' %s", shown(t->name), t->name.p, what);
    err_where(r->e, "data_offsets %llu to %llu", (unsigned long long)t->begin,
              (unsigned long long)t->end);
    return damaged(r, ERR_FORMAT);
}

/* One behind the other, from the first byte of data to the last one of the file. */
static enum err_code check_places(const struct reader *r) {
    struct safetensor *t = r->s->tensor;
    uint64_t data = LENGTH_BYTES + r->header, at = 0, bytes;
    sort(t, r->s->n_tensor, by_offset);
    for (size_t i = 0; i < r->s->n_tensor; i++) {
        if (t[i].end < t[i].begin) {
            return bad_tensor(r, &t[i], "ends before it begins");
        }
        if (t[i].begin != at) {
            return bad_tensor(r, &t[i],
                              t[i].begin < at ? "shares bytes with another" : "lies behind a gap");
        }
        if (!wanted_bytes(&t[i], &bytes)) {
            return bad_tensor(r, &t[i], "has a shape whose size is no number of bytes");
        }
        if (t[i].end - t[i].begin != bytes) {
            return bad_tensor(r, &t[i], "does not have the size that its shape and type say");
        }
        at = t[i].end;
        if (at > r->size - data) {
            return bad_tensor(r, &t[i], "reaches past the end of the file");
        }
        t[i].begin += data;
        t[i].end += data;
    }
    if (at != r->size - data) {
        return damaged(r, err_set(r->e, ERR_FORMAT,
                                  "the tensors have %llu bytes, and the file has %llu for them",
                                  (unsigned long long)at, (unsigned long long)(r->size - data)));
    }
    return ERR_OK;
}

enum err_code safetensors_parse(struct safetensors **out, const char *name, const void *p, size_t n,
                                struct err *e) {
    struct reader r = {.file = name, .p = p, .size = n, .e = e};
    size_t n_tensor;
    *out = NULL;
    enum err_code rc = read_length(&r);
    if (rc) {
        return rc;
    }
    if ((rc = count_entries(&r, &n_tensor))) {
        return damaged(&r, rc);
    }
    r.s = mem_zalloc(1, sizeof *r.s);
    if (!r.s || !(r.s->tensor = mem_zalloc(n_tensor, sizeof *r.s->tensor))) {
        safetensors_free(r.s);
        return err_set(e, ERR_NOMEM, "out of memory for %zu tensors of %s", n_tensor, name);
    }
    arena_init(&r.s->mem, 0);
    if ((rc = read_entries(&r))) {
        rc = rc == ERR_NOMEM ? rc : damaged(&r, rc);
    } else if (!(rc = check_places(&r))) {
        rc = check_names(&r);
    }
    if (rc) {
        safetensors_free(r.s);
        return rc;
    }
    *out = r.s;
    return ERR_OK;
}

const struct safetensor *safetensors_find(const struct safetensors *s, struct str name) {
    const struct safetensor want = {.name = name};
    size_t low = 0, high = s->n_tensor;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int d = by_name(&want, &s->tensor[mid]);
        if (d == 0) {
            return &s->tensor[mid];
        }
        low = d > 0 ? mid + 1 : low;
        high = d < 0 ? mid : high;
    }
    return NULL;
}

void safetensors_free(struct safetensors *s) {
    if (!s) {
        return;
    }
    arena_fini(&s->mem);
    mem_free(s->tensor);
    mem_free(s);
}
