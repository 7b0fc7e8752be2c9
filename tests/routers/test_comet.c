/* tests/routers/test_comet.c - COMET: trees walked leaf by leaf in double, and the invariants. */
#include "routers/contract.h"

#define P(name) ((sy_real *)sy_params_find(&B->params, "model.layers.3.mlp.gate." name)->w.data)

static void contract_of(void **state)
{
    (void)state;
    contract_run(&(contract){ .key = "comet", .router = "comet:entropy_reg=0.1", .more = { "comet:k=1,gamma=3" } });
}

static double smooth(double u, double g) { return u <= -g / 2 ? 0 : u >= g / 2 ? 1 : -2 * u * u * u / (g * g * g) + 3 * u / (2 * g) + 0.5; }

static double dot(const bed *B, const sy_real *w, int row, const sy_real *x)
{
    double s = 0;
    for (int d = 0; d < B->D; d++) s += (double)w[row * B->D + d] * (double)x[d];
    return s;
}

/* Mass of heap node n of tree j, from its parents; leaves from left to right are found by walking. */
static void walk(const bed *B, int t, int E, int j, int node, double mass, double gamma, double *q, int *leaf)
{
    const sy_real *x = B->value + (size_t)t * B->D;
    if (node >= E - 1) { q[(*leaf)++] = mass; return; }
    double s = smooth(dot(B, P("splits.weight"), j * (E - 1) + node, x) + (double)P("splits.bias")[j * (E - 1) + node], gamma);
    walk(B, t, E, j, 2 * node + 1, mass * s, gamma, q, leaf);
    walk(B, t, E, j, 2 * node + 2, mass * (1 - s), gamma, q, leaf);
}

/* "sum_e q_je = 1 per tree"; "sum_e g_e = 1"; gate, losses and layer by the definition, for any number of experts */
static void formulas(void **state)
{
    (void)state;
    static const struct { const char *text; int E, k; double gamma; } cases[] = { { "comet:entropy_reg=0.5", 4, 2, 1 }, { "comet:entropy_reg=0.5,k=3,gamma=2", 7, 3, 2 }, { "comet:entropy_reg=0.5,k=1", 2, 1, 1 } };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        bed at, *B = &at;
        int E = cases[i].E, k = cases[i].k, dead = 0;
        double entropy = 0;
        sy_test_case("%s, %d experts", cases[i].text, E);
        bed_open(B, BED_SPEC(.router = cases[i].text, .E = E));
        bed_tokens(B, 0, 4, 10);
        sy_param_normal(sy_params_find(&B->params, "model.layers.3.mlp.gate.splits.weight"), 3, 0.5);
        bed_go(B, SY_TRAIN);
        for (int t = 0; t < B->T; t++) {
            double q[32], b[32], g[8] = { 0 }, sum = 0, total = 0;
            for (int j = 0, leaf = 0; j < k; j++) {
                double one = 0;
                walk(B, t, E, j, 0, 1, cases[i].gamma, q, &leaf);
                for (int e = 0; e < E; e++) one += q[j * E + e];
                sy_expect_near("sum_e q_je", one, 1, 1e-12, 0);
            }
            for (int l = 0; l < k * E; l++) {
                entropy -= q[l] * log(q[l] + 1e-6);
                b[l] = q[l] > 0 ? exp(dot(B, P("leaves.weight"), l, B->value + (size_t)t * B->D) + (double)P("leaves.bias")[l] + log(q[l] + 1e-8)) : 0;
                sum += b[l];
            }
            for (int l = 0; l < k * E; l++) g[l % E] += b[l] / sum;
            int n = 0;
            for (int e = 0; e < E; e++) n += g[e] > 1e-7;
            dead += n < E;
            assert_true(B->route->first_slot[t + 1] - B->route->first_slot[t] >= n);
            for (int s = B->route->first_slot[t]; s < B->route->first_slot[t + 1]; s++) {
                sy_expect_near("g", (double)B->route->weight->x[s], g[B->route->expert[s]], 5e-6, 1e-4);
                total += (double)B->route->weight->x[s];
            }
            sy_expect_near("sum_e g_e", total, 1, 1e-5, 0);
        }
        assert_true(dead > 0);
        sy_expect_near("entropy", bed_aux(B, "comet.entropy"), 0.5 * entropy / B->T, 1e-6, 1e-4);
        bed_expect_layer(B);
        bed_close(B);
    }
}

/* "saturated trees give nnz <= k", and their splits have gradient exactly 0 */
static void saturated(void **state)
{
    (void)state;
    bed at, *B = &at;
    bed_open(B, BED_SPEC(.router = "comet:entropy_reg=0.5", .E = 8));
    bed_tokens(B, 0, 4, 10);
    bed_go(B, SY_TRAIN);
    assert_int_equal(B->route->n, 8 * B->T);
    for (int i = 0; i < 14; i++) P("splits.bias")[i] = i % 3 ? 40 : -40;
    bed_go(B, SY_TRAIN);
    for (int t = 0; t < B->T; t++) assert_in_range(B->route->first_slot[t + 1] - B->route->first_slot[t], 1, 2);
    sy_param *w = sy_params_find(&B->params, "model.layers.3.mlp.gate.splits.weight"), *v = sy_params_find(&B->params, "model.layers.3.mlp.gate.leaves.weight");
    double most = 0;
    sy_tensor *l = sy_add(&B->tape, sy_sum(&B->tape, B->y), B->aux.l[0].value);
    sy_expect_ok(sy_backward(&B->tape, l, err));
    for (size_t i = 0; i < w->n; i++) assert_true(w->w.dx[i] == 0);
    for (size_t i = 0; i < v->n; i++) most = fmax(most, fabs((double)v->w.dx[i]));
    assert_true(most > 1e-6);                                 /* how much each tree counts is still learned */
    bed_close(B);
}

static void refusals(void **state)
{
    (void)state;
    bed_refused(BED_SPEC(.router = "comet", .E = 1), SY_EARG, "1 expert needs no tree");
    bed_refused(BED_SPEC(.router = "comet:gamma=0"), SY_EARG, "gamma");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(contract_of), cmocka_unit_test(formulas), cmocka_unit_test(saturated), cmocka_unit_test(refusals) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
