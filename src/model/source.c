/* source.c: see source.h.
 */
#include "model/source.h"

bool source_is_folder(const char *path) {
    struct os_file_info info;
    return os_file_info(path, &info, NULL) == ERR_OK && info.is_folder;
}

enum err_code source_open(struct gguf **g, const char *path, bool copy, struct err *e) {
    return gguf_open(g, path, copy, e);
}
