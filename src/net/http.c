/* http.c: see http.h. What is used of libcurl is there since 7.66 (2019).
 *
 * Redirects are followed here, not by libcurl: the hashes that a hub sends along with one are
 * wanted, and who gets the token is decided in one place for every version of the library.
 */
#include "net/http.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/mem.h"
#include "base/os.h"

enum {
    HOPS_MOST = 10,
    HOP_BYTES = 1 << 20,    /* of the page that a redirect comes with */
    HEAD_BYTES = 256 << 10, /* of an answer's headers: less than libcurl's own bound */
    CONNECT_MS = 20000,
    SLOWEST = 64 /* bytes per second */
};

/* ---- the library ----------------------------------------------------------------------------- */

struct curl {
    __typeof__(&curl_global_init) global_init;
    __typeof__(&curl_easy_init) easy_init;
    __typeof__(&curl_easy_cleanup) easy_cleanup;
    __typeof__(&curl_easy_setopt) setopt;
    __typeof__(&curl_easy_getinfo) getinfo;
    __typeof__(&curl_easy_strerror) strerror;
    __typeof__(&curl_multi_init) multi_init;
    __typeof__(&curl_multi_cleanup) multi_cleanup;
    __typeof__(&curl_multi_add_handle) multi_add;
    __typeof__(&curl_multi_remove_handle) multi_remove;
    __typeof__(&curl_multi_perform) multi_perform;
    __typeof__(&curl_multi_poll) multi_poll;
    __typeof__(&curl_multi_info_read) multi_read;
    __typeof__(&curl_slist_append) list_append;
    __typeof__(&curl_slist_free_all) list_free;
    __typeof__(&curl_getdate) getdate;
    __typeof__(&curl_url) url;
    __typeof__(&curl_url_cleanup) url_cleanup;
    __typeof__(&curl_url_set) url_set;
    __typeof__(&curl_url_get) url_get;
    __typeof__(&curl_free) free;
};

#define AT(field) offsetof(struct curl, field)
static const struct {
    const char *name;
    size_t at;
} symbols[] = {
    {"curl_global_init", AT(global_init)},
    {"curl_easy_init", AT(easy_init)},
    {"curl_easy_cleanup", AT(easy_cleanup)},
    {"curl_easy_setopt", AT(setopt)},
    {"curl_easy_getinfo", AT(getinfo)},
    {"curl_easy_strerror", AT(strerror)},
    {"curl_multi_init", AT(multi_init)},
    {"curl_multi_cleanup", AT(multi_cleanup)},
    {"curl_multi_add_handle", AT(multi_add)},
    {"curl_multi_remove_handle", AT(multi_remove)},
    {"curl_multi_perform", AT(multi_perform)},
    {"curl_multi_poll", AT(multi_poll)},
    {"curl_multi_info_read", AT(multi_read)},
    {"curl_slist_append", AT(list_append)},
    {"curl_slist_free_all", AT(list_free)},
    {"curl_getdate", AT(getdate)},
    {"curl_url", AT(url)},
    {"curl_url_cleanup", AT(url_cleanup)},
    {"curl_url_set", AT(url_set)},
    {"curl_url_get", AT(url_get)},
    {"curl_free", AT(free)},
};

struct http {
    struct curl curl;
    CURLM *multi;
    struct http_opts opts;
    char origin[HTTP_URL]; /* that the token is for: "https://host:443"; "" if there is none */
    char *bearer;          /* "Authorization: Bearer ..." */
    double credit;         /* bytes that may come now; below 0: how many too many have */
    double counted;        /* until when it was reckoned, os_now */
};

/* It stays open until the program ends: it and the libraries below it keep memory of their own. */
static enum err_code curl_open(struct curl *c, struct err *e) {
    static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4", "libcurl.4.dylib"};
    struct os_library *l = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && !l; i++) {
        os_library_open(&l, names[i], NULL);
    }
    if (!l) {
        err_set(e, ERR_NOTFOUND, "there is no libcurl on this machine");
        err_where(e, "%s", names[0]);
        err_hint(e,
                 "install it (Debian, Ubuntu: libcurl4; Fedora, RHEL: libcurl), or carry the model "
                 "here as a bundle");
        return ERR_NOTFOUND;
    }
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *f = os_library_find(l, symbols[i].name);
        if (!f) {
            os_library_close(l);
            err_set(e, ERR_UNSUPPORTED, "libcurl is too old: it has no %s", symbols[i].name);
            err_where(e, "libcurl");
            err_hint(e, "7.66 or newer is wanted");
            return ERR_UNSUPPORTED;
        }
        memcpy((char *)c + symbols[i].at, &f, sizeof f);
    }
    return c->global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK
               ? ERR_OK
               : err_set(e, ERR_NOMEM, "libcurl cannot be started");
}

/* ---- addresses ------------------------------------------------------------------------------- */

static bool starts_with(const char *s, const char *start) {
    return strncmp(s, start, strlen(start)) == 0;
}

bool http_is_url(const char *text) {
    return starts_with(text, "http://") || starts_with(text, "https://");
}

/* "https://host:443" of an address; false where it has none, or names a user. */
static bool origin_of(const struct http *h, const char *url, char *out, size_t n) {
    char *scheme = NULL, *host = NULL, *port = NULL, *user = NULL;
    CURLU *u = h->curl.url();
    bool ok = u && http_is_url(url) && strlen(url) < HTTP_URL &&
              h->curl.url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
              h->curl.url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
              h->curl.url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
              h->curl.url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
              h->curl.url_get(u, CURLUPART_USER, &user, 0) != CURLUE_OK &&
              snprintf(out, n, "%s://%s:%s", scheme, host, port) < (int)n;
    h->curl.free(scheme);
    h->curl.free(host);
    h->curl.free(port);
    h->curl.free(user);
    h->curl.url_cleanup(u);
    return ok;
}

enum err_code http_check_url(struct http *h, const char *url, struct err *e) {
    char origin[HTTP_URL], shown[HTTP_TEXT];
    if (origin_of(h, url, origin, sizeof origin)) {
        return ERR_OK;
    }
    err_set(e, ERR_USAGE, "not an address that can be asked");
    err_where(e, "%s",
              strchr(url, '@') ? "it names a user" : address_shown(url, shown, sizeof shown));
    err_hint(e, "https://HOST/PATH, without a name or password in it");
    return ERR_USAGE;
}

/* ---- open and close -------------------------------------------------------------------------- */

static enum err_code token_take(struct http *h, struct err *e) {
    if (!h->opts.token) {
        return ERR_OK;
    }
    if (!starts_with(h->opts.token_url, "https://")) {
        err_set(e, ERR_USAGE, "a token is sent over https only");
        err_where(e, "token-file");
        err_hint(e, "leave the token out, or give an address that begins with https://");
        return ERR_USAGE;
    }
    enum err_code rc = http_check_url(h, h->opts.token_url, e);
    size_t n = strlen(h->opts.token) + 32;
    if (!rc && !(h->bearer = mem_alloc(n, 1))) {
        rc = err_set(e, ERR_NOMEM, "out of memory for a token");
    }
    if (!rc) {
        origin_of(h, h->opts.token_url, h->origin, sizeof h->origin);
        snprintf(h->bearer, n, "Authorization: Bearer %s", h->opts.token);
    }
    return rc;
}

enum err_code http_open(struct http **out, const struct http_opts *o, struct err *e) {
    struct http *h = mem_zalloc(1, sizeof *h);
    *out = NULL;
    if (!h) {
        return err_set(e, ERR_NOMEM, "out of memory for connections");
    }
    h->opts = *o;
    h->counted = os_now();
    enum err_code rc = curl_open(&h->curl, e);
    if (!rc && !(h->multi = h->curl.multi_init())) {
        rc = err_set(e, ERR_NOMEM, "out of memory for connections");
    }
    rc = rc ? rc : token_take(h, e);
    if (rc) {
        http_close(h);
        return rc;
    }
    *out = h;
    return ERR_OK;
}

void http_close(struct http *h) {
    if (!h) {
        return;
    }
    if (h->multi) {
        h->curl.multi_cleanup(h->multi);
    }
    if (h->bearer) {
        memset(h->bearer, 0, strlen(h->bearer));
    }
    mem_free(h->bearer);
    mem_free(h);
}

/* ---- what an answer says --------------------------------------------------------------------- */

static void head_clear(struct http_head *head) {
    char sha256[sizeof head->sha256];
    memcpy(sha256, head->sha256, sizeof sha256); /* a hub says it before it sends us on */
    *head = (struct http_head){.length = HTTP_UNKNOWN,
                               .from = HTTP_UNKNOWN,
                               .to = HTTP_UNKNOWN,
                               .total = HTTP_UNKNOWN,
                               .retry_after = -1};
    memcpy(head->sha256, sha256, sizeof sha256);
}

/* A whole number of decimal digits, and where it ends. */
static bool number(const char **p, uint64_t *v) {
    char *end;
    if (**p < '0' || **p > '9') {
        return false;
    }
    unsigned long long n = strtoull(*p, &end, 10);
    if (end - *p > 18) {
        return false;
    }
    *v = n;
    *p = end;
    return true;
}

/* "bytes 0-9/100", "bytes *" "/100"; anything else leaves the fields unknown. */
static void read_range(struct http_head *head, const char *p) {
    uint64_t from = HTTP_UNKNOWN, to = HTTP_UNKNOWN, total = HTTP_UNKNOWN;
    if (strncmp(p, "bytes ", 6) != 0) {
        return;
    }
    p += 6;
    if (*p == '*') {
        p++;
    } else if (!number(&p, &from) || *p++ != '-' || !number(&p, &to)) {
        return;
    }
    if (*p++ != '/' || (*p != '*' && !number(&p, &total))) {
        return;
    }
    head->from = from;
    head->to = to;
    head->total = total;
}

/* An entity tag of a hub is the SHA-256 of a large file: 64 digits, in quotes perhaps. */
static void read_sha256(struct http_head *head, const char *tag) {
    size_t skip = *tag == '"';
    if (strspn(tag + skip, "0123456789abcdef") == 64 &&
        (tag[skip + 64] == '"' || !tag[skip + 64])) {
        memcpy(head->sha256, tag + skip, 64);
        head->sha256[64] = '\0';
    }
}

static bool same_name(const char *name, size_t n, const char *want) {
    for (size_t i = 0; i < n; i++) {
        char c = name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] - 'A' + 'a') : name[i];
        if (c != want[i]) { /* want ends in a zero byte, which no name has */
            return false;
        }
    }
    return want[n] == '\0';
}

static void read_field(const struct http *h, struct http_head *head, const char *name, size_t n,
                       const char *value) {
    if (same_name(name, n, "content-length")) {
        number(&value, &head->length);
    } else if (same_name(name, n, "content-range")) {
        read_range(head, value);
    } else if (same_name(name, n, "etag")) {
        snprintf(head->etag, sizeof head->etag, "%s", value);
        read_sha256(head, value);
    } else if (same_name(name, n, "x-linked-etag")) {
        read_sha256(head, value);
    } else if (same_name(name, n, "last-modified")) {
        snprintf(head->modified, sizeof head->modified, "%s", value);
    } else if (same_name(name, n, "content-encoding")) {
        head->packed = *value && !same_name(value, strlen(value), "identity");
    } else if (same_name(name, n, "retry-after")) {
        int64_t when = (int64_t)h->curl.getdate(value, NULL);
        head->retry_after =
            *value >= '0' && *value <= '9'
                ? (double)strtoull(value, NULL, 10) /* UINT64_MAX for what is more */
            : when >= 0 ? (double)(when - os_wall_time())
                        : -1;
    }
}

static void refuse(struct http_get *g, const char *what, const char *url) {
    char shown[HTTP_TEXT];
    g->end = HTTP_REFUSED;
    err_set(&g->why, ERR_IO, "%s", what);
    err_where(&g->why, "%s", address_shown(url, shown, sizeof shown));
    err_hint(&g->why, "see to the address, or ask whoever runs the server");
}

static size_t on_header(char *p, size_t size, size_t n, void *arg) {
    struct http_get *g = arg;
    char line[1024];
    g->heads += size * n;
    if (g->heads > HEAD_BYTES) {
        refuse(g, "the server's answer begins with headers that do not end", g->at);
        return 0;
    }
    size_t len = size * n < sizeof line - 1 ? size * n : sizeof line - 1;
    memcpy(line, p, len);
    line[len] = '\0';
    line[strcspn(line, "\r\n")] = '\0';
    if (starts_with(line, "HTTP/")) {
        const char *space = strchr(line, ' ');
        head_clear(&g->head);
        g->head.status = space ? (int)strtol(space, NULL, 10) : 0;
    } else {
        size_t name = strcspn(line, ":");
        if (line[name]) {
            read_field(g->http, &g->head, line, name,
                       line + name + 1 + strspn(line + name + 1, " \t"));
        }
    }
    return size * n;
}

static bool is_redirect(int status) {
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* Tells the caller, once, that an answer begins. */
static bool answer_begins(struct http_get *g) {
    if (!g->begun) {
        g->begun = true;
        return g->begin(g->arg, &g->head);
    }
    return true;
}

static size_t on_body(char *p, size_t size, size_t n, void *arg) {
    struct http_get *g = arg;
    g->http->credit -= (double)(size * n);
    if (is_redirect(g->head.status)) {
        g->passed += size * n;
        if (g->passed <= HOP_BYTES) {
            return size * n;
        }
        refuse(g, "the server sends us elsewhere with a page that does not end", g->at);
        return 0;
    }
    bool wanted = g->head.status >= 200 && g->head.status < 300;
    if (wanted && g->head.packed) {
        refuse(g, "the server, or a proxy, packs the file (Content-Encoding), unasked", g->at);
        return 0;
    }
    if (!answer_begins(g) || !wanted || !g->take(g->arg, p, size * n)) {
        g->end = HTTP_ENOUGH;
        return 0;
    }
    return size * n;
}

/* ---- requests -------------------------------------------------------------------------------- */

/* The lines of a request that libcurl does not write by itself. */
static bool headers_make(struct http *h, struct http_get *g) {
    struct curl_slist *list = NULL, *more;
    char line[HTTP_TEXT + 32], origin[HTTP_URL];
    const char *lines[3];
    size_t n = 0;
    lines[n++] = "Accept-Encoding: identity";
    if (g->if_range && g->n) {
        snprintf(line, sizeof line, "If-Range: %s", g->if_range);
        lines[n++] = line;
    }
    if (h->bearer && origin_of(h, g->at, origin, sizeof origin) && strcmp(origin, h->origin) == 0) {
        lines[n++] = h->bearer;
    }
    for (size_t i = 0; i < n; i++) {
        if (!(more = h->curl.list_append(list, lines[i]))) {
            h->curl.list_free(list);
            return false;
        }
        list = more;
    }
    h->curl.list_free(g->headers);
    g->headers = list;
    h->curl.setopt(g->easy, CURLOPT_HTTPHEADER, list);
    return true;
}

static bool request_aim(struct http *h, struct http_get *g) {
    head_clear(&g->head);
    g->begun = false;
    g->passed = g->heads = 0;
    g->error[0] = '\0';
    return headers_make(h, g) && h->curl.setopt(g->easy, CURLOPT_URL, g->at) == CURLE_OK &&
           h->curl.multi_add(h->multi, g->easy) == CURLM_OK;
}

static void request_settings(struct http *h, struct http_get *g) {
    const struct http_opts *o = &h->opts;
    CURL *easy = g->easy;
    long stall = o->stall < 1 ? 1 : (long)o->stall;
    h->curl.setopt(easy, CURLOPT_NOSIGNAL, 1L);
    h->curl.setopt(easy, CURLOPT_USERAGENT, "ign/" IGN_VERSION);
    h->curl.setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    h->curl.setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    h->curl.setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                   o->stall * 1000 < CONNECT_MS ? stall * 1000L : (long)CONNECT_MS);
    h->curl.setopt(easy, CURLOPT_LOW_SPEED_LIMIT, (long)SLOWEST);
    h->curl.setopt(easy, CURLOPT_LOW_SPEED_TIME, stall);
    h->curl.setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    h->curl.setopt(easy, CURLOPT_HEADERDATA, g);
    h->curl.setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    h->curl.setopt(easy, CURLOPT_WRITEDATA, g);
    h->curl.setopt(easy, CURLOPT_PRIVATE, g);
    h->curl.setopt(easy, CURLOPT_ERRORBUFFER, g->error);
    if (o->rate) { /* libcurl reads up to a hundred of these before it lets us wait */
        long bytes = o->rate < 1024 * 1024 ? 1024 : o->rate < (1 << 24) ? (long)(o->rate >> 10) : 0;
        h->curl.setopt(easy, CURLOPT_BUFFERSIZE, bytes ? bytes : (long)CURL_MAX_WRITE_SIZE);
    }
    if (o->proxy) {
        h->curl.setopt(easy, CURLOPT_PROXY, o->proxy);
    }
    if (o->ca_file) {
        h->curl.setopt(easy, CURLOPT_CAINFO, o->ca_file);
    }
    if (o->pin) {
        h->curl.setopt(easy, CURLOPT_PINNEDPUBLICKEY, o->pin);
    }
}

enum err_code http_start(struct http *h, struct http_get *g, struct err *e) {
    char range[64];
    g->http = h;
    g->headers = NULL;
    g->hops = 0;
    g->end = HTTP_RUNNING;
    g->head = (struct http_head){0};
    err_clear(&g->why);
    g->easy = h->curl.easy_init();
    if (g->easy && snprintf(g->at, sizeof g->at, "%s", g->url) < (int)sizeof g->at) {
        request_settings(h, g);
        if (g->n) {
            snprintf(range, sizeof range, "%llu-%llu", (unsigned long long)g->from,
                     (unsigned long long)(g->from + g->n - 1));
            h->curl.setopt(g->easy, CURLOPT_RANGE, range);
        }
        if (request_aim(h, g)) {
            return ERR_OK;
        }
    }
    http_drop(g);
    return err_set(e, ERR_NOMEM, "out of memory for a request");
}

void http_drop(struct http_get *g) {
    if (g->http && g->easy) {
        g->http->curl.multi_remove(g->http->multi, g->easy);
        g->http->curl.easy_cleanup(g->easy);
        g->http->curl.list_free(g->headers);
    }
    g->easy = NULL;
    g->headers = NULL;
}

/* ---- the end of a request -------------------------------------------------------------------- */

/* Goes where an answer sends us. */
static void follow(struct http *h, struct http_get *g) {
    const char *here = g->at, *to = NULL;
    char origin[HTTP_URL], next[HTTP_URL];
    if (h->curl.getinfo(g->easy, CURLINFO_REDIRECT_URL, &to) != CURLE_OK || !to) {
        refuse(g, "the server sends us elsewhere, and does not say where", here);
    } else if (++g->hops > HOPS_MOST) {
        refuse(g, "the servers send us on and on, perhaps in a circle", here);
    } else if (!origin_of(h, to, origin, sizeof origin)) {
        refuse(g, "the server sends us to what is no address", here);
    } else if (starts_with(here, "https://") && !starts_with(to, "https://")) {
        refuse(g, "the server sends us from https to http", here);
    } else {
        snprintf(next, sizeof next, "%s", to); /* `to` is the request's, and g->at the address */
        memcpy(g->at, next, sizeof g->at);
        h->curl.multi_remove(h->multi, g->easy);
        if (!request_aim(h, g)) {
            refuse(g, "out of memory for a request", here);
        }
    }
}

/* What no second try will mend. */
static bool is_final(CURLcode code) {
    return code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_URL_MALFORMAT ||
           code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE ||
           code == CURLE_SSL_PINNEDPUBKEYNOTMATCH || code == CURLE_SSL_CERTPROBLEM ||
           code == CURLE_SSL_ENGINE_NOTFOUND || code == CURLE_NOT_BUILT_IN ||
           code == CURLE_BAD_FUNCTION_ARGUMENT || code == CURLE_OUT_OF_MEMORY;
}

static void hint_final(struct http_get *g, CURLcode code) {
    if (code == CURLE_SSL_PINNEDPUBKEYNOTMATCH) {
        err_hint(&g->why,
                 "the server has another key than `pin` says: find out why before you change "
                 "it");
    } else if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE) {
        err_hint(&g->why, "name the certificates of your site's own authority with --ca-file FILE");
    } else {
        err_hint(&g->why, "see to the address, or ask whoever runs the server");
    }
}

static void finish(struct http *h, struct http_get *g, CURLcode code) {
    char shown[HTTP_TEXT];
    if (code == CURLE_OK && is_redirect(g->head.status)) {
        follow(h, g);
        return;
    }
    if (code == CURLE_OK) {
        g->end = answer_begins(g) ? HTTP_WHOLE : HTTP_ENOUGH;
        return;
    }
    if (g->end == HTTP_ENOUGH || g->end == HTTP_REFUSED) {
        return; /* by us: on_body */
    }
    g->end = is_final(code) ? HTTP_REFUSED : HTTP_BROKEN;
    err_set(&g->why, code == CURLE_OUT_OF_MEMORY ? ERR_NOMEM : ERR_IO, "%s",
            code == CURLE_OPERATION_TIMEDOUT ? "the server does not answer, or almost stands still"
            : g->error[0] && !strchr(g->error, '@') /* a proxy's password may be in it */
                ? g->error
                : h->curl.strerror(code));
    err_where(&g->why, "%s", address_shown(g->at, shown, sizeof shown));
    if (g->end == HTTP_REFUSED) {
        hint_final(g, code);
    }
}

/* Waits until more bytes may come: nothing is read meanwhile, and the servers notice. */
static enum err_code rate_keep(struct http *h, struct err *e) {
    const double rate = (double)h->opts.rate, burst = rate / 4;
    while (rate > 0) {
        double now = os_now();
        h->credit += (now - h->counted) * rate;
        h->credit = h->credit < burst ? h->credit : burst;
        h->counted = now;
        if (h->credit >= 0) {
            break;
        }
        if (os_stopped(h->opts.stop)) {
            return err_set(e, ERR_CANCELLED, "interrupted");
        }
        double wait = -h->credit / rate;
        os_sleep(wait < 0.1 ? wait : 0.1);
    }
    return ERR_OK;
}

enum err_code http_step(struct http *h, double seconds, struct err *e) {
    int running, left;
    CURLMsg *m;
    bool news = false;
    if (os_stopped(h->opts.stop)) {
        return err_set(e, ERR_CANCELLED, "interrupted");
    }
    enum err_code rc = rate_keep(h, e);
    if (rc) {
        return rc;
    }
    if (h->curl.multi_perform(h->multi, &running) != CURLM_OK) {
        return err_set(e, ERR_NOMEM, "libcurl cannot go on");
    }
    while ((m = h->curl.multi_read(h->multi, &left))) {
        struct http_get *g = NULL;
        h->curl.getinfo(m->easy_handle, CURLINFO_PRIVATE, &g);
        if (m->msg == CURLMSG_DONE && g) {
            finish(h, g, m->data.result);
            news = true;
        }
    }
    if (!news) {
        h->curl.multi_poll(h->multi, NULL, 0, (int)(seconds * 1000), NULL);
    }
    return ERR_OK;
}
