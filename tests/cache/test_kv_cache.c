/* test_kv_cache.c: pages and owners against a model that keeps every sequence as a plain array.
 *
 * The back end is a stand-in with one operation, kv_copy_page over an array of page contents. The
 * random test writes a fresh number to every reserved position and, after each operation, reads
 * every live sequence back through its table: a page handed out twice, a missed copy or a lost
 * page shows as a wrong number. Invariant tested: owners of all pages = references from all
 * tables, and pages without an owner = the free list.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "cache/kv_cache.h"

#define PAGE_TOK 4
#define N_PAGE   24
#define N_SEQ    6
#define MAX_TOK  40

static int content[N_PAGE][PAGE_TOK]; /* what the stand-in's pages hold */
static int n_copy;

static void copy_page(struct kern_dev *d, int dst, int src) {
    (void)d;
    assert_int_not_equal(dst, src);
    memcpy(content[dst], content[src], sizeof content[dst]);
    n_copy++;
}

static const struct kern stand_in = {.name = "stand-in", .kv_copy_page = copy_page};

static void pool_start(struct kv_pool *p, int n_page) {
    struct kern_kv kv = {.n_layer = 1,
                         .n_kv = 1,
                         .d_head = 2,
                         .page_tok = PAGE_TOK,
                         .n_page = n_page,
                         .type = DT_F16};
    assert_int_equal(kv_pool_init(p, &stand_in, NULL, &kv, NULL), ERR_OK);
    n_copy = 0;
}

static void check_accounts(const struct kv_pool *p, const struct kv_seq *s, int n_seq) {
    int refs[N_PAGE] = {0};
    for (int i = 0; i < n_seq; i++) {
        for (int j = 0; j < s[i].n_page; j++) {
            assert_in_range(s[i].page[j], 0, p->n_page - 1);
            refs[s[i].page[j]]++;
        }
    }
    int unowned = 0;
    for (int i = 0; i < p->n_page; i++) {
        assert_int_equal(refs[i], p->owners[i]);
        unowned += p->owners[i] == 0;
    }
    assert_int_equal(unowned, p->n_free);
    for (int i = 0; i < p->n_free; i++) {
        assert_int_equal(p->owners[p->free[i]], 0);
    }
}

static void write_positions(struct kv_seq *s, const struct kv_pool *p, const int *value, int n) {
    for (int i = 0; i < n; i++) {
        int pos = s->n_tok + i;
        int32_t page = s->page[pos / PAGE_TOK];
        assert_int_equal(p->owners[page], 1);
        content[page][pos % PAGE_TOK] = value[i];
    }
    s->n_tok += n;
}

static int read_position(const struct kv_seq *s, int pos) {
    return content[s->page[pos / PAGE_TOK]][pos % PAGE_TOK];
}

static void grows_by_pages_and_gives_them_back(void **state) {
    (void)state;
    struct kv_pool p;
    struct kv_seq s;
    int v[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    pool_start(&p, 4);
    assert_int_equal(kv_seq_init(&s, &p, 16, NULL), ERR_OK);
    assert_int_equal(kv_seq_reserve(&s, &p, 9, NULL), ERR_OK);
    assert_int_equal(s.n_page, 3);
    write_positions(&s, &p, v, 9);
    kv_seq_truncate(&s, &p, 4);
    assert_int_equal(s.n_page, 1);
    assert_int_equal(p.n_free, 3);
    kv_seq_truncate(&s, &p, 0);
    check_accounts(&p, &s, 1);
    assert_int_equal(p.n_free, 4);
    kv_seq_fini(&s, &p);
    kv_pool_fini(&p);
}

static void fork_copies_only_the_page_it_writes(void **state) {
    (void)state;
    struct kv_pool p;
    struct kv_seq s[2];
    int v[6] = {1, 2, 3, 4, 5, 6}, w = 7, x = 8;
    pool_start(&p, 8);
    assert_int_equal(kv_seq_init(&s[0], &p, 16, NULL), ERR_OK);
    assert_int_equal(kv_seq_init(&s[1], &p, 16, NULL), ERR_OK);
    assert_int_equal(kv_seq_reserve(&s[0], &p, 6, NULL), ERR_OK);
    write_positions(&s[0], &p, v, 6);
    assert_int_equal(kv_seq_fork(&s[1], &s[0], &p, NULL), ERR_OK);
    assert_int_equal(p.n_free, 6);
    assert_int_equal(kv_seq_reserve(&s[1], &p, 1, NULL), ERR_OK);
    assert_int_equal(n_copy, 1);
    write_positions(&s[1], &p, &w, 1);
    /* The other owner is alone again: no second copy. */
    assert_int_equal(kv_seq_reserve(&s[0], &p, 1, NULL), ERR_OK);
    assert_int_equal(n_copy, 1);
    write_positions(&s[0], &p, &x, 1);
    assert_int_equal(s[0].page[0], s[1].page[0]);
    assert_int_equal(read_position(&s[0], 6), 8);
    assert_int_equal(read_position(&s[1], 6), 7);
    assert_int_equal(read_position(&s[1], 5), 6);
    check_accounts(&p, s, 2);
    kv_seq_fini(&s[0], &p);
    kv_seq_fini(&s[1], &p);
    assert_int_equal(p.n_free, 8);
    kv_pool_fini(&p);
}

static void a_full_pool_refuses_and_changes_nothing(void **state) {
    (void)state;
    struct kv_pool p;
    struct kv_seq s[2];
    struct err e = {0};
    int v[6] = {1, 2, 3, 4, 5, 6};
    pool_start(&p, 2);
    assert_int_equal(kv_seq_init(&s[0], &p, 12, NULL), ERR_OK);
    assert_int_equal(kv_seq_init(&s[1], &p, 4, NULL), ERR_OK);
    assert_int_equal(kv_seq_reserve(&s[0], &p, 6, NULL), ERR_OK);
    write_positions(&s[0], &p, v, 6);
    /* Past the sequence's own bound, past the pool, a fork that has no room to copy or to be. */
    assert_int_equal(kv_seq_reserve(&s[0], &p, 7, &e), ERR_NOFIT);
    assert_non_null(strstr(e.what, "13"));
    err_clear(&e);
    assert_int_equal(kv_seq_reserve(&s[0], &p, 6, &e), ERR_NOFIT);
    assert_int_equal(kv_seq_reserve(&s[0], &p, INT32_MAX, NULL), ERR_NOFIT);
    assert_int_equal(kv_seq_fork(&s[1], &s[0], &p, NULL), ERR_NOFIT);
    assert_int_equal(s[0].n_page, 2);
    assert_int_equal(s[1].n_page, 0);
    assert_int_equal(kv_seq_reserve(&s[0], &p, 2, NULL), ERR_OK);
    check_accounts(&p, s, 2);
    kv_seq_fini(&s[0], &p);
    kv_seq_fini(&s[1], &p);
    kv_pool_fini(&p);
}

/* ---- the random test ------------------------------------------------------------------------ */

struct shadow {
    int n;
    int value[MAX_TOK];
};

static int below(struct rng *r, int n) {
    return (int)(rng_next(r) % (uint64_t)n);
}

static void step_write(struct rng *r, struct kv_pool *p, struct kv_seq *s, struct shadow *m,
                       int *next) {
    int n = below(r, 12), pages = s->n_page, had_free = p->n_free;
    if (kv_seq_reserve(s, p, n, NULL) != ERR_OK) {
        assert_int_equal(s->n_page, pages);
        assert_int_equal(p->n_free, had_free);
        return;
    }
    if (below(r, 4) == 0) {
        return; /* the step was thrown away: pages stay reserved */
    }
    for (int i = 0; i < n; i++) {
        m->value[m->n + i] = (*next)++;
    }
    write_positions(s, p, &m->value[m->n], n);
    m->n += n;
}

static void random_operations_keep_every_sequence(void **state) {
    (void)state;
    struct rng r;
    struct kv_pool p;
    struct kv_seq s[N_SEQ];
    struct shadow m[N_SEQ];
    int next = 1;
    memset(m, 0, sizeof m);
    rng_seed(&r, 3);
    pool_start(&p, N_PAGE);
    for (int i = 0; i < N_SEQ; i++) {
        assert_int_equal(kv_seq_init(&s[i], &p, MAX_TOK, NULL), ERR_OK);
    }
    for (int step = 0; step < 20000; step++) {
        int i = below(&r, N_SEQ), j = below(&r, N_SEQ), what = below(&r, 10);
        if (what < 5) {
            step_write(&r, &p, &s[i], &m[i], &next);
        } else if (what < 8) {
            m[i].n = below(&r, m[i].n + 1);
            kv_seq_truncate(&s[i], &p, m[i].n);
        } else if (i != j) {
            kv_seq_truncate(&s[j], &p, 0);
            assert_int_equal(kv_seq_fork(&s[j], &s[i], &p, NULL), ERR_OK);
            m[j] = m[i];
        }
        check_accounts(&p, s, N_SEQ);
        for (int k = 0; k < N_SEQ; k++) {
            assert_int_equal(s[k].n_tok, m[k].n);
            for (int pos = 0; pos < m[k].n; pos++) {
                assert_int_equal(read_position(&s[k], pos), m[k].value[pos]);
            }
        }
    }
    assert_true(n_copy > 100);
    for (int i = 0; i < N_SEQ; i++) {
        kv_seq_fini(&s[i], &p);
    }
    assert_int_equal(p.n_free, N_PAGE);
    kv_pool_fini(&p);
    assert_int_equal(mem_live(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_by_pages_and_gives_them_back),
        cmocka_unit_test(fork_copies_only_the_page_it_writes),
        cmocka_unit_test(a_full_pool_refuses_and_changes_nothing),
        cmocka_unit_test(random_operations_keep_every_sequence),
    };
    return cmocka_run_group_tests_name("kv_cache", tests, NULL, NULL);
}
