/* conversation.c: the list and its file.
 *
 * Owns the spelling of roles. Invariant: see conversation.h.
 */
#include "cli/conversation.h"

#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"

enum { FILE_MAX = 64 << 20 };

static const char *const role_name[] = {"system", "user", "assistant"};

void conversation_init(struct conversation *v) {
    *v = (struct conversation){0};
}

void conversation_fini(struct conversation *v) {
    for (size_t i = 0; i < v->n; i++) {
        mem_free(v->m[i].text);
    }
    mem_free(v->m);
    *v = (struct conversation){0};
}

enum err_code conversation_add(struct conversation *v, enum role role, struct str text,
                               struct err *e) {
    if (v->n == v->cap) {
        size_t cap = v->cap ? 2 * v->cap : 16;
        struct message *m = mem_realloc(v->m, cap, sizeof *m);
        if (!m) {
            return err_set(e, ERR_NOMEM, "out of memory for a message");
        }
        v->m = m;
        v->cap = cap;
    }
    char *copy = mem_strdup(text.n ? text.p : "", text.n);
    if (!copy) {
        return err_set(e, ERR_NOMEM, "out of memory for a message");
    }
    v->m[v->n++] = (struct message){role, copy, text.n};
    return ERR_OK;
}

const struct message *conversation_system(const struct conversation *v) {
    return v->n > 0 && v->m[0].role == ROLE_SYSTEM ? &v->m[0] : NULL;
}

static size_t talk_start(const struct conversation *v) {
    return conversation_system(v) ? 1 : 0;
}

enum err_code conversation_set_system(struct conversation *v, struct str text, struct err *e) {
    if (text.n > 0) {
        enum err_code rc = conversation_add(v, ROLE_SYSTEM, text, e);
        if (rc) {
            return rc;
        }
    }
    if (v->n > (text.n > 0) && v->m[0].role == ROLE_SYSTEM) {
        mem_free(v->m[0].text);
        v->n--;
        memmove(v->m, v->m + 1, v->n * sizeof *v->m);
    }
    if (text.n > 0) { /* from the end to the front */
        struct message last = v->m[v->n - 1];
        memmove(v->m + 1, v->m, (v->n - 1) * sizeof *v->m);
        v->m[0] = last;
    }
    return ERR_OK;
}

void conversation_pop(struct conversation *v) {
    if (v->n > 0) {
        mem_free(v->m[--v->n].text);
    }
    size_t talk = v->n - talk_start(v);
    v->hidden = v->hidden > talk ? talk : v->hidden;
}

void conversation_reset(struct conversation *v) {
    while (v->n > talk_start(v)) {
        conversation_pop(v);
    }
    v->hidden = 0;
}

bool conversation_hide(struct conversation *v) {
    size_t next = talk_start(v) + v->hidden + 1;
    while (next < v->n && v->m[next].role != ROLE_USER) {
        next++;
    }
    if (next >= v->n) {
        return false;
    }
    v->hidden = next - talk_start(v);
    return true;
}

enum err_code conversation_json(const struct conversation *v, bool all, struct buf *out,
                                struct err *e) {
    struct json_writer w;
    size_t start = talk_start(v);
    json_writer_init(&w, out);
    json_open(&w, '[');
    for (size_t i = 0; i < v->n; i++) {
        if (!all && i >= start && i < start + v->hidden) {
            continue;
        }
        json_open(&w, '{');
        json_key(&w, "role");
        json_put_z(&w, role_name[v->m[i].role]);
        json_key(&w, "content");
        json_put_str(&w, str_of(v->m[i].text, v->m[i].n));
        json_close(&w, '}');
    }
    json_close(&w, ']');
    return buf_check(out, e);
}

/* ---- the file -----------------------------------------------------------------------------------
 */

static enum err_code read_message(struct conversation *v, const struct json *j, size_t i,
                                  struct err *e) {
    const struct json *role = NULL, *content = NULL;
    if (json_kind(j) == JSON_IS_OBJECT) {
        role = json_find(j, "role");
        content = json_find(j, "content");
    }
    if (!role || json_kind(role) != JSON_IS_STR || !content || json_kind(content) != JSON_IS_STR) {
        err_set(e, ERR_FORMAT, "not a {\"role\", \"content\"} with two strings");
        err_where(e, "message %zu", i);
        return ERR_FORMAT;
    }
    for (size_t r = 0; r < sizeof role_name / sizeof *role_name; r++) {
        if (str_is(json_str(role), role_name[r]) && (r != ROLE_SYSTEM || i == 0)) {
            return conversation_add(v, (enum role)r, json_str(content), e);
        }
    }
    err_set(e, ERR_FORMAT, "the role has no place here");
    err_where(e, "message %zu", i);
    err_hint(e, "roles are system (only first), user and assistant");
    return ERR_FORMAT;
}

enum err_code conversation_load(struct conversation *v, const char *path, struct err *e) {
    struct conversation got;
    struct json *root = NULL;
    char *text = NULL;
    size_t n = 0;
    conversation_init(&got);
    enum err_code rc = os_read_file(path, FILE_MAX, &text, &n, e);
    if (rc) {
        return rc;
    }
    rc = json_parse(text, n, &root, e);
    if (!rc && json_kind(root) != JSON_IS_ARRAY) {
        rc = err_set(e, ERR_FORMAT, "not a JSON list of messages");
    }
    for (size_t i = 0; !rc && i < json_count(root); i++) {
        rc = read_message(&got, json_at(root, i), i, e);
    }
    if (rc) {
        err_where(e, "%s", path);
        conversation_fini(&got);
    } else {
        conversation_fini(v);
        *v = got;
    }
    json_free(root);
    mem_free(text);
    return rc;
}

enum err_code conversation_save(const struct conversation *v, const char *path, struct err *e) {
    struct buf out;
    buf_init(&out, (size_t)1 << 32);
    enum err_code rc = conversation_json(v, true, &out, e);
    if (!rc) {
        buf_putc(&out, '\n');
        rc = os_write_file(path, out.p, out.len, e);
    }
    buf_fini(&out);
    return rc;
}
