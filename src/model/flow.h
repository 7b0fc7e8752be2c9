/* model/flow.h - a stretch of text on its way to ids, and where each of its bytes came from.
 *
 * Offsets count characters of the text that was given, as the `tokenizers` package gives them: a byte knows the characters that it
 * stands for; a token reaches from the first byte's begin to the last byte's end. They are carried along only when somebody asks. */
#ifndef SY_FLOW_H
#define SY_FLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/status.h"

typedef struct sy__at { uint32_t begin, end; } sy__at;   /* characters begin .. end-1 of the text that was given */

typedef struct sy__piece {
    const char   *s;
    size_t        n;
    const sy__at *at;                   /* [n] of every byte; NULL: not asked for */
    uint32_t      begin;                /* where it begins in the text; without `at` 0 or not 0 */
} sy__piece;

/* The bytes from .. to-1 of a piece. */
sy__piece sy__part(const sy__piece *p, size_t from, size_t to);

typedef struct sy__flow {               /* a text that is being written */
    sy_buf  s;
    sy__at *at;                         /* room for `room`, as many in use as bytes in s */
    size_t  room;
} sy__flow;

void      sy__flow_clear(sy__flow *f);
void      sy__flow_free(sy__flow *f);
void      sy__flow_copy(sy__flow *f, const sy__piece *p, size_t from, size_t to);
void      sy__flow_put(sy__flow *f, const char *s, size_t n, const sy__at *at);      /* every byte with the same origin; at NULL: none is kept */
sy__piece sy__flow_piece(const sy__flow *f, const sy__piece *from);                  /* what was written, in the place of `from` */

/* An edit rewrites a piece from left to right, character by character. A character that is put replaces the next of the old text (change 0),
 * replaces it and swallows -change more behind it, or is new (change 1) and then shares the origin of what stands before it. */
typedef struct sy__edit { const sy__piece *in; size_t at; sy__flow *out; } sy__edit;
void sy__edit_put(sy__edit *e, uint32_t cp, int change);
void sy__edit_skip(sy__edit *e, size_t characters);                  /* of the old text, before the first character is put */

#endif
