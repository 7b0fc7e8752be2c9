/* tests/routers/test_actgate.c - the activation gate against slow loops in double; the invariance that it removes. */
#include "routers/contract.h"

#define GATE "model.layers.3.mlp.gate.weight"

static void contract_of(void **state)
{
    (void)state;
    contract_run(&(contract){ .key = "actgate", .router = "actgate", .more = { "actgate:act=tanh,tau_mode=anneal", "actgate:act=gelu,norm_topk_prob=false,tau_init=0.5" }, .balance = "switch",
                              .neutral = "actgate:act=none,tau_mode=anneal,tau_init=1,tau_min=1,norm_topk_prob=false", .base = "topk" });
}

static double act(int which, double z) { return which == 0 ? 1 / (1 + exp(-z)) : which == 1 ? tanh(z) : which == 2 ? 0.5 * z * (1 + erf(z / sqrt(2))) : z; }

static void formulas(void **state)
{
    (void)state;
    static const struct { const char *text; int act; double progress, tau; } cases[] = {
        { "actgate:tau_init=0.5", 0, 0, 0.5 }, { "actgate:act=tanh,tau_init=0.25", 1, 0, 0.25 }, { "actgate:act=gelu", 2, 0, 1 },
        { "actgate:act=sigmoid,tau_mode=anneal,tau_init=4,tau_min=0.25", 0, 0.5, 1 }, { "actgate:act=none,tau_mode=anneal,tau_init=2,tau_min=0.5", 3, 1, 0.5 },
    };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        bed B;
        sy_test_case("%s", cases[i].text);
        bed_open(&B, BED_SPEC(.router = cases[i].text));
        bed_tokens(&B, 0, 3, 8);
        sy_expect_ok(sy_block_before(&B.b, 0, 10, cases[i].progress, err));
        for (int mode = SY_TRAIN; mode <= SY_SERVE; mode++) {             /* annealed or learned, serving uses the same temperature */
            bed_go(&B, (sy_mode)mode);
            double *z = bed_logits(&B, GATE);
            for (int k = 0; k < B.T * 4; k++) z[k] = act(cases[i].act, z[k]) / cases[i].tau;
            double *p = bed_softmax(z, B.T, 4);
            for (int t = 0; t < B.T; t++) {
                double sum = 0;
                for (int s = 2 * t; s < 2 * t + 2; s++) sum += p[4 * t + B.route->expert[s]];
                for (int e = 0; e < 4; e++) sy_expect_near("p", (double)B.route->probs->x[4 * t + e], p[4 * t + e], 2e-6, 2e-5);
                for (int s = 2 * t; s < 2 * t + 2; s++) sy_expect_near("weight", (double)B.route->weight->x[s], p[4 * t + B.route->expert[s]] / sum, 2e-6, 2e-5);
            }
            free(z), free(p);
        }
        bed_expect_layer(&B);
        bed_close(&B);
    }
}

/* "for the linear gate, beta1 -> c beta1, tau -> c tau leaves the density unchanged"; with an activation it does not */
static void identified(void **state)
{
    (void)state;
    static const char *const text[] = { "actgate:act=none", "actgate:act=sigmoid", "actgate:act=tanh", "actgate:act=gelu" };
    for (size_t i = 0; i < SY_COUNT(text); i++) {
        bed B;
        double most = 0, p[96];
        sy_test_case("%s", text[i]);
        bed_open(&B, BED_SPEC(.router = text[i]));
        bed_tokens(&B, 0, 3, 8);
        bed_go(&B, SY_TRAIN);
        for (int k = 0; k < 96; k++) p[k] = (double)B.route->probs->x[k];
        sy_param *w = sy_params_find(&B.params, GATE);
        for (size_t k = 0; k < w->n; k++) ((sy_real *)w->w.data)[k] *= 2;
        sy_param_fill(sy_params_find(&B.params, "model.layers.3.mlp.gate.log_tau"), log(2));
        bed_go(&B, SY_TRAIN);
        for (int k = 0; k < 96; k++) most = fmax(most, fabs(p[k] - (double)B.route->probs->x[k]));
        if (i) assert_true(most > 1e-3);
        else assert_true(most < 1e-6);
        bed_close(&B);
    }
}

static void refusals(void **state)
{
    (void)state;
    bed_refused(BED_SPEC(.router = "actgate:top_k=5"), SY_EARG, "num_experts_per_tok 5 exceeds the 4 experts");
    bed_refused(BED_SPEC(.router = "actgate:top_k=1"), SY_EARG, "the constant 1");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(contract_of), cmocka_unit_test(formulas), cmocka_unit_test(identified), cmocka_unit_test(refusals) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
