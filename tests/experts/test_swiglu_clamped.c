/* tests/experts/test_swiglu_clamped.c - values against a loop in double, on both sides of both limits; a gradient for every bias. */
#include "route/bed.h"

static const sy_real *of(const bed *B, const char *name)
{
    char full[96];
    snprintf(full, sizeof full, "model.layers.3.mlp.experts.{e}.%s", name);
    const sy_param *p = sy_params_find(&B->params, full);
    if (!p) fail_msg("no parameter is called %s", full);
    return p->w.data;
}

/* Biases that are not zero, and the same for every run. */
static void fill_biases(bed *B)
{
    static const char *const names[] = { "gate_proj.bias", "up_proj.bias", "down_proj.bias" };
    for (int i = 0; i < 3; i++) {
        char full[96];
        snprintf(full, sizeof full, "model.layers.3.mlp.experts.{e}.%s", names[i]);
        sy_param *p = sy_params_find(&B->params, full);
        assert_non_null(p);
        assert_int_equal(p->w.dim[0], 4);
        assert_int_equal(p->w.dim[1], i == 2 ? 6 : 5);
        for (size_t j = 0; j < p->n; j++) p->leaf.x[j] = (sy_real)(2 * sy_draw(sy_key(5, SY_FOR_TEST, 77, (uint64_t)i, 0), j, 0) - 1);
    }
}

static double dot(const sy_real *w, const sy_real *x, int n)
{
    double s = 0;
    for (int i = 0; i < n; i++) s += (double)w[i] * (double)x[i];
    return s;
}

static void values(void **state)
{
    (void)state;
    static const struct { const char *text; double alpha, limit; } cases[] = {
        { "swiglu_clamped", 1.702, 7 }, { "swiglu_clamped:limit=0.5", 1.702, 0.5 }, { "swiglu_clamped:swiglu_alpha=1,swiglu_limit=0.3", 1, 0.3 },
    };
    for (size_t c = 0; c < SY_COUNT(cases); c++) {
        bed B;
        int at_limit = 0;
        sy_test_case("%s", cases[c].text);
        bed_open(&B, BED_SPEC(.expert = cases[c].text));
        fill_biases(&B);
        bed_tokens(&B, 0, 1, 12);
        bed_go(&B, SY_TRAIN);
        const sy_real *wg = of(&B, "gate_proj.weight"), *bg = of(&B, "gate_proj.bias"), *wu = of(&B, "up_proj.weight"), *bu = of(&B, "up_proj.bias"), *wd = of(&B, "down_proj.weight"), *bd = of(&B, "down_proj.bias");
        for (int t = 0; t < B.T; t++) {
            double y[6] = { 0 };
            for (int s = 2 * t; s < 2 * t + 2; s++) {
                int e = B.route->expert[s];
                double w = (double)B.route->weight->x[s];
                for (int f = 0; f < 5; f++) {
                    double g = dot(wg + (e * 5 + f) * 6, B.value + 6 * t, 6) + (double)bg[e * 5 + f], u = dot(wu + (e * 5 + f) * 6, B.value + 6 * t, 6) + (double)bu[e * 5 + f];
                    at_limit += g > cases[c].limit || fabs(u) > cases[c].limit;
                    g = fmin(g, cases[c].limit);
                    u = fmax(fmin(u, cases[c].limit), -cases[c].limit);
                    double h = g / (1 + exp(-cases[c].alpha * g)) * (u + 1);
                    for (int d = 0; d < 6; d++) y[d] += w * h * (double)wd[(e * 6 + d) * 5 + f];
                }
                for (int d = 0; d < 6; d++) y[d] += w * (double)bd[e * 6 + d];
            }
            for (int d = 0; d < 6; d++) sy_expect_near("y", (double)B.y->x[6 * t + d], y[d], BED_TOL, BED_TOL);
        }
        assert_true(c == 0 ? at_limit == 0 : at_limit > 10);
        bed_close(&B);
    }
}

static void gradients_arrive(void **state)
{
    (void)state;
    bed B;
    bed_open(&B, BED_SPEC(.expert = "swiglu_clamped"));
    assert_int_equal(B.b.site.n_expert, 6);
    bed_tokens(&B, 0, 2, 9);
    bed_go(&B, SY_TRAIN);
    sy_expect_ok(sy_backward(&B.tape, sy_sum(&B.tape, sy_square(&B.tape, B.y)), err));
    for (int i = 0; i < B.b.site.n_expert; i++) {
        const sy_param *p = B.b.site.expert[i];
        double sum = 0;
        for (size_t j = 0; j < p->n; j++) sum += fabs((double)p->w.dx[j]);
        if (!(sum > 0)) fail_msg("%s gets no gradient", p->name);
    }
    bed_close(&B);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(values), cmocka_unit_test(gradients_arrive) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
