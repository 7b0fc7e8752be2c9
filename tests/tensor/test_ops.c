/* Norms, rotary embedding, cross-entropy, top-k, dropout and indices on odd sizes, for every kernel set.
 *
 * Oracle: the formulas in double, in slow loops. */
#include "testing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/random.h"
#include "tensor/ops.h"

static const double EPS = sizeof(sy_real) == 8 ? 1e-12 : 1e-5;

static double draw(int what, size_t i) { return 2 * sy_draw(sy_key(sy_test_seed(), SY_FOR_TEST, 77, (uint64_t)what, 0), i, 0) - 1; }

static void fill(sy_real *x, size_t n, int what) { for (size_t i = 0; i < n; i++) x[i] = (sy_real)draw(what, i); }

static sy_real *reals(size_t n, int what)
{
    sy_real *x = malloc(n * sizeof *x);
    assert_non_null(x);
    fill(x, n, what);
    return x;
}

static sy_tensor *leaf(sy_tape *t, int what, int nd, const int *dim)
{
    sy_tensor *a = sy_new(t, nd, dim);
    sy_expect_ok(sy_tape_status(t, err));
    fill(a->x, sy_numel(a), what);
    a->wants = true;
    return a;
}

static void each_set(void (*fn)(sy_engine *e))
{
    const sy_kernels *k;
    for (int s = 0; (k = sy_kernels_at(s)); s++) {
        sy_engine e;
        sy_expect_ok(sy_engine_init(&e, 2, k->name, NULL, err));
        sy_test_case("%s", k->name);
        fn(&e);
        sy_engine_uninit(&e);
    }
}

/* ---- norms ---- */

enum { T = 77, D = 1031 };

/* One of the two norms with weight; the gradients from the definition of y, through mean and variance. */
static void check_norm(sy_engine *e, bool layer)
{
    sy_tape t;
    sy_tape_init(&t, e, true);
    sy_tensor *x = leaf(&t, 1, SY_DIM(T, D)), *w = leaf(&t, 2, SY_DIM(D)), *b = layer ? leaf(&t, 3, SY_DIM(D)) : NULL;
    for (int i = 0; i < D; i++) x->x[i] = x->x[i] * (sy_real)1e-4 + (layer ? 3 : 0);    /* eps matters in the first row */
    sy_tensor *y = layer ? sy_layernorm(&t, x, w, b, 1e-6) : sy_rmsnorm(&t, x, w, 1e-6);
    sy_real *r = reals(T * D, 4);
    sy_expect_ok(sy_backward_from(&t, y, r, err));
    double *dw = calloc(D, sizeof *dw), *db = calloc(D, sizeof *db);
    sy_real *row = malloc(D * sizeof *row), *dx = malloc(D * sizeof *dx);
    assert_true(dw && db && row && dx);
    for (int i = 0; i < T; i++) {
        const sy_real *xi = x->x + i * D, *ri = r + i * D;
        double mean = 0, var = 0, sg = 0, sgh = 0;
        for (int d = 0; layer && d < D; d++) mean += (double)xi[d] / D;
        for (int d = 0; d < D; d++) var += ((double)xi[d] - mean) * ((double)xi[d] - mean) / D;
        double rinv = 1 / sqrt(var + 1e-6);
        for (int d = 0; d < D; d++) {
            double h = ((double)xi[d] - mean) * rinv, g = (double)w->x[d] * (double)ri[d];
            row[d] = (sy_real)(h * (double)w->x[d] + (b ? (double)b->x[d] : 0));
            dw[d] += (double)ri[d] * h;
            db[d] += (double)ri[d];
            sg += layer ? g / D : 0;
            sgh += g * h / D;
        }
        for (int d = 0; d < D; d++) dx[d] = (sy_real)(rinv * ((double)w->x[d] * (double)ri[d] - sg - ((double)xi[d] - mean) * rinv * sgh));
        double loose = !i && layer ? 2e3 : 1;                                    /* row 0 of LayerNorm: x - mean loses four digits */
        sy_expect_close("y", y->x + i * D, row, D, EPS * loose, EPS * loose);
        sy_expect_close("dx", x->dx + i * D, dx, D, EPS * rinv * loose, EPS * loose);
    }
    for (int d = 0; d < D; d++) {
        sy_expect_near("dw", (double)w->dx[d], dw[d], EPS * 1e2, EPS);
        if (b) sy_expect_near("db", (double)b->dx[d], db[d], EPS * 10, EPS);
    }
    free(dw), free(db), free(row), free(dx), free(r);
    sy_tape_free(&t);
}

static void norm_set(sy_engine *e)
{
    check_norm(e, false);
    check_norm(e, true);
}

static void norms(void **state) { (void)state; each_set(norm_set); }

/* ---- rotary embedding ---- */

static void rope_set(sy_engine *e)
{
    enum { HD = 22, ROT = 18, H = 3 };
    double freq[ROT / 2];
    for (int i = 0; i < ROT / 2; i++) freq[i] = pow(10000, -2.0 * i / ROT);
    static const int pos[] = { 0, 1, 2, 1000000, 7 };
    for (int inter = 0; inter < 2; inter++) {
        sy_tape t;
        sy_tape_init(&t, e, false);
        sy_tensor *x = leaf(&t, 5, SY_DIM(5, H * HD)), *y = sy_rope_apply(&t, x, HD, pos, &(sy_rope){ ROT, freq, 1.5, .interleaved = inter });
        sy_expect_ok(sy_tape_status(&t, err));
        for (int i = 0; i < 5; i++)
            for (int h = 0; h < H; h++) {
                const sy_real *a = x->x + (i * H + h) * HD, *b = y->x + (i * H + h) * HD;
                for (int j = 0; j < ROT / 2; j++) {
                    int u = inter ? 2 * j : j, v = inter ? 2 * j + 1 : j + ROT / 2;
                    double c = 1.5 * cos(pos[i] * freq[j]), s = 1.5 * sin(pos[i] * freq[j]);
                    sy_expect_near("first of a pair", (double)b[u], (double)a[u] * c - (double)a[v] * s, EPS, EPS);
                    sy_expect_near("second of a pair", (double)b[v], (double)a[v] * c + (double)a[u] * s, EPS, EPS);
                }
                sy_expect_same("what does not turn", b + ROT, a + ROT, (HD - ROT) * sizeof *a);
            }
        sy_tape_free(&t);
    }
}

static void rope(void **state) { (void)state; each_set(rope_set); }

/* ---- cross-entropy ---- */

static void xent_case(sy_engine *e, int tokens, int width, int V, const sy_xent *a, double factor)
{
    int *label = malloc((size_t)tokens * sizeof *label);
    double *z = malloc((size_t)V * sizeof *z), *dw = calloc((size_t)V * (size_t)width, sizeof *dw), *dx = calloc((size_t)tokens * (size_t)width, sizeof *dx), loss = 0;
    sy_real *nll = reals((size_t)tokens, 9);
    assert_true(label && z && dw && dx);
    for (int i = 0; i < tokens; i++) label[i] = i % 5 == 3 ? -100 : (int)((unsigned)i * 7919u % (unsigned)V);
    sy_tape t;
    sy_tape_init(&t, e, true);
    sy_tensor *x = leaf(&t, 6, SY_DIM(tokens, width));
    sy_weight *w = sy_sample_weight(&t, -2, 2, SY_DIM(V, width));
    sy_xent with = *a;
    with.nll = nll;
    sy_tensor *y = sy_cross_entropy(&t, x, w, label, &with);
    sy_expect_ok(sy_tape_status(&t, err));
    const sy_real *W = w->data;
    for (int i = 0; i < tokens; i++) {
        const sy_real *xi = x->x + (size_t)i * (size_t)width;
        double top = -INFINITY, sum = 0, mean = 0;
        for (int v = 0; v < V; v++) {
            z[v] = 0;
            for (int d = 0; d < width; d++) z[v] += (double)xi[d] * (double)W[(size_t)v * (size_t)width + (size_t)d];
            if (z[v] > top) top = z[v];
            mean += z[v] / V;
        }
        for (int v = 0; v < V; v++) sum += exp(z[v] - top);
        double lse = top + log(sum);
        if (label[i] < 0) {
            sy_expect_near("nll of an ignored token", (double)nll[i], 0, 0, 0);
            continue;
        }
        sy_expect_near("nll", (double)nll[i], lse - z[label[i]], 10 * EPS, EPS);
        loss += (1 - a->smoothing) * (lse - z[label[i]]) + a->smoothing * (lse - mean) + a->z_loss * lse * lse;
        for (int v = 0; v < V; v++) {
            double g = factor * a->scale * (exp(z[v] - lse) * (1 + 2 * a->z_loss * lse) - (v == label[i] ? 1 - a->smoothing : 0) - a->smoothing / V);
            for (int d = 0; d < width; d++) {
                dx[(size_t)i * (size_t)width + (size_t)d] += g * (double)W[(size_t)v * (size_t)width + (size_t)d];
                dw[(size_t)v * (size_t)width + (size_t)d] += g * (double)xi[d];
            }
        }
    }
    sy_expect_near("loss", (double)y->x[0], a->scale * loss, EPS, EPS);
    for (size_t i = 0; i < (size_t)V * (size_t)width; i++) assert_true(w->dx[i] == 0);          /* forward alone leaves no gradient */
    sy_expect_ok(sy_backward_from(&t, y, &(sy_real){ (sy_real)factor }, err));
    for (size_t i = 0; i < (size_t)tokens * (size_t)width; i++) sy_expect_near("dx", (double)x->dx[i], dx[i], EPS * 10, 10 * EPS);
    for (size_t i = 0; i < (size_t)V * (size_t)width; i++) sy_expect_near("dw", (double)w->dx[i], dw[i], EPS * 10, 10 * EPS);

    sy_tape quiet;
    sy_tape_init(&quiet, e, false);
    sy_tensor *x2 = leaf(&quiet, 6, SY_DIM(tokens, width)), *y2 = sy_cross_entropy(&quiet, x2, w, label, &with);
    sy_expect_ok(sy_tape_status(&quiet, err));
    sy_expect_same("the loss of an evaluation", y2->x, y->x, sizeof *y->x);
    sy_tape_free(&quiet);
    sy_tape_free(&t);
    free(label), free(z), free(dw), free(dx), free(nll);
}

static void xent_set(sy_engine *e)
{
    xent_case(e, 45, 17, 331, &(sy_xent){ .scale = 1.0 / 36 }, 1);
    xent_case(e, 45, 17, 331, &(sy_xent){ .scale = 0.1, .smoothing = 0.2, .z_loss = 0.01 }, -3);
    xent_case(e, 60, 5, 60013, &(sy_xent){ .scale = 1.0 / 48, .smoothing = 0.1 }, 2);           /* 34 tokens a chunk in float */
    xent_case(e, 3, 2, 1, &(sy_xent){ .scale = 1 }, 1);                                         /* a vocabulary of one: no loss, no gradient */
}

static void cross_entropy(void **state) { (void)state; each_set(xent_set); }

/* ---- choices ---- */

static void topk_order(void **state)
{
    (void)state;
    sy_engine e;
    sy_expect_ok(sy_engine_init(&e, 1, NULL, NULL, err));
    static const struct { sy_real x[6]; int want[4]; const char *what; } cases_[] = {
        { { 1, 5, 3, 2, 4, 0 }, { 1, 4, 2, 3 }, "plain" },
        { { 2, 2, 2, 2, 2, 2 }, { 0, 1, 2, 3 }, "all equal" },
        { { 0, 3, 1, 3, 1, 3 }, { 1, 3, 5, 2 }, "ties to the lower column" },
        { { (sy_real)NAN, 1, (sy_real)NAN, -(sy_real)INFINITY, 2, (sy_real)NAN }, { 4, 1, 3, 0 }, "NaN comes last" },
        { { -0.0, 0.0, -1, -1, -1, -1 }, { 0, 1, 2, 3 }, "zeros are equal" },
    };
    for (size_t i = 0; i < SY_COUNT(cases_); i++) {
        sy_tape t;
        sy_tape_init(&t, &e, false);
        sy_test_case("%s", cases_[i].what);
        sy_tensor *x = sy_new(&t, SY_DIM(1, 6));
        memcpy(x->x, cases_[i].x, sizeof cases_[i].x);
        sy_tensor *id = sy_topk(&t, x, 4);
        sy_expect_ok(sy_tape_status(&t, err));
        sy_expect_ids("ids", id->i, cases_[i].want, 4);
        sy_tape_free(&t);
    }
    sy_engine_uninit(&e);
}

static void dropout_keeps_by_position(void **state)
{
    (void)state;
    sy_engine e;
    sy_expect_ok(sy_engine_init(&e, 2, NULL, NULL, err));
    sy_tape t;
    sy_tape_init(&t, &e, true);
    sy_tensor *x = leaf(&t, 8, SY_DIM(300, 100)), *y = sy_dropout(&t, x, 0.25, 42);
    sy_expect_ok(sy_tape_status(&t, err));
    int kept = 0;
    for (size_t i = 0; i < sy_numel(x); i++) {
        bool keep = sy_draw(42, i, 0) >= 0.25;
        kept += keep;
        sy_expect_near("y", (double)y->x[i], keep ? (double)x->x[i] / 0.75 : 0, 1e-6, 1e-6);
    }
    assert_in_range(kept, 30000 * 0.75 - 450, 30000 * 0.75 + 450);           /* six standard errors */
    assert_ptr_equal(sy_dropout(&t, x, 0, 42), x);
    sy_tape_free(&t);
    sy_engine_uninit(&e);
}

static void wrong_numbers_are_refused(void **state)
{
    (void)state;
    sy_engine e;
    sy_expect_ok(sy_engine_init(&e, 1, NULL, NULL, err));
    static const int far[] = { 0, 1, 4 }, minus[] = { 0, -1, 1 }, first[] = { 0, 2, 1, 3, 3 }, ok[] = { 0, 1, 2, 3, 3 };
    for (int c = 0;; c++) {
        sy_tape t;
        sy_tape_init(&t, &e, true);
        sy_test_case("refusal %d", c);
        sy_tensor *x = leaf(&t, 8, SY_DIM(4, 3)), *ids = sy_topk(&t, x, 2);
        sy_weight *w = sy_sample_weight(&t, -1, 1, SY_DIM(4, 3));
        const char *says = NULL;
        switch (c) {
        case 0: says = "rows_gather: index 2 is 4, not in 0 to 3"; sy_rows_gather(&t, x, far, 3); break;
        case 1: says = "rows_scatter: index 1 is -1, not in 0 to 4"; sy_rows_scatter(&t, sy_cols_slice(&t, sy_rows_gather(&t, x, ok, 3), 0, 1), minus, 5); break;
        case 2: says = "pick: the slots of 4 rows must run from 0 to 3"; sy_pick(&t, x, first, far, 3); break;
        case 3: says = "pick: index 2 is 4, not in 0 to 2"; sy_pick(&t, x, ok, far, 3); break;
        case 4: says = "topk: 4 of 3 columns"; sy_topk(&t, x, 4); break;
        case 5: says = "dropout: probability 1 "; sy_dropout(&t, x, 1, 1); break;
        case 6: says = "cols_slice: 2 columns from column 2, the input has 3"; sy_cols_slice(&t, x, 2, 2); break;
        case 7: says = "reshape: 12 values do not fill"; sy_reshape(&t, x, SY_DIM(5, 2)); break;
        case 8: says = "embed: token 2 has id 4, the vocabulary has 4"; sy_embed(&t, w, far, 3); break;
        case 9: says = "cross_entropy: label 2 is 4, the vocabulary has 4"; sy_cross_entropy(&t, sy_rows_gather(&t, x, ok, 3), w, far, &(sy_xent){ .scale = 1 }); break;
        case 10: says = "rope_apply: 3 columns in heads of 2"; sy_rope_apply(&t, x, 2, ok, &(sy_rope){ .rot = 2 }); break;
        case 11: says = "rmsnorm: input has 3 columns, weight has 4"; sy_rmsnorm(&t, x, sy_new(&t, SY_DIM(4)), 1e-6); break;
        case 12: says = "softmax: input 0 holds integers"; sy_softmax(&t, ids); break;
        case 13: says = "there is no activation 99"; sy_activate(&t, (sy_act)99, x); break;
        case 14: says = "linear: input has 2 columns, weight is 4 x 3"; sy_linear(&t, sy_cols_slice(&t, x, 0, 2), w, NULL); break;
        case 15: says = "matmul_nt: the operands have 3 and 2 columns"; sy_matmul_nt(&t, x, sy_cols_slice(&t, x, 0, 2)); break;
        default: sy_tape_free(&t); sy_engine_uninit(&e); return;
        }
        sy_err e1 = { 0 }, *err = &e1;
        sy_status st = sy_tape_status(&t, err);
        assert_true(st == SY_ESHAPE || st == SY_EARG);
        sy_expect_fail(st, st, says);
        sy_tape_free(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norms), cmocka_unit_test(rope), cmocka_unit_test(cross_entropy), cmocka_unit_test(topk_order),
        cmocka_unit_test(dropout_keeps_by_position), cmocka_unit_test(wrong_numbers_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
