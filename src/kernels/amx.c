/* kernels/amx.c - products in bfloat16 on the tile unit: TDPBF16PS of AMX, and AVX-512 BF16 for rounding.
 *
 * Of 32 steps the unit sums the even and the odd ones each along its own chain from zero, adds the two, and adds that to the sum so far; values
 * and sums that are denormal count as zero. A thread's tiles are set up for each product and given back after it. */
#include <sys/syscall.h>
#include <unistd.h>

#include "kernels/pairs.h"
#include "kernels/pairs512.h"

struct tile_config { uint8_t palette, start, zero[14]; uint16_t bytes[16]; uint8_t rows[16]; };
static const struct tile_config whole = { 1, 0, { 0 }, { 64, 64, 64, 64, 64, 64, 64, 64 }, { 16, 16, 16, 16, 16, 16, 16, 16 } };

static void square(int steps, const sy_pairs *a, const sy_pairs *b, size_t next, bool two, float *C, size_t ldc, bool acc)
{
    enum { ROW = STEPS * sizeof(uint16_t) };
    size_t ld = ldc * sizeof *C;
    float *below = C + (two ? SIDE * ldc : 0);
    if (acc) {
        _tile_loadd(0, C, ld);
        _tile_loadd(1, C + SIDE, ld);
        _tile_loadd(2, below, ld);
        _tile_loadd(3, below + SIDE, ld);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    if (two) for (int k = 0; k < steps; k++, a++, b++) {
        _tile_loadd(4, a, ROW);
        _tile_loadd(6, b, ROW);
        _tile_loadd(7, b + next, ROW);
        _tile_loadd(5, a + next, ROW);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    } else for (int k = 0; k < steps; k++, a++, b++) {
        _tile_loadd(4, a, ROW);
        _tile_loadd(6, b, ROW);
        _tile_loadd(7, b + next, ROW);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
    }
    _tile_stored(0, C, ld);
    _tile_stored(1, C + SIDE, ld);
    if (!two) return;
    _tile_stored(2, below, ld);
    _tile_stored(3, below + SIDE, ld);
}

void sy__gemm16_amx(int M, int N, int K, const float *A, size_t ars, size_t aks, const float *B, size_t bks, size_t bns, float *C, size_t ldc, bool acc, void *work)
{
    _tile_loadconfig(&whole);
    gemm16(M, N, K, A, ars, aks, B, bks, bns, C, ldc, acc, work);
    _tile_release();
}

size_t sy__spin16_amx(size_t n)
{
    _tile_loadconfig(&whole);
    _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3); _tile_zero(4); _tile_zero(5); _tile_zero(6); _tile_zero(7);
    for (size_t i = 0; i < n; i++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_release();
    return n * 4 * SIDE * SIDE * STEPS;
}

bool sy__may_use_tiles(void)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) == 0;
}
