/* core/alloc.c - counting allocator with a failure switch. */
#include "core/alloc.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static _Atomic uint64_t calls, fail_at;              /* fail_at: value of `calls` at which to fail, 0 = never */
static _Atomic int      fail_sticky;

/* Counts one call; true when this one is to fail: by the switch, or because no object can be so large. */
static bool refused(size_t bytes)
{
    uint64_t n = atomic_fetch_add(&calls, 1) + 1, at = atomic_load(&fail_at);
    return bytes > PTRDIFF_MAX || (at && (n == at || (n > at && atomic_load(&fail_sticky))));
}

void *sy_malloc(size_t bytes)
{
    return refused(bytes) ? NULL : malloc(bytes ? bytes : 1);
}

void *sy_calloc(size_t count, size_t bytes)
{
    return refused(sy_mul_size(count, bytes)) ? NULL : calloc(count ? count : 1, bytes ? bytes : 1);
}

void *sy_realloc(void *p, size_t bytes)
{
    return refused(bytes) ? NULL : realloc(p, bytes ? bytes : 1);
}

void *sy_aligned(size_t align, size_t bytes)
{
    if (refused(bytes) || align > PTRDIFF_MAX) return NULL;
    if (!bytes) bytes = 1;
    return aligned_alloc(align, (bytes + align - 1) / align * align);
}

char *sy_strdup(const char *text)
{
    size_t n = strlen(text) + 1;
    char *p = sy_malloc(n);
    if (p) memcpy(p, text, n);
    return p;
}

void sy_free(void *p) { free(p); }

size_t sy_mul_size(size_t count, size_t size)
{
    size_t r;
    return __builtin_mul_overflow(count, size, &r) ? SIZE_MAX : r;
}

uint64_t sy_alloc_calls(void) { return atomic_load(&calls); }

void sy_alloc_fail_at(uint64_t n, int sticky)
{
    atomic_store(&fail_sticky, sticky);
    atomic_store(&fail_at, n ? atomic_load(&calls) + n : 0);
}
