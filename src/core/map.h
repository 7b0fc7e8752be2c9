/* core/map.h - files mapped for reading: whole, or through windows where the address space has no room for the whole.
 *
 * A file can be cut short while it is mapped; a page that it has lost raises SIGBUS in whichever thread reads it. The handler puts zeros in
 * the place of the rest of that map and marks it: the reader goes on, holding what it holds, and whoever began the reading asks
 * sy_map_status before the numbers are used. No thread stands guard, and nothing is left by a jump. */
#ifndef SY_MAP_H
#define SY_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

typedef struct sy_map {
    const uint8_t    *data;             /* the whole file; NULL: an empty one, or one that is read through windows */
    size_t            size;
    int               slot;             /* of the table that the handler looks into; 0: none */
    struct sy_window *window;           /* NULL: the whole is mapped */
} sy_map;

/* Maps a regular file read-only; a folder, FIFO or device is refused. An empty file gives size 0. */
sy_status sy_map_open(sy_map *m, const char *path, sy_err *err);
/* The same, but where the address space is limited (ulimit -v) and the whole does not fit, the file is read through sy_map_view. */
sy_status sy_map_open_windows(sy_map *m, const char *path, sy_err *err);
/* The first `size` bytes of an open file, which may be closed then; `name` is for the sentence. */
sy_status sy_map_fd(sy_map *m, int fd, size_t size, const char *name, sy_err *err);
void      sy_map_close(sy_map *m);                   /* twice is fine */

/* n bytes from `from`, which lie inside the file. Of a whole map they stay; of a windowed one they stand until the next call for the same map, by
 * one thread at a time. NULL: the address space has no room for them. */
const uint8_t *sy_map_view(sy_map *m, size_t from, size_t n);
/* The first n bytes; they stay until the map is closed or a longer head is asked for. */
const uint8_t *sy_map_head(sy_map *m, size_t n);

/* st, or SY_EIO for a map that has met a lost page: then and for ever after, since zeros stand in its place. `name` is of its file. */
sy_status sy_map_status(const sy_map *m, const char *name, sy_status st, sy_err *err);

#endif
