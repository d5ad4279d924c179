/* knob_table.c: the table of settings itself.
 *
 * Owns every name, bound and default that a user can give. Refuses code: what a value means is
 * said where it is used. A knob is added here on the day that it works, not before.
 * Invariant: names are unique, and a default lies within its bounds.
 */
#include "config/knobs.h"

static const struct knob table[] = {
    /* clang-format off */
    {.name = "prompt", .type = KNOB_STR, .group = KNOB_PROMPT,
     .flags = KNOB_NO_ENV | KNOB_TEXT, .unit = "TEXT", .help = "what to answer"},
    {.name = "prompt-file", .type = KNOB_STR, .group = KNOB_PROMPT, .flags = KNOB_NO_ENV,
     .unit = "FILE", .help = "read the prompt from a file; - is standard input"},
    {.name = "raw", .type = KNOB_BOOL, .group = KNOB_PROMPT, .flags = KNOB_NO_ENV,
     .help = "continue the prompt as it is, without the model's chat template"},
    {.name = "output-file", .type = KNOB_STR, .group = KNOB_PROMPT, .flags = KNOB_NO_ENV,
     .unit = "FILE", .help = "also write the answer and its figures to a file, as JSON"},
    {.name = "logprobs", .type = KNOB_INT, .group = KNOB_PROMPT, .unit = "K", .min = 0, .max = 20,
     .help = "report each token's log probability and those of K alternatives"},

    {.name = "history", .type = KNOB_STR, .group = KNOB_HISTORY, .flags = KNOB_NO_ENV,
     .unit = "FILE", .help = "go on from the conversation in a file, and save it there"},

    {.name = "system", .type = KNOB_STR, .group = KNOB_SAMPLE, .flags = KNOB_TEXT, .unit = "TEXT",
     .help = "instructions that stay in force for the whole conversation"},
    {.name = "max-tokens", .type = KNOB_INT, .group = KNOB_SAMPLE, .unit = "N", .def = "512",
     .min = 1, .max = 4096, .lift = "unbounded", .help = "longest answer"},
    {.name = "unbounded", .type = KNOB_BOOL, .group = KNOB_SAMPLE,
     .help = "no limit on the answer but the context"},
    {.name = "timeout", .type = KNOB_REAL, .group = KNOB_SAMPLE, .unit = "SECONDS", .min = 0.001,
     .max = 1e6, .help = "end the answer after this time, as --max-tokens does"},
    {.name = "temperature", .type = KNOB_REAL, .group = KNOB_SAMPLE, .unit = "X", .def = "0.7",
     .min = 0, .max = 2, .help = "how freely to choose; 0 always takes the likeliest token"},
    {.name = "top-k", .type = KNOB_INT, .group = KNOB_SAMPLE, .unit = "N", .def = "40",
     .min = 0, .max = 2147483647, .help = "choose among the N likeliest tokens, at most all; 0 is off"},
    {.name = "top-p", .type = KNOB_REAL, .group = KNOB_SAMPLE, .unit = "X", .def = "0.9",
     .min = 0.1, .max = 1, .help = "choose among the likeliest tokens that together reach X"},
    {.name = "min-p", .type = KNOB_REAL, .group = KNOB_SAMPLE, .unit = "X", .def = "0",
     .min = 0, .max = 1, .help = "leave out tokens less likely than X times the likeliest"},
    {.name = "typical", .type = KNOB_REAL, .group = KNOB_SAMPLE, .unit = "X", .def = "1",
     .min = 0, .max = 1, .help = "choose among the most typical tokens that reach X; 1 is off"},
    {.name = "repeat-penalty", .type = KNOB_REAL, .group = KNOB_SAMPLE, .unit = "X", .def = "1",
     .min = 0.5, .max = 2, .help = "make tokens that have occurred less likely; 1 is off"},
    {.name = "presence-penalty", .type = KNOB_REAL, .group = KNOB_SAMPLE, .unit = "X", .def = "0",
     .min = -2, .max = 2, .help = "taken from the logit of each token that has occurred"},
    {.name = "frequency-penalty", .type = KNOB_REAL, .group = KNOB_SAMPLE, .unit = "X", .def = "0",
     .min = -2, .max = 2, .help = "taken from a token's logit for each time that it has occurred"},
    {.name = "logit-bias", .type = KNOB_LIST, .group = KNOB_SAMPLE, .flags = KNOB_NO_ENV,
     .unit = "ID=X", .help = "add X to the logit of a token"},
    {.name = "seed", .type = KNOB_UINT64, .group = KNOB_SAMPLE, .unit = "N",
     .help = "make the same choices again; random, and printed, if not given"},
    {.name = "stop", .type = KNOB_LIST, .group = KNOB_SAMPLE, .flags = KNOB_TEXT, .unit = "TEXT",
     .help = "end the answer before this text"},
    {.name = "ignore-eos", .type = KNOB_BOOL, .group = KNOB_SAMPLE,
     .help = "go on when the model would end its answer"},

    {.name = "clock", .type = KNOB_INT, .group = KNOB_TEMPLATE, .unit = "SECONDS", .min = 0,
     .max = 253402300799.0,
     .help = "the time that chat templates see, in seconds since 1970, in place of now"},

    {.name = "model", .type = KNOB_STR, .group = KNOB_MODEL, .unit = "MODEL",
     .help = "a GGUF file (of a split one, the first), a Hugging Face folder, or the name of a model "
             "in the store; the demo model, if it is there, when not given"},
    {.name = "store", .type = KNOB_STR, .group = KNOB_MODEL | KNOB_STORE,
     .unit = "FOLDER",
     .help = "where models are kept; ign/models in the user's data folder when not given"},
    {.name = "state", .type = KNOB_STR, .group = KNOB_MODEL | KNOB_STORE,
     .unit = "FOLDER",
     .help = "where running programs are listed; ign in the user's state folder when not given"},
    {.name = "bundle-key", .type = KNOB_STR, .group = KNOB_BUNDLE, .unit = "FILE",
     .help = "the public key by which a bundle must be signed to be taken in"},
    {.name = "catalogue", .type = KNOB_STR, .group = KNOB_PULL, .unit = "FILE",
     .help = "the models that there are to pull; catalogue.json of the user, of the machine or of "
             "the program when not given"},
    {.name = "hub", .type = KNOB_STR, .group = KNOB_PULL, .flags = KNOB_ADDRESS, .unit = "ADDRESS",
     .help = "base address of the hub or mirror that has the repositories of the catalogue; "
             "{repository}, {revision} and {file} in it stand for themselves"},
    {.name = "token-file", .type = KNOB_STR, .group = KNOB_PULL, .unit = "FILE",
     .help = "a file with the token that a hub wants for gated models; sent to that hub only"},
    {.name = "proxy", .type = KNOB_STR, .group = KNOB_PULL, .flags = KNOB_ADDRESS, .unit = "ADDRESS",
     .help = "go through this proxy; as https_proxy and no_proxy say when not given"},
    {.name = "ca-file", .type = KNOB_STR, .group = KNOB_PULL, .unit = "FILE",
     .help = "believe these certificates (PEM) in place of the system's"},
    {.name = "pin", .type = KNOB_STR, .group = KNOB_PULL, .unit = "sha256//BASE64",
     .help = "speak only to a server with this public key; several with ; between"},
    {.name = "pull-rate", .type = KNOB_SIZE, .group = KNOB_PULL, .unit = "SIZE", .min = 1024,
     .max = KNOB_SIZE_MAX, .help = "fetch at most so many bytes a second, all connections together"},
    {.name = "pull-connections", .type = KNOB_INT, .group = KNOB_PULL, .unit = "N", .def = "4",
     .min = 1, .max = 16, .help = "parts of a file that are fetched side by side"},
    {.name = "pull-retries", .type = KNOB_INT, .group = KNOB_PULL, .unit = "N", .def = "8",
     .min = 0, .max = 1000, .help = "failures one after another before a pull is given up"},
    {.name = "pull-stall", .type = KNOB_REAL, .group = KNOB_PULL, .unit = "SECONDS", .def = "30",
     .min = 1, .max = 3600, .help = "ask anew where a connection has brought nothing for so long"},
    {.name = "no-mmap", .type = KNOB_BOOL, .group = KNOB_MODEL,
     .help = "read the model file into memory instead of mapping it"},
    {.name = "quantization", .type = KNOB_CHOICE, .group = KNOB_RUN, .unit = "TYPE", .def = "auto",
     .choices = "auto|fp32|fp16|int8|int4|bf16|q8_0|q4_0|q4_1|q5_0|q5_1|q2_k|q3_k_m|q4_k_s|q4_k_m|"
                "q5_k_m|q6_k",
     .help = "bits of the weights; a file that has more is quantized while loading, once: the result "
             "stays in the store"},

    {.name = "context", .type = KNOB_INT, .group = KNOB_RUN | KNOB_PLAN, .flags = KNOB_MAY_PASS, .unit = "N",
     .def = "4096", .min = 512, .max = 32768,
     .help = "tokens that the model can see; more than 32768 where it was trained for more"},
    {.name = "device", .type = KNOB_CHOICE, .group = KNOB_RUN, .unit = "NAME", .def = "auto",
     .choices = "auto|cpu|plain", .help = "what computes; plain is the slow definition of correct"},
    {.name = "threads", .type = KNOB_INT, .group = KNOB_RUN | KNOB_PLAN, .unit = "N", .min = 1, .max = 1024,
     .help = "threads that compute, at most as many as the program has processors; one for each "
             "physical core when not given"},
    {.name = "max-memory", .type = KNOB_SIZE, .group = KNOB_RUN | KNOB_PLAN, .unit = "SIZE", .min = 1 << 20,
     .max = KNOB_SIZE_MAX,
     .help = "refuse to load what would take more memory in all; what is available when not given"},
    {.name = "priority", .type = KNOB_CHOICE, .group = KNOB_RUN, .unit = "CLASS", .def = "normal",
     .choices = "normal|low|idle",
     .help = "give way to other programs; idle takes only what nobody else wants"},
    {.name = "duty", .type = KNOB_INT, .group = KNOB_RUN, .unit = "PERCENT", .def = "100",
     .min = 5, .max = 100, .help = "use at most this part of the time of the threads' processors"},
    {.name = "batch", .type = KNOB_INT, .group = KNOB_RUN, .unit = "N", .def = "512", .min = 1,
     .max = 8192, .help = "most tokens computed in one step"},
    {.name = "kv-type", .type = KNOB_CHOICE, .group = KNOB_RUN, .unit = "TYPE", .def = "f16",
     .choices = "f16|int8|f32",
     .help = "numbers of the KV cache; when not given f32 with --device plain, and int8 where f16 does "
             "not fit"},
    {.name = "speculate", .type = KNOB_CHOICE, .group = KNOB_RUN, .unit = "WHEN", .def = "auto",
     .choices = "auto|off",
     .help = "compute what has followed before ahead of time, where that is faster; same answers"},
    {.name = "no-large-pages", .type = KNOB_BOOL, .group = KNOB_RUN,
     .help = "leave the weights in the file's pages, which other programs share; where memory is "
             "ample they are moved into large pages between steps, which is faster to read"},
    {.name = "mlock", .type = KNOB_BOOL, .group = KNOB_RUN,
     .help = "keep the model file locked in memory"},
    {.name = "cpu", .type = KNOB_CHOICE, .group = KNOB_RUN, .unit = "LEVEL",
     .choices = "c|avx2|avx512|amx|neon|dotprod|i8mm",
     .help = "use no better instructions than these; the best that there are when not given"},

    {.name = "system-root", .type = KNOB_STR, .group = KNOB_DEVICE | KNOB_RUN, .unit = "FOLDER",
     .help = "look at the machine whose /proc and /sys are in this folder, not at this one; at its "
             "GPUs only with --drivers"},
    {.name = "drivers", .type = KNOB_STR, .group = KNOB_DEVICE, .unit = "FOLDER",
     .help = "look for the GPU drivers' libraries in this folder only"},
    {.name = "probe-seconds", .type = KNOB_REAL, .group = KNOB_DEVICE, .unit = "SECONDS",
     .def = "5", .min = 0.1, .max = 600, .help = "how long GPU drivers may take to answer"},

    {.name = "audit", .type = KNOB_STR, .group = KNOB_AUDIT, .unit = "FILE",
     .help = "write a line about each action to the end of a file, each with the hash of the one "
             "before"},
    {.name = "audit-key-file", .type = KNOB_STR, .group = KNOB_AUDIT, .unit = "FILE",
     .help = "make these hashes with the key in a file, so that nobody without it can"},
    {.name = "audit-text", .type = KNOB_BOOL, .group = KNOB_AUDIT,
     .help = "write down prompts and answers, too"},

    {.name = "json", .type = KNOB_BOOL, .group = KNOB_COMMON, .flags = KNOB_NO_ENV,
     .help = "print one JSON document on standard output"},
    {.name = "quiet", .type = KNOB_BOOL, .group = KNOB_COMMON,
     .help = "no progress and no timing, only errors"},
    {.name = "verbose", .type = KNOB_BOOL, .group = KNOB_COMMON,
     .help = "say what is chosen and why"},
    {.name = "log-level", .type = KNOB_CHOICE, .group = KNOB_COMMON, .unit = "LEVEL", .def = "info",
     .choices = "error|warn|info|debug",
     .help = "how much the log says; --quiet and --verbose mean error and debug"},
    {.name = "log-format", .type = KNOB_CHOICE, .group = KNOB_COMMON, .unit = "FORM", .def = "text",
     .choices = "text|json", .help = "lines of the log as text or as JSON"},
    {.name = "log-file", .type = KNOB_STR, .group = KNOB_COMMON, .unit = "FILE",
     .help = "write the log to the end of a file, in place of standard error"},
    {.name = "config", .type = KNOB_STR, .group = KNOB_COMMON, .flags = KNOB_NO_FILE, .unit = "FILE",
     .help = "read settings from one more file, which wins over those of the machine and the user"},
    {.name = "color", .type = KNOB_CHOICE, .group = KNOB_COMMON, .unit = "WHEN", .def = "auto",
     .choices = "auto|always|never", .help = "colours on a terminal; NO_COLOR turns them off too"},
    /* clang-format on */
};

const struct knob *knobs_table(size_t *n) {
    *n = sizeof table / sizeof table[0];
    return table;
}
