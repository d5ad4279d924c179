/* llama_logits.c: the same question to llama.cpp, for tools/check_logits.py --peer.
 *
 *     llama_logits MODEL.gguf OUTPUT < ids       raw little-endian f32 [n_tok, n_vocab]
 *
 * Not part of the build: compile it against a llama.cpp of your own,
 *     cc -O2 tools/llama_logits.c -I LLAMA/include -I LLAMA/ggml/include -L LLAMA/bin -lllama
 * -lggml -lggml-base -Wl,-rpath,LLAMA/bin -o llama_logits The context is llama.cpp's default one:
 * KV cache in f16, all ids in one batch.
 */
#include <stdio.h>
#include <stdlib.h>

#include "ggml-backend.h"
#include "llama.h"

enum { MAX_TOK = 4096 };

int main(int argc, char **argv) {
    static llama_token id[MAX_TOK];
    int n = 0;
    if (argc != 3) {
        fprintf(stderr, "usage: llama_logits MODEL.gguf OUTPUT < ids\n");
        return 2;
    }
    while (n < MAX_TOK && scanf("%d", &id[n]) == 1) {
        n++;
    }
    ggml_backend_load_all(); /* of a llama.cpp whose back ends are files beside the program */
    llama_backend_init();
    struct llama_model *model = llama_model_load_from_file(argv[1], llama_model_default_params());
    struct llama_context_params p = llama_context_default_params();
    p.n_ctx = p.n_batch = p.n_ubatch = (uint32_t)n;
    p.n_threads = p.n_threads_batch = 2;
    struct llama_context *ctx = model ? llama_init_from_model(model, p) : NULL;
    FILE *out = fopen(argv[2], "wb");
    if (!ctx || !out) {
        fprintf(stderr, "llama_logits: cannot open the model or the output\n");
        return 1;
    }
    struct llama_batch batch = llama_batch_init(n, 0, 1);
    for (int i = 0; i < n; i++) {
        batch.token[i] = id[i];
        batch.pos[i] = i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = 1;
    }
    batch.n_tokens = n;
    if (llama_decode(ctx, batch) != 0) {
        fprintf(stderr, "llama_logits: decode failed\n");
        return 1;
    }
    int n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(model));
    for (int i = 0; i < n; i++) {
        fwrite(llama_get_logits_ith(ctx, i), sizeof(float), (size_t)n_vocab, out);
    }
    return fclose(out) == 0 ? 0 : 1;
}
