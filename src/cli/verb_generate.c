/* verb_generate.c: a prompt in, an answer out.
 *
 * Owns the order: check the flags, read the prompt, open the model, compute, report. Everything
 * that can be refused is refused before the model is loaded.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "cli/answer.h"
#include "cli/open_model.h"
#include "cli/verbs.h"

enum { PROMPT_MAX = 64 << 20 };

struct job {
    struct cli *c;
    struct buf prompt; /* bytes as the user gave them */
    struct buf bias;   /* ign_logit_bias [] */
    const char **stop;
    ign_request request;
    ign_sampling sampling;
    ign_model *model;
    ign_session *session;
    int32_t *ids; /* [n_ids] of the prompt */
    size_t n_ids;
    struct answer answer;
};

static enum err_code read_prompt(struct job *j, struct err *e) {
    const char *text = knobs_str(j->c->k, "prompt"), *file = knobs_str(j->c->k, "prompt-file");
    if (!text == !file) {
        err_set(e, ERR_USAGE,
                text ? "--prompt and --prompt-file exclude each other" : "there is no prompt");
        err_hint(e, "give --prompt TEXT or --prompt-file FILE (- is standard input)");
        return ERR_USAGE;
    }
    if (file) {
        return cli_read(file, PROMPT_MAX, &j->prompt, e);
    }
    buf_puts(&j->prompt, text);
    return buf_check(&j->prompt, e);
}

static enum err_code read_flags(struct job *j, struct err *e) {
    struct knobs *k = j->c->k;
    enum err_code rc;
    if ((rc = answer_biases(j->c, &j->bias, e)) ||
        (rc = answer_request(j->c, &j->request, &j->stop, e)) || (rc = read_prompt(j, e))) {
        return rc;
    }
    j->sampling.seed = answer_seed(j->c);
    j->sampling.bias = (const ign_logit_bias *)j->bias.p;
    j->sampling.n_bias = j->bias.len / sizeof(ign_logit_bias);
    j->request.logprobs = knobs_given(k, "logprobs") ? (int)knobs_int(k, "logprobs") : -1;
    if (knobs_bool(k, "raw") && knobs_given(k, "system")) {
        err_set(e, ERR_USAGE, "--raw has no place for --system");
        err_hint(e, "write the instructions into the prompt");
        return ERR_USAGE;
    }
    return ERR_OK;
}

static void put_message(struct json_writer *w, const char *role, struct str content) {
    json_open(w, '{');
    json_key(w, "role");
    json_put_z(w, role);
    json_key(w, "content");
    json_put_str(w, content);
    json_close(w, '}');
}

static ign_status encode_chat(struct job *j, ign_error *e) {
    const char *system = knobs_str(j->c->k, "system");
    struct buf text;
    struct json_writer w;
    buf_init(&text, (size_t)8 * PROMPT_MAX);
    json_writer_init(&w, &text);
    json_open(&w, '[');
    if (system) {
        put_message(&w, "system", str_c(system));
    }
    put_message(&w, "user", str_of(j->prompt.p, j->prompt.len));
    json_close(&w, ']');
    ign_status rc = IGN_NOMEM;
    if (text.failed) {
        *e = (ign_error){IGN_NOMEM, "out of memory"};
    } else {
        rc = ign_encode_chat(j->model, text.p, NULL, &j->ids, &j->n_ids, e);
    }
    buf_fini(&text);
    return rc;
}

static int encode(struct job *j) {
    ign_error why = {0};
    struct err e = {0};
    if (!knobs_bool(j->c->k, "raw")) {
        return encode_chat(j, &why) ? cli_fail_data_ign(j->c, &why) : EXIT_DONE;
    }
    /* A raw prompt is the user's own text, control tokens and all. */
    if (ign_encode(j->model, j->prompt.p ? j->prompt.p : "", j->prompt.len, true, -1, &j->ids,
                   &j->n_ids, &why)) {
        return cli_fail_data_ign(j->c, &why);
    }
    if (j->n_ids == 0) {
        err_set(&e, ERR_USAGE, "the prompt is empty, and this model has no token to begin with");
        err_hint(&e, "give a prompt of at least one character");
        return cli_fail(j->c, &e);
    }
    return EXIT_DONE;
}

/* ---- the report ---------------------------------------------------------------------------------
 */

static void put_token(struct job *j, struct json_writer *w, int32_t id, float logprob) {
    char *text = NULL;
    size_t n = 0;
    json_key(w, "id");
    json_put_int(w, id);
    json_key(w, "token");
    if (ign_decode(j->model, &id, 1, true, &text, &n, NULL) == IGN_OK) {
        json_put_str(w, str_of(text, n));
    } else {
        json_put_null(w);
    }
    ign_free(text);
    json_key(w, "logprob");
    json_put_real(w, logprob);
}

static void put_logprobs(struct job *j, struct json_writer *w) {
    const struct answer *a = &j->answer;
    const int32_t *id = (const int32_t *)a->ids.p;
    const float *own = (const float *)a->logprob.p;
    const ign_token_logprob *top = (const ign_token_logprob *)a->top.p;
    size_t k = (size_t)j->request.logprobs;
    json_key(w, "logprobs");
    json_open(w, '[');
    for (size_t i = 0; i < a->n_ids; i++) {
        json_open(w, '{');
        put_token(j, w, id[i], own[i]);
        json_key(w, "top");
        json_open(w, '[');
        for (size_t t = 0; t < k; t++) {
            json_open(w, '{');
            put_token(j, w, top[i * k + t].id, top[i * k + t].logprob);
            json_close(w, '}');
        }
        json_close(w, ']');
        json_close(w, '}');
    }
    json_close(w, ']');
}

/* The members that --json and --output-file share. */
static void put_result(struct job *j, struct json_writer *w) {
    const struct answer *a = &j->answer;
    const ign_timing *t = &a->timing;
    ign_model_info info;
    ign_model_get_info(j->model, &info);
    json_key(w, "model");
    json_put_z(w, info.name);
    json_key(w, "text");
    json_put_str(w, str_of(a->text.p, a->text.len));
    json_key(w, "token_ids");
    json_open(w, '[');
    for (size_t i = 0; i < a->n_ids; i++) {
        json_put_int(w, ((const int32_t *)a->ids.p)[i]);
    }
    json_close(w, ']');
    json_key(w, "stop_reason");
    json_put_z(w, answer_stop_name(a->stop));
    json_key(w, "prompt_tokens");
    json_put_int(w, t->prompt_tokens);
    json_key(w, "new_tokens");
    json_put_int(w, t->new_tokens);
    json_key(w, "drafted_tokens");
    json_put_int(w, t->drafted_tokens);
    json_key(w, "accepted_tokens");
    json_put_int(w, t->accepted_tokens);
    json_member_real(w, "load_seconds", info.load_seconds);
    json_member_real(w, "prefill_seconds", t->prefill_seconds);
    json_member_real(w, "decode_seconds", t->decode_seconds);
    json_member_real(w, "prefill_tokens_per_second", answer_prefill_speed(t));
    json_member_real(w, "decode_tokens_per_second", answer_decode_speed(t));
    json_key(w, "seed");
    json_put_uint(w, j->sampling.seed);
    json_key(w, "device");
    json_put_z(w, info.device);
    json_key(w, "peak_rss_bytes");
    json_put_uint(w, os_memory_peak());
    if (j->request.logprobs >= 0) {
        put_logprobs(j, w);
    }
}

static void put_metadata(struct job *j, struct json_writer *w) {
    const ign_timing *t = &j->answer.timing;
    double seconds = t->prefill_seconds + t->decode_seconds;
    char stamp[64];
    ign_model_info info;
    ign_model_get_info(j->model, &info);
    os_strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S%z", os_wall_time());
    json_key(w, "metadata");
    json_open(w, '{');
    json_member_real(w, "inference_time", seconds);
    json_key(w, "tokens_generated");
    json_put_int(w, t->new_tokens);
    json_member_real(w, "tokens_per_second", seconds > 0 ? t->new_tokens / seconds : 0);
    json_key(w, "gpu_config");
    json_open(w, '{');
    json_key(w, "device");
    json_put_z(w, info.device);
    json_key(w, "context");
    json_put_int(w, info.context);
    json_close(w, '}');
    json_key(w, "timestamp");
    json_put_z(w, stamp);
    json_close(w, '}');
}

static enum err_code write_file(struct job *j, const char *path, struct err *e) {
    struct buf text;
    struct json_writer w;
    buf_init(&text, (size_t)1 << 36);
    json_writer_init(&w, &text);
    json_open(&w, '{');
    json_key(&w, "prompt");
    json_put_str(&w, str_of(j->prompt.p, j->prompt.len));
    json_key(&w, "generated_text");
    json_put_str(&w, str_of(j->answer.text.p, j->answer.text.len));
    put_metadata(j, &w);
    put_result(j, &w);
    json_close(&w, '}');
    buf_puts(&text, "\n");
    enum err_code rc = buf_check(&text, e);
    if (!rc) {
        rc = os_write_file(path, text.p, text.len, e);
    }
    buf_fini(&text);
    return rc;
}

static int report(struct job *j) {
    struct cli *c = j->c;
    const struct answer *a = &j->answer;
    const char *path = knobs_str(c->k, "output-file");
    struct err e = {0};
    if (path && write_file(j, path, &e)) {
        return cli_fail(c, &e);
    }
    if (c->json) {
        struct json_writer w;
        cli_json_begin(c, &w);
        put_result(j, &w);
        cli_json_end(c, &w);
    } else if (a->text.len == 0 || a->text.p[a->text.len - 1] != '\n') {
        cli_puts(c, "\n");
    }
    if (!c->json) { /* a document is let go when the action is written down */
        cli_flush(c);
    }
    answer_note(a, j->sampling.seed);
    return a->stop == IGN_STOP_CANCELLED && !c->out_code ? EXIT_INTERRUPTED : EXIT_DONE;
}

static int compute(struct job *j) {
    ign_error why = {0};
    struct err e = {0};
    if (answer_check(j->c, j->model, &e)) {
        return cli_fail(j->c, &e);
    }
    answer_sampling(j->c, j->model, &j->sampling);
    int code = encode(j);
    if (code != EXIT_DONE) {
        return code;
    }
    if (ign_session_create(j->model, 0, &j->sampling, &j->session, &why)) {
        return cli_fail_ign(j->c, &why);
    }
    j->request.ids = j->ids;
    j->request.n_ids = j->n_ids;
    ign_status rc = answer_run(&j->answer, j->model, j->session, &j->request, &why);
    action_texts(j->c, str_of(j->prompt.p, j->prompt.len),
                 str_of(j->answer.text.p, j->answer.text.len));
    if (rc) {
        return cli_fail_ign(j->c, &why);
    }
    return report(j);
}

static int run(struct cli *c) {
    struct job j = {.c = c};
    struct err e = {0};
    int code;
    buf_init(&j.prompt, (size_t)2 * PROMPT_MAX);
    buf_init(&j.bias, 1 << 24);
    answer_init(&j.answer, c, !c->json);
    code = read_flags(&j, &e) ? cli_fail(c, &e) : engine_model_open(c, 0, &j.model);
    if (code == EXIT_DONE) {
        code = compute(&j);
    }
    ign_session_free(j.session);
    ign_model_close(j.model);
    ign_free(j.ids);
    mem_free(j.stop);
    answer_fini(&j.answer);
    buf_fini(&j.bias);
    buf_fini(&j.prompt);
    return code;
}

const struct verb verb_generate = {
    .args = {.name = "generate",
             .operands = "",
             .about = "answer a prompt",
             .groups =
                 KNOB_PROMPT | KNOB_SAMPLE | KNOB_TEMPLATE | KNOB_MODEL | KNOB_RUN | KNOB_AUDIT},
    .run = run,
    .acts = true,
};
