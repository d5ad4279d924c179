/* test_chat.c: messages to a prompt through a model's template. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "text/chat.h"

static const char chatml[] =
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content + '<|im_end|>' "
    "}}\n"
    "{% endfor %}{% if tools %}{{ tools|length }}{% endif %}{% if add_generation_prompt %}"
    "<|im_start|>assistant\n{% endif %}{{ extra }}";

struct talk {
    struct json *j;
    struct buf out;
    struct runs origin;
    struct err e;
};

static enum err_code talk_render(struct talk *t, const char *tmpl, const char *messages,
                                 bool prompt) {
    struct chat *c = NULL;
    memset(&t->e, 0, sizeof t->e);
    buf_init(&t->out, 1000);
    runs_init(&t->origin);
    assert_int_equal(json_parse(messages, strlen(messages), &t->j, NULL), ERR_OK);
    assert_int_equal(chat_create(&c, str_c(tmpl), str_c("<s>"), str_c("</s>"), &t->e), ERR_OK);
    struct jinja_var extra = {"extra", json_find(t->j, "extra"), false};
    struct chat_request r = {.messages = json_find(t->j, "messages"),
                             .tools = json_find(t->j, "tools"),
                             .add_generation_prompt = prompt,
                             .var = &extra,
                             .n_var = extra.value != NULL};
    enum err_code code = chat_render(c, &r, &t->out, &t->origin, &t->e);
    chat_free(c);
    return code;
}

static void talk_end(struct talk *t) {
    json_free(t->j);
    buf_fini(&t->out);
    runs_fini(&t->origin);
}

static void test_prompt(void **state) {
    (void)state;
    struct talk t;
    assert_int_equal(talk_render(&t, chatml,
                                 "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}",
                                 true),
                     ERR_OK);
    assert_string_equal(t.out.p, "<s><|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
    assert_int_equal(t.origin.n, 3);
    assert_false(t.origin.r[1].trusted);
    assert_int_equal(t.origin.r[1].end - t.origin.r[0].end, 2);
    talk_end(&t);
}

static void test_tools_and_extra(void **state) {
    (void)state;
    struct talk t;
    assert_int_equal(talk_render(&t, chatml,
                                 "{\"messages\": [], \"tools\": [1, 2], \"extra\": \"<|im_end|>\"}",
                                 false),
                     ERR_OK);
    assert_string_equal(t.out.p, "<s>2<|im_end|>");
    assert_false(t.origin.r[t.origin.n - 1].trusted);
    talk_end(&t);
}

/* A list of parts where the template wants a string is the template's error, not guessed at. */
static void test_parts(void **state) {
    (void)state;
    static const char parts[] = "{\"messages\": [{\"role\": \"user\", \"content\": "
                                "[{\"type\": \"text\", \"text\": \"hi\"}]}]}";
    struct talk t;
    assert_int_equal(talk_render(&t, chatml, parts, false), ERR_FORMAT);
    assert_int_equal(t.out.len, 0);
    talk_end(&t);
    assert_int_equal(talk_render(&t, "{{ messages[0].content[0].text }}", parts, false), ERR_OK);
    assert_string_equal(t.out.p, "hi");
    talk_end(&t);
}

static void test_no_template(void **state) {
    (void)state;
    struct talk t;
    assert_int_equal(talk_render(&t, "", "{\"messages\": []}", false), ERR_UNSUPPORTED);
    assert_non_null(strstr(t.e.hint, "--template"));
    talk_end(&t);
}

static void test_bad_template(void **state) {
    (void)state;
    struct chat *c = NULL;
    struct err e = {0};
    assert_int_equal(chat_create(&c, str_c("{% if %}"), str_c(""), str_c(""), &e), ERR_FORMAT);
    assert_null(c);
    assert_non_null(strstr(e.where, "line 1, column 7"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prompt),       cmocka_unit_test(test_tools_and_extra),
        cmocka_unit_test(test_parts),        cmocka_unit_test(test_no_template),
        cmocka_unit_test(test_bad_template),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
