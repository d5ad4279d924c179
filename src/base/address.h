/* address.h: addresses as they may be shown: on a terminal, in a log, in a model's record.
 *
 * Owns the one rule for what of them is hidden. Refuses to say whether an address is one that can
 * be asked. Invariant: where it is not clear whether something is a password, it is hidden.
 */
#ifndef IGN_BASE_ADDRESS_H
#define IGN_BASE_ADDRESS_H

#include <stddef.h>

/* An address ("https://host/path", "user:password@host:80") as it may be shown, in out [n], which
 * is returned: "***" in place of what stands before its '@', "?***" in place of what follows a '?'
 * or a
 * '#'. An '@' behind the host is one of a path; with a ':' before it, which may begin a password
 * with a '/' in it as well as a port, what lies between the two is hidden, too. The places of a
 * hub's pattern ("{repository}@{revision}") are not. */
const char *address_shown(const char *text, char *out, size_t n);

#endif
