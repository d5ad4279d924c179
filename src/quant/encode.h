/* encode.h: from floats to the block formats of quant.h.
 *
 * Owns the choice of scales and codes: what the format allows, nearest to the values in the
 * weighted square. Refuses files and threads. Invariant: the bytes depend on values, importance
 * and type alone, never on the level of the kernels; decoding what was encoded from decoded values
 * loses nothing in the formats that have one scale a block.
 */
#ifndef IGN_QUANT_ENCODE_H
#define IGN_QUANT_ENCODE_H

#include "quant/quant.h"
#include "quant/quant_search.h"

/* Counts up whenever other bytes come out for the same values, here or in mix.h: a file that an
 * older one has made is not taken for one of today's. */
#define QUANT_VERSION 4

/* True for the types that quant_encode writes. */
bool quant_can_encode(enum dtype type);

/* Encodes x [n_row, n], rows of whole blocks, into `dst` (dtype_row_bytes each, one after the
 * other); many at once are faster than one by one, and come out the same. `importance` [n] says how
 * much the square of each column's error counts, >= 0 and finite; NULL: all the same. Adds the sum
 * of (x - decoded)^2 to *err. False, with anything in `dst`: a value is not finite, or larger than
 * 65504, which binary16 scales cannot carry (F32 and BF16 take every finite one). */
bool quant_encode(const struct quant_search *s, enum dtype type, const float *x,
                  const float *importance, void *dst, size_t n, size_t n_row, double *err);

#endif
