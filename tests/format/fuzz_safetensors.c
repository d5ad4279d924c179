/* fuzz_safetensors.c: any bytes as a safetensors file; what is taken keeps the header's promises.
 *
 * See docs/TESTING.md for building and running; corpus_safetensors/ is where it starts.
 */
#include <stdlib.h>
#include <string.h>

#include "format/safetensors.h"

static void demand(bool condition) {
    if (!condition) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct safetensors *s = NULL;
    struct err e = {0};
    if (safetensors_parse(&s, "fuzz", data, size, &e)) {
        demand(e.code && e.what[0] && !s);
    } else {
        uint64_t sum = 0;
        for (size_t i = 0; i < s->n_tensor; i++) {
            const struct safetensor *t = &s->tensor[i];
            demand(t->begin <= t->end && t->end <= size);
            demand(safetensors_find(s, t->name) == t);
            sum += t->end - t->begin;
        }
        demand(sum <= size - 8);
        safetensors_free(s);
    }
    demand(mem_live() == 0);
    return 0;
}
