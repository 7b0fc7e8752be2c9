/* tests/routers/test_dynmoe.c - top-p routing against a slow sort in double, and the invariants of its definition. */
#include "routers/contract.h"

#define GATE "model.layers.3.mlp.gate.weight"

static void contract_of(void **state)
{
    (void)state;
    contract_run(&(contract){ .key = "dynmoe", .router = "dynmoe:top_p_threshold=0.7,dyn_coef=0.01", .more = { "dynmoe:top_p_threshold=0.9,temperature=0.5,max_experts=2" },
                              .neutral = "dynmoe:top_p_threshold=0", .base = "topk:top_k=1" });
}

static void open(bed *B, const char *router, double spread)
{
    bed_open(B, BED_SPEC(.router = router, .E = 8));
    bed_tokens(B, 0, 6, 10);
    sy_param_normal(sy_params_find(&B->params, GATE), 9, spread);
    bed_go(B, SY_TRAIN);
}

/* Choices and weights; "dropping the last chosen expert leaves a sum <= threshold" */
static void formulas(void **state)
{
    (void)state;
    static const struct { const char *text; double threshold, temperature; int most; } cases[] = {
        { "dynmoe", 0.4, 1, 8 }, { "dynmoe:threshold=0.8", 0.8, 1, 8 }, { "dynmoe:threshold=0.8,temperature=2", 0.8, 2, 8 }, { "dynmoe:threshold=0.95,max_experts=3", 0.95, 1, 3 }, { "dynmoe:threshold=1", 1, 1, 8 },
    };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        bed B;
        sy_test_case("%s", cases[i].text);
        open(&B, cases[i].text, 1);
        double *z = bed_logits(&B, GATE), entropy = 0;
        for (int k = 0; k < B.T * 8; k++) z[k] /= cases[i].temperature;
        double *p = bed_softmax(z, B.T, 8);
        for (int t = 0; t < B.T; t++) {
            int from = B.route->first_slot[t], n = B.route->first_slot[t + 1] - from;
            double sum = 0;
            for (int e = 0; e < 8; e++) entropy -= p[8 * t + e] * log(p[8 * t + e]) / B.T;
            for (int k = 0; k < n; k++) {
                int e = B.route->expert[from + k], above = 0;
                for (int f = 0; f < 8; f++) above += p[8 * t + f] > p[8 * t + e];
                assert_int_equal(above, k);                   /* the k-th of the order */
                assert_true(cases[i].threshold >= 1 || sum <= cases[i].threshold + 1e-6);
                sy_expect_near("weight = p", (double)B.route->weight->x[from + k], p[8 * t + e], BED_TOL, BED_TOL);
                sum += p[8 * t + e];
            }
            assert_true(n == cases[i].most || sum > cases[i].threshold - 1e-6);
            if (cases[i].threshold >= 1) assert_int_equal(n, 8);          /* "threshold >= 1 gives the dense softmax mixture" */
        }
        sy_expect_near("entropy", bed_aux(&B, "dynmoe.entropy"), 1e-4 * entropy, 1e-9, 1e-5);
        bed_expect_layer(&B);
        free(z), free(p);
        bed_close(&B);
    }
}

/* "threshold 0 gives exactly top-1 with weight p_(1)"; "number of experts is non-decreasing in the threshold for fixed logits"; a threshold per call stands in for the option */
static void invariants(void **state)
{
    (void)state;
    bed B;
    int last = 0;
    open(&B, "dynmoe:threshold=0", 1);
    assert_int_equal(B.route->n, B.T);
    for (int t = 0; t < B.T; t++) for (int e = 0; e < 8; e++) assert_true(B.route->weight->x[t] >= B.route->probs->x[8 * t + e]);
    for (double th = 0.1; th < 1.05; th += 0.1) {
        sy_override over = { .threshold = th };
        B.over = &over;
        bed_go(&B, SY_SERVE);
        assert_true(B.route->n >= last);
        last = B.route->n;
        B.over = NULL;
    }
    assert_int_equal(last, 8 * B.T);
    sy_override bad = { .threshold = -1 };
    sy_err e = { 0 }, *err = &e;
    B.over = &bad;
    sy_status st = bed_run(&B, SY_SERVE, NULL, err);
    sy_expect_fail(st, SY_EARG, "threshold -1 is no probability");
    bed_close(&B);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(contract_of), cmocka_unit_test(formulas), cmocka_unit_test(invariants) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
