/* detokenizer.c: ids to text, whole or as they come.
 *
 * Owns the one stream of bytes behind both: decoding whole is streaming to the end, so the two
 * cannot differ. Refuses to encode. Invariant: what has been put out is valid UTF-8, and at most
 * three bytes are held back.
 */
#include <string.h>

#include "base/utf8.h"
#include "text/tokenizer.h"
#include "text/tokenizer_int.h"

static enum err_code id_bytes(const struct tokenizer *t, int32_t id, bool special, struct str *p,
                              struct err *e) {
    const struct vocab *v = t->v;
    if (id < 0 || (uint32_t)id >= v->n_vocab) {
        return err_set(e, ERR_RANGE, "token id %d; the vocabulary has %u pieces", id, v->n_vocab);
    }
    bool shown = v->kind[id] != PIECE_UNUSED && (special || !vocab_hidden(v, (uint32_t)id));
    *p = str_of(t->raw + t->raw_at[id], shown ? t->raw_at[id + 1] - t->raw_at[id] : 0);
    return ERR_OK;
}

enum err_code tokenizer_piece(const struct tokenizer *t, int32_t id, bool special, struct buf *out,
                              struct err *e) {
    struct str p = {0};
    enum err_code c = id_bytes(t, id, special, &p, e);
    if (c) {
        return c;
    }
    buf_put(out, p.p, p.n);
    return buf_check(out, e);
}

void detok_init(struct detok *d, const struct tokenizer *t, bool special) {
    *d = (struct detok){.t = t, .special = special, .started = !t->v->first_space};
}

void detok_init_continue(struct detok *d, const struct tokenizer *t, bool special) {
    *d = (struct detok){.t = t, .special = special, .started = true};
}

/* Byte by byte until what is held is complete or broken; returns how many of p[0..n) it took. */
static size_t detok_complete(struct detok *d, const char *p, size_t n, struct buf *out) {
    size_t i = 0;
    while (d->n_held && i < n) {
        d->held[d->n_held++] = p[i++];
        size_t keep = utf8_pending(d->held, d->n_held);
        size_t ready = d->n_held - keep;
        utf8_clean(out, d->held, ready);
        memmove(d->held, d->held + ready, keep);
        d->n_held = (unsigned)keep;
    }
    return i;
}

enum err_code detok_put(struct detok *d, int32_t id, struct buf *out, struct err *e) {
    struct str p = {0};
    enum err_code c = id_bytes(d->t, id, d->special, &p, e);
    if (c) {
        return c;
    }
    if (!d->started && p.n) {
        size_t skip = p.p[0] == ' ';
        p = str_of(p.p + skip, p.n - skip);
        d->started = true;
    }
    size_t i = detok_complete(d, p.p, p.n, out);
    size_t keep = utf8_pending(p.p + i, p.n - i);
    utf8_clean(out, p.p + i, p.n - i - keep);
    if (keep) {
        memcpy(d->held, p.p + p.n - keep, keep);
        d->n_held = (unsigned)keep;
    }
    return buf_check(out, e);
}

void detok_end(struct detok *d, struct buf *out) {
    utf8_clean(out, d->held, d->n_held);
    d->n_held = 0;
}

enum err_code tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n,
                               bool special, struct buf *out, struct err *e) {
    struct detok d;
    detok_init(&d, t, special);
    for (size_t i = 0; i < n; i++) {
        enum err_code c = detok_put(&d, ids[i], out, e);
        if (c) {
            return c;
        }
    }
    detok_end(&d, out);
    return buf_check(out, e);
}
