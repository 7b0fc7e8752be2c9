/* data/known.h - data sets that recipes and documents call by name: what they are, whose, and where a user gets them.
 *
 * Nothing is fetched. A file is looked for in each folder given: at its path in the table, then by the last part of it alone when the size is right. */
#ifndef SY_KNOWN_H
#define SY_KNOWN_H

#include <stdint.h>

#include "core/arena.h"

typedef struct sy_known_file {
    const char *path;                   /* below the data folder; NULL ends the list */
    const char *domain;                 /* its domain as a source */
    int64_t     bytes;
    const char *sha256;
} sy_known_file;

typedef struct sy_known {
    const char *name, *what, *source, *licence;
    const char *get;                    /* what a user does to have it */
    const char *options;                /* data options that it needs, "key=value,..." or "" */
    const sy_known_file *file;
} sy_known;
extern const sy_known sy_known_data[];  /* sorted; ends with a NULL name */

/* SY_ENOENT names the nearest. */
sy_status sy_known_find(const char *name, const sy_known **out, sy_err *err);
/* Where a file lies: in the arena; NULL when it is in none of the folders (NULL entries are passed over), or without memory (then a->failed). */
const char *sy_known_path(const sy_known_file *f, const char *const *dirs, int n_dirs, sy_arena *a);
/* The data set as sources "domain=path", in the arena. SY_ENOENT names what is missing, where it was looked for and how to get it. */
sy_status sy_known_sources(const sy_known *k, const char *const *dirs, int n_dirs, sy_arena *a, const char *const **specs, int *n, sy_err *err);
/* Reads the whole file: SY_EFORMAT when its size or its checksum is another. */
sy_status sy_known_check(const sy_known_file *f, const char *path, sy_err *err);

#endif
