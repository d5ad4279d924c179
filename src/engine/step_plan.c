/* step_plan.c: the arrays of one step, taken before the token loop needs them.
 *
 * Owns their memory, sized for the largest step of a model and for all its sessions at once.
 * Refuses to choose what goes in: scheduler.c does.
 */
#include "base/mem.h"
#include "engine/engine.h"

enum err_code plan_init(struct plan *p, int max_tok, int max_out, struct err *e) {
    p->tok = mem_alloc((size_t)max_tok, sizeof *p->tok);
    p->pos = mem_alloc((size_t)max_tok, sizeof *p->pos);
    p->seq = mem_alloc((size_t)max_tok, sizeof *p->seq);
    p->out = mem_alloc((size_t)max_out, sizeof *p->out);
    p->best = mem_alloc((size_t)max_out, sizeof *p->best);
    if (!p->tok || !p->pos || !p->seq || !p->out || !p->best) {
        return err_set(e, ERR_NOMEM, "no memory for steps of %d tokens", max_tok);
    }
    return ERR_OK;
}

/* Replaces *p, whose content a step leaves behind and nobody needs, by n elements. */
static bool renew(void *p, size_t n, size_t size) {
    void *fresh = mem_alloc(n, size);
    if (fresh) {
        mem_free(*(void **)p);
        *(void **)p = fresh;
    }
    return fresh;
}

enum err_code plan_grow(struct plan *p, int n_session, size_t n_page, struct err *e) {
    if (!renew(&p->page, n_page, sizeof *p->page) ||
        !renew(&p->page_start, (size_t)n_session + 1, sizeof *p->page_start) ||
        !renew(&p->part, (size_t)n_session, sizeof *p->part)) {
        return err_set(e, ERR_NOMEM, "no memory for steps of %d sessions", n_session);
    }
    return ERR_OK;
}

void plan_fini(struct plan *p) {
    mem_free(p->tok);
    mem_free(p->pos);
    mem_free(p->seq);
    mem_free(p->out);
    mem_free(p->best);
    mem_free(p->page);
    mem_free(p->page_start);
    mem_free(p->part);
    *p = (struct plan){0};
}
