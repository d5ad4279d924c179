/* hparam.c: reading one number and saying what is wrong with it.
 *
 * Every message ends in the file, the offset of the pair and the key, because the person who reads
 * it has a hex dump at best.
 */
#include "model/hparam.h"

#include <stdio.h>

struct key {
    char s[128];
};

static struct key key_of(const struct hparam *h, const char *name) {
    struct key k;
    snprintf(k.s, sizeof k.s, "%s.%s", h->arch, name);
    return k;
}

static enum err_code missing(const struct hparam *h, const char *key) {
    enum err_code rc = err_set(h->e, ERR_FORMAT, "key '%s' is missing", key);
    err_where(h->e, "%s", h->g->path);
    return rc;
}

static enum err_code at_pair(const struct hparam *h, const struct gguf_kv *kv, enum err_code rc) {
    if (kv->from) {
        err_where(h->e, "%s/config.json", h->g->path);
    } else {
        err_where(h->e, "%s, offset %llu", h->g->path, (unsigned long long)kv->offset);
    }
    return rc;
}

/* The key as the person who has the file knows it. */
static const char *name_in_file(const struct gguf_kv *kv, const char *key) {
    return kv->from ? kv->from : key;
}

/* A number that its own reader finds out of range is, in a file, a broken file: the caller's
 * range errors are for what a person typed. */
static enum err_code broken(const struct hparam *h, enum err_code rc) {
    if (rc == ERR_RANGE) {
        rc = ERR_FORMAT;
        if (h->e) {
            h->e->code = rc;
        }
    }
    return rc;
}

static enum err_code layers_agree(const struct hparam *h, const char *key, const struct gguf_kv *kv,
                                  int64_t *v) {
    const struct gguf_kv *a;
    enum err_code rc = gguf_get_array(h->g, key, GGUF_I32, &a, h->e);
    if (rc) {
        return rc;
    }
    if (h->n_layer == 0 || a->n < (uint64_t)h->n_layer) {
        return at_pair(h, kv,
                       err_set(h->e, ERR_FORMAT, "'%s' has %llu elements for %d layers", key,
                               (unsigned long long)a->n, h->n_layer));
    }
    *v = gguf_int_at(a, 0);
    for (int i = 1; i < h->n_layer; i++) {
        if (gguf_int_at(a, (uint64_t)i) != *v) {
            return at_pair(h, kv,
                           err_set(h->e, ERR_UNSUPPORTED,
                                   "'%s' differs from layer to layer (layer 0: %lld, %d: %lld)",
                                   key, (long long)*v, i, (long long)gguf_int_at(a, (uint64_t)i)));
        }
    }
    return ERR_OK;
}

enum err_code hparam_int(const struct hparam *h, const char *name, int def, int min, int max,
                         int *out) {
    struct key key = key_of(h, name);
    const struct gguf_kv *kv = gguf_find(h->g, key.s);
    if (!kv) {
        *out = def;
        return def == HPARAM_REQUIRED ? missing(h, key.s) : ERR_OK;
    }
    int64_t v = 0;
    enum err_code rc;
    if (kv->type == GGUF_ARRAY) {
        rc = layers_agree(h, key.s, kv, &v);
    } else {
        uint64_t u = 0;
        rc = gguf_get_u64(h->g, key.s, &u, h->e);
        v = u > INT64_MAX ? INT64_MAX : (int64_t)u;
    }
    if (rc) {
        return broken(h, rc);
    }
    if (v < min || v > max) {
        return at_pair(h, kv,
                       err_set(h->e, ERR_FORMAT, "'%s' is %lld, outside of %d to %d",
                               name_in_file(kv, key.s), (long long)v, min, max));
    }
    *out = (int)v;
    return ERR_OK;
}

bool hparam_is_array(const struct hparam *h, const char *name) {
    const struct gguf_kv *kv = gguf_find(h->g, key_of(h, name).s);
    return kv && kv->type == GGUF_ARRAY;
}

enum err_code hparam_flags(const struct hparam *h, const char *name, bool *out) {
    struct key key = key_of(h, name);
    const struct gguf_kv *kv = gguf_find(h->g, key.s), *a;
    bool flags = kv && kv->type == GGUF_ARRAY && kv->elem == GGUF_BOOL;
    enum err_code rc = gguf_get_array(h->g, key.s, flags ? GGUF_BOOL : GGUF_I32, &a, h->e);
    if (rc) {
        return broken(h, rc);
    }
    if (!a) {
        return missing(h, key.s);
    }
    if (a->n != (uint64_t)h->n_layer) {
        return at_pair(h, a,
                       err_set(h->e, ERR_FORMAT, "'%s' has %llu elements for %d layers", key.s,
                               (unsigned long long)a->n, h->n_layer));
    }
    for (int i = 0; i < h->n_layer; i++) {
        out[i] = gguf_int_at(a, (uint64_t)i) != 0;
    }
    return ERR_OK;
}

enum err_code hparam_real(const struct hparam *h, const char *name, double def, double min,
                          double max, double *out) {
    struct key key = key_of(h, name);
    const struct gguf_kv *kv = gguf_find(h->g, key.s);
    if (!kv) {
        *out = def;
        return def == HPARAM_REQUIRED ? missing(h, key.s) : ERR_OK;
    }
    enum err_code rc = gguf_get_f64(h->g, key.s, out, h->e);
    if (rc) {
        return broken(h, rc);
    }
    if (!(*out >= min && *out <= max)) {
        return at_pair(h, kv,
                       err_set(h->e, ERR_FORMAT, "'%s' is %g, outside of %g to %g",
                               name_in_file(kv, key.s), *out, min, max));
    }
    return ERR_OK;
}

enum err_code hparam_str(const struct hparam *h, const char *name, struct str *out) {
    struct key key = key_of(h, name);
    *out = str_of("", 0);
    return gguf_find(h->g, key.s) ? gguf_get_str(h->g, key.s, out, h->e) : ERR_OK;
}
