/* hf_json.h: questions that the readers of a tokenizer.json's parts ask of its trees.
 *
 * Owns one rule: what is absent, null or of another kind counts as not said.
 */
#ifndef IGN_MODEL_HF_JSON_H
#define IGN_MODEL_HF_JSON_H

#include "base/json.h"

static inline const struct json *hf_member(const struct json *j, const char *name) {
    const struct json *x = j && json_kind(j) == JSON_IS_OBJECT ? json_find(j, name) : NULL;
    return x && json_kind(x) != JSON_IS_NULL ? x : NULL;
}

static inline struct str hf_text_of(const struct json *j, const char *name) {
    const struct json *x = hf_member(j, name);
    return x ? json_str(x) : str_of("", 0);
}

static inline bool hf_says(const struct json *j, const char *name, const char *value) {
    return str_is(hf_text_of(j, name), value);
}

static inline bool hf_truth(const struct json *j, const char *name, bool def) {
    const struct json *x = hf_member(j, name);
    return x ? json_bool(x) : def;
}

#endif
