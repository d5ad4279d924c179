/* digest.c: SHA-256 and HMAC by nettle.
 *
 * Owns the adapter and nothing else. Refuses other hashes: one is enough, and it is everywhere.
 */
#include "observe/digest.h"

#include <nettle/hmac.h>
#include <nettle/sha2.h>

#include "base/mem.h"

struct digest {
    struct sha256_ctx state;
};

static void hex_of(const uint8_t *p, char hex[DIGEST_HEX]) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < SHA256_DIGEST_SIZE; i++) {
        hex[2 * i] = digits[p[i] >> 4];
        hex[2 * i + 1] = digits[p[i] & 15];
    }
    hex[DIGEST_HEX - 1] = '\0';
}

void digest_sha256(const void *p, size_t n, char hex[DIGEST_HEX]) {
    struct sha256_ctx state;
    uint8_t sum[SHA256_DIGEST_SIZE];
    sha256_init(&state);
    sha256_update(&state, n, p);
    sha256_digest(&state, sizeof sum, sum);
    hex_of(sum, hex);
}

void digest_hmac(const void *key, size_t n_key, const void *p, size_t n, char hex[DIGEST_HEX]) {
    struct hmac_sha256_ctx state;
    uint8_t sum[SHA256_DIGEST_SIZE];
    hmac_sha256_set_key(&state, n_key, key);
    hmac_sha256_update(&state, n, p);
    hmac_sha256_digest(&state, sizeof sum, sum);
    hex_of(sum, hex);
}

struct digest *digest_create(void) {
    struct digest *d = mem_alloc(1, sizeof *d);
    if (d) {
        sha256_init(&d->state);
    }
    return d;
}

void digest_add(struct digest *d, const void *p, size_t n) {
    sha256_update(&d->state, n, p);
}

void digest_end(struct digest *d, char hex[DIGEST_HEX]) {
    uint8_t sum[SHA256_DIGEST_SIZE];
    sha256_digest(&d->state, sizeof sum, sum);
    hex_of(sum, hex);
    mem_free(d);
}

int digest_equal(const char *a, const char *b) {
    unsigned differ = 0;
    for (size_t i = 0; i < DIGEST_HEX; i++) {
        differ |= (unsigned char)a[i] ^ (unsigned char)b[i];
    }
    return differ == 0;
}
