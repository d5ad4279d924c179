/* prompt.c: text and conversations to ids, and back, for a caller of ign.h.
 *
 * Owns nothing but the joining of the template, its record of who wrote which byte, and the
 * tokenizer. Refuses state: all of it is immutable, so any thread may call.
 */
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"
#include "engine/engine.h"

#define TEXT_MAX ((size_t)1 << 30)

ign_status ign_encode(const ign_model *m, const char *text, size_t n, bool special, int bos,
                      int32_t **ids, size_t *n_ids, ign_error *e) {
    struct err err = {0};
    struct ids got = {0};
    enum bos_mode mode = bos < 0 ? BOS_AUTO : bos ? BOS_ALWAYS : BOS_NEVER;
    *ids = NULL;
    *n_ids = 0;
    if (tokenizer_encode(m->m->tok, text, n, NULL, special, mode, 0, &got, &err)) {
        ids_fini(&got);
        return engine_fail(e, &err);
    }
    *ids = got.id;
    *n_ids = got.n;
    return IGN_OK;
}

ign_status ign_decode(const ign_model *m, const int32_t *ids, size_t n_ids, bool special,
                      char **text, size_t *n, ign_error *e) {
    struct err err = {0};
    struct buf out;
    buf_init(&out, TEXT_MAX);
    *text = NULL;
    *n = 0;
    if (tokenizer_decode(m->m->tok, ids, n_ids, special, &out, &err)) {
        goto fail;
    }
    buf_put(&out, "", 0); /* the zero byte, of no text at all too */
    if (buf_check(&out, &err)) {
        goto fail;
    }
    *text = out.p;
    *n = out.len;
    return IGN_OK;
fail:
    buf_fini(&out);
    return engine_fail(e, &err);
}

/* BOS as the file says, and never EOS: that is for texts which are over, and an answer follows. */
static enum err_code encode_prompt(const struct model *m, const struct buf *text,
                                   const struct runs *origin, struct ids *out, struct err *e) {
    int32_t bos = vocab_bos(m->vocab);
    enum err_code c =
        tokenizer_encode(m->tok, text->p, text->len, origin, false, BOS_NEVER, 0, out, e);
    if (c || !vocab_adds_bos(m->vocab) || (out->n > 0 && out->id[0] == bos)) {
        return c;
    }
    int32_t *id = mem_realloc(out->id, out->n + 1, sizeof *id);
    if (!id) {
        return err_set(e, ERR_NOMEM, "no memory for a prompt of %zu tokens", out->n);
    }
    memmove(id + 1, id, out->n * sizeof *id);
    id[0] = bos;
    *out = (struct ids){.id = id, .n = out->n + 1, .cap = out->n + 1};
    return ERR_OK;
}

/* A JSON list, or an error that names it. */
static enum err_code parse_list(const char *what, const char *text, struct json **list,
                                struct err *e) {
    enum err_code c = json_parse(text, str_c(text).n, list, e);
    if (!c && json_kind(*list) != JSON_IS_ARRAY) {
        c = err_set(e, ERR_FORMAT, "not a JSON list");
    }
    if (c) {
        err_where(e, "%s", what);
    }
    return c;
}

ign_status ign_encode_chat(const ign_model *m, const char *messages_json, const char *tools_json,
                           int32_t **ids, size_t *n_ids, ign_error *e) {
    struct err err = {0};
    struct json *messages = NULL, *tools = NULL;
    struct buf text;
    struct runs origin;
    struct ids got = {0};
    buf_init(&text, TEXT_MAX);
    runs_init(&origin);
    *ids = NULL;
    *n_ids = 0;
    if (!m->m->chat) {
        err = m->m->chat_err; /* a template that this program cannot read */
        goto done;
    }
    if (parse_list("messages", messages_json, &messages, &err) ||
        (tools_json && parse_list("tools", tools_json, &tools, &err))) {
        goto done;
    }
    struct chat_request r = {.messages = messages,
                             .tools = tools,
                             .add_generation_prompt = true,
                             .now = m->clock ? m->clock : os_wall_time()};
    if (chat_render(m->m->chat, &r, &text, &origin, &err) ||
        encode_prompt(m->m, &text, &origin, &got, &err)) {
        goto done;
    }
    *ids = got.id;
    *n_ids = got.n;
    got = (struct ids){0};
done:
    ids_fini(&got);
    runs_fini(&origin);
    buf_fini(&text);
    json_free(tools);
    json_free(messages);
    return err.code ? engine_fail(e, &err) : IGN_OK;
}
