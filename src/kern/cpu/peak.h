/* peak.h: loops that do nothing but what a processor is fastest at, one table for each level.
 *
 * Owns the loops behind kern/ceiling.h: multiply-adds on registers, reading at full width. They use
 * the instructions that the micro-kernels of the same level could use at best, without loading,
 * unpacking or scaling. Refuses clocks and threads: ceiling.c has those.
 * Invariant: a loop returns how much it has done, and no compiler can leave any of it out.
 */
#ifndef IGN_KERN_CPU_PEAK_H
#define IGN_KERN_CPU_PEAK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* `n` rounds; returns the multiply-adds done. */
typedef uint64_t (*peak_fn)(int n);

struct peak {
    /* Reads p[0..n) once, n a multiple of PEAK_READ and p aligned to 64; returns a sum of it. */
    uint64_t (*read)(const uint8_t *p, size_t n);
    peak_fn f32;
    peak_fn bf16; /* NULL: the processor has no such instruction */
    peak_fn int8; /* bytes of full range */
    /* Products of unsigned weights of 4, 5 and 6 bits (fewer count as 4) with signed bytes: a level
     * without four-fold sums adds pairs in 16 bits for as long as they fit. */
    peak_fn int4, int5, int6;
    peak_fn int16; /* pairs of 16 bits summed in 32, as attention multiplies */
};

enum { PEAK_READ = 4096 };

/* Fills the table with portable C. */
void peak_init_c(struct peak *p);
#if defined(__x86_64__)
void peak_init_avx2(struct peak *p);
/* `bf16`: the processor has AVX512_BF16, too. */
void peak_init_avx512(struct peak *p, bool bf16);
#elif defined(__aarch64__)
void peak_init_neon(struct peak *p);
/* Overwrite the integer loops of peak_init_neon; `bf16`: the processor has BFMMLA, too. */
void peak_init_dotprod(struct peak *p);
void peak_init_i8mm(struct peak *p, bool bf16);
#endif

/* The loops of a level by the name that micro_choose gives it. */
void peak_choose(struct peak *p, const char *level);

#endif
