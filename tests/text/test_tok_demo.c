/* test_tok_demo.c: the demo model's own vocabulary gives the library's ids.
 *
 * The model's folder is in IGN_TEST_MODEL_DIR, as ./check sets it; without it the test is skipped.
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
#include "format/gguf.h"
#include "model/vocab_load.h"
#include "text/tok_small.h"

enum { SKIPPED = 77 };

static char path[4096];

static void ids_are_the_library_s(void **state) {
    (void)state;
    struct gguf *g = NULL;
    struct vocab *v = NULL;
    struct tokenizer *t = NULL;
    struct ids ids = {0};
    struct err e = {0};
    size_t n = sizeof golden_mixed - 1;
    assert_int_equal(gguf_open(&g, path, false, &e), ERR_OK);
    assert_int_equal(vocab_load(&v, g, &e), ERR_OK);
    assert_int_equal(tokenizer_create(&t, v, &e), ERR_OK);
    assert_int_equal(tokenizer_encode(t, golden_mixed, n, NULL, false, BOS_AUTO, 0, &ids, &e),
                     ERR_OK);
    assert_int_equal(ids.n, sizeof demo_ids / sizeof *demo_ids);
    assert_memory_equal(ids.id, demo_ids, sizeof demo_ids);
    ids_fini(&ids);
    assert_true(vocab_is_end(v, vocab_find(v, str_c("<|im_end|>"))));
    tokenizer_free(t);
    vocab_free(v);
    gguf_close(g);
    assert_int_equal(mem_live(), 0);
}

int main(void) {
    const char *folder = getenv("IGN_TEST_MODEL_DIR");
    snprintf(path, sizeof path, "%s/SmolLM2-135M-Instruct.Q4_1.gguf", folder ? folder : "");
    if (!folder || !os_file_exists(path)) {
        printf("skipped: IGN_TEST_MODEL_DIR has no demo model\n");
        return SKIPPED;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(ids_are_the_library_s)};
    return cmocka_run_group_tests_name("demo vocabulary", tests, NULL, NULL);
}
