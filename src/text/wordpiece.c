/* wordpiece.c: see wordpiece.h.
 *
 * Owns the order of the normalizer's steps: control characters go and all white space becomes a
 * blank; ideographs stand alone; accents go (form D without its nonspacing marks); lower case.
 * Words end at blanks, and punctuation is a word of one character. A word is cut from the front,
 * the longest piece first; if that fails anywhere, or it is too long, all of it is unknown.
 * Invariant: a word costs at most CHARS_MAX times the longest piece, whatever the text.
 */
#include "text/wordpiece.h"

#include <string.h>

#include "base/utf8.h"
#include "text/sentencepiece.h"
#include "text/unicode.h"
#include "text/wordpiece_table.h"

#define MARK_BYTES (sizeof SPM_SPACE - 1)

enum { CHARS_MAX = 100 };

/* ---- characters ------------------------------------------------------------------------- */

static bool is_young(uint32_t cp) {
    size_t low = 0, high = sizeof young / sizeof *young;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (cp > young[mid][1]) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low < sizeof young / sizeof *young && cp >= young[low][0];
}

static bool is_one_of(uint32_t cp, const uint32_t *list, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (cp == list[i]) {
            return true;
        }
    }
    return false;
}

static bool is_dropped(uint32_t cp) {
    bool blank = cp == '\t' || cp == '\n' || cp == '\r';
    return cp == 0xFFFD || (!blank && unicode_control(cp) && !is_young(cp));
}

static bool is_punctuation(uint32_t cp) {
    if (cp < 0x80) {
        return unicode_ascii[cp] & (UC_PUNCT | UC_SYMBOL);
    }
    return is_one_of(cp, once_punctuation, sizeof once_punctuation / sizeof *once_punctuation) ||
           ((unicode_class(cp) & UC_PUNCT) && !is_young(cp));
}

static bool is_accent(uint32_t cp) {
    return cp >= 0x300 && ((unicode_nonspacing(cp) && !is_young(cp)) ||
                           is_one_of(cp, once_mark, sizeof once_mark / sizeof *once_mark));
}

static bool is_ideograph(uint32_t cp) {
    static const uint32_t block[][2] = {{0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xF900, 0xFAFF},
                                        {0x20000, 0x2A6DF}, {0x2A700, 0x2B81F}, {0x2B920, 0x2CEAF},
                                        {0x2F800, 0x2FA1F}};
    for (size_t i = 0; i < sizeof block / sizeof *block && cp >= block[i][0]; i++) {
        if (cp <= block[i][1]) {
            return true;
        }
    }
    return false;
}

/* ---- words ------------------------------------------------------------------------------ */

struct word_text {
    char p[MARK_BYTES + 4 * CHARS_MAX];
    size_t n, n_char; /* bytes, U+2581 included; characters, counted past the last that is kept */
};

static void word_begin(struct word_text *w) {
    memcpy(w->p, SPM_SPACE, MARK_BYTES);
    w->n = MARK_BYTES;
    w->n_char = 0;
}

static void word_add(struct word_text *w, uint32_t cp) {
    if (w->n_char++ < CHARS_MAX) {
        w->n += (size_t)utf8_encode(cp, w->p + w->n);
    }
}

/* The longest piece that w begins with from byte i on, and its length; -1: there is none. Past the
 * beginning U+2581 is a character of the text, which no piece that goes on with a word has. */
static int32_t longest_piece(const struct vocab *v, const struct word_text *w, size_t i,
                             size_t *len) {
    const char *p = w->p + i;
    size_t n = w->n - i, end = n < v->piece_max ? n : v->piece_max;
    if (i > 0 && n >= MARK_BYTES && memcmp(p, SPM_SPACE, MARK_BYTES) == 0) {
        return -1;
    }
    for (; end > (i ? 0 : MARK_BYTES); end--) {
        if (end < n && ((uint8_t)p[end] & 0xC0) == 0x80) {
            continue; /* inside of a character */
        }
        int32_t id = vocab_find(v, str_of(p, end));
        if (id >= 0 && !vocab_hidden(v, (uint32_t)id)) {
            *len = end;
            return id;
        }
    }
    return -1;
}

static void word_end(const struct vocab *v, struct encoder *x, struct word_text *w) {
    bool found;
    if (w->n_char == 0) {
        return;
    }
    size_t first = x->out->n, len = 0;
    struct word *place = encoder_recall(x, w->p, w->n, &found);
    bool whole = w->n_char <= CHARS_MAX;
    for (size_t i = 0; !found && whole && i < w->n; i += len) {
        int32_t id = longest_piece(v, w, i, &len);
        whole = id >= 0;
        if (whole) {
            encoder_put(x, id);
        }
    }
    if (!found && !whole) {
        x->out->n = first;
        encoder_put(x, v->unk);
    }
    if (!found) {
        encoder_remember(x, place, w->p, w->n, first);
    }
    word_begin(w);
}

/* ---- a text ----------------------------------------------------------------------------- */

/* Without what is dropped, white space as blanks, blanks around ideographs. */
static void clean(const char *p, size_t n, struct buf *out) {
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t cp = unicode_at(p + i, &len);
        if (is_dropped(cp)) {
            continue;
        }
        if (cp < 0x80 ? unicode_ascii[cp] & UC_SPACE : unicode_class(cp) & UC_SPACE) {
            buf_putc(out, ' ');
        } else if (is_ideograph(cp)) {
            buf_putc(out, ' ');
            buf_put(out, p + i, len);
            buf_putc(out, ' ');
        } else {
            buf_put(out, p + i, len);
        }
    }
}

static void add_char(const struct vocab *v, struct encoder *x, struct word_text *w, uint32_t cp) {
    const uint32_t dotted_i = 0x130; /* the one whose lower case is two characters */
    if (cp == ' ') {
        word_end(v, x, w);
    } else if (is_punctuation(cp)) {
        word_end(v, x, w);
        word_add(w, cp);
        word_end(v, x, w);
    } else if (!v->strip_accents || !is_accent(cp)) {
        word_add(w, !v->lowercase ? cp : cp == dotted_i ? 'i' : unicode_lower(cp));
        if (v->lowercase && cp == dotted_i) {
            word_add(w, 0x307);
        }
    }
}

void wordpiece_encode(const struct vocab *v, struct encoder *x, const char *p, size_t n) {
    struct buf text, plain;
    struct word_text w;
    buf_init(&text, SIZE_MAX);
    buf_init(&plain, SIZE_MAX);
    clean(p, n, &text);
    if (v->strip_accents && text.len) {
        unicode_nfd(text.p, text.len, &plain);
    }
    const struct buf *from = v->strip_accents ? &plain : &text;
    if (text.failed || plain.failed) {
        x->code = ERR_NOMEM;
    }
    word_begin(&w);
    for (size_t i = 0, len; i < from->len && !x->code; i += len) {
        add_char(v, x, &w, unicode_at(from->p + i, &len));
    }
    if (!x->code) {
        word_end(v, x, &w);
    }
    buf_fini(&text);
    buf_fini(&plain);
}
