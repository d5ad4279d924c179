/* test_address.c: what of an address is shown, however it is written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/address.h"
#include "base/rng.h"

#define N(a) (sizeof(a) / sizeof *(a))

static void test_shown(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"", ""},
        {"http://host:3128", "http://host:3128"},
        {"https://hub.example/a/b", "https://hub.example/a/b"},
        {"https://[::1]:8443/a", "https://[::1]:8443/a"},
        {"http://user:pass@host:3128", "http://***@host:3128"},
        {"user:pass@host:3128", "***@host:3128"},
        {"https://user@hub/a?key=secret", "https://***@hub/a?***"},
        {"http://host/#secret", "http://host/?***"},
        {"http://host?secret", "http://host?***"},
        {"http://user:p@ss@host/x", "http://***@host/x"},
        {"http://us@er:p/ss@host/x", "http://***@host/x"},
        {"http://user:%40%2f@host", "http://***@host"},
        /* Signs that should have been written as %XX. */
        {"http://user:p/ss@host:3128", "http://user:***@host:3128"},
        {"http://user:12/34@host:3128", "http://user:***@host:3128"},
        {"user:12/34@host:3128", "user:***@host:3128"},
        {"http://user:12#34@host:3128", "http://***"},
        {"http://user:12?34@host:3128", "http://***"},
        {"https://tok#en:pw@host", "https://***"},
        {"https://tok?en@host/x", "https://***"},
        {"https://to/k#en:pw@host", "https://***"},
        {"http://user:1/2#3@4@host", "http://user:***"},
        {"http://user:pass@host/?to=a@b&key=secret", "http://***"},
        {"http://[u:1/2@host", "http://[u:***@host"},
        {"http://[::1]:1/2@host", "http://[::1]:***@host"},
        /* Not quite an address. */
        {"http:/user:pass@host", "http:***@host"},
        {"http//user:pass@host", "http//user:***@host"},
        {"http:///user:pass@host", "http:///user:***@host"},
        {"http:\\\\user:pass@host", "***@host"},
        {"user:pa://ss@host", "user:***@host"},
        {"user:pass/://@host", "user:***@host"},
        {"@host", "***@host"},
        {"http://:@", "http://***@"},
        {"://", "://"},
        /* An '@' of a path. */
        {"https://hub/owner/name@main/x.gguf", "https://hub/owner/name@main/x.gguf"},
        {"https://hub/x?mail=a@b&key=secret", "https://hub/x?***"},
        {"https://hub/{repository}@{revision}/{file}",
         "https://hub/{repository}@{revision}/{file}"},
        {"https://hub:8443/{repository}@{revision}", "https://hub:8443/{repository}@{revision}"},
        {"https://u:p@hub/{repository}@{revision}", "https://***@hub/{repository}@{revision}"},
        {"https://u:{file}@hub", "https://***@hub"},
        {"https://u:1/2}@hub", "https://u:***@hub"},
        {"https://hub:8443/a@b", "https://hub:***@b"}, /* or a password of digits and a '/' */
    };
    char out[600];
    for (size_t i = 0; i < N(cases); i++) {
        assert_ptr_equal(address_shown(cases[i][0], out, sizeof out), out);
        assert_string_equal(out, cases[i][1]);
    }
}

/* A user's password of any signs is never shown, and what is too long is cut. */
static void test_any_password(void **state) {
    (void)state;
    static const char signs[] = "/?#@:[]{}%&=+-._~!$'()*,;\\ \"x7";
    struct rng r;
    rng_seed(&r, 7);
    for (int i = 0; i < 20000; i++) {
        char secret[64] = "", text[200], out[200];
        size_t n = 1 + (size_t)(rng_double(&r) * 12);
        for (size_t k = 0; k < n; k++) { /* "S3" in every place of it */
            snprintf(secret + strlen(secret), 8, "S3%c",
                     signs[(size_t)(rng_double(&r) * (sizeof signs - 1))]);
        }
        snprintf(text, sizeof text, "%suser:%s@host:3128%s", i % 3 ? "http://" : "", secret,
                 i % 2 ? "/x?y" : "");
        assert_null(strstr(address_shown(text, out, sizeof out), "S3"));
    }
    char few[12];
    assert_string_equal(address_shown("https://user:pass@host/", few, sizeof few), "https://***");
}

/* Which addresses may have a name or a password in them, and are not to be asked. */
static void test_has_secret(void **state) {
    (void)state;
    static const char *const yes[] = {
        "https://tok#en:pw@h",
        "https://tok#en@h/x.gguf",
        "https://tok?en:pw@h",
        "https://tok?en@h",
        "https://tok/en:pw@h/x",
        "https://user:p/ss@h",
        "https://user:12/34@h",
        "https://user@h/x",
        "https://user:pw@h/x",
        "https://h/x.gguf?mail=a@b",
        "https://h:80/a@b",
        "https://h/x#a@b",
        "https://tok\\en:pw@h/x.gguf",
    };
    static const char *const no[] = {
        "https://h/x.gguf",        "https://h:8443/x.gguf?key=1",
        "https://h/@scope/x.gguf", "https://h/owner/name@main/x.gguf",
        "https://[::1]:80/x.gguf", "https://h:80/{repository}@{revision}/{file}",
        "https://h/x.gguf#part",   "https://h:80/a%40b",
    };
    for (size_t i = 0; i < N(yes); i++) {
        assert_true(address_has_secret(yes[i]));
    }
    for (size_t i = 0; i < N(no); i++) {
        assert_false(address_has_secret(no[i]));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shown),
        cmocka_unit_test(test_has_secret),
        cmocka_unit_test(test_any_password),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
