/* signature.c: see signature.h.
 *
 * Owns the conversion between digits and bytes. A secret key is wiped from what this file had of
 * it.
 */
#include "store/signature.h"

#include <nettle/eddsa.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"

enum { KEY = ED25519_KEY_SIZE, SIGNATURE = ED25519_SIGNATURE_SIZE };

static void hex_of(const uint8_t *p, size_t n, char *out) {
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = "0123456789abcdef"[p[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[p[i] & 15];
    }
    out[2 * n] = '\0';
}

/* False if there are not 2 n lower-case digits. */
static bool bytes_of(const char *hex, uint8_t *p, size_t n) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < 2 * n; i++) {
        const char *at = hex[i] ? strchr(digits, hex[i]) : NULL;
        if (!at) {
            return false;
        }
        unsigned v = (unsigned)(at - digits);
        p[i / 2] = (uint8_t)(i % 2 ? p[i / 2] | v : v << 4);
    }
    return true;
}

void signature_wipe(void *p, size_t n) {
    volatile uint8_t *at = p;
    while (n--) {
        *at++ = 0;
    }
}

enum err_code signature_create(char secret[SIGNATURE_KEY_HEX], char open[SIGNATURE_KEY_HEX],
                               struct err *e) {
    uint8_t key[KEY], point[KEY];
    enum err_code rc = os_random(key, sizeof key, e);
    if (!rc) {
        ed25519_sha512_public_key(point, key);
        hex_of(key, KEY, secret);
        hex_of(point, KEY, open);
    }
    signature_wipe(key, sizeof key);
    return rc;
}

static const char *const word[] = {
    [SIGNATURE_SECRET] = "ign-secret-key ", [SIGNATURE_PUBLIC] = "ign-public-key "};

size_t signature_key_line(enum signature_kind kind, const char key[SIGNATURE_KEY_HEX],
                          char line[SIGNATURE_LINE]) {
    return (size_t)snprintf(line, SIGNATURE_LINE, "%s%s\n", word[kind], key);
}

/* Whether a key's file says that it is of the other kind. */
static bool is_other(const char *path, const char *text, enum signature_kind kind) {
    const char *other = word[kind == SIGNATURE_SECRET ? SIGNATURE_PUBLIC : SIGNATURE_SECRET];
    size_t n = strlen(path);
    bool pub = n > 4 && strcmp(path + n - 4, ".pub") == 0;
    return strncmp(text, other, strlen(other)) == 0 || (pub && kind == SIGNATURE_SECRET);
}

enum err_code signature_key_read(const char *path, enum signature_kind kind,
                                 char key[SIGNATURE_KEY_HEX], struct err *e) {
    char *text;
    size_t n;
    uint8_t bytes[KEY];
    enum err_code rc = os_read_file(path, 4096, &text, &n, e);
    if (rc) {
        return rc;
    }
    size_t skip = strncmp(text, word[kind], strlen(word[kind])) == 0 ? strlen(word[kind]) : 0;
    const char *hex = text + skip;
    size_t len = strcspn(hex, "\r\n");
    if (is_other(path, text, kind)) {
        rc = err_set(e, ERR_USAGE,
                     kind == SIGNATURE_SECRET ? "a public key, which cannot sign"
                                              : "a secret key, which belongs with whoever signs");
        err_where(e, "%s", path);
        err_hint(e, "'ign models keygen FILE' makes FILE, which signs, and FILE.pub, which checks");
    } else if (len != 2 * KEY || hex[len + strspn(hex + len, "\r\n")] != '\0' ||
               !bytes_of(hex, bytes, KEY)) {
        rc = err_set(e, ERR_FORMAT, "not a key: one line of 64 hexadecimal digits");
        err_where(e, "%s", path);
        err_hint(e, "'ign models keygen FILE' makes one");
    } else {
        memcpy(key, hex, 2 * KEY);
        key[2 * KEY] = '\0';
    }
    signature_wipe(bytes, sizeof bytes);
    signature_wipe(text, n);
    mem_free(text);
    return rc;
}

void signature_make(const char secret[SIGNATURE_KEY_HEX], const void *p, size_t n,
                    char signature[SIGNATURE_HEX]) {
    uint8_t key[KEY] = {0}, point[KEY], out[SIGNATURE];
    bytes_of(secret, key, KEY); /* signature_key_read has looked */
    ed25519_sha512_public_key(point, key);
    ed25519_sha512_sign(point, key, n, p, out);
    hex_of(out, SIGNATURE, signature);
    signature_wipe(key, sizeof key);
}

enum err_code signature_check(const char open[SIGNATURE_KEY_HEX], const void *p, size_t n,
                              const char *signature, size_t n_signature, struct err *e) {
    uint8_t key[KEY], bytes[SIGNATURE];
    while (n_signature > 0 &&
           (signature[n_signature - 1] == '\n' || signature[n_signature - 1] == '\r')) {
        n_signature--;
    }
    char text[SIGNATURE_HEX] = "";
    if (n_signature == 2 * SIGNATURE) {
        memcpy(text, signature, 2 * SIGNATURE);
    }
    if (bytes_of(open, key, KEY) && bytes_of(text, bytes, SIGNATURE) &&
        ed25519_sha512_verify(key, n, p, bytes)) {
        return ERR_OK;
    }
    err_set(e, ERR_FORMAT, "the signature is not by the key that is configured");
    err_hint(e, "do not use it; ask whoever made it, or see to --bundle-key");
    return ERR_FORMAT;
}
