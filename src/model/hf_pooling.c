/* hf_pooling.c: what the folders of sentence-transformers say beside the model: how the vectors of
 * a text's tokens become one, and after how many tokens a text is cut.
 *
 * Owns the names in modules.json, in the settings of its pooling module and in
 * sentence_bert_config.json. A folder without these files is none of theirs, and nothing is said.
 */
#include <stdio.h>
#include <string.h>

#include "model/config.h"
#include "model/hf.h"

enum { SETTINGS_MAX = 1 << 20, NAME_MOST = 64 };

static const struct json *member(const struct json *j, const char *name) {
    const struct json *x = j && json_kind(j) == JSON_IS_OBJECT ? json_find(j, name) : NULL;
    return x && json_kind(x) != JSON_IS_NULL ? x : NULL;
}

static bool is_true(const struct json *j, const char *name) {
    const struct json *x = member(j, name);
    return x && json_bool(x);
}

/* The name of the pooling module's folder, inside of this one; empty if there is none. */
static struct str pooling_folder(const struct json *modules) {
    size_t n = modules && json_kind(modules) == JSON_IS_ARRAY ? json_count(modules) : 0;
    for (size_t i = 0; i < n; i++) {
        const struct json *m = json_at(modules, i), *type = member(m, "type");
        const struct json *path = member(m, "path");
        struct str t = type ? json_str(type) : str_of("", 0);
        struct str p = path ? json_str(path) : str_of("", 0);
        if (t.n >= 7 && memcmp(t.p + t.n - 7, "Pooling", 7) == 0 && p.n > 0 && p.n < NAME_MOST &&
            p.p[0] != '.' && !memchr(p.p, '/', p.n) && !memchr(p.p, '\\', p.n) &&
            !memchr(p.p, '\0', p.n)) {
            return p;
        }
    }
    return str_of("", 0);
}

static enum err_code pooling_of(const struct json *j, enum model_pooling *how, struct err *e) {
    const struct json *mode = member(j, "pooling_mode");
    struct str name = mode ? json_str(mode) : str_of("", 0);
    *how = is_true(j, "pooling_mode_mean_tokens") || str_is(name, "mean")      ? POOL_MEAN
           : is_true(j, "pooling_mode_cls_token") || str_is(name, "cls")       ? POOL_CLS
           : is_true(j, "pooling_mode_lasttoken") || str_is(name, "lasttoken") ? POOL_LAST
                                                                               : POOL_NONE;
    return *how ? ERR_OK
                : err_set(e, ERR_UNSUPPORTED,
                          "a text's vectors are pooled in a way that is not known (known are the "
                          "mean, the first and the last)");
}

enum err_code hf_pooling(struct gguf_build *b, const struct arch *a, const char *path,
                         struct err *e) {
    struct json *modules = NULL, *pooling = NULL, *limits = NULL;
    char file[NAME_MOST + 16];
    enum model_pooling how;
    enum err_code rc = hf_folder_json(path, "modules.json", SETTINGS_MAX, &modules, e);
    struct str folder = pooling_folder(modules);
    snprintf(file, sizeof file, "%.*s/config.json", (int)folder.n, folder.p);
    if (!rc && folder.n) {
        rc = hf_folder_json(path, file, SETTINGS_MAX, &pooling, e);
    }
    if (!rc && pooling) {
        if ((rc = pooling_of(pooling, &how, e))) {
            err_where(e, "%s/%s", path, file);
        } else {
            hf_put_int(b, a, "pooling_type", how, NULL);
        }
    }
    if (!rc && a->encoder) {
        rc = hf_folder_json(path, "sentence_bert_config.json", SETTINGS_MAX, &limits, e);
        const struct json *most = member(limits, "max_seq_length");
        if (most && json_kind(most) == JSON_IS_INT && json_int(most) > 0 &&
            json_int(most) <= INT32_MAX) {
            hf_put_int(b, a, "truncation_length", (uint32_t)json_int(most), NULL);
        }
    }
    json_free(modules);
    json_free(pooling);
    json_free(limits);
    return rc ? rc : b->code;
}
