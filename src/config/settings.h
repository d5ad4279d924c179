/* settings.h: the files that a site and a user may keep settings in.
 *
 * Owns reading them, checking every line against the knob table, and which line counts where: of
 * two files the later one, within a file a key below [verb] for that verb. Refuses flags and
 * variables (knobs.h), and to decide where the files are.
 * Invariant: whatever settings_find gives is a valid text for that knob, but for a bound that
 * another switch may take away; a broken file gives nothing.
 */
#ifndef IGN_CONFIG_SETTINGS_H
#define IGN_CONFIG_SETTINGS_H

#include "base/json.h"
#include "config/knobs.h"
#include "config/toml.h"

#define SETTINGS_NAME "ign.toml" /* of the file in each folder */

enum settings_state { SETTINGS_ABSENT, SETTINGS_READ, SETTINGS_BROKEN };

struct settings_file {
    char *path;
    enum settings_state state;
    struct err why; /* SETTINGS_BROKEN: names the file */
    struct toml toml;
    struct settings_file *next;
};

struct settings {
    struct knob_verbs verbs;     /* borrowed */
    struct settings_file *files; /* in the order of reading: the last wins */
};

void settings_init(struct settings *s, struct knob_verbs verbs);
/* Reads one more file, which wins over those before it. One that is not there is passed over,
 * unless it is `needed`. A failure is remembered in the list
 * too, and the first one of several calls stays in *e. ERR_USAGE: not the subset
 * of TOML, an unknown key or verb (the hint names the nearest), a value of a wrong kind; ERR_RANGE:
 * a bad value; ERR_NOTFOUND, ERR_FORMAT (a folder or a device), ERR_LIMIT, ERR_IO, ERR_NOMEM. */
enum err_code settings_read(struct settings *s, const char *path, bool needed, struct err *e);
void settings_fini(struct settings *s);
/* What is wrong with the first broken file; NULL if none is. */
const struct err *settings_error(const struct settings *s);

/* The entry that counts for a knob of a verb, and the file that it is in; NULL if no file has one.
 * With "" for the verb: what counts for every verb that has no table of its own. */
const struct toml_entry *settings_find(const struct settings *s, const char *verb, const char *name,
                                       const struct settings_file **file);

/* Appends what counts now, as a file that would give the same: each setting of `k`, whose verb
 * takes all groups, and below [verb] what is different there. `origin`: with a comment that says
 * where each value comes from. */
enum err_code settings_show(const struct settings *s, const struct knobs *k, bool origin,
                            struct buf *out, struct err *e);
/* The same as two members of an object: "knobs" {name: {"value", "origin", "where"}} and "verbs"
 * {verb: {name: ...}}. A setting without a value has null. */
enum err_code settings_show_json(const struct settings *s, const struct knobs *k,
                                 struct json_writer *w, struct err *e);
/* Whether every verb would accept its settings: what settings_read could not see alone, such as a
 * bound that no switch takes away. Environment and defaults are read, too. */
enum err_code settings_check(const struct settings *s, struct err *e);

#endif
