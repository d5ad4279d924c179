/* chunks.h: a text, asked of a model chunk by chunk.
 *
 * Owns the walk, which is that of llama.cpp's programs, so that numbers compare: the text is cut
 * into chunks of as many tokens as the context has, each computed afresh, its first token replaced
 * by BOS where the model uses one; what is left over at the end is not computed. Refuses to judge
 * what comes out. Invariant: every chunk is whole, or the walk ends with an error that was printed.
 */
#ifndef IGN_CLI_CHUNKS_H
#define IGN_CLI_CHUNKS_H

#include "cli/answer.h"
#include "cli/cli.h"

/* Lifetime: the verb's, from chunks_init to chunks_fini. */
struct chunks {
    struct cli *c;
    struct buf text;
    ign_model *m;
    ign_session *s;
    struct answer answer;
    int32_t *ids; /* [n_ids] of the whole text; ign_free */
    size_t n_ids, n_chunk, n_vocab;
    int context; /* tokens in a chunk */
    int32_t bos; /* -1: the model begins with none */
    double seconds;

    /* Of the second half of each chunk: the logits that follow each position but the last, and the
     * id that is there. NULL: nothing is scored. */
    void (*row)(void *arg, const float *logit, int n_vocab, int32_t next);
    void *arg;
    const int32_t *now; /* the chunk in hand, [context] */
    struct err failed;  /* what the caller's own callbacks could not do: ends the walk */
};

/* The flags of every verb with such a walk. */
#define CHUNKS_FILE_KNOB                                                                           \
    {                                                                                              \
        .name = "file", .type = KNOB_STR, .unit = "FILE",                                          \
        .help = "the text; - is standard input, and the default"                                   \
    }
#define CHUNKS_CONTEXT_KNOB                                                                        \
    {                                                                                              \
        .name = "context", .type = KNOB_INT, .flags = KNOB_MAY_PASS, .unit = "N", .def = "512",    \
        .min = 8, .max = 32768, .help = "tokens in a chunk"                                        \
    }

void chunks_init(struct chunks *t, struct cli *c);
void chunks_fini(struct chunks *t); /* a half-opened one is fine */
/* The text of --file, else standard input. All return an exit code, the error printed. */
int chunks_read(struct chunks *t);
/* Opens the model in a file, or that of --model (NULL), and cuts the text, which must have one
 * chunk at least. Without --context a model that was trained for less gets chunks of what it has.
 */
int chunks_open(struct chunks *t, const char *path);
/* Lets go of the model, its session and the ids; the text stays. */
void chunks_close(struct chunks *t);
/* Positions whose next token is scored, in the whole text. */
size_t chunks_scored(const struct chunks *t);
/* Asks all chunks, behind a bar that says `what`. */
int chunks_run(struct chunks *t, const char *what);

/* Whether a result can be written to `path`, to be known before it is computed; an exit status. */
int chunks_output(struct cli *c, const char *path);

#endif
