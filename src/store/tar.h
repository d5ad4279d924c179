/* tar.h: headers of tar archives, written and read: what a bundle in one file is made of.
 *
 * Owns one block of 512 bytes (POSIX.1-2001 ustar; sizes over 8 GiB in base 256, as GNU tar writes
 * them and every tar reads them). Refuses links, devices, sparse files and extensions.
 * Invariant: tar_read reads no byte outside p[0..n), and what it returns lies in there.
 */
#ifndef IGN_STORE_TAR_H
#define IGN_STORE_TAR_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define TAR_BLOCK 512

struct tar_member {
    char path[257]; /* at most 256 bytes and a zero byte; not judged here */
    uint64_t size;
    const uint8_t *data; /* [size] */
    size_t next;         /* offset of the next header */
};

/* The member whose header is at `at` of an archive p[0..n). ERR_NOTFOUND at the end of the archive;
 * ERR_FORMAT names the offset. */
enum err_code tar_read(const uint8_t *p, size_t n, size_t at, struct tar_member *m, struct err *e);

/* The header of a regular file, mode 0644, no owner, time 0. ERR_LIMIT for a path that the format
 * cannot hold. Its bytes follow, zeros up to a multiple of TAR_BLOCK; two blocks of zeros end the
 * archive. */
enum err_code tar_header(uint8_t block[TAR_BLOCK], const char *path, uint64_t size, struct err *e);

#endif
