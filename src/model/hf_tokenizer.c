/* hf_tokenizer.c: tokenizer.json to a table of pieces.
 *
 * Owns the parts of the file and the choice of what carries them on: common keys where there are
 * some (byte-level BPE with a known pre-tokenizer; BPE with byte fallback over U+2581 and all
 * merges, which is SentencePiece's way), else the file's own steps. The long lists (the vocabulary,
 * merges, added tokens) are read as they stand in the file, the short parts as trees. What would
 * change ids and is not known is refused by its place in the file.
 * Invariant: every merge is of two pieces, and makes a third.
 */
#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_scan.h"
#include "base/utf8.h"
#include "model/hf.h"
#include "model/hf_json.h"
#include "model/hf_steps.h"
#include "text/bpe.h"
#include "text/text_hash.h"
#include "text/vocab.h"

enum { PART_MAX = 4 << 20 };

/* The parts, as they stand in the file; text.p is NULL for one that is not there. */
struct parts {
    struct json_value added, normalizer, pre, post, decoder;
    struct json_value vocab, merges, type, fallback, unk, prefix, suffix, dropout, whole, most;
    struct json_value fuse, unk_id;
};

struct reader {
    struct hf_vocab *v;
    struct parts part;
    uint64_t *slot; /* [slot_mask + 1] by spelling: half a hash above, id + 1 below; 0: free */
    size_t slot_mask;
    uint64_t key;
    size_t last;     /* the piece that the last merge made */
    size_t n_merge;  /* in the file */
    bool scattered;  /* merges to one piece do not stand side by side */
    bool normalized; /* there are added tokens that are looked for in the normalized text */
    char *pair;      /* [pair_max] */
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
        return err_set(r->e, ERR_FORMAT, "'model.vocab' is missing");
    }
    if ((p->prefix.text.p && !(is_text(&p->prefix) && json_text_is(p->prefix.text, "##"))) ||
        (p->most.text.p && (!json_text_u64(&p->most, &most) || most != 100))) {
        return err_set(r->e, ERR_UNSUPPORTED,
                       "WordPiece whose pieces do not go on with '##', or with words longer than "
                       "100 characters ('model.continuing_subword_prefix', "
                       "'model.max_input_chars_per_word')");
    }
    return ERR_OK;
}

static bool is_unigram(const struct reader *r) {
    return is_text(&r->part.type) && json_text_is(r->part.type.text, "Unigram");
}

static enum err_code check_model(const struct reader *r) {
    const struct parts *p = &r->part;
    if (is_wordpiece(r)) {
        return check_wordpiece(r);
    }
    if (is_unigram(r)) {
        return p->vocab.text.p && p->vocab.kind == JSON_IS_ARRAY
                   ? ERR_OK
                   : err_set(r->e, ERR_FORMAT, "'model.vocab' is missing");
    }
    if (is_text(&p->type) && !json_text_is(p->type.text, "BPE")) {
        enum err_code rc =
            err_set(r->e, ERR_UNSUPPORTED, "'model.type' is not known: '%.*s'",
                    (int)(p->type.text.n < 40 ? p->type.text.n : 40), p->type.text.p);
        err_hint(r->e, "known are BPE, Unigram and WordPiece");
        return rc;
    }
    if (!p->vocab.text.p || p->vocab.kind != JSON_IS_OBJECT || !p->merges.text.p ||
        p->merges.kind != JSON_IS_ARRAY) {
        return err_set(r->e, ERR_FORMAT, "'model.vocab' or 'model.merges' is missing");
    }
    if ((is_text(&p->prefix) && p->prefix.text.n) || (is_text(&p->suffix) && p->suffix.text.n)) {
        return err_set(r->e, ERR_UNSUPPORTED,
                       "pieces with a prefix or suffix ('model.continuing_subword_prefix', "
                       "'model.end_of_word_suffix')");
    }
    if (p->dropout.text.p && p->dropout.kind != JSON_IS_NULL) {
        return err_set(r->e, ERR_UNSUPPORTED, "'model.dropout': merges are dropped at random");
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

/* Piece `id` of the vocabulary proper, spelled `key` in the file; NULL: the error is set. */
static struct hf_piece *put_piece(struct reader *r, uint64_t id, struct str key) {
    bool fallback = is_true(&r->part.fallback);
    struct str text = copy_of(r->v, key);
    struct hf_piece *piece = text.p ? hf_piece_at(r->v, id, r->e) : NULL;
    if (!piece) {
        if (!text.p) {
            no_memory(r);
        }
        return NULL;
    }
    if (piece->kind) {
        err_set(r->e, ERR_FORMAT, "two tokens have the id %llu", (unsigned long long)id);
        return NULL;
    }
    *piece = (struct hf_piece){.text = text,
                               .kind = fallback && is_byte_piece(text) ? PIECE_BYTE : PIECE_NORMAL};
    return piece;
}

static enum err_code read_vocab(struct reader *r) {
    struct json_scan s;
    struct json_value x;
    struct str key;
    json_scan_begin(&s, r->part.vocab.text.p, r->part.vocab.text.n, r->e);
    json_scan_open(&s, '{');
    while (json_scan_next(&s, &key) && json_scan_value(&s, &x)) {
        uint64_t id;
        if (!json_text_u64(&x, &id)) {
            struct str text = copy_of(r->v, key);
            return !text.p ? no_memory(r)
                           : err_set(r->e, ERR_FORMAT, "the id of token '%.*s' is no whole number",
                                     (int)(text.n < 64 ? text.n : 64), text.p);
        }
        if (!put_piece(r, id, key)) {
            return r->e->code;
        }
    }
    return json_scan_end(&s);
}

/* A number as it stands in the file, in double precision. */
static bool number_of(const struct json_value *v, double *d) {
    char text[64];
    if ((v->kind != JSON_IS_INT && v->kind != JSON_IS_REAL) || v->text.n >= sizeof text) {
        return false;
    }
    memcpy(text, v->text.p, v->text.n);
    text[v->text.n] = '\0';
    *d = strtod(text, NULL);
    return *d >= -FLT_MAX && *d <= FLT_MAX;
}

/* Unigram: [["piece", score], ...], ids in order. */
static enum err_code read_scored(struct reader *r) {
    struct json_scan s;
    struct json_value pair, half[2];
    uint64_t id = 0;
    json_scan_begin(&s, r->part.vocab.text.p, r->part.vocab.text.n, r->e);
    json_scan_open(&s, '[');
    for (; json_scan_next(&s, NULL) && json_scan_value(&s, &pair); id++) {
        struct json_scan in;
        struct hf_piece *piece;
        unsigned n = 0;
        double score;
        json_scan_begin(&in, pair.text.p, pair.text.n, NULL);
        json_scan_open(&in, '[');
        while (json_scan_next(&in, NULL) && n < 2 && json_scan_value(&in, &half[n])) {
            n++;
        }
        if (n != 2 || json_scan_end(&in) || half[0].kind != JSON_IS_STR ||
            !number_of(&half[1], &score)) {
            return err_set(r->e, ERR_FORMAT, "'model.vocab[%llu]' is not a piece and its score",
                           (unsigned long long)id);
        }
        if (!(piece = put_piece(r, id, half[0].text))) {
            return r->e->code;
        }
        piece->score = score;
    }
    return json_scan_end(&s);
}

static enum err_code mark_unknown(struct reader *r) {
    const struct parts *p = &r->part;
    uint64_t id;
    if (is_unigram(r) && p->unk_id.text.p && p->unk_id.kind != JSON_IS_NULL) {
        if (!json_text_u64(&p->unk_id, &id) || id >= r->v->n) {
            return err_set(r->e, ERR_FORMAT,
                           "'model.unk_id' is not the id of one of the %zu pieces", r->v->n);
        }
        r->v->unk = (int32_t)id;
        r->v->piece[id].kind = PIECE_UNKNOWN;
        return ERR_OK;
    }
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

/* Whether any added token is looked for in the normalized text. */
static enum err_code find_normalized(struct reader *r) {
    struct json_scan s;
    const struct json_value *added = &r->part.added;
    if (!added->text.p || added->kind == JSON_IS_NULL) {
        return ERR_OK;
    }
    json_scan_begin(&s, added->text.p, added->text.n, r->e);
    json_scan_open(&s, '[');
    while (json_scan_next(&s, NULL)) {
        struct json_value token, normalized = {0};
        const struct slot want[] = {{"normalized", &normalized}};
        if (!json_scan_value(&s, &token)) {
            break;
        }
        enum err_code rc = read_parts(token.text.p, token.text.n, want, 1, r->e);
        if (rc) {
            return rc;
        }
        r->normalized = r->normalized || is_true(&normalized);
    }
    return json_scan_end(&s);
}

/* ---- by spelling ------------------------------------------------------------------------ */

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

static enum err_code read_added(struct reader *r) {
    struct json_scan s;
    if (!r->part.added.text.p || r->part.added.kind == JSON_IS_NULL) {
        return ERR_OK;
    }
    json_scan_begin(&s, r->part.added.text.p, r->part.added.text.n, r->e);
    json_scan_open(&s, '[');
    while (json_scan_next(&s, NULL)) {
        struct json_value token, id = {0}, content = {0}, special = {0}, word = {0}, left = {0},
                                 right = {0}, normalized = {0};
        const struct slot want[] = {{"id", &id},
                                    {"content", &content},
                                    {"special", &special},
                                    {"single_word", &word},
                                    {"lstrip", &left},
                                    {"rstrip", &right},
                                    {"normalized", &normalized}};
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
        uint64_t half, piece = *place_of(r, text, &half);
        n = piece ? (uint32_t)piece - 1 : n; /* a piece keeps its id, whatever is said here */
        int flags = (is_true(&left) ? PIECE_LSTRIP : 0) | (is_true(&right) ? PIECE_RSTRIP : 0) |
                    (is_true(&word) ? PIECE_WORD : 0) |
                    (is_true(&normalized) ? PIECE_NORMALIZED : 0) |
                    (r->v->steps && !piece ? PIECE_ADDED : 0);
        if ((rc = hf_piece_add(r->v, n, text, is_true(&special), flags, r->e))) {
            return rc;
        }
    }
    return json_scan_end(&s);
}

/* ---- merges ----------------------------------------------------------------------------- */

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
    size_t before = r->last;
    struct hf_piece *whole = find_whole(r, pair);
    if (!whole || !is_there(r, str_of(pair.p, left)) ||
        !is_there(r, str_of(pair.p + left, pair.n - left))) {
        return err_set(r->e, ERR_FORMAT, "merge %zu is of or makes a token that is not there",
                       rank);
    }
    if (r->v->spm) {
        r->scattered = r->scattered || (whole->score != 0 && r->last != before);
        whole->score = whole->score == 0 ? -(double)(rank + 1) : whole->score;
        return ERR_OK;
    }
    if (memchr(pair.p, ' ', pair.n)) {
        return err_set(r->e, ERR_UNSUPPORTED,
                       "'model.merges[%zu]' is of pieces with a space inside", rank);
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
    r->n_merge = rank;
    return rc ? rc : json_scan_end(&s);
}

/* How many pairs of pieces make a piece: all of them are merges in files that were made from a
 * SentencePiece model. */
static size_t count_pairs(const struct reader *r) {
    size_t n = 0;
    for (size_t i = 0; i < r->v->n; i++) {
        struct str s = r->v->piece[i].text;
        for (size_t k = 1; r->v->piece[i].kind && k < s.n; k++) {
            n += ((unsigned char)s.p[k] & 0xC0) != 0x80 && is_there(r, str_of(s.p, k)) &&
                 is_there(r, str_of(s.p + k, s.n - k));
        }
    }
    return n;
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

/* ---- what stands before the model --------------------------------------------------------- */

/* Spaces become U+2581, in front of the text too if `prefix`: SentencePiece's way. */
static bool is_replace(const struct json *j) {
    return hf_says(j, "type", "Replace") && hf_says(hf_member(j, "pattern"), "String", " ") &&
           hf_says(j, "content", "\xE2\x96\x81");
}

static bool reads_spaces(const struct json *norm, bool *replaces, int *prefix) {
    const struct json *list = hf_member(norm, "normalizers");
    if (!norm) {
        return true;
    }
    if (hf_says(norm, "type", "Sequence") && list && json_kind(list) == JSON_IS_ARRAY) {
        for (size_t i = 0; i < json_count(list); i++) {
            const struct json *j = json_at(list, i);
            if (hf_says(j, "type", "Prepend") && hf_says(j, "prepend", "\xE2\x96\x81") &&
                !*replaces) {
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
    const struct json *split = hf_member(pre, "split"), *old = hf_member(pre, "add_prefix_space");
    if (!pre) {
        return true;
    }
    if (hf_says(pre, "type", "Split")) { /* cuts at a character that is no longer there */
        return *replaces && hf_says(hf_member(pre, "pattern"), "String", " ");
    }
    if (!hf_says(pre, "type", "Metaspace") || !hf_says(pre, "replacement", "\xE2\x96\x81") ||
        !split || json_bool(split)) {
        return false;
    }
    bool always = hf_says(pre, "prepend_scheme", "always") ||
                  (!hf_member(pre, "prepend_scheme") && (!old || json_bool(old)));
    bool first = hf_says(pre, "prepend_scheme", "first");
    if (*prefix != PREFIX_NONE && (always || first)) {
        return true; /* there is one already, which is enough */
    }
    *prefix = first ? PREFIX_FIRST : always ? PREFIX_UNLESS_SPACE : *prefix;
    *replaces = true;
    return true;
}

/* Whether SentencePiece's way does what the file says, as far as its short parts tell. */
static bool is_spm(const struct reader *r, const struct json *norm, const struct json *pre,
                   int *prefix) {
    bool replaces = false;
    *prefix = PREFIX_NONE;
    return is_true(&r->part.fallback) && is_true(&r->part.fuse) && !r->v->ignore_merges &&
           !(norm && r->normalized) && reads_spaces(norm, &replaces, prefix) &&
           reads_metaspace(pre, &replaces, prefix) && replaces;
}

/* Steps that no common keys tell go into the file as they stand. */
static enum err_code take_steps(struct reader *r, const struct json *norm, const struct json *pre) {
    struct hf_steps s;
    struct hf_vocab *v = r->v;
    hf_steps_init(&s);
    enum err_code rc = hf_steps_read(&s, norm, pre, r->e);
    if (!rc && s.bytes && v->unigram) {
        rc = err_set(r->e, ERR_UNSUPPORTED, "'pre_tokenizer': Unigram over ByteLevel");
    }
    v->steps = true;
    v->spm = false;
    v->characters = !s.bytes;
    v->normalizer = norm ? r->part.normalizer.text : str_of("", 0);
    v->pre_tokenizer = pre ? r->part.pre.text : str_of("", 0);
    hf_steps_fini(&s);
    return rc;
}

static enum err_code read_style(struct reader *r, const struct json *norm, const struct json *pre) {
    struct hf_vocab *v = r->v;
    v->ignore_merges = is_true(&r->part.whole);
    v->fuse_unknown = is_true(&r->part.fuse);
    v->unigram = is_unigram(r);
    if (is_wordpiece(r)) {
        return r->normalized
                   ? err_set(r->e, ERR_UNSUPPORTED,
                             "'added_tokens[].normalized': WordPiece with tokens that are "
                             "looked for in the normalized text")
                   : hf_wordpiece_style(v, norm, pre, r->e);
    }
    if (!v->unigram && is_spm(r, norm, pre, &v->space_prefix)) {
        v->spm = true;
        return ERR_OK;
    }
    v->pre =
        v->unigram || is_true(&r->part.fallback) ? NULL : hf_pretok(v->ignore_merges, norm, pre);
    return v->pre ? ERR_OK : take_steps(r, norm, pre);
}

/* Bytes that have no letter in the vocabulary become the unknown token, which the common keys do
 * not tell. */
static enum err_code check_letters(struct reader *r, const struct json *norm,
                                   const struct json *pre) {
    bool all = true;
    for (unsigned byte = 0; all && byte < 256; byte++) {
        char letter[4];
        uint64_t half;
        size_t n = (size_t)utf8_encode(bpe_letter((uint8_t)byte), letter);
        all = *place_of(r, str_of(letter, n), &half) != 0;
    }
    if (all) {
        return ERR_OK;
    }
    if (is_true(&r->part.fallback)) {
        return err_set(r->e, ERR_UNSUPPORTED,
                       "'model.byte_fallback' over ByteLevel, in a vocabulary that has not every "
                       "byte's letter");
    }
    return r->v->unk >= 0 && !r->v->steps ? take_steps(r, norm, pre) : ERR_OK;
}

/* Merges; where they are not all that could be, SentencePiece's way would merge more. */
static enum err_code read_pairs(struct reader *r, const struct json *norm, const struct json *pre) {
    bool bytes = !r->v->spm && !r->v->characters;
    enum err_code rc = bytes ? check_letters(r, norm, pre) : ERR_OK;
    rc = rc ? rc : read_merges(r);
    if (!rc && r->v->spm && (r->scattered || count_pairs(r) != r->n_merge)) {
        rc = take_steps(r, norm, pre);
        rc = rc ? rc : read_merges(r);
    }
    if (!rc && r->v->spm) {
        hide_unmerged(r->v);
    }
    return rc;
}

/* ---- the file --------------------------------------------------------------------------- */

static enum err_code read_file(struct reader *r, const char *text, size_t n) {
    struct parts *p = &r->part;
    const struct slot file[] = {{"added_tokens", &p->added},
                                {"normalizer", &p->normalizer},
                                {"pre_tokenizer", &p->pre},
                                {"post_processor", &p->post},
                                {"decoder", &p->decoder}};
    const struct slot model[] = {{"vocab", &p->vocab},
                                 {"merges", &p->merges},
                                 {"type", &p->type},
                                 {"byte_fallback", &p->fallback},
                                 {"unk_token", &p->unk},
                                 {"continuing_subword_prefix", &p->prefix},
                                 {"end_of_word_suffix", &p->suffix},
                                 {"dropout", &p->dropout},
                                 {"ignore_merges", &p->whole},
                                 {"fuse_unk", &p->fuse},
                                 {"unk_id", &p->unk_id},
                                 {"max_input_chars_per_word", &p->most}};
    struct json *norm = NULL, *pre = NULL, *post = NULL, *decoder = NULL;
    enum err_code rc;
    if ((rc = read_levels(text, n, file, sizeof file / sizeof *file, model,
                          sizeof model / sizeof *model, r->e)) ||
        (rc = check_model(r)) || (rc = tree_of(&p->normalizer, "normalizer", &norm, r->e)) ||
        (rc = tree_of(&p->pre, "pre_tokenizer", &pre, r->e)) ||
        (rc = tree_of(&p->post, "post_processor", &post, r->e)) ||
        (rc = tree_of(&p->decoder, "decoder", &decoder, r->e)) || (rc = find_normalized(r)) ||
        (rc = read_style(r, norm, pre)) || (rc = hf_decoder(r->v, decoder, r->e)) ||
        (rc = r->v->unigram ? read_scored(r) : read_vocab(r)) || (rc = mark_unknown(r)) ||
        (rc = index_pieces(r)) ||
        (!r->v->wordpiece && !r->v->unigram && (rc = read_pairs(r, norm, pre)))) {
        goto done;
    }
    rc = read_added(r);
    rc = rc ? rc : hf_post(r->v, post, r->e);
done:
    json_free(norm);
    json_free(pre);
    json_free(post);
    json_free(decoder);
    return rc;
}

enum err_code hf_tokenizer_json(struct hf_vocab *v, const char *text, size_t n, struct err *e) {
    struct reader r = {.v = v, .e = e};
    enum err_code rc = read_file(&r, text, n);
    mem_free(r.slot);
    mem_free(r.pair);
    return rc;
}
