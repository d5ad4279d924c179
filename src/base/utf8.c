/* utf8.c: UTF-8 decoding by the table of well-formed sequences.
 *
 * Owns the byte ranges (Unicode 15, table 3-7). Refuses categories and normalization.
 * Invariant: a decode never looks past n bytes and always makes progress.
 */
#include "base/utf8.h"

#include <string.h>

#include "base/buf.h"

/* The length that lead byte `c` announces (0 if it cannot lead), and the range that the second
 * byte must lie in: narrower than 80..BF after E0, ED, F0 and F4. */
static unsigned utf8_lead(unsigned char c, unsigned char *lo, unsigned char *hi) {
    *lo = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    *hi = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    if (c < 0x80) {
        return 1;
    }
    if (c < 0xc2 || c > 0xf4) {
        return 0;
    }
    return c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

/* How many bytes of p[0..n) belong to the sequence at its start (at least 1), and in *want how
 * many it needs; 0 if the first byte cannot lead. */
static size_t utf8_span(const char *p, size_t n, size_t *want) {
    unsigned char lo, hi;
    *want = utf8_lead((unsigned char)p[0], &lo, &hi);
    size_t k = 1;
    while (k < *want && k < n) {
        unsigned char c = (unsigned char)p[k];
        if (c < lo || c > hi) {
            break;
        }
        lo = 0x80;
        hi = 0xbf;
        k++;
    }
    return k;
}

int utf8_decode(const char *p, size_t n, uint32_t *cp) {
    unsigned char c = (unsigned char)p[0];
    if (c < 0x80) {
        *cp = c;
        return 1;
    }
    size_t want, k = utf8_span(p, n, &want);
    if (k != want) {
        *cp = UTF8_BAD;
        return -(int)k;
    }
    uint32_t v = c & (0xffu >> (want + 1));
    for (size_t i = 1; i < want; i++) {
        v = v << 6 | ((unsigned char)p[i] & 0x3fu);
    }
    *cp = v;
    return (int)want;
}

int utf8_encode(uint32_t cp, char out[4]) {
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xc0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xe0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
        out[2] = (char)(0x80 | (cp & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
    out[3] = (char)(0x80 | (cp & 0x3f));
    return 4;
}

/* How many bytes at the start of p[0..n) are ASCII; eight at a time, since most text is. */
static size_t utf8_ascii(const char *p, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t w;
        memcpy(&w, p + i, 8);
        if (w & 0x8080808080808080u) {
            break;
        }
    }
    while (i < n && (unsigned char)p[i] < 0x80) {
        i++;
    }
    return i;
}

bool utf8_valid(const char *p, size_t n) {
    for (size_t i = utf8_ascii(p, n); i < n; i += utf8_ascii(p + i, n - i)) {
        size_t want, k = utf8_span(p + i, n - i, &want);
        if (k != want) {
            return false;
        }
        i += k;
    }
    return true;
}

size_t utf8_pending(const char *p, size_t n) {
    /* The last lead byte can be at most three bytes from the end. */
    for (size_t k = 1; k <= 3 && k <= n; k++) {
        unsigned char c = (unsigned char)p[n - k];
        if (c >= 0x80 && c < 0xc0) {
            continue;
        }
        size_t want, have = utf8_span(p + n - k, k, &want);
        return have == k && want > k ? k : 0;
    }
    return 0;
}

void utf8_clean(struct buf *out, const char *p, size_t n) {
    size_t done = 0, i = utf8_ascii(p, n);
    while (i < n) {
        size_t want, k = utf8_span(p + i, n - i, &want);
        if (k != want) {
            buf_put(out, p + done, i - done);
            buf_put(out, "\xef\xbf\xbd", 3);
            done = i + k;
        }
        i += k;
        i += utf8_ascii(p + i, n - i);
    }
    buf_put(out, p + done, n - done);
}
