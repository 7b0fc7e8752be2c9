/* tests/routers/test_softmoe.c - Soft MoE against slow loops in double, and its invariants. */
#include "model/model.h"
#include "routers/contract.h"

#define MU "model.layers.3.mlp.gate.slots"
#define SCALE "model.layers.3.mlp.gate.scale"

static void contract_of(void **state)
{
    (void)state;
    contract_run(&(contract){ .key = "softmoe", .router = "softmoe:num_slots=2", .more = { "softmoe:noise_std=0.5" }, .balance = "none" });
}

/* l of one token and slot, in double */
static double logit(const bed *B, int t, int slot)
{
    const sy_real *mu = (const sy_real *)sy_params_find(&B->params, MU)->w.data + (size_t)slot * B->D, *x = B->value + (size_t)t * B->D;
    double dot = 0, xx = 0, mm = 0;
    for (int d = 0; d < B->D; d++) dot += (double)mu[d] * (double)x[d], xx += (double)x[d] * (double)x[d], mm += (double)mu[d] * (double)mu[d];
    return (double)((sy_real *)sy_params_find(&B->params, SCALE)->w.data)[0] * dot / sqrt(xx + 1e-6) / sqrt(mm + 1e-6);
}

/* The definition for two sequences with padding: "sum_t d = 1 per slot, sum_ep c = 1 per token" hold by construction of the oracle */
static void formulas(void **state)
{
    (void)state;
    enum { E = 3, P = 2, SEQ = 2, LEN = 7, N = SEQ * LEN };
    bed B;
    bed_open(&B, BED_SPEC(.router = "softmoe:num_slots=2", .E = E));
    bed_tokens(&B, 0, SEQ, LEN);
    B.valid = malloc(N);
    for (int t = 0; t < N; t++) B.valid[t] = t != 3 && t < 12;
    sy_param_fill(sy_params_find(&B.params, SCALE), 3);
    bed_go(&B, SY_TRAIN);
    assert_null(B.route);
    for (int q = 0; q < SEQ; q++) {
        double o[E * P][8];
        for (int s = 0; s < E * P; s++) {
            double sum = 0, x[8] = { 0 };
            sy_real slot[8];
            for (int t = q * LEN; t < (q + 1) * LEN; t++) sum += B.valid[t] ? exp(logit(&B, t, s)) : 0;
            for (int t = q * LEN; t < (q + 1) * LEN; t++) for (int d = 0; d < 6; d++) x[d] += B.valid[t] ? exp(logit(&B, t, s)) / sum * (double)B.value[6 * t + d] : 0;
            for (int d = 0; d < 6; d++) slot[d] = (sy_real)x[d];
            bed_swiglu(&B, s / P, slot, o[s]);
        }
        for (int t = q * LEN; t < (q + 1) * LEN; t++) {
            double sum = 0;
            for (int s = 0; s < E * P; s++) sum += exp(logit(&B, t, s));
            for (int d = 0; d < 6; d++) {
                double y = 0;
                for (int s = 0; s < E * P; s++) y += exp(logit(&B, t, s)) / sum * o[s][d];
                sy_expect_near("y", (double)B.y->x[6 * t + d], B.valid[t] ? y : 0, 1e-5, 1e-5);
            }
        }
    }
    bed_close(&B);
}

/* "E*P=1 and T=1 gives y = FFN(x)"; "permuting tokens permutes outputs"; a sequence does not see its neighbours */
static void invariants(void **state)
{
    (void)state;
    enum { LEN = 9 };
    bed A, B;
    double y[8];
    bed_open(&A, BED_SPEC(.router = "softmoe", .E = 1));
    bed_tokens(&A, 0, 1, 1);
    bed_go(&A, SY_TRAIN);
    bed_swiglu(&A, 0, A.value, y);
    for (int d = 0; d < 6; d++) sy_expect_near("FFN(x)", (double)A.y->x[d], y[d], BED_TOL, BED_TOL);
    bed_close(&A);
    bed_open(&A, BED_SPEC(.router = "softmoe:num_slots=3")), bed_open(&B, BED_SPEC(.router = "softmoe:num_slots=3"));
    bed_tokens(&A, 0, 3, LEN), bed_tokens(&B, 1, 1, LEN);
    for (int t = 0; t < LEN; t++) memcpy(B.value + 6 * t, A.value + 6 * (2 * LEN - 1 - t), 6 * sizeof(sy_real));
    bed_go(&A, SY_EVAL), bed_go(&B, SY_EVAL);
    for (int t = 0; t < LEN; t++) sy_expect_close("the second sequence backwards and alone", B.y->x + 6 * t, A.y->x + 6 * (2 * LEN - 1 - t), 6, BED_TOL, BED_TOL);
    bed_close(&A), bed_close(&B);
}

static void refusals(void **state)
{
    (void)state;
    bed_refused(BED_SPEC(.router = "softmoe", .Z = 1, .zero = "null"), SY_EUNSUP, "need a router that chooses");
    bed_refused(BED_SPEC(.router = "softmoe", .balance = { "switch" }, .n_balance = 1), SY_EUNSUP, "router softmoe");
    bed_refused(BED_SPEC(.router = "softmoe:num_slots=0"), SY_EARG, "outside 1 ..");
    sy_engine eng;                                            /* "leaks future tokens: not for causal LMs" */
    sy_spec s;
    sy_model *m = NULL;
    sy_err e = { 0 }, *err = &e;
    sy_expect_ok(sy_engine_init(&eng, 1, NULL, &sy_builtin_methods, err));
    sy_spec_defaults(&s);
    s.vocab_size = 31, s.hidden_size = 16, s.num_hidden_layers = 2, s.num_attention_heads = 2, s.layers = "sparse", s.router = "softmoe";
    sy_status st = sy_model_new(&m, &eng, &s, 0, 1, err);
    sy_expect_fail(st, SY_EUNSUP, "router softmoe declares that it has no causal form");
    sy_engine_uninit(&eng);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(contract_of), cmocka_unit_test(formulas), cmocka_unit_test(invariants), cmocka_unit_test(refusals) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
