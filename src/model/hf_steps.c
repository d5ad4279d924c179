/* hf_steps.c: see hf_steps.h.
 *
 * Owns the two tables of step types. A sequence's steps are read in order; one within another is
 * refused, as no file has it. Source: the serialization of the tokenizers library.
 */
#include "model/hf_steps.h"

#include <stdio.h>
#include <string.h>

#include "model/hf.h"
#include "model/hf_json.h"
#include "text/unicode.h"

enum { STEPS_MAX = 64, PATTERN_MAX = 1024 };

struct reader {
    struct hf_steps *s;
    const char *part, *list; /* the member of the file, and the one that holds a sequence's steps */
    size_t i;                /* the step's place in the sequence */
    bool alone;              /* there is no sequence */
    struct err *e;
};

void hf_steps_init(struct hf_steps *s) {
    *s = (struct hf_steps){0};
    arena_init(&s->mem, 0);
}

void hf_steps_fini(struct hf_steps *s) {
    arena_fini(&s->mem);
}

/* 'pre_tokenizer.pretokenizers[1].behavior': what is said of the member `name` of the present step.
 */
static enum err_code refuse(const struct reader *r, enum err_code code, const char *name,
                            const char *what, struct str value) {
    char place[32] = "";
    if (!r->alone) {
        snprintf(place, sizeof place, ".%s[%zu]", r->list, r->i);
    }
    return err_set(r->e, code, "'%s%s.%s' %s%s%.*s%s", r->part, place, name, what,
                   value.n ? " '" : "", (int)(value.n < 120 ? value.n : 120), value.p,
                   value.n ? "'" : "");
}

static enum err_code unknown(const struct reader *r, const char *name, struct str value) {
    return refuse(r, ERR_UNSUPPORTED, name, value.n ? "is not known:" : "is not known", value);
}

/* A copy of a text member; ERR_FORMAT where it is missing or, with `some`, empty. */
static enum err_code copy_text(const struct reader *r, const struct json *j, const char *name,
                               bool some, struct str *out) {
    const struct json *x = hf_member(j, name);
    struct str s = x ? json_str(x) : str_of("", 0);
    if (!x || json_kind(x) != JSON_IS_STR || (some && !s.n)) {
        return refuse(r, ERR_FORMAT, name, "is missing or empty", str_of("", 0));
    }
    char *p = arena_strdup(&r->s->mem, s.p, s.n);
    *out = str_of(p, s.n);
    return p ? ERR_OK : err_set(r->e, ERR_NOMEM, "out of memory for the steps of a tokenizer");
}

/* A string that is looked for, under `name` in j, which a message calls `full`. Looking for it
 * takes time in proportion to its length at each place of a text; the longest ones of models have
 * three bytes. */
static enum err_code copy_pattern(const struct reader *r, const struct json *j, const char *name,
                                  const char *full, struct str *out) {
    struct str s = hf_text_of(j, name);
    if (s.n > PATTERN_MAX) {
        char what[64];
        snprintf(what, sizeof what, "has %zu bytes; the bound is %d", s.n, PATTERN_MAX);
        return refuse(r, ERR_LIMIT, full, what, str_of("", 0));
    }
    if (!s.n) {
        return refuse(r, ERR_FORMAT, full, "is missing or empty", str_of("", 0));
    }
    return copy_text(r, j, name, true, out);
}

/* ---- normalizers ------------------------------------------------------------------------ */

static int sextet(char c) {
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

/* Base64 (RFC 4648), in place: the bytes are fewer. */
static bool decode_base64(struct str *s) {
    char *p = (char *)(uintptr_t)s->p;
    size_t n = 0;
    uint32_t bits = 0;
    unsigned have = 0;
    while (s->n && s->p[s->n - 1] == '=') {
        s->n--;
    }
    for (size_t i = 0; i < s->n; i++) {
        int v = sextet(s->p[i]);
        if (v < 0) {
            return false;
        }
        bits = bits << 6 | (uint32_t)v;
        have += 6;
        if (have >= 8) {
            have -= 8;
            p[n++] = (char)(bits >> have & 0xFF);
        }
    }
    s->n = n;
    return true;
}

static enum err_code read_replace(const struct reader *r, const struct json *j,
                                  struct norm_step *step) {
    const struct json *pattern = hf_member(j, "pattern");
    enum err_code rc = copy_text(r, j, "content", false, &step->with);
    if (!rc && hf_member(pattern, "Regex")) {
        struct str regex = hf_text_of(pattern, "Regex");
        step->kind = NORM_REPLACE_SPACES;
        return str_is(regex, " {2,}") ? ERR_OK : unknown(r, "pattern.Regex", regex);
    }
    return rc ? rc : copy_pattern(r, pattern, "String", "pattern.String", &step->find);
}

static enum err_code read_norm(const struct reader *r, const struct json *j) {
    static const struct {
        const char *type;
        enum norm_kind kind;
    } known[] = {{"NFC", NORM_C},
                 {"NFD", NORM_D},
                 {"NFKC", NORM_KC},
                 {"NFKD", NORM_KD},
                 {"Lowercase", NORM_LOWERCASE},
                 {"StripAccents", NORM_STRIP_ACCENTS},
                 {"Strip", NORM_STRIP},
                 {"Replace", NORM_REPLACE},
                 {"Prepend", NORM_PREPEND},
                 {"Nmt", NORM_NMT},
                 {"Precompiled", NORM_CHARSMAP_WHOLE}};
    struct str type = hf_text_of(j, "type");
    size_t i = 0;
    while (i < sizeof known / sizeof *known && !str_is(type, known[i].type)) {
        i++;
    }
    if (i == sizeof known / sizeof *known) {
        return unknown(r, "type", type);
    }
    struct norm_step *step = &r->s->norm[r->s->n_norm++];
    *step = (struct norm_step){.kind = known[i].kind,
                               .left = hf_truth(j, "strip_left", false),
                               .right = hf_truth(j, "strip_right", false),
                               .find = {"", 0},
                               .with = {"", 0}};
    enum err_code rc = ERR_OK;
    if (step->kind == NORM_REPLACE) {
        rc = read_replace(r, j, step);
    } else if (step->kind == NORM_PREPEND) {
        rc = copy_text(r, j, "prepend", false, &step->with);
    } else if (step->kind == NORM_CHARSMAP_WHOLE) {
        rc = copy_text(r, j, "precompiled_charsmap", true, &step->find);
        if (!rc && !decode_base64(&step->find)) {
            rc = refuse(r, ERR_FORMAT, "precompiled_charsmap", "is not Base64", str_of("", 0));
        }
    }
    return rc;
}

/* ---- pre-tokenizers --------------------------------------------------------------------- */

static enum err_code read_way(const struct reader *r, const struct json *j, enum split_way *way) {
    static const char *const known[] = {[WAY_REMOVE] = "Removed",
                                        [WAY_ISOLATE] = "Isolated",
                                        [WAY_BEFORE] = "MergedWithPrevious",
                                        [WAY_BEHIND] = "MergedWithNext",
                                        [WAY_JOIN] = "Contiguous"};
    struct str name = hf_text_of(j, "behavior");
    for (unsigned i = 0; i < sizeof known / sizeof *known; i++) {
        if (str_is(name, known[i])) {
            *way = (enum split_way)i;
            return ERR_OK;
        }
    }
    return unknown(r, "behavior", name);
}

/* A pattern: a string, or one of the expressions that are written out as scanners. Those give
 * what lies between their matches as words too, so that only isolating them is known. */
static enum err_code read_split(const struct reader *r, const struct json *j,
                                struct split_step *step) {
    const struct json *pattern = hf_member(j, "pattern");
    struct str regex = hf_text_of(pattern, "Regex");
    bool total = false;
    step->invert = hf_truth(j, "invert", false);
    enum err_code rc = read_way(r, j, &step->way);
    if (rc || !hf_member(pattern, "Regex")) {
        return rc ? rc : copy_pattern(r, pattern, "String", "pattern.String", &step->text);
    }
    step->kind = SPLIT_SCAN;
    step->scan = hf_pattern(regex, &total);
    if (!step->scan) {
        return unknown(r, "pattern.Regex", regex);
    }
    if (step->way != WAY_ISOLATE && !(step->way == WAY_REMOVE && step->invert && total)) {
        return unknown(r, "behavior", hf_text_of(j, "behavior"));
    }
    step->way = WAY_ISOLATE;
    return ERR_OK;
}

/* Whether a step before has written: of its words only the text's first one is known to begin it.
 */
static bool has_written(const struct hf_steps *s) {
    bool any = false;
    for (size_t i = 0; i + 1 < s->n_split; i++) { /* the last is the one that is being read */
        any = any || s->split[i].kind == SPLIT_METASPACE || s->split[i].kind == SPLIT_PREFIX;
    }
    return any;
}

static enum err_code read_metaspace(const struct reader *r, const struct json *j,
                                    struct split_step *step) {
    struct str scheme = hf_text_of(j, "prepend_scheme");
    bool old = hf_truth(j, "add_prefix_space", true); /* files from before there were schemes */
    step->kind = SPLIT_METASPACE;
    step->way = WAY_BEHIND;
    step->before = hf_truth(j, "split", true);
    step->prefix = str_is(scheme, "always") || (!scheme.n && old) ? PREFIX_UNLESS_SPACE
                   : str_is(scheme, "first")                      ? PREFIX_FIRST
                                                                  : PREFIX_NONE;
    if (scheme.n && step->prefix == PREFIX_NONE && !str_is(scheme, "never")) {
        return unknown(r, "prepend_scheme", scheme);
    }
    if (step->prefix == PREFIX_FIRST && has_written(r->s)) {
        return refuse(r, ERR_UNSUPPORTED, "prepend_scheme",
                      "is not computed behind another Metaspace:", scheme);
    }
    enum err_code rc = copy_text(r, j, "replacement", true, &step->text);
    size_t len = 0;
    if (!rc) {
        unicode_at(step->text.p, &len);
    }
    return rc || len == step->text.n ? rc : unknown(r, "replacement", step->text);
}

static struct split_step *add(const struct reader *r, enum split_kind kind, enum split_way way) {
    struct split_step *step = &r->s->split[r->s->n_split++];
    *step = (struct split_step){.kind = kind, .way = way, .text = {"", 0}};
    return step;
}

static void read_bytes(const struct reader *r, const struct json *j) {
    if (hf_truth(j, "add_prefix_space", true)) {
        add(r, SPLIT_PREFIX, WAY_ISOLATE);
    }
    if (hf_truth(j, "use_regex", true)) {
        add(r, SPLIT_SCAN, WAY_ISOLATE)->scan = pretok_scan_of(PATTERN_GPT2);
    }
    r->s->bytes = true;
}

static enum err_code read_pre(const struct reader *r, const struct json *j) {
    struct str type = hf_text_of(j, "type");
    if (r->s->bytes) {
        return refuse(r, ERR_UNSUPPORTED, "type", "is a step behind ByteLevel:", type);
    }
    if (str_is(type, "ByteLevel")) {
        read_bytes(r, j);
    } else if (str_is(type, "Split")) {
        return read_split(r, j, add(r, SPLIT_STRING, WAY_ISOLATE));
    } else if (str_is(type, "Metaspace")) {
        return read_metaspace(r, j, add(r, SPLIT_METASPACE, WAY_BEHIND));
    } else if (str_is(type, "CharDelimiterSplit")) {
        return copy_pattern(r, j, "delimiter", "delimiter",
                            &add(r, SPLIT_STRING, WAY_REMOVE)->text);
    } else if (str_is(type, "Punctuation")) {
        struct split_step *step = add(r, SPLIT_PUNCT, WAY_ISOLATE);
        return hf_member(j, "behavior") ? read_way(r, j, &step->way) : ERR_OK;
    } else if (str_is(type, "Digits")) {
        add(r, SPLIT_DIGIT, hf_truth(j, "individual_digits", false) ? WAY_ISOLATE : WAY_JOIN);
    } else if (str_is(type, "WhitespaceSplit")) {
        add(r, SPLIT_SPACE, WAY_REMOVE);
    } else if (str_is(type, "Whitespace")) {
        add(r, SPLIT_WORD, WAY_REMOVE)->invert = true;
    } else if (str_is(type, "BertPreTokenizer")) {
        add(r, SPLIT_SPACE, WAY_REMOVE);
        add(r, SPLIT_PUNCT, WAY_ISOLATE);
    } else {
        return unknown(r, "type", type);
    }
    return ERR_OK;
}

/* ---- both ------------------------------------------------------------------------------- */

static enum err_code read_part(struct reader *r, const struct json *j,
                               enum err_code (*step)(const struct reader *, const struct json *)) {
    const struct json *list = hf_member(j, r->list);
    r->alone = !str_is(hf_text_of(j, "type"), "Sequence");
    if (!j || r->alone) {
        return j ? step(r, j) : ERR_OK;
    }
    if (!list || json_kind(list) != JSON_IS_ARRAY || json_count(list) > STEPS_MAX) {
        return err_set(r->e, ERR_FORMAT, "'%s.%s' is not a list of at most %d steps", r->part,
                       r->list, STEPS_MAX);
    }
    enum err_code rc = ERR_OK;
    for (r->i = 0; !rc && r->i < json_count(list); r->i++) {
        rc = step(r, json_at(list, r->i));
    }
    return rc;
}

enum err_code hf_steps_read(struct hf_steps *s, const struct json *normalizer,
                            const struct json *pre_tokenizer, struct err *e) {
    struct reader r = {.s = s, .part = "normalizer", .list = "normalizers", .e = e};
    s->norm = arena_alloc(&s->mem, STEPS_MAX, sizeof *s->norm);
    s->split = arena_alloc(&s->mem, 2 * STEPS_MAX, sizeof *s->split);
    if (!s->norm || !s->split) {
        return err_set(e, ERR_NOMEM, "out of memory for the steps of a tokenizer");
    }
    enum err_code rc = read_part(&r, normalizer, read_norm);
    r.part = "pre_tokenizer";
    r.list = "pretokenizers";
    return rc ? rc : read_part(&r, pre_tokenizer, read_pre);
}
