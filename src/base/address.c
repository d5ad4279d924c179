/* address.c: see address.h.
 *
 * Addresses come here as people typed them: with passwords whose signs should have been written as
 * %XX, without a scheme, with one slash.
 */
#include "base/address.h"

#include <stdio.h>
#include <string.h>

#define ENDS "/?#" /* one of these ends the host's part of an address: RFC 3986, 3.2 */

/* Where the host's part of an address begins: behind "https://". */
static const char *behind_scheme(const char *text) {
    size_t n = strcspn(text, ":@" ENDS);
    return strncmp(text + n, "://", 3) == 0 ? text + n + 3 : text;
}

/* Whether the '@' at `at` stands behind one of the places of a pattern for paths. */
static bool in_pattern(const char *path, const char *at) {
    static const char *const places[] = {"{repository}", "{revision}", "{file}"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        size_t n = strlen(places[i]);
        if ((size_t)(at - path) > n && memcmp(at - n, places[i], n) == 0) {
            return true;
        }
    }
    return false;
}

/* The last '@' that may end a password, or NULL. */
static const char *last_at(const char *host, const char *path) {
    const char *last = NULL;
    for (const char *p = host; *p; p++) {
        last = *p == '@' && !(p > path && in_pattern(path, p)) ? p : last;
    }
    return last;
}

/* Whether something stands behind what begins a query or a fragment. */
static bool in_query(const char *host, const char *p) {
    return host + strcspn(host, "?#") < p;
}

/* Where the password that ends at `at` may begin; NULL where that '@' is one of a path. A name with
 * a sign in it that ends the host's part may be a token. */
static const char *secret_start(const char *host, const char *path, const char *at) {
    if (memchr(host, '@', (size_t)(path - host)) || *path == '?' || *path == '#') {
        return host;
    }
    const char *six = host[0] == '[' ? memchr(host, ']', (size_t)(path - host)) : NULL;
    const char *from = six ? six : host, *colon = memchr(from, ':', (size_t)(at - from));
    return !colon ? NULL : in_query(host, colon) ? host : colon + 1;
}

bool address_has_secret(const char *text) {
    const char *host = behind_scheme(text), *path = host + strcspn(host, ENDS);
    const char *at = last_at(host, path);
    return at && (in_query(host, at) || secret_start(host, path, at));
}

const char *address_shown(const char *text, char *out, size_t n) {
    const char *host = behind_scheme(text), *path = host + strcspn(host, ENDS);
    const char *at = last_at(host, path), *start = at ? secret_start(host, path, at) : NULL;
    const char *rest = start ? at + 1 : host;
    size_t query = strcspn(rest, "?#");
    if (start && in_query(host, at)) { /* what is behind may be of a query */
        snprintf(out, n, "%.*s***", (int)(start - text), text);
    } else {
        snprintf(out, n, "%.*s%s%.*s%s", (int)((start ? start : host) - text), text,
                 start ? "***@" : "", (int)query, rest, rest[query] ? "?***" : "");
    }
    return out;
}
