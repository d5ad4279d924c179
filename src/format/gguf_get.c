/* gguf_get.c: the values of a parsed directory, by key and type.
 *
 * Owns the conversions between what a file holds and what a caller asks for, and the errors when
 * they do not fit. Refuses meaning. Invariant: lengths come from the parsed structs, never again
 * from the mapping, so that a file overwritten in use cannot lead outside of it.
 */
#include <stdio.h>

#include "base/half.h"
#include "format/gguf_parse.h"

enum kind { KIND_UINT, KIND_INT, KIND_FLOAT, KIND_BOOL, KIND_STRING, KIND_ARRAY };

static const struct type_row {
    const char *name;
    size_t size;
    enum kind kind;
} types[GGUF_TYPE_N] = {
    [GGUF_U8] = {"u8", 1, KIND_UINT},           [GGUF_I8] = {"i8", 1, KIND_INT},
    [GGUF_U16] = {"u16", 2, KIND_UINT},         [GGUF_I16] = {"i16", 2, KIND_INT},
    [GGUF_U32] = {"u32", 4, KIND_UINT},         [GGUF_I32] = {"i32", 4, KIND_INT},
    [GGUF_F32] = {"f32", 4, KIND_FLOAT},        [GGUF_BOOL] = {"bool", 1, KIND_BOOL},
    [GGUF_STRING] = {"string", 0, KIND_STRING}, [GGUF_ARRAY] = {"array", 0, KIND_ARRAY},
    [GGUF_U64] = {"u64", 8, KIND_UINT},         [GGUF_I64] = {"i64", 8, KIND_INT},
    [GGUF_F64] = {"f64", 8, KIND_FLOAT},
};

const char *gguf_type_name(enum gguf_type t) {
    return (unsigned)t < GGUF_TYPE_N ? types[t].name : "unknown";
}

size_t gguf_type_size(enum gguf_type t) {
    return types[t].size;
}

static bool is_integer(enum gguf_type t) {
    return types[t].kind == KIND_UINT || types[t].kind == KIND_INT;
}

int64_t gguf_int_at(const struct gguf_kv *kv, uint64_t i) {
    size_t size = types[kv->elem].size;
    uint64_t v = gguf_load(kv->data + i * size, size);
    if (types[kv->elem].kind != KIND_INT) {
        return v > INT64_MAX ? INT64_MAX : (int64_t)v;
    }
    uint64_t sign = (uint64_t)1 << (8 * size - 1);
    return (int64_t)((v ^ sign) - sign);
}

double gguf_f64_at(const struct gguf_kv *kv, uint64_t i) {
    size_t size = types[kv->elem].size;
    uint64_t v = gguf_load(kv->data + i * size, size);
    if (size == sizeof(float)) {
        return f32_from_bits((uint32_t)v);
    }
    double d;
    memcpy(&d, &v, sizeof d);
    return d;
}

struct str gguf_next_str(const struct gguf_kv *kv, uint64_t *pos) {
    uint64_t room = kv->bytes - *pos;
    if (room < 8) {
        return str_of(NULL, 0);
    }
    uint64_t n = gguf_load(kv->data + *pos, 8);
    if (n > room - 8) {
        *pos = kv->bytes; /* the file was overwritten after it was parsed */
        return str_of(NULL, 0);
    }
    struct str s = str_of((const char *)kv->data + *pos + 8, (size_t)n);
    *pos += 8 + n;
    return s;
}

/* ---- by key ---------------------------------------------------------------------------------- */

static enum err_code fail_missing(const struct gguf *g, const char *key, const char *want,
                                  struct err *e) {
    err_set(e, ERR_FORMAT, "key '%s' (%s) is missing", key, want);
    err_where(e, "%s", g->path);
    err_hint(e, "the file lacks what a model of its kind needs: get a complete one");
    return ERR_FORMAT;
}

static enum err_code fail_type(const struct gguf *g, const struct gguf_kv *kv, const char *key,
                               const char *want, struct err *e) {
    bool array = kv->type == GGUF_ARRAY;
    return gguf_fail(e, ERR_FORMAT, g, kv->offset, key, NULL, "key '%s' is of type %s%s, not %s",
                     key, array ? "array of " : "", gguf_type_name(kv->elem), want);
}

static enum err_code value_u64(const struct gguf *g, const struct gguf_kv *kv, const char *key,
                               uint64_t *v, struct err *e) {
    if (!is_integer(kv->type)) {
        return fail_type(g, kv, key, "an integer", e);
    }
    int64_t i = gguf_int_at(kv, 0);
    if (i < 0) {
        return gguf_fail(e, ERR_RANGE, g, kv->offset, key, NULL, "key '%s' is %lld, below zero",
                         key, (long long)i);
    }
    *v = gguf_load(kv->data, types[kv->type].size);
    return ERR_OK;
}

static enum err_code value_f64(const struct gguf *g, const struct gguf_kv *kv, const char *key,
                               double *v, struct err *e) {
    if (types[kv->type].kind != KIND_FLOAT) {
        return fail_type(g, kv, key, "a float", e);
    }
    *v = gguf_f64_at(kv, 0);
    return ERR_OK;
}

enum err_code gguf_get_u64(const struct gguf *g, const char *key, uint64_t *v, struct err *e) {
    const struct gguf_kv *kv = gguf_find(g, key);
    return kv ? value_u64(g, kv, key, v, e) : fail_missing(g, key, "integer", e);
}

enum err_code gguf_get_u64_or(const struct gguf *g, const char *key, uint64_t def, uint64_t *v,
                              struct err *e) {
    const struct gguf_kv *kv = gguf_find(g, key);
    *v = def;
    return kv ? value_u64(g, kv, key, v, e) : ERR_OK;
}

enum err_code gguf_get_f64(const struct gguf *g, const char *key, double *v, struct err *e) {
    const struct gguf_kv *kv = gguf_find(g, key);
    return kv ? value_f64(g, kv, key, v, e) : fail_missing(g, key, "float", e);
}

enum err_code gguf_get_f64_or(const struct gguf *g, const char *key, double def, double *v,
                              struct err *e) {
    const struct gguf_kv *kv = gguf_find(g, key);
    *v = def;
    return kv ? value_f64(g, kv, key, v, e) : ERR_OK;
}

enum err_code gguf_get_bool_or(const struct gguf *g, const char *key, bool def, bool *v,
                               struct err *e) {
    const struct gguf_kv *kv = gguf_find(g, key);
    *v = def;
    if (!kv) {
        return ERR_OK;
    }
    if (kv->type != GGUF_BOOL) {
        return fail_type(g, kv, key, "a boolean", e);
    }
    *v = kv->data[0] != 0;
    return ERR_OK;
}

enum err_code gguf_get_str(const struct gguf *g, const char *key, struct str *v, struct err *e) {
    const struct gguf_kv *kv = gguf_find(g, key);
    if (!kv) {
        return fail_missing(g, key, "string", e);
    }
    if (kv->type != GGUF_STRING) {
        return fail_type(g, kv, key, "a string", e);
    }
    *v = str_of((const char *)kv->data + 8, (size_t)kv->bytes - 8);
    return ERR_OK;
}

enum err_code gguf_get_array(const struct gguf *g, const char *key, enum gguf_type elem,
                             const struct gguf_kv **out, struct err *e) {
    const struct gguf_kv *kv = gguf_find(g, key);
    *out = kv;
    if (!kv || (kv->type == GGUF_ARRAY &&
                (kv->elem == elem || (is_integer(kv->elem) && is_integer(elem)) ||
                 (types[kv->elem].kind == KIND_FLOAT && types[elem].kind == KIND_FLOAT)))) {
        return ERR_OK;
    }
    char want[32];
    *out = NULL;
    snprintf(want, sizeof want, "an array of %s", gguf_type_name(elem));
    return fail_type(g, kv, key, want, e);
}
