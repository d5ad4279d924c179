/* hf_vocab.c: a table of pieces by id, and what tokenizer_config.json and its like add to it.
 *
 * Owns the order of the files: tokenizer.json before tokenizer.model; chat_template.jinja before
 * the template in tokenizer_config.json; what a tokenizer says of BOS and EOS before what settings
 * say. Everything ends as tokenizer.* keys; what the common ones cannot say is in tokenizer.ign.*,
 * which other programs pass over: end_token_ids (past the second beside EOS), token_flags (white
 * space and word borders), space_prefix, ignore_merges, first_space, and the steps of a tokenizer
 * whose model is one of ours. Invariant: no table is longer than the
 * bytes that were read can account for.
 */
#include <stdio.h>
#include <string.h>

#include "base/json_scan.h"
#include "base/log.h"
#include "model/config.h"
#include "model/hf.h"
#include "model/sampling.h"
#include "text/pretok.h"
#include "text/vocab.h"

enum { TOKENIZER_MAX = 256 << 20, SETTINGS_MAX = 32 << 20, MAX_PIECE = (1 << 24) - 1, NO_ID = -1 };
enum { N_END = 32 }; /* ids that end an answer */

/* ---- the table -------------------------------------------------------------------------- */

void hf_vocab_init(struct hf_vocab *v, size_t bytes) {
    *v = (struct hf_vocab){.bos = NO_ID, .eos = NO_ID, .unk = NO_ID};
    v->most = bytes / 4 + 1024; /* a line of a vocabulary takes five bytes and more */
    v->most = v->most < MAX_PIECE ? v->most : MAX_PIECE;
    arena_init(&v->mem, 0);
}

void hf_vocab_fini(struct hf_vocab *v) {
    mem_free(v->piece);
    mem_free(v->merge);
    arena_fini(&v->mem);
    v->piece = NULL;
    v->merge = NULL;
}

struct hf_piece *hf_piece_at(struct hf_vocab *v, uint64_t id, struct err *e) {
    if (id >= v->most) {
        err_set(e, ERR_FORMAT, "a token has the id %llu, past any that the file has room for",
                (unsigned long long)id);
        return NULL;
    }
    if (id >= v->cap) {
        size_t cap = id < 512 ? 1024 : 2 * (size_t)id;
        struct hf_piece *grown = mem_realloc(v->piece, cap, sizeof *grown);
        if (!grown) {
            err_set(e, ERR_NOMEM, "out of memory for a vocabulary");
            return NULL;
        }
        v->piece = grown;
        v->cap = cap;
    }
    while (v->n <= id) {
        v->piece[v->n++] = (struct hf_piece){.text = {"", 0}};
    }
    return &v->piece[id];
}

int32_t hf_piece_find(const struct hf_vocab *v, struct str text) {
    for (size_t i = 0; i < v->n; i++) {
        if (v->piece[i].kind && str_eq(v->piece[i].text, text)) {
            return (int32_t)i;
        }
    }
    return NO_ID;
}

enum err_code hf_piece_add(struct hf_vocab *v, uint64_t id, struct str text, bool special,
                           int flags, struct err *e) {
    struct hf_piece *p = hf_piece_at(v, id, e);
    if (!p) {
        return id < v->most ? ERR_NOMEM : ERR_FORMAT;
    }
    if (p->kind && !str_eq(p->text, text)) {
        return err_set(e, ERR_FORMAT, "added token %llu is '%.*s', in the vocabulary it is '%.*s'",
                       (unsigned long long)id, (int)(text.n < 64 ? text.n : 64), text.p,
                       (int)(p->text.n < 64 ? p->text.n : 64), p->text.p);
    }
    if (!p->kind) {
        char *copy = arena_strdup(&v->mem, text.p, text.n);
        if (!copy) {
            return err_set(e, ERR_NOMEM, "out of memory for a vocabulary");
        }
        p->text = str_of(copy, text.n);
    }
    p->flags = flags;
    if (p->kind != PIECE_UNKNOWN) {
        p->kind = special ? PIECE_CONTROL : PIECE_USER;
    }
    return ERR_OK;
}

/* ---- settings --------------------------------------------------------------------------- */

static const struct json *find(const struct json *j, const char *name) {
    const struct json *v = j && json_kind(j) == JSON_IS_OBJECT ? json_find(j, name) : NULL;
    return v && json_kind(v) != JSON_IS_NULL ? v : NULL;
}

/* What is looked at. A length of 10^30 is how "none" is written, and more than JSON's reader takes.
 */
static bool is_setting(struct str key, const struct json_value *v) {
    static const char *const names[] = {
        "bos_token",       "eos_token",     "pad_token",    "add_bos_token",
        "add_eos_token",   "chat_template", "bos_token_id", "added_tokens_decoder",
        "eos_token_id",    "pad_token_id",  "do_sample",    "temperature",
        "top_k",           "top_p",         "min_p",        "repetition_penalty",
        "truncation_side",
    };
    uint64_t u;
    if (json_text_is(key, "model_max_length")) {
        return json_text_u64(v, &u) && u <= INT64_MAX;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (json_text_is(key, names[i])) {
            return true;
        }
    }
    return false;
}

enum err_code hf_settings(const char *text, size_t n, struct json **j, struct err *e) {
    struct json_scan s;
    struct json_value v;
    struct str key;
    struct buf b;
    *j = NULL;
    buf_init(&b, n + 2);
    buf_putc(&b, '{');
    json_scan_begin(&s, text, n, e);
    json_scan_open(&s, '{');
    while (json_scan_next(&s, &key)) {
        size_t at = s.at;
        if (json_scan_value(&s, &v) && is_setting(key, &v)) {
            buf_puts(&b, b.len > 1 ? ",\"" : "\"");
            buf_put(&b, key.p, key.n);
            buf_puts(&b, "\":");
            buf_put(&b, text + at, s.at - at);
        }
    }
    buf_putc(&b, '}');
    enum err_code rc = json_scan_end(&s);
    rc = rc ? rc : buf_check(&b, e);
    rc = rc ? rc : json_parse(b.p, b.len, j, e);
    buf_fini(&b);
    return rc;
}

static enum err_code read_settings(const struct hf_texts *t, const char *name, struct json **j) {
    char *text;
    size_t n;
    enum err_code rc = hf_folder_read(t->path, name, SETTINGS_MAX, &text, &n, t->e);
    if (rc || !text) {
        return rc;
    }
    rc = hf_settings(text, n, j, t->e);
    if (rc && rc != ERR_NOMEM) {
        err_where(t->e, "%s/%s", t->path, name);
    }
    mem_free(text);
    return rc;
}

enum err_code hf_texts_open(struct hf_texts *t) {
    enum err_code rc = read_settings(t, "tokenizer_config.json", &t->tokenizer);
    return rc ? rc : read_settings(t, "generation_config.json", &t->generation);
}

void hf_texts_close(struct hf_texts *t) {
    json_free(t->tokenizer);
    json_free(t->generation);
    t->tokenizer = t->generation = NULL;
}

/* "<s>", or an object whose "content" that is: its id, or -1. */
static int32_t token_id(const struct hf_vocab *v, const struct json *j) {
    const struct json *content = find(j, "content");
    j = content ? content : j;
    return j && json_kind(j) == JSON_IS_STR ? hf_piece_find(v, json_str(j)) : NO_ID;
}

/* An id under `name`, which may be a list: its element i. ERR_FORMAT where it is no token's. */
static enum err_code id_in(const struct hf_texts *t, const struct hf_vocab *v, const struct json *j,
                           const char *name, size_t i, int32_t *id) {
    const struct json *x = find(j, name);
    bool list = x && json_kind(x) == JSON_IS_ARRAY;
    *id = NO_ID;
    if (!x || i >= (list ? json_count(x) : 1)) {
        return ERR_OK;
    }
    x = list ? json_at(x, i) : x;
    int64_t k = json_int(x);
    if (json_kind(x) != JSON_IS_INT || k < 0 || k >= (int64_t)v->n) {
        return err_set(t->e, ERR_FORMAT, "'%s' is not the id of one of the %zu tokens", name, v->n);
    }
    *id = (int32_t)k;
    return ERR_OK;
}

static int flags_of(const struct json *token) {
    static const struct {
        const char *name;
        int flag;
    } all[] = {{"lstrip", PIECE_LSTRIP}, {"rstrip", PIECE_RSTRIP}, {"single_word", PIECE_WORD}};
    int flags = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const struct json *x = find(token, all[i].name);
        flags |= x && json_bool(x) ? all[i].flag : 0;
    }
    return flags;
}

/* "added_tokens_decoder" of tokenizer_config.json: what a tokenizer.model does not have. */
static enum err_code add_tokens(const struct hf_texts *t, struct hf_vocab *v) {
    const struct json *all = find(t->tokenizer, "added_tokens_decoder"), *j;
    void *iter = NULL;
    struct str key;
    enum err_code rc = ERR_OK;
    if (!all || json_kind(all) != JSON_IS_OBJECT) {
        return ERR_OK;
    }
    v->most = v->most + json_count(all) < MAX_PIECE ? v->most + json_count(all) : MAX_PIECE;
    while (!rc && json_next(all, &iter, &key, &j)) {
        uint64_t id = 0;
        const struct json *content = find(j, "content"), *special = find(j, "special");
        for (size_t i = 0; i < key.n && id < MAX_PIECE; i++) {
            id = key.p[i] >= '0' && key.p[i] <= '9' ? id * 10 + (uint64_t)(key.p[i] - '0')
                                                    : MAX_PIECE;
        }
        rc = content && json_kind(content) == JSON_IS_STR
                 ? hf_piece_add(v, id, json_str(content), special && json_bool(special),
                                flags_of(j), t->e)
                 : err_set(t->e, ERR_FORMAT, "an added token has no 'content'");
    }
    if (rc && rc != ERR_NOMEM) {
        err_where(t->e, "%s/tokenizer_config.json", t->path);
    }
    return rc;
}

/* ---- keys ------------------------------------------------------------------------------- */

static void put_id(struct gguf_build *b, const char *key, int32_t id) {
    if (id >= 0) {
        gguf_build_u32(b, key, (uint32_t)id, NULL);
    }
}

/* The ids of `name` in generation_config.json or config.json: at most N_END, the rest -1. */
static enum err_code config_ids(const struct hf_texts *t, const struct hf_vocab *v,
                                const char *name, int32_t id[N_END]) {
    const struct json *from = find(t->generation, name) ? t->generation : t->config;
    const struct json *x = find(from, name);
    enum err_code rc = ERR_OK;
    if (x && json_kind(x) == JSON_IS_ARRAY && json_count(x) > N_END) {
        rc = err_set(t->e, ERR_LIMIT, "'%s' has %zu ids; the bound is %d", name, json_count(x),
                     N_END);
    }
    for (size_t i = 0; !rc && i < N_END; i++) {
        rc = id_in(t, v, from, name, i, &id[i]);
    }
    if (rc) {
        err_where(t->e, "%s/%s", t->path,
                  from == t->config ? "config.json" : "generation_config.json");
    }
    return rc;
}

/* What ends an answer beside EOS: two have keys of their own, which other programs read, too. */
static void put_ends(struct gguf_build *b, const struct hf_vocab *v, const int32_t id[N_END]) {
    static const char *const known[] = {"tokenizer.ggml.eot_token_id",
                                        "tokenizer.ggml.eom_token_id"};
    int32_t more[N_END];
    size_t n = 0;
    for (size_t i = 0; i < N_END; i++) {
        if (id[i] >= 0 && id[i] != v->eos) {
            more[n++] = id[i];
        }
    }
    for (size_t i = 0; i < n && i < 2; i++) {
        put_id(b, known[i], more[i]);
    }
    if (n > 2) {
        gguf_build_i32s(b, "tokenizer.ign.end_token_ids", more, n);
    }
}

enum err_code hf_settings_put(struct gguf_build *b, struct hf_vocab *v, const struct hf_texts *t) {
    int32_t bos[N_END], eos[N_END], pad[N_END], said = token_id(v, find(t->tokenizer, "bos_token"));
    enum err_code rc;
    if ((rc = config_ids(t, v, "bos_token_id", bos)) ||
        (rc = config_ids(t, v, "eos_token_id", eos)) ||
        (rc = config_ids(t, v, "pad_token_id", pad))) {
        return rc;
    }
    v->bos = said >= 0 ? said : v->bos >= 0 ? v->bos : bos[0];
    said = token_id(v, find(t->tokenizer, "eos_token"));
    v->eos = said >= 0 ? said : v->eos >= 0 ? v->eos : eos[0];
    said = token_id(v, find(t->tokenizer, "pad_token"));
    put_id(b, v->wordpiece ? "tokenizer.ggml.cls_token_id" : "tokenizer.ggml.bos_token_id", v->bos);
    put_id(b, v->wordpiece ? "tokenizer.ggml.seperator_token_id" : "tokenizer.ggml.eos_token_id",
           v->eos);
    put_id(b, "tokenizer.ggml.padding_token_id", said >= 0 ? said : pad[0]);
    put_ends(b, v, eos);
    const struct json *add_bos = find(t->tokenizer, "add_bos_token");
    const struct json *add_eos = find(t->tokenizer, "add_eos_token");
    v->add_bos = v->says_bos || !add_bos ? v->add_bos : json_bool(add_bos);
    v->add_eos = v->says_bos || !add_eos ? v->add_eos : json_bool(add_eos);
    gguf_build_bool(b, "tokenizer.ggml.add_bos_token", v->add_bos && v->bos >= 0);
    gguf_build_bool(b,
                    v->wordpiece ? "tokenizer.ggml.add_sep_token" : "tokenizer.ggml.add_eos_token",
                    v->add_eos && v->eos >= 0);
    sampling_put(b, t->generation, t->path);
    return b->code;
}

/* The template of tokenizer_config.json: one, or a list of which the default one counts. */
static struct str template_of(const struct json *settings) {
    const struct json *j = find(settings, "chat_template"), *found = NULL;
    if (!j || json_kind(j) == JSON_IS_STR) {
        return j ? json_str(j) : str_of("", 0);
    }
    for (size_t i = 0; json_kind(j) == JSON_IS_ARRAY && i < json_count(j); i++) {
        const struct json *x = json_at(j, i), *name = find(x, "name");
        const struct json *text = find(x, "template");
        if (text && (!found || (name && str_is(json_str(name), "default")))) {
            found = text;
        }
    }
    return found ? json_str(found) : str_of("", 0);
}

static enum err_code put_template(const struct hf_texts *t, struct gguf_build *b) {
    char *text;
    size_t n;
    enum err_code rc =
        hf_folder_read(t->path, "chat_template.jinja", SETTINGS_MAX, &text, &n, t->e);
    struct str tmpl = text ? str_of(text, n) : template_of(t->tokenizer);
    if (!rc && tmpl.n) {
        gguf_build_str(b, "tokenizer.chat_template", tmpl);
    }
    mem_free(text);
    return rc ? rc : b->code;
}

/* Ids that nothing names, up to the rows of the embedding table, are tokens that nothing spells. */
static enum err_code name_holes(struct hf_vocab *v, uint32_t n_row, struct err *e) {
    if (v->n == 0) {
        return err_set(e, ERR_FORMAT, "the tokenizer has no tokens");
    }
    if (n_row > v->most) {
        v->most = n_row < MAX_PIECE ? n_row : MAX_PIECE; /* the table has the bytes */
    }
    if (n_row > v->n && !hf_piece_at(v, n_row - 1, e)) {
        return n_row - 1 < v->most ? ERR_NOMEM : ERR_FORMAT;
    }
    for (size_t i = 0; i < v->n; i++) {
        struct hf_piece *p = &v->piece[i];
        if (p->kind) {
            continue;
        }
        char text[32];
        int n = snprintf(text, sizeof text, "[UNUSED%zu]", i);
        char *name = arena_strdup(&v->mem, text, (size_t)n);
        if (!name) {
            return err_set(e, ERR_NOMEM, "out of memory for a vocabulary");
        }
        *p = (struct hf_piece){.text = str_c(name), .kind = PIECE_UNUSED};
    }
    return ERR_OK;
}

static enum err_code put_pieces(struct gguf_build *b, struct hf_vocab *v) {
    struct str *text = mem_alloc(v->n, sizeof *text);
    int32_t *kind = mem_alloc(v->n, sizeof *kind);
    double *score = mem_alloc(v->n, sizeof *score);
    bool room = text && kind && score;
    for (size_t i = 0; room && i < v->n; i++) {
        text[i] = v->wordpiece ? hf_wordpiece_spell(v, &v->piece[i]) : v->piece[i].text;
        room = text[i].p != NULL;
        kind[i] = v->piece[i].kind;
        score[i] = v->piece[i].score;
    }
    if (room) {
        gguf_build_strs(b, "tokenizer.ggml.tokens", text, v->n);
        gguf_build_i32s(b, "tokenizer.ggml.token_type", kind, v->n);
    } else if (!b->code) {
        b->code = err_set(b->e, ERR_NOMEM, "out of memory for a vocabulary");
    }
    if (room) {
        int32_t any = 0;
        for (size_t i = 0; i < v->n; i++) {
            any |= kind[i] = v->piece[i].flags;
        }
        if (any) {
            gguf_build_i32s(b, "tokenizer.ign.token_flags", kind, v->n);
        }
    }
    if (room && (v->spm || v->unigram)) {
        gguf_build_reals(b, "tokenizer.ggml.scores", score, v->n);
    } else if (room && !v->wordpiece) {
        gguf_build_strs(b, "tokenizer.ggml.merges", v->merge, v->n_merge);
    }
    mem_free(text);
    mem_free(kind);
    mem_free(score);
    return b->code;
}

/* A name of our own where other programs would read the common keys and be wrong. */
static const char *model_name(const struct hf_vocab *v) {
    return v->unigram     ? (v->steps ? "ign.unigram" : "t5")
           : v->steps     ? "ign.bpe"
           : v->spm       ? "llama"
           : v->wordpiece ? "bert"
                          : "gpt2";
}

/* The steps of a tokenizer.json that no common keys tell. */
static void put_steps(struct gguf_build *b, const struct hf_vocab *v) {
    if (v->normalizer.n) {
        gguf_build_str(b, "tokenizer.ign.normalizer", v->normalizer);
    }
    if (v->pre_tokenizer.n) {
        gguf_build_str(b, "tokenizer.ign.pre_tokenizer", v->pre_tokenizer);
    }
    if (!v->unigram) {
        gguf_build_bool(b, "tokenizer.ign.ignore_merges", v->ignore_merges);
        gguf_build_bool(b, "tokenizer.ign.fuse_unknown", v->fuse_unknown);
    }
}

/* SentencePiece's normalizer. */
static void put_spaces(struct gguf_build *b, const struct hf_vocab *v) {
    gguf_build_bool(b, "tokenizer.ggml.add_space_prefix", v->space_prefix != PREFIX_NONE);
    if (v->space_prefix > PREFIX_ALWAYS) {
        gguf_build_u32(b, "tokenizer.ign.space_prefix", (uint32_t)v->space_prefix, NULL);
    }
    gguf_build_bool(b, "tokenizer.ggml.remove_extra_whitespaces", v->remove_extra_whitespaces);
    if (v->charsmap.n) {
        gguf_build_bytes(b, "tokenizer.ggml.precompiled_charsmap", v->charsmap);
    }
}

enum err_code hf_vocab_put(struct gguf_build *b, struct hf_vocab *v, uint32_t n_row,
                           struct err *e) {
    enum err_code rc = name_holes(v, n_row, e);
    if (rc) {
        return rc;
    }
    gguf_build_str(b, "tokenizer.ggml.model", str_c(model_name(v)));
    put_id(b, "tokenizer.ggml.unknown_token_id", v->unk);
    if (v->wordpiece) {
        gguf_build_bool(b, "tokenizer.ggml.normalizer.lowercase", v->lowercase);
        gguf_build_bool(b, "tokenizer.ggml.normalizer.strip_accents", v->strip_accents);
    } else if (v->steps) {
        put_steps(b, v);
    } else if (v->spm || v->unigram) {
        put_spaces(b, v);
    } else {
        gguf_build_str(b, "tokenizer.ggml.pre", str_c(v->pre));
        if (pretok_find(str_c(v->pre))->ignore_merges != v->ignore_merges) {
            gguf_build_bool(b, "tokenizer.ign.ignore_merges", v->ignore_merges);
        }
    }
    if (v->first_space && (v->first_space > 0) != (v->space_prefix != PREFIX_NONE)) {
        gguf_build_bool(b, "tokenizer.ign.first_space", v->first_space > 0);
    }
    return put_pieces(b, v);
}

/* ---- the files -------------------------------------------------------------------------- */

static enum err_code open_tokenizer(const struct hf_texts *t, const char *name, struct os_map *m,
                                    bool *found) {
    char *file = hf_folder_path_of(t->path, name);
    enum err_code rc = ERR_OK;
    if (!file) {
        return err_set(t->e, ERR_NOMEM, "out of memory opening a tokenizer");
    }
    *found = os_file_exists(file);
    if (*found && !(rc = os_map_open(m, file, false, t->e)) && m->size > TOKENIZER_MAX) {
        os_map_close(m);
        rc = err_set(t->e, ERR_LIMIT, "a tokenizer of %zu bytes; the bound is %d", m->size,
                     TOKENIZER_MAX);
        err_where(t->e, "%s", file);
    }
    mem_free(file);
    return rc;
}

/* Reads `name`, if it is there, and puts everything that it and the settings say. */
static enum err_code read_tokenizer(const struct hf_texts *t, const char *name, bool is_json,
                                    struct gguf_build *b, uint32_t n_row, bool *found) {
    struct os_map m = {.slot = -1};
    struct hf_vocab v;
    enum err_code rc = open_tokenizer(t, name, &m, found);
    if (rc || !*found) {
        return rc;
    }
    hf_vocab_init(&v, m.size);
    rc = is_json ? hf_tokenizer_json(&v, (const char *)m.data, m.size, t->e)
                 : hf_tokenizer_model(&v, m.data, m.size, t->e);
    if (rc && rc != ERR_NOMEM) {
        err_where(t->e, "%s/%s", t->path, name);
    }
    rc = rc || is_json ? rc : add_tokens(t, &v);
    if (!rc && !(rc = hf_vocab_put(b, &v, n_row, t->e)) && !(rc = hf_settings_put(b, &v, t))) {
        if (is_json && !v.says_bos && v.add_eos && v.eos >= 0) {
            log_line(LOG_WARN,
                     "%s/tokenizer_config.json: 'add_eos_token' counts, since tokenizer.json says "
                     "nothing of a text's end; transformers from version 5 on adds none",
                     t->path);
        }
        rc = put_template(t, b);
    }
    if (m.lost) {
        err_clear(t->e);
        rc = err_set(t->e, ERR_IO, "the file could not be read to its end");
        err_where(t->e, "%s/%s", t->path, name);
    }
    hf_vocab_fini(&v);
    os_map_close(&m);
    return rc;
}

enum err_code hf_text(struct gguf_build *b, const struct hf_texts *t, uint32_t n_row, bool *found) {
    enum err_code rc = read_tokenizer(t, "tokenizer.json", true, b, n_row, found);
    return rc || *found ? rc : read_tokenizer(t, "tokenizer.model", false, b, n_row, found);
}
