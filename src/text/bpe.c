/* bpe.c: words to ids by merges.
 *
 * Owns three tables: byte to id, pair of ids to (rank, id), and, for models that take whole
 * words first, the index of pieces by the bytes that they stand for. A byte that the vocabulary
 * lacks is left out, as the reference does for a model without an unknown piece, or becomes that
 * piece. Where symbols are characters, one that is no piece becomes byte pieces, or the unknown
 * piece. Invariant: no control piece comes out.
 */
#include "text/bpe.h"

#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "text/text_hash.h"
#include "text/unicode.h"

struct pair {
    uint32_t left, right;
    uint32_t place; /* one more than its rank; 0: free */
    int32_t id;
};

struct bpe {
    const struct vocab *v;
    const char *raw;
    const uint32_t *raw_at;
    int32_t byte[256]; /* -1: the vocabulary lacks it */
    struct pair *pair; /* [pair_mask + 1], open addressing */
    size_t pair_mask;
    struct piece_index whole; /* of normal pieces by their bytes; empty unless whole_words */
};

/* ---- the alphabet ----------------------------------------------------------------------- */

/* Bytes that print in Latin-1 stand for themselves, the other 68 for U+0100 and up in order. */
static bool byte_prints(unsigned b) {
    return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
}

/* The byte that a character spells, or -1. */
static int byte_of(uint32_t cp) {
    if (cp < 0x100) {
        return byte_prints(cp) ? (int)cp : -1;
    }
    if (cp >= 0x100 + 68) {
        return -1;
    }
    uint32_t k = cp - 0x100;
    return (int)(k < 0x21 ? k : k < 0x21 + 0x22 ? k - 0x21 + 0x7F : 0xAD);
}

uint32_t bpe_letter(uint8_t byte) {
    uint32_t cp = 0x100;
    while (!byte_prints(byte) && byte_of(cp) != byte) {
        cp++;
    }
    return byte_prints(byte) ? byte : cp;
}

size_t bpe_unspell(struct str piece, char *out) {
    size_t n = 0;
    for (size_t i = 0, len; i < piece.n; i += len) {
        int b = -1;
        uint8_t c = (uint8_t)piece.p[i];
        len = c < 0x80 ? 1 : 2; /* the alphabet has no longer characters */
        if (c < 0x80) {
            b = byte_of(c);
        } else if (c >= 0xC2 && c <= 0xDF && i + 1 < piece.n &&
                   ((uint8_t)piece.p[i + 1] & 0xC0) == 0x80) {
            b = byte_of((uint32_t)(c & 0x1F) << 6 | ((uint8_t)piece.p[i + 1] & 0x3F));
        }
        if (b < 0) {
            memcpy(out, piece.p, piece.n);
            return piece.n;
        }
        out[n++] = (char)b;
    }
    return n;
}

/* ---- the tables ------------------------------------------------------------------------- */

static struct pair *pair_slot(const struct bpe *b, uint32_t left, uint32_t right) {
    size_t i = hash_pair(left, right, b->v->key) & b->pair_mask;
    struct pair *p = &b->pair[i];
    while (p->place && (p->left != left || p->right != right)) {
        i = (i + 1) & b->pair_mask;
        p = &b->pair[i];
    }
    return p;
}

static bool index_pairs(struct bpe *b) {
    const struct vocab *v = b->v;
    size_t n = hash_slots(v->n_merge);
    b->pair = os_pages(n * sizeof *b->pair);
    if (!b->pair) {
        return false;
    }
    os_pages_large(b->pair, n * sizeof *b->pair);
    b->pair_mask = n - 1;
    for (uint32_t rank = 0; rank < v->n_merge; rank++) {
        const struct vocab_merge *m = &v->merge[rank];
        if (v->n_merge - rank > SOUGHT_AHEAD) {
            const struct vocab_merge *next = m + SOUGHT_AHEAD;
            __builtin_prefetch(&b->pair[hash_pair(next->left, next->right, v->key) & b->pair_mask],
                               1);
        }
        struct pair *p = pair_slot(b, m->left, m->right);
        if (!p->place) { /* of two equal merges the better one */
            *p = (struct pair){m->left, m->right, rank + 1, (int32_t)m->id};
        }
    }
    return true;
}

static struct str raw_of(const struct bpe *b, uint32_t id) {
    return str_of(b->raw + b->raw_at[id], b->raw_at[id + 1] - b->raw_at[id]);
}

static void index_bytes(struct bpe *b) {
    for (unsigned c = 0; c < 256; c++) {
        b->byte[c] = -1;
    }
    for (uint32_t id = b->v->n_vocab; id-- > 0;) {
        struct str raw = raw_of(b, id), piece = vocab_at(b->v, id);
        if (b->v->characters) {
            if (b->v->kind[id] == PIECE_BYTE) {
                b->byte[vocab_piece_byte(piece)] = (int32_t)id;
            }
            continue;
        }
        bool spelled = piece.n == 2 || (piece.n == 1 && byte_of((uint8_t)piece.p[0]) >= 0);
        if (raw.n == 1 && spelled && b->v->kind[id] == PIECE_NORMAL) {
            b->byte[(uint8_t)raw.p[0]] = (int32_t)id;
        }
    }
}

uint64_t bpe_need(const struct vocab_spec *s) {
    const struct pretok *pre = pretok_find(s->pre);
    bool whole = s->whole_words ? s->whole_words > 0 : pre && pre->ignore_merges;
    uint64_t words = whole ? piece_index_need(s->n_vocab) : 0;
    return sizeof(struct bpe) + hash_slots(s->n_merge) * sizeof(struct pair) + words;
}

enum err_code bpe_create(struct bpe **out, const struct vocab *v, const char *raw,
                         const uint32_t *raw_at, struct err *e) {
    *out = NULL;
    struct bpe *b = mem_zalloc(1, sizeof *b);
    if (!b) {
        goto fail;
    }
    b->v = v;
    b->raw = raw;
    b->raw_at = raw_at;
    index_bytes(b);
    bool words = v->whole_words && !v->characters;
    if (!index_pairs(b) || (words && !piece_index_init(&b->whole, raw, raw_at, v->n_vocab, v->kind,
                                                       PIECE_NORMAL, v->key))) {
        goto fail;
    }
    *out = b;
    return ERR_OK;
fail:
    bpe_free(b);
    return err_set(e, ERR_NOMEM, "no memory for the tables of %u merges", v->n_merge);
}

void bpe_free(struct bpe *b) {
    if (!b) {
        return;
    }
    os_pages_free(b->pair, (b->pair_mask + 1) * sizeof *b->pair);
    piece_index_fini(&b->whole);
    mem_free(b);
}

/* ---- encoding --------------------------------------------------------------------------- */

static uint32_t bpe_pair(const void *ctx, const char *word, const struct symbol *l,
                         const struct symbol *r, int32_t *to) {
    (void)word;
    const struct pair *p = pair_slot(ctx, (uint32_t)l->id, (uint32_t)r->id);
    *to = p->id;
    return p->place - 1; /* none: MERGER_NONE */
}

/* A character: its piece, or else its byte pieces, or else the unknown piece, of which a run of
 * such characters has one if the model fuses them. */
static void put_character(const struct bpe *b, struct merger *m, const char *p, uint32_t at,
                          uint32_t n, bool *unknown) {
    const struct vocab *v = b->v;
    int32_t id = n <= v->piece_max ? vocab_find(v, str_of(p + at, n)) : -1;
    bool bytes = true, fused = *unknown && v->fuse_unknown;
    *unknown = false;
    bool added = id >= 0 && v->flags && (v->flags[id] & PIECE_ADDED);
    if (id >= 0 && !added && !vocab_hidden(v, (uint32_t)id)) {
        merger_put(m, at, n, id);
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        bytes = bytes && b->byte[(uint8_t)p[at + i]] >= 0;
    }
    for (uint32_t i = 0; bytes && i < n; i++) {
        merger_put(m, at + i, 1, b->byte[(uint8_t)p[at + i]]);
    }
    if (!bytes && v->unk >= 0) {
        *unknown = true;
        if (!fused) {
            merger_put(m, at, n, v->unk);
        }
    }
}

/* A byte: its piece, or the unknown piece, if the vocabulary has one and its file's steps count. */
static void put_byte(const struct bpe *b, struct merger *m, const char *p, uint32_t at,
                     bool *unknown) {
    const struct vocab *v = b->v;
    int32_t id = b->byte[(uint8_t)p[at]];
    bool fused = *unknown && v->fuse_unknown;
    *unknown = id < 0 && v->steps && v->unk >= 0;
    if (id >= 0 || (*unknown && !fused)) {
        merger_put(m, at, 1, id >= 0 ? id : v->unk);
    }
}

static void put_symbols(const struct bpe *b, struct merger *m, const char *p, size_t n) {
    bool unknown = false;
    for (size_t i = 0, len = 1; i < n; i += len) {
        if (b->v->characters) {
            unicode_at(p + i, &len);
            put_character(b, m, p, (uint32_t)i, (uint32_t)len, &unknown);
        } else {
            put_byte(b, m, p, (uint32_t)i, &unknown);
        }
    }
}

static void encode_merges(const struct bpe *b, struct encoder *x, const char *p, size_t n) {
    if (!merger_begin(&x->merger, n)) {
        x->code = ERR_NOMEM;
        return;
    }
    put_symbols(b, &x->merger, p, n);
    if (!merger_run(&x->merger, bpe_pair, b, p)) {
        x->code = ERR_NOMEM;
        return;
    }
    for (size_t i = 0; i < x->merger.n; i++) {
        encoder_put(x, x->merger.sym[i].id);
    }
}

/* The id of the piece that a word is; -1: none, or it is not looked for. */
static int32_t whole_word(const struct bpe *b, struct str word) {
    if (b->v->characters && b->v->whole_words) {
        int32_t id = vocab_find(b->v, word);
        return id >= 0 && b->v->kind[id] == PIECE_NORMAL ? id : -1;
    }
    return b->whole.slot ? piece_find(&b->whole, word) : -1;
}

void bpe_encode_word(const struct bpe *b, struct encoder *x, const char *p, size_t n) {
    bool found;
    size_t first = x->out->n;
    struct word *w = encoder_recall(x, p, n, &found);
    if (found) {
        return;
    }
    int32_t whole = n <= b->v->piece_max ? whole_word(b, str_of(p, n)) : -1;
    if (whole >= 0) {
        encoder_put(x, whole);
    } else {
        encode_merges(b, x, p, n);
    }
    encoder_remember(x, w, p, n, first);
}

void bpe_encode(const struct bpe *b, struct encoder *x, const char *p, size_t n) {
    struct pretok_walk walk;
    struct str word;
    pretok_begin(&walk, b->v->pre, p, n);
    while (!x->code && pretok_next(&walk, &word)) {
        bpe_encode_word(b, x, word.p, word.n);
    }
}
