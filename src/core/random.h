/* core/random.h - counter-based random numbers: Philox 4x32-10 (Salmon et al., SC 2011).
 *
 * A number is a function of a key and a counter and of nothing else, so it does not depend on threads, on the order of
 * calls or on neighbours in a batch. Keys are made from what the number is for (docs/design.md, section 4). */
#ifndef SY_RANDOM_H
#define SY_RANDOM_H

#include <stdint.h>

/* What a stream of numbers is for: the first word of every key, so that two uses never share numbers. */
typedef enum {
    SY_FOR_INIT = 1, SY_FOR_SHUFFLE, SY_FOR_DROPOUT, SY_FOR_ROUTE, SY_FOR_ROUTE_BATCH, SY_FOR_SAMPLE, SY_FOR_DATA, SY_FOR_TEST
} sy_purpose;

/* One block: out[4] = Philox4x32-10(counter[4], key[2]). */
void sy_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* A 64-bit key of (seed, purpose, a, b, c): two Philox blocks chained. */
uint64_t sy_key(uint64_t seed, sy_purpose purpose, uint64_t a, uint64_t b, uint64_t c);
/* Uniform in (0,1), never 0 or 1; `pos` and `salt` count within the key. */
double   sy_draw(uint64_t key, uint64_t pos, unsigned salt);
/* Standard normal (Box-Muller on one block); the same counter gives the same value. */
double   sy_draw_normal(uint64_t key, uint64_t pos, unsigned salt);
/* Two independent standard normals from one block: half the work where many are needed. out[0] is sy_draw_normal's. */
void     sy_draw_normals(uint64_t key, uint64_t pos, unsigned salt, double out[2]);
/* Uniform integer in [0,n), n >= 1, without bias worth naming (64-bit multiply). */
uint64_t sy_draw_below(uint64_t key, uint64_t pos, unsigned salt, uint64_t n);

#endif
