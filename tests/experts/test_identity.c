/* tests/experts/test_identity.c - "identity experts with weights summing to one are the identity"; as zero-cost experts beside real ones. */
#include "route/bed.h"

static void identity(void **state)
{
    (void)state;
    bed B;
    bed_open(&B, BED_SPEC(.router = "mixtral", .expert = "identity"));
    bed_tokens(&B, 0, 2, 7);
    bed_go(&B, SY_TRAIN);
    assert_int_equal(B.b.site.n_expert, 0);
    sy_expect_close("y", B.y->x, B.value, (size_t)B.T * B.D, 1e-6, 1e-6);
    sy_expect_ok(sy_backward_from(&B.tape, B.y, B.value, err));
    sy_expect_close("dx", B.x->dx, B.value, (size_t)B.T * B.D, 1e-5, 1e-5);   /* the router's share is 0: all rows are equal */
    bed_close(&B);
}

static void zero_cost(void **state)
{
    (void)state;
    bed B;
    bed_open(&B, BED_SPEC(.router = "topk:top_k=3", .E = 3, .Z = 3, .zero = "identity"));
    bed_tokens(&B, 0, 2, 7);
    bed_go(&B, SY_TRAIN);
    int zero = 0;
    for (int t = 0; t < B.T; t++) {
        double y[6] = { 0 }, one[6];
        for (int s = 3 * t; s < 3 * t + 3; s++) {
            int e = B.route->expert[s];
            zero += e >= 3;
            if (e < 3) bed_swiglu(&B, e, B.value + 6 * t, one);
            for (int d = 0; d < 6; d++) y[d] += (double)B.route->weight->x[s] * (e < 3 ? one[d] : (double)B.value[6 * t + d]);
        }
        for (int d = 0; d < 6; d++) sy_expect_near("y", (double)B.y->x[6 * t + d], y[d], BED_TOL, BED_TOL);
    }
    assert_true(zero > 0);
    bed_close(&B);
    bed_refused(BED_SPEC(.Z = 1, .zero = "swiglu"), SY_EUNSUP, "does not declare zero cost");
    bed_refused(BED_SPEC(.Z = 1), SY_EARG, "no kind is given");
    bed_refused(BED_SPEC(.zero = "identity"), SY_EARG, "there are 0 of them");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(identity), cmocka_unit_test(zero_cost) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
