/* digest.h: the one place that knows the hash library (nettle): SHA-256 and HMAC-SHA-256.
 *
 * Invariant: the output is lower-case hexadecimal, zero-terminated.
 */
#ifndef IGN_OBSERVE_DIGEST_H
#define IGN_OBSERVE_DIGEST_H

#include <stddef.h>

#include "base/err.h"

enum { DIGEST_HEX = 65 }; /* 64 digits and a zero byte */

/* SHA-256 (FIPS 180-4) of p[0..n). */
void digest_sha256(const void *p, size_t n, char hex[DIGEST_HEX]);
/* HMAC-SHA-256 (RFC 2104). */
void digest_hmac(const void *key, size_t n_key, const void *p, size_t n, char hex[DIGEST_HEX]);

/* Piece by piece, for files larger than memory. */
struct digest;
struct digest *digest_create(void); /* NULL: out of memory */
void digest_add(struct digest *d, const void *p, size_t n);
void digest_end(struct digest *d, char hex[DIGEST_HEX]); /* frees d */

/* Whether two digests are equal, in a time that does not depend on where they differ. */
int digest_equal(const char *a, const char *b);

#endif
