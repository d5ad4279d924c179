/* signature.h: the one place that knows the signature library (nettle's hogweed): Ed25519.
 *
 * Owns the form of keys and signatures: lower-case hexadecimal in a file of one line. A public key
 * has 64 digits, a secret key 64, a signature 128. As no digit tells a secret key from a public
 * one, the line says it first: "ign-secret-key HEX"; keys made elsewhere may lack that. Source: RFC
 * 8032.
 */
#ifndef IGN_STORE_SIGNATURE_H
#define IGN_STORE_SIGNATURE_H

#include <stddef.h>

#include "base/err.h"

enum { SIGNATURE_KEY_HEX = 65, SIGNATURE_HEX = 129 }; /* with a zero byte at the end */

/* A new pair: 32 random bytes of the system, and what follows from them. ERR_IO. */
enum err_code signature_create(char secret[SIGNATURE_KEY_HEX], char open[SIGNATURE_KEY_HEX],
                               struct err *e);
enum signature_kind { SIGNATURE_SECRET, SIGNATURE_PUBLIC };
/* The line of a key's file, newline and zero byte at its end. Returns its length. */
enum { SIGNATURE_LINE = SIGNATURE_KEY_HEX + 20 };
size_t signature_key_line(enum signature_kind kind, const char key[SIGNATURE_KEY_HEX],
                          char line[SIGNATURE_LINE]);
/* The key in a file. ERR_FORMAT for what is no key; ERR_USAGE for one of the other kind, by its
 * line or a name that ends in ".pub"; ERR_NOTFOUND, ERR_IO. */
enum err_code signature_key_read(const char *path, enum signature_kind kind,
                                 char key[SIGNATURE_KEY_HEX], struct err *e);
void signature_make(const char secret[SIGNATURE_KEY_HEX], const void *p, size_t n,
                    char signature[SIGNATURE_HEX]);
/* ERR_FORMAT where the signature of p[0..n) is not by the secret half of that key. */
enum err_code signature_check(const char open[SIGNATURE_KEY_HEX], const void *p, size_t n,
                              const char *signature, size_t n_signature, struct err *e);
/* Overwrites what held a secret key, for good. */
void signature_wipe(void *p, size_t n);

#endif
