/* kernels/avx512bf16.c - products in bfloat16 on vectors: VDPBF16PS of AVX-512 BF16.
 *
 * Of each pair of steps the odd one is added first, then the even one, each rounded; values and sums that are denormal count as zero. */
#include "kernels/pairs.h"
#include "kernels/pairs512.h"

#define UNROLL _Pragma("GCC unroll 16")

/* 8 rows of a strip, from word `at` of each block on, against the 32 columns: 16 sums, enough for two units of latency 6. */
static inline void rows8(int steps, const sy_pairs *a, const sy_pairs *b, size_t next, int at, float *C, size_t ldc, bool acc)
{
    __m512 c[8][2];
    UNROLL for (int i = 0; i < 8; i++)
        UNROLL for (int j = 0; j < 2; j++) c[i][j] = acc ? _mm512_loadu_ps(C + (size_t)i * ldc + 16 * j) : _mm512_setzero_ps();
    for (int s = 0; s < steps; s++, a++, b++)
        for (int k = 0; k < SIDE; k++) {
            __m512bh left = (__m512bh)_mm512_load_si512(b->x + k * STEPS), right = (__m512bh)_mm512_load_si512(b[next].x + k * STEPS);
            UNROLL for (int i = 0; i < 8; i++) {
                int pair;
                memcpy(&pair, a->x + (at + i) * STEPS + 2 * k, sizeof pair);
                __m512bh both = (__m512bh)_mm512_set1_epi32(pair);
                c[i][0] = _mm512_dpbf16_ps(c[i][0], both, left);
                c[i][1] = _mm512_dpbf16_ps(c[i][1], both, right);
            }
        }
    UNROLL for (int i = 0; i < 8; i++)
        UNROLL for (int j = 0; j < 2; j++) _mm512_storeu_ps(C + (size_t)i * ldc + 16 * j, c[i][j]);
}

static void square(int steps, const sy_pairs *a, const sy_pairs *b, size_t next, bool two, float *C, size_t ldc, bool acc)
{
    for (int m = 0; m < (two ? 2 * SIDE : SIDE); m += 8) rows8(steps, a + (m < SIDE ? 0 : next), b, next, m % SIDE, C + (size_t)m * ldc, ldc, acc);
}

void sy__gemm16_avx512bf16(int M, int N, int K, const float *A, size_t ars, size_t aks, const float *B, size_t bks, size_t bns, float *C, size_t ldc, bool acc, void *work)
{
    gemm16(M, N, K, A, ars, aks, B, bks, bns, C, ldc, acc, work);
}

size_t sy__spin16_avx512bf16(size_t n)
{
    enum { CHAINS = 16 };
    __m512 c[CHAINS];
    __m512bh a = (__m512bh)_mm512_set1_epi32(0x3f003f00), b = (__m512bh)_mm512_set1_epi32((int)n);
    UNROLL for (int j = 0; j < CHAINS; j++) c[j] = _mm512_set1_ps((float)j);
    for (size_t i = 0; i < n; i++) UNROLL for (int j = 0; j < CHAINS; j++) c[j] = _mm512_dpbf16_ps(c[j], a, b);
    UNROLL for (int j = 1; j < CHAINS; j++) c[0] = _mm512_add_ps(c[0], c[j]);
    volatile float sink = _mm512_reduce_add_ps(c[0]);
    (void)sink;
    return n * CHAINS * 32;
}
