/* need.h: what a model takes of a machine, known from its numbers before anything is taken.
 *
 * Owns the options' defaults, the shape of the KV pool, the one list of buffers (which load.c
 * allocates from), and the filling of a plan_model. Refuses to judge: device/plan.h does.
 * Invariant: what is told here is what load.c and the back end take.
 */
#ifndef IGN_MODEL_NEED_H
#define IGN_MODEL_NEED_H

#include "device/plan.h"
#include "model/model.h"

/* The options with every default filled in but n_thread, which is the machine's. */
struct model_opts need_settle(const struct config *c, const struct model_opts *o);
struct kern_kv need_kv(const struct config *c, const struct model_opts *settled);

enum { NEED_BUFFER = 11 };
struct need_buffer {
    kern_ref *ref;
    uint64_t n; /* floats; 0: the model has no use for it */
};
void need_buffers(struct need_buffer list[NEED_BUFFER], struct buffers *b, const struct config *c,
                  const struct model_opts *settled);

/* The type of most weights of the layers, which speaks for the file; and what a user calls its
 * bits: Q4_K and Q5_0 are int4, Q6_K and Q8_0 int8. */
enum dtype need_type(const struct gguf *g);
enum plan_quant need_quant(enum dtype type);

/* All of a plan's numbers for an open file and its configuration: shape, weights, text, and the
 * scratch of the device that `o` names (device, cpu_level, page_tok, max_out; the rest is the
 * plan's to choose). ERR_USAGE: no such device. ERR_NOMEM. */
enum err_code need_of_file(struct plan_model *p, const struct gguf *g, const struct config *c,
                           const struct model_opts *o, struct err *e);
/* The same for a model that is known by name only. ERR_NOTFOUND, ERR_USAGE. */
enum err_code need_of_name(struct plan_model *p, const char *name, const struct model_opts *o,
                           struct err *e);
/* The back end that an option names: NULL and "auto" are the best. ERR_USAGE lists the names. */
enum err_code need_device(const struct kern **k, const char *name, struct err *e);

#endif
