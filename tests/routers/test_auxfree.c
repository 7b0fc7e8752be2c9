/* tests/routers/test_auxfree.c - the worked example of the gate, slow loops in double, the invariants, and the bias rule. */
#include "route/bed.h"

#define GATE "model.layers.3.mlp.gate.weight"
#define BIAS "model.layers.3.mlp.gate.e_score_correction_bias"

static sy_real *param(const bed *B, const char *name) { return sy_params_find(&B->params, name)->w.data; }

/* One token x = 1 of width 1, so that the gate's rows are the logits. */
static void worked_example(void **state)
{
    (void)state;
    static const double logit[] = { 1, .2, -.5, .9, .1, 0, 2, -3 }, bias[] = { 0, 0, .6, 0, 0, 0, -.5, 0 };
    static const struct { bool biased; int expert[2]; double weight[2], score[4]; } want[] = {
        { true, { 2, 0 }, { 0.85139, 1.64861 }, { 1.28089, 1.68849, 1.02498, 0.42822 } },
        { false, { 0, 3 }, { 1.26743, 1.23257 }, { 1.28089, 1.08849, 1.02498, 0.92822 } },
    };
    for (size_t i = 0; i < SY_COUNT(want); i++) {
        bed B;
        sy_test_case(want[i].biased ? "with bias" : "without bias");
        bed_open(&B, BED_SPEC(.router = "auxfree:n_group=4,topk_group=2,top_k=2,route_scale=2.5", .D = 1, .E = 8));
        bed_tokens(&B, 0, 1, 1);
        B.value[0] = 1;
        for (int e = 0; e < 8; e++) param(&B, GATE)[e] = (sy_real)logit[e], param(&B, BIAS)[e] = (sy_real)(want[i].biased ? bias[e] : 0);
        bed_go(&B, SY_TRAIN);
        assert_int_equal(B.route->n, 2);
        sy_expect_ids("expert", B.route->expert, want[i].expert, 2);
        for (int k = 0; k < 2; k++) sy_expect_near("weight", (double)B.route->weight->x[k], want[i].weight[k], 1e-5, 0);
        double total = 0, s[8];
        for (int e = 0; e < 8; e++) total += s[e] = 1 / (1 + exp(-logit[e]));
        for (int e = 0; e < 8; e++) sy_expect_near("probs = s / sum s", (double)B.route->probs->x[e], s[e] / total, 1e-6, 0);
        bed_close(&B);
    }
}

static void slow(const double *z, const sy_real *b, int n, int K, int G, int keep, bool sigmoid, bool norm, double scale, bool max, double mask, int *id, double *w)
{
    double s[32], r[32], sum = 0, group[32];
    bool used[32] = { 0 }, in[32] = { 0 };
    for (int e = 0; e < n; e++) sum += exp(z[e]);
    for (int e = 0; e < n; e++) s[e] = sigmoid ? 1 / (1 + exp(-z[e])) : exp(z[e]) / sum, r[e] = s[e] + (double)b[e];
    for (int g = 0, size = n / G; g < G; g++) {
        double one = -1e9, two = -1e9;
        for (int e = g * size; e < (g + 1) * size; e++) {
            if (r[e] > one) two = one, one = r[e];
            else if (r[e] > two) two = r[e];
        }
        group[g] = max || size == 1 ? one : one + two;
    }
    for (int i = 0; i < keep; i++) {
        int best = -1;
        for (int g = 0; g < G; g++) if (!in[g] && (best < 0 || group[g] > group[best])) best = g;
        in[best] = true;
    }
    for (int e = 0; e < n; e++) if (!in[e / (n / G)]) r[e] = mask;
    sum = 0;
    for (int k = 0; k < K; k++) {
        id[k] = -1;
        for (int e = 0; e < n; e++) if (!used[e] && (id[k] < 0 || r[e] > r[id[k]])) id[k] = e;
        used[id[k]] = true;
        sum += w[k] = s[id[k]];
    }
    for (int k = 0; k < K; k++) w[k] *= scale / (norm ? sum : 1);
}

static void routes(void **state)
{
    (void)state;
    static const struct { const char *text; int K, G, keep; bool sigmoid, norm; double scale; bool max; double mask; } cases[] = {
        { "auxfree:top_k=3", 3, 1, 1, true, true, 1, false, -1e300 },
        { "auxfree:top_k=2,n_group=4,topk_group=2,route_scale=2.5", 2, 4, 2, true, true, 2.5, false, -1e300 },
        { "auxfree:top_k=2,n_group=4,topk_group=2,group_score=max", 2, 4, 2, true, true, 1, true, -1e300 },
        { "auxfree:top_k=4,n_group=2,topk_group=1,group_mask=zero", 4, 2, 1, true, true, 1, false, 0 },
        { "auxfree:top_k=2,score=softmax,route_scale=4", 2, 1, 1, false, false, 4, false, -1e300 },
        { "auxfree:top_k=2,score=softmax,norm_topk_prob=true", 2, 1, 1, false, true, 1, false, -1e300 },
        { "auxfree:top_k=1,norm_topk_prob=false", 1, 1, 1, true, false, 1, false, -1e300 },
        { "auxfree:top_k=2,n_group=8,topk_group=3", 2, 8, 3, true, true, 1, false, -1e300 },
        { "dsv3gate:top_k=4", 4, 8, 4, true, true, 2.5, false, -1e300 },
        { "deepseekv3:top_k=4", 4, 8, 4, true, true, 2.5, false, -1e300 },
    };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        bed B;
        sy_test_case("%s", cases[i].text);
        bed_open(&B, BED_SPEC(.router = cases[i].text, .E = 8));
        bed_tokens(&B, 0, 2, 10);
        for (int e = 0; e < 8; e++) param(&B, BIAS)[e] = (sy_real)(0.7 * (2 * sy_draw(1, (uint64_t)e, 0) - 1.6));    /* mostly below 0: the mask matters */
        bed_go(&B, SY_TRAIN);
        double *z = bed_logits(&B, GATE);
        for (int t = 0; t < B.T; t++) {
            int id[8], K = cases[i].K;
            double w[8], sum = 0;
            slow(z + 8 * t, param(&B, BIAS), 8, K, cases[i].G, cases[i].keep, cases[i].sigmoid, cases[i].norm, cases[i].scale, cases[i].max, cases[i].mask, id, w);
            sy_expect_ids("expert", B.route->expert + K * t, id, (size_t)K);
            for (int k = 0; k < K; k++) sy_expect_near("weight", (double)B.route->weight->x[K * t + k], w[k], BED_TOL, BED_TOL), sum += (double)B.route->weight->x[K * t + k];
            if (cases[i].norm) sy_expect_near("weights sum to route_scale", sum, cases[i].scale, 1e-5, 0);
            if (cases[i].mask < 0) {
                int groups = 0;
                for (int g = 0; g < cases[i].G; g++) {
                    bool any = false;
                    for (int k = 0; k < K; k++) any |= id[k] / (8 / cases[i].G) == g;
                    groups += any;
                }
                assert_true(groups <= cases[i].keep);                     /* "number of distinct groups used by a token <= M" */
            }
        }
        bed_expect_layer(&B);
        free(z);
        bed_close(&B);
    }
}

/* auxfree: "gradient of b is identically zero; adding a constant to all b changes nothing; with b=0, one group and K=E the layer equals a normalised
 * sigmoid mixture"; dsv3gate: "G=1 or M=G equals ungrouped top-k" */
static void invariants(void **state)
{
    (void)state;
    bed A, B;
    bed_open(&A, BED_SPEC(.router = "auxfree:top_k=2", .E = 8));
    bed_tokens(&A, 0, 2, 8);
    sy_param *bias = sy_params_find(&A.params, BIAS);
    assert_true(bias->flags & SY_BUFFER);
    assert_null(bias->w.dx);
    assert_null(bias->m);
    for (int e = 0; e < 8; e++) param(&A, BIAS)[e] = (sy_real)(e % 3) / 8;
    bed_go(&A, SY_TRAIN);
    sy_expect_ok(sy_backward_from(&A.tape, A.y, A.value, err));
    for (int e = 0; e < 8; e++) assert_true(param(&A, BIAS)[e] == (sy_real)(e % 3) / 8);
    bed_keep(&A);
    for (int e = 0; e < 8; e++) param(&A, BIAS)[e] += 2;                  /* eighths and 2: exact sums */
    bed_go(&A, SY_TRAIN);
    sy_expect_ids("a constant on all biases", A.route->expert, A.again.expert, (size_t)A.again.n);
    for (int e = 0; e < 8; e++) param(&A, BIAS)[e] -= 2;
    bed_go(&A, SY_TRAIN);
    bed_open(&B, BED_SPEC(.router = "auxfree:top_k=2,n_group=4,topk_group=4", .E = 8));
    bed_tokens(&B, 0, 2, 8);
    memcpy(param(&B, BIAS), param(&A, BIAS), 8 * sizeof(sy_real));
    bed_go(&B, SY_TRAIN);
    sy_expect_same("M = G against no groups", B.y->x, A.y->x, (size_t)A.T * A.D * sizeof(sy_real));
    bed_close(&A);
    bed_close(&B);
    sy_test_case("K = E, b = 0: a normalised sigmoid mixture");
    bed_open(&A, BED_SPEC(.router = "auxfree:top_k=4"));
    bed_tokens(&A, 0, 1, 6);
    bed_go(&A, SY_TRAIN);
    double *z = bed_logits(&A, GATE);
    for (int t = 0; t < A.T; t++)
        for (int s = 4 * t; s < 4 * t + 4; s++) {
            double sum = 0;
            for (int e = 0; e < 4; e++) sum += 1 / (1 + exp(-z[4 * t + e]));
            sy_expect_near("weight", (double)A.route->weight->x[s], 1 / (1 + exp(-z[4 * t + A.route->expert[s]])) / sum, BED_TOL, BED_TOL);
        }
    bed_expect_layer(&A);
    free(z);
    bed_close(&A);
}

/* b_e += u sign(mean c - c_e), sign(0) = 0, once a step, from the counts of all its micro-batches */
static void bias_rule(void **state)
{
    (void)state;
    bed B;
    bed_open(&B, BED_SPEC(.router = "auxfree:top_k=1,norm_topk_prob=false,bias_update=0.25,bias_update_off_after=0.5"));
    static const struct { int64_t c[4]; double progress, want[4]; const char *what; } steps[] = {
        { { 5, 1, 3, 3 }, 0.0, { -0.25, 0.25, 0, 0 }, "two experts at the mean stay" },
        { { 0, 0, 0, 0 }, 0.1, { 0, 0, 0, 0 }, "a step that was thrown away" },
        { { 2, 2, 2, 2 }, 0.2, { 0, 0, 0, 0 }, "balanced" },
        { { 1, 0, 0, 0 }, 0.3, { -0.25, 0.25, 0.25, 0.25 }, "the mean is not a whole number" },
        { { 9, 0, 0, 0 }, 0.5, { 0, 0, 0, 0 }, "off in the last part" },
    };
    for (size_t i = 0; i < SY_COUNT(steps); i++) {
        sy_test_case("%s", steps[i].what);
        sy_real old[4];
        memcpy(old, param(&B, BIAS), sizeof old);
        sy_expect_ok(sy_block_before(&B.b, 0, 10, steps[i].progress, err));
        memcpy(B.b.counts.seen, steps[i].c, sizeof steps[i].c);
        sy_expect_ok(sy_block_after(&B.b, 0, 10, steps[i].progress, err));
        for (int e = 0; e < 4; e++) sy_expect_near("bias", (double)(param(&B, BIAS)[e] - old[e]), steps[i].want[e], 0, 0);
    }
    sy_test_case("two micro-batches, evaluation between them and a second run: counts of the step alone");
    bed_tokens(&B, 0, 2, 5);
    sy_expect_ok(sy_block_before(&B.b, 1, 10, 0, err));
    bed_go(&B, SY_TRAIN);
    bed_keep(&B);
    bed_go(&B, SY_EVAL);
    sy_expect_ok(bed_run(&B, SY_TRAIN, &B.again, err));
    bed_tokens(&B, 2, 1, 7);
    bed_go(&B, SY_TRAIN);
    int64_t want[4] = { 0 }, sum = 0;
    for (int i = 0; i < B.again.n; i++) want[B.again.expert[i]]++;
    for (int i = 0; i < B.route->n; i++) want[B.route->expert[i]]++;
    sy_expect_ok(sy_block_after(&B.b, 1, 10, 0, err));
    for (int e = 0; e < 4; e++) assert_int_equal(B.b.counts.prev[e], want[e]), sum += want[e];
    assert_int_equal(sum, 17);
    bed_close(&B);
}

static void neutral(void **state)
{
    (void)state;
    sy_test_case("bias_update = 0 and b = 0 against topk with sigmoid scores: the same bits");
    bed A, B;
    bed_open(&A, BED_SPEC(.router = "auxfree:top_k=2,bias_update=0"));
    bed_open(&B, BED_SPEC(.router = "topk:top_k=2,score=sigmoid,norm_topk_prob=true"));
    bed_tokens(&A, 0, 2, 6);
    bed_tokens(&B, 0, 2, 6);
    bed_go(&A, SY_TRAIN);
    bed_go(&B, SY_TRAIN);
    sy_expect_same("y", A.y->x, B.y->x, (size_t)A.T * A.D * sizeof(sy_real));
    memset(A.b.counts.seen, 0, 4 * sizeof(int64_t));
    A.b.counts.seen[1] = 9;
    sy_expect_ok(sy_block_after(&A.b, 0, 1, 0, err));
    for (int e = 0; e < 4; e++) assert_true(param(&A, BIAS)[e] == 0);
    bed_close(&A);
    bed_close(&B);
}

static void refusals(void **state)
{
    (void)state;
    static const struct { const char *router, *part; } bad[] = {
        { "auxfree", "num_experts_per_tok 8 exceeds the 4 experts" }, { "auxfree:top_k=2,n_group=3", "does not divide" }, { "auxfree:top_k=2,topk_group=2", "topk_group 2 exceeds n_group 1" },
        { "auxfree:top_k=3,n_group=2,topk_group=1", "exceeds the 2 experts of topk_group 1" }, { "auxfree:top_k=1", "the constant 1" },
    };
    for (size_t i = 0; i < SY_COUNT(bad); i++) {
        sy_test_case("%s", bad[i].router);
        bed_refused(BED_SPEC(.router = bad[i].router), SY_EARG, bad[i].part);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(worked_example), cmocka_unit_test(routes), cmocka_unit_test(invariants), cmocka_unit_test(bias_rule), cmocka_unit_test(neutral), cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
