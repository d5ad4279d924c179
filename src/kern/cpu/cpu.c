/* cpu.c: the life of the CPU back end, and its table.
 *
 * Owns the choice of the instruction set, made once at open, and the release of all scratch.
 * Refuses arithmetic. Invariant: weights stay where the caller mapped them.
 */
#include "kern/cpu/cpu.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/os.h"
#include "kern/cpu/device.h"

static void cpu_close(struct kern_dev *dev) {
    struct cpu_dev *d = (struct cpu_dev *)dev;
    if (d == NULL) {
        return;
    }
    mem_free(d->act);
    mem_free(d->tile);
    mem_free(d->ordered);
    mem_free(d->panel);
    mem_free(d->exp_start);
    mem_free(d->exp_row);
    mem_free(d->rope_cos);
    mem_free(d->rope_sin);
    mem_free(d->att);
    mem_free(d->split);
    mem_free(d->span);
    host_fini(dev);
    mem_free(d);
}

static enum err_code cpu_open(struct kern_dev **out, const struct kern_opts *o, struct err *e) {
    *out = NULL;
    struct cpu_dev *d = mem_zalloc(1, sizeof *d);
    if (d == NULL) {
        return err_set(e, ERR_NOMEM, "out of memory for the CPU back end");
    }
    enum err_code code = micro_choose(&d->micro, o->level, e);
    if (code != ERR_OK || (code = host_open(&d->host, o, e)) != ERR_OK) {
        cpu_close(&d->host);
        return code;
    }
    char name[96];
    os_cpu_name(name, sizeof name);
    snprintf(d->host.line, sizeof d->host.line, "cpu: %s, %d thread%s, %s", d->micro.name,
             d->host.n_thread, d->host.n_thread == 1 ? "" : "s", name);
    *out = &d->host;
    return ERR_OK;
}

uint64_t cpu_parts_bytes(const struct cpu_part *part, int n) {
    uint64_t sum = 0;
    for (int i = 0; i < n; i++) {
        sum += part[i].bytes;
    }
    return sum;
}

enum err_code cpu_parts_take(const struct cpu_part *part, int n, const char *what, struct err *e) {
    for (int i = 0; i < n; i++) {
        *part[i].to = mem_aligned(part[i].bytes, 1);
        if (*part[i].to == NULL) {
            return err_set(e, ERR_NOMEM, "out of memory for %llu bytes of scratch for %s",
                           (unsigned long long)cpu_parts_bytes(part, n), what);
        }
    }
    return ERR_OK;
}

static uint64_t cpu_scratch_bytes(const struct kern_opts *o, const struct kern_tensor *t, size_t n,
                                  const struct kern_kv *kv) {
    struct cpu_dev d = {0};
    if (micro_choose(&d.micro, o->level, NULL) != ERR_OK) {
        return 0; /* open says why */
    }
    host_size(&d.host, o);
    for (size_t i = 0; i < n; i++) {
        cpu_matmul_widen(&d, t[i].type, t[i].n_col, t[i].n_mat);
    }
    return host_scratch_bytes(t, n) + cpu_matmul_bytes(&d) +
           (kv->n_page > 0 ? cpu_attention_bytes(&d, kv) : cpu_attend_all_bytes(&d, kv));
}

static enum err_code cpu_ready(struct kern_dev *dev, struct err *e) {
    return cpu_matmul_ready((struct cpu_dev *)dev, e);
}

static enum err_code cpu_kv_open(struct kern_dev *dev, const struct kern_kv *kv, struct err *e) {
    struct cpu_dev *d = (struct cpu_dev *)dev;
    enum err_code code = host_kv_open(dev, kv, e);
    return code != ERR_OK   ? code
           : kv->n_page > 0 ? cpu_attention_ready(d, kv, e)
                            : cpu_attend_all_ready(d, kv, e);
}

static void cpu_begin(struct kern_dev *dev, const struct step *s) {
    ((struct cpu_dev *)dev)->rope_freq = 0; /* other positions: other angles */
    host_begin(dev, s);
}

const struct kern kern_cpu = {
    .name = "cpu",
    .scratch_bytes = cpu_scratch_bytes,
    .open = cpu_open,
    .close = cpu_close,
    .describe = host_describe,
    .alloc = host_alloc,
    .load = host_load,
    .ready = cpu_ready,
    .write = host_write,
    .read = host_read,
    .argmax = cpu_argmax,
    .kv_open = cpu_kv_open,
    .kv_copy_page = host_kv_copy_page,
    .kv_read_page = host_kv_read_page,
    .kv_write_page = host_kv_write_page,
    .begin = cpu_begin,
    .end = host_end,
    .embed = cpu_embed,
    .gather = cpu_gather,
    .rmsnorm = cpu_rmsnorm,
    .matmul = cpu_matmul,
    .rope = cpu_rope,
    .kv_store = cpu_kv_store,
    .attend = cpu_attend,
    .act_mul = cpu_act_mul,
    .add = cpu_add,
    .softcap = cpu_softcap,
    .embed_sum = cpu_embed_sum,
    .layernorm = cpu_layernorm,
    .activate = cpu_activate,
    .attend_all = cpu_attend_all,
    .route = cpu_route,
    .matmul_exp = cpu_matmul_exp,
    .mix_exp = cpu_mix_exp,
    .qkv = cpu_qkv,
    .store_attend = cpu_store_attend,
    .ffn = cpu_ffn,
    .moe = cpu_moe,
    .waited = host_waited,
};
