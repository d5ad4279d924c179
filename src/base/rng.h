/* rng.h: random numbers that are the same on every machine and can be saved.
 *
 * Owns xoshiro256** (Blackman and Vigna, 2018), seeded by splitmix64. The state is plain data:
 * copying it forks the stream, writing it to a file saves it.
 */
#ifndef IGN_BASE_RNG_H
#define IGN_BASE_RNG_H

#include <stdint.h>

struct rng {
    uint64_t s[4];
};

void rng_seed(struct rng *r, uint64_t seed);
uint64_t rng_next(struct rng *r);
/* Uniform in [0, 1) with 53 bits. */
double rng_double(struct rng *r);

#endif
