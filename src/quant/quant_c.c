/* quant_c.c: the searching kernels in plain C, the definition of their bits; and the choice.
 *
 * Owns the lanes as an array. An ISA file (quant_avx2.c, quant_avx512.c) has them in registers and
 * computes the same.
 */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/os.h"
#include "quant/quant_search.h"

struct lanes {
    float v[QUANT_LANES];
};

#define LANES_OP(name, expression)                                                                 \
    static inline struct lanes lanes_##name(struct lanes a, struct lanes b) {                      \
        for (int k = 0; k < QUANT_LANES; k++) {                                                    \
            a.v[k] = expression;                                                                   \
        }                                                                                          \
        return a;                                                                                  \
    }
LANES_OP(add, a.v[k] + b.v[k])
LANES_OP(sub, a.v[k] - b.v[k])
LANES_OP(mul, a.v[k] * b.v[k])
LANES_OP(div, a.v[k] / b.v[k])
LANES_OP(min, a.v[k] < b.v[k] ? a.v[k] : b.v[k])
LANES_OP(max, a.v[k] > b.v[k] ? a.v[k] : b.v[k])

static inline struct lanes lanes_set(float x) {
    struct lanes a;
    for (int k = 0; k < QUANT_LANES; k++) {
        a.v[k] = x;
    }
    return a;
}

static inline struct lanes lanes_load(const float *p) {
    struct lanes a;
    memcpy(a.v, p, sizeof a.v);
    return a;
}

static inline void lanes_store(float *p, struct lanes a) {
    memcpy(p, a.v, sizeof a.v);
}

static inline struct lanes lanes_above(struct lanes a, struct lanes b, struct lanes x,
                                       struct lanes y) {
    for (int k = 0; k < QUANT_LANES; k++) {
        x.v[k] = a.v[k] > b.v[k] ? x.v[k] : y.v[k];
    }
    return x;
}

static inline struct lanes lanes_half(struct lanes a) {
    for (int k = 0; k < QUANT_LANES; k++) {
        a.v[k] = f32_from_f16(f16_from_f32(a.v[k]));
    }
    return a;
}

static inline void lanes_turn(struct lanes a[QUANT_LANES]) {
    for (int i = 0; i < QUANT_LANES; i++) {
        for (int k = 0; k < i; k++) {
            float v = a[i].v[k];
            a[i].v[k] = a[k].v[i];
            a[k].v[i] = v;
        }
    }
}

static inline struct lanes lanes_sqrt(struct lanes a) {
    for (int k = 0; k < QUANT_LANES; k++) {
        a.v[k] = sqrtf(a.v[k]);
    }
    return a;
}

static inline void lanes_codes(int8_t *q, struct lanes a) {
    for (int k = 0; k < QUANT_LANES; k++) {
        q[k] = (int8_t)(int)a.v[k];
    }
}

#include "quant/quant_kernel.h"

static void from_f16(const f16_t *h, float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        x[i] = f32_from_f16(h[i]);
    }
}

static void to_f16(const float *x, f16_t *h, size_t n) {
    for (size_t i = 0; i < n; i++) {
        h[i] = f16_from_f32(x[i]);
    }
}

/* By bits, where order is that of magnitudes and NaN lies above infinity. */
static float most(const float *x, size_t n) {
    uint32_t top = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = f32_bits(x[i]) & 0x7fffffffu;
        top = bits > top ? bits : top;
    }
    return f32_from_bits(top);
}

void quant_search_init_c(struct quant_search *s) {
    fill_kernels(s);
    s->name = "c";
    s->from_f16 = from_f16;
    s->to_f16 = to_f16;
    s->most = most;
}

/* The kernels here that a level of --cpu stands for; NULL: it is not one of this kind of processor.
 * Quantizing has nothing for AMX and NEON. */
static const char *kernels_of(const char *level) {
    static const char *const levels[][2] = {
        {"c", "c"},
#if defined(__x86_64__)
        {"avx2", "avx2"},
        {"avx512", "avx512"},
        {"amx", "avx512"},
#elif defined(__aarch64__)
        {"neon", "c"},
        {"dotprod", "c"},
        {"i8mm", "c"},
#endif
    };
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        if (strcmp(levels[i][0], level) == 0) {
            return levels[i][1];
        }
    }
    return NULL;
}

enum err_code quant_search_choose(struct quant_search *s, const char *level, struct err *e) {
    const char *want = level ? kernels_of(level) : NULL;
    quant_search_init_c(s);
#if defined(__x86_64__)
    bool avx2 = os_cpu_has("avx2") && os_cpu_has("fma") && os_cpu_has("f16c");
    if (avx2 && (!want || strcmp(want, "c") != 0)) {
        quant_search_init_avx2(s);
    }
    if (avx2 && os_cpu_has("avx512f") && (!want || strcmp(want, "avx512") == 0)) {
        quant_search_init_avx512(s);
    }
#endif
    if (level && (!want || strcmp(want, s->name) != 0)) {
        err_set(e, ERR_UNSUPPORTED, "this processor cannot quantize with \"%s\"", level);
        err_hint(e, "leave the level out to get the best that the machine has");
        return ERR_UNSUPPORTED;
    }
    return ERR_OK;
}
