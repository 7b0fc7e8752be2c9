/* tests/routers/test_stablemoe.c - StableMoE: both stages against slow loops, the switch between them, and the invariants. */
#include "routers/contract.h"

#define GATE "model.layers.3.mlp.gate.weight"
#define WORDS "model.layers.3.mlp.gate.words"
#define DISTILLED "model.layers.3.mlp.gate.distilled"

static void contract_of(void **state)
{
    (void)state;
    contract_run(&(contract){ .key = "stablemoe", .router = "stablemoe:routing_dim=5", .more = { "stablemoe:routing_dim=5,capacity_factor=0", "stablemoe:routing_dim=3,router=bigram,capacity_factor=0",
                              "stablemoe:routing_dim=4,router=cnn,capacity_factor=1.5" } });
    contract_run(&(contract){ .key = "stablemoe", .router = "stablemoe:routing_dim=5,two_stage_updates=4", .step = 5, .balance = "none" });
}

static int argmax(const double *v, int n)
{
    int best = 0;
    for (int e = 1; e < n; e++) if (v[e] > v[best]) best = e;
    return best;
}

/* q of every token: the mean of this and the previous word where `pair`. */
static double *word_router(const bed *B, int E, int R, bool pair)
{
    const sy_real *emb = sy_params_find(&B->params, WORDS)->w.data, *v = sy_params_find(&B->params, DISTILLED)->w.data;
    double *q = calloc((size_t)B->T * E, sizeof *q);
    for (int t = 0; t < B->T; t++)
        for (int e = 0; e < E; e++)
            for (int r = 0; r < R; r++) {
                double f = (double)emb[B->id[t] * R + r];
                if (pair) f = (f + (B->back[0][t] >= 0 ? (double)emb[B->back[0][t] * R + r] : 0)) / 2;
                q[t * E + e] += f * (double)v[e * R + r];
            }
    return q;
}

static void stages(void **state)
{
    (void)state;
    enum { E = 4, R = 5, N = 48 };
    for (int pair = 0; pair < 2; pair++) {
        bed B;
        sy_test_case(pair ? "bigram" : "wordemb");
        bed_open(&B, BED_SPEC(.router = pair ? "stablemoe:two_stage_updates=3,routing_dim=5,capacity_factor=0,router=bigram" : "stablemoe:two_stage_updates=3,routing_dim=5,capacity_factor=0", .E = E));
        bed_tokens(&B, 0, 6, 8);
        double *s = bed_logits(&B, GATE), *q = word_router(&B, E, R, pair), balance = 0, distill = 0;
        int n[E] = { 0 };
        for (int step = 2; step < 4; step++) {
            sy_test_case("step %d of a first stage of 3", step);
            B.step = step;
            sy_expect_ok(sy_block_before(&B.b, step, 10, 0, err));
            bed_go(&B, SY_TRAIN);
            for (int t = 0; t < N; t++) {
                int want = argmax((step < 3 ? s : q) + E * t, E);
                assert_int_equal(B.route->expert[t], want);
                sy_expect_near("sigmoid of the main score", (double)B.route->weight->x[t], 1 / (1 + exp(-s[E * t + want])), BED_TOL, BED_TOL);
            }
            bed_expect_layer(&B);
            assert_int_equal(B.aux.n, step < 3 ? 2 : 0);      /* "stage 2: no L_bal, no L_dis" */
            if (step == 3) continue;
            for (int t = 0; t < N; t++) n[argmax(s + E * t, E)]++;
            for (int t = 0; t < N; t++) {
                int e = argmax(s + E * t, E);
                double sum = 0;
                for (int k = 0; k < E; k++) sum += exp(q[E * t + k]);
                balance += 0.3 / N * ((double)n[e] - N / E) / (N / E) / (1 + exp(-s[E * t + e]));
                distill -= 0.3 / N * (q[E * t + e] - log(sum));
            }
            sy_expect_near("balance", bed_aux(&B, "stablemoe.balance"), balance, 1e-6, 1e-5);
            sy_expect_near("distill", bed_aux(&B, "stablemoe.distill"), distill, 1e-6, 1e-5);
        }
        B.step = 0;                                           /* "Evaluation in either stage uses q" */
        bed_go(&B, SY_SERVE);
        for (int t = 0; t < N; t++) assert_int_equal(B.route->expert[t], argmax(q + E * t, E));
        free(s), free(q);
        bed_close(&B);
    }
}

/* "stage-2 gradient of emb and v is 0", and they keep their bits under weight decay; "L_bal = 0 when all n_e are equal" */
static void invariants(void **state)
{
    (void)state;
    enum { E = 4 };
    bed B;
    sy_optim o;
    sy_opt_defaults(sy_optim_opts, &o);
    o.weight_decay = 10;
    bed_open(&B, BED_SPEC(.router = "stablemoe:two_stage_updates=1,routing_dim=5", .E = E));
    bed_tokens(&B, 0, 6, 8);
    sy_param *emb = sy_params_find(&B.params, WORDS), *v = sy_params_find(&B.params, DISTILLED), *w = sy_params_find(&B.params, GATE);
    sy_real *old = malloc(emb->n * sizeof *old), main = ((sy_real *)w->w.data)[0];
    memcpy(old, emb->w.data, emb->n * sizeof *old);
    B.step = 1;
    sy_expect_ok(sy_block_before(&B.b, 1, 10, 0.1, err));
    assert_false(sy_param_trains(emb));
    assert_false(sy_param_trains(v));
    sy_grad_zero(&B.eng, &B.params);
    bed_go(&B, SY_TRAIN);
    sy_expect_ok(sy_backward_from(&B.tape, B.y, B.value, err));
    for (size_t i = 0; i < emb->n; i++) assert_true(emb->w.dx[i] == 0);
    for (size_t i = 0; i < v->n; i++) assert_true(v->w.dx[i] == 0);
    sy_optim_step(&B.eng, &B.params, &o, 1e-2, 1, 1);
    sy_expect_same("the word table", emb->w.data, old, emb->n * sizeof *old);
    assert_true(((sy_real *)w->w.data)[0] != main);           /* "the MAIN centroids keep training" */
    free(old);
    bed_close(&B);
    bed_open(&B, BED_SPEC(.router = "stablemoe:routing_dim=5", .D = E, .E = E));
    bed_tokens(&B, 0, 1, 8);
    sy_real *id = sy_params_find(&B.params, GATE)->w.data;
    for (int i = 0; i < E * E; i++) id[i] = i % (E + 1) == 0;
    for (int i = 0; i < 8 * E; i++) B.value[i] = (sy_real)(i % E == i / E % E);
    bed_go(&B, SY_TRAIN);
    sy_expect_near("two tokens an expert", bed_aux(&B, "stablemoe.balance"), 0, 1e-12, 0);
    bed_close(&B);
}

/* A crowded expert keeps capacity_factor N / E tokens, those that come first; when serving it takes all. */
static void capacity(void **state)
{
    (void)state;
    bed B;
    bed_open(&B, BED_SPEC(.router = "stablemoe:capacity_factor=1.5,routing_dim=5"));
    bed_tokens(&B, 0, 1, 16);
    sy_param_fill(sy_params_find(&B.params, GATE), 0);        /* all scores equal: the first expert wins */
    bed_go(&B, SY_TRAIN);
    for (int t = 0; t < 16; t++) assert_int_equal(B.route->expert[t], t < 6 ? 0 : ~0);
    sy_param_fill(sy_params_find(&B.params, DISTILLED), 0);
    bed_go(&B, SY_SERVE);
    for (int t = 0; t < 16; t++) assert_int_equal(B.route->expert[t], 0);
    bed_close(&B);
}

static void refusals(void **state)
{
    (void)state;
    bed_refused(BED_SPEC(.router = "stablemoe", .Z = 1, .zero = "null"), SY_EUNSUP, "1 zero-cost experts");
    bed_refused(BED_SPEC(.router = "stablemoe:router=trigram"), SY_EARG, "router");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(contract_of), cmocka_unit_test(stages), cmocka_unit_test(invariants), cmocka_unit_test(capacity), cmocka_unit_test(refusals) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
