/* core/alloc.h - the only door to the heap.
 *
 * All heap memory of the library, that of the libraries it uses where they allow it included, comes through these
 * calls. They count, so that a test can hold a step to zero allocations, and they can be told to fail at the n-th call,
 * so that a test can walk through every failure. Thread-safe. */
#ifndef SY_ALLOC_H
#define SY_ALLOC_H

#include <stddef.h>
#include <stdint.h>

void *sy_malloc(size_t bytes);                       /* NULL on failure; bytes 0 gives a unique pointer */
void *sy_calloc(size_t count, size_t bytes);         /* zeroed; NULL on failure or when count * bytes wraps */
void *sy_realloc(void *p, size_t bytes);             /* p stays valid when NULL comes back */
void *sy_aligned(size_t align, size_t bytes);        /* align: a power of two; freed by sy_free */
char *sy_strdup(const char *text);
void  sy_free(void *p);

/* count * size, or SIZE_MAX where that wraps, so that the allocation fails instead of being too small. */
size_t sy_mul_size(size_t count, size_t size);

uint64_t sy_alloc_calls(void);                       /* allocations since the program began */
/* Test switch: the n-th allocation from now (1 = next) fails, and with `sticky` every later one too; 0 = never. */
void sy_alloc_fail_at(uint64_t n, int sticky);

#endif
