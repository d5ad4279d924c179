/* vocab.c: the vocabulary, checked and indexed.
 *
 * Owns the copy of all pieces and steps, their index, the resolved merges and the
 * list of pieces that end a generation. Refuses to read files (model/vocab_load.c) and to encode.
 * Of two pieces with one spelling the first is found. A merge whose halves or whole are not in
 * the vocabulary can never apply, and is dropped.
 */
#include "text/vocab.h"

#include <string.h>

#include "base/half.h"
#include "base/mem.h"
#include "base/os.h"
#include "text/vocab_table.h"

#define VOCAB_MAX ((uint32_t)1 << 24)

/* Control pieces with these spellings end a generation, whatever the file's ids say. */
static const char *const end_names[] = {
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<｜end▁of▁sentence｜>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<|end_of_turn|>",
};

int vocab_piece_byte(struct str s) {
    static const char digits[] = "0123456789ABCDEF0123456789abcdef";
    if (s.n != 6 || memcmp(s.p, "<0x", 3) != 0 || s.p[5] != '>' || !s.p[3] || !s.p[4]) {
        return -1;
    }
    const char *hi = strchr(digits, s.p[3]);
    const char *lo = strchr(digits, s.p[4]);
    return hi && lo ? (int)((hi - digits) % 16 * 16 + (lo - digits) % 16) : -1;
}

/* ---- checks ----------------------------------------------------------------------------- */

static enum err_code check_id(const struct vocab_spec *s, int32_t id, const char *field,
                              struct err *e) {
    if (id < -1 || (id >= 0 && (uint32_t)id >= s->n_vocab)) {
        return err_set(e, ERR_FORMAT, "the vocabulary has %u pieces, but %s is %d", s->n_vocab,
                       field, id);
    }
    return ERR_OK;
}

static enum err_code check_ids(const struct vocab_spec *s, struct err *e) {
    const struct {
        int32_t id;
        const char *field;
    } all[] = {{s->bos, "the BOS id"}, {s->eos, "the EOS id"}, {s->unk, "the unknown id"},
               {s->sep, "the SEP id"}, {s->pad, "the PAD id"}, {s->eot, "the EOT id"},
               {s->eom, "the EOM id"}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        enum err_code c = check_id(s, all[i].id, all[i].field, e);
        if (c) {
            return c;
        }
    }
    for (uint32_t i = 0; i < s->n_end; i++) {
        enum err_code c = check_id(s, s->end[i], "an id that ends a text", e);
        if (c) {
            return c;
        }
    }
    return ERR_OK;
}

static enum err_code check_piece(const struct vocab_spec *s, uint32_t id, struct err *e) {
    if (s->piece[id].n > VOCAB_PIECE_MAX) {
        return err_set(e, ERR_FORMAT, "piece %u has %zu bytes; the bound is %d", id, s->piece[id].n,
                       VOCAB_PIECE_MAX);
    }
    if (s->score && s->score[id] != s->score[id]) {
        return err_set(e, ERR_FORMAT, "the score of piece %u is not a number", id);
    }
    int32_t kind = s->kind ? s->kind[id] : PIECE_NORMAL;
    if (kind < 0 || kind > PIECE_BYTE) {
        return err_set(e, ERR_FORMAT, "the type of piece %u is %d; known are 1 to 6", id, kind);
    }
    if (kind == PIECE_BYTE && vocab_piece_byte(s->piece[id]) < 0) {
        return err_set(e, ERR_FORMAT, "byte piece %u is spelled '%.*s', not as <0xNN>", id,
                       (int)(s->piece[id].n < 64 ? s->piece[id].n : 64), s->piece[id].p);
    }
    return ERR_OK;
}

static enum err_code check_spec(const struct vocab_spec *s, struct err *e) {
    if (s->n_vocab == 0 || s->n_vocab >= VOCAB_MAX) {
        return err_set(e, ERR_FORMAT, "a vocabulary of %u pieces; it must have 1 to %u", s->n_vocab,
                       VOCAB_MAX - 1);
    }
    enum err_code c = check_ids(s, e);
    for (uint32_t id = 0; !c && id < s->n_vocab; id++) {
        c = check_piece(s, id, e);
    }
    if (!c && s->model == VOCAB_BPE && !s->steps && !pretok_find(s->pre)) {
        c = err_set(e, ERR_UNSUPPORTED, "unknown pre-tokenizer '%.*s'",
                    (int)(s->pre.n < 64 ? s->pre.n : 64), s->pre.p);
    }
    if (!c && s->model == VOCAB_UNIGRAM && !s->score) {
        c = err_set(e, ERR_FORMAT, "the pieces of a Unigram vocabulary have no scores");
    }
    if (!c && s->model == VOCAB_WORDPIECE && s->unk < 0) {
        c = err_set(e, ERR_FORMAT, "the vocabulary has no token for unknown words");
    }
    return c;
}

/* ---- building --------------------------------------------------------------------------- */

static enum err_code copy_pieces(struct vocab *v, const struct vocab_spec *s, struct err *e) {
    size_t total = 0;
    for (uint32_t id = 0; id < s->n_vocab; id++) {
        total += s->piece[id].n; /* at most 2^24 * 2^16 */
    }
    if (total > UINT32_MAX) {
        return err_set(e, ERR_LIMIT, "the pieces of the vocabulary have %zu bytes together", total);
    }
    v->text = mem_alloc(total, 1);
    v->at = mem_alloc((size_t)s->n_vocab + 1, sizeof *v->at);
    v->kind = mem_alloc(s->n_vocab, 1);
    v->flags = s->flags ? mem_alloc(s->n_vocab, 1) : NULL;
    if (!v->text || !v->at || !v->kind || (s->flags && !v->flags)) {
        return err_set(e, ERR_NOMEM, "no memory for a vocabulary of %u pieces", s->n_vocab);
    }
    uint32_t at = 0;
    for (uint32_t id = 0; id < s->n_vocab; id++) {
        struct str p = s->piece[id];
        v->at[id] = at;
        if (p.n) {
            memcpy(v->text + at, p.p, p.n);
        }
        at += (uint32_t)p.n;
        v->piece_max = p.n > v->piece_max ? p.n : v->piece_max;
        v->kind[id] = (uint8_t)(s->kind && s->kind[id] ? s->kind[id] : PIECE_NORMAL);
    }
    v->at[s->n_vocab] = at;
    if (v->flags) {
        memcpy(v->flags, s->flags, s->n_vocab);
    }
    return ERR_OK;
}

static enum err_code index_pieces(struct vocab *v, struct err *e) {
    return piece_index_init(&v->index, v->text, v->at, v->n_vocab, NULL, 0, v->key)
               ? ERR_OK
               : err_set(e, ERR_NOMEM, "no memory for the index of %u pieces", v->n_vocab);
}

/* SentencePiece merges what scores best first; as a number that sorts the other way round. */
static enum err_code rank_scores(struct vocab *v, const struct vocab_spec *s, struct err *e) {
    v->rank = mem_alloc(v->n_vocab, sizeof *v->rank);
    if (!v->rank) {
        return err_set(e, ERR_NOMEM, "no memory for %u scores", v->n_vocab);
    }
    for (uint32_t id = 0; id < v->n_vocab; id++) {
        if (s->score) {
            uint32_t u = f32_bits((float)s->score[id] + 0.0f); /* -0 becomes 0 */
            v->rank[id] = u >> 31 ? u : ~(u | 0x80000000u);
        } else {
            v->rank[id] = id;
        }
    }
    return ERR_OK;
}

static enum err_code copy_scores(struct vocab *v, const struct vocab_spec *s, struct err *e) {
    v->score = mem_alloc(v->n_vocab, sizeof *v->score);
    if (!v->score) {
        return err_set(e, ERR_NOMEM, "no memory for %u scores", v->n_vocab);
    }
    memcpy(v->score, s->score, v->n_vocab * sizeof *v->score);
    return ERR_OK;
}

static struct str move_string(char **at, struct str s) {
    if (!s.n) {
        return str_of("", 0);
    }
    char *to = memcpy(*at, s.p, s.n);
    *at += s.n;
    return str_of(to, s.n);
}

/* The steps with their strings, and form C behind them where the pre-tokenizer's name says so. */
static enum err_code copy_steps(struct vocab *v, const struct vocab_spec *s, struct err *e) {
    size_t bytes = 0;
    for (uint32_t i = 0; i < s->n_norm; i++) {
        bytes += s->norm[i].find.n + s->norm[i].with.n;
    }
    for (uint32_t i = 0; i < s->n_split; i++) {
        bytes += s->split[i].text.n;
    }
    v->strings = mem_alloc(bytes, 1);
    v->norm = mem_alloc((size_t)s->n_norm + 1, sizeof *v->norm);
    v->split = mem_alloc(s->n_split, sizeof *v->split);
    if (!v->strings || !v->norm || !v->split) {
        return err_set(e, ERR_NOMEM, "no memory for the steps of a tokenizer");
    }
    char *at = v->strings;
    for (uint32_t i = 0; i < s->n_norm; i++) {
        struct norm_step *step = &v->norm[v->n_norm++];
        *step = s->norm[i];
        step->find = move_string(&at, step->find);
        step->with = move_string(&at, step->with);
    }
    for (uint32_t i = 0; i < s->n_split; i++) {
        struct split_step *step = &v->split[v->n_split++];
        *step = s->split[i];
        step->text = move_string(&at, step->text);
    }
    if (v->pre && v->pre->nfc) {
        v->norm[v->n_norm++] = (struct norm_step){.kind = NORM_C};
    }
    return ERR_OK;
}

/* The halves of merges from..from+n, "left right", sought. */
static enum err_code split_merges(const struct vocab *v, const struct vocab_spec *s, size_t from,
                                  uint32_t n, struct sought half[][2], struct err *e) {
    for (uint32_t i = 0; i < n; i++) {
        struct str m = s->merge[from + i];
        const char *space = m.n > 2 ? memchr(m.p + 1, ' ', m.n - 2) : NULL;
        if (!space) {
            return err_set(e, ERR_FORMAT, "merge %zu is not two pieces with a space between",
                           from + i);
        }
        struct str l = str_of(m.p, (size_t)(space - m.p));
        half[i][0] = piece_seek(&v->index, l);
        half[i][1] = piece_seek(&v->index, str_of(space + 1, m.n - l.n - 1));
    }
    return ERR_OK;
}

static bool is_both(const struct vocab *v, uint32_t id, struct str l, struct str r) {
    struct str p = vocab_at(v, id);
    return p.n == l.n + r.n && same_bytes(p.p, l.p, l.n) && same_bytes(p.p + l.n, r.p, r.n);
}

/* The piece that is l and r together, or -1. Merges mostly come in the order of what they give, so
 * that it is the last one's piece or the next. `room` has space for it. */
static int32_t find_both(const struct vocab *v, struct str l, struct str r, uint32_t last,
                         char *room) {
    for (uint32_t id = last; !v->index.twins && id < v->n_vocab && id <= last + 1; id++) {
        if (is_both(v, id, l, r)) {
            return (int32_t)id;
        }
    }
    memcpy(room, l.p, l.n);
    memcpy(room + l.n, r.p, r.n);
    return vocab_find(v, str_of(room, l.n + r.n));
}

/* A merge of pieces that are not there, or that gives none or a hidden one, is left out; *last: the
 * piece that the one before gave. */
static void add_merge(struct vocab *v, const struct sought half[2], uint32_t *last, char *room) {
    struct str l = half[0].piece, r = half[1].piece;
    int32_t left = piece_found(&v->index, &half[0]), right = piece_found(&v->index, &half[1]);
    if (left < 0 || right < 0 || l.n + r.n > VOCAB_PIECE_MAX) {
        return;
    }
    int32_t id = find_both(v, l, r, *last, room);
    if (id >= 0 && !vocab_hidden(v, (uint32_t)id)) {
        v->merge[v->n_merge++] =
            (struct vocab_merge){(uint32_t)left, (uint32_t)right, (uint32_t)id};
        *last = (uint32_t)id;
    }
}

static enum err_code resolve_merges(struct vocab *v, const struct vocab_spec *s, struct err *e) {
    enum err_code c = ERR_OK;
    char *room = mem_alloc(VOCAB_PIECE_MAX, 1);
    v->merge = mem_alloc(s->n_merge, sizeof *v->merge);
    if (!v->merge || !room) {
        c = err_set(e, ERR_NOMEM, "no memory for %u merges", s->n_merge);
    }
    uint32_t last = 0;
    for (size_t i = 0; !c && i < s->n_merge; i += SOUGHT_AHEAD) {
        struct sought half[SOUGHT_AHEAD][2];
        uint32_t n = s->n_merge - i < SOUGHT_AHEAD ? (uint32_t)(s->n_merge - i) : SOUGHT_AHEAD;
        c = split_merges(v, s, i, n, half, e);
        for (uint32_t k = 0; !c && k < n; k++) {
            piece_seek_bytes(&v->index, &half[k][0]);
            piece_seek_bytes(&v->index, &half[k][1]);
        }
        for (uint32_t k = 0; !c && k < n; k++) {
            add_merge(v, half[k], &last, room);
        }
    }
    mem_free(room);
    return c;
}

static void add_end(struct vocab *v, int32_t id) {
    if (id >= 0 && !vocab_is_end(v, id) && v->n_end < VOCAB_END_MAX) {
        v->end[v->n_end++] = id;
    }
}

static void collect_ends(struct vocab *v, const struct vocab_spec *s) {
    add_end(v, s->eos);
    add_end(v, s->eot);
    add_end(v, s->eom);
    for (uint32_t i = 0; i < s->n_end; i++) {
        add_end(v, s->end[i]);
    }
    for (size_t i = 0; i < sizeof end_names / sizeof *end_names; i++) {
        int32_t id = vocab_find(v, str_c(end_names[i]));
        if (id >= 0 && v->kind[id] == PIECE_CONTROL) {
            add_end(v, id);
        }
    }
}

uint64_t vocab_need(const struct vocab_spec *s, uint64_t text) {
    const struct vocab *v = NULL;
    uint64_t n = s->n_vocab;
    uint64_t sum = sizeof *v + text + (n + 1) * sizeof *v->at + n * sizeof *v->kind;
    sum += piece_index_need(s->n_vocab);
    return sum + (s->model == VOCAB_BPE       ? s->n_merge * sizeof *v->merge
                  : s->model == VOCAB_SPM     ? n * sizeof *v->rank
                  : s->model == VOCAB_UNIGRAM ? n * sizeof *v->score
                                              : 0);
}

static void set_customs(struct vocab *v, const struct vocab_spec *s) {
    v->steps = s->steps && (s->model == VOCAB_BPE || s->model == VOCAB_UNIGRAM);
    bool spaces = !v->steps && (s->model == VOCAB_SPM || s->model == VOCAB_UNIGRAM);
    v->model = s->model;
    v->pre = s->model == VOCAB_BPE && !s->steps ? pretok_find(s->pre) : NULL;
    v->bos = s->bos;
    v->eos = s->eos;
    v->unk = s->unk;
    v->add_bos = s->has_add_bos ? s->add_bos : v->pre ? v->pre->adds_bos : !s->steps;
    v->add_eos = s->add_eos;
    v->space_prefix = spaces                        ? s->space_prefix
                      : s->model == VOCAB_WORDPIECE ? PREFIX_ALWAYS
                                                    : PREFIX_NONE;
    v->remove_extra_whitespaces = spaces && s->remove_extra_whitespaces;
    v->first_space = s->first_space ? s->first_space > 0 : v->space_prefix != PREFIX_NONE;
    v->whole_words = s->whole_words ? s->whole_words > 0 : v->pre && v->pre->ignore_merges;
    v->lowercase = s->lowercase;
    v->strip_accents = s->strip_accents;
    v->characters = s->characters && s->model == VOCAB_BPE;
    v->fuse_unknown = s->fuse_unknown;
    v->single = s->single;
}

enum err_code vocab_create(struct vocab **out, const struct vocab_spec *s, struct err *e) {
    *out = NULL;
    enum err_code c = check_spec(s, e);
    if (c) {
        return c;
    }
    struct vocab *v = mem_zalloc(1, sizeof *v);
    if (!v) {
        return err_set(e, ERR_NOMEM, "no memory for a vocabulary");
    }
    v->key = os_random_seed();
    v->n_vocab = s->n_vocab;
    set_customs(v, s);
    c = copy_pieces(v, s, e);
    c = c ? c : copy_steps(v, s, e);
    c = c ? c : index_pieces(v, e);
    if (!c && s->model != VOCAB_WORDPIECE) {
        c = s->model == VOCAB_BPE   ? resolve_merges(v, s, e)
            : s->model == VOCAB_SPM ? rank_scores(v, s, e)
                                    : copy_scores(v, s, e);
    }
    if (c) {
        vocab_free(v);
        return c;
    }
    collect_ends(v, s);
    *out = v;
    return ERR_OK;
}

void vocab_free(struct vocab *v) {
    if (!v) {
        return;
    }
    mem_free(v->text);
    mem_free(v->at);
    mem_free(v->kind);
    mem_free(v->flags);
    mem_free(v->rank);
    mem_free(v->score);
    mem_free(v->norm);
    mem_free(v->split);
    mem_free(v->strings);
    piece_index_fini(&v->index);
    mem_free(v->merge);
    mem_free(v);
}

/* ---- questions -------------------------------------------------------------------------- */

static bool has_id(const struct vocab *v, int32_t id) {
    return id >= 0 && (uint32_t)id < v->n_vocab;
}

uint32_t vocab_size(const struct vocab *v) {
    return v->n_vocab;
}

struct str vocab_piece(const struct vocab *v, int32_t id) {
    return has_id(v, id) ? vocab_at(v, (uint32_t)id) : str_of("", 0);
}

enum piece_kind vocab_kind(const struct vocab *v, int32_t id) {
    return has_id(v, id) ? (enum piece_kind)v->kind[id] : PIECE_UNUSED;
}

int32_t vocab_find(const struct vocab *v, struct str piece) {
    return piece_find(&v->index, piece);
}

int32_t vocab_bos(const struct vocab *v) {
    return v->bos;
}

int32_t vocab_eos(const struct vocab *v) {
    return v->eos;
}

bool vocab_adds_bos(const struct vocab *v) {
    return v->add_bos && v->bos >= 0;
}

bool vocab_is_end(const struct vocab *v, int32_t id) {
    for (uint32_t i = 0; i < v->n_end; i++) {
        if (v->end[i] == id) {
            return true;
        }
    }
    return false;
}
