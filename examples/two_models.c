/* two_models.c: two_models A.gguf B.gguf "text": two models in one process go on with the same
 * text, a step of one after a step of the other, as a program would that asks for two opinions. */
#include <stdio.h>
#include <string.h>

#include "ign.h"

struct voice {
    ign_model *m;
    ign_session *s;
    char text[8192];
};

static void on_event(void *arg, const ign_event *ev) {
    struct voice *v = arg;
    strncat(v->text, ev->text, sizeof v->text - 1 - strlen(v->text));
}

static ign_status voice_begin(struct voice *v, const char *path, const char *text, ign_error *e) {
    int32_t *ids = NULL;
    size_t n;
    ign_status c;
    if ((c = ign_model_open(&v->m, path, NULL, e)) ||
        (c = ign_session_create(v->m, 0, NULL, &v->s, e)) ||
        (c = ign_encode(v->m, text, strlen(text), false, -1, &ids, &n, e))) {
        return c;
    }
    ign_request r = {
        .ids = ids, .n_ids = n, .max_tokens = 64, .logprobs = -1, .on_event = on_event, .arg = v};
    c = ign_session_submit(v->s, &r, e);
    ign_free(ids);
    return c;
}

int main(int argc, char **argv) {
    static struct voice v[2];
    ign_error e = {0, "usage: two_models A.gguf B.gguf TEXT"};
    int busy[2] = {1, 1};
    int ok = argc == 4;
    for (int i = 0; ok && i < 2; i++) {
        ok = !voice_begin(&v[i], argv[1 + i], argv[3], &e);
    }
    while (ok && busy[0] + busy[1] > 0) {
        ok = !ign_step(v[0].m, &busy[0], &e) && !ign_step(v[1].m, &busy[1], &e);
    }
    for (int i = 0; i < 2; i++) {
        ign_model_info info = {.name = ""};
        if (v[i].m) {
            ign_model_get_info(v[i].m, &info);
        }
        printf("--- %s\n%s\n", info.name, v[i].text);
        ign_session_free(v[i].s);
        ign_model_close(v[i].m);
    }
    fprintf(stderr, "%s", ok ? "" : e.text);
    return !ok;
}
