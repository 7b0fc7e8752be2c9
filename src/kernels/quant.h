/* kernels/quant.h - the number formats that weights are stored in: two-byte floats and blocks of small integers with shared scales.
 *
 * A row is a whole number of blocks; blocks are packed without gaps, bytes need no alignment. This is the plain C reference: what a row
 * means to the last bit, and how one is written. Knows no tensor and no file. */
#ifndef SY_QUANT_H
#define SY_QUANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* name, its number in GGUF files, values of a block, bytes of a block */
#define SY_WTYPE_LIST(X)                                                                                  \
    X(F32, 0, 1, 4)        X(F16, 1, 1, 2)        X(BF16, 30, 1, 2)      X(Q8_0, 8, 32, 34)               \
    X(Q4_0, 2, 32, 18)     X(Q4_1, 3, 32, 20)     X(Q5_0, 6, 32, 22)     X(Q5_1, 7, 32, 24)               \
    X(Q2_K, 10, 256, 84)   X(Q3_K, 11, 256, 110)  X(Q4_K, 12, 256, 144)  X(Q5_K, 13, 256, 176)            \
    X(Q6_K, 14, 256, 210)  X(IQ4_NL, 20, 32, 18)  X(IQ4_XS, 23, 256, 136) X(MXFP4, 39, 32, 17)

typedef enum {
    SY_W_REAL,                          /* sy_real in memory: what is trained */
#define X(name, id, block, bytes) SY_W_##name,
    SY_WTYPE_LIST(X)
#undef X
    SY_WTYPES
} sy_wtype;

enum { SY_BLOCK_MAX = 256 };            /* values of the longest block; every block length divides it */

const char *sy_wtype_name(sy_wtype t);               /* "Q4_K"; "real" for SY_W_REAL */
int         sy_wtype_block(sy_wtype t);              /* values of a block */
size_t      sy_wtype_bytes(sy_wtype t, size_t n);    /* of n values, a multiple of the block; SY_W_REAL: of the build's real */
/* By name in any case ("q4_k"), or by number in a GGUF file; SY_WTYPES when there is none. */
sy_wtype    sy_wtype_named(const char *name);
sy_wtype    sy_wtype_of_gguf(uint32_t id);
int         sy_wtype_gguf(sy_wtype t);               /* -1 for SY_W_REAL */

/* The n values (a multiple of the block) that begin at `src`, for any stored type. Scales that are NaN or infinite give what arithmetic gives. */
void sy_wtype_read(sy_wtype t, const void *src, size_t n, float *out);

/* Writes n values (a multiple of the block) as blocks. Only what the type can hold: check before (sy_wtype_fits).
 *   F16, BF16   the nearest value
 *   Q8_0, Q4_0, MXFP4   the format's plain rule: scale from the largest magnitude
 *   the others  scales and codes that make the sum of weight * (x - written)^2 least, as far as a search over scales finds it
 * weight [n]: importance of each value, >= 0; NULL: all alike. With it Q4_0 is searched too; Q8_0, MXFP4 and the floats have nothing to weigh. */
void sy_wtype_write(sy_wtype t, const float *x, const float *weight, size_t n, void *dst);
/* The first of n values that type t cannot hold, or n: blocks hold no NaN and no infinity and have a largest scale; F16 and BF16 hold both,
 * but a number beyond their largest would turn into an infinity. */
size_t sy_wtype_fits(sy_wtype t, const float *x, size_t n);

#endif
