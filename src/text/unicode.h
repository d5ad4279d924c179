/* unicode.h: what the tokenizers ask about characters.
 *
 * Owns the classes that the pre-tokenizers' patterns are made of, and the normalization forms.
 * The tables are utf8proc's (Unicode 15.0 in Debian 12), which only unicode.c includes. Everything
 * here expects valid UTF-8: base/utf8.h repairs text first.
 */
#ifndef IGN_TEXT_UNICODE_H
#define IGN_TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* A character's classes, as bits: general categories L, N, P, S, M; of the letters Lu or Lt, and
 * Ll; the White_Space property; and the two characters of [\r\n]. Everything else has none. */
enum unicode_class {
    UC_LETTER = 1,
    UC_NUMBER = 2,
    UC_SPACE = 4,
    UC_PUNCT = 8,
    UC_SYMBOL = 16,
    UC_MARK = 32,
    UC_NEWLINE = 64,
    UC_UPPER = 128, /* beside UC_LETTER */
    UC_LOWER = 256  /* likewise */
};

extern const uint16_t unicode_ascii[128];
/* The class bits of any scalar value. */
unsigned unicode_class(uint32_t cp);
/* Whether it is one of \w in a regular expression: Unicode Technical Standard 18, annex C. */
bool unicode_is_word(uint32_t cp);

/* The scalar value at p, which starts a valid sequence; *len gets its length in bytes. */
static inline uint32_t unicode_at(const char *p, size_t *len) {
    const uint8_t *u = (const uint8_t *)p;
    if (u[0] < 0x80) {
        *len = 1;
        return u[0];
    }
    if (u[0] < 0xE0) {
        *len = 2;
        return (uint32_t)(u[0] & 0x1F) << 6 | (u[1] & 0x3F);
    }
    if (u[0] < 0xF0) {
        *len = 3;
        return (uint32_t)(u[0] & 0x0F) << 12 | (uint32_t)(u[1] & 0x3F) << 6 | (u[2] & 0x3F);
    }
    *len = 4;
    return (uint32_t)(u[0] & 0x07) << 18 | (uint32_t)(u[1] & 0x3F) << 12 |
           (uint32_t)(u[2] & 0x3F) << 6 | (u[3] & 0x3F);
}

/* Where the character that ends before p[i] begins; i >= 1. */
static inline size_t unicode_before(const char *p, size_t i) {
    do {
        i--;
    } while (i > 0 && ((uint8_t)p[i] & 0xC0) == 0x80);
    return i;
}

static inline unsigned unicode_class_at(const char *p, size_t *len) {
    if ((uint8_t)p[0] < 0x80) {
        *len = 1;
        return unicode_ascii[(uint8_t)p[0]];
    }
    return unicode_class(unicode_at(p, len));
}

/* General category Mn; Cc, Cf or Co; the lower case that is one character, or `cp` itself. */
bool unicode_nonspacing(uint32_t cp);
bool unicode_control(uint32_t cp);
uint32_t unicode_lower(uint32_t cp);

/* A bit for each character that may change, or be changed by, its neighbours in form C. */
struct unicode_nfc;

struct unicode_nfc *unicode_nfc_create(void); /* NULL when out of memory */
void unicode_nfc_free(struct unicode_nfc *t); /* NULL is fine */

/* Whether p[0..n) is surely in form C already; false means: unicode_nfc decides. */
bool unicode_nfc_quick(const struct unicode_nfc *t, const char *p, size_t n);
/* Appends form C of p[0..n) to out, in time O(n log n); out->failed when out of memory. */
void unicode_nfc(const struct unicode_nfc *t, const char *p, size_t n, struct buf *out);

/* Appends form D of p[0..n) to out likewise. */
void unicode_nfd(const char *p, size_t n, struct buf *out);

/* Bits of a normalization form: KC has both, D none. */
enum { UNICODE_COMPOSE = 1, UNICODE_COMPAT = 2 };
/* Appends any form of one span to out: what neither begins with a character that combines with the
 * one before it, nor goes on behind its end. False when out of memory. */
bool unicode_form(unsigned form, const char *p, size_t n, struct buf *out);

/* Bytes of the first grapheme of p[0..n), n >= 1: Unicode Standard Annex 29. */
size_t unicode_grapheme(const char *p, size_t n);

#endif
