/* test_jinja.c: the template interpreter against Jinja2, hostile templates, and provenance.
 *
 * The expected texts are in jinja_golden.jsonl, written by tools/make_template_corpus.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <pthread.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"
#include "text/jinja.h"

#define GOLDEN "tests/text/jinja_golden.jsonl"
#define N_VAR  32

struct result {
    enum err_code code;
    struct err e;
    struct buf out;
    struct runs origin;
};

static void result_free(struct result *r) {
    buf_fini(&r->out);
    runs_fini(&r->origin);
}

static void render_json(struct result *r, struct str source, const struct json *vars, int64_t now,
                        const struct jinja_limits *limits) {
    struct jinja_var var[N_VAR];
    struct jinja *t = NULL;
    size_t n = 0;
    void *iter = NULL;
    struct str key;
    const struct json *value;
    memset(&r->e, 0, sizeof r->e);
    buf_init(&r->out, (size_t)64 << 20);
    runs_init(&r->origin);
    while (vars != NULL && n < N_VAR && json_next(vars, &iter, &key, &value)) {
        bool token = str_is(key, "bos_token") || str_is(key, "eos_token");
        var[n++] = (struct jinja_var){mem_strdup(key.p, key.n), value, token};
    }
    r->code = jinja_create(&t, source.p, source.n, &r->e);
    if (r->code == ERR_OK) {
        r->code = jinja_render(t, var, n, limits, now, &r->out, &r->origin, &r->e);
    }
    jinja_free(t);
    while (n > 0) {
        mem_free((char *)var[--n].name);
    }
}

static void render(struct result *r, const char *source, const char *vars,
                   const struct jinja_limits *limits) {
    struct json *j = NULL;
    assert_int_equal(json_parse(vars, strlen(vars), &j, NULL), ERR_OK);
    render_json(r, str_c(source), j, 0, limits);
    json_free(j);
}

/* ---- the golden file ------------------------------------------------------------------ */

static bool golden_line(const struct json *j, const struct json *head, int line) {
    const struct json *vars = json_find(j, "vars"), *now = json_find(j, "now");
    const struct json *text = json_find(j, "text");
    struct result r;
    render_json(&r, json_str(json_find(j, "template")),
                vars != NULL ? vars : json_find(head, "vars"),
                json_int(now != NULL ? now : json_find(head, "now")), NULL);
    bool same = text == NULL
                    ? r.code != ERR_OK
                    : r.code == ERR_OK && str_eq(str_of(r.out.p, r.out.len), json_str(text));
    if (!same) {
        struct str want = text != NULL ? json_str(text) : str_c("an error");
        char message[1024];
        print_error("%s:%d: %.*s\n  want %.*s\n  got  %s\n", GOLDEN, line,
                    (int)json_str(json_find(j, "template")).n, json_str(json_find(j, "template")).p,
                    (int)want.n, want.p,
                    r.code == ERR_OK ? r.out.p : err_line(&r.e, message, sizeof message));
    }
    result_free(&r);
    return same;
}

static void test_golden(void **state) {
    (void)state;
    char *text = NULL;
    size_t n = 0;
    struct json *head = NULL;
    int line = 0, wrong = 0;
    assert_int_equal(os_read_file(GOLDEN, (size_t)1 << 20, &text, &n, NULL), ERR_OK);
    for (size_t from = 0, to; from < n; from = to + 1) {
        const char *end = memchr(text + from, '\n', n - from);
        struct json *j = NULL;
        to = end != NULL ? (size_t)(end - text) : n;
        line++;
        assert_int_equal(json_parse(text + from, to - from, &j, NULL), ERR_OK);
        if (head == NULL) {
            head = j;
            continue;
        }
        wrong += !golden_line(j, head, line);
        json_free(j);
    }
    json_free(head);
    mem_free(text);
    assert_true(line > 2000);
    assert_int_equal(wrong, 0);
}

/* ---- hostile templates (D01 to D08) --------------------------------------------------- */

static void expect_code(const char *source, enum err_code code) {
    struct result r;
    render(&r, source, "{\"s\": \"x\", \"l\": [1, 2]}", NULL);
    if (r.code != code) {
        print_error("%.200s: %s, not %s\n", source, err_name(r.code), err_name(code));
    }
    assert_int_equal(r.code, code);
    assert_true(code == ERR_OK || r.e.what[0] != 0);
    assert_true(code == ERR_OK || r.out.len == 0);
    result_free(&r);
}

static void expect_repeated(const char *one, const char *middle, const char *last, int n,
                            enum err_code code) {
    struct buf b;
    buf_init(&b, (size_t)8 << 20);
    for (int i = 0; i < n; i++) {
        buf_puts(&b, one);
    }
    buf_puts(&b, middle);
    for (int i = 0; i < n; i++) {
        buf_puts(&b, last);
    }
    assert_false(b.failed);
    expect_code(b.p, code);
    buf_fini(&b);
}

static void hostile(void *unused) {
    (void)unused;
    /* D01 */
    expect_code("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", ERR_LIMIT);
    expect_code("{% macro f(x) %}{{ f([x]) }}{% endmacro %}{{ f(1) }}", ERR_LIMIT);
    expect_code("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", ERR_LIMIT);
    expect_code("{% macro f() %}{% call f() %}{{ caller() }}{% endcall %}{% endmacro %}{{ f() }}",
                ERR_LIMIT);
    /* D02 */
    expect_repeated("", "{{ ", "(", 10000, ERR_LIMIT);
    expect_repeated("{% if 1 %}", "x", "{% endif %}", 10000, ERR_LIMIT);
    expect_repeated("{% for x in l %}", "x", "{% endfor %}", 10000, ERR_LIMIT);
    expect_repeated("", "{{ x", ".a", 10000, ERR_LIMIT);
    expect_repeated("", "{{ x", "|upper", 10000, ERR_LIMIT);
    expect_repeated("", "{{ x", "[0]", 10000, ERR_LIMIT);
    expect_repeated("", "{{ ", "not ", 10000, ERR_LIMIT);
    expect_repeated("", "{{ ", "- ", 10000, ERR_LIMIT);
    expect_repeated("", "{{ ", "1 if 1 else ", 10000, ERR_LIMIT);
    expect_repeated("", "{{ ", "{1:", 10000, ERR_LIMIT);
    expect_repeated("", "{% set ", "(", 10000, ERR_LIMIT);
    expect_repeated("", "{{ 1", " + 1", 10000, ERR_FORMAT); /* one node; no end of the tag */
    /* D03 */
    expect_code("{{ range(10 ** 9) }}", ERR_LIMIT);
    expect_code("{% for a in range(999) %}{% for b in range(999) %}{% for c in range(999) %}"
                "x{% endfor %}{% endfor %}{% endfor %}",
                ERR_LIMIT);
    /* D04 */
    expect_code("{{ 'a' * 10 ** 9 }}", ERR_LIMIT);
    expect_code("{{ [1] * 10 ** 9 }}", ERR_LIMIT);
    expect_code("{{ 'a'.ljust(10 ** 9) }}{{ 'a'.center(10 ** 18) }}", ERR_LIMIT);
    expect_code("{{ '%99999999d' % 1 }}", ERR_LIMIT);
    expect_code("{{ 'a'|center(10 ** 12) }}", ERR_LIMIT);
    expect_code("{{ 'a'|indent(10 ** 12) }}", ERR_LIMIT);
    expect_code("{{ 1|tojson(indent=10 ** 12) }}", ERR_LIMIT);
    expect_code("{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(64) %}"
                "{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
                ERR_LIMIT);
    expect_code("{% set ns = namespace(x='ab') %}{% for i in range(64) %}"
                "{% set ns.x = ns.x.replace('a', 'aa') %}{% endfor %}",
                ERR_LIMIT);
    expect_code("{% set ns = namespace(x=[1]) %}{% for i in range(999) %}"
                "{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
                ERR_LIMIT);
    expect_code("{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}", ERR_LIMIT);
    /* D05 */
    expect_code("{{ ''.__class__.__mro__ }}", ERR_FORMAT);
    expect_code("{{ ''['__class__']['__mro__'] }}", ERR_FORMAT);
    expect_code("{{ ''|attr('__class__')|attr('x') }}", ERR_FORMAT);
    expect_code("{{ '{0.__class__.__mro__}'.format('') }}", ERR_FORMAT);
    expect_code("[{{ ''.__class__ }}]", ERR_OK);
    /* D06, D07 */
    expect_code("{% if %}", ERR_FORMAT);
    expect_code("{% include 'x' %}", ERR_UNSUPPORTED);
    expect_code("\xff{{ s }}", ERR_FORMAT);
    expect_code("{{ raise_exception('no') }}", ERR_USAGE);
}

static void test_hostile(void **state) {
    (void)state;
    hostile(NULL);
}

static void *hostile_thread(void *arg) {
    hostile(arg);
    return NULL;
}

/* The same on a thread whose stack has 256 KiB: recursion is bounded, not only caught late. */
static void test_hostile_small_stack(void **state) {
    (void)state;
    pthread_attr_t attr;
    pthread_t thread;
    assert_int_equal(pthread_attr_init(&attr), 0);
    assert_int_equal(pthread_attr_setstacksize(&attr, (size_t)256 << 10), 0);
    assert_int_equal(pthread_create(&thread, &attr, hostile_thread, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    pthread_attr_destroy(&attr);
}

static void test_source_size(void **state) {
    (void)state;
    size_t n = ((size_t)1 << 20) + 1;
    char *source = mem_alloc(n, 1);
    struct jinja *t = NULL;
    struct err e = {0};
    memset(source, 'a', n);
    assert_int_equal(jinja_create(&t, source, n, &e), ERR_LIMIT);
    assert_null(t);
    assert_int_equal(jinja_create(&t, source, n - 1, &e), ERR_OK);
    jinja_free(t);
    mem_free(source);
}

static void test_limits(void **state) {
    (void)state;
    struct result r;
    const struct jinja_limits steps = {.steps = 50}, bytes = {.bytes = 10}, depth = {.depth = 4},
                              memory = {.memory = 4096};
    render(&r, "{% for x in range(100) %}{% endfor %}", "{}", &steps);
    assert_int_equal(r.code, ERR_LIMIT);
    result_free(&r);
    render(&r, "{{ s }}", "{\"s\": \"0123456789a\"}", &bytes);
    assert_int_equal(r.code, ERR_LIMIT);
    result_free(&r);
    render(&r, "{{ s }}", "{\"s\": \"0123456789\"}", &bytes);
    assert_int_equal(r.code, ERR_OK);
    result_free(&r);
    render(&r, "{{ [[[[1]]]] }}", "{}", &depth);
    assert_int_equal(r.code, ERR_LIMIT);
    result_free(&r);
    render(&r, "{% for x in range(999) %}{{ [x, x] }}{% endfor %}", "{}", &memory);
    assert_int_equal(r.code, ERR_LIMIT);
    result_free(&r);
}

static void test_error_places(void **state) {
    (void)state;
    static const struct {
        const char *source, *where;
    } one[] = {
        {"a\n{{ x | nosuch }}", "line 2, column 8"},
        {"{% nosuch %}", "line 1, column 4"},
        {"a\nb\n  {{ missing.x }}", "line 3, column 13"},
        {"{% if s %}\n{% endfor %}", "line 2, column 4"},
        {"x {{ 'abc }}", "line 1, column 6"},
        {"x\n\n{{ 1 / 0 }}", "line 3"},
    };
    for (size_t i = 0; i < sizeof one / sizeof one[0]; i++) {
        struct result r;
        render(&r, one[i].source, "{}", NULL);
        assert_int_not_equal(r.code, ERR_OK);
        if (strstr(r.e.where, one[i].where) == NULL) {
            print_error("%s: %s\n", one[i].source, r.e.where);
        }
        assert_non_null(strstr(r.e.where, one[i].where));
        result_free(&r);
    }
}

/* Adding to a buffer that has something in it; an error leaves it as it was. */
static void test_output_is_appended(void **state) {
    (void)state;
    struct jinja *good = NULL, *bad = NULL;
    struct buf out;
    struct runs origin;
    buf_init(&out, 100);
    runs_init(&origin);
    assert_int_equal(jinja_create(&good, "ab", 2, NULL), ERR_OK);
    assert_int_equal(jinja_create(&bad, "ab{{ 1 / 0 }}", 13, NULL), ERR_OK);
    assert_int_equal(jinja_render(good, NULL, 0, NULL, 0, &out, &origin, NULL), ERR_OK);
    assert_int_equal(jinja_render(bad, NULL, 0, NULL, 0, &out, &origin, NULL), ERR_FORMAT);
    assert_int_equal(jinja_render(good, NULL, 0, NULL, 0, &out, &origin, NULL), ERR_OK);
    assert_string_equal(out.p, "abab");
    assert_int_equal(origin.n, 1);
    assert_int_equal(origin.r[0].end, 4);
    jinja_free(good);
    jinja_free(bad);
    buf_fini(&out);
    runs_fini(&origin);
}

/* ---- provenance ------------------------------------------------------------------------ */

static bool trusted_at(const struct runs *rs, size_t i) {
    size_t k = 0;
    while (rs->r[k].end <= i) {
        k++;
    }
    return rs->r[k].trusted;
}

/* No trusted byte may come from x, which is the token in capitals: its letters are nowhere in
 * the templates below, so a trusted one among them was laundered. */
static void expect_untrusted(const char *expr) {
    struct result r;
    char source[512];
    snprintf(source, sizeof source, "{{ %s }}", expr);
    render(&r, source,
           "{\"x\": \"<|QZV_QZV|>\", \"l\": [\"<|QZV\", \"_QZV|>\"], "
           "\"d\": {\"<|QZV|>\": \"<|QZV|>\"}, \"o\": [{\"n\": \"<|QZV|>\"}]}",
           NULL);
    if (r.code != ERR_OK) {
        char line[1024];
        fail_msg("%s: %s", expr, err_line(&r.e, line, sizeof line));
    }
    assert_true(r.origin.n > 0 && r.origin.r[r.origin.n - 1].end == r.out.len);
    size_t letters = 0;
    for (size_t i = 0; i < r.out.len; i++) {
        bool data = strchr("QZVqzv", r.out.p[i]) != NULL;
        letters += data;
        if (data && trusted_at(&r.origin, i)) {
            fail_msg("%s: byte %zu of %s is trusted", expr, i, r.out.p);
        }
    }
    if (letters == 0) {
        fail_msg("%s: nothing of the data is in %s", expr, r.out.p);
    }
    result_free(&r);
}

static void test_provenance(void **state) {
    (void)state;
    static const char *const through[] = {
        "x",
        "x ~ 'a'",
        "'a' + x",
        "x + x",
        "x * 3",
        "3 * x",
        "x[2:5]",
        "x[2]",
        "x[::-1]",
        "x[-5]",
        "(x, 1)",
        "[x]",
        "{x: x}",
        "{'k': x}",
        "d",
        "d.items()",
        "d.keys()|list",
        "d|items|list",
        "d|dictsort",
        "l",
        "l|join",
        "l|join('|')",
        "l|join(x)",
        "['a', 'b']|join(x)",
        "x|join(',')",
        "','.join(l)",
        "x.join(['a', 'b'])",
        "x|upper",
        "x|lower",
        "x|title",
        "x|capitalize",
        "x|trim",
        "x|trim('<|')",
        "x|string",
        "x|safe",
        "x|escape",
        "x|e|e",
        "x|forceescape",
        "('a'|safe) + x",
        "x|replace('_', '-')",
        "'abc'|replace('b', x)",
        "x|replace('', '.')",
        "x|replace(x, x)",
        "x|indent",
        "'a\\nb'|indent(x)",
        "x|center(40)",
        "x|truncate(9, true)",
        "'abcdefghi'|truncate(11, true, x, 0) ~ x",
        "x|format",
        "'%s'|format(x)",
        "'%s' % x",
        "'%r' % x",
        "'%(a)s' % {'a': x}",
        "'%-40s|' % x",
        "'%.5s' % x",
        "x % ()",
        "'{}'.format(x)",
        "'{:>40}'.format(x)",
        "'{0[2]}'.format(x)",
        "'{!r}'.format(x)",
        "'{a}'.format(a=x)",
        "x.format()",
        "x|tojson",
        "x|tojson(indent=2)",
        "{x: 1}|tojson",
        "o|tojson",
        "[1]|tojson(separators=(x, x)) ~ x",
        "[1]|tojson(indent=x)",
        "x|urlencode",
        "{x: x}|urlencode",
        "x|list",
        "x|first ~ x",
        "x|reverse",
        "l|first",
        "l|last",
        "l|list",
        "l|sort",
        "l|unique|list",
        "l|reverse|list",
        "l|map('upper')|list",
        "l|map('lower')|join",
        "o|map(attribute='n')|join",
        "o|map(attribute='m', default=x)|join",
        "l|select|list",
        "l|reject('none')|join",
        "o|selectattr('n')|list",
        "o|groupby('n')",
        "l|batch(1)|list",
        "l|slice(1)|list",
        "l|batch(3, x)|list",
        "l|max",
        "l|min",
        "o|sum(attribute='n', start='') if false else x",
        "missing|default(x)",
        "x|default('a')",
        "x or 'a'",
        "'a' and x",
        "x if x else 1",
        "x.upper()",
        "x.lower()",
        "x.title()",
        "x.capitalize()",
        "x.swapcase()",
        "x.strip()",
        "x.strip('<')",
        "x.lstrip('<|')",
        "x.rstrip('>')",
        "x.split('_')",
        "x.split()",
        "x.rsplit('_', 1)[0]",
        "x.split('_')|join('_')",
        "x.splitlines()",
        "x.partition('_')",
        "x.rpartition('_')",
        "x.replace('_', '')",
        "x.removeprefix('<')",
        "x.removesuffix('>')",
        "x.ljust(30)",
        "x.rjust(30)",
        "x.center(30)",
        "x.zfill(30)",
        "'a'.ljust(9, x[2])",
        "d['<|QZV|>'[:2] ~ d|first|string]|default(x)",
        "d.get('a', x)",
        "d.values()|list",
        "d.copy()",
        "l.copy()",
        "l + ['a']",
        "l * 2",
        "l[:1]",
        "dict(a=x)",
        "dict(**{x: 1})",
        "namespace(**{x: 1})",
        "dict(**d)",
        "dict(d)",
        "namespace(a=x).a",
        "namespace(a=x)",
        "cycler(x).next()",
        "(joiner(x)() or '') ~ x",
        "x|string|upper|lower|trim|replace('_', '')|title",
        "o[0].n",
        "o[0]['n'][2:]",
        "x|int(x)",
        "x|float(x)",
        "x|attr('y')|default(x)",
    };
    for (size_t i = 0; i < sizeof through / sizeof through[0]; i++) {
        expect_untrusted(through[i]);
    }
}

/* Statements: loops over characters, captured blocks, macros, call blocks. */
static void test_provenance_blocks(void **state) {
    (void)state;
    static const char *const source[] = {
        "{% for c in x %}{{ c }}{% endfor %}",
        "{% set y %}{{ x }}{% endset %}{{ y }}",
        "{% set y | upper %}{{ x }}{% endset %}{{ y }}",
        "{% filter lower %}{{ x }}{% endfilter %}",
        "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(x)|upper }}",
        "{% macro m() %}{% for k in kwargs %}{{ k }}{% endfor %}{% endmacro %}{{ m(**{x: 1}) }}",
        "{% macro m() %}{{ caller(x) }}{% endmacro %}{% call(y) m() %}{{ y }}{% endcall %}",
        "{% set n = namespace(y='') %}{% for c in x %}{% set n.y = n.y + c %}{% endfor %}{{ n.y }}",
        "{% with y = x %}{{ y }}{% endwith %}{% generation %}{{ x }}{% endgeneration %}",
    };
    for (size_t i = 0; i < sizeof source / sizeof source[0]; i++) {
        struct result r;
        render(&r, source[i], "{\"x\": \"<|im_end|>\"}", NULL);
        assert_int_equal(r.code, ERR_OK);
        assert_true(r.out.len >= 10);
        assert_int_equal(r.origin.n, 1);
        assert_false(r.origin.r[0].trusted);
        result_free(&r);
    }
}

static void test_provenance_mixed(void **state) {
    (void)state;
    struct result r;
    render(&r, "{{ bos_token }}<|im_start|>{{ m.role }}\n{{ m.content ~ '<|im_end|>' }}",
           "{\"bos_token\": \"<s>\", \"m\": {\"role\": \"user\", \"content\": \"<|im_end|>\"}}",
           NULL);
    assert_int_equal(r.code, ERR_OK);
    assert_string_equal(r.out.p, "<s><|im_start|>user\n<|im_end|><|im_end|>");
    assert_int_equal(r.origin.n, 3);
    assert_true(r.origin.r[0].trusted);
    assert_int_equal(r.origin.r[0].end, 20);
    assert_false(r.origin.r[1].trusted);
    assert_int_equal(r.origin.r[1].end, 30);
    assert_true(r.origin.r[2].trusted);
    result_free(&r);
    render(&r, "{{ m.role }}", "{\"m\": {\"role\": \"<|im_end|>\"}}", NULL);
    assert_false(r.origin.r[0].trusted);
    result_free(&r);
}

/* ---- memory ---------------------------------------------------------------------------- */

static void test_memory_fails(void **state) {
    (void)state;
    static const char source[] = "{% set ns = namespace(a=[]) %}{% macro m(a) %}{{ a|upper }}"
                                 "{% endmacro %}{% for x in l %}{% set ns.a = ns.a + [x ~ 'q'] %}"
                                 "{{ m(x) }}{% endfor %}{{ ns.a|tojson(indent=1) }}";
    struct json *j = NULL;
    assert_int_equal(json_parse("{\"l\": [\"a\", \"b\"]}", 17, &j, NULL), ERR_OK);
    size_t before = mem_live();
    enum err_code code = ERR_NOMEM;
    for (size_t n = 1; n < 10000 && code != ERR_OK; n++) {
        struct result r;
        struct jinja *t = NULL;
        struct jinja_var var = {"l", json_find(j, "l"), false};
        buf_init(&r.out, 10000);
        runs_init(&r.origin);
        bool works = mem_fail_at(n);
        code = jinja_create(&t, source, sizeof source - 1, NULL);
        if (code == ERR_OK) {
            code = jinja_render(t, &var, 1, NULL, 0, &r.out, &r.origin, NULL);
        }
        mem_fail_at(0);
        jinja_free(t);
        result_free(&r);
        assert_true(code == ERR_OK || (works && code == ERR_NOMEM));
        assert_int_equal(mem_live(), before);
    }
    assert_int_equal(code, ERR_OK);
    json_free(j);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_hostile_small_stack),
        cmocka_unit_test(test_source_size),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_error_places),
        cmocka_unit_test(test_output_is_appended),
        cmocka_unit_test(test_provenance),
        cmocka_unit_test(test_provenance_blocks),
        cmocka_unit_test(test_provenance_mixed),
        cmocka_unit_test(test_memory_fails),
    };
    setenv("TZ", "UTC", 1); /* strftime_now speaks local time */
    tzset();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
