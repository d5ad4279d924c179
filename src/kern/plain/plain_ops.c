/* plain_ops.c: each operation in scalar f32, as the paper writes it: the definition of correct.
 *
 * Owns the arithmetic of the plain back end. Refuses cleverness: what is here is here to be read.
 * Long sums run in 16 partial sums or in double, so that their rounding stays far below that of
 * any f32 implementation which it is compared with. Invariant: the order of a sum is a constant.
 */
#include "kern/plain/plain_ops.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "quant/quant.h"

/* ---- sums ------------------------------------------------------------------------------ */

static float dot(const float *a, const float *b, int64_t n) {
    enum { LANES = 16 };
    float part[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            part[j] += a[i + j] * b[i + j];
        }
    }
    double sum = 0;
    for (; i < n; i++) {
        sum += (double)a[i] * b[i];
    }
    for (int j = 0; j < LANES; j++) {
        sum += part[j];
    }
    return (float)sum;
}

/* ---- places --------------------------------------------------------------------------- */

void plain_argmax(struct kern_dev *d, kern_ref x, size_t n, size_t dim, int32_t *at) {
    enum { PART = 1024 };
    for (size_t row = 0; row < n; row++) {
        float part[PART], top = -INFINITY;
        bool odd = false;
        at[row] = -1;
        for (size_t i = 0; i < dim; i++) {
            if (i % PART == 0) {
                host_peek(d, x, row * dim + i, part, dim - i < PART ? dim - i : PART);
            }
            float v = part[i % PART];
            odd = odd || !(v < INFINITY);
            if (v > top) {
                top = v;
                at[row] = (int32_t)i;
            }
        }
        at[row] = odd ? -1 : at[row];
    }
}

/* ---- rows ------------------------------------------------------------------------------ */

void plain_embed(struct kern_dev *d, kern_ref x, kern_weight table, float scale) {
    const struct step *s = d->step;
    const struct host_weight *w = host_weight(d, table);
    size_t dim = (size_t)w->n_col;
    float *out = host_at(d, x, (size_t)s->n_tok * dim);
    for (int t = 0; t < s->n_tok; t++, out += dim) {
        assert(s->tok[t] >= 0 && s->tok[t] < w->n_row);
        quant_decode(w->type, w->mat[0] + (size_t)s->tok[t] * w->row_bytes, out, dim);
        for (size_t i = 0; i < dim; i++) {
            out[i] *= scale;
        }
    }
}

void plain_gather(struct kern_dev *d, kern_ref y, kern_ref x, int dim) {
    const struct step *s = d->step;
    float *out = host_at(d, y, (size_t)s->n_out * (size_t)dim);
    const float *in = host_at(d, x, (size_t)s->n_tok * (size_t)dim);
    for (int i = 0; i < s->n_out; i++) {
        memcpy(out + (size_t)i * (size_t)dim, in + (size_t)s->out[i] * (size_t)dim,
               (size_t)dim * sizeof *out);
    }
}

/* Zhang and Sennrich 2019 */
void plain_rmsnorm(struct kern_dev *d, kern_ref y, kern_ref x, kern_weight w, enum kern_rows rows,
                   int n, int dim, float eps) {
    size_t n_vec = (size_t)host_rows(d, rows) * (size_t)n;
    const float *weight = host_vec(d, w);
    const float *in = host_at(d, x, n_vec * (size_t)dim);
    float *out = host_at(d, y, n_vec * (size_t)dim);
    for (size_t t = 0; t < n_vec; t++, in += dim, out += dim) {
        double sum = 0;
        for (int i = 0; i < dim; i++) {
            sum += (double)in[i] * in[i];
        }
        float scale = (float)(1.0 / sqrt(sum / dim + eps));
        for (int i = 0; i < dim; i++) {
            out[i] = in[i] * scale * weight[i];
        }
    }
}

void plain_add(struct kern_dev *d, kern_ref y, kern_ref x, int dim) {
    size_t n = (size_t)d->step->n_tok * (size_t)dim;
    float *out = host_at(d, y, n);
    const float *in = host_at(d, x, n);
    for (size_t i = 0; i < n; i++) {
        out[i] += in[i];
    }
}

static float softcap(float x, float cap) {
    return cap * tanhf(x / cap);
}

void plain_softcap(struct kern_dev *d, kern_ref x, enum kern_rows rows, int dim, float cap) {
    size_t n = (size_t)host_rows(d, rows) * (size_t)dim;
    float *v = host_at(d, x, n);
    for (size_t i = 0; i < n; i++) {
        v[i] = softcap(v[i], cap);
    }
}

/* SiLU: Elfwing et al. 2017. GELU: Hendrycks and Gimpel 2016, and its tanh form. */
static float activate(float x, enum kern_act act) {
    if (act == ACT_SILU) {
        return x / (1.0f + expf(-x));
    }
    if (act == ACT_GELU_ERF) {
        return 0.5f * x * (1.0f + erff(x * 0.70710678118654752440f));
    }
    const float root = 0.79788456080286535588f; /* sqrt(2 / pi) */
    return 0.5f * x * (1.0f + tanhf(root * (x + 0.044715f * x * x * x)));
}

void plain_act_mul(struct kern_dev *d, kern_ref gate, kern_ref up, int dim, enum kern_act act) {
    size_t n = (size_t)d->step->n_tok * (size_t)dim;
    float *g = host_at(d, gate, n);
    const float *u = host_at(d, up, n);
    for (size_t i = 0; i < n; i++) {
        g[i] = activate(g[i], act) * u[i];
    }
}

void plain_activate(struct kern_dev *d, kern_ref x, int dim, enum kern_act act) {
    size_t n = (size_t)d->step->n_tok * (size_t)dim;
    float *v = host_at(d, x, n);
    for (size_t i = 0; i < n; i++) {
        v[i] = activate(v[i], act);
    }
}

/* ---- matrices -------------------------------------------------------------------------- */

struct matmul_job {
    struct plain_dev *d;
    const struct host_weight *w;
    const float *x, *bias; /* [n, n_col], [n_row] or NULL */
    float *y;              /* [n, n_row] */
    size_t n;
    bool add;
};

static void matmul_row(void *arg, int row, int thread) {
    const struct matmul_job *j = arg;
    const struct host_weight *w = j->w;
    if (host_cancelled(&j->d->host)) {
        return;
    }
    float *wf = j->d->row + (size_t)thread * (size_t)j->d->host.widest;
    quant_decode(w->type, w->mat[0] + (size_t)row * w->row_bytes, wf, (size_t)w->n_col);
    for (size_t t = 0; t < j->n; t++) {
        float v = dot(wf, j->x + t * (size_t)w->n_col, w->n_col);
        float *y = j->y + t * (size_t)w->n_row + row;
        v += j->bias != NULL ? j->bias[row] : 0.0f;
        *y = j->add ? *y + v : v;
    }
}

void plain_matmul(struct kern_dev *d, kern_ref y, kern_ref x, kern_weight w, kern_weight b,
                  enum kern_rows rows, bool add) {
    size_t n = (size_t)host_rows(d, rows);
    const struct host_weight *weight = host_weight(d, w);
    struct matmul_job job = {(struct plain_dev *)d,
                             weight,
                             host_at(d, x, n * (size_t)weight->n_col),
                             host_vec(d, b),
                             host_at(d, y, n * (size_t)weight->n_row),
                             n,
                             add};
    pool_run(d->pool, matmul_row, &job, (int)weight->n_row);
}

/* ---- position and attention ------------------------------------------------------------- */

void plain_rope(struct kern_dev *d, kern_ref x, const struct kern_rope *r) {
    const struct step *s = d->step;
    size_t width = (size_t)r->n_head * (size_t)r->d_head;
    float *row = host_at(d, x, (size_t)s->n_tok * width);
    const float *freq = host_vec(d, r->freq);
    int half = r->n_rot / 2;
    for (int t = 0; t < s->n_tok; t++, row += width) {
        for (int i = 0; i < half; i++) {
            float angle = (float)s->pos[t] * freq[i];
            float c = (float)cos(angle) * r->scale, n = (float)sin(angle) * r->scale;
            int a = r->halves ? i : 2 * i, b = r->halves ? i + half : 2 * i + 1;
            for (int h = 0; h < r->n_head; h++) {
                float *head = row + (size_t)h * (size_t)r->d_head;
                float u = head[a], v = head[b];
                head[a] = u * c - v * n;
                head[b] = u * n + v * c;
            }
        }
        host_rope_less(d, r, row);
    }
}

/* Number i of place `row`, and its scale, in a head's keys or values. */
static size_t kv_index(const struct kern_dev *d, int value, int row, int i) {
    return value ? (size_t)row * (size_t)d->kv.d_head + (size_t)i
                 : (size_t)i * (size_t)d->kv.page_tok + (size_t)row;
}

static size_t kv_scale_index(const struct kern_dev *d, int value, int row, int i) {
    int g = i / DTYPE_KV_GROUP;
    return value ? (size_t)(row * host_kv_groups(d->kv.d_head) + g)
                 : (size_t)(g * d->kv.page_tok + row);
}

/* Numbers i.. of an int8 row, n at most HOST_KV_BLOCK of them: turned, then group by group. */
static void kv_put_int8(const struct kern_dev *d, const struct host_kv *to, int value, int row,
                        int i, const float *x, int n) {
    float turned[HOST_KV_BLOCK];
    int8_t q[HOST_KV_BLOCK];
    bf16_t scale[HOST_KV_BLOCK / DTYPE_KV_GROUP];
    memcpy(turned, x, (size_t)n * sizeof *x);
    host_kv_turn(turned, n, host_kv_block(d->kv.d_head));
    host_kv_quantize(turned, n, q, scale);
    for (int k = 0; k < n; k++) {
        ((int8_t *)to->v)[kv_index(d, value, row, i + k)] = q[k];
        to->scale[kv_scale_index(d, value, row, i + k)] = scale[k / DTYPE_KV_GROUP];
    }
}

static void kv_put(const struct kern_dev *d, const struct host_kv *to, int value, int row,
                   const float *x) {
    int dh = d->kv.d_head;
    for (int i = 0; i < dh && to->type == DT_I8; i += HOST_KV_BLOCK) {
        kv_put_int8(d, to, value, row, i, x + i, dh - i < HOST_KV_BLOCK ? dh - i : HOST_KV_BLOCK);
    }
    for (int i = 0; i < dh && to->type != DT_I8; i++) {
        size_t at = kv_index(d, value, row, i);
        if (to->type == DT_F32) {
            ((float *)to->v)[at] = x[i];
        } else {
            ((f16_t *)to->v)[at] = f16_from_f32(x[i]);
        }
    }
}

static float kv_get(const struct kern_dev *d, const struct host_kv *from, int value, int row,
                    int i) {
    size_t at = kv_index(d, value, row, i);
    if (from->type == DT_F32) {
        return ((const float *)from->v)[at];
    }
    if (from->type == DT_F16) {
        return f32_from_f16(((const f16_t *)from->v)[at]);
    }
    return (float)((const int8_t *)from->v)[at] *
           f32_from_bf16(from->scale[kv_scale_index(d, value, row, i)]);
}

void plain_kv_store(struct kern_dev *d, int layer, kern_ref k, kern_ref v) {
    const struct step *s = d->step;
    size_t dh = (size_t)d->kv.d_head, width = (size_t)d->kv.n_kv * dh;
    const float *src[2] = {host_at(d, k, (size_t)s->n_tok * width),
                           host_at(d, v, (size_t)s->n_tok * width)};
    for (int t = 0; t < s->n_tok; t++) {
        int page = host_page(d, s->seq[t], s->pos[t]);
        for (int h = 0; h < 2 * d->kv.n_kv; h++) {
            int value = h / d->kv.n_kv, head = h % d->kv.n_kv;
            struct host_kv to = host_kv_at(d, layer, value, head, page);
            kv_put(d, &to, value, s->pos[t] % d->kv.page_tok,
                   src[value] + (size_t)t * width + (size_t)head * dh);
        }
    }
}

struct attend_job {
    struct plain_dev *d;
    const struct kern_attend *a;
    const float *q;
    float *y;
};

/* One query head of one token: scores, softmax, weighted values (Vaswani et al. 2017). */
static void attend_head(void *arg, int item, int thread) {
    const struct attend_job *j = arg;
    const struct kern_attend *a = j->a;
    struct kern_dev *d = &j->d->host;
    const struct step *s = d->step;
    int t = item / a->n_head, h = item % a->n_head, kv_head = h / (a->n_head / a->n_kv);
    int pos = s->pos[t], dh = a->d_head;
    int first = a->window > 0 && pos + 1 > a->window ? pos + 1 - a->window : 0;
    const int k_block = host_kv_block_of(d, a->layer, 0),
              v_block = host_kv_block_of(d, a->layer, 1);
    float *y = j->y + (size_t)item * (size_t)dh, *q = y; /* the query, until values are mixed */
    float *score = j->d->score + (size_t)thread * j->d->n_score;
    if (host_cancelled(d)) {
        return;
    }
    memmove(q, j->q + (size_t)item * (size_t)dh, (size_t)dh * sizeof *q);
    host_kv_turn(q, dh, k_block);
    float top = -INFINITY;
    for (int p = first; p <= pos; p++) {
        struct host_kv k = host_kv_at(d, a->layer, 0, kv_head, host_page(d, s->seq[t], p));
        double sum = 0;
        for (int i = 0; i < dh; i++) {
            sum += (double)q[i] * kv_get(d, &k, 0, p % d->kv.page_tok, i);
        }
        score[p] = (float)(sum / k_block) * a->scale;
        score[p] = a->cap > 0 ? softcap(score[p], a->cap) : score[p];
        top = score[p] > top ? score[p] : top;
    }
    double total = 0;
    for (int p = first; p <= pos; p++) {
        score[p] = expf(score[p] - top);
        total += score[p];
    }
    for (int i = 0; i < dh; i++) {
        y[i] = 0;
    }
    for (int p = first; p <= pos; p++) {
        struct host_kv v = host_kv_at(d, a->layer, 1, kv_head, host_page(d, s->seq[t], p));
        float weight = (float)(score[p] / total);
        for (int i = 0; i < dh; i++) {
            y[i] += weight * kv_get(d, &v, 1, p % d->kv.page_tok, i);
        }
    }
    host_kv_turn(y, dh, v_block);
    for (int i = 0; i < dh; i++) {
        y[i] /= (float)v_block;
    }
}

void plain_attend(struct kern_dev *d, kern_ref y, kern_ref q, const struct kern_attend *a) {
    size_t n = (size_t)d->step->n_tok * (size_t)a->n_head * (size_t)a->d_head;
    struct attend_job job = {(struct plain_dev *)d, a, host_at(d, q, n), host_at(d, y, n)};
    pool_run(d->pool, attend_head, &job, d->step->n_tok * a->n_head);
}

/* ---- encoders ---------------------------------------------------------------------------- */

/* out += row `row` of a table. */
static void add_row(const struct host_weight *w, int row, float *decoded, float *out) {
    assert(row >= 0 && row < w->n_row);
    quant_decode(w->type, w->mat[0] + (size_t)row * w->row_bytes, decoded, (size_t)w->n_col);
    for (int64_t i = 0; i < w->n_col; i++) {
        out[i] += decoded[i];
    }
}

void plain_embed_sum(struct kern_dev *d, kern_ref x, kern_weight token, kern_weight position,
                     kern_weight type) {
    const struct step *s = d->step;
    const struct host_weight *w = host_weight(d, token), *p = host_weight(d, position);
    const float *t = host_vec(d, type);
    float *decoded = ((struct plain_dev *)d)->row;
    size_t dim = (size_t)w->n_col;
    float *out = host_at(d, x, (size_t)s->n_tok * dim);
    for (int i = 0; i < s->n_tok; i++, out += dim) {
        for (size_t k = 0; k < dim; k++) {
            out[k] = t != NULL ? t[k] : 0;
        }
        add_row(p, s->pos[i], decoded, out);
        add_row(w, s->tok[i], decoded, out);
    }
}

void plain_layernorm(struct kern_dev *d, kern_ref y, kern_ref x, kern_weight w, kern_weight b,
                     int dim, float eps) {
    int n_tok = d->step->n_tok;
    const float *weight = host_vec(d, w), *bias = host_vec(d, b);
    const float *in = host_at(d, x, (size_t)n_tok * (size_t)dim);
    float *out = host_at(d, y, (size_t)n_tok * (size_t)dim);
    for (int t = 0; t < n_tok; t++, in += dim, out += dim) {
        double mean = 0, square = 0;
        for (int i = 0; i < dim; i++) {
            mean += in[i];
        }
        mean /= dim;
        for (int i = 0; i < dim; i++) {
            square += (in[i] - mean) * (in[i] - mean);
        }
        double scale = 1.0 / sqrt(square / dim + eps);
        for (int i = 0; i < dim; i++) {
            out[i] = (float)((in[i] - mean) * scale) * weight[i] + bias[i];
        }
    }
}

/* One head of token t: scores, softmax, weighted values, over tokens first..end. */
static void attend_all_head(const float *q, const float *k, const float *v, float *y, int first,
                            int end, size_t width, const struct kern_attend_all *a, float *score) {
    double total = 0;
    float top = -INFINITY;
    for (int p = first; p < end; p++) {
        score[p - first] = dot(q, k + (size_t)p * width, a->d_head) * a->scale;
        top = score[p - first] > top ? score[p - first] : top;
    }
    for (int p = first; p < end; p++) {
        score[p - first] = expf(score[p - first] - top);
        total += score[p - first];
    }
    for (int i = 0; i < a->d_head; i++) {
        double sum = 0;
        for (int p = first; p < end; p++) {
            sum += (double)score[p - first] * v[(size_t)p * width + (size_t)i];
        }
        y[i] = (float)(sum / total);
    }
}

void plain_attend_all(struct kern_dev *d, const struct kern_attend_all *a) {
    const struct step *s = d->step;
    size_t width = (size_t)a->n_head * (size_t)a->d_head, n = (size_t)s->n_tok * width;
    const float *q = host_at(d, a->q, n), *k = host_at(d, a->k, n), *v = host_at(d, a->v, n);
    float *y = host_at(d, a->y, n);
    for (int first = 0, end; first < s->n_tok; first = end) {
        for (end = first; end < s->n_tok && s->seq[end] == s->seq[first]; end++) {
        }
        assert(end - first <= d->kv.n_all);
        for (int t = first; t < end && !host_cancelled(d); t++) {
            for (int h = 0; h < a->n_head; h++) {
                size_t head = (size_t)h * (size_t)a->d_head, at = (size_t)t * width + head;
                attend_all_head(q + at, k + head, v + head, y + at, first, end, width, a,
                                ((struct plain_dev *)d)->score);
            }
        }
    }
}

/* ---- experts --------------------------------------------------------------------------- */

static struct host_choice *choices(const struct kern_dev *d, kern_ref sel, int n_used) {
    return (struct host_choice *)host_at(d, sel, (size_t)d->step->n_tok * (size_t)n_used * 2);
}

void plain_route(struct kern_dev *d, kern_ref sel, kern_ref logit, int n_exp, int n_used) {
    const float *l = host_at(d, logit, (size_t)d->step->n_tok * (size_t)n_exp);
    struct host_choice *c = choices(d, sel, n_used);
    for (int t = 0; t < d->step->n_tok; t++, l += n_exp, c += n_used) {
        for (int u = 0; u < n_used; u++) { /* selection: the largest not chosen yet */
            int best = -1;
            for (int i = 0; i < n_exp; i++) {
                bool taken = false;
                for (int v = 0; v < u; v++) {
                    taken = taken || c[v].exp == i;
                }
                if (!taken && (best < 0 || l[i] > l[best])) {
                    best = i;
                }
            }
            c[u].exp = best;
            c[u].weight = expf(l[best] - l[c[0].exp]);
        }
        float total = 0;
        for (int u = 0; u < n_used; u++) {
            total += c[u].weight;
        }
        for (int u = 0; u < n_used; u++) {
            c[u].weight /= total;
        }
    }
}

struct expert_job {
    struct plain_dev *d;
    const struct host_weight *w;
    const struct host_choice *sel;
    const float *x;
    float *y;
    int n_used;
    bool per_choice;
};

static void expert_row(void *arg, int item, int thread) {
    const struct expert_job *j = arg;
    const struct host_weight *w = j->w;
    int exp = item / (int)w->n_row, row = item % (int)w->n_row;
    int n = j->d->host.step->n_tok * j->n_used;
    float *wf = j->d->row + (size_t)thread * (size_t)j->d->host.widest;
    bool decoded = false;
    if (host_cancelled(&j->d->host)) {
        return;
    }
    for (int c = 0; c < n; c++) {
        if (j->sel[c].exp != exp) {
            continue;
        }
        if (!decoded) {
            quant_decode(w->type, w->mat[exp] + (size_t)row * w->row_bytes, wf, (size_t)w->n_col);
            decoded = true;
        }
        size_t from = (size_t)(j->per_choice ? c : c / j->n_used);
        j->y[(size_t)c * (size_t)w->n_row + (size_t)row] =
            dot(wf, j->x + from * (size_t)w->n_col, w->n_col);
    }
}

void plain_matmul_exp(struct kern_dev *d, kern_ref y, kern_ref x, kern_weight w, kern_ref sel,
                      int n_used, bool per_choice) {
    size_t n = (size_t)d->step->n_tok * (size_t)n_used;
    const struct host_weight *weight = host_weight(d, w);
    size_t n_in = per_choice ? n : (size_t)d->step->n_tok;
    struct expert_job job = {(struct plain_dev *)d,
                             weight,
                             choices(d, sel, n_used),
                             host_at(d, x, n_in * (size_t)weight->n_col),
                             host_at(d, y, n * (size_t)weight->n_row),
                             n_used,
                             per_choice};
    pool_run(d->pool, expert_row, &job, weight->n_mat * (int)weight->n_row);
}

void plain_mix_exp(struct kern_dev *d, kern_ref y, kern_ref x, kern_ref sel, int n_used, int dim) {
    size_t n = (size_t)d->step->n_tok;
    const struct host_choice *c = choices(d, sel, n_used);
    const float *in = host_at(d, x, n * (size_t)n_used * (size_t)dim);
    float *out = host_at(d, y, n * (size_t)dim);
    for (size_t t = 0; t < n; t++, out += dim) {
        for (int u = 0; u < n_used; u++, c++, in += dim) {
            for (int i = 0; i < dim; i++) {
                out[i] += c->weight * in[i];
            }
        }
    }
}
