/* Gaussian mixtures of experts: density, gradient, EM, distances. Oracles: central differences; integrals; the truth from a very large sample; arithmetic on paper. */
#include "testing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/random.h"
#include "gmoe/gmoe.h"

static const sy_gmoe models[] = {
    { .k = 2, .K = 2, .tau = 1, .beta0 = { -8 }, .beta1 = { 25 }, .a = { -20, 20 }, .b = { 15, -5 }, .v = { 0.09, 0.16 } },
    { .k = 3, .K = 3, .tau = 1, .beta0 = { 1, -1 }, .beta1 = { -3, 2 }, .a = { 2, -1, 0.5 }, .b = { 0, 1, -2 }, .v = { 0.3, 0.2, 0.1 } },
    { .k = 3, .K = 2, .tau = 1, .beta0 = { 0.5, -0.5 }, .beta1 = { -3, 2 }, .a = { 2, -1, 0.5 }, .b = { 0, 1, -2 }, .v = { 0.3, 0.2, 0.1 } },
    { .k = 3, .K = 1, .tau = 1, .rank_bias = true, .beta0 = { 1, -1 }, .beta1 = { -3, 3 }, .a = { 2, -1, 0.5 }, .b = { 0, 1, -2 }, .v = { 0.3, 0.2, 0.1 } },
    { .k = 2, .K = 2, .temperature = true, .tau = 0.7, .beta0 = { -1 }, .beta1 = { 4 }, .a = { 1, -2 }, .b = { 0, 1 }, .v = { 0.1, 0.2 } },
    { .k = 2, .K = 2, .temperature = true, .divide_bias = true, .tau = 1.4, .beta0 = { -1 }, .beta1 = { 4 }, .a = { 1, -2 }, .b = { 0, 1 }, .v = { 0.1, 0.2 } },
    { .k = 3, .K = 3, .act = SY_GMOE_SIGMOID, .temperature = true, .tau = 0.2, .beta0 = { -1, 0.3 }, .beta1 = { 4, -2 }, .a = { 1, -2, 0 }, .b = { 0, 1, 3 }, .v = { 0.1, 0.2, 0.3 } },
    { .k = 2, .K = 2, .act = SY_GMOE_TANH, .temperature = true, .divide_bias = true, .tau = 0.3, .beta0 = { -0.2 }, .beta1 = { 3 }, .a = { 1, -2 }, .b = { 0, 1 }, .v = { 0.1, 0.2 } },
    { .k = 2, .K = 2, .act = SY_GMOE_GELU, .temperature = true, .tau = 0.5, .beta0 = { -1 }, .beta1 = { 3 }, .a = { 1, -2 }, .b = { 0, 1 }, .v = { 0.1, 0.2 } },
    { .k = 1, .K = 1, .tau = 1, .a = { 3 }, .b = { -1 }, .v = { 0.25 } },
};
static const sy_gmoe_rules rules = { 3000, 1e-13, 1e-6 };

typedef struct sample { int n; double *x, *y; } sample;
static sample draw(const sy_gmoe *g, uint64_t key, int n)
{
    sample s = { n, malloc((size_t)n * sizeof(double)), malloc((size_t)n * sizeof(double)) };
    sy_gmoe_sample(g, key, n, s.x, s.y);
    return s;
}
static void drop(sample *s) { free(s->x), free(s->y); }

/* The gate sums to 1 over K atoms; the density to 1 over y; samples have the gate's shares and the experts' lines; small samples begin large ones. */
static void test_density(void **state)
{
    (void)state;
    for (size_t i = 0; i < SY_COUNT(models); i++) {
        const sy_gmoe *g = &models[i];
        sy_test_case("model %zu", i);
        sy_expect_ok(sy_gmoe_check(g, err));
        for (double x = 0.05; x < 1; x += 0.3) {
            double pi[SY_GMOE_ATOMS], sum = 0, all = 0;
            int kept = 0;
            sy_gmoe_gate(g, x, pi);
            for (int k = 0; k < g->k; k++) sum += pi[k], kept += pi[k] > 0;
            sy_expect_near("gate", sum, 1, 1e-14, 0);
            assert_int_equal(kept, g->K);
            for (int q = 0; q < 80000; q++) all += exp(sy_gmoe_log_density(g, x, -40 + (q + 0.5) * 1e-3)) * 1e-3;
            sy_expect_near("density", all, 1, 1e-9, 0);
        }
        sample s = draw(g, 7, 20000), few = draw(g, 7, 100);
        sy_expect_same("the beginning", s.x, few.x, 100 * sizeof *s.x);
        sy_expect_same("the beginning", s.y, few.y, 100 * sizeof *s.y);
        double my = 0, want = 0;
        for (int t = 0; t < s.n; t++) {
            double pi[SY_GMOE_ATOMS];
            sy_gmoe_gate(g, s.x[t], pi);
            my += s.y[t] / s.n;
            for (int k = 0; k < g->k; k++) want += pi[k] * (g->a[k] * s.x[t] + g->b[k]) / s.n;
        }
        sy_expect_near("mean of y", my, want, 0.12, 0);
        drop(&s), drop(&few);
    }
    sy_test_case("K = k is the dense softmax, written down here");
    for (double x = 0.1; x < 1; x += 0.2) {
        double pi[SY_GMOE_ATOMS], u0 = exp(-8 + 25 * x);
        sy_gmoe_gate(&models[0], x, pi);
        sy_expect_near("pi", pi[0], u0 / (u0 + 1), 1e-15, 1e-13);
    }
    sy_err e = { 0 }, *err = &e;
    sy_gmoe bad = models[1];
    bad.K = 4;
    sy_expect_fail(sy_gmoe_check(&bad, err), SY_EARG, "4 of 3 experts kept");
    bad = models[1], bad.v[1] = 0;
    sy_expect_fail(sy_gmoe_check(&bad, err), SY_EARG, "expert 1 has a variance of 0");
    bad = models[1], bad.K = 2, bad.act = SY_GMOE_TANH;
    sy_expect_fail(sy_gmoe_check(&bad, err), SY_EARG, "goes with a linear gate");
}

/* Central differences of the likelihood. tau's entry is by ln tau. */
static void test_gradient(void **state)
{
    (void)state;
    for (size_t i = 0; i < SY_COUNT(models); i++) {
        sy_gmoe g = models[i];
        sample s = draw(&g, 3, 60);
        double grad[SY_GMOE_FREE];
        sy_test_case("model %zu", i);
        for (int k = 0; k < g.k; k++) g.a[k] += 0.1, g.b[k] -= 0.05, g.v[k] *= 1.2;
        int P = sy_gmoe_gradient(&g, s.x, s.y, s.n, grad), gate = 2 * (g.k - 1);
        assert_int_equal(P, gate + g.temperature + 3 * g.k);
        for (int p = 0; p < P; p++) {
            double *at = sy_gmoe_free(&g, p), was = *at, h = 1e-5 * fmax(1, fabs(was)), up, down, scale = g.temperature && p == gate ? was : 1;
            *at = was + h, up = sy_gmoe_likelihood(&g, s.x, s.y, s.n);
            *at = was - h, down = sy_gmoe_likelihood(&g, s.x, s.y, s.n);
            *at = was;
            sy_expect_near("gradient", grad[p], (up - down) / (2 * h) * scale, 1e-7, 1e-6);
        }
        drop(&s);
    }
}

/* tempgmoe: "the directional derivative tau dl/dtau + sum beta1 dl/dbeta1 of the log-likelihood is 0 to 1e-10 for the linear gate (divide_bias=0) and non-zero for sigmoid";
 * "adding (t0,t1) to all (beta0,beta1) leaves the linear gate unchanged" */
static void test_flat(void **state)
{
    (void)state;
    for (size_t i = 4; i < 9; i++) {
        sy_gmoe g = models[i];
        sample s = draw(&g, 3, 500);
        double grad[SY_GMOE_FREE], along = 0;
        sy_test_case("model %zu", i);
        g.beta1[0] *= 1.3, g.a[0] += 0.1;
        sy_gmoe_gradient(&g, s.x, s.y, s.n, grad);
        for (int k = 0; k < g.k - 1; k++) along += g.beta1[k] * grad[k];
        along += grad[2 * (g.k - 1)];
        if (i == 4) assert_true(fabs(along) < 1e-12);
        else assert_true(fabs(along) > 1e-5);
        drop(&s);
    }
    sy_gmoe g = models[1];
    double before[SY_GMOE_ATOMS], after[SY_GMOE_ATOMS];
    sy_gmoe_gate(&g, 0.3, before);
    for (int k = 0; k < g.k; k++) g.beta0[k] += 2, g.beta1[k] -= 5;
    sy_gmoe_gate(&g, 0.3, after);
    for (int k = 0; k < g.k; k++) sy_expect_near("pi", after[k], before[k], 1e-14, 0);
}

/* topkgmoe: "EM never decreases the likelihood"; at its end the gradient is zero, and the fit is likelier than the truth. */
static void test_em(void **state)
{
    (void)state;
    for (size_t i = 0; i < SY_COUNT(models); i++) {
        sy_gmoe g = models[i];
        sy_gmoe_fit fit;
        sample s = draw(&g, 3, 800);
        double truth = sy_gmoe_likelihood(&g, s.x, s.y, s.n);
        sy_test_case("model %zu", i);
        for (int k = 0; k < g.k; k++) g.a[k] += 0.3, g.b[k] -= 0.3, g.v[k] *= 1.5;
        for (int k = 0; k < g.k - 1; k++) g.beta1[k] *= 1.1, g.beta0[k] += 0.1;
        sy_expect_ok(sy_gmoe_em(&g, s.x, s.y, s.n, &rules, &fit, err));
        assert_true(fit.fell <= 1e-13);
        assert_true(fit.ended);
        sy_expect_near("likelihood", fit.likelihood, sy_gmoe_likelihood(&g, s.x, s.y, s.n), 1e-12, 0);
        if (g.K == g.k) {
            if (!(fit.gradient < 2e-5)) fail_msg("gradient %g after %d rounds", fit.gradient, fit.rounds);
            assert_true(fit.likelihood >= truth);
        }
        drop(&s);
    }
    sy_test_case("from anywhere: every start climbs");
    for (int start = 0; start < 20; start++) {
        sy_gmoe g = models[1];
        sy_gmoe_fit fit;
        sample s = draw(&g, 100 + (uint64_t)start, 200);
        for (int k = 0; k < g.k; k++) {
            uint64_t key = sy_key(1, SY_FOR_TEST, (uint64_t)start, (uint64_t)k, 0);
            g.a[k] = 5 * sy_draw_normal(key, 0, 0), g.b[k] = 5 * sy_draw_normal(key, 1, 0), g.v[k] = exp(sy_draw_normal(key, 2, 0));
            if (k < g.k - 1) g.beta0[k] = 3 * sy_draw_normal(key, 3, 0), g.beta1[k] = 10 * sy_draw_normal(key, 4, 0);
        }
        sy_expect_ok(sy_gmoe_em(&g, s.x, s.y, s.n, &(sy_gmoe_rules){ 300, 1e-12, 1e-6 }, &fit, err));
        assert_true(fit.fell <= 1e-13);
        drop(&s);
    }
}

/* A very large sample gives the truth back, from random cuts alone. */
static void test_recovery(void **state)
{
    (void)state;
    static const struct { size_t model; double gate, expert; } cases[] = { { 0, 1.2, 0.03 }, { 1, 0.5, 0.08 }, { 9, 0, 0.03 } };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        const sy_gmoe *t = &models[cases[i].model];
        sy_gmoe g = *t;
        sy_gmoe_fit fit;
        sample s = draw(t, 5, 40000);
        int cell[SY_GMOE_ATOMS];
        sy_test_case("model %zu", cases[i].model);
        sy_expect_ok(sy_gmoe_search(&g, false, 3, 1, s.x, s.y, 2000, &(sy_gmoe_rules){ 200, 1e-7, 1e-6 }, &fit, err));       /* the beginning of the sample finds the place */
        sy_expect_ok(sy_gmoe_em(&g, s.x, s.y, s.n, &(sy_gmoe_rules){ 60, 1e-8, 1e-6 }, &fit, err));
        sy_gmoe_align(&g, t);
        sy_gmoe_cells(&g, t, cell);
        for (int k = 0; k < t->k; k++) {
            int j = cell[k], same = 0;
            for (int m = 0; m < t->k; m++) same += cell[m] == j;
            assert_int_equal(same, 1);
            sy_expect_near("a", g.a[k], t->a[j], 2 * cases[i].expert, 0);
            sy_expect_near("b", g.b[k], t->b[j], cases[i].expert, 0);
            sy_expect_near("v", g.v[k], t->v[j], cases[i].expert, 0);
            sy_expect_near("beta0", g.beta0[k], t->beta0[j], cases[i].gate, 0);
            sy_expect_near("beta1", g.beta1[k], t->beta1[j], 2 * cases[i].gate, 0);
        }
        assert_true(sy_gmoe_hellinger(&g, t) < 0.01);
        drop(&s);
    }
}

/* "with K = 1 every pi is 0 or 1, so r - pi = 0 and the gate NEVER moves" */
static void test_top1(void **state)
{
    (void)state;
    sy_gmoe g = models[3], before;
    sy_gmoe_fit fit;
    sample s = draw(&g, 3, 400);
    g.beta1[0] += 0.5, g.a[0] += 0.3;
    before = g;
    sy_expect_ok(sy_gmoe_em(&g, s.x, s.y, s.n, &rules, &fit, err));
    sy_expect_same("beta1", g.beta1, before.beta1, sizeof g.beta1);
    sy_expect_same("beta0", g.beta0, before.beta0, sizeof g.beta0);
    assert_true(g.a[0] != before.a[0]);
    drop(&s);
}

/* "D1(G*,G*) = 0; relabelling fitted atoms leaves D1, D2 unchanged"; numbers on paper; Hellinger distances of two normals. */
static void test_distances(void **state)
{
    (void)state;
    for (size_t i = 0; i < SY_COUNT(models); i++) {
        sy_test_case("model %zu", i);
        sy_expect_near("D1", sy_gmoe_d1(&models[i], &models[i]), 0, 0, 0);
        sy_expect_near("D2", sy_gmoe_d2(&models[i], &models[i]), 0, 0, 0);
        assert_true(sy_gmoe_hellinger(&models[i], &models[i]) < 1e-6);
    }
    sy_gmoe t = { .k = 2, .K = 2, .tau = 1, .beta0 = { log(2), 0 }, .beta1 = { 3, 0 }, .a = { 10, -10 }, .b = { 0, 5 }, .v = { 1, 1 } }, g = t;
    g.a[0] += 0.1, g.b[1] -= 0.2, g.beta0[0] = log(2.5);
    /* 2.5 * 0.1 + 1 * 0.2 + |2.5 - 2| */
    sy_expect_near("D1", sy_gmoe_d1(&g, &t), 0.25 + 0.2 + 0.5, 1e-14, 0);
    sy_expect_near("D2 where no cell is crowded", sy_gmoe_d2(&g, &t), 0.95, 1e-14, 0);
    sy_test_case("a crowded cell");
    sy_gmoe over = { .k = 3, .K = 3, .tau = 1, .beta0 = { 0, 0, 0 }, .beta1 = { 3.5, 3, 0 }, .a = { 10, 10.25, -10 }, .b = { 0, 0.5, 5 }, .v = { 1, 1, 1.1 } };
    /* cell 0: exp 0 twice = 2, nothing missing; 0.5^4 + 0.25^2 + 0.5^4 = 0.1875; cell 1: 0.1 */
    sy_expect_near("D2", sy_gmoe_d2(&over, &t), 0.0625 + 0.0625 + 0.0625 + 0.1, 1e-14, 0);
    sy_expect_near("D1", sy_gmoe_d1(&over, &t), 0.5 + 0.25 + 0.5 + 0.1, 1e-14, 0);
    sy_test_case("other names for the atoms, and a shifted gate");
    static const int orders[][3] = { { 0, 1, 2 }, { 2, 0, 1 }, { 1, 2, 0 }, { 2, 1, 0 } };
    for (size_t o = 0; o < SY_COUNT(orders); o++) {
        sy_gmoe m = over;
        for (int i = 0; i < 3; i++) {
            int j = orders[o][i];
            m.beta0[i] = over.beta0[j] - 4, m.beta1[i] = over.beta1[j] + 7, m.a[i] = over.a[j], m.b[i] = over.b[j], m.v[i] = over.v[j];
        }
        sy_gmoe_align(&m, &t);
        sy_expect_near("D1", sy_gmoe_d1(&m, &t), 1.35, 1e-12, 0);
        sy_expect_near("D2", sy_gmoe_d2(&m, &t), 0.2875, 1e-12, 0);
    }
    sy_test_case("K of the cells");
    sy_gmoe one = t, off = g;
    one.K = 1;
    /* cells give 0.25 + 0.5 and 0.2; the larger counts */
    sy_expect_near("D1", sy_gmoe_d1(&off, &one), 0.75, 1e-14, 0);
    sy_test_case("two normals");
    sy_gmoe p = { .k = 1, .K = 1, .tau = 1, .v = { 1 } }, q = p;
    q.b[0] = 1, q.v[0] = 4;
    /* 1 - sqrt(2 s1 s2 / (s1^2 + s2^2)) exp(-(m1 - m2)^2 / (4 (s1^2 + s2^2))) */
    sy_expect_near("distance", sy_gmoe_hellinger(&p, &q), sqrt(1 - sqrt(4.0 / 5) * exp(-1.0 / 20)), 1e-8, 0);
}

static void test_memory(void **state)
{
    (void)state;
    sample s = draw(&models[1], 3, 50);
    for (uint64_t n = 1; ; n++) {
        sy_gmoe g = models[1];
        sy_gmoe_fit fit;
        sy_err e;
        sy_alloc_fail_at(n, 0);
        sy_status st = sy_gmoe_search(&g, true, 1, 1, s.x, s.y, s.n, &(sy_gmoe_rules){ 5, 1e-9, 1e-6 }, &fit, &e);
        sy_alloc_fail_at(0, 0);
        if (st == SY_OK) { assert_true(n > 4); break; }
        assert_int_equal(st, SY_ENOMEM);
    }
    drop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_density), cmocka_unit_test(test_gradient), cmocka_unit_test(test_flat), cmocka_unit_test(test_em), cmocka_unit_test(test_recovery),
                                        cmocka_unit_test(test_top1), cmocka_unit_test(test_distances), cmocka_unit_test(test_memory) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
