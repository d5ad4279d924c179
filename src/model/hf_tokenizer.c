/* hf_tokenizer.c: tokenizer.json to a table of pieces.
 *
 * Owns the parts of the file and which of their settings are known: byte-level BPE, and BPE with
 * byte fallback over U+2581, which is SentencePiece's way written as merges. The long lists (the
 * vocabulary, merges, added tokens) are read as they stand in the file, the short parts as trees.
 * What would change ids and is not known is refused by name.
 * Invariant: every merge is of two pieces, and makes a third.
 */
#include <string.h>

#include "base/json_scan.h"
#include "model/hf.h"
#include "text/text_hash.h"
#include "text/vocab.h"

enum { PART_MAX = 4 << 20 };

/* The parts, as they stand in the file; text.p is NULL for one that is not there. */
struct parts {
    struct json_value added, normalizer, pre, post;
    struct json_value vocab, merges, type, fallback, unk, prefix, suffix, dropout, whole, most;
};

struct reader {
    struct hf_vocab *v;
    struct parts part;
    uint64_t *slot; /* [slot_mask + 1] by spelling: half a hash above, id + 1 below; 0: free */
    size_t slot_mask;
    uint64_t key;
    size_t last; /* the piece that the last merge made */
    char *pair;  /* [pair_max] */
    size_t pair_max;
    struct err *e;
};

static enum err_code no_memory(const struct reader *r) {
    return err_set(r->e, ERR_NOMEM, "out of memory for a vocabulary");
}

/* ---- the parts -------------------------------------------------------------------------- */

struct slot {
    const char *name;
    struct json_value *v;
};

static const struct slot *slot_of(const struct slot *want, size_t n_want, struct str key) {
    for (size_t i = 0; i < n_want; i++) {
        if (json_text_is(key, want[i].name)) {
            return &want[i];
        }
    }
    return NULL;
}

/* Reads the next value; into *want, if that is not NULL and has none yet. */
static bool read_member(struct json_scan *s, const struct slot *want) {
    struct json_value v;
    if (!json_scan_value(s, &v)) {
        return false;
    }
    if (want && want->v->text.p) {
        err_set(s->e, ERR_FORMAT, "'%s' is there twice", want->name);
        json_scan_fail(s, ERR_FORMAT);
    } else if (want) {
        *want->v = v;
    }
    return !s->code;
}

/* Reads the members of an object that `want` [n] lists; none may be there twice. */
static enum err_code read_parts(const char *text, size_t n, const struct slot *want, size_t n_want,
                                struct err *e) {
    struct json_scan s;
    struct str key;
    json_scan_begin(&s, text, n, e);
    json_scan_open(&s, '{');
    while (json_scan_next(&s, &key) && read_member(&s, slot_of(want, n_want, key))) {
    }
    return json_scan_end(&s);
}

/* The same for the file, whose member "model" is most of it: its members `in` [n_in] are read in
 * the same walk. */
static enum err_code read_levels(const char *text, size_t n, const struct slot *want, size_t n_want,
                                 const struct slot *in, size_t n_in, struct err *e) {
    struct json_scan s;
    struct str key;
    bool seen = false;
    json_scan_begin(&s, text, n, e);
    json_scan_open(&s, '{');
    while (json_scan_next(&s, &key)) {
        if (!json_text_is(key, "model")) {
            read_member(&s, slot_of(want, n_want, key));
            continue;
        }
        if (seen) {
            err_set(e, ERR_FORMAT, "'model' is there twice");
            json_scan_fail(&s, ERR_FORMAT);
        }
        seen = json_scan_open(&s, '{');
        while (json_scan_next(&s, &key) && read_member(&s, slot_of(in, n_in, key))) {
        }
    }
    enum err_code rc = json_scan_end(&s);
    return rc || seen ? rc : err_set(e, ERR_FORMAT, "'model' is missing");
}

/* A part as a tree; *j = NULL where it is absent or null. */
static enum err_code tree_of(const struct json_value *v, const char *name, struct json **j,
                             struct err *e) {
    *j = NULL;
    if (!v->text.p || v->kind == JSON_IS_NULL) {
        return ERR_OK;
    }
    if (v->kind != JSON_IS_OBJECT || v->text.n > PART_MAX) {
        return err_set(e, ERR_FORMAT, "'%s' is not %s", name,
                       v->kind == JSON_IS_OBJECT ? "of a reasonable size" : "an object");
    }
    enum err_code rc = json_parse(v->text.p, v->text.n, j, e);
    if (rc && rc != ERR_NOMEM) {
        err_where(e, "'%s'", name);
    }
    return rc;
}

static bool is_true(const struct json_value *v) {
    return v->text.p && v->kind == JSON_IS_BOOL && v->text.p[0] == 't';
}

static bool is_text(const struct json_value *v) {
    return v->text.p && v->kind == JSON_IS_STR;
}

static bool is_wordpiece(const struct reader *r) {
    return is_text(&r->part.type) && json_text_is(r->part.type.text, "WordPiece");
}

static enum err_code check_wordpiece(const struct reader *r) {
    const struct parts *p = &r->part;
    uint64_t most = 100;
    if (!p->vocab.text.p || p->vocab.kind != JSON_IS_OBJECT) {
        return err_set(r->e, ERR_FORMAT, "'vocab' is missing");
    }
    if ((p->prefix.text.p && !(is_text(&p->prefix) && json_text_is(p->prefix.text, "##"))) ||
        (p->most.text.p && (!json_text_u64(&p->most, &most) || most != 100))) {
        return err_set(r->e, ERR_UNSUPPORTED,
                       "WordPiece whose pieces do not go on with '##', or with words longer than "
                       "100 characters ('continuing_subword_prefix', 'max_input_chars_per_word')");
    }
    return ERR_OK;
}

static enum err_code check_model(const struct reader *r) {
    const struct parts *p = &r->part;
    if (is_wordpiece(r)) {
        return check_wordpiece(r);
    }
    if (is_text(&p->type) && !json_text_is(p->type.text, "BPE")) {
        enum err_code rc =
            err_set(r->e, ERR_UNSUPPORTED, "a tokenizer of the kind '%.*s'",
                    (int)(p->type.text.n < 40 ? p->type.text.n : 40), p->type.text.p);
        err_hint(r->e, "known are WordPiece, and BPE, byte-level or with byte fallback");
        return rc;
    }
    if (!p->vocab.text.p || p->vocab.kind != JSON_IS_OBJECT || !p->merges.text.p ||
        p->merges.kind != JSON_IS_ARRAY) {
        return err_set(r->e, ERR_FORMAT, "'vocab' or 'merges' is missing");
    }
    if ((is_text(&p->prefix) && p->prefix.text.n) || (is_text(&p->suffix) && p->suffix.text.n)) {
        return err_set(r->e, ERR_UNSUPPORTED,
                       "pieces with a prefix or suffix ('continuing_subword_prefix', "
                       "'end_of_word_suffix')");
    }
    if (p->dropout.text.p && p->dropout.kind != JSON_IS_NULL) {
        return err_set(r->e, ERR_UNSUPPORTED, "a tokenizer that drops merges at random");
    }
    return ERR_OK;
}

/* ---- pieces ----------------------------------------------------------------------------- */

/* The text of a JSON string, in memory of the vocabulary; p = NULL when there is none. */
static struct str copy_of(struct hf_vocab *v, struct str text) {
    char *p = arena_alloc(&v->mem, text.n ? text.n : 1, 1);
    return p ? str_of(p, json_unescape(text, p)) : str_of(NULL, 0);
}

static bool is_byte_piece(struct str s) {
    static const char hex[] = "0123456789ABCDEFabcdef";
    return s.n == 6 && memcmp(s.p, "<0x", 3) == 0 && s.p[5] == '>' && s.p[3] && s.p[4] &&
           strchr(hex, s.p[3]) && strchr(hex, s.p[4]);
}

static enum err_code read_vocab(struct reader *r) {
    struct json_scan s;
    struct json_value x;
    struct str key;
    const struct parts *p = &r->part;
    bool fallback = is_true(&p->fallback);
    json_scan_begin(&s, p->vocab.text.p, p->vocab.text.n, r->e);
    json_scan_open(&s, '{');
    while (json_scan_next(&s, &key) && json_scan_value(&s, &x)) {
        uint64_t id;
        struct str text = copy_of(r->v, key);
        if (!text.p) {
            return no_memory(r);
        }
        if (!json_text_u64(&x, &id)) {
            return err_set(r->e, ERR_FORMAT, "the id of token '%.*s' is no whole number",
                           (int)(text.n < 64 ? text.n : 64), text.p);
        }
        struct hf_piece *piece = hf_piece_at(r->v, id, r->e);
        if (!piece) {
            return id < r->v->most ? ERR_NOMEM : ERR_FORMAT;
        }
        if (piece->kind) {
            return err_set(r->e, ERR_FORMAT, "two tokens have the id %llu", (unsigned long long)id);
        }
        *piece = (struct hf_piece){
            .text = text, .kind = fallback && is_byte_piece(text) ? PIECE_BYTE : PIECE_NORMAL};
    }
    return json_scan_end(&s);
}

static enum err_code mark_unknown(struct reader *r) {
    const struct parts *p = &r->part;
    if (!is_text(&p->unk)) {
        return ERR_OK;
    }
    struct str name = copy_of(r->v, p->unk.text);
    r->v->unk = name.p ? hf_piece_find(r->v, name) : -1;
    if (r->v->unk >= 0) {
        r->v->piece[r->v->unk].kind = PIECE_UNKNOWN;
    }
    return name.p ? ERR_OK : no_memory(r);
}

static enum err_code read_added(struct reader *r) {
    struct json_scan s;
    if (!r->part.added.text.p || r->part.added.kind == JSON_IS_NULL) {
        return ERR_OK;
    }
    json_scan_begin(&s, r->part.added.text.p, r->part.added.text.n, r->e);
    json_scan_open(&s, '[');
    while (json_scan_next(&s, NULL)) {
        struct json_value token, id = {0}, content = {0}, special = {0}, word = {0}, left = {0},
                                 right = {0};
        const struct slot want[] = {{"id", &id},           {"content", &content},
                                    {"special", &special}, {"single_word", &word},
                                    {"lstrip", &left},     {"rstrip", &right}};
        uint64_t n;
        if (!json_scan_value(&s, &token)) {
            break;
        }
        enum err_code rc =
            read_parts(token.text.p, token.text.n, want, sizeof want / sizeof *want, r->e);
        if (rc) {
            return rc;
        }
        if (!id.text.p || !json_text_u64(&id, &n) || !is_text(&content)) {
            return err_set(r->e, ERR_FORMAT, "an added token has no id or no content");
        }
        struct str text = copy_of(r->v, content.text);
        if (!text.p) {
            return no_memory(r);
        }
        int flags = (is_true(&left) ? PIECE_LSTRIP : 0) | (is_true(&right) ? PIECE_RSTRIP : 0) |
                    (is_true(&word) ? PIECE_WORD : 0);
        if ((rc = hf_piece_add(r->v, n, text, is_true(&special), flags, r->e))) {
            return rc;
        }
    }
    return json_scan_end(&s);
}

/* ---- merges ----------------------------------------------------------------------------- */

/* The place of a spelling, taken or free. */
static uint64_t *place_of(const struct reader *r, struct str s, uint64_t *half) {
    uint64_t hash = hash_bytes(s.p, s.n, r->key);
    *half = hash >> 32 << 32;
    for (size_t i = hash & r->slot_mask;; i = (i + 1) & r->slot_mask) {
        uint64_t slot = r->slot[i];
        if (!slot ||
            ((slot >> 32 << 32) == *half && str_eq(r->v->piece[(uint32_t)slot - 1].text, s))) {
            return &r->slot[i];
        }
    }
}

static enum err_code index_pieces(struct reader *r) {
    size_t n = hash_slots(r->v->n);
    r->slot = mem_zalloc(n, sizeof *r->slot);
    if (!r->slot) {
        return no_memory(r);
    }
    r->slot_mask = n - 1;
    r->key = os_random_seed();
    for (size_t i = 0; i < r->v->n; i++) {
        struct str s = r->v->piece[i].text;
        uint64_t half, *at = r->v->piece[i].kind ? place_of(r, s, &half) : NULL;
        if (at && *at) {
            return err_set(r->e, ERR_FORMAT, "token '%.*s' is there twice",
                           (int)(s.n < 64 ? s.n : 64), s.p);
        }
        if (at) {
            *at = half | (i + 1);
        }
    }
    return ERR_OK;
}

/* The piece that a merge makes: mostly that of the merge before, or the next one. */
static struct hf_piece *find_whole(struct reader *r, struct str s) {
    for (size_t i = r->last; i < r->v->n && i < r->last + 2; i++) {
        if (r->v->piece[i].kind && str_eq(r->v->piece[i].text, s)) {
            r->last = i;
            return &r->v->piece[i];
        }
    }
    uint64_t half, slot = *place_of(r, s, &half);
    r->last = slot ? (uint32_t)slot - 1 : r->last;
    return slot ? &r->v->piece[r->last] : NULL;
}

/* Whether a spelling is there. Only half a hash is compared, which saves most of the time: once in
 * 2^32 a merge of a token that is not there gets by, and can never apply. */
static bool is_there(const struct reader *r, struct str s) {
    uint64_t hash = hash_bytes(s.p, s.n, r->key);
    size_t i = hash & r->slot_mask;
    while (r->slot[i] && r->slot[i] >> 32 != hash >> 32) {
        i = (i + 1) & r->slot_mask;
    }
    return r->slot[i] != 0;
}

/* "left right", or [left, right] since some pieces have a space inside: both halves as the file
 * has them, one behind the other at *pair, the left one `left` bytes long. */
static bool read_pair(const struct json_value *v, char *out, struct str *pair, size_t *left) {
    struct json_value half[2];
    if (v->kind == JSON_IS_STR) {
        *pair = str_of(out, json_unescape(v->text, out));
        char *space = pair->n > 2 ? memchr(out + 1, ' ', pair->n - 2) : NULL;
        if (!space) {
            return false;
        }
        *left = (size_t)(space - out);
        memmove(space, space + 1, pair->n - *left - 1);
        pair->n--;
        return true;
    }
    struct json_scan in;
    unsigned n = 0;
    json_scan_begin(&in, v->text.p, v->text.n, NULL);
    json_scan_open(&in, '[');
    while (json_scan_next(&in, NULL) && n < 2 && json_scan_value(&in, &half[n])) {
        n += half[n].kind == JSON_IS_STR ? 1 : 3;
    }
    if (n != 2 || json_scan_end(&in)) {
        return false;
    }
    *left = json_unescape(half[0].text, out);
    *pair = str_of(out, *left + json_unescape(half[1].text, out + *left));
    return true;
}

/* SentencePiece: a piece's score is its first merge's place, so that the order is the same. */
static enum err_code keep_merge(struct reader *r, struct str pair, size_t left, size_t rank) {
    struct hf_piece *whole = find_whole(r, pair);
    if (!whole || !is_there(r, str_of(pair.p, left)) ||
        !is_there(r, str_of(pair.p + left, pair.n - left))) {
        return err_set(r->e, ERR_FORMAT, "merge %zu is of or makes a token that is not there",
                       rank);
    }
    if (r->v->spm) {
        whole->score = whole->score == 0 ? -(float)(rank + 1) : whole->score;
        return ERR_OK;
    }
    if (memchr(pair.p, ' ', pair.n)) {
        return err_set(r->e, ERR_UNSUPPORTED, "merge %zu is of pieces with a space inside", rank);
    }
    struct hf_vocab *v = r->v;
    if (v->n_merge == v->cap_merge) {
        size_t cap = v->cap_merge ? 2 * v->cap_merge : 1024;
        struct str *grown = mem_realloc(v->merge, cap, sizeof *grown);
        if (!grown) {
            return no_memory(r);
        }
        v->merge = grown;
        v->cap_merge = cap;
    }
    char *text = arena_alloc(&v->mem, pair.n + 1, 1);
    if (!text) {
        return no_memory(r);
    }
    memcpy(text, pair.p, left);
    text[left] = ' ';
    memcpy(text + left + 1, pair.p + left, pair.n - left);
    v->merge[v->n_merge++] = str_of(text, pair.n + 1);
    return ERR_OK;
}

/* Room at r->pair for a merge's text, which is shorter than what stands for it in the file. */
static bool make_room(struct reader *r, size_t n) {
    if (n >= r->pair_max) {
        mem_free(r->pair);
        r->pair_max = n < 512 ? 1024 : 2 * n;
        r->pair = mem_alloc(r->pair_max, 1);
    }
    return r->pair != NULL;
}

static enum err_code read_merges(struct reader *r) {
    struct json_scan s;
    struct json_value x;
    struct str pair;
    size_t rank = 0, left = 0;
    enum err_code rc = ERR_OK;
    json_scan_begin(&s, r->part.merges.text.p, r->part.merges.text.n, r->e);
    json_scan_open(&s, '[');
    while (!rc && json_scan_next(&s, NULL) && json_scan_value(&s, &x)) {
        rc = !make_room(r, x.text.n) ? no_memory(r)
             : read_pair(&x, r->pair, &pair, &left)
                 ? keep_merge(r, pair, left, rank)
                 : err_set(r->e, ERR_FORMAT, "merge %zu is not two pieces", rank);
        rank++;
    }
    return rc ? rc : json_scan_end(&s);
}

static size_t characters(struct str s) {
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        n += ((unsigned char)s.p[i] & 0xC0) != 0x80;
    }
    return n;
}

/* SentencePiece merges to any piece there is; here only to those that a merge makes. */
static void hide_unmerged(struct hf_vocab *v) {
    for (size_t i = 0; i < v->n; i++) {
        struct hf_piece *p = &v->piece[i];
        if (p->kind == PIECE_NORMAL && p->score == 0 && characters(p->text) > 1) {
            p->kind = PIECE_UNUSED;
        }
    }
}

/* ---- what stands before and behind ------------------------------------------------------ */

static const struct json *member(const struct json *j, const char *name) {
    const struct json *x = j && json_kind(j) == JSON_IS_OBJECT ? json_find(j, name) : NULL;
    return x && json_kind(x) != JSON_IS_NULL ? x : NULL;
}

static bool says(const struct json *j, const char *name, const char *value) {
    const struct json *x = member(j, name);
    return x && str_is(json_str(x), value);
}

/* One step of "single" in a template: a special token before the text, or behind it. */
static enum err_code read_step(struct reader *r, const struct json *step, bool *seen_text) {
    const struct json *special = member(step, "SpecialToken");
    if (!special) {
        *seen_text = true;
        return ERR_OK;
    }
    const struct json *name = member(special, "id");
    int32_t id = name ? hf_piece_find(r->v, json_str(name)) : -1;
    bool *adds = *seen_text ? &r->v->add_eos : &r->v->add_bos;
    if (id < 0 || *adds) {
        return err_set(r->e, ERR_UNSUPPORTED, "'post_processor' adds %s",
                       id < 0 ? "a token that is not there" : "more than one token at an end");
    }
    *adds = true;
    *(*seen_text ? &r->v->eos : &r->v->bos) = id;
    return ERR_OK;
}

/* "cls": ["[CLS]", 101], "sep": ["[SEP]", 102]: before the text, and behind it. */
static enum err_code read_bert(struct reader *r, const struct json *post) {
    const struct {
        const char *name;
        int32_t *id;
        bool *adds;
    } ends[] = {{"cls", &r->v->bos, &r->v->add_bos}, {"sep", &r->v->eos, &r->v->add_eos}};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        const struct json *pair = member(post, ends[i].name);
        bool list = pair && json_kind(pair) == JSON_IS_ARRAY && json_count(pair) > 0;
        *ends[i].id = list ? hf_piece_find(r->v, json_str(json_at(pair, 0))) : -1;
        if (*ends[i].id < 0) {
            return err_set(r->e, ERR_FORMAT, "'post_processor' adds a token that is not there");
        }
        *ends[i].adds = true;
    }
    r->v->says_bos = true;
    return ERR_OK;
}

static enum err_code read_post(struct reader *r, const struct json *post) {
    const struct json *list = member(post, "processors"), *single = member(post, "single");
    enum err_code rc = ERR_OK;
    if (says(post, "type", "Sequence") && list && json_kind(list) == JSON_IS_ARRAY) {
        for (size_t i = 0; !rc && i < json_count(list); i++) {
            rc = says(json_at(list, i), "type", "Sequence") ? ERR_OK
                                                            : read_post(r, json_at(list, i));
        }
        return rc;
    }
    if (!post || says(post, "type", "ByteLevel")) {
        return ERR_OK; /* changes offsets only */
    }
    if (says(post, "type", "BertProcessing")) {
        return read_bert(r, post);
    }
    if (!says(post, "type", "TemplateProcessing") || !single ||
        json_kind(single) != JSON_IS_ARRAY) {
        return err_set(r->e, ERR_UNSUPPORTED, "a 'post_processor' of a kind that is not known");
    }
    bool seen_text = false;
    r->v->says_bos = true;
    for (size_t i = 0; !rc && i < json_count(single); i++) {
        rc = read_step(r, json_at(single, i), &seen_text);
    }
    return rc;
}

/* Spaces become U+2581, in front of the text too if `prefix`: SentencePiece's way. */
static bool is_replace(const struct json *j) {
    return says(j, "type", "Replace") && says(member(j, "pattern"), "String", " ") &&
           says(j, "content", "\xE2\x96\x81");
}

static bool reads_spaces(const struct json *norm, bool *replaces, int *prefix) {
    const struct json *list = member(norm, "normalizers");
    if (!norm) {
        return true;
    }
    if (says(norm, "type", "Sequence") && list && json_kind(list) == JSON_IS_ARRAY) {
        for (size_t i = 0; i < json_count(list); i++) {
            const struct json *j = json_at(list, i);
            if (says(j, "type", "Prepend") && says(j, "prepend", "\xE2\x96\x81") && !*replaces) {
                *prefix = PREFIX_ALWAYS;
            } else if (is_replace(j)) {
                *replaces = true;
            } else {
                return false;
            }
        }
        return true;
    }
    *replaces = is_replace(norm);
    return *replaces;
}

static bool reads_metaspace(const struct json *pre, bool *replaces, int *prefix) {
    const struct json *split = member(pre, "split"), *old = member(pre, "add_prefix_space");
    if (!pre) {
        return true;
    }
    if (says(pre, "type", "Split")) { /* cuts at a character that is no longer there */
        return *replaces && says(member(pre, "pattern"), "String", " ");
    }
    if (!says(pre, "type", "Metaspace") || !says(pre, "replacement", "\xE2\x96\x81") || !split ||
        json_bool(split)) {
        return false;
    }
    bool always = says(pre, "prepend_scheme", "always") ||
                  (!member(pre, "prepend_scheme") && (!old || json_bool(old)));
    bool first = says(pre, "prepend_scheme", "first");
    if (*prefix != PREFIX_NONE && (always || first)) {
        return true; /* there is one already, which is enough */
    }
    *prefix = first ? PREFIX_FIRST : always ? PREFIX_UNLESS_SPACE : *prefix;
    *replaces = true;
    return true;
}

static enum err_code read_style(struct reader *r, const struct json *norm, const struct json *pre) {
    bool replaces = false;
    int prefix = PREFIX_NONE;
    r->v->ignore_merges = is_true(&r->part.whole);
    if (is_wordpiece(r)) {
        return hf_wordpiece_style(r->v, norm, pre, r->e);
    }
    if (!is_true(&r->part.fallback)) {
        return hf_pretok(&r->v->pre, r->v->ignore_merges, norm, pre, r->e);
    }
    if (!reads_spaces(norm, &replaces, &prefix) || !reads_metaspace(pre, &replaces, &prefix) ||
        !replaces) {
        return err_set(r->e, ERR_UNSUPPORTED,
                       "byte fallback with a 'normalizer' or 'pre_tokenizer' that is not known");
    }
    r->v->spm = true;
    r->v->space_prefix = prefix;
    return ERR_OK;
}

/* ---- the file --------------------------------------------------------------------------- */

static enum err_code read_file(struct reader *r, const char *text, size_t n) {
    struct parts *p = &r->part;
    const struct slot file[] = {{"added_tokens", &p->added},
                                {"normalizer", &p->normalizer},
                                {"pre_tokenizer", &p->pre},
                                {"post_processor", &p->post}};
    const struct slot model[] = {{"vocab", &p->vocab},
                                 {"merges", &p->merges},
                                 {"type", &p->type},
                                 {"byte_fallback", &p->fallback},
                                 {"unk_token", &p->unk},
                                 {"continuing_subword_prefix", &p->prefix},
                                 {"end_of_word_suffix", &p->suffix},
                                 {"dropout", &p->dropout},
                                 {"ignore_merges", &p->whole},
                                 {"max_input_chars_per_word", &p->most}};
    struct json *norm = NULL, *pre = NULL, *post = NULL;
    enum err_code rc;
    if ((rc = read_levels(text, n, file, sizeof file / sizeof *file, model,
                          sizeof model / sizeof *model, r->e)) ||
        (rc = check_model(r)) || (rc = tree_of(&p->normalizer, "normalizer", &norm, r->e)) ||
        (rc = tree_of(&p->pre, "pre_tokenizer", &pre, r->e)) ||
        (rc = tree_of(&p->post, "post_processor", &post, r->e)) ||
        (rc = read_style(r, norm, pre)) || (rc = read_vocab(r)) || (rc = mark_unknown(r)) ||
        (!r->v->wordpiece && ((rc = index_pieces(r)) || (rc = read_merges(r))))) {
        goto done;
    }
    if (r->v->spm) {
        hide_unmerged(r->v);
    }
    rc = read_added(r);
    rc = rc ? rc : read_post(r, post);
done:
    json_free(norm);
    json_free(pre);
    json_free(post);
    return rc;
}

enum err_code hf_tokenizer_json(struct hf_vocab *v, const char *text, size_t n, struct err *e) {
    struct reader r = {.v = v, .e = e};
    enum err_code rc = read_file(&r, text, n);
    mem_free(r.slot);
    mem_free(r.pair);
    return rc;
}
