/* hf.h: what a Hugging Face folder calls things, and what this program calls them.
 *
 * Owns the tables' shapes: an architecture's descriptor says in struct hf_family which model_type
 * it reads and which settings and tensors only its family has; what most families share is in
 * hf_config.c and hf_tensor.c. Private to the descriptors and to source.c.
 * Invariant: what leaves here is spelled as in GGUF files, so that nothing else knows of folders.
 */
#ifndef IGN_MODEL_HF_H
#define IGN_MODEL_HF_H

#include "base/json.h"
#include "format/gguf_build.h"
#include "format/hf_folder.h"
#include "text/pretok.h"

struct arch; /* model/config.h */

enum hf_kind { HF_INT, HF_REAL };

/* A setting of config.json and its key, without the architecture's prefix. Absent: the value is
 * `def`, as in the family's class of transformers; 0: the key is left out, as it is where the
 * setting is null. `only`: the model_type that has the setting, and the others do not look at it;
 * NULL: all of the family. Of two lines for one key, the family's counts. */
struct hf_key {
    const char *from, *key;
    enum hf_kind kind;
    double def;
    const char *only;
};

enum hf_change {
    HF_AS_IT_IS,
    HF_PLUS_ONE, /* a norm that scales by 1 + w: the sum is kept, as f32 */
    HF_EXPERT,   /* '#' in `from` is the expert's number: all of one layer become one tensor */
    HF_DROP      /* of no use: computed here, or a copy */
};

/* A tensor of a layer ("model.layers.N." before it, "blk.N." in GGUF), or of the model ("model."
 * or nothing before it). */
struct hf_name {
    const char *from, *to;
    enum hf_change change;
};

/* Of each table the last line is all zeros. */
struct hf_family {
    const char *const *types;    /* model_type, ended by NULL */
    const char *const *classes;  /* of "architectures": what is computed here; ended by NULL */
    const char *const *bodies;   /* likewise, but without an output matrix; may be NULL */
    bool part_rotates;           /* "partial_rotary_factor" counts */
    bool local_base;             /* local layers rotate by a base of their own */
    const struct hf_key *keys;   /* beside the common ones; may be NULL */
    const struct hf_name *names; /* looked at before the common ones; may be NULL */
    /* Settings that no table can tell; may be NULL. Called after the tables. */
    enum err_code (*extra)(struct gguf_build *b, const struct arch *a, const struct json *config,
                           struct err *e);
};

/* config.json to keys and, for some RoPE scalings, tensors; *a is the architecture. `where` is the
 * file's path, for messages. ERR_FORMAT names the setting, ERR_UNSUPPORTED what is not known. */
enum err_code hf_config(struct gguf_build *b, const struct arch **a, const struct json *config,
                        const char *where, struct err *e);
/* A number of config.json, or `def` if it is absent or null; if it is something else, too, and the
 * error (ERR_FORMAT) is latched in b. */
double hf_number(struct gguf_build *b, const struct json *config, const char *name, double def);
/* The number under a key that has been put, or 0. */
uint32_t hf_known_int(const struct gguf_build *b, const struct arch *a, const char *key);
/* As the tables do, for `extra`: the key under this architecture's prefix. */
void hf_put_int(struct gguf_build *b, const struct arch *a, const char *key, uint32_t v,
                const char *from);
void hf_put_real(struct gguf_build *b, const struct arch *a, const char *key, double v,
                 const char *from);
void hf_put_str(struct gguf_build *b, const struct arch *a, const char *key, struct str v);
/* For `extra`: one more line of a table. ERR_FORMAT. */
enum err_code hf_put_key(struct gguf_build *b, const struct arch *a, const struct json *config,
                         const struct hf_key *k, struct err *e);

/* "layer_types": local [n_layer] is 1 where a layer attends within the window, 0 where it attends
 * to all; *found = false, and nothing is written, where there is no list. n_layer <=
 * CONFIG_LAYER_MAX. ERR_FORMAT: not of n_layer elements; ERR_UNSUPPORTED: another kind of layer. */
enum err_code hf_layer_types(const struct json *config, uint32_t n_layer, int32_t *local,
                             bool *found, struct err *e);
/* The key of the flags of layers: local [n_layer]. */
void hf_put_locals(struct gguf_build *b, const struct arch *a, const int32_t *local,
                   uint32_t n_layer);
/* An `extra`: Qwen's way to say that some layers have a window ("use_sliding_window",
 * "max_window_layers" or "layer_types"). ERR_FORMAT, ERR_UNSUPPORTED. */
enum err_code hf_some_windows(struct gguf_build *b, const struct arch *a, const struct json *config,
                              struct err *e);

/* The settings of rotations: "rope_scaling", or "rope_parameters" (of the layers that attend to
 * all, where there are several); NULL if there are none. */
const struct json *hf_rope_of(const struct json *config);
/* The scaling of rotations. */
enum err_code hf_rope(struct gguf_build *b, const struct arch *a, const struct json *config,
                      struct err *e);

/* All tensors of the open shards. `tied`: the output matrix is said to be the embedding table; a
 * copy of it in the files is left out, one that differs stays. ERR_FORMAT, ERR_UNSUPPORTED (an
 * element type), ERR_NOMEM. */
enum err_code hf_tensors(struct gguf_build *b, const struct arch *a, const struct hf_folder *f,
                         uint32_t n_layer, uint32_t n_exp, bool tied, struct err *e);

/* ERR_FORMAT: the tensor that GGUF files call `name` is missing in g. It is named as who has the
 * files would look for it: if g is of a folder, by the folder's name, and with its shards. */
enum err_code hf_missing(const struct gguf *g, const char *name, struct err *e);

/* What a folder says of texts beside its tokenizer. */
struct hf_texts {
    const char *path;
    const struct json *config; /* config.json; NULL if there is none */
    struct json *tokenizer;    /* tokenizer_config.json; likewise */
    struct json *generation;   /* generation_config.json; likewise */
    struct err *e;
};

/* Reads the two files into t, whose other members are set. Any error of hf_folder_read,
 * hf_settings; then, too, it is to be closed. */
enum err_code hf_texts_open(struct hf_texts *t);
void hf_texts_close(struct hf_texts *t);
/* The members of one of the two files that are looked at (json_free). ERR_FORMAT, ERR_NOMEM. */
enum err_code hf_settings(const char *text, size_t n, struct json **j, struct err *e);

/* What a folder of sentence-transformers says of pooling, of the longest text and of what goes in
 * front of it: the keys pooling_type, truncation_length and ign.prompt. ERR_FORMAT,
 * ERR_UNSUPPORTED, ERR_NOMEM, ERR_IO. */
enum err_code hf_pooling(struct gguf_build *b, const struct arch *a, const struct hf_texts *t);
/* The parts of hf_pooling. modules.json: the name of the pooling module's folder, a view into
 * `modules`; n = 0: no such module. ERR_FORMAT, ERR_UNSUPPORTED (a module that is not known). */
enum err_code hf_modules(const struct json *modules, struct str *folder, struct err *e);
/* The pooling module's settings. ERR_UNSUPPORTED, ERR_NOMEM. */
enum err_code hf_pooling_put(struct gguf_build *b, const struct arch *a,
                             const struct json *settings, struct err *e);
/* sentence_bert_config.json. ERR_FORMAT, ERR_NOMEM. */
enum err_code hf_text_limit_put(struct gguf_build *b, const struct arch *a,
                                const struct json *settings, struct err *e);
/* tokenizer_config.json's limit, where there is none yet. ERR_UNSUPPORTED (texts are cut at their
 * beginning), ERR_NOMEM. */
enum err_code hf_tokenizer_limit_put(struct gguf_build *b, const struct arch *a,
                                     const struct json *settings, struct err *e);
/* config_sentence_transformers.json: the prompt of texts that come without one. ERR_FORMAT,
 * ERR_UNSUPPORTED, ERR_NOMEM. */
enum err_code hf_prompt_put(struct gguf_build *b, const struct arch *a, const struct json *settings,
                            struct err *e);

/* The vocabulary of the folder: tokenizer.json, or else tokenizer.model; special tokens and the
 * chat template from t's files and chat_template.jinja. n_row: rows of the embedding table, for
 * which unnamed tokens are made up; 0: no table. *found = false: the folder has no tokenizer. */
enum err_code hf_text(struct gguf_build *b, const struct hf_texts *t, uint32_t n_row, bool *found);

/* ---- the parts of hf_text --------------------------------------------------------------- */

struct hf_piece {
    struct str text;
    double score;  /* SentencePiece: larger merges first; Unigram */
    int32_t kind;  /* enum piece_kind; 0: no token has this id */
    int32_t flags; /* enum piece_flag */
};

struct hf_vocab {
    struct hf_piece *piece; /* [n] */
    size_t n, cap;
    size_t most;       /* ids are below: what so many bytes of file can name */
    struct str *merge; /* [n_merge] "left right"; byte-level BPE */
    size_t n_merge, cap_merge;
    bool spm;     /* SentencePiece's way of merging, with a score for each piece */
    bool unigram; /* the likeliest cut by scores; of SentencePiece, unless `steps` */
    bool steps;   /* what no common keys tell: `normalizer` and `pre_tokenizer`, as they stand */
    struct str normalizer, pre_tokenizer;     /* views into the file; n = 0: none */
    struct str charsmap;                      /* of SentencePiece, likewise */
    bool characters, fuse_unknown;            /* as in struct vocab_spec */
    int first_space;                          /* likewise */
    bool wordpiece, lowercase, strip_accents; /* WordPiece, and what its normalizer does */
    bool add_bos, add_eos;
    bool says_bos;    /* add_bos and add_eos are the tokenizer's own word */
    int space_prefix; /* enum space_prefix */
    bool remove_extra_whitespaces;
    bool ignore_merges;    /* a word that is a piece is taken whole */
    const char *pre;       /* name of the pre-tokenizer; byte-level BPE */
    int32_t bos, eos, unk; /* -1: not said */
    struct arena mem;      /* of strings and tables */
};

/* All fields as nothing said them; `bytes` of the file that the tokens come from. */
void hf_vocab_init(struct hf_vocab *v, size_t bytes);
void hf_vocab_fini(struct hf_vocab *v);
/* Piece `id`, made if need be; NULL (the error is set) if the id is absurd or memory ran out. */
struct hf_piece *hf_piece_at(struct hf_vocab *v, uint64_t id, struct err *e);
/* The id of a spelling, looked for from the front; -1 if there is none. */
int32_t hf_piece_find(const struct hf_vocab *v, struct str text);
/* A token that is known beside the vocabulary proper; flags of enum piece_flag. ERR_FORMAT if the
 * id is another's. */
enum err_code hf_piece_add(struct hf_vocab *v, uint64_t id, struct str text, bool special,
                           int flags, struct err *e);
/* The keys of the pieces and of how they merge; ids that nothing names, up to n_row, become unused
 * tokens. ERR_FORMAT, ERR_NOMEM. */
enum err_code hf_vocab_put(struct gguf_build *b, struct hf_vocab *v, uint32_t n_row, struct err *e);
/* The keys of what t's files say beside the template: special tokens, ends, sampling. ERR_FORMAT,
 * ERR_LIMIT, ERR_NOMEM. */
enum err_code hf_settings_put(struct gguf_build *b, struct hf_vocab *v, const struct hf_texts *t);
/* Reads a vocabulary into v, which has been initialized. ERR_FORMAT, ERR_UNSUPPORTED, ERR_LIMIT,
 * ERR_NOMEM. */
enum err_code hf_tokenizer_json(struct hf_vocab *v, const char *text, size_t n, struct err *e);
enum err_code hf_tokenizer_model(struct hf_vocab *v, const void *p, size_t n, struct err *e);
/* The GGUF name of the pre-tokenizer that does what these parts of a tokenizer.json say; of two
 * that differ only there, the one whose words are taken whole, or not, as `whole` says. NULL: none.
 */
const char *hf_pretok(bool whole, const struct json *normalizer, const struct json *pre_tokenizer);
/* The scanner of a regular expression, and whether it matches every character; NULL: it is not one
 * of those that are written out in text/pretok.c. */
pretok_scan hf_pattern(struct str regex, bool *total);

/* What a tokenizer.json adds at the ends of a text, and how it decodes. `v` knows its style, for
 * hf_post its pieces, too. ERR_FORMAT, ERR_UNSUPPORTED. */
enum err_code hf_post(struct hf_vocab *v, const struct json *post, struct err *e);
enum err_code hf_decoder(struct hf_vocab *v, const struct json *decoder, struct err *e);

/* What a tokenizer.json with WordPiece says of words. ERR_UNSUPPORTED. */
enum err_code hf_wordpiece_style(struct hf_vocab *v, const struct json *normalizer,
                                 const struct json *pre_tokenizer, struct err *e);
/* A piece as GGUF files spell it; p = NULL when out of memory. */
struct str hf_wordpiece_spell(struct hf_vocab *v, const struct hf_piece *p);

#endif
