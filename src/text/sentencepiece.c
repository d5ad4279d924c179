/* sentencepiece.c: text to ids by scores.
 *
 * Owns the cut into words, which is only for speed: if no piece has a space after something that
 * is no space, then no merge crosses such a place, and the words can be merged and remembered one
 * by one. Where some pieces do (there is a short list of the characters before), it is not cut.
 * Of two equal scores the left pair merges first, as in the original. Invariant: control, unknown
 * and byte pieces never come out of merging.
 */
#include "text/sentencepiece.h"

#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "text/unicode.h"

enum { SPACE_BYTES = 3, BEFORE_MAX = 64 };

struct spm {
    const struct vocab *v;
    int32_t byte[256];
    bool has_bytes;    /* all 256 are there */
    size_t piece_max;  /* bytes of the longest piece that merging can give */
    unsigned n_before; /* characters that a piece has directly before a space */
    uint32_t before[BEFORE_MAX];
    bool whole; /* there are too many of them: never cut */
};

static bool can_merge_to(const struct vocab *v, uint32_t id) {
    return v->kind[id] == PIECE_NORMAL || v->kind[id] == PIECE_USER;
}

static bool is_space(const char *p, size_t n) {
    return n >= SPACE_BYTES && memcmp(p, SPM_SPACE, SPACE_BYTES) == 0;
}

static bool is_before(const struct spm *s, uint32_t cp) {
    for (unsigned i = 0; i < s->n_before; i++) {
        if (s->before[i] == cp) {
            return true;
        }
    }
    return false;
}

/* Notes the characters that stand directly before a space within the piece. */
static void learn_piece(struct spm *s, struct str piece) {
    uint32_t last = 0, cp;
    for (size_t i = 0; i < piece.n && !s->whole;) {
        int len = utf8_decode(piece.p + i, piece.n - i, &cp);
        if (cp == 0x2581 && i && last != 0x2581 && !is_before(s, last)) {
            s->whole = s->n_before == BEFORE_MAX;
            if (!s->whole) {
                s->before[s->n_before++] = last;
            }
        }
        last = cp;
        i += (size_t)(len < 0 ? -len : len);
    }
}

enum err_code spm_create(struct spm **out, const struct vocab *v, struct err *e) {
    *out = NULL;
    struct spm *s = mem_zalloc(1, sizeof *s);
    if (!s) {
        return err_set(e, ERR_NOMEM, "no memory for a tokenizer");
    }
    s->v = v;
    memset(s->byte, -1, sizeof s->byte);
    for (uint32_t id = v->n_vocab; id-- > 0;) {
        struct str piece = vocab_at(v, id);
        if (v->kind[id] == PIECE_BYTE) {
            s->byte[vocab_piece_byte(piece)] = (int32_t)id;
        } else if (can_merge_to(v, id)) {
            s->piece_max = piece.n > s->piece_max ? piece.n : s->piece_max;
            learn_piece(s, piece);
        }
    }
    s->has_bytes = true;
    for (unsigned c = 0; c < 256; c++) {
        s->has_bytes = s->has_bytes && s->byte[c] >= 0;
    }
    *out = s;
    return ERR_OK;
}

void spm_free(struct spm *s) {
    mem_free(s);
}

/* ---- one word --------------------------------------------------------------------------- */

static int32_t spm_find(const struct spm *s, const char *p, size_t n) {
    if (n > s->piece_max) {
        return -1;
    }
    int32_t id = vocab_find(s->v, str_of(p, n));
    return id >= 0 && can_merge_to(s->v, (uint32_t)id) ? id : -1;
}

static uint32_t spm_pair(const void *ctx, const char *word, const struct symbol *l,
                         const struct symbol *r, int32_t *to) {
    const struct spm *s = ctx;
    *to = spm_find(s, word + l->at, (size_t)l->n + r->n);
    return *to < 0 ? MERGER_NONE : s->v->rank[*to];
}

/* A character that is no piece: its bytes, or one unknown piece for a run of such. */
static void put_unknown(const struct spm *s, struct encoder *x, const char *p, size_t n,
                        bool after_unknown) {
    for (size_t i = 0; s->has_bytes && i < n; i++) {
        encoder_put(x, s->byte[(uint8_t)p[i]]);
    }
    if (!s->has_bytes && s->v->unk >= 0 && !after_unknown) {
        encoder_put(x, s->v->unk);
    }
}

static void encode_word(const struct spm *s, struct encoder *x, const char *p, size_t n) {
    bool found, unknown = false;
    size_t first = x->out->n, len;
    struct word *w = encoder_recall(x, p, n, &found);
    if (found) {
        return;
    }
    if (!merger_begin(&x->merger, n)) {
        x->code = ERR_NOMEM;
        return;
    }
    for (size_t i = 0; i < n; i += len) {
        unicode_at(p + i, &len);
        merger_put(&x->merger, (uint32_t)i, (uint32_t)len, spm_find(s, p + i, len));
    }
    if (!merger_run(&x->merger, spm_pair, s, p)) {
        x->code = ERR_NOMEM;
        return;
    }
    for (size_t i = 0; i < x->merger.n; i++) {
        const struct symbol *y = &x->merger.sym[i];
        if (y->id >= 0) {
            encoder_put(x, y->id);
        } else {
            put_unknown(s, x, p + y->at, y->n, unknown);
        }
        unknown = y->id < 0;
    }
    encoder_remember(x, w, p, n, first);
}

/* ---- a text ----------------------------------------------------------------------------- */

static bool needs_prefix(enum space_prefix mode, const char *p, size_t n, bool first) {
    bool space = n && (p[0] == ' ' || is_space(p, n));
    return mode == PREFIX_ALWAYS || (mode == PREFIX_UNLESS_SPACE && !space) ||
           (mode == PREFIX_FIRST && first && !space);
}

/* Bytes of a space at the end: U+2581 of the text itself counts there, too, as in the original. */
static size_t space_at_end(const char *p, size_t n) {
    bool bar = n >= SPACE_BYTES && is_space(p + n - SPACE_BYTES, SPACE_BYTES);
    return bar ? SPACE_BYTES : n && p[n - 1] == ' ';
}

void spm_normalize(const struct vocab *v, const char *p, size_t n, bool first, struct buf *out) {
    bool squeeze = v->remove_extra_whitespaces;
    while (squeeze && n && p[0] == ' ') {
        p++;
        n--;
    }
    for (size_t space; squeeze && (space = space_at_end(p, n)) > 0;) {
        n -= space;
    }
    if ((n || !squeeze) && needs_prefix(v->space_prefix, p, n, first)) {
        buf_put(out, SPM_SPACE, SPACE_BYTES);
    }
    for (size_t i = 0, k; i < n; i = k) {
        const char *space = memchr(p + i, ' ', n - i);
        size_t end = space ? (size_t)(space - p) : n;
        buf_put(out, p + i, end - i);
        for (k = end; k < n && p[k] == ' '; k++) {
            if (k == end || !squeeze) {
                buf_put(out, SPM_SPACE, SPACE_BYTES);
            }
        }
    }
}

/* Where the word that begins at p[0] ends: before the next space that no piece can reach over. */
static size_t word_end(const struct spm *s, const char *p, size_t n) {
    size_t len, last = 0;
    for (size_t i = 0; i < n; i += len) {
        uint32_t cp = unicode_at(p + i, &len);
        if (cp == 0x2581 && i && !is_space(p + last, n - last)) {
            size_t tmp;
            if (!is_before(s, unicode_at(p + last, &tmp))) {
                return i;
            }
        }
        last = i;
    }
    return n;
}

void spm_encode(const struct spm *s, struct encoder *x, const char *p, size_t n) {
    for (size_t i = 0, k; i < n && !x->code; i += k) {
        k = s->whole ? n : word_end(s, p + i, n - i);
        encode_word(s, x, p + i, k);
    }
}
