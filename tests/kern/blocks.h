/* blocks.h: random weights of any type, for the tests of kern.
 *
 * Owns the making of rows whose values are of the order of 1/8 and whose bit fields take every
 * value. Refuses quantization: these rows approximate nothing. One invariant: same seed, same rows.
 */
#ifndef IGN_TESTS_KERN_BLOCKS_H
#define IGN_TESTS_KERN_BLOCKS_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/dtype.h"
#include "base/half.h"
#include "base/rng.h"
#include "quant/quant.h"

static const enum dtype blocks_types[] = {DT_F32,  DT_F16,  DT_BF16,   DT_Q4_0,  DT_Q4_1, DT_Q5_0,
                                          DT_Q5_1, DT_Q8_0, DT_Q2_K,   DT_Q3_K,  DT_Q4_K, DT_Q5_K,
                                          DT_Q6_K, DT_Q8_K, DT_IQ4_NL, DT_IQ4_XS};
enum { BLOCKS_TYPES = sizeof blocks_types / sizeof blocks_types[0] };

/* What the bits and scales of made-up rows look like. */
enum blocks_kind {
    BLOCKS_RANDOM,
    BLOCKS_ZERO_BITS,
    BLOCKS_ONE_BITS,
    BLOCKS_TOP_BITS, /* of each byte alone: signed bytes are all -128 */
    BLOCKS_STRIPES,
    BLOCKS_WILD,
    BLOCKS_KINDS
};

static float blocks_uniform(struct rng *r, float low, float high) {
    return low + (high - low) * (float)rng_double(r);
}

static f16_t blocks_half(struct rng *r, float top) {
    return f16_from_f32(blocks_uniform(r, -top, top));
}

static void blocks_bytes(struct rng *r, uint8_t *p, size_t n, enum blocks_kind kind) {
    for (size_t i = 0; i < n; i++) {
        p[i] = kind == BLOCKS_ZERO_BITS  ? 0
               : kind == BLOCKS_ONE_BITS ? 0xff
               : kind == BLOCKS_TOP_BITS ? 0x80
               : kind == BLOCKS_STRIPES  ? (i % 2 ? 0xff : 0)
                                         : (uint8_t)rng_next(r);
    }
}

/* Scales that no file should have, but may. */
static f16_t blocks_wild(struct rng *r) {
    static const f16_t list[] = {0x7c00, 0xfc00, 0x7e00, 0x7bff, 0x0001, 0x8000, 0xfbff, 0x3c00};
    return list[rng_next(r) % 8];
}

static void blocks_scale(struct rng *r, f16_t *d, float top, enum blocks_kind kind) {
    *d = kind == BLOCKS_WILD && rng_next(r) % 8 == 0 ? blocks_wild(r) : blocks_half(r, top);
}

/* One block of `type` at p, with element values of at most about 1/8. */
static void blocks_one(struct rng *r, enum dtype type, enum blocks_kind kind, uint8_t *p) {
    blocks_bytes(r, p, dtype_info(type)->bytes, kind);
    switch (type) {
    case DT_F32: *(float *)p = blocks_uniform(r, -0.125f, 0.125f); break;
    case DT_F16: *(f16_t *)p = blocks_half(r, 0.125f); break;
    case DT_BF16: *(bf16_t *)p = bf16_from_f32(blocks_uniform(r, -0.125f, 0.125f)); break;
    case DT_Q4_0: blocks_scale(r, &((struct block_q4_0 *)p)->d, 1.0f / 64, kind); break;
    case DT_Q4_1:
        blocks_scale(r, &((struct block_q4_1 *)p)->d, 1.0f / 64, kind);
        blocks_scale(r, &((struct block_q4_1 *)p)->m, 1.0f / 8, kind);
        break;
    case DT_Q5_0: blocks_scale(r, &((struct block_q5_0 *)p)->d, 1.0f / 128, kind); break;
    case DT_Q5_1:
        blocks_scale(r, &((struct block_q5_1 *)p)->d, 1.0f / 128, kind);
        blocks_scale(r, &((struct block_q5_1 *)p)->m, 1.0f / 8, kind);
        break;
    case DT_Q8_0: blocks_scale(r, &((struct block_q8_0 *)p)->d, 1.0f / 1024, kind); break;
    case DT_IQ4_NL: blocks_scale(r, &((struct block_iq4_nl *)p)->d, 1.0f / 1024, kind); break;
    case DT_Q2_K:
        blocks_scale(r, &((struct block_q2_k *)p)->d, 1.0f / 256, kind);
        blocks_scale(r, &((struct block_q2_k *)p)->dmin, 1.0f / 128, kind);
        break;
    case DT_Q3_K: blocks_scale(r, &((struct block_q3_k *)p)->d, 1.0f / 1024, kind); break;
    case DT_Q4_K:
        blocks_scale(r, &((struct block_q4_k *)p)->d, 1.0f / 4096, kind);
        blocks_scale(r, &((struct block_q4_k *)p)->dmin, 1.0f / 512, kind);
        break;
    case DT_Q5_K:
        blocks_scale(r, &((struct block_q5_k *)p)->d, 1.0f / 8192, kind);
        blocks_scale(r, &((struct block_q5_k *)p)->dmin, 1.0f / 512, kind);
        break;
    case DT_Q6_K: blocks_scale(r, &((struct block_q6_k *)p)->d, 1.0f / 32768, kind); break;
    case DT_Q8_K: ((struct block_q8_k *)p)->d = blocks_uniform(r, -1.0f / 1024, 1.0f / 1024); break;
    case DT_IQ4_XS: blocks_scale(r, &((struct block_iq4_xs *)p)->d, 1.0f / 32768, kind); break;
    case DT_I8:
    case DT_MAX: break;
    }
}

/* n_row rows of n_col elements. */
static void blocks_fill(struct rng *r, enum dtype type, enum blocks_kind kind, int64_t n_row,
                        int64_t n_col, uint8_t *out) {
    const struct dtype_info *info = dtype_info(type);
    int64_t n = n_row * n_col / info->block;
    for (int64_t i = 0; i < n; i++) {
        blocks_one(r, type, kind, out + (size_t)i * info->bytes);
    }
}

static size_t blocks_size(enum dtype type, int64_t n_row, int64_t n_col) {
    size_t row = 0;
    if (!dtype_row_bytes(type, (uint64_t)n_col, &row)) {
        fprintf(stderr, "no rows of %lld\n", (long long)n_col);
        abort();
    }
    return row * (size_t)n_row;
}

#endif
