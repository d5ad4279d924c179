/* normalizer.c: the steps, one after the other.
 *
 * Owns what each step does to a text. A step reads from front to back and says with each piece of
 * output how far it has read, from which the origins follow. The forms work on spans that begin at
 * an ASCII character, which never combines with what stands before it.
 */
#include "text/normalizer.h"

#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "text/charsmap.h"
#include "text/unicode.h"

struct normalizer {
    struct norm_step *step; /* [n] */
    struct charsmap *map;   /* [n] */
    size_t n;
    struct unicode_nfc *nfc; /* NULL if no step is form C */
};

enum err_code normalizer_create(struct normalizer **out, const struct norm_step *step, size_t n,
                                struct err *e) {
    *out = NULL;
    struct normalizer *z = mem_zalloc(1, sizeof *z);
    bool room =
        z && (z->step = mem_alloc(n, sizeof *z->step)) && (z->map = mem_zalloc(n, sizeof *z->map));
    for (size_t i = 0; room && i < n; i++) {
        z->step[z->n++] = step[i];
        if (step[i].kind == NORM_C && !z->nfc) {
            room = (z->nfc = unicode_nfc_create()) != NULL;
        }
        if ((step[i].kind == NORM_CHARSMAP || step[i].kind == NORM_CHARSMAP_WHOLE) &&
            !charsmap_open(&z->map[i], step[i].find)) {
            normalizer_free(z);
            return err_set(e, ERR_FORMAT, "the tokenizer's map of characters is broken");
        }
    }
    if (!room) {
        normalizer_free(z);
        return err_set(e, ERR_NOMEM, "no memory for a normalizer");
    }
    *out = z;
    return ERR_OK;
}

void normalizer_free(struct normalizer *z) {
    if (z) {
        mem_free(z->step);
        mem_free(z->map);
        unicode_nfc_free(z->nfc);
        mem_free(z);
    }
}

/* ---- one step --------------------------------------------------------------------------- */

/* A text on its way through a step. */
struct pass {
    const char *p;
    size_t n, at;          /* read so far */
    const struct runs *in; /* NULL: nobody asks for origins */
    size_t run;
    struct buf *out;
    struct runs *origin;
    enum norm_kind kind;
    bool replaces;      /* what is put now is in the place of a match */
    bool grew;          /* what was put last has more characters than what it stands for */
    size_t front, kept; /* bytes of the first character of all text, at the front of p and of out */
};

/* Bytes of as many characters at q's front as p[0..n) has. */
static size_t as_many(const char *p, size_t n, const char *q, size_t n_q) {
    size_t to = 0, len;
    for (size_t i = 0; i < n && to < n_q; i += len) {
        unicode_at(q + to, &len);
        to += len;
        unicode_at(p + i, &len);
    }
    return to;
}

/* Where a map leaves nothing of the input up to `upto`, the library counts what follows in its
 * place; or, if what stands before has just become more characters, the last of those. */
static void leave_nothing(struct pass *s, size_t upto) {
    if (s->out->len == 0) {
        s->front += as_many(s->p + s->at, upto - s->at, s->p + s->front, s->n - s->front);
    } else if (s->grew && s->kept == s->out->len) {
        s->kept = unicode_before(s->out->p, s->out->len);
    }
}

/* Of the n bytes put out last for the input up to `upto`, those that stand for the front. In the
 * library a replacement counts to the last character of its match, and what a map makes of several
 * counts one by one. */
static size_t front_of(const struct pass *s, size_t n, size_t upto) {
    const size_t left = s->at < s->front ? s->front - s->at : 0;
    if (left > 0 && upto <= s->front) {
        return n;
    }
    if (s->replaces) {
        return 0;
    }
    if (s->kind == NORM_CHARSMAP_WHOLE) {
        return as_many(s->p + s->at, left, s->out->p + s->out->len - n, n);
    }
    return n < left ? n : left; /* of a copy */
}

/* Keeps count of the front while n bytes are put out for the input up to `upto`. */
static void follow_front(struct pass *s, size_t n, size_t upto) {
    const bool map = s->kind == NORM_CHARSMAP_WHOLE;
    if (s->kept == 0 && s->at >= s->front && s->out->len > n) {
        return; /* it is behind us */
    }
    if (n > 0) {
        const char *from = s->p + s->at, *to = s->out->p + s->out->len - n;
        s->kept += front_of(s, n, upto);
        s->grew = map && as_many(from, upto - s->at, to, n) < n;
    } else {
        if (map) {
            leave_nothing(s, upto);
        }
        s->grew = false;
    }
}

/* The n bytes put out last stand for the input up to `upto`: trusted if all of that is. */
static void account(struct pass *s, size_t n, size_t upto) {
    bool trusted = true;
    if (!s->out->failed) {
        follow_front(s, n, upto);
    }
    for (; s->in && s->at < upto && s->run < s->in->n; s->run++) {
        trusted = trusted && s->in->r[s->run].trusted;
        if (s->in->r[s->run].end > upto) {
            break;
        }
        s->at = s->in->r[s->run].end;
    }
    s->at = upto;
    if (s->in) {
        runs_put(s->origin, n, trusted);
    }
}

static void put(struct pass *s, const char *text, size_t n, size_t upto) {
    buf_put(s->out, text, n);
    account(s, n, upto);
}

/* The input itself, up to `upto`: each byte has its own origin. */
static void copy(struct pass *s, size_t upto) {
    while (s->at < upto) {
        size_t end = upto;
        if (s->in && s->run < s->in->n && s->in->r[s->run].end < upto) {
            end = s->in->r[s->run].end;
        }
        put(s, s->p + s->at, end - s->at, end);
    }
}

/* Which characters become what; returns bytes in `to`, which has room for 8. */
static size_t map_char(enum norm_kind kind, uint32_t cp, char *to) {
    static const uint32_t blank[][2] = {{9, 10},          {12, 13},         {0x1680, 0x1680},
                                        {0x200B, 0x200F}, {0x2028, 0x2029}, {0x2581, 0x2581},
                                        {0xFEFF, 0xFEFF}, {0xFFFD, 0xFFFD}};
    if (kind == NORM_STRIP_ACCENTS) {
        return unicode_class(cp) & UC_MARK ? 0 : (size_t)utf8_encode(cp, to);
    }
    if (kind == NORM_LOWERCASE) {
        size_t n = (size_t)utf8_encode(cp == 0x130 ? 'i' : unicode_lower(cp), to);
        return n + (size_t)(cp == 0x130 ? utf8_encode(0x307, to + n) : 0);
    }
    if ((cp >= 1 && cp <= 8) || cp == 0xB || (cp >= 0xE && cp <= 0x1F) || cp == 0x7F ||
        cp == 0x8F || cp == 0x9F) {
        return 0;
    }
    for (size_t i = 0; i < sizeof blank / sizeof *blank; i++) {
        cp = cp >= blank[i][0] && cp <= blank[i][1] ? ' ' : cp;
    }
    return (size_t)utf8_encode(cp, to);
}

static void run_map(struct pass *s, enum norm_kind kind) {
    for (size_t i = 0, len; i < s->n; i += len) {
        char to[8];
        uint32_t cp = unicode_at(s->p + i, &len);
        size_t n = map_char(kind, cp, to);
        put(s, to, n, i + len);
    }
}

static void put_form(struct pass *s, unsigned form, size_t begin, size_t end) {
    if (!unicode_form(form, s->p + begin, end - begin, s->out)) {
        s->out->failed = true;
    }
}

/* How long what a form makes of the front is; it may end within a character that what follows has
 * gone into. */
static void form_front(struct pass *s, unsigned form) {
    put_form(s, form, 0, s->front);
    s->kept = s->out->failed ? 0 : s->out->len;
    s->front = 0;
    buf_reset(s->out);
}

static void run_form(struct pass *s, unsigned form) {
    form_front(s, form);
    for (size_t i = 0, end; i < s->n && !s->out->failed; i = end) {
        for (end = i + 1; end < s->n && (uint8_t)s->p[end] >= 0x80; end++) {
        }
        size_t begin = s->out->len;
        put_form(s, form, i, end);
        account(s, s->out->len - begin, end);
    }
}

static void run_strip(struct pass *s, const struct norm_step *step) {
    size_t begin = 0, end = s->n, len;
    while (step->left && begin < end && (unicode_class_at(s->p + begin, &len) & UC_SPACE)) {
        begin += len;
    }
    while (step->right && end > begin) {
        size_t last = unicode_before(s->p, end);
        if (!(unicode_class_at(s->p + last, &len) & UC_SPACE)) {
            break;
        }
        end = last;
    }
    put(s, "", 0, begin);
    copy(s, end);
}

/* Where the next match of a replacement begins at or behind i, and its length; n: none. */
static size_t next_match(const struct pass *s, const struct norm_step *step, size_t i,
                         size_t *len) {
    const char *first = step->kind == NORM_REPLACE ? step->find.p : "  ";
    size_t n = step->kind == NORM_REPLACE ? step->find.n : 2;
    for (; n <= s->n - i; i++) {
        const char *p = memchr(s->p + i, first[0], s->n - i - n + 1);
        if (!p) {
            break;
        }
        i = (size_t)(p - s->p);
        if (memcmp(p, first, n) == 0) {
            for (*len = n; step->kind != NORM_REPLACE && i + *len < s->n && p[*len] == ' ';) {
                ++*len;
            }
            return i;
        }
    }
    return s->n;
}

static void run_replace(struct pass *s, const struct norm_step *step) {
    size_t i = 0, len = 0;
    while (i < s->n) {
        size_t at = next_match(s, step, i, &len);
        copy(s, at);
        if (at == s->n) {
            break;
        }
        s->replaces = true;
        put(s, step->with.p, step->with.n, at + len);
        s->replaces = false;
        i = at + len;
    }
}

static void run_charsmap(struct pass *s, const struct charsmap *m, bool whole) {
    struct str to;
    for (size_t i = 0, end, len; i < s->n; i = end) {
        end = i + (whole ? unicode_grapheme(s->p + i, s->n - i) : s->n - i);
        if (whole && end - i < 6 && charsmap_find(m, s->p + i, end - i, true, &to)) {
            put(s, to.p, to.n, end);
            continue;
        }
        for (size_t k = i; k < end; k += len) {
            unicode_at(s->p + k, &len);
            size_t n = charsmap_find(m, s->p + k, whole ? len : end - k, whole, &to);
            if (n) {
                len = whole ? len : n;
                put(s, to.p, to.n, k + len);
            } else {
                put(s, s->p + k, len, k + len);
            }
        }
    }
}

static void run_step(const struct normalizer *z, size_t i, struct pass *s) {
    const struct norm_step *step = &z->step[i];
    switch (step->kind) {
    case NORM_C:
        if (!s->in) {
            form_front(s, UNICODE_COMPOSE);
            unicode_nfc(z->nfc, s->p, s->n, s->out);
        } else {
            run_form(s, UNICODE_COMPOSE);
        }
        break;
    case NORM_D: run_form(s, 0); break;
    case NORM_KC: run_form(s, UNICODE_COMPOSE | UNICODE_COMPAT); break;
    case NORM_KD: run_form(s, UNICODE_COMPAT); break;
    case NORM_STRIP: run_strip(s, step); break;
    case NORM_REPLACE:
    case NORM_REPLACE_SPACES: run_replace(s, step); break;
    case NORM_PREPEND:
        if (s->n) {
            put(s, step->with.p, step->with.n, 0);
            copy(s, s->n);
        }
        break;
    case NORM_CHARSMAP: run_charsmap(s, &z->map[i], false); break;
    case NORM_CHARSMAP_WHOLE: run_charsmap(s, &z->map[i], true); break;
    default: run_map(s, step->kind); break;
    }
}

/* ---- a text ----------------------------------------------------------------------------- */

bool normalizer_quick(const struct normalizer *z, const char *p, size_t n) {
    return !z || z->n == 0 || (z->n == 1 && z->nfc && unicode_nfc_quick(z->nfc, p, n));
}

static size_t growth(size_t n) {
    return n < (SIZE_MAX - 65536) / NORMALIZER_GROWTH ? n * NORMALIZER_GROWTH + 65536 : SIZE_MAX;
}

enum err_code normalizer_run(const struct normalizer *z, const char *p, size_t n,
                             const struct runs *in, struct buf *out, struct runs *origin,
                             size_t *front) {
    struct buf text[2];
    struct runs from[2];
    enum err_code rc = ERR_OK;
    struct str now = str_of(p, n);
    size_t begin = front ? *front : 0;
    for (int i = 0; i < 2; i++) {
        buf_init(&text[i], growth(n));
        runs_init(&from[i]);
    }
    for (size_t i = 0; z && !rc && i < z->n; i++) {
        struct buf *to = &text[i % 2];
        struct pass s = {now.p,        now.n,           0,     in,    0,     to,
                         &from[i % 2], z->step[i].kind, false, false, begin, 0};
        buf_reset(to);
        from[i % 2].n = 0;
        run_step(z, i, &s);
        now = str_of(to->p, to->len);
        in = in ? s.origin : NULL;
        for (begin = s.kept; begin < now.n && ((uint8_t)now.p[begin] & 0xC0) == 0x80;) {
            begin++;
        }
        rc = s.origin->failed ? ERR_NOMEM : buf_check(to, NULL);
    }
    if (front) {
        *front = begin;
    }
    if (!rc) {
        buf_put(out, now.p, now.n);
        for (size_t i = 0, at = 0; in && i < in->n; at = in->r[i++].end) {
            runs_put(origin, in->r[i].end - at, in->r[i].trusted);
        }
        rc = in && origin->failed ? ERR_NOMEM : buf_check(out, NULL);
    }
    for (int i = 0; i < 2; i++) {
        buf_fini(&text[i]);
        runs_fini(&from[i]);
    }
    return rc;
}
