/* verb_chat.c: a conversation at the terminal, or line by line from a pipe.
 *
 * Owns the loop, its commands, and the rule by which the tokens of a session are kept: each turn
 * renders the whole conversation, and only what differs from the session's tokens is computed.
 * When the context is full the oldest turns are hidden from the model, the system message never.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "cli/answer.h"
#include "cli/conversation.h"
#include "cli/line_edit.h"
#include "cli/open_model.h"
#include "cli/verbs.h"

enum { LINE_MAX_BYTES = 1 << 20 };

struct chat_loop {
    struct cli *c;
    struct conversation talk;
    struct line_edit edit;
    struct buf line; /* what the user said last */
    struct buf bias;
    const char **stop;
    ign_request request; /* what comes from flags */
    ign_sampling sampling;
    ign_model *model;
    ign_session *session;
    struct answer answer;
    const char *history; /* file, or NULL */
    bool terminal;       /* somebody is typing */
    bool asked_to_leave; /* Ctrl-C on an empty line, once */
    char in[4096];       /* of a pipe */
    size_t in_at, n_in;
};

/* ---- one turn ----------------------------------------------------------------------------------
 */

static ign_status encode(struct chat_loop *l, int32_t **ids, size_t *n, ign_error *e) {
    struct buf json;
    struct err err = {0};
    ign_status rc;
    buf_init(&json, (size_t)1 << 32);
    if (conversation_json(&l->talk, false, &json, &err)) {
        e->code = (ign_status)err.code;
        err_line(&err, e->text, sizeof e->text);
        rc = e->code;
    } else {
        rc = ign_encode_chat(l->model, json.p, NULL, ids, n, e);
    }
    buf_fini(&json);
    if (!rc && *n == 0) {
        *e = (ign_error){IGN_FORMAT, "the model's chat template made nothing of the messages"};
        rc = e->code;
    }
    return rc;
}

/* Ids of what is shown, after hiding turns until there is room for an answer. Hiding makes half of
 * the context free at once, since everything behind a hidden turn has to be computed again. */
static ign_status encode_fitting(struct chat_loop *l, int32_t **ids, size_t *n, ign_error *e) {
    size_t context = (size_t)ign_session_context(l->session), hidden = l->talk.hidden;
    size_t answer = (size_t)l->request.max_tokens;
    size_t limit = context - (answer < context / 4 ? answer : context / 4);
    ign_status rc;
    while (!(rc = encode(l, ids, n, e)) && *n > limit && conversation_hide(&l->talk)) {
        ign_free(*ids);
        limit = context / 2;
    }
    if (!rc && *n >= context) {
        ign_free(*ids);
        *ids = NULL;
        l->talk.hidden = hidden;
        e->code = IGN_NOFIT;
        snprintf(e->text, sizeof e->text,
                 "the message does not fit: %zu tokens in a context of %zu; shorten it, or start "
                 "with a larger --context",
                 *n, context);
        return IGN_NOFIT;
    }
    if (!rc && l->talk.hidden > hidden) {
        cli_note(l->c,
                 "ign: the context is full: the oldest %zu messages are no longer seen by "
                 "the model",
                 l->talk.hidden);
    }
    return rc;
}

static size_t common_prefix(const ign_session *s, const int32_t *ids, size_t n) {
    size_t have = 0, same = 0;
    const int32_t *tok = ign_session_tokens(s, &have);
    while (same < have && same < n && tok[same] == ids[same]) {
        same++;
    }
    return same < n ? same : n - 1; /* at least one token is computed: its logits are needed */
}

static ign_status compute(struct chat_loop *l, ign_error *e) {
    int32_t *ids = NULL;
    size_t n = 0;
    ign_request r = l->request;
    ign_status rc = encode_fitting(l, &ids, &n, e);
    if (rc) {
        return rc;
    }
    size_t same = common_prefix(l->session, ids, n);
    rc = ign_session_truncate(l->session, same, e);
    if (!rc) {
        r.ids = ids + same;
        r.n_ids = n - same;
        rc = answer_run(&l->answer, l->model, l->session, &r, e);
    }
    ign_free(ids);
    return rc;
}

/* Answers the last message, which is the user's. A turn without an answer is taken back: templates
 * want question and answer to alternate. Returns an exit code. */
static int take_turn(struct chat_loop *l) {
    struct cli *c = l->c;
    const struct answer *a = &l->answer;
    ign_error why = {0};
    struct err e = {0};
    ign_status rc = compute(l, &why);
    bool stopped = !rc && a->stop == IGN_STOP_CANCELLED;
    const struct message *asked = &l->talk.m[l->talk.n - 1];
    action_texts(c, str_of(asked->text, asked->n), str_of(a->text.p, a->text.len));
    if (!rc) {
        cli_puts(c, a->text.len && a->text.p[a->text.len - 1] == '\n' ? "" : "\n");
        cli_flush(c);
    }
    if (rc || a->text.len == 0) {
        conversation_pop(&l->talk);
    } else if (conversation_add(&l->talk, ROLE_ASSISTANT, str_of(a->text.p, a->text.len), &e) ||
               (l->history && conversation_save(&l->talk, l->history, &e))) {
        return cli_fail(c, &e);
    }
    if (rc) {
        return cli_fail_data_ign(c, &why);
    }
    if (c->verbose) {
        answer_note(a, l->sampling.seed);
    }
    if (a->stop == IGN_STOP_CONTEXT) {
        cli_note(c, "ign: the answer was cut: the context is full");
    }
    if (c->out_code) {
        return EXIT_FAILED;
    }
    return stopped && !l->terminal ? EXIT_INTERRUPTED : EXIT_DONE;
}

/* Each turn is an action of its own: a conversation may last for days, and what was asked today is
 * to be in the log today. */
static int answer_turn(struct chat_loop *l) {
    int code = action_begin(l->c);
    if (code != EXIT_DONE) {
        conversation_pop(&l->talk);
        return code;
    }
    return action_end(l->c, take_turn(l));
}

static int say(struct chat_loop *l, struct str text) {
    struct err e = {0};
    if (conversation_add(&l->talk, ROLE_USER, text, &e)) {
        return cli_fail(l->c, &e);
    }
    return answer_turn(l);
}

/* ---- commands -----------------------------------------------------------------------------------
 */

static int command_system(struct chat_loop *l, struct str arg) {
    struct err e = {0};
    const struct message *now = conversation_system(&l->talk);
    if (arg.n == 0) {
        cli_put_text(l->c, now ? now->text : "(none)", now ? now->n : 6);
        cli_puts(l->c, "\n");
        return EXIT_DONE;
    }
    return conversation_set_system(&l->talk, arg, &e) ? cli_fail(l->c, &e) : EXIT_DONE;
}

static int command_reset(struct chat_loop *l, struct str arg) {
    (void)arg;
    conversation_reset(&l->talk);
    cli_note(l->c, "ign: the conversation starts again");
    return EXIT_DONE;
}

static int command_regenerate(struct chat_loop *l, struct str arg) {
    (void)arg;
    if (l->talk.n == 0 || l->talk.m[l->talk.n - 1].role != ROLE_ASSISTANT) {
        cli_note(l->c, "ign: there is no answer to give again");
        return EXIT_DONE;
    }
    conversation_pop(&l->talk);
    return answer_turn(l);
}

static int command_save(struct chat_loop *l, struct str arg) {
    struct err e = {0};
    if (arg.n == 0) {
        err_set(&e, ERR_USAGE, "/save needs the name of a file");
        return cli_fail(l->c, &e);
    }
    char *path = mem_strdup(arg.p, arg.n);
    if (!path) {
        err_set(&e, ERR_NOMEM, "out of memory");
    } else if (!conversation_save(&l->talk, path, &e)) {
        cli_note(l->c, "ign: %zu messages written to %s", l->talk.n, path);
    }
    mem_free(path);
    return e.code ? cli_fail(l->c, &e) : EXIT_DONE;
}

static int command_help(struct chat_loop *l, struct str arg);

static const struct {
    const char *name;
    const char *help;
    int (*run)(struct chat_loop *l, struct str arg); /* NULL: leave */
} commands[] = {
    {"/system", "TEXT   set the instructions; without TEXT, show them", command_system},
    {"/reset", "        forget the conversation, keep the instructions", command_reset},
    {"/regenerate", "   give the last answer again, differently", command_regenerate},
    {"/save", "FILE     write the conversation to a file, as JSON", command_save},
    {"/help", "         this list", command_help},
    {"/quit", "         leave; Ctrl-D does, too", NULL},
};

static int command_help(struct chat_loop *l, struct str arg) {
    (void)arg;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        cli_printf(l->c, "%s %s\n", commands[i].name, commands[i].help);
    }
    cli_puts(l->c, "Enter sends; Alt-Enter, Ctrl-J or a backslash before Enter starts a new line.\n"
                   "Ctrl-C stops an answer. A message that starts with // is sent with one /.\n");
    return EXIT_DONE;
}

/* A line that starts with '/'. *leave: /quit. */
static int command_run(struct chat_loop *l, struct str line, bool *leave) {
    struct err e = {0};
    size_t n = 0;
    while (n < line.n && line.p[n] != ' ' && line.p[n] != '\n') {
        n++;
    }
    struct str arg = str_of(line.p + n, line.n - n);
    while (arg.n > 0 && (arg.p[0] == ' ' || arg.p[0] == '\n')) {
        arg = str_of(arg.p + 1, arg.n - 1);
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (str_is(str_of(line.p, n), commands[i].name)) {
            *leave = !commands[i].run;
            return commands[i].run ? commands[i].run(l, arg) : EXIT_DONE;
        }
    }
    err_set(&e, ERR_USAGE, "there is no command '%.*s'", (int)(n < 40 ? n : 40), line.p);
    err_hint(&e, "/help lists the commands; // at the start sends a message with one /");
    return cli_fail(l->c, &e);
}

static int line_run(struct chat_loop *l, struct str line, bool *leave) {
    size_t blank = 0;
    while (blank < line.n && strchr(" \t\n", line.p[blank])) {
        blank++;
    }
    if (blank == line.n) {
        return EXIT_DONE;
    }
    if (line.p[0] != '/') {
        return say(l, line);
    }
    if (line.n > 1 && line.p[1] == '/') {
        return say(l, str_of(line.p + 1, line.n - 1));
    }
    return command_run(l, line, leave);
}

/* ---- where lines come from ----------------------------------------------------------------------
 */

/* A line from a pipe into l->line; a backslash at its end goes on with the next. *end: no more. */
static enum err_code read_plain(struct chat_loop *l, bool *end, struct err *e) {
    buf_reset(&l->line);
    for (;;) {
        if (l->in_at == l->n_in) {
            l->in_at = 0;
            enum err_code rc = os_read_fd(0, l->in, sizeof l->in, &l->n_in, -1, e);
            if (rc) {
                err_where(e, "standard input");
                return rc;
            }
            if (l->n_in == 0) {
                *end = l->line.len == 0;
                return buf_check(&l->line, e);
            }
        }
        char ch = l->in[l->in_at++];
        if (ch != '\n') {
            buf_putc(&l->line, ch);
        } else if (l->line.len > 0 && l->line.p[l->line.len - 1] == '\\') {
            l->line.p[l->line.len - 1] = '\n';
        } else {
            return buf_check(&l->line, e);
        }
    }
}

static enum err_code read_typed(struct chat_loop *l, bool *end, struct err *e) {
    enum edit_event ev = EDIT_NONE;
    cli_flush(l->c);
    buf_reset(&l->line);
    line_edit_clear(&l->edit);
    enum err_code rc = line_edit_read(&l->edit, "> ", interrupt_count(l->c->intr), &ev, e);
    if (rc) {
        return rc;
    }
    if (ev == EDIT_INTERRUPT && !l->edit.had_text && !l->asked_to_leave) {
        l->asked_to_leave = true;
        cli_note(l->c, "Ctrl-C again, or Ctrl-D, leaves.");
        return ERR_OK;
    }
    *end = ev == EDIT_END || (ev == EDIT_INTERRUPT && !l->edit.had_text);
    l->asked_to_leave = false;
    if (ev == EDIT_SUBMIT) {
        buf_put(&l->line, l->edit.text.p, l->edit.text.len);
        line_edit_remember(&l->edit, str_of(l->line.p, l->line.len));
    }
    return buf_check(&l->line, e);
}

/* At a terminal an error is told and the talk goes on; a pipe ends with it. */
static int loop(struct chat_loop *l) {
    struct err e = {0};
    for (;;) {
        bool end = false;
        if ((l->terminal ? read_typed : read_plain)(l, &end, &e)) {
            return cli_fail(l->c, &e);
        }
        if (end) {
            return interrupt_seen(l->c->intr) ? EXIT_INTERRUPTED : EXIT_DONE;
        }
        int code = line_run(l, str_of(l->line.p, l->line.len), &end);
        if (l->terminal) {
            interrupt_forget(l->c->intr); /* it has stopped an answer, and was meant to */
        }
        if (end || l->c->out_code || l->c->action.failed || (code != EXIT_DONE && !l->terminal)) {
            return code;
        }
    }
}

/* ---- begin and end ------------------------------------------------------------------------------
 */

static enum err_code read_flags(struct chat_loop *l, struct err *e) {
    const char *system = knobs_str(l->c->k, "system");
    enum err_code rc;
    l->history = knobs_str(l->c->k, "history");
    if (l->c->json) {
        err_set(e, ERR_USAGE, "a chat has no JSON form");
        err_where(e, "--json");
        err_hint(e, "ign generate --json answers one prompt");
        return ERR_USAGE;
    }
    if ((rc = answer_biases(l->c, &l->bias, e)) ||
        (rc = answer_request(l->c, &l->request, &l->stop, e))) {
        return rc;
    }
    l->sampling.seed = answer_seed(l->c);
    l->sampling.bias = (const ign_logit_bias *)l->bias.p;
    l->sampling.n_bias = l->bias.len / sizeof(ign_logit_bias);
    if (l->history && os_file_exists(l->history) &&
        (rc = conversation_load(&l->talk, l->history, e))) {
        return rc;
    }
    for (size_t i = 0; i < l->talk.n; i++) {
        if (l->talk.m[i].role == ROLE_USER) {
            line_edit_remember(&l->edit, str_of(l->talk.m[i].text, l->talk.m[i].n));
        }
    }
    return system ? conversation_set_system(&l->talk, str_c(system), e) : ERR_OK;
}

/* A question left without an answer in a history file is asked now. */
static int begin(struct chat_loop *l) {
    struct cli *c = l->c;
    ign_error why = {0};
    ign_model_info info;
    int32_t *ids = NULL;
    size_t n = 0;
    struct err e = {0};
    if (answer_check(c, l->model, &e)) {
        return cli_fail(c, &e);
    }
    answer_sampling(c, l->model, &l->sampling);
    ign_model_get_info(l->model, &info);
    if (ign_session_create(l->model, 0, &l->sampling, &l->session, &why)) {
        return cli_fail_ign(c, &why);
    }
    /* Any conversation will do to find out whether there is a template at all. */
    if (ign_encode_chat(l->model, "[{\"role\":\"user\",\"content\":\"?\"}]", NULL, &ids, &n,
                        &why)) {
        return cli_fail_data_ign(c, &why);
    }
    ign_free(ids);
    interrupt_waits(c->intr);
    if (l->terminal) {
        cli_note(c, "ign: %s, context %d; /help lists the commands, Ctrl-D leaves", info.name,
                 info.context);
    }
    if (l->talk.n > 0 && l->talk.m[l->talk.n - 1].role == ROLE_USER) {
        return answer_turn(l);
    }
    return EXIT_DONE;
}

static int run(struct cli *c) {
    struct chat_loop l = {.c = c, .terminal = os_is_terminal(0) && c->out_terminal};
    struct err e = {0};
    conversation_init(&l.talk);
    line_edit_init(&l.edit);
    buf_init(&l.line, LINE_MAX_BYTES);
    buf_init(&l.bias, 1 << 24);
    answer_init(&l.answer, c, true);
    int code = read_flags(&l, &e) ? cli_fail(c, &e) : engine_model_open(c, 0, &l.model);
    if (code == EXIT_DONE) {
        code = begin(&l);
    }
    if (code == EXIT_DONE) {
        code = loop(&l);
    }
    ign_session_free(l.session);
    ign_model_close(l.model);
    mem_free(l.stop);
    answer_fini(&l.answer);
    buf_fini(&l.bias);
    buf_fini(&l.line);
    line_edit_fini(&l.edit);
    conversation_fini(&l.talk);
    return code;
}

const struct verb verb_chat = {
    .args = {.name = "chat",
             .operands = "",
             .about = "talk with a model",
             .groups =
                 KNOB_HISTORY | KNOB_SAMPLE | KNOB_TEMPLATE | KNOB_MODEL | KNOB_RUN | KNOB_AUDIT},
    .run = run,
    .acts = true,
};
