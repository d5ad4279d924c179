/* test_plan.c: sizes of known models, every row of the decision table, limits, and what a no says.
 *
 * Weights are compared with numbers that were added up from the files themselves (or, where there
 * is none here, from config.json and the block sizes by another program). Machines are structs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "device/plan.h"
#include "device/plan_table.h"

#define GIB ((uint64_t)1 << 30)

/* A machine with memory and cores, and nothing else. */
static struct machine machine_of(double gib, int cores) {
    struct machine m = {0};
    m.memory.total = 64 * GIB;
    m.memory.available = (uint64_t)(gib * (double)GIB);
    m.cpu.budget = m.cpu.usable = cores;
    m.cpu.usable_cores = m.cpu.cores = cores;
    return m;
}

/* A known model with the scratch of the cpu device on an 8B shape, rounded. */
static struct plan_model known(const char *name) {
    struct plan_model m;
    struct err e = {0};
    assert_int_equal(plan_known(&m, name, &e), ERR_OK);
    for (int q = 0; q < PLAN_QUANT_N; q++) {
        m.scratch[q] = (struct plan_scratch){
            .fixed = 40000000, .per_tok = 320000, .per_thread = 1000000, .per_thread_pos = 0};
    }
    return m;
}

static struct plan_choice make(const struct plan_model *model, const struct machine *m,
                               struct plan_opts o) {
    struct plan_choice p;
    struct err e = {0};
    assert_int_equal(plan_make(&p, model, m, &o, &e), ERR_OK);
    return p;
}

/* ---- names and sizes ---------------------------------------------------------------------------
 */

static void spellings_of_users_find_their_model(void **state) {
    (void)state;
    static const char *const all[][2] = {
        {"llama3.1-8b", "llama3.1-8b"},
        {"Llama-3.1-8B-Instruct", "llama3.1-8b"},
        {"meta-llama/Llama-3.1-8B", "llama3.1-8b"},
        {"Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf", "llama3.1-8b"},
        {"LLAMA 3.1 8B", "llama3.1-8b"},
        {"llama3-8b", "llama3.1-8b"},
        {"llama3.1:8b", "llama3.1-8b"},
        {"llama3.2-1b", "llama3.2-1b"},
        {"Llama 3.2 3B Instruct", "llama3.2-3b"},
        {"Mistral 7B", "mistral-7b"},
        {"mistralai/Mistral-7B-Instruct-v0.3", "mistral-7b"},
        {"Mistral 8x7B", "mixtral-8x7b"},
        {"mistral-8x7b", "mixtral-8x7b"},
        {"Mixtral-8x7B-Instruct-v0.1", "mixtral-8x7b"},
        {"Qwen2.5-8B", "qwen2.5-7b"},
        {"qwen2.5-7b", "qwen2.5-7b"},
        {"Qwen/Qwen2.5-7B-Instruct", "qwen2.5-7b"},
        {"qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", "qwen2.5-coder-0.5b"},
        {"Qwen2.5-Coder-1.5B", "qwen2.5-coder-1.5b"},
        {"Qwen2.5 Coder 3B", "qwen2.5-coder-3b"},
        {"qwen2.5-coder-7b", "qwen2.5-coder-7b"},
        {"QWEN2.5-CODER-14B-INSTRUCT", "qwen2.5-coder-14b"},
        {"meta-llama/Llama-2-7b-chat-hf", "llama2-7b"},
        {"meta-llama/Llama-3.3-70B-Instruct", "llama3.3-70b"},
        {"llama3.1-70b", "llama3.3-70b"},
        {"Qwen/Qwen3-8B", "qwen3-8b"},
        {"Qwen3-0.6B-Q4_K_M.gguf", "qwen3-0.6b"},
        {"google/gemma-3-4b-it", "gemma3-4b"},
        {"gemma3:27b", "gemma3-27b"},
        {"gemma-2-9b-it", "gemma2-9b"},
        {"phi-3.5-mini", "phi3.5-mini"},
        {"microsoft/Phi-3-mini-4k-instruct", "phi3-mini"},
        {"SmolLM2-135M-Instruct", "smollm2-135m"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct plan_model m;
        struct err e = {0};
        assert_int_equal(plan_known(&m, all[i][0], &e), ERR_OK);
        assert_string_equal(m.name, all[i][1]);
    }
    static const char *const none[] = {"",      "-", "llama", "llama3.1-405b",
                                       "gpt-4", "b", "8b",    "../x"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        struct plan_model m;
        struct err e = {0};
        assert_int_equal(plan_known(&m, none[i], &e), ERR_NOTFOUND);
        assert_non_null(strstr(e.what, "qwen3-0.6b|1.7b|4b|8b|14b|32b, gemma2-2b|9b, "));
        assert_non_null(strstr(e.what, "smollm2-135m")); /* the whole list, to its end */
    }
}

static void weights_are_exact(void **state) {
    (void)state;
    static const struct {
        const char *name;
        uint64_t n_param, bytes[PLAN_QUANT_N];
    } all[] = {
        {"llama3.1-8b", 8030261312, {32121045248, 16061055232, 8532934912, 4912898304}},
        {"llama3.2-1b", 1235814432, {4943257728, 2471764096, 1313251456, 799862912}},
        {"llama3.2-3b", 3212749888, {12850999552, 6425850112, 3414061312, 2011539712}},
        {"mistral-7b", 7248023552, {28992094208, 14496579584, 7701807104, 4372054016}},
        {"mixtral-8x7b", 46702792704, {186811170816, 93408215040, 49625579520, 28447727616}},
        {"qwen2.5-7b", 7615616512, {30462466048, 15231899648, 8092571648, 4677120000}},
        {"qwen2.5-coder-0.5b", 494032768, {1976131072, 988208640, 525120000, 391859712}},
        {"llama3.3-70b", 70553706560, {282214826240, 141110051072, 74967187712, 42512531712}},
        {"qwen3-0.6b", 596049920, {2384199680, 1192230912, 633495552, 390753280}},
        {"qwen3-8b", 8190735360, {32762941440, 16382087168, 8703561728, 5021827072}},
        {"gemma2-9b", 9241705984, {36966823936, 18484623360, 9821091840, 5755000832}},
        {"gemma3-1b", 999885952, {3999543808, 2000040448, 1062773248, 799525120}},
        {"gemma3-4b", 3880263168, {15521052672, 7761262592, 4123860992, 2483352832}},
        {"phi3.5-mini", 3821079648, {15284318592, 7642558848, 4060483968, 2396032896}},
        {"smollm2-135m", 134515008, {538060032, 269100288, 143025408, 103668480}},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct plan_model m = known(all[i].name);
        assert_int_equal(m.n_param, all[i].n_param);
        for (int q = 0; q < PLAN_QUANT_N; q++) {
            assert_int_equal(m.weights_bytes[q], all[i].bytes[q]);
        }
    }
}

/* Two of eight experts: a token reads about a quarter of their weights. */
static void a_token_reads_only_its_experts(void **state) {
    (void)state;
    struct plan_model dense = known("mistral-7b"), exp = known("mixtral-8x7b");
    uint64_t table = (uint64_t)dense.n_vocab * (uint64_t)dense.d_model * 4;
    assert_int_equal(dense.active_bytes[PLAN_FP32], dense.weights_bytes[PLAN_FP32] - table);
    uint64_t expert = 3ull * 4096 * 14336 * 4;
    assert_int_equal(exp.active_bytes[PLAN_FP32],
                     exp.weights_bytes[PLAN_FP32] - 32000ull * 4096 * 4 - 32 * 6 * expert);
}

/* ---- the decision table ------------------------------------------------------------------------
 */

/* Every rule is taken somewhere, and nowhere with less memory than it needs. */
static void each_row_of_the_table(void **state) {
    (void)state;
    static const struct {
        enum plan_where where;
        int cores;
        double gib;
        enum plan_quant quant;
        int context, batch;
        bool fits;
    } all[] = {
        /* what the predecessor called 12 GiB and fp16 is int8: fp16 alone has 14.96 GiB */
        {PLAN_CUDA, 4, 24, PLAN_FP16, 8192, 512, true},
        {PLAN_CUDA, 4, 16, PLAN_INT8, 8192, 512, true},
        {PLAN_CUDA, 4, 12, PLAN_INT8, 8192, 512, true},
        {PLAN_CUDA, 4, 9.75, PLAN_INT8, 4096, 512, true},
        {PLAN_CUDA, 4, 8, PLAN_INT4, 8192, 512, true},
        {PLAN_CUDA, 4, 6, PLAN_INT4, 4096, 512, true},
        {PLAN_CUDA, 4, 5.5, PLAN_INT4, 2048, 256, true},
        {PLAN_CUDA, 4, 4, PLAN_INT4, 2048, 256, false},
        {PLAN_METAL, 8, 24, PLAN_FP16, 8192, 512, true},
        {PLAN_METAL, 8, 16, PLAN_INT8, 8192, 512, true},
        {PLAN_METAL, 8, 10.67, PLAN_INT8, 8192, 512, true}, /* of 16 GiB */
        {PLAN_METAL, 8, 9.5, PLAN_INT8, 4096, 512, true},
        {PLAN_METAL, 8, 8, PLAN_INT4, 8192, 512, true},
        {PLAN_METAL, 8, 6, PLAN_INT4, 4096, 512, true},
        {PLAN_METAL, 8, 5.4, PLAN_INT4, 2048, 256, true},
        {PLAN_METAL, 8, 4, PLAN_INT4, 2048, 256, false},
        {PLAN_CPU, 8, 32, PLAN_INT8, 4096, 512, true},
        {PLAN_CPU, 8, 16, PLAN_INT4, 4096, 512, true}, /* int8 would take more than half */
        {PLAN_CPU, 4, 32, PLAN_INT4, 4096, 512, true},
        {PLAN_CPU, 4, 8, PLAN_INT4, 4096, 512, true},
        {PLAN_CPU, 4, 6.5, PLAN_INT4, 2048, 512, true},
        {PLAN_CPU, 4, 5.5, PLAN_INT4, 1024, 256, true},
        {PLAN_CPU, 4, 4.9, PLAN_INT4, 512, 128, true},
        {PLAN_CPU, 4, 4, PLAN_INT4, 512, 128, false},
    };
    struct plan_model m = known("llama3.1-8b");
    bool *taken = test_calloc((size_t)plan_n_rule, sizeof *taken);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        uint64_t memory = (uint64_t)(all[i].gib * (double)GIB);
        struct plan_opts o = {.quant = -1};
        struct plan_pick p = plan_pick(all[i].where, &m, &o, memory, all[i].cores, 4);
        if (p.row.quant != all[i].quant || p.row.context != all[i].context ||
            p.batch != all[i].batch || p.fits != all[i].fits) {
            fail_msg("%.2f GiB of %d: %s, %d positions, batch %d, fits %d", all[i].gib,
                     all[i].where, plan_quant_name(p.row.quant), p.row.context, p.batch, p.fits);
        }
        assert_true(!p.fits || p.row.total <= memory / 100 * (uint64_t)p.rule->share);
        taken[p.rule - plan_rules] = taken[p.rule - plan_rules] || p.fits;
    }
    for (int i = 0; i < plan_n_rule; i++) {
        assert_true(taken[i]);
    }
    test_free(taken);
}

/* ---- limits ------------------------------------------------------------------------------------
 */

static void the_least_limit_counts_and_is_named(void **state) {
    (void)state;
    struct plan_model model = known("llama3.1-8b");
    struct machine m = machine_of(16, 4);
    struct plan_choice p = make(&model, &m, (struct plan_opts){.quant = -1});
    assert_string_equal(p.limited_by, "available memory"); /* and not the 64 GiB that there are */
    assert_true(p.row.fits && p.available == 16 * GIB);

    m.memory.limit = 8 * GIB;
    m.memory.limit_left = 3 * GIB;
    snprintf(m.memory.limit_from, sizeof m.memory.limit_from, "/sys/fs/cgroup/x/memory.max");
    p = make(&model, &m, (struct plan_opts){.quant = -1});
    assert_string_equal(p.limited_by, "/sys/fs/cgroup/x/memory.max");
    assert_true(!p.row.fits && p.available == 3 * GIB);
    assert_non_null(strstr(p.row.why, "memory.max"));

    p = make(&model, &m, (struct plan_opts){.quant = -1, .max_memory = 2 * GIB});
    assert_string_equal(p.limited_by, "--max-memory");
    m.memory = (struct machine_memory){0}; /* nothing could be read: nothing is refused, */
    p = make(&model, &m, (struct plan_opts){.quant = PLAN_FP32, .context = 16384});
    assert_true(p.row.fits && p.row.quant == PLAN_FP32 && p.row.kv == 2 * GIB);
    assert_non_null(strstr(p.warning[0], "not known"));
    p = make(&model, &m, (struct plan_opts){.quant = -1}); /* and little chosen */
    assert_true(p.row.fits && p.row.quant == PLAN_INT4 && p.row.context <= 4096);
}

static void a_no_says_what_would_fit(void **state) {
    (void)state;
    struct plan_model model = known("llama3.1-8b");
    struct machine m = machine_of(6, 4);
    struct plan_opts o = {.quant = PLAN_INT4, .context = 32768, .batch = 512};
    struct plan_choice p = make(&model, &m, o);
    struct err e = {0};
    assert_false(p.row.fits);
    assert_int_equal(p.row.context, 32768);
    assert_int_equal(p.nearest.quant, PLAN_INT4);
    assert_true(p.nearest.fits && p.nearest.total <= p.available);
    assert_int_equal(plan_refuse(&p, &e), ERR_NOFIT);
    char want[64];
    snprintf(want, sizeof want, "--context %d would fit", p.nearest.context);
    assert_string_equal(e.hint, want);
    assert_non_null(strstr(e.what, "there are 6.44 GB (available memory)"));
    /* it is the nearest: the next step does not fit */
    o.context = p.nearest.context + 512;
    assert_false(make(&model, &m, o).row.fits);
    o.context = p.nearest.context;
    assert_true(make(&model, &m, o).row.fits);

    o = (struct plan_opts){.quant = PLAN_FP16, .context = 4096};
    p = make(&model, &m, o); /* fewer bits, where no context would do */
    assert_false(p.row.fits);
    assert_int_equal(p.nearest.quant, PLAN_INT4);
    assert_int_equal(p.nearest.context, 4096);

    m = machine_of(1, 4);
    p = make(&model, &m, o);
    assert_true(p.nearest.total == 0);
    e = (struct err){0};
    assert_int_equal(plan_refuse(&p, &e), ERR_NOFIT);
    assert_non_null(strstr(e.hint, "smaller model"));
}

static void a_file_is_what_it_is(void **state) {
    (void)state;
    struct plan_model model = known("llama3.1-8b");
    struct machine m = machine_of(32, 16);
    struct plan_choice p;
    struct err e = {0};
    model.is_file = true;
    model.file_quant = PLAN_INT4;
    snprintf(model.file_type, sizeof model.file_type, "Q4_K_M");
    p = make(&model, &m, (struct plan_opts){.quant = -1});
    assert_int_equal(p.row.quant, PLAN_INT4); /* although there is room for int8 */
    for (int i = 0; i < p.n_row; i++) {
        assert_true(p.table[i].fits == (p.table[i].quant == PLAN_INT4) || p.table[i].why[0]);
    }
    struct plan_opts o = {.quant = PLAN_INT8};
    assert_int_equal(plan_make(&p, &model, &m, &o, &e), ERR_USAGE);
    assert_non_null(strstr(e.what, "int4 (Q4_K_M), not int8"));
}

/* ---- the rest of a plan
 * -------------------------------------------------------------------------- */

static void the_table_has_every_choice_once(void **state) {
    (void)state;
    struct plan_model model = known("mistral-7b");
    struct machine m = machine_of(12, 4);
    static const int contexts[] = {0, 512, 4096, 5000, 32768, 40000};
    for (size_t i = 0; i < sizeof contexts / sizeof *contexts; i++) {
        struct plan_choice p =
            make(&model, &m, (struct plan_opts){.quant = -1, .context = contexts[i]});
        bool listed = contexts[i] % 512 == 0 && contexts[i] <= 32768;
        assert_int_equal(p.n_row, PLAN_QUANT_N * (listed ? 7 : 8));
        for (int k = 0; k < p.n_row; k++) {
            const struct plan_row *r = &p.table[k];
            assert_true(r->total == r->weights + r->kv + r->scratch + r->program);
            assert_true(r->fits == (r->total <= p.available));
            assert_true(r->fits || r->why[0]);
            assert_true(k == 0 || r[-1].quant != r->quant || r[-1].context < r->context);
        }
    }
}

static void kv_is_what_the_cache_holds(void **state) {
    (void)state;
    struct plan_model model = known("llama3.1-8b");
    struct machine m = machine_of(32, 4);
    struct plan_choice p = make(&model, &m, (struct plan_opts){.quant = -1, .context = 8192});
    assert_int_equal(p.row.kv, GIB);
    p = make(&model, &m, (struct plan_opts){.quant = -1, .context = 8192, .kv_bytes = 4});
    assert_int_equal(p.row.kv, 2 * GIB);
    p = make(&model, &m, (struct plan_opts){.quant = -1, .context = 513});
    assert_int_equal(p.row.kv, 544 * 131072); /* whole pages of 32 */
}

/* int8 comes where f16 does not fit and nobody has asked for f16; who has is told of it. */
static void kv_shrinks_where_memory_is_short(void **state) {
    (void)state;
    struct plan_model model = known("llama3.1-8b");
    struct machine m = machine_of(64, 4);
    struct plan_opts o = {.quant = PLAN_INT4, .context = 32768};
    struct plan_choice p = make(&model, &m, o);
    /* A scale of 2 bytes for 32 numbers; of 64 parts one, the first layer's keys, stays f16. */
    uint64_t f16 = p.row.total, int8 = p.row.kv / 64 + p.row.kv / 64 * 63 * 17 / 32;
    o.max_memory = f16 - GIB;
    o.kv_shrink = true;
    p = make(&model, &m, o);
    assert_true(p.row.fits && p.row.kv_bytes == 1 && p.row.kv == int8 && p.n_warning == 1);
    o.kv_shrink = false;
    p = make(&model, &m, o);
    assert_true(!p.row.fits && p.row.kv_bytes == 2 && p.int8_context == 32768);
    struct err e = {0};
    assert_int_equal(plan_refuse(&p, &e), ERR_NOFIT);
    assert_non_null(strstr(e.hint, "--kv-type int8"));
    o.max_memory = f16 - 4 * GIB; /* too little for either */
    o.kv_shrink = true;
    p = make(&model, &m, o);
    assert_true(!p.row.fits && p.nearest.kv_bytes == 1 && p.nearest.context < 32768);
}

static void threads_keep_to_the_budget(void **state) {
    (void)state;
    struct plan_model model = known("mistral-7b");
    struct machine m = machine_of(32, 8);
    m.cpu.budget = 16; /* hardware threads */
    struct plan_choice p = make(&model, &m, (struct plan_opts){.quant = -1});
    assert_int_equal(p.threads, 8); /* physical cores */
    p = make(&model, &m, (struct plan_opts){.quant = -1, .threads = 12});
    assert_int_equal(p.threads, 12);
    assert_int_equal(p.n_warning, 0);
    m.cpu.budget = 2; /* a quota */
    assert_int_equal(make(&model, &m, (struct plan_opts){.quant = -1}).threads, 2);
    p = make(&model, &m, (struct plan_opts){.quant = -1, .threads = 12});
    assert_int_equal(p.threads, 2);
    assert_non_null(strstr(p.warning[0], "12 threads"));
    m.cpu = (struct machine_cpu){0};
    assert_int_equal(make(&model, &m, (struct plan_opts){.quant = -1}).threads, 1);
}

static void past_its_training_a_model_is_warned_of(void **state) {
    (void)state;
    struct plan_model model = known("smollm2-135m");
    struct machine m = machine_of(8, 4);
    struct plan_choice p = make(&model, &m, (struct plan_opts){.quant = -1, .context = 32768});
    assert_true(p.row.fits);
    assert_int_equal(p.n_warning, 1);
    assert_non_null(strstr(p.warning[0], "8192"));
    p = make(&model, &m, (struct plan_opts){.quant = -1});
    assert_true(p.row.context <= 8192 && p.n_warning == 0);
}

static void speed_is_an_estimate_or_nothing(void **state) {
    (void)state;
    struct plan_model model = known("llama3.1-8b");
    struct machine m = machine_of(16, 4);
    struct plan_choice p = make(&model, &m, (struct plan_opts){.quant = -1});
    assert_true(p.row.tokens_per_s[0] == 0 && p.row.prefill_tokens_per_s[1] == 0);
    p = make(&model, &m, (struct plan_opts){.quant = -1, .read_gb_per_s = 40, .gmac_per_s = 200});
    /* 4.6 GB of weights read for a token; 7 GMAC for a token of a prompt */
    assert_true(p.row.tokens_per_s[0] > 1 && p.row.tokens_per_s[1] < 10);
    assert_true(p.row.tokens_per_s[0] < p.row.tokens_per_s[1]);
    assert_true(p.row.prefill_tokens_per_s[0] > 5 && p.row.prefill_tokens_per_s[1] < 40);
}

static void a_gpu_is_planned_for_and_not_chosen(void **state) {
    (void)state;
    struct plan_model model = known("llama3.1-8b");
    struct machine m = machine_of(16, 4);
    m.n_gpu = 2;
    m.gpu[0] = (struct machine_gpu){.kind = GPU_CUDA, .memory_free = 6 * GIB, .usable = true};
    m.gpu[1] =
        (struct machine_gpu){.kind = GPU_CUDA, .index = 1, .memory_free = 12 * GIB, .usable = true};
    struct plan_choice p = make(&model, &m, (struct plan_opts){.quant = -1});
    assert_string_equal(p.device, "cpu");
    assert_non_null(strstr(p.gpu, "cuda:1"));
    assert_non_null(strstr(p.gpu, "int8"));
    assert_non_null(strstr(p.gpu, "no cuda back end yet"));
    m.gpu[1].usable = false;
    p = make(&model, &m, (struct plan_opts){.quant = -1});
    assert_non_null(strstr(p.gpu, "cuda:0"));
    m.gpu[0].memory_free = 2 * GIB;
    p = make(&model, &m, (struct plan_opts){.quant = -1});
    assert_non_null(strstr(p.gpu, "too little"));
}

static void options_have_bounds(void **state) {
    (void)state;
    struct plan_model model = known("mistral-7b");
    struct machine m = machine_of(16, 4);
    const struct plan_opts bad[] = {{.quant = -1, .context = -1},
                                    {.quant = -1, .context = (1 << 24) + 1},
                                    {.quant = -1, .threads = 1025},
                                    {.quant = -1, .batch = -1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct plan_choice p;
        struct err e = {0};
        assert_int_equal(plan_make(&p, &model, &m, &bad[i], &e), ERR_RANGE);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spellings_of_users_find_their_model),
        cmocka_unit_test(weights_are_exact),
        cmocka_unit_test(a_token_reads_only_its_experts),
        cmocka_unit_test(each_row_of_the_table),
        cmocka_unit_test(the_least_limit_counts_and_is_named),
        cmocka_unit_test(a_no_says_what_would_fit),
        cmocka_unit_test(a_file_is_what_it_is),
        cmocka_unit_test(the_table_has_every_choice_once),
        cmocka_unit_test(kv_is_what_the_cache_holds),
        cmocka_unit_test(kv_shrinks_where_memory_is_short),
        cmocka_unit_test(threads_keep_to_the_budget),
        cmocka_unit_test(past_its_training_a_model_is_warned_of),
        cmocka_unit_test(speed_is_an_estimate_or_nothing),
        cmocka_unit_test(a_gpu_is_planned_for_and_not_chosen),
        cmocka_unit_test(options_have_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
