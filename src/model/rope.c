/* rope.c: how fast each pair of dimensions turns.
 *
 * Owns the angle per position: base^(-2i / n_rot), divided by the file's own factor of that pair
 * (Llama 3.1: rope_freqs.weight; Phi-3: one list for short contexts, one for long), then scaled:
 * linear (all positions are stretched) or YaRN (fast pairs are kept, slow ones stretched, a ramp
 * between). Refuses to rotate: kern/ does. Invariant: every angle that leaves here is finite and
 * positive. Sources: Su et al. 2021; Chen et al. 2023 (linear); Peng et al. 2023 (YaRN); Ding et
 * al. 2024 (LongRoPE).
 */
#include <math.h>
#include <string.h>

#include "model/config.h"
#include "model/hparam.h"

#define ROPE_FACTORS "rope_freqs.weight"
#define ROPE_SHORT   "rope_factors_short.weight"
#define ROPE_LONG    "rope_factors_long.weight"

static const double two_pi = 6.283185307179586;

enum scaling { SCALE_NONE, SCALE_LINEAR, SCALE_YARN, SCALE_LONG };

struct yarn {
    double factor;               /* how many times longer the context became */
    double n_ctx_orig;           /* what it was */
    double beta_fast, beta_slow; /* turns over n_ctx_orig: more are kept, fewer are stretched */
    double ext;                  /* share of the ramp, 1 */
    double attn;                 /* on sine and cosine */
};

static enum err_code read_scaling(enum scaling *kind, double *factor, const struct hparam *h) {
    struct str type;
    enum err_code rc;
    double old_key;
    if ((rc = hparam_str(h, "rope.scaling.type", &type)) ||
        (rc = hparam_real(h, "rope.scale_linear", 0, 0, 1e6, &old_key)) ||
        (rc = hparam_real(h, "rope.scaling.factor", old_key, 0, 1e6, factor))) {
        return rc;
    }
    if (str_is(type, "none")) {
        *kind = SCALE_NONE;
    } else if (type.n == 0 || str_is(type, "linear")) {
        *kind = SCALE_LINEAR;
    } else if (str_is(type, "yarn")) {
        *kind = SCALE_YARN;
    } else if (str_is(type, "longrope")) {
        *kind = SCALE_LONG; /* the factors are all there is to it */
        return ERR_OK;
    } else {
        rc = err_set(h->e, ERR_UNSUPPORTED, "unknown RoPE scaling '%.*s'",
                     (int)(type.n < 64 ? type.n : 64), type.p);
    }
    if (!rc && *factor == 0) { /* stands for "no scaling" in old files */
        *kind = SCALE_NONE;
    }
    if (!rc && *kind != SCALE_NONE && *factor < 1e-6) {
        rc = err_set(h->e, ERR_FORMAT, "a RoPE scaling factor of %g", *factor);
    }
    if (rc) {
        err_where(h->e, "%s, keys '%s.rope.scaling.*'", h->g->path, h->arch);
    }
    return rc;
}

static double mscale(double factor, double mul) {
    return factor <= 1 ? 1 : 0.1 * mul * log(factor) + 1;
}

static enum err_code read_ctx_orig(int *n, const struct config *c, const struct hparam *h) {
    return hparam_int(h, "rope.scaling.original_context_length", c->n_ctx, 1, 1 << 24, n);
}

static enum err_code read_attn_factor(double *f, const struct hparam *h) {
    return hparam_real(h, "rope.scaling.attn_factor", 1, 1e-3, 1e3, f);
}

/* `yarn_attn_factor` replaces the paper's attention factor, `yarn_log_multiplier` divides it by
 * what the model was trained with, `attn_factor` multiplies the result. */
static enum err_code read_yarn(struct yarn *y, const struct config *c, const struct hparam *h) {
    enum err_code rc;
    int n_ctx_orig;
    double log_mul, attn, more;
    if ((rc = read_ctx_orig(&n_ctx_orig, c, h)) ||
        (rc = hparam_real(h, "rope.scaling.yarn_beta_fast", 32, 1e-3, 1e6, &y->beta_fast)) ||
        (rc = hparam_real(h, "rope.scaling.yarn_beta_slow", 1, 1e-3, 1e6, &y->beta_slow)) ||
        (rc = hparam_real(h, "rope.scaling.yarn_ext_factor", 1, 0, 1, &y->ext)) ||
        (rc = hparam_real(h, "rope.scaling.yarn_log_multiplier", 0, 0, 100, &log_mul)) ||
        (rc = hparam_real(h, "rope.scaling.yarn_attn_factor", 0, 1e-3, 1e3, &attn)) ||
        (rc = read_attn_factor(&more, h))) {
        return rc;
    }
    y->n_ctx_orig = n_ctx_orig;
    if (attn == 0) {
        attn = mscale(y->factor, 1) / (log_mul > 0 ? mscale(y->factor, log_mul) : 1);
    }
    y->attn = attn * more;
    return ERR_OK;
}

/* Share of pair i of n_rot / 2 that keeps its own speed: 1 for fast pairs, 0 for slow ones. The
 * pair which makes `turns` turns over the original context is where a bound lies. */
static double yarn_bound(const struct yarn *y, const struct config *c, double turns) {
    return c->n_rot * log(y->n_ctx_orig / (turns * two_pi)) / (2 * log(c->rope_base));
}

static void yarn_scale(const struct yarn *y, const struct config *c, const double *angle,
                       float *freq) {
    double low = fmax(floor(yarn_bound(y, c, y->beta_fast)), 0);
    double high = fmin(ceil(yarn_bound(y, c, y->beta_slow)), c->n_rot - 1);
    double width = fmax(high - low, 0.001);
    for (int i = 0; i < c->n_rot / 2; i++) {
        double ramp = fmin(fmax((i - low) / width, 0), 1);
        double keep = (1 - ramp) * y->ext;
        freq[i] = (float)(angle[i] / y->factor * (1 - keep) + angle[i] * keep);
    }
}

static double plain_angle(const struct config *c, double base, int i) {
    return pow(base, -2.0 * i / c->n_rot);
}

/* What a tensor of the file divides each pair's angle by: factor [n_rot / 2]. */
static enum err_code read_factors(double *factor, const char *name, const struct config *c,
                                  const struct gguf *g, struct err *e) {
    const struct gguf_tensor *t = gguf_find_tensor(g, name);
    int n = c->n_rot / 2;
    enum err_code rc = ERR_OK;
    if (!t) {
        rc = err_set(e, ERR_FORMAT, "tensor '%s' is missing", name);
        err_where(e, "%s", g->path);
        return rc;
    }
    if (t->type != DT_F32 || t->dim[0] != (uint64_t)n || t->bytes != (size_t)n * 4) {
        rc = err_set(e, ERR_FORMAT, "tensor '%s' is %s with rows of %llu, expected F32 [%d]", name,
                     dtype_info(t->type)->name, (unsigned long long)t->dim[0], n);
    }
    for (int i = 0; !rc && i < n; i++) {
        float f;
        memcpy(&f, t->data + 4 * (size_t)i, 4);
        if (!(f >= 1e-6f && f <= 1e6f)) {
            rc = err_set(e, ERR_FORMAT, "element %d of '%s' is %g", i, name, (double)f);
        }
        factor[i] = (double)f;
    }
    if (rc) {
        err_where(e, "%s, offset %llu", g->path, (unsigned long long)t->offset);
    }
    return rc;
}

/* Long factors stretch the slow pairs for contexts that the short ones were not trained for; a
 * model is loaded with one of the two lists, by the room that its cache has. */
static enum err_code read_long(double *factor, int n_ctx, const struct config *c,
                               const struct hparam *h) {
    double other[CONFIG_D_HEAD_MAX / 2];
    int n_ctx_orig;
    enum err_code rc = read_ctx_orig(&n_ctx_orig, c, h);
    bool is_long = !rc && n_ctx > n_ctx_orig;
    rc = rc ? rc : read_factors(is_long ? other : factor, ROPE_SHORT, c, h->g, h->e);
    return rc ? rc : read_factors(is_long ? factor : other, ROPE_LONG, c, h->g, h->e);
}

/* Angles before scaling: angle [n_rot / 2]. */
static enum err_code read_angles(double *angle, enum scaling kind, int n_ctx,
                                 const struct config *c, const struct hparam *h) {
    const struct gguf *g = h->g;
    double factor[CONFIG_D_HEAD_MAX / 2];
    bool own = gguf_find_tensor(g, ROPE_FACTORS) != NULL;
    bool by_length =
        kind == SCALE_LONG || gguf_find_tensor(g, ROPE_LONG) || gguf_find_tensor(g, ROPE_SHORT);
    enum err_code rc = own         ? read_factors(factor, ROPE_FACTORS, c, g, h->e)
                       : by_length ? read_long(factor, n_ctx, c, h)
                                   : ERR_OK;
    for (int i = 0; !rc && i < c->n_rot / 2; i++) {
        angle[i] = plain_angle(c, c->rope_base, i) / (own || by_length ? factor[i] : 1);
    }
    return rc;
}

enum err_code rope_freqs(struct config *c, const struct gguf *g, int n_ctx, float *freq,
                         struct err *e) {
    struct hparam h = {.g = g, .arch = c->arch, .n_layer = c->n_layer, .e = e};
    enum scaling kind = SCALE_NONE;
    struct yarn y = {0};
    double angle[CONFIG_D_HEAD_MAX / 2];
    enum err_code rc;
    if ((rc = read_scaling(&kind, &y.factor, &h)) ||
        (rc = read_angles(angle, kind, n_ctx, c, &h)) ||
        (rc = kind == SCALE_YARN ? read_yarn(&y, c, &h) : read_attn_factor(&y.attn, &h))) {
        return rc;
    }
    c->rope_scale = (float)y.attn;
    if (kind == SCALE_YARN) {
        yarn_scale(&y, c, angle, freq);
        return ERR_OK;
    }
    for (int i = 0; i < c->n_rot / 2; i++) {
        freq[i] = (float)(kind == SCALE_LINEAR ? angle[i] / y.factor : angle[i]);
    }
    return ERR_OK;
}

void rope_freqs_local(const struct config *c, float *freq) {
    for (int i = 0; i < c->n_rot / 2; i++) {
        freq[i] = (float)plain_angle(c, c->rope_base_local, i);
    }
}
