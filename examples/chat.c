/* chat.c: chat MODEL.gguf: each line of stdin is a message, the answer streams to stdout. The whole
 * conversation is rendered each turn; only what the session does not hold yet is computed. */
#include "ign.h"
#include <stdio.h>
#include <string.h>

static char messages[1 << 20], answer[1 << 16]; /* the members of a JSON list; text */

static void add_message(const char *role, const char *text) {
    char *p = messages + strlen(messages);
    p += sprintf(p, "%c{\"role\":\"%s\",\"content\":\"", p == messages ? '[' : ',', role);
    for (; *text && p < messages + sizeof messages - 16; text++) {
        int plain = (unsigned char)*text >= ' ' && *text != '"' && *text != '\\';
        p += sprintf(p, plain ? "%c" : "\\u%04x", *text);
    }
    strcpy(p, "\"}");
}

static void on_event(void *arg, const ign_event *ev) {
    (void)arg;
    fwrite(ev->text, 1, ev->n_text, stdout);
    fprintf(stderr, "%s", ev->error.text);
    fflush(stdout);
    strncat(answer, ev->text, sizeof answer - 1 - strlen(answer));
}

int main(int argc, char **argv) {
    ign_model *m = NULL;
    ign_session *s = NULL;
    ign_error e = {0, "usage: chat MODEL.gguf"};
    char line[4096];
    int ok = argc == 2 && !ign_model_open(&m, argv[1], NULL, &e);
    ok = ok && !ign_session_create(m, 0, NULL, &s, &e);
    while (ok && fgets(line, sizeof line, stdin)) {
        int32_t *ids = NULL;
        size_t n, n_have, same = 0;
        ign_timing t;
        line[strcspn(line, "\n")] = answer[0] = '\0';
        add_message("user", line);
        ok = !ign_encode_chat(m, strcat(messages, "]"), NULL, &ids, &n, &e);
        messages[strlen(messages) - 1] = '\0';
        const int32_t *have = ign_session_tokens(s, &n_have);
        while (ok && same < n_have && same + 1 < n && ids[same] == have[same]) {
            same++;
        }
        ign_request r = {ids + same, n - same, 512, .logprobs = -1, .on_event = on_event};
        ok = ok && !ign_session_truncate(s, same, &e) && !ign_session_submit(s, &r, &e);
        for (int busy = ok; ok && busy; ok = !ign_step(m, &busy, &e)) {
        }
        ign_session_get_timing(s, &t);
        fprintf(stderr, "\n[%d tokens computed, %d new]\n", t.prompt_tokens, t.new_tokens);
        add_message("assistant", answer);
        ign_free(ids);
    }
    fprintf(stderr, "%s", ok ? "" : e.text);
    ign_session_free(s);
    ign_model_close(m);
    return !ok;
}
