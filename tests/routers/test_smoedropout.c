/* tests/routers/test_smoedropout.c - SMoE-Dropout: schedule, weights and choices against slow loops, and the invariants. */
#include "routers/contract.h"

#define GATE "model.layers.3.mlp.gate.weight"
#define BIAS "model.layers.3.mlp.gate.bias"

static void contract_of(void **state)
{
    (void)state;
    contract_run(&(contract){ .key = "smoedropout", .router = "smoedropout", .more = { "smoedropout:k_min=1,k_max=3,dynamic_moe_mode=cosine_increase,inference_k=2" }, .balance = "none" });
    contract_run(&(contract){ .key = "smoedropout", .router = "smoedropout:freeze_gate=false", .balance = "switch" });
}

/* "schedule hits k_min at step 0 and k_max at the end"; k by hand at some steps */
static void schedule(void **state)
{
    (void)state;
    static const struct { const char *text; int64_t step; int k; } cases[] = {
        { "smoedropout:k_min=2", 0, 2 }, { "smoedropout:k_min=2", 5, 5 }, { "smoedropout:k_min=2", 10, 8 }, { "smoedropout:k_min=2,dynamic_overall_steps=4", 5, 8 },
        { "smoedropout:k_min=1,dynamic_moe_mode=linear_decrease", 0, 8 }, { "smoedropout:k_min=1,dynamic_moe_mode=linear_decrease", 10, 1 },
        { "smoedropout:k_min=2,dynamic_moe_mode=cosine_increase", 0, 2 }, { "smoedropout:k_min=2,dynamic_moe_mode=cosine_increase", 5, 4 },       /* 2 + 6 (1 - 0.7071) = 3.76 */
        { "smoedropout:k_min=2,dynamic_moe_mode=cosine_increase", 10, 8 },
        { "smoedropout:k_min=1,dynamic_moe_mode=multi_step", 2, 1 }, { "smoedropout:k_min=1,dynamic_moe_mode=multi_step", 3, 2 }, { "smoedropout:k_min=1,dynamic_moe_mode=multi_step", 7, 4 },
        { "smoedropout:k_min=1,dynamic_moe_mode=multi_step", 9, 8 },
    };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        bed B;
        sy_test_case("%s, step %d of 10", cases[i].text, (int)cases[i].step);
        bed_open(&B, BED_SPEC(.router = cases[i].text, .E = 8));
        bed_tokens(&B, 0, 2, 5);
        B.step = cases[i].step;
        bed_go(&B, SY_TRAIN);
        assert_int_equal(B.route->n, cases[i].k * B.T);
        bed_go(&B, SY_SERVE);
        assert_int_equal(B.route->n, 8 * B.T);                /* "k=E uses every expert" */
        bed_close(&B);
    }
}

/* Choices by logit, weights the softmax over the chosen: they sum to 1 for any k of a call. */
static void formulas(void **state)
{
    (void)state;
    bed B;
    bed_open(&B, BED_SPEC(.router = "smoedropout", .E = 5));
    bed_tokens(&B, 0, 3, 8);
    double *z = bed_logits(&B, GATE);
    const sy_real *b = sy_params_find(&B.params, BIAS)->w.data;
    for (int k = 1; k <= 5; k++) {
        sy_override over = { .k = k };
        sy_test_case("k = %d", k);
        B.over = &over;
        bed_go(&B, SY_SERVE);
        for (int t = 0; t < B.T; t++) {
            double sum = 0;
            for (int s = k * t; s < k * t + k; s++) sum += exp(z[5 * t + B.route->expert[s]] + (double)b[B.route->expert[s]]);
            for (int s = k * t; s < k * t + k; s++) {
                int e = B.route->expert[s], above = 0;
                for (int f = 0; f < 5; f++) above += z[5 * t + f] + (double)b[f] > z[5 * t + e] + (double)b[e];
                assert_int_equal(above, s - k * t);
                sy_expect_near("weight", (double)B.route->weight->x[s], exp(z[5 * t + e] + (double)b[e]) / sum, BED_TOL, BED_TOL);
            }
        }
        bed_expect_layer(&B);
        B.over = NULL;
    }
    free(z);
    bed_close(&B);
}

static void refusals(void **state)
{
    (void)state;
    bed_refused(BED_SPEC(.router = "smoedropout:k_max=5"), SY_EARG, "moe_top_k_max 5 exceeds the 4 experts");
    bed_refused(BED_SPEC(.router = "smoedropout:k_min=3,k_max=2"), SY_EARG, "moe_top_k_min 3 exceeds moe_top_k_max, 2");
    bed_refused(BED_SPEC(.router = "smoedropout:inference_k=5"), SY_EARG, "inference_k 5 exceeds");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(contract_of), cmocka_unit_test(schedule), cmocka_unit_test(formulas), cmocka_unit_test(refusals) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
