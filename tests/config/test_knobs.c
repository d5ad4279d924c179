/* test_knobs.c: the knob table, from words and variables to values, errors and help.
 *
 * Owns a verb of its own that takes every group, so that the whole table passes through. Sets the
 * environment of this process; each test leaves it clean.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "config/knobs.h"

#define ALL                                                                                        \
    (KNOB_PROMPT | KNOB_HISTORY | KNOB_SAMPLE | KNOB_TEMPLATE | KNOB_MODEL | KNOB_RUN |            \
     KNOB_DEVICE | KNOB_AUDIT | KNOB_STORE | KNOB_BUNDLE | KNOB_PULL)
#define N(a) (sizeof(a) / sizeof((a)[0]))

static const struct knob own[] = {
    {.name = "ids", .type = KNOB_STR, .unit = "IDS", .help = "token ids"},
    {.name = "context",
     .type = KNOB_INT,
     .unit = "N",
     .def = "512",
     .min = 8,
     .max = 4096,
     .help = "a context of its own"},
    {.name = "room",
     .type = KNOB_SIZE,
     .unit = "SIZE",
     .def = "1.5G",
     .min = 65536,
     .max = 4.0 * 1073741824,
     .help = "a size"},
    {.name = "space", .type = KNOB_SIZE, .unit = "SIZE", .max = KNOB_SIZE_MAX, .help = "any size"},
    {.name = "var", .type = KNOB_LIST, .unit = "NAME=JSON", .help = "a variable"},
};

static const struct knob_verb plain = {.name = "plain",
                                       .operands = "FILE",
                                       .min_operand = 0,
                                       .max_operand = 2,
                                       .about = "test",
                                       .groups = ALL};
static const struct knob_verb special = {.name = "special",
                                         .operands = "FILE",
                                         .min_operand = 1,
                                         .max_operand = 1,
                                         .about = "test",
                                         .groups = KNOB_RUN,
                                         .own = own,
                                         .n_own = N(own)};

struct call {
    struct knobs *k;
    struct err e;
    enum err_code code;
};

/* Words separated by '|', as a shell would have split them. */
static struct call call(const struct knob_verb *verb, const char *words) {
    static char text[512];
    static char *argv[32];
    struct call c = {0};
    int argc = 0;
    assert_true(strlen(words) < sizeof text);
    strcpy(text, words);
    for (char *w = *text ? text : NULL; w; argc++) {
        argv[argc] = w;
        w = strchr(w, '|');
        if (w) {
            *w++ = '\0';
        }
    }
    c.code = knobs_read(&c.k, verb, NULL, argc, argv, &c.e);
    assert_int_equal(c.code, c.e.code);
    assert_true((c.code == ERR_OK) == (c.k != NULL));
    return c;
}

static void fails(const struct knob_verb *verb, const char *words, enum err_code code,
                  const char *part) {
    char line[1024];
    struct call c = call(verb, words);
    assert_int_equal(c.code, code);
    err_line(&c.e, line, sizeof line);
    if (!strstr(line, part)) {
        fail_msg("\"%s\" gave \"%s\", without \"%s\"", words, line, part);
    }
}

static void test_defaults(void **state) {
    (void)state;
    struct call c = call(&plain, "");
    assert_int_equal(c.code, ERR_OK);
    assert_int_equal(knobs_int(c.k, "context"), 4096);
    assert_int_equal(knobs_int(c.k, "max-tokens"), 512);
    assert_int_equal(knobs_int(c.k, "top-k"), 40);
    assert_true(knobs_real(c.k, "temperature") == 0.7);
    assert_true(knobs_real(c.k, "top-p") == 0.9);
    assert_true(knobs_real(c.k, "repeat-penalty") == 1);
    assert_string_equal(knobs_str(c.k, "device"), "auto");
    assert_string_equal(knobs_str(c.k, "kv-type"), "f16");
    assert_null(knobs_str(c.k, "model"));
    assert_null(knobs_str(c.k, "cpu"));
    assert_false(knobs_bool(c.k, "json"));
    assert_false(knobs_given(c.k, "seed"));
    assert_int_equal(knobs_count(c.k, "stop"), 0);
    assert_int_equal(knobs_operands(c.k), 0);
    knobs_free(c.k);
}

static void test_forms(void **state) {
    (void)state;
    struct call c = call(&plain, "--top-k|7|a|--top-p=0.5|--stop|x=y|--stop=|--json|--mlock=no|"
                                 "--logit-bias|5=-1.5|--presence-penalty|-2|--|--quiet");
    assert_int_equal(c.code, ERR_OK);
    assert_int_equal(knobs_int(c.k, "top-k"), 7);
    assert_true(knobs_real(c.k, "top-p") == 0.5);
    assert_true(knobs_real(c.k, "presence-penalty") == -2);
    assert_int_equal(knobs_count(c.k, "stop"), 2);
    assert_string_equal(knobs_item(c.k, "stop", 0), "x=y");
    assert_string_equal(knobs_item(c.k, "stop", 1), "");
    assert_string_equal(knobs_item(c.k, "logit-bias", 0), "5=-1.5");
    assert_true(knobs_bool(c.k, "json"));
    assert_false(knobs_bool(c.k, "mlock"));
    assert_true(knobs_given(c.k, "mlock"));
    assert_false(knobs_bool(c.k, "quiet"));
    assert_int_equal(knobs_operands(c.k), 2);
    assert_string_equal(knobs_operand(c.k, 0), "a");
    assert_string_equal(knobs_operand(c.k, 1), "--quiet");
    knobs_free(c.k);

    c = call(&plain, "--prompt|--not a flag|-|--seed|18446744073709551615|--top-k|1|--top-k|2");
    assert_int_equal(c.code, ERR_OK);
    assert_string_equal(knobs_str(c.k, "prompt"), "--not a flag");
    assert_string_equal(knobs_operand(c.k, 0), "-");
    assert_true(knobs_uint64(c.k, "seed") == UINT64_MAX);
    assert_int_equal(knobs_int(c.k, "top-k"), 2);
    knobs_free(c.k);
}

static void test_usage_errors(void **state) {
    (void)state;
    fails(&plain, "--temprature|1", ERR_USAGE, "did you mean --temperature?");
    fails(&plain, "--temprature=1", ERR_USAGE, "flag --temprature; did you mean");
    fails(&plain, "--max-token|1", ERR_USAGE, "--max-tokens");
    fails(&plain, "--jsno", ERR_USAGE, "--json");
    fails(&plain, "--zzzzzzzz", ERR_USAGE, "ign plain --help");
    fails(&plain, "-x", ERR_USAGE, "-x");
    fails(&plain, "-top-k|3", ERR_USAGE, "--top-k");
    fails(&plain, "--temp|1", ERR_USAGE, "--temp"); /* no abbreviations */
    fails(&plain, "--top-k", ERR_USAGE, "--top-k needs a value");
    fails(&plain, "--prompt|--json", ERR_USAGE, "--prompt needs a value");
    fails(&plain, "a|b|c", ERR_USAGE, "1 word more");
    fails(&special, "", ERR_USAGE, "needs FILE");
    fails(&special, "--ids|1|f|--model|m", ERR_USAGE, "--model");
    fails(&plain, "--\x1b[31m", ERR_USAGE, "\\x1b[31m");
    fails(&plain, "--kv-type|q4_0", ERR_RANGE, "f16|int8|f32");
    fails(&plain, "--device=cuda", ERR_RANGE, "auto|cpu|plain");
    fails(&plain, "--device=", ERR_RANGE, "auto|cpu|plain");
}

static void test_range_errors(void **state) {
    (void)state;
    fails(&plain, "--temperature|2.01", ERR_RANGE, "0..2");
    fails(&plain, "--temperature|-0.01", ERR_RANGE, "0..2");
    fails(&plain, "--temperature|nan", ERR_RANGE, "not a number");
    fails(&plain, "--temperature|nan", ERR_RANGE, "take a value of 0..2");
    fails(&plain, "--top-k|x", ERR_RANGE, "take a value of 0..2147483647");
    fails(&plain, "--seed|x", ERR_RANGE, "take a value of 0..18446744073709551615");
    fails(&plain, "--temperature|inf", ERR_RANGE, "--temperature");
    fails(&plain, "--temperature|1e999", ERR_RANGE, "1e999");
    fails(&plain, "--temperature|0x1", ERR_RANGE, "0x1");
    fails(&plain, "--temperature|1,5", ERR_RANGE, "1,5");
    fails(&plain, "--temperature=", ERR_RANGE, "not a number");
    fails(&plain, "--top-p|0.09", ERR_RANGE, "0.1..1");
    fails(&plain, "--top-k|1.5", ERR_RANGE, "whole number");
    fails(&plain, "--top-k|99999999999999999999", ERR_RANGE, "0..2147483647");
    fails(&plain, "--top-k| 1", ERR_RANGE, "whole number");
    fails(&plain, "--max-tokens|4097", ERR_RANGE, "1..4096");
    fails(&plain, "--max-tokens|0|--unbounded", ERR_RANGE, "1..4096");
    fails(&plain, "--max-tokens|4097|--unbounded=no", ERR_RANGE, "1..4096");
    fails(&plain, "--context|511", ERR_RANGE, "512..32768");
    fails(&plain, "--context|9999999999", ERR_RANGE, "512..32768");
    fails(&plain, "--seed|18446744073709551616", ERR_RANGE, "18446744073709551615");
    fails(&plain, "--seed|-1", ERR_RANGE, "0..");
    fails(&plain, "--repeat-penalty|0.4", ERR_RANGE, "0.5..2");
    fails(&plain, "--mlock=maybe", ERR_RANGE, "neither true nor false");
    fails(&plain, "--timeout|0", ERR_RANGE, "--timeout");
    fails(&special, "f|--context|4097", ERR_RANGE, "8..4096");
}

static uint64_t space(const char *text) {
    char words[64];
    snprintf(words, sizeof words, "f|--space|%s", text);
    struct call c = call(&special, words);
    if (c.code) {
        fail_msg("%s: %s", text, c.e.what);
    }
    uint64_t bytes = knobs_size(c.k, "space");
    knobs_free(c.k);
    return bytes;
}

static void test_sizes(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        {"0", 0},
        {"1", 1},
        {"7B", 7},
        {"1k", 1024},
        {"1K", 1024},
        {"1KiB", 1024},
        {"1kb", 1000},
        {"500M", 524288000},
        {"500MB", 500000000},
        {"500mib", 524288000},
        {"8GiB", 8589934592},
        {"8GB", 8000000000},
        {"1.5G", 1610612736},
        {".5k", 512},
        {"2.", 2},
        {"0.3", 0},
        {"1T", 1099511627776},
        {"1TB", 1000000000000},
        {"9007199254740991", 9007199254740991},
        {"8192TiB", 9007199254740992},
    };
    for (size_t i = 0; i < N(good); i++) {
        if (space(good[i].text) != good[i].bytes) {
            fail_msg("%s is %llu", good[i].text, (unsigned long long)space(good[i].text));
        }
    }
    static const char *const bad[] = {"",   ".",   "G",    "1..5G", "1 G",  "-1",
                                      "+1", "1e9", "0x10", "8Gi",   "8GBs", "8iB",
                                      "8P", "inf", "nan",  "1G ",   "1,5G", "8BB"};
    for (size_t i = 0; i < N(bad); i++) {
        char words[64];
        snprintf(words, sizeof words, "f|--space=%s", bad[i]);
        fails(&special, words, ERR_RANGE, "is not a size like 8GiB, 1.5G, 500MB or 1048576");
        fails(&special, words, ERR_RANGE, "take a value of 0..8192TiB");
    }
    fails(&special, "f|--space|8193TiB", ERR_RANGE, "8193TiB is not in 0..8192TiB");
    fails(&special, "f|--room|63K", ERR_RANGE, "63K is not in 64KiB..4GiB (--room)");
    fails(&special, "f|--room|4.1G", ERR_RANGE, "64KiB..4GiB");
    struct call c = call(&special, "f");
    assert_true(knobs_size(c.k, "room") == 1610612736);
    assert_true(knobs_size(c.k, "space") == 0);
    assert_false(knobs_given(c.k, "room"));
    knobs_free(c.k);
}

static void test_lifted(void **state) {
    (void)state;
    struct call c = call(&plain, "--max-tokens|100000|--unbounded|--context|131072");
    assert_int_equal(c.code, ERR_OK);
    assert_int_equal(knobs_int(c.k, "max-tokens"), 100000);
    assert_int_equal(knobs_int(c.k, "context"), 131072);
    knobs_free(c.k);
}

static void test_environment(void **state) {
    (void)state;
    setenv("IGN_TOP_P", "0.25", 1);
    setenv("IGN_MODEL", "from-env", 1);
    setenv("IGN_MLOCK", "1", 1);
    setenv("IGN_PROMPT", "not read", 1);
    setenv("IGN_TOP_K", "", 1);
    struct call c = call(&plain, "--top-p|0.75");
    assert_int_equal(c.code, ERR_OK);
    assert_true(knobs_real(c.k, "top-p") == 0.75);
    assert_int_equal(knobs_origin(c.k, "top-p"), KNOB_FLAG);
    assert_string_equal(knobs_str(c.k, "model"), "from-env");
    assert_int_equal(knobs_origin(c.k, "model"), KNOB_ENV);
    assert_true(knobs_bool(c.k, "mlock"));
    assert_null(knobs_str(c.k, "prompt"));
    assert_int_equal(knobs_int(c.k, "top-k"), 40);
    assert_int_equal(knobs_origin(c.k, "top-k"), KNOB_DEFAULT);
    knobs_free(c.k);

    setenv("IGN_TOP_P", "7", 1);
    fails(&plain, "", ERR_RANGE, "IGN_TOP_P");
    fails(&plain, "", ERR_RANGE, "0.1..1");
    unsetenv("IGN_TOP_P");

    /* A verb's own flag is not the knob of that name. */
    setenv("IGN_CONTEXT", "1024", 1);
    c = call(&special, "f|--var|a=1|--var|b=2");
    assert_int_equal(c.code, ERR_OK);
    assert_int_equal(knobs_int(c.k, "context"), 512);
    assert_int_equal(knobs_count(c.k, "var"), 2);
    knobs_free(c.k);
    unsetenv("IGN_CONTEXT");
    unsetenv("IGN_MODEL");
    unsetenv("IGN_MLOCK");
    unsetenv("IGN_PROMPT");
    unsetenv("IGN_TOP_K");
}

static const struct knob *find(const char *name) {
    size_t n;
    const struct knob *table = knobs_table(&n);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(table[i].name, name) == 0) {
            return &table[i];
        }
    }
    fail_msg("no knob %s", name);
    return NULL;
}

/* The command line's contract, which keeps the ranges of the program that this one replaces. */
static void test_ranges(void **state) {
    (void)state;
    static const struct {
        const char *name;
        double min, max;
        const char *def;
    } contract[] = {
        {"context", 512, 32768, "4096"}, {"temperature", 0, 2, "0.7"},   {"top-p", 0.1, 1, "0.9"},
        {"max-tokens", 1, 4096, "512"},  {"top-k", 0, 2147483647, "40"}, {"min-p", 0, 1, "0"},
        {"repeat-penalty", 0.5, 2, "1"},
    };
    for (size_t i = 0; i < N(contract); i++) {
        const struct knob *k = find(contract[i].name);
        assert_true(k->min == contract[i].min);
        assert_true(k->max == contract[i].max);
        assert_string_equal(k->def, contract[i].def);
    }
    assert_string_equal(find("max-tokens")->lift, "unbounded");
    assert_true(find("context")->flags & KNOB_MAY_PASS); /* to a model's own limit */
    assert_int_equal(find("seed")->type, KNOB_UINT64);
    assert_null(find("seed")->def);
}

/* Command lines and environments are seen by others: a secret is in a file that a knob names. */
static void test_no_secret(void **state) {
    (void)state;
    static const char *const words[] = {"key", "secret", "password", "credential"};
    size_t n;
    const struct knob *table = knobs_table(&n);
    for (size_t i = 0; i < n; i++) {
        for (size_t w = 0; w < N(words); w++) {
            if (strstr(table[i].name, words[w]) && strcmp(table[i].unit, "FILE") != 0) {
                fail_msg("--%s looks like a secret and is not the name of a file", table[i].name);
            }
        }
    }
}

/* What an address has of a secret is not shown, of those knobs that are one (test_address.c). */
static void test_address_shown(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"http://user:12/34@host:3128", "http://user:***@host:3128"},
        {"https://hub:8443/{repository}@{revision}", "https://hub:8443/{repository}@{revision}"},
        {"", ""},
    };
    char out[KNOB_SHOWN];
    for (size_t i = 0; i < N(cases); i++) {
        assert_string_equal(knob_shown(find("proxy"), cases[i][0], out, sizeof out), cases[i][1]);
    }
    assert_null(knob_shown(find("hub"), NULL, out, sizeof out));
    assert_string_equal(knob_shown(find("store"), "a:b@c", out, sizeof out), "a:b@c");
}

/* Every default is valid, every name fits, and help has each flag and no long line. */
static void test_table_and_help(void **state) {
    (void)state;
    size_t n;
    struct buf help;
    const struct knob *table = knobs_table(&n);
    buf_init(&help, 1 << 20);
    knobs_help(&help, &plain);
    assert_int_equal(buf_check(&help, NULL), ERR_OK);
    for (size_t i = 0; i < n; i++) {
        char flag[80];
        snprintf(flag, sizeof flag, "\n  --%s%s", table[i].name, table[i].unit ? " " : "");
        assert_non_null(strstr(help.p, flag));
        assert_true((table[i].unit == NULL) == (table[i].type == KNOB_BOOL));
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(table[i].name, table[j].name);
        }
    }
    for (const char *line = help.p; *line; line += strcspn(line, "\n") + 1) {
        if (strcspn(line, "\n") > 80) {
            fail_msg("longer than 80 columns: %.100s", line);
        }
    }
    assert_non_null(strstr(help.p, "IGN_TOP_P"));
    assert_null(strstr(help.p, "IGN_PROMPT"));

    buf_reset(&help);
    knobs_help(&help, &special);
    assert_non_null(strstr(help.p, "a context of its own (8..4096; default 512)"));
    assert_non_null(strstr(help.p, "a size (64KiB..4GiB; default 1.5G)"));
    assert_non_null(strstr(help.p, "any size (0 or more)"));
    assert_null(strstr(help.p, "IGN_CONTEXT"));
    assert_null(strstr(help.p, "--model"));
    assert_non_null(strstr(help.p, "--threads"));
    buf_fini(&help);

    struct call c = call(&plain, "--bogus|--help");
    assert_int_equal(c.code, ERR_OK);
    assert_true(knobs_help_wanted(c.k));
    knobs_free(c.k);
    c = call(&plain, "--|--help");
    assert_false(knobs_help_wanted(c.k));
    knobs_free(c.k);
    char *words[] = {"--temperature", "9", "--json"};
    assert_true(knobs_json_wanted(3, words));
    assert_false(knobs_json_wanted(2, words));
}

static void test_nearest(void **state) {
    (void)state;
    const char *const verbs[] = {"generate", "chat", "inspect", "tokenize", "detokenize"};
    assert_string_equal(knobs_nearest("genrate", verbs, N(verbs)), "generate");
    assert_string_equal(knobs_nearest("caht", verbs, N(verbs)), "chat");
    assert_string_equal(knobs_nearest("tokenise", verbs, N(verbs)), "tokenize");
    assert_null(knobs_nearest("serve", verbs, N(verbs)));
    assert_null(knobs_nearest("", verbs, N(verbs)));
}

static int no_leak(void **state) {
    (void)state;
    return mem_live() == 0 ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_defaults, no_leak),
        cmocka_unit_test_teardown(test_forms, no_leak),
        cmocka_unit_test_teardown(test_usage_errors, no_leak),
        cmocka_unit_test_teardown(test_range_errors, no_leak),
        cmocka_unit_test_teardown(test_sizes, no_leak),
        cmocka_unit_test_teardown(test_lifted, no_leak),
        cmocka_unit_test_teardown(test_environment, no_leak),
        cmocka_unit_test_teardown(test_ranges, no_leak),
        cmocka_unit_test_teardown(test_no_secret, no_leak),
        cmocka_unit_test_teardown(test_address_shown, no_leak),
        cmocka_unit_test_teardown(test_table_and_help, no_leak),
        cmocka_unit_test_teardown(test_nearest, no_leak),
    };
    return cmocka_run_group_tests_name("knobs", tests, NULL, NULL);
}
