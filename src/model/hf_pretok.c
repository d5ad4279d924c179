/* hf_pretok.c: which of this program's pre-tokenizers does what a tokenizer.json says.
 *
 * Owns the table: every pre-tokenizer of text/pretok.c, written as the steps and patterns of the
 * files that have it. A file's steps must be one of these lists to the letter, for a pattern that
 * looks alike may cut differently; another one is refused, and its first pattern shown.
 * Source: the tokenizer.json files of the models that the names stand for.
 */
#include <string.h>

#include "model/hf.h"
#include "text/pretok.h"

#define STEP         "\x1f" /* between two steps */
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define LLAMA3(digits)                                                                             \
    "S" CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" digits                                \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define CASED(contractions, digits)                                                                \
    "S[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"    \
    "+" contractions "|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}" \
    "\\p{Lo}\\p{M}]*" contractions "|\\p{N}" digits                                                \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define DEEPSEEK3                                                                                  \
    "S[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?"            \
    "[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"

/* S: cut at a pattern; D1, D0: at digits, each one or runs; P: at punctuation, runs; B1, B0:
 * bytes, with GPT-2's pattern or without. */
static const struct {
    const char *name;
    bool nfc, total; /* the steps' only pattern matches every character */
    const char *steps;
} known[] = {
    {"llama-bpe", false, true, LLAMA3("{1,3}") STEP "B0"},
    {"dbrx", false, true, LLAMA3("{1,3}") STEP "B0"},
    {"gpt-4o", false, true, CASED(CONTRACTIONS "?", "{1,3}") STEP "B0"},
    {"tekken", false, true, CASED("", "") STEP "B0"},
    {"qwen2", true, true, LLAMA3("") STEP "B0"},
    {"gpt-2", false, false, "B1"},
    {"mpt", true, false, "B1"},
    {"smollm", false, false, "D1" STEP "B1"},
    {"command-r", true, false, "D1" STEP "B1"},
    {"deepseek-v3", false, false,
     "S\\p{N}{1,3}" STEP "S[一-龥぀-ゟ゠-ヿ]+" STEP DEEPSEEK3 STEP "B0"},
    {"deepseek-coder", false, false,
     "S[\r\n]" STEP "S\\s?\\p{L}+" STEP "S\\s?\\p{P}+" STEP "S[一-龥ࠀ-一가-퟿]+" STEP
     "D1" STEP "B0"},
    {"falcon", false, false, "P" STEP "B1" STEP "D0" STEP "S[0-9][0-9][0-9]"},
};

struct steps {
    struct buf text;
    struct str pattern; /* the first one */
    bool removes;       /* what a pattern does not match */
};

static const struct json *member(const struct json *j, const char *name) {
    const struct json *x = j && json_kind(j) == JSON_IS_OBJECT ? json_find(j, name) : NULL;
    return x && json_kind(x) != JSON_IS_NULL ? x : NULL;
}

static struct str text_of(const struct json *j, const char *name) {
    const struct json *x = member(j, name);
    return x ? json_str(x) : str_of("", 0);
}

static bool truth(const struct json *j, const char *name, bool def) {
    const struct json *x = member(j, name);
    return x ? json_bool(x) : def;
}

/* Appends one step; false if it is of a kind, or has a setting, that no line of the table has. */
static bool put_step(struct steps *s, const struct json *j) {
    struct str type = text_of(j, "type");
    if (s->text.len) {
        buf_puts(&s->text, STEP);
    }
    if (str_is(type, "Split")) {
        struct str pattern = text_of(member(j, "pattern"), "Regex");
        s->pattern = s->pattern.n ? s->pattern : pattern;
        buf_putc(&s->text, 'S');
        buf_put(&s->text, pattern.p, pattern.n);
        /* Nothing is removed where a pattern matches everything: see `total`. */
        bool removed = str_is(text_of(j, "behavior"), "Removed") && truth(j, "invert", false);
        s->removes = s->removes || removed;
        return pattern.n && (removed || (str_is(text_of(j, "behavior"), "Isolated") &&
                                         !truth(j, "invert", false)));
    }
    if (str_is(type, "ByteLevel")) {
        buf_puts(&s->text, truth(j, "use_regex", true) ? "B1" : "B0");
        return !truth(j, "add_prefix_space", true);
    }
    if (str_is(type, "Digits")) {
        buf_puts(&s->text, truth(j, "individual_digits", false) ? "D1" : "D0");
        return true;
    }
    buf_putc(&s->text, 'P');
    return str_is(type, "Punctuation") && str_is(text_of(j, "behavior"), "Contiguous");
}

static bool put_steps(struct steps *s, const struct json *pre) {
    const struct json *list = member(pre, "pretokenizers");
    bool all = true;
    if (!str_is(text_of(pre, "type"), "Sequence") || !list || json_kind(list) != JSON_IS_ARRAY) {
        return put_step(s, pre);
    }
    for (size_t i = 0; i < json_count(list); i++) {
        all = put_step(s, json_at(list, i)) && all;
    }
    return all;
}

/* None, an empty list, or NFC. */
static bool read_normalizer(const struct json *norm, bool *nfc) {
    const struct json *list = member(norm, "normalizers");
    if (norm && str_is(text_of(norm, "type"), "Sequence") && list &&
        json_kind(list) == JSON_IS_ARRAY && json_count(list) <= 1) {
        norm = json_count(list) ? json_at(list, 0) : NULL;
    }
    *nfc = norm && str_is(text_of(norm, "type"), "NFC");
    return !norm || *nfc;
}

enum err_code hf_pretok(const char **name, bool whole, const struct json *normalizer,
                        const struct json *pre_tokenizer, struct err *e) {
    struct steps s = {.pattern = {"", 0}};
    bool nfc;
    *name = NULL;
    if (!read_normalizer(normalizer, &nfc)) {
        struct str type = text_of(normalizer, "type");
        return err_set(e, ERR_UNSUPPORTED, "a 'normalizer' that is not known ('%.*s')",
                       (int)(type.n < 40 ? type.n : 40), type.p);
    }
    buf_init(&s.text, 65536);
    bool all = pre_tokenizer && put_steps(&s, pre_tokenizer);
    enum err_code rc = buf_check(&s.text, e);
    if (rc) {
        buf_fini(&s.text);
        return rc;
    }
    for (size_t i = 0; all && i < sizeof known / sizeof *known; i++) {
        if (nfc == known[i].nfc && strcmp(s.text.p, known[i].steps) == 0 &&
            (!s.removes || known[i].total) &&
            (!*name || pretok_find(str_c(known[i].name))->ignore_merges == whole)) {
            *name = known[i].name;
        }
    }
    buf_fini(&s.text);
    if (*name) {
        return ERR_OK;
    }
    if (s.pattern.n) {
        return err_set(e, ERR_UNSUPPORTED, "no known pre-tokenizer has the pattern '%.*s'%s",
                       (int)(s.pattern.n < 120 ? s.pattern.n : 120), s.pattern.p,
                       nfc ? " with NFC before it" : " and these steps around it");
    }
    return err_set(e, ERR_UNSUPPORTED, "a 'pre_tokenizer' of steps that are not known");
}
