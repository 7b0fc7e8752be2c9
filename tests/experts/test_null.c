/* tests/experts/test_null.c - slots of null experts have no row, cost nothing and give nothing; adamoe: Z = 0 is plain top-k. */
#include "route/bed.h"

static void nothing(void **state)
{
    (void)state;
    bed B;
    bed_open(&B, BED_SPEC(.E = 2, .Z = 3, .zero = "null"));
    bed_tokens(&B, 0, 2, 7);
    bed_go(&B, SY_TRAIN);
    int real = 0, silent = 0;
    for (int t = 0; t < B.T; t++) {
        double y[6] = { 0 }, one[6];
        int here = 0;
        for (int s = 2 * t; s < 2 * t + 2; s++) {
            int e = B.route->expert[s];
            B.b.counts.micro[e]--;
            if (e >= 2) continue;
            here++;
            bed_swiglu(&B, e, B.value + 6 * t, one);
            for (int d = 0; d < 6; d++) y[d] += (double)B.route->weight->x[s] * one[d];
        }
        real += here;
        silent += here == 0;
        for (int d = 0; d < 6; d++) sy_expect_near("y", (double)B.y->x[6 * t + d], y[d], here ? BED_TOL : 0, BED_TOL);
    }
    assert_true(real > 0 && silent > 0);
    for (int e = 0; e < 5; e++) assert_int_equal(B.b.counts.micro[e], 0);   /* null slots are counted like others */
    sy_tensor *gate = &B.b.gate->leaf;
    uint64_t madds = (uint64_t)B.T * 6 * 5 + (uint64_t)real * 3 * 6 * 5;
    assert_int_equal(gate->dim[0], 5);
    assert_int_equal(B.tape.madds, madds);
    bed_close(&B);
}

static void everything_null(void **state)
{
    (void)state;
    bed B;
    bed_open(&B, BED_SPEC(.E = 1, .Z = 3, .zero = "null"));
    sy_param_fill(B.b.gate, 0);
    for (int e = 0; e < 6; e++) ((sy_real *)B.b.gate->w.data)[e] = -100;
    bed_tokens(&B, 0, 1, 4);
    for (int i = 0; i < B.T * 6; i++) B.value[i] = 1;
    bed_go(&B, SY_TRAIN);
    for (int i = 0; i < B.T * 6; i++) assert_true(B.y->x[i] == 0);
    bed_close(&B);
    bed_refused(BED_SPEC(.expert = "null"), SY_EUNSUP, "runs nothing");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(nothing), cmocka_unit_test(everything_null) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
