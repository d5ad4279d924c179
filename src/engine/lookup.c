/* lookup.c: hash chains over a session's tokens.
 *
 * Owns the choice among earlier places: the one with the longest common past wins, of equals the
 * newest. A guess may run into itself, as a copy of LZ77 does: that is how a loop continues.
 */
#include "engine/lookup.h"

#include <string.h>

#include "base/mem.h"

#define SLOTS_MAX 8192
#define CHAIN_MAX 64 /* places that one look compares */
#define PAST_MAX  32 /* tokens that it compares at each */

enum err_code lookup_init(struct lookup *l, int context, struct err *e) {
    *l = (struct lookup){.n_slot = 16};
    while (l->n_slot < context && l->n_slot < SLOTS_MAX) {
        l->n_slot *= 2;
    }
    l->three = mem_zalloc((size_t)l->n_slot, sizeof *l->three);
    l->two = mem_zalloc((size_t)l->n_slot, sizeof *l->two);
    l->older = mem_alloc((size_t)context, sizeof *l->older);
    l->recent = mem_alloc((size_t)l->n_slot, sizeof *l->recent);
    if (!l->three || !l->two || !l->older || !l->recent) {
        lookup_fini(l);
        return err_set(e, ERR_NOMEM, "no memory to look up what follows in %d tokens", context);
    }
    for (int i = 0; i < l->n_slot; i++) {
        l->recent[i].before[0] = -1;
    }
    return ERR_OK;
}

void lookup_fini(struct lookup *l) {
    mem_free(l->three);
    mem_free(l->two);
    mem_free(l->older);
    mem_free(l->recent);
    *l = (struct lookup){0};
}

void lookup_forget(struct lookup *l) {
    if (l->n > 0) {
        memset(l->three, 0, (size_t)l->n_slot * sizeof *l->three);
        memset(l->two, 0, (size_t)l->n_slot * sizeof *l->two);
        l->n = 0;
    }
}

/* The slot of the n tokens that end before `end`. */
static uint32_t slot(const struct lookup *l, const int32_t *end, int n) {
    uint64_t h = 0;
    for (int i = 1; i <= n; i++) {
        h = (h ^ (uint32_t)end[-i]) * 0x9e3779b97f4a7c15u;
        h ^= h >> 32;
    }
    return (uint32_t)h & (uint32_t)(l->n_slot - 1);
}

static void catch_up(struct lookup *l, const int32_t *tok, int n) {
    for (; l->n < n; l->n++) {
        if (l->n >= 2) {
            l->two[slot(l, tok + l->n, 2)] = l->n;
        }
        if (l->n >= 3) {
            int32_t *newest = &l->three[slot(l, tok + l->n, 3)];
            l->older[l->n] = *newest;
            *newest = l->n;
        }
    }
}

/* How many tokens before p are those before n. */
static int common_past(const int32_t *tok, int p, int n) {
    int k = 0;
    while (k < PAST_MAX && k < p && tok[p - 1 - k] == tok[n - 1 - k]) {
        k++;
    }
    return k;
}

/* The place whose past is most like that of n; 0: there is none with two tokens in common. */
static int find_place(const struct lookup *l, const int32_t *tok, int n, int *past) {
    int best = 0;
    *past = 1;
    if (n >= 3) {
        int p = l->three[slot(l, tok + n, 3)];
        for (int i = 0; p > 0 && i < CHAIN_MAX && *past < PAST_MAX; i++, p = l->older[p]) {
            int k = common_past(tok, p, n);
            if (k > *past) {
                *past = k;
                best = p;
            }
        }
    }
    if (best == 0 && n >= 2) {
        int p = l->two[slot(l, tok + n, 2)], k = p > 0 ? common_past(tok, p, n) : 0;
        if (k >= 2) {
            *past = k;
            best = p;
        }
    }
    return best;
}

static struct recent *recent_at(const struct lookup *l, const int32_t *tok, int n) {
    return &l->recent[slot(l, tok + n, 3)];
}

void lookup_learn(struct lookup *l, const int32_t *tok, int n) {
    if (n > 3) {
        struct recent *r = recent_at(l, tok, n - 1);
        memcpy(r->before, tok + n - 4, sizeof r->before);
        r->next = tok[n - 1];
    }
}

static int guess_recent(const struct lookup *l, int32_t *tok, int n, int max) {
    int k = 0;
    while (k < max && n + k >= 3) {
        const struct recent *r = recent_at(l, tok, n + k);
        if (memcmp(r->before, tok + n + k - 3, sizeof r->before) != 0) {
            break;
        }
        tok[n + k++] = r->next;
    }
    return k;
}

static enum lookup_kind kind_of(int past) {
    return past >= 16  ? LOOKUP_16
           : past >= 8 ? LOOKUP_8
           : past >= 4 ? LOOKUP_4
           : past == 3 ? LOOKUP_3
                       : LOOKUP_2;
}

int lookup_guess(struct lookup *l, int32_t *tok, int n, int max, enum lookup_kind *kind) {
    int past;
    catch_up(l, tok, n);
    int p = find_place(l, tok, n, &past);
    if (past < 3) {
        int k = guess_recent(l, tok, n, max);
        if (k > 0) {
            *kind = LOOKUP_RECENT;
            return k;
        }
    }
    if (p == 0) {
        return 0;
    }
    *kind = kind_of(past);
    for (int i = 0; i < max; i++) {
        tok[n + i] = tok[p + i];
    }
    return max;
}
