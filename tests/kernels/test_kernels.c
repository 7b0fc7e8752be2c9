/* tests/kernels/test_kernels.c - every kernel set against slow sums in double and libm in double; equal bits where they are promised.
 *
 * Oracles: the same formula in double (long double for exp); within a set, another path to the same output. Tolerances follow from
 * the number of terms: a chain of K products is within (K + 2) eps sum |a b| of the exact sum. */
#include "testing.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/half.h"
#include "kernels/kernels.h"

#ifdef SY_DOUBLE
#define EPS DBL_EPSILON
#define TINY DBL_MIN
#define HUGEST DBL_MAX
#else
#define EPS FLT_EPSILON
#define TINY FLT_MIN
#define HUGEST FLT_MAX
#endif
#define GUARD ((sy_real)-12345)
#define EACH_SET(k) const sy_kernels *k; for (int set_ = 0; (k = sy_kernels_at(set_)); set_++)     /* once a block */

static uint64_t state;
static double draw(void)                                            /* uniform in -1..1 */
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(int64_t)state / 9223372036854775808.0;
}
static void fill(sy_real *x, size_t n, double size) { for (size_t i = 0; i < n; i++) x[i] = (sy_real)(size * draw()); }
static sy_real *space(size_t n)                                     /* room at an odd address of a real */
{
    sy_real *p = malloc((n + 1) * sizeof *p);
    assert_non_null(p);
    return p;
}

/* ---- products ---- */

static void product_case(const sy_kernels *k, int M, int N, int K, bool acc)
{
    size_t ars = (size_t)K + 3, ldw = (size_t)K + 5, ldc = (size_t)N + 2, lda = (size_t)M + 1, ldb = (size_t)N + 3;
    size_t np = (size_t)((N + k->nr - 1) / k->nr) * (size_t)k->nr;
    sy_real *A = space((size_t)M * ars), *At = space((size_t)(K + 1) * lda), *W = space((size_t)N * ldw), *Wt = space((size_t)(K + 1) * ldb);
    sy_real *panels = space(np * (size_t)K + 1), *C0 = space((size_t)M * ldc), *C = space((size_t)M * ldc), *first = space((size_t)M * ldc);
    sy_real *want = space((size_t)M * (size_t)N);
    double *bound = malloc((size_t)M * (size_t)N * sizeof *bound);
    fill(A, (size_t)M * ars, 1);
    fill(W, (size_t)N * ldw, 1);
    for (int i = 0; i < K; i++) {
        for (int m = 0; m < M; m++) At[(size_t)i * lda + m] = A[(size_t)m * ars + i];
        for (int n = 0; n < N; n++) Wt[(size_t)i * ldb + n] = W[(size_t)n * ldw + i];
    }
    for (size_t i = 0; i < (size_t)M * ldc; i++) C0[i] = i % ldc < (size_t)N ? (acc ? (sy_real)draw() : (sy_real)NAN) : GUARD;
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++) {
            double c = acc ? (double)C0[(size_t)m * ldc + n] : 0, b = fabs(c);
            for (int i = 0; i < K; i++) {
                double p = (double)A[(size_t)m * ars + i] * (double)W[(size_t)n * ldw + i];
                c += p;
                b += fabs(p);
            }
            want[(size_t)m * N + n] = (sy_real)c;
            bound[(size_t)m * N + n] = (K + 2) * EPS * b;
        }
    enum { PANELS, ROWS, IN_PLACE, COLUMNS, STRIDES, PANELS_ONE, ROWS_ONE, IN_PLACE_ONE, COLUMNS_ONE, PATHS };
    static const char *const path_name[] = { "panels", "rows", "B in place", "A by columns", "A by strides", "panels, a row at a time", "rows, a row at a time",
                                             "B in place, a row at a time", "A by columns, a row at a time" };
    k->pack(N, K, W, ldw, panels);
    for (int path = 0; path < PATHS; path++) {
        sy_test_case("%s: %s M=%d N=%d K=%d acc=%d", k->name, path_name[path], M, N, K, acc);
        memcpy(C, C0, (size_t)M * ldc * sizeof *C);
        int step = path >= PANELS_ONE ? 1 : M;
        for (int m = 0; m < M; m += step) {
            const sy_real *a = A + (size_t)m * ars;
            sy_real *c = C + (size_t)m * ldc;
            switch (path) {
            case PANELS: case PANELS_ONE:     k->gemm_panels(step, N, K, a, ars, panels, c, ldc, acc); break;
            case ROWS: case ROWS_ONE:         k->gemm_rows(step, N, K, a, ars, W, ldw, c, ldc, acc); break;
            case IN_PLACE: case IN_PLACE_ONE: k->gemm(step, N, K, a, ars, 1, Wt, ldb, c, ldc, acc); break;
            case COLUMNS: case COLUMNS_ONE:   k->gemm(step, N, K, At + m, 1, lda, Wt, ldb, c, ldc, acc); break;
            case STRIDES: {                                         /* the same numbers, three apart in both directions */
                sy_real *far = space((size_t)M * ((size_t)K + 1) * 9);
                for (int r = 0; r < M; r++) for (int i = 0; i < K; i++) far[(size_t)r * 3 + (size_t)i * 3 * (size_t)M] = A[(size_t)r * ars + i];
                k->gemm(M, N, K, far, 3, 3 * (size_t)M, Wt, ldb, c, ldc, acc);
                free(far);
            } break;
            }
        }
        for (int m = 0; m < M; m++)
            for (size_t n = 0; n < ldc; n++) {
                sy_real got = C[(size_t)m * ldc + n];
                if (n >= (size_t)N) { if (got != GUARD) fail_msg("row %d: column %zu past the end was written", m, n); continue; }
                double w = (double)want[(size_t)m * N + n];
                if (!(fabs((double)got - w) <= bound[(size_t)m * N + n])) sy_expect_near("C", (double)got, w, bound[(size_t)m * N + n], 0);
            }
        if (path == 0) memcpy(first, C, (size_t)M * ldc * sizeof *C);
        else for (int m = 0; m < M; m++) sy_expect_same("row of C", C + (size_t)m * ldc, first + (size_t)m * ldc, (size_t)N * sizeof *C);
    }
    free(A); free(At); free(W); free(Wt); free(panels); free(C0); free(C); free(first); free(want); free(bound);
}

static void test_products(void **arg)
{
    (void)arg;
    static const int Ns[] = { 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 70 }, Ks[] = { 0, 1, 7, 16, 64, 257 };
    EACH_SET(k) {
        state = sy_test_seed();
        for (int M = 1; M <= 17; M++)
            for (size_t n = 0; n < SY_COUNT(Ns); n++)
                for (size_t i = 0; i < SY_COUNT(Ks); i++) product_case(k, M, Ns[n], Ks[i], (M + (int)(n + i)) % 2);
    }
}

static void test_large_products(void **arg)                         /* past every block size: rows, columns, K */
{
    (void)arg;
    static const struct { int M, N, K; } cases[] = { { 23, 70, 600 }, { 24, 129, 513 }, { 37, 70, 600 }, { 37, 130, 257 }, { 97, 33, 256 }, { 129, 65, 300 }, { 200, 40, 260 }, { 530, 35, 258 } };
    EACH_SET(k)
        for (size_t i = 0; i < SY_COUNT(cases); i++)
            for (int acc = 0; acc < 2; acc++) {
                state = sy_test_seed() + i;
                product_case(k, cases[i].M, cases[i].N, cases[i].K, acc);
            }
}

static void test_products_spread_nan_and_inf(void **arg)
{
    (void)arg;
    enum { M = 9, N = 35, K = 20 };
    EACH_SET(k) {
        sy_real A[M * K], W[N * K], Wt[K * N], panels[64 * K], C[M * N];
        for (int at = 0; at < K; at += 19)
            for (int path = 0; path < 3; path++) {
                sy_test_case("%s: path %d, NaN at k=%d", k->name, path, at);
                for (int i = 0; i < M * K; i++) A[i] = 1;
                for (int i = 0; i < N * K; i++) W[i] = 1;
                A[2 * K + at] = (sy_real)NAN;
                W[5 * K + at] = (sy_real)INFINITY;
                for (int n = 0; n < N; n++) for (int i = 0; i < K; i++) Wt[i * N + n] = W[n * K + i];
                k->pack(N, K, W, K, panels);
                if (path == 0) k->gemm_panels(M, N, K, A, K, panels, C, N, false);
                if (path == 1) k->gemm_rows(M, N, K, A, K, W, K, C, N, false);
                if (path == 2) k->gemm(M, N, K, A, K, 1, Wt, N, C, N, false);
                for (int m = 0; m < M; m++)
                    for (int n = 0; n < N; n++) {
                        sy_real c = C[m * N + n];
                        bool right = m == 2 ? isnan(c) : n == 5 ? isinf(c) && c > 0 : c == K;
                        if (!right) fail_msg("C[%d,%d] = %g", m, n, (double)c);
                    }
            }
    }
}

/* ---- products in bfloat16: exact sums of the rounded operands, within the error of one float chain ---- */

static double rounded(double x) { return (double)sy_bf16_to(sy_bf16_of((float)x)); }

static void product16_case(const sy_kernels *k, int M, int N, int K, bool acc, void *work)
{
    size_t ars = (size_t)K + 3, aks = (size_t)M + 1, bns = (size_t)K + 5, bks = (size_t)N + 3, ldc = (size_t)N + 2;
    sy_real *A = space((size_t)M * ars), *At = space((size_t)(K + 1) * aks), *W = space((size_t)N * bns), *Wt = space((size_t)(K + 1) * bks);
    sy_real *C0 = space((size_t)M * ldc), *C = space((size_t)M * ldc), *first = space((size_t)M * ldc);
    fill(A, (size_t)M * ars, 1);
    fill(W, (size_t)N * bns, 1);
    for (int i = 0; i < K; i++) {
        for (int m = 0; m < M; m++) At[(size_t)i * aks + m] = A[(size_t)m * ars + i];
        for (int n = 0; n < N; n++) Wt[(size_t)i * bks + n] = W[(size_t)n * bns + i];
    }
    for (size_t i = 0; i < (size_t)M * ldc; i++) C0[i] = i % ldc < (size_t)N ? (acc ? (sy_real)draw() : (sy_real)NAN) : GUARD;
    for (int path = 0; path < 8; path++) {                          /* A and B lying or by columns, at once or a row at a time */
        bool columns = path & 1, whole = path & 2, one = path & 4;
        int step = one ? 1 : M;
        sy_test_case("%s: bfloat16, A %s, B %s%s, M=%d N=%d K=%d acc=%d", k->name, columns ? "by columns" : "by rows", whole ? "as it lies" : "by rows", one ? ", a row at a time" : "", M, N, K, acc);
        memcpy(C, C0, (size_t)M * ldc * sizeof *C);
        for (int m = 0; m < M; m += step)
            sy_gemm16(k, step, N, K, columns ? At + m : A + (size_t)m * ars, columns ? 1 : ars, columns ? aks : 1, whole ? Wt : W, whole ? bks : 1, whole ? 1 : bns, C + (size_t)m * ldc, ldc, acc, work);
        for (int m = 0; m < M && path == 0; m++)
            for (int n = 0; n < N; n++) {
                double c = acc ? (double)C0[(size_t)m * ldc + n] : 0, b = fabs(c);
                for (int i = 0; i < K; i++) {
                    double p = rounded((double)A[(size_t)m * ars + i]) * rounded((double)W[(size_t)n * bns + i]);
                    c += p;
                    b += fabs(p);
                }
                sy_expect_near("C", (double)C[(size_t)m * ldc + n], c, (K + 2) * EPS * b, 0);
            }
        for (int m = 0; m < M; m++)
            for (size_t n = (size_t)N; n < ldc; n++) if (C[(size_t)m * ldc + n] != GUARD) fail_msg("row %d: column %zu past the end was written", m, n);
        if (path == 0) memcpy(first, C, (size_t)M * ldc * sizeof *C);
        else for (int m = 0; m < M; m++) sy_expect_same("row of C", C + (size_t)m * ldc, first + (size_t)m * ldc, (size_t)N * sizeof *C);
    }
    free(A); free(At); free(W); free(Wt); free(C0); free(C); free(first);
}

static void test_bfloat16_products(void **arg)
{
    (void)arg;
    static const int Ms[] = { 1, 2, 15, 16, 17, 31, 32, 33, 47 }, Ns[] = { 1, 15, 16, 17, 32, 33, 63 }, Ks[] = { 0, 1, 2, 31, 32, 33, 95 };
    static const struct { int M, N, K; } large[] = { { 129, 33, 513 }, { 40, 520, 70 }, { 5, 513, 1030 }, { 257, 96, 512 } };       /* past every block size */
    void *work = aligned_alloc(64, SY_GEMM16_WORK);
    assert_non_null(work);
    EACH_SET(k) {
        state = sy_test_seed();
        for (size_t m = 0; m < SY_COUNT(Ms); m++)
            for (size_t n = 0; n < SY_COUNT(Ns); n++)
                for (size_t i = 0; i < SY_COUNT(Ks); i++) product16_case(k, Ms[m], Ns[n], Ks[i], (m + n + i) % 2, work);
        for (size_t i = 0; i < 2 * SY_COUNT(large); i++) product16_case(k, large[i / 2].M, large[i / 2].N, large[i / 2].K, i % 2, work);
    }
    free(work);
}

static void test_bfloat16_spreads_nan_and_inf(void **arg)
{
    (void)arg;
    enum { M = 19, N = 35, K = 40 };
    void *work = aligned_alloc(64, SY_GEMM16_WORK);
    assert_non_null(work);
    EACH_SET(k) for (int at = 0; at < K; at += 13) {
        sy_real A[M * K], W[N * K], C[M * N];
        for (int i = 0; i < M * K; i++) A[i] = 1;
        for (int i = 0; i < N * K; i++) W[i] = 1;
        A[2 * K + at] = (sy_real)NAN;
        W[5 * K + at] = (sy_real)INFINITY;
        sy_gemm16(k, M, N, K, A, K, 1, W, 1, K, C, N, false, work);
        for (int m = 0; m < M; m++)
            for (int n = 0; n < N; n++) {
                sy_real c = C[m * N + n];
                if (m == 2 ? !isnan(c) : n == 5 ? !(isinf(c) && c > 0) : c != K) fail_msg("%s: C[%d,%d] = %g", k->name, m, n, (double)c);
            }
    }
    free(work);
}

/* ---- functions of one value ---- */

static double act_want(sy_act a, double x)
{
    switch (a) {
    case SY_ACT_SILU:      return x / (1 + exp(-x));
    case SY_ACT_GELU:      return x / 2 * erfc(-x * M_SQRT1_2);
    case SY_ACT_GELU_TANH: return x / 2 * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case SY_ACT_RELU:      return x > 0 ? x : 0;
    case SY_ACT_RELU2:     return x > 0 ? x * x : 0;
    case SY_ACT_SIGMOID:   return 1 / (1 + exp(-x));
    case SY_ACT_TANH:      return tanh(x);
    case SY_ACTS:          break;
    }
    return NAN;
}

static double act_slope_want(sy_act a, double x)                    /* central differences of the above, except where they are exact */
{
    if (a == SY_ACT_RELU) return x > 0;
    if (a == SY_ACT_RELU2) return x > 0 ? 2 * x : 0;
    double h = 1e-5 * (1 + fabs(x));
    return (8 * (act_want(a, x + h) - act_want(a, x - h)) - (act_want(a, x + 2 * h) - act_want(a, x - 2 * h))) / (12 * h);
}

static void test_exp(void **arg)
{
    (void)arg;
    enum { N = 1 << 16 };
    sy_real *x = space(N), *y = space(N);
    double low = log(TINY), high = log(HUGEST);
    EACH_SET(k) {
        sy_test_case("%s: exp", k->name);
        double worst = 0, at = 0;
        for (int round = 0; round < 2; round++) {
            for (int i = 0; i < N; i++) x[i] = (sy_real)(round == 0 ? low + (high - low) * (i + 0.5) / N : 2.0 * i / N - 1);
            k->exp(N, x, y);
            for (int i = 0; i < N; i++) {
                long double w = expl((long double)x[i]);
                double ulp = (double)(fabsl((long double)y[i] - w) / w) / EPS;      /* relative; an ulp is half to one EPS */
                if (!(ulp <= worst)) { worst = ulp; at = (double)x[i]; }
            }
        }
        if (!(worst <= 1.0)) fail_msg("%s: exp is %g eps off at %.9g", k->name, worst, at);
        static const sy_real special[] = { 0, -0.0f, 1e-30f, -1e-30f, 89, 1000, 3e38f, -150, -1000, -3e38f };
        for (size_t i = 0; i < SY_COUNT(special); i++) {
            sy_real got;
            k->exp(1, &special[i], &got);
            sy_real w = (sy_real)exp((double)special[i]);
            if (!(got == w || fabs((double)(got - w)) <= (double)w * EPS || (w < (sy_real)TINY && got == 0))) fail_msg("exp(%g) = %g, want %g", (double)special[i], (double)got, (double)w);
        }
        sy_real in[3] = { (sy_real)INFINITY, -(sy_real)INFINITY, (sy_real)NAN }, out[3];
        k->exp(3, in, out);
        assert_true(isinf(out[0]) && out[0] > 0 && out[1] == 0 && isnan(out[2]));
        /* never rising then falling by more than its error, across the join with zero */
        sy_real edge = (sy_real)(low * 1.0001), got;
        k->exp(1, &edge, &got);
        assert_true(got >= 0 && got <= (sy_real)(2 * TINY));
    }
    free(x); free(y);
}

static void test_activations(void **arg)
{
    (void)arg;
    enum { N = 20011 };
    sy_real *x = space(N), *y = space(N), *d = space(N), *one = space(N);
    EACH_SET(k)
        for (int a = 0; a < SY_ACTS; a++) {
            sy_test_case("%s: activation %d", k->name, a);
            for (int i = 0; i < N; i++) { x[i] = (sy_real)(24.0 * i / N - 12 + 1e-4); one[i] = 1; d[i] = 0; }
            k->act((sy_act)a, N, x, y);
            k->act_b((sy_act)a, N, x, one, d);
            for (int i = 0; i < N; i++) {
                double v = (double)x[i], w = act_want((sy_act)a, v), s = act_slope_want((sy_act)a, v);
                /* 1 + erf and 1 + tanh lose what is below eps of 1 */
                sy_expect_near("value", (double)y[i], w, (a == SY_ACT_GELU || a == SY_ACT_GELU_TANH ? 2 * EPS * fabs(v) : 0) + 1e-30, 4 * EPS * (a == SY_ACT_GELU_TANH ? 4 : 1));
                sy_expect_near("slope", (double)d[i], s, 8 * EPS * (1 + fabs(v)) + 1e-9, 8 * EPS);
            }
            static const double big[] = { 1e3, -1e3, 1e18, -1e18 };
            for (size_t i = 0; i < SY_COUNT(big); i++) {
                sy_real v = (sy_real)big[i], f, s = 0, u = 1;
                if (a == SY_ACT_RELU2) continue;
                k->act((sy_act)a, 1, &v, &f);
                k->act_b((sy_act)a, 1, &v, &u, &s);
                double w = a == SY_ACT_SIGMOID ? v > 0 : a == SY_ACT_TANH ? (v > 0 ? 1 : -1) : v > 0 ? (double)v : 0;
                double ws = a == SY_ACT_SIGMOID || a == SY_ACT_TANH ? 0 : v > 0;
                sy_expect_near("far value", (double)f, w, 1e-6, EPS);
                sy_expect_near("far slope", (double)s, ws, 1e-6, EPS);
            }
            sy_real nan = (sy_real)NAN, f, s = 0, u = 1;
            k->act((sy_act)a, 1, &nan, &f);
            k->act_b((sy_act)a, 1, &nan, &u, &s);
            assert_true(isnan(f) && isnan(s));
        }
    free(x); free(y); free(d); free(one);
}

/* Equal values give equal bits in any lane, tail and alignment; nothing past the end is written. */
static void test_lanes_do_not_matter(void **arg)
{
    (void)arg;
    enum { MOST = 70, ROOM = MOST + 8 };
    EACH_SET(k)
        for (int op = 0; op < 1 + 4 * SY_ACTS; op++)
            for (size_t n = 0; n <= MOST; n++) {
                sy_real x[ROOM], u[ROOM], y[ROOM], z[ROOM], one_y, one_z;
                size_t off = n % 5;
                sy_real v = (sy_real)(0.37 + 0.11 * op), w = (sy_real)1.7;
                for (int i = 0; i < ROOM; i++) { x[i] = v; u[i] = w; y[i] = z[i] = GUARD; }
                sy_act a = (sy_act)((op - 1) / 4);
                sy_test_case("%s: op %d n=%zu", k->name, op, n);
                for (size_t i = 0; i < n; i++) y[off + i] = z[off + i] = 1;
                one_y = one_z = 1;
                if (op == 0) { k->exp(n, x + off, y + off); k->exp(1, &v, &one_y); }
                else switch ((op - 1) % 4) {
                case 0: k->act(a, n, x + off, y + off); k->act(a, 1, &v, &one_y); break;
                case 1: k->act_b(a, n, x + off, u + off, y + off); k->act_b(a, 1, &v, &w, &one_y); break;
                case 2: k->glu(a, n, x + off, u + off, y + off); k->glu(a, 1, &v, &w, &one_y); break;
                case 3: k->glu_b(a, n, x + off, u + off, u + off, y + off, z + off); k->glu_b(a, 1, &v, &w, &w, &one_y, &one_z); break;
                }
                for (size_t i = 0; i < ROOM; i++) {
                    bool in = i >= off && i < off + n;
                    sy_expect_same("value", &y[i], in ? &one_y : &(sy_real){ GUARD }, sizeof one_y);
                    sy_expect_same("second value", &z[i], in ? &one_z : &(sy_real){ GUARD }, sizeof one_z);
                }
            }
}

static void test_elements(void **arg)
{
    (void)arg;
    enum { MOST = 150 };
    EACH_SET(k)
        for (size_t n = 0; n <= MOST; n++) {
            sy_real a[MOST + 4], b[MOST + 4], y[MOST + 4], w[MOST];
            size_t off = n % 3;
            state = sy_test_seed() + n;
            fill(a, MOST + 4, 2); fill(b, MOST + 4, 2);
            const sy_real *p = a + off, *q = b + off;
            sy_real s = (sy_real)1.3;
            for (int op = 0; op < 5; op++) {
                sy_test_case("%s: op %d n=%zu", k->name, op, n);
                for (size_t i = 0; i < MOST + 4; i++) y[i] = (sy_real)0.5;
                switch (op) {
                case 0: k->add(n, p, q, y + 1);    for (size_t i = 0; i < n; i++) w[i] = p[i] + q[i]; break;
                case 1: k->mul(n, p, q, y + 1);    for (size_t i = 0; i < n; i++) w[i] = p[i] * q[i]; break;
                case 2: k->muladd(n, p, q, y + 1); for (size_t i = 0; i < n; i++) w[i] = (sy_real)(0.5 + (double)p[i] * (double)q[i]); break;
                case 3: k->axpy(n, s, p, y + 1);   for (size_t i = 0; i < n; i++) w[i] = (sy_real)(0.5 + (double)s * (double)p[i]); break;
                case 4: k->scale(n, s, p, y + 1);  for (size_t i = 0; i < n; i++) w[i] = s * p[i]; break;
                }
                sy_expect_close("y", y + 1, w, n, 4 * EPS, EPS);
                assert_true(y[0] == (sy_real)0.5 && y[n + 1] == (sy_real)0.5);
            }
            sy_test_case("%s: glu n=%zu", k->name, n);                  /* in place, against its parts */
            sy_real f[MOST], d[MOST], dg[MOST], du[MOST], one[MOST];
            for (size_t i = 0; i < n; i++) { one[i] = 1; d[i] = 0; dg[i] = p[i]; du[i] = q[i]; }
            k->act(SY_ACT_SILU, n, p, f);
            k->act_b(SY_ACT_SILU, n, p, one, d);
            k->glu_b(SY_ACT_SILU, n, dg, du, a + 2, dg, du);
            for (size_t i = 0; i < n; i++) { w[i] = a[2 + i] * f[i]; d[i] = a[2 + i] * q[i] * d[i]; }
            sy_expect_close("du", du, w, n, 0, 2 * EPS);
            sy_expect_close("dg", dg, d, n, 4 * EPS, 8 * EPS);
        }
}

/* ---- along a row ---- */

static void test_rows(void **arg)
{
    (void)arg;
    enum { MOST = 1100 };
    static const int ns[] = { 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 79, 80, 96, 112, 127, 128, 130, 257, 1000, 1029 };
    sy_real *a = space(MOST), *b = space(MOST), *c = space(MOST), *y = space(MOST), *dx = space(MOST), *dw = space(MOST), *want = space(MOST), *moved = space(MOST);
    EACH_SET(k)
        for (size_t t = 0; t < SY_COUNT(ns); t++) {
            int n = ns[t];
            size_t N = (size_t)n;
            state = sy_test_seed() + t;
            fill(a, MOST, 3); fill(b, MOST, 3); fill(c, MOST, 3);
            sy_test_case("%s: row of %d", k->name, n);
            double dot = 0, sum = 0, sq = 0, top = (double)a[0], adot = 0, asum = 0;
            for (int i = 0; i < n; i++) {
                double u = (double)a[i], v = (double)b[i];
                dot += u * v; adot += fabs(u * v); sum += u; asum += fabs(u); sq += u * u;
                if (u > top) top = u;
            }
            sy_expect_near("dot", (double)k->dot(N, a, b), dot, (n + 2) * EPS * adot, 0);
            sy_expect_near("sum", (double)k->sum(N, a), sum, n * EPS * asum, 0);
            sy_expect_near("sumsq", k->sumsq(N, a), sq, 0, n * DBL_EPSILON);
            assert_true((double)k->max(N, a) == top);
            for (size_t off = 1; off < 4; off++) {                      /* alignment changes no bit */
                memcpy(moved + off, a, N * sizeof *a);
                sy_real s1 = k->sum(N, a), s2 = k->sum(N, moved + off), d1 = k->dot(N, a, b), d2 = k->dot(N, moved + off, b);
                double q1 = k->sumsq(N, a), q2 = k->sumsq(N, moved + off);
                sy_expect_same("sum", &s2, &s1, sizeof s1);
                sy_expect_same("dot", &d2, &d1, sizeof d1);
                sy_expect_same("sumsq", &q2, &q1, sizeof q1);
            }
            double tol = (n + 8) * EPS;

            double z = 0, zy = 0;
            for (int i = 0; i < n; i++) z += exp((double)a[i] - top);
            for (int i = 0; i < n; i++) want[i] = (sy_real)(exp((double)a[i] - top) / z);
            y[n] = GUARD;
            k->softmax(n, a, y);
            assert_true(y[n] == GUARD);
            sy_expect_close("softmax", y, want, N, 1e-30, tol + 8 * EPS);
            memcpy(moved + 1, a, N * sizeof *a);
            k->softmax(n, moved + 1, moved + 1);
            sy_expect_same("softmax in place", moved + 1, y, N * sizeof *y);
            for (int i = 0; i < n; i++) zy += (double)y[i] * (double)b[i];
            for (int i = 0; i < n; i++) { dx[i] = c[i]; want[i] = (sy_real)((double)c[i] + (double)y[i] * ((double)b[i] - zy)); }
            k->softmax_b(n, y, b, dx);
            sy_expect_close("softmax_b", dx, want, N, 8 * tol, 4 * EPS);

            for (int with_w = 0; with_w < 2; with_w++) {
                sy_real rinv;
                double r = 1 / sqrt(sq / n + 1e-5), along = 0;
                k->rmsnorm(n, 1e-5, a, with_w ? b : NULL, y, &rinv);
                for (int i = 0; i < n; i++) want[i] = (sy_real)((double)a[i] * r * (with_w ? (double)b[i] : 1));
                sy_expect_near("rinv", (double)rinv, r, 0, tol);
                sy_expect_close("rmsnorm", y, want, N, 0, tol + 4 * EPS);
                for (int i = 0; i < n; i++) along += (with_w ? (double)b[i] : 1) * (double)c[i] * (double)a[i];
                for (int i = 0; i < n; i++) { dx[i] = dw[i] = 1; want[i] = (sy_real)(1 + ((with_w ? (double)b[i] : 1) * (double)c[i] - (double)a[i] * along * r * r / n) * r); }
                k->rmsnorm_b(n, a, with_w ? b : NULL, rinv, c, dx, dw);
                sy_expect_close("rmsnorm_b dx", dx, want, N, 40 * tol, 4 * tol);
                for (int i = 0; i < n; i++) want[i] = (sy_real)(1 + (double)c[i] * (double)a[i] * r);
                sy_expect_close("rmsnorm_b dw", dw, want, N, 10 * tol, tol);
                k->rmsnorm_b(n, a, with_w ? b : NULL, rinv, c, dx, NULL);
            }

            memcpy(y, a, N * sizeof *a);
            sy_real lse = k->xent_row(n, y, false);
            sy_expect_same("logits", y, a, N * sizeof *a);
            sy_expect_near("log-sum-exp", (double)lse, top + log(z), tol, 4 * EPS);
            sy_real lse2 = k->xent_row(n, y, true);
            sy_expect_same("log-sum-exp", &lse2, &lse, sizeof lse);
            for (int i = 0; i < n; i++) want[i] = (sy_real)(exp((double)a[i] - top) / z);
            sy_expect_close("p", y, want, N, 1e-30, tol + 8 * EPS);

            int half = n / 2;
            for (int i = 0; i < half; i++) {
                want[i] = (sy_real)((double)a[i] * (double)b[i] - (double)a[i + half] * (double)c[i]);
                want[i + half] = (sy_real)((double)a[i + half] * (double)b[i] + (double)a[i] * (double)c[i]);
            }
            memcpy(y, a, N * sizeof *a);
            k->rope(half, b, c, y, y);
            sy_expect_close("rope", y, want, 2 * (size_t)half, 32 * EPS, 0);

            for (int at = 0; at < n; at += n / 7 + 1) {                 /* NaN shows wherever it stands */
                memcpy(y, a, N * sizeof *a);
                y[at] = (sy_real)NAN;
                assert_true(isnan(k->max(N, y)) && isnan(k->sum(N, y)) && isnan(k->dot(N, y, b)) && isnan(k->sumsq(N, y)));
                assert_true(isnan(k->xent_row(n, y, false)));
                k->softmax(n, y, y);
                assert_true(isnan(y[0]) && isnan(y[n - 1]));
                y[at] = -(sy_real)INFINITY;
                for (int i = 0; i < n; i++) if (i != at) y[i] = a[i];
                if (n > 1) { k->softmax(n, y, y); assert_true(y[at] == 0 && !isnan(y[n - 1])); }
            }
        }
    free(a); free(b); free(c); free(y); free(dx); free(dw); free(want); free(moved);
}

static void test_attention_row(void **arg)
{
    (void)arg;
    const sy_real none = -(sy_real)INFINITY;
    EACH_SET(k) {
        sy_test_case("%s: no keys", k->name);
        sy_real s[200], raw[200], m = none, l = 0;
        assert_true(k->attn_row(0, 1, s, &m, &l) == 1 && m == none && l == 0);
        sy_test_case("%s: hidden keys only", k->name);
        for (int i = 0; i < 20; i++) s[i] = none;
        assert_true(k->attn_row(20, 1, s, &m, &l) == 1 && m == none && l == 0 && s[0] == 0 && s[19] == 0);

        sy_test_case("%s: blocks of a row", k->name);
        state = sy_test_seed();
        fill(raw, 200, 20);
        raw[3] = none;
        double scale = 0.31, top = -INFINITY, sum = 0, weight[200] = { 0 };
        memcpy(s, raw, sizeof s);
        for (int at = 0, n = 1; at < 200; at += n, n = at * 7 % 64 + 1) {
            if (n > 200 - at) n = 200 - at;
            sy_real before = m, a = k->attn_row(n, (sy_real)scale, s + at, &m, &l);
            sy_expect_near("a", (double)a, before == none ? 0 : exp((double)before - (double)m), 1e-30, 4 * EPS);
            for (int i = 0; i < at; i++) weight[i] *= (double)a;
            for (int i = at; i < at + n; i++) weight[i] = (double)s[i];
        }
        for (int i = 0; i < 200; i++) if ((double)raw[i] * scale > top) top = (double)raw[i] * scale;
        for (int i = 0; i < 200; i++) sum += exp((double)raw[i] * scale - top);
        sy_expect_near("m", (double)m, top, 0, 2 * EPS);
        sy_expect_near("l", (double)l, sum, 0, 300 * EPS);
        for (int i = 0; i < 200; i++) sy_expect_near("weight", weight[i], exp((double)raw[i] * scale - top), 1e-30, 100 * EPS);

        sy_test_case("%s: NaN in a score", k->name);
        s[0] = 1; s[1] = (sy_real)NAN;
        k->attn_row(2, 1, s, &m, &l);
        assert_true(isnan(m) && isnan(l));
        s[0] = 1;
        k->attn_row(1, 1, s, &m, &l);
        assert_true(isnan(m) && isnan(l));
    }
}

static void test_attention_row_back(void **arg)
{
    (void)arg;
    EACH_SET(k)
        for (int n = 0; n <= 70; n++) {
            sy_test_case("%s: backward of a row, n=%d", k->name, n);
            sy_real s[72], dp[72], p[72], d[72];
            state = sy_test_seed() + (uint64_t)n;
            fill(s, 72, 8);
            fill(dp, 72, 2);
            memcpy(p, s, sizeof s);
            memcpy(d, dp, sizeof dp);
            k->attn_row_b(n, (sy_real)0.31, (sy_real)1.25, (sy_real)-0.5, p, d);
            for (int i = 0; i < n; i++) {
                double e = exp((double)s[i] * (double)(sy_real)0.31 - 1.25);
                sy_expect_near("p", (double)p[i], e, 0, 16 * EPS);
                sy_expect_near("ds", (double)d[i], e * ((double)dp[i] + 0.5) * (double)(sy_real)0.31, 4 * EPS, 16 * EPS);
            }
            sy_expect_same("what lies behind", p + n, s + n, (size_t)(72 - n) * sizeof *s);
            sy_expect_same("what lies behind", d + n, dp + n, (size_t)(72 - n) * sizeof *s);
        }
}

static void test_adamw(void **arg)
{
    (void)arg;
    enum { MOST = 70 };
    EACH_SET(k)
        for (size_t n = 0; n <= MOST; n++) {
            sy_test_case("%s: adamw n=%zu", k->name, n);
            sy_real w[MOST + 1], g[MOST + 1], m[MOST + 1], v[MOST + 1], want[MOST];
            double W[MOST], Mo[MOST], V[MOST];
            state = sy_test_seed() + n;
            fill(w, MOST + 1, 1); fill(g, MOST + 1, 1);
            for (size_t i = 0; i <= MOST; i++) { m[i] = v[i] = 0; if (i < MOST) { W[i] = (double)w[i]; Mo[i] = V[i] = 0; } }
            sy_real beyond = w[n];
            for (int step = 1; step <= 3; step++) {
                sy_adamw a = { .lr = 0.01, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .weight_decay = 0.1, .bias1 = 1 - pow(0.9, step), .bias2 = 1 - pow(0.99, step), .clip = 0.5 };
                k->adamw(n, &a, w, g, m, v);
                for (size_t i = 0; i < n; i++) {
                    double d = 0.5 * (double)g[i];
                    Mo[i] = 0.9 * Mo[i] + 0.1 * d;
                    V[i] = 0.99 * V[i] + 0.01 * d * d;
                    W[i] = W[i] * (1 - 0.01 * 0.1) - 0.01 * (Mo[i] / a.bias1) / (sqrt(V[i] / a.bias2) + 1e-8);
                    want[i] = (sy_real)W[i];
                }
            }
            sy_expect_close("w", w, want, n, 8 * EPS, 8 * EPS);
            assert_true(w[n] == beyond && m[n] == 0 && v[n] == 0);
        }
}

static void test_choice_of_a_set(void **arg)
{
    (void)arg;
    const sy_kernels *k = NULL, *best = NULL;
    assert_ptr_equal(sy_kernels_at(0), &sy_kernels_ref);
    assert_null(sy_kernels_at(99));
    assert_null(sy_kernels_at(-1));
    sy_expect_ok(sy_kernels_pick(NULL, &best, err));
    EACH_SET(s) { sy_expect_ok(sy_kernels_pick(s->name, &k, err)); assert_ptr_equal(k, s); if (!sy_kernels_at(set_ + 1)) assert_ptr_equal(best, s); }
    k = best;
    sy_err e = { 0 }, *err = &e;
    sy_expect_fail(sy_kernels_pick("sse9", &k, err), SY_EUNSUP, "ref");
    assert_ptr_equal(k, best);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products), cmocka_unit_test(test_large_products), cmocka_unit_test(test_products_spread_nan_and_inf),
        cmocka_unit_test(test_bfloat16_products), cmocka_unit_test(test_bfloat16_spreads_nan_and_inf),
        cmocka_unit_test(test_exp), cmocka_unit_test(test_activations), cmocka_unit_test(test_lanes_do_not_matter), cmocka_unit_test(test_elements),
        cmocka_unit_test(test_rows), cmocka_unit_test(test_attention_row), cmocka_unit_test(test_attention_row_back), cmocka_unit_test(test_adamw), cmocka_unit_test(test_choice_of_a_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
