/* test_load.c: opening and loading files that lie (hostile-inputs A29, A30, A34, A36), and what it
 * takes.
 *
 * Files are made in a temporary folder by small_model.h, with one thing wrong each. Under
 * IGN_TORTURE every allocation of opening, loading and one step fails in turn.
 */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/os.h"
#include "model/runner.h"
#include "model/small_model.h"

static char folder[256], path[320];

static int make_folder(void **state) {
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/ign_load_XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(folder)) {
        return -1;
    }
    snprintf(path, sizeof path, "%s/small.gguf", folder);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static void save(struct builder *b) {
    assert_true(builder_write(b, path));
    builder_fini(b);
}

/* Opens and loads what was saved on a device; the message must hold `said` on failure. */
static enum err_code load_on(const char *device, const struct model_opts *more, const char *said) {
    struct model_opts o = more ? *more : (struct model_opts){0};
    struct model *m = NULL;
    struct err e = {0};
    char line[1024];
    o.device = device;
    enum err_code rc = model_open(&m, path, &o, &e);
    rc = rc ? rc : model_load(m, &o, &e);
    model_close(m);
    assert_int_equal(mem_live(), 0);
    if (rc && (!said || !strstr(err_line(&e, line, sizeof line), said))) {
        fail_msg("'%s' does not say '%s'", err_line(&e, line, sizeof line),
                 said ? said : "(no error)");
    }
    return rc;
}

static void check_load(struct builder *b, enum err_code want, const char *said) {
    save(b);
    assert_int_equal(load_on("plain", NULL, said), want);
    assert_int_equal(load_on("cpu", NULL, said), want);
}

/* ---- A29: tensors --------------------------------------------------------------------------- */

static void the_small_models_load(void **state) {
    (void)state;
    const struct small_opts all[] = {{0},
                                     {.experts = true},
                                     {.biases = true},
                                     {.arch = "qwen2", .biases = true},
                                     {.arch = "qwen3", .qk_norm = true},
                                     {.arch = "gemma2", .post_norm = true},
                                     {.arch = "gemma3", .post_norm = true, .qk_norm = true},
                                     {.arch = "phi3", .fused = true}};
    struct builder b;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        small_build(&b, &all[i]);
        check_load(&b, ERR_OK, NULL);
    }
}

static void a_missing_tensor_is_named(void **state) {
    (void)state;
    const char *const dense[] = {
        "token_embd.weight",     "output_norm.weight",       "blk.0.attn_norm.weight",
        "blk.1.attn_q.weight",   "blk.0.attn_k.weight",      "blk.1.attn_v.weight",
        "blk.0.ffn_gate.weight", "blk.1.attn_output.weight", "blk.1.ffn_norm.weight",
        "blk.1.ffn_up.weight",   "blk.0.ffn_down.weight",    "blk.0.attn_k.bias",
        "blk.1.attn_v.bias"};
    const char *const experts[] = {"blk.0.ffn_gate_inp.weight", "blk.1.ffn_gate_exps.weight",
                                   "blk.0.ffn_up_exps.weight", "blk.1.ffn_down_exps.weight"};
    struct builder b;
    for (size_t i = 0; i < sizeof dense / sizeof *dense; i++) {
        small_build(&b, &(struct small_opts){.skip_tensor = dense[i], .biases = true});
        check_load(&b, ERR_FORMAT, dense[i]);
    }
    for (size_t i = 0; i < sizeof experts / sizeof *experts; i++) {
        small_build(&b, &(struct small_opts){.skip_tensor = experts[i], .experts = true});
        check_load(&b, ERR_FORMAT, experts[i]);
    }
    small_build(&b, &(struct small_opts){.arch = "qwen2"});
    check_load(&b, ERR_FORMAT, "blk.0.attn_q.bias");
    const char *const gemma[] = {"blk.0.attn_q_norm.weight", "blk.1.attn_k_norm.weight",
                                 "blk.1.post_attention_norm.weight", "blk.0.post_ffw_norm.weight"};
    for (size_t i = 0; i < sizeof gemma / sizeof *gemma; i++) {
        small_build(
            &b, &(struct small_opts){
                    .arch = "gemma3", .skip_tensor = gemma[i], .qk_norm = true, .post_norm = true});
        check_load(&b, ERR_FORMAT, gemma[i]);
    }
    small_build(&b, &(struct small_opts){.arch = "phi3"});
    check_load(&b, ERR_FORMAT, "blk.0.attn_qkv.weight");
}

static void a_wrong_shape_is_told_with_both_shapes(void **state) {
    (void)state;
    const char *name = "blk.1.attn_q.weight";
    const struct {
        uint32_t n_dim;
        uint64_t dim[4];
    } all[] = {
        {2, {SMALL_D, SMALL_D / 2}},    {2, {SMALL_D / 2, SMALL_D}}, {1, {SMALL_D}},
        {1, {SMALL_D * SMALL_D}},       {3, {SMALL_D, SMALL_D, 2}},  {4, {SMALL_D, SMALL_D, 1, 2}},
        {2, {SMALL_D * 2, SMALL_D * 2}}};
    struct builder b;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char said[64];
        snprintf(said, sizeof said, "[%d, ", (int)all[i].dim[0]);
        small_build(&b, &(struct small_opts){.skip_tensor = name});
        builder_tensor(&b, name, DT_F32, all[i].n_dim, all[i].dim, NULL);
        check_load(&b, ERR_FORMAT, said);
        small_build(&b, &(struct small_opts){.skip_tensor = name});
        builder_tensor(&b, name, DT_F32, all[i].n_dim, all[i].dim, NULL);
        check_load(&b, ERR_FORMAT, "expected [32, 32, 1, 1]");
    }
    small_build(&b, &(struct small_opts){.skip_tensor = "token_embd.weight"});
    builder_tensor(&b, "token_embd.weight", DT_F32, 2, (uint64_t[]){64, SMALL_VOCAB}, NULL);
    check_load(&b, ERR_FORMAT, "token_embd.weight");
}

/* Fused matrices must hold all of their parts and no more; a head's norm has a head's length. */
static void parts_of_a_matrix_must_fill_it(void **state) {
    (void)state;
    const struct {
        struct small_opts o;
        uint64_t dim[2];
        const char *said;
    } all[] = {
        {{.skip_tensor = "blk.1.attn_qkv.weight"}, {SMALL_D, 63}, "expected [32, 64, 1, 1]"},
        {{.skip_tensor = "blk.1.attn_qkv.weight"}, {SMALL_D, 96}, "expected [32, 64, 1, 1]"},
        {{.skip_tensor = "blk.1.attn_qkv.weight"}, {64, SMALL_D}, "expected [32, 64, 1, 1]"},
        {{.skip_tensor = "blk.0.ffn_up.weight"}, {SMALL_D, 64}, "expected [32, 128, 1, 1]"},
        {{.skip_tensor = "blk.0.ffn_up.weight"}, {SMALL_D, 127}, "expected [32, 128, 1, 1]"},
        {{.skip_tensor = "blk.0.attn_q_norm.weight", .qk_norm = true},
         {SMALL_D, 1},
         "expected [16, 1, 1, 1]"},
        {{.skip_tensor = "blk.1.attn_k_norm.weight", .qk_norm = true},
         {15, 1},
         "expected [16, 1, 1, 1]"},
    };
    struct builder b;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct small_opts o = all[i].o;
        o.arch = o.qk_norm ? "qwen3" : "phi3";
        o.fused = !o.qk_norm;
        small_build(&b, &o);
        builder_tensor(&b, o.skip_tensor, DT_F32, all[i].dim[1] > 1 ? 2 : 1, all[i].dim, NULL);
        check_load(&b, ERR_FORMAT, all[i].said);
    }
}

/* Any readable type is a weight; extra tensors are warned about and do no harm. */
static void other_types_and_extra_tensors_load(void **state) {
    (void)state;
    struct builder b;
    const uint32_t type[] = {DT_F16, DT_BF16, DT_Q4_0, DT_Q4_1, DT_Q5_0, DT_Q8_0, DT_IQ4_NL};
    for (size_t i = 0; i < sizeof type / sizeof *type; i++) {
        small_build(&b, &(struct small_opts){.skip_tensor = "blk.0.ffn_norm.weight"});
        builder_tensor(&b, "blk.0.ffn_norm.weight", type[i], 1, (uint64_t[]){SMALL_D}, NULL);
        for (int k = 0; k < 20; k++) {
            char extra[32];
            snprintf(extra, sizeof extra, "extra.%d\x1b[2J", k);
            builder_tensor(&b, extra, DT_F32, 1, (uint64_t[]){8}, NULL);
        }
        check_load(&b, ERR_OK, NULL);
    }
}

static void experts_one_by_one(void **state) {
    (void)state;
    const struct small_opts o = {.experts = true, .skip_tensor = "blk.1.ffn_up_exps.weight"};
    char name[48];
    struct builder b;
    for (int missing = -1; missing < SMALL_EXP; missing++) {
        small_build(&b, &o);
        for (int i = 0; i < SMALL_EXP; i++) {
            snprintf(name, sizeof name, "blk.1.ffn_up.%d.weight", i);
            if (i != missing) {
                builder_tensor(&b, name, DT_F32, 2, (uint64_t[]){SMALL_D, SMALL_FF}, NULL);
            }
        }
        /* Without the first one the file looks like one of stacked experts. */
        snprintf(name, sizeof name, "blk.1.ffn_up.%d.weight", missing);
        check_load(&b, missing < 0 ? ERR_OK : ERR_FORMAT,
                   missing ? name : "blk.1.ffn_up_exps.weight");
    }
    small_build(&b, &o); /* of two types */
    for (int i = 0; i < SMALL_EXP; i++) {
        snprintf(name, sizeof name, "blk.1.ffn_up.%d.weight", i);
        builder_tensor(&b, name, i == 2 ? DT_F16 : DT_F32, 2, (uint64_t[]){SMALL_D, SMALL_FF},
                       NULL);
    }
    check_load(&b, ERR_UNSUPPORTED, "blk.1.ffn_up.2.weight");
}

/* ---- A30: numbers that are none ---------------------------------------------------------------
 */

static void weights_that_are_not_finite_compute_without_harm(void **state) {
    (void)state;
    const float bad[] = {NAN, INFINITY, -INFINITY, 3e38f};
    const char *const device[] = {"plain", "cpu"};
    const int32_t tok[] = {0, 1, 2, 3, 4};
    for (int i = 0; i < 16; i++) {
        struct small_opts o = {.weight = bad[i / 4], .experts = i & 1};
        struct model_opts mo = {.device = device[i >> 1 & 1], .n_ctx = 16, .max_tok = 8};
        struct builder b;
        struct runner r;
        float out[5 * SMALL_VOCAB];
        small_build(&b, &o);
        save(&b);
        runner_open(&r, path, &mo);
        runner_feed(&r, 0, tok, 5, 5, out);
        runner_feed(&r, 0, tok, 2, 1, out);
        for (int k = 0; k < 2 * SMALL_VOCAB; k++) {
            assert_false(isfinite(out[k]) && bad[i / 4] != 3e38f);
        }
        runner_close(&r);
    }
}

/* ---- A34, A36: sizes ------------------------------------------------------------------------ */

static void what_does_not_fit_is_refused_with_numbers(void **state) {
    (void)state;
    struct builder b;
    small_build(&b, &(struct small_opts){0});
    save(&b);
    struct model_opts wide = {.n_ctx = 1 << 24, .max_tok = 1 << 24, .max_out = 1 << 24};
    assert_int_equal(load_on("cpu", &wide, "GB"), ERR_NOFIT);
    /* A tensor of 1 TiB that is a hole in the file. */
    small_build(&b, &(struct small_opts){0});
    builder_tensor_raw(&b, "hole", 4, DT_F32, 2, (uint64_t[]){1 << 20, 1 << 18}, 2,
                       (b.data.n + 31) / 32 * 32);
    b.pad = (32 - b.data.n % 32) % 32;
    save(&b);
    if (truncate(path, (INT64_C(1) << 40) + (1 << 20)) != 0) {
        assert_true(errno == EFBIG || errno == ENOSPC || errno == EINVAL);
        skip(); /* the file system has no files of this size */
    }
    assert_int_equal(load_on("cpu", NULL, "1099.5"), ERR_NOFIT);
    struct model_opts copy = {.no_mmap = true};
    assert_int_equal(load_on("cpu", &copy, "no-mmap"), ERR_NOFIT);
    assert_true(os_memory_peak() < UINT64_C(1) << 30);
}

static void what_it_takes_is_known_beforehand(void **state) {
    (void)state;
    struct model_opts o = {
        .n_ctx = 100, .max_tok = 7, .max_out = 3, .page_tok = 8, .kv_type = DT_F16};
    struct builder b;
    struct model *m;
    small_build(&b, &(struct small_opts){.experts = true});
    save(&b);
    assert_int_equal(model_open(&m, path, &o, NULL), ERR_OK);
    assert_int_equal(model_load(m, &o, NULL), ERR_OK);
    /* 13 pages of 2 layers, K and V, 1 head, 8 positions, 16 dimensions, 2 bytes. */
    assert_int_equal(m->plan.kv, 13 * 2 * 2 * 1 * 8 * 16 * 2);
    assert_int_equal(m->kv.n_page, 13);
    assert_int_equal(m->plan.weights, m->w.bytes);
    assert_int_equal(m->plan.weights, 4 * m->w.n_param);
    uint64_t per_tok =
        SMALL_D * 2 + 32 * 2 + SMALL_KV * 2 + 2 * 2 * SMALL_FF + SMALL_EXP + 4 + 2 * SMALL_D;
    uint64_t per_out = SMALL_D + SMALL_VOCAB;
    assert_true(m->plan.scratch > 4 * (7 * per_tok + 3 * per_out + 8)); /* and the device's own */
    model_close(m);
    o.kv_type = DT_F32;
    assert_int_equal(model_open(&m, path, &o, NULL), ERR_OK);
    assert_int_equal(model_load(m, &o, NULL), ERR_OK);
    assert_int_equal(m->plan.kv, 13 * 2 * 2 * 1 * 8 * 16 * 4);
    model_close(m);
}

/* ---- the rest of the door ---------------------------------------------------------------------
 */

/* Says what a machine of the test's own has: kilobytes, of which as many are available. */
static void say_memory(const char *root, unsigned kb) {
    char file[400];
    snprintf(file, sizeof file, "%s/proc/meminfo", root);
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    fprintf(f, "MemTotal: %u kB\nMemAvailable: %u kB\n", kb, kb);
    assert_int_equal(fclose(f), 0);
}

/* Weights are moved into memory only while others leave enough of it. */
static void memory_is_looked_at_again(void **state) {
    (void)state;
    char root[300], sub[320];
    snprintf(root, sizeof root, "%s/root", folder);
    snprintf(sub, sizeof sub, "%s/proc", root);
    struct builder b;
    small_build(&b, &(struct small_opts){0});
    save(&b);
    for (int full = 0; full < 2; full++) {
        struct model_opts o = {.device = "cpu", .system_root = root};
        struct model *m;
        struct err e = {0};
        assert_int_equal(os_mkdirs(sub, &e), ERR_OK);
        say_memory(root, 16 << 20);
        assert_int_equal(model_open(&m, path, &o, &e), ERR_OK);
        assert_int_equal(model_load(m, &o, &e), ERR_OK);
        assert_true(m->settling.wanted);
        say_memory(root, full ? 1 << 20 : 16 << 20);
        model_settle(m, 1000);
        assert_true(m->settling.credit <= 0.025); /* whoever waits for the next token */
        assert_false(m->settling.wanted);         /* at the end of the file, or at once */
        assert_int_equal(m->settling.part, full ? 0 : m->file->n_part);
        model_close(m);
    }
    snprintf(sub, sizeof sub, "%s/proc/meminfo", root);
    unlink(sub);
    snprintf(sub, sizeof sub, "%s/proc", root);
    rmdir(sub);
    rmdir(root);
}

static void options_are_checked(void **state) {
    (void)state;
    struct builder b;
    const struct model_opts bad[] = {
        {.n_ctx = -1},    {.n_ctx = (1 << 24) + 1}, {.max_tok = -1},     {.max_out = -5},
        {.page_tok = 24}, {.page_tok = -8},         {.kv_type = DT_Q8_0}};
    small_build(&b, &(struct small_opts){0});
    save(&b);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(load_on("cpu", &bad[i], " "), ERR_RANGE);
    }
    assert_int_equal(load_on("abacus", NULL, "cpu, plain"), ERR_USAGE);
    struct model_opts copy = {.no_mmap = true};
    assert_int_equal(load_on("auto", &copy, NULL), ERR_OK);
    assert_int_equal(load_on(NULL, NULL, NULL), ERR_OK);
}

static void vocabulary_and_weights_must_agree(void **state) {
    (void)state;
    struct builder b;
    small_build(&b, &(struct small_opts){.skip_tensor = "token_embd.weight"});
    builder_tensor(&b, "token_embd.weight", DT_F32, 2, (uint64_t[]){SMALL_D, SMALL_VOCAB + 1},
                   NULL);
    check_load(&b, ERR_FORMAT, "the tokenizer has 6 tokens, 'token_embd.weight' 7");
}

static void a_file_without_tensors_opens_but_does_not_load(void **state) {
    (void)state;
    struct builder b;
    struct model *m;
    small_build(&b, &(struct small_opts){.no_tensors = true});
    save(&b);
    assert_int_equal(model_open(&m, path, &(struct model_opts){0}, NULL), ERR_OK);
    assert_int_equal(m->cfg.n_layer, 0);
    assert_int_equal(vocab_size(m->vocab), SMALL_VOCAB);
    model_close(m);
    assert_int_equal(load_on("cpu", NULL, "no weights"), ERR_UNSUPPORTED);
}

static void a_broken_template_is_kept_for_who_asks(void **state) {
    (void)state;
    struct builder b;
    struct model *m;
    small_build(&b, &(struct small_opts){0});
    builder_kv_str(&b, "tokenizer.chat_template", "{% for %}");
    save(&b);
    assert_int_equal(model_open(&m, path, &(struct model_opts){0}, NULL), ERR_OK);
    assert_null(m->chat);
    assert_int_not_equal(m->chat_err.code, ERR_OK);
    assert_int_equal(m->tmpl.n, 9);
    model_close(m);
    assert_int_equal(mem_live(), 0);
}

/* Fails allocation 1, 2, 3, ... of everything between opening and the first logits. */
static void every_allocation_may_fail(void **state) {
    struct builder b;
    struct model_opts o = {.device = *state, .n_ctx = 16, .max_tok = 8, .n_thread = 2};
    if (!mem_fail_at(0)) {
        skip();
    }
    small_build(&b, &(struct small_opts){.experts = true});
    save(&b);
    enum err_code rc = ERR_NOMEM;
    for (size_t n = 1; rc != ERR_OK; n++) {
        struct model *m = NULL;
        struct err e = {0};
        assert_in_range(n, 1, 100000);
        mem_fail_at(n);
        rc = model_open(&m, path, &o, &e);
        rc = rc ? rc : model_load(m, &o, &e);
        mem_fail_at(0);
        model_close(m);
        assert_int_equal(mem_live(), 0);
        assert_true(rc == ERR_OK || (rc == e.code && rc == ERR_NOMEM));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_small_models_load),
        cmocka_unit_test(a_missing_tensor_is_named),
        cmocka_unit_test(a_wrong_shape_is_told_with_both_shapes),
        cmocka_unit_test(parts_of_a_matrix_must_fill_it),
        cmocka_unit_test(other_types_and_extra_tensors_load),
        cmocka_unit_test(experts_one_by_one),
        cmocka_unit_test(weights_that_are_not_finite_compute_without_harm),
        cmocka_unit_test(what_does_not_fit_is_refused_with_numbers),
        cmocka_unit_test(what_it_takes_is_known_beforehand),
        cmocka_unit_test(memory_is_looked_at_again),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(vocabulary_and_weights_must_agree),
        cmocka_unit_test(a_file_without_tensors_opens_but_does_not_load),
        cmocka_unit_test(a_broken_template_is_kept_for_who_asks),
        cmocka_unit_test_prestate(every_allocation_may_fail, "plain"),
        cmocka_unit_test_prestate(every_allocation_may_fail, "cpu"),
    };
    return cmocka_run_group_tests_name("load", tests, make_folder, remove_folder);
}
