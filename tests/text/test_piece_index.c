/* test_piece_index.c: pieces by their bytes, and merges by those, against looking through all.
 *
 * Random spellings over two letters: many are equal, some are empty, some longer than a word of the
 * hash. Merges name pieces that are there, that are not, and that are there twice.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "text/vocab_table.h"

enum { PIECES = 3000, MERGES = 4000, LETTERS = 1 << 17 };

static char letters[LETTERS];
static uint32_t at[PIECES + 1];
static uint8_t kind[PIECES];
static struct str piece[PIECES], merge[MERGES];
static char merge_text[MERGES][64];
static struct rng rng;

static uint32_t below(size_t n) {
    return (uint32_t)(rng_next(&rng) % n);
}

/* Of at most `longest` letters. */
static void make_pieces(unsigned seed, uint32_t longest) {
    rng_seed(&rng, seed);
    uint32_t end = 0;
    for (uint32_t i = 0; i < PIECES; i++) {
        at[i] = end;
        for (uint32_t n = below(longest + 1); n > 0; n--) {
            letters[end++] = "ab"[below(2)];
        }
        kind[i] = (uint8_t)(1 + below(3));
        piece[i] = str_of(letters + at[i], end - at[i]);
    }
    at[PIECES] = end;
}

/* The first piece with these bytes, of a kind if it is not 0. */
static int32_t look(struct str s, uint8_t only) {
    for (int32_t i = 0; i < PIECES && s.n; i++) {
        if ((!only || kind[i] == only) && str_eq(piece[i], s)) {
            return i;
        }
    }
    return -1;
}

static void finds_the_first(void **state) {
    (void)state;
    for (unsigned seed = 1; seed <= 6; seed++) {
        make_pieces(seed, seed % 2 ? 12 : 30);
        const uint8_t only = seed % 3;
        struct piece_index x;
        assert_true(piece_index_init(&x, letters, at, PIECES, only ? kind : NULL, only, seed));
        bool twins = false;
        for (uint32_t i = 0; i < PIECES; i++) {
            assert_int_equal(piece_find(&x, piece[i]), look(piece[i], only));
            twins = twins || ((!only || kind[i] == only) && look(piece[i], only) != (int32_t)i &&
                              piece[i].n);
        }
        assert_int_equal(x.twins, twins);
        for (int i = 0; i < 2000; i++) { /* some of them are nowhere */
            char s[24];
            size_t n = below(sizeof s);
            for (size_t k = 0; k < n; k++) {
                s[k] = "ab"[below(2)];
            }
            assert_int_equal(piece_find(&x, str_of(s, n)), look(str_of(s, n), only));
        }
        piece_index_fini(&x);
    }
    assert_int_equal(mem_live(), 0);
}

/* In the order of what they give, as files mostly have them, and in none. */
static void make_merges(void) {
    for (uint32_t i = 0; i < MERGES; i++) {
        uint32_t whole = i % 3 ? i % PIECES : below(PIECES);
        struct str p = piece[whole];
        size_t cut = p.n > 1 ? 1 + below(p.n - 1) : 0;
        int n = p.n > 1 ? snprintf(merge_text[i], sizeof merge_text[i], "%.*s %.*s", (int)cut, p.p,
                                   (int)(p.n - cut), p.p + cut)
                        : snprintf(merge_text[i], sizeof merge_text[i], "a b");
        merge[i] = str_of(merge_text[i], (size_t)n);
    }
}

static void resolves_merges(void **state) {
    (void)state;
    for (unsigned seed = 1; seed <= 6; seed++) {
        make_pieces(seed, seed % 2 ? 12 : 30);
        if (seed > 3) { /* no two alike: the last piece or the next may be guessed */
            for (uint32_t i = 0; i < PIECES; i++) {
                piece[i] = look(piece[i], 0) < (int32_t)i ? str_of("", 0) : piece[i];
            }
        }
        make_merges();
        const struct vocab_spec spec = {.model = VOCAB_BPE,
                                        .pre = str_c("gpt-2"),
                                        .n_vocab = PIECES,
                                        .piece = piece,
                                        .merge = merge,
                                        .n_merge = MERGES,
                                        .bos = -1,
                                        .eos = -1,
                                        .unk = -1,
                                        .sep = -1,
                                        .pad = -1,
                                        .eot = -1,
                                        .eom = -1};
        struct vocab *v = NULL;
        struct err e = {0};
        assert_int_equal(vocab_create(&v, &spec, &e), ERR_OK);
        uint32_t n = 0;
        for (uint32_t i = 0; i < MERGES; i++) {
            char whole[64];
            const char *space = strchr(merge_text[i], ' ');
            struct str l = str_of(merge[i].p, (size_t)(space - merge_text[i])),
                       r = str_c(space + 1);
            snprintf(whole, sizeof whole, "%.*s%s", (int)l.n, l.p, r.p);
            int32_t left = look(l, 0), right = look(r, 0), both = look(str_c(whole), 0);
            if (left >= 0 && right >= 0 && both >= 0) {
                assert_true(n < v->n_merge);
                assert_int_equal(v->merge[n].left, left);
                assert_int_equal(v->merge[n].right, right);
                assert_int_equal(v->merge[n].id, both);
                n++;
            }
        }
        assert_int_equal(n, v->n_merge);
        assert_true(n > 100);
        vocab_free(v);
    }
    assert_int_equal(mem_live(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_first),
        cmocka_unit_test(resolves_merges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
