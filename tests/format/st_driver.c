/* st_driver.c: the verdict on many safetensors files, for tools/check_safetensors.py.
 *
 * Reads records from standard input, a u32 length (little-endian) and that many bytes, and answers
 * each with a line: "ok" and the number of tensors, or "no" and the reason.
 */
#include <stdio.h>

#include "base/mem.h"
#include "format/safetensors.h"

int main(void) {
    uint32_t n;
    while (fread(&n, sizeof n, 1, stdin) == 1) {
        struct safetensors *s = NULL;
        struct err e = {0};
        char *p = mem_alloc(n, 1);
        if (!p || fread(p, 1, n, stdin) != n) {
            mem_free(p);
            return 1;
        }
        if (safetensors_parse(&s, "file", p, n, &e)) {
            printf("no %s\n", e.what);
        } else {
            printf("ok %zu\n", s->n_tensor);
        }
        safetensors_free(s);
        mem_free(p);
    }
    return 0;
}
