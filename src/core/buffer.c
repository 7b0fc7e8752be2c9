/* core/buffer.c - a doubling byte buffer. */
#include "core/buffer.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"

bool sy_buf_reserve(sy_buf *b, size_t more)
{
    if (b->failed) return false;
    if (more < b->room - b->n) return true;          /* strictly: the NUL needs a place */
    size_t room = b->room ? b->room : 64;
    if (more > SIZE_MAX / 4 || b->n > SIZE_MAX / 4) { b->failed = true; return false; }
    while (room - b->n <= more) room *= 2;
    char *data = sy_realloc(b->data, room);
    if (!data) { b->failed = true; return false; }
    b->data = data;
    b->room = room;
    b->data[b->n] = 0;
    return true;
}

void sy_buf_put(sy_buf *b, const void *bytes, size_t n)
{
    if (!sy_buf_reserve(b, n)) return;
    if (n) memcpy(b->data + b->n, bytes, n);
    b->n += n;
    b->data[b->n] = 0;
}

void sy_buf_text(sy_buf *b, const char *text) { sy_buf_put(b, text, strlen(text)); }

void sy_buf_printf(sy_buf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) b->failed = true;
    else if (sy_buf_reserve(b, (size_t)n + 1)) {
        vsnprintf(b->data + b->n, (size_t)n + 1, fmt, again);
        b->n += (size_t)n;
    }
    va_end(again);
}

void sy_buf_clear(sy_buf *b)
{
    b->n = 0;
    b->failed = false;
    if (b->data) b->data[0] = 0;
}

void sy_buf_free(sy_buf *b)
{
    sy_free(b->data);
    *b = (sy_buf){ 0 };
}
