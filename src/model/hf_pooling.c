/* hf_pooling.c: what the folders of sentence-transformers say beside the model: how the vectors of
 * a text's tokens become one, after how many tokens a text is cut, and what goes in front of it.
 *
 * Owns the names in modules.json, in the settings of its pooling module, in
 * sentence_bert_config.json and in config_sentence_transformers.json. A folder without these files
 * is none of theirs, and nothing is said. A module that changes vectors and is not known is
 * refused. How long a text may be and its prompt have no common keys: "ARCH.truncation_length" and
 * "ARCH.ign.prompt" are this program's own.
 */
#include <stdio.h>
#include <string.h>

#include "model/config.h"
#include "model/hf.h"
#include "model/hf_json.h"

enum { SETTINGS_MAX = 1 << 20, NAME_MOST = 64 };

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
    if (!hf_truth(settings, "include_prompt", true)) {
        return err_set(e, ERR_UNSUPPORTED,
                       "'include_prompt' is false, and a prompt's vectors are not left out here");
    }
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

/* A number beyond all models' is how "none" is written. */
enum err_code hf_tokenizer_limit_put(struct gguf_build *b, const struct arch *a,
                                     const struct json *settings, struct err *e) {
    const struct json *most = hf_member(settings, "model_max_length");
    int64_t n = most ? json_int(most) : 0;
    if (hf_says(settings, "truncation_side", "left")) {
        return err_set(e, ERR_UNSUPPORTED,
                       "'truncation_side' is 'left', and texts are cut at their end here");
    }
    if (n >= 2 && n <= CONFIG_CTX_MAX && !hf_known_int(b, a, "truncation_length")) {
        hf_put_int(b, a, "truncation_length", (uint32_t)n, "model_max_length");
    }
    return b->code;
}

enum err_code hf_prompt_put(struct gguf_build *b, const struct arch *a, const struct json *settings,
                            struct err *e) {
    const struct json *name = hf_member(settings, "default_prompt_name");
    const struct json *prompt = NULL, *all = hf_member(settings, "prompts"), *j;
    struct str s = name ? json_str(name) : str_of("", 0), key;
    void *iter = NULL;
    if (hf_member(settings, "truncate_dim")) {
        return err_set(e, ERR_UNSUPPORTED, "'truncate_dim' is set, and vectors are not cut here");
    }
    if (!name) {
        return ERR_OK;
    }
    while (all && json_next(all, &iter, &key, &j)) {
        prompt = str_eq(key, s) ? j : prompt;
    }
    if (json_kind(name) != JSON_IS_STR || !prompt || json_kind(prompt) != JSON_IS_STR) {
        return err_set(e, ERR_FORMAT,
                       "'default_prompt_name' is '%.*s', and 'prompts' has no text of that name",
                       (int)(s.n < 40 ? s.n : 40), s.p);
    }
    hf_put_str(b, a, "ign.prompt", json_str(prompt));
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

/* A file that may be missing, and what puts its keys. */
static enum err_code read_settings(struct gguf_build *b, const struct arch *a, const char *path,
                                   const char *name,
                                   enum err_code (*put)(struct gguf_build *, const struct arch *,
                                                        const struct json *, struct err *),
                                   struct err *e) {
    struct json *settings = NULL;
    enum err_code rc = hf_folder_json(path, name, SETTINGS_MAX, &settings, e);
    if (!rc && settings && (rc = put(b, a, settings, e)) && rc != ERR_NOMEM) {
        err_where(e, "%s/%s", path, name);
    }
    json_free(settings);
    return rc;
}

enum err_code hf_pooling(struct gguf_build *b, const struct arch *a, const struct hf_texts *t) {
    bool embeds;
    enum err_code rc = read_pooling(b, a, t->path, &embeds, t->e);
    rc = rc ? rc
            : read_settings(b, a, t->path, "sentence_bert_config.json", hf_text_limit_put, t->e);
    if (!rc && (embeds || a->encoder) && t->tokenizer &&
        (rc = hf_tokenizer_limit_put(b, a, t->tokenizer, t->e)) && rc != ERR_NOMEM) {
        err_where(t->e, "%s/tokenizer_config.json", t->path);
    }
    return rc ? rc
              : read_settings(b, a, t->path, "config_sentence_transformers.json", hf_prompt_put,
                              t->e);
}
