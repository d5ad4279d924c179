/* embed_rate.c: how long `ign` takes to embed texts, for bench/embed.
 *
 *     embed_rate MODEL FILE THREADS
 *
 * Owns nothing but the clock: the model stays open, and each line of standard input is a request:
 * "one" embeds the texts of FILE (a line each) one call at a time, "all" in one call. Prints the
 * seconds of each, on a line.
 */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ign.h"

enum { TEXT_MAX = 4096 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static size_t read_lines(const char *path, char **text) {
    FILE *f = fopen(path, "r");
    size_t n = 0, cap = 0;
    while (f && n < TEXT_MAX && getline(&text[n], &cap, f) > 0) {
        text[n][strcspn(text[n], "\n")] = '\0';
        n++;
        cap = 0;
    }
    if (f) {
        fclose(f);
    }
    return n;
}

int main(int argc, char **argv) {
    static char *text[TEXT_MAX];
    ign_model *m = NULL;
    ign_model_info info;
    ign_error e = {0, "usage: embed_rate MODEL FILE THREADS"};
    ign_model_options o = {.threads = argc == 4 ? (int)strtol(argv[3], NULL, 10) : 0};
    char line[16];
    if (argc != 4 || ign_model_open(&m, argv[1], &o, &e)) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    ign_model_get_info(m, &info);
    size_t n = read_lines(argv[2], text);
    float *vector = calloc(n * (size_t)info.dimension, sizeof *vector);
    int failed = n == 0 || !vector;
    printf("%s\n", info.device);
    fflush(stdout);
    while (!failed && fgets(line, sizeof line, stdin)) {
        size_t part = strncmp(line, "all", 3) == 0 ? n : 1;
        double start = now();
        for (size_t i = 0; i < n && !failed; i += part) {
            ign_embed_request r = {.text = (const char *const *)text + i,
                                   .n_text = part,
                                   .vector = vector + i * (size_t)info.dimension};
            failed = ign_embed(m, &r, &e) != IGN_OK;
        }
        printf("%.6f\n", now() - start);
        fflush(stdout);
    }
    free(vector);
    for (size_t i = 0; i < n; i++) {
        free(text[i]);
    }
    ign_model_close(m);
    return failed;
}
