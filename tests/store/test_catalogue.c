/* test_catalogue.c: the program's own catalogue, two of them together, and memory that runs out at
 * every allocation in turn.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "store/catalogue.h"

static const char site[] =
    "{\"format\": \"ign-catalogue\", \"version\": 1, \"extends\": true, \"models\": [{"
    "\"name\": \"llama3.1-8b\", \"family\": \"ours\", \"parameters\": \"8B\", \"about\": \"tuned\","
    "\"licence\": {\"name\": \"L\", \"address\": \"A\", \"gated\": true, \"text\": \"one\\ntwo\"},"
    "\"store\": \"ours\", \"files\": [{\"path\": \"config.json\"}, {\"path\": \"a/b.safetensors\", "
    "\"bytes\": 7}], \"sources\": [{\"pip\": [\"p==1\", \"q\"], \"files\": {\"config.json\": "
    "\"p/c\", "
    "\"a/b.safetensors\": [\"p/1\", \"q/2\"]}}, {\"hub\": \"x/y\", \"files\": {\"config.json\": "
    "\"z/c.json\"}}]}]}";

static void test_two(void **state) {
    struct catalogue c;
    struct err e = {0};
    bool extends = false;
    size_t n = 0;
    const char *own = "data/catalogue.json";
    (void)state;
    catalogue_init(&c);
    assert_int_equal(catalogue_parse(&c, site, strlen(site), "site", &extends, &e), ERR_OK);
    assert_true(extends);
    assert_int_equal(catalogue_read(&c, &own, 1, &e), ERR_OK);
    const struct catalogue_model *m = catalogue_find(&c, "llama3.1-8b");
    assert_non_null(m);
    assert_string_equal(m->family, "ours");
    assert_string_equal(m->file[1].path, "ours/a/b.safetensors");
    assert_int_equal(catalogue_bytes(m), 0);
    assert_string_equal(m->licence_text, "one\ntwo");
    assert_int_equal(m->source[0].kind, CATALOGUE_PIP);
    assert_string_equal(m->source[0].from[1].path[1], "q/2");
    assert_string_equal(m->source[1].from[0].path[0], "z/c.json");
    assert_string_equal(m->source[1].from[1].path[0], "a/b.safetensors");
    assert_string_equal(m->source[1].revision, "main");
    assert_ptr_equal(catalogue_find(&c, "demo"), catalogue_find(&c, "smollm2-135m"));
    assert_null(catalogue_find(&c, "no-such"));
    catalogue_at(&c, &n);
    assert_true(n > 10);
    catalogue_fini(&c);
}

static void test_memory(void **state) {
    (void)state;
    if (!mem_fail_at(0)) {
        skip();
    }
    size_t live = mem_live();
    enum err_code rc = ERR_NOMEM;
    for (size_t n = 1; rc; n++) {
        struct catalogue c;
        struct err e = {0};
        bool extends;
        catalogue_init(&c);
        mem_fail_at(n);
        rc = catalogue_parse(&c, site, strlen(site), "site", &extends, &e);
        mem_fail_at(0);
        assert_int_equal(rc, e.code);
        assert_true(rc == ERR_OK || rc == ERR_NOMEM);
        catalogue_fini(&c);
        assert_int_equal(mem_live(), live);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
