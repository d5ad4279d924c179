/* dtype.c: the table of element types.
 *
 * Owns names and block sizes as the GGUF specification gives them. Refuses layouts.
 * Invariant: a type with block 0 is known by name only and is never read.
 */
#include "base/dtype.h"

#include "base/mem.h"

static const struct dtype_info table[DT_MAX] = {
    [DT_F32] = {"F32", 1, 4},
    [DT_F16] = {"F16", 1, 2},
    [DT_Q4_0] = {"Q4_0", 32, 18},
    [DT_Q4_1] = {"Q4_1", 32, 20},
    [4] = {"Q4_2", 0, 0},
    [5] = {"Q4_3", 0, 0},
    [DT_Q5_0] = {"Q5_0", 32, 22},
    [DT_Q5_1] = {"Q5_1", 32, 24},
    [DT_Q8_0] = {"Q8_0", 32, 34},
    [9] = {"Q8_1", 0, 0},
    [DT_Q2_K] = {"Q2_K", 256, 84},
    [DT_Q3_K] = {"Q3_K", 256, 110},
    [DT_Q4_K] = {"Q4_K", 256, 144},
    [DT_Q5_K] = {"Q5_K", 256, 176},
    [DT_Q6_K] = {"Q6_K", 256, 210},
    [DT_Q8_K] = {"Q8_K", 256, 292},
    [16] = {"IQ2_XXS", 0, 0},
    [17] = {"IQ2_XS", 0, 0},
    [18] = {"IQ3_XXS", 0, 0},
    [19] = {"IQ1_S", 0, 0},
    [DT_IQ4_NL] = {"IQ4_NL", 32, 18},
    [21] = {"IQ3_S", 0, 0},
    [22] = {"IQ2_S", 0, 0},
    [DT_IQ4_XS] = {"IQ4_XS", 256, 136},
    [DT_I8] = {"I8", 0, 0},
    [25] = {"I16", 0, 0},
    [26] = {"I32", 0, 0},
    [27] = {"I64", 0, 0},
    [28] = {"F64", 0, 0},
    [29] = {"IQ1_M", 0, 0},
    [DT_BF16] = {"BF16", 1, 2},
    [31] = {"Q4_0_4_4", 0, 0},
    [32] = {"Q4_0_4_8", 0, 0},
    [33] = {"Q4_0_8_8", 0, 0},
    [34] = {"TQ1_0", 0, 0},
    [35] = {"TQ2_0", 0, 0},
    [36] = {"IQ4_NL_4_4", 0, 0},
    [37] = {"IQ4_NL_4_8", 0, 0},
    [38] = {"IQ4_NL_8_8", 0, 0},
    [39] = {"MXFP4", 0, 0},
    [40] = {"NVFP4", 0, 0},
    [41] = {"Q1_0", 0, 0},
    [42] = {"Q2_0", 0, 0},
};

const struct dtype_info *dtype_info(uint32_t type) {
    static const struct dtype_info none = {NULL, 0, 0};
    return type < DT_MAX ? &table[type] : &none;
}

bool dtype_row_bytes(uint32_t type, uint64_t n, size_t *bytes) {
    const struct dtype_info *t = dtype_info(type);
    return t->block && n % t->block == 0 && n / t->block <= SIZE_MAX &&
           size_mul((size_t)(n / t->block), t->bytes, bytes);
}

enum dtype dtype_kv_part(enum dtype cache, int layer, int value) {
    return cache == DT_I8 && layer == 0 && !value ? DT_F16 : cache;
}

size_t dtype_kv_position(enum dtype cache, int n_layer, int n_kv, int d_head) {
    size_t first = dtype_kv_bytes(dtype_kv_part(cache, 0, 0), d_head);
    return (size_t)n_kv * (first + (2 * (size_t)n_layer - 1) * dtype_kv_bytes(cache, d_head));
}

size_t dtype_kv_bytes(enum dtype part, int n) {
    size_t groups = ((size_t)n + DTYPE_KV_GROUP - 1) / DTYPE_KV_GROUP;
    switch (part) {
    case DT_F32: return (size_t)n * sizeof(float);
    case DT_F16: return (size_t)n * sizeof(uint16_t);
    case DT_I8: return (size_t)n + groups * sizeof(uint16_t);
    default: return 0;
    }
}

const char *dtype_kv_name(uint32_t type) {
    return type == DT_F32 ? "f32" : type == DT_F16 ? "f16" : type == DT_I8 ? "int8" : "unknown";
}
