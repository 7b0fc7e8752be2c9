/* kernels/avx512vnni_int8.c - products on eight-bit activations with vectors of 16 rows and dot products of bytes (AVX-512 VNNI). */
#include <assert.h>
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kernels/int8.h"

#if !defined __AVX512VNNI__ || !defined __AVX512BW__
#error "kernels/avx512vnni_int8.c needs the flags of its set: -march=x86-64-v4 -mavx512vnni"
#endif

#define SET avx512vnni
#include "kernels/vnni512_int8.h"
#include "kernels/vector_int8.h"
