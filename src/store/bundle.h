/* bundle.h: models of the store on a USB stick, and back: one file, or a folder.
 *
 * Owns the form. First "manifest.json": {"format": "ign-bundle", "version": 1, "models": [{"name",
 * "files": [{"path", "bytes", "sha256"}]}]}; then, where it is signed, "manifest.json.sig", the
 * Ed25519 signature of the manifest's bytes in hexadecimal; then each file under the path that the
 * manifest gives. In one file these are members of a tar archive in that order; in a folder, files.
 * In version 2 a file with the SHA-256 of one before it is not there again: its bytes are that
 * one's. A bundle without equal files is of version 1, which older programs read.
 * Invariant: nothing comes out of a bundle but files that its manifest names, with those hashes,
 * below the folders of the store; and with a key nothing at all without a signature by it.
 */
#ifndef IGN_STORE_BUNDLE_H
#define IGN_STORE_BUNDLE_H

#include "store/depot.h"

/* Writes the models names[0..n) to `to`: a folder where `to` is one or ends in '/', else a file.
 * `secret` (SIGNATURE_KEY_HEX) signs it; NULL: not signed. *bytes is what their files take there.
 * Each byte is checked against its record on the way: ERR_FORMAT. ERR_NOTFOUND for a name that is
 * not there, or has no record ('ign models import' makes one); ERR_USAGE where something has the
 * name of `to`, or of what would come into that folder; ERR_IO, ERR_CANCELLED: nothing is left of
 * it. */
enum err_code bundle_write(const struct depot *d, const char *const *names, size_t n,
                           const char *to, const char *secret, uint64_t *bytes, struct err *e);

/* Brings the models of a bundle, a file or a folder, into the store. `open` (a public key) demands
 * its signature; NULL: none is asked for. Names are added to `out`, a line each: those that have
 * come, and those that were there with a blank before it. ERR_FORMAT for anything that is not as
 * bundle_write makes it; ERR_USAGE where another model has a name. */
enum err_code bundle_read(const struct depot *d, const char *from, const char *open,
                          struct buf *out, struct err *e);

#endif
