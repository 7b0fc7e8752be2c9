/* tests/routers/test_sparsemixer.c - weights worked out by hand and by a slow loop over tokens, and what is refused. */
#include "route/bed.h"

#define GATE "model.layers.3.mlp.gate.weight"

static sy_real *gate(const bed *B) { return sy_params_find(&B->params, GATE)->w.data; }

/* One token x = 1 of width 1, so that the gate's rows are the logits. */
static void worked_examples(void **state)
{
    (void)state;
    static const struct { double s[4]; int expert[2]; double weight[2]; const char *what; } cases[] = {
        { { 2, 1.99, 1.5, -1 }, { 0, 1 }, { 0.5025, 1 }, "a near rival of the first" },
        { { 1, 3, 2, 2.97 }, { 1, 3 }, { 0.507499, 1 }, "order of the experts" },
        { { -1, -1.01, -2, -3 }, { 0, 1 }, { 0.5025, 1 }, "negative logits" },
    };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        bed B;
        sy_test_case("%s", cases[i].what);
        bed_open(&B, BED_SPEC(.router = "sparsemixer", .D = 1));
        bed_tokens(&B, 0, 1, 1);
        B.value[0] = 1;
        for (int e = 0; e < 4; e++) gate(&B)[e] = (sy_real)cases[i].s[e];
        bed_go(&B, SY_SERVE);
        sy_expect_ids("expert", B.route->expert, cases[i].expert, 2);
        for (int k = 0; k < 2; k++) sy_expect_near("weight", (double)B.route->weight->x[k], cases[i].weight[k], 1e-6, 0);
        bed_close(&B);
    }
}

static double slow(const double *s, int n, int e, int but, double j)
{
    double m = s[e], sum = 0;
    for (int i = 0; i < n; i++) {
        double clamped = fabs(s[i]) < m ? m : fabs(s[i]);
        if (i != but && (m - s[i]) / clamped <= 2 * j) sum += exp(s[i]);
    }
    return exp(s[e]) / sum;
}

static void tokens(void **state)
{
    (void)state;
    static const double jitter[] = { 0, 0.01, 0.3, 2 };
    for (size_t i = 0; i < SY_COUNT(jitter); i++) {
        bed B;
        char text[64];
        sy_test_case("jitter %g", jitter[i]);
        snprintf(text, sizeof text, "sparsemixer:router_jitter_noise=%g", jitter[i]);
        bed_open(&B, BED_SPEC(.router = text, .E = 8));
        bed_tokens(&B, 0, 3, 7);
        bed_go(&B, SY_EVAL);
        double *z = bed_logits(&B, GATE);
        for (int t = 0; t < B.T; t++) {
            const double *s = z + 8 * t;
            int one = 0, two = -1;
            for (int e = 0; e < 8; e++) if (s[e] > s[one]) one = e;
            for (int e = 0; e < 8; e++) if (e != one && (two < 0 || s[e] > s[two])) two = e;
            sy_expect_ids("expert", B.route->expert + 2 * t, ((int[]){ one, two }), 2);
            sy_expect_near("first weight", (double)B.route->weight->x[2 * t], slow(s, 8, one, -1, jitter[i]), BED_TOL, 0);
            sy_expect_near("second weight", (double)B.route->weight->x[2 * t + 1], slow(s, 8, two, one, jitter[i]), BED_TOL, 0);
        }
        free(z);
        bed_expect_layer(&B);
        bed_close(&B);
    }
}

static void refusals(void **state)
{
    (void)state;
    bed B;
    sy_err e = { 0 }, *err = &e;
    bed_refused(BED_SPEC(.router = "sparsemixer", .E = 1), SY_EARG, "2 experts");
    bed_open(&B, BED_SPEC(.router = "sparsemixer"));
    bed_tokens(&B, 0, 1, 3);
    sy_status st = bed_run(&B, SY_TRAIN, NULL, err);
    sy_expect_fail(st, SY_EUNSUP, "gradient of its training is not written");
    B.over = &(sy_override){ .k = 3 };
    st = bed_run(&B, SY_SERVE, NULL, err);
    sy_expect_fail(st, SY_EUNSUP, "best two experts only");
    B.over = &(sy_override){ .k = 1 };
    bed_go(&B, SY_SERVE);
    assert_int_equal(B.route->n, 3);
    bed_close(&B);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(worked_examples), cmocka_unit_test(tokens), cmocka_unit_test(refusals) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
