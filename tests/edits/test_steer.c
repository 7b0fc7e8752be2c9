/* tests/edits/test_steer.c - router steering: both rules against loops in double, the invariants of the definition, and edits that are given to a finished model. */
#include "route/bed.h"
#include "model/model.h"

#define GATE "model.layers.3.mlp.gate.weight"

enum { E = 5 };

static void open(bed *B, const char *router, const char *edit)
{
    bed_open(B, BED_SPEC(.router = router, .edit = { edit }, .n_edit = edit ? 1 : 0, .E = E));
    bed_tokens(B, 0, 6, 8);
}

/* z as the rule changes it; side [E] */
static void steered(double *z, const int *side, bool hard, double lam, double eps)
{
    double mean = 0, var = 0, most = -INFINITY, least = INFINITY, sum = 0;
    for (int e = 0; e < E; e++) mean += z[e] / E, most = fmax(most, z[e]), least = fmin(least, z[e]), sum += exp(z[e]);
    for (int e = 0; e < E; e++) var += (z[e] - mean) * (z[e] - mean) / E;
    for (int e = 0; e < E; e++) {
        if (!hard) z[e] += lam * side[e] * sqrt(var);
        else z[e] = (side[e] > 0 ? most + eps : side[e] < 0 ? least - eps : z[e]) - log(sum);
    }
}

/* soft: z_e += lam*std_e(z_t); hard: s = log_softmax(z), s_e = max_j s_j + eps for A+, min_j s_j - eps for A-; then the model's usual rule. */
static void formulas(void **state)
{
    (void)state;
    static const struct { const char *edit; bool hard; double lam, eps; int side[E]; } cases[] = {
        { "steer:experts=3.1", false, 0.5, 0, { 0, 1, 0, 0, 0 } },
        { "steer:lam=2,experts=3.4+2.0+3.-0+3.1", false, 2, 0, { -1, 1, 0, 0, 1 } },
        { "steer:mode=hard,experts=3.3+3.-2", true, 0, 0.01, { 0, 0, -1, 1, 0 } },
        { "steer:mode=hard,eps=1.5,experts=3.0+3.4", true, 0, 1.5, { 1, 0, 0, 0, 1 } },
    };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        bed B;
        sy_test_case("%s", cases[i].edit);
        open(&B, "topk:top_k=2", cases[i].edit);
        double *z = bed_logits(&B, GATE);
        bed_go(&B, SY_SERVE);
        for (int t = 0; t < B.T; t++) {
            double sum = 0;
            steered(z + E * t, cases[i].side, cases[i].hard, cases[i].lam, cases[i].eps);
            for (int e = 0; e < E; e++) sum += exp(z[E * t + e]);
            for (int e = 0; e < E; e++) sy_expect_near("probability", (double)B.route->probs->x[E * t + e], exp(z[E * t + e]) / sum, 1e-6, 1e-5);
            /* hard mode puts every e in A+ into the top K when |A+| <= K, and no e of A- before another */
            for (int e = 0; e < E && cases[i].hard; e++) {
                bool in = B.route->expert[2 * t] == e || B.route->expert[2 * t + 1] == e;
                if (cases[i].side[e]) assert_int_equal(in, cases[i].side[e] > 0);
            }
        }
        bed_expect_layer(&B);
        free(z);
        bed_close(&B);
    }
}

/* lam=0 and empty A+ are bit-identical to base; so is a list for another layer. */
static void neutral(void **state)
{
    (void)state;
    static const char *const edits[] = { "steer:lam=0,experts=3.1+3.2", "steer", "steer:mode=hard", "steer:mode=hard,experts=2.1+4.3" };
    static const sy_mode modes[] = { SY_TRAIN, SY_EVAL, SY_SERVE };
    for (size_t i = 0; i < SY_COUNT(edits); i++)
        for (size_t m = 0; m < SY_COUNT(modes); m++) {
            bed A, B;
            sy_test_case("%s, mode %d", edits[i], (int)modes[m]);
            open(&A, "topk", NULL), open(&B, "topk", edits[i]);
            bed_go(&A, modes[m]), bed_go(&B, modes[m]);
            sy_expect_ids("expert", B.route->expert, A.route->expert, (size_t)A.route->n);
            sy_expect_same("y", B.y->x, A.y->x, (size_t)A.T * A.D * sizeof(sy_real));
            bed_close(&A), bed_close(&B);
        }
}

/* log_softmax first makes hard scores shift-invariant: a bias that is the same for all experts changes no choice and no weight. */
static void shift(void **state)
{
    (void)state;
    bed A, B;
    open(&A, "topk:router_bias=true,norm_topk_prob=true", "steer:mode=hard,experts=3.1+3.-3");
    open(&B, "topk:router_bias=true,norm_topk_prob=true", "steer:mode=hard,experts=3.1+3.-3");
    sy_param_fill(sy_params_find(&B.params, "model.layers.3.mlp.gate.bias"), 2);
    bed_go(&A, SY_SERVE), bed_go(&B, SY_SERVE);
    sy_expect_ids("expert", B.route->expert, A.route->expert, (size_t)A.route->n);
    sy_expect_close("y", B.y->x, A.y->x, (size_t)A.T * A.D, 1e-5, 1e-4);
    bed_close(&A), bed_close(&B);
}

/* Given to a model that stands: the same bits as a model that was made with it, and its spec says so. */
static void attached(void **state)
{
    (void)state;
    static const char edit[] = "steer:lam=1,experts=1.2+1.-0";
    sy_engine eng;
    sy_tape t;
    sy_expect_ok(sy_engine_init(&eng, 1, NULL, &sy_builtin_methods, err));
    sy_tape_init(&t, &eng, false);
    sy_spec s;
    sy_spec_defaults(&s);
    s.vocab_size = 20, s.hidden_size = 8, s.num_hidden_layers = 2, s.num_attention_heads = 2, s.moe_intermediate_size = 6, s.num_experts = 4, s.layers = "sparse", s.router = "topk:top_k=2", s.initializer_range = 0.5;
    s.max_position_embeddings = 16;
    sy_model *made, *given, *plain;
    sy_expect_ok(sy_model_new(&plain, &eng, &s, 0, 5, err));
    sy_expect_ok(sy_model_new(&given, &eng, &s, 0, 5, err));
    s.edit = edit;
    sy_expect_ok(sy_model_new(&made, &eng, &s, 0, 5, err));
    sy_expect_ok(sy_model_attach(given, edit, err));
    assert_string_equal(given->spec.edit, edit);
    enum { T = 9 };
    static const int id[T] = { 3, 1, 4, 1, 5, 9, 2, 6, 5 }, pos[T] = { 0, 1, 2, 3, 4, 5, 6, 7, 8 }, seq[T] = { 0 };
    sy_segment seg = { .n = T };
    sy_batch b = { .T = T, .n_seg = 1, .id = id, .pos = pos, .seq = seq, .seg = &seg };
    sy_model *const models[] = { made, given, plain };
    sy_real out[3][T * 8];
    for (int i = 0; i < 3; i++) {
        sy_tensor *h = sy_model_hidden(models[i], &t, &b, &(sy_run){ .mode = SY_SERVE });
        sy_expect_ok(sy_tape_status(&t, err));
        memcpy(out[i], h->x, sizeof out[i]);
        sy_tape_reset(&t);
    }
    sy_expect_same("given and made", out[1], out[0], sizeof out[0]);
    assert_true(memcmp(out[2], out[0], sizeof out[0]) != 0);
    sy_err e = { 0 }, *err = &e;
    sy_expect_fail(sy_model_attach(plain, "perm", err), SY_EUNSUP, "has parameters of its own");
    sy_model_free(plain);
    s.edit = "", s.router = "hash";
    sy_expect_ok(sy_model_new(&plain, &eng, &s, 0, 5, err));
    sy_expect_fail(sy_model_attach(plain, edit, err), SY_EUNSUP, "declares that it has none");
    sy_model_free(plain);
    s.layers = "dense", s.router = "topk", s.intermediate_size = 8;
    sy_expect_ok(sy_model_new(&plain, &eng, &s, 0, 5, err));
    sy_expect_fail(sy_model_attach(plain, edit, err), SY_EUNSUP, "this model is dense");
    sy_model_free(plain), sy_model_free(made), sy_model_free(given);
    sy_tape_free(&t);
    sy_engine_uninit(&eng);
}

static void refusals(void **state)
{
    (void)state;
    static const struct { const char *router, *edit, *part; sy_status status; } cases[] = {
        { "topk", "steer:experts=3", "is no LAYER.EXPERT", SY_EARG }, { "topk", "steer:experts=3.x", "is no LAYER.EXPERT", SY_EARG }, { "topk", "steer:experts=3.1+", "is no LAYER.EXPERT", SY_EARG },
        { "topk", "steer:experts=3.--1", "is no LAYER.EXPERT", SY_EARG }, { "topk", "steer:experts=-3.1", "is no LAYER.EXPERT", SY_EARG }, { "topk", "steer:experts=3.1,2", "", SY_EARG },
        { "topk", "steer:experts=3.5", "the experts 0 to 4", SY_EARG }, { "topk", "steer:experts=3.99999999999", "the experts 0 to 4", SY_EARG },
        { "topk", "steer:experts=3.1+3.-1", "stands there twice", SY_EARG },
        { "topk:top_k=2", "steer:mode=hard,experts=3.1+3.2+3.3", "and a token takes 2", SY_EARG },
        { "hash", "steer:experts=3.1", "declares that it has none", SY_EUNSUP }, { "thor", "steer:experts=3.1", "declares that it has none", SY_EUNSUP },
    };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_test_case("%s, %s", cases[i].router, cases[i].edit);
        bed_refused(BED_SPEC(.router = cases[i].router, .edit = { cases[i].edit }, .n_edit = 1, .E = E), cases[i].status, cases[i].part);
    }
    bed B;
    open(&B, "topk:top_k=2", "steer:experts=3.1+3.2+3.3");                     /* soft: any number */
    bed_close(&B);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(formulas), cmocka_unit_test(neutral), cmocka_unit_test(shift), cmocka_unit_test(attached), cmocka_unit_test(refusals) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
