/* test_pull.c: a pull whose memory runs out at every allocation in turn: it says so, leaves the
 * store whole, and the next one succeeds. From a folder, and from a server that does not answer.
 * And a stick that is pulled out while it is copied from.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/os.h"
#include "observe/digest.h"
#include "store/pull.h"
#include "store/store_part.h"

static const char text[] =
    "{\"format\": \"ign-catalogue\", \"version\": 1, \"models\": [{\"name\": \"m\", \"family\": "
    "\"F\","
    "\"parameters\": \"1\", \"about\": \"m\", \"licence\": {\"name\": \"L\", \"address\": \"A\"},"
    "\"store\": \"m\", \"files\": [{\"path\": \"config.json\"}, {\"path\": \"d/x.gguf\"}],"
    "\"sources\": [{\"hub\": \"o/r\"}]}]}";

static char top[128], store[160], stick[160];

static enum err_code pull(const char *from, struct err *e) {
    struct depot d = {.dir = store};
    struct catalogue c;
    struct pull_result r = {0};
    bool extends;
    struct pull_opts o = {.what = "m",
                          .from = from,
                          .accept_unverified = true,
                          .parts = 2,
                          .http = {.stall = 2},
                          .user = "u"};
    catalogue_init(&c);
    enum err_code rc = catalogue_parse(&c, text, strlen(text), "text", &extends, e);
    rc = rc ? rc : pull_model(&d, &c, &o, &r, e);
    assert_int_equal(rc, e->code);
    mem_free(r.name);
    catalogue_fini(&c);
    return rc;
}

static size_t models_whole(void) {
    struct depot d = {.dir = store};
    struct buf models;
    depot_models_init(&models);
    assert_int_equal(depot_verify(&d, NULL, &models, NULL), ERR_OK);
    const struct depot_model *m = (const struct depot_model *)(const void *)models.p;
    size_t n = models.len / sizeof *m;
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(m[i].state, DEPOT_VERIFIED);
    }
    depot_models_fini(&models);
    return n;
}

static void test_folder(void **state) {
    (void)state;
    size_t live = mem_live();
    enum err_code rc = ERR_NOMEM;
    for (size_t n = 1; rc; n++) {
        struct err e = {0};
        bool torture = mem_fail_at(n);
        rc = pull(stick, &e);
        mem_fail_at(0);
        assert_true(rc == ERR_OK || (rc == ERR_NOMEM && torture));
        assert_int_equal(mem_live(), live);
        assert_int_equal(models_whole(), rc == ERR_OK);
    }
}

/* Nobody listens on the port for discarded data of this machine; whatever answers is no hub. */
static void test_server(void **state) {
    (void)state;
    size_t live = mem_live();
    enum err_code rc = ERR_NOMEM;
    tree_remove(store, "", NULL);
    for (size_t n = 1; rc == ERR_NOMEM; n++) {
        struct err e = {0};
        mem_fail_at(n);
        rc = pull("http://127.0.0.1:9/x", &e);
        mem_fail_at(0);
        if (rc == ERR_NOTFOUND && strstr(e.what, "libcurl")) {
            skip();
        }
        assert_true(rc == ERR_NOMEM || rc == ERR_IO);
        assert_int_equal(mem_live(), live);
        assert_int_equal(models_whole(), 0);
    }
}

/* A file of several steps of the copy, and the stick that it lies on: as it is cut, so a file of a
 * device that has gone is lost from some place on. */
enum { LONG = 12 << 20, CUT = 6 << 20 };

static char long_path[200];

static void pull_out(void *arg, const char *what, uint64_t done, uint64_t total) {
    bool *cut = arg;
    (void)what;
    (void)total;
    if (!*cut && done > 0) {
        *cut = true;
        assert_int_equal(os_cut_file(long_path, CUT, NULL), ERR_OK);
    }
}

static enum err_code pull_long(bool *cut, const char *sha256, uint64_t *kept, struct err *e) {
    struct depot d = {.dir = store, .report = pull_out, .arg = cut};
    struct catalogue c;
    struct pull_result r = {0};
    bool extends;
    struct pull_opts o = {.what = "l", .from = stick, .sha256 = sha256, .user = "u"};
    static const char list[] =
        "{\"format\": \"ign-catalogue\", \"version\": 1, \"models\": [{\"name\": \"l\", "
        "\"family\": \"F\", \"parameters\": \"1\", \"about\": \"l\", \"licence\": {\"name\": "
        "\"L\", \"address\": \"A\"}, \"store\": \"l.gguf\", \"files\": [{\"path\": "
        "\"l.gguf\"}], \"sources\": [{\"hub\": \"o/l\"}]}]}";
    catalogue_init(&c);
    enum err_code rc = catalogue_parse(&c, list, strlen(list), "text", &extends, e);
    rc = rc ? rc : pull_model(&d, &c, &o, &r, e);
    *kept = r.kept;
    mem_free(r.name);
    catalogue_fini(&c);
    return rc;
}

/* The copy ends there, with the bytes before: the next one goes on behind them. */
static void test_stick(void **state) {
    (void)state;
    char *bytes = mem_zalloc(LONG, 1), hex[DIGEST_HEX], part[300];
    struct os_file_info info;
    struct err e = {0};
    bool cut = false;
    uint64_t kept;
    for (size_t i = 0; i < LONG; i += 4096) {
        snprintf(bytes + i, 32, "GGUF %zu", i);
    }
    digest_sha256(bytes, LONG, hex);
    snprintf(long_path, sizeof long_path, "%s/l.gguf", stick);
    assert_int_equal(os_write_file(long_path, bytes, LONG, NULL), ERR_OK);
    tree_remove(store, "", NULL);
    assert_int_equal(pull_long(&cut, hex, &kept, &e), ERR_IO);
    assert_true(cut);
    snprintf(part, sizeof part, "%s/.pull/l.gguf/.grow/0.part", store);
    assert_int_equal(os_file_info(part, &info, &e), ERR_OK);
    assert_in_range(info.size, 1, CUT);
    assert_int_equal(os_write_file(long_path, bytes, LONG, NULL), ERR_OK);
    assert_int_equal(pull_long(&cut, hex, &kept, &e), ERR_OK);
    assert_int_equal(kept, info.size);
    assert_int_equal(models_whole(), 1);
    mem_free(bytes);
}

static int begin(void **state) {
    char path[200];
    (void)state;
    const char *shm = os_file_exists("/dev/shm") ? "/dev/shm" : "/tmp";
    snprintf(top, sizeof top, "%s/test-pull.%llu", shm, (unsigned long long)os_process_id());
    snprintf(store, sizeof store, "%s/store", top);
    snprintf(stick, sizeof stick, "%s/stick", top);
    snprintf(path, sizeof path, "%s/o/r/d", stick);
    os_mkdirs(path, NULL);
    snprintf(path, sizeof path, "%s/o/r/config.json", stick);
    os_write_file(path, "{}", 2, NULL);
    snprintf(path, sizeof path, "%s/o/r/d/x.gguf", stick);
    return os_write_file(path, "GGUFx", 5, NULL);
}

static int end(void **state) {
    (void)state;
    return tree_remove(top, "", NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_folder),
        cmocka_unit_test(test_server),
        cmocka_unit_test(test_stick),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
