/* tests/experts/test_gelu.c - every activation of the two-matrix FFN against a loop in double. */
#include "route/bed.h"

static double act(int a, double x)
{
    switch (a) {
    case 0: return 0.5 * x * (1 + erf(x / sqrt(2)));
    case 1: return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case 2: return x > 0 ? x : 0;
    case 3: return x > 0 ? x * x : 0;
    default: return x / (1 + exp(-x));
    }
}

static void values(void **state)
{
    (void)state;
    static const char *const texts[] = { "gelu", "gelu:act=gelu_tanh", "gelu:hidden_act=relu", "gelu:act=relu2", "gelu:act=silu" };
    for (int a = 0; a < 5; a++) {
        bed B;
        sy_test_case("%s", texts[a]);
        bed_open(&B, BED_SPEC(.expert = texts[a]));
        bed_tokens(&B, 0, 1, 8);
        bed_go(&B, SY_TRAIN);
        const sy_real *up = sy_params_find(&B.params, "model.layers.3.mlp.experts.{e}.up_proj.weight")->w.data;
        const sy_real *down = sy_params_find(&B.params, "model.layers.3.mlp.experts.{e}.down_proj.weight")->w.data;
        for (int t = 0; t < B.T; t++) {
            double y[6] = { 0 };
            for (int s = 2 * t; s < 2 * t + 2; s++)
                for (int f = 0; f < 5; f++) {
                    int e = B.route->expert[s];
                    double h = 0;
                    for (int d = 0; d < 6; d++) h += (double)up[(e * 5 + f) * 6 + d] * B.value[6 * t + d];
                    for (int d = 0; d < 6; d++) y[d] += (double)B.route->weight->x[s] * act(a, h) * down[(e * 6 + d) * 5 + f];
                }
            for (int d = 0; d < 6; d++) sy_expect_near("y", (double)B.y->x[6 * t + d], y[d], BED_TOL, BED_TOL);
        }
        bed_close(&B);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(values) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
