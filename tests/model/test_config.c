/* test_config.c: a model's numbers, right and hostile (hostile-inputs A31), and the RoPE angles.
 *
 * Every case takes the small model, leaves one key out, puts a hostile one in its place, and
 * demands an error that names the key; or, for values at the bound, that they are accepted.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "model/config.h"
#include "model/small_model.h"

struct parsed {
    struct gguf *g;
    uint8_t *bytes;
};

static struct parsed parse(struct builder *b) {
    struct parsed p = {0};
    struct err e = {0};
    char line[1024];
    size_t n;
    p.bytes = builder_take(b, &n);
    builder_fini(b);
    if (gguf_parse(&p.g, "small.gguf", p.bytes, n, &e)) {
        fail_msg("%s", err_line(&e, line, sizeof line));
    }
    return p;
}

static void parsed_close(struct parsed *p) {
    gguf_close(p->g);
    free(p->bytes);
}

/* Reads configuration and angles of what was built; the message must hold `said` on failure. */
static enum err_code read_all(struct builder *b, struct config *c, const char *said) {
    struct parsed p = parse(b);
    struct err e = {0};
    float freq[CONFIG_D_HEAD_MAX / 2];
    char line[1024];
    enum err_code rc = config_read(c, p.g, &e);
    rc = rc ? rc : rope_freqs(c, p.g, 64, freq, &e);
    if (rc) {
        assert_int_equal(rc, e.code);
        err_line(&e, line, sizeof line);
        if (!said || !strstr(line, said) || !strstr(line, "small.gguf")) {
            fail_msg("'%s' does not say '%s' and the file", line, said ? said : "(no error)");
        }
    }
    parsed_close(&p);
    return rc;
}

/* ---- what is right ------------------------------------------------------------------------ */

static void the_small_model_is_read(void **state) {
    (void)state;
    struct small_opts o = {.experts = true};
    struct builder b;
    struct config c;
    small_build(&b, &o);
    builder_kv_u32(&b, "llama.attention.sliding_window", 8);
    assert_int_equal(read_all(&b, &c, NULL), ERR_OK);
    assert_string_equal(c.arch, "llama");
    assert_int_equal(c.n_layer, 2);
    assert_int_equal(c.d_model, SMALL_D);
    assert_int_equal(c.n_head, 2);
    assert_int_equal(c.n_kv, 1);
    assert_int_equal(c.d_head, 16);
    assert_int_equal(c.d_ff, SMALL_FF);
    assert_int_equal(c.n_vocab, SMALL_VOCAB);
    assert_int_equal(c.n_ctx, 64);
    assert_int_equal(c.n_exp, SMALL_EXP);
    assert_int_equal(c.n_used, 2);
    assert_int_equal(c.window, 8);
    assert_int_equal(c.n_rot, 16);
    assert_true(c.attn_scale == 0.25f && c.rope_base == 10000 && c.rope_scale == 1);
    assert_true(c.tied && !c.qkv_bias && !c.out_bias && !c.rope_halves);
}

static void qwen2_has_halves_and_biases(void **state) {
    (void)state;
    struct small_opts o = {.arch = "qwen2", .biases = true};
    struct builder b;
    struct config c;
    small_build(&b, &o);
    assert_int_equal(read_all(&b, &c, NULL), ERR_OK);
    assert_true(c.rope_halves && c.qkv_bias);
}

static void qwen3_normalizes_heads(void **state) {
    (void)state;
    struct small_opts o = {.arch = "qwen3", .qk_norm = true};
    struct builder b;
    struct config c;
    small_build(&b, &o);
    assert_int_equal(read_all(&b, &c, NULL), ERR_OK);
    assert_true(c.rope_halves && c.qk_norm && !c.qkv_bias && !c.post_norm && !c.fused);
    assert_true(c.embed_scale == 1 && c.attn_cap == 0 && c.logit_cap == 0);
    assert_true(c.window == 0 && !c.local[0] && !c.local[1]);
}

static void gemma_takes_turns_of_layers(void **state) {
    (void)state;
    struct small_opts o = {.arch = "gemma2", .post_norm = true};
    struct builder b;
    struct config c;
    small_build(&b, &o);
    assert_int_equal(read_all(&b, &c, NULL), ERR_OK);
    assert_true(c.post_norm && !c.qk_norm && c.act == ACT_GELU && c.attn_cap == 50 &&
                c.logit_cap == 30);
    assert_true(c.window == 4096 && c.local[0] && !c.local[1] && c.rope_base_local == 0);
    assert_true(c.embed_scale == (float)sqrt(SMALL_D));

    o = (struct small_opts){.arch = "gemma3", .post_norm = true, .qk_norm = true};
    small_build(&b, &o);
    assert_int_equal(read_all(&b, &c, NULL), ERR_OK);
    assert_true(c.window == 0 && !c.local[0]); /* no window, no local layers */
    small_build(&b, &o);
    builder_kv_u32(&b, "gemma3.attention.sliding_window", 8);
    builder_kv_f32(&b, "gemma3.final_logit_softcapping", 7);
    assert_int_equal(read_all(&b, &c, NULL), ERR_OK);
    assert_true(c.window == 8 && c.local[0] && c.local[1] && c.rope_base_local == 10000);
    assert_true(c.attn_cap == 0 && c.logit_cap == 7 && c.attn_scale == 0.25f);
    for (int list = 0; list < 3; list++) { /* a period, a list of flags, a list of numbers */
        const uint8_t flag[] = {0, 1};
        const int32_t number[] = {0, 1};
        const char *key = "gemma3.attention.sliding_window_pattern";
        small_build(&b, &o);
        builder_kv_u32(&b, "gemma3.attention.sliding_window", 8);
        if (list == 0) {
            builder_kv_u32(&b, key, 2);
        } else if (list == 1) {
            builder_kv_array(&b, key, BT_BOOL, flag, 2, 2);
        } else {
            builder_kv_i32s(&b, key, number, 2);
        }
        assert_int_equal(read_all(&b, &c, NULL), ERR_OK);
        assert_true(c.local[0] == (list == 0) && c.local[1] == (list != 0));
    }
}

/* The largest models score with another width than a head's; their number of layers tells. */
static void the_largest_gemmas_score_by_the_stream(void **state) {
    (void)state;
    const struct {
        const char *arch;
        uint32_t n_layer;
    } all[] = {{"gemma2", 46}, {"gemma3", 62}};
    for (size_t i = 0; i < 2; i++) {
        struct small_opts o = {.arch = all[i].arch, .skip_key = "block_count"};
        struct builder b;
        struct config c;
        char key[64];
        for (uint32_t d_head = 8; d_head <= 16; d_head += 8) {
            small_build(&b, &o);
            snprintf(key, sizeof key, "%s.block_count", o.arch);
            builder_kv_u32(&b, key, all[i].n_layer);
            snprintf(key, sizeof key, "%s.attention.key_length", o.arch);
            builder_kv_u32(&b, key, d_head);
            assert_int_equal(read_all(&b, &c, NULL), ERR_OK);
            assert_true(c.d_head == (int)d_head && c.attn_scale == 0.25f);
        }
    }
}

static void phi3_is_fused(void **state) {
    (void)state;
    struct small_opts o = {.arch = "phi3", .fused = true};
    struct builder b;
    struct config c;
    small_build(&b, &o);
    builder_kv_u32(&b, "phi3.attention.sliding_window", 0);
    assert_int_equal(read_all(&b, &c, NULL), ERR_OK);
    assert_true(c.fused && c.rope_halves && c.window == 0 && !c.local[1]);
    small_build(&b, &o);
    builder_kv_u32(&b, "phi3.attention.sliding_window", 9);
    assert_int_equal(read_all(&b, &c, NULL), ERR_OK);
    assert_true(c.window == 9 && c.local[0] && c.local[1]);
}

static void hostile_patterns_are_refused(void **state) {
    (void)state;
    const char *key = "gemma3.attention.sliding_window_pattern";
    const int32_t three[] = {1, 1, 0};
    const float real[] = {1, 0};
    const char *const text[] = {"local", "global"};
    struct small_opts o = {.arch = "gemma3"};
    struct config c;
    for (int i = 0; i < 10; i++) {
        struct builder b;
        small_build(&b, &o);
        builder_kv_u32(&b, "gemma3.attention.sliding_window", 8);
        switch (i) {
        case 0: builder_kv_u32(&b, key, 0); break;
        case 1: builder_kv_u32(&b, key, CONFIG_LAYER_MAX + 1); break;
        case 2: builder_kv_int(&b, key, BT_I32, (uint32_t)-6); break;
        case 3: builder_kv_i32s(&b, key, three, 3); break;
        case 4: builder_kv_i32s(&b, key, three, 1); break;
        case 5: builder_kv_i32s(&b, key, three, 0); break;
        case 6: builder_kv_f32s(&b, key, real, 2); break;
        case 7: builder_kv_strs(&b, key, text, 2); break;
        case 8: builder_kv_f32(&b, key, 2); break;
        default: builder_kv_str(&b, key, "6"); break;
        }
        if (read_all(&b, &c, key) != ERR_FORMAT) {
            fail_msg("pattern %d was accepted", i);
        }
    }
}

static void layers_that_agree_are_one_number(void **state) {
    (void)state;
    const int32_t heads[] = {2, 2}, differ[] = {2, 1};
    struct small_opts o = {.skip_key = "attention.head_count"};
    struct builder b;
    struct config c;
    small_build(&b, &o);
    builder_kv_i32s(&b, "llama.attention.head_count", heads, 2);
    assert_int_equal(read_all(&b, &c, NULL), ERR_OK);
    assert_int_equal(c.n_head, 2);
    small_build(&b, &o);
    builder_kv_i32s(&b, "llama.attention.head_count", differ, 2);
    assert_int_equal(read_all(&b, &c, "differs from layer to layer"), ERR_UNSUPPORTED);
    small_build(&b, &o);
    builder_kv_i32s(&b, "llama.attention.head_count", heads, 1);
    assert_int_equal(read_all(&b, &c, "1 elements for 2 layers"), ERR_FORMAT);
}

/* ---- A31 ------------------------------------------------------------------------------------ */

static void hostile_integers_are_refused(void **state) {
    (void)state;
    const struct {
        const char *key;
        uint64_t v;
        bool fine;
    } all[] = {
        {"block_count", 0, false},
        {"block_count", 1025, false},
        {"block_count", 1024, true},
        {"block_count", UINT64_C(1) << 31, false},
        {"block_count", UINT64_MAX, false},
        {"embedding_length", 0, false},
        {"embedding_length", 33, false},
        {"embedding_length", UINT64_C(1) << 32, false},
        {"attention.head_count", 0, false},
        {"attention.head_count", 3, false},
        {"attention.head_count", UINT32_MAX, false},
        {"attention.head_count_kv", 0, false},
        {"attention.head_count_kv", 3, false},
        {"attention.key_length", 0, false},
        {"attention.key_length", 1025, false},
        {"attention.key_length", UINT64_MAX, false},
        {"attention.value_length", 8, false},
        {"feed_forward_length", 0, false},
        {"feed_forward_length", UINT64_C(1) << 40, false},
        {"context_length", 0, false},
        {"context_length", UINT32_MAX, false},
        {"context_length", 1 << 24, true},
        {"vocab_size", 0, false},
        {"vocab_size", 7, false},
        {"rope.dimension_count", 0, false},
        {"rope.dimension_count", 15, false},
        {"rope.dimension_count", 18, false},
        {"rope.dimension_count", 8, true},
        {"expert_count", 0, false}, /* with experts used */
        {"expert_count", 1, false}, /* fewer than used */
        {"expert_count", UINT64_C(1) << 31, false},
        {"expert_used_count", 0, false},
        {"expert_used_count", 5, false},
        {"attention.sliding_window", UINT32_MAX, false},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        bool of_experts = strstr(all[i].key, "expert") != NULL;
        struct small_opts o = {.skip_key = all[i].key, .experts = of_experts};
        struct builder b;
        struct config c;
        char key[96];
        snprintf(key, sizeof key, "llama.%s", all[i].key);
        small_build(&b, &o);
        builder_kv_u64(&b, key, all[i].v);
        enum err_code rc = read_all(&b, &c, of_experts ? "llama.expert_" : "llama.");
        if ((rc == ERR_OK) != all[i].fine || (rc && rc != ERR_FORMAT && rc != ERR_UNSUPPORTED)) {
            fail_msg("%s = %llu gives %s", key, (unsigned long long)all[i].v, err_name(rc));
        }
    }
}

static void hostile_reals_are_refused(void **state) {
    (void)state;
    const struct {
        const char *key;
        float v;
    } all[] = {
        {"attention.layer_norm_rms_epsilon", 0},
        {"attention.layer_norm_rms_epsilon", -1e-5f},
        {"attention.layer_norm_rms_epsilon", NAN},
        {"attention.layer_norm_rms_epsilon", INFINITY},
        {"attention.layer_norm_rms_epsilon", 2},
        {"rope.freq_base", 0},
        {"rope.freq_base", 1},
        {"rope.freq_base", -10000},
        {"rope.freq_base", NAN},
        {"rope.freq_base", INFINITY},
        {"rope.scaling.factor", -1},
        {"rope.scaling.factor", NAN},
        {"rope.scaling.factor", 1e-30f},
        {"rope.scale_linear", INFINITY},
        {"rope.freq_base_swa", 0},
        {"rope.freq_base_swa", NAN},
        {"attn_logit_softcapping", 0},
        {"attn_logit_softcapping", NAN},
        {"attn_logit_softcapping", INFINITY},
        {"final_logit_softcapping", -30},
        {"final_logit_softcapping", NAN},
        {"rope.scaling.attn_factor", 0},
        {"rope.scaling.attn_factor", NAN},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct small_opts o = {.arch = "gemma3", .skip_key = all[i].key};
        struct builder b;
        struct config c;
        char key[96];
        snprintf(key, sizeof key, "gemma3.%s", all[i].key);
        small_build(&b, &o);
        builder_kv_f32(&b, key, all[i].v);
        if (read_all(&b, &c, "gemma3.") != ERR_FORMAT) {
            fail_msg("%s = %g was accepted", key, (double)all[i].v);
        }
    }
}

static void required_keys_and_their_types(void **state) {
    (void)state;
    const char *const required[] = {"block_count",          "embedding_length",
                                    "attention.head_count", "feed_forward_length",
                                    "context_length",       "attention.layer_norm_rms_epsilon"};
    for (size_t i = 0; i < sizeof required / sizeof *required; i++) {
        struct small_opts o = {.skip_key = required[i]};
        struct builder b;
        struct config c;
        char key[96];
        snprintf(key, sizeof key, "llama.%s", required[i]);
        small_build(&b, &o);
        assert_int_equal(read_all(&b, &c, key), ERR_FORMAT);
        small_build(&b, &o);
        builder_kv_str(&b, key, "two");
        assert_int_equal(read_all(&b, &c, key), ERR_FORMAT);
        small_build(&b, &o);
        builder_kv_int(&b, key, BT_I32, (uint32_t)-1);
        assert_int_equal(read_all(&b, &c, key), ERR_FORMAT);
    }
}

static void architectures_are_known_by_name(void **state) {
    (void)state;
    struct small_opts o = {.skip_key = "general.architecture"};
    struct builder b;
    struct config c;
    small_build(&b, &o);
    builder_kv_str(&b, "general.architecture", "llama\n\x1b[2J");
    assert_int_equal(read_all(&b, &c, "llama, qwen2, qwen3, gemma2, gemma3, phi3"),
                     ERR_UNSUPPORTED);
    small_build(&b, &o);
    assert_int_equal(read_all(&b, &c, "general.architecture"), ERR_FORMAT);
    struct small_opts no_table = {.skip_tensor = "token_embd.weight"};
    small_build(&b, &no_table);
    assert_int_equal(read_all(&b, &c, "token_embd.weight"), ERR_FORMAT);
}

/* ---- RoPE ----------------------------------------------------------------------------------- */

static void angles(struct builder *b, struct config *c, float freq[8]) {
    struct parsed p = parse(b);
    assert_int_equal(config_read(c, p.g, NULL), ERR_OK);
    assert_int_equal(c->n_rot, 16);
    assert_int_equal(rope_freqs(c, p.g, 64, freq, NULL), ERR_OK);
    parsed_close(&p);
}

static void rope_without_scaling_is_the_papers(void **state) {
    (void)state;
    struct small_opts o = {0};
    struct builder b;
    struct config c;
    float f[8];
    small_build(&b, &o);
    builder_kv_str(&b, "llama.rope.scaling.type", "none");
    builder_kv_f32(&b, "llama.rope.scaling.factor", 4);
    angles(&b, &c, f);
    for (int i = 0; i < 8; i++) {
        assert_true(f[i] == (float)pow(10000, -i / 8.0));
    }
    /* The old key, and its default kind. */
    small_build(&b, &o);
    builder_kv_f32(&b, "llama.rope.scale_linear", 4);
    angles(&b, &c, f);
    assert_true(f[0] == 0.25f);
}

/* The whole of YaRN is compared with transformers by the tiny models; here are the keys which
 * those do not have. */
static void yarn_keys(void **state) {
    (void)state;
    struct small_opts o = {0};
    struct builder b;
    struct config c;
    float f[8];
    for (int log_mul = 0; log_mul < 2; log_mul++) {
        small_build(&b, &o);
        builder_kv_str(&b, "llama.rope.scaling.type", "yarn");
        builder_kv_f32(&b, "llama.rope.scaling.factor", 8);
        builder_kv_u32(&b, "llama.rope.scaling.original_context_length", 32);
        builder_kv_f32(&b, "llama.rope.scaling.yarn_ext_factor", 0);
        builder_kv_f32(&b, "llama.rope.scaling.attn_factor", 3);
        if (log_mul) {
            builder_kv_f32(&b, "llama.rope.scaling.yarn_log_multiplier", 0.5f);
        }
        angles(&b, &c, f);
        double m = 0.1 * log(8) + 1, trained = log_mul ? 0.05 * log(8) + 1 : 1;
        assert_true(fabs(c.rope_scale - 3 * m / trained) < 1e-6);
        /* No share of the ramp: all pairs are stretched. */
        assert_true(f[0] == 0.125f && f[7] == (float)(pow(10000, -7 / 8.0) / 8));
    }
}

static void hostile_scaling_is_refused(void **state) {
    (void)state;
    const char *const reals[] = {"yarn_beta_fast", "yarn_beta_slow",  "yarn_attn_factor",
                                 "attn_factor",    "yarn_ext_factor", "yarn_log_multiplier"};
    struct small_opts o = {0};
    struct builder b;
    struct config c;
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
        char key[96];
        snprintf(key, sizeof key, "llama.rope.scaling.%s", reals[i]);
        small_build(&b, &o);
        builder_kv_str(&b, "llama.rope.scaling.type", "yarn");
        builder_kv_f32(&b, "llama.rope.scaling.factor", 4);
        builder_kv_f32(&b, key, i % 2 ? NAN : -1);
        assert_int_equal(read_all(&b, &c, key), ERR_FORMAT);
    }
    small_build(&b, &o);
    builder_kv_str(&b, "llama.rope.scaling.type", "longrope");
    assert_int_equal(read_all(&b, &c, "rope_factors_short.weight"), ERR_FORMAT);
    for (int with_factor = 0; with_factor < 2; with_factor++) {
        small_build(&b, &o);
        builder_kv_str(&b, "llama.rope.scaling.type", "dynamic");
        if (with_factor) {
            builder_kv_f32(&b, "llama.rope.scaling.factor", 4);
        }
        assert_int_equal(read_all(&b, &c, "unknown RoPE scaling 'dynamic'"), ERR_UNSUPPORTED);
    }
}

static void hostile_rope_factors_are_refused(void **state) {
    (void)state;
    float right[8] = {1, 1, 1, 1, 8, 8, 8, 8}, f[8];
    struct small_opts o = {0};
    struct builder b;
    struct config c;
    small_build(&b, &o);
    builder_tensor(&b, "rope_freqs.weight", DT_F32, 1, (uint64_t[]){8}, right);
    angles(&b, &c, f);
    assert_true(f[0] == 1 && f[7] == (float)(pow(10000, -7 / 8.0) / 8));
    for (int i = 0; i < 4; i++) {
        float wrong[8] = {1, 1, 1, (float[]){NAN, 0, -1, INFINITY}[i], 1, 1, 1, 1};
        small_build(&b, &o);
        builder_tensor(&b, "rope_freqs.weight", DT_F32, 1, (uint64_t[]){8}, wrong);
        assert_int_equal(read_all(&b, &c, "rope_freqs.weight"), ERR_FORMAT);
    }
    small_build(&b, &o);
    builder_tensor(&b, "rope_freqs.weight", DT_F32, 1, (uint64_t[]){7}, right);
    assert_int_equal(read_all(&b, &c, "rope_freqs.weight"), ERR_FORMAT);
    small_build(&b, &o);
    builder_tensor(&b, "rope_freqs.weight", DT_F16, 1, (uint64_t[]){8}, right);
    assert_int_equal(read_all(&b, &c, "rope_freqs.weight"), ERR_FORMAT);
}

/* Two lists of factors, of which the room for positions chooses one: 64 here. */
static void long_factors(void **state) {
    (void)state;
    const float brief[8] = {1, 1, 1, 1, 1, 1, 1, 2}, wide[8] = {4, 4, 4, 4, 4, 4, 4, 8};
    struct small_opts o = {.arch = "phi3"};
    for (uint32_t n_orig = 63; n_orig <= 64; n_orig++) {
        struct builder b;
        struct config c;
        float f[8];
        small_build(&b, &o);
        builder_kv_u32(&b, "phi3.rope.scaling.original_context_length", n_orig);
        builder_kv_f32(&b, "phi3.rope.scaling.attn_factor", 1.25f);
        builder_tensor(&b, "rope_factors_short.weight", DT_F32, 1, (uint64_t[]){8}, brief);
        builder_tensor(&b, "rope_factors_long.weight", DT_F32, 1, (uint64_t[]){8}, wide);
        angles(&b, &c, f);
        const float *by = n_orig < 64 ? wide : brief;
        assert_true(f[0] == 1 / by[0] && f[7] == (float)(pow(10000, -7 / 8.0) / (double)by[7]));
        assert_true(c.rope_scale == 1.25f);
    }
}

static void hostile_long_factors_are_refused(void **state) {
    (void)state;
    static const char *const name[] = {"rope_factors_short.weight", "rope_factors_long.weight"};
    const float right[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1}, wrong[8] = {1, 1, NAN, 1, 1, 1, 1, 1};
    struct small_opts o = {.arch = "phi3"};
    for (int bad = 0; bad < 2; bad++) { /* the one that is not used is looked at, too */
        for (int how = 0; how < 5; how++) {
            struct builder b;
            struct config c;
            small_build(&b, &o);
            builder_tensor(&b, name[!bad], DT_F32, 1, (uint64_t[]){8}, right);
            switch (how) {
            case 0: builder_tensor(&b, name[bad], DT_F32, 1, (uint64_t[]){7}, right); break;
            case 1: builder_tensor(&b, name[bad], DT_F32, 1, (uint64_t[]){9}, right); break;
            case 2: builder_tensor(&b, name[bad], DT_F16, 1, (uint64_t[]){8}, right); break;
            case 3: builder_tensor(&b, name[bad], DT_F32, 1, (uint64_t[]){8}, wrong); break;
            default: break; /* it is not there */
            }
            if (read_all(&b, &c, name[bad]) != ERR_FORMAT) {
                fail_msg("%s, case %d was accepted", name[bad], how);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_small_model_is_read),
        cmocka_unit_test(qwen2_has_halves_and_biases),
        cmocka_unit_test(qwen3_normalizes_heads),
        cmocka_unit_test(gemma_takes_turns_of_layers),
        cmocka_unit_test(the_largest_gemmas_score_by_the_stream),
        cmocka_unit_test(phi3_is_fused),
        cmocka_unit_test(hostile_patterns_are_refused),
        cmocka_unit_test(layers_that_agree_are_one_number),
        cmocka_unit_test(hostile_integers_are_refused),
        cmocka_unit_test(hostile_reals_are_refused),
        cmocka_unit_test(required_keys_and_their_types),
        cmocka_unit_test(architectures_are_known_by_name),
        cmocka_unit_test(rope_without_scaling_is_the_papers),
        cmocka_unit_test(yarn_keys),
        cmocka_unit_test(hostile_scaling_is_refused),
        cmocka_unit_test(hostile_rope_factors_are_refused),
        cmocka_unit_test(long_factors),
        cmocka_unit_test(hostile_long_factors_are_refused),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
