/* kernels/rounded.c - products in bfloat16 for sets without instructions for them: rounded copies of both operands, then the set's own product. */
#include "kernels/half.h"
#include "kernels/kernels.h"

static inline sy_real rounded(sy_real x) { return (sy_real)sy_bf16_to(sy_bf16_of((float)x)); }

void sy_gemm16(const sy_kernels *k, int M, int N, int K, const sy_real *A, size_t ars, size_t aks, const sy_real *B, size_t bks, size_t bns, sy_real *C, size_t ldc, bool acc, void *work)
{
    enum { MC = 64, NC = (int)(SY_GEMM16_WORK / sizeof(sy_real) / 512) - MC, KC = 512 };
    if (K <= 0) {
        for (int m = 0; m < M && !acc; m++)
            for (int n = 0; n < N; n++) C[(size_t)m * ldc + n] = 0;
        return;
    }
    if (k->gemm16) {
        k->gemm16(M, N, K, A, ars, aks, B, bks, bns, C, ldc, acc, work);
        return;
    }
    sy_real *a = work, *b = a + MC * KC;
    bool rows = bks == 1;                            /* B is a weight [N,K] */
    for (int n0 = 0; n0 < N; n0 += NC)
        for (int k0 = 0; k0 < K; k0 += KC) {
            int wide = N - n0 < NC ? N - n0 : NC, deep = K - k0 < KC ? K - k0 : KC;
            size_t step = rows ? (size_t)deep : 1, down = rows ? 1 : (size_t)wide;
            for (int n = 0; n < wide; n++)
                for (int i = 0; i < deep; i++) b[(size_t)n * step + (size_t)i * down] = rounded(B[(size_t)(n0 + n) * bns + (size_t)(k0 + i) * bks]);
            for (int m0 = 0; m0 < M; m0 += MC) {
                int high = M - m0 < MC ? M - m0 : MC;
                sy_real *c = C + (size_t)m0 * ldc + n0;
                for (int m = 0; m < high; m++)
                    for (int i = 0; i < deep; i++) a[(size_t)m * (size_t)deep + (size_t)i] = rounded(A[(size_t)(m0 + m) * ars + (size_t)(k0 + i) * aks]);
                if (rows) k->gemm_rows(high, wide, deep, a, (size_t)deep, b, (size_t)deep, c, ldc, acc || k0);
                else k->gemm(high, wide, deep, a, (size_t)deep, 1, b, (size_t)wide, c, ldc, acc || k0);
            }
        }
}
