/* hf_folder.h: the files of a Hugging Face model folder: which hold weights, and how they agree.
 *
 * Owns names and paths: a shard is a file of the folder itself, whatever the index says, and ends
 * in ".safetensors"; what the index says of a tensor must be true. Links are followed, for the
 * hub's own cache is made of them. Pickled weights are never opened: to read a pickle is to run it.
 * Refuses meaning: what a tensor or a setting stands for is model/'s.
 */
#ifndef IGN_FORMAT_HF_FOLDER_H
#define IGN_FORMAT_HF_FOLDER_H

#include <stdbool.h>

#include "base/json.h"
#include "base/os.h"
#include "format/safetensors.h"

enum { HF_FOLDER_MAX_SHARD = 1000 }; /* fewer than the files that may be mapped at a time */

/* A line of the index. */
struct hf_folder_entry {
    struct str tensor;
    uint32_t shard;
};

struct hf_folder {
    char *path;
    size_t n_shard;
    char **name;              /* [n_shard] file names */
    struct safetensors **dir; /* [n_shard] once opened */
    struct hf_folder_entry
        *entry; /* [n_entry] sorted by tensor; NULL: no index, all tensors count */
    size_t n_entry;
    struct arena mem; /* strings of the index */
};

/* Finds the files with weights: model.safetensors, or those of its index, or none (n_shard = 0).
 * ERR_NOTFOUND, ERR_UNSUPPORTED (weights, but pickled), ERR_FORMAT, ERR_LIMIT, ERR_IO, ERR_NOMEM.
 * After a failure, too, hf_folder_close is needed. */
enum err_code hf_folder_find(struct hf_folder *f, const char *path, struct err *e);
/* Opens all of them into map [n_shard], counting in *n_map those that the caller must close, and
 * compares them with the index. */
enum err_code hf_folder_open(struct hf_folder *f, struct os_map *map, size_t *n_map, bool copy,
                             struct err *e);
void hf_folder_close(struct hf_folder *f); /* the maps are the caller's */

/* Whether a tensor of this shard is part of the model: not, where the index does not name it. */
bool hf_folder_has(const struct hf_folder *f, size_t shard, struct str tensor);

/* The text of another file of the folder, at most `max` bytes (mem_free); *text = NULL if there is
 * none. ERR_IO, ERR_LIMIT, ERR_FORMAT (not a file), ERR_NOMEM. */
enum err_code hf_folder_read(const char *path, const char *name, size_t max, char **text, size_t *n,
                             struct err *e);
/* The same as a tree (json_free). */
enum err_code hf_folder_json(const char *path, const char *name, size_t max, struct json **root,
                             struct err *e);
/* "FOLDER/NAME" (mem_free); NULL when out of memory. */
char *hf_folder_path_of(const char *path, const char *name);

#endif
