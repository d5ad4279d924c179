/* folders.h: where this user's files are, by the XDG base directory specification.
 *
 * Owns the names of the folders. Refuses to make or read them. Invariant: a path given is absolute.
 */
#ifndef IGN_CONFIG_FOLDERS_H
#define IGN_CONFIG_FOLDERS_H

#include "base/buf.h"

enum folder {
    FOLDER_DATA,  /* models: XDG_DATA_HOME, else ~/.local/share */
    FOLDER_STATE, /* what runs and what was measured: XDG_STATE_HOME, else ~/.local/state */
    FOLDER_CONFIG /* the user's settings: XDG_CONFIG_HOME, else ~/.config */
};

/* Settings of the machine, read before the user's. */
#define FOLDER_SYSTEM_CONFIG "/etc/ign"

/* Appends FOLDER/ign/TAIL (or FOLDER/ign where tail is NULL). Returns the whole text of `out`,
 * valid until it changes; NULL where there is no home or no memory. */
const char *folder_path(struct buf *out, enum folder which, const char *tail);

#endif
