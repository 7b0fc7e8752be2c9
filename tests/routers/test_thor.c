/* tests/routers/test_thor.c - experts drawn at random: who draws what, weights, experts that rest. */
#include "routers/contract.h"

static void contract_of(void **state)
{
    (void)state;
    contract_run(&(contract){ .key = "thor", .router = "thor", .more = { "thor:inference_level=token", "thor:inference_level=ensemble" }, .balance = "none" });
}

/* One expert for the whole batch in training, another with another key of the batch; one a sequence or a token when serving, each expert about equally often. */
static void draws(void **state)
{
    (void)state;
    enum { E = 5, SEQ = 400, LEN = 3 };
    static const char *const router[] = { "thor:inference_level=sequence", "thor:inference_level=token" };
    for (int level = 0; level < 2; level++) {
        bed B;
        int seen[E] = { 0 }, changes = 0;
        sy_test_case("%s", router[level]);
        bed_open(&B, BED_SPEC(.router = router[level], .E = E));
        bed_tokens(&B, 0, SEQ, LEN);
        bed_go(&B, SY_TRAIN);
        for (int t = 1; t < B.T; t++) assert_int_equal(B.route->expert[t], B.route->expert[0]);
        bed_go(&B, SY_SERVE);
        for (int t = 0; t < B.T; t++) {
            seen[B.route->expert[t]]++;
            sy_expect_near("weight", (double)B.route->weight->x[t], 1, 0, 0);
            if (t % LEN) changes += B.route->expert[t] != B.route->expert[t - 1];
        }
        if (level == 0) assert_int_equal(changes, 0);
        else assert_in_range(changes, 560, 720);                              /* 800 neighbours, 4 in 5 differ */
        for (int e = 0; e < E; e++) assert_in_range(seen[e], level ? 180 : 150, level ? 300 : 330);    /* 240 each */
        bed_expect_layer(&B);
        bed_close(&B);
    }
}

/* inference_level ensemble: mean of all experts' outputs. */
static void ensemble(void **state)
{
    (void)state;
    bed B;
    bed_open(&B, BED_SPEC(.router = "thor:inference_level=ensemble", .E = 3));
    bed_tokens(&B, 0, 2, 4);
    bed_go(&B, SY_SERVE);
    assert_int_equal(B.route->n, 3 * B.T);
    for (int s = 0; s < B.route->n; s++) {
        assert_int_equal(B.route->expert[s], s % 3);
        sy_expect_near("weight", (double)B.route->weight->x[s], 1.0 / 3, 1e-7, 0);
    }
    bed_expect_layer(&B);
    bed_close(&B);
}

/* expert not drawn gets zero gradient; Adam's moments of undrawn experts must not decay, and their values stay, weight decay or not. */
static void undrawn_rest(void **state)
{
    (void)state;
    enum { E = 4 };
    bed B;
    sy_optim o;
    sy_opt_defaults(sy_optim_opts, &o);
    o.weight_decay = 0.5;
    bed_open(&B, BED_SPEC(.router = "thor", .E = E));
    bed_tokens(&B, 0, 2, 4);
    for (int step = 0; step < 3; step++) {                                     /* batch_key is the same: one expert is drawn always */
        sy_expect_ok(sy_block_before(&B.b, step, 3, 0, err));
        sy_grad_zero(&B.eng, &B.params);
        bed_go(&B, SY_TRAIN);
        int e = B.route->expert[0], from;
        sy_real *dy = malloc((size_t)B.T * B.D * sizeof *dy);
        for (int i = 0; i < B.T * B.D; i++) dy[i] = (sy_real)(1 + i % 3);
        sy_expect_ok(sy_backward_from(&B.tape, B.y, dy, err));
        free(dy);
        for (int i = 0; i < B.params.n; i++) {
            sy_param *p = B.params.p[i];
            size_t row = p->n / E, k = 0;
            assert_true(p->flags & SY_LAZY);
            for (from = 0; from < E; from++)
                for (k = 0; k < row && from != e; k++) {
                    assert_true(p->w.dx[(size_t)from * row + k] == 0);
                    p->m[(size_t)from * row + k] = (sy_real)0.25, p->v[(size_t)from * row + k] = (sy_real)0.5;      /* as if it had been trained */
                }
            assert_true(p->w.dx[(size_t)e * row] != 0);
        }
        sy_real *old[16];
        assert_in_range(B.params.n, 1, 16);
        for (int i = 0; i < B.params.n; i++) old[i] = memcpy(malloc(B.params.p[i]->n * sizeof(sy_real)), B.params.p[i]->w.data, B.params.p[i]->n * sizeof(sy_real));
        sy_optim_step(&B.eng, &B.params, &o, 1e-2, step + 1, 1);
        for (int i = 0; i < B.params.n; i++) {
            sy_param *p = B.params.p[i];
            size_t row = p->n / E;
            for (from = 0; from < E; from++)
                for (size_t k = (size_t)from * row; k < (size_t)(from + 1) * row; k++) {
                    bool same = ((sy_real *)p->w.data)[k] == old[i][k];
                    if (from == e) assert_true(!same);
                    else assert_true(same && p->m[k] == (sy_real)0.25 && p->v[k] == (sy_real)0.5);
                }
            free(old[i]);
        }
    }
    bed_close(&B);
}

/* A router that does not declare it has experts that do not rest. */
static void others_do_not_rest(void **state)
{
    (void)state;
    bed B;
    bed_open(&B, BED_SPEC(.router = "topk"));
    for (int i = 0; i < B.params.n; i++) assert_false(B.params.p[i]->flags & SY_LAZY);
    bed_close(&B);
}

static void refusals(void **state)
{
    (void)state;
    bed_refused(BED_SPEC(.router = "thor", .balance = { "switch" }, .n_balance = 1), SY_EUNSUP, "declares that it has none");
    bed_refused(BED_SPEC(.router = "thor", .balance = { "zloss" }, .n_balance = 1), SY_EUNSUP, "declares that it has none");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(contract_of), cmocka_unit_test(draws), cmocka_unit_test(ensemble), cmocka_unit_test(undrawn_rest), cmocka_unit_test(others_do_not_rest), cmocka_unit_test(refusals) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
