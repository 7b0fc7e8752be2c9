/* tests/routers/test_dselectk.c - DSelect-k: the gate and its losses against slow loops in double, and the invariants. */
#include "routers/contract.h"

#define P(name) ((sy_real *)sy_params_find(&B->params, "model.layers.3.mlp.gate." name)->w.data)

static void contract_of(void **state)
{
    (void)state;
    contract_run(&(contract){ .key = "dselectk", .router = "dselectk:entropy_reg=0.1", .more = { "dselectk:k=1,entropy_reg=0.01", "dselectk:static_gate=true,entropy_reg=0.1,gamma=2" } });
}

static double smooth(double u, double g) { return u <= -g / 2 ? 0 : u >= g / 2 ? 1 : -2 * u * u * u / (g * g * g) + 3 * u / (2 * g) + 0.5; }

/* g [E] of token t; adds the token's entropy and its 1 / mass */
static void gate(const bed *B, int t, int E, int m, int k, double gamma, double *g, double *entropy, double *codes)
{
    const sy_real *x = B->value + (size_t)t * B->D;
    double w[8], sum = 0;
    for (int i = 0; i < k; i++) {
        if (k == 1) { sum = w[0] = 1; break; }                /* one selector has nothing to be weighed against */
        w[i] = (double)P("selectors.bias")[i];
        for (int d = 0; d < B->D; d++) w[i] += (double)P("selectors.weight")[i * B->D + d] * (double)x[d];
        sum += w[i] = exp(w[i]);
    }
    for (int e = 0; e < E; e++) g[e] = 0;
    for (int i = 0; i < k; i++) {
        double mass = 0;
        for (int e = 0; e < E; e++) {
            double r = 1;
            for (int j = 0; j < m; j++) {
                double u = (double)P("bits.bias")[i * m + j];
                for (int d = 0; d < B->D; d++) u += (double)P("bits.weight")[(i * m + j) * B->D + d] * (double)x[d];
                r *= e >> (m - 1 - j) & 1 ? smooth(u, gamma) : 1 - smooth(u, gamma);
            }
            g[e] += w[i] / sum * r;
            mass += r;
            *entropy -= r * log(r + 1e-6);
        }
        *codes += 1 / (1e-6 + mass);
    }
}

static void formulas(void **state)
{
    (void)state;
    static const struct { const char *text; int E, m, k; double gamma; } cases[] = {
        { "dselectk:entropy_reg=0.5", 4, 2, 2, 1 }, { "dselectk:entropy_reg=0.5,k=3,gamma=2", 6, 3, 3, 2 }, { "dselectk:entropy_reg=0.5,k=1,zeta=0.25", 5, 3, 1, 1 },
    };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        bed at, *B = &at;
        int E = cases[i].E;
        double entropy = 0, codes = 0;
        sy_test_case("%s, %d experts", cases[i].text, E);
        bed_open(B, BED_SPEC(.router = cases[i].text, .E = E));
        bed_tokens(B, 0, 4, 10);
        sy_param_normal(sy_params_find(&B->params, "model.layers.3.mlp.gate.bits.weight"), 3, 1);
        bed_go(B, SY_TRAIN);
        bool some_dead = false;
        for (int t = 0; t < B->T; t++) {
            double g[8], sum = 0, probs = 0;
            int n = 0;
            gate(B, t, E, cases[i].m, cases[i].k, cases[i].gamma, g, &entropy, &codes);
            for (int e = 0; e < E; e++) sum += g[e], n += g[e] > 1e-9, probs += (double)B->route->probs->x[t * E + e];
            some_dead |= n < E;
            assert_true(B->route->first_slot[t + 1] - B->route->first_slot[t] >= n);
            for (int s = B->route->first_slot[t]; s < B->route->first_slot[t + 1]; s++) sy_expect_near("g", (double)B->route->weight->x[s], g[B->route->expert[s]], 2e-6, 2e-5);
            if (E == 1 << cases[i].m) sy_expect_near("sum_e g_e = 1 exactly when E = 2^m", sum, 1, 1e-12, 0);
            else if (sum > 1e-3) sy_expect_near("probs sum to 1", probs, 1, 2e-3, 0);
        }
        assert_true(some_dead);
        sy_expect_near("entropy", bed_aux(B, "dselectk.entropy"), 0.5 * entropy / B->T, 1e-6, 1e-4);
        if (E != 1 << cases[i].m) sy_expect_near("codes", bed_aux(B, "dselectk.codes"), (i == 2 ? 0.25 : 1) * codes, 1e-4, 1e-2);
        bed_expect_layer(B);
        bed_close(B);
    }
}

/* "nnz(g) <= E before and <= k after all bits saturate"; "S is C1"; "dead bits have gradient exactly 0" */
static void invariants(void **state)
{
    (void)state;
    bed at, *B = &at;
    bed_open(B, BED_SPEC(.router = "dselectk:entropy_reg=0.5", .E = 8));
    bed_tokens(B, 0, 4, 10);
    bed_go(B, SY_TRAIN);
    assert_int_equal(B->route->n, 8 * B->T);
    for (int i = 0; i < 6; i++) P("bits.bias")[i] = i % 2 ? 40 : -40;
    bed_go(B, SY_TRAIN);
    for (int t = 0; t < B->T; t++) assert_in_range(B->route->first_slot[t + 1] - B->route->first_slot[t], 1, 2);
    sy_param *A = sy_params_find(&B->params, "model.layers.3.mlp.gate.bits.weight");
    sy_tensor *l = sy_add(&B->tape, sy_sum(&B->tape, B->y), B->aux.l[0].value);
    sy_expect_ok(sy_backward(&B->tape, l, err));
    for (size_t i = 0; i < A->n; i++) assert_true(A->w.dx[i] == 0);
    bed_close(B);
    for (double u = -0.5; u <= 0.5; u += 1) {                 /* value and slope meet at both ends */
        double h = 1e-6, in = smooth(u * (1 - h), 1), out = smooth(u * (1 + h), 1);
        sy_expect_near("S", in, out, 1e-9, 0);
        sy_expect_near("slope", (out - in) / (2 * h * u), 0, 1e-5, 0);
    }
}

static void refusals(void **state)
{
    (void)state;
    bed_refused(BED_SPEC(.router = "dselectk", .E = 1), SY_EARG, "1 expert needs no selector");
    bed_refused(BED_SPEC(.router = "dselectk", .balance = { "zloss" }, .n_balance = 1), SY_EUNSUP, "router dselectk declares");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(contract_of), cmocka_unit_test(formulas), cmocka_unit_test(invariants), cmocka_unit_test(refusals) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
