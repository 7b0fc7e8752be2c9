/* core/buffer.h - bytes that grow. A failed growth sticks: later calls do nothing, and `failed` is looked at once, at the end. */
#ifndef SY_BUFFER_H
#define SY_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"

typedef struct sy_buf {
    char  *data;                        /* n bytes and a NUL; NULL while empty */
    size_t n, room;
    bool   failed;
} sy_buf;

bool sy_buf_reserve(sy_buf *b, size_t more);                        /* room for so many more bytes; false: failed is set */
void sy_buf_put(sy_buf *b, const void *bytes, size_t n);
void sy_buf_text(sy_buf *b, const char *text);
void sy_buf_printf(sy_buf *b, const char *fmt, ...) SY_PRINTF(2, 3);
void sy_buf_clear(sy_buf *b);                                       /* empty, memory kept */
void sy_buf_free(sy_buf *b);

#endif
