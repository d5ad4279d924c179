/* test_life.c: a thousand models opened, asked and closed in one process leave nothing behind.
 *
 * After a hundred the process has reached its size; the other nine hundred may add no descriptor
 * and no thread, nothing to what malloc has given out (64 KiB: less than 80 bytes each, for what it
 * keeps in its own lists), and to the resident size no page each (1 MiB: malloc's lists settle
 * slowly, by 450 KiB here). Opens that fail are among them. Under a sanitizer, which keeps freed
 * memory for a while, memory is counted by base/mem.h alone, and rounds are fewer.
 */
#include "engine/engine_rig.h"

#include <dirent.h>
#include <malloc.h>
#include <stdbool.h>

#include "base/mem.h"
#include "base/os.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

enum { WARM = 100, ROUNDS = SANITIZED ? 200 : 1000, GROWTH_MAX = 1 << 20, HEAP_MAX = 64 << 10 };

static int entries(const char *folder) {
    int n = 0;
    DIR *d = opendir(folder);
    assert_non_null(d);
    while (readdir(d)) {
        n++;
    }
    closedir(d);
    return n;
}

struct state {
    uint64_t resident, heap;
    int descriptors, threads;
    long live;
};

static struct state state_now(void) {
    return (struct state){os_memory_resident(), mallinfo2().uordblks, entries("/proc/self/fd"),
                          entries("/proc/self/task"), (long)mem_live()};
}

static ign_model *must_open(const char *path, int round) {
    static const char *const device[] = {"cpu", "plain"};
    ign_model_options o = {.device = device[round % 2],
                           .threads = 1 + round % 3,
                           .no_mmap = round % 4 < 2,
                           .duty = round % 4 == 1 ? 90 : 0};
    ign_model *m = NULL;
    ign_error e = {0};
    if (ign_model_open(&m, path, &o, &e) != IGN_OK) {
        fail_msg("round %d: %s", round, e.text);
    }
    return m;
}

static void one_life(const char *path, const char *broken, int round) {
    ign_model *m = must_open(path, round), *none = NULL;
    ign_session *s = rig_session(m, 0, rig_random((uint64_t)round));
    static struct answer a;
    int32_t *ids = NULL;
    size_t n = 0;
    assert_int_equal(ign_encode(m, "hello", 5, false, -1, &ids, &n, NULL), IGN_OK);
    ign_request r = rig_request(ids, n, 6, &a);
    rig_submit(s, &r);
    while (rig_step(m) > 0) {
    }
    assert_int_equal(a.n, 6);
    ign_free(ids);
    ign_session_free(s);
    ign_model_close(m);
    assert_int_not_equal(ign_model_open(&none, broken, NULL, NULL), IGN_OK);
    assert_null(none);
}

static void test_thousand(void **unused) {
    (void)unused;
    char path[64], broken[64];
    struct state before = {0}, after;
    rig_path(path);
    rig_path(broken);
    assert_true(tiny_model_write(path, NULL) && tiny_model_write(broken, NULL));
    assert_int_equal(truncate(broken, 100000), 0);
    for (int i = 1; i <= ROUNDS; i++) {
        one_life(path, broken, i);
        if (i == WARM) {
            before = state_now();
        }
    }
    after = state_now();
    unlink(path);
    unlink(broken);
    print_message("heap %llu -> %llu KiB, resident %llu -> %llu KiB, descriptors %d -> %d, threads "
                  "%d -> %d\n",
                  (unsigned long long)before.heap / 1024, (unsigned long long)after.heap / 1024,
                  (unsigned long long)before.resident / 1024,
                  (unsigned long long)after.resident / 1024, before.descriptors, after.descriptors,
                  before.threads, after.threads);
    assert_int_equal(after.descriptors, before.descriptors);
    assert_int_equal(after.threads, before.threads);
    assert_int_equal(after.live, before.live);
    assert_true(SANITIZED || after.heap <= before.heap + HEAP_MAX);
    assert_true(SANITIZED || after.resident <= before.resident + GROWTH_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_thousand)};
    return cmocka_run_group_tests_name("life", tests, NULL, NULL);
}
