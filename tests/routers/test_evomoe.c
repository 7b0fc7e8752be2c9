/* tests/routers/test_evomoe.c - EvoMoE: the annealed gate against slow loops in double, the spawn, and the invariants. */
#include "routers/contract.h"

#define GATE "model.layers.3.mlp.gate.weight"

static void contract_of(void **state)
{
    (void)state;
    contract_run(&(contract){ .key = "evomoe", .router = "evomoe:threshold=0.15", .more = { "evomoe:use_gumbel_gates=true,threshold=0.1,gumbel_decay_scheduler=Exp", "evomoe:use_gumbel_softmax=false,threshold=0.2",
                              "evomoe:switch_to_hard=0" } });
}

/* q, choices, weights and the loss at a step, from the definition */
static void formulas(void **state)
{
    (void)state;
    static const struct { const char *text; int64_t step; bool gumbel, gates, hard; double tau, threshold; } cases[] = {
        { "evomoe:threshold=0.05", 0, true, false, false, 2, 0.05 },
        { "evomoe:threshold=0.05", 5, true, false, false, 2 - 0.5 * 1.7, 0.05 },              /* half of the run of 10 steps */
        { "evomoe:threshold=0.05,decay_steps=4", 5, true, false, false, 0.3, 0.05 },
        { "evomoe:threshold=0.05,decay_steps=8,gumbel_decay_scheduler=Exp,max_temperature=4,min_temperature=0.25", 4, true, false, false, 1, 0.05 },
        { "evomoe:threshold=0.05,use_gumbel_gates=true", 0, true, true, false, 2, 0.05 },
        { "evomoe:threshold=0.19,use_gumbel_softmax=false", 0, false, false, false, 2, 0.19 },
        { "evomoe:switch_to_hard=3", 3, true, false, true, 2 - 0.3 * 1.7, 0 },
    };
    enum { E = 5 };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        bed B;
        sy_test_case("%s, step %d", cases[i].text, (int)cases[i].step);
        bed_open(&B, BED_SPEC(.router = cases[i].text, .E = E));
        bed_tokens(&B, 0, 6, 8);
        B.step = cases[i].step;
        bed_go(&B, SY_TRAIN);
        double *z = bed_logits(&B, GATE), *p = bed_softmax(z, B.T, E), loss = 0, me[E] = { 0 }, ce[E] = { 0 };
        for (int t = 0; t < B.T; t++) {
            double q[E], sum = 0;
            int n = 0, best = 0;
            for (int e = 0; e < E; e++) {
                double u = sy_draw(B.key[t], (uint64_t)B.pos[t], (unsigned)e);
                sum += q[e] = exp((z[t * E + e] + (cases[i].gumbel ? -log(-log(u)) : 0)) / cases[i].tau);
            }
            for (int e = 0; e < E; e++) {
                q[e] /= sum;
                n += q[e] > cases[i].threshold;
                if (q[e] > q[best]) best = e;
            }
            assert_int_equal(B.route->first_slot[t + 1] - B.route->first_slot[t], cases[i].hard ? 1 : n);
            for (int s = B.route->first_slot[t]; s < B.route->first_slot[t + 1]; s++) {
                int e = B.route->expert[s];
                double w = cases[i].gates ? q[e] : p[t * E + e];
                assert_true(cases[i].hard ? e == best : q[e] > cases[i].threshold - 1e-6);
                sy_expect_near("weight", (double)B.route->weight->x[s], w, 1e-5, 1e-5);
                me[e] += w / B.T, ce[e] += 1.0 / B.T;
            }
        }
        for (int e = 0; e < E; e++) loss += 0.01 * E * me[e] * ce[e];
        sy_expect_near("balance", bed_aux(&B, "evomoe.balance"), loss, 1e-6, 1e-5);
        bed_expect_layer(&B);
        bed_go(&B, SY_SERVE);                                 /* "greedy top-1 without noise, weight softmax(z)_e" */
        for (int t = 0; t < B.T; t++)
            for (int e = 0; e < E; e++) {
                assert_true(p[t * E + B.route->expert[t]] >= p[t * E + e] - 1e-7);
                sy_expect_near("weight", (double)B.route->weight->x[t], p[t * E + B.route->expert[t]], BED_TOL, BED_TOL);
            }
        free(z), free(p);
        bed_close(&B);
    }
}

/* "threshold 0 and tau -> infinity gives S = all experts; tau -> 0 gives |S| = 1 almost surely"; the loss "is E when dense and 1 when balanced top-1" (with equal logits) */
static void invariants(void **state)
{
    (void)state;
    bed B;
    bed_open(&B, BED_SPEC(.router = "evomoe:threshold=0,max_temperature=1000,router_aux_loss_coef=1"));
    bed_tokens(&B, 0, 6, 8);
    sy_param_fill(sy_params_find(&B.params, GATE), 0);
    bed_go(&B, SY_TRAIN);
    assert_int_equal(B.route->n, 4 * B.T);
    sy_expect_near("the loss of a dense gate: E sum of 1/E times 1, over 4 experts", bed_aux(&B, "evomoe.balance"), 4, 1e-5, 0);
    bed_close(&B);
    bed_open(&B, BED_SPEC(.router = "evomoe:max_temperature=0.001,min_temperature=0.001"));
    bed_tokens(&B, 0, 40, 8);
    bed_go(&B, SY_TRAIN);
    assert_true(B.route->n <= B.T + 3);
    bed_close(&B);
}

static sy_real *values(bed *B, const char *part)
{
    char name[96];
    snprintf(name, sizeof name, "model.layers.3.mlp.experts.{e}.%s.weight", part);
    return sy_params_find(&B->params, name)->w.data;
}

/* Phase 1 trains expert 0 alone; the spawn copies values and moments; "right after the spawn with rho=0 the loss is unchanged for any router when weights sum to 1 (dense,
 * use_gumbel_gates=1)"; with rho, hidden units of the copies have lost their output and nothing else. */
static void spawning(void **state)
{
    (void)state;
    enum { E = 4, D = 6, F = 20 };
    static const double share[] = { 0, 0.3 };
    for (size_t i = 0; i < SY_COUNT(share); i++) {
        bed B;
        char text[160];
        sy_test_case("spawn_mask %g", share[i]);
        snprintf(text, sizeof text, "evomoe:spawn_step=2,spawn_mask=%g,use_gumbel_gates=true,threshold=0", share[i]);
        bed_open(&B, BED_SPEC(.router = text, .F = F));
        bed_tokens(&B, 0, 6, 8);
        sy_real *up = values(&B, "up_proj"), *down = values(&B, "down_proj"), first = up[F * D];
        for (B.step = 0; B.step < 2; B.step++) {
            sy_expect_ok(contract_step(&B, 1, err));
            assert_int_equal(B.route->n, B.T);
            for (int t = 0; t < B.T; t++) assert_true(B.route->expert[t] == 0 && B.route->weight->x[t] == 1);
        }
        assert_true(up[F * D] == first);                      /* expert 1 has not been trained */
        bed_go(&B, SY_SERVE);
        sy_real *y = malloc((size_t)B.T * D * sizeof *y);
        memcpy(y, B.y->x, (size_t)B.T * D * sizeof *y);
        sy_expect_ok(sy_block_before(&B.b, 2, 10, 0, err));
        bed_go(&B, SY_TRAIN);
        if (!i) sy_expect_close("y right after the spawn", B.y->x, y, (size_t)B.T * D, 1e-5, 1e-5);
        const sy_param *p = sy_params_find(&B.params, "model.layers.3.mlp.experts.{e}.up_proj.weight");
        int gone = 0;
        for (int e = 1; e < E; e++) {
            sy_expect_same("up", up + e * F * D, up, F * D * sizeof *up);
            sy_expect_same("moments", p->m + e * F * D, p->m, F * D * sizeof *up);
        }
        for (int e = 0; e < E; e++)
            for (int f = 0; f < F; f++) {
                bool zero = down[e * D * F + f] == 0;
                gone += zero;
                for (int d = 0; d < D; d++) assert_int_equal(down[(e * D + d) * F + f] == 0, zero);
            }
        assert_in_range(gone, i ? 12 : 0, i ? 36 : 0);        /* 24 of 80 expected, standard deviation 4 */
        sy_expect_ok(sy_block_before(&B.b, 3, 10, 0, err));   /* it happens once */
        sy_real was = down[3];
        down[3] = 7;
        sy_expect_ok(sy_block_before(&B.b, 4, 10, 0, err));
        assert_true(down[3] == 7 && was != 7);
        free(y);
        bed_close(&B);
    }
}

static void refusals(void **state)
{
    (void)state;
    bed_refused(BED_SPEC(.router = "evomoe:min_temperature=3"), SY_EARG, "the temperature falls");
    bed_refused(BED_SPEC(.router = "evomoe:threshold=0.5"), SY_EARG, "give less than 0.25");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(contract_of), cmocka_unit_test(formulas), cmocka_unit_test(invariants), cmocka_unit_test(spawning), cmocka_unit_test(refusals) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
