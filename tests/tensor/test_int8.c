/* float only */
/* tsan */
/* Products of stored weights with rows that a list rounds to eight bits: how far they are from the exact ones, the same bits for any rows, tiles, threads and
 * company, and lists that wait for each other.
 *
 * Oracles: exact products of the tape with the bound that rounding gives, sum of |w| d / 2; one row alone on one thread for the bits. */
#include "testing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/random.h"
#include "kernels/int8.h"
#include "tensor/ops.h"
#include "tensor/product.h"

static const sy_wtype rounded[] = { SY_W_Q8_0, SY_W_Q4_0, SY_W_IQ4_NL, SY_W_MXFP4, SY_W_Q4_K, SY_W_Q5_K, SY_W_Q6_K }, decoded[] = { SY_W_F16, SY_W_BF16, SY_W_Q5_1, SY_W_Q3_K, SY_W_IQ4_XS };

static sy_weight weight(sy_wtype type, int nd, const int *dim)
{
    sy_weight w = { .type = type, .nd = nd };
    size_t n = 1;
    for (int d = 0; d < nd; d++) n *= (size_t)(w.dim[d] = dim[d]);
    float *x = malloc(n * sizeof *x);
    uint64_t key = sy_key(sy_test_seed(), SY_FOR_TEST, (uint64_t)type, n, 0);
    assert_non_null(x);
    assert_non_null(w.data = malloc(type == SY_W_REAL ? n * sizeof *x : sy_wtype_bytes(type, n)));
    for (size_t i = 0; i < n; i++) x[i] = (float)(2 * sy_draw(key, i, 0) - 1);
    if (type == SY_W_REAL) memcpy(w.data, x, n * sizeof *x);
    else sy_wtype_write(type, x, NULL, n, w.data);
    free(x);
    return w;
}

static float *activations(size_t n, int what)
{
    float *x = malloc(n * sizeof *x);
    uint64_t key = sy_key(sy_test_seed(), SY_FOR_TEST, 77, (uint64_t)what, 0);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) x[i] = (float)((2 * sy_draw(key, i, 0) - 1) * exp2(3 * sy_draw(key, i / 16, 1)));
    return x;
}

static sy_gemm_job job_of(const sy_weight *w, int T, const float *x, float *y)
{
    size_t N = (size_t)w->dim[0], K = (size_t)w->dim[1];
    return (sy_gemm_job){ .M = T, .N = (int)N, .K = (int)K, .A = x, .ars = K, .aks = 1, .type = w->type, .B = w->data, .bks = K, .rows = true, .int8 = true, .C = y, .ldc = N };
}

/* What rounding may do to output (row, n), and what the sums of floats of the exact one may. */
static double bound(const sy_weight *w, int n, const float *x)
{
    int K = w->dim[1], group = sy_int8_group(w->type);
    double all = 0, size = 0;
    float real[768];
    sy_weight_read(w->type, w->data, (size_t)n * (size_t)K, (size_t)K, real);
    for (int g = 0; g < K; g += group) {
        double top = 0;
        for (int k = g; k < g + group; k++) top = fmax(top, fabs((double)x[k]));
        for (int k = g; k < g + group; k++) all += fabs((double)real[k]) * top / 127 / 2, size += fabs((double)real[k] * x[k]);
    }
    return 1.0001 * all + 1e-5 * size;
}

static void against_exact(void **state)
{
    enum { T = 5 };
    (void)state;
    const sy_kernels *k;
    for (int set = 0; (k = sy_kernels_at(set)); set++) {
        sy_engine e;
        sy_expect_ok(sy_engine_init(&e, 2, k->name, NULL, err));
        for (size_t i = 0; i < SY_COUNT(rounded); i++) {
            sy_weight w = weight(rounded[i], SY_DIM(70, 768));
            float *x = activations(T * 768, 1), y[2][T * 70];
            sy_gemm_job j = job_of(&w, T, x, y[0]), exact = job_of(&w, T, x, y[1]);
            double off = 0, allowed = 0;
            exact.int8 = false;
            sy_test_case("%s, %s", k->name, sy_wtype_name(w.type));
            assert_true(sy_gemm_rounds(&j) && !sy_gemm_rounds(&exact));
            sy_expect_ok(sy_gemm_all(&e, &j, 1, err));
            sy_expect_ok(sy_gemm_all(&e, &exact, 1, err));
            for (int t = 0; t < T; t++)
                for (int n = 0; n < 70; n++) {
                    double most = bound(&w, n, x + t * 768), d = fabs((double)y[0][t * 70 + n] - (double)y[1][t * 70 + n]);
                    if (!(d <= most)) fail_msg("row %d, output %d: %g is %g off, the bound is %g", t, n, (double)y[0][t * 70 + n], d, most);
                    off += d, allowed += most;
                }
            if (!(off > 0 && off < allowed / 4)) fail_msg("off by %g in all, of %g that are allowed: rounding is not what happened", off, allowed);
            free(x), free(w.data);
        }
        sy_engine_uninit(&e);
    }
}

/* Query, key and value on the same rows, experts whose rows follow each other, rows apart, a format of the other group, decoded and plain weights: each
 * output has the bits of its own row alone. */
static void lists(void **state)
{
    enum { K = 512, JOBS = 11, MOST = 700 };
    static const sy_wtype types[JOBS] = { SY_W_Q4_K, SY_W_Q8_0, SY_W_Q6_K, SY_W_F16, SY_W_REAL, SY_W_Q8_0, SY_W_MXFP4, SY_W_Q5_K, SY_W_Q4_0, SY_W_Q5_1, SY_W_IQ4_NL };
    static const int from[JOBS] = { 0, 0, 0, 0, 0, 3, 3, 40, 41, 2, 699 }, rows[JOBS] = { 3, 3, 3, 3, 3, 37, 600, 0, 1, 1, 1 };
    (void)state;
    const sy_kernels *k;
    float *x = activations(MOST * K, 2), *want[JOBS], *got[JOBS];
    sy_weight w[JOBS];
    for (int j = 0; j < JOBS; j++) {
        w[j] = weight(types[j], SY_DIM(j % 3 ? 150 : 33, K));
        want[j] = malloc((size_t)(rows[j] + 1) * 150 * sizeof(float)), got[j] = malloc((size_t)(rows[j] + 1) * 150 * sizeof(float));
        assert_true(want[j] && got[j]);
    }
    for (int set = 0; (k = sy_kernels_at(set)); set++)
        for (int threads = 1; threads <= 3; threads++) {
            sy_engine e;
            sy_gemm_job job[JOBS];
            sy_expect_ok(sy_engine_init(&e, threads, k->name, NULL, err));
            for (int j = 0; j < JOBS; j++) {
                size_t N = (size_t)w[j].dim[0];
                job[j] = job_of(&w[j], rows[j], x + from[j] * K, got[j]);
                for (int t = 0; threads == 1 && t < rows[j]; t++) {
                    sy_gemm_job one = job_of(&w[j], 1, x + (from[j] + t) * K, want[j] + (size_t)t * N);
                    sy_expect_ok(sy_gemm_all(&e, &one, 1, err));
                }
            }
            sy_expect_ok(sy_gemm_all(&e, job, JOBS, err));
            for (int j = 0; j < JOBS; j++) {
                sy_test_case("%s, %d threads, job %d: %s, %d rows", k->name, threads, j, sy_wtype_name(types[j]), rows[j]);
                sy_expect_same("outputs", got[j], want[j], (size_t)rows[j] * (size_t)w[j].dim[0] * sizeof(float));
            }
            sy_expect_ok(sy_gemm_all(&e, job, JOBS, err));
            uint64_t calls = sy_alloc_calls();                                   /* from the third time on nothing is allocated */
            sy_expect_ok(sy_gemm_all(&e, job, JOBS, err));
            if (threads == 1) assert_int_equal(sy_alloc_calls(), calls);           /* with more, who decodes a tile for the first time is not fixed */
            sy_engine_uninit(&e);
        }
    for (int j = 0; j < JOBS; j++) free(w[j].data), free(want[j]), free(got[j]);
    free(x);
}

/* What has no such products is exact with the switch on: other formats, the way back, columns that are no whole groups. */
static void exact_still(void **state)
{
    (void)state;
    sy_engine e;
    sy_expect_ok(sy_engine_init(&e, 2, NULL, NULL, err));
    for (size_t i = 0; i < SY_COUNT(decoded); i++) {
        sy_weight w = weight(decoded[i], SY_DIM(33, 512));
        float *x = activations(512, 3), y[2][33];
        sy_test_case("%s", sy_wtype_name(w.type));
        for (int on = 0; on < 2; on++) {
            sy_gemm_job j = job_of(&w, 1, x, y[on]);
            j.int8 = on;
            assert_false(sy_gemm_rounds(&j));
            sy_expect_ok(sy_gemm_all(&e, &j, 1, err));
        }
        sy_expect_same("y", y[0], y[1], sizeof y[0]);
        free(x), free(w.data);
    }
    sy_engine_uninit(&e);
}

static void no_memory(void **state)
{
    (void)state;
    sy_engine e;
    sy_err told = { 0 }, *err = &told;
    sy_weight w = weight(SY_W_Q4_K, SY_DIM(64, 512));
    float *x = activations(4000 * 512, 4), *y = malloc(4000 * 64 * sizeof *y);
    sy_gemm_job j = job_of(&w, 4000, x, y);
    sy_expect_ok(sy_engine_init(&e, 2, NULL, NULL, err));
    int failed = 0;
    for (uint64_t n = 1; n < 20; n++, failed++) {
        sy_alloc_fail_at(n, 0);
        sy_status st = sy_gemm_all(&e, &j, 1, err);
        sy_alloc_fail_at(0, 0);
        if (st == SY_OK) break;
        sy_expect_fail(st, SY_ENOMEM, "no memory for a list of 1 products");
        sy_arena_free(&e.list);
    }
    assert_true(failed >= 2);                                    /* the list, and the rows */
    free(x), free(y), free(w.data);
    sy_engine_uninit(&e);
}

/* ---- on the tape ---- */

static sy_tensor *input(sy_tape *t, int T, int K)
{
    sy_tensor *x = sy_new(t, SY_DIM(T, K));
    float *v = activations((size_t)T * (size_t)K, 5);
    memcpy(x->x, v, (size_t)T * (size_t)K * sizeof *v);
    free(v);
    x->wants = true;
    return x;
}

/* The engine's setting reaches tapes that record nothing; sy_tape_exact switches it off for a while. */
static void switches(void **state)
{
    (void)state;
    sy_engine e;
    sy_tape t;
    float y[4][66];
    sy_expect_ok(sy_engine_init(&e, 2, NULL, NULL, err));
    sy_weight w = weight(SY_W_Q4_0, SY_DIM(33, 256));
    for (int i = 0; i < 4; i++) {                                /* exact; eight bits; recorded; switched off */
        e.int8 = i > 0;
        sy_tape_init(&t, &e, i == 2);
        assert_true(t.int8 == (i == 1 || i == 3));
        sy_rounding was = i == 3 ? sy_tape_exact(&t) : (sy_rounding){ 0 };
        sy_tensor *a = sy_linear(&t, input(&t, 2, 256), &w, NULL);
        if (i == 3) sy_tape_rounds(&t, was);
        assert_true(t.int8 == (i == 1 || i == 3));
        sy_expect_ok(sy_tape_status(&t, err));
        memcpy(y[i], a->x, sizeof y[i]);
        sy_tape_free(&t);
    }
    assert_true(memcmp(y[0], y[1], sizeof y[0]) != 0);
    sy_expect_same("recorded", y[2], y[0], sizeof y[0]);
    sy_expect_same("switched off", y[3], y[0], sizeof y[0]);
    free(w.data);
    sy_engine_uninit(&e);
}

/* Products that wait for each other give what they give one by one: dense ones with a bias, grouped ones, masters and their gradients, with the check for NaN. */
static void held(void **state)
{
    static const int first[] = { 0, 2, 2, 9, 12 };
    (void)state;
    sy_engine e;
    sy_expect_ok(sy_engine_init(&e, 2, NULL, NULL, err));
    for (int kind = 0; kind < 4; kind++) {                       /* bits: recorded, check_nan */
        sy_tape t[2];
        sy_weight q = weight(SY_W_Q4_K, SY_DIM(40, 256)), k = weight(SY_W_Q8_0, SY_DIM(20, 256)), m = weight(SY_W_REAL, SY_DIM(30, 256)), x = weight(SY_W_MXFP4, SY_DIM(4, 24, 256));
        float *dm[2] = { calloc(30 * 256, sizeof(float)), calloc(30 * 256, sizeof(float)) };
        sy_tensor *y[2][4], *in[2];
        sy_test_case("kind %d", kind);
        e.int8 = true;
        e.check_nan = kind & 2;
        for (int wait = 0; wait < 2; wait++) {
            sy_tape_init(&t[wait], &e, kind & 1);
            in[wait] = input(&t[wait], 12, 256);
            sy_tensor *bias = sy_new(&t[wait], SY_DIM(20));
            for (int i = 0; i < 20; i++) bias->x[i] = (sy_real)i;
            m.dx = kind & 1 ? dm[wait] : NULL;
            if (wait) sy_hold(&t[wait]);
            y[wait][0] = sy_linear(&t[wait], in[wait], &q, NULL);
            y[wait][1] = sy_linear(&t[wait], in[wait], &k, bias);
            y[wait][2] = sy_linear(&t[wait], in[wait], &m, NULL);
            y[wait][3] = sy_grouped(&t[wait], in[wait], &x, first);
            if (wait) sy_go(&t[wait]);
            sy_expect_ok(sy_tape_status(&t[wait], err));
            assert_null(t[wait].held);
        }
        assert_int_equal(t[0].madds, t[1].madds);
        for (int i = 0; i < 4; i++) sy_expect_same("y", y[1][i]->x, y[0][i]->x, sy_numel(y[0][i]) * sizeof(sy_real));
        for (int wait = 0; kind & 1 && wait < 2; wait++) {
            m.dx = dm[wait];
            sy_expect_ok(sy_backward_from(&t[wait], y[wait][2], y[0][2]->x, err));
        }
        if (kind & 1) {
            sy_expect_same("dx", in[1]->dx, in[0]->dx, 12 * 256 * sizeof(sy_real));
            sy_expect_same("dw", dm[1], dm[0], 30 * 256 * sizeof(sy_real));
        }
        for (int i = 0; i < 2; i++) sy_tape_free(&t[i]), free(dm[i]);
        free(q.data), free(k.data), free(m.data), free(x.data);
    }
    sy_engine_uninit(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_exact), cmocka_unit_test(lists), cmocka_unit_test(exact_still), cmocka_unit_test(no_memory), cmocka_unit_test(switches), cmocka_unit_test(held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
