/* st_builder.h: safetensors files made by hand, right or wrong.
 *
 * Owns a buffer of header length, header and zeros as data. Header only.
 */
#ifndef IGN_TESTS_FORMAT_ST_BUILDER_H
#define IGN_TESTS_FORMAT_ST_BUILDER_H

#include <string.h>

#include "base/buf.h"

/* The bytes of a file with this header (any text) and n_data bytes behind it, into *b. */
static inline void st_build_n(struct buf *b, const char *header, size_t n_header, size_t n_data) {
    buf_init(b, (size_t)1 << 30);
    for (int i = 0; i < 8; i++) {
        buf_putc(b, (char)(uint8_t)((uint64_t)n_header >> (8 * i)));
    }
    buf_put(b, header, n_header);
    for (size_t i = 0; i < n_data; i++) {
        buf_putc(b, 0);
    }
}

static inline void st_build(struct buf *b, const char *header, size_t n_data) {
    st_build_n(b, header, strlen(header), n_data);
}

#endif
