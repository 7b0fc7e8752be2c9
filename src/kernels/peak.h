/* kernels/peak.h - what one thread of this machine can do at best: multiply-adds in registers, bytes read, bytes copied.
 *
 * A measured product is worth a number only beside the limit measured in the same minute. Each call works on the calling thread
 * alone for about `seconds`; for several threads the caller runs it on each at once and adds what they return. Buffers are the
 * caller's, one a thread, touched by that thread before, and at least four times the last cache to measure memory. */
#ifndef SY_PEAK_H
#define SY_PEAK_H

#include "kernels/int8.h"

/* Multiply-adds a second of the set's widest chains; a multiply-add is two operations. */
double sy_peak_fma(const sy_kernels *k, double seconds);
/* The same in bfloat16, of a set with instructions for it (k->spin16). */
double sy_peak_bf16(const sy_kernels *k, double seconds);
/* The same of products of bytes added to 32 bits. */
double sy_peak_int8(const sy_int8 *k, double seconds);
/* Bytes a second read in order from `buffer`. */
double sy_peak_read(const sy_kernels *k, const void *buffer, size_t bytes, double seconds);
/* Bytes a second copied from `from` to `to`; each byte is read once and written once and counts once. */
double sy_peak_copy(void *to, const void *from, size_t bytes, double seconds);

#endif
