/* kernels/int8.h - products of weights in stored formats with activations that were rounded to eight bits.
 *
 * A row x of activations is cut into groups (32 values for formats whose blocks hold 32, else 256) that share a scale d = max|x| / 127:
 *   x[k] ~ d q[k],  q[k] = x[k] (127 / max|x|) rounded to the nearest even integer in -127 .. 127
 * Products of codes are summed in integers, exactly; a block then takes one step of a chain of floats, blocks ascending, in every set:
 *   32 values    c = fma(S, dw d, c)                                              S = sum of (code of w) q
 *   Q4_K, Q5_K   c = fma(S, dw d, c), then c = fma(-M, mw d, c)                   S = sum of scale code q, M = sum of offset q
 *   Q6_K         c = fma(S, dw d, c)                                              S = sum of scale (code - 32) q
 * dw d and mw d are rounded to float before. So every set gives the same bits, for one row or many, in any cut of the work.
 *
 * A group that holds a NaN or an infinity has q = 0 and an infinite or NaN d: what it meets becomes NaN. Values below 2^-100 become zero.
 * Numbers are float; the double build has no such products. Knows no tensor. */
#ifndef SY_INT8_H
#define SY_INT8_H

#include "kernels/kernels.h"
#include "kernels/quant.h"

enum { SY_INT8_ROWS = 16 };

/* One row: q [n] | d [n / group] | sums of 32 [n / 32] | sums of 16 [n / 16], each part begins on a border of 4 bytes. */
typedef struct sy_int8_row { const int8_t *q; const float *d; const int16_t *sum32, *sum16; } sy_int8_row;

typedef struct sy_int8 {
    const char *name;
    /* n values, whole groups, as a row of sy_int8_bytes. */
    void (*quantise)(sy_wtype t, size_t n, const float *x, void *row);
    /* C[m,n] = (acc ? C[m,n] : 0) + x_m . W_n over K values: M rows `stride` bytes apart at X, behind which as many are readable as make M a multiple of
     * SY_INT8_ROWS, whatever they hold; N rows of whole blocks, `ldw` bytes apart. Behind its own last row it asks for `ahead` (what the caller reads next; NULL: nothing), which need not be readable. */
    void (*product)(sy_wtype t, int M, int N, int K, const void *X, size_t stride, const void *W, size_t ldw, float *C, size_t ldc, bool acc, const void *ahead);
    /* Nothing but n rounds of independent chains of such dot products in registers, for peak.h; returns how many multiply-adds that was. */
    size_t (*spin)(size_t n, int *x);
} sy_int8;

extern const sy_int8 sy_int8_ref;
/* The fastest of these that goes with kernel set k and runs here. */
const sy_int8 *sy_int8_for(const sy_kernels *k);

/* Values that share a scale of the activations: 32 or 256; 0 for a format that has no such product. */
static inline int sy_int8_group(sy_wtype t)
{
    switch (t) {
    case SY_W_Q8_0: case SY_W_Q4_0: case SY_W_IQ4_NL: case SY_W_MXFP4: return 32;
    case SY_W_Q4_K: case SY_W_Q5_K: case SY_W_Q6_K: return 256;
    default: return 0;
    }
}

/* Bytes of a row of n values, a multiple of 64. */
static inline size_t sy_int8_bytes(sy_wtype t, size_t n)
{
    return (n + n / (size_t)sy_int8_group(t) * sizeof(float) + n / 32 * 2 + (n / 32 & 1) * 2 + n / 16 * 2 + 63) / 64 * 64;
}

static inline sy_int8_row sy_int8_at(sy_wtype t, size_t n, const void *row)
{
    const char *p = row, *d = p + n, *sums = d + n / (size_t)sy_int8_group(t) * sizeof(float);
    return (sy_int8_row){ (const int8_t *)p, (const float *)d, (const int16_t *)sums, (const int16_t *)(sums + n / 32 * 2 + (n / 32 & 1) * 2) };
}

#endif
