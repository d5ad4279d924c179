/* test_embed.c: vectors of texts: against transformers, and against themselves.
 *
 * The values in tests/model/golden are written by tools/make_tiny_encoder.py. A text has the same
 * bits alone and among others, by one thread and by two; a decoder's whatever its steps hold. In a
 * torture build every allocation fails in turn.
 */
#include <math.h>

#include "base/mem.h"
#include "base/os.h"
#include "engine/engine_rig.h"

#define GOLDEN "tests/model/golden/"

enum { TEXTS = 32, DIM_MAX = 96, IDS_MAX = 64 };

struct golden {
    char *file;
    int n, dim;
    const char *text[TEXTS];
    size_t n_bytes[TEXTS];
    int32_t ids[TEXTS][IDS_MAX];
    int n_ids[TEXTS];
    float vector[2][TEXTS][DIM_MAX]; /* by the mean; by one token */
};

/* The next line of *at, which ends with a zero then. */
static char *next_line(char **at, size_t *n) {
    char *line = *at, *end = strchr(line, '\n');
    if (n) { /* a text may hold a zero */
        end = line;
        while (*end != '\n') {
            end++;
        }
        *n = (size_t)(end - line);
    }
    assert_non_null(end);
    *end = '\0';
    *at = end + 1;
    return line;
}

static void golden_read(struct golden *g, const char *path) {
    struct err e = {0};
    size_t n = 0;
    *g = (struct golden){0};
    assert_int_equal(os_read_file(path, 1 << 20, &g->file, &n, &e), ERR_OK);
    for (char *at = g->file, *p; at < g->file + n; g->n++) {
        assert_true(g->n < TEXTS);
        g->text[g->n] = next_line(&at, &g->n_bytes[g->n]);
        for (p = next_line(&at, NULL); *p;) {
            assert_true(g->n_ids[g->n] < IDS_MAX);
            g->ids[g->n][g->n_ids[g->n]++] = (int32_t)strtol(p, &p, 10);
        }
        for (int k = 0; k < 2; k++) {
            g->dim = 0;
            for (p = next_line(&at, NULL); *p;) {
                assert_true(g->dim < DIM_MAX);
                g->vector[k][g->n][g->dim++] = strtof(p, &p);
            }
        }
    }
}

static ign_model *open_model(const char *path, int threads, int batch) {
    ign_model_options o = {
        .device = rig_device, .threads = threads, .batch = batch, .context = 128, .kv_type = "f32"};
    ign_error e = {0};
    ign_model *m = NULL;
    if (ign_model_open(&m, path, &o, &e) != IGN_OK) {
        fail_msg("%s", e.text);
    }
    return m;
}

struct result {
    float vector[TEXTS][DIM_MAX];
    int tokens[TEXTS], cut[TEXTS];
};

/* Texts first..first + n of the file. */
static void embed(ign_model *m, const struct golden *g, int first, int n, ign_pooling how,
                  struct result *r) {
    float *v = mem_alloc((size_t)(n * g->dim), sizeof *v);
    ign_error e = {0};
    ign_embed_request q = {.text = g->text + first,
                           .n_bytes = g->n_bytes + first,
                           .n_text = (size_t)n,
                           .pooling = how,
                           .vector = v,
                           .tokens = r->tokens,
                           .cut = r->cut};
    if (ign_embed(m, &q, &e) != IGN_OK) {
        fail_msg("%s", e.text);
    }
    for (int i = 0; i < n; i++) {
        memcpy(r->vector[i], v + i * g->dim, (size_t)g->dim * sizeof *v);
    }
    mem_free(v);
}

static void assert_vectors(const struct golden *g, int kind, const struct result *r, float bound) {
    for (int i = 0; i < g->n; i++) {
        assert_int_equal(r->tokens[i], g->n_ids[i]);
        for (int k = 0; k < g->dim; k++) {
            float off = fabsf(r->vector[i][k] - g->vector[kind][i][k]);
            if (!(off <= bound)) {
                fail_msg("text %d, number %d is off by %g", i, k, (double)off);
            }
        }
    }
}

static const char *const encoders[] = {GOLDEN "tiny-bert", GOLDEN "tiny-bert.gguf"};

static void test_encoder_golden(void **state) {
    (void)state;
    static struct golden g;
    static struct result r;
    golden_read(&g, GOLDEN "tiny-bert.embeddings");
    for (int k = 0; k < 2; k++) {
        ign_model *m = open_model(encoders[k], 2, 0);
        embed(m, &g, 0, g.n, IGN_POOL_AUTO, &r); /* which is the mean */
        assert_vectors(&g, 0, &r, 1e-4f);
        embed(m, &g, 0, g.n, IGN_POOL_CLS, &r);
        assert_vectors(&g, 1, &r, 1e-4f);
        int cut = 0;
        for (int i = 0; i < g.n; i++) {
            cut += r.cut[i] > 0;
            assert_true(r.cut[i] == 0 || r.tokens[i] == 40);
        }
        assert_int_equal(cut, 1);
        ign_model_close(m);
    }
    mem_free(g.file);
}

/* By transformers' tokenizer: what a model was trained with. */
static void test_encoder_ids(void **state) {
    (void)state;
    static struct golden g;
    golden_read(&g, GOLDEN "tiny-bert.embeddings");
    for (int k = 0; k < 2; k++) {
        ign_model_options o = {.tokenizer_only = true};
        ign_error e = {0};
        ign_model *m = NULL;
        assert_int_equal(ign_model_open(&m, encoders[k], &o, &e), IGN_OK);
        for (int i = 0; i < g.n; i++) {
            int32_t *ids = NULL;
            size_t n = 0;
            assert_int_equal(ign_encode(m, g.text[i], g.n_bytes[i], false, -1, &ids, &n, &e),
                             IGN_OK);
            assert_true(n >= (size_t)g.n_ids[i]); /* there, long texts are cut */
            assert_memory_equal(ids, g.ids[i], (size_t)(g.n_ids[i] - 1) * sizeof *ids);
            assert_int_equal(ids[n - 1], 3);
            ign_free(ids);
        }
        ign_embed_request q = {0};
        assert_int_equal(ign_embed(m, &q, &e), IGN_USAGE);
        ign_model_close(m);
    }
    mem_free(g.file);
}

static void assert_same_bits(const struct result *a, int i, const struct result *b, int k,
                             int dim) {
    assert_memory_equal(a->vector[i], b->vector[k], (size_t)dim * sizeof(float));
}

/* Alone, among others, by one thread, in steps that hold one text or all. */
static void test_encoder_same_bits(void **state) {
    (void)state;
    static struct golden g;
    static struct result all, one;
    golden_read(&g, GOLDEN "tiny-bert.embeddings");
    ign_model *m = open_model(encoders[0], 2, 0), *other = open_model(encoders[0], 1, 1);
    embed(m, &g, 0, g.n, IGN_POOL_MEAN, &all);
    for (int i = 0; i < g.n; i++) {
        embed(m, &g, i, 1, IGN_POOL_MEAN, &one);
        assert_same_bits(&all, i, &one, 0, g.dim);
    }
    embed(other, &g, 0, g.n, IGN_POOL_MEAN, &one);
    for (int i = 0; i < g.n; i++) {
        assert_same_bits(&all, i, &one, i, g.dim);
    }
    ign_model_close(other);
    ign_model_close(m);
    mem_free(g.file);
}

static void test_encoder_refuses(void **state) {
    (void)state;
    static const char *const text[] = {"The pump is hot"};
    volatile int stop = 1;
    float v[DIM_MAX];
    ign_error e = {0};
    ign_session *s = NULL;
    ign_model_info info;
    ign_model *m = open_model(encoders[1], 2, 0);
    ign_model_get_info(m, &info);
    assert_true(info.embeds_only);
    assert_int_equal(info.dimension, 96);
    assert_int_equal(info.context, 40);
    assert_int_equal(ign_session_create(m, 0, NULL, &s, &e), IGN_UNSUPPORTED);
    assert_non_null(strstr(e.text, "embed"));
    ign_embed_request q = {.text = text, .n_text = 1, .vector = v, .pooling = (ign_pooling)9};
    assert_int_equal(ign_embed(m, &q, &e), IGN_RANGE);
    q.pooling = IGN_POOL_AUTO;
    q.cancel = &stop;
    assert_int_equal(ign_embed(m, &q, &e), IGN_CANCELLED);
    q.cancel = NULL;
    q.unscaled = true;
    assert_int_equal(ign_embed(m, &q, &e), IGN_OK);
    double square = 0;
    for (int i = 0; i < 96; i++) {
        square += (double)v[i] * v[i];
    }
    assert_true(fabs(square - 1) > 1e-3);
    ign_model_close(m);
}

/* The ordinary forward's last vectors, pooled: the same in steps of any size. */
static void test_decoder(void **state) {
    (void)state;
    static struct golden g;
    static struct result all, small;
    golden_read(&g, GOLDEN "tiny-qwen3.embeddings");
    ign_model *m = open_model(GOLDEN "tiny-qwen3", 2, 0), *other;
    other = open_model(GOLDEN "tiny-qwen3", 1, 7);
    for (int kind = 0; kind < 2; kind++) {
        ign_pooling how = kind ? IGN_POOL_LAST : IGN_POOL_AUTO;
        embed(m, &g, 0, g.n, how, &all);
        assert_vectors(&g, kind, &all, 3e-4f);
        embed(other, &g, 0, g.n, how, &small);
        for (int i = 0; i < g.n; i++) {
            assert_same_bits(&all, i, &small, i, g.dim);
        }
    }
    for (int i = 0; i < g.n; i++) { /* alone: the last of `all` was by the last token */
        embed(m, &g, i, 1, IGN_POOL_LAST, &small);
        assert_same_bits(&all, i, &small, 0, g.dim);
    }
    static const char *const none[] = {""};
    float v[DIM_MAX];
    ign_error e = {0};
    ign_embed_request q = {.text = none, .n_text = 1, .vector = v};
    assert_int_equal(ign_embed(m, &q, &e), IGN_OK); /* no token, as nothing is added */
    assert_true(v[0] == 0 && v[63] == 0);
    ign_model_close(other);
    ign_model_close(m);
    mem_free(g.file);
}

/* A decoder's folder without an output matrix: windows, the end that its tokenizer adds, where a
 * text is cut and how it is pooled are the folder's; it writes no text. */
static void test_headless(void **state) {
    (void)state;
    static struct golden g;
    static struct result r;
    golden_read(&g, GOLDEN "tiny-mistral-embed.embeddings");
    ign_model *m = open_model(GOLDEN "tiny-mistral-embed", 2, 0);
    embed(m, &g, 0, g.n, IGN_POOL_AUTO, &r); /* which is the last token */
    assert_vectors(&g, 1, &r, 3e-4f);
    for (int i = 0; i < g.n; i++) {
        assert_true(r.cut[i] == 0 || r.tokens[i] == 40);
    }
    assert_true(r.cut[g.n - 1] > 0);
    embed(m, &g, 0, g.n, IGN_POOL_MEAN, &r);
    assert_vectors(&g, 0, &r, 3e-4f);
    ign_error e = {0};
    ign_session *s = NULL;
    ign_model_info info;
    ign_model_get_info(m, &info);
    assert_true(info.embeds_only);
    assert_int_equal(ign_session_create(m, 0, NULL, &s, &e), IGN_UNSUPPORTED);
    assert_non_null(strstr(e.text, "without an output matrix"));
    ign_model_close(m);
    mem_free(g.file);
}

/* A line as long as a book: only its front is looked at, and gives what the whole would. */
static void test_long_line(void **state) {
    (void)state;
    static const char *const paths[] = {GOLDEN "tiny-bert", GOLDEN "tiny-qwen3"};
    enum { LONG = 4 << 20, SHORT = 6000 };
    char *text = mem_alloc(LONG, 1);
    assert_non_null(text);
    for (int i = 0; i < LONG; i++) {
        text[i] = i % 7 == 6 ? ' ' : (char)('a' + i % 5);
    }
    for (size_t k = 0; k < 2; k++) {
        ign_model *m = open_model(paths[k], 2, 0);
        int tokens[2], cut[2];
        const char *const both[] = {text, text};
        const size_t n_bytes[] = {SHORT, LONG};
        ign_error e = {0};
        ign_model_info info;
        ign_model_get_info(m, &info);
        float *out = mem_alloc(2 * (size_t)info.dimension, sizeof *out);
        ign_embed_request q = {.text = both,
                               .n_bytes = n_bytes,
                               .n_text = 2,
                               .vector = out,
                               .tokens = tokens,
                               .cut = cut};
        double start = os_now();
        assert_int_equal(ign_embed(m, &q, &e), IGN_OK);
        assert_true(os_now() - start < 30); /* whole it would be 4 million tokens, or so */
        assert_memory_equal(out, out + info.dimension, (size_t)info.dimension * sizeof *out);
        assert_int_equal(tokens[0], tokens[1]);
        assert_int_equal(tokens[0], info.context);
        assert_true(cut[0] > 0 && cut[1] >= 128 && cut[1] < 100000);
        mem_free(out);
        ign_model_close(m);
    }
    mem_free(text);
}

static ign_status embed_once(const char *path, ign_error *e) {
    static const char *const text[] = {"The pump is hot", "", "Änderung"};
    ign_model_options o = {.device = rig_device, .threads = 2, .context = 64};
    float v[3 * DIM_MAX];
    ign_model *m = NULL;
    ign_status rc = ign_model_open(&m, path, &o, e);
    ign_embed_request q = {.text = text, .n_text = 3, .vector = v};
    rc = rc ? rc : ign_embed(m, &q, e);
    ign_model_close(m);
    return rc;
}

static void test_every_allocation_fails(void **state) {
    (void)state;
    static const char *const paths[] = {GOLDEN "tiny-bert.gguf", GOLDEN "tiny-bert",
                                        GOLDEN "tiny-qwen3", GOLDEN "tiny-mistral-embed"};
    if (!mem_fail_at(0)) {
        skip();
    }
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        size_t live = mem_live();
        for (size_t n = 1;; n++) {
            ign_error e = {0};
            mem_fail_at(n);
            ign_status rc = embed_once(paths[i], &e);
            mem_fail_at(0);
            assert_int_equal(mem_live(), live);
            if (rc == IGN_OK) {
                assert_true(n > 50);
                break;
            }
            if (rc != IGN_NOMEM) {
                fail_msg("%s, allocation %zu: status %d, %s", paths[i], n, (int)rc, e.text);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encoder_golden),    cmocka_unit_test(test_encoder_ids),
        cmocka_unit_test(test_encoder_same_bits), cmocka_unit_test(test_encoder_refuses),
        cmocka_unit_test(test_decoder),           cmocka_unit_test(test_headless),
        cmocka_unit_test(test_long_line),         cmocka_unit_test(test_every_allocation_fails),
    };
    rig_device = "plain";
    int bad = cmocka_run_group_tests_name("plain", tests, NULL, NULL);
    rig_device = "cpu";
    return bad + cmocka_run_group_tests_name("cpu", tests, NULL, NULL);
}
