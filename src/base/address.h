/* address.h: addresses as they may be shown: on a terminal, in a log, in a model's record.
 *
 * Owns the one rule for what of them is hidden, and for which are too unclear to be asked.
 * Invariant: where it is not clear whether something is a password, it is hidden.
 */
#ifndef IGN_BASE_ADDRESS_H
#define IGN_BASE_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

/* An address ("https://host/path", "user:password@host:80") as it may be shown, in out [n], which
 * is returned: "***" in place of what stands before its '@', "?***" in place of what follows a '?'
 * or a
 * '#'. An '@' behind the host is one of a path; with a ':' before it, which may begin a password
 * with a '/' in it as well as a port, what lies between the two is hidden, too. The places of a
 * hub's pattern ("{repository}@{revision}") are not. */
const char *address_shown(const char *text, char *out, size_t n);

/* Whether a name or a password may be in an address: before an '@', were it one behind a '/', '?'
 * or
 * '#', which end the host's part. Whoever asks for "https://tok#en:pw@host" asks all name servers
 * for "tok". A path's '@' can be written as %40. */
bool address_has_secret(const char *text);

#endif
