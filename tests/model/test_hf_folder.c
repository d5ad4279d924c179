/* test_hf_folder.c: Hugging Face folders against GGUF files of the same model.
 *
 *     test_hf_folder GOLDEN
 *
 * GOLDEN has folders that transformers wrote and GGUF files of the same weights; others are made
 * here, as `ign quantize` makes them.
 */
#include <math.h>
#include <sys/stat.h>

#include "format/gguf_builder.h"
#include "model/folder_rig.h"
#include "model/quantize.h"
#include "model/runner.h"
#include "model/sampling.h"
#include "model/source.h"

enum { N_TOK = 24 };

static float *logits_of(const char *path, const char *device, int *n_vocab) {
    static const int32_t tok[N_TOK] = {3,  1,  4,  1,  5,  9,   2,  6,   5,  3,  58, 97,
                                       93, 23, 84, 62, 64, 133, 83, 127, 95, 40, 28, 200};
    struct runner r;
    struct model_opts o = {.device = device,
                           .n_ctx = 64,
                           .max_tok = N_TOK,
                           .max_out = N_TOK,
                           .kv_type = DT_F32,
                           .n_thread = 2};
    runner_open(&r, path, &o);
    *n_vocab = r.m->cfg.n_vocab;
    float *out = mem_alloc((size_t)N_TOK * (size_t)*n_vocab, sizeof *out);
    assert_non_null(out);
    runner_feed(&r, 0, tok, N_TOK, N_TOK, out);
    runner_close(&r);
    return out;
}

/* The largest difference of two models' logits, which must be finite. */
static double distance(const char *a, const char *b, const char *device) {
    int n = 0, m = 0;
    float *x = logits_of(a, device, &n), *y = logits_of(b, device, &m);
    double most = 0;
    assert_int_equal(n, m);
    for (int i = 0; i < N_TOK * n; i++) {
        assert_true(isfinite(x[i]) && isfinite(y[i]));
        most = fmax(most, fabs((double)x[i] - (double)y[i]));
    }
    mem_free(x);
    mem_free(y);
    return most;
}

static void near_the_gguf_file(void **state) {
    (void)state;
    static const char *const names[] = {
        "tiny-mistral", "tiny-llama31", "tiny-mixtral", "tiny-linear", "tiny-yarn",
        "tiny-qwen3",   "tiny-gemma2",  "tiny-gemma3",  "tiny-phi3",   "tiny-phi35"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char a[512], b[512];
        snprintf(a, sizeof a, "%s/%s", rig_golden, names[i]);
        snprintf(b, sizeof b, "%s/%s.gguf", rig_golden, names[i]);
        double d = distance(a, b, "plain");
        print_message("%s: folder and GGUF file differ by at most %.2e\n", names[i], d);
        assert_true(d < 1e-4);
    }
}

/* The folder's directory, written out as a GGUF file. */
static void write_gguf(const char *folder, const char *path) {
    struct gguf *g;
    struct builder b;
    assert_int_equal(source_open(&g, folder, false, NULL), ERR_OK);
    builder_init(&b);
    for (size_t i = 0; i < g->n_kv; i++) {
        const struct gguf_kv *kv = &g->kv[i];
        if (kv->type == GGUF_ARRAY) {
            builder_kv_array_head(&b, kv->key.p, kv->elem, kv->n);
            builder_append(&b.kv, kv->data, (size_t)kv->bytes);
        } else {
            builder_kv_raw(&b, kv->key.p, kv->type, kv->data, (size_t)kv->bytes);
        }
    }
    for (size_t i = 0; i < g->n_tensor; i++) {
        const struct gguf_tensor *t = &g->tensor[i];
        builder_tensor(&b, t->name.p, t->type, t->n_dim, t->dim, t->data);
    }
    assert_true(builder_write(&b, path));
    builder_fini(&b);
    gguf_close(g);
}

/* As `ign quantize FOLDER PATH --type TYPE`. */
static void quantize(const char *folder, const char *path, const char *type) {
    struct gguf *g;
    struct quant_search search;
    struct quantize_job job = {.out = path, .kind = mix_find(type), .search = &search};
    struct err e = {0};
    char line[1200];
    assert_non_null(job.kind);
    quant_search_init_c(&search);
    assert_int_equal(source_open(&g, folder, false, NULL), ERR_OK);
    job.in = g;
    assert_int_equal(pool_create(&job.pool, 1, NULL), ERR_OK);
    if (quantize_run(&job, &e)) {
        fail_msg("%s", err_line(&e, line, sizeof line));
    }
    pool_free(job.pool);
    mem_free(job.tensor);
    gguf_close(g);
}

/* Every family: the GGUF file that `ign quantize` makes of a folder, in the folder's own type and
 * in f32, has its logits: the same bits by definition, and from one kernel. Files of llama have the
 * rows of Q and K in another order, but attention sums whole numbers, in any order. */
static void as_the_gguf_file_made_from_it(void **state) {
    (void)state;
    static const struct {
        const char *name, *type;
    } all[] = {
        {"tiny-mistral", "f16"},       {"tiny-llama31", "bf16"},  {"tiny-mixtral", "f32"},
        {"tiny-linear", "f32"},        {"tiny-mistral3", "bf16"}, {"tiny-qwen2", "bf16"},
        {"tiny-qwen2-window", "bf16"}, {"tiny-yarn", "f32"},      {"tiny-qwen3", "f32"},
        {"tiny-gemma2", "f32"},        {"tiny-gemma3", "f32"},    {"tiny-gemma3-image", "bf16"},
        {"tiny-phi3", "f32"},          {"tiny-phi35", "f16"},     {"tiny-phi4", "bf16"},
    };
    static const char *const devices[] = {"plain", "cpu"};
    for (size_t i = 0; i < 4 * sizeof all / sizeof *all; i++) {
        const char *device = devices[i % 2], *name = all[i / 4].name;
        const char *type = i / 2 % 2 ? "f32" : all[i / 4].type;
        char folder[512], path[512];
        snprintf(folder, sizeof folder, "%s/%s", rig_golden, name);
        snprintf(path, sizeof path, "%s.gguf", rig_folder);
        quantize(folder, path, type);
        double d = distance(folder, path, device);
        unlink(path);
        bool exact = strcmp(device, "plain") == 0 || strcmp(type, all[i / 4].type) == 0;
        print_message("%s, %s on %s: differ by at most %.2e\n", name, type, device, d);
        assert_true(exact ? d == 0 : d < 2e-4);
    }
}

static void one_file_or_many_is_the_same(void **state) {
    (void)state;
    char whole[512];
    snprintf(whole, sizeof whole, "%s/tiny-llama31", rig_golden);
    rig_copy("tiny-llama31");
    assert_true(distance(whole, rig_folder, "plain") == 0);
    /* the same through links, as the hub's cache has them */
    rig_clear();
    char **names, from[512];
    size_t n;
    assert_int_equal(os_list(whole, &names, &n, NULL), ERR_OK);
    for (size_t i = 0; i < n; i++) {
        char *real = realpath(whole, NULL);
        snprintf(from, sizeof from, "%.400s/%.100s", real, names[i]);
        free(real);
        assert_int_equal(symlink(from, rig_path(names[i])), 0);
    }
    mem_free(names);
    assert_true(distance(whole, rig_folder, "plain") == 0);
}

static void text_comes_from_the_small_files(void **state) {
    (void)state;
    struct model *m;
    struct err e = {0};
    struct model_opts o = {0};
    rig_copy("tiny-qwen2");
    rig_replace("generation_config.json", "\"eos_token_id\": 255", "\"eos_token_id\": [255, 7, 9]");
    assert_int_equal(model_open(&m, rig_folder, &o, &e), ERR_OK);
    assert_true(str_starts(m->tmpl, "{% for m in messages %}"));
    assert_int_equal(vocab_eos(m->vocab), 255);
    assert_int_equal(vocab_kind(m->vocab, 255), PIECE_CONTROL);
    assert_true(vocab_is_end(m->vocab, 7) && vocab_is_end(m->vocab, 9));
    assert_false(vocab_adds_bos(m->vocab));
    assert_int_equal(m->cfg.n_layer, 2);
    assert_true(m->cfg.rope_halves && m->cfg.qkv_bias && !m->cfg.tied);
    model_close(m);
    /* more than two beside EOS need a key of their own; and a list without EOS in it counts, too */
    rig_replace("generation_config.json", "[255, 7, 9]", "[3, 4, 5, 6, 8]");
    assert_int_equal(model_open(&m, rig_folder, &o, &e), ERR_OK);
    assert_int_equal(vocab_eos(m->vocab), 255);
    for (int32_t id = 0; id < 256; id++) {
        assert_int_equal(vocab_is_end(m->vocab, id), (id >= 3 && id <= 8 && id != 7) || id == 255);
    }
    model_close(m);
    /* without the file, the template of the settings; a list has a default one */
    unlink(rig_path("chat_template.jinja"));
    rig_replace("tokenizer_config.json", "{",
                "{\"chat_template\": [{\"name\":\"x\",\"template\":\"no\"},"
                "{\"name\":\"default\",\"template\":\"yes\"}],");
    assert_int_equal(model_open(&m, rig_folder, &o, &e), ERR_OK);
    assert_true(str_is(m->tmpl, "yes"));
    model_close(m);
    assert_int_equal(mem_live(), 0);
}

static void sampling_is_the_models_own(void **state) {
    (void)state;
    struct gguf *g;
    struct sampling_own s;
    char path[512];
    rig_copy("tiny-qwen2");
    snprintf(path, sizeof path, "%s.gguf", rig_folder);
    rig_replace("generation_config.json", "\"eos_token_id\"",
                "\"temperature\": 0.25, \"top_k\": 20, \"top_p\": 0.5, \"min_p\": 0, "
                "\"repetition_penalty\": 1.125, \"do_sample\": true, \"eos_token_id\"");
    write_gguf(rig_folder, path); /* a GGUF file has the same keys */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(source_open(&g, i ? path : rig_folder, false, NULL), ERR_OK);
        sampling_read(&s, g);
        gguf_close(g);
        static const double want[SAMPLING_N] = {0.25, 20, 0.5, 0, 1.125};
        for (int k = 0; k < SAMPLING_N; k++) {
            assert_true(s.said[k] && s.value[k] == want[k]);
        }
    }
    unlink(path);
    struct builder b;
    builder_init(&b);
    builder_kv_f32(&b, "general.sampling.temp", NAN);
    builder_kv_f32(&b, "general.sampling.top_p", 0.01f);
    builder_kv_str(&b, "general.sampling.min_p", "x");
    builder_kv_u32(&b, "general.sampling.penalty_repeat", 1);
    assert_true(builder_write(&b, path));
    builder_fini(&b);
    assert_int_equal(source_open(&g, path, false, NULL), ERR_OK);
    sampling_read(&s, g);
    gguf_close(g);
    unlink(path);
    for (int k = 0; k < SAMPLING_N; k++) {
        assert_false(s.said[k]);
    }
}

/* Settings that say that the output matrix is the table: a copy of it in the files is left out, and
 * one that differs is right, as in transformers. */
static void tied_weights_are_one(void **state) {
    (void)state;
    struct gguf *g;
    char *text;
    size_t n;
    unsigned from, to, begin, end;
    rig_copy("tiny-qwen2");
    rig_replace("config.json", "\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true");
    assert_int_equal(source_open(&g, rig_folder, false, NULL), ERR_OK);
    assert_non_null(gguf_find_tensor(g, "output.weight"));
    gguf_close(g);
    rig_read(rig_path("model.safetensors"), &text, &n);
    const char *out = strstr(text + 8, "lm_head.weight"), *table = strstr(text + 8, "embed_tokens");
    assert_int_equal(sscanf(strstr(out, "offsets"), "offsets\":[%u,%u]", &to, &end), 2);
    assert_int_equal(sscanf(strstr(table, "offsets"), "offsets\":[%u,%u]", &from, &begin), 2);
    assert_int_equal(begin - from, end - to);
    char *data = text + 8 + (unsigned char)text[0] + 256 * (unsigned char)text[1];
    memcpy(data + to, data + from, end - to);
    rig_write("model.safetensors", text, n);
    mem_free(text);
    assert_int_equal(source_open(&g, rig_folder, false, NULL), ERR_OK);
    assert_null(gguf_find_tensor(g, "output.weight"));
    gguf_close(g);
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    static const char *const names[] = {"tiny-mixtral", "tiny-llama31"};
    if (!mem_fail_at(0)) {
        skip();
    }
    for (size_t i = 0; i < 2; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", rig_golden, names[i]);
        enum err_code rc = ERR_NOMEM;
        for (size_t n = 1; rc != ERR_OK; n += 1 + n / 200) {
            struct gguf *g = NULL;
            struct err e = {0};
            mem_fail_at(n);
            rc = source_open(&g, path, false, &e);
            mem_fail_at(0);
            gguf_close(g);
            assert_int_equal(mem_live(), 0);
            assert_true(rc == ERR_OK || (rc == e.code && rc == ERR_NOMEM));
        }
    }
}

int main(int argc, char **argv) {
    rig_golden = argc > 1 ? argv[1] : "tests/model/golden";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(near_the_gguf_file),
        cmocka_unit_test(as_the_gguf_file_made_from_it),
        cmocka_unit_test(one_file_or_many_is_the_same),
        cmocka_unit_test(text_comes_from_the_small_files),
        cmocka_unit_test(sampling_is_the_models_own),
        cmocka_unit_test(tied_weights_are_one),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("hf_folder", tests, rig_setup, rig_teardown);
}
