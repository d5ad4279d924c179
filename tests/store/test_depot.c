/* test_depot.c: what others do to the store while `verify` reads it, or a model is copied in. They
 * act from within its reports, so that it is known how far it had come by then.
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
#include "store/bundle.h"
#include "store/depot.h"
#include "store/store_part.h"

static char top[128], store[160];

/* Calls act(), once, when the first byte of the file `when` is about to be read. */
struct meddler {
    const char *when;
    void (*act)(void);
};

static void on_report(void *arg, const char *what, uint64_t done, uint64_t total) {
    struct meddler *m = arg;
    (void)done;
    (void)total;
    if (m->act && strcmp(what, m->when) == 0) {
        void (*act)(void) = m->act;
        m->act = NULL;
        act();
    }
}

static void write_file(const char *dir, const char *name, const char *text) {
    char path[400];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(folder_make(path, NULL), ERR_OK);
    assert_int_equal(os_write_file(path, text, strlen(text), NULL), ERR_OK);
}

/* Brings a file of this text in as NAME.gguf, and fails where others keep it out. */
static void import(const char *name, const char *text) {
    struct depot d = {.dir = store};
    struct err e = {0};
    enum depot_came came;
    char path[200], *as = NULL;
    write_file(top, name, text);
    snprintf(path, sizeof path, "%s/%s", top, name);
    if (depot_import(&d, path, NULL, NULL, &came, &as, &e)) {
        fail_msg("%s: %s", name, e.what);
    }
    mem_free(as);
    os_remove_file(path, NULL);
}

static void take_away(const char *name) {
    struct depot d = {.dir = store};
    struct err e = {0};
    if (depot_remove(&d, name, &e)) {
        fail_msg("%s: %s", name, e.what);
    }
}

/* Other bytes under the name, as a broken disk has them: the record stays. */
static void spoil(const char *name) {
    char path[200];
    snprintf(path, sizeof path, "%s/%s", store, name);
    os_remove_file(path, NULL);
    write_file(store, name, "GGUF spoilt");
}

/* Verifies `name` (NULL: all) while `act` meddles; "NAME:STATE ..." of what was found. */
static enum err_code verify(const char *name, const char *when, void (*act)(void), char out[300],
                            struct err *e) {
    struct meddler m = {.when = when, .act = act};
    struct depot d = {.dir = store, .report = on_report, .arg = &m};
    struct buf models;
    size_t at = 0;
    depot_models_init(&models);
    enum err_code rc = depot_verify(&d, name, &models, e);
    assert_null(m.act);
    const struct depot_model *found = (const struct depot_model *)(const void *)models.p;
    out[0] = '\0';
    for (size_t i = 0; i < models.len / sizeof *found; i++) {
        at += (size_t)snprintf(out + at, 300 - at, "%s:%d ", found[i].name, (int)found[i].state);
    }
    depot_models_fini(&models);
    return rc;
}

static int start(void **state) {
    (void)state;
    tree_remove(store, "", NULL);
    import("a.gguf", "GGUF a");
    import("b.gguf", "GGUF b");
    return 0;
}

#define EXPECT(out, text, ...)                                                                     \
    do {                                                                                           \
        char want[300];                                                                            \
        snprintf(want, sizeof want, text, __VA_ARGS__);                                            \
        assert_string_equal(out, want);                                                            \
    } while (0)

static void others_work(void) {
    import("c.gguf", "GGUF c");
    take_away("b");
}

/* Nobody is kept out for as long as the reading takes, and what has gone is not missed. */
static void test_others_work(void **state) {
    (void)state;
    char out[300];
    struct err e = {0};
    assert_int_equal(verify(NULL, "a.gguf", others_work, out, &e), ERR_OK);
    EXPECT(out, "a.gguf:%d ", DEPOT_VERIFIED);
    assert_int_equal(verify(NULL, "?", NULL, out, &e), ERR_OK);
    EXPECT(out, "a.gguf:%d c.gguf:%d ", DEPOT_VERIFIED, DEPOT_VERIFIED);
}

/* Nor by a bundle, whose stick may be slow. */
static void test_bundle(void **state) {
    (void)state;
    static const char *const names[] = {"a"};
    struct meddler m = {.when = "a.gguf", .act = others_work};
    struct depot d = {.dir = store, .report = on_report, .arg = &m};
    struct err e = {0};
    uint64_t bytes = 0;
    char to[200];
    snprintf(to, sizeof to, "%s/stick.bundle", top);
    assert_int_equal(bundle_write(&d, names, 1, to, NULL, &bytes, &e), ERR_OK);
    assert_null(m.act);
    assert_int_equal(bytes, strlen("GGUF a"));
    os_remove_file(to, NULL);
}

static void replace_b(void) {
    take_away("b");
    import("b.gguf", "GGUF another b");
}

/* A model that takes the place of a broken one while that is read is not moved away for it. */
static void test_replaced(void **state) {
    (void)state;
    char out[300];
    struct err e = {0};
    spoil("b.gguf");
    assert_int_equal(verify(NULL, "b.gguf", replace_b, out, &e), ERR_OK);
    EXPECT(out, "a.gguf:%d b.gguf:%d ", DEPOT_VERIFIED, DEPOT_VERIFIED);
    spoil("b.gguf"); /* the hash is of what was read: the broken one's is said of no other */
    assert_int_equal(verify("b", "b.gguf", NULL, out, &e), ERR_OK);
    EXPECT(out, "b.gguf:%d ", DEPOT_BROKEN);
    assert_int_equal(verify(NULL, "?", NULL, out, &e), ERR_OK);
    EXPECT(out, "a.gguf:%d ", DEPOT_VERIFIED);
}

static void take_b(void) {
    take_away("b");
}

/* One that is removed while it is read is not broken: it has gone. */
static void test_removed(void **state) {
    (void)state;
    char out[300], away[200];
    struct err e = {0};
    spoil("b.gguf");
    assert_int_equal(verify("b", "b.gguf", take_b, out, &e), ERR_NOTFOUND);
    assert_string_equal(e.what, "no model 'b' in the store");
    assert_string_equal(out, "");
    snprintf(away, sizeof away, "%s/quarantine", store);
    assert_false(os_file_exists(away));
}

/* The same for a folder, of which one file has been read when it goes, and comes with others. */
static void replace_folder(void) {
    struct depot d = {.dir = store};
    struct err e = {0};
    enum depot_came came;
    char path[200], *as = NULL;
    take_away("f");
    write_file(top, "f/config.json", "{}");
    write_file(top, "f/model.safetensors", "new");
    snprintf(path, sizeof path, "%s/f", top);
    assert_int_equal(depot_import(&d, path, NULL, NULL, &came, &as, &e), ERR_OK);
    mem_free(as);
    tree_remove(top, "f", NULL);
}

static void no_folder(void) {
    take_away("f");
}

static void test_folder(void **state) {
    (void)state;
    char out[300];
    struct err e = {0};
    write_file(store, "f/config.json", "x");
    replace_folder();
    assert_int_equal(verify("f", "model.safetensors", replace_folder, out, &e), ERR_OK);
    EXPECT(out, "f:%d ", DEPOT_VERIFIED);
    assert_int_equal(verify("f", "config.json", no_folder, out, &e), ERR_NOTFOUND);
}

static int rewritten;

static void on_rewrite(void *arg, const char *what, uint64_t done, uint64_t total) {
    (void)arg;
    (void)done;
    (void)total;
    if (strcmp(what, "b.gguf") == 0 && rewritten < 20) {
        rewritten++;
        spoil("b.gguf");
    }
}

/* One that is written to again and again is read a few times, and stays where it is. */
static void test_rewritten(void **state) {
    (void)state;
    struct depot d = {.dir = store, .report = on_rewrite};
    struct buf models;
    struct err e = {0};
    rewritten = 0;
    spoil("b.gguf");
    depot_models_init(&models);
    assert_int_equal(depot_verify(&d, NULL, &models, &e), ERR_OK);
    const struct depot_model *m = (const struct depot_model *)(const void *)models.p;
    assert_int_equal(models.len, 2 * sizeof *m);
    assert_int_equal(m[0].state, DEPOT_VERIFIED);
    assert_int_equal(m[1].state, DEPOT_BROKEN_HERE);
    assert_non_null(strstr(m[1].why, "written to while it is read"));
    assert_int_equal(rewritten, 3);
    depot_models_fini(&models);
}

/* Calls act(), once, when something gathers in the store: it is being copied. */
static void on_copy(void *arg, const char *what, uint64_t done, uint64_t total) {
    struct meddler *m = arg;
    char **names = NULL;
    size_t n = 0;
    bool gathers = false;
    (void)what;
    (void)done;
    (void)total;
    os_list(store, &names, &n, NULL);
    for (size_t i = 0; i < n; i++) {
        gathers = gathers || strncmp(names[i], ".new.", 5) == 0;
    }
    mem_free(names);
    if (gathers && m->act) {
        void (*act)(void) = m->act;
        m->act = NULL;
        act();
    }
}

/* Whoever copies keeps nobody out, and what gathers is not swept away by those who come by. */
static void test_copied(void **state) {
    (void)state;
    char path[100], out[300], *as = NULL;
    struct meddler m = {.act = others_work};
    struct depot d = {.dir = store, .report = on_copy, .arg = &m};
    struct os_file_info here, there;
    struct err e = {0};
    enum depot_came came;
    snprintf(path, sizeof path, "/tmp/test-depot.%llu", (unsigned long long)os_process_id());
    write_file(path, "x.gguf", "GGUF x");
    snprintf(path + strlen(path), sizeof path - strlen(path), "/x.gguf");
    bool other = !os_file_info(path, &here, NULL) && !os_file_info(store, &there, NULL) &&
                 here.device != there.device;
    if (other) {
        assert_int_equal(depot_import(&d, path, NULL, NULL, &came, &as, &e), ERR_OK);
        assert_int_equal(came, DEPOT_COPIED);
        assert_null(m.act);
    }
    mem_free(as);
    *strrchr(path, '/') = '\0';
    tree_remove(path, "", NULL);
    if (!other) {
        skip(); /* there is no second file system: it was linked */
    }
    assert_int_equal(verify(NULL, "?", NULL, out, &e), ERR_OK);
    EXPECT(out, "a.gguf:%d c.gguf:%d x.gguf:%d ", DEPOT_VERIFIED, DEPOT_VERIFIED, DEPOT_VERIFIED);
}

/* The bundle's other model comes meanwhile, by another way: it is not stored twice. */
static void bring_b(void) {
    import("b.gguf", "GGUF b");
    import("c.gguf", "GGUF c");
}

static void test_unbundled(void **state) {
    (void)state;
    static const char *const names[] = {"a", "b"};
    struct meddler m = {.act = bring_b};
    struct depot d = {.dir = store, .report = on_copy, .arg = &m};
    struct err e = {0};
    struct buf came;
    uint64_t bytes = 0;
    char to[200], out[300];
    snprintf(to, sizeof to, "%s/stick.bundle", top);
    assert_int_equal(bundle_write(&d, names, 2, to, NULL, &bytes, &e), ERR_OK);
    take_away("a");
    take_away("b");
    buf_init(&came, 1000);
    assert_int_equal(bundle_read(&d, to, NULL, &came, &e), ERR_OK);
    assert_null(m.act);
    assert_string_equal(came.p, "a.gguf\n b.gguf\n");
    buf_fini(&came);
    os_remove_file(to, NULL);
    assert_int_equal(verify(NULL, "?", NULL, out, &e), ERR_OK);
    EXPECT(out, "a.gguf:%d b.gguf:%d c.gguf:%d ", DEPOT_VERIFIED, DEPOT_VERIFIED, DEPOT_VERIFIED);
}

/* What a verb does, and whether the store has a model "f" afterwards. */
static enum err_code do_import(struct err *e) {
    struct depot d = {.dir = store};
    enum depot_came came;
    char path[200], *as = NULL;
    snprintf(path, sizeof path, "%s/f", top);
    enum err_code rc = depot_import(&d, path, NULL, NULL, &came, &as, e);
    mem_free(as);
    return rc;
}

static enum err_code do_bundle(struct err *e) {
    static const char *const names[] = {"a", "f"};
    struct depot d = {.dir = store};
    uint64_t bytes;
    char to[200];
    snprintf(to, sizeof to, "%s/f.bundle", top);
    return bundle_write(&d, names, 2, to, NULL, &bytes, e);
}

static enum err_code do_remove(struct err *e) {
    struct depot d = {.dir = store};
    return depot_remove(&d, "f", e);
}

static enum err_code do_unbundle(struct err *e) {
    struct depot d = {.dir = store};
    struct buf came;
    char from[200];
    snprintf(from, sizeof from, "%s/f.bundle", top);
    buf_init(&came, 1000);
    enum err_code rc = bundle_read(&d, from, NULL, &came, e);
    buf_fini(&came);
    return rc;
}

static enum err_code do_adopt(struct err *e) {
    char path[200];
    snprintf(path, sizeof path, "%s/f.sha256", store);
    os_remove_file(path, NULL);
    return do_import(e);
}

static enum err_code do_verify(struct err *e) {
    struct depot d = {.dir = store};
    struct buf models;
    write_file(store, "f/config.json", "spoilt");
    depot_models_init(&models);
    enum err_code rc = depot_verify(&d, NULL, &models, e);
    depot_models_fini(&models);
    return rc;
}

/* Memory runs out at every allocation in turn: it says so or succeeds, nothing is lost, and the
 * same verb succeeds at last. */
static void test_no_memory(void **state) {
    (void)state;
    static const struct {
        enum err_code (*run)(struct err *e);
        bool there; /* "f", afterwards */
    } steps[] = {{do_import, true},   {do_bundle, true}, {do_remove, false},
                 {do_unbundle, true}, {do_adopt, true},  {do_verify, false}};
    char out[300];
    struct err e = {0};
    write_file(top, "f/config.json", "{}");
    write_file(top, "f/1.bin", "same");
    write_file(top, "f/2.bin", "same");
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        size_t live = mem_live();
        enum err_code rc = ERR_NOMEM;
        for (size_t n = 1; rc; n++) {
            e = (struct err){0};
            bool torture = mem_fail_at(n);
            rc = steps[i].run(&e);
            mem_fail_at(0);
            if (rc == ERR_NOTFOUND && steps[i].run == do_remove) {
                rc = ERR_OK; /* it has gone, and what it left could not be swept up */
            }
            if (rc && (rc != ERR_NOMEM || !torture)) {
                fail_msg("step %zu, allocation %zu: %s (%s)", i, n, e.what, e.where);
            }
            assert_int_equal(mem_live(), live);
        }
        assert_int_equal(verify(NULL, "?", NULL, out, &e), ERR_OK);
        EXPECT(out, steps[i].there ? "a.gguf:%d b.gguf:%d f:%d " : "a.gguf:%d b.gguf:%d ",
               DEPOT_VERIFIED, DEPOT_VERIFIED, DEPOT_VERIFIED);
    }
    tree_remove(top, "f", NULL);
}

static int begin(void **state) {
    (void)state;
    const char *shm = os_file_exists("/dev/shm") ? "/dev/shm" : "/tmp";
    snprintf(top, sizeof top, "%s/test-depot.%llu", shm, (unsigned long long)os_process_id());
    snprintf(store, sizeof store, "%s/store", top);
    return os_mkdirs(top, NULL);
}

static int end(void **state) {
    (void)state;
    return tree_remove(top, "", NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_others_work, start),
        cmocka_unit_test_setup(test_bundle, start),
        cmocka_unit_test_setup(test_replaced, start),
        cmocka_unit_test_setup(test_removed, start),
        cmocka_unit_test_setup(test_folder, start),
        cmocka_unit_test_setup(test_rewritten, start),
        cmocka_unit_test_setup(test_copied, start),
        cmocka_unit_test_setup(test_unbundled, start),
        cmocka_unit_test_setup(test_no_memory, start),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
