/* tiny_file.c: writes the tiny model of tests/engine/tiny_model.h, for tests that run the program.
 *
 * Usage: tiny_file OUT [context=N] [d=N] [seed=N] [nan=1] [temperature=X]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/tiny_model.h"

int main(int argc, char **argv) {
    struct tiny_opts o = {0};
    for (int i = 2; i < argc; i++) {
        const char *eq = strchr(argv[i], '=');
        int v = eq ? atoi(eq + 1) : 0;
        if (strncmp(argv[i], "context=", 8) == 0) {
            o.context = v;
        } else if (strncmp(argv[i], "d=", 2) == 0) {
            o.d_model = v;
        } else if (strncmp(argv[i], "seed=", 5) == 0) {
            o.seed = (uint64_t)v;
        } else if (strncmp(argv[i], "temperature=", 12) == 0) {
            o.temperature = eq ? strtof(eq + 1, NULL) : 0;
        } else if (strncmp(argv[i], "nan=", 4) == 0) {
            o.nan = v != 0;
        } else {
            fprintf(stderr, "tiny_file: what is %s?\n", argv[i]);
            return 2;
        }
    }
    return argc > 1 && tiny_model_write(argv[1], &o) ? 0 : 1;
}
