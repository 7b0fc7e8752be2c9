/* kernels/pairs.h - what the files of the bfloat16 instructions give to the tables of avx512.c; see kernels.h for the contracts. */
#ifndef SY_PAIRS_H
#define SY_PAIRS_H

#include "kernels/kernels.h"

sy_gemm16_fn sy__gemm16_avx512bf16, sy__gemm16_amx;
size_t sy__spin16_avx512bf16(size_t n);
size_t sy__spin16_amx(size_t n);
/* Asks the operating system for the tiles' registers, once a process for all its threads; false: this process may not use them. */
bool   sy__may_use_tiles(void);

#endif
