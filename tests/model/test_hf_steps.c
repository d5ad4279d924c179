/* test_hf_steps.c: the ids of every step that a tokenizer.json or a SentencePiece model may have.
 *
 * Reads what tools/check_tokenizer_steps.py --golden has written: vocabularies, then cases with the
 * ids that the libraries gave for a few texts. Each goes the way of a folder: pieces, keys,
 * vocabulary, tokenizer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/os.h"
#include "model/hf.h"
#include "model/vocab_load.h"
#include "text/tokenizer.h"

enum { LINES = 512, FILE_MAX = 4 << 20 };

static struct json *line[LINES];
static size_t n_line;

static int setup(void **state) {
    char *text, *at;
    size_t n;
    struct err e = {0};
    if (os_read_file(*state, FILE_MAX, &text, &n, &e)) {
        fail_msg("%s", e.what);
    }
    for (at = text; at < text + n && n_line < LINES; n_line++) {
        char *end = memchr(at, '\n', (size_t)(text + n - at));
        assert_non_null(end);
        assert_int_equal(json_parse(at, (size_t)(end - at), &line[n_line], &e), ERR_OK);
        at = end + 1;
    }
    mem_free(text);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    for (size_t i = 0; i < n_line; i++) {
        json_free(line[i]);
    }
    return 0;
}

/* The whole file of a case: its head, and the model of its vocabulary. */
static void join(const struct json *c, struct buf *out) {
    struct str name = json_str(json_find(c, "vocabulary")), head = json_str(json_find(c, "head"));
    for (size_t i = 0; i < n_line; i++) {
        const struct json *named = json_find(line[i], "name");
        if (named && str_eq(json_str(named), name)) {
            struct str model = json_str(json_find(line[i], "model"));
            buf_put(out, head.p, head.n - 1);
            buf_puts(out, ",\"model\":");
            buf_put(out, model.p, model.n);
            buf_putc(out, '}');
        }
    }
    assert_true(out->len > 0 && !out->failed);
}

static void unhex(struct str s, struct buf *out) {
    for (size_t i = 0; i + 1 < s.n; i += 2) {
        char two[3] = {s.p[i], s.p[i + 1], '\0'};
        buf_putc(out, (char)strtoul(two, NULL, 16));
    }
}

/* Pieces, keys, vocabulary; *g holds what *v came from. */
static void open_case(const struct json *c, struct gguf **g, struct vocab **v) {
    struct hf_vocab pieces;
    struct gguf_build b;
    struct buf file;
    struct err e = {0};
    const struct json *spm = json_find(c, "sentencepiece");
    buf_init(&file, FILE_MAX);
    if (spm) {
        unhex(json_str(spm), &file);
    } else {
        join(c, &file);
    }
    hf_vocab_init(&pieces, file.len);
    enum err_code rc = spm ? hf_tokenizer_model(&pieces, file.p, file.len, &e)
                           : hf_tokenizer_json(&pieces, file.p, file.len, &e);
    if (rc) {
        fail_msg("%s", e.what);
    }
    gguf_build_begin(&b, "case", &e);
    assert_int_equal(hf_vocab_put(&b, &pieces, 0, &e), ERR_OK);
    assert_int_equal(gguf_build_end(&b, g), ERR_OK);
    hf_vocab_fini(&pieces);
    buf_fini(&file);
    if (vocab_load(v, *g, &e)) {
        fail_msg("%s", e.what);
    }
}

static void compare(const struct tokenizer *t, const struct json *c, size_t i, struct str text) {
    const struct json *want = json_at(json_find(c, "ids"), i);
    bool special =
        !json_find(c, "sentencepiece"); /* which never takes a control piece from a text */
    struct ids got = {0};
    assert_int_equal(tokenizer_encode(t, text.p, text.n, NULL, special, BOS_NEVER, 0, &got, NULL),
                     ERR_OK);
    bool same = got.n == json_count(want);
    for (size_t k = 0; same && k < got.n; k++) {
        same = got.id[k] == json_int(json_at(want, k));
    }
    if (!same) {
        struct str head = json_str(json_find(c, "head"));
        fail_msg("text %zu ('%.*s'): %zu ids, not %zu, or others: %.*s", i, (int)text.n, text.p,
                 got.n, json_count(want), (int)head.n, head.p);
    }
    ids_fini(&got);
}

static void same_ids(void **state) {
    (void)state;
    const struct json *texts = json_find(line[0], "texts");
    size_t n_case = 0;
    for (size_t i = 1; i < n_line; i++) {
        struct gguf *g;
        struct vocab *v;
        struct tokenizer *t;
        if (!json_find(line[i], "ids")) {
            continue;
        }
        open_case(line[i], &g, &v);
        assert_int_equal(tokenizer_create(&t, v, NULL), ERR_OK);
        for (size_t k = 0; k < json_count(texts); k++) {
            compare(t, line[i], k, json_str(json_at(texts, k)));
        }
        tokenizer_free(t);
        vocab_free(v);
        gguf_close(g);
        n_case++;
    }
    assert_true(n_case > 100);
}

/* Each allocation fails once: the call says so, and nothing is left. */
static void no_memory(void **state) {
    (void)state;
    const struct json *c = line[n_line - 1];
    struct str text = str_c("<A>the aa fox\xC3\xA9 it");
    for (size_t n = 1;; n++) {
        struct gguf *g;
        struct vocab *v;
        struct tokenizer *t = NULL;
        struct ids ids = {0};
        open_case(c, &g, &v);
        size_t live = mem_live();
        if (!mem_fail_at(n)) {
            vocab_free(v);
            gguf_close(g);
            break; /* this build cannot */
        }
        enum err_code rc = tokenizer_create(&t, v, NULL);
        rc = rc ? rc : tokenizer_encode(t, text.p, text.n, NULL, true, BOS_NEVER, 0, &ids, NULL);
        mem_fail_at(0);
        ids_fini(&ids);
        tokenizer_free(t);
        assert_int_equal(mem_live(), live);
        vocab_free(v);
        gguf_close(g);
        if (!rc) {
            break;
        }
        assert_int_equal(rc, ERR_NOMEM);
    }
}

/* What a user wrote never becomes a control piece, though it is looked for in the normalized text;
 * the template's own bytes do. */
static void trust(void **state) {
    (void)state;
    static const char file[] =
        "{\"added_tokens\":[{\"id\":2,\"content\":\"<S>\",\"special\":true,\"normalized\":true}],"
        "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Lowercase\"},"
        "{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":true}]},"
        "\"pre_tokenizer\":{\"type\":\"Whitespace\"},"
        "\"model\":{\"type\":\"BPE\",\"unk_token\":\"u\",\"vocab\":{\"u\":0,\"a\":1,\"<S>\":2},"
        "\"merges\":[]}}";
    static const struct {
        const char *text;
        size_t trusted; /* bytes at the beginning */
        size_t n;       /* how often the control piece is found */
    } all[] = {{" <s>A<S> ", 10, 2}, {" <s>A<S> ", 5, 1}, {" <s>A<S> ", 3, 0}, {" <s>A<S> ", 0, 0}};
    struct hf_vocab pieces;
    struct gguf_build b;
    struct gguf *g;
    struct vocab *v;
    struct tokenizer *t;
    struct err e = {0};
    hf_vocab_init(&pieces, sizeof file);
    if (hf_tokenizer_json(&pieces, file, sizeof file - 1, &e)) {
        fail_msg("%s", e.what);
    }
    gguf_build_begin(&b, "case", &e);
    assert_int_equal(hf_vocab_put(&b, &pieces, 0, &e), ERR_OK);
    assert_int_equal(gguf_build_end(&b, &g), ERR_OK);
    assert_int_equal(vocab_load(&v, g, &e), ERR_OK);
    assert_int_equal(tokenizer_create(&t, v, &e), ERR_OK);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct ids ids = {0};
        struct runs rs;
        size_t n = strlen(all[i].text), found = 0;
        size_t trusted = all[i].trusted < n ? all[i].trusted : n;
        runs_init(&rs);
        runs_put(&rs, trusted, true);
        runs_put(&rs, n - trusted, false);
        assert_int_equal(tokenizer_encode(t, all[i].text, n, &rs, false, BOS_NEVER, 0, &ids, &e),
                         ERR_OK);
        for (size_t k = 0; k < ids.n; k++) {
            found += ids.id[k] == 2;
        }
        assert_int_equal(found, all[i].n);
        runs_fini(&rs);
        ids_fini(&ids);
    }
    tokenizer_free(t);
    vocab_free(v);
    gguf_close(g);
    hf_vocab_fini(&pieces);
}

int main(int argc, char **argv) {
    static char path[] = "tests/model/golden/tokenizer_steps.jsonl";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_ids),
        cmocka_unit_test(no_memory),
        cmocka_unit_test(trust),
    };
    void *state = argc > 1 ? argv[1] : path;
    setup(&state);
    int failed = cmocka_run_group_tests_name("hf_steps", tests, NULL, NULL);
    teardown(&state);
    return failed;
}
