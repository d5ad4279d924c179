/* tok_driver.c: tokenizes many texts for tools/check_tokenizers.py.
 *
 * Reads records from standard input and writes ids to standard output, so that one process serves
 * a whole comparison. A record is a u32 length and that many bytes; bit 31 of the length says that
 * control pieces count. The answer is a u32 count and that many i32. With --decode the records are
 * ids and the answers bytes. Little-endian, like the machines that run it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/gguf.h"
#include "model/source.h"
#include "model/vocab_load.h"
#include "text/tokenizer.h"

#define SPECIAL_BIT 0x80000000u

static int fail(const struct err *e) {
    char line[1024];
    fprintf(stderr, "tok_driver: %s\n", err_line(e, line, sizeof line));
    return 1;
}

static int encode_record(const struct tokenizer *t, const char *p, uint32_t n, bool special) {
    struct ids out = {0};
    struct err e = {0};
    if (tokenizer_encode(t, p, n, NULL, special, BOS_NEVER, 0, &out, &e)) {
        return fail(&e);
    }
    uint32_t n_id = (uint32_t)out.n;
    fwrite(&n_id, sizeof n_id, 1, stdout);
    fwrite(out.id, sizeof *out.id, out.n, stdout);
    ids_fini(&out);
    return 0;
}

static int decode_record(const struct tokenizer *t, const char *p, uint32_t n, bool special) {
    struct buf out;
    struct err e = {0};
    buf_init(&out, SIZE_MAX);
    if (tokenizer_decode(t, (const int32_t *)(const void *)p, n / 4, special, &out, &e)) {
        return fail(&e);
    }
    uint32_t len = (uint32_t)out.len;
    fwrite(&len, sizeof len, 1, stdout);
    fwrite(out.p, 1, out.len, stdout);
    buf_fini(&out);
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: tok_driver MODEL.gguf [--decode] < records > answers\n");
        return 2;
    }
    bool decode = argc > 2 && strcmp(argv[2], "--decode") == 0;
    struct err e = {0};
    struct gguf *g = NULL;
    struct vocab *v = NULL;
    struct tokenizer *t = NULL;
    if (source_open(&g, argv[1], false, &e) || vocab_load(&v, g, &e) ||
        tokenizer_create(&t, v, &e)) {
        return fail(&e);
    }
    int status = 0;
    uint32_t n;
    while (!status && fread(&n, sizeof n, 1, stdin) == 1) {
        bool special = n & SPECIAL_BIT;
        n &= ~SPECIAL_BIT;
        char *p = mem_alloc(n, 1);
        if (!p || fread(p, 1, n, stdin) != n) {
            status = 1;
        } else {
            status = decode ? decode_record(t, p, n, special) : encode_record(t, p, n, special);
        }
        mem_free(p);
    }
    fflush(stdout);
    tokenizer_free(t);
    vocab_free(v);
    gguf_close(g);
    return status;
}
