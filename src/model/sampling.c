/* sampling.c: see sampling.h.
 */
#include "model/sampling.h"

#include "base/log.h"

static const struct {
    const char *flag, *key, *setting; /* of generation_config.json */
    double min, max;
    bool whole;
} fields[SAMPLING_N] = {
    [SAMPLING_TEMPERATURE] = {"temperature", "general.sampling.temp", "temperature", 0, 2, false},
    [SAMPLING_TOP_K] = {"top-k", "general.sampling.top_k", "top_k", 0, INT32_MAX, true},
    [SAMPLING_TOP_P] = {"top-p", "general.sampling.top_p", "top_p", 0.1, 1, false},
    [SAMPLING_MIN_P] = {"min-p", "general.sampling.min_p", "min_p", 0, 1, false},
    [SAMPLING_REPEAT_PENALTY] = {"repeat-penalty", "general.sampling.penalty_repeat",
                                 "repetition_penalty", 0.5, 2, false},
};

const char *sampling_name(enum sampling_field f) {
    return fields[f].flag;
}

static bool get(const struct gguf *g, int i, double *v) {
    uint64_t u = 0;
    enum err_code rc = fields[i].whole ? gguf_get_u64(g, fields[i].key, &u, NULL)
                                       : gguf_get_f64(g, fields[i].key, v, NULL);
    *v = fields[i].whole ? (double)u : *v;
    return rc == ERR_OK && *v >= fields[i].min && *v <= fields[i].max;
}

void sampling_read(struct sampling_own *s, const struct gguf *g) {
    *s = (struct sampling_own){0};
    for (int i = 0; i < SAMPLING_N; i++) {
        if (!gguf_find(g, fields[i].key)) {
            continue;
        }
        s->said[i] = get(g, i, &s->value[i]);
        if (!s->said[i]) {
            log_line(LOG_WARN, "%s: '%s' is nothing that --%s takes, and does not count", g->path,
                     fields[i].key, fields[i].flag);
        }
    }
}

static const struct json *find(const struct json *j, const char *name) {
    const struct json *x = json_find(j, name);
    return x && json_kind(x) != JSON_IS_NULL ? x : NULL;
}

static void put(struct gguf_build *b, int i, double v) {
    if (fields[i].whole) {
        gguf_build_u32(b, fields[i].key, (uint32_t)v, NULL);
    } else {
        gguf_build_f32(b, fields[i].key, (float)v, NULL);
    }
}

void sampling_put(struct gguf_build *b, const struct json *generation, const char *where) {
    const struct json *sample = generation ? find(generation, "do_sample") : NULL;
    bool greedy = sample && json_kind(sample) == JSON_IS_BOOL && !json_bool(sample);
    if (greedy) {
        put(b, SAMPLING_TEMPERATURE, 0);
    }
    for (int i = 0; generation && i < SAMPLING_N; i++) {
        const struct json *x = find(generation, fields[i].setting);
        if (!x || (greedy && i == SAMPLING_TEMPERATURE)) {
            continue;
        }
        double v = json_num(x);
        bool number =
            json_kind(x) == JSON_IS_INT || (json_kind(x) == JSON_IS_REAL && !fields[i].whole);
        if (number && v >= fields[i].min && v <= fields[i].max) {
            put(b, i, v);
        } else {
            log_line(LOG_WARN, "%s: '%s' is nothing that --%s takes, and does not count", where,
                     fields[i].setting, fields[i].flag);
        }
    }
}
