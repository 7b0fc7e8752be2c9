/* core/arena.c - bump allocation in a list of chunks. */
#include "core/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "core/alloc.h"

/* Under the address sanitizer only the bytes that were asked for may be touched, and only until they are given back. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define hide(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define show(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define hide(p, n) ((void)(p), (void)(n))
#define show(p, n) ((void)(p), (void)(n))
#endif

enum { ALIGN = 64, FIRST_CHUNK = 1 << 16, HUGE_PAGE = 2 << 20 };

struct sy_chunk {
    sy_chunk *older;
    size_t    size, used;               /* of data */
    _Alignas(ALIGN) unsigned char data[];
};

static void give_back(sy_chunk *c)
{
    if (c) show(c->data, c->size);
    sy_free(c);
}

static bool grow(sy_arena *a, size_t need)
{
    if (a->spare && a->spare->size >= need) {
        sy_chunk *c = a->spare;
        a->spare = NULL;
        c->older = a->top;
        c->used = 0;
        a->top = c;
        return true;
    }
    size_t size = a->top ? a->top->size : FIRST_CHUNK / 2;
    if (size > SIZE_MAX / 4) return false;
    size = size < (size_t)1 << 28 ? size * 2 : size + ((size_t)1 << 28);    /* doubling, then steps of 256 MiB */
    if (size < a->high && !a->top) size = a->high;                          /* after a reset: the high-water size at once */
    if (size < need) size = need;
    if (size > SIZE_MAX - sizeof(sy_chunk) - HUGE_PAGE) return false;
    size_t bytes = sizeof(sy_chunk) + size;
    sy_chunk *c = sy_aligned(bytes >= 2 * HUGE_PAGE ? HUGE_PAGE : ALIGN, bytes);
    if (!c) return false;
    if (bytes >= 2 * HUGE_PAGE) madvise(c, bytes, MADV_HUGEPAGE);           /* advice only: a refusal costs speed, not correctness */
    c->older = a->top;
    c->size = size;
    c->used = 0;
    hide(c->data, size);
    a->top = c;
    a->grown++;
    return true;
}

void *sy_arena_alloc(sy_arena *a, size_t bytes)
{
    if (bytes > SIZE_MAX - ALIGN) { a->failed = true; return NULL; }
    size_t need = (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (!need) need = ALIGN;
    if (!a->top || a->top->size - a->top->used < need)
        if (!grow(a, need)) { a->failed = true; return NULL; }
    void *p = a->top->data + a->top->used;
    show(p, bytes);
    a->top->used += need;
    a->used += need;
    if (a->used > a->high) a->high = a->used;
    return p;
}

void *sy_arena_zalloc(sy_arena *a, size_t bytes)
{
    void *p = sy_arena_alloc(a, bytes);
    if (p) memset(p, 0, bytes);
    return p;
}

void *sy_arena_array(sy_arena *a, size_t count, size_t size)
{
    return sy_arena_zalloc(a, sy_mul_size(count, size));
}

char *sy_arena_strdup(sy_arena *a, const char *text)
{
    size_t n = strlen(text) + 1;
    char *p = sy_arena_alloc(a, n);
    if (p) memcpy(p, text, n);
    return p;
}

char *sy_arena_printf(sy_arena *a, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = NULL;
    if (n < 0) a->failed = true;
    else p = sy_arena_alloc(a, (size_t)n + 1);
    if (p) vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return p;
}

sy_mark sy_arena_mark(const sy_arena *a)
{
    return (sy_mark){ a->top, a->top ? a->top->used : 0, a->used };
}

void sy_arena_release(sy_arena *a, sy_mark m)
{
    while (a->top != m.top) {
        sy_chunk *c = a->top;
        a->top = c->older;
        hide(c->data, c->size);
        if (!a->spare || c->size > a->spare->size) {
            give_back(a->spare);
            a->spare = c;
        } else give_back(c);
    }
    if (a->top) {
        a->top->used = m.chunk_used;
        hide(a->top->data + m.chunk_used, a->top->size - m.chunk_used);
    }
    a->used = m.used;
}

void sy_arena_reset(sy_arena *a)
{
    a->failed = false;
    if (a->top && !a->top->older && a->top->size >= a->high) {       /* one block that is large enough already */
        sy_arena_release(a, (sy_mark){ .top = a->top });
        return;
    }
    sy_arena_release(a, (sy_mark){ 0 });
    if (a->spare && a->spare->size < a->high) {      /* several chunks were needed: the next use takes one that holds all */
        give_back(a->spare);
        a->spare = NULL;
    }
}

void sy_arena_free(sy_arena *a)
{
    sy_arena_release(a, (sy_mark){ 0 });
    give_back(a->spare);
    *a = (sy_arena){ 0 };
}
