/* folders.c: see folders.h. A variable that is not an absolute path is not looked at, as the
 * specification asks.
 */
#include "config/folders.h"

#include "config/knobs.h"

const char *folder_path(struct buf *out, enum folder which, const char *tail) {
    static const char *const variable[] = {"XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"};
    static const char *const below_home[] = {".local/share", ".local/state", ".config"};
    const char *given = knobs_env(variable[which]), *home = knobs_env("HOME");
    if (given && given[0] == '/') {
        buf_printf(out, "%s/ign", given);
    } else if (home && home[0] == '/') {
        buf_printf(out, "%s/%s/ign", home, below_home[which]);
    } else {
        return NULL;
    }
    if (tail) {
        buf_printf(out, "/%s", tail);
    }
    return out->failed ? NULL : out->p;
}
