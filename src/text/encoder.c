/* encoder.c: growing the list of ids, and remembering words.
 *
 * Owns struct encoder. The cache is direct-mapped: a word has one place, the newest wins.
 * Invariant: out->n <= max.
 */
#include "text/encoder.h"

#include <string.h>

#include "base/mem.h"
#include "text/text_hash.h"

enum { CACHE_WORDS_MAX = 32768, BYTES_PER_WORD = 16 };

void encoder_init(struct encoder *x, const struct vocab *v, size_t n, struct ids *out, size_t max) {
    *x = (struct encoder){.v = v, .out = out, .max = max};
    size_t want = n / BYTES_PER_WORD;
    for (x->n_word = 16; x->n_word < want && x->n_word < CACHE_WORDS_MAX;) {
        x->n_word *= 2;
    }
    x->word = want ? mem_zalloc(x->n_word, sizeof *x->word) : NULL; /* none is as right, slower */
}

void encoder_fini(struct encoder *x) {
    mem_free(x->word);
    merger_fini(&x->merger);
}

void encoder_put(struct encoder *x, int32_t id) {
    struct ids *out = x->out;
    if (x->code) {
        return;
    }
    if (out->n >= x->max) {
        x->code = ERR_LIMIT;
        return;
    }
    if (out->n == out->cap) {
        size_t cap = out->cap < 32 ? 64 : out->cap * 2;
        int32_t *grown = mem_realloc(out->id, cap, sizeof *grown);
        if (!grown) {
            x->code = ERR_NOMEM;
            return;
        }
        out->id = grown;
        out->cap = cap;
    }
    out->id[out->n++] = id;
}

struct word *encoder_recall(struct encoder *x, const char *p, size_t n, bool *found) {
    *found = false;
    if (!x->word || n > WORD_BYTES) {
        return NULL;
    }
    struct word *w = &x->word[hash_bytes(p, n, x->v->key) & (x->n_word - 1)];
    if (w->n != n || memcmp(w->text, p, n) != 0) {
        return w;
    }
    *found = true;
    for (unsigned i = 0; i < w->n_id; i++) {
        encoder_put(x, w->id[i]);
    }
    return NULL;
}

void encoder_remember(struct encoder *x, struct word *w, const char *p, size_t n, size_t first) {
    size_t n_id = x->out->n - first;
    if (!w || x->code || n_id > WORD_IDS) {
        return;
    }
    w->n = (uint8_t)n;
    w->n_id = (uint8_t)n_id;
    memcpy(w->text, p, n);
    for (size_t i = 0; i < n_id; i++) {
        w->id[i] = x->out->id[first + i];
    }
}
