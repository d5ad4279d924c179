/* tiny_model_file.c: tiny_model_file PATH [SEED]: writes the tiny model of tiny_model.h, for tests that are
 * scripts.
 */
#include "engine/tiny_model.h"

int main(int argc, char **argv) {
    struct tiny_opts o = {.context = 4096};
    if (argc < 2) {
        return 2;
    }
    o.seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    return !tiny_model_write(argv[1], &o);
}
