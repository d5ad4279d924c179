/* fuzz_jinja.c: any template over any JSON, rendered within small limits.
 *
 * The input is a template, a zero byte, and the variables as a JSON object. What must hold: no
 * bad access, no leak, and origins that end where the text ends.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "text/jinja.h"

#define N_VAR 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void render(const struct jinja *t, const struct json *vars) {
    static const struct jinja_limits limits = {
        .steps = 100000, .depth = 100, .bytes = 1 << 18, .memory = 16 << 20};
    struct jinja_var var[N_VAR];
    size_t n = 0;
    void *iter = NULL;
    struct str key;
    const struct json *value;
    struct buf out;
    struct runs origin;
    buf_init(&out, (size_t)1 << 20);
    runs_init(&origin);
    while (vars != NULL && n < N_VAR && json_next(vars, &iter, &key, &value)) {
        var[n] = (struct jinja_var){mem_strdup(key.p, key.n), value, n % 2 == 0};
        n++;
    }
    if (jinja_render(t, var, n, &limits, 1764547200, &out, &origin, NULL) == ERR_OK) {
        size_t end = origin.n > 0 ? origin.r[origin.n - 1].end : 0;
        if (end != out.len) {
            abort();
        }
    } else if (out.len != 0 || origin.n != 0) {
        abort();
    }
    while (n > 0) {
        mem_free((char *)var[--n].name);
    }
    buf_fini(&out);
    runs_fini(&origin);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *p = (const char *)data;
    const char *zero = memchr(data, 0, size);
    size_t n = zero != NULL ? (size_t)(zero - p) : size;
    struct json *vars = NULL;
    struct jinja *t = NULL;
    if (zero != NULL && json_parse(zero + 1, size - n - 1, &vars, NULL) == ERR_OK &&
        json_kind(vars) != JSON_IS_OBJECT) {
        json_free(vars);
        vars = NULL;
    }
    if (jinja_create(&t, p, n, NULL) == ERR_OK) {
        render(t, vars);
    }
    jinja_free(t);
    json_free(vars);
    return 0;
}
