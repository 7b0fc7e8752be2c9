/* tests/routers/test_remoe.c - ReLU routing: gates, penalty and the rule of lambda against slow loops in double. */
#include "routers/contract.h"

#define GATE "model.layers.3.mlp.gate.weight"
#define LAMBDA "model.layers.3.mlp.gate.lambda"

static void contract_of(void **state)
{
    (void)state;
    contract_run(&(contract){ .key = "remoe", .router = "remoe:lambda_init=0.1", .more = { "remoe:lambda_init=0.1,load_balance=false,top_k=1" } });
}

static void formulas(void **state)
{
    (void)state;
    enum { E = 5, N = 48 };
    for (int even = 0; even < 2; even++) {
        bed B;
        sy_test_case("load_balance %d", even);
        bed_open(&B, BED_SPEC(.router = even ? "remoe:lambda_init=0.5" : "remoe:lambda_init=0.5,load_balance=false", .E = E));
        bed_tokens(&B, 0, 6, 8);
        B.valid = malloc(N);
        int n = 0, c[E] = { 0 };
        for (int t = 0; t < N; t++) n += B.valid[t] = t % 5 != 2;
        bed_go(&B, SY_TRAIN);
        double *z = bed_logits(&B, GATE), loss = 0;
        for (int t = 0; t < N; t++) {
            int have = 0;
            for (int e = 0; e < E && B.valid[t]; e++) have += z[t * E + e] > 0, c[e] += z[t * E + e] > 0;
            assert_int_equal(B.route->first_slot[t + 1] - B.route->first_slot[t], have);
            for (int s = B.route->first_slot[t]; s < B.route->first_slot[t + 1]; s++) sy_expect_near("g = z", (double)B.route->weight->x[s], z[t * E + B.route->expert[s]], BED_TOL, BED_TOL);
        }
        for (int t = 0; t < N; t++)
            for (int e = 0; e < E && B.valid[t]; e++) loss += 0.5 / n * (even ? (double)E / (2.0 * n) * c[e] : 1) * fmax(z[t * E + e], 0);
        sy_expect_near("penalty", bed_aux(&B, "remoe.penalty"), loss, 1e-6, 1e-5);
        bed_expect_layer(&B);
        free(z);
        bed_close(&B);
    }
}

/* "lambda <- lambda * alpha^sign((1 - K/E) - S)" from the whole step; a second run and evaluation count nothing */
static void adapts(void **state)
{
    (void)state;
    static const struct { double logit; double factor; const char *what; } cases[] = { { 1, 1.5, "all experts: too dense" }, { -1, 1 / 1.5, "none: too sparse" } };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        bed B;
        sy_test_case("%s", cases[i].what);
        bed_open(&B, BED_SPEC(.router = "remoe:lambda_init=0.25,lambda_alpha=1.5"));
        bed_tokens(&B, 0, 3, 8);
        sy_param_fill(sy_params_find(&B.params, GATE), cases[i].logit);
        for (int k = 0; k < B.T * 6; k++) B.value[k] = 1;
        sy_expect_ok(sy_block_before(&B.b, 0, 10, 0, err));
        bed_go(&B, SY_TRAIN);
        bed_keep(&B);
        sy_expect_ok(bed_run(&B, SY_TRAIN, &B.again, err));
        bed_go(&B, SY_EVAL);
        sy_expect_ok(sy_block_after(&B.b, 0, 10, 0, err));
        sy_expect_near("lambda", (double)((sy_real *)sy_params_find(&B.params, LAMBDA)->w.data)[0], 0.25 * cases[i].factor, 1e-6, 0);
        bed_close(&B);
    }
    bed B;
    sy_test_case("two of four experts a token: lambda rests");
    bed_open(&B, BED_SPEC(.router = "remoe:lambda_init=0.25"));
    bed_tokens(&B, 0, 3, 8);
    sy_real *w = sy_params_find(&B.params, GATE)->w.data;
    for (int k = 0; k < 24; k++) w[k] = k / 6 < 2 ? 1 : -1;
    for (int k = 0; k < B.T * 6; k++) B.value[k] = 1;
    sy_expect_ok(sy_block_before(&B.b, 0, 10, 0, err));
    bed_go(&B, SY_TRAIN);
    sy_expect_ok(sy_block_after(&B.b, 0, 10, 0, err));
    assert_true(((sy_real *)sy_params_find(&B.params, LAMBDA)->w.data)[0] == (sy_real)0.25);
    bed_close(&B);
}

/* The penalty alone, which starts far too small, brings the number of experts down from all. */
static void thins_out(void **state)
{
    (void)state;
    bed B;
    sy_optim o;
    sy_opt_defaults(sy_optim_opts, &o);
    o.weight_decay = 0;
    bed_open(&B, BED_SPEC(.router = "remoe:top_k=1,lambda_init=0.001", .E = 8));
    bed_tokens(&B, 0, 16, 8);
    sy_real *w = sy_params_find(&B.params, GATE)->w.data;
    for (int k = 0; k < B.T; k++) B.value[6 * k] = 1;
    for (int e = 0; e < 8; e++) w[6 * e] = 2;
    double first = 0, last = 0;
    for (B.step = 0; B.step < 600; B.step++) {
        sy_expect_ok(sy_block_before(&B.b, B.step, 600, 0, err));
        sy_grad_zero(&B.eng, &B.params);
        bed_go(&B, SY_TRAIN);
        if (B.aux.n) sy_expect_ok(sy_backward(&B.tape, B.aux.l[0].value, err));
        sy_optim_step(&B.eng, &B.params, &o, 1e-2, B.step + 1, 1);
        sy_expect_ok(sy_block_after(&B.b, B.step, 600, 0, err));
        if (!B.step) first = (double)B.route->n / B.T;
        last = (double)B.route->n / B.T;
    }
    assert_true(first > 4 && last < 0.6 * first);
    bed_close(&B);
}

static void refusals(void **state)
{
    (void)state;
    bed_refused(BED_SPEC(.router = "remoe:top_k=5"), SY_EARG, "num_experts_per_tok 5 exceeds the 4 experts");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(contract_of), cmocka_unit_test(formulas), cmocka_unit_test(adapts), cmocka_unit_test(thins_out), cmocka_unit_test(refusals) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
