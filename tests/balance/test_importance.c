/* tests/balance/test_importance.c - CV^2 of the summed gates against its formula in double; "uniform Importance gives exactly 0 loss". */
#include "route/bed.h"

static void formula(void **state)
{
    (void)state;
    static const char *const routers[] = { "topk", "mixtral", "topk:capacity_factor=0.6", "topk:score=sigmoid,top_k=3", "auxfree:top_k=2" };
    for (size_t i = 0; i < SY_COUNT(routers); i++) {
        bed B;
        double sum[4] = { 0 }, mean = 0, var = 0;
        sy_test_case("%s", routers[i]);
        bed_open(&B, BED_SPEC(.router = routers[i], .balance = { "importance:coef=0.3" }, .n_balance = 1));
        bed_tokens(&B, 0, 2, 8);
        bed_go(&B, SY_TRAIN);
        for (int s = 0; s < B.route->n; s++) if (B.route->expert[s] >= 0) sum[B.route->expert[s]] += (double)B.route->weight->x[s];
        for (int e = 0; e < 4; e++) mean += sum[e] / 4;
        for (int e = 0; e < 4; e++) var += (sum[e] - mean) * (sum[e] - mean) / 4;
        sy_expect_near("loss", bed_aux(&B, "importance"), 0.3 * var / (mean * mean + 1e-10), 1e-6, 1e-4);
        bed_close(&B);
    }
}

static void uniform(void **state)
{
    (void)state;
    bed B;
    bed_open(&B, BED_SPEC(.router = "topk:top_k=4", .balance = { "importance:coef=1" }, .n_balance = 1));
    bed_tokens(&B, 0, 1, 8);
    sy_param_fill(B.b.gate, 0);
    bed_go(&B, SY_TRAIN);
    sy_expect_near("loss", bed_aux(&B, "importance"), 0, 0, 0);
    bed_close(&B);
    bed_open(&B, BED_SPEC(.balance = { "importance:coef=0" }, .n_balance = 1));
    bed_tokens(&B, 0, 1, 3);
    bed_go(&B, SY_TRAIN);
    assert_int_equal(B.aux.n, 0);
    bed_close(&B);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(formula), cmocka_unit_test(uniform) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
