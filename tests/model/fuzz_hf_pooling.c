/* fuzz_hf_pooling.c: any text as what a folder of sentence-transformers says: an object whose
 * members are modules.json, the pooling module's config.json, sentence_bert_config.json and
 * config_sentence_transformers.json.
 */
#include <stdlib.h>
#include <string.h>

#include "model/config.h"
#include "model/hf_json.h"

static void demand(bool condition) {
    if (!condition) {
        abort();
    }
}

static void check(enum err_code rc, const struct err *e) {
    demand(rc ? e->code == rc && e->what[0] : !e->code);
}

static void read_modules(const struct json *modules) {
    struct str folder;
    struct err e = {0};
    enum err_code rc = hf_modules(modules, &folder, &e);
    check(rc, &e);
    if (!rc && folder.n) {
        demand(folder.p[0] != '.' && !memchr(folder.p, '/', folder.n));
    }
}

static void read_settings(const struct arch *a, const struct json *root) {
    struct gguf_build b;
    struct gguf *g;
    struct err e = {0};
    gguf_build_begin(&b, "fuzz", &e);
    enum err_code rc = hf_pooling_put(&b, a, hf_member(root, "pooling"), &e);
    check(rc, &e);
    if (!rc) {
        uint32_t how = hf_known_int(&b, a, "pooling_type");
        demand(how == POOL_MEAN || how == POOL_CLS || how == POOL_LAST);
        rc = hf_text_limit_put(&b, a, hf_member(root, "limit"), &e);
        rc = rc ? rc : hf_prompt_put(&b, a, hf_member(root, "prompt"), &e);
        check(rc, &e);
    }
    b.code = rc;
    if (gguf_build_end(&b, &g) == ERR_OK) {
        gguf_close(g);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct json *root;
    if (json_parse((const char *)data, size, &root, NULL) == ERR_OK) {
        const struct json *modules = hf_member(root, "modules");
        if (modules) {
            read_modules(modules);
        }
        read_settings(&arch_bert, root);
        read_settings(&arch_llama, root);
        json_free(root);
    }
    demand(mem_live() == 0);
    return 0;
}
