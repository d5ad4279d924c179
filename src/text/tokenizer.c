/* tokenizer.c: a text with its origins to ids.
 *
 * Owns the order of the steps: repair broken UTF-8, cut at special pieces, encode what lies
 * between, add BOS and EOS. Refuses the encoding itself (bpe.c, sentencepiece.c, wordpiece.c) and
 * decoding (detokenizer.c). Invariant: on any error *out is as it was.
 */
#include "text/tokenizer.h"

#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "text/tokenizer_int.h"
#include "text/unicode.h"

/* Offsets within a text fit in 32 bits, tripled by SentencePiece's spaces too. */
#define TEXT_MAX ((size_t)1 << 30)

void ids_fini(struct ids *ids) {
    mem_free(ids->id);
    *ids = (struct ids){0};
}

/* ---- creation --------------------------------------------------------------------------- */

/* The bytes that a piece stands for; `out` has room for piece.n. */
static size_t piece_bytes(const struct vocab *v, uint32_t id, char *out) {
    struct str p = vocab_at(v, id);
    int byte = v->kind[id] == PIECE_BYTE ? vocab_piece_byte(p) : -1;
    if (byte >= 0) {
        out[0] = (char)byte;
        return 1;
    }
    if (v->model == VOCAB_BPE && v->kind[id] == PIECE_NORMAL) {
        return bpe_unspell(p, out);
    }
    size_t n = 0;
    bool spaces = v->model != VOCAB_BPE && !vocab_hidden(v, id);
    for (size_t i = 0; i < p.n;) {
        bool space = spaces && p.n - i >= 3 && memcmp(p.p + i, SPM_SPACE, 3) == 0;
        out[n++] = space ? ' ' : p.p[i];
        i += space ? 3 : 1;
    }
    return n;
}

static enum err_code make_raw(struct tokenizer *t, struct err *e) {
    const struct vocab *v = t->v;
    t->raw = mem_alloc(v->at[v->n_vocab], 1);
    t->raw_at = mem_alloc((size_t)v->n_vocab + 1, sizeof *t->raw_at);
    if (!t->raw || !t->raw_at) {
        return err_set(e, ERR_NOMEM, "no memory for the bytes of %u pieces", v->n_vocab);
    }
    uint32_t at = 0;
    for (uint32_t id = 0; id < v->n_vocab; id++) {
        t->raw_at[id] = at;
        at += (uint32_t)piece_bytes(v, id, t->raw + at);
    }
    t->raw_at[v->n_vocab] = at;
    return ERR_OK;
}

uint64_t tokenizer_need(const struct vocab_spec *s, uint64_t text) {
    uint64_t raw = text + ((uint64_t)s->n_vocab + 1) * sizeof(uint32_t);
    return sizeof(struct tokenizer) + raw + (s->model == VOCAB_BPE ? bpe_need(s) : 0);
}

enum err_code tokenizer_create(struct tokenizer **out, const struct vocab *v, struct err *e) {
    *out = NULL;
    struct tokenizer *t = mem_zalloc(1, sizeof *t);
    if (!t) {
        return err_set(e, ERR_NOMEM, "no memory for a tokenizer");
    }
    t->v = v;
    enum err_code c = make_raw(t, e);
    c = c ? c : special_create(&t->special, v, e);
    if (!c && v->model == VOCAB_BPE) {
        c = bpe_create(&t->bpe, v, t->raw, t->raw_at, e);
    } else if (!c && v->model == VOCAB_SPM) {
        c = spm_create(&t->spm, v, e);
    }
    if (c) {
        tokenizer_free(t);
        return c;
    }
    *out = t;
    return ERR_OK;
}

void tokenizer_free(struct tokenizer *t) {
    if (!t) {
        return;
    }
    bpe_free(t->bpe);
    spm_free(t->spm);
    special_free(t->special);
    mem_free(t->raw);
    mem_free(t->raw_at);
    mem_free(t);
}

/* ---- encoding --------------------------------------------------------------------------- */

/* Repairs broken UTF-8 and moves the origins along: a character is trusted if all of the bytes
 * that it comes from are. */
static void repair(const char *p, size_t n, const struct runs *rs, struct buf *text,
                   struct runs *origin) {
    size_t run = 0;
    uint32_t cp;
    for (size_t i = 0, len; i < n; i += len) {
        int k = utf8_decode(p + i, n - i, &cp);
        char c[4];
        len = (size_t)(k < 0 ? -k : k);
        size_t m = (size_t)utf8_encode(cp, c);
        buf_put(text, c, m);
        bool trusted = true;
        for (; rs && run < rs->n; run++) {
            trusted = trusted && rs->r[run].trusted;
            if (rs->r[run].end >= i + len) {
                break;
            }
        }
        run += rs && run < rs->n && rs->r[run].end == i + len;
        runs_put(origin, m, trusted);
    }
}

static void encode_part(const struct tokenizer *t, struct encoder *x, const char *p, size_t n,
                        bool first) {
    if (n && t->bpe) {
        bpe_encode(t->bpe, x, p, n);
    } else if (n && t->spm) {
        spm_encode(t->spm, x, p, n, first);
    } else if (n) {
        wordpiece_encode(t->v, x, p, n);
    }
}

/* Where the character before p[i] begins; i > 0. */
static size_t step_back(const char *p, size_t i) {
    do {
        i--;
    } while (i > 0 && ((uint8_t)p[i] & 0xC0) == 0x80);
    return i;
}

/* Whether no word goes on from before `begin` or behind `end`. */
static bool is_alone(const char *p, size_t n, size_t begin, size_t end) {
    size_t len;
    return (begin == 0 || !unicode_is_word(unicode_at(p + step_back(p, begin), &len))) &&
           (end == n || !unicode_is_word(unicode_at(p + end, &len)));
}

/* Grows a match over the white space that counts to it, but not over what is before `from`. False:
 * it is none. */
static bool trim_match(const struct vocab *v, int32_t id, const char *p, size_t n, size_t from,
                       size_t *begin, size_t *end) {
    unsigned flags = v->flags ? v->flags[id] : 0;
    size_t len;
    if ((flags & PIECE_WORD) && !is_alone(p, n, *begin, *end)) {
        return false;
    }
    while ((flags & PIECE_LSTRIP) && *begin > from) {
        size_t back = step_back(p, *begin);
        if (!(unicode_class_at(p + back, &len) & UC_SPACE)) {
            break;
        }
        *begin = back;
    }
    while ((flags & PIECE_RSTRIP) && *end < n && (unicode_class_at(p + *end, &len) & UC_SPACE)) {
        *end += len;
    }
    return true;
}

static void encode_text(const struct tokenizer *t, struct encoder *x, const char *p, size_t n,
                        const struct runs *rs, bool trusted) {
    struct special_match *m = NULL;
    size_t n_m = 0, at = 0;
    if (!special_find(t->special, p, n, rs, trusted, &m, &n_m)) {
        x->code = ERR_NOMEM;
    }
    for (size_t i = 0; i < n_m && !x->code; i++) {
        size_t begin = m[i].at, end = begin + vocab_at(t->v, (uint32_t)m[i].id).n;
        if (begin < at || !trim_match(t->v, m[i].id, p, n, at, &begin, &end)) {
            continue; /* begins in white space that has been dropped, or is part of a word */
        }
        encode_part(t, x, p + at, begin - at, at == 0);
        encoder_put(x, m[i].id);
        at = end;
    }
    if (!x->code) {
        encode_part(t, x, p + at, n - at, at == 0);
    }
    mem_free(m);
}

/* BOS in front unless the text brings its own, EOS behind likewise. */
static void add_ends(const struct vocab *v, struct encoder *x, enum bos_mode bos, size_t first) {
    struct ids *out = x->out;
    bool want = v->bos >= 0 && (bos == BOS_ALWAYS || (bos == BOS_AUTO && v->add_bos));
    if (want && !(out->n > first && out->id[first] == v->bos)) {
        encoder_put(x, v->bos); /* makes room */
        if (!x->code) {
            memmove(out->id + first + 1, out->id + first, (out->n - first - 1) * sizeof *out->id);
            out->id[first] = v->bos;
        }
    }
    bool ended = out->n > first && out->id[out->n - 1] == v->eos;
    if (bos != BOS_NEVER && v->eos >= 0 && v->add_eos && !ended) {
        encoder_put(x, v->eos);
    }
}

enum err_code tokenizer_encode(const struct tokenizer *t, const char *text, size_t n,
                               const struct runs *rs, bool parse_special, enum bos_mode bos,
                               size_t max, struct ids *out, struct err *e) {
    struct encoder x;
    struct buf clean;
    struct runs origin;
    size_t first = out->n;
    if (n > TEXT_MAX) {
        return err_set(e, ERR_LIMIT, "a text of %zu bytes; the bound is %zu", n, TEXT_MAX);
    }
    if (rs && n != (rs->n ? rs->r[rs->n - 1].end : 0)) {
        return err_set(e, ERR_USAGE, "the origins do not cover the text of %zu bytes", n);
    }
    buf_init(&clean, SIZE_MAX);
    runs_init(&origin);
    encoder_init(&x, t->v, n, out, max && max < SIZE_MAX - first ? first + max : SIZE_MAX);
    if (!utf8_valid(text, n)) {
        repair(text, n, rs, &clean, &origin);
        if (clean.failed || origin.failed) {
            x.code = ERR_NOMEM;
        }
        text = clean.p;
        n = clean.len;
        rs = rs ? &origin : NULL;
    }
    if (!x.code) {
        encode_text(t, &x, text, n, rs, parse_special);
        add_ends(t->v, &x, bos, first);
    }
    encoder_fini(&x);
    buf_fini(&clean);
    runs_fini(&origin);
    if (x.code) {
        out->n = first;
        return x.code == ERR_LIMIT ? err_set(e, ERR_LIMIT, "the text has more than %zu tokens", max)
                                   : err_set(e, x.code, "no memory to tokenize %zu bytes", n);
    }
    return ERR_OK;
}
