/* tests/balance/test_zloss.c - the z-loss against its formula in double, and the card's invariants. */
#include "route/bed.h"

static double lse(const double *z, int n)
{
    double sum = 0;
    for (int e = 0; e < n; e++) sum += exp(z[e]);
    return log(sum);
}

static void formula(void **state)
{
    (void)state;
    for (int padded = 0; padded < 2; padded++) {
        bed B;
        double want = 0;
        int n = 0;
        sy_test_case("padding %d", padded);
        bed_open(&B, BED_SPEC(.balance = { "zloss:coef=0.5" }, .n_balance = 1));
        bed_tokens(&B, 0, 2, 6);
        if (padded) {
            B.valid = malloc((size_t)B.T);
            for (int t = 0; t < B.T; t++) B.valid[t] = t % 3 != 0;
        }
        bed_go(&B, SY_TRAIN);
        double *z = bed_logits(&B, "model.layers.3.mlp.gate.weight"), grad[4][6] = { { 0 } };
        for (int t = 0; t < B.T; t++) n += !padded || B.valid[t];
        for (int t = 0; t < B.T; t++) {
            double l = lse(z + 4 * t, 4);
            if (padded && !B.valid[t]) continue;
            want += 0.5 * l * l / n;
            for (int e = 0; e < 4; e++)                                   /* coef (2/N) lse_t p_te */
                for (int d = 0; d < 6; d++) grad[e][d] += 0.5 * 2 / n * l * exp(z[4 * t + e] - l) * B.value[6 * t + d];
        }
        sy_expect_near("loss", bed_aux(&B, "zloss"), want, 1e-6, 1e-5);
        sy_expect_ok(sy_backward(&B.tape, B.aux.l[0].value, err));
        for (int i = 0; i < 24; i++) sy_expect_near("d gate", (double)B.b.gate->w.dx[i], grad[i / 6][i % 6], 1e-6, 1e-4);
        free(z);
        bed_close(&B);
    }
}

/* "with all logits equal to -ln E the loss is 0; the gradient of a single token sums over e to 2*lse*coef/N; zero coef is bit-identical to no term" */
static void invariants(void **state)
{
    (void)state;
    bed B;
    bed_open(&B, BED_SPEC(.balance = { "zloss:coef=3" }, .n_balance = 1, .D = 1));
    bed_tokens(&B, 0, 1, 1);
    B.value[0] = 1;
    sy_param_fill(B.b.gate, -log(4));
    bed_go(&B, SY_TRAIN);
    sy_expect_near("logits -ln E", bed_aux(&B, "zloss"), 0, 1e-12, 0);
    sy_param_fill(B.b.gate, 0.7);
    bed_go(&B, SY_TRAIN);
    sy_expect_ok(sy_backward(&B.tape, B.aux.l[0].value, err));
    double sum = 0;
    for (int e = 0; e < 4; e++) sum += (double)B.b.gate->w.dx[e];
    sy_expect_near("gradients of one token", sum, 2 * (0.7 + log(4)) * 3, 1e-5, 0);
    bed_close(&B);
    bed_open(&B, BED_SPEC(.balance = { "zloss:coef=0" }, .n_balance = 1));
    bed_tokens(&B, 0, 1, 3);
    bed_go(&B, SY_TRAIN);
    assert_int_equal(B.aux.n, 0);
    bed_close(&B);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(formula), cmocka_unit_test(invariants) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
