/* tests/routers/test_adamoe.c - null experts: choices, weights and loss against slow loops in double, and the invariants. */
#include "routers/contract.h"

#define GATE "model.layers.3.mlp.gate.weight"

static void contract_of(void **state)
{
    (void)state;
    contract_run(&(contract){ .key = "adamoe", .router = "adamoe:top_k=3,coef=0.1", .more = { "adamoe:top_k=3,norm_topk_prob=false,router_jitter_noise=0.1" }, .Z = 3,
                              .neutral = "adamoe:top_k=3", .base = "topk:top_k=3,norm_topk_prob=true" });
}

static void open(bed *B, const char *router, int E, int Z)
{
    bed_open(B, BED_SPEC(.router = router, .E = E, .Z = Z, .zero = Z ? "null" : NULL));
    bed_tokens(B, 0, 6, 10);
}

/* "weights of true experts sum to 1 or there are none"; the loss with null counts replaced by their mean */
static void formulas(void **state)
{
    (void)state;
    enum { E = 4, Z = 3, K = 3, N = 60 };
    bed B;
    open(&B, "adamoe:top_k=3,coef=0.5", E, Z);
    B.valid = malloc(N);
    for (int t = 0; t < N; t++) B.valid[t] = t % 7 != 2;
    bed_go(&B, SY_TRAIN);
    double *z = bed_logits(&B, GATE), *p = bed_softmax(z, N, E + Z), c[E + Z] = { 0 }, P[E + Z] = { 0 }, null = 0, all = 0, loss = 0;
    int n = 0, none = 0, some = 0;
    for (int t = 0; t < N; t++) {
        double sum = 0, got = 0;
        if (!B.valid[t]) continue;
        n++;
        for (int k = 0; k < K; k++) {
            int e = B.route->expert[B.route->first_slot[t] + k], above = 0;
            for (int f = 0; f < E + Z; f++) above += p[(E + Z) * t + f] > p[(E + Z) * t + e];
            assert_int_equal(above, k);
            c[e]++;
            if (e < E) sum += p[(E + Z) * t + e];
        }
        for (int k = 0; k < K; k++) {
            int s = B.route->first_slot[t] + k, e = B.route->expert[s];
            sy_expect_near("weight", (double)B.route->weight->x[s], e < E ? p[(E + Z) * t + e] / sum : 0, BED_TOL, BED_TOL);
            got += (double)B.route->weight->x[s];
        }
        sy_expect_near("weights sum to 1 or there are none", got, sum > 0, 1e-6, 0);
        sum > 0 ? some++ : none++;
        for (int e = 0; e < E + Z; e++) P[e] += p[(E + Z) * t + e];
    }
    assert_true(some && none);
    for (int e = E; e < E + Z; e++) null += c[e] / Z;
    for (int e = E; e < E + Z; e++) c[e] = null;
    for (int e = 0; e < E + Z; e++) all += c[e];
    for (int e = 0; e < E + Z; e++) loss += 0.5 * (E + Z) * c[e] / all * P[e] / n;
    sy_expect_near("loss", bed_aux(&B, "adamoe.balance"), loss, 1e-6, 1e-5);
    free(z), free(p);
    bed_close(&B);
}

/* All rows of the gate for null experts give `logit` on every token: the first value of each token is 1. */
static void nulls_at(bed *B, int E, int Z, double logit)
{
    sy_real *w = sy_params_find(&B->params, GATE)->w.data;
    for (int t = 0; t < B->T; t++) B->value[t * 6] = 1;
    for (int i = E * 6; i < (E + Z) * 6; i++) w[i] = i % 6 ? 0 : (sy_real)logit;
}

/* "all null logits = -inf equals renormalised top-K"; "all null logits = +inf gives y = 0 and no expert FLOPs"; "swapping two null experts changes nothing" */
static void invariants(void **state)
{
    (void)state;
    enum { E = 4, Z = 2 };
    bed A, B;
    open(&A, "topk:top_k=2,norm_topk_prob=true", E, 0), open(&B, "adamoe:top_k=2", E, Z);
    memcpy(sy_params_find(&B.params, GATE)->w.data, sy_params_find(&A.params, GATE)->w.data, E * 6 * sizeof(sy_real));
    nulls_at(&A, E, 0, 0), nulls_at(&B, E, Z, -1e9);
    bed_go(&A, SY_TRAIN), bed_go(&B, SY_TRAIN);
    sy_expect_ids("expert", B.route->expert, A.route->expert, (size_t)A.route->n);
    sy_expect_close("y", B.y->x, A.y->x, (size_t)A.T * 6, BED_TOL, BED_TOL);
    nulls_at(&B, E, Z, 1e9);
    bed_go(&B, SY_TRAIN);
    for (int i = 0; i < B.T * 6; i++) assert_true(B.y->x[i] == 0);
    for (int e = 0; e < E; e++) assert_int_equal(B.b.counts.micro[e], 0);
    bed_close(&A), bed_close(&B);
    open(&A, "adamoe:top_k=3,coef=0.5", E, Z), open(&B, "adamoe:top_k=3,coef=0.5", E, Z);
    sy_real *a = sy_params_find(&A.params, GATE)->w.data, *b = sy_params_find(&B.params, GATE)->w.data;
    memcpy(b + E * 6, a + (E + 1) * 6, 6 * sizeof *b), memcpy(b + (E + 1) * 6, a + E * 6, 6 * sizeof *b);
    bed_go(&A, SY_TRAIN), bed_go(&B, SY_TRAIN);
    sy_expect_close("swapped nulls: y", B.y->x, A.y->x, (size_t)A.T * 6, BED_TOL, BED_TOL);
    sy_expect_near("swapped nulls: loss", bed_aux(&B, "adamoe.balance"), bed_aux(&A, "adamoe.balance"), 1e-6, 1e-6);
    bed_close(&A), bed_close(&B);
}

static void refusals(void **state)
{
    (void)state;
    bed_refused(BED_SPEC(.router = "adamoe:top_k=7", .Z = 2, .zero = "null"), SY_EARG, "num_experts_per_tok 7 exceeds the 4 experts and 2 null experts");
    bed_refused(BED_SPEC(.router = "adamoe:top_k=1", .Z = 2, .zero = "null"), SY_EARG, "the constant 1");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(contract_of), cmocka_unit_test(formulas), cmocka_unit_test(invariants), cmocka_unit_test(refusals) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
