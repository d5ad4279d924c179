/* hf_pooling.c: what the folders of sentence-transformers say beside the model: how the vectors of
 * a text's tokens become one, and after how many tokens a text is cut.
 *
 * Owns the names in modules.json, in the settings of its pooling module, in
 * sentence_bert_config.json and in config_sentence_transformers.json. A folder without these files
 * is none of theirs, and nothing is said. A module that changes vectors and is not known is
 * refused. How long a text may be has no common key: "ARCH.truncation_length" is this program's
 * own.
 */
#include <stdio.h>
#include <string.h>

#include "base/json_scan.h"
#include "base/log.h"
#include "base/mem.h"
#include "model/config.h"
#include "model/hf.h"
#include "model/hf_json.h"

enum { SETTINGS_MAX = 1 << 20, TOKENIZER_SETTINGS_MAX = 64 << 20, NAME_MOST = 64 };

/* ---- modules.json ----------------------------------------------------------------------- */

/* "sentence_transformers.models.Pooling", or what newer versions call it: the last name counts. */
static bool is_module(struct str type, const char *name) {
    size_t n = strlen(name);
    return type.n >= n && memcmp(type.p + type.n - n, name, n) == 0 &&
           (type.n == n || type.p[type.n - n - 1] == '.');
}

/* A folder inside of this one. */
static bool is_folder_name(struct str s) {
    return s.n > 0 && s.n < NAME_MOST && s.p[0] != '.' && !memchr(s.p, '/', s.n) &&
           !memchr(s.p, '\\', s.n) && !memchr(s.p, '\0', s.n);
}

enum err_code hf_modules(const struct json *modules, struct str *folder, struct err *e) {
    *folder = str_of("", 0);
    if (json_kind(modules) != JSON_IS_ARRAY) {
        return err_set(e, ERR_FORMAT, "it is not a list of modules");
    }
    for (size_t i = 0; i < json_count(modules); i++) {
        struct str type = hf_text_of(json_at(modules, i), "type");
        struct str path = hf_text_of(json_at(modules, i), "path");
        if (is_module(type, "Pooling") && !folder->n) {
            *folder = path;
            if (!is_folder_name(path)) {
                return err_set(e, ERR_FORMAT,
                               "'[%zu].path' is not the name of a folder in this one", i);
            }
        } else if (!is_module(type, "Transformer") && !is_module(type, "Normalize")) {
            enum err_code rc = err_set(e, ERR_UNSUPPORTED, "'[%zu].type' is not known here: '%.*s'",
                                       i, (int)(type.n < 80 ? type.n : 80), type.p);
            err_hint(e, "known are Transformer, one Pooling, and Normalize");
            return rc;
        }
    }
    return ERR_OK;
}

/* ---- the pooling module ----------------------------------------------------------------- */

/* A name, or, in older files, one flag of several. */
static enum model_pooling pooling_of(const struct json *settings) {
    static const struct {
        const char *name, *flag;
        enum model_pooling how;
    } known[] = {{"mean", "pooling_mode_mean_tokens", POOL_MEAN},
                 {"cls", "pooling_mode_cls_token", POOL_CLS},
                 {"lasttoken", "pooling_mode_lasttoken", POOL_LAST},
                 {"max", "pooling_mode_max_tokens", POOL_NONE},
                 {"mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens", POOL_NONE},
                 {"weightedmean", "pooling_mode_weightedmean_tokens", POOL_NONE}};
    bool named = hf_member(settings, "pooling_mode") != NULL;
    enum model_pooling how = POOL_NONE;
    int n = 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (named ? hf_says(settings, "pooling_mode", known[i].name)
                  : hf_truth(settings, known[i].flag, false)) {
            how = known[i].how;
            n++; /* of several ways the vectors would lie side by side in one */
        }
    }
    return n == 1 ? how : POOL_NONE;
}

enum err_code hf_pooling_put(struct gguf_build *b, const struct arch *a,
                             const struct json *settings, struct err *e) {
    enum model_pooling how = pooling_of(settings);
    if (!how) {
        return err_set(e, ERR_UNSUPPORTED,
                       "a text's vectors are pooled in a way that is not known (known are the "
                       "mean, the first and the last, one of them)");
    }
    hf_put_int(b, a, "pooling_type", how, NULL);
    return b->code;
}

enum err_code hf_text_limit_put(struct gguf_build *b, const struct arch *a,
                                const struct json *settings, struct err *e) {
    const struct json *most = hf_member(settings, "max_seq_length");
    if (hf_truth(settings, "do_lower_case", false)) {
        return err_set(e, ERR_UNSUPPORTED,
                       "'do_lower_case' is true, which the tokenizer's own "
                       "steps do not say");
    }
    if (!most) {
        return ERR_OK;
    }
    if (json_kind(most) != JSON_IS_INT || json_int(most) < 2 || json_int(most) > CONFIG_CTX_MAX) {
        return err_set(e, ERR_FORMAT, "'max_seq_length' is not a whole number from 2 to %d",
                       CONFIG_CTX_MAX);
    }
    hf_put_int(b, a, "truncation_length", (uint32_t)json_int(most), "max_seq_length");
    return b->code;
}

/* ---- the files -------------------------------------------------------------------------- */

/* *found: the folder says what it is made of. */
static enum err_code read_pooling(struct gguf_build *b, const struct arch *a, const char *path,
                                  bool *found, struct err *e) {
    struct json *modules = NULL, *settings = NULL;
    struct str folder;
    char file[NAME_MOST + 16] = "modules.json";
    enum err_code rc = hf_folder_json(path, file, SETTINGS_MAX, &modules, e);
    *found = modules != NULL;
    if (rc || !modules) {
        return rc;
    }
    if ((rc = hf_modules(modules, &folder, e))) {
        err_where(e, "%s/%s", path, file);
    } else if (folder.n) {
        snprintf(file, sizeof file, "%.*s/config.json", (int)folder.n, folder.p);
        rc = hf_folder_json(path, file, SETTINGS_MAX, &settings, e);
        if (!rc) {
            rc = settings ? hf_pooling_put(b, a, settings, e)
                          : err_set(e, ERR_FORMAT, "the file is missing; modules.json names it");
            if (rc && rc != ERR_NOMEM) {
                err_where(e, "%s/%s", path, file);
            }
        }
    }
    json_free(modules);
    json_free(settings);
    return rc;
}

static enum err_code read_limit(struct gguf_build *b, const struct arch *a, const char *path,
                                struct err *e) {
    static const char name[] = "sentence_bert_config.json";
    struct json *settings = NULL;
    enum err_code rc = hf_folder_json(path, name, SETTINGS_MAX, &settings, e);
    if (!rc && settings && (rc = hf_text_limit_put(b, a, settings, e)) && rc != ERR_NOMEM) {
        err_where(e, "%s/%s", path, name);
    }
    json_free(settings);
    return rc;
}

/* The tokenizer's own limit counts where sentence_bert_config.json has none; a number beyond all
 * models' is how "none" is written. */
static enum err_code read_tokenizer_limit(struct gguf_build *b, const struct arch *a,
                                          const char *path, struct err *e) {
    static const char name[] = "tokenizer_config.json";
    struct json_scan s;
    struct json_value v;
    struct str key;
    uint64_t most = 0, u;
    bool left = false;
    char *text;
    size_t n;
    enum err_code rc = hf_folder_read(path, name, TOKENIZER_SETTINGS_MAX, &text, &n, e);
    if (rc || !text) {
        return rc;
    }
    json_scan_begin(&s, text, n, e);
    json_scan_open(&s, '{');
    while (json_scan_next(&s, &key)) {
        if (json_scan_value(&s, &v) && json_text_is(key, "model_max_length")) {
            most = json_text_u64(&v, &u) ? u : 0;
        } else if (json_text_is(key, "truncation_side")) {
            left = v.kind == JSON_IS_STR && json_text_is(v.text, "left");
        }
    }
    rc = json_scan_end(&s);
    if (!rc && left) {
        rc = err_set(e, ERR_UNSUPPORTED,
                     "'truncation_side' is 'left', and texts are cut at their end here");
    }
    if (rc) {
        err_where(e, "%s/%s", path, name);
    } else if (most >= 2 && most <= CONFIG_CTX_MAX && !hf_known_int(b, a, "truncation_length")) {
        hf_put_int(b, a, "truncation_length", (uint32_t)most, "model_max_length");
        rc = b->code;
    }
    mem_free(text);
    return rc;
}

/* The prompt: sentence-transformers would put it in front of each text that comes without one. */
static enum err_code read_ways(const char *path, struct err *e) {
    static const char name[] = "config_sentence_transformers.json";
    struct json *settings = NULL;
    enum err_code rc = hf_folder_json(path, name, SETTINGS_MAX, &settings, e);
    struct str prompt = hf_text_of(settings, "default_prompt_name");
    if (!rc && hf_member(settings, "truncate_dim")) {
        rc = err_set(e, ERR_UNSUPPORTED, "'truncate_dim' is set, and vectors are not cut here");
        err_where(e, "%s/%s", path, name);
    } else if (!rc && prompt.n) {
        log_line(LOG_WARN, "%s/%s: the prompt '%.*s' is not put before texts: do so yourself", path,
                 name, (int)(prompt.n < 40 ? prompt.n : 40), prompt.p);
    }
    json_free(settings);
    return rc;
}

enum err_code hf_pooling(struct gguf_build *b, const struct arch *a, const char *path,
                         struct err *e) {
    bool embeds;
    enum err_code rc = read_pooling(b, a, path, &embeds, e);
    rc = rc ? rc : read_limit(b, a, path, e);
    rc = rc || !(embeds || a->encoder) ? rc : read_tokenizer_limit(b, a, path, e);
    return rc ? rc : read_ways(path, e);
}
