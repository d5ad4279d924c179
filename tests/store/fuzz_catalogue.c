/* fuzz_catalogue.c: any bytes as a catalogue of models.
 *
 * See docs/TESTING.md for building and running; corpus_catalogue/ is where it starts. What is taken
 * must keep the promises of catalogue.h, since a pull builds paths and addresses of it.
 */
#include <stdlib.h>
#include <string.h>

#include "store/catalogue.h"
#include "store/store_part.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool yes) {
    if (!yes) {
        abort();
    }
}

static void look(const struct catalogue_model *m) {
    size_t len = strlen(m->store);
    demand(model_name_is_plain(m->store, len) && model_name_is_plain(m->name, strlen(m->name)));
    demand(m->n_file > 0 && m->n_source > 0 && m->licence[0] && m->licence_url[0]);
    for (size_t i = 0; i < m->n_file; i++) {
        const struct catalogue_file *f = &m->file[i];
        demand(path_is_plain(f->path, strlen(f->path)) && strncmp(f->path, m->store, len) == 0);
        demand(!f->sha256[0] || strspn(f->sha256, "0123456789abcdef") == 64);
        for (size_t k = 0; k < i; k++) {
            demand(strcmp(f->path, m->file[k].path) != 0);
        }
    }
    for (size_t i = 0; i < m->n_source; i++) {
        const struct catalogue_source *s = &m->source[i];
        demand(s->kind == CATALOGUE_PIP ? s->n_package > 0 : !strchr(s->repository, '?'));
        for (size_t k = 0; k < m->n_file; k++) {
            demand(s->from[k].n > 0);
            for (size_t p = 0; p < s->from[k].n; p++) {
                demand(path_is_plain(s->from[k].path[p], strlen(s->from[k].path[p])));
            }
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct catalogue c;
    struct err e = {0};
    bool extends;
    size_t n;
    catalogue_init(&c);
    enum err_code rc = catalogue_parse(&c, (const char *)data, size, "fuzz", &extends, &e);
    demand(rc == e.code);
    const struct catalogue_model *m = catalogue_at(&c, &n);
    for (size_t i = 0; i < n; i++) {
        look(&m[i]);
        demand(catalogue_find(&c, m[i].name) != NULL);
    }
    catalogue_fini(&c);
    return 0;
}
