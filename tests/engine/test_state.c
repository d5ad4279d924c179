/* test_state.c: sessions in files: what was saved goes on as if it had never left, and a file that
 * is cut off, changed, of another model or of another size is refused and changes nothing.
 */
#include <sys/stat.h>

#include "base/mem.h"
#include "base/os.h"
#include "engine/engine_rig.h"

static void write_file(const char *path, const char *p, size_t n) {
    unlink(path); /* a file cut to nothing and written again would be flushed to disk */
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static char *read_file(const char *path, size_t *n) {
    char *p = NULL;
    struct err e = {0};
    assert_int_equal(os_read_file(path, SIZE_MAX / 2, &p, n, &e), ERR_OK);
    return p;
}

static void save(const ign_session *s, const char *path) {
    ign_error e = {0};
    if (ign_session_save(s, path, &e) != IGN_OK) {
        fail_msg("%s", e.text);
    }
}

static void load(ign_session *s, const char *path) {
    ign_error e = {0};
    if (ign_session_load(s, path, &e) != IGN_OK) {
        fail_msg("%s", e.text);
    }
}

static ign_sampling penalized(uint64_t seed) {
    static const ign_logit_bias bias[] = {{7, 1.5f}, {9, -2}};
    ign_sampling s = rig_random(seed);
    s.repeat_penalty = 1.2f;
    s.presence_penalty = 0.3f;
    s.bias = bias;
    s.n_bias = 2;
    return s;
}

static void check_round_trip(const char *kv) {
    ign_model *m = rig_open(NULL, &(ign_model_options){.context = 512, .kv_type = kv});
    char path[64];
    struct answer a, b;
    int32_t ids[70];
    rig_path(path);
    rig_prompt(ids, 70, 3);
    for (int n = 0; n <= 70; n += 35) {
        ign_session *s = rig_session(m, 0, penalized(4));
        ign_session *t = rig_session(m, 0, rig_greedy());
        if (n) {
            rig_ask(m, s, ids, (size_t)n, 9, &a);
        }
        save(s, path);
        rig_ask(m, t, ids, 11, 30, &b); /* what it had goes */
        load(t, path);
        size_t n_s = 0, n_t = 0;
        const int32_t *of_s = ign_session_tokens(s, &n_s), *of_t = ign_session_tokens(t, &n_t);
        assert_int_equal(n_s, n_t);
        assert_memory_equal(of_s, of_t, n_s * sizeof *of_s);
        assert_null(ign_session_logits(t));
        rig_ask(m, s, ids, 3, 40, &a);
        rig_ask(m, t, ids, 3, 40, &b);
        rig_same(&a, &b);
        ign_session_free(s);
        ign_session_free(t);
    }
    /* Logits are not saved: they come back from the last token, the same. */
    ign_session *s = rig_session(m, 0, rig_greedy());
    rig_ask(m, s, ids, 64, 0, &a);
    save(s, path);
    rig_ask(m, s, NULL, 0, 20, &a);
    load(s, path);
    rig_ask(m, s, NULL, 0, 20, &b);
    rig_same(&a, &b);
    ign_session_free(s);
    ign_model_close(m);
    unlink(path);
}

static void test_round_trip(void **state) {
    (void)state;
    check_round_trip("f16");
    check_round_trip("f32");
    check_round_trip("int8");
}

/* A session loads into its own place though the pool has no room for it twice. */
static void test_load_with_a_full_pool(void **state) {
    (void)state;
    ign_model *m = rig_open(NULL, &(ign_model_options){.context = 128});
    char path[64];
    struct answer a, b;
    int32_t ids[128];
    ign_error e = {0};
    rig_path(path);
    rig_prompt(ids, 128, 3);
    ign_session *s = rig_session(m, 0, rig_greedy());
    rig_ask(m, s, ids, 100, 0, &a);
    save(s, path);
    load(s, path);
    rig_ask(m, s, NULL, 0, 5, &a);
    load(s, path);
    rig_ask(m, s, NULL, 0, 5, &b);
    rig_same(&a, &b);
    /* Pages that another holds cannot be had. */
    ign_session *t = rig_session(m, 0, rig_greedy());
    assert_int_equal(ign_session_load(t, path, &e), IGN_NOFIT);
    ign_session *small = rig_session(m, 99, rig_greedy());
    assert_int_equal(ign_session_load(small, path, &e), IGN_NOFIT);
    ign_session_free(t);
    ign_session_free(small);
    ign_session_free(s);
    ign_model_close(m);
    unlink(path);
}

static void test_another_model(void **state) {
    (void)state;
    const struct {
        struct tiny_opts t;
        ign_model_options o;
        ign_status want;
    } others[] = {
        {{.seed = 0}, {.kv_type = NULL}, IGN_OK},
        {{.seed = 1}, {.kv_type = NULL}, IGN_USAGE},
        {{.d_model = 128}, {.kv_type = NULL}, IGN_USAGE},
        {{.window = 5}, {.kv_type = NULL}, IGN_USAGE},
        {{.rope = 500000}, {.kv_type = NULL}, IGN_USAGE}, /* the same weights */
        {{.seed = 0}, {.kv_type = "f32"}, IGN_UNSUPPORTED},
        {{.seed = 0}, {.kv_type = "int8"}, IGN_UNSUPPORTED},
    };
    ign_model *m = rig_open(NULL, NULL);
    char path[64];
    struct answer a;
    int32_t ids[20];
    rig_path(path);
    rig_prompt(ids, 20, 3);
    ign_session *s = rig_session(m, 0, rig_greedy());
    rig_ask(m, s, ids, 20, 0, &a);
    save(s, path);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        ign_error e = {0};
        ign_model *other = rig_open(&others[i].t, &others[i].o);
        ign_session *t = rig_session(other, 0, rig_greedy());
        assert_int_equal(ign_session_load(t, path, &e), others[i].want);
        ign_session_free(t);
        ign_model_close(other);
    }
    ign_session_free(s);
    ign_model_close(m);
    unlink(path);
}

/* A session's file as bytes, and the session, whose every answer from here on is `expected`. */
struct victim {
    ign_model *m;
    ign_session *s;
    char path[64];
    char *p;
    size_t n;
};

static void victim_make(struct victim *v) {
    struct answer a;
    int32_t ids[20];
    rig_prompt(ids, 20, 3);
    v->m = rig_open(NULL, NULL);
    v->s = rig_session(v->m, 0, penalized(6));
    rig_path(v->path);
    rig_ask(v->m, v->s, ids, 20, 4, &a);
    save(v->s, v->path);
    v->p = read_file(v->path, &v->n);
    rig_ask(v->m, v->s, ids, 7, 4, &a); /* the session is not what the file says */
}

static void victim_refuses(struct victim *v) {
    ign_error e = {0};
    size_t n = 0;
    assert_int_not_equal(ign_session_load(v->s, v->path, &e), IGN_OK);
    assert_non_null(strstr(e.text, v->path));
    ign_session_tokens(v->s, &n);
    assert_int_equal(n, 35);
}

/* Still the session that it was: it goes on like its fork from before. */
static void victim_free(struct victim *v, ign_session *fork) {
    struct answer a, b;
    rig_ask(v->m, v->s, NULL, 0, 30, &a);
    rig_ask(v->m, fork, NULL, 0, 30, &b);
    rig_same(&a, &b);
    ign_session_free(fork);
    ign_session_free(v->s);
    ign_model_close(v->m);
    mem_free(v->p);
    unlink(v->path);
}

static void test_cut_off_and_flipped(void **state) {
    (void)state;
    struct victim v;
    ign_session *fork = NULL;
    ign_error e = {0};
    victim_make(&v);
    assert_int_equal(ign_session_fork(v.s, &fork, &e), IGN_OK);
    size_t head = v.n < 1200 ? v.n : 1200; /* all of head, tokens and sampler; then pages */
    for (size_t n = 0; n < v.n; n += n < head ? 1 : 997) {
        write_file(v.path, v.p, n);
        victim_refuses(&v);
    }
    char *longer = calloc(1, v.n + 8);
    memcpy(longer, v.p, v.n);
    for (size_t more = 1; more <= 8; more++) {
        write_file(v.path, longer, v.n + more);
        victim_refuses(&v);
    }
    free(longer);
    for (size_t i = 0; i < v.n; i += i < head || i + 16 > v.n ? 1 : 331) {
        v.p[i] = (char)(v.p[i] ^ 1 << i % 8);
        write_file(v.path, v.p, v.n);
        victim_refuses(&v);
        v.p[i] = (char)(v.p[i] ^ 1 << i % 8);
    }
    victim_free(&v, fork);
}

/* The checksum of state.c, so that a changed file gets past it: what a forger would do. */
static void forge(struct victim *v) {
    uint64_t h = 0, w, k = 0x9e3779b97f4a7c15u;
    size_t n = v->n - 8, i = 0;
    h = (h ^ n) * k;
    h ^= h >> 29;
    for (; i + 8 <= n; i += 8) {
        memcpy(&w, v->p + i, 8);
        h = (h ^ w) * k;
        h ^= h >> 29;
    }
    w = 0;
    memcpy(&w, v->p + i, n - i);
    h = (h ^ w) * k;
    h ^= h >> 29;
    memcpy(v->p + n, &h, 8);
    write_file(v->path, v->p, v->n);
}

/* Every byte of head, tokens and sampler changed behind a right checksum: refused or loaded, and
 * what was loaded can be computed with. */
static void test_forged(void **state) {
    (void)state;
    struct victim v;
    victim_make(&v);
    forge(&v);
    load(v.s, v.path); /* the forger knows the checksum */
    size_t head = v.n < 500 ? v.n : 500;
    int loaded = 0;
    for (size_t i = 0; i < head; i++) {
        const int changes[] = {1, 0x80, 0xff};
        for (int k = 0; k < 3; k++) {
            struct answer a;
            ign_error e = {0};
            v.p[i] = (char)(v.p[i] ^ changes[k]);
            forge(&v);
            if (ign_session_load(v.s, v.path, &e) == IGN_OK) {
                loaded++;
                rig_ask(v.m, v.s, NULL, 0, 2, &a);
            }
            v.p[i] = (char)(v.p[i] ^ changes[k]);
        }
    }
    assert_true(loaded > 0); /* a token is as good as another */
    ign_session_free(v.s);
    ign_model_close(v.m);
    mem_free(v.p);
    unlink(v.path);
}

static void test_bad_paths(void **state) {
    (void)state;
    ign_model *m = rig_open(NULL, NULL);
    ign_session *s = rig_session(m, 0, rig_greedy());
    struct answer a;
    const int32_t start = TINY_START;
    ign_error e = {0};
    rig_ask(m, s, &start, 1, 3, &a);
    assert_int_equal(ign_session_load(s, "/tmp", &e), IGN_FORMAT);
    assert_int_equal(ign_session_load(s, "/nowhere/s", &e), IGN_NOTFOUND);
    assert_int_equal(ign_session_load(s, "/dev/zero", &e), IGN_FORMAT);
    assert_int_not_equal(ign_session_save(s, "/nowhere/s", &e), IGN_OK);
    rig_ask(m, s, NULL, 0, 3, &a);
    assert_int_equal(a.n, 3);
    ign_session_free(s);
    ign_model_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_load_with_a_full_pool),
        cmocka_unit_test(test_another_model), cmocka_unit_test(test_cut_off_and_flipped),
        cmocka_unit_test(test_forged),        cmocka_unit_test(test_bad_paths),
    };
    rig_device = "plain";
    int failed = cmocka_run_group_tests_name("plain", tests, NULL, NULL);
    rig_device = "cpu";
    return failed + cmocka_run_group_tests_name("cpu", tests, NULL, NULL);
}
