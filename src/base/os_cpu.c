/* os_cpu.c: the instruction sets of the processor that this runs on.
 *
 * Owns CPUID, Linux's words of features and macOS's names of them. Refuses the choice of kernels.
 * Invariant: what is reported can be used, AMX after os_cpu_ask_tiles: the system saves the
 * registers that it needs.
 */
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

#include "base/os.h"

#if defined(__x86_64__)

struct isa_bit {
    const char *name;
    unsigned leaf, sub, reg, bit; /* reg: 0..3 = eax, ebx, ecx, edx */
    unsigned state;               /* bits of XCR0 that the system must save */
};

#define TILE_DATA 18 /* the bit of XCR0 for what AMX's tiles hold */

/* Tiles are only for who asks, and only some systems give them: what Linux would give. */
static bool tiles_offered(void) {
#if defined(__linux__)
    const long offered = 0x1021; /* ARCH_GET_XCOMP_SUPP */
    uint64_t mask = 0;
    return syscall(SYS_arch_prctl, offered, &mask) == 0 && (mask >> TILE_DATA & 1);
#else
    return false;
#endif
}

static bool cpu_flag(const struct isa_bit *b) {
    unsigned r[4] = {0}, lo = 0, hi = 0;
    if (!__get_cpuid_count(b->leaf, b->sub, &r[0], &r[1], &r[2], &r[3]) ||
        !(r[b->reg] >> b->bit & 1)) {
        return false;
    }
    if (!b->state) {
        return true;
    }
    unsigned a, bx, c, d;
    if (!__get_cpuid(1, &a, &bx, &c, &d) || !(c >> 27 & 1)) {
        return false; /* the system does not save wide registers at all */
    }
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    (void)hi;
    return (lo & b->state) == b->state && (!(b->state >> TILE_DATA & 1) || tiles_offered());
}

bool os_cpu_has(const char *isa) {
    static const struct isa_bit bits[] = {
        {"ssse3", 1, 0, 2, 9, 0},          {"sse4.1", 1, 0, 2, 19, 0},
        {"popcnt", 1, 0, 2, 23, 0},        {"avx", 1, 0, 2, 28, 0x06},
        {"f16c", 1, 0, 2, 29, 0x06},       {"fma", 1, 0, 2, 12, 0x06},
        {"bmi1", 7, 0, 1, 3, 0},           {"bmi2", 7, 0, 1, 8, 0},
        {"avx2", 7, 0, 1, 5, 0x06},        {"avxvnni", 7, 1, 0, 4, 0x06},
        {"avx512f", 7, 0, 1, 16, 0xe6},    {"avx512dq", 7, 0, 1, 17, 0xe6},
        {"avx512bw", 7, 0, 1, 30, 0xe6},   {"avx512vl", 7, 0, 1, 31, 0xe6},
        {"avx512vbmi", 7, 0, 2, 1, 0xe6},  {"avx512vnni", 7, 0, 2, 11, 0xe6},
        {"avx512bf16", 7, 1, 0, 5, 0xe6},  {"gfni", 7, 0, 2, 8, 0},
        {"amxtile", 7, 0, 3, 24, 0x600e6}, {"amxint8", 7, 0, 3, 25, 0x600e6},
    };
    for (size_t i = 0; i < sizeof bits / sizeof bits[0]; i++) {
        if (strcmp(bits[i].name, isa) == 0) {
            return cpu_flag(&bits[i]);
        }
    }
    return false;
}

#elif defined(__aarch64__)

struct isa_feature {
    const char *name, *sysctl; /* what macOS calls it */
    bool second;               /* of the two words of bits that Linux gives */
    unsigned long bit;
};

static bool cpu_flag(const struct isa_feature *f) {
#if defined(__APPLE__)
    int value = 0;
    size_t n = sizeof value;
    return sysctlbyname(f->sysctl, &value, &n, NULL, 0) == 0 && value != 0;
#else
    return (getauxval(f->second ? AT_HWCAP2 : AT_HWCAP) & f->bit) != 0;
#endif
}

bool os_cpu_has(const char *isa) {
    static const struct isa_feature features[] = {
        {"neon", "hw.optional.AdvSIMD", false, 1ul << 1},
        {"dotprod", "hw.optional.arm.FEAT_DotProd", false, 1ul << 20},
        {"i8mm", "hw.optional.arm.FEAT_I8MM", true, 1ul << 13},
        {"bf16", "hw.optional.arm.FEAT_BF16", true, 1ul << 14},
    };
    for (size_t i = 0; i < sizeof features / sizeof features[0]; i++) {
        if (strcmp(features[i].name, isa) == 0) {
            return cpu_flag(&features[i]);
        }
    }
    return false;
}

#else

bool os_cpu_has(const char *isa) {
    (void)isa;
    return false;
}

#endif

bool os_cpu_ask_tiles(void) {
#if defined(__x86_64__) && defined(__linux__)
    const long request = 0x1023; /* ARCH_REQ_XCOMP_PERM */
    return syscall(SYS_arch_prctl, request, TILE_DATA) == 0;
#else
    return false;
#endif
}
