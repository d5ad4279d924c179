/* micro_small_x86.h: how a row of activations lies where a small batch reads it, on x86-64.
 *
 * Owns the order that needs no sums across a register: dword (h, b) of piece k has columns
 * 32 b + 16 h + 4 k to + 3, so that four multiply-adds, one for each piece, leave the sum of each
 * half of each of eight blocks in a lane of its own, at both widths. Refuses weights: micro_bits
 * and the kernels bring them into the same order. Invariant: the values are those of the act_group.
 */
#ifndef IGN_KERN_CPU_MICRO_SMALL_X86_H
#define IGN_KERN_CPU_MICRO_SMALL_X86_H

#include "kern/cpu/micro_bits_avx2.h"

/* 256 columns. [half][block] in all arrays. */
struct small_group {
    _Alignas(64) int8_t q[4][2][8][4]; /* [piece] */
    int32_t mul[2][8];  /* as sums are multiplied by it: AVX2 as int16, twice; else with zeros */
    float factor[2][8]; /* mul, where sums are multiplied as floats */
    /* What sums begin with, -32 * sum of q. AVX-512: of formats whose bytes are centered, times a
     * power of two; AVX2: of six bits alone, as int16, of columns 0, 1 and of 2, 3 of all pieces */
    int32_t minus[2][8];
    int32_t prod[2][8]; /* mul * sum */
    float s[8];         /* mul * sum of both halves */
    float d;            /* of the row */
};

#endif
