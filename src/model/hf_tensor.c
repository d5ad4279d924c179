/* hf_tensor.c: the tensors of a folder, under the names that GGUF files give them.
 *
 * Owns the names that most families share, and the joining of experts, which lie apart in a folder
 * and are one tensor in GGUF. The bytes stay where they are mapped. Tensors that no table names
 * keep their own name, so that weights.c can warn of them.
 * Invariant: a tensor of the directory has a type to compute with, and no dimension of 0.
 */
#include <stdio.h>
#include <string.h>

#include "base/half.h"
#include "base/log.h"
#include "model/config.h"
#include "model/hf.h"

enum { NAME_MAX = 96 };

/* In every layer. */
static const struct hf_name of_layer[] = {
    {"input_layernorm.weight", "attn_norm.weight", HF_AS_IT_IS},
    {"post_attention_layernorm.weight", "ffn_norm.weight", HF_AS_IT_IS},
    {"self_attn.q_proj.weight", "attn_q.weight", HF_AS_IT_IS},
    {"self_attn.k_proj.weight", "attn_k.weight", HF_AS_IT_IS},
    {"self_attn.v_proj.weight", "attn_v.weight", HF_AS_IT_IS},
    {"self_attn.o_proj.weight", "attn_output.weight", HF_AS_IT_IS},
    {"self_attn.q_proj.bias", "attn_q.bias", HF_AS_IT_IS},
    {"self_attn.k_proj.bias", "attn_k.bias", HF_AS_IT_IS},
    {"self_attn.v_proj.bias", "attn_v.bias", HF_AS_IT_IS},
    {"self_attn.o_proj.bias", "attn_output.bias", HF_AS_IT_IS},
    {"self_attn.q_norm.weight", "attn_q_norm.weight", HF_AS_IT_IS},
    {"self_attn.k_norm.weight", "attn_k_norm.weight", HF_AS_IT_IS},
    {"self_attn.rotary_emb.inv_freq", NULL, HF_DROP},
    {"mlp.gate_proj.weight", "ffn_gate.weight", HF_AS_IT_IS},
    {"mlp.up_proj.weight", "ffn_up.weight", HF_AS_IT_IS},
    {"mlp.down_proj.weight", "ffn_down.weight", HF_AS_IT_IS},
    {0},
};

/* Once in a model. */
static const struct hf_name of_model[] = {
    {"embed_tokens.weight", "token_embd.weight", HF_AS_IT_IS},
    {"norm.weight", "output_norm.weight", HF_AS_IT_IS},
    {"lm_head.weight", "output.weight", HF_AS_IT_IS},
    {0},
};

/* Experts of one layer and kind, on their way to one tensor. */
struct stack {
    struct gguf_tensor t;
    const uint8_t **mat; /* [n_exp]; NULL: not met yet */
    char name[NAME_MAX];
};

struct mapper {
    struct gguf_build *b;
    const struct arch *a;
    const struct hf_folder *f;
    uint32_t n_layer, n_exp;
    bool pictures;       /* some tensors are of them */
    struct stack *stack; /* [n_stack] */
    size_t n_stack, cap_stack;
    struct err *e;
};

/* ---- names ------------------------------------------------------------------------------ */

/* The number at the front of *s, which is cut off with the point behind it; -1 if there is none. */
static int64_t take_number(struct str *s) {
    int64_t v = 0;
    size_t i = 0;
    for (; i < s->n && i < 9 && s->p[i] >= '0' && s->p[i] <= '9'; i++) {
        v = v * 10 + (s->p[i] - '0');
    }
    if (i == 0 || i == s->n || s->p[i] != '.' || (i > 1 && s->p[0] == '0')) {
        return -1;
    }
    *s = str_of(s->p + i + 1, s->n - i - 1);
    return v;
}

static bool cut_prefix(struct str *s, const char *prefix) {
    if (!str_starts(*s, prefix)) {
        return false;
    }
    *s = str_of(s->p + strlen(prefix), s->n - strlen(prefix));
    return true;
}

/* Whether `s` is `pattern`, whose '#' stands for a number. */
static bool matches(struct str s, const char *pattern, int64_t *number) {
    const char *mark = strchr(pattern, '#');
    if (!mark) {
        return str_is(s, pattern);
    }
    size_t n = (size_t)(mark - pattern);
    if (s.n <= n || memcmp(s.p, pattern, n) != 0) {
        return false;
    }
    s = str_of(s.p + n, s.n - n);
    *number = take_number(&s);
    return *number >= 0 && str_is(s, mark + 2); /* behind the '#' and its point */
}

static const struct hf_name *look_up(const struct hf_name *table, struct str s, int64_t *number) {
    for (; table && table->from; table++) {
        if (matches(s, table->from, number)) {
            return table;
        }
    }
    return NULL;
}

/* The line of a table for this tensor, or NULL; *layer = -1 for one of the whole model. */
static const struct hf_name *find_name(const struct mapper *m, struct str s, int64_t *layer,
                                       int64_t *number) {
    cut_prefix(&s, "language_model.");
    cut_prefix(&s, "model.");
    cut_prefix(&s, "language_model.");
    cut_prefix(&s, "bert.");
    *layer = cut_prefix(&s, "layers.") || cut_prefix(&s, "encoder.layer.") ? take_number(&s) : -1;
    *number = -1;
    const struct hf_name *own = look_up(m->a->hf->names, s, number);
    return own ? own : look_up(*layer >= 0 ? of_layer : of_model, s, number);
}

/* What stands before a tensor's name: as before that of the embedding table. */
static struct str prefix_of(const struct gguf *g) {
    const char *table = of_model[0].from;
    const struct gguf_tensor *t = gguf_find_tensor(g, of_model[0].to);
    size_t n = strlen(table);
    return t && t->from.n >= n && memcmp(t->from.p + t->from.n - n, table, n) == 0
               ? str_of(t->from.p, t->from.n - n)
               : str_c("model.");
}

static const struct hf_name *find_line(const struct hf_name *table, const char *to) {
    for (; table && table->from; table++) {
        if (table->to && strcmp(table->to, to) == 0) {
            return table;
        }
    }
    return NULL;
}

/* The folder's name of what GGUF files call `name`; false if no table has it. */
static bool folder_name(const struct gguf *g, const char *name, char *out, size_t n) {
    struct str arch, rest = str_c(name), prefix = prefix_of(g);
    const struct arch *a;
    if (gguf_get_str(g, "general.architecture", &arch, NULL) || !(a = arch_of_name(arch))) {
        return false;
    }
    int64_t layer = cut_prefix(&rest, "blk.") ? take_number(&rest) : -1;
    const struct hf_name *line = a->hf ? find_line(a->hf->names, rest.p) : NULL;
    line = line ? line : find_line(layer >= 0 ? of_layer : of_model, rest.p);
    if (!line) {
        return false;
    }
    const char *mark = strchr(line->from, '#');
    int head = mark ? (int)(mark - line->from) : (int)strlen(line->from);
    bool alone = strcmp(line->to, "output.weight") == 0; /* beside "model", not in it */
    char number[32] = "";
    if (layer >= 0) {
        snprintf(number, sizeof number, "layers.%d.", (int)layer);
    }
    snprintf(out, n, "%.*s%s%.*s%s%s", alone ? 0 : (int)prefix.n, prefix.p, number, head,
             line->from, mark ? "0" : "", mark ? mark + 1 : "");
    return true;
}

enum err_code hf_missing(const struct gguf *g, const char *name, struct err *e) {
    char own[128];
    bool known = g->shards.n && folder_name(g, name, own, sizeof own);
    enum err_code rc = err_set(e, ERR_FORMAT, "tensor '%s' is missing", known ? own : name);
    err_where(e, "%s", g->path);
    if (g->shards.n) {
        err_hint(e, "it is not in %.*s: get the model's files again", (int)g->shards.n,
                 g->shards.p);
    }
    return rc;
}

/* ---- one tensor ------------------------------------------------------------------------- */

static enum err_code fail(const struct mapper *m, size_t shard, const struct safetensor *t,
                          enum err_code code, const char *what) {
    err_set(m->e, code, "tensor '%.*s' %s", (int)(t->name.n < 80 ? t->name.n : 80), t->name.p,
            what);
    err_where(m->e, "%s/%s, offset %llu", m->f->path, m->f->name[shard],
              (unsigned long long)t->begin);
    return code;
}

/* As the directory has it; false if it has no such type or shape. */
static bool convert(const struct mapper *m, size_t shard, const struct safetensor *s,
                    struct gguf_tensor *t) {
    *t = (struct gguf_tensor){.name = s->name,
                              .n_dim = s->n_dim ? s->n_dim : 1,
                              .dim = {1, 1, 1, 1},
                              .data = m->b->g->part[shard].data + s->begin,
                              .bytes = (size_t)(s->end - s->begin),
                              .offset = s->begin,
                              .entry = s->begin,
                              .part = (unsigned)shard,
                              .from = s->name};
    t->type = strcmp(s->type, "F32") == 0    ? DT_F32
              : strcmp(s->type, "F16") == 0  ? DT_F16
              : strcmp(s->type, "BF16") == 0 ? DT_BF16
                                             : DT_MAX;
    if (t->type == DT_MAX || s->n_dim > 4 || t->bytes == 0) {
        return false;
    }
    for (unsigned i = 0; i < s->n_dim; i++) {
        t->dim[i] = s->dim[s->n_dim - 1 - i];
    }
    return true;
}

/* The sum 1 + w, in memory of the directory. */
static enum err_code add_one(const struct mapper *m, struct gguf_tensor *t) {
    size_t n = (size_t)t->dim[0];
    float *sum = gguf_build_alloc(m->b, n, sizeof *sum);
    for (size_t i = 0; sum && i < n; i++) {
        uint32_t word = 0;
        memcpy(&word, t->data + i * (t->bytes / n), t->bytes / n);
        sum[i] = 1 + (t->type == DT_F32   ? f32_from_bits(word)
                      : t->type == DT_F16 ? f32_from_f16((f16_t)word)
                                          : f32_from_bf16((bf16_t)word));
    }
    t->type = DT_F32;
    t->data = (const uint8_t *)sum;
    t->bytes = n * sizeof *sum;
    return m->b->code;
}

/* ---- experts ---------------------------------------------------------------------------- */

static struct stack *find_stack(struct mapper *m, const char *name) {
    for (size_t i = m->n_stack; i-- > 0;) {
        if (strcmp(m->stack[i].name, name) == 0) {
            return &m->stack[i];
        }
    }
    if (m->n_stack == m->cap_stack) {
        size_t cap = m->cap_stack ? 2 * m->cap_stack : 64;
        struct stack *grown = mem_realloc(m->stack, cap, sizeof *grown);
        if (!grown) {
            err_set(m->e, ERR_NOMEM, "out of memory for the experts of %s", m->f->path);
            return NULL;
        }
        m->stack = grown;
        m->cap_stack = cap;
    }
    struct stack *s = &m->stack[m->n_stack++];
    *s = (struct stack){0};
    snprintf(s->name, sizeof s->name, "%s", name);
    return s;
}

static enum err_code put_expert(struct mapper *m, size_t shard, const struct safetensor *from,
                                const struct gguf_tensor *t, const char *name, int64_t number) {
    if (number < 0 || (uint64_t)number >= m->n_exp) {
        return fail(m, shard, from, ERR_FORMAT, "is of an expert that config.json does not have");
    }
    struct stack *s = find_stack(m, name);
    if (!s) {
        return ERR_NOMEM;
    }
    if (!s->mat) {
        s->mat = gguf_build_alloc(m->b, m->n_exp, sizeof *s->mat);
        if (!s->mat) {
            return m->b->code;
        }
        memset(s->mat, 0, m->n_exp * sizeof *s->mat);
        s->t = *t;
    }
    if (t->n_dim != 2 || t->type != s->t.type || t->dim[0] != s->t.dim[0] ||
        t->dim[1] != s->t.dim[1]) {
        return fail(m, shard, from, ERR_FORMAT,
                    "has another type or shape than the other experts' tensors");
    }
    if (s->mat[number]) {
        return fail(m, shard, from, ERR_FORMAT, "is there twice");
    }
    s->mat[number] = t->data;
    return ERR_OK;
}

static enum err_code put_stacks(struct mapper *m) {
    for (size_t i = 0; i < m->n_stack; i++) {
        struct stack *s = &m->stack[i];
        for (uint32_t x = 0; x < m->n_exp; x++) {
            if (!s->mat[x]) {
                enum err_code rc =
                    err_set(m->e, ERR_FORMAT, "expert %u of '%s' is missing", x, s->name);
                err_where(m->e, "%s", m->f->path);
                return rc;
            }
        }
        s->t.name = str_c(s->name);
        s->t.data = s->mat[0];
        s->t.mat = s->mat;
        s->t.n_dim = 3;
        s->t.dim[2] = m->n_exp;
        s->t.bytes *= m->n_exp; /* of matrices that are all mapped */
        gguf_build_tensor(m->b, &s->t);
    }
    return m->b->code;
}

/* ---- all of them ------------------------------------------------------------------------ */

/* Of the part that sees pictures, beside a text model. */
static bool is_of_pictures(struct str name) {
    cut_prefix(&name, "model.");
    return str_starts(name, "vision_tower.") || str_starts(name, "vision_model.") ||
           str_starts(name, "multi_modal_projector.");
}

static enum err_code put_tensor(struct mapper *m, size_t shard, const struct safetensor *s) {
    struct gguf_tensor t;
    int64_t layer, number;
    char name[NAME_MAX];
    const struct hf_name *n = find_name(m, s->name, &layer, &number);
    bool usable = convert(m, shard, s, &t);
    if (is_of_pictures(s->name) || (n && n->change == HF_DROP)) {
        m->pictures |= !n;
        return ERR_OK;
    }
    if (!n) {
        if (usable) {
            gguf_build_tensor(m->b, &t);
        } else {
            log_line(LOG_WARN, "%s: tensor '%.*s' is not used", m->f->path, (int)s->name.n,
                     s->name.p);
        }
        return m->b->code;
    }
    if (!usable) {
        char what[80];
        snprintf(what, sizeof what, "is %s %s; weights are F32, F16 or BF16",
                 t.bytes ? "of type" : "empty, and", s->type);
        return fail(m, shard, s, ERR_UNSUPPORTED, what);
    }
    if (layer >= (int64_t)m->n_layer) {
        return fail(m, shard, s, ERR_FORMAT, "is of a layer that config.json does not have");
    }
    if (layer >= 0) {
        snprintf(name, sizeof name, "blk.%d.%s", (int)layer, n->to);
    } else {
        snprintf(name, sizeof name, "%s", n->to);
    }
    if (n->change == HF_EXPERT) {
        return put_expert(m, shard, s, &t, name, number);
    }
    if (n->change == HF_PLUS_ONE && t.n_dim == 1 && add_one(m, &t)) {
        return m->b->code;
    }
    t.name = str_c(name);
    gguf_build_tensor(m->b, &t);
    return m->b->code;
}

/* Settings may say that the output matrix is the embedding table where the files have both. A copy
 * is left out; one that differs counts, and the settings are wrong (as transformers has it). */
static void drop_copy(struct gguf *g, const char *path) {
    size_t table = SIZE_MAX, out = SIZE_MAX;
    for (size_t i = 0; i < g->n_tensor; i++) {
        table = str_is(g->tensor[i].name, "token_embd.weight") ? i : table;
        out = str_is(g->tensor[i].name, "output.weight") ? i : out;
    }
    if (table == SIZE_MAX || out == SIZE_MAX) {
        return;
    }
    const struct gguf_tensor *a = &g->tensor[table], *b = &g->tensor[out];
    if (a->type == b->type && a->bytes == b->bytes && memcmp(a->data, b->data, a->bytes) == 0) {
        g->tensor[out] = g->tensor[--g->n_tensor];
    } else {
        log_line(LOG_WARN,
                 "%s: config.json says 'tie_word_embeddings', but the files have an output matrix "
                 "of their own, which is taken",
                 path);
    }
}

enum err_code hf_tensors(struct gguf_build *b, const struct arch *a, const struct hf_folder *f,
                         uint32_t n_layer, uint32_t n_exp, bool tied, struct err *e) {
    struct mapper m = {.b = b, .a = a, .f = f, .n_layer = n_layer, .n_exp = n_exp, .e = e};
    size_t total = 0;
    enum err_code rc = ERR_OK;
    for (size_t i = 0; i < f->n_shard; i++) {
        total += f->dir[i]->n_tensor;
    }
    if (n_exp > total) {
        rc = err_set(e, ERR_FORMAT, "%u experts, but %zu tensors", n_exp, total);
        err_where(e, "%s", f->path);
        return rc;
    }
    for (size_t i = 0; i < f->n_shard; i++) {
        for (size_t k = 0; k < f->dir[i]->n_tensor && !rc; k++) {
            const struct safetensor *s = &f->dir[i]->tensor[k];
            rc = hf_folder_has(f, i, s->name) ? put_tensor(&m, i, s) : ERR_OK;
        }
    }
    rc = rc ? rc : put_stacks(&m);
    if (m.pictures) {
        log_line(LOG_INFO, "%s: the model sees pictures, too; here it reads text alone", f->path);
    }
    if (!rc && tied) {
        drop_copy(b->g, f->path);
    }
    mem_free(m.stack);
    return rc;
}
