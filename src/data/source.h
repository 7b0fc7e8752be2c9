/* data/source.h - from the texts of --data to lists of files, grouped by domain. Private to data/. */
#ifndef SY_DATA_SOURCE_H
#define SY_DATA_SOURCE_H

#include "data/data.h"

typedef struct sy__file {
    const char *path;
    int64_t     size, mtime_ns;         /* when the source was looked at; a reader refuses a file that is another by then */
} sy__file;

typedef struct sy__group {              /* the files of one domain that one source brings */
    const char *domain;
    double      weight;                 /* of the whole source; meaningful with `weighted` */
    bool        weighted;
    int         source;                 /* which of the specs */
    sy__file   *file;
    int         n, room;
} sy__group;

typedef struct sy__groups {
    sy_arena  *arena;                   /* holds everything */
    sy__group *g;
    int        n, room;
} sy__groups;

/* Appends the groups of one spec; `source` is its number. */
sy_status sy__source_open(sy__groups *out, const char *spec, int source, sy_err *err);
/* A domain name: 1 to 63 of letters, digits, '.', '_', '-' and '+', and not "all". */
bool sy__domain_name_ok(const char *name, size_t n);

#endif
