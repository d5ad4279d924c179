/* nearest.c: nearest MODEL QUESTION <LINES: the lines of stdin, the closest to the question first,
 * each with its cosine. A model for embeddings does best: a BERT, as a folder or a GGUF file. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ign.h"

enum { LINES = 4096 };

struct near {
    const char *text;
    double cosine;
};

static int closest_first(const void *a, const void *b) {
    double x = ((const struct near *)a)->cosine, y = ((const struct near *)b)->cosine;
    return (x < y) - (x > y);
}

int main(int argc, char **argv) {
    static char *text[LINES + 1]; /* the question, then the lines */
    static struct near found[LINES];
    ign_model *m = NULL;
    ign_model_info info = {.dimension = 0};
    ign_error e = {0, "usage: nearest MODEL QUESTION <LINES"};
    size_t n = 0, cap = 0;
    int ok = argc == 3 && !ign_model_open(&m, argv[1], NULL, &e);
    while (ok && n < LINES && getline(&text[n + 1], &cap, stdin) > 0) {
        n++;
        text[n][strcspn(text[n], "\n")] = '\0';
        cap = 0;
    }
    if (ok) {
        ign_model_get_info(m, &info);
        text[0] = argv[2];
    }
    size_t dim = (size_t)info.dimension;
    float *v = calloc((n + 1) * dim + 1, sizeof *v);
    ign_embed_request r = {.text = (const char *const *)text, .n_text = n + 1, .vector = v};
    ok = ok && v && !ign_embed(m, &r, &e);
    for (size_t i = 0; ok && i < n; i++) {
        found[i].text = text[i + 1];
        for (size_t k = 0; k < dim; k++) { /* lengths are 1 */
            found[i].cosine += (double)v[k] * v[(i + 1) * dim + k];
        }
    }
    qsort(found, ok ? n : 0, sizeof *found, closest_first);
    for (size_t i = 0; ok && i < n; i++) {
        printf("%.4f %s\n", found[i].cosine, found[i].text);
    }
    fprintf(stderr, "%s", ok ? "" : e.text);
    for (size_t i = 1; i <= n + 1 && i <= LINES; i++) {
        free(text[i]);
    }
    free(v);
    ign_model_close(m);
    return !ok;
}
