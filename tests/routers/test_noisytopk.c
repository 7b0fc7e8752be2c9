/* tests/routers/test_noisytopk.c - noisy top-k against slow loops in double, and the invariants of its definition. */
#include "routers/contract.h"

#define GATE "model.layers.3.mlp.gate.weight"
#define NOISE "model.layers.3.mlp.gate.noise_weight"

static void contract_of(void **state)
{
    (void)state;
    contract_run(&(contract){ .key = "noisytopk", .router = "noisytopk", .more = { "noisytopk:top_k=4", "noisytopk:top_k=3,noise_eps=0.5,w_load=0" } });
}

static void open(bed *B, const char *router, int E, int n_seq, int len, double std)
{
    bed_open(B, BED_SPEC(.router = router, .E = E));
    bed_tokens(B, 0, n_seq, len);
    sy_param_normal(sy_params_find(&B->params, GATE), 5, std);
    sy_param_normal(sy_params_find(&B->params, NOISE), 6, std);
}

/* K best of h, without order: a slow search. */
static double nth_largest(const double *h, int n, int nth)
{
    for (int e = 0; e < n; e++) {
        int above = 0;
        for (int f = 0; f < n; f++) above += h[f] > h[e];
        if (above == nth - 1) return h[e];
    }
    return NAN;
}

static double cv2(const double *v, int n)
{
    double mean = 0, var = 0;
    for (int e = 0; e < n; e++) mean += v[e] / n;
    for (int e = 0; e < n; e++) var += (v[e] - mean) * (v[e] - mean) / n;
    return var / (mean * mean + 1e-10);
}

/* Choices, weights and both losses from the definition. */
static void formulas(void **state)
{
    (void)state;
    enum { E = 6, K = 2, N = 40 };
    bed B;
    open(&B, "noisytopk:noise_eps=0.2,w_importance=0.7,w_load=0.3", E, 5, 8, 0.5);
    B.valid = malloc(N);
    for (int t = 0; t < N; t++) B.valid[t] = t % 7 != 3;
    bed_go(&B, SY_TRAIN);
    double *a = bed_logits(&B, GATE), *u = bed_logits(&B, NOISE), importance[E] = { 0 }, load[E] = { 0 };
    for (int t = 0; t < N; t++) {
        double h[E], s[E], sum = 0;
        if (!B.valid[t]) continue;
        for (int e = 0; e < E; e++) s[e] = log(1 + exp(u[E * t + e])) + 0.2, h[e] = a[E * t + e] + s[e] * sy_draw_normal(B.key[t], (uint64_t)B.pos[t], (unsigned)e);
        double kth = nth_largest(h, E, K), next = nth_largest(h, E, K + 1);
        for (int e = 0; e < E; e++) if (h[e] >= kth) sum += exp(h[e]);
        for (int k = 0; k < K; k++) {
            int slot = B.route->first_slot[t] + k, e = B.route->expert[slot];
            sy_expect_near("k-th largest h", h[e], nth_largest(h, E, k + 1), 0, 0);
            sy_expect_near("softmax over the kept", (double)B.route->weight->x[slot], exp(h[e]) / sum, BED_TOL, BED_TOL);
            importance[e] += exp(h[e]) / sum;
        }
        for (int e = 0; e < E; e++) load[e] += 0.5 * erfc(-(a[E * t + e] - (h[e] >= kth ? next : kth)) / s[e] / sqrt(2));
    }
    sy_expect_near("importance", bed_aux(&B, "noisytopk.importance"), 0.7 * cv2(importance, E), 1e-6, 1e-4);
    sy_expect_near("load", bed_aux(&B, "noisytopk.load"), 0.3 * cv2(load, E), 1e-6, 1e-4);
    bed_expect_layer(&B);
    sy_test_case("no noise outside training, and the same bits twice");
    bed_go(&B, SY_EVAL);
    for (int t = 0; t < N; t++)
        for (int k = 0; B.valid[t] && k < K; k++) sy_expect_near("k-th largest a", a[E * t + B.route->expert[B.route->first_slot[t] + k]], nth_largest(a + E * t, E, k + 1), 1e-6, 0);
    free(a), free(u);
    bed_close(&B);
}

/* "sum_e Load_e of a token batch has expectation N*K": the chance of each expert, its own noise drawn again, adds up to K experts a token. */
static void expected_load(void **state)
{
    (void)state;
    enum { E = 4, K = 2, SEQ = 500, LEN = 8, N = SEQ * LEN };
    bed B;
    open(&B, "noisytopk:noise_eps=0.5", E, SEQ, LEN, 0.8);
    double *a = bed_logits(&B, GATE), *u = bed_logits(&B, NOISE), total = 0;
    for (int t = 0; t < N; t++) {
        double h[E], s[E];
        for (int e = 0; e < E; e++) s[e] = log(1 + exp(u[E * t + e])) + 0.5, h[e] = a[E * t + e] + s[e] * sy_draw_normal(B.key[t], (uint64_t)B.pos[t], (unsigned)e);
        double kth = nth_largest(h, E, K), next = nth_largest(h, E, K + 1);
        for (int e = 0; e < E; e++) total += 0.5 * erfc(-(a[E * t + e] - (h[e] >= kth ? next : kth)) / s[e] / sqrt(2));
    }
    sy_expect_near("sum of loads over N K", total / (N * K), 1, 0.02, 0);
    free(a), free(u);
    bed_close(&B);
}

/* "uniform Importance gives exactly 0 loss" (each token to both of two experts of equal logits), "at init (zero weights) all experts have equal load probability" */
static void invariants(void **state)
{
    (void)state;
    bed B;
    bed_open(&B, BED_SPEC(.router = "noisytopk:noise_eps=0.000001", .E = 2));
    bed_tokens(&B, 0, 2, 8);
    sy_param_fill(sy_params_find(&B.params, NOISE), -40);
    for (int i = 0; i < 16 * 6; i++) B.value[i] = 1;                      /* softplus(-240) is 0: the noise is 1e-6 */
    bed_go(&B, SY_TRAIN);
    sy_expect_near("importance of equal weights", bed_aux(&B, "noisytopk.importance"), 0, 1e-9, 0);
    bed_close(&B);
    bed_open(&B, BED_SPEC(.router = "noisytopk", .E = 8));
    bed_tokens(&B, 0, 500, 8);
    bed_go(&B, SY_TRAIN);
    for (int e = 0; e < 8; e++) assert_in_range(B.b.counts.seen[e], 900, 1100);            /* 1000 expected, standard deviation 27 */
    assert_true(bed_aux(&B, "noisytopk.load") < 0.1 * 0.01);
    bed_close(&B);
}

static void refusals(void **state)
{
    (void)state;
    bed_refused(BED_SPEC(.router = "noisytopk:top_k=5"), SY_EARG, "num_experts_per_tok 5 exceeds the 4 experts");
    bed_refused(BED_SPEC(.router = "noisytopk:top_k=1"), SY_EARG, "the constant 1");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(contract_of), cmocka_unit_test(formulas), cmocka_unit_test(expected_load), cmocka_unit_test(invariants), cmocka_unit_test(refusals) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
