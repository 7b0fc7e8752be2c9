/* tests/experts/test_residual.c - residual experts against loops in double; the invariants of a BASE layer. */
#include "route/bed.h"

enum { E = 4, D = 6, F = 5 };

static sy_real *values(const bed *B, int i, const char *part, double std)
{
    char name[96];
    snprintf(name, sizeof name, "model.layers.3.mlp.experts.{e}.%d.%s", i, part);
    sy_param *p = sy_params_find(&B->params, name);
    if (!p) fail_msg("no parameter is called %s", name);
    if (std > 0) sy_param_normal(p, 5, std);
    return p->w.data;
}

static void formulas(void **state)
{
    (void)state;
    for (int n = 1; n <= 3; n++) {
        bed B;
        char text[48];
        snprintf(text, sizeof text, "residual:base_sublayers=%d", n);
        sy_test_case("%s", text);
        bed_open(&B, BED_SPEC(.router = "base", .expert = text));
        bed_tokens(&B, 0, 2, 8);
        bed_go(&B, SY_TRAIN);
        for (int i = 0; i < 16 * D; i++) assert_true(B.y->x[i] == 0);     /* "at init (FF2 = 0) y = x exactly": nothing is added */
        for (int i = 0; i < n; i++) {
            values(&B, i, "down_proj.weight", 0.5);
            if (i) values(&B, i, "norm.weight", 1), values(&B, i, "norm.bias", 0.3);
        }
        bed_go(&B, SY_TRAIN);
        for (int t = 0; t < 16; t++) {
            int e = B.route->expert[t];
            double h[D], x[D];
            for (int d = 0; d < D; d++) h[d] = x[d] = (double)B.value[D * t + d];
            for (int i = 0; i < n; i++) {
                const sy_real *up = values(&B, i, "up_proj.weight", 0) + e * F * D, *down = values(&B, i, "down_proj.weight", 0) + e * D * F;
                double in[D], mean = 0, var = 0;
                for (int d = 0; d < D; d++) mean += h[d] / D;
                for (int d = 0; d < D; d++) var += (h[d] - mean) * (h[d] - mean) / D;
                for (int d = 0; d < D; d++) in[d] = i ? (h[d] - mean) / sqrt(var + 1e-5) * (double)values(&B, i, "norm.weight", 0)[e * D + d] + (double)values(&B, i, "norm.bias", 0)[e * D + d] : h[d];
                for (int f = 0; f < F; f++) {
                    double a = 0;
                    for (int d = 0; d < D; d++) a += (double)up[f * D + d] * in[d];
                    for (int d = 0; d < D && a > 0; d++) h[d] += (double)down[d * F + f] * a;
                }
            }
            for (int d = 0; d < D; d++) sy_expect_near("y", (double)B.y->x[D * t + d], (double)B.route->weight->x[t] * (h[d] - x[d]), 2e-5, 2e-5);
        }
        bed_close(&B);
    }
}

/* One sublayer is the two-matrix FFN with ReLU, bit for bit. */
static void one_sublayer(void **state)
{
    (void)state;
    bed A, B;
    bed_open(&A, BED_SPEC(.expert = "gelu:hidden_act=relu")), bed_open(&B, BED_SPEC(.expert = "residual"));
    bed_tokens(&A, 0, 2, 8), bed_tokens(&B, 0, 2, 8);
    memcpy(values(&B, 0, "up_proj.weight", 0), sy_params_find(&A.params, "model.layers.3.mlp.experts.{e}.up_proj.weight")->w.data, E * F * D * sizeof(sy_real));
    memcpy(values(&B, 0, "down_proj.weight", 0), sy_params_find(&A.params, "model.layers.3.mlp.experts.{e}.down_proj.weight")->w.data, E * F * D * sizeof(sy_real));
    bed_go(&A, SY_TRAIN), bed_go(&B, SY_TRAIN);
    sy_expect_same("y", B.y->x, A.y->x, 16 * D * sizeof(sy_real));
    bed_close(&A), bed_close(&B);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(formulas), cmocka_unit_test(one_sublayer) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
