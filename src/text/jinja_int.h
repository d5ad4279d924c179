/* jinja_int.h: what the files of the template interpreter share; nobody else includes it.
 *
 * Owns the three structures that everything turns around: the syntax tree (struct jnode), values
 * (struct jval) and one rendering (struct jrun). A template passes through jinja_lex.c,
 * jinja_parse.c and jinja_expr.c into a tree that never changes; jinja_exec.c and jinja_eval.c walk
 * it with values from jinja_value.c, jinja_str.c and jinja_num.c; filters, tests, methods and
 * functions are tables.
 * Invariant: every string is valid UTF-8, and all memory of a rendering comes from jrun.arena.
 */
#ifndef IGN_TEXT_JINJA_INT_H
#define IGN_TEXT_JINJA_INT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"
#include "text/jinja.h"

/* ---- syntax tree (memory: the template's arena) -------------------------------------- */

/* A name, interned: two names are equal if their pointers are. */
struct jsym {
    const struct jsym *next;
    struct str s;
};

#define JSYM_BUCKETS 4096

struct jsyms {
    const struct jsym *bucket[JSYM_BUCKETS];
};

enum jnode_kind {
    /* expressions          a          b         c       list            sym     */
    JN_CONST,   /*                                                                  value */
    JN_NAME,    /*                                                        name             */
    JN_LIST,    /*                                        elements                         */
    JN_TUPLE,   /*                                        elements                         */
    JN_DICT,    /*                                        key, value...                    */
    JN_CHAIN,   /*                                        operands                   op[i] */
    JN_COMPARE, /*                                        operands                   op[i] */
    JN_NOT,     /* operand                                                                  */
    JN_NEG,     /* operand                                                                  */
    JN_POS,     /* operand                                                                  */
    JN_COND,    /* test       then      else or NULL                                       */
    JN_ATTR,    /* object                                                 attribute        */
    JN_ITEM,    /* object     index                                                        */
    JN_SLICE,   /* start      stop      step   (each may be NULL; only inside JN_ITEM)     */
    JN_CALL,    /* callee                                 arguments                        */
    JN_FILTER,  /* input, NULL in a block                 arguments       name             */
    JN_TEST,    /* input                                  arguments       name             */
    JN_ARG,     /* value                                  (op[0]: enum jarg) keyword name  */
    JN_NSREF,   /*                                        (b->sym: attribute) name         */
    /* statements                                                                         */
    JN_DATA,     /*                                                                   value */
    JN_PRINT,    /* expression                                                              */
    JN_IF,       /*                                        test, body...; else: NULL, body  */
    JN_FOR,      /* target     iterable  filter            {body, else or NULL}  op[0]: recursive */
    JN_SET,      /* target     value                                                        */
    JN_SETBLOCK, /* target   filter    body                                               */
    JN_MACRO,    /* body                                   parameters      name  (op: uses) */
    JN_CALLBLOCK,   /* JN_MACRO with sym NULL, b: the call                                  */
    JN_FILTERBLOCK, /* filter  body                                                       */
    JN_WITH,        /* body                                   target, value...                 */
    JN_SCOPE,       /* body ({% generation %})                                                 */
    JN_BODY,        /*                                        statements                       */
    JN_BREAK,
    JN_CONTINUE
};

enum jarg { JARG_POS, JARG_KEY, JARG_STAR, JARG_STARSTAR };

/* Operators of JN_CHAIN and JN_COMPARE, in groups of one precedence. */
enum jop {
    JOP_NONE,
    JOP_OR,
    JOP_AND,
    JOP_EQ,
    JOP_NE,
    JOP_LT,
    JOP_LE,
    JOP_GT,
    JOP_GE,
    JOP_IN,
    JOP_NOTIN,
    JOP_ADD,
    JOP_SUB,
    JOP_TILDE,
    JOP_MUL,
    JOP_DIV,
    JOP_FLOORDIV,
    JOP_MOD,
    JOP_POW
};

/* Which of the magic names a macro's body mentions. */
enum juse { JUSE_CALLER = 1, JUSE_KWARGS = 2, JUSE_VARARGS = 4, JUSE_SETS_LOOP = 8 };

/* ---- values (memory: the rendering's arena) ------------------------------------------ */

enum jv_kind {
    JV_MISSING, /* an argument that was not given; never seen by a template */
    JV_UNDEF,
    JV_NONE,
    JV_BOOL,
    JV_INT,
    JV_FLOAT,
    JV_STR,
    JV_LIST,
    JV_TUPLE,
    JV_VIEW, /* what dict.keys(), values(), items() give */
    JV_DICT,
    JV_SPACE, /* namespace(): the only thing that a template can change */
    JV_GEN,   /* a Python generator: can be walked once */
    JV_RANGE,
    JV_MACRO,
    JV_LOOP,
    JV_FUNC,   /* a global function */
    JV_METHOD, /* bound to a value */
    JV_CYCLER,
    JV_JOINER
};

struct jval {
    enum jv_kind kind;
    union {
        bool b;
        int64_t i;
        double f;
        const struct jstr *s;
        struct jlist *l; /* LIST, TUPLE, VIEW */
        struct jdict *d; /* DICT, SPACE */
        struct jgen *g;
        const struct jrange *range;
        const struct jmacro *macro;
        struct jloop *loop;
        const struct jfunc *func;
        const struct jmethod *method;
        struct jcycler *cycler;
        struct jjoiner *joiner;
        const char *why; /* UNDEF: the message if it is used; NULL: no name */
    } u;
};

/* Bytes with their provenance. `origin` has one byte (0 or 1) for each of p[0..n); NULL where all
 * are alike, as `trusted` says. Slices share p and origin with what they were cut from. */
struct jstr {
    const char *p;
    const uint8_t *origin;
    size_t n;
    bool trusted, ascii;
    bool markup; /* went through |safe or |escape: + escapes what is added */
};

struct jlist {
    struct jval *v; /* [n] */
    size_t n, cap;
    const char *view; /* VIEW: "dict_keys", ... */
};

/* In insertion order; keys are unique and hashable. */
struct jdict {
    struct jval *key, *val; /* [n] */
    size_t n, cap;
};

struct jrange {
    int64_t start, stop, step;
    size_t n;
};

struct jmacro {
    const struct jnode *node; /* JN_MACRO or JN_CALLBLOCK */
    struct jscope *scope;
};

struct jcycler {
    struct jval *item; /* [n] */
    size_t n, pos;
};

struct jjoiner {
    struct jval sep;
    bool used;
};

struct jnode {
    uint8_t kind;
    uint8_t op0;
    uint32_t line, col;
    const struct jnode *a, *b, *c;
    const struct jnode **list; /* [n] */
    const uint8_t *op;         /* CHAIN, COMPARE: [n], op[0] unused */
    uint32_t n;
    uint32_t height; /* 1 + that of the highest child */
    const struct jsym *sym;
    struct jval value;
    const void *fn; /* FILTER: struct jfilter; TEST: struct jtest; NULL if unknown */
};

struct jinja {
    struct arena arena;
    struct jsyms *syms;
    const struct jnode *body;
};

/* ---- lexer and parser ---------------------------------------------------------------- */

enum jtok {
    JT_EOF,
    JT_DATA,
    JT_VAR_BEGIN,
    JT_VAR_END,
    JT_BLOCK_BEGIN,
    JT_BLOCK_END,
    JT_NAME,
    JT_STRING,
    JT_INT,
    JT_FLOAT,
    JT_OP /* its first byte, or two, in `s` */
};

struct jtoken {
    enum jtok type;
    uint32_t line, col;
    struct str s; /* DATA, NAME, OP: its bytes; STRING: unescaped */
    int64_t i;
    double f;
};

struct jlex {
    struct arena *arena;
    struct err *e;
    enum err_code code; /* latched */
    const char *src;    /* newlines are \n, valid UTF-8 */
    size_t n, pos;
    uint32_t line;
    size_t line_pos; /* where `line` starts */
    size_t counted;  /* lines have been counted up to here */
    enum { JLEX_ROOT, JLEX_VAR, JLEX_BLOCK } state;
    bool line_starting;
    struct jtoken held[2]; /* tags found while reading data */
    unsigned n_held;
    size_t n_open, cap_open;
    char *open; /* brackets that wait for their end */
};

#define JPARSE_DEPTH  200 /* of jparse_enter: 66 parentheses or blocks in each other */
#define JPARSE_HEIGHT 120 /* of one statement's or expression's tree */
#define JPARSE_BYTES  (64u << 20)

struct jparse {
    struct jlex lex;
    struct jtoken cur, next;
    bool has_next;
    struct jinja *t;
    struct arena *arena;
    uint32_t depth;
    unsigned uses;         /* enum juse, of the macro that is being parsed */
    bool soft;             /* an unknown filter is an error only when it is reached */
    struct jtoken unknown; /* an unknown filter or test, until an inline if is ruled out */
    unsigned n_loop;       /* loops around this place, in this function */
};

bool jlex_init(struct jlex *l, struct arena *a, const char *src, size_t n, struct err *e);
bool jlex_next(struct jlex *l, struct jtoken *t);
bool jlex_fail(struct jlex *l, enum err_code code, uint32_t line, uint32_t col, const char *fmt,
               ...) IGN_PRINTF(5, 6);
#ifdef __clang_analyzer__ /* cannot see from outside that it is always false */
#define jlex_fail(l, ...) (jlex_fail(l, __VA_ARGS__), false)
#endif

const struct jsym *jsym_intern(struct jsyms *t, struct arena *a, struct str s);
const struct jsym *jsym_find(const struct jsyms *t, struct str s);

/* A growing array of nodes in the template's arena. */
struct jnodes {
    const struct jnode **v;
    uint8_t *op;
    size_t n, cap;
};

bool jparse_advance(struct jparse *p);
bool jparse_peek(struct jparse *p, struct jtoken **t);
bool jparse_is_op(const struct jparse *p, const char *op);
bool jparse_is_name(const struct jparse *p, const char *name);
bool jparse_skip_op(struct jparse *p, const char *op, bool *skipped);
bool jparse_skip_name(struct jparse *p, const char *name, bool *skipped);
bool jparse_expect_op(struct jparse *p, const char *op);
bool jparse_expect_name(struct jparse *p, struct jtoken *t);
bool jparse_fail(struct jparse *p, enum err_code code, const char *fmt, ...) IGN_PRINTF(3, 4);
#ifdef __clang_analyzer__ /* as jlex_fail */
#define jparse_fail(p, ...) (jparse_fail(p, __VA_ARGS__), false)
#endif
struct jnode *jparse_node(struct jparse *p, enum jnode_kind kind, const struct jtoken *at);
bool jparse_done(struct jparse *p, struct jnode *n); /* children are in place */
bool jnodes_add(struct jparse *p, struct jnodes *ns, const struct jnode *n, uint8_t op);
/* Counts recursion, in units of about a kilobyte of stack at worst. */
bool jparse_enter(struct jparse *p, uint32_t cost);
void jparse_leave(struct jparse *p, uint32_t cost);

/* How a comma-separated expression may end and what it may hold. */
enum jtuple {
    JTUPLE_PLAIN = 0,
    JTUPLE_TARGET = 1,     /* names, constants and namespace attributes only */
    JTUPLE_NO_COND = 2,    /* no inline if */
    JTUPLE_PARENS = 4,     /* may be empty */
    JTUPLE_IN = 8,         /* ends at `in` */
    JTUPLE_RECURSIVE = 16, /* ends at `recursive` */
    JTUPLE_NSREF = 32      /* a target may be a namespace's attribute */
};

/* What a name stands for: a value, a target, a target that may be a namespace's attribute. */
enum jprimary { JPRIMARY_VALUE, JPRIMARY_TARGET, JPRIMARY_SET };

bool jexpr_tuple(struct jparse *p, unsigned how, const struct jnode **out);
bool jexpr_parse(struct jparse *p, bool cond, const struct jnode **out);
bool jexpr_primary(struct jparse *p, enum jprimary how, const struct jnode **out);
bool jexpr_filter(struct jparse *p, const struct jnode *in, bool inline_start,
                  const struct jnode **out);
bool jparse_template(struct jparse *p, const struct jnode **out);

/* ---- one rendering ------------------------------------------------------------------- */

struct jbind {
    const struct jsym *name;
    struct jval v;
};

struct jscope {
    struct jscope *up;
    struct jbind *bind; /* [n] */
    size_t n, cap;
    bool captured; /* a macro refers to it: it must outlive the block */
};

struct jrun {
    const struct jinja *t;
    struct arena arena;
    struct err *e;
    enum err_code code; /* latched */
    uint64_t steps;     /* left */
    uint32_t depth, max_depth;
    size_t max_bytes;
    int64_t now;
    const struct jnode *at; /* for messages */
};

/* A string under construction. Adding too much or running out of memory is latched in the run. */
struct jbuild {
    struct jrun *r;
    char *p;
    uint8_t *origin; /* made when the second origin appears */
    size_t n, cap;
    bool trusted; /* of all bytes so far, while origin is NULL */
    bool ascii;
};

struct jkeyword {
    struct str name;
    bool trusted; /* the name: with ** it may be data */
    struct jval v;
};

struct jargs {
    struct jval *pos; /* [n] */
    size_t n;
    struct jkeyword *key; /* [n_key] */
    size_t n_key;
};

/* Anything that a for statement can walk. */
struct jiter {
    enum { JITER_LIST, JITER_STR, JITER_RANGE, JITER_GEN, JITER_FILTER } kind;
    const struct jlist *l;
    const struct jstr *s;
    const struct jrange *range;
    struct jgen *g;
    size_t pos;
    /* JITER_FILTER: a loop's `if`, evaluated when the next element is asked for */
    struct jiter *source;
    const struct jnode *loop;
    struct jscope *scope; /* the test's own */
};

/* A generator. `fn` 0: walks `it` as it is. */
struct jgen {
    struct jiter it;
    const char *name; /* as Python would print it */
    enum { JGEN_PLAIN, JGEN_SELECT, JGEN_MAP } how;
    struct jval attr;     /* SELECT, MAP: path of the attribute, or MISSING */
    struct jval fallback; /* MAP: default, or MISSING */
    const struct jfilter *filter;
    const struct jtest *test;
    struct jargs args;
    bool reject;
};

struct jloop {
    struct jiter *it;
    struct jval source; /* has a length, or is a generator */
    bool sized;
    size_t size;
    bool known; /* length is known */
    size_t length;
    int64_t index0;
    int64_t depth0;
    struct jval after, current, before; /* MISSING: none */
    bool after_known;                   /* `after` has been asked for: MISSING means the end */
    struct jval changed;
    const struct jnode *recurse; /* the for statement if it is recursive */
    struct jscope *outer;
};

typedef bool (*jfilter_fn)(struct jrun *r, struct jval in, const struct jargs *a, struct jval *out);
typedef bool (*jtest_fn)(struct jrun *r, struct jval in, const struct jargs *a, bool *out);

struct jfilter {
    const char *name;
    jfilter_fn fn;
};

struct jtest {
    const char *name;
    jtest_fn fn;
};

struct jfunc {
    const char *name;
    bool (*fn)(struct jrun *r, const struct jargs *a, struct jval *out);
};

struct jmethod {
    struct jval self;
    const char *name;
    jfilter_fn fn; /* NULL: Python has it, this interpreter does not */
};

const struct jfilter *jfilter_find(struct str name);
const struct jtest *jtest_find(struct str name);
const struct jfunc *jfunc_find(struct str name);

/* Fails the rendering at the place that is being evaluated; returns false. */
bool jrun_fail(struct jrun *r, enum err_code code, const char *fmt, ...) IGN_PRINTF(3, 4);
#ifdef __clang_analyzer__ /* as jlex_fail */
#define jrun_fail(r, ...) (jrun_fail(r, __VA_ARGS__), false)
#endif
/* Pays for work; false when the steps are used up. */
bool jrun_charge(struct jrun *r, size_t steps);
bool jrun_enter(struct jrun *r);
void jrun_leave(struct jrun *r);
void *jrun_alloc(struct jrun *r, size_t n, size_t size);

/* jinja_exec.c */
bool jexec_node(struct jrun *r, const struct jnode *n, struct jscope *s, struct jbuild *out);
bool jexec_call_macro(struct jrun *r, const struct jmacro *m, const struct jargs *a,
                      struct jval *out);
bool jexec_call_loop(struct jrun *r, struct jloop *l, const struct jargs *a, struct jval *out);
bool jexec_assign(struct jrun *r, struct jscope *s, const struct jnode *target, struct jval v);
bool jscope_set(struct jrun *r, struct jscope *s, const struct jsym *name, struct jval v);
bool jloop_attr(struct jrun *r, struct jloop *l, struct str name, struct jval *out, bool *found);

/* jinja_eval.c */
bool jeval(struct jrun *r, const struct jnode *n, struct jscope *s, struct jval *out);
bool jeval_filter(struct jrun *r, const struct jnode *n, struct jval in, struct jscope *s,
                  struct jval *out);
bool jeval_call(struct jrun *r, const struct jnode *n, struct jscope *s,
                const struct jkeyword *extra, struct jval *out);
bool jval_call(struct jrun *r, struct jval f, const struct jargs *a, struct jval *out);
bool jval_binary(struct jrun *r, enum jop op, struct jval a, struct jval b, struct jval *out);
bool jval_compare_op(struct jrun *r, enum jop op, struct jval a, struct jval b, bool *out);

/* jinja_access.c: attributes, items, slices, methods by name */
bool jval_attr(struct jrun *r, struct jval o, struct str name, struct jval *out);
bool jval_item(struct jrun *r, struct jval o, struct jval key, struct jval *out);
bool jval_slice(struct jrun *r, struct jval o, const struct jval bound[3], struct jval *out);
jfilter_fn jmethod_find_str(struct str name);
jfilter_fn jmethod_find_dict(struct str name);
jfilter_fn jmethod_find_seq(struct str name);

/* jinja_value.c */
struct jval jval_none(void);
struct jval jval_bool(bool b);
struct jval jval_int(int64_t i);
struct jval jval_float(double f);
struct jval jval_undef(const char *why);
bool jval_undef_named(struct jrun *r, struct str name, struct jval *out);
bool jval_list(struct jrun *r, enum jv_kind kind, size_t cap, struct jval *out);
bool jlist_add(struct jrun *r, struct jlist *l, struct jval v);
bool jval_tuple2(struct jrun *r, struct jval a, struct jval b, struct jval *out);
bool jval_dict(struct jrun *r, enum jv_kind kind, size_t cap, struct jval *out);
bool jdict_set(struct jrun *r, struct jdict *d, struct jval key, struct jval v);
bool jdict_find(struct jrun *r, const struct jdict *d, struct jval key, struct jval *out,
                bool *found);
bool jdict_get(const struct jdict *d, struct str key, struct jval *out);
bool jval_gen(struct jrun *r, const char *name, struct jval list, struct jval *out);
bool jval_from_json(struct jrun *r, const struct json *j, bool trusted, struct jval *out);
const char *jval_type(struct jval v);
bool jval_truth(struct jval v);
bool jval_equal(struct jrun *r, struct jval a, struct jval b, bool *out);
bool jval_less(struct jrun *r, struct jval a, struct jval b, bool *out);
bool jval_hashable(struct jval v);
bool jval_contains(struct jrun *r, struct jval seq, struct jval v, bool *out);
bool jval_length(struct jrun *r, struct jval v, size_t *out);
/* Undefined: an error with its message. */
bool jval_fail_undef(struct jrun *r, struct jval v);
bool jval_is_num(struct jval v);               /* bool, int or float */
bool jval_as_int(struct jval v, int64_t *out); /* bool or int */
double jval_as_float(struct jval v);
bool jiter_init(struct jrun *r, struct jiter *it, struct jval v);
/* 1: *out is the next element; 0: the end; -1: failed. */
int jiter_next(struct jrun *r, struct jiter *it, struct jval *out);
bool jval_to_list(struct jrun *r, struct jval v, struct jval *out);
int jgen_next(struct jrun *r, struct jgen *g, struct jval *out);

/* jinja_repr.c: str(), repr() and JSON */
bool jval_put_str(struct jbuild *b, struct jval v);
bool jval_put_repr(struct jbuild *b, struct jval v);
bool jval_str(struct jrun *r, struct jval v, struct jval *out);
bool jval_tojson(struct jrun *r, struct jval in, const struct jargs *a, struct jval *out);

/* jinja_str.c */
void jbuild_init(struct jbuild *b, struct jrun *r);
bool jbuild_put(struct jbuild *b, const char *p, size_t n, bool trusted);
bool jbuild_put_str(struct jbuild *b, const struct jstr *s);
bool jbuild_put_part(struct jbuild *b, const struct jstr *s, size_t from, size_t to);
bool jbuild_put_cp(struct jbuild *b, uint32_t cp, bool trusted);
bool jbuild_put_z(struct jbuild *b, const char *z, bool trusted);
bool jbuild_fill(struct jbuild *b, char c, size_t n, bool trusted);
bool jbuild_end(struct jbuild *b, struct jval *out);
bool jstr_make(struct jrun *r, const char *p, size_t n, bool trusted, struct jval *out);
bool jstr_part(struct jrun *r, const struct jstr *s, size_t from, size_t to, struct jval *out);
struct str jstr_view(const struct jstr *s);
bool jstr_origin(const struct jstr *s, size_t i); /* trusted at byte i */
bool jstr_all_trusted(const struct jstr *s);
size_t jstr_chars(const struct jstr *s);
size_t jstr_byte_of(const struct jstr *s, size_t i_char);
size_t jstr_find(const struct jstr *s, struct str sub, size_t from); /* SIZE_MAX: absent */
size_t jstr_rfind(const struct jstr *s, struct str sub, size_t to);
/* A code point at byte i; *len its bytes. */
uint32_t jstr_cp(const struct jstr *s, size_t i, size_t *len);
bool jstr_concat(struct jrun *r, const struct jstr *a, const struct jstr *b, struct jval *out);
bool jstr_repeat(struct jrun *r, const struct jstr *s, int64_t n, struct jval *out);
enum jside { JSIDE_LEFT = 1, JSIDE_RIGHT = 2 };
bool jstr_strip(struct jrun *r, const struct jstr *s, const struct jstr *chars, unsigned side,
                struct jval *out);
bool jstr_replace(struct jrun *r, const struct jstr *s, const struct jstr *from,
                  const struct jstr *to, int64_t count, struct jval *out);
bool jstr_split(struct jrun *r, const struct jstr *s, const struct jstr *sep, int64_t max,
                bool from_right, struct jval *out);
bool jstr_splitlines(struct jrun *r, const struct jstr *s, bool keep, struct jval *out);
bool jstr_escape(struct jrun *r, const struct jstr *s, struct jval *out);
enum jcase { JCASE_UPPER, JCASE_LOWER, JCASE_CAPITALIZE, JCASE_TITLE, JCASE_SWAP, JCASE_WORDS };
bool jstr_case(struct jrun *r, const struct jstr *s, enum jcase how, struct jval *out);
bool jstr_join(struct jrun *r, const struct jstr *sep, struct jval items, bool convert,
               struct jval *out);

/* jinja_num.c: numbers as Python reads and prints them, and both kinds of formatting */
void jnum_print_float(double f, char out[64]);
bool jnum_parse_int(struct str s, int base, int64_t *out, bool *overflow);
bool jnum_parse_float(struct str s, double *out);
bool jnum_round(struct jrun *r, struct jval v, int64_t digits, struct jval *out);
bool jformat_percent(struct jrun *r, const struct jstr *fmt, struct jval args, struct jval *out);
bool jformat_braces(struct jrun *r, const struct jstr *fmt, const struct jargs *a,
                    struct jval *out);

/* jinja_unicode.c */
bool juni_is_space(uint32_t cp);
bool juni_is_break(uint32_t cp); /* where splitlines splits */
bool juni_is_alpha(uint32_t cp);
bool juni_is_decimal(uint32_t cp);
bool juni_is_digit(uint32_t cp);
bool juni_is_numeric(uint32_t cp);
bool juni_is_upper(uint32_t cp);
bool juni_is_lower(uint32_t cp);
bool juni_is_title(uint32_t cp);
bool juni_is_cased(uint32_t cp);
bool juni_is_case_ignorable(uint32_t cp);
bool juni_is_printable(uint32_t cp);
bool juni_is_word(uint32_t cp); /* \w */
/* Full case mapping: one to three code points into out; returns how many. */
unsigned juni_case(uint32_t cp, enum jcase how, uint32_t out[3]);

/* Arguments of a built-in by position or name: fills out[0..n_name); what is absent is MISSING. */
bool jargs_bind(struct jrun *r, const char *what, const struct jargs *a, const char *const *name,
                size_t n_name, size_t n_required, struct jval *out);
bool jargs_int(struct jrun *r, const char *what, struct jval v, int64_t fallback, int64_t *out);

#endif
