/* tokenizer.c: a text with its origins to ids.
 *
 * Owns the order of the steps: repair broken UTF-8, cut at special pieces, normalize what lies
 * between, cut that at those that are looked for there, encode the rest, add BOS and EOS. Refuses
 * the encoding itself (bpe.c, sentencepiece.c, unigram.c, wordpiece.c) and decoding
 * (detokenizer.c). Invariant: on any error *out is as it was.
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
    if (v->model == VOCAB_BPE && !v->characters && v->kind[id] == PIECE_NORMAL) {
        return bpe_unspell(p, out);
    }
    size_t n = 0;
    bool spaces = (v->model != VOCAB_BPE || v->characters) && !vocab_hidden(v, id);
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
    return sizeof(struct tokenizer) + raw +
           (s->model == VOCAB_BPE       ? bpe_need(s)
            : s->model == VOCAB_UNIGRAM ? unigram_need(s, text)
                                        : 0);
}

enum err_code tokenizer_create(struct tokenizer **out, const struct vocab *v, struct err *e) {
    *out = NULL;
    struct tokenizer *t = mem_zalloc(1, sizeof *t);
    if (!t) {
        return err_set(e, ERR_NOMEM, "no memory for a tokenizer");
    }
    t->v = v;
    enum err_code c = make_raw(t, e);
    if (!c && v->n_norm) {
        c = normalizer_create(&t->norm, v->norm, v->n_norm, e);
    }
    c = c ? c : special_create(&t->special, v, NULL, 0, e);
    c = c ? c : special_create(&t->second, v, t->norm, PIECE_NORMALIZED, e);
    c = c ? c : special_create(&t->within, v, NULL, PIECE_WITHIN, e);
    if (!c && v->model == VOCAB_BPE) {
        c = bpe_create(&t->bpe, v, t->raw, t->raw_at, e);
    } else if (!c && v->model == VOCAB_SPM) {
        c = spm_create(&t->spm, v, e);
    } else if (!c && v->model == VOCAB_UNIGRAM) {
        c = unigram_create(&t->unigram, v, e);
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
    unigram_free(t->unigram);
    special_free(t->special);
    special_free(t->second);
    special_free(t->within);
    normalizer_free(t->norm);
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

/* A normalized text by the steps that its file lists. */
static void encode_steps(const struct tokenizer *t, struct encoder *x, const char *p, size_t n,
                         size_t front) {
    struct words w;
    words_init(&w);
    x->code = splitter_run(t->v->split, t->v->n_split, p, n, front, &w);
    for (size_t i = 0; i < w.n && !x->code; i++) {
        if (t->bpe) {
            bpe_encode_word(t->bpe, x, w.word[i].p, w.word[i].n);
        } else {
            unigram_encode(t->unigram, x, w.word[i].p, w.word[i].n);
        }
    }
    words_fini(&w);
}

/* SentencePiece's merging: its user-defined pieces stay whole. */
static void encode_merged(const struct tokenizer *t, struct encoder *x, const char *p, size_t n) {
    struct special_match *m = NULL;
    size_t n_m = 0, at = 0;
    if (special_any(t->within) && !special_find(t->within, p, n, NULL, false, &m, &n_m)) {
        x->code = ERR_NOMEM;
    }
    for (size_t i = 0; i < n_m && !x->code; i++) {
        spm_encode(t->spm, x, p + at, m[i].at - at);
        encoder_put(x, m[i].id);
        at = m[i].at + m[i].n;
    }
    spm_encode(t->spm, x, p + at, n - at);
    mem_free(m);
}

static void encode_spaced(const struct tokenizer *t, struct encoder *x, const char *p, size_t n,
                          bool first) {
    struct buf text;
    buf_init(&text, SIZE_MAX);
    spm_normalize(t->v, p, n, first, &text);
    if (text.failed) {
        x->code = ERR_NOMEM;
    } else if (t->spm && text.len) {
        encode_merged(t, x, text.p, text.len);
    } else if (text.len) {
        unigram_encode(t->unigram, x, text.p, text.len);
    }
    buf_fini(&text);
}

/* A normalized text without special pieces; `front` bytes come from the text's first character. */
static void encode_plain(const struct tokenizer *t, struct encoder *x, const char *p, size_t n,
                         size_t front) {
    if (n && t->v->steps) {
        encode_steps(t, x, p, n, front);
    } else if (n && t->bpe) {
        bpe_encode(t->bpe, x, p, n);
    } else if (!t->v->steps && (t->spm || t->unigram)) {
        encode_spaced(t, x, p, n, front > 0);
    } else if (n) {
        wordpiece_encode(t->v, x, p, n);
    }
}

/* Whether no word goes on from before `begin` or behind `end`. */
static bool is_alone(const char *p, size_t n, size_t begin, size_t end) {
    size_t len;
    return (begin == 0 || !unicode_is_word(unicode_at(p + unicode_before(p, begin), &len))) &&
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
        size_t back = unicode_before(p, *begin);
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

/* A text, and which of its bytes are trusted: all or none of them, or as `rs` says. */
struct source {
    const char *p;
    size_t n;
    const struct runs *rs;
    bool trusted;
};

static void slice_runs(const struct runs *rs, size_t begin, size_t end, struct runs *out) {
    for (size_t i = 0; i < rs->n && begin < end; i++) {
        size_t upto = rs->r[i].end < end ? rs->r[i].end : end;
        if (upto > begin) {
            runs_put(out, upto - begin, rs->r[i].trusted);
            begin = upto;
        }
    }
}

/* Normalizes all of a text but SentencePiece's own user-defined pieces. */
static enum err_code normalize(const struct tokenizer *t, const struct source *s, struct buf *text,
                               struct runs *origin, size_t *front) {
    struct special_match *m = NULL;
    size_t n_m = 0, at = 0;
    enum err_code rc = ERR_OK;
    if (!special_any(t->within)) {
        return normalizer_run(t->norm, s->p, s->n, s->rs, text, origin, front);
    }
    if (!special_find(t->within, s->p, s->n, NULL, false, &m, &n_m)) {
        return ERR_NOMEM;
    }
    for (size_t i = 0; i <= n_m && !rc; i++) { /* such a vocabulary has no second pass */
        size_t begin = i < n_m ? m[i].at : s->n, end = i < n_m ? begin + m[i].n : s->n;
        rc = normalizer_run(t->norm, s->p + at, begin - at, NULL, text, NULL, NULL);
        buf_put(text, s->p + begin, end - begin);
        at = end;
    }
    mem_free(m);
    return rc ? rc : buf_check(text, NULL);
}

static void encode_pass(const struct tokenizer *t, struct encoder *x, const struct source *s,
                        size_t front, bool normalized);

/* What lies between the special pieces of the first pass, s->p[begin..end): normalized, it is
 * searched for those of the second. */
static void encode_part(const struct tokenizer *t, struct encoder *x, const struct source *s,
                        size_t begin, size_t end, size_t front) {
    bool quick = normalizer_quick(t->norm, s->p + begin, end - begin);
    bool asks = s->rs && special_any(t->second) && !special_any(t->within);
    struct source part = {s->p + begin, end - begin, NULL, s->trusted && !s->rs};
    struct runs slice, origin;
    struct buf text;
    buf_init(&text, SIZE_MAX);
    runs_init(&slice);
    runs_init(&origin);
    if (asks) {
        slice_runs(s->rs, begin, end, &slice);
        part.rs = &slice;
        x->code = slice.failed ? ERR_NOMEM : ERR_OK;
    }
    if (!x->code && !quick) {
        x->code = normalize(t, &part, &text, &origin, &front);
        part =
            (struct source){text.len ? text.p : "", text.len, asks ? &origin : NULL, part.trusted};
    }
    if (!x->code) {
        encode_pass(t, x, &part, front, true);
    }
    buf_fini(&text);
    runs_fini(&slice);
    runs_fini(&origin);
}

/* Finds special pieces, in the text as it is or normalized, and encodes what is between them. */
static void encode_pass(const struct tokenizer *t, struct encoder *x, const struct source *s,
                        size_t front, bool normalized) {
    const struct special *list = normalized ? t->second : t->special;
    struct special_match *m = NULL;
    size_t n_m = 0, at = 0;
    if (special_any(list) && !special_find(list, s->p, s->n, s->rs, s->trusted, &m, &n_m)) {
        x->code = ERR_NOMEM;
    }
    for (size_t i = 0; i <= n_m && !x->code; i++) {
        size_t begin = i < n_m ? m[i].at : s->n, end = i < n_m ? begin + m[i].n : s->n;
        if (i < n_m && !trim_match(t->v, m[i].id, s->p, s->n, at, &begin, &end)) {
            continue;
        }
        if (normalized && (begin > at || s->n == 0)) {
            encode_plain(t, x, s->p + at, begin - at, at < front ? front - at : 0);
        } else if (!normalized && begin > at) {
            encode_part(t, x, s, at, begin, at == 0 ? front : 0);
        }
        if (i < n_m && !x->code) {
            encoder_put(x, m[i].id);
        }
        at = end;
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
        const struct source all = {text, n, rs, parse_special};
        size_t front = 0;
        if (n) {
            unicode_at(text, &front);
        }
        encode_pass(t, &x, &all, front, false);
        add_ends(t->v, &x, bos, first);
    }
    bool full = out->n >= x.max;
    encoder_fini(&x);
    buf_fini(&clean);
    runs_fini(&origin);
    if (x.code) {
        out->n = first;
        return x.code != ERR_LIMIT ? err_set(e, x.code, "no memory to tokenize %zu bytes", n)
               : full
                   ? err_set(e, ERR_LIMIT, "the text has more than %zu tokens", max)
                   : err_set(e, ERR_LIMIT, "the tokenizer makes a text of %zu bytes too long", n);
    }
    return ERR_OK;
}
