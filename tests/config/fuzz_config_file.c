/* fuzz_config_file.c: any bytes as a settings file.
 *
 * What is accepted is written down by toml_put_string and read again, and must give the same texts;
 * lines and columns must lie in the file. What is refused must say where, and leave nothing behind.
 */
#include <stdlib.h>
#include <string.h>

#include "config/toml.h"

static void demand(bool holds) {
    if (!holds) {
        abort();
    }
}

static void write_again(const struct toml *t, struct buf *out) {
    const struct toml_table *table = t->tables;
    for (const struct toml_entry *entry = t->entries; entry; entry = entry->next) {
        if (entry->table != table) {
            table = entry->table;
            buf_printf(out, "[%s]\n", table->name);
        }
        buf_printf(out, "%s = ", entry->key);
        buf_puts(out, entry->kind == TOML_ARRAY ? "[" : "");
        for (size_t i = 0; i < entry->n_text; i++) {
            buf_puts(out, i ? "," : "");
            if (entry->kind == TOML_STRING || entry->kind == TOML_ARRAY) {
                toml_put_string(out, entry->texts[i]);
            } else {
                buf_puts(out, entry->texts[i]);
            }
        }
        buf_puts(out, entry->kind == TOML_ARRAY ? "]\n" : "\n");
    }
}

static void compare(const struct toml_entry *a, const struct toml_entry *b) {
    for (; a && b; a = a->next, b = b->next) {
        demand(strcmp(a->key, b->key) == 0 && strcmp(a->table->name, b->table->name) == 0);
        demand(a->kind == b->kind && a->n_text == b->n_text);
        for (size_t i = 0; i < a->n_text; i++) {
            demand(strcmp(a->texts[i], b->texts[i]) == 0);
        }
    }
    demand(!a && !b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    struct toml once, twice;
    struct buf text;
    struct err e = {0};
    buf_init(&text, 1 << 24);
    if (toml_parse(&once, (const char *)data, n, &e)) {
        demand(e.code == ERR_LIMIT || strstr(e.where, "line "));
        demand(e.hint[0] && !once.entries && !once.tables);
    } else {
        for (const struct toml_entry *entry = once.entries; entry; entry = entry->next) {
            demand(entry->line >= 1 && (size_t)entry->line <= n);
            demand(entry->column >= 1 && (size_t)entry->column <= n);
        }
        write_again(&once, &text);
        demand(!text.failed && !toml_parse(&twice, text.p, text.len, &e));
        compare(once.entries, twice.entries);
        toml_fini(&twice);
    }
    toml_fini(&once);
    buf_fini(&text);
    demand(mem_live() == 0);
    return 0;
}
