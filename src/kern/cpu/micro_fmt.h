/* micro_fmt.h: what a quantized format is, as constants for the ISA files.
 *
 * Every function takes the type as a constant and is folded away: a kernel is written once over
 * them. Refuses the reading of bits: each ISA has a header for that. Weights come out of memory as
 * unsigned bytes of up to 63 with an offset, or as signed bytes.
 * Invariant: the values are those of micro_block.c.
 */
#ifndef IGN_KERN_CPU_MICRO_FMT_H
#define IGN_KERN_CPU_MICRO_FMT_H

#include "kern/cpu/micro.h"
#include "quant/quant.h"

#define INLINE static inline __attribute__((always_inline))

INLINE int fmt_bytes(int type) { /* of a block of 32, or of a super-block */
    switch (type) {
    case DT_Q4_0: return sizeof(struct block_q4_0);
    case DT_Q4_1: return sizeof(struct block_q4_1);
    case DT_Q5_0: return sizeof(struct block_q5_0);
    case DT_Q5_1: return sizeof(struct block_q5_1);
    case DT_Q8_0: return sizeof(struct block_q8_0);
    case DT_IQ4_NL: return sizeof(struct block_iq4_nl);
    case DT_Q2_K: return sizeof(struct block_q2_k);
    case DT_Q3_K: return sizeof(struct block_q3_k);
    case DT_Q4_K: return sizeof(struct block_q4_k);
    case DT_Q5_K: return sizeof(struct block_q5_k);
    case DT_Q6_K: return sizeof(struct block_q6_k);
    case DT_Q8_K: return sizeof(struct block_q8_k);
    default: return sizeof(struct block_iq4_xs);
    }
}

INLINE bool fmt_small(int type) { /* blocks of 32 with a scale each */
    return type == DT_Q4_0 || type == DT_Q4_1 || type == DT_Q5_0 || type == DT_Q5_1 ||
           type == DT_Q8_0 || type == DT_IQ4_NL;
}

INLINE int fmt_group_bytes(int type) { /* of MICRO_GROUP blocks */
    return fmt_small(type) ? MICRO_GROUP * fmt_bytes(type) : fmt_bytes(type);
}

INLINE bool fmt_signed(int type) { /* bytes are signed; else unsigned with fmt_offset */
    return type == DT_Q8_0 || type == DT_Q8_K || type == DT_IQ4_NL || type == DT_IQ4_XS;
}

INLINE int fmt_offset(int type) { /* value = byte - offset, a power of two or 0 */
    return type == DT_Q4_0   ? 8
           : type == DT_Q5_0 ? 16
           : type == DT_Q3_K ? 4
           : type == DT_Q6_K ? 32
                             : 0;
}

INLINE int fmt_bits(int type) { /* of an unsigned byte */
    return type == DT_Q6_K ? 6 : type == DT_Q5_0 || type == DT_Q5_1 || type == DT_Q5_K ? 5 : 4;
}

INLINE bool fmt_split(int type) { /* scales for 16 columns */
    return type == DT_Q2_K || type == DT_Q3_K || type == DT_Q6_K;
}

INLINE int fmt_scales(int type) { /* of a block of 32 */
    return fmt_split(type) ? 2 : 1;
}

INLINE int fmt_mins(int type) {
    return type == DT_Q2_K                                                            ? 2
           : type == DT_Q4_1 || type == DT_Q5_1 || type == DT_Q4_K || type == DT_Q5_K ? 1
                                                                                      : 0;
}

#endif
