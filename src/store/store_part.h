/* store_part.h: what the files of store/ share and nobody else sees.
 *
 * Owns the rule for names: every path in the store is built here, from a name that name_is_plain
 * has passed. Invariant: no such path leads out of the store.
 */
#ifndef IGN_STORE_STORE_PART_H
#define IGN_STORE_STORE_PART_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/os.h"
#include "observe/digest.h"
#include "store/depot.h"

/* A formatted path, *out (mem_free). ERR_NOMEM; ERR_LIMIT for one of over 4,096 bytes. */
enum err_code store_path(char **out, struct err *e, const char *fmt, ...) IGN_PRINTF(3, 4);

/* Whether a word can be one part of a path anywhere: 1 to 200 bytes of UTF-8 without control
 * characters, none of / \ : * ? " < > |, no dot at either end, no blank at either end, and no name
 * that is a device on Windows ("con", "NUL.gguf"). */
bool name_is_plain(const char *p, size_t n);
/* Whether it can be what the store calls a model: plain, not "quarantine", and not the name of a
 * record. */
bool model_name_is_plain(const char *p, size_t n);
/* The same for a path of such parts with / between, as deep as files_list looks. */
bool path_is_plain(const char *p, size_t n);

/* The SHA-256 that a user gave, in lower case. ERR_USAGE for what is none. */
enum err_code sha256_read(const char *text, char hex[65], struct err *e);

/* ---- the files of a model -------------------------------------------------------------------- */

struct store_file {
    char *path; /* relative to the store: "NAME.gguf", or "NAME/config.json" */
    uint64_t bytes;
    char sha256[65]; /* "" until it is known */
};

struct store_files {
    struct buf all;    /* of struct store_file */
    const char *notes; /* lines for the record to keep, borrowed; NULL. Not read back. */
};

void files_init(struct store_files *f);
void files_fini(struct store_files *f);
struct store_file *files_at(const struct store_files *f, size_t *n);
enum err_code files_add(struct store_files *f, const char *path, uint64_t bytes, const char *sha256,
                        struct err *e);
uint64_t files_bytes(const struct store_files *f); /* UINT64_MAX where the sum is more */
/* Of the files at a path, as files_list finds them; 0 where it cannot list them. */
uint64_t bytes_below(const char *path);

/* The files of a model that lies at root/name: itself, or where it is a folder all in it that do
 * not begin with a dot, at most 4,096, in folders at most 3 deep; paths begin with `as`. ERR_FORMAT
 * for what is neither; ERR_LIMIT. */
enum err_code files_list(struct store_files *f, const char *root, const char *name, const char *as,
                         struct err *e);

/* ---- records --------------------------------------------------------------------------------- */

/* dir/NAME.sha256, as sha256sum writes it and checks it: a line "HEX  path" for each file, then
 * notes for people, which begin with '#', and which sha256sum passes over, too.
 * ERR_NOTFOUND where there is none; ERR_FORMAT names the line, or says that it names no file. Bytes
 * are not in it: 0. */
enum err_code record_read(const char *dir, const char *name, struct store_files *f, struct err *e);
enum err_code record_write(const char *dir, const char *name, const struct store_files *f,
                           struct err *e);
/* The notes of a record as one text, a line each, without their '#' (mem_free); NULL where there
 * are none. */
char *record_notes(const char *dir, const char *name);
/* What stands behind `key` and a blank in the first such line at or after *at, copied to out [n];
 * *at moves behind it. False where there is none. */
bool note_next(const char **at, const char *key, char *out, size_t n);
/* Removes a record; one that is not there is no error, and a folder in its place is none. */
enum err_code record_remove(const char *dir, const char *name, struct err *e);
/* Adds a line to the notes of a record that is there. */
enum err_code record_add_note(const char *dir, const char *name, const char *line, struct err *e);

/* ---- bytes ----------------------------------------------------------------------------------- */

/* Reports to the depot's owner; ERR_CANCELLED where it wants to stop. */
enum err_code depot_tell(const struct depot *d, const char *what, uint64_t done, uint64_t total,
                         struct err *e);
/* Says a line to the depot's owner. */
void depot_say(const struct depot *d, const char *fmt, ...) IGN_PRINTF(2, 3);
/* SHA-256 of a file, reported to the depot as it goes. ERR_CANCELLED. */
enum err_code file_hash(const struct depot *d, const char *path, char hex[65], struct err *e);
/* Copies p[0..n) to a new file, whole or not at all, hashing it on the way; *lost (may be NULL)
 * turns not 0 where the source could not be read. ERR_FORMAT where the hash is not `want` ("":
 * any). */
enum err_code bytes_store(const struct depot *d, const char *to, const void *p, size_t n,
                          const volatile int *lost, const char *want, char hex[65], struct err *e);
/* ERR_IO with what is missing where the store's disk has no room for `bytes` and a little more. */
enum err_code room_check(const char *dir, uint64_t bytes, struct err *e);
/* The same for another folder, with another hint. */
enum err_code room_check_for(const char *dir, uint64_t bytes, const char *hint, struct err *e);

/* Removes root/name and what is below it, at most 16 folders deep; links are removed, never
 * followed. What is not there is no error. */
enum err_code tree_remove(const char *root, const char *name, struct err *e);

/* The folder in which a path's last part lies, and those above it. `path` is as before afterwards.
 */
enum err_code folder_make(char *path, struct err *e);

/* ---- the lock, and what is half there -------------------------------------------------------- */

/* Folders of the store's own: what failed verification; what pulls bring (pull.h); where files are
 * made of models (derived.h), which whoever makes one locks. */
#define STORE_QUARANTINE "quarantine"
#define STORE_PULLS      ".pull"
#define STORE_MADE       ".made"

/* The store's folder, made if need be, and its lock (os_lock_drop, after a failure too); what an
 * interrupted writer left is removed. Nobody holds it for longer than it takes to rename files:
 * waits for others as long as it takes, and says so, or until ERR_CANCELLED. */
enum err_code depot_begin(const struct depot *d, struct os_lock **lock, struct err *e);
/* The same for somebody who only reads; in a store where this user may write nothing, without a
 * lock: *lock is NULL. */
enum err_code depot_look(const struct depot *d, struct os_lock **lock, struct err *e);
/* Removes what a killed program has left in STORE_MADE, unless somebody is at work there. */
void made_sweep(const struct depot *d);
/* Ends what was begun with what is in quarantine. Under the store's lock. */
void quarantine_sweep(const struct depot *d);
/* ERR_FORMAT where a link stands in place of a folder of the store's own. */
enum err_code link_refuse(const char *path, struct err *e);
/* The folder of what failed verification, *away (mem_free). ERR_FORMAT: a link there is not ours.
 */
enum err_code quarantine_path(const struct depot *d, char **away, struct err *e);

/* A folder of its own in the store, DIR/.new.XXXXXXXX, for what comes to be there. Made under the
 * store's lock, which is given back: with its own lock, `alive`, others leave the folder alone. */
struct staging {
    char *path;
    struct os_lock *alive;
};
enum err_code staging_begin(const struct depot *d, struct staging *s, struct err *e);
/* Removes it. One that was never begun is fine, too: all zero. */
void staging_end(struct staging *s);

/* ---- models ---------------------------------------------------------------------------------- */

/* Whether a name of a folder is a model: a GGUF file, or a folder with config.json or GGUF files.
 */
bool depot_is_model(const char *root, const char *name);
/* The name of a model that is there, as it stands in the store, NAME or NAME.gguf: *found
 * (mem_free). ERR_NOTFOUND. */
enum err_code depot_find(const struct depot *d, const char *name, char **found, struct err *e);
/* ERR_NOTFOUND, and what to do: no model of that name is there. */
enum err_code depot_missing(const struct depot *d, const char *name, struct err *e);
/* What tells whether a model and its record are still those that were looked at: a hash over where
 * their files lie and when they changed last. */
enum err_code depot_stamp(const struct depot *d, const char *name, char stamp[DIGEST_HEX],
                          struct err *e);
/* ERR_FORMAT where something stands in the place of a model of that name, or of its record, that is
 * none. */
enum err_code depot_check_place(const struct depot *d, const char *name, struct err *e);
/* Whether the model of that name is there already, hash for hash; ERR_USAGE if it is another. One
 * that has no record, or one that says nothing, is hashed, and gets it where it is the same. Takes
 * the lock for that alone. */
enum err_code depot_compare(const struct depot *d, const char *name,
                            const struct store_files *files, bool *known, struct err *e);
/* Makes a model of the files in `staging`, which are all there: takes the lock, makes of them
 * second names of those that the store has, and brings the record to its place, then staging/name:
 * all of it by one rename. *known: somebody else has brought it meanwhile. ERR_USAGE: another. */
enum err_code depot_place(const struct depot *d, const char *staging, const char *name,
                          const struct store_files *files, bool *known, struct err *e);
/* Takes a model out of `root`, the store or its quarantine, with its record: by one rename,
 * whatever ends the program then. Under the store's lock. */
enum err_code depot_take_out(const char *root, const char *name, struct err *e);
/* Ends that: `gone` is a name of `root` that begins with DEPOT_GONE. */
#define DEPOT_GONE ".gone."
enum err_code gone_end(const char *root, const char *gone, struct err *e);

/* ---- files that are there already ------------------------------------------------------------ */

/* The files that the records of a store name, by hash: paths are relative to it. */
struct twins {
    struct buf files; /* of struct store_file, sorted by hash */
};
/* *t is twins_fini's, after a failure, too. */
enum err_code twins_read(struct twins *t, const struct depot *d, struct err *e);
void twins_fini(struct twins *t);
/* One that has these bytes by its record, or NULL. Whether it still has them is for twin_link to
 * find out. */
const struct store_file *twins_find(const struct twins *t, const char *sha256);
/* Makes `to` a second name of a file of the store that has these bytes, which are read and hashed
 * for that; *linked says whether there was one. ERR_CANCELLED, ERR_NOMEM. */
enum err_code twin_link(const struct twins *t, const struct depot *d, const char *sha256,
                        const char *to, bool *linked, struct err *e);
/* Makes file i of a model that gathers in `staging` a second name of one before it that is there
 * and has the same hash; *linked says whether there was one. Its folder is made in any case. */
enum err_code sibling_link(const char *staging, const struct store_files *files, size_t i,
                           bool *linked, struct err *e);
/* Makes of the files in `staging`, which are all there, second names of those that the store has or
 * has got meanwhile. Under the store's lock: nothing is stored twice. */
enum err_code twins_join(const struct depot *d, const char *staging,
                         const struct store_files *files, struct err *e);

#endif
