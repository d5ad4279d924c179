/* verb_inspect.c: what is in a model file.
 *
 * Owns the summary, the list of tensors and the metadata, as text and as JSON. Refuses judgement:
 * a file whose architecture this program does not know can be looked at, too, as long as its
 * container is sound. Everything here comes from a file that nobody vouches for.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cli/open_model.h"
#include "cli/verbs.h"
#include "model/sampling.h"
#include "model/source.h"

enum { FEW = 8 }; /* elements of a long array that are shown without --metadata */

static const struct knob own[] = {
    {.name = "tensors", .type = KNOB_BOOL, .help = "list the tensors"},
    {.name = "metadata", .type = KNOB_BOOL, .help = "show all metadata, long arrays whole"},
};

/* ---- facts
 * ---------------------------------------------------------------------------------------- */

/* The numbers of general.file_type in the GGUF specification; those not listed were taken back. */
static const char *const file_types[] = {
    [0] = "F32",      [1] = "F16",      [2] = "Q4_0",    [3] = "Q4_1",    [7] = "Q8_0",
    [8] = "Q5_0",     [9] = "Q5_1",     [10] = "Q2_K",   [11] = "Q3_K_S", [12] = "Q3_K_M",
    [13] = "Q3_K_L",  [14] = "Q4_K_S",  [15] = "Q4_K_M", [16] = "Q5_K_S", [17] = "Q5_K_M",
    [18] = "Q6_K",    [19] = "IQ2_XXS", [20] = "IQ2_XS", [21] = "Q2_K_S", [22] = "IQ3_XS",
    [23] = "IQ3_XXS", [24] = "IQ1_S",   [25] = "IQ4_NL", [26] = "IQ3_S",  [27] = "IQ3_M",
    [28] = "IQ2_S",   [29] = "IQ2_M",   [30] = "IQ4_XS", [31] = "IQ1_M",  [32] = "BF16",
    [36] = "TQ1_0",   [37] = "TQ2_0",   [38] = "MXFP4",
};

/* What the file says; without a word, the type that most bytes have; NULL without tensors. */
static const char *file_type(const struct gguf *g) {
    uint64_t bytes[DT_MAX] = {0}, said = 0, most = 0;
    uint32_t type = DT_MAX;
    if (gguf_find(g, "general.file_type") &&
        gguf_get_u64(g, "general.file_type", &said, NULL) == ERR_OK &&
        said < sizeof file_types / sizeof *file_types && file_types[said]) {
        return file_types[said];
    }
    for (size_t i = 0; i < g->n_tensor; i++) {
        uint32_t t = g->tensor[i].type;
        bytes[t] += t < DT_MAX ? g->tensor[i].bytes : 0;
        if (bytes[t] > most) {
            most = bytes[t];
            type = t;
        }
    }
    return type < DT_MAX ? dtype_info(type)->name : NULL;
}

/* A string of the metadata, or an empty one. */
static struct str text_of(const struct gguf *g, const char *key) {
    struct str s = {"", 0};
    return gguf_find(g, key) && gguf_get_str(g, key, &s, NULL) == ERR_OK ? s : str_of("", 0);
}

struct facts {
    struct str name, arch, tokenizer, pre;
    const char *type;
    uint64_t parameters, bytes, context, tokens;
};

static struct facts facts_of(const struct gguf *g) {
    struct facts f = {
        .name = text_of(g, "general.name"),
        .arch = text_of(g, "general.architecture"),
        .tokenizer = text_of(g, "tokenizer.ggml.model"),
        .pre = text_of(g, "tokenizer.ggml.pre"),
        .type = file_type(g),
    };
    for (size_t i = 0; i < g->n_tensor; i++) {
        const uint64_t *d = g->tensor[i].dim;
        f.parameters += d[0] * d[1] * d[2] * d[3]; /* elements, which gguf_open has bounded */
        f.bytes += g->tensor[i].bytes;
    }
    char key[128];
    snprintf(key, sizeof key, "%.*s.context_length", (int)(f.arch.n < 64 ? f.arch.n : 64),
             f.arch.p);
    if (gguf_find(g, key) && gguf_get_u64(g, key, &f.context, NULL)) {
        f.context = 0;
    }
    const struct gguf_kv *tokens = gguf_find(g, "tokenizer.ggml.tokens");
    f.tokens = tokens && tokens->type == GGUF_ARRAY ? tokens->n : 0;
    return f;
}

/* ---- metadata as JSON
 * ------------------------------------------------------------------------------- */

static void put_number(struct json_writer *w, enum gguf_type type, const struct gguf_kv *kv,
                       uint64_t i) {
    if (type == GGUF_BOOL) {
        json_put_bool(w, gguf_int_at(kv, i) != 0);
    } else if (type == GGUF_F32 || type == GGUF_F64) {
        json_put_real(w, gguf_f64_at(kv, i));
    } else if (type == GGUF_U64) {
        json_put_uint(w, (uint64_t)gguf_int_at(kv, i));
    } else {
        json_put_int(w, gguf_int_at(kv, i));
    }
}

static struct str string_of(const struct gguf_kv *kv) {
    uint64_t pos = 0;
    return gguf_next_str(kv, &pos);
}

/* Elements [0, n) of an array. */
static void put_elements(struct json_writer *w, const struct gguf_kv *kv, uint64_t n) {
    uint64_t pos = 0;
    json_open(w, '[');
    for (uint64_t i = 0; i < n; i++) {
        if (kv->elem == GGUF_STRING) {
            json_put_str(w, gguf_next_str(kv, &pos));
        } else {
            put_number(w, kv->elem, kv, i);
        }
    }
    json_close(w, ']');
}

/* A long array is told by its type, length and first elements. */
static void put_array(struct json_writer *w, const struct gguf_kv *kv, bool whole) {
    if (whole || kv->n <= FEW) {
        put_elements(w, kv, kv->n);
        return;
    }
    json_open(w, '{');
    json_key(w, "array_of");
    json_put_z(w, gguf_type_name(kv->elem));
    json_key(w, "count");
    json_put_uint(w, kv->n);
    json_key(w, "first");
    put_elements(w, kv, FEW);
    json_close(w, '}');
}

static void put_value(struct json_writer *w, const struct gguf_kv *kv, bool whole) {
    if (kv->type == GGUF_ARRAY) {
        put_array(w, kv, whole);
    } else if (kv->type == GGUF_STRING) {
        json_put_str(w, string_of(kv));
    } else {
        put_number(w, kv->type, kv, 0);
    }
}

static void put_metadata(struct cli *c, struct json_writer *w, const struct gguf *g) {
    bool whole = knobs_bool(c->k, "metadata");
    json_open(w, '{');
    for (size_t i = 0; i < g->n_kv && !c->out.failed; i++) {
        char *key = mem_strdup(g->kv[i].key.p, g->kv[i].key.n);
        json_key(w, key ? key : "");
        put_value(w, &g->kv[i], whole);
        c->out.failed |= !key;
        mem_free(key);
    }
    json_close(w, '}');
}

static void put_tensors(struct json_writer *w, const struct gguf *g) {
    json_open(w, '[');
    for (size_t i = 0; i < g->n_tensor; i++) {
        const struct gguf_tensor *t = &g->tensor[i];
        json_open(w, '{');
        json_key(w, "name");
        json_put_str(w, t->name);
        json_key(w, "type");
        json_put_z(w, dtype_info(t->type)->name);
        json_key(w, "shape");
        json_open(w, '[');
        for (uint32_t d = 0; d < t->n_dim; d++) {
            json_put_uint(w, t->dim[d]);
        }
        json_close(w, ']');
        json_key(w, "offset");
        json_put_uint(w, t->offset);
        json_key(w, "bytes");
        json_put_uint(w, t->bytes);
        json_key(w, "part");
        json_put_uint(w, t->part);
        json_close(w, '}');
    }
    json_close(w, ']');
}

static void put_str_key(struct json_writer *w, const char *key, struct str s) {
    json_key(w, key);
    if (s.n) {
        json_put_str(w, s);
    } else {
        json_put_null(w);
    }
}

/* What the file says of how to choose tokens: what counts where no setting says otherwise. */
static void put_sampling(struct json_writer *w, const struct gguf *g) {
    struct sampling_own s;
    sampling_read(&s, g);
    json_open(w, '{');
    for (int i = 0; i < SAMPLING_N; i++) {
        if (s.said[i]) {
            json_key(w, sampling_name((enum sampling_field)i));
            json_put_real(w, s.value[i]);
        }
    }
    json_close(w, '}');
}

static void print_sampling(struct cli *c, const struct gguf *g) {
    struct sampling_own s;
    const char *gap = "";
    sampling_read(&s, g);
    cli_printf(c, "%-14s ", "sampling");
    for (int i = 0; i < SAMPLING_N; i++) {
        if (s.said[i]) {
            cli_printf(c, "%s%s %g", gap, sampling_name((enum sampling_field)i), s.value[i]);
            gap = ", ";
        }
    }
    cli_puts(c, *gap ? "\n" : "-\n");
}

static void put_json(struct cli *c, const struct gguf *g) {
    struct facts f = facts_of(g);
    struct json_writer w;
    cli_json_begin(c, &w);
    json_key(&w, "format");
    json_put_z(&w, g->version ? "gguf" : "hugging_face_folder");
    json_member_uint_or_null(&w, "version", g->version);
    json_key(&w, "parts");
    json_put_uint(&w, g->n_part);
    put_str_key(&w, "name", f.name);
    put_str_key(&w, "architecture", f.arch);
    json_key(&w, "parameters");
    json_put_uint(&w, f.parameters);
    json_key(&w, "file_type");
    json_put_z(&w, f.type);
    json_key(&w, "bytes");
    json_put_uint(&w, f.bytes);
    json_key(&w, "context");
    json_put_uint(&w, f.context);
    put_str_key(&w, "tokenizer", f.tokenizer);
    put_str_key(&w, "pre_tokenizer", f.pre);
    json_key(&w, "vocabulary");
    json_put_uint(&w, f.tokens);
    json_key(&w, "sampling");
    put_sampling(&w, g);
    json_key(&w, "metadata");
    put_metadata(c, &w, g);
    json_key(&w, "tensors");
    put_tensors(&w, g);
    cli_json_end(c, &w);
}

/* ---- the same for people
 * ------------------------------------------------------------------------------ */

/* Strings of the file, on one line, whatever is in them. */
static void put_line_text(struct cli *c, struct str s) {
    struct buf b;
    struct json_writer w;
    buf_init(&b, (size_t)1 << 36);
    json_writer_init(&w, &b);
    json_put_str(&w, s);
    if (b.len >= 2) {
        cli_put_text(c, b.p + 1, b.len - 2);
    }
    buf_fini(&b);
}

static void print_metadata(struct cli *c, const struct gguf *g) {
    struct buf b;
    buf_init(&b, (size_t)1 << 36);
    for (size_t i = 0; i < g->n_kv; i++) {
        struct json_writer w;
        buf_reset(&b);
        json_writer_init(&w, &b);
        put_value(&w, &g->kv[i], true);
        put_line_text(c, g->kv[i].key);
        cli_puts(c, " = ");
        cli_put_text(c, b.p, b.len);
        cli_puts(c, "\n");
    }
    buf_fini(&b);
}

static void print_tensors(struct cli *c, const struct gguf *g) {
    for (size_t i = 0; i < g->n_tensor; i++) {
        const struct gguf_tensor *t = &g->tensor[i];
        char shape[96];
        size_t n = 0;
        for (uint32_t d = 0; d < t->n_dim; d++) {
            n += (size_t)snprintf(shape + n, sizeof shape - n, "%s%llu", d ? " x " : "",
                                  (unsigned long long)t->dim[d]);
        }
        cli_printf(c, "%-8s %-20s %12zu bytes at %-12llu ", dtype_info(t->type)->name, shape,
                   t->bytes, (unsigned long long)t->offset);
        put_line_text(c, t->name);
        cli_puts(c, "\n");
    }
}

static void print_summary(struct cli *c, const struct gguf *g) {
    struct facts f = facts_of(g);
    char size[32];
    const struct {
        const char *label;
        struct str text;
    } lines[] = {{"name", f.name},
                 {"architecture", f.arch},
                 {"tokenizer", f.tokenizer},
                 {"pre-tokenizer", f.pre}};
    if (g->version) {
        cli_printf(c, "%-14s gguf, version %u", "format", g->version);
    } else {
        cli_printf(c, "%-14s Hugging Face folder", "format");
    }
    if (g->n_part > 1) {
        cli_printf(c, ", %zu files", g->n_part);
    }
    cli_puts(c, "\n");
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        cli_printf(c, "%-14s ", lines[i].label);
        put_line_text(c, lines[i].text.n ? lines[i].text : str_c("-"));
        cli_puts(c, "\n");
    }
    cli_printf(c, "%-14s %llu tokens\n", "vocabulary", (unsigned long long)f.tokens);
    cli_printf(c, "%-14s %llu (%.2f billion)\n", "parameters", (unsigned long long)f.parameters,
               (double)f.parameters / 1e9);
    cli_printf(c, "%-14s %s\n", "file type", f.type ? f.type : "-");
    cli_printf(c, "%-14s %zu tensors, %s\n", "weights", g->n_tensor,
               cli_bytes(f.bytes, size, sizeof size));
    cli_printf(c, "%-14s %llu\n", "context", (unsigned long long)f.context);
    print_sampling(c, g);
    cli_printf(c, "%-14s %zu keys\n", "metadata", g->n_kv);
}

static int run(struct cli *c) {
    struct err e = {0};
    struct gguf *g = NULL;
    char *path = NULL;
    const char *name = knobs_operands(c->k) ? knobs_operand(c->k, 0) : knobs_str(c->k, "model");
    int code = EXIT_DONE;
    if (knobs_operands(c->k) && knobs_origin(c->k, "model") == KNOB_FLAG) {
        err_set(&e, ERR_USAGE, "a FILE and --model exclude each other");
        return cli_fail(c, &e);
    }
    if (model_path_find(c, name, &path, &e)) {
        code = cli_fail(c, &e);
    } else if (source_open(&g, path, knobs_bool(c->k, "no-mmap"), &e)) {
        code = cli_fail_data(c, &e);
    } else if (c->json) {
        put_json(c, g);
    } else {
        print_summary(c, g);
        if (knobs_bool(c->k, "metadata")) {
            cli_puts(c, "\n");
            print_metadata(c, g);
        }
        if (knobs_bool(c->k, "tensors")) {
            cli_puts(c, "\n");
            print_tensors(c, g);
        }
    }
    if (code == EXIT_DONE && gguf_lost(g)) {
        err_set(&e, ERR_IO, "the file changed while it was read");
        err_where(&e, "%s", path);
        code = cli_fail(c, &e);
    }
    gguf_close(g);
    mem_free(path);
    return code;
}

const struct verb verb_inspect = {
    .args = {.name = "inspect",
             .operands = "[FILE]",
             .max_operand = 1,
             .about = "what is in a model file",
             .groups = KNOB_MODEL,
             .own = own,
             .n_own = sizeof own / sizeof *own},
    .run = run,
};
