/* tsan */
/* Lists of products: every form that the tape uses, skewed loads, empty jobs, packed weights, and equal bits for any number of rows or threads.
 *
 * Oracle: three loops in double; one row at a time for the bits. */
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/random.h"
#include "kernels/half.h"
#include "tensor/product.h"

static const double EPS = sizeof(sy_real) == 8 ? 1e-15 : 6e-7;

static sy_real *reals(size_t n, int what)
{
    sy_real *x = malloc((n ? n : 1) * sizeof *x);
    assert_non_null(x);
    uint64_t key = sy_key(sy_test_seed(), SY_FOR_TEST, 55, (uint64_t)what, 0);
    for (size_t i = 0; i < n; i++) x[i] = (sy_real)(2 * sy_draw(key, i, 0) - 1);
    return x;
}

static double operand(const sy_gemm_job *j, sy_real x) { return j->bf16 ? (double)sy_bf16_to(sy_bf16_of((float)x)) : (double)x; }

static void check(const sy_gemm_job *j, const sy_real *before)
{
    for (int m = 0; m < j->M; m++)
        for (int n = 0; n < j->N; n++) {
            double s = j->acc ? (double)before[(size_t)m * j->ldc + (size_t)n] : 0, size = 1;
            for (int k = 0; k < j->K; k++) {
                double p = operand(j, j->A[(size_t)m * j->ars + (size_t)k * j->aks]) * operand(j, ((const sy_real *)j->B)[j->rows ? (size_t)n * j->bks + (size_t)k : (size_t)k * j->bks + (size_t)n]);
                s += p;
                size += p < 0 ? -p : p;
            }
            sy_expect_near("C", (double)j->C[(size_t)m * j->ldc + (size_t)n], s, EPS * size, 0);
        }
}

static const struct { int M, N, K; } sizes[] = { { 1, 1, 1 }, { 1, 300, 70 }, { 7, 129, 33 }, { 9, 128, 64 }, { 600, 140, 40 }, { 33, 5, 700 }, { 0, 8, 8 }, { 8, 0, 8 }, { 5, 6, 0 } };

static void every_form(void **state)
{
    (void)state;
    const sy_kernels *k;
    for (int set = 0; (k = sy_kernels_at(set)); set++) {
        sy_engine e;
        sy_expect_ok(sy_engine_init(&e, 2, k->name, NULL, err));
        for (int i = 0; i < (int)SY_COUNT(sizes); i++)
            for (int form = 0; form < 16; form++) {                                   /* bits: rows of W or B, A by columns, acc, bfloat16 */
                int M = sizes[i].M, N = sizes[i].N, K = sizes[i].K;
                bool rows = form & 1, columns = form & 2 && !rows, acc = form & 4;    /* through panels A lies by rows */
                size_t ldc = (size_t)N + 3, nc = (size_t)M * ldc, pad = 5;
                sy_test_case("%s: %d x %d x %d, form %d", k->name, M, N, K, form);
                sy_real *A = reals(((size_t)M + pad) * ((size_t)K + pad), 1), *B = reals(((size_t)N + pad) * ((size_t)K + pad), 2), *C = reals(nc, 3), *was = reals(nc, 3);
                sy_gemm_job j = { .M = M, .N = N, .K = K, .A = A, .ars = columns ? 1 : (size_t)K + pad, .aks = columns ? (size_t)M + pad : 1,
                                  .B = B, .bks = rows ? (size_t)K + 1 : (size_t)N + 1, .rows = rows, .acc = acc, .bf16 = form & 8, .C = C, .ldc = ldc };
                sy_expect_ok(sy_gemm_all(&e, &j, 1, err));
                check(&j, was);
                for (int m = 0; m < M; m++) sy_expect_same("what lies between the rows", C + (size_t)m * ldc + N, was + (size_t)m * ldc + N, 3 * sizeof *C);
                assert_int_equal(sy_gemm_madds(&j, 1), (uint64_t)M * (uint64_t)N * (uint64_t)K);

                sy_real *one = reals(nc, 3);                                          /* row by row: the same bits */
                for (int m = 0; m < M; m++) {
                    sy_gemm_job r = j;
                    r.M = 1;
                    r.A += (size_t)m * j.ars;
                    r.C = one + (size_t)m * ldc;
                    sy_expect_ok(sy_gemm_all(&e, &r, 1, err));
                }
                sy_expect_same("row by row", one, C, nc * sizeof *C);
                if (rows) {                                                           /* and from panels that were packed before */
                    size_t wide = (size_t)((N + k->nr - 1) / k->nr) * (size_t)k->nr;
                    sy_real *panels = reals(wide * (size_t)K, 4), *packed = reals(nc, 3);
                    k->pack(N, K, B, j.bks, panels);
                    sy_gemm_job p = j;
                    p.panels = panels;
                    p.C = packed;
                    sy_expect_ok(sy_gemm_all(&e, &p, 1, err));
                    sy_expect_same("from panels", packed, C, nc * sizeof *C);
                    free(panels), free(packed);
                }
                free(A), free(B), free(C), free(was), free(one);
            }
        sy_engine_uninit(&e);
    }
}

/* One expert with nearly all rows, some with none: the list gives what each job gives alone, whatever the threads. */
static void skewed_lists(void **state)
{
    (void)state;
    enum { E = 9, N = 130, K = 48 };
    static const int rows[E] = { 0, 1, 700, 0, 3, 9, 0, 64, 2 };
    int total = 0;
    for (int i = 0; i < E; i++) total += rows[i];
    sy_real *A = reals((size_t)total * K, 1), *W = reals(E * N * K, 2), *want = reals((size_t)total * N, 3), *got = reals((size_t)total * N, 4);
    for (int threads = 1; threads <= 3; threads++) {
        sy_engine e;
        sy_expect_ok(sy_engine_init(&e, threads, NULL, NULL, err));
        sy_gemm_job j[E];
        for (int i = 0, at = 0; i < E; at += rows[i++])
            j[i] = (sy_gemm_job){ .M = rows[i], .N = N, .K = K, .A = A + (size_t)at * K, .ars = K, .aks = 1, .B = W + (size_t)i * N * K, .bks = K, .rows = true,
                                  .C = (threads == 1 ? want : got) + (size_t)at * N, .ldc = N };
        sy_test_case("%d threads", threads);
        if (threads == 1) for (int i = 0; i < E; i++) sy_expect_ok(sy_gemm_all(&e, &j[i], 1, err));
        else {
            sy_expect_ok(sy_gemm_all(&e, j, E, err));
            sy_expect_same("the list", got, want, (size_t)total * N * sizeof *got);
        }
        sy_engine_uninit(&e);
    }
    free(A), free(W), free(want), free(got);
}

static void no_memory_to_pack(void **state)
{
    (void)state;
    sy_engine e;
    sy_expect_ok(sy_engine_init(&e, 1, NULL, NULL, err));
    sy_real *A = reals(100 * 300, 1), *C = reals(100 * 100, 2);
    sy_gemm_job j = { .M = 100, .N = 100, .K = 300, .A = A, .ars = 300, .aks = 1, .B = A, .bks = 300, .rows = true, .C = C, .ldc = 100 };
    sy_err e1 = { 0 }, *err = &e1;
    static const char *const said[] = { "no memory for a list of 1 products", "no memory to pack a strip of weights" };
    for (int nth = 1; nth <= 2; nth++) {
        sy_alloc_fail_at(nth, 1);
        sy_status st = sy_gemm_all(&e, &j, 1, err);
        sy_alloc_fail_at(0, 0);
        sy_expect_fail(st, SY_ENOMEM, said[nth - 1]);
    }
    sy_expect_ok(sy_gemm_all(&e, &j, 1, err));
    uint64_t calls = sy_alloc_calls();
    sy_expect_ok(sy_gemm_all(&e, &j, 1, err));
    assert_int_equal(sy_alloc_calls(), calls);
    free(A), free(C);
    sy_engine_uninit(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_form), cmocka_unit_test(skewed_lists), cmocka_unit_test(no_memory_to_pack) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
