/* test_settings.c: settings files: the syntax, what may stand in them, and which line counts.
 *
 * Owns a list of verbs of its own, and files in a folder that each test makes. The environment of
 * this process is set by tests and clean afterwards.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/os.h"
#include "config/settings.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))

static const struct knob own[] = {
    {.name = "context",
     .type = KNOB_INT,
     .unit = "N",
     .def = "512",
     .min = 8,
     .max = 4096,
     .help = "x"},
    {.name = "ids", .type = KNOB_STR, .unit = "IDS", .help = "x"},
};
static const struct knob_verb verb_generate = {.name = "generate",
                                               .operands = "",
                                               .about = "test",
                                               .groups = KNOB_SAMPLE | KNOB_MODEL | KNOB_RUN};
static const struct knob_verb verb_logits = {.name = "logits",
                                             .operands = "FILE",
                                             .min_operand = 1,
                                             .max_operand = 1,
                                             .about = "test",
                                             .groups = KNOB_RUN,
                                             .own = own,
                                             .n_own = N(own)};
static const struct knob_verb verb_all = {
    .name = "all", .operands = "", .about = "test", .groups = KNOB_ALL};
static const struct knob_verb *const at[] = {&verb_generate, &verb_logits, &verb_all};
static const struct knob_verbs verbs = {at, N(at)};

static char folder[] = "/tmp/ign-settings-XXXXXX";

static const char *file(const char *name, const char *text) {
    static char path[4][128];
    static int turn;
    char *out = path[turn++ % 4];
    snprintf(out, sizeof path[0], "%s/%s", folder, name);
    assert_int_equal(os_write_file(out, text, strlen(text), NULL), ERR_OK);
    return out;
}

/* Settings of up to three files' texts, in the order of reading. */
static void load(struct settings *s, const char *a, const char *b, const char *c) {
    const char *texts[] = {a, b, c}, *names[] = {"a.toml", "b.toml", "c.toml"};
    settings_init(s, verbs);
    for (size_t i = 0; i < 3; i++) {
        struct err e = {0};
        if (texts[i] && settings_read(s, file(names[i], texts[i]), true, &e)) {
            fail_msg("%s: %s", texts[i], e.what);
        }
    }
}

static struct knobs *values(const struct settings *s, const struct knob_verb *verb) {
    struct knobs *k;
    struct err e = {0};
    if (knobs_read(&k, verb, s, 0, NULL, &e)) {
        fail_msg("%s (%s)", e.what, e.where);
    }
    return k;
}

/* The file is refused with these words in its line of error. */
static void refused(const char *text, enum err_code code, const char *part) {
    struct settings s;
    struct err e = {0};
    char line[1000];
    settings_init(&s, verbs);
    assert_int_equal(settings_read(&s, file("bad.toml", text), true, &e), code);
    err_line(&e, line, sizeof line);
    if (!strstr(line, part) || !strstr(line, "bad.toml") || !e.hint[0]) {
        fail_msg("\"%s\" gave \"%s\", without \"%s\"", text, line, part);
    }
    assert_ptr_equal(settings_error(&s), &s.files->why);
    assert_null(s.files->toml.entries);
    settings_fini(&s);
}

static void test_syntax(void **state) {
    (void)state;
    struct toml t;
    static const char text[] = "\xEF\xBB\xBF# c\n"
                               "a=\"x\\\"\\\\\\n\\t\\b\\f\\r\\u00e9\\U0001F600\" # c\r\n"
                               "  b = 'C:\\new\"' \n"
                               "c = [ 'a', # one\n\n \"]\" ,\n]\n"
                               "d = []\n"
                               "[ t ]# c\n"
                               "a = +1\nb = -1.5e+3\nc = true\nd = false\n"
                               "[t-2_x]\na = 0";
    struct err e = {0};
    if (toml_parse(&t, text, sizeof text - 1, &e)) {
        fail_msg("%s (%s)", e.what, e.where);
    }
    static const struct {
        const char *table, *key;
        enum toml_kind kind;
        size_t n;
        const char *text;
        int line, column;
    } want[] = {
        {"", "a", TOML_STRING, 1, "x\"\\\n\t\b\f\r\u00e9\U0001F600", 2, 1},
        {"", "b", TOML_STRING, 1, "C:\\new\"", 3, 3},
        {"", "c", TOML_ARRAY, 2, "a", 4, 1},
        {"", "d", TOML_ARRAY, 0, NULL, 8, 1},
        {"t", "a", TOML_INTEGER, 1, "1", 10, 1},
        {"t", "b", TOML_REAL, 1, "-1.5e+3", 11, 1},
        {"t", "c", TOML_BOOL, 1, "true", 12, 1},
        {"t", "d", TOML_BOOL, 1, "false", 13, 1},
        {"t-2_x", "a", TOML_INTEGER, 1, "0", 15, 1},
    };
    const struct toml_entry *entry = t.entries;
    for (size_t i = 0; i < N(want); i++, entry = entry->next) {
        assert_non_null(entry);
        assert_string_equal(entry->table->name, want[i].table);
        assert_string_equal(entry->key, want[i].key);
        assert_int_equal(entry->kind, want[i].kind);
        assert_int_equal(entry->n_text, want[i].n);
        assert_int_equal(entry->line, want[i].line);
        assert_int_equal(entry->column, want[i].column);
        if (want[i].text) {
            assert_string_equal(entry->texts[0], want[i].text);
        }
    }
    assert_null(entry);
    assert_string_equal(t.entries->next->next->texts[1], "]");
    toml_fini(&t);
}

/* Each thing that TOML has and this subset has not is named. */
static void test_not_in_the_subset(void **state) {
    (void)state;
    refused("a.b = 1", ERR_USAGE, "names with dots are not supported");
    refused("\"a\" = 1", ERR_USAGE, "names in quotes are not supported");
    refused("[a.b]", ERR_USAGE, "names with dots are not supported");
    refused("['a']", ERR_USAGE, "names in quotes are not supported");
    refused("[[a]]", ERR_USAGE, "arrays of tables are not supported");
    refused("a = {b = 1}", ERR_USAGE, "tables in braces are not supported");
    refused("a = \"\"\"x\"\"\"", ERR_USAGE, "strings of several lines are not supported");
    refused("a = '''x'''", ERR_USAGE, "strings of several lines are not supported");
    refused("a = 2026-11-25", ERR_USAGE, "dates and times are not supported");
    refused("a = 07:32:00", ERR_USAGE, "dates and times are not supported");
    refused("a = 0x1F", ERR_USAGE, "hexadecimal, octal and binary numbers are not supported");
    refused("a = 1_000", ERR_USAGE, "_ between digits is not supported");
    refused("a = inf", ERR_USAGE, "inf and nan are not supported");
    refused("a = -nan", ERR_USAGE, "inf and nan are not supported");
    refused("a = [1, 2]", ERR_USAGE, "arrays of anything but strings are not supported");
    refused("a = [[\"x\"]]", ERR_USAGE, "arrays of anything but strings are not supported");
}

static void test_syntax_errors(void **state) {
    (void)state;
    refused("top-k = 1\n\xC3\xA9 = 2", ERR_USAGE, "no name where one must be (");
    refused("top-k", ERR_USAGE, "no = behind a key");
    refused("top-k\n= 1", ERR_USAGE, "line 1, column 6");
    refused("top-k =", ERR_USAGE, "not a value");
    refused("top-k = 1 2", ERR_USAGE, "line 1, column 11");
    refused("top-k = 1\rtop-p = 1", ERR_USAGE, "does not belong to the line");
    refused("top-k = 1 [chat]", ERR_USAGE, "does not belong to the line");
    refused("= 1", ERR_USAGE, "no name");
    refused("[]", ERR_USAGE, "no name");
    refused("[generate", ERR_USAGE, "no ] behind");
    refused("[generate] x = 1", ERR_USAGE, "does not belong to the line");
    refused("model = yes", ERR_USAGE, "not a value");
    refused("top-k = 01", ERR_USAGE, "begins with 0");
    refused("top-k = 1.", ERR_USAGE, "without a digit behind its point");
    refused("top-k = .5", ERR_USAGE, "not a value");
    refused("top-k = 1e", ERR_USAGE, "exponent");
    refused("model = \"a", ERR_USAGE, "does not end on its line");
    refused("\n\nmodel = 'a\n'", ERR_USAGE, "line 3, column 9");
    refused("model = \"\\", ERR_USAGE, "unknown escape");
    refused("model = \"\\x41\"", ERR_USAGE, "unknown escape");
    refused("model = \"C:\\models\"", ERR_USAGE, "put the string into ' '");
    refused("model = \"\\u12\"", ERR_USAGE, "hexadecimal digits");
    refused("model = \"\\uD800\"", ERR_USAGE, "not the number of a character");
    refused("model = \"\\u0000\"", ERR_USAGE, "not the number of a character");
    refused("model = \"\\U00110000\"", ERR_USAGE, "not the number of a character");
    refused("model = \"\x1b[2J\"", ERR_USAGE, "a control character in a string");
    refused("# \x1b[2J", ERR_USAGE, "a control character in a comment");
    refused("stop = [\"a\" \"b\"]", ERR_USAGE, "no comma");
    refused("stop = [,]", ERR_USAGE, "arrays of anything");
    refused("stop = [\"a\",\n", ERR_USAGE, "an array that does not end");
    refused("a = \"\xC3\xA9\"\nmodel = \"\xFF\"", ERR_USAGE, "not UTF-8 (");
    refused("a = \"\xC3\xA9\"\nmodel = \"\xFF\"", ERR_USAGE, "line 2, column 10");
    refused("top-k = 1\ntop-p = 1\ntop-k = 1", ERR_USAGE, "twice, first in line 1");
    refused("[generate]\n[logits]\n[generate]", ERR_USAGE, "twice, first in line 1");
    refused("# one name\naudit = 'x'\n[audit]", ERR_USAGE, "[audit] is a key in line 2 already");
    /* The same key in another table is another setting. */
    struct settings s;
    load(&s, "top-k = 1\n[generate]\ntop-k = 2", NULL, NULL);
    settings_fini(&s);
}

static void test_unknown(void **state) {
    (void)state;
    refused("temprature = 1", ERR_USAGE, "there is no setting temprature (");
    refused("\n temprature = 1", ERR_USAGE, "line 2, column 2); did you mean temperature?");
    refused("max_tokens = 1", ERR_USAGE, "did you mean max-tokens?");
    refused("[generate]\nthread = 1", ERR_USAGE, "did you mean threads?");
    refused("zzzzzzzzzz = 1", ERR_USAGE, "'ign config show' lists all settings");
    refused("[genrate]", ERR_USAGE, "line 1); did you mean [generate]?");
    refused("[sampling]", ERR_USAGE, "'ign help' lists the verbs");
    refused("prompt = \"x\"", ERR_USAGE, "it is for one call");
    refused("json = true", ERR_USAGE, "it is for one call");
    refused("config = \"x\"", ERR_USAGE, "it is for one call"); /* no file includes another */
    refused("[logits]\nids = \"x\"", ERR_USAGE, "it is for one call");
    refused("[logits]\ncontext = 16", ERR_USAGE, "it is for one call");
    refused("[logits]\ntop-k = 1", ERR_USAGE, "ign logits does not take top-k");
    /* What a key was given is not repeated: it may be a secret in the wrong place. */
    struct settings s;
    struct err e = {0};
    char line[1000];
    settings_init(&s, verbs);
    settings_read(&s, file("bad.toml", "api-key = \"hunter2\""), true, &e);
    assert_null(strstr(err_line(&e, line, sizeof line), "hunter2"));
    settings_fini(&s);
}

static void test_values(void **state) {
    (void)state;
    refused("temperature = 9", ERR_RANGE, "9 is not in 0..2 (");
    refused("\ntemperature = 9", ERR_RANGE, "line 2, column 1, temperature); take a value of 0..2");
    refused("context = 511", ERR_RANGE, "512..32768");
    refused("top-k = 99999999999999999999", ERR_RANGE, "0..2147483647");
    refused("seed = -1", ERR_RANGE, "18446744073709551615");
    refused("device = \"gpu\"", ERR_RANGE, "auto|cpu|plain");
    refused("temperature = \"0.5\"", ERR_USAGE, "write a number, without quotes");
    refused("temperature = true", ERR_USAGE, "write a number");
    refused("top-k = 1.0", ERR_USAGE, "write a whole number");
    refused("mlock = 1", ERR_USAGE, "write true or false");
    refused("mlock = \"true\"", ERR_USAGE, "write true or false");
    refused("model = 5", ERR_USAGE, "write text in quotes");
    refused("model = [\"a\"]", ERR_USAGE, "write text in quotes");
    refused("device = true", ERR_USAGE, "write text in quotes");
    refused("stop = \"a\"", ERR_USAGE, "write an array such as");
    refused("max-tokens = 0", ERR_RANGE, "1..4096");
}

static void test_files(void **state) {
    (void)state;
    struct settings s;
    struct err e = {0};
    char path[128], *big = mem_alloc((1 << 20) + 2, 1);
    settings_init(&s, verbs);
    snprintf(path, sizeof path, "%s/none.toml", folder);
    assert_int_equal(settings_read(&s, path, false, &e), ERR_OK);
    assert_int_equal(s.files->state, SETTINGS_ABSENT);
    snprintf(path, sizeof path, "%s/none.toml/below", folder);
    assert_int_equal(settings_read(&s, path, false, &e), ERR_OK);
    assert_null(settings_error(&s));
    assert_int_equal(settings_read(&s, path, true, &e), ERR_NOTFOUND);
    err_clear(&e);
    assert_int_equal(settings_read(&s, folder, false, &e), ERR_FORMAT);
    assert_non_null(strstr(e.what, "directory"));
    err_clear(&e);
    assert_int_equal(settings_read(&s, "/dev/zero", false, &e), ERR_FORMAT);
    memset(big, '#', (1 << 20) + 1);
    big[(1 << 20) + 1] = '\0';
    err_clear(&e);
    assert_int_equal(settings_read(&s, file("big.toml", big), false, &e), ERR_LIMIT);
    /* The first error is kept. */
    assert_int_equal(settings_read(&s, folder, false, &e), ERR_FORMAT);
    assert_int_equal(e.code, ERR_LIMIT);
    big[1 << 20] = '\0';
    err_clear(&e);
    assert_int_equal(settings_read(&s, file("big.toml", big), false, &e), ERR_OK);
    settings_fini(&s);
    mem_free(big);
}

/* Nothing grows with the square of a hostile file, and no count goes past its bound. */
static void test_limits(void **state) {
    (void)state;
    struct buf text;
    struct toml t;
    buf_init(&text, 2 << 20);
    for (int i = 0; i < 1001; i++) {
        buf_printf(&text, "k%d = 1\n", i);
    }
    struct err e = {0};
    assert_int_equal(toml_parse(&t, text.p, text.len, &e), ERR_LIMIT);
    assert_string_equal(e.where, "line 1001");
    err_clear(&e);
    assert_int_equal(toml_parse(&t, text.p, text.len - strlen("k1000 = 1\n"), &e), ERR_OK);
    assert_true(t.arena.used < 1 << 20);
    toml_fini(&t);
    buf_reset(&text);
    buf_puts(&text, "stop = [");
    while (text.len < TOML_BYTES_MAX - 8) {
        buf_puts(&text, "'',");
    }
    assert_int_equal(toml_parse(&t, text.p, text.len, &e), ERR_USAGE);
    assert_non_null(strstr(e.what, "too many strings"));
    buf_fini(&text);
}

static void test_precedence(void **state) {
    (void)state;
    struct settings s;
    char where[400];
    load(&s, "top-k = 1\ntop-p = 0.5\nmin-p = 0.5\nmodel = \"system\"\n[generate]\ntypical = 0.1\n",
         "top-k = 2\ntop-p = 0.6\n[generate]\ntop-k = 3\nmodel = \"\"\n",
         "top-p = 0.7\ntypical = 0.2\nstop = [\"x\", \"y\"]\nmax-tokens = 9000\nunbounded = true");
    struct knobs *k = values(&s, &verb_generate);
    assert_int_equal(knobs_int(k, "top-k"), 3);   /* of two in a file, the verb's own */
    assert_true(knobs_real(k, "top-p") == 0.7);   /* of three files, the last */
    assert_true(knobs_real(k, "min-p") == 0.5);   /* what only the first has */
    assert_true(knobs_real(k, "typical") == 0.2); /* a later file wins over an earlier [verb] */
    assert_null(knobs_str(k, "model"));           /* empty: back to the default */
    assert_int_equal(knobs_int(k, "max-tokens"), 9000); /* a switch of a file lifts bounds, too */
    assert_int_equal(knobs_count(k, "stop"), 2);
    assert_string_equal(knobs_item(k, "stop", 1), "y");
    assert_int_equal(knobs_origin(k, "top-k"), KNOB_FILE);
    assert_int_equal(knobs_origin(k, "model"), KNOB_DEFAULT);
    assert_true(knobs_given(k, "top-p"));
    assert_non_null(strstr(knobs_origin_text(k, "top-k", where, sizeof where), "b.toml, line 4"));
    assert_string_equal(knobs_origin_text(k, "device", where, sizeof where), "default");
    knobs_free(k);

    setenv("IGN_TOP_K", "4", 1);
    setenv("IGN_STOP", "z", 1);
    k = values(&s, &verb_generate);
    assert_int_equal(knobs_int(k, "top-k"), 4);
    assert_int_equal(knobs_count(k, "stop"), 1);
    assert_string_equal(knobs_item(k, "stop", 0), "z");
    assert_string_equal(knobs_origin_text(k, "top-k", where, sizeof where), "IGN_TOP_K");
    knobs_free(k);
    char *words[] = {"--top-k", "5", "--stop", "w", "--unbounded=no", "--max-tokens=7"};
    struct err e = {0};
    assert_int_equal(knobs_read(&k, &verb_generate, &s, 6, words, &e), ERR_OK);
    assert_int_equal(knobs_int(k, "top-k"), 5);
    assert_int_equal(knobs_count(k, "stop"), 1);
    assert_string_equal(knobs_item(k, "stop", 0), "w");
    assert_string_equal(knobs_origin_text(k, "top-k", where, sizeof where), "--top-k");
    knobs_free(k);
    /* The bound is back: the file's value is judged where it stands. */
    assert_int_equal(knobs_read(&k, &verb_generate, &s, 1, &words[4], &e), ERR_RANGE);
    assert_non_null(strstr(e.where, "c.toml, line 4"));
    unsetenv("IGN_TOP_K");
    unsetenv("IGN_STOP");

    /* A verb's own flag is not the setting of that name. */
    settings_fini(&s);
    load(&s, "context = 1024", NULL, NULL);
    k = values(&s, &verb_logits);
    assert_int_equal(knobs_int(k, "context"), 512);
    knobs_free(k);
    settings_fini(&s);
}

static void test_show(void **state) {
    (void)state;
    struct settings s, again;
    struct buf once, twice;
    struct err e = {0};
    buf_init(&once, 1 << 20);
    buf_init(&twice, 1 << 20);
    load(&s,
         "model = 'a\"b\\c'\nsystem = \"l\\n\\u0001\"\nstop = [\"x\", \"y\"]\nseed = "
         "18446744073709551615\n"
         "temperature = 0.5\n[generate]\ntemperature = 1\ntop-k = 40\n[logits]\n",
         NULL, NULL);
    struct knobs *k = values(&s, &verb_all);
    assert_int_equal(settings_show(&s, k, true, &once, &e), ERR_OK);
    assert_non_null(strstr(once.p, "\nmodel = \"a\\\"b\\\\c\""));
    assert_non_null(strstr(once.p, "\n# threads is not set\n"));
    assert_non_null(strstr(once.p, "\n[generate]\n"));
    assert_null(strstr(once.p, "[logits]"));
    assert_null(strstr(once.p, "prompt"));
    knobs_free(k);
    /* What was shown, read as a file, gives the same. */
    load(&again, once.p, NULL, NULL);
    buf_reset(&once);
    k = values(&s, &verb_all);
    assert_int_equal(settings_show(&s, k, false, &once, &e), ERR_OK);
    knobs_free(k);
    k = values(&again, &verb_all);
    assert_int_equal(settings_show(&again, k, false, &twice, &e), ERR_OK);
    assert_string_equal(once.p, twice.p);
    assert_true(knobs_uint64(k, "seed") == UINT64_MAX);
    assert_string_equal(knobs_str(k, "system"), "l\n\x01");
    knobs_free(k);
    settings_fini(&s);
    settings_fini(&again);
    buf_fini(&once);
    buf_fini(&twice);
}

static void test_check(void **state) {
    (void)state;
    struct settings s;
    struct err e = {0};
    load(&s, "[generate]\nmax-tokens = 5000\nunbounded = true", NULL, NULL);
    assert_int_equal(settings_check(&s, &e), ERR_OK);
    settings_fini(&s);
    load(&s, "max-tokens = 5000\n[logits]\nthreads = 1", NULL, NULL);
    assert_int_equal(settings_check(&s, &e), ERR_RANGE);
    assert_non_null(strstr(e.where, "a.toml, line 1"));
    settings_fini(&s);
}

/* Every allocation failed in turn: an error each time, and nothing left. */
static void test_torture(void **state) {
    (void)state;
    if (!mem_fail_at(0)) {
        return;
    }
    const char *path = file("t.toml", "model = \"a\"\nstop = [\"a\",\"b\",\"c\",\"d\",\"e\"]\n"
                                      "[generate]\ntop-k = 3\n");
    bool done = false;
    for (size_t n = 1; !done; n++) {
        struct settings s;
        struct knobs *k = NULL;
        struct err e = {0};
        struct buf out;
        settings_init(&s, verbs);
        buf_init(&out, 1 << 20);
        mem_fail_at(n);
        enum err_code rc = settings_read(&s, path, true, &e);
        rc = rc ? rc : knobs_read(&k, &verb_all, &s, 0, NULL, &e);
        rc = rc ? rc : settings_show(&s, k, true, &out, &e);
        mem_fail_at(0);
        assert_true(rc == ERR_OK || rc == ERR_NOMEM);
        done = rc == ERR_OK;
        knobs_free(k);
        settings_fini(&s);
        buf_fini(&out);
        assert_int_equal(mem_live(), 0);
    }
}

static int no_leak(void **state) {
    (void)state;
    return mem_live() == 0 ? 0 : -1;
}

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    char **names = NULL, path[512];
    size_t n = 0;
    if (os_list(folder, &names, &n, NULL)) {
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        remove(path);
    }
    mem_free(names);
    return remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_syntax, no_leak),
        cmocka_unit_test_teardown(test_not_in_the_subset, no_leak),
        cmocka_unit_test_teardown(test_syntax_errors, no_leak),
        cmocka_unit_test_teardown(test_unknown, no_leak),
        cmocka_unit_test_teardown(test_values, no_leak),
        cmocka_unit_test_teardown(test_files, no_leak),
        cmocka_unit_test_teardown(test_limits, no_leak),
        cmocka_unit_test_teardown(test_precedence, no_leak),
        cmocka_unit_test_teardown(test_show, no_leak),
        cmocka_unit_test_teardown(test_check, no_leak),
        cmocka_unit_test_teardown(test_torture, no_leak),
    };
    return cmocka_run_group_tests_name("settings", tests, make_folder, remove_folder);
}
