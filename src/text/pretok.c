/* pretok.c: the pre-tokenizers' patterns, each as a scanner.
 *
 * Owns the table of names. A pattern's alternatives are tried in their order, so each scanner
 * reads like the pattern that its comment quotes; [set] stands for a class of characters.
 * Invariant: a scanner looks at a run of characters a bounded number of times, and never past n.
 * Sources: the tokenizer.json files of the models named.
 */
#include "text/pretok.h"

#include <stdint.h>

#include "text/unicode.h"

enum { WORD = UC_LETTER | UC_NUMBER, TEXT = UC_LETTER | UC_NUMBER | UC_SPACE };

/* ---- building blocks ------------------------------------------------------------------- */

static size_t run_of(const char *p, size_t n, size_t i, unsigned mask) {
    for (size_t len; i < n && (unicode_class_at(p + i, &len) & mask); i += len) {
    }
    return i;
}

static size_t run_without(const char *p, size_t n, size_t i, unsigned mask) {
    for (size_t len; i < n && !(unicode_class_at(p + i, &len) & mask); i += len) {
    }
    return i;
}

static size_t run_newlines(const char *p, size_t n, size_t i) {
    while (i < n && (p[i] == '\r' || p[i] == '\n')) {
        i++;
    }
    return i;
}

static bool class_is(const char *p, size_t n, size_t i, unsigned mask) {
    size_t len;
    return i < n && (unicode_class_at(p + i, &len) & mask);
}

/* \s+(?!\S)|\s+ : white space, but the last character of it goes with the word that follows. */
static size_t scan_space(const char *p, size_t n) {
    size_t i = 0, last = 0;
    for (size_t len; i < n && (unicode_class_at(p + i, &len) & UC_SPACE); i += len) {
        last = i;
    }
    return i < n && last ? last : i;
}

/* \s*[\r\n]+|\s+(?!\S)|\s+ */
static size_t scan_lines(const char *p, size_t n) {
    size_t i = 0, last = 0, newline = 0;
    for (size_t len; i < n; i += len) {
        unsigned c = unicode_class_at(p + i, &len);
        if (!(c & UC_SPACE)) {
            break;
        }
        last = i;
        newline = c & UC_NEWLINE ? i + 1 : newline;
    }
    if (newline) {
        return newline;
    }
    return i < n && last ? last : i;
}

/* \p{N}{1,d} ; p[0] begins a number. */
static size_t run_numbers(const char *p, size_t n, int digits) {
    size_t i = 0, len;
    for (int d = 0; d < digits && class_is(p, n, i, UC_NUMBER); d++) {
        unicode_at(p + i, &len);
        i += len;
    }
    return i;
}

/* 's|'t|'re|'ve|'m|'ll|'d ; 0 if none. */
static size_t scan_contraction(const char *p, size_t n) {
    if (n < 2 || p[0] != '\'') {
        return 0;
    }
    char a = p[1], b = n > 2 ? p[2] : 0;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') {
        return 2;
    }
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

/* The same under (?i:...), which by Unicode's case folding also takes U+017F for an s. */
static size_t scan_contraction_fold(const char *p, size_t n) {
    if (n < 2 || p[0] != '\'') {
        return 0;
    }
    if (n > 2 && (uint8_t)p[1] == 0xC5 && (uint8_t)p[2] == 0xBF) {
        return 3;
    }
    char low[3] = {'\'', (char)(p[1] | 0x20), n > 2 ? (char)(p[2] | 0x20) : 0};
    bool is_letter = class_is(p, n, 1, UC_LETTER) && (n < 3 || (uint8_t)p[1] < 0x80);
    return is_letter ? scan_contraction(low, n < 3 ? n : 3) : 0;
}

/* Whether cp is in one of n ranges, first and last of each, in order. */
static bool in_ranges(uint32_t cp, const uint32_t (*range)[2], size_t n) {
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (cp > range[mid][1]) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo < n && cp >= range[lo][0];
}

/* The pieces of a cut at every [set]+ : a run inside, or a run outside. */
static inline size_t cut_runs(const char *p, size_t n, bool (*in)(uint32_t)) {
    size_t i, len;
    bool first = in(unicode_at(p, &len));
    for (i = len; i < n && in(unicode_at(p + i, &len)) == first; i += len) {
    }
    return i;
}

/* Whether \s?[set]+ matches at p[i]; *skip gets the length of its first character. */
static inline bool spaced_starts(const char *p, size_t n, size_t i, bool (*in)(uint32_t),
                                 size_t *skip) {
    size_t next;
    uint32_t cp = unicode_at(p + i, skip);
    return in(cp) || ((unicode_class(cp) & UC_SPACE) && i + *skip < n &&
                      in(unicode_at(p + i + *skip, &next)));
}

/* The pieces of a cut at every \s?[set]+ */
static inline size_t cut_spaced_runs(const char *p, size_t n, bool (*in)(uint32_t)) {
    size_t i, len;
    if (!spaced_starts(p, n, 0, in, &len)) {
        for (i = len; i < n && !spaced_starts(p, n, i, in, &len); i += len) {
        }
        return i;
    }
    for (i = len; i < n && in(unicode_at(p + i, &len)); i += len) {
    }
    return i;
}

/* ---- the patterns ---------------------------------------------------------------------- */

/* GPT-2: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static size_t scan_gpt2(const char *p, size_t n) {
    size_t k = scan_contraction(p, n);
    if (k) {
        return k;
    }
    size_t i = p[0] == ' ' && n > 1, len;
    unsigned c = unicode_class_at(p + i, &len);
    if (c & UC_LETTER) {
        return run_of(p, n, i + len, UC_LETTER);
    }
    if (c & UC_NUMBER) {
        return run_of(p, n, i + len, UC_NUMBER);
    }
    if (!(c & UC_SPACE)) {
        return run_without(p, n, i + len, TEXT);
    }
    return scan_space(p, n);
}

/* Llama 3, with d = 3; Qwen2 has d = 1:
 * (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,d}| ?[^\s\p{L}\p{N}]+[\r\n]*
 * |\s*[\r\n]+|\s+(?!\S)|\s+ */
static inline size_t scan_llama(const char *p, size_t n, int digits) {
    size_t k = scan_contraction_fold(p, n), len;
    if (k) {
        return k;
    }
    unsigned c = unicode_class_at(p, &len);
    if ((c & UC_LETTER) || (!(c & (UC_NEWLINE | UC_NUMBER)) && class_is(p, n, len, UC_LETTER))) {
        return run_of(p, n, len, UC_LETTER);
    }
    if (c & UC_NUMBER) {
        return run_numbers(p, n, digits);
    }
    size_t i = p[0] == ' ';
    if (i < n && !class_is(p, n, i, TEXT)) {
        return run_newlines(p, n, run_without(p, n, i, TEXT));
    }
    return scan_lines(p, n);
}

static size_t scan_llama3(const char *p, size_t n) {
    return scan_llama(p, n, 3);
}

static size_t scan_qwen2(const char *p, size_t n) {
    return scan_llama(p, n, 1);
}

/* Where the first of U*W+ and U+W* ends that matches at p[i]; *upper: where U* alone does. U is
 * [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}], W is [\p{Ll}\p{Lm}\p{Lo}\p{M}]. Of a run of U with nothing of
 * \p{Ll} behind, W+ takes back as little as it can: the last character that is in both. 0: U*W+
 * does not match. */
static size_t scan_cased(const char *p, size_t n, size_t i, size_t *upper) {
    size_t len, both = 0;
    for (; i < n; i += len) {
        unsigned c = unicode_class_at(p + i, &len);
        if (!(c & (UC_LETTER | UC_MARK)) || (c & UC_LOWER)) {
            break;
        }
        both = c & UC_UPPER ? both : i + len;
    }
    *upper = i;
    if (!class_is(p, n, i, UC_LOWER)) {
        return both;
    }
    for (; i < n; i += len) {
        unsigned c = unicode_class_at(p + i, &len);
        if (!(c & (UC_LETTER | UC_MARK)) || (c & UC_UPPER)) {
            break;
        }
    }
    return i;
}

/* [^\r\n\p{L}\p{N}]?U*W+ | [^\r\n\p{L}\p{N}]?U+W* ; 0 if none. The first character is given back
 * only where it is a mark, which may be W+ alone. */
static size_t scan_cased_word(const char *p, size_t n) {
    size_t len, upper;
    unsigned c = unicode_class_at(p, &len);
    size_t skip = c & (UC_NEWLINE | UC_LETTER | UC_NUMBER) ? 0 : len;
    size_t end = scan_cased(p, n, skip, &upper);
    if (!end && skip && (c & UC_MARK)) {
        return len;
    }
    return end ? end : upper > skip ? upper : 0;
}

/* GPT-4o, with contractions and d = 3; Tekken has none and d = 1:
 * [^\r\n\p{L}\p{N}]?U*W+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?U+W*(?i:...)?|\p{N}{1,d}
 * | ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
static inline size_t scan_by_case(const char *p, size_t n, int digits, bool contractions) {
    size_t len, end = scan_cased_word(p, n);
    if (end) {
        return end + (contractions ? scan_contraction_fold(p + end, n - end) : 0);
    }
    if (unicode_class_at(p, &len) & UC_NUMBER) {
        return run_numbers(p, n, digits);
    }
    size_t i = p[0] == ' ';
    if (i < n && !class_is(p, n, i, TEXT)) {
        i = run_without(p, n, i, TEXT);
        while (i < n && (p[i] == '\r' || p[i] == '\n' || p[i] == '/')) {
            i++;
        }
        return i;
    }
    return scan_lines(p, n);
}

static size_t scan_gpt4o(const char *p, size_t n) {
    return scan_by_case(p, n, 3, true);
}

static size_t scan_tekken(const char *p, size_t n) {
    return scan_by_case(p, n, 1, false);
}

/* DeepSeek V3, after numbers and ideographs have been cut out:
 * [!-/:-@[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*
 * |\s*[\r\n]+|\s+(?!\S)|\s+ */
static size_t scan_deepseek3(const char *p, size_t n) {
    enum { LETTERS = UC_LETTER | UC_MARK, POINTS = UC_PUNCT | UC_SYMBOL };
    size_t len, i;
    unsigned c = unicode_class_at(p, &len);
    if (len == 1 && (c & POINTS) && n > 1 && (uint8_t)p[1] < 0x80 && class_is(p, n, 1, UC_LETTER)) {
        for (i = 2; i < n && (uint8_t)p[i] < 0x80 && (unicode_ascii[(uint8_t)p[i]] & UC_LETTER);
             i++) {
        }
        return i;
    }
    if ((c & LETTERS) || (!(c & (UC_NEWLINE | POINTS)) && class_is(p, n, len, LETTERS))) {
        return run_of(p, n, len, LETTERS);
    }
    i = p[0] == ' ';
    if (class_is(p, n, i, POINTS)) {
        return run_newlines(p, n, run_of(p, n, i, POINTS));
    }
    if (c & UC_SPACE) {
        return scan_lines(p, n);
    }
    /* Nothing matches here: up to where something does. */
    for (i = len; i < n && !class_is(p, n, i, LETTERS | POINTS | UC_SPACE); i += len) {
        unicode_at(p + i, &len);
        if (class_is(p, n, i + len, LETTERS)) {
            break;
        }
    }
    return i;
}

/* \p{N} , each one alone */
static size_t scan_digit(const char *p, size_t n) {
    size_t len;
    if (unicode_class_at(p, &len) & UC_NUMBER) {
        return len;
    }
    return run_without(p, n, len, UC_NUMBER);
}

/* \p{N}{1,3} */
static size_t scan_digits3(const char *p, size_t n) {
    size_t len;
    if (!(unicode_class_at(p, &len) & UC_NUMBER)) {
        return run_without(p, n, len, UC_NUMBER);
    }
    return run_numbers(p, n, 3);
}

static bool in_number(uint32_t cp) {
    return unicode_class(cp) & UC_NUMBER;
}

/* \p{N}+ */
static size_t scan_numbers(const char *p, size_t n) {
    return cut_runs(p, n, in_number);
}

/* [0-9][0-9][0-9] ; bytes, since the cut before may end inside a character. */
static size_t scan_three(const char *p, size_t n) {
    size_t run = 0;
    for (size_t i = 0; i < n; i++) {
        run = p[i] >= '0' && p[i] <= '9' ? run + 1 : 0;
        if (run == 3) {
            return i == 2 ? 3 : i - 2;
        }
    }
    return n;
}

/* Falcon's contiguous digits, which its tokenizer.json looks for after bytes have become
 * characters: the bytes of superscripts and fractions in Latin-1 count as numbers there, even in
 * the middle of a longer character. */
static bool byte_is_number(uint8_t b) {
    return (b >= '0' && b <= '9') || b == 0xB2 || b == 0xB3 || b == 0xB9 || b == 0xBC ||
           b == 0xBD || b == 0xBE;
}

static size_t scan_byte_numbers(const char *p, size_t n) {
    bool first = byte_is_number((uint8_t)p[0]);
    size_t i = 1;
    while (i < n && byte_is_number((uint8_t)p[i]) == first) {
        i++;
    }
    return i;
}

/* [\p{P}$+<=>^`|~]+ , where \p{P} is that of Unicode 8, which the reference library has kept. */
bool pretok_is_punct(uint32_t cp) {
    static const uint32_t newer[][2] = {
        {0x61D, 0x61D},     {0x9FD, 0x9FD},     {0xA76, 0xA76},     {0xC77, 0xC84},
        {0x1B7D, 0x1B7E},   {0x2E43, 0x2E5D},   {0x10EAD, 0x10EAD}, {0x10F55, 0x10F89},
        {0x1144B, 0x1145D}, {0x11660, 0x1166C}, {0x116B9, 0x116B9}, {0x1183B, 0x1183B},
        {0x11944, 0x11946}, {0x119E2, 0x119E2}, {0x11A3F, 0x11A46}, {0x11A9A, 0x11AA2},
        {0x11B00, 0x11B09}, {0x11C41, 0x11C71}, {0x11EF7, 0x11EF8}, {0x11F43, 0x11F4F},
        {0x11FFF, 0x11FFF}, {0x12FF1, 0x12FF2}, {0x16E97, 0x16E9A}, {0x16FE2, 0x16FE2},
        {0x1E95E, 0x1E95F}};
    if (cp < 128) {
        return unicode_ascii[cp] & (UC_PUNCT | UC_SYMBOL);
    }
    return ((unicode_class(cp) & UC_PUNCT) &&
            !in_ranges(cp, newer, sizeof newer / sizeof *newer)) ||
           cp == 0x166D || cp == 0x111C9; /* which later versions class otherwise */
}

static size_t scan_punct(const char *p, size_t n) {
    return cut_runs(p, n, pretok_is_punct);
}

/* [\p{P}$+<=>^~|]+ : no grave accent, and the present \p{P}. */
static bool in_punct_default(uint32_t cp) {
    return cp != '`' && (unicode_class(cp) & (cp < 128 ? UC_PUNCT | UC_SYMBOL : UC_PUNCT));
}

static size_t scan_punct_default(const char *p, size_t n) {
    return cut_runs(p, n, in_punct_default);
}

/* [\r\n] , each one alone */
static size_t scan_newline(const char *p, size_t n) {
    size_t i = 0;
    while (i < n && p[i] != '\r' && p[i] != '\n') {
        i++;
    }
    return i ? i : 1;
}

/* [一-龥ࠀ-一가-퟿]+ */
static bool in_wide(uint32_t cp) {
    return (cp >= 0x800 && cp <= 0x9FA5) || (cp >= 0xAC00 && cp <= 0xD7FF);
}

static size_t scan_wide(const char *p, size_t n) {
    return cut_runs(p, n, in_wide);
}

/* [一-龥぀-ゟ゠-ヿ]+ */
static bool in_ideographs(uint32_t cp) {
    return (cp >= 0x4E00 && cp <= 0x9FA5) || (cp >= 0x3040 && cp <= 0x30FF);
}

static size_t scan_ideographs(const char *p, size_t n) {
    return cut_runs(p, n, in_ideographs);
}

/* \s?\p{L}+ */
static bool in_letter(uint32_t cp) {
    return unicode_class(cp) & UC_LETTER;
}

static size_t scan_spaced_letters(const char *p, size_t n) {
    return cut_spaced_runs(p, n, in_letter);
}

/* \s?\p{P}+ */
static bool in_point(uint32_t cp) {
    return unicode_class(cp) & UC_PUNCT;
}

static size_t scan_spaced_points(const char *p, size_t n) {
    return cut_spaced_runs(p, n, in_point);
}

/* \s?[A-Za-zµÀ-ÖØ-öø-ƺ...]+ : the cased letters of one version of Unicode, as DeepSeek LLM's
 * tokenizer.json lists them. */
static bool in_cased(uint32_t cp) {
    static const uint32_t range[][2] = {
        {0xB5, 0xB5},       {0xC0, 0xD6},       {0xD8, 0xF6},       {0xF8, 0x1BA},
        {0x1BC, 0x1BF},     {0x1C4, 0x293},     {0x295, 0x2AF},     {0x370, 0x373},
        {0x376, 0x376},     {0x377, 0x377},     {0x37B, 0x37D},     {0x37F, 0x37F},
        {0x386, 0x386},     {0x388, 0x38A},     {0x38C, 0x38C},     {0x38E, 0x3A1},
        {0x3A3, 0x3F5},     {0x3F7, 0x481},     {0x48A, 0x52F},     {0x531, 0x556},
        {0x10A0, 0x10C5},   {0x13A0, 0x13F5},   {0x13F8, 0x13FD},   {0x1C90, 0x1CBA},
        {0x1CBD, 0x1CBF},   {0x1D00, 0x1D2B},   {0x1D6B, 0x1D77},   {0x1D79, 0x1D9A},
        {0x1E00, 0x1F15},   {0x1F18, 0x1F1D},   {0x1F20, 0x1F45},   {0x1F48, 0x1F4D},
        {0x1F50, 0x1F57},   {0x1F59, 0x1F59},   {0x1F5B, 0x1F5B},   {0x1F5D, 0x1F5D},
        {0x1F5F, 0x1F7D},   {0x1F80, 0x1FB4},   {0x1FB6, 0x1FBC},   {0x1FBE, 0x1FBE},
        {0x1FC2, 0x1FC4},   {0x1FC6, 0x1FCC},   {0x1FD0, 0x1FD3},   {0x1FD6, 0x1FDB},
        {0x1FE0, 0x1FEC},   {0x1FF2, 0x1FF4},   {0x1FF6, 0x1FFC},   {0x2102, 0x2102},
        {0x2107, 0x2107},   {0x210A, 0x2113},   {0x2115, 0x2115},   {0x2119, 0x211D},
        {0x2124, 0x2124},   {0x2126, 0x2126},   {0x2128, 0x2128},   {0x212A, 0x212D},
        {0x212F, 0x2134},   {0x2139, 0x2139},   {0x213C, 0x213F},   {0x2145, 0x2149},
        {0x214E, 0x214E},   {0x2183, 0x2183},   {0x2184, 0x2184},   {0x2C00, 0x2C7B},
        {0x2C7E, 0x2CE4},   {0x2CEB, 0x2CEE},   {0x2CF2, 0x2CF2},   {0x2CF3, 0x2CF3},
        {0xA640, 0xA66D},   {0xA680, 0xA69B},   {0xA722, 0xA76F},   {0xA771, 0xA787},
        {0xA78B, 0xA78E},   {0xAB70, 0xABBF},   {0xFB00, 0xFB06},   {0xFB13, 0xFB17},
        {0xFF21, 0xFF3A},   {0xFF41, 0xFF5A},   {0x10400, 0x1044F}, {0x104B0, 0x104D3},
        {0x104D8, 0x104FB}, {0x10C80, 0x10CB2}, {0x10CC0, 0x10CF2}, {0x118A0, 0x118DF},
        {0x1E900, 0x1E943},
    };
    if (cp < 128) {
        return unicode_ascii[cp] & UC_LETTER;
    }
    return in_ranges(cp, range, sizeof range / sizeof *range);
}

static size_t scan_spaced_cased(const char *p, size_t n) {
    return cut_spaced_runs(p, n, in_cased);
}

/* \s?[!-/:-~！-／：-～‘-‟　-。]+ */
static bool in_marks(uint32_t cp) {
    return (cp >= '!' && cp <= '/') || (cp >= ':' && cp <= '~') || (cp >= 0xFF01 && cp <= 0xFF0F) ||
           (cp >= 0xFF1A && cp <= 0xFF5E) || (cp >= 0x2018 && cp <= 0x201F) ||
           (cp >= 0x3000 && cp <= 0x3002);
}

static size_t scan_spaced_marks(const char *p, size_t n) {
    return cut_spaced_runs(p, n, in_marks);
}

/* \s+$ */
static size_t scan_trailing_space(const char *p, size_t n) {
    size_t begin = n, i = n, len;
    while (i > 0) {
        do {
            i--;
        } while (i > 0 && ((uint8_t)p[i] & 0xC0) == 0x80);
        if (!(unicode_class_at(p + i, &len) & UC_SPACE)) {
            break;
        }
        begin = i;
    }
    return begin ? begin : n;
}

/* ---- the families ---------------------------------------------------------------------- */

enum {
    FAMILY_LLAMA3,
    FAMILY_CL100K,
    FAMILY_GPT4O,
    FAMILY_TEKKEN,
    FAMILY_QWEN2,
    FAMILY_GPT2,
    FAMILY_GPT2_NFC,
    FAMILY_DIGIT,
    FAMILY_DIGIT_NFC,
    FAMILY_DEEPSEEK_LLM,
    FAMILY_DEEPSEEK_CODER,
    FAMILY_DEEPSEEK3,
    FAMILY_FALCON,
    FAMILY_DEFAULT
};

static const struct pretok families[] = {
    [FAMILY_LLAMA3] = {.scan = {scan_llama3}, .ignore_merges = true, .adds_bos = true},
    [FAMILY_CL100K] = {.scan = {scan_llama3}},
    [FAMILY_GPT4O] = {.scan = {scan_gpt4o}},
    [FAMILY_TEKKEN] = {.scan = {scan_tekken}, .ignore_merges = true, .adds_bos = true},
    [FAMILY_QWEN2] = {.scan = {scan_qwen2}, .nfc = true},
    [FAMILY_GPT2] = {.scan = {scan_gpt2}},
    [FAMILY_GPT2_NFC] = {.scan = {scan_gpt2}, .nfc = true},
    [FAMILY_DIGIT] = {.scan = {scan_digit, scan_gpt2}},
    [FAMILY_DIGIT_NFC] = {.scan = {scan_digit, scan_gpt2}, .nfc = true},
    [FAMILY_DEEPSEEK_LLM] = {.scan = {scan_newline, scan_spaced_cased, scan_spaced_marks,
                                      scan_trailing_space, scan_wide, scan_numbers}},
    [FAMILY_DEEPSEEK_CODER] = {.scan = {scan_newline, scan_spaced_letters, scan_spaced_points,
                                        scan_wide, scan_digit}},
    [FAMILY_DEEPSEEK3] = {.scan = {scan_digits3, scan_ideographs, scan_deepseek3}},
    [FAMILY_FALCON] = {.scan = {scan_punct, scan_gpt2, scan_byte_numbers, scan_three}},
    [FAMILY_DEFAULT] = {.scan = {scan_punct_default, scan_gpt2, scan_numbers, scan_three}},
};

/* Names of one family: their tokenizers have the same pattern, normalizer and custom. */
static const struct {
    const char *name;
    uint8_t family;
} names[] = {
    {"llama-bpe", FAMILY_LLAMA3},
    {"llama3", FAMILY_LLAMA3},
    {"llama-v3", FAMILY_LLAMA3},
    {"smaug-bpe", FAMILY_LLAMA3},
    {"falcon3", FAMILY_LLAMA3},
    {"dbrx", FAMILY_CL100K},
    {"gpt-4o", FAMILY_GPT4O},
    {"tekken", FAMILY_TEKKEN},
    {"qwen2", FAMILY_QWEN2},
    {"gpt-2", FAMILY_GPT2},
    {"phi-2", FAMILY_GPT2},
    {"mpt", FAMILY_GPT2_NFC},
    {"olmo", FAMILY_GPT2_NFC},
    {"smollm", FAMILY_DIGIT},
    {"starcoder", FAMILY_DIGIT},
    {"refact", FAMILY_DIGIT},
    {"command-r", FAMILY_DIGIT_NFC},
    {"deepseek-llm", FAMILY_DEEPSEEK_LLM},
    {"deepseek-coder", FAMILY_DEEPSEEK_CODER},
    {"deepseek-v3", FAMILY_DEEPSEEK3},
    {"falcon", FAMILY_FALCON},
    {"default", FAMILY_DEFAULT},
    {"", FAMILY_DEFAULT}, /* files from before the key existed */
};

const struct pretok *pretok_find(struct str name) {
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (str_is(name, names[i].name)) {
            return &families[names[i].family];
        }
    }
    return NULL;
}

pretok_scan pretok_scan_of(enum pretok_pattern pattern) {
    static const pretok_scan scans[] = {
        [PATTERN_GPT2] = scan_gpt2,
        [PATTERN_LLAMA3] = scan_llama3,
        [PATTERN_QWEN2] = scan_qwen2,
        [PATTERN_GPT4O] = scan_gpt4o,
        [PATTERN_TEKKEN] = scan_tekken,
        [PATTERN_NUMBERS3] = scan_digits3,
        [PATTERN_IDEOGRAPHS] = scan_ideographs,
        [PATTERN_DEEPSEEK3] = scan_deepseek3,
    };
    return scans[pattern];
}

void pretok_begin(struct pretok_walk *w, const struct pretok *f, const char *p, size_t n) {
    *w = (struct pretok_walk){.f = f, .p = p, .n = n};
}

bool pretok_next(struct pretok_walk *w, struct str *word) {
    if (w->at == w->n) {
        return false;
    }
    size_t outer = w->n;
    for (int s = 0; s < PRETOK_STAGE_MAX && w->f->scan[s]; s++) {
        if (w->end[s] == w->at) {
            w->end[s] = w->at + w->f->scan[s](w->p + w->at, outer - w->at);
        }
        outer = w->end[s];
    }
    *word = str_of(w->p + w->at, outer - w->at);
    w->at = outer;
    return true;
}
