/* knobs.h: one table of every setting: its flag, variable, file key, bounds, default and help.
 *
 * Owns the table, the reading of a verb's command line and of IGN_... variables against it, and
 * the text of --help. Owns the program's only getenv. Refuses to act on values, to print, and to
 * read files (settings.h). A knob "top-p" is the flag --top-p, the variable IGN_TOP_P and the key
 * top-p in a file; a flag wins over a variable, a variable over a file, a file over the default.
 * No knob is for a secret, as anybody may read a command line: it names the file that has it. What
 * an address has of one all the same is shown nowhere (knob_shown).
 * Invariant: what a getter returns has been checked against the knob's type and bounds.
 */
#ifndef IGN_CONFIG_KNOBS_H
#define IGN_CONFIG_KNOBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

enum knob_type {
    KNOB_BOOL,   /* a switch: --mlock, --mlock=false, IGN_MLOCK=1 (true|false|1|0|yes|no|on|off) */
    KNOB_INT,    /* int64_t within min..max */
    KNOB_UINT64, /* any 64 bits; min and max are not looked at */
    KNOB_REAL,   /* finite double within min..max */
    KNOB_SIZE,   /* bytes within min..max: 8GiB, 1.5G, 500MB, 1048576; see KNOB_SIZE_MAX */
    KNOB_STR,
    KNOB_CHOICE, /* one of `choices` */
    KNOB_LIST    /* strings; the flag may be repeated, the variable has one, a file an array */
};

/* The largest `max` of a KNOB_SIZE: beyond it a double no longer counts single bytes. A size is a
 * number, with a decimal point perhaps, and a unit, in capitals or not, with no blank between: K,
 * M, G, T and KiB, MiB, GiB, TiB are powers of 1024; KB, MB, GB, TB are powers of 1000; B or
 * nothing is bytes. Parts of a byte are dropped. */
#define KNOB_SIZE_MAX 0x1p53

/* Which verbs take a knob: a verb names the groups that it wants. They are the headings of
 * help. */
enum knob_group {
    KNOB_PROMPT = 1,   /* generate: --prompt --prompt-file --raw --output-file --logprobs */
    KNOB_HISTORY = 2,  /* chat: --history */
    KNOB_SAMPLE = 4,   /* generate, chat: --system --max-tokens --unbounded --temperature ... */
    KNOB_TEMPLATE = 8, /* whoever renders a chat template: --clock */
    KNOB_MODEL = 16,   /* whoever opens a model: --model --store --no-mmap */
    KNOB_RUN = 32,     /* whoever computes: --context --device --threads --batch --kv-type ... */
    KNOB_COMMON = 64,  /* every verb: --json --quiet --verbose --color */
    KNOB_DEVICE = 128, /* whoever looks for accelerators: --system-root --drivers --probe-seconds */
    KNOB_AUDIT = 256,  /* whoever acts, and is written down: --audit ... */
    KNOB_STORE = 512,  /* whoever looks into the folders: --store --state */
    KNOB_PLAN = 1024,  /* whoever shows a choice: --context --threads --max-memory */
    KNOB_BUNDLE = 2048, /* whoever opens a bundle of models: --bundle-key */
    KNOB_PULL = 4096    /* whoever fetches models: --catalogue --hub --proxy ... */
};
/* Of a verb that shows every setting: all groups, but no flag of one call. */
#define KNOB_ALL (~0u)

enum knob_flags {
    KNOB_NO_ENV = 1,   /* a matter of one call, not a setting: flag only */
    KNOB_MAY_PASS = 2, /* a given value may pass `max`; the caller checks it against the model */
    KNOB_NO_FILE = 4,  /* flag and variable, but no key of a file */
    KNOB_TEXT = 8,     /* what somebody says to a model: never written down unless asked for */
    KNOB_ADDRESS = 16  /* of a server: a name, a password or a key in it is never shown */
};

struct knob {
    const char *name; /* lower case, words joined by '-' */
    enum knob_type type;
    unsigned group;      /* of enum knob_group; not looked at in a verb's own table */
    unsigned flags;      /* of enum knob_flags */
    const char *unit;    /* what help calls the value: "N", "SECONDS", "FILE"; NULL for a switch */
    const char *def;     /* default as it would be typed; NULL: none (false, 0, NULL, empty) */
    double min, max;     /* of KNOB_INT, KNOB_REAL and KNOB_SIZE */
    const char *choices; /* of KNOB_CHOICE: "auto|cpu|plain" */
    const char *lift;    /* name of a switch that takes `max` away; or NULL */
    const char *help;    /* one sentence, lower case, no full stop */
};

/* A verb as the command line knows it. */
struct knob_verb {
    const char *name;
    const char *operands; /* "FILE", "" if it takes none */
    int min_operand, max_operand;
    const char *about;      /* one line for the list of verbs */
    unsigned groups;        /* of the table; KNOB_COMMON is always meant */
    unsigned flag_groups;   /* of these only the flags, too; 0: of all of `groups` */
    bool any_environment;   /* a wrong variable counts as absent: the verb reports it itself */
    const struct knob *own; /* [n_own] flags of this verb alone, never read from the environment; */
    size_t n_own;           /* one with a name of the table takes its place */
};

/* All verbs of the program, for whoever has to know their names. */
struct knob_verbs {
    const struct knob_verb *const *at;
    size_t n;
};

struct knobs;    /* the values of one call of one verb */
struct settings; /* of files: config/settings.h */

/* Reads argv[0..argc), the words after the verb: --flag VALUE, --flag=VALUE, operands anywhere,
 * `--` before operands that look like flags, `-` an operand. Flags are never abbreviated. Where no
 * flag is given the environment counts, then `s` (may be NULL). Strings are borrowed from argv, the
 * environment and `s`. With --help among the flags nothing is checked: see knobs_help_wanted. argv
 * NULL (and argc 0): what counts where no word is given; operands are not missed. ERR_USAGE:
 * unknown flag (the hint names the nearest), missing value, wrong number of operands. ERR_RANGE:
 * not a number, out of bounds, not among the choices; the text names the bounds. ERR_NOMEM. On
 * failure *k is NULL. */
enum err_code knobs_read(struct knobs **k, const struct knob_verb *verb, const struct settings *s,
                         int argc, char *const *argv, struct err *e);
void knobs_free(struct knobs *k); /* NULL is fine */

bool knobs_help_wanted(const struct knobs *k); /* --help or -h */
/* Whether --json is among the words, for errors that arise before knobs_read has succeeded. */
bool knobs_json_wanted(int argc, char *const *argv);
/* The file of --config among the words, else of IGN_CONFIG, as knobs_read would find it; NULL. */
const char *knobs_config_wanted(int argc, char *const *argv);

/* By name; the knob must be of the verb and of that type (asserted). */
bool knobs_bool(const struct knobs *k, const char *name);
int64_t knobs_int(const struct knobs *k, const char *name);
uint64_t knobs_uint64(const struct knobs *k, const char *name);
uint64_t knobs_size(const struct knobs *k, const char *name); /* bytes */
double knobs_real(const struct knobs *k, const char *name);
const char *knobs_str(const struct knobs *k, const char *name); /* STR, CHOICE; NULL if none */
size_t knobs_count(const struct knobs *k, const char *name);    /* of a LIST */
const char *knobs_item(const struct knobs *k, const char *name, size_t i);

enum knob_origin { KNOB_DEFAULT, KNOB_FILE, KNOB_ENV, KNOB_FLAG };
enum knob_origin knobs_origin(const struct knobs *k, const char *name);
/* Where the value comes from, as a user would look for it: "/etc/ign/ign.toml, line 3",
 * "IGN_TOP_P", "--top-p", "default". In out [n]. */
const char *knobs_origin_text(const struct knobs *k, const char *name, char *out, size_t n);
/* As it was typed or as the default is, whatever the type; NULL where there is neither. */
const char *knobs_text(const struct knobs *k, const char *name);
/* By flag, environment or file. */
bool knobs_given(const struct knobs *k, const char *name);

/* A value as it may be shown: of an address what address_shown leaves (base/address.h). What is
 * returned is `text`, or lies in out [n]. */
const char *knob_shown(const struct knob *knob, const char *text, char *out, size_t n);
enum { KNOB_SHOWN = 600 };
/* The next flag of the command line whose value nobody has asked for, from *i = 0 on; NULL: there
 * is none. Questions about origin and text alone do not count. */
const char *knobs_idle_flag(const struct knobs *k, size_t *i);
/* A flag of the command line that is neither common to all verbs nor among `names`, which have a
 * blank between; NULL: there is none. */
const char *knobs_flag_beside(const struct knobs *k, const char *names);
/* An object of all that was given, by name: numbers and switches as such, the rest as strings.
 * Knobs with KNOB_TEXT only with `texts`. */
void knobs_put_given(const struct knobs *k, bool texts, struct json_writer *w);

size_t knobs_operands(const struct knobs *k);
const char *knobs_operand(const struct knobs *k, size_t i);

/* Appends the help page of a verb. */
void knobs_help(struct buf *out, const struct knob_verb *verb);

/* The nearest of words[0..n) to `word`, or NULL if none is near: for "did you mean". */
const char *knobs_nearest(const char *word, const char *const *words, size_t n);

/* The value of an environment variable that is not a knob (HOME, NO_COLOR); NULL if unset or
 * empty. */
const char *knobs_env(const char *name);

#define KNOB_ENV_MAX 64 /* bytes of a variable's name, its end included */

/* Whether a variable is set whose name begins as a setting's does but which is none, such as
 * IGN_TEMPRATURE: its name, and the nearest that is one ("" if none is near). IGN_TEST_... is left
 * to the tests. */
bool knobs_env_stray(char stray[KNOB_ENV_MAX], char near[KNOB_ENV_MAX]);

/* The table, in the order of help. */
const struct knob *knobs_table(size_t *n);

#endif
