/* float only */
/* Products on eight-bit activations, in every set, every format, odd numbers of rows on both sides, unaligned blocks.
 *
 * Oracles: for what a code means, the decoder of stored rows (quant.h) and a sum in double over the decoded weights and the rounded activations;
 * for the fast sets, equal bits with the plain one; for the rounding, its definition. */
#include "testing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/random.h"
#include "kernels/int8.h"

static const sy_wtype types[] = { SY_W_Q8_0, SY_W_Q4_0, SY_W_IQ4_NL, SY_W_MXFP4, SY_W_Q4_K, SY_W_Q5_K, SY_W_Q6_K };

static double draw(uint64_t n, uint64_t i) { return 2 * sy_draw(sy_key(sy_test_seed(), SY_FOR_TEST, n, 0, 0), i, 0) - 1; }

/* Any bytes are codes; scales are kept to numbers of a usual size. Every code and every sub-scale comes up. */
static void random_rows(sy_wtype t, uint8_t *b, size_t values, uint64_t seed)
{
    size_t block = (size_t)sy_wtype_block(t), bytes = sy_wtype_bytes(t, block), n = values / block;
    for (size_t i = 0; i < n * bytes; i++) b[i] = (uint8_t)(128 + 127.99 * draw(seed, i));
    for (size_t i = 0; i < n; i++, b += bytes) {
        uint8_t *d = t == SY_W_Q6_K ? b + 208 : b;
        if (t == SY_W_MXFP4) { b[0] = (uint8_t)(120 + b[0] % 16); continue; }
        d[1] = (uint8_t)((d[1] & 0x80) | 0x20 | (d[1] & 7));        /* an F16 about 2^-7, either sign */
        if (t == SY_W_Q4_K || t == SY_W_Q5_K) b[3] = (uint8_t)((b[3] & 0x80) | 0x20 | (b[3] & 7));
    }
}

static void activations(float *x, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++) x[i] = (float)(draw(seed, i) * exp2(3 * draw(seed + 1, i / 16)));
}

/* Sum over the decoded weights and q d, in double, and the sum of magnitudes. */
static double slow(sy_wtype t, int K, const float *w, sy_int8_row x, double *size)
{
    double s = 0;
    *size = 0;
    for (int k = 0; k < K; k++) {
        double p = (double)w[k] * x.q[k] * (double)x.d[k / sy_int8_group(t)];
        s += p;
        *size += fabs(p);
    }
    return s;
}

static void against_decoded_rows(void **state)
{
    enum { N = 5, M = 3 };
    (void)state;
    for (size_t i = 0; i < SY_COUNT(types); i++) {
        sy_wtype t = types[i];
        int K = 768;
        size_t ldw = sy_wtype_bytes(t, (size_t)K), stride = sy_int8_bytes(t, (size_t)K);
        uint8_t *w = malloc(N * ldw);
        char *rows = malloc(M * stride);
        float *x = malloc(M * (size_t)K * sizeof *x), *real = malloc((size_t)K * sizeof *real), C[M * N];
        sy_test_case("%s", sy_wtype_name(t));
        random_rows(t, w, N * (size_t)K, i);
        activations(x, M * (size_t)K, 100 + i);
        for (int m = 0; m < M; m++) sy_int8_ref.quantise(t, (size_t)K, x + m * K, rows + (size_t)m * stride);
        sy_int8_ref.product(t, M, N, K, rows, stride, w, ldw, C, N, false, NULL);
        for (int n = 0; n < N; n++) {
            sy_wtype_read(t, w + (size_t)n * ldw, (size_t)K, real);
            for (int m = 0; m < M; m++) {
                double size, want = slow(t, K, real, sy_int8_at(t, (size_t)K, rows + (size_t)m * stride), &size);
                sy_expect_near("sum", C[m * N + n], want, 4e-6 * size, 0);
            }
        }
        free(w), free(rows), free(x), free(real);
    }
}

/* |x - d q| <= d / 2 and a little; the largest value is 127; sums are sums. */
static void rounding(void **state)
{
    (void)state;
    const sy_kernels *k;
    for (int s = 0; (k = sy_kernels_at(s)); s++)
        for (size_t i = 0; i < SY_COUNT(types); i++) {
            sy_wtype t = types[i];
            enum { n = 1024 };
            static float x[n];
            char *row = malloc(sy_int8_bytes(t, n)), *want = malloc(sy_int8_bytes(t, n));
            sy_int8_row r = sy_int8_at(t, n, row);
            int group = sy_int8_group(t);
            sy_test_case("%s %s", sy_int8_for(k)->name, sy_wtype_name(t));
            activations(x, n, 7 + i);
            for (int j = 0; j < 256; j++) x[256 + j] = 0;
            x[700] = 2.5f, x[701] = -127;
            memset(row, 1, sy_int8_bytes(t, n));
            memset(want, 1, sy_int8_bytes(t, n));
            sy_int8_for(k)->quantise(t, n, x, row);
            sy_int8_ref.quantise(t, n, x, want);
            sy_expect_same("the plain set's row", row, want, sy_int8_bytes(t, n));
            for (int g = 0; g < n / group; g++) {
                int top = 0;
                for (int j = g * group; j < (g + 1) * group; j++) {
                    sy_expect_near("value", r.q[j] * (double)r.d[g], x[j], 0.50001 * (double)r.d[g], 0);
                    if (abs(r.q[j]) > top) top = abs(r.q[j]);
                }
                sy_expect_near("largest code", top, r.d[g] > 0 ? 127 : 0, 0, 0);
            }
            assert_int_equal(r.q[700], 2);                          /* halves go to the even one */
            for (int j = 0; j < n; j += 16) {
                int sum = 0;
                for (int v = 0; v < 16; v++) sum += r.q[j + v];
                assert_int_equal(r.sum16[j / 16], sum);
                if (j % 32 == 16) assert_int_equal(r.sum32[j / 32], sum + r.sum16[j / 16 - 1]);
            }
            free(row), free(want);
        }
}

/* Every set, the bits of the plain one: rows that fill no vector, no row, one and many rows of activations, sums that go on, blocks at any address. */
static void sets_agree(void **state)
{
    static const struct { int M, N, K; } sizes[] = { { 1, 16, 256 }, { 1, 1, 256 }, { 2, 17, 512 }, { 3, 33, 1024 }, { 5, 7, 256 }, { 7, 40, 1280 }, { 8, 31, 2304 }, { 19, 48, 768 }, { 16, 32, 512 }, { 47, 33, 2560 }, { 64, 16, 1280 }, { 1, 0, 256 }, { 0, 16, 256 }, { 4, 16, 0 } };
    (void)state;
    const sy_kernels *k;
    for (int s = 1; (k = sy_kernels_at(s)); s++)
        for (size_t i = 0; i < SY_COUNT(types); i++)
            for (size_t c = 0; c < SY_COUNT(sizes); c++)
                for (int acc = 0; acc < 2; acc++) {
                    sy_wtype t = types[i];
                    int M = sizes[c].M, N = sizes[c].N, K = sizes[c].K, group = sy_int8_group(t);
                    if (group == 32 && K) K -= 32 * (int)(c % 5);   /* blocks of 32 need no whole 256 */
                    size_t ldw = sy_wtype_bytes(t, (size_t)K), stride = sy_int8_bytes(t, (size_t)K), ldc = (size_t)N + 3, all = (size_t)M * ldc + 1;
                    uint8_t *w = malloc((size_t)N * ldw + 1);
                    char *rows = calloc((size_t)(M + SY_INT8_ROWS - 1) / SY_INT8_ROWS * SY_INT8_ROWS + 1, stride + 1);      /* whole tiles are read */
                    float *x = malloc(((size_t)M * (size_t)K + 1) * sizeof *x), *got = malloc(all * sizeof *got), *want = malloc(all * sizeof *want);
                    sy_test_case("%s %s M %d N %d K %d acc %d", sy_int8_for(k)->name, sy_wtype_name(t), M, N, K, acc);
                    random_rows(t, w + 1, (size_t)N * (size_t)K, 31 * i + c);
                    activations(x, (size_t)M * (size_t)K, 1000 + c);
                    for (int m = 0; m < M; m++) sy_int8_for(k)->quantise(t, (size_t)K, x + (size_t)m * (size_t)K, rows + (size_t)m * stride);
                    for (size_t j = 0; j < all; j++) got[j] = want[j] = (float)draw(5, j);
                    sy_int8_for(k)->product(t, M, N, K, rows, stride, w + 1, ldw, got, ldc, acc, w);
                    sy_int8_ref.product(t, M, N, K, rows, stride, w + 1, ldw, want, ldc, acc, NULL);
                    sy_expect_same("C", got, want, all * sizeof *got);
                    free(w), free(rows), free(x), free(got), free(want);
                }
}

/* The extremes of every code: nothing saturates, nothing wraps. */
static void extremes(void **state)
{
    enum { N = 16, K = 512, M = 16 };                              /* one row, and the same row as often as a tile holds */
    static float x[K];
    (void)state;
    const sy_kernels *k;
    for (int s = 1; (k = sy_kernels_at(s)); s++)
        for (size_t i = 0; i < SY_COUNT(types); i++)
            for (int fill = 0; fill < 4; fill++) {
                sy_wtype t = types[i];
                size_t ldw = sy_wtype_bytes(t, K), block = sy_wtype_bytes(t, (size_t)sy_wtype_block(t));
                uint8_t *w = malloc(N * ldw);
                char *row = malloc(sy_int8_bytes(t, K));
                float got[M * N], want[M * N];
                sy_test_case("%s %s fill %d", sy_int8_for(k)->name, sy_wtype_name(t), fill);
                memset(w, (int[]){ 0xff, 0x80, 0x7f, 0x00 }[fill], N * ldw);
                for (size_t b = 0; b < N * ldw; b += block) {
                    uint8_t *d = w + b + (t == SY_W_Q6_K ? 208 : 0);
                    if (t == SY_W_MXFP4) d[0] = (uint8_t[]){ 0, 1, 2, 255 }[fill];      /* denormal powers and the largest */
                    else d[0] = 1, d[1] = 0x3c;
                    if (t == SY_W_Q4_K || t == SY_W_Q5_K) d[2] = 3, d[3] = 0xbc;
                }
                for (int j = 0; j < K; j++) x[j] = fill == 2 && j % 2 ? -1 : 1;
                sy_int8_for(k)->quantise(t, K, x, row);
                sy_int8_ref.product(t, M, N, K, row, 0, w, ldw, want, N, false, NULL);
                for (int m = 1; m <= M; m += M - 1) {
                    sy_int8_for(k)->product(t, m, N, K, row, 0, w, ldw, got, N, false, NULL);
                    sy_expect_same("C", got, want, (size_t)m * N * sizeof *got);
                }
                free(w), free(row);
            }
}

/* A NaN or an infinity in a group makes everything that it meets NaN, and nothing else; the smallest numbers are zero. */
static void not_numbers(void **state)
{
    enum { N = 17, K = 512, M = 16 };
    static float x[K];
    static const float odd[] = { NAN, -NAN, INFINITY, -INFINITY, 1e30f, 0x1p-101f, 1e-45f };
    (void)state;
    const sy_kernels *k;
    for (int s = 0; (k = sy_kernels_at(s)); s++)
        for (size_t i = 0; i < SY_COUNT(types); i++)
            for (size_t o = 0; o < SY_COUNT(odd); o++) {
                sy_wtype t = types[i];
                size_t ldw = sy_wtype_bytes(t, K);
                uint8_t *w = malloc(N * ldw);
                char *row = malloc(sy_int8_bytes(t, K));
                float C[M * N];
                sy_test_case("%s %s %g", sy_int8_for(k)->name, sy_wtype_name(t), (double)odd[o]);
                random_rows(t, w, N * (size_t)K, 3);
                memset(x, 0, sizeof x);
                x[300] = odd[o];
                sy_int8_for(k)->quantise(t, K, x, row);
                float one[N];
                sy_int8_for(k)->product(t, 1, N, K, row, 0, w, ldw, one, N, false, NULL);
                sy_int8_for(k)->product(t, M, N, K, row, 0, w, ldw, C, N, false, NULL);
                for (int n = 0; n < N; n++) if (isnan(one[n]) ? !isnan(C[n]) : one[n] != C[n]) fail_msg("C[%d] is %g in company, %g alone", n, (double)C[n], (double)one[n]);
                for (int n = 0; n < M * N; n++) {
                    if (o < 4 ? !isnan(C[n]) : !isfinite(C[n])) fail_msg("C[%d] is %g", n, (double)C[n]);
                    if (o > 4 && C[n] != 0) fail_msg("C[%d] is %g, not 0", n, (double)C[n]);
                }
                free(w), free(row);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_decoded_rows), cmocka_unit_test(rounding), cmocka_unit_test(sets_agree), cmocka_unit_test(extremes), cmocka_unit_test(not_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
