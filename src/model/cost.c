/* cost.c: see cost.h.
 */
#include "model/cost.h"

#include <string.h>

/* "blk.N.ffn_gate_exps.weight", or "blk.N.ffn_gate.E.weight" in files of 2023. */
static bool is_expert(struct str name) {
    static const char *const parts[] = {".ffn_gate", ".ffn_up", ".ffn_down"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        size_t n = strlen(parts[i]);
        for (size_t at = 0; at + n + 1 < name.n; at++) {
            struct str rest = str_of(name.p + at + n, name.n - at - n);
            if (memcmp(name.p + at, parts[i], n) == 0 &&
                (str_starts(rest, "_exps.") ||
                 (rest.p[0] == '.' && rest.p[1] >= '0' && rest.p[1] <= '9'))) {
                return true;
            }
        }
    }
    return false;
}

double model_cost_kv(const struct config *c, enum dtype kv_type) {
    return (double)dtype_kv_position(kv_type, c->n_layer, c->n_kv, c->d_head);
}

void model_cost(struct model_cost *cost, const struct gguf *g, const struct config *c,
                enum dtype kv_type) {
    *cost = (struct model_cost){.window = c->window};
    cost->kv_bytes = model_cost_kv(c, kv_type);
    cost->att_mac = 2.0 * c->n_layer * c->n_head * c->d_head;
    for (size_t i = 0; i < g->n_tensor; i++) {
        const struct gguf_tensor *t = &g->tensor[i];
        double rows = (double)t->dim[1] * (double)t->dim[2], mac = (double)t->dim[0] * rows;
        bool embed = str_is(t->name, "token_embd.weight");
        bool out = str_is(t->name, "output.weight") || (embed && c->tied);
        double part = c->n_exp > 0 && is_expert(t->name) ? (double)c->n_used / c->n_exp : 1;
        if (out) {
            cost->out_type = (enum dtype)t->type;
            cost->out_mac = mac;
        } else if (!embed && t->n_dim > 1) {
            cost->mac[t->type] += part * mac;
        }
        if (embed) { /* one row of it, and all where it is the output matrix, too */
            cost->weights_bytes += (double)t->bytes / rows;
        }
        cost->weights_bytes += embed && !out ? 0 : part * (double)t->bytes;
    }
}

double model_cost_bytes(const struct model_cost *cost, int n_past) {
    int n = cost->window > 0 && n_past > cost->window ? cost->window : n_past;
    return cost->weights_bytes + cost->kv_bytes * n;
}

double model_cost_attention(const struct model_cost *cost, int n_past, int n) {
    double positions = 0;
    for (int i = n_past + 1; i <= n_past + n; i++) {
        positions += cost->window > 0 && i > cost->window ? cost->window : i;
    }
    return cost->att_mac * positions;
}
