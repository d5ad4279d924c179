/* jinja_unicode.c: what Python's str methods ask about characters.
 *
 * Owns character classes as str.isalpha() and its siblings see them, and full case mapping, over
 * the tables in jinja_case_table.h. Letters, numbers and marks are text/unicode.h's. Refuses
 * strings: one code point at a time.
 */
#include "text/jinja_case_table.h"
#include "text/jinja_int.h"
#include "text/unicode.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static bool uni_in(const struct case_run *run, size_t n, uint32_t cp) {
    size_t lo = 0;
    while (n > 0) { /* the last run that starts at or before cp */
        size_t half = (n + 1) / 2;
        if (run[lo + half - 1].first <= cp) {
            lo += half;
            n -= half;
        } else {
            n = half - 1;
        }
    }
    return lo > 0 && cp <= run[lo - 1].last && (cp - run[lo - 1].first) % run[lo - 1].step == 0;
}

/* Whether cp is mapped, and to what. Runs of every second character may interleave, so that
 * each is tried. */
static bool uni_map(const struct case_map *map, size_t n, uint32_t cp, uint32_t *out) {
    for (size_t i = 0; i < n && map[i].first <= cp; i++) {
        if (cp <= map[i].last && (cp - map[i].first) % map[i].step == 0) {
            *out = (uint32_t)((int32_t)cp + map[i].delta);
            return true;
        }
    }
    return false;
}

bool juni_is_space(uint32_t cp) {
    if (cp < 0x80) {
        return (cp >= 9 && cp <= 13) || (cp >= 28 && cp <= 32);
    }
    return cp == 0x85 || cp == 0xA0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200A) ||
           cp == 0x2028 || cp == 0x2029 || cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

bool juni_is_break(uint32_t cp) {
    return (cp >= 10 && cp <= 13) || (cp >= 0x1C && cp <= 0x1E) || cp == 0x85 || cp == 0x2028 ||
           cp == 0x2029;
}

bool juni_is_alpha(uint32_t cp) {
    return (unicode_class(cp) & UC_LETTER) != 0;
}

bool juni_is_decimal(uint32_t cp) {
    return uni_in(case_is_decimal, COUNT(case_is_decimal), cp);
}

bool juni_is_digit(uint32_t cp) {
    return juni_is_decimal(cp) || uni_in(case_is_digit, COUNT(case_is_digit), cp);
}

bool juni_is_numeric(uint32_t cp) {
    return (unicode_class(cp) & UC_NUMBER) != 0 ||
           uni_in(case_is_numeric, COUNT(case_is_numeric), cp);
}

bool juni_is_upper(uint32_t cp) {
    return uni_in(case_is_upper, COUNT(case_is_upper), cp);
}

bool juni_is_lower(uint32_t cp) {
    return uni_in(case_is_lower, COUNT(case_is_lower), cp);
}

bool juni_is_title(uint32_t cp) {
    return uni_in(case_is_title, COUNT(case_is_title), cp);
}

bool juni_is_cased(uint32_t cp) {
    return juni_is_upper(cp) || juni_is_lower(cp) || juni_is_title(cp);
}

bool juni_is_case_ignorable(uint32_t cp) {
    return (unicode_class(cp) & UC_MARK) != 0 || uni_in(case_ignorable, COUNT(case_ignorable), cp);
}

bool juni_is_printable(uint32_t cp) {
    unsigned visible = UC_LETTER | UC_NUMBER | UC_PUNCT | UC_SYMBOL | UC_MARK;
    return cp == ' ' || (unicode_class(cp) & visible) != 0;
}

bool juni_is_word(uint32_t cp) {
    return cp == '_' || juni_is_alpha(cp) || juni_is_numeric(cp);
}

unsigned juni_case(uint32_t cp, enum jcase how, uint32_t out[3]) {
    out[0] = cp;
    if (how == JCASE_LOWER) {
        uni_map(case_to_lower, COUNT(case_to_lower), cp, out);
        if (cp != 0x130) {
            return 1;
        }
        out[0] = 'i'; /* the only lower case of two: I with a dot above */
        out[1] = 0x307;
        return 2;
    }
    for (size_t i = 0; i < COUNT(case_special) && case_special[i].cp <= cp; i++) {
        if (case_special[i].cp == cp) {
            const struct case_special *s = &case_special[i];
            const uint32_t *to = how == JCASE_UPPER ? s->upper : s->title;
            unsigned n = 0;
            while (n < 3 && to[n] != 0) {
                out[n] = to[n];
                n++;
            }
            return n;
        }
    }
    if (how == JCASE_UPPER || !uni_map(case_to_title, COUNT(case_to_title), cp, out)) {
        uni_map(case_to_upper, COUNT(case_to_upper), cp, out);
    }
    return 1;
}
