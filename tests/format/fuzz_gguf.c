/* fuzz_gguf.c: any bytes as a GGUF file, parsed and walked to the last string and tensor.
 *
 * See docs/TESTING.md for building and running; corpus_gguf/ is where it starts.
 */
#include <stdio.h>

#include "format/gguf_walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    walk_parse(data, size);
    return 0;
}
