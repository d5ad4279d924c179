/* fuzz_bundle.c: any bytes as a bundle in one file: its archive walked, and all of it taken in.
 *
 * See docs/TESTING.md for building and running; corpus_bundle/ is where it starts. What has come in
 * must be whole by its record, and nothing may lie outside the store.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "store/bundle.h"
#include "store/tar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char top[64], store[96], file[96];

static void walk(const uint8_t *data, size_t size) {
    struct tar_member m;
    for (size_t at = 0; tar_read(data, size, at, &m, NULL) == ERR_OK; at = m.next) {
        if (m.next <= at || m.size > size || m.data < data || m.data + m.size > data + size) {
            abort();
        }
    }
}

static void demand_whole(const struct depot *d) {
    struct buf models;
    depot_models_init(&models);
    if (depot_verify(d, NULL, &models, NULL) != ERR_OK) {
        abort();
    }
    const struct depot_model *m = (const struct depot_model *)(const void *)models.p;
    for (size_t i = 0; i < models.len / sizeof *m; i++) {
        if (m[i].state != DEPOT_VERIFIED || depot_remove(d, m[i].name, NULL)) {
            abort();
        }
    }
    depot_models_fini(&models);
}

static void demand_inside(void) {
    char **names;
    size_t n;
    if (os_list(top, &names, &n, NULL) == ERR_OK) {
        for (size_t i = 0; i < n; i++) {
            if (strcmp(names[i], "store") != 0 && strcmp(names[i], "bundle") != 0) {
                abort();
            }
        }
        mem_free(names);
    }
}

static void clean(void) {
    char lock[128];
    snprintf(lock, sizeof lock, "%s/.lock", store);
    os_remove_file(lock, NULL);
    os_remove_file(file, NULL);
    os_remove_folder(store, NULL);
    os_remove_folder(top, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct depot d = {.dir = store};
    struct buf names;
    if (!top[0]) {
        const char *shm = os_file_exists("/dev/shm") ? "/dev/shm" : "/tmp";
        snprintf(top, sizeof top, "%s/fuzz-bundle.%llu", shm, (unsigned long long)os_process_id());
        snprintf(store, sizeof store, "%s/store", top);
        snprintf(file, sizeof file, "%s/bundle", top);
        os_mkdirs(top, NULL);
        atexit(clean);
    }
    walk(data, size);
    if (os_write_file(file, data, size, NULL)) {
        return 0;
    }
    buf_init(&names, 1 << 20);
    bundle_read(&d, file, NULL, &names, NULL);
    buf_fini(&names);
    demand_whole(&d);
    demand_inside();
    return 0;
}
