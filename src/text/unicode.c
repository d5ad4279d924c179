/* unicode.c: the one file that knows utf8proc.
 *
 * Owns the mapping of general categories to class bits, and the normalization forms, done span
 * by span with sorting of our own: utf8proc sorts combining marks by exchange, which a hostile run
 * of marks turns quadratic. Refuses allocation by the library: only its functions on our buffers
 * are called. Source: Unicode Standard Annex 15.
 */
#include "text/unicode.h"

#include <string.h>
#include <utf8proc.h>

#include "base/mem.h"
#include "base/utf8.h"

enum {
    NFC_LIMIT = 0x30000, /* nothing at or above decomposes or combines */
    HANGUL_FIRST = 0xAC00,
    HANGUL_LAST = 0xD7A3,
    DECOMPOSED_MAX =
        18 /* U+FDFA has as many in its compatibility decomposition; canonical ones 4 */
};

#define U (UC_LETTER | UC_UPPER)
#define L (UC_LETTER | UC_LOWER)
#define N UC_NUMBER
#define P UC_PUNCT
#define Y UC_SYMBOL
#define S UC_SPACE
#define R (UC_SPACE | UC_NEWLINE)
const uint16_t unicode_ascii[128] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, S, R, S, S, R, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    S, P, P, P, Y, P, P, P, P, P, P, Y, P, P, P, P, N, N, N, N, N, N, N, N, N, N, P, P, Y, Y, Y, P,
    P, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, P, P, P, Y, P,
    Y, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, P, Y, P, Y, 0};
#undef U
#undef L
#undef N
#undef P
#undef Y
#undef S
#undef R

unsigned unicode_class(uint32_t cp) {
    if (cp < 128) {
        return unicode_ascii[cp];
    }
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LT: return UC_LETTER | UC_UPPER;
    case UTF8PROC_CATEGORY_LL: return UC_LETTER | UC_LOWER;
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return UC_LETTER;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME: return UC_MARK;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return UC_NUMBER;
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO: return UC_PUNCT;
    case UTF8PROC_CATEGORY_SM:
    case UTF8PROC_CATEGORY_SC:
    case UTF8PROC_CATEGORY_SK:
    case UTF8PROC_CATEGORY_SO: return UC_SYMBOL;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return UC_SPACE;
    default: return cp == 0x85 ? UC_SPACE : 0; /* NEXT LINE is White_Space, category Cc */
    }
}

/* Alphabetic is L, Nl, and of the marks and symbols what Other_Alphabetic lists; all marks count
 * anyway. */
bool unicode_is_word(uint32_t cp) {
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    case UTF8PROC_CATEGORY_SO:
        return (cp >= 0x24B6 && cp <= 0x24E9) || (cp >= 0x1F130 && cp <= 0x1F149) ||
               (cp >= 0x1F150 && cp <= 0x1F169) || (cp >= 0x1F170 && cp <= 0x1F189);
    case UTF8PROC_CATEGORY_CF: return cp == 0x200C || cp == 0x200D;
    default: return unicode_class(cp) & (UC_LETTER | UC_MARK);
    }
}

bool unicode_nonspacing(uint32_t cp) {
    return utf8proc_category((utf8proc_int32_t)cp) == UTF8PROC_CATEGORY_MN;
}

bool unicode_control(uint32_t cp) {
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return c == UTF8PROC_CATEGORY_CC || c == UTF8PROC_CATEGORY_CF || c == UTF8PROC_CATEGORY_CO;
}

uint32_t unicode_lower(uint32_t cp) {
    return (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp);
}

/* ---- normalization form C ------------------------------------------------------------- */

struct unicode_nfc {
    uint64_t odd[NFC_LIMIT / 64]; /* bit: not a starter that form C always leaves alone */
};

static size_t decompose(uint32_t cp, bool compat, int32_t out[DECOMPOSED_MAX]) {
    int boundary = 0;
    utf8proc_option_t how = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compat ? UTF8PROC_COMPAT : 0);
    utf8proc_ssize_t n =
        utf8proc_decompose_char((utf8proc_int32_t)cp, out, DECOMPOSED_MAX, how, &boundary);
    if (n < 1 || n > DECOMPOSED_MAX) {
        out[0] = (int32_t)cp;
        return 1;
    }
    return (size_t)n;
}

static void nfc_mark(struct unicode_nfc *t, uint32_t cp) {
    t->odd[cp / 64] |= (uint64_t)1 << (cp % 64);
}

static bool nfc_odd(const struct unicode_nfc *t, uint32_t cp) {
    return cp < NFC_LIMIT && (t->odd[cp / 64] >> (cp % 64) & 1);
}

/* The last character of a decomposition may combine with what stands before it, so it is odd;
 * so is whatever does not come back from decomposition as itself. */
static void nfc_learn(struct unicode_nfc *t, uint32_t cp) {
    const utf8proc_property_t *prop = utf8proc_get_property((utf8proc_int32_t)cp);
    if (prop->combining_class) {
        nfc_mark(t, cp);
    }
    if (prop->decomp_seqindex == UINT16_MAX || prop->decomp_type) {
        return;
    }
    int32_t d[DECOMPOSED_MAX];
    size_t n = decompose(cp, false, d);
    if (n > 1 && (uint32_t)d[n - 1] < NFC_LIMIT) {
        nfc_mark(t, (uint32_t)d[n - 1]);
    }
    if (utf8proc_normalize_utf32(d, (utf8proc_ssize_t)n, UTF8PROC_STABLE | UTF8PROC_COMPOSE) != 1 ||
        (uint32_t)d[0] != cp) {
        nfc_mark(t, cp);
    }
}

struct unicode_nfc *unicode_nfc_create(void) {
    struct unicode_nfc *t = mem_zalloc(1, sizeof *t);
    if (!t) {
        return NULL;
    }
    for (uint32_t cp = 0x80; cp < NFC_LIMIT; cp++) {
        if (cp == HANGUL_FIRST) {
            cp = HANGUL_LAST + 1; /* syllables are starters that recompose to themselves */
        }
        nfc_learn(t, cp);
    }
    /* Vowels and finals of Hangul combine by arithmetic. U+11A7, before the first final, does not:
     * as a safe starter it begins a span, so utf8proc never sees it after a syllable. */
    for (uint32_t cp = 0x1161; cp <= 0x1175; cp++) {
        nfc_mark(t, cp);
    }
    for (uint32_t cp = 0x11A8; cp <= 0x11C2; cp++) {
        nfc_mark(t, cp);
    }
    return t;
}

void unicode_nfc_free(struct unicode_nfc *t) {
    mem_free(t);
}

bool unicode_nfc_quick(const struct unicode_nfc *t, const char *p, size_t n) {
    for (size_t i = 0, len; i < n; i += len) {
        if ((uint8_t)p[i] < 0x80) {
            len = 1;
        } else if (nfc_odd(t, unicode_at(p + i, &len))) {
            return false;
        }
    }
    return true;
}

struct mark {
    uint32_t order; /* combining class above, place below: a stable sort by one number */
    int32_t cp;
};

static void marks_sort(struct mark *a, struct mark *tmp, size_t n) {
    if (n <= 8) {
        for (size_t i = 1; i < n; i++) {
            struct mark m = a[i];
            size_t k = i;
            for (; k && a[k - 1].order > m.order; k--) {
                a[k] = a[k - 1];
            }
            a[k] = m;
        }
        return;
    }
    size_t half = n / 2; /* depth log2(n) */
    marks_sort(a, tmp, half);
    marks_sort(a + half, tmp, n - half);
    memcpy(tmp, a, half * sizeof *a);
    for (size_t l = 0, r = half, k = 0; l < half; k++) {
        a[k] = r < n && a[r].order < tmp[l].order ? a[r++] : tmp[l++];
    }
}

/* Puts each run of combining marks in order of their classes. `tmp` has room for 2n. */
static void nfc_order(int32_t *cp, struct mark *tmp, size_t n) {
    for (size_t i = 0, end; i < n; i = end) {
        end = i + 1;
        uint32_t ccc = (uint32_t)utf8proc_get_property(cp[i])->combining_class;
        if (!ccc) {
            continue;
        }
        for (end = i; end < n; end++) {
            ccc = (uint32_t)utf8proc_get_property(cp[end])->combining_class;
            if (!ccc) {
                break;
            }
            tmp[end - i] = (struct mark){ccc, cp[end]};
        }
        marks_sort(tmp, tmp + n, end - i);
        for (size_t k = i; k < end; k++) {
            cp[k] = tmp[k - i].cp;
        }
    }
}

bool unicode_form(unsigned form, const char *p, size_t n, struct buf *out) {
    bool compat = form & UNICODE_COMPAT;
    int32_t small[64];
    struct mark small_mark[2 * 64];
    int32_t *cp = small;
    struct mark *mark = small_mark;
    /* Characters of 2 bytes at least, but the first, become 4 at most; of 3 bytes, 18. */
    size_t cap = (compat ? 6 : 2) * n + 4;
    bool ok = false;
    if (cap > 64) {
        cp = mem_alloc(cap, sizeof *cp);
        mark = mem_alloc(cap, 2 * sizeof *mark);
        if (!cp || !mark) {
            goto done;
        }
    }
    size_t n_cp = 0;
    for (size_t i = 0, len; i < n; i += len) {
        int32_t d[DECOMPOSED_MAX];
        size_t k = decompose(unicode_at(p + i, &len), compat, d);
        for (size_t j = 0; j < k && n_cp < cap; j++) {
            cp[n_cp++] = d[j];
        }
    }
    nfc_order(cp, mark, n_cp);
    utf8proc_ssize_t m = (utf8proc_ssize_t)n_cp;
    if (form & UNICODE_COMPOSE) {
        m = utf8proc_normalize_utf32(cp, m, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    }
    for (utf8proc_ssize_t i = 0; i < m; i++) {
        char c[4];
        buf_put(out, c, (size_t)utf8_encode((uint32_t)cp[i], c));
    }
    ok = m >= 0;
done:
    if (cp != small) {
        mem_free(cp);
    }
    if (mark != small_mark) {
        mem_free(mark);
    }
    return ok;
}

void unicode_nfc(const struct unicode_nfc *t, const char *p, size_t n, struct buf *out) {
    size_t done = 0; /* p[0..done) is written */
    size_t safe = 0; /* the last safe starter, or 0 */
    size_t i = 0, len;
    while (i < n) {
        uint32_t cp = unicode_at(p + i, &len);
        if (!nfc_odd(t, cp)) {
            safe = i;
            i += len;
            continue;
        }
        buf_put(out, p + done, safe - done);
        for (i += len; i < n; i += len) {
            if (!nfc_odd(t, unicode_at(p + i, &len))) {
                break;
            }
        }
        if (!unicode_form(UNICODE_COMPOSE, p + safe, i - safe, out)) {
            out->failed = true;
            return;
        }
        done = safe = i;
    }
    buf_put(out, p + done, n - done);
}

/* Spans are what lies between ASCII characters, which form D leaves alone. */
void unicode_nfd(const char *p, size_t n, struct buf *out) {
    for (size_t i = 0, end; i < n; i = end) {
        bool ascii = (uint8_t)p[i] < 0x80;
        for (end = i; end < n && ((uint8_t)p[end] < 0x80) == ascii; end++) {
        }
        if (ascii) {
            buf_put(out, p + i, end - i);
        } else if (!unicode_form(0, p + i, end - i, out)) {
            out->failed = true;
            return;
        }
    }
}

/* ---- graphemes ------------------------------------------------------------------------ */

size_t unicode_grapheme(const char *p, size_t n) {
    size_t i, len;
    utf8proc_int32_t state = 0;
    uint32_t before = unicode_at(p, &i);
    for (; i < n; i += len) {
        uint32_t cp = unicode_at(p + i, &len);
        if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)before, (utf8proc_int32_t)cp,
                                             &state)) {
            break;
        }
        before = cp;
    }
    return i;
}
