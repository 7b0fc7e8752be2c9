/* tests/experts/test_swiglu.c - names, sizes and values; E = K = 1 is the dense FFN, bit for bit. */
#include "route/bed.h"

static void names(void **state)
{
    (void)state;
    static const struct { const char *name; int dim[3]; } want[] = {
        { "model.layers.3.mlp.experts.{e}.gate_proj.weight", { 4, 5, 6 } }, { "model.layers.3.mlp.experts.{e}.up_proj.weight", { 4, 5, 6 } },
        { "model.layers.3.mlp.experts.{e}.down_proj.weight", { 4, 6, 5 } },
    };
    bed B;
    bed_open(&B, BED_SPEC());
    assert_int_equal(B.b.site.n_expert, 3);
    for (size_t i = 0; i < SY_COUNT(want); i++) {
        sy_param *p = sy_params_find(&B.params, want[i].name);
        assert_non_null(p);
        assert_ptr_equal(p, B.b.site.expert[i]);
        sy_expect_ids("dim", p->w.dim, want[i].dim, 3);
    }
    bed_tokens(&B, 0, 2, 6);
    bed_go(&B, SY_TRAIN);
    bed_expect_layer(&B);
    bed_close(&B);
}

static void dense(void **state)
{
    (void)state;
    bed B;
    bed_open(&B, BED_SPEC(.router = "topk:top_k=1", .E = 1));
    bed_tokens(&B, 0, 2, 9);
    bed_go(&B, SY_TRAIN);
    sy_weight w[3];
    for (int i = 0; i < 3; i++) {                                         /* [1,N,K] seen as [N,K] */
        w[i] = B.b.site.expert[i]->w;
        w[i].nd = 2;
        w[i].dim[0] = w[i].dim[1], w[i].dim[1] = w[i].dim[2];
        w[i].dx = NULL;
    }
    for (int t = 0; t < B.T; t++) assert_true(B.route->weight->x[t] == 1);
    sy_tensor *h = sy_glu(&B.tape, SY_ACT_SILU, sy_linear(&B.tape, B.x, &w[0], NULL), sy_linear(&B.tape, B.x, &w[1], NULL));
    sy_tensor *y = sy_linear(&B.tape, h, &w[2], NULL);
    sy_expect_ok(sy_tape_status(&B.tape, err));
    sy_expect_same("y", B.y->x, y->x, (size_t)B.T * B.D * sizeof(sy_real));
    bed_close(&B);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(names), cmocka_unit_test(dense) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
