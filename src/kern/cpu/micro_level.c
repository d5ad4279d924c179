/* micro_level.c: the levels of this kind of processor, and the choice among them.
 *
 * Owns what each level needs. Refuses to know what it does: its files do, and each level overwrites
 * entries of those before it. Invariant: no level is filled in that the processor lacks.
 */
#include <stdio.h>
#include <string.h>

#include "base/os.h"
#include "kern/cpu/micro.h"

struct level {
    const char *name, *what; /* for the error where the processor lacks it */
    const char *needs[8];
    bool (*ask)(void); /* the system, for what it gives only when asked; or NULL */
    void (*init[6])(struct micro *m);
};

/* From the least to the best. */
static const struct level levels[] = {
    {"c", "", {NULL}, NULL, {micro_init_c}},
#if defined(__x86_64__)
    {"avx2",
     "AVX2 with FMA and F16C",
     {"avx2", "fma", "f16c"},
     NULL,
     {micro_init_avx2, micro_rows_init_avx2, micro_att_init_avx2, micro_small_init_avx2,
      micro_four_init_avx2}},
    {"avx512",
     "AVX-512 with BW, VL, DQ, VBMI and VNNI, and GFNI",
     {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512vbmi", "avx512vnni", "gfni"},
     NULL,
     {micro_init_avx512, micro_gemv_init_avx512, micro_four_init_avx512, micro_rows_init_avx512,
      micro_att_init_avx512, micro_small_init_avx512}},
    {"amx", "AMX with tiles of bytes", {"amxint8"}, os_cpu_ask_tiles, {micro_init_amx}},
#elif defined(__aarch64__)
    {"neon", "NEON", {"neon"}, NULL, {micro_init_neon, micro_rows_init_neon, micro_att_init_neon}},
    {"dotprod", "dot products of bytes", {"dotprod"}, NULL, {micro_init_dotprod}},
    {"i8mm", "matrix products of bytes", {"i8mm"}, NULL, {micro_init_i8mm}},
#endif
};
enum { N_LEVEL = sizeof levels / sizeof *levels };

const char *micro_level(int i) {
    return i < N_LEVEL ? levels[i].name : NULL;
}

static bool usable(const struct level *l) {
    size_t i = 0;
    while (i < sizeof l->needs / sizeof *l->needs && l->needs[i] != NULL) {
        if (!os_cpu_has(l->needs[i++])) {
            return false;
        }
    }
    return l->ask == NULL || l->ask();
}

static enum err_code unknown(const char *level, struct err *e) {
    char names[64] = "";
    size_t n = 0;
    for (int i = 0; i < N_LEVEL; i++) {
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i > 0 ? ", " : "",
                              levels[i].name);
    }
    err_set(e, ERR_UNSUPPORTED, "no kernels for the instruction set \"%s\"", level);
    err_hint(e, "this kind of processor has the levels %s", names);
    return ERR_UNSUPPORTED;
}

enum err_code micro_choose(struct micro *m, const char *level, struct err *e) {
    int last = 0;
    while (last < N_LEVEL && (level == NULL || strcmp(levels[last].name, level) != 0)) {
        last++;
    }
    if (last == N_LEVEL && level != NULL) {
        return unknown(level, e);
    }
    for (int i = 0; i < N_LEVEL && i <= last; i++) {
        const struct level *l = &levels[i];
        if (!usable(l)) {
            if (level == NULL) {
                return ERR_OK;
            }
            err_set(e, ERR_UNSUPPORTED, "the level \"%s\" needs %s, which this machine lacks",
                    level, l->what);
            err_hint(e, "leave the level out to get the best that the machine has");
            return ERR_UNSUPPORTED;
        }
        for (size_t k = 0; k < sizeof l->init / sizeof *l->init && l->init[k] != NULL; k++) {
            l->init[k](m);
        }
    }
    return ERR_OK;
}
