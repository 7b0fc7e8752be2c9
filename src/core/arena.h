/* core/arena.h - memory that is given back all at once.
 *
 * Three lives: a model arena lives until the model is closed; a step arena is reset after every step or token; scratch is
 * taken by mark and given back by release inside one op. Blocks are 64-byte aligned. An arena grows by chunks; reset makes it
 * one block of the high-water size, so that a steady state allocates nothing. Not thread-safe: one owner at a time. */
#ifndef SY_ARENA_H
#define SY_ARENA_H

#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"

typedef struct sy_chunk sy_chunk;

typedef struct sy_arena {
    sy_chunk *top;                      /* newest chunk, linked to the older ones */
    sy_chunk *spare;                    /* the largest chunk that a release gave back, used before the heap is asked */
    size_t    used, high;               /* bytes handed out now, and the most ever */
    size_t    grown;                    /* chunks taken since the arena was opened */
    bool      failed;                   /* an allocation failed; stays set until reset */
} sy_arena;

typedef struct { sy_chunk *top; size_t chunk_used, used; } sy_mark;

/* A zeroed sy_arena is an empty, usable arena; nothing is allocated before the first request. */
void *sy_arena_alloc(sy_arena *a, size_t bytes);                    /* not zeroed; NULL on failure, then a->failed */
void *sy_arena_zalloc(sy_arena *a, size_t bytes);
void *sy_arena_array(sy_arena *a, size_t count, size_t size);       /* checked product, zeroed */
char *sy_arena_strdup(sy_arena *a, const char *text);
char *sy_arena_printf(sy_arena *a, const char *fmt, ...) SY_PRINTF(2, 3);
sy_mark sy_arena_mark(const sy_arena *a);
void  sy_arena_release(sy_arena *a, sy_mark m);                     /* frees all that came after the mark */
void  sy_arena_reset(sy_arena *a);                                  /* empties it; several chunks become one of the high-water size at the next use */
void  sy_arena_free(sy_arena *a);                                   /* gives everything back; the arena is empty and usable again */

#endif
