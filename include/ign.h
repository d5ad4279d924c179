/* ign.h: the public interface of ign, a local language model engine.
 *
 * Three handles: a model (file, weights, tokenizer, KV memory), a session (one conversation's
 * tokens and sampler), and nothing else. The caller drives: ign_step computes one step over all
 * sessions that have work, and calls back with each token.
 *
 *     ign_model_open -> ign_session_create -> ign_session_submit -> ign_step until no work is left
 *
 * Threads: functions marked [any] may be called from any thread at any time; those marked [owner]
 * only by one thread at a time per model (the owner); callbacks run on the owner's thread, outside
 * all locks, and may call the functions marked [any].
 * Errors are values: a function returns IGN_OK or a code, and fills *e (which may be NULL).
 * Signals: choosing kernels, to look at them, to plan or to open a model, asks Linux for AMX's
 * tiles where the processor has them, for the whole process. From then on sigaltstack refuses
 * stacks smaller than getauxval(AT_MINSIGSTKSZ), some 12 KB.
 * Strings are UTF-8. Token ids are 32-bit, from 0.
 */
#ifndef IGN_H
#define IGN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define IGN_API __attribute__((visibility("default")))
#else
#define IGN_API
#endif

typedef struct ign_model ign_model;
typedef struct ign_session ign_session;

typedef enum ign_status {
    IGN_OK = 0,
    IGN_NOMEM,
    IGN_IO,
    IGN_NOTFOUND,
    IGN_FORMAT,
    IGN_UNSUPPORTED,
    IGN_USAGE,
    IGN_RANGE,
    IGN_NOFIT,
    IGN_DEVICE,
    IGN_LIMIT,
    IGN_CANCELLED
} ign_status;

typedef struct ign_error {
    ign_status code;
    char text[896]; /* "WHAT (WHERE); WHAT TO DO" */
} ign_error;

IGN_API const char *ign_version(void); /* [any] */

/* ---- models ------------------------------------------------------------------------------- */

typedef struct ign_model_options {
    const char *device;    /* "auto" (NULL), "cpu", "plain" */
    const char *cpu_level; /* NULL: the best that the CPU has; "c", "avx2", "neon", ... */
    int threads;           /* 0: as many as this process has physical cores for */
    int duty;              /* percent of their processors' time, 5..100, that they use; 0: 100 */
    int context;           /* positions of KV memory, shared by all sessions; 0: 4096 or less */
    int batch;             /* tokens computed in one step at most; 0: 512 */
    const char *kv_type;   /* numbers of the KV cache: "f16", "f32", "int8" (half of f16, at a cost
                              in quality); NULL: f16, or int8 where that does not fit */
    bool no_mmap;          /* read the file into memory */
    bool no_large_pages;   /* leave mapped weights in the file's pages: see below */
    bool mlock;            /* lock it there */
    uint64_t max_memory;   /* bytes that the process may have in all; 0: what is available */
    bool tokenizer_only;   /* no weights: encode, decode and render only */
    bool no_speculation;   /* each step computes one token of a session: see below */
    const char *system_root; /* folder with the /proc and /sys that say what is available, where
                                those of the machine are not at /; NULL */
    int64_t clock; /* what chat templates see as now, seconds since 1970; 0: the real time */
} ign_model_options;

/* Large pages: a model that has computed for a while moves its mapped weights, for an eighth of
 * each step's time and 25 ms at most, into large pages of the process's own, since reading them is
 * faster then. Where memory is short (a quarter of what is available, and 2 GiB, would not stay
 * free), with mlock or a duty, weights stay in the pages of the file, which other processes share.
 */

/* Speculation: what a session has seen before is guessed to follow again, and a step computes the
 * guess together with the token that it follows; what the sampler itself then picks decides how
 * much of it stands. Tokens, log probabilities, random state and order of events are those without
 * it, bit for bit; fewer steps are made, where the engine measures that this is faster. */

/* Opens a GGUF file or a Hugging Face folder. `o` may be NULL. IGN_NOFIT, before anything is
 * loaded, with numbers and what would fit. [any] for different models. */
IGN_API ign_status ign_model_open(ign_model **m, const char *path, const ign_model_options *o,
                                  ign_error *e);
/* All sessions must have been freed. NULL is fine. [owner] */
IGN_API void ign_model_close(ign_model *m);

typedef struct ign_model_info {
    const char *name; /* general.name, or the file's name */
    const char *architecture;
    const char *device; /* "cpu: avx2, 2 threads"; "" if tokenizer only */
    uint64_t parameters;
    uint64_t weights_bytes, kv_bytes, scratch_bytes;
    const char *kv_type; /* "f16", "f32", "int8"; "" if tokenizer only */
    int layers, vocabulary, context_trained, context;
    double load_seconds;
    int dimension;    /* numbers in an embedding */
    bool embeds_only; /* has embeddings and no sessions: an encoder (BERT), or a decoder without an
                       * output matrix */
} ign_model_info;

/* Strings live as long as the model. [any] */
IGN_API void ign_model_get_info(const ign_model *m, ign_model_info *info);
/* The part of the model's file, 0 to 1, that lies in large pages of memory now; -1 where the system
 * does not tell. [owner] */
IGN_API double ign_model_large_pages(const ign_model *m);

/* ---- text ----------------------------------------------------------------------------------- */

/* Frees what a function below has given in *out. */
IGN_API void ign_free(void *p);

/* Ids of text[0..n) in *ids (ign_free). `special`: control tokens in the text are recognized (only
 * for text that you wrote yourself). `bos`: -1 as the model says, 0 never, 1 always. [any] */
IGN_API ign_status ign_encode(const ign_model *m, const char *text, size_t n, bool special, int bos,
                              int32_t **ids, size_t *n_ids, ign_error *e);
/* The text of ids, zero-terminated, in *text (ign_free). [any] */
IGN_API ign_status ign_decode(const ign_model *m, const int32_t *ids, size_t n_ids, bool special,
                              char **text, size_t *n, ign_error *e);
/* Messages (a JSON list of {"role", "content"}; tools: a JSON list or NULL) through the model's
 * chat template to ids. Text of messages never becomes a control token. [any] */
IGN_API ign_status ign_encode_chat(const ign_model *m, const char *messages_json,
                                   const char *tools_json, int32_t **ids, size_t *n_ids,
                                   ign_error *e);

/* ---- embeddings ----------------------------------------------------------------------------- */

/* How the vectors of a text's tokens become one: their mean, the first, the last. AUTO: as the
 * model's file says; the mean where it says nothing. */
typedef enum ign_pooling {
    IGN_POOL_AUTO = 0,
    IGN_POOL_MEAN,
    IGN_POOL_CLS,
    IGN_POOL_LAST
} ign_pooling;

typedef struct ign_embed_request {
    const char *const *text; /* [n_text]; control tokens in them are ordinary text */
    const size_t *n_bytes;   /* [n_text] their lengths; NULL: they end with a zero */
    size_t n_text;
    ign_pooling pooling;
    const char *prompt; /* in front of each text; NULL: what the model's file says, if it does;
                         * "": nothing */
    bool unscaled;      /* leave the vectors as pooled; else their length is 1 */
    const volatile int *cancel; /* not 0: give up soon, IGN_CANCELLED; may be NULL */
    float *vector;              /* out: [n_text, dimension]; anything after an error */
    int *tokens;                /* out: [n_text] tokens of each, special ones included; or NULL */
    int *cut; /* out: [n_text] tokens left out at the end of a text that is longer than the model's
                 context, at least: no more is looked at than that takes; or NULL */
} ign_embed_request;

/* A vector for each text, by an encoder (BERT) or by pooling a decoder's last layer. A text's
 * vector does not depend on the others. A decoder's KV memory that sessions leave free must hold
 * the longest text (IGN_NOFIT). A text without any token has a vector of zeros. IGN_UNSUPPORTED:
 * the model is for neither. [owner] */
IGN_API ign_status ign_embed(ign_model *m, const ign_embed_request *r, ign_error *e);

/* ---- sessions ------------------------------------------------------------------------------- */

typedef struct ign_logit_bias {
    int32_t id;
    float bias;
} ign_logit_bias;

typedef struct ign_sampling {
    float temperature;                                         /* 0: greedy */
    int top_k;                                                 /* 0: off */
    float top_p, min_p, typical;                               /* off: 1, 0, 1 */
    float repeat_penalty, presence_penalty, frequency_penalty; /* off: 1, 0, 0 */
    uint64_t seed;
    const ign_logit_bias *bias; /* [n_bias], copied */
    size_t n_bias;
} ign_sampling;

/* 0.7, 40, 0.9, 0, 1, 1, 0, 0, seed 0. */
IGN_API void ign_sampling_default(ign_sampling *s);
/* The same, but for what the model's own file says of temperature, top-k, top-p, min-p and repeat
 * penalty (general.sampling.* of a GGUF file, generation_config.json of a folder). [any] */
IGN_API void ign_model_get_sampling(const ign_model *m, ign_sampling *s);

/* Empty, with room for `context` positions (0: all of the model's). [owner] */
IGN_API ign_status ign_session_create(ign_model *m, int context, const ign_sampling *sampling,
                                      ign_session **s, ign_error *e);
/* Pages and memory go back; whatever it was doing ends. NULL is fine. [owner] */
IGN_API void ign_session_free(ign_session *s);

typedef enum ign_stop_reason {
    IGN_STOP_NONE = 0, /* still going */
    IGN_STOP_EOS,      /* the model ended its turn */
    IGN_STOP_STRING,   /* a stop string */
    IGN_STOP_LENGTH,   /* max_tokens, or the time limit */
    IGN_STOP_CONTEXT,  /* no position left */
    IGN_STOP_CANCELLED,
    IGN_STOP_ERROR /* see event.error */
} ign_stop_reason;

typedef struct ign_token_logprob {
    int32_t id;
    float logprob;
} ign_token_logprob;

/* What happened to a session in a step. Pointers live until the callback returns. */
typedef struct ign_event {
    int32_t id;       /* the new token; -1 if the event carries none */
    const char *text; /* bytes that became certain, whole UTF-8 sequences; may be "" */
    size_t n_text;
    float logprob;                /* of `id`, if logprobs were asked for */
    const ign_token_logprob *top; /* [n_top] */
    size_t n_top;
    ign_stop_reason stop; /* not NONE: the last event of this request */
    ign_error error;      /* of ERROR; of CONTEXT where other sessions took the memory */
} ign_event;

typedef struct ign_request {
    const int32_t *ids; /* [n_ids] tokens to compute first; copied */
    size_t n_ids;
    int max_tokens;          /* new tokens; 0: only compute `ids` */
    double seconds;          /* time limit of the request, looked at between steps; 0: none */
    const char *const *stop; /* [n_stop] strings that end generation, not shown; copied */
    size_t n_stop;
    bool ignore_eos; /* end tokens are generated like any other */
    int logprobs;    /* 0..20: how many alternatives each event carries; -1: none at all */
    void (*on_event)(void *arg, const ign_event *ev); /* may be NULL */
    /* Called with the logits [n_vocab] of every position of `ids` as it is computed, the first
     * token of the session being position 0; NULL: none. */
    void (*on_logits)(void *arg, int position, const float *logits, int n_vocab);
    void *arg;
} ign_request;

/* Queues work; the session must be idle: it is so from its creation, and again when the callback of
 * its last event has returned (otherwise IGN_USAGE). No ids: goes on from the tokens that are
 * there. At most 64 stop strings of at most 4096 bytes, none empty. IGN_NOFIT if the ids do not fit
 * its context, IGN_RANGE for an id, stop string or number out of bounds. [any] */
IGN_API ign_status ign_session_submit(ign_session *s, const ign_request *r, ign_error *e);
/* Ends the current request soon; its last event says CANCELLED. A step in which every session has
 * been cancelled is given up in the middle; one that still serves others is finished for them.
 * Does nothing to an idle session. [any], in a signal handler too */
IGN_API void ign_session_cancel(ign_session *s);

/* Computes one step over all sessions with work; *n_busy = how many still have some. A failure of
 * one session is an event of that session; the function fails only if the model itself is broken
 * (device or file lost), after all its sessions have had their events. [owner] */
IGN_API ign_status ign_step(ign_model *m, int *n_busy, ign_error *e);

/* Where the time of steps goes, of one phase: a step is prefill if it works on any prompt. */
enum { IGN_STAGES = 14 };
typedef struct ign_profile {
    const char *stage[IGN_STAGES]; /* "ffn", "sampling", ...: the same in every profile */
    double
        seconds[IGN_STAGES]; /* inside of ign_step, without callbacks; together all of that time */
    uint64_t steps, tokens;
} ign_profile;

/* From now on each stage of each step is timed, from zero; not between steps that belong together.
 * Costs a step about a percent, and nothing before the first call. IGN_NOMEM, IGN_USAGE (no
 * weights). [owner] */
IGN_API ign_status ign_profile_begin(ign_model *m, ign_error *e);
/* What has come since; names live for ever. Returns IGN_STAGES, or 0, with nothing in them, where
 * no profile was begun. [owner] */
IGN_API size_t ign_profile_get(const ign_model *m, ign_profile *prefill, ign_profile *decode);

/* The tokens that have been computed or generated, in order, the end token included; valid until
 * the session's next step, truncate or load. [owner] */
IGN_API const int32_t *ign_session_tokens(const ign_session *s, size_t *n);
IGN_API int ign_session_context(const ign_session *s);
/* The logits [n_vocab] after the last computed token, until the session's next step; NULL if there
 * are none, as after a step that was given up. [owner] */
IGN_API const float *ign_session_logits(const ign_session *s);

/* Of the current request, or of the last one; not while another thread submits. [owner] */
typedef struct ign_timing {
    int prompt_tokens;      /* computed before the first new one */
    int new_tokens;         /* generated, an end token included */
    int drafted_tokens;     /* guessed and computed (speculation) */
    int accepted_tokens;    /* of these, the ones that were generated */
    double prefill_seconds; /* from submit to the first new token */
    double decode_seconds;  /* from the first new token to the last */
} ign_timing;
IGN_API void ign_session_get_timing(const ign_session *s, ign_timing *t);

/* A copy that shares the computed past: pages, position, sampler with its random state. The
 * session must be idle. [owner] */
IGN_API ign_status ign_session_fork(const ign_session *s, ign_session **copy, ign_error *e);
/* Forgets everything after the first n tokens: pages, logits, and what the penalties remember is
 * rebuilt from the tokens that stay. The random state is not turned back. Idle. [owner] */
IGN_API ign_status ign_session_truncate(ign_session *s, size_t n, ign_error *e);
/* Replaces the sampling options; the random state restarts from the seed. Idle. [owner] */
IGN_API ign_status ign_session_set_sampling(ign_session *s, const ign_sampling *sampling,
                                            ign_error *e);
/* Writes tokens, sampler and KV pages to a file; reads them back into an idle session of the same
 * model (checked). Written whole or not at all; a file that is refused leaves the session as it
 * was. [owner] */
IGN_API ign_status ign_session_save(const ign_session *s, const char *path, ign_error *e);
IGN_API ign_status ign_session_load(ign_session *s, const char *path, ign_error *e);

#ifdef __cplusplus
}
#endif
#endif
