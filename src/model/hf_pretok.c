/* hf_pretok.c: which of this program's pre-tokenizers does what a tokenizer.json says.
 *
 * Owns the table: every pre-tokenizer of text/pretok.c, written as the steps and patterns of the
 * files that have it. A file's steps must be one of these lists to the letter, for a pattern that
 * looks alike may cut differently. Of other lists hf_steps.c knows some steps one by one.
 * Source: the tokenizer.json files of the models that the names stand for.
 */
#include <string.h>

#include "model/hf.h"
#include "model/hf_json.h"
#include "text/pretok.h"

#define STEP         "\x1f" /* between two steps */
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define LLAMA3(digits)                                                                             \
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" digits                                    \
                 "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define CASED(contractions, digits)                                                                \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"     \
    "+" contractions "|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}" \
    "\\p{Lo}\\p{M}]*" contractions "|\\p{N}" digits                                                \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define DEEPSEEK3                                                                                  \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?"             \
    "[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"

#define IDEOGRAPHS "[一-龥぀-ゟ゠-ヿ]+"
#define GPT2       "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* S: cut at a pattern; D1, D0: at digits, each one or runs; P: at punctuation, runs; B1, B0:
 * bytes, with GPT-2's pattern or without. */
static const struct {
    const char *name;
    bool nfc, total; /* the steps' only pattern matches every character */
    const char *steps;
} known[] = {
    {"llama-bpe", false, true, "S" LLAMA3("{1,3}") STEP "B0"},
    {"dbrx", false, true, "S" LLAMA3("{1,3}") STEP "B0"},
    {"gpt-4o", false, true, "S" CASED(CONTRACTIONS "?", "{1,3}") STEP "B0"},
    {"tekken", false, true, "S" CASED("", "") STEP "B0"},
    {"qwen2", true, true, "S" LLAMA3("") STEP "B0"},
    {"gpt-2", false, false, "B1"},
    {"mpt", true, false, "B1"},
    {"smollm", false, false, "D1" STEP "B1"},
    {"command-r", true, false, "D1" STEP "B1"},
    {"deepseek-v3", false, false, "S\\p{N}{1,3}" STEP "S" IDEOGRAPHS STEP "S" DEEPSEEK3 STEP "B0"},
    {"deepseek-coder", false, false,
     "S[\r\n]" STEP "S\\s?\\p{L}+" STEP "S\\s?\\p{P}+" STEP "S[一-龥ࠀ-一가-퟿]+" STEP
     "D1" STEP "B0"},
    {"falcon", false, false, "P" STEP "B1" STEP "D0" STEP "S[0-9][0-9][0-9]"},
};

pretok_scan hf_pattern(struct str regex, bool *total) {
    static const struct {
        const char *regex;
        enum pretok_pattern pattern;
        bool total;
    } patterns[] = {{GPT2, PATTERN_GPT2, true},
                    {LLAMA3("{1,3}"), PATTERN_LLAMA3, true},
                    {LLAMA3(""), PATTERN_QWEN2, true},
                    {CASED(CONTRACTIONS "?", "{1,3}"), PATTERN_GPT4O, true},
                    {CASED("", ""), PATTERN_TEKKEN, true},
                    {"\\p{N}{1,3}", PATTERN_NUMBERS3, false},
                    {IDEOGRAPHS, PATTERN_IDEOGRAPHS, false},
                    {DEEPSEEK3, PATTERN_DEEPSEEK3, false}};
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        if (str_is(regex, patterns[i].regex)) {
            *total = patterns[i].total;
            return pretok_scan_of(patterns[i].pattern);
        }
    }
    return NULL;
}

struct steps {
    char text[2048]; /* more than any line of the table has */
    size_t n;
    bool known;   /* each step is of a kind, and has settings, that some line of the table has */
    bool removes; /* what a pattern does not match */
};

static void put(struct steps *s, struct str text) {
    s->known = s->known && text.n < sizeof s->text - s->n;
    if (s->known && text.n) {
        memcpy(s->text + s->n, text.p, text.n);
        s->n += text.n;
    }
}

static void put_step(struct steps *s, const struct json *j) {
    put(s, str_c(s->n ? STEP : ""));
    if (hf_says(j, "type", "Split")) {
        /* Nothing is removed where a pattern matches everything: see `total`. */
        bool invert = hf_truth(j, "invert", false);
        bool removed = hf_says(j, "behavior", "Removed") && invert;
        s->removes = s->removes || removed;
        s->known = s->known && (removed || (hf_says(j, "behavior", "Isolated") && !invert));
        put(s, str_c("S"));
        put(s, hf_text_of(hf_member(j, "pattern"), "Regex"));
    } else if (hf_says(j, "type", "ByteLevel")) {
        s->known = s->known && !hf_truth(j, "add_prefix_space", true);
        put(s, str_c(hf_truth(j, "use_regex", true) ? "B1" : "B0"));
    } else if (hf_says(j, "type", "Digits")) {
        put(s, str_c(hf_truth(j, "individual_digits", false) ? "D1" : "D0"));
    } else {
        s->known =
            s->known && hf_says(j, "type", "Punctuation") && hf_says(j, "behavior", "Contiguous");
        put(s, str_c("P"));
    }
}

static void put_steps(struct steps *s, const struct json *pre) {
    const struct json *list = hf_member(pre, "pretokenizers");
    if (!hf_says(pre, "type", "Sequence") || !list || json_kind(list) != JSON_IS_ARRAY) {
        put_step(s, pre);
        return;
    }
    for (size_t i = 0; i < json_count(list); i++) {
        put_step(s, json_at(list, i));
    }
}

/* None, an empty list, or NFC. */
static bool read_normalizer(const struct json *norm, bool *nfc) {
    const struct json *list = hf_member(norm, "normalizers");
    if (norm && str_is(hf_text_of(norm, "type"), "Sequence") && list &&
        json_kind(list) == JSON_IS_ARRAY && json_count(list) <= 1) {
        norm = json_count(list) ? json_at(list, 0) : NULL;
    }
    *nfc = norm && str_is(hf_text_of(norm, "type"), "NFC");
    return !norm || *nfc;
}

const char *hf_pretok(bool whole, const struct json *normalizer, const struct json *pre_tokenizer) {
    struct steps s = {.known = true};
    const char *name = NULL;
    bool nfc;
    if (!read_normalizer(normalizer, &nfc) || !pre_tokenizer) {
        return NULL;
    }
    put_steps(&s, pre_tokenizer);
    for (size_t i = 0; s.known && i < sizeof known / sizeof *known; i++) {
        if (nfc == known[i].nfc && str_is(str_of(s.text, s.n), known[i].steps) &&
            (!s.removes || known[i].total) &&
            (!name || pretok_find(str_c(known[i].name))->ignore_merges == whole)) {
            name = known[i].name;
        }
    }
    return name;
}
