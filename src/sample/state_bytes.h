/* state_bytes.h: the fields of a saved state, written and read one by one.
 *
 * Owns the byte order (little-endian) and the one check of every read: a reader past its end gives
 * zeros and stays `failed`, so that a parser checks once after a group of fields, and always before
 * it believes a count. Refuses to own what the fields mean: sampler.c and engine/state.c do.
 */
#ifndef IGN_SAMPLE_STATE_BYTES_H
#define IGN_SAMPLE_STATE_BYTES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"

static inline void state_put_u64(struct buf *out, uint64_t v) {
    unsigned char c[8];
    for (int i = 0; i < 8; i++) {
        c[i] = (unsigned char)(v >> (8 * i));
    }
    buf_put(out, c, sizeof c);
}

static inline void state_put_u32(struct buf *out, uint32_t v) {
    unsigned char c[4];
    for (int i = 0; i < 4; i++) {
        c[i] = (unsigned char)(v >> (8 * i));
    }
    buf_put(out, c, sizeof c);
}

static inline void state_put_f32(struct buf *out, float v) {
    uint32_t u;
    memcpy(&u, &v, sizeof u);
    state_put_u32(out, u);
}

struct state_reader {
    const unsigned char *p;
    size_t n, at;
    bool failed;
};

/* The next n bytes, or NULL. */
static inline const unsigned char *state_get(struct state_reader *r, size_t n) {
    if (r->failed || n > r->n - r->at) {
        r->failed = true;
        return NULL;
    }
    r->at += n;
    return r->p + r->at - n;
}

static inline uint64_t state_get_u64(struct state_reader *r) {
    const unsigned char *c = state_get(r, 8);
    uint64_t v = 0;
    for (int i = 0; c && i < 8; i++) {
        v |= (uint64_t)c[i] << (8 * i);
    }
    return v;
}

static inline uint32_t state_get_u32(struct state_reader *r) {
    const unsigned char *c = state_get(r, 4);
    uint32_t v = 0;
    for (int i = 0; c && i < 4; i++) {
        v |= (uint32_t)c[i] << (8 * i);
    }
    return v;
}

static inline float state_get_f32(struct state_reader *r) {
    uint32_t u = state_get_u32(r);
    float v;
    memcpy(&v, &u, sizeof v);
    return v;
}

#endif
