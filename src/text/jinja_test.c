/* jinja_test.c: the tests: value is name(...).
 *
 * Owns the table. Source: tests.py of Jinja2 3.1.
 */
#include <math.h>
#include <string.h>

#include "text/jinja_int.h"

static bool test_args(struct jrun *r, const struct jargs *a, size_t n) {
    return (a->n == n && a->n_key == 0) ||
           jrun_fail(r, ERR_FORMAT, "the test takes %zu arguments", n);
}

/* Tests that only look at what kind of value it is. */
#define TEST_KIND(name, expr)                                                                      \
    static bool test_##name(struct jrun *r, struct jval in, const struct jargs *a, bool *out) {    \
        *out = (expr);                                                                             \
        return test_args(r, a, 0);                                                                 \
    }

TEST_KIND(defined, in.kind != JV_UNDEF)
TEST_KIND(undefined, in.kind == JV_UNDEF)
TEST_KIND(none, in.kind == JV_NONE)
TEST_KIND(boolean, in.kind == JV_BOOL)
TEST_KIND(false, in.kind == JV_BOOL && !in.u.b)
TEST_KIND(true, in.kind == JV_BOOL && in.u.b)
TEST_KIND(integer, in.kind == JV_INT)
TEST_KIND(float, in.kind == JV_FLOAT)
TEST_KIND(number, jval_is_num(in))
TEST_KIND(string, in.kind == JV_STR)
TEST_KIND(mapping, in.kind == JV_DICT)
TEST_KIND(sequence, in.kind == JV_STR || in.kind == JV_LIST || in.kind == JV_TUPLE ||
                        in.kind == JV_DICT || in.kind == JV_RANGE || in.kind == JV_UNDEF)
TEST_KIND(iterable, in.kind == JV_STR || in.kind == JV_LIST || in.kind == JV_TUPLE ||
                        in.kind == JV_DICT || in.kind == JV_RANGE || in.kind == JV_UNDEF ||
                        in.kind == JV_VIEW || in.kind == JV_GEN || in.kind == JV_LOOP)
TEST_KIND(callable, in.kind == JV_FUNC || in.kind == JV_METHOD || in.kind == JV_MACRO ||
                        in.kind == JV_LOOP || in.kind == JV_JOINER || in.kind == JV_UNDEF)
TEST_KIND(escaped, in.kind == JV_STR && in.u.s->markup)

/* str(value).islower(): has a letter with case, and all of them are. */
static bool test_case(struct jrun *r, struct jval in, const struct jargs *a, bool upper,
                      bool *out) {
    struct jval s;
    *out = false;
    if (!test_args(r, a, 0) || !jval_str(r, in, &s) || !jrun_charge(r, s.u.s->n / 8)) {
        return false;
    }
    for (size_t i = 0, len; i < s.u.s->n; i += len) {
        uint32_t cp = jstr_cp(s.u.s, i, &len);
        if (juni_is_cased(cp)) {
            *out = upper ? juni_is_upper(cp) : juni_is_lower(cp);
            if (!*out) {
                return true;
            }
        }
    }
    return true;
}

static bool test_lower(struct jrun *r, struct jval in, const struct jargs *a, bool *out) {
    return test_case(r, in, a, false, out);
}

static bool test_upper(struct jrun *r, struct jval in, const struct jargs *a, bool *out) {
    return test_case(r, in, a, true, out);
}

/* value % n == rest */
static bool test_rest(struct jrun *r, struct jval in, struct jval n, int64_t rest, bool *out) {
    struct jval left;
    return jval_binary(r, JOP_MOD, in, n, &left) && jval_equal(r, left, jval_int(rest), out);
}

static bool test_odd(struct jrun *r, struct jval in, const struct jargs *a, bool *out) {
    return test_args(r, a, 0) && test_rest(r, in, jval_int(2), 1, out);
}

static bool test_even(struct jrun *r, struct jval in, const struct jargs *a, bool *out) {
    return test_args(r, a, 0) && test_rest(r, in, jval_int(2), 0, out);
}

static bool test_divisibleby(struct jrun *r, struct jval in, const struct jargs *a, bool *out) {
    static const char *const name[] = {"num"};
    struct jval n;
    return jargs_bind(r, "divisibleby", a, name, 1, 1, &n) && test_rest(r, in, n, 0, out);
}

static bool test_sameas(struct jrun *r, struct jval in, const struct jargs *a, bool *out) {
    static const char *const name[] = {"other"};
    struct jval v;
    if (!jargs_bind(r, "sameas", a, name, 1, 1, &v)) {
        return false;
    }
    *out = in.kind == v.kind;
    if (*out && (in.kind == JV_STR || jval_is_num(in))) {
        return jval_equal(r, in, v, out); /* values: Python shares what a template can see */
    }
    *out = *out && (in.kind == JV_NONE || in.u.l == v.u.l);
    return true;
}

static bool test_in(struct jrun *r, struct jval in, const struct jargs *a, bool *out) {
    static const char *const name[] = {"seq"};
    struct jval v;
    return jargs_bind(r, "in", a, name, 1, 1, &v) && jval_contains(r, v, in, out);
}

static bool test_key(struct jrun *r, struct jval in) {
    return jval_hashable(in) || jrun_fail(r, ERR_FORMAT, "a %s cannot be a name", jval_type(in));
}

static bool test_filter(struct jrun *r, struct jval in, const struct jargs *a, bool *out) {
    *out = in.kind == JV_STR && jfilter_find(jstr_view(in.u.s)) != NULL;
    return test_args(r, a, 0) && test_key(r, in);
}

static bool test_test(struct jrun *r, struct jval in, const struct jargs *a, bool *out) {
    *out = in.kind == JV_STR && jtest_find(jstr_view(in.u.s)) != NULL;
    return test_args(r, a, 0) && test_key(r, in);
}

#define TEST_COMPARE(name, op)                                                                     \
    static bool test_##name(struct jrun *r, struct jval in, const struct jargs *a, bool *out) {    \
        return test_args(r, a, 1) && jval_compare_op(r, op, in, a->pos[0], out);                   \
    }

TEST_COMPARE(eq, JOP_EQ)
TEST_COMPARE(ne, JOP_NE)
TEST_COMPARE(gt, JOP_GT)
TEST_COMPARE(ge, JOP_GE)
TEST_COMPARE(lt, JOP_LT)
TEST_COMPARE(le, JOP_LE)

static const struct jtest tests[] = {
    {"defined", test_defined},
    {"undefined", test_undefined},
    {"none", test_none},
    {"boolean", test_boolean},
    {"false", test_false},
    {"true", test_true},
    {"integer", test_integer},
    {"float", test_float},
    {"number", test_number},
    {"string", test_string},
    {"mapping", test_mapping},
    {"sequence", test_sequence},
    {"iterable", test_iterable},
    {"callable", test_callable},
    {"escaped", test_escaped},
    {"lower", test_lower},
    {"upper", test_upper},
    {"odd", test_odd},
    {"even", test_even},
    {"divisibleby", test_divisibleby},
    {"sameas", test_sameas},
    {"in", test_in},
    {"filter", test_filter},
    {"test", test_test},
    {"eq", test_eq},
    {"==", test_eq},
    {"equalto", test_eq},
    {"ne", test_ne},
    {"!=", test_ne},
    {"gt", test_gt},
    {">", test_gt},
    {"greaterthan", test_gt},
    {"ge", test_ge},
    {">=", test_ge},
    {"lt", test_lt},
    {"<", test_lt},
    {"lessthan", test_lt},
    {"le", test_le},
    {"<=", test_le},
};

const struct jtest *jtest_find(struct str name) {
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) {
        if (str_is(name, tests[i].name)) {
            return &tests[i];
        }
    }
    return NULL;
}
