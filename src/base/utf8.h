/* utf8.h: strict UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing past U+10FFFF.
 *
 * Owns decoding, encoding, validation, and the one rule for broken bytes: each maximal subpart
 * becomes one U+FFFD (Unicode 15, section 3.9, table 3-8; what WHATWG and Rust do too).
 * Refuses to own categories and normalization: those are text/unicode.h's.
 */
#ifndef IGN_BASE_UTF8_H
#define IGN_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

#define UTF8_BAD 0xFFFDu

/* Decodes one scalar value from p[0..n), n >= 1, into *cp; returns its length in bytes (1..4).
 * Broken input gives -k and *cp = UTF8_BAD: k bytes (1..3) form the maximal subpart. */
int utf8_decode(const char *p, size_t n, uint32_t *cp);
/* Writes 1..4 bytes to out; cp must be a scalar value. */
int utf8_encode(uint32_t cp, char out[4]);
bool utf8_valid(const char *p, size_t n);
/* How many bytes at the end of p[0..n) start a sequence that more bytes could complete (0..3). */
size_t utf8_pending(const char *p, size_t n);
/* Appends p[0..n) with every broken subpart replaced by U+FFFD. */
void utf8_clean(struct buf *out, const char *p, size_t n);

#endif
