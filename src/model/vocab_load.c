/* vocab_load.c: tokenizer.* of a GGUF file to struct vocab_spec.
 *
 * Owns the names of the keys, the element types and counts of the arrays, and the customs of
 * model families that no key tells. Refuses to judge pieces: vocab_create does.
 * Source: the GGUF specification, "Tokenizer".
 */
#include "model/vocab_load.h"

#include "base/mem.h"
#include "model/hf_steps.h"

enum { KEY_NONE = -1 };

/* Arrays made for vocab_create, and only for as long as it runs. */
struct pieces {
    struct str *piece, *merge;
    double *score;
    int32_t *kind, *end;
    uint8_t *flag;
};

static enum err_code no_memory(const char *key, struct err *e) {
    return err_set(e, ERR_NOMEM, "no memory for %s", key);
}

/* An array of strings as views; *n = 0 and *out = NULL if the key is absent. */
static enum err_code load_strings(const struct gguf *g, const char *key, struct str **out,
                                  uint32_t *n, struct err *e) {
    const struct gguf_kv *kv;
    *n = 0;
    enum err_code c = gguf_get_array(g, key, GGUF_STRING, &kv, e);
    if (c || !kv) {
        return c;
    }
    if (kv->n >= UINT32_MAX) {
        return err_set(e, ERR_FORMAT, "%s has too many elements", key);
    }
    *out = mem_aligned(kv->n, sizeof **out);
    if (!*out) {
        return no_memory(key, e);
    }
    *n = (uint32_t)kv->n;
    uint64_t pos = 0;
    for (uint32_t i = 0; i < *n; i++) {
        (*out)[i] = gguf_next_str(kv, &pos);
    }
    return ERR_OK;
}

/* An array of 32-bit numbers; *out = NULL if the key is absent. */
static enum err_code load_ints(const struct gguf *g, const char *key, int32_t **out, uint32_t *n,
                               struct err *e) {
    const struct gguf_kv *kv;
    *n = 0;
    enum err_code c = gguf_get_array(g, key, GGUF_I32, &kv, e);
    if (c || !kv) {
        return c;
    }
    if (kv->n >= UINT32_MAX || !(*out = mem_alloc(kv->n, sizeof **out))) {
        return no_memory(key, e);
    }
    *n = (uint32_t)kv->n;
    for (uint32_t i = 0; i < *n; i++) {
        (*out)[i] = (int32_t)gguf_int_at(kv, i);
    }
    return ERR_OK;
}

static enum err_code check_count(const struct gguf_kv *kv, const char *key, uint32_t n,
                                 struct err *e) {
    if (kv->n != n) {
        return err_set(e, ERR_FORMAT, "%s has %llu elements for %u pieces", key,
                       (unsigned long long)kv->n, n);
    }
    return ERR_OK;
}

static enum err_code load_scores(const struct gguf *g, struct pieces *p, uint32_t n,
                                 struct err *e) {
    static const char key[] = "tokenizer.ggml.scores";
    const struct gguf_kv *kv;
    enum err_code c = gguf_get_array(g, key, GGUF_F32, &kv, e);
    if (c || !kv) {
        return c;
    }
    c = check_count(kv, key, n, e);
    if (c) {
        return c;
    }
    p->score = mem_alloc(n, sizeof *p->score);
    if (!p->score) {
        return no_memory(key, e);
    }
    for (uint32_t i = 0; i < n; i++) {
        p->score[i] = gguf_f64_at(kv, i);
    }
    return ERR_OK;
}

static enum err_code load_kinds(const struct gguf *g, struct pieces *p, uint32_t n, struct err *e) {
    static const char key[] = "tokenizer.ggml.token_type";
    uint32_t count;
    enum err_code c = load_ints(g, key, &p->kind, &count, e);
    return c || !p->kind ? c : check_count(gguf_find(g, key), key, n, e);
}

/* An id; absent, or the largest number of 32 or 64 bits, means none. */
static enum err_code load_id(const struct gguf *g, const char *key, int32_t def, int32_t *id,
                             struct err *e) {
    uint64_t u;
    enum err_code c = gguf_get_u64_or(g, key, UINT64_MAX - 1, &u, e);
    if (c) {
        return c;
    }
    if (u == UINT64_MAX - 1) {
        *id = def;
    } else if (u == UINT64_MAX || u == UINT32_MAX) {
        *id = KEY_NONE;
    } else if (u > INT32_MAX) {
        return err_set(e, ERR_FORMAT, "%s is %llu", key, (unsigned long long)u);
    } else {
        *id = (int32_t)u;
    }
    return ERR_OK;
}

/* SentencePiece files of the first days name no ids: they have Llama's. BERT's text begins with
 * CLS and ends with SEP; files that do not name them have those of its first vocabularies. */
static enum err_code load_ids(const struct gguf *g, struct vocab_spec *s, struct err *e) {
    bool spm = s->model == VOCAB_SPM, bert = s->model == VOCAB_WORDPIECE && s->n_vocab > 102;
    int32_t cls = KEY_NONE;
    const struct {
        const char *key;
        int32_t def;
        int32_t *id;
    } all[] = {
        {"tokenizer.ggml.bos_token_id", spm && s->n_vocab > 1 ? 1 : KEY_NONE, &s->bos},
        {"tokenizer.ggml.eos_token_id", spm && s->n_vocab > 2 ? 2 : KEY_NONE, &s->eos},
        {"tokenizer.ggml.unknown_token_id",
         spm    ? 0
         : bert ? 100
                : KEY_NONE,
         &s->unk},
        {"tokenizer.ggml.cls_token_id", bert ? 101 : KEY_NONE, &cls},
        {"tokenizer.ggml.seperator_token_id", bert ? 102 : KEY_NONE, &s->sep}, /* spelled so */
        {"tokenizer.ggml.padding_token_id", KEY_NONE, &s->pad},
        {"tokenizer.ggml.eot_token_id", KEY_NONE, &s->eot},
        {"tokenizer.ggml.eom_token_id", KEY_NONE, &s->eom},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        enum err_code c = load_id(g, all[i].key, all[i].def, all[i].id, e);
        if (c) {
            return c;
        }
    }
    if (s->model == VOCAB_WORDPIECE) {
        s->bos = s->bos < 0 ? cls : s->bos;
        s->eos = s->eos < 0 ? s->sep : s->eos;
    }
    return ERR_OK;
}

/* tokenizer.ign.space_prefix tells apart what the common key does not. */
static enum err_code load_prefix(const struct gguf *g, struct vocab_spec *s, struct err *e) {
    static const char key[] = "tokenizer.ign.space_prefix";
    bool prefix;
    uint64_t u;
    enum err_code c =
        gguf_get_bool_or(g, "tokenizer.ggml.add_space_prefix",
                         s->model == VOCAB_SPM || s->model == VOCAB_UNIGRAM, &prefix, e);
    c = c ? c : gguf_get_u64_or(g, key, prefix ? PREFIX_ALWAYS : PREFIX_NONE, &u, e);
    if (!c && u > PREFIX_FIRST) {
        c = err_set(e, ERR_FORMAT, "%s is %llu; known are 0 to %d", key, (unsigned long long)u,
                    PREFIX_FIRST);
    }
    s->space_prefix = c ? PREFIX_NONE : (enum space_prefix)u;
    return c;
}

static enum err_code load_flags(const struct gguf *g, struct vocab_spec *s, struct err *e) {
    s->has_add_bos = gguf_find(g, "tokenizer.ggml.add_bos_token") != NULL;
    enum err_code c = gguf_get_bool_or(g, "tokenizer.ggml.add_bos_token", false, &s->add_bos, e);
    bool words = s->model == VOCAB_WORDPIECE, sep = false;
    bool says = gguf_find(g, "tokenizer.ggml.add_eos_token") ||
                gguf_find(g, "tokenizer.ggml.add_sep_token");
    if (!c) {
        c = gguf_get_bool_or(g, "tokenizer.ggml.add_eos_token", words && !says, &s->add_eos, e);
    }
    if (!c && words) { /* whichever of the two a converter thinks of */
        c = gguf_get_bool_or(g, "tokenizer.ggml.add_sep_token", false, &sep, e);
        s->add_eos = s->add_eos || sep;
    }
    if (!c) {
        c = load_prefix(g, s, e);
    }
    if (!c && gguf_find(g, "tokenizer.ign.ignore_merges")) {
        bool whole;
        c = gguf_get_bool_or(g, "tokenizer.ign.ignore_merges", false, &whole, e);
        s->whole_words = whole ? 1 : -1;
    }
    if (!c) {
        c = gguf_get_bool_or(g, "tokenizer.ggml.normalizer.lowercase", words, &s->lowercase, e);
    }
    if (!c) {
        c = gguf_get_bool_or(g, "tokenizer.ggml.normalizer.strip_accents", s->lowercase,
                             &s->strip_accents, e);
    }
    if (!c) {
        c = gguf_get_bool_or(g, "tokenizer.ggml.remove_extra_whitespaces",
                             s->model == VOCAB_UNIGRAM, &s->remove_extra_whitespaces, e);
    }
    if (!c && gguf_find(g, "tokenizer.ign.first_space")) {
        bool drops;
        c = gguf_get_bool_or(g, "tokenizer.ign.first_space", false, &drops, e);
        s->first_space = drops ? 1 : -1;
    }
    return c;
}

bool vocab_model_find(struct str name, struct vocab_spec *s) {
    static const struct {
        const char *name;
        enum vocab_model model;
        bool steps, single;
    } known[] = {
        {"gpt2", VOCAB_BPE, false, false},       {"llama", VOCAB_SPM, false, false},
        {"bert", VOCAB_WORDPIECE, false, false}, {"t5", VOCAB_UNIGRAM, false, true},
        {"ign.bpe", VOCAB_BPE, true, false},     {"ign.unigram", VOCAB_UNIGRAM, true, false}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (str_is(name, known[i].name)) {
            s->model = known[i].model;
            s->steps = known[i].steps;
            s->single = known[i].single;
            return true;
        }
    }
    return false;
}

static enum err_code load_model(const struct gguf *g, struct vocab_spec *s, struct err *e) {
    struct str name;
    enum err_code c = gguf_get_str(g, "tokenizer.ggml.model", &name, e);
    if (c) {
        return c;
    }
    if (!vocab_model_find(name, s)) {
        c = err_set(e, ERR_UNSUPPORTED, "tokenizer model '%.*s'", (int)(name.n < 64 ? name.n : 64),
                    name.p);
        err_hint(e,
                 "known are 'gpt2' (byte-level BPE), 'llama' (SentencePiece), 't5' (Unigram) and "
                 "'bert' (WordPiece)");
        return c;
    }
    s->pre = str_of("", 0);
    if (gguf_find(g, "tokenizer.ggml.pre")) {
        c = gguf_get_str(g, "tokenizer.ggml.pre", &s->pre, e);
    }
    return c;
}

/* ---- steps ------------------------------------------------------------------------------ */

static enum err_code parse_key(const struct gguf *g, const char *key, struct json **j,
                               struct err *e) {
    struct str text;
    *j = NULL;
    if (!gguf_find(g, key)) {
        return ERR_OK;
    }
    enum err_code c = gguf_get_str(g, key, &text, e);
    c = c ? c : json_parse(text.p, text.n, j, e);
    if (c && c != ERR_NOMEM) {
        err_where(e, "%s", key);
    }
    return c;
}

/* SentencePiece's map of characters is a step before all others. */
static enum err_code load_charsmap(const struct gguf *g, struct hf_steps *steps, struct err *e) {
    static const char key[] = "tokenizer.ggml.precompiled_charsmap";
    const struct gguf_kv *kv;
    enum err_code c = gguf_get_array(g, key, GGUF_U8, &kv, e);
    if (c || !kv || !kv->n) {
        return c;
    }
    if (kv->elem != GGUF_U8 && kv->elem != GGUF_I8) {
        return err_set(e, ERR_FORMAT, "%s is not an array of bytes", key);
    }
    if (!(steps->norm = arena_alloc(&steps->mem, 1, sizeof *steps->norm))) {
        return no_memory(key, e);
    }
    steps->n_norm = 1;
    *steps->norm = (struct norm_step){.kind = NORM_CHARSMAP,
                                      .find = str_of((const char *)kv->data, (size_t)kv->n),
                                      .with = {"", 0}};
    return ERR_OK;
}

static enum err_code load_steps(const struct gguf *g, struct vocab_spec *s, struct hf_steps *steps,
                                struct err *e) {
    struct json *norm = NULL, *pre = NULL;
    enum err_code c = ERR_OK;
    if (!s->steps) {
        bool spaced = s->model == VOCAB_SPM || s->model == VOCAB_UNIGRAM;
        c = spaced ? load_charsmap(g, steps, e) : ERR_OK;
    } else if (!(c = parse_key(g, "tokenizer.ign.normalizer", &norm, e)) &&
               !(c = parse_key(g, "tokenizer.ign.pre_tokenizer", &pre, e)) &&
               !(c = hf_steps_read(steps, norm, pre, e))) {
        c = gguf_get_bool_or(g, "tokenizer.ign.fuse_unknown", false, &s->fuse_unknown, e);
    }
    s->norm = steps->norm;
    s->n_norm = steps->n_norm;
    s->split = steps->split;
    s->n_split = steps->n_split;
    s->characters = s->steps && !steps->bytes;
    json_free(norm);
    json_free(pre);
    return c;
}

/* In files of Phi-3 no key tells that its special pieces take the white space behind them along,
 * but for the three of Llama 2 and its kin. */
static enum err_code phi3_flags(const struct gguf *g, struct pieces *p, uint32_t n, struct err *e) {
    struct str arch = {"", 0};
    if (!p->kind || !gguf_find(g, "general.architecture") ||
        gguf_get_str(g, "general.architecture", &arch, NULL) || !str_is(arch, "phi3")) {
        return ERR_OK;
    }
    if (!(p->flag = mem_zalloc(n, 1))) {
        return no_memory("tokenizer.ggml.token_type", e);
    }
    for (uint32_t i = 0; i < n; i++) {
        struct str s = p->piece[i];
        bool special =
            p->kind[i] == PIECE_CONTROL || p->kind[i] == PIECE_UNKNOWN || p->kind[i] == PIECE_USER;
        bool old = str_is(s, "<unk>") || str_is(s, "<s>") || str_is(s, "<|endoftext|>");
        p->flag[i] = special && !old ? PIECE_RSTRIP : 0;
    }
    return ERR_OK;
}

static enum err_code load_piece_flags(const struct gguf *g, const struct vocab_spec *s,
                                      struct pieces *p, struct err *e) {
    static const char key[] = "tokenizer.ign.token_flags";
    const struct gguf_kv *kv;
    enum err_code c = gguf_get_array(g, key, GGUF_I32, &kv, e);
    if (c || !kv) {
        return c || s->model != VOCAB_SPM ? c : phi3_flags(g, p, s->n_vocab, e);
    }
    if ((c = check_count(kv, key, s->n_vocab, e))) {
        return c;
    }
    if (!(p->flag = mem_alloc(s->n_vocab, 1))) {
        return no_memory(key, e);
    }
    for (uint32_t i = 0; i < s->n_vocab; i++) {
        p->flag[i] = (uint8_t)gguf_int_at(kv, i);
    }
    return ERR_OK;
}

enum err_code vocab_load(struct vocab **v, const struct gguf *g, struct err *e) {
    struct vocab_spec s = {0};
    struct pieces p = {0};
    struct hf_steps steps;
    *v = NULL;
    hf_steps_init(&steps);
    enum err_code c = load_model(g, &s, e);
    if (!c) {
        c = load_strings(g, "tokenizer.ggml.tokens", &p.piece, &s.n_vocab, e);
    }
    if (!c && !p.piece) {
        c = err_set(e, ERR_FORMAT, "the file has no tokenizer.ggml.tokens");
    }
    if (!c && s.model == VOCAB_BPE) {
        c = load_strings(g, "tokenizer.ggml.merges", &p.merge, &s.n_merge, e);
    }
    c = c ? c : load_scores(g, &p, s.n_vocab, e);
    c = c ? c : load_kinds(g, &p, s.n_vocab, e);
    c = c ? c : load_piece_flags(g, &s, &p, e);
    c = c ? c : load_ints(g, "tokenizer.ign.end_token_ids", &p.end, &s.n_end, e);
    c = c ? c : load_ids(g, &s, e);
    c = c ? c : load_flags(g, &s, e);
    c = c ? c : load_steps(g, &s, &steps, e);
    if (!c) {
        s.piece = p.piece;
        s.merge = p.merge;
        s.score = p.score;
        s.kind = p.kind;
        s.end = p.end;
        s.flags = p.flag;
        c = vocab_create(v, &s, e);
    }
    if (c) {
        err_where(e, "%s", g->path ? g->path : "GGUF");
    }
    mem_free(p.piece);
    mem_free(p.merge);
    mem_free(p.score);
    mem_free(p.kind);
    mem_free(p.end);
    mem_free(p.flag);
    hf_steps_fini(&steps);
    return c;
}
