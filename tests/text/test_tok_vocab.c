/* test_tok_vocab.c: hostile vocabularies, as specifications and as GGUF files (C01 to C05).
 *
 * Each wrong thing is one change to a right vocabulary, and must be refused with its name, or be
 * taken in the one way that is harmless.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "format/gguf.h"
#include "format/gguf_builder.h"
#include "model/vocab_load.h"
#include "text/tok_small.h"

static struct small small;

static void refused(enum err_code code, const char *word) {
    struct vocab *v = NULL;
    struct err e = {0};
    assert_int_equal(vocab_create(&v, &small.spec, &e), code);
    assert_null(v);
    if (!strstr(e.what, word)) {
        fail_msg("'%s' does not say '%s'", e.what, word);
    }
    assert_int_equal(mem_live(), 0);
}

/* C01 */
static void sizes_and_ids(void **state) {
    (void)state;
    const uint32_t size[] = {0, 1u << 24, UINT32_MAX};
    for (size_t i = 0; i < 3; i++) {
        small_make(&small, VOCAB_BPE);
        small.spec.n_vocab = size[i];
        refused(ERR_FORMAT, "vocabulary of");
    }
    const int32_t id[] = {-2, SMALL_MAX, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < 4; i++) {
        small_make(&small, VOCAB_BPE);
        small.spec.bos = id[i];
        refused(ERR_FORMAT, "BOS");
        small_make(&small, VOCAB_BPE);
        small.spec.eos = id[i];
        refused(ERR_FORMAT, "EOS");
        small_make(&small, VOCAB_SPM);
        small.spec.unk = id[i];
        refused(ERR_FORMAT, "unknown id");
    }
    small_make(&small, VOCAB_BPE);
    small.spec.n_vocab = 2; /* smaller than EOS */
    refused(ERR_FORMAT, "EOS");
    small_make(&small, VOCAB_BPE);
    small.spec.pre = str_c("mystery\n");
    refused(ERR_UNSUPPORTED, "mystery\\x0a");
}

/* C02 and C04 */
static void pieces(void **state) {
    (void)state;
    static char big[VOCAB_PIECE_MAX + 1];
    static const char *const byte[] = {"<0x-1>", "<0xZZ>", "<0x100>", "<0x1>", "0x41", "<0X41>"};
    for (size_t i = 0; i < sizeof byte / sizeof *byte; i++) {
        small_make(&small, VOCAB_SPM);
        small.piece[10] = str_c(byte[i]);
        refused(ERR_FORMAT, "byte piece 10");
    }
    small_make(&small, VOCAB_SPM);
    small.piece[10] = str_of("<0x\0\0>", 6);
    refused(ERR_FORMAT, "byte piece 10");
    small_make(&small, VOCAB_SPM);
    small.piece[400] = str_of(big, sizeof big);
    refused(ERR_FORMAT, "piece 400");
    small_make(&small, VOCAB_SPM);
    small.kind[7] = 9;
    refused(ERR_FORMAT, "piece 7");
    small_make(&small, VOCAB_SPM);
    small.score[300] = NAN;
    refused(ERR_FORMAT, "piece 300");
}

/* C04, C05: empty, broken and odd pieces and merges load, and texts still round-trip. */
static void odd_ones_are_harmless(void **state) {
    (void)state;
    struct vocab *v = NULL;
    struct tokenizer *t = NULL;
    struct err e = {0};
    struct ids ids = {0};
    struct buf out;
    small_make(&small, VOCAB_BPE);
    uint32_t n = small.spec.n_vocab;
    small.piece[n] = str_of("", 0);
    small.piece[n + 1] = str_of("\xff\xfe", 2);
    small.piece[n + 2] = str_of("a\0b", 3);
    small.piece[n + 3] = str_of("\xe2", 1); /* a special piece that would cut a character */
    small.kind[n] = small.kind[n + 1] = small.kind[n + 2] = PIECE_NORMAL;
    small.kind[n + 3] = PIECE_USER;
    small.spec.n_vocab = n + 4;
    uint32_t m = small.spec.n_merge;
    small.merge[m] = str_c("a a");                     /* the whole is missing or twice */
    small.merge[m + 1] = small.merge[0];               /* the same again */
    small.merge[m + 2] = str_c("nowhere to_be_found"); /* halves missing */
    small.merge[m + 3] = str_c("<|im_ end|>");         /* would make a control piece */
    small.merge[m + 4] = str_c("<|im_end| >");
    small.spec.n_merge = m + 5;
    assert_int_equal(vocab_create(&v, &small.spec, &e), ERR_OK);
    assert_int_equal(tokenizer_create(&t, v, &e), ERR_OK);
    static const char text[] = "aaa <|im_end|> \xE2\x82\xAC a";
    assert_int_equal(
        tokenizer_encode(t, text, sizeof text - 1, NULL, false, BOS_NEVER, 0, &ids, &e), ERR_OK);
    buf_init(&out, SIZE_MAX);
    assert_int_equal(tokenizer_decode(t, ids.id, ids.n, false, &out, &e), ERR_OK);
    assert_string_equal(out.p, text);
    buf_fini(&out);
    ids_fini(&ids);
    tokenizer_free(t);
    vocab_free(v);
    static const char *const bad[] = {"", " ", "ab", " ab", "ab ", "a"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        small_make(&small, VOCAB_BPE);
        small.merge[3] = str_c(bad[i]);
        refused(ERR_FORMAT, "merge 3");
    }
}

/* ---- as files ---------------------------------------------------------------------------- */

static const char *const word[] = {"<unk>", "<s>", "</s>", "a", "b", "ab"};
static const int32_t kind[] = {2, 3, 3, 1, 1, 1};
static const float score[] = {0, 0, 0, -2, -3, -1};

enum { N = 6 };

static void load(struct builder *b, enum err_code code, const char *expected) {
    size_t n;
    uint8_t *file = builder_take(b, &n);
    struct gguf *g = NULL;
    struct vocab *v = NULL;
    struct err e = {0};
    assert_int_equal(gguf_parse(&g, "test.gguf", file, n, &e), ERR_OK);
    enum err_code got = vocab_load(&v, g, &e);
    if (got != code) {
        fail_msg("'%s': code %d, not %d", expected, (int)got, (int)code);
    }
    if (code) {
        char line[1024];
        err_line(&e, line, sizeof line);
        if (!strstr(line, expected)) {
            fail_msg("'%s' does not say '%s'", line, expected);
        }
        assert_null(v);
    } else {
        assert_int_equal(vocab_size(v), N);
        assert_true(vocab_adds_bos(v));
        assert_int_equal(vocab_eos(v), 2);
    }
    vocab_free(v);
    gguf_close(g);
    free(file);
    builder_fini(b);
    assert_int_equal(mem_live(), 0);
}

static void begin(struct builder *b, const char *model) {
    builder_init(b);
    builder_kv_str(b, "general.architecture", "llama");
    builder_kv_str(b, "tokenizer.ggml.model", model);
}

/* C03, and what else a file can say wrongly. */
static void files(void **state) {
    (void)state;
    struct builder b;
    begin(&b, "llama");
    builder_kv_strs(&b, "tokenizer.ggml.tokens", word, N);
    builder_kv_f32s(&b, "tokenizer.ggml.scores", score, N);
    builder_kv_i32s(&b, "tokenizer.ggml.token_type", kind, N);
    load(&b, ERR_OK, "");
    begin(&b, "rwkv");
    load(&b, ERR_UNSUPPORTED, "rwkv");
    begin(&b, "llama");
    load(&b, ERR_FORMAT, "tokenizer.ggml.tokens");
    begin(&b, "llama");
    builder_kv_strs(&b, "tokenizer.ggml.tokens", word, 0);
    load(&b, ERR_FORMAT, "vocabulary of 0");
    begin(&b, "llama");
    builder_kv_i32s(&b, "tokenizer.ggml.tokens", kind, N);
    load(&b, ERR_FORMAT, "tokenizer.ggml.tokens");
    begin(&b, "llama");
    builder_kv_strs(&b, "tokenizer.ggml.tokens", word, N);
    builder_kv_array(&b, "tokenizer.ggml.scores", BT_U8, score, N, N);
    load(&b, ERR_FORMAT, "tokenizer.ggml.scores");
    begin(&b, "llama");
    builder_kv_strs(&b, "tokenizer.ggml.tokens", word, N);
    builder_kv_f32s(&b, "tokenizer.ggml.scores", score, N - 1);
    load(&b, ERR_FORMAT, "tokenizer.ggml.scores");
    begin(&b, "llama");
    builder_kv_strs(&b, "tokenizer.ggml.tokens", word, N);
    builder_kv_f32s(&b, "tokenizer.ggml.token_type", score, N);
    load(&b, ERR_FORMAT, "tokenizer.ggml.token_type");
    begin(&b, "llama");
    builder_kv_strs(&b, "tokenizer.ggml.tokens", word, N);
    builder_kv_i32s(&b, "tokenizer.ggml.token_type", kind, 2);
    load(&b, ERR_FORMAT, "tokenizer.ggml.token_type");
    begin(&b, "llama");
    builder_kv_strs(&b, "tokenizer.ggml.tokens", word, N);
    builder_kv_u32(&b, "tokenizer.ggml.eos_token_id", N);
    load(&b, ERR_FORMAT, "EOS");
    begin(&b, "llama");
    builder_kv_strs(&b, "tokenizer.ggml.tokens", word, N);
    builder_kv_u64(&b, "tokenizer.ggml.bos_token_id", (uint64_t)1 << 40);
    load(&b, ERR_FORMAT, "bos_token_id");
    begin(&b, "gpt2");
    builder_kv_strs(&b, "tokenizer.ggml.tokens", word, N);
    builder_kv_str(&b, "tokenizer.ggml.pre", "nobody");
    load(&b, ERR_UNSUPPORTED, "nobody");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_and_ids),
        cmocka_unit_test(pieces),
        cmocka_unit_test(odd_ones_are_harmless),
        cmocka_unit_test(files),
    };
    return cmocka_run_group_tests_name("vocab", tests, NULL, NULL);
}
