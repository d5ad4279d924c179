/* peak_c.c: the loops in portable C, as fast as a compiler makes them, and the choice of a level.
 *
 * Operands are in L1, since portable C can hide only memory from the compiler: the barrier says
 * that they may have changed. Invariant: see peak.h.
 */
#include <string.h>

#include "base/os.h"
#include "kern/cpu/peak.h"

enum { LANES = 64 };

#define BARRIER() __asm__ volatile("" : : : "memory")

static uint64_t peak_read_c(const uint8_t *p, size_t n) {
    uint64_t sum[8] = {0};
    for (size_t i = 0; i < n; i += sizeof sum) {
        uint64_t v[8];
        memcpy(v, p + i, sizeof v);
        for (int j = 0; j < 8; j++) {
            sum[j] += v[j];
        }
    }
    return sum[0] ^ sum[1] ^ sum[2] ^ sum[3] ^ sum[4] ^ sum[5] ^ sum[6] ^ sum[7];
}

static uint64_t peak_f32_c(int n) {
    static const float w[LANES] = {0.5f}, x[LANES] = {0.25f};
    float acc[LANES] = {0};
    for (int i = 0; i < n; i++) {
        BARRIER();
        for (int j = 0; j < LANES; j++) {
            acc[j] += w[j] * x[j];
        }
    }
    volatile float keep = acc[0];
    (void)keep;
    return (uint64_t)n * LANES;
}

static uint64_t peak_int8_c(int n) {
    static const int8_t w[LANES] = {3}, x[LANES] = {5};
    int32_t acc[LANES] = {0};
    for (int i = 0; i < n; i++) {
        BARRIER();
        for (int j = 0; j < LANES; j++) {
            acc[j] += w[j] * x[j];
        }
    }
    volatile int32_t keep = acc[0];
    (void)keep;
    return (uint64_t)n * LANES;
}

static uint64_t peak_int16_c(int n) {
    static const int16_t w[LANES] = {3}, x[LANES] = {5};
    int32_t acc[LANES] = {0};
    for (int i = 0; i < n; i++) {
        BARRIER();
        for (int j = 0; j < LANES; j++) {
            acc[j] += w[j] * x[j];
        }
    }
    volatile int32_t keep = acc[0];
    (void)keep;
    return (uint64_t)n * LANES;
}

void peak_init_c(struct peak *p) {
    *p = (struct peak){
        .read = peak_read_c,
        .f32 = peak_f32_c,
        .int8 = peak_int8_c,
        .int4 = peak_int8_c,
        .int5 = peak_int8_c,
        .int6 = peak_int8_c,
        .int16 = peak_int16_c,
    };
}

void peak_choose(struct peak *p, const char *level) {
    peak_init_c(p);
#if defined(__x86_64__)
    if (strcmp(level, "avx2") == 0) {
        peak_init_avx2(p);
    } else if (strcmp(level, "avx512") == 0 || strcmp(level, "amx") == 0) {
        /* amx, too: it scales its sums with vectors, which is what bounds it (micro_amx.c) */
        peak_init_avx512(p, os_cpu_has("avx512bf16"));
    }
#elif defined(__aarch64__)
    if (strcmp(level, "c") == 0) {
        return;
    }
    peak_init_neon(p);
    if (strcmp(level, "dotprod") == 0) {
        peak_init_dotprod(p);
    } else if (strcmp(level, "i8mm") == 0) {
        peak_init_i8mm(p, os_cpu_has("bf16"));
    }
#else
    (void)level;
#endif
}
