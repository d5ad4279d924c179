/* template_driver.c: renders templates for a comparison with Jinja2.
 *
 * Reads JSON lines {"template", "vars", "now"} from standard input and writes one JSON line for
 * each: {"text", "untrusted"} or {"error"}. tools/check_templates.py runs it against Jinja2.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "text/jinja.h"

#define N_VAR 64

static void answer_error(struct json_writer *w, const struct err *e) {
    char line[1024];
    json_open(w, '{');
    json_key(w, "error");
    json_put_z(w, err_line(e, line, sizeof line));
    json_close(w, '}');
}

static void answer(const struct json *j, struct buf *out) {
    struct json_writer w;
    struct jinja_var var[N_VAR];
    struct str name[N_VAR];
    size_t n = 0;
    struct err e = {0};
    struct jinja *t = NULL;
    struct buf text;
    struct runs origin;
    json_writer_init(&w, out);
    buf_init(&text, (size_t)64 << 20);
    runs_init(&origin);
    struct str source = json_str(json_find(j, "template"));
    const struct json *vars = json_find(j, "vars"), *now = json_find(j, "now"), *value;
    void *iter = NULL;
    while (vars != NULL && n < N_VAR && json_next(vars, &iter, &name[n], &value)) {
        bool token = str_is(name[n], "bos_token") || str_is(name[n], "eos_token");
        var[n] = (struct jinja_var){mem_strdup(name[n].p, name[n].n), value, token};
        n++;
    }
    if (jinja_create(&t, source.p, source.n, &e) != ERR_OK ||
        jinja_render(t, var, n, NULL, now != NULL ? json_int(now) : 0, &text, &origin, &e) !=
            ERR_OK) {
        answer_error(&w, &e);
    } else {
        size_t untrusted = 0, from = 0;
        for (size_t i = 0; i < origin.n; i++) {
            untrusted += origin.r[i].trusted ? 0 : origin.r[i].end - from;
            from = origin.r[i].end;
        }
        json_open(&w, '{');
        json_key(&w, "text");
        json_put_str(&w, str_of(text.p, text.len));
        json_key(&w, "untrusted");
        json_put_uint(&w, untrusted);
        json_close(&w, '}');
    }
    for (size_t i = 0; i < n; i++) {
        mem_free((char *)var[i].name);
    }
    jinja_free(t);
    runs_fini(&origin);
    buf_fini(&text);
}

int main(void) {
    static char block[1 << 16];
    struct buf line, out;
    buf_init(&line, (size_t)256 << 20);
    buf_init(&out, (size_t)256 << 20);
    size_t n;
    while (fgets(block, sizeof block, stdin) != NULL) {
        buf_puts(&line, block);
        n = line.len;
        if (n == 0 || line.p[n - 1] != '\n') {
            continue;
        }
        struct json *j = NULL;
        struct err e = {0};
        if (json_parse(line.p, n - 1, &j, &e) != ERR_OK) {
            char text[1024];
            fprintf(stderr, "%s\n", err_line(&e, text, sizeof text));
            return 1;
        }
        answer(j, &out);
        buf_putc(&out, '\n');
        fwrite(out.p, 1, out.len, stdout);
        fflush(stdout);
        buf_reset(&out);
        buf_reset(&line);
        json_free(j);
    }
    buf_fini(&line);
    buf_fini(&out);
    return 0;
}
