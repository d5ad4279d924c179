/* fuzz_detok.c: any ids, in any chunks.
 *
 * Owns a fixed vocabulary of bytes, half characters and spaces, and the claim that the streaming
 * decoder gives, byte for byte, what cleaning all pieces together gives, and never half a
 * character in between.
 */
#include <string.h>

#include "base/utf8.h"
#include "text/tokenizer.h"

#undef NDEBUG
#include <assert.h>

#define SP "\xE2\x96\x81"

static struct vocab *vocab;
static struct tokenizer *tokenizer;

static void make_tokenizer(void) {
    static const char *const extra[] = {SP,         SP "a", SP SP,      "b",
                                        "\xE2\x82", "\xAC", "\xF0\x9F", "\x98\x80",
                                        "é",        "日本", "<s>",      "<tool>"};
    static char byte[256][8];
    static struct str piece[256 + sizeof extra / sizeof *extra];
    static int32_t kind[256 + sizeof extra / sizeof *extra];
    static const char hex[] = "0123456789ABCDEF";
    uint32_t n = 0;
    for (; n < 256; n++) {
        memcpy(byte[n], "<0x00>", 6);
        byte[n][3] = hex[n >> 4];
        byte[n][4] = hex[n & 15];
        piece[n] = str_of(byte[n], 6);
        kind[n] = PIECE_BYTE;
    }
    for (size_t i = 0; i < sizeof extra / sizeof *extra; i++, n++) {
        piece[n] = str_c(extra[i]);
        kind[n] = strcmp(extra[i], "<s>") == 0      ? PIECE_CONTROL
                  : strcmp(extra[i], "<tool>") == 0 ? PIECE_USER
                                                    : PIECE_NORMAL;
    }
    struct vocab_spec s = {.model = VOCAB_SPM,
                           .n_vocab = n,
                           .piece = piece,
                           .kind = kind,
                           .bos = -1,
                           .eos = -1,
                           .unk = -1,
                           .sep = -1,
                           .pad = -1,
                           .eot = -1,
                           .eom = -1,
                           .space_prefix = PREFIX_ALWAYS};
    struct err e = {0};
    assert(vocab_create(&vocab, &s, &e) == ERR_OK);
    assert(tokenizer_create(&tokenizer, vocab, &e) == ERR_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!tokenizer) {
        make_tokenizer();
    }
    bool special = size && (data[0] & 1);
    struct buf raw, want, got;
    struct detok d;
    struct err e = {0};
    buf_init(&raw, SIZE_MAX);
    buf_init(&want, SIZE_MAX);
    buf_init(&got, SIZE_MAX);
    detok_init(&d, tokenizer, special);
    for (size_t i = 1; i + 1 < size; i += 2) {
        int32_t id = (data[i] | data[i + 1] << 8) % 300;
        bool there = (uint32_t)id < vocab_size(vocab);
        assert((detok_put(&d, id, &got, &e) == ERR_OK) == there);
        assert(there || e.code == ERR_RANGE);
        err_clear(&e);
        if (there) {
            assert(tokenizer_piece(tokenizer, id, special, &raw, &e) == ERR_OK);
        }
        assert(utf8_valid(got.p, got.len));
    }
    detok_end(&d, &got);
    size_t skip = raw.len && raw.p[0] == ' ';
    if (raw.len) {
        utf8_clean(&want, raw.p + skip, raw.len - skip);
    }
    assert(str_eq(str_of(want.p, want.len), str_of(got.p, got.len)));
    buf_fini(&raw);
    buf_fini(&want);
    buf_fini(&got);
    return 0;
}
