/* tar.c: see tar.h.
 *
 * Owns the layout of the block: name at 0, size at 124, checksum at 148, kind at 156, "ustar" at
 * 257, what stands before the name at 345.
 */
#include "store/tar.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum {
    NAME = 100,
    SIZE_AT = 124,
    SIZE = 12,
    SUM_AT = 148,
    KIND_AT = 156,
    MAGIC_AT = 257,
    FRONT_AT = 345,
    FRONT = 155
};

static unsigned sum_of(const uint8_t *block) {
    unsigned sum = 0;
    for (int i = 0; i < TAR_BLOCK; i++) {
        sum += i >= SUM_AT && i < SUM_AT + 8 ? ' ' : block[i];
    }
    return sum;
}

/* Octal digits with blanks or zero bytes around. */
static bool octal(const uint8_t *p, int n, uint64_t *v) {
    int i = 0, digits = 0;
    *v = 0;
    while (i < n && p[i] == ' ') {
        i++;
    }
    for (; i < n && p[i] >= '0' && p[i] <= '7'; i++, digits++) {
        *v = *v * 8 + (uint64_t)(p[i] - '0');
    }
    for (; i < n; i++) {
        if (p[i] != ' ' && p[i] != '\0') {
            return false;
        }
    }
    return digits > 0;
}

static bool size_read(const uint8_t *p, uint64_t *v) {
    if (p[0] != 0x80) {
        return octal(p, SIZE, v);
    }
    *v = 0;
    for (int i = 1; i < SIZE; i++) {
        if (*v >> 56) {
            return false;
        }
        *v = *v << 8 | p[i];
    }
    return true;
}

static enum err_code broken(const char *what, size_t at, struct err *e) {
    err_set(e, ERR_FORMAT, "not a bundle: %s at offset %zu", what, at);
    err_hint(e, "it must come from 'ign models bundle', whole: copy it again");
    return ERR_FORMAT;
}

static void path_read(const uint8_t *block, char path[257]) {
    int front = (int)strnlen((const char *)block + FRONT_AT, FRONT);
    int name = (int)strnlen((const char *)block, NAME);
    snprintf(path, 257, "%.*s%s%.*s", front, (const char *)block + FRONT_AT, front ? "/" : "", name,
             (const char *)block);
}

enum err_code tar_read(const uint8_t *p, size_t n, size_t at, struct tar_member *m, struct err *e) {
    static const uint8_t zeros[TAR_BLOCK];
    uint64_t sum;
    if (at > n || n - at < TAR_BLOCK) {
        return broken("the end is missing", n, e);
    }
    const uint8_t *block = p + at;
    if (memcmp(block, zeros, TAR_BLOCK) == 0) {
        return ERR_NOTFOUND;
    }
    if (!octal(block + SUM_AT, 8, &sum) || sum != sum_of(block)) {
        return broken("a header with a wrong sum", at, e);
    }
    if (memcmp(block + MAGIC_AT, "ustar", 5) != 0 ||
        (block[KIND_AT] != '0' && block[KIND_AT] != '\0')) {
        return broken("something else than a plain file", at, e);
    }
    size_t room = n - at - TAR_BLOCK;
    if (!size_read(block + SIZE_AT, &m->size) || m->size > room) {
        return broken("a file longer than the archive", at, e);
    }
    uint64_t padded = (m->size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
    if (padded > room) {
        return broken("the end is missing", n, e);
    }
    path_read(block, m->path);
    m->data = block + TAR_BLOCK;
    m->next = at + TAR_BLOCK + (size_t)padded;
    return ERR_OK;
}

/* Where a path that is too long for the name is split: at a slash, both parts within bounds. */
static bool path_split(const char *path, size_t n, size_t *front) {
    *front = 0;
    if (n <= NAME) {
        return true;
    }
    for (size_t i = n - NAME - 1; i < n && i <= FRONT; i++) {
        if (path[i] == '/') {
            *front = i;
            return i > 0 && i + 1 < n;
        }
    }
    return false;
}

enum err_code tar_header(uint8_t block[TAR_BLOCK], const char *path, uint64_t size, struct err *e) {
    size_t n = strlen(path), front;
    char *text = (char *)block;
    if (!path_split(path, n, &front)) {
        err_set(e, ERR_LIMIT, "the name is too long for a bundle in one file");
        err_where(e, "%s", path);
        err_hint(e, "make a folder of it: --output FOLDER/");
        return ERR_LIMIT;
    }
    memset(block, 0, TAR_BLOCK);
    memcpy(text + FRONT_AT, path, front);
    memcpy(text, path + front + (front > 0), n - front - (front > 0));
    memcpy(text + 100, "0000644", 8);
    memcpy(text + 108, "0000000", 8);
    memcpy(text + 116, "0000000", 8);
    if (size >> 33) {
        block[SIZE_AT] = 0x80;
        for (int i = SIZE - 1; i > 3; i--, size >>= 8) {
            block[SIZE_AT + i] = (uint8_t)size;
        }
    } else {
        snprintf(text + SIZE_AT, SIZE, "%011llo", (unsigned long long)size);
    }
    memcpy(text + 136, "00000000000", 12);
    block[KIND_AT] = '0';
    memcpy(block + MAGIC_AT, "ustar", 6); /* its zero byte, and the version */
    block[MAGIC_AT + 6] = block[MAGIC_AT + 7] = '0';
    snprintf(text + SUM_AT, 8, "%06o", sum_of(block));
    block[SUM_AT + 7] = ' ';
    return ERR_OK;
}
