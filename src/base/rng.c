/* rng.c: xoshiro256** 1.0 and splitmix64, after the public-domain references of Blackman and
 * Vigna (2018, 2015).
 *
 * Owns the two recurrences. Refuses distributions: samplers draw from rng_double.
 * Invariant: the stream is a function of the seed alone, on every machine.
 */
#include "base/rng.h"

static uint64_t rotl(uint64_t x, int k) {
    return x << k | x >> (64 - k);
}

void rng_seed(struct rng *r, uint64_t seed) {
    for (int i = 0; i < 4; i++) {
        uint64_t z = seed += 0x9e3779b97f4a7c15u;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        r->s[i] = z ^ z >> 31;
    }
}

uint64_t rng_next(struct rng *r) {
    uint64_t *s = r->s;
    uint64_t out = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return out;
}

double rng_double(struct rng *r) {
    return (double)(rng_next(r) >> 11) * 0x1p-53;
}
