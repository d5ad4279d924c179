/* micro_att_entries.h: attention's entries of the table, from one level's four kernels.
 *
 * Owns the wrappers that make the type of the cache a constant. Whoever includes it, once, has
 * defined scores, mix, keys and values over that type before. Refuses arithmetic.
 */
#ifndef IGN_KERN_CPU_MICRO_ATT_ENTRIES_H
#define IGN_KERN_CPU_MICRO_ATT_ENTRIES_H

#include "kern/cpu/micro.h"

#define TYPE(name, type)                                                                           \
    static void scores_##name(const float *q, int n_q, int dim, const struct micro_rows *k,        \
                              int n_pos, float *s, int s_step) {                                   \
        scores(type, q, n_q, dim, k, n_pos, s, s_step);                                            \
    }                                                                                              \
    static void mix_##name(float *y, int n_q, int dim, const float *keep, const float *s,          \
                           int s_step, const struct micro_rows *v, int n_pos) {                    \
        mix(type, y, n_q, dim, keep, s, s_step, v, n_pos);                                         \
    }
#define WIDEN(name, type)                                                                          \
    static void keys_##name(const struct micro_rows *k, int dim, int n_pos, float *to,             \
                            int to_step) {                                                         \
        keys(type, k, dim, n_pos, to, to_step);                                                    \
    }                                                                                              \
    static void values_##name(const struct micro_rows *v, int dim, int n_pos, float *to) {         \
        values(type, v, dim, n_pos, to);                                                           \
    }

TYPE(f32, MICRO_KV_F32)
TYPE(f16, MICRO_KV_F16)
TYPE(i8, MICRO_KV_I8)
WIDEN(f16, MICRO_KV_F16)
WIDEN(i8, MICRO_KV_I8)

/* Keys and values that are f32 already need no widening. */
static void att_entries(struct micro_att att[]) {
    att[MICRO_KV_F32] = (struct micro_att){scores_f32, mix_f32, NULL, NULL};
    att[MICRO_KV_F16] = (struct micro_att){scores_f16, mix_f16, keys_f16, values_f16};
    att[MICRO_KV_I8] = (struct micro_att){scores_i8, mix_i8, keys_i8, values_i8};
}

#undef TYPE
#undef WIDEN

#endif
