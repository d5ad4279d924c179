/* jinja_str.c: strings that remember who wrote each byte.
 *
 * Owns building, cutting, searching, replacing, splitting, joining and case. Refuses numbers and
 * formatting (jinja_num.c). Positions inside are bytes; what a template sees are code points.
 * Invariant: every function here carries the origin of each byte over to where the byte goes; a
 * byte that is computed from another (a case mapping, an escape) takes over its origin.
 */
#include <string.h>

#include "base/utf8.h"
#include "text/jinja_int.h"

struct str jstr_view(const struct jstr *s) {
    return str_of(s->p, s->n);
}

bool jstr_origin(const struct jstr *s, size_t i) {
    return s->origin != NULL ? s->origin[i] != 0 : s->trusted;
}

bool jstr_all_trusted(const struct jstr *s) {
    return s->n == 0 || (s->origin == NULL ? s->trusted : memchr(s->origin, 0, s->n) == NULL);
}

static bool str_ascii(const char *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if ((uint8_t)p[i] >= 0x80) {
            return false;
        }
    }
    return true;
}

uint32_t jstr_cp(const struct jstr *s, size_t i, size_t *len) {
    uint32_t cp;
    int n = utf8_decode(s->p + i, s->n - i, &cp);
    *len = (size_t)(n > 0 ? n : -n);
    return cp;
}

size_t jstr_chars(const struct jstr *s) {
    if (s->ascii) {
        return s->n;
    }
    size_t k = 0;
    for (size_t i = 0; i < s->n; i++) {
        k += ((uint8_t)s->p[i] & 0xC0) != 0x80;
    }
    return k;
}

size_t jstr_byte_of(const struct jstr *s, size_t i_char) {
    if (s->ascii) {
        return i_char < s->n ? i_char : s->n;
    }
    size_t i = 0;
    for (; i < s->n; i++) {
        if (((uint8_t)s->p[i] & 0xC0) != 0x80 && i_char-- == 0) {
            break;
        }
    }
    return i;
}

/* ---- making -------------------------------------------------------------------------- */

static bool str_new(struct jrun *r, struct jstr s, struct jval *out) {
    struct jstr *copy = jrun_alloc(r, 1, sizeof *copy);
    if (copy == NULL) {
        return false;
    }
    *copy = s;
    *out = (struct jval){.kind = JV_STR, .u.s = copy};
    return true;
}

bool jstr_make(struct jrun *r, const char *p, size_t n, bool trusted, struct jval *out) {
    char *copy = jrun_alloc(r, n + 1, 1);
    if (copy == NULL || !jrun_charge(r, n / 64)) {
        return false;
    }
    if (n > 0) {
        memcpy(copy, p, n);
    }
    copy[n] = 0;
    struct jstr s = {.p = copy, .n = n, .trusted = trusted, .ascii = str_ascii(copy, n)};
    return str_new(r, s, out);
}

/* Bytes [from, to) of s, shared with it. */
bool jstr_part(struct jrun *r, const struct jstr *s, size_t from, size_t to, struct jval *out) {
    struct jstr part = *s;
    part.p = s->p + from;
    part.n = to - from;
    part.origin = s->origin != NULL ? s->origin + from : NULL;
    part.ascii = s->ascii || str_ascii(part.p, part.n);
    return jrun_charge(r, part.n / 64) && str_new(r, part, out);
}

void jbuild_init(struct jbuild *b, struct jrun *r) {
    *b = (struct jbuild){.r = r, .ascii = true};
}

static bool build_reserve(struct jbuild *b, size_t n) {
    if (n > b->r->max_bytes - b->n) {
        return jrun_fail(b->r, ERR_LIMIT, "a text of more than %zu bytes", b->r->max_bytes);
    }
    if (b->p != NULL && b->n + n <= b->cap) {
        return true;
    }
    size_t cap = b->cap < 32 ? 64 : b->cap * 2;
    cap = cap < b->n + n ? b->n + n : cap;
    char *p = jrun_alloc(b->r, cap, 1);
    uint8_t *origin = b->origin != NULL ? jrun_alloc(b->r, cap, 1) : NULL;
    if (p == NULL || (b->origin != NULL && origin == NULL)) {
        return false;
    }
    if (b->n > 0) {
        memcpy(p, b->p, b->n);
        if (origin != NULL) {
            memcpy(origin, b->origin, b->n);
        }
    }
    b->p = p;
    b->origin = origin;
    b->cap = cap;
    return true;
}

/* From now on each byte has an origin of its own. */
static bool build_split_origin(struct jbuild *b) {
    b->origin = jrun_alloc(b->r, b->cap, 1);
    if (b->origin == NULL) {
        return false;
    }
    memset(b->origin, b->trusted, b->n);
    return true;
}

bool jbuild_put(struct jbuild *b, const char *p, size_t n, bool trusted) {
    if (n == 0) {
        return true;
    }
    if (!build_reserve(b, n) || !jrun_charge(b->r, n / 64)) {
        return false;
    }
    if (b->n == 0 && b->origin == NULL) {
        b->trusted = trusted;
    }
    if (b->origin == NULL && b->trusted != trusted && !build_split_origin(b)) {
        return false;
    }
    if (b->origin != NULL) {
        memset(b->origin + b->n, trusted, n);
    }
    memcpy(b->p + b->n, p, n);
    b->n += n;
    b->ascii = b->ascii && str_ascii(p, n);
    return true;
}

bool jbuild_put_part(struct jbuild *b, const struct jstr *s, size_t from, size_t to) {
    if (s->origin == NULL) {
        return jbuild_put(b, s->p + from, to - from, s->trusted);
    }
    while (from < to) { /* run by run */
        size_t end = from + 1;
        while (end < to && s->origin[end] == s->origin[from]) {
            end++;
        }
        if (!jbuild_put(b, s->p + from, end - from, s->origin[from] != 0)) {
            return false;
        }
        from = end;
    }
    return true;
}

bool jbuild_put_str(struct jbuild *b, const struct jstr *s) {
    return jbuild_put_part(b, s, 0, s->n);
}

bool jbuild_put_cp(struct jbuild *b, uint32_t cp, bool trusted) {
    char out[4];
    return jbuild_put(b, out, (size_t)utf8_encode(cp, out), trusted);
}

bool jbuild_put_z(struct jbuild *b, const char *z, bool trusted) {
    return jbuild_put(b, z, strlen(z), trusted);
}

bool jbuild_fill(struct jbuild *b, char c, size_t n, bool trusted) {
    char block[64];
    memset(block, c, sizeof block);
    while (n > 0) {
        size_t k = n < sizeof block ? n : sizeof block;
        if (!jbuild_put(b, block, k, trusted)) {
            return false;
        }
        n -= k;
    }
    return true;
}

bool jbuild_end(struct jbuild *b, struct jval *out) {
    struct jstr s = {.p = b->p != NULL ? b->p : "",
                     .origin = b->origin,
                     .n = b->n,
                     .trusted = b->n == 0 || b->trusted,
                     .ascii = b->ascii};
    return str_new(b->r, s, out);
}

bool jstr_concat(struct jrun *r, const struct jstr *a, const struct jstr *b, struct jval *out) {
    struct jbuild build;
    jbuild_init(&build, r);
    return build_reserve(&build, a->n) && jbuild_put_str(&build, a) && jbuild_put_str(&build, b) &&
           jbuild_end(&build, out);
}

bool jstr_repeat(struct jrun *r, const struct jstr *s, int64_t n, struct jval *out) {
    struct jbuild b;
    jbuild_init(&b, r);
    size_t total;
    if (n > 0 && (!size_mul(s->n, (size_t)n, &total) || total > r->max_bytes)) {
        return jrun_fail(r, ERR_LIMIT, "a text of more than %zu bytes", r->max_bytes);
    }
    for (int64_t i = 0; s->n > 0 && i < n; i++) {
        if (!jrun_charge(r, 1) || !jbuild_put_str(&b, s)) {
            return false;
        }
    }
    return jbuild_end(&b, out);
}

/* ---- searching ----------------------------------------------------------------------- */

size_t jstr_find(const struct jstr *s, struct str sub, size_t from) {
    if (from > s->n || sub.n > s->n - from) {
        return SIZE_MAX;
    }
    if (sub.n == 0) {
        return from;
    }
    const char *end = s->p + s->n - sub.n + 1;
    for (const char *p = s->p + from; p < end; p++) {
        p = memchr(p, sub.p[0], (size_t)(end - p));
        if (p == NULL) {
            break;
        }
        if (memcmp(p, sub.p, sub.n) == 0) {
            return (size_t)(p - s->p);
        }
    }
    return SIZE_MAX;
}

size_t jstr_rfind(const struct jstr *s, struct str sub, size_t to) {
    if (sub.n > to) {
        return SIZE_MAX;
    }
    for (size_t i = to - sub.n + 1; i-- > 0;) {
        if (sub.n == 0 || memcmp(s->p + i, sub.p, sub.n) == 0) {
            return i;
        }
    }
    return SIZE_MAX;
}

/* Whether the character at byte i of s is to be stripped; chars NULL: white space. */
static bool str_in_set(const struct jstr *s, size_t i, const struct jstr *chars, size_t *len) {
    uint32_t cp = jstr_cp(s, i, len);
    if (chars == NULL) {
        return juni_is_space(cp);
    }
    return jstr_find(chars, str_of(s->p + i, *len), 0) != SIZE_MAX;
}

static size_t str_back(const struct jstr *s, size_t i) {
    do {
        i--;
    } while (i > 0 && ((uint8_t)s->p[i] & 0xC0) == 0x80);
    return i;
}

bool jstr_strip(struct jrun *r, const struct jstr *s, const struct jstr *chars, unsigned side,
                struct jval *out) {
    size_t from = 0, to = s->n, len;
    while ((side & JSIDE_LEFT) && from < to && str_in_set(s, from, chars, &len)) {
        from += len;
    }
    while ((side & JSIDE_RIGHT) && to > from) {
        size_t i = str_back(s, to);
        if (!str_in_set(s, i, chars, &len)) {
            break;
        }
        to = i;
    }
    size_t work = (s->n - (to - from)) * (chars != NULL ? chars->n / 8 + 1 : 1);
    return jrun_charge(r, work / 8) && jstr_part(r, s, from, to, out);
}

/* ---- replacing, splitting, joining --------------------------------------------------- */

/* Python's replace with an empty `from`: `to` in front of every character and at the end. */
static bool str_interleave(struct jrun *r, const struct jstr *s, const struct jstr *to,
                           int64_t count, struct jval *out) {
    struct jbuild b;
    jbuild_init(&b, r);
    size_t i = 0;
    for (;;) {
        if (count != 0) {
            count -= count > 0;
            if (!jbuild_put_str(&b, to)) {
                return false;
            }
        }
        if (i >= s->n) {
            return jbuild_end(&b, out);
        }
        size_t len;
        jstr_cp(s, i, &len);
        if (!jrun_charge(r, 1) || !jbuild_put_part(&b, s, i, i + len)) {
            return false;
        }
        i += len;
    }
}

/* count < 0: all. */
bool jstr_replace(struct jrun *r, const struct jstr *s, const struct jstr *from,
                  const struct jstr *to, int64_t count, struct jval *out) {
    if (from->n == 0) {
        return str_interleave(r, s, to, count, out);
    }
    struct jbuild b;
    jbuild_init(&b, r);
    size_t i = 0;
    if (!jrun_charge(r, 1 + s->n / 16)) {
        return false;
    }
    while (count != 0) {
        size_t at = jstr_find(s, jstr_view(from), i);
        if (at == SIZE_MAX) {
            break;
        }
        if (!jrun_charge(r, 1) || !jbuild_put_part(&b, s, i, at) || !jbuild_put_str(&b, to)) {
            return false;
        }
        i = at + from->n;
        count -= count > 0;
    }
    return jbuild_put_part(&b, s, i, s->n) && jbuild_end(&b, out);
}

static bool split_add(struct jrun *r, const struct jstr *s, size_t from, size_t to,
                      struct jval *list) {
    struct jval part;
    return jstr_part(r, s, from, to, &part) && jlist_add(r, list->u.l, part);
}

static bool split_space(struct jrun *r, const struct jstr *s, int64_t max, struct jval *out) {
    size_t i = 0, len;
    for (;;) {
        while (i < s->n && juni_is_space(jstr_cp(s, i, &len))) {
            i += len;
        }
        if (i >= s->n) {
            return true;
        }
        size_t from = i;
        if (max == 0) {
            return split_add(r, s, from, s->n, out);
        }
        while (i < s->n && !juni_is_space(jstr_cp(s, i, &len))) {
            i += len;
        }
        max -= max > 0;
        if (!split_add(r, s, from, i, out)) {
            return false;
        }
    }
}

static void list_reverse(struct jlist *l) {
    for (size_t i = 0; i + 1 < l->n - i; i++) {
        struct jval t = l->v[i];
        l->v[i] = l->v[l->n - 1 - i];
        l->v[l->n - 1 - i] = t;
    }
}

static bool split_space_right(struct jrun *r, const struct jstr *s, int64_t max, struct jval *out) {
    size_t to = s->n, len;
    for (;;) {
        while (to > 0 && juni_is_space(jstr_cp(s, str_back(s, to), &len))) {
            to = str_back(s, to);
        }
        if (to == 0) {
            break;
        }
        size_t from = to;
        if (max == 0) {
            if (!split_add(r, s, 0, to, out)) {
                return false;
            }
            break;
        }
        while (from > 0 && !juni_is_space(jstr_cp(s, str_back(s, from), &len))) {
            from = str_back(s, from);
        }
        max -= max > 0;
        if (!split_add(r, s, from, to, out)) {
            return false;
        }
        to = from;
    }
    list_reverse(out->u.l);
    return true;
}

/* sep NULL: runs of white space. max < 0: no bound. */
bool jstr_split(struct jrun *r, const struct jstr *s, const struct jstr *sep, int64_t max,
                bool from_right, struct jval *out) {
    if (!jval_list(r, JV_LIST, 0, out) || !jrun_charge(r, 1 + s->n / 16)) {
        return false;
    }
    if (sep == NULL) {
        return from_right ? split_space_right(r, s, max, out) : split_space(r, s, max, out);
    }
    if (sep->n == 0) {
        return jrun_fail(r, ERR_FORMAT, "split needs a separator that is not empty");
    }
    size_t from = 0, to = s->n, at;
    while (!from_right && max != 0 && (at = jstr_find(s, jstr_view(sep), from)) != SIZE_MAX) {
        if (!split_add(r, s, from, at, out)) {
            return false;
        }
        from = at + sep->n;
        max -= max > 0;
    }
    while (from_right && max != 0 && (at = jstr_rfind(s, jstr_view(sep), to)) != SIZE_MAX) {
        if (!split_add(r, s, at + sep->n, to, out)) {
            return false;
        }
        to = at;
        max -= max > 0;
    }
    if (!split_add(r, s, from, to, out)) {
        return false;
    }
    if (from_right) {
        list_reverse(out->u.l);
    }
    return true;
}

bool jstr_splitlines(struct jrun *r, const struct jstr *s, bool keep, struct jval *out) {
    if (!jval_list(r, JV_LIST, 0, out)) {
        return false;
    }
    size_t from = 0, i = 0;
    while (i < s->n) {
        size_t len;
        uint32_t cp = jstr_cp(s, i, &len);
        if (!juni_is_break(cp)) {
            i += len;
            continue;
        }
        size_t end = i + len;
        if (cp == '\r' && end < s->n && s->p[end] == '\n') {
            end++;
        }
        if (!split_add(r, s, from, keep ? end : i, out)) {
            return false;
        }
        from = i = end;
    }
    return from == s->n || split_add(r, s, from, s->n, out);
}

/* convert: items are printed as str() does; otherwise they must be strings. */
bool jstr_join(struct jrun *r, const struct jstr *sep, struct jval items, bool convert,
               struct jval *out) {
    struct jbuild b;
    struct jiter it;
    struct jval item;
    int got;
    jbuild_init(&b, r);
    if (!jiter_init(r, &it, items)) {
        return false;
    }
    for (bool first = true; (got = jiter_next(r, &it, &item)) == 1; first = false) {
        if (!convert && item.kind != JV_STR) {
            return jrun_fail(r, ERR_FORMAT, "join needs strings, not a %s", jval_type(item));
        }
        if ((!first && !jbuild_put_str(&b, sep)) || !jval_put_str(&b, item)) {
            return false;
        }
    }
    return got == 0 && jbuild_end(&b, out);
}

/* ---- HTML escapes and case ----------------------------------------------------------- */

bool jstr_escape(struct jrun *r, const struct jstr *s, struct jval *out) {
    static const char special[] = "&<>'\"";
    static const char *const escape[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    struct jbuild b;
    jbuild_init(&b, r);
    for (size_t i = 0; i < s->n; i++) {
        const char *at = memchr(special, s->p[i], sizeof special - 1);
        bool ok = at != NULL ? jbuild_put_z(&b, escape[at - special], jstr_origin(s, i))
                             : jbuild_put_part(&b, s, i, i + 1);
        if (!ok) {
            return false;
        }
    }
    if (!jbuild_end(&b, out)) {
        return false;
    }
    ((struct jstr *)out->u.s)->markup = true;
    return true;
}

/* A sigma that ends a word: after a cased letter (at `from` or later) and not before one. */
static bool str_final_sigma(const struct jstr *s, size_t from, size_t i, size_t len) {
    size_t k = i, n;
    uint32_t cp = 0;
    while (k > from) {
        k = str_back(s, k);
        cp = jstr_cp(s, k, &n);
        if (!juni_is_case_ignorable(cp)) {
            break;
        }
        cp = 0;
    }
    if (cp == 0 || !juni_is_cased(cp)) {
        return false;
    }
    for (k = i + len; k < s->n; k += n) {
        cp = jstr_cp(s, k, &n);
        if (!juni_is_case_ignorable(cp)) {
            return !juni_is_cased(cp);
        }
    }
    return true;
}

/* Characters after which JCASE_WORDS (the filter `title`) starts a word. */
static bool str_starts_word(uint32_t cp) {
    return cp == '-' || cp == '(' || cp == '{' || cp == '[' || cp == '<' || juni_is_space(cp);
}

bool jstr_case(struct jrun *r, const struct jstr *s, enum jcase how, struct jval *out) {
    struct jbuild b;
    jbuild_init(&b, r);
    bool inside = false;  /* of a word */
    size_t len, from = 0; /* where the text that is lowered as one piece starts */
    if (!jrun_charge(r, s->n / 8)) {
        return false;
    }
    for (size_t i = 0; i < s->n; i += len) {
        uint32_t cp = jstr_cp(s, i, &len), to[3];
        enum jcase one = how;
        if (how == JCASE_CAPITALIZE) {
            one = i == 0 ? JCASE_TITLE : JCASE_LOWER;
        } else if (how == JCASE_TITLE) {
            one = inside ? JCASE_LOWER : JCASE_TITLE;
            inside = juni_is_cased(cp);
        } else if (how == JCASE_WORDS) {
            one = inside ? JCASE_LOWER : JCASE_UPPER;
            from = inside ? from : i + len;
            inside = !str_starts_word(cp);
        } else if (how == JCASE_SWAP) {
            one = juni_is_upper(cp) ? JCASE_LOWER : juni_is_lower(cp) ? JCASE_UPPER : JCASE_SWAP;
        }
        to[0] = cp; /* what is neither, such as U+1FBC, which is a title's, stays */
        unsigned n = one == JCASE_SWAP ? 1 : juni_case(cp, one, to);
        if (cp == 0x3A3 && one == JCASE_LOWER && str_final_sigma(s, from, i, len)) {
            to[0] = 0x3C2;
        }
        for (unsigned k = 0; k < n; k++) {
            if (!jbuild_put_cp(&b, to[k], jstr_origin(s, i))) {
                return false;
            }
        }
    }
    return jbuild_end(&b, out);
}
