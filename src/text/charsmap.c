/* charsmap.c: see charsmap.h.
 *
 * Owns the walk through the array. A word of a node has the byte that leads to it, a bit that says
 * whether a key ends there, and the distance to its children; a key's value is a word of its own.
 */
#include "text/charsmap.h"

#include <stdint.h>
#include <string.h>

#include "base/utf8.h"

enum { KEY_MAX = 64 }; /* bytes of a key: an array of circles must not cost more */

static uint32_t load32(const char *p) {
    const uint8_t *u = (const uint8_t *)p;
    return u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16 | (uint32_t)u[3] << 24;
}

static bool unit_at(const struct charsmap *m, uint32_t i, uint32_t *unit) {
    if (i >= m->n_unit) {
        return false;
    }
    *unit = load32(m->array + 4 * (size_t)i);
    return true;
}

static uint32_t offset_of(uint32_t unit) {
    return (unit >> 10) << ((unit & 1u << 9) >> 6);
}

bool charsmap_open(struct charsmap *m, struct str blob) {
    size_t bytes = blob.n >= 4 ? load32(blob.p) : 0;
    if (bytes < 4 || bytes % 4 || bytes > blob.n - 4) {
        return false;
    }
    m->array = blob.p + 4;
    m->n_unit = bytes / 4;
    m->strings = str_of(blob.p + 4 + bytes, blob.n - 4 - bytes);
    return utf8_valid(m->strings.p, m->strings.n);
}

/* The string at a value, if that is within the bounds and begins a character. */
static bool string_at(const struct charsmap *m, uint32_t value, struct str *to) {
    if (value >= m->strings.n || ((uint8_t)m->strings.p[value] & 0xC0) == 0x80) {
        return false;
    }
    const char *p = m->strings.p + value, *end = memchr(p, 0, m->strings.n - value);
    *to = str_of(p, end ? (size_t)(end - p) : m->strings.n - value);
    return true;
}

size_t charsmap_find(const struct charsmap *m, const char *p, size_t n, bool shortest,
                     struct str *to) {
    size_t found = 0;
    uint32_t unit, leaf, at = 0;
    if (!unit_at(m, 0, &unit)) {
        return 0;
    }
    at ^= offset_of(unit);
    for (size_t i = 0; i < n && i < KEY_MAX && !(shortest && found); i++) {
        at ^= (uint8_t)p[i];
        if (!unit_at(m, at, &unit) || (unit & (1u << 31 | 0xFF)) != (uint8_t)p[i]) {
            break;
        }
        at ^= offset_of(unit);
        bool border = i + 1 == n || ((uint8_t)p[i + 1] & 0xC0) != 0x80;
        if (border && (unit >> 8 & 1) && unit_at(m, at, &leaf) &&
            string_at(m, leaf & 0x7FFFFFFF, to)) {
            found = i + 1;
        }
    }
    return found;
}
