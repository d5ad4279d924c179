/* knob_env.c: the names of the environment variables that stand for settings.
 *
 * Owns the spelling of a variable, and the search for one that was misspelled. Refuses to read
 * values: knobs.c does. Invariant: a name here is a knob's name, nothing is kept twice.
 */
#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/os.h"
#include "config/knob_help.h"
#include "config/knobs.h"

#define PREFIX "IGN_"

/* "top-p" -> "IGN_TOP_P". */
void knob_env_name(const struct knob *knob, char out[KNOB_ENV_MAX]) {
    size_t n = (size_t)snprintf(out, KNOB_ENV_MAX, PREFIX "%s", knob->name);
    assert(n < KNOB_ENV_MAX);
    for (size_t i = strlen(PREFIX); i < n; i++) {
        out[i] = out[i] == '-' ? '_' : (char)toupper((unsigned char)out[i]);
    }
}

static bool has_prefix(const char *entry, const char *prefix) {
    return strncmp(entry, prefix, strlen(prefix)) == 0;
}

bool knobs_env_stray(char stray[KNOB_ENV_MAX], char near[KNOB_ENV_MAX]) {
    enum { MANY = 256 };
    char known[MANY][KNOB_ENV_MAX];
    const char *names[MANY], *entry;
    size_t n_knob, n = 0;
    const struct knob *table = knobs_table(&n_knob);
    for (size_t i = 0; i < n_knob && n < MANY; i++) {
        if (!(table[i].flags & KNOB_NO_ENV)) {
            knob_env_name(&table[i], known[n]);
            names[n] = known[n];
            n++;
        }
    }
    for (size_t i = 0; (entry = os_env_entry(i)) != NULL; i++) {
        int len = (int)strcspn(entry, "=");
        if (!has_prefix(entry, PREFIX) || has_prefix(entry, PREFIX "TEST_") ||
            len >= KNOB_ENV_MAX) {
            continue;
        }
        snprintf(stray, KNOB_ENV_MAX, "%.*s", len, entry);
        bool set = false;
        for (size_t k = 0; k < n && !set; k++) {
            set = strcmp(stray, known[k]) == 0;
        }
        if (!set) {
            const char *like = knobs_nearest(stray, names, n);
            snprintf(near, KNOB_ENV_MAX, "%s", like ? like : "");
            return true;
        }
    }
    return false;
}
