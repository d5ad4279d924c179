/* runs.c: the list of origins grows here.
 *
 * Owns the memory of struct runs. Refuses to know texts: callers say lengths only.
 * Invariant: ends ascend and neighbours differ in origin.
 */
#include "text/runs.h"

#include "base/mem.h"

void runs_init(struct runs *rs) {
    *rs = (struct runs){0};
}

void runs_put(struct runs *rs, size_t n, bool trusted) {
    if (rs->failed || n == 0) {
        return;
    }
    size_t begin = rs->n ? rs->r[rs->n - 1].end : 0;
    size_t end;
    if (!size_add(begin, n, &end)) {
        rs->failed = true;
        return;
    }
    if (rs->n && rs->r[rs->n - 1].trusted == trusted) {
        rs->r[rs->n - 1].end = end;
        return;
    }
    if (rs->n == rs->cap) {
        size_t cap = rs->cap ? rs->cap * 2 : 8;
        struct run *r = mem_realloc(rs->r, cap, sizeof *r);
        if (!r) {
            rs->failed = true;
            return;
        }
        rs->r = r;
        rs->cap = cap;
    }
    rs->r[rs->n++] = (struct run){end, trusted};
}

void runs_fini(struct runs *rs) {
    mem_free(rs->r);
    *rs = (struct runs){0};
}
