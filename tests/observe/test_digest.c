/* test_digest.c: the vectors of FIPS 180-4 and RFC 4231, whole and in pieces of every size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "observe/digest.h"

static char million[1000000];

static const struct {
    const char *text;
    size_t n;
    const char *hex;
} known[] = {
    {"", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    {million, sizeof million, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
};

static void test_sha256(void **state) {
    (void)state;
    memset(million, 'a', sizeof million);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        char hex[DIGEST_HEX];
        digest_sha256(known[i].text, known[i].n, hex);
        assert_string_equal(hex, known[i].hex);
    }
}

static void test_pieces(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        for (size_t piece = 1; piece < 200; piece = piece * 2 + 1) {
            char hex[DIGEST_HEX];
            struct digest *d = digest_create();
            assert_non_null(d);
            for (size_t at = 0; at < known[i].n; at += piece) {
                size_t left = known[i].n - at;
                digest_add(d, known[i].text + at, left < piece ? left : piece);
            }
            digest_end(d, hex);
            assert_string_equal(hex, known[i].hex);
        }
    }
    assert_int_equal(mem_live(), 0);
}

/* RFC 4231, cases 1, 2 and 6: a key of 20 bytes, a short one, one longer than a block. */
static void test_hmac(void **state) {
    (void)state;
    char key[131], hex[DIGEST_HEX];
    memset(key, 0x0b, 20);
    digest_hmac(key, 20, "Hi There", 8, hex);
    assert_string_equal(hex, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    digest_hmac("Jefe", 4, "what do ya want for nothing?", 28, hex);
    assert_string_equal(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof key);
    digest_hmac(key, sizeof key, "Test Using Larger Than Block-Size Key - Hash Key First", 54, hex);
    assert_string_equal(hex, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

static void test_equal(void **state) {
    (void)state;
    char a[DIGEST_HEX], b[DIGEST_HEX];
    digest_sha256("x", 1, a);
    for (size_t i = 0; i + 1 < DIGEST_HEX; i++) {
        memcpy(b, a, sizeof b);
        assert_true(digest_equal(a, b));
        b[i] = b[i] == '0' ? '1' : '0';
        assert_false(digest_equal(a, b));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_hmac),
        cmocka_unit_test(test_equal),
    };
    return cmocka_run_group_tests_name("digest", tests, NULL, NULL);
}
