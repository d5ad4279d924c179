/* benchmark_report.c: the figures, for programs and for people.
 *
 * Owns the arithmetic from samples and ceilings to percentages. Refuses to hide what it does not
 * know: that is null in the document and left out of the text.
 * Invariant: the text shows no figure that the document does not have.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/benchmark.h"

/* ---- ceilings ------------------------------------------------------------------------------ */

double benchmark_ceiling(const struct benchmark *b, enum ceiling which) {
    double x = ceiling_rate(&b->ceiling, which), y = ceiling_rate(&b->after, which);
    return x > y ? x : y;
}

/* Seconds at the ceilings for a prompt, whose last row alone has logits and whose attention is of
 * numbers of 16 bits; *mac: its multiply-adds. */
static double prompt_seconds(const struct benchmark *b, double *mac) {
    const struct model_cost *c = &b->cost;
    double seconds = 0;
    *mac = 0;
    for (int t = 0; t < DT_MAX; t++) {
        double n = c->mac[t] * b->plan.n_prompt + ((enum dtype)t == c->out_type ? c->out_mac : 0);
        if (n > 0) {
            seconds += n / (benchmark_ceiling(b, ceiling_of((enum dtype)t)) * 1e9);
            *mac += n;
        }
    }
    double attention = model_cost_attention(c, b->plan.depth, b->plan.n_prompt);
    *mac += attention;
    return seconds + attention / (benchmark_ceiling(b, CEILING_INT16) * 1e9);
}

double benchmark_prefill_ceiling(const struct benchmark *b) {
    double mac, seconds = prompt_seconds(b, &mac);
    return seconds > 0 ? b->plan.n_prompt / seconds : 0;
}

/* The mean over the new tokens of a request but for the first, which belongs to the prompt. */
static double bytes_per_token(const struct benchmark *b) {
    double sum = 0;
    for (int i = 1; i < b->plan.n_new; i++) {
        sum += model_cost_bytes(&b->cost, b->plan.depth + b->plan.n_prompt + i);
    }
    return sum / (b->plan.n_new - 1);
}

double benchmark_decode_ceiling(const struct benchmark *b) {
    return benchmark_ceiling(b, CEILING_READ) * 1e9 / bytes_per_token(b);
}

/* Of requests side by side each has only a share of the machine. */
static double percent(const struct benchmark *b, double rate, double ceiling) {
    return b->plan.n_session == 1 && ceiling > 0 ? 100 * rate / ceiling : NAN;
}

/* ---- for programs -------------------------------------------------------------------------- */

static void open_key(struct json_writer *w, const char *key, char bracket) {
    json_key(w, key);
    json_open(w, bracket);
}

void benchmark_put_settings(const struct benchmark *b, struct json_writer *w) {
    const struct benchmark_plan *p = &b->plan;
    json_member_z(w, "model", b->info.name);
    json_member_z(w, "architecture", b->info.architecture);
    json_key(w, "parameters");
    json_put_uint(w, b->info.parameters);
    json_key(w, "weights_bytes");
    json_put_uint(w, b->info.weights_bytes);
    json_member_z(w, "device", b->info.device);
    json_member_int(w, "threads", p->threads);
    json_member_int(w, "duty", p->duty);
    json_member_int(w, "context", b->info.context);
    json_member_int(w, "batch", p->batch);
    json_member_int(w, "time", b->time);
    json_member_z(w, "version", ign_version());
    json_member_int(w, "prompt_tokens", p->n_prompt);
    json_member_int(w, "new_tokens", p->n_new);
    json_member_int(w, "depth", p->depth);
    json_member_z(w, "kv_type", b->info.kv_type);
    json_key(w, "repeat");
    if (p->n_request > 0) {
        json_put_int(w, p->n_request);
    } else {
        json_put_null(w);
    }
    json_member_real(w, "duration_seconds", p->n_request > 0 ? NAN : p->seconds);
    json_member_int(w, "concurrent_requests", p->n_session);
}

/* Of the formats that the file's matrices have. */
static void put_formats(const struct benchmark *b, struct json_writer *w) {
    open_key(w, "formats", '{');
    for (int t = 0; t < DT_MAX; t++) {
        if (b->cost.mac[t] > 0 || ((enum dtype)t == b->cost.out_type && b->cost.out_mac > 0)) {
            json_member_real(w, dtype_info((uint32_t)t)->name,
                             benchmark_ceiling(b, ceiling_of((enum dtype)t)));
        }
    }
    json_close(w, '}');
}

static void put_ceilings(const struct benchmark *b, struct json_writer *w) {
    double mac, seconds = prompt_seconds(b, &mac);
    open_key(w, "ceilings", '{');
    json_member_z(w, "level", b->ceiling.level);
    json_member_real(w, "read_gb_per_s", benchmark_ceiling(b, CEILING_READ));
    json_member_real(w, "int8_gmac_per_s", benchmark_ceiling(b, CEILING_INT8));
    double bf16 = benchmark_ceiling(b, CEILING_BF16);
    json_member_real(w, "bf16_gmac_per_s", bf16 > 0 ? bf16 : NAN);
    json_member_real(w, "f32_gmac_per_s", benchmark_ceiling(b, CEILING_F32));
    json_member_real(w, "attention_gmac_per_s", benchmark_ceiling(b, CEILING_INT16));
    put_formats(b, w);
    json_member_real(w, "model_gmac_per_s", seconds > 0 ? mac / seconds * 1e-9 : NAN);
    open_key(w, "spread_percent", '{');
    for (int i = 0; i < CEILING_N; i++) {
        if (ceiling_rate(&b->ceiling, i) > 0) {
            json_member_real(w, ceiling_name(i), 100 * b->ceiling.spread_of[i]);
        }
    }
    json_close(w, '}');
    json_close(w, '}');
}

static void put_rates(struct json_writer *w, struct series *s) {
    open_key(w, "tokens_per_second", '{');
    json_member_real(w, "min", series_quantile(s, 0));
    json_member_real(w, "median", series_quantile(s, 0.5));
    json_member_real(w, "max", series_quantile(s, 1));
    json_close(w, '}');
}

static void put_phases(struct benchmark *b, struct json_writer *w) {
    struct benchmark_result *r = &b->result;
    double prefill = series_quantile(&r->prefill, 0.5), decode = series_quantile(&r->decode, 0.5);
    double most = benchmark_prefill_ceiling(b), bytes = bytes_per_token(b);
    open_key(w, "prefill", '{');
    json_member_int(w, "tokens", b->plan.n_prompt);
    put_rates(w, &r->prefill);
    json_member_real(w, "ceiling_tokens_per_second", most);
    json_member_real(w, "percent_of_ceiling", percent(b, prefill, most));
    json_close(w, '}');
    most = benchmark_decode_ceiling(b);
    open_key(w, "decode", '{');
    json_member_int(w, "tokens", b->plan.n_new);
    put_rates(w, &r->decode);
    json_member_real(w, "bytes_per_token", bytes);
    json_member_real(w, "gb_per_s", b->plan.n_session == 1 ? decode * bytes * 1e-9 : NAN);
    json_member_real(w, "ceiling_tokens_per_second", most);
    json_member_real(w, "percent_of_ceiling", percent(b, decode, most));
    json_close(w, '}');
}

static void put_milliseconds(struct json_writer *w, const char *key, struct series *s) {
    open_key(w, key, '{');
    json_member_real(w, "p50", 1e3 * series_quantile(s, 0.5));
    json_member_real(w, "p95", 1e3 * series_quantile(s, 0.95));
    json_member_real(w, "p99", 1e3 * series_quantile(s, 0.99));
    json_close(w, '}');
}

static double per_second(const struct benchmark_result *r, double n) {
    return r->seconds > 0 ? n / r->seconds : NAN;
}

static void put_requests(struct benchmark *b, struct json_writer *w) {
    struct benchmark_result *r = &b->result;
    open_key(w, "requests", '{');
    json_member_int(w, "total", (int64_t)(r->n_done + r->n_failed));
    json_member_int(w, "failed", (int64_t)r->n_failed);
    json_member_z(w, "first_failure", r->n_failed > 0 ? r->why : NULL);
    json_member_real(w, "seconds", r->seconds);
    json_member_real(w, "per_second", per_second(r, (double)r->n_done));
    json_member_real(w, "tokens_per_second", per_second(r, r->tokens));
    put_milliseconds(w, "ttft_ms", &r->first);
    put_milliseconds(w, "itl_ms", &r->next);
    json_close(w, '}');
}

static void put_noise(const struct benchmark *b, struct json_writer *w) {
    const struct benchmark_noise *n = &b->noise;
    open_key(w, "noise", '{');
    json_member_real(w, "steal_percent", n->seen.steal_percent);
    json_member_real(w, "other_load_percent", n->seen.other_percent);
    json_member_real(w, "own_percent", n->seen.own_percent);
    json_member_real(w, "load_average", n->seen.average);
    json_member_real(w, "mhz_before", n->seen.mhz_from);
    json_member_real(w, "mhz_after", n->seen.mhz_to);
    json_member_real(w, "largest_ceiling_spread_percent", 100 * n->spread);
    json_member_real(w, "ceiling_drift_percent", 100 * n->drift);
    json_member_z(w, "verdict", n->n_reason > 0 ? "noisy" : "quiet");
    open_key(w, "reasons", '[');
    for (int i = 0; i < n->n_reason; i++) {
        json_put_z(w, n->reason[i]);
    }
    json_close(w, ']');
    json_close(w, '}');
}

void benchmark_put_json(struct benchmark *b, struct json_writer *w) {
    benchmark_put_settings(b, w);
    put_ceilings(b, w);
    json_member_real(w, "load_seconds", b->info.load_seconds);
    put_phases(b, w);
    put_requests(b, w);
    if (b->plan.profile) {
        benchmark_profile_put_json(b, w);
    }
    json_key(w, "peak_rss_bytes");
    json_put_uint(w, b->result.peak_rss);
    json_member_real(w, "large_pages_percent", b->result.large < 0 ? NAN : 100 * b->result.large);
    put_noise(b, w);
    json_key(w, "interrupted");
    json_put_bool(w, b->result.interrupted);
}

/* ---- for people ----------------------------------------------------------------------------- */

static void text_ceilings(const struct benchmark *b) {
    double mac, seconds = prompt_seconds(b, &mac), bf16 = benchmark_ceiling(b, CEILING_BF16);
    cli_printf(b->c, "ceilings   %s: read %.1f GB/s; multiply-adds: int8 %.0f, ", b->ceiling.level,
               benchmark_ceiling(b, CEILING_READ), benchmark_ceiling(b, CEILING_INT8));
    if (bf16 > 0) {
        cli_printf(b->c, "bf16 %.0f, ", bf16);
    }
    cli_printf(b->c, "f32 %.0f, this model's formats %.0f G/s; largest spread %.0f %%\n",
               benchmark_ceiling(b, CEILING_F32), seconds > 0 ? mac / seconds * 1e-9 : 0,
               100 * b->noise.spread);
}

static void text_rates(struct benchmark *b, const char *name, int n, struct series *s) {
    cli_printf(b->c, "%-10s %d tokens: %.1f/s (%.1f to %.1f)", name, n, series_quantile(s, 0.5),
               series_quantile(s, 0), series_quantile(s, 1));
}

static void text_phases(struct benchmark *b) {
    struct benchmark_result *r = &b->result;
    double most = benchmark_prefill_ceiling(b);
    double share = percent(b, series_quantile(&r->prefill, 0.5), most);
    text_rates(b, "prefill", b->plan.n_prompt, &r->prefill);
    if (share > 0) {
        cli_printf(b->c, ", %.0f %% of the ceiling of %.0f/s", share, most);
    }
    cli_puts(b->c, "\n");
    most = benchmark_decode_ceiling(b);
    share = percent(b, series_quantile(&r->decode, 0.5), most);
    text_rates(b, "decode", b->plan.n_new, &r->decode);
    if (share > 0) {
        cli_printf(b->c, ", %.1f GB/s, %.0f %% of the ceiling of %.1f/s",
                   series_quantile(&r->decode, 0.5) * bytes_per_token(b) * 1e-9, share, most);
    }
    cli_puts(b->c, "\n");
}

static void text_requests(struct benchmark *b) {
    struct benchmark_result *r = &b->result;
    cli_printf(b->c,
               "requests   %zu in %.1f s, %d side by side, %zu failed; %.2f/s, %.1f tokens/s\n",
               r->n_done + r->n_failed, r->seconds, b->plan.n_session, r->n_failed,
               per_second(r, (double)r->n_done), per_second(r, r->tokens));
    struct series *const series[] = {&r->first, &r->next};
    static const char *const name[] = {"first", "next"};
    for (int i = 0; i < 2; i++) {
        cli_printf(b->c, "  %-5s token after %.1f ms; 95 %% within %.1f, 99 %% within %.1f\n",
                   name[i], 1e3 * series_quantile(series[i], 0.5),
                   1e3 * series_quantile(series[i], 0.95), 1e3 * series_quantile(series[i], 0.99));
    }
}

static void text_noise(const struct benchmark *b) {
    const struct benchmark_noise *n = &b->noise;
    if (n->n_reason == 0) {
        cli_puts(b->c, "noise      quiet");
        if (n->seen.steal_percent >= 0) {
            cli_printf(b->c,
                       ": steal time %.1f %%, other processes %.1f %%, ceilings %.0f %% apart",
                       n->seen.steal_percent, n->seen.other_percent, 100 * n->drift);
        }
        cli_puts(b->c, "\n");
        return;
    }
    cli_puts(b->c, "noise      this machine was not quiet, the figures are worth less:\n");
    for (int i = 0; i < n->n_reason; i++) {
        cli_printf(b->c, "  %s\n", n->reason[i]);
    }
}

/* A bar for each share of a ceiling. */
static void text_chart(struct benchmark *b) {
    enum { CELLS = 50 };
    struct benchmark_result *r = &b->result;
    const struct {
        const char *name;
        double share;
    } bars[] = {
        {"prefill", percent(b, series_quantile(&r->prefill, 0.5), benchmark_prefill_ceiling(b))},
        {"decode", percent(b, series_quantile(&r->decode, 0.5), benchmark_decode_ceiling(b))}};
    for (size_t i = 0; i < sizeof bars / sizeof *bars; i++) {
        if (!(bars[i].share > 0)) {
            continue;
        }
        char bar[CELLS + 1];
        for (int k = 0; k < CELLS; k++) {
            bar[k] = k < (int)(bars[i].share * CELLS / 100 + 0.5) ? '#' : '.';
        }
        bar[CELLS] = '\0';
        cli_printf(b->c, "%s%-10s [%s] %.0f %% of the ceiling\n", i == 0 ? "\n" : "", bars[i].name,
                   bar, bars[i].share);
    }
}

void benchmark_put_text(struct benchmark *b) {
    char peak[32];
    cli_puts(b->c, "model      ");
    cli_put_text(b->c, b->info.name, strlen(b->info.name));
    cli_printf(b->c, "\ndevice     %s, KV cache %s", b->info.device, b->info.kv_type);
    if (b->plan.depth > 0) {
        cli_printf(b->c, ", %d positions in it before each request", b->plan.depth);
    }
    cli_puts(b->c, "\n");
    text_ceilings(b);
    cli_printf(b->c, "load       %.2f s\n", b->info.load_seconds);
    text_phases(b);
    text_requests(b);
    cli_printf(b->c, "memory     %s at its peak", cli_bytes(b->result.peak_rss, peak, sizeof peak));
    if (b->result.large >= 0) {
        cli_printf(b->c, ", %.0f %% of the model's file in large pages", 100 * b->result.large);
    }
    cli_puts(b->c, "\n");
    if (b->plan.profile) {
        benchmark_profile_put_text(b);
    }
    text_noise(b);
    if (b->c->out_terminal) {
        text_chart(b);
    }
}
