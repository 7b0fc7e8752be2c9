/* tests/experts/test_constant.c - y = a1 x + a2 v, (a1, a2) = softmax(W x), against a loop in double. */
#include "route/bed.h"

static void values(void **state)
{
    (void)state;
    bed B;
    bed_open(&B, BED_SPEC(.router = "topk:top_k=3", .E = 2, .Z = 4, .zero = "constant"));
    bed_tokens(&B, 0, 2, 7);
    bed_go(&B, SY_TRAIN);
    const sy_real *w = sy_params_find(&B.params, "model.layers.3.mlp.zero_experts.{e}.mix.weight")->w.data;
    const sy_real *v = sy_params_find(&B.params, "model.layers.3.mlp.zero_experts.{e}.vector")->w.data;
    int used = 0;
    for (int t = 0; t < B.T; t++) {
        const sy_real *x = B.value + 6 * t;
        double y[6] = { 0 }, one[6];
        for (int s = 3 * t; s < 3 * t + 3; s++) {
            int e = B.route->expert[s], z = e - 2;
            if (e < 2) bed_swiglu(&B, e, x, one);
            else {
                double a = 0, b = 0;
                for (int d = 0; d < 6; d++) a += (double)w[(2 * z) * 6 + d] * x[d], b += (double)w[(2 * z + 1) * 6 + d] * x[d];
                for (int d = 0; d < 6; d++) one[d] = (exp(a) * x[d] + exp(b) * v[z * 6 + d]) / (exp(a) + exp(b));
                used++;
            }
            for (int d = 0; d < 6; d++) y[d] += (double)B.route->weight->x[s] * one[d];
        }
        for (int d = 0; d < 6; d++) sy_expect_near("y", (double)B.y->x[6 * t + d], y[d], BED_TOL, BED_TOL);
    }
    assert_true(used > 0);
    bed_close(&B);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(values) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
