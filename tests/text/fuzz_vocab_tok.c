/* fuzz_vocab_tok.c: any vocabulary, any text.
 *
 * Owns the reading of fuzzer bytes as a vocabulary with its steps and a text, and these claims:
 * creation succeeds or says why; every id is in range; untrusted text never gives a control piece;
 * the bound on ids is exact; decoding piece by piece equals decoding whole.
 */
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "text/normalizer.h"
#include "text/splitter.h"
#include "text/tokenizer.h"

#undef NDEBUG
#include <assert.h>

enum { PIECES = 300, MERGES = 64, STEPS = 4 };

struct reader {
    const uint8_t *p;
    size_t n;
};

static unsigned take(struct reader *r) {
    if (!r->n) {
        return 0;
    }
    r->n--;
    return *r->p++;
}

static struct str take_str(struct reader *r, size_t n) {
    n = n < r->n ? n : r->n;
    struct str s = str_of((const char *)r->p, n);
    r->p += n;
    r->n -= n;
    return s;
}

struct made {
    struct str piece[PIECES], merge[MERGES];
    int32_t kind[PIECES];
    double score[PIECES];
    uint8_t flag[PIECES];
    struct norm_step norm[STEPS];
    struct split_step split[STEPS];
    char bytes[256][8];
    char joined[MERGES][600];
};

/* All 256 bytes, in the alphabet of the model, so that most texts encode to something. */
static uint32_t add_bytes(struct made *m, enum vocab_model model, bool characters) {
    unsigned other = 0;
    for (unsigned b = 0; b < 256; b++) {
        bool prints = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
        char *s = m->bytes[b];
        size_t n;
        if (model == VOCAB_SPM || model == VOCAB_UNIGRAM || characters) {
            static const char hex[] = "0123456789ABCDEF";
            memcpy(s, "<0x00>", 6);
            s[3] = hex[b >> 4];
            s[4] = hex[b & 15];
            n = 6;
            m->kind[b] = PIECE_BYTE;
        } else {
            n = (size_t)utf8_encode(prints ? b : 0x100 + other++, s);
            m->kind[b] = PIECE_NORMAL;
        }
        m->piece[b] = str_of(s, n);
        m->score[b] = 0;
    }
    return 256;
}

/* A text of the steps: short, not empty, UTF-8. */
static struct str take_text(struct reader *r, const char *or_else) {
    struct str s = take_str(r, take(r) % 5);
    return s.n && utf8_valid(s.p, s.n) ? s : str_c(or_else);
}

/* What a tokenizer.json's steps may become. */
static void make_steps(struct reader *r, struct made *m, struct vocab_spec *s) {
    unsigned how = take(r);
    s->steps = how & 1;
    s->characters = s->steps && (how & 2);
    s->fuse_unknown = how & 4;
    s->single = how & 8;
    s->first_space = (int)(how >> 4) % 3 - 1;
    if ((how & 3) == 2 && s->model != VOCAB_WORDPIECE) {
        s->model = VOCAB_UNIGRAM;
        s->steps = how & 64;
    }
    s->n_norm = take(r) % STEPS;
    for (uint32_t i = 0; i < s->n_norm; i++) {
        struct norm_step *step = &m->norm[i];
        *step = (struct norm_step){.kind = (enum norm_kind)(take(r) % (NORM_CHARSMAP_WHOLE + 1))};
        step->left = step->right = i % 2;
        step->find = step->kind >= NORM_CHARSMAP ? take_str(r, take(r)) : take_text(r, "a");
        step->with = take_text(r, "\xE2\x96\x81");
    }
    s->n_split = take(r) % STEPS;
    for (uint32_t i = 0; i < s->n_split; i++) {
        unsigned kind = take(r), way = take(r);
        m->split[i] = (struct split_step){
            .kind = (enum split_kind)(kind % (SPLIT_PREFIX + 1)),
            .way = (enum split_way)(way % 5),
            .invert = way & 128,
            .scan = pretok_scan_of((enum pretok_pattern)(way % (PATTERN_DEEPSEEK3 + 1))),
            .prefix = (enum space_prefix)(way % 4),
            .before = way & 64};
        bool space = m->split[i].kind == SPLIT_METASPACE;
        m->split[i].text = space ? str_c(way & 32 ? "_" : "\xE2\x96\x81") : take_text(r, " ");
    }
    s->norm = m->norm;
    s->split = m->split;
}

static void make_spec(struct reader *r, struct made *m, struct vocab_spec *s) {
    static const char *const pre[] = {
        "llama-bpe",    "qwen2",          "gpt-2",       "mpt",     "smollm", "command-r", "falcon",
        "deepseek-llm", "deepseek-coder", "deepseek-v3", "default", "gpt-4o", "tekken"};
    unsigned flags = take(r);
    *s = (struct vocab_spec){.model = flags & 128 ? VOCAB_WORDPIECE
                                      : flags & 1 ? VOCAB_SPM
                                                  : VOCAB_BPE};
    s->lowercase = flags & 1;
    s->strip_accents = flags & 4;
    s->pre = str_c(pre[take(r) % (sizeof pre / sizeof *pre)]);
    s->space_prefix = flags & 2 ? (enum space_prefix)(1 + flags / 4 % 3) : PREFIX_NONE;
    s->remove_extra_whitespaces = flags & 4;
    s->flags = flags & 8 ? m->flag : NULL;
    s->has_add_bos = true;
    s->add_bos = flags & 16;
    s->add_eos = flags & 32;
    make_steps(r, m, s);
    uint32_t n = flags & 64 ? 0 : add_bytes(m, s->model, s->characters);
    for (unsigned more = take(r) % 44; more; more--) {
        m->kind[n] = (int32_t)(take(r) % 8);
        m->score[n] = (int8_t)take(r);
        m->flag[n] = (uint8_t)(n % 64);
        m->piece[n] = take_str(r, take(r) % 24);
        n++;
    }
    s->n_vocab = n;
    for (unsigned more = take(r) % MERGES; more && n; more--) {
        struct str a = m->piece[(take(r) | take(r) << 8) % n];
        struct str b = m->piece[(take(r) | take(r) << 8) % n];
        char *j = m->joined[s->n_merge];
        memcpy(j, a.p, a.n);
        j[a.n] = ' ';
        memcpy(j + a.n + 1, b.p, b.n);
        m->merge[s->n_merge++] = str_of(j, a.n + b.n + 1);
    }
    s->piece = m->piece;
    s->kind = m->kind;
    s->score = m->score;
    s->merge = m->merge;
    s->bos = (int8_t)take(r);
    s->eos = (int8_t)take(r);
    s->unk = (int8_t)take(r);
    s->sep = s->pad = s->eot = s->eom = -1;
}

static void check_decode(const struct tokenizer *t, const struct ids *ids, bool special) {
    struct buf whole, parts;
    struct detok d;
    struct err e = {0};
    buf_init(&whole, SIZE_MAX);
    buf_init(&parts, SIZE_MAX);
    assert(tokenizer_decode(t, ids->id, ids->n, special, &whole, &e) == ERR_OK);
    detok_init(&d, t, special);
    for (size_t i = 0; i < ids->n; i++) {
        assert(detok_put(&d, ids->id[i], &parts, &e) == ERR_OK);
        assert(utf8_valid(parts.p, parts.len));
    }
    detok_end(&d, &parts);
    assert(str_eq(str_of(whole.p, whole.len), str_of(parts.p, parts.len)));
    buf_fini(&whole);
    buf_fini(&parts);
}

static void check_encode(const struct tokenizer *t, const struct vocab *v, struct str text,
                         const struct runs *rs, bool trusted, int32_t unk) {
    struct ids ids = {0}, again = {0};
    struct err e = {0};
    enum err_code c = tokenizer_encode(t, text.p, text.n, rs, trusted, BOS_AUTO, 0, &ids, &e);
    if (c == ERR_LIMIT) {
        assert(e.what[0] && ids.n == 0); /* a step that makes too long a text */
        return;
    }
    assert(c == ERR_OK);
    for (size_t i = 0; i < ids.n; i++) {
        assert(ids.id[i] >= 0 && (uint32_t)ids.id[i] < vocab_size(v));
        int32_t id = ids.id[i];
        bool added = id == vocab_bos(v) || id == vocab_eos(v) || id == unk;
        assert(rs || trusted || added || vocab_kind(v, ids.id[i]) != PIECE_CONTROL);
    }
    if (ids.n > 1) {
        c = tokenizer_encode(t, text.p, text.n, rs, trusted, BOS_AUTO, ids.n, &again, &e);
        assert(c == ERR_OK && again.n == ids.n);
        assert(memcmp(again.id, ids.id, ids.n * sizeof *ids.id) == 0);
        c = tokenizer_encode(t, text.p, text.n, rs, trusted, BOS_AUTO, ids.n - 1, &again, &e);
        assert(c == ERR_LIMIT && again.n == ids.n);
    }
    check_decode(t, &ids, trusted);
    ids_fini(&ids);
    ids_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct made m;
    struct reader r = {data, size};
    struct vocab_spec spec;
    struct vocab *v = NULL;
    struct tokenizer *t = NULL;
    struct err e = {0};
    make_spec(&r, &m, &spec);
    unsigned split = take(&r);
    if (vocab_create(&v, &spec, &e) == ERR_OK && tokenizer_create(&t, v, &e) == ERR_OK) {
        struct str text = str_of((const char *)r.p, r.n);
        struct runs rs;
        runs_init(&rs);
        runs_put(&rs, text.n * split / 256, true);
        runs_put(&rs, text.n - text.n * split / 256, false);
        check_encode(t, v, text, NULL, false, spec.unk);
        check_encode(t, v, text, NULL, true, spec.unk);
        check_encode(t, v, text, &rs, false, spec.unk);
        runs_fini(&rs);
    } else {
        assert(e.code && e.what[0]);
    }
    tokenizer_free(t);
    vocab_free(v);
    return 0;
}
