/* text_hash.h: one hash for the tables of pieces and of pairs.
 *
 * Owns a multiply-and-fold hash with a key drawn per vocabulary, so that a file cannot be made
 * whose pieces all collide. Not for anything that is stored.
 */
#ifndef IGN_TEXT_HASH_H
#define IGN_TEXT_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t hash_fold(uint64_t a, uint64_t b) {
    unsigned __int128 m = (unsigned __int128)a * b;
    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

/* The 1..8 bytes at p as a number; n picks how many. */
static inline uint64_t hash_load(const char *p, size_t n) {
    uint64_t w = 0;
    uint32_t a, b;
    if (n >= 8) {
        memcpy(&w, p, 8);
    } else if (n >= 4) {
        memcpy(&a, p, 4);
        memcpy(&b, p + n - 4, 4);
        w = (uint64_t)a << 32 | b;
    } else if (n) {
        w = (uint64_t)(uint8_t)p[0] << 16 | (uint64_t)(uint8_t)p[n / 2] << 8 | (uint8_t)p[n - 1];
    }
    return w;
}

/* Whether a[0..n) and b[0..n) are the same: for pieces, which are short. */
static inline bool same_bytes(const char *a, const char *b, size_t n) {
    for (; n > 8; a += 8, b += 8, n -= 8) {
        if (hash_load(a, 8) != hash_load(b, 8)) {
            return false;
        }
    }
    return hash_load(a, n) == hash_load(b, n);
}

static inline uint64_t hash_bytes(const char *p, size_t n, uint64_t key) {
    uint64_t h = hash_fold(key ^ 0x9E3779B97F4A7C15u, n ^ 0xD1B54A32D192ED03u);
    while (n > 8) {
        h = hash_fold(h ^ hash_load(p, 8), key ^ 0xA0761D6478BD642Fu);
        p += 8;
        n -= 8;
    }
    return hash_fold(h ^ hash_load(p, n), key ^ 0xE7037ED1A0B428DBu);
}

static inline uint64_t hash_pair(uint32_t left, uint32_t right, uint64_t key) {
    return hash_fold(((uint64_t)left << 32 | right) ^ key, key | 1);
}

/* Of a table of n entries: a power of two, at most five eighths full. */
static inline size_t hash_slots(size_t n) {
    size_t slots = 8;
    while (slots / 8 * 5 < n) {
        slots *= 2;
    }
    return slots;
}

#endif
