/* test_tok_pretok.c: the pre-tokenizers cut where the models' own patterns do.
 *
 * Golden cuts come from the tokenizers library (tools/make_tokenizer_golden.py). Further claims:
 * no byte is lost on any text, unknown names are not found, normal forms are Unicode's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "text/pretok.h"
#include "text/tok_golden.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

static void cuts_are_the_library_s(void **state) {
    (void)state;
    for (size_t f = 0; f < sizeof golden_cut / sizeof *golden_cut; f++) {
        const struct pretok *family = pretok_find(str_c(golden_cut[f].pre));
        struct pretok_walk w;
        struct str word;
        assert_non_null(family);
        pretok_begin(&w, family, golden_mixed, sizeof golden_mixed - 1);
        for (size_t i = 0; i < golden_cut[f].n; i++) {
            assert_true(pretok_next(&w, &word));
            if (word.n != golden_cut[f].len[i]) {
                fail_msg("%s: word %zu at byte %zu has %zu bytes, not %u", golden_cut[f].pre, i,
                         (size_t)(word.p - golden_mixed), word.n, golden_cut[f].len[i]);
            }
        }
        assert_false(pretok_next(&w, &word));
    }
}

static void no_byte_is_lost(void **state) {
    (void)state;
    struct rng r;
    rng_seed(&r, 11);
    for (int round = 0; round < 2000; round++) {
        char text[256];
        size_t n = 0;
        while (n < 200) {
            uint32_t cp = (uint32_t)(rng_next(&r) % (round % 2 ? 0x110000 : 0x80));
            n += cp >= 0xD800 && cp < 0xE000 ? 0 : (size_t)utf8_encode(cp, text + n);
        }
        for (size_t f = 0; f < sizeof golden_cut / sizeof *golden_cut; f++) {
            struct pretok_walk w;
            struct str word;
            size_t at = 0;
            pretok_begin(&w, pretok_find(str_c(golden_cut[f].pre)), text, n);
            while (pretok_next(&w, &word)) {
                assert_ptr_equal(word.p, text + at);
                assert_true(word.n > 0);
                at += word.n;
            }
            assert_int_equal(at, n);
        }
    }
}

static void names(void **state) {
    (void)state;
    assert_non_null(pretok_find(str_c("")));
    assert_ptr_equal(pretok_find(str_c("smaug-bpe")), pretok_find(str_c("llama-bpe")));
    assert_null(pretok_find(str_c("llama-bpe ")));
    assert_null(pretok_find(str_c("no such")));
}

static void normal_form(void **state) {
    (void)state;
    struct unicode_nfc *t = unicode_nfc_create();
    assert_non_null(t);
    for (size_t i = 0; i < sizeof golden_nfc / sizeof *golden_nfc; i++) {
        struct str from = str_c(golden_nfc[i].from), to = str_c(golden_nfc[i].to);
        struct buf out;
        buf_init(&out, SIZE_MAX);
        unicode_nfc(t, from.p, from.n, &out);
        assert_true(str_eq(str_of(out.p, out.len), to));
        assert_true(!unicode_nfc_quick(t, from.p, from.n) || str_eq(from, to));
        buf_reset(&out);
        unicode_nfc(t, to.p, to.n, &out); /* a normal form stays */
        assert_true(str_eq(str_of(out.p, out.len), to));
        buf_fini(&out);
    }
    unicode_nfc_free(t);
    assert_int_equal(mem_live(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_are_the_library_s),
        cmocka_unit_test(no_byte_is_lost),
        cmocka_unit_test(names),
        cmocka_unit_test(normal_form),
    };
    return cmocka_run_group_tests_name("pretok", tests, NULL, NULL);
}
