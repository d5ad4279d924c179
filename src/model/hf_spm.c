/* hf_spm.c: tokenizer.model, a SentencePiece model, to a table of pieces.
 *
 * Owns the few fields that matter, read from Protocol Buffers' wire format with every length
 * checked, and which of their values are refused. Source: sentencepiece_model.proto.
 */
#include <string.h>

#include "base/half.h"
#include "base/utf8.h"
#include "model/hf.h"
#include "text/vocab.h"

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

/* Fields of the messages. */
enum { MODEL_PIECE = 1, MODEL_TRAINER = 2, MODEL_NORMALIZER = 3, MODEL_DENORMALIZER = 5 };
enum { PIECE_TEXT = 1, PIECE_SCORE = 2, PIECE_TYPE = 3 };
enum {
    TRAINER_TYPE = 3,
    TRAINER_SUFFIX = 24,
    TRAINER_UNK = 40,
    TRAINER_BOS = 41,
    TRAINER_EOS = 42
};
enum { TYPE_UNIGRAM = 1, TYPE_BPE = 2 };
enum { NORM_CHARSMAP = 2, NORM_DUMMY_PREFIX = 3, NORM_EXTRA_SPACES = 4, NORM_ESCAPE = 5 };

struct message {
    const uint8_t *p;
    size_t n, at;
    bool broken;
};

struct field {
    uint64_t number;
    unsigned wire;
    uint64_t v;      /* of a number */
    struct str text; /* of bytes */
};

static uint64_t varint(struct message *m) {
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (m->at == m->n) {
            break;
        }
        uint8_t byte = m->p[m->at++];
        v |= (uint64_t)(byte & 0x7F) << shift;
        if (!(byte & 0x80)) {
            return v;
        }
    }
    m->broken = true;
    return 0;
}

static uint64_t fixed(struct message *m, size_t bytes) {
    uint64_t v = 0;
    if (m->n - m->at < bytes) {
        m->broken = true;
        return 0;
    }
    for (size_t i = bytes; i-- > 0;) {
        v = v << 8 | m->p[m->at + i];
    }
    m->at += bytes;
    return v;
}

/* The next field; false at the end, or where the message is broken. */
static bool next(struct message *m, struct field *f) {
    if (m->broken || m->at == m->n) {
        return false;
    }
    uint64_t tag = varint(m);
    *f = (struct field){.number = tag >> 3, .wire = tag & 7};
    if (f->wire == WIRE_VARINT) {
        f->v = varint(m);
    } else if (f->wire == WIRE_64) {
        f->v = fixed(m, 8);
    } else if (f->wire == WIRE_32) {
        f->v = fixed(m, 4);
    } else if (f->wire == WIRE_BYTES) {
        uint64_t n = varint(m);
        if (m->broken || n > m->n - m->at) {
            m->broken = true;
            return false;
        }
        f->text = str_of((const char *)m->p + m->at, (size_t)n);
        m->at += (size_t)n;
    } else {
        m->broken = true; /* groups are of another age */
    }
    m->broken |= f->number == 0;
    return !m->broken;
}

static struct message inside(const struct field *f) {
    return (struct message){.p = (const uint8_t *)f->text.p, .n = f->text.n};
}

static enum err_code broken(const struct message *m, const char *what, struct err *e) {
    return err_set(e, ERR_FORMAT, "the message of %s is broken at its byte %zu", what, m->at);
}

static enum err_code read_piece(struct hf_vocab *v, const struct field *f, struct err *e) {
    struct message m = inside(f);
    struct field x;
    struct hf_piece p = {.kind = PIECE_NORMAL, .text = {"", 0}};
    while (next(&m, &x)) {
        if (x.number == PIECE_TEXT && x.wire == WIRE_BYTES) {
            p.text = x.text;
        } else if (x.number == PIECE_SCORE && x.wire == WIRE_32) {
            p.score = f32_from_bits((uint32_t)x.v);
        } else if (x.number == PIECE_TYPE && x.wire == WIRE_VARINT) {
            p.kind = x.v >= PIECE_NORMAL && x.v <= PIECE_BYTE ? (int32_t)x.v : 0;
        }
    }
    if (m.broken) {
        return broken(&m, "a piece", e);
    }
    if (!p.kind || !utf8_valid(p.text.p, p.text.n)) {
        return err_set(e, ERR_FORMAT, "piece %zu %s", v->n,
                       p.kind ? "is not UTF-8" : "has an unknown type");
    }
    struct hf_piece *slot = hf_piece_at(v, v->n, e);
    char *text = slot ? arena_strdup(&v->mem, p.text.p, p.text.n) : NULL;
    if (!text) {
        return slot ? err_set(e, ERR_NOMEM, "out of memory for a vocabulary") : ERR_FORMAT;
    }
    p.text.p = text;
    p.flags = p.kind == PIECE_USER ? PIECE_WITHIN : 0;
    *slot = p;
    return ERR_OK;
}

struct special {
    uint64_t type; /* of the model */
    int64_t unk, bos, eos;
    bool suffix, no_escape, denormalizes; /* what is refused */
};

static enum err_code read_trainer(struct special *s, const struct field *f, struct err *e) {
    struct message m = inside(f);
    struct field x;
    while (next(&m, &x)) {
        int64_t id = (int32_t)(uint32_t)x.v;
        s->type = x.number == TRAINER_TYPE ? x.v : s->type;
        s->unk = x.number == TRAINER_UNK ? id : s->unk;
        s->bos = x.number == TRAINER_BOS ? id : s->bos;
        s->eos = x.number == TRAINER_EOS ? id : s->eos;
        s->suffix = x.number == TRAINER_SUFFIX ? x.v != 0 : s->suffix;
    }
    return m.broken ? broken(&m, "the training", e) : ERR_OK;
}

static enum err_code read_normalizer(struct hf_vocab *v, struct special *s, const struct field *f,
                                     struct err *e) {
    struct message m = inside(f);
    struct field x;
    while (next(&m, &x)) {
        if (x.number == NORM_CHARSMAP && x.wire == WIRE_BYTES) {
            v->charsmap = x.text;
        } else if (x.number == NORM_DUMMY_PREFIX) {
            v->space_prefix = x.v ? PREFIX_ALWAYS : PREFIX_NONE;
        } else if (x.number == NORM_EXTRA_SPACES) {
            v->remove_extra_whitespaces = x.v != 0;
        } else if (x.number == NORM_ESCAPE) {
            s->no_escape = x.v == 0;
        }
    }
    return m.broken ? broken(&m, "the normalizer", e) : ERR_OK;
}

static bool has_map(const struct field *f) {
    struct message m = inside(f);
    struct field x;
    bool any = false;
    while (next(&m, &x)) {
        any = any || (x.number == NORM_CHARSMAP && x.wire == WIRE_BYTES && x.text.n);
    }
    return any;
}

static enum err_code check(struct hf_vocab *v, const struct special *s, struct err *e) {
    int64_t n = (int64_t)v->n;
    if (s->type != TYPE_BPE && s->type != TYPE_UNIGRAM) {
        enum err_code rc = err_set(e, ERR_UNSUPPORTED, "a SentencePiece model of type %llu",
                                   (unsigned long long)s->type);
        err_hint(e, "known are 1 (Unigram) and 2 (BPE); a tokenizer.json beside it would be read "
                    "instead");
        return rc;
    }
    if (s->suffix || s->no_escape || s->denormalizes) {
        return err_set(e, ERR_UNSUPPORTED, "a SentencePiece model with %s",
                       s->suffix      ? "'treat_whitespace_as_suffix'"
                       : s->no_escape ? "'escape_whitespaces' turned off"
                                      : "a 'denormalizer_spec'");
    }
    v->unigram = s->type == TYPE_UNIGRAM;
    v->spm = !v->unigram;
    if (n == 0 || s->unk >= n || s->bos >= n || s->eos >= n) {
        return err_set(e, ERR_FORMAT, "%s",
                       n ? "a special id is no piece's" : "there are no pieces");
    }
    v->unk = s->unk < 0 ? -1 : (int32_t)s->unk;
    v->bos = s->bos < 0 ? -1 : (int32_t)s->bos;
    v->eos = s->eos < 0 ? -1 : (int32_t)s->eos;
    return ERR_OK;
}

enum err_code hf_tokenizer_model(struct hf_vocab *v, const void *p, size_t n, struct err *e) {
    struct message m = {.p = p, .n = n};
    struct field f;
    struct special s = {.type = TYPE_UNIGRAM, .unk = 0, .bos = 1, .eos = 2};
    enum err_code rc = ERR_OK;
    v->space_prefix = PREFIX_ALWAYS; /* what the format takes it for, and the next one */
    v->remove_extra_whitespaces = true;
    v->add_bos = true;
    while (!rc && next(&m, &f)) {
        if (f.wire != WIRE_BYTES) {
            continue;
        }
        rc = f.number == MODEL_PIECE        ? read_piece(v, &f, e)
             : f.number == MODEL_TRAINER    ? read_trainer(&s, &f, e)
             : f.number == MODEL_NORMALIZER ? read_normalizer(v, &s, &f, e)
                                            : ERR_OK;
        s.denormalizes = s.denormalizes || (f.number == MODEL_DENORMALIZER && has_map(&f));
    }
    rc = rc || !m.broken ? rc : broken(&m, "the model", e);
    return rc ? rc : check(v, &s, e);
}
