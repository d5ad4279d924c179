/* fuzz_imatrix.c: any bytes as an importance matrix in its older form.
 */
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "model/imatrix.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    struct imatrix *im;
    struct err e = {0};
    if (!imatrix_parse(&im, "fuzz", p, n, &e)) {
        struct gguf_tensor t = {
            .name = str_c(im->entry[0].name), .n_dim = 2, .dim = {im->entry[0].n_col, 1, 1, 1}};
        const float *out;
        float *w = mem_alloc(im->entry[0].n_col, sizeof *w);
        if (w) {
            imatrix_weights(im, &t, 0, w, &out, &e);
        }
        mem_free(w);
        imatrix_free(im);
    }
    return 0;
}
