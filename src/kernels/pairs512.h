/* kernels/pairs512.h - products in bfloat16 for sets of 512 bits; the set's file defines `square` and includes this last.
 *
 * Both operands are rounded to bfloat16 while they are packed into blocks of 16 rows (of A, or columns of B) by 32 steps of the contraction, a
 * KiB each, zeros where the operand ends. A block has one of two orders:
 *   lying   [16 rows][32 steps]            A
 *   turned  [16 pairs of steps][16 columns][2]   B; as words of two values it is the other one transposed
 * Before the include the set's file defines
 *   static void square(int steps, const sy_pairs *a, const sy_pairs *b, size_t next, bool two, float *C, size_t ldc, bool acc)
 * C [32,32] (+)= two strips of `steps` blocks from a and from b, the second strip `next` blocks after the first; without `two` rows 16.. of C
 * are left alone. Sums are float32, steps ascending, so that C may be taken up where an earlier call left it. */
#ifndef SY_PAIRS512_H
#define SY_PAIRS512_H

#include <immintrin.h>
#include <string.h>

#include "kernels/kernels.h"

enum { SIDE = 16, STEPS = 32 };
typedef struct sy_pairs { _Alignas(64) uint16_t x[SIDE * STEPS]; } sy_pairs;

static void square(int steps, const sy_pairs *a, const sy_pairs *b, size_t next, bool two, float *C, size_t ldc, bool acc);

/* MC x KC of A and NC x KC of B are packed at a time; sy_gemm16 says how much memory that is. */
enum { KC = 512, MC = 128, NC = 512 };
_Static_assert((MC + NC) * KC * sizeof(uint16_t) <= SY_GEMM16_WORK, "packed operands");

static inline __mmask16 first(int n) { return n <= 0 ? 0 : n >= 16 ? 0xffff : (__mmask16)((1u << n) - 1); }

/* Transposes 16 x 16 words. */
static inline void turn(__m512i *r)
{
    __m512i t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int h = 0; h < 2; h++) {
            r[i + 2 * h] = _mm512_unpacklo_epi64(t[i + h], t[i + 2 + h]);
            r[i + 2 * h + 1] = _mm512_unpackhi_epi64(t[i + h], t[i + 2 + h]);
        }
    for (int q = 0; q < 4; q++) {       /* r[4 g + q]: word 4 l + q of rows 4 g .. 4 g + 3 in quarter l */
        __m512i a = _mm512_shuffle_i32x4(r[q], r[4 + q], 0x88), b = _mm512_shuffle_i32x4(r[8 + q], r[12 + q], 0x88);
        __m512i c = _mm512_shuffle_i32x4(r[q], r[4 + q], 0xdd), d = _mm512_shuffle_i32x4(r[8 + q], r[12 + q], 0xdd);
        t[q] = _mm512_shuffle_i32x4(a, b, 0x88);
        t[8 + q] = _mm512_shuffle_i32x4(a, b, 0xdd);
        t[4 + q] = _mm512_shuffle_i32x4(c, d, 0x88);
        t[12 + q] = _mm512_shuffle_i32x4(c, d, 0xdd);
    }
    memcpy(r, t, sizeof t);
}

/* One block of values p[i * is + k * ks], i < rows, k < steps; one of the strides is 1. */
static inline void pack_block(int rows, int steps, const float *p, size_t is, size_t ks, bool turned, sy_pairs *to)
{
    __m512i r[16];
    if (ks == 1) {
        __mmask16 lo = first(steps), hi = first(steps - 16);
        for (int i = 0; i < SIDE; i++) {
            const float *x = p + (size_t)(i < rows ? i : 0) * is;
            __mmask16 on = i < rows ? 0xffff : 0;
            r[i] = (__m512i)_mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps(hi & on, x + 16), _mm512_maskz_loadu_ps(lo & on, x));
        }
    } else {
        const __m512i pairs = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
        __mmask16 on = first(rows);
        for (int k = 0; k < SIDE; k++) {
            const float *x = p + (size_t)(2 * k < steps ? 2 * k : 0) * ks, *y = p + (size_t)(2 * k + 1 < steps ? 2 * k + 1 : 0) * ks;
            __m512 even = _mm512_maskz_loadu_ps(2 * k < steps ? on : 0, x), odd = _mm512_maskz_loadu_ps(2 * k + 1 < steps ? on : 0, y);
            r[k] = _mm512_permutexvar_epi16(pairs, (__m512i)_mm512_cvtne2ps_pbh(odd, even));
        }
    }
    if (turned == (ks == 1)) turn(r);
    for (int i = 0; i < SIDE; i++) _mm512_store_si512(to->x + i * STEPS, r[i]);
}

/* [rows][steps] -> strips of 16 rows, `next` blocks each. */
static void pack_pairs(int rows, int steps, const float *p, size_t is, size_t ks, bool turned, size_t next, sy_pairs *to)
{
    if (ks == 1) for (int i = 0; i < rows; i += SIDE)
        for (int k = 0; k < steps; k += STEPS)
            pack_block(rows - i, steps - k, p + (size_t)i * is + k, is, 1, turned, to + (size_t)(i / SIDE) * next + (size_t)(k / STEPS));
    else for (int k = 0; k < steps; k += STEPS)      /* along the lines of memory */
        for (int i = 0; i < rows; i += SIDE)
            pack_block(rows - i, steps - k, p + i + (size_t)k * ks, is, ks, turned, to + (size_t)(i / SIDE) * next + (size_t)(k / STEPS));
}

/* A square of C that ends early goes through a copy. */
static void some_square(int rows, int cols, int steps, const sy_pairs *a, const sy_pairs *b, size_t next, float *C, size_t ldc, bool acc)
{
    bool two = rows > SIDE;
    if (cols == 2 * SIDE && (rows == 2 * SIDE || rows == SIDE)) {
        square(steps, a, b, next, two, C, ldc, acc);
        return;
    }
    _Alignas(64) float c[4 * SIDE * SIDE] = { 0 };
    for (int m = 0; acc && m < rows; m++) memcpy(c + m * 2 * SIDE, C + (size_t)m * ldc, (size_t)cols * sizeof *c);
    square(steps, a, b, next, two, c, 2 * SIDE, acc);
    for (int m = 0; m < rows; m++) memcpy(C + (size_t)m * ldc, c + m * 2 * SIDE, (size_t)cols * sizeof *c);
}

static inline int least(int a, int b) { return a < b ? a : b; }

static void gemm16(int M, int N, int K, const float *A, size_t ars, size_t aks, const float *B, size_t bks, size_t bns, float *C, size_t ldc, bool acc, void *work)
{
    sy_pairs *a = work, *b = a + MC / SIDE * (KC / STEPS);
    for (int n0 = 0; n0 < N; n0 += NC)
        for (int k0 = 0; k0 < K; k0 += KC) {
            int cols = least(N - n0, NC), steps = least(K - k0, KC), blocks = (steps + STEPS - 1) / STEPS;
            size_t next = (size_t)blocks;
            pack_pairs(cols, steps, B + (size_t)n0 * bns + (size_t)k0 * bks, bns, bks, true, next, b);
            for (int m0 = 0; m0 < M; m0 += MC) {
                int rows = least(M - m0, MC);
                pack_pairs(rows, steps, A + (size_t)m0 * ars + (size_t)k0 * aks, ars, aks, false, next, a);
                for (int n = 0; n < cols; n += 2 * SIDE)
                    for (int m = 0; m < rows; m += 2 * SIDE)
                        some_square(least(rows - m, 2 * SIDE), least(cols - n, 2 * SIDE), blocks, a + (size_t)(m / SIDE) * next, b + (size_t)(n / SIDE) * next, next,
                                    C + (size_t)(m0 + m) * ldc + n0 + n, ldc, acc || k0);
            }
        }
}

#endif
