/* gguf_seeds.c: writes the seeds of the fuzzer.
 *
 *     gguf_seeds tests/format/corpus_gguf
 */
#include "format/gguf_samples.h"

static bool write_seed(const char *folder, const char *name, struct builder *b) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s.gguf", folder, name);
    bool ok = builder_write(b, path);
    builder_fini(b);
    builder_init(b);
    return ok;
}

int main(int argc, char **argv) {
    struct builder b;
    if (argc != 2) {
        fputs("usage: gguf_seeds FOLDER\n", stderr);
        return 2;
    }
    builder_init(&b);
    bool ok = write_seed(argv[1], "empty", &b);
    sample_values(&b);
    ok = write_seed(argv[1], "values", &b) && ok;
    b.version = 2;
    sample_small(&b);
    ok = write_seed(argv[1], "small_v2", &b) && ok;
    sample_part(&b, 1, 3, 2, 6);
    ok = write_seed(argv[1], "part", &b) && ok;
    builder_align(&b, 8);
    builder_tensor(&b, "a", DT_F32, 4, (uint64_t[]){1, 1, 1, 1}, NULL);
    builder_tensor(&b, "b", DT_Q4_K, 1, (uint64_t[]){256}, NULL);
    builder_tensor(&b, "c", DT_BF16, 2, (uint64_t[]){3, 3}, NULL);
    ok = write_seed(argv[1], "tensors", &b) && ok;
    builder_fini(&b);
    return ok ? 0 : 1;
}
