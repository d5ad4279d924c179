/* test_tok_encode.c: texts to ids and back, on two small vocabularies.
 *
 * Golden ids come from the tokenizers library. Further claims: who wrote a byte decides whether it
 * can be a control piece; BOS never twice; streaming equals whole decoding; time stays small for
 * texts made to be slow; hostile ids, texts and bounds are errors (C06 to C10).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "text/tok_small.h"

/* A sanitizer makes everything slower; the claim is for the program as it is shipped. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MAX_SECONDS 30.0
#elif !defined(NDEBUG)
#define MAX_SECONDS 8.0
#else
#define MAX_SECONDS 1.0
#endif

struct fixture {
    struct small small;
    struct vocab *v;
    struct tokenizer *t;
};

static void fixture_open(struct fixture *f, enum vocab_model model) {
    struct err e = {0};
    small_make(&f->small, model);
    assert_int_equal(vocab_create(&f->v, &f->small.spec, &e), ERR_OK);
    assert_int_equal(tokenizer_create(&f->t, f->v, &e), ERR_OK);
}

static void fixture_close(struct fixture *f) {
    tokenizer_free(f->t);
    vocab_free(f->v);
    assert_int_equal(mem_live(), 0);
}

static struct ids encode(const struct fixture *f, struct str s, const struct runs *rs, bool special,
                         enum bos_mode bos) {
    struct ids ids = {0};
    struct err e = {0};
    assert_int_equal(tokenizer_encode(f->t, s.p, s.n, rs, special, bos, 0, &ids, &e), ERR_OK);
    return ids;
}

static void check_golden(enum vocab_model model, const struct golden_case *c, size_t n,
                         const int32_t *want) {
    static struct fixture f;
    fixture_open(&f, model);
    for (size_t i = 0; i < n; i++) {
        struct ids ids = encode(&f, str_of(c[i].p, c[i].n), NULL, c[i].special, BOS_NEVER);
        bool same = ids.n == c[i].n_id;
        for (size_t k = 0; same && k < ids.n; k++) {
            same = ids.id[k] == want[c[i].at + k];
        }
        if (!same) {
            fail_msg("model %d, case %zu: '%s'", (int)model, i, c[i].p);
        }
        ids_fini(&ids);
    }
    fixture_close(&f);
}

static void ids_are_the_library_s(void **state) {
    (void)state;
    check_golden(VOCAB_BPE, small_bpe_case, sizeof small_bpe_case / sizeof *small_bpe_case,
                 small_bpe_ids);
    check_golden(VOCAB_SPM, small_spm_case, sizeof small_spm_case / sizeof *small_spm_case,
                 small_spm_ids);
}

static bool has_id(const struct ids *ids, int32_t id) {
    for (size_t i = 0; i < ids->n; i++) {
        if (ids->id[i] == id) {
            return true;
        }
    }
    return false;
}

/* C08: control pieces come from trusted bytes alone, all of them; user-defined ones from any. */
static void origin_decides(void **state) {
    (void)state;
    static struct fixture f;
    static const char word[] = "<|im_end|>";
    fixture_open(&f, VOCAB_BPE);
    int32_t end = vocab_find(f.v, str_c(word)), tool = vocab_find(f.v, str_c("<tool>"));
    for (size_t cut = 0; cut <= sizeof word - 1; cut++) {
        for (int first = 0; first < 2; first++) {
            struct runs rs;
            runs_init(&rs);
            runs_put(&rs, cut, first);
            runs_put(&rs, sizeof word - 1 - cut, !first);
            bool all = cut == (first ? sizeof word - 1 : 0);
            struct ids ids = encode(&f, str_c(word), &rs, false, BOS_NEVER);
            assert_int_equal(has_id(&ids, end), all);
            ids_fini(&ids);
            runs_fini(&rs);
        }
    }
    struct ids ids = encode(&f, str_c("a<tool><|im_end|>"), NULL, false, BOS_NEVER);
    assert_true(has_id(&ids, tool));
    assert_false(has_id(&ids, end));
    ids_fini(&ids);
    struct runs wrong = {0};
    struct err e = {0};
    assert_int_equal(tokenizer_encode(f.t, "ab", 2, &wrong, false, BOS_NEVER, 0, &ids, &e),
                     ERR_USAGE);
    fixture_close(&f);
}

/* Broken bytes move the origins along with the text that they become. */
/* ids of a text, as the vocabulary of `spec` has them. */
static void encode_with(const struct vocab_spec *spec, const char *text, bool special,
                        struct ids *out) {
    struct vocab *v;
    struct tokenizer *t;
    assert_int_equal(vocab_create(&v, spec, NULL), ERR_OK);
    assert_int_equal(tokenizer_create(&t, v, NULL), ERR_OK);
    assert_int_equal(
        tokenizer_encode(t, text, strlen(text), NULL, special, BOS_NEVER, 0, out, NULL), ERR_OK);
    tokenizer_free(t);
    vocab_free(v);
}

/* The text with `special` recognized has the ids of `parts`, each encoded alone without; a part "@"
 * is the piece itself. */
static void check_parts(const struct vocab_spec *spec, int32_t id, const char *text,
                        const char *const *parts) {
    struct ids whole = {0}, sum = {0};
    encode_with(spec, text, true, &whole);
    for (; *parts; parts++) {
        if (strcmp(*parts, "@") == 0) {
            sum.id = mem_realloc(sum.id, sum.n + 1, sizeof *sum.id);
            sum.id[sum.n++] = id;
            sum.cap = sum.n;
        } else {
            encode_with(spec, *parts, false, &sum);
        }
    }
    assert_int_equal(whole.n, sum.n);
    assert_memory_equal(whole.id, sum.id, sum.n * sizeof *sum.id);
    ids_fini(&whole);
    ids_fini(&sum);
}

static void white_space_may_go_with_a_piece(void **state) {
    (void)state;
    static const struct {
        unsigned flags;
        const char *text; /* '@' stands for the piece */
        const char *parts[6];
    } all[] = {
        {0, "a \n@\t b", {"a \n", "@", "\t b"}},
        {PIECE_LSTRIP, "a \n@\t b", {"a", "@", "\t b"}},
        {PIECE_RSTRIP, "a \n@\t b", {"a \n", "@", "b"}},
        {PIECE_LSTRIP | PIECE_RSTRIP, " \xC2\xA0@\xE3\x80\x80 ", {"@"}},
        {PIECE_LSTRIP, "@  @ @", {"@", "@", "@"}},
        {PIECE_RSTRIP, "@  @ x", {"@", "@", "x"}},
        {PIECE_WORD, "@ @.", {"@", " ", "@", "."}},
        {PIECE_WORD, "(@)", {"(", "@", ")"}},
        {PIECE_WORD | PIECE_RSTRIP, "a @ b", {"a ", "@", "b"}},
    };
    static const char *const words[] = {"x", "9", "_", "\xC3\xA9", "\xCC\x81", "\xE4\xB8\x96"};
    struct small small;
    small_make(&small, VOCAB_BPE);
    int32_t id = 0;
    while (small.kind[id] != PIECE_CONTROL) {
        id++;
    }
    uint8_t *flags = mem_zalloc(small.spec.n_vocab, 1);
    small.spec.flags = flags;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char text[256] = "";
        flags[id] = (uint8_t)all[i].flags;
        for (const char *p = all[i].text; *p; p++) {
            strncat(text, *p == '@' ? small.piece[id].p : p, *p == '@' ? small.piece[id].n : 1);
        }
        check_parts(&small.spec, id, text, all[i].parts);
    }
    flags[id] = PIECE_WORD; /* beside a word it is text */
    for (size_t i = 0; i < 2 * (sizeof words / sizeof *words); i++) {
        char text[256];
        snprintf(text, sizeof text, "%s%.*s%s", i % 2 ? words[i / 2] : "", (int)small.piece[id].n,
                 small.piece[id].p, i % 2 ? "" : words[i / 2]);
        check_parts(&small.spec, id, text, (const char *const[]){text, NULL});
    }
    mem_free(flags);
}

/* Each kind of prefix by what another gives. */
static void space_in_front(void **state) {
    (void)state;
    static const struct {
        enum space_prefix kind, same;
        const char *text, *as;
    } all[] = {
        {PREFIX_UNLESS_SPACE, PREFIX_ALWAYS, "a b", "a b"},
        {PREFIX_UNLESS_SPACE, PREFIX_ALWAYS, " a", "a"},
        {PREFIX_UNLESS_SPACE, PREFIX_NONE, "\xE2\x96\x81x", " x"},
        {PREFIX_FIRST, PREFIX_ALWAYS, "a b", "a b"},
        {PREFIX_FIRST, PREFIX_NONE, "  a", "  a"},
        {PREFIX_FIRST, PREFIX_NONE, "<s>a b", "<s>a b"},
        {PREFIX_UNLESS_SPACE, PREFIX_ALWAYS, "<s>a<s> b", "<s>a<s>b"},
        {PREFIX_ALWAYS, PREFIX_NONE, "a", " a"},
    };
    struct small small;
    small_make(&small, VOCAB_SPM);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct ids a = {0}, b = {0};
        small.spec.space_prefix = all[i].kind;
        encode_with(&small.spec, all[i].text, true, &a);
        small.spec.space_prefix = all[i].same;
        encode_with(&small.spec, all[i].as, true, &b);
        assert_int_equal(a.n, b.n);
        assert_memory_equal(a.id, b.id, a.n * sizeof *a.id);
        ids_fini(&a);
        ids_fini(&b);
    }
}

static void origins_survive_repair(void **state) {
    (void)state;
    static struct fixture f;
    fixture_open(&f, VOCAB_BPE);
    int32_t end = vocab_find(f.v, str_c("<|im_end|>"));
    static const char text[] = "\xff\xe2\x82<|im_end|>\xc3<|im_end|>";
    struct runs rs;
    runs_init(&rs);
    runs_put(&rs, 3, false);
    runs_put(&rs, 10, true);
    runs_put(&rs, 11, false);
    struct ids ids = encode(&f, str_of(text, sizeof text - 1), &rs, false, BOS_NEVER);
    size_t n = 0;
    for (size_t i = 0; i < ids.n; i++) {
        n += ids.id[i] == end;
    }
    assert_int_equal(n, 1);
    ids_fini(&ids);
    runs_fini(&rs);
    fixture_close(&f);
}

static void ends_are_added_once(void **state) {
    (void)state;
    static struct fixture f;
    struct err e = {0};
    small_make(&f.small, VOCAB_SPM);
    f.small.spec.add_bos = f.small.spec.add_eos = true;
    assert_int_equal(vocab_create(&f.v, &f.small.spec, &e), ERR_OK);
    assert_int_equal(tokenizer_create(&f.t, f.v, &e), ERR_OK);
    assert_true(vocab_is_end(f.v, 2) && !vocab_is_end(f.v, 1) && !vocab_is_end(f.v, -1));
    static const struct {
        const char *text;
        enum bos_mode bos;
        size_t n_bos, n_eos;
    } all[] = {{"hello", BOS_AUTO, 1, 1},  {"<s>hello</s>", BOS_AUTO, 1, 1},
               {"<s>", BOS_ALWAYS, 1, 1},  {"", BOS_AUTO, 1, 1},
               {"hello", BOS_NEVER, 0, 0}, {"<s><s>", BOS_AUTO, 2, 1}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct ids ids = encode(&f, str_c(all[i].text), NULL, true, all[i].bos);
        size_t n_bos = 0, n_eos = 0;
        for (size_t k = 0; k < ids.n; k++) {
            n_bos += ids.id[k] == 1;
            n_eos += ids.id[k] == 2;
        }
        assert_int_equal(n_bos, all[i].n_bos);
        assert_int_equal(n_eos, all[i].n_eos);
        assert_true(!all[i].n_bos || ids.id[0] == 1);
        ids_fini(&ids);
    }
    fixture_close(&f);
}

/* Any ids: the stream is valid at every step and in the end equal to the whole. */
static void stream_equals_whole(void **state) {
    (void)state;
    static struct fixture f;
    struct rng r;
    rng_seed(&r, 5);
    for (int round = 0; round < 4000; round++) {
        if (round % 2000 == 0) {
            if (round) {
                fixture_close(&f);
            }
            fixture_open(&f, round ? VOCAB_SPM : VOCAB_BPE);
        }
        int32_t id[24];
        struct buf whole, parts;
        struct detok d;
        struct err e = {0};
        size_t n = rng_next(&r) % 24;
        bool special = rng_next(&r) & 1;
        buf_init(&whole, SIZE_MAX);
        buf_init(&parts, SIZE_MAX);
        detok_init(&d, f.t, special);
        for (size_t i = 0; i < n; i++) {
            id[i] = (int32_t)(rng_next(&r) % vocab_size(f.v));
            assert_int_equal(detok_put(&d, id[i], &parts, &e), ERR_OK);
            assert_true(utf8_valid(parts.p, parts.len));
        }
        detok_end(&d, &parts);
        assert_int_equal(tokenizer_decode(f.t, id, n, special, &whole, &e), ERR_OK);
        assert_true(str_eq(str_of(whole.p, whole.len), str_of(parts.p, parts.len)));
        buf_fini(&whole);
        buf_fini(&parts);
    }
    fixture_close(&f);
}

static void round_trip(void **state) {
    (void)state;
    for (int model = 0; model < 2; model++) {
        static struct fixture f;
        struct err e = {0};
        fixture_open(&f, model ? VOCAB_SPM : VOCAB_BPE);
        struct str text = str_of(golden_mixed, sizeof golden_mixed - 1);
        struct ids ids = encode(&f, text, NULL, false, BOS_NEVER);
        struct buf out;
        buf_init(&out, SIZE_MAX);
        assert_int_equal(tokenizer_decode(f.t, ids.id, ids.n, false, &out, &e), ERR_OK);
        assert_true(str_eq(str_of(out.p, out.len), text));
        buf_fini(&out);
        ids_fini(&ids);
        fixture_close(&f);
    }
}

/* C10, and the first space: only the first. */
static void decoding_bounds(void **state) {
    (void)state;
    static struct fixture f;
    fixture_open(&f, VOCAB_SPM);
    const int32_t bad[] = {-1, (int32_t)vocab_size(f.v), INT32_MAX, INT32_MIN};
    struct buf out;
    struct detok d;
    buf_init(&out, SIZE_MAX);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e = {0};
        assert_int_equal(tokenizer_decode(f.t, &bad[i], 1, false, &out, &e), ERR_RANGE);
        err_clear(&e);
        assert_int_equal(tokenizer_piece(f.t, bad[i], false, &out, &e), ERR_RANGE);
    }
    assert_int_equal(out.len, 0);
    struct err e = {0};
    struct ids ids = encode(&f, str_c(" hello"), NULL, false, BOS_NEVER);
    assert_int_equal(tokenizer_decode(f.t, ids.id, ids.n, false, &out, &e), ERR_OK);
    assert_string_equal(out.p, " hello");
    buf_reset(&out);
    detok_init_continue(&d, f.t, false);
    for (size_t i = 0; i < ids.n; i++) {
        assert_int_equal(detok_put(&d, ids.id[i], &out, &e), ERR_OK);
    }
    assert_string_equal(out.p, "  hello");
    ids_fini(&ids);
    buf_fini(&out);
    fixture_close(&f);
}

/* C07 */
static void odd_texts(void **state) {
    (void)state;
    static const struct {
        const char *p;
        size_t n;
    } odd[] = {{"", 0},
               {"\0\0\0", 3},
               {"\xED\xA0\x80", 3},
               {"\xC0\x80", 2},
               {"\xF4\x90\x80\x80", 4},
               {"\x80", 1},
               {"\xF0\x9F\x98", 3},
               {"<s></s><unk>", 12}};
    for (int model = 0; model < 2; model++) {
        static struct fixture f;
        fixture_open(&f, model ? VOCAB_SPM : VOCAB_BPE);
        for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
            struct err e = {0};
            struct buf want, got;
            buf_init(&want, SIZE_MAX);
            buf_init(&got, SIZE_MAX);
            utf8_clean(&want, odd[i].p, odd[i].n);
            struct ids ids = encode(&f, str_of(odd[i].p, odd[i].n), NULL, false, BOS_NEVER);
            assert_int_equal(tokenizer_decode(f.t, ids.id, ids.n, false, &got, &e), ERR_OK);
            assert_true(str_eq(str_of(want.p, want.len), str_of(got.p, got.len)));
            buf_fini(&want);
            buf_fini(&got);
            ids_fini(&ids);
        }
        fixture_close(&f);
    }
}

/* C09 */
static void bounds_on_ids(void **state) {
    (void)state;
    static struct fixture f;
    struct ids ids = {0};
    struct err e = {0};
    fixture_open(&f, VOCAB_BPE);
    assert_int_equal(tokenizer_encode(f.t, "1234", 4, NULL, false, BOS_NEVER, 4, &ids, &e), ERR_OK);
    assert_int_equal(ids.n, 4);
    assert_int_equal(tokenizer_encode(f.t, "12345", 5, NULL, false, BOS_NEVER, 4, &ids, &e),
                     ERR_LIMIT);
    assert_int_equal(ids.n, 4); /* as it was */
    err_clear(&e);
    assert_int_equal(
        tokenizer_encode(f.t, "", (size_t)1 << 31, NULL, false, BOS_NEVER, 0, &ids, &e), ERR_LIMIT);
    ids_fini(&ids);
    fixture_close(&f);
}

/* C06: a mebibyte each, in processor time, so that busy neighbours do not count. */
static void slow_texts_are_fast(void **state) {
    (void)state;
    static const char *const unit[] = {"A",
                                       "a",
                                       " ",
                                       ".",
                                       "\xE4\xB8\x96",
                                       "\xCC\x81",
                                       "\xCC\x81\xCC\xA3",
                                       "\n",
                                       "ab",
                                       "\xF0\x9F\x98\x80",
                                       "\xF0\x9F\x91\xA9\xE2\x80\x8D",
                                       "a\xCC\x81",
                                       "<tool",
                                       " 1",
                                       "'"};
    static const char *const pre[] = {"smollm",      "qwen2",        "llama-bpe",
                                      "falcon",      "deepseek-llm", "deepseek-coder",
                                      "deepseek-v3", "default",      ""};
    static char text[1 << 20];
    for (size_t p = 0; p < sizeof pre / sizeof *pre; p++) {
        static struct fixture f;
        struct err e = {0};
        small_make(&f.small, *pre[p] ? VOCAB_BPE : VOCAB_SPM);
        f.small.spec.pre = str_c(pre[p]);
        assert_int_equal(vocab_create(&f.v, &f.small.spec, &e), ERR_OK);
        assert_int_equal(tokenizer_create(&f.t, f.v, &e), ERR_OK);
        for (size_t i = 0; i < sizeof unit / sizeof *unit; i++) {
            size_t k = strlen(unit[i]), n = 0;
            for (; n + k <= sizeof text; n += k) {
                memcpy(text + n, unit[i], k);
            }
            clock_t start = clock();
            struct ids ids = encode(&f, str_of(text, n), NULL, false, BOS_NEVER);
            double took = (double)(clock() - start) / CLOCKS_PER_SEC;
            ids_fini(&ids);
            if (took > MAX_SECONDS) {
                fail_msg("%s, '%s': %.2f s", pre[p], unit[i], took);
            }
        }
        fixture_close(&f);
    }
}

/* Every allocation fails in turn: an error each time, nothing left behind, and then success. */
static void memory_may_end(void **state) {
    (void)state;
    static struct small small;
    if (!mem_fail_at(0)) {
        skip();
    }
    for (int model = 0; model < 2; model++) {
        enum err_code c = ERR_NOMEM;
        small_make(&small, model ? VOCAB_SPM : VOCAB_BPE);
        small.spec.pre = str_c("command-r");
        for (size_t n = 1; c; n++) {
            struct vocab *v = NULL;
            struct tokenizer *t = NULL;
            struct ids ids = {0};
            struct err e = {0};
            static const char text[] =
                "\xff<s>e\xCC\x81 hello <tool> aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
            mem_fail_at(n);
            c = vocab_create(&v, &small.spec, &e);
            c = c ? c : tokenizer_create(&t, v, &e);
            if (!c) {
                c = tokenizer_encode(t, text, sizeof text - 1, NULL, true, BOS_AUTO, 0, &ids, &e);
            }
            mem_fail_at(0);
            assert_true(c == ERR_OK || (c == ERR_NOMEM && e.what[0]));
            ids_fini(&ids);
            tokenizer_free(t);
            vocab_free(v);
            assert_int_equal(mem_live(), 0);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_the_library_s),
        cmocka_unit_test(origin_decides),
        cmocka_unit_test(white_space_may_go_with_a_piece),
        cmocka_unit_test(space_in_front),
        cmocka_unit_test(origins_survive_repair),
        cmocka_unit_test(ends_are_added_once),
        cmocka_unit_test(stream_equals_whole),
        cmocka_unit_test(round_trip),
        cmocka_unit_test(decoding_bounds),
        cmocka_unit_test(odd_texts),
        cmocka_unit_test(bounds_on_ids),
        cmocka_unit_test(slow_texts_are_fast),
        cmocka_unit_test(memory_may_end),
    };
    return cmocka_run_group_tests_name("encode", tests, NULL, NULL);
}
