/* bench_tok.c: how fast one thread tokenizes one text; tools/bench_tokenizer.py prints it beside
 * the tokenizers library's speed.
 *
 * Usage: bench_tok MODEL.gguf TEXT [repeats]. Prints the best of the runs, since others may be
 * using the machine: bytes, ids, seconds, MB/s.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "format/gguf.h"
#include "model/vocab_load.h"
#include "text/tokenizer.h"

static double cpu_now(void) {
    return (double)clock() / CLOCKS_PER_SEC;
}

int main(int argc, char **argv) {
    struct err e = {0};
    struct gguf *g = NULL;
    struct vocab *v = NULL;
    struct tokenizer *t = NULL;
    char *text = NULL, line[1024];
    size_t n = 0, n_id = 0;
    int status = 1, repeats = argc > 3 ? atoi(argv[3]) : 7;
    if (argc < 3) {
        fprintf(stderr, "usage: bench_tok MODEL.gguf TEXT [repeats]\n");
        return 2;
    }
    double start = cpu_now(), best = 1e9;
    if (gguf_open(&g, argv[1], false, &e) || vocab_load(&v, g, &e) || tokenizer_create(&t, v, &e)) {
        goto done;
    }
    double load = cpu_now() - start;
    if (os_read_file(argv[2], (size_t)1 << 30, &text, &n, &e)) {
        goto done;
    }
    for (int i = 0; i < repeats; i++) {
        struct ids ids = {0};
        start = cpu_now();
        if (tokenizer_encode(t, text, n, NULL, false, BOS_NEVER, 0, &ids, &e)) {
            goto done;
        }
        double took = cpu_now() - start;
        best = took < best ? took : best;
        n_id = ids.n;
        ids_fini(&ids);
    }
    printf("%zu bytes %zu ids %.6f s %.2f MB/s load %.3f s\n", n, n_id, best,
           (double)n / best / 1e6, load);
    status = 0;
done:
    if (status) {
        fprintf(stderr, "bench_tok: %s\n", err_line(&e, line, sizeof line));
    }
    mem_free(text);
    tokenizer_free(t);
    vocab_free(v);
    gguf_close(g);
    return status;
}
