/* test_pull.c: a pull whose memory runs out at every allocation in turn: it says so, leaves the
 * store whole, and the next one succeeds. From a folder, and from a server that does not answer.
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
    };
    return cmocka_run_group_tests(tests, begin, end);
}
