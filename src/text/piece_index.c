/* piece_index.c: see piece_index.h.
 *
 * Owns the way through the places of a hash, and the filling.
 */
#include "text/piece_index.h"

#include "base/os.h"

static uint64_t upper(uint64_t v) {
    return v >> 32 << 32;
}

/* The place of a piece, taken or free. */
static uint64_t *slot_of(const struct piece_index *x, const struct sought *s) {
    for (size_t i = s->hash & x->mask;; i = (i + 1) & x->mask) {
        uint64_t slot = x->slot[i];
        if (!slot) {
            return &x->slot[i];
        }
        if (upper(slot) == upper(s->hash)) {
            uint32_t id = (uint32_t)slot - 1;
            if (x->at[id + 1] - x->at[id] == s->piece.n &&
                same_bytes(x->text + x->at[id], s->piece.p, s->piece.n)) {
                return &x->slot[i];
            }
        }
    }
}

bool piece_index_init(struct piece_index *x, const char *text, const uint32_t *at, uint32_t n,
                      const uint8_t *kind, uint8_t only, uint64_t key) {
    size_t slots = hash_slots(n);
    *x = (struct piece_index){.text = text, .at = at, .key = key, .mask = slots - 1};
    x->slot = os_pages(slots * sizeof *x->slot);
    if (!x->slot) {
        return false;
    }
    os_pages_large(x->slot, slots * sizeof *x->slot);
    for (uint32_t id = 0; id < n;) {
        struct sought s[SOUGHT_AHEAD];
        uint32_t ids[SOUGHT_AHEAD];
        int k = 0;
        for (; id < n && k < SOUGHT_AHEAD; id++) {
            if (at[id + 1] > at[id] && (!kind || kind[id] == only)) {
                ids[k] = id;
                s[k++] = piece_seek(x, str_of(text + at[id], at[id + 1] - at[id]));
            }
        }
        for (int i = 0; i < k; i++) {
            uint64_t *slot = slot_of(x, &s[i]);
            x->twins = x->twins || *slot;
            *slot = *slot ? *slot : upper(s[i].hash) | (ids[i] + 1);
        }
    }
    return true;
}

void piece_index_fini(struct piece_index *x) {
    os_pages_free(x->slot, (x->mask + 1) * sizeof *x->slot);
    x->slot = NULL;
}

uint64_t piece_index_need(uint32_t n) {
    return hash_slots(n) * sizeof(uint64_t);
}

int32_t piece_found(const struct piece_index *x, const struct sought *s) {
    return s->piece.n ? (int32_t)(uint32_t)*slot_of(x, s) - 1 : -1;
}
