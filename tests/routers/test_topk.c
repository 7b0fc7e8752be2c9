/* tests/routers/test_topk.c - routes of every option against slow loops in double that read the options from the table, and the cards' invariants. */
#include <limits.h>

#include "route/bed.h"

#define GATE "model.layers.3.mlp.gate.weight"

static double opt(const bed *B, const char *name)
{
    size_t at;
    const sy_method *m = B->b.router.m;
    const sy_opt *row = sy_opt_find(m->opts, name, &at, NULL);
    if (!row) fail_msg("no option %s", name);
    const char *f = (const char *)B->b.router.s + at;
    return row->type == SY_OPT_REAL ? *(const double *)f : row->type == SY_OPT_BOOL ? *(const bool *)f : *(const int *)f;
}

typedef struct { int n, id[8]; double w[8]; } want_token;
typedef struct { double *p; want_token *t; sy_real *x; /* [T,D] what the router saw */ } want_route;

static void top(const double *v, int n, int k, int *id)
{
    bool used[64] = { 0 };
    for (int i = 0; i < k; i++) {
        id[i] = -1;
        for (int e = 0; e < n; e++) if (!used[e] && (id[i] < 0 || v[e] > v[id[i]])) id[i] = e;
        used[id[i]] = true;
    }
}

static void choose(const bed *B, sy_mode mode, const double *z, const double *p, int t, int n, want_token *w)
{
    int K = (int)opt(B, "num_experts_per_tok"), G = (int)opt(B, "n_group"), keep = (int)opt(B, "topk_group"), policy = (int)opt(B, "second_policy");
    bool train = mode == SY_TRAIN;
    double by[64], score[64] = { 0 };
    int best[64];
    for (int e = 0; e < n; e++) by[e] = p[e];
    for (int g = 0; g < G; g++) for (int e = g * n / G; e < (g + 1) * n / G; e++) if (p[e] > score[g]) score[g] = p[e];
    top(score, G, keep, best);
    for (int g = 0; g < G; g++) {
        bool in = false;
        for (int i = 0; i < keep; i++) in |= best[i] == g;
        for (int e = g * n / G; !in && e < (g + 1) * n / G; e++) by[e] = -1;
    }
    w->n = K;
    top(by, n, K, w->id);
    if (train && policy == 2) {
        double moved[64];
        for (int e = 0; e < n; e++) moved[e] = e == w->id[0] ? -1e300 : z[e] - log(-log(sy_draw(B->key[t], (uint64_t)B->pos[t], (1u << 25) + (unsigned)e)));
        top(moved, n, 1, &w->id[1]);
    }
    double sum = 0;
    for (int k = 0; k < K; k++) sum += w->w[k] = p[w->id[k]];
    for (int k = 0; k < K && opt(B, "norm_topk_prob"); k++) w->w[k] /= sum;          /* of all that was wanted: normalise=before */
    if (train && policy == 1 && !(2 * p[w->id[1]] / (p[w->id[0]] + p[w->id[1]]) > sy_draw(B->key[t], (uint64_t)B->pos[t], 1u << 24))) w->n = 1;
}

static void drop(const bed *B, sy_mode mode, want_route *r, int E)
{
    int T = B->T, order[512], fill[64], K = (int)opt(B, "num_experts_per_tok");
    const sy_cap_rule rule = { opt(B, "capacity_factor"), opt(B, "eval_capacity_factor"), opt(B, "eval_capacity_fraction"), (int)opt(B, "capacity_rule"),
                               (int)opt(B, "min_capacity"), (int)opt(B, "group_size"), opt(B, "prioritised") != 0, (int)opt(B, "drop_order") };
    int n = B->b.site.E + B->b.site.Z, size = rule.group_size ? rule.group_size : T;
    for (int from = 0; from < T; from += size) {
        int to = from + size < T ? from + size : T, C = sy_cap_rows(&rule, mode, to - from, K, E);
        for (int t = from; t < to; t++) order[t] = t;
        for (int i = from; i < to && rule.prioritised; i++)                          /* selection sort, stable by strictness */
            for (int j = i + 1; j < to; j++)
                if (r->p[order[j] * n + r->t[order[j]].id[0]] > r->p[order[i] * n + r->t[order[i]].id[0]]) {
                    int v = order[j];
                    memmove(order + i + 1, order + i, (size_t)(j - i) * sizeof *order);
                    order[i] = v;
                }
        memset(fill, 0, sizeof fill);
        for (int pass = 0; pass < (rule.drop_order ? K : 1); pass++)
            for (int i = from; i < to; i++)
                for (int k = 0; k < r->t[order[i]].n; k++) {
                    want_token *w = &r->t[order[i]];
                    if ((rule.drop_order && k != pass) || w->id[k] >= E) continue;
                    if (fill[w->id[k]] >= C) w->id[k] = ~w->id[k];
                    else fill[w->id[k]]++;
                }
    }
}

static want_route oracle(const bed *B, sy_mode mode)
{
    int n = B->b.site.E + B->b.site.Z;
    bed J = *B;                                                                      /* jittered copy of the tokens */
    J.value = malloc((size_t)B->T * B->D * sizeof *J.value);
    double eps = mode == SY_TRAIN ? opt(B, "router_jitter_noise") : 0;
    for (int i = 0; i < B->T * B->D; i++)
        J.value[i] = B->value[i] * (sy_real)(1 + eps * (2 * sy_draw(B->key[i / B->D], (uint64_t)B->pos[i / B->D], (unsigned)(i % B->D)) - 1));
    double *z = bed_logits(&J, GATE);
    const sy_param *bias = sy_params_find(&B->params, "model.layers.3.mlp.gate.bias");
    for (int i = 0; bias && i < B->T * n; i++) z[i] += (double)bias->leaf.x[i % n];
    want_route r = { .p = bed_softmax(z, B->T, n), .t = calloc((size_t)B->T, sizeof(want_token)) };
    for (int i = 0; i < B->T * n && opt(B, "scoring_func"); i++) r.p[i] = 1 / (1 + exp(-z[i]));
    for (int t = 0; t < B->T; t++) choose(B, mode, z + t * n, r.p + t * n, t, n, &r.t[t]);
    drop(B, mode, &r, B->b.site.E);
    for (int t = 0; t < B->T; t++) {
        double sum = 0;
        want_token *w = &r.t[t];
        for (int k = 0; k < w->n; k++) if (w->id[k] >= 0) sum += r.p[t * n + w->id[k]];
        for (int k = 0; k < w->n; k++) {
            if (w->id[k] >= 0 && opt(B, "norm_topk_prob") && !opt(B, "normalise")) w->w[k] = r.p[t * n + w->id[k]] / sum;
            w->w[k] *= opt(B, "routed_scaling_factor");
        }
    }
    free(z);
    r.x = J.value;
    return r;
}

static const char *const texts[] = {
    "topk", "topk:top_k=1", "topk:top_k=6", "topk:top_k=3,norm_topk_prob=true", "topk:router_bias=true,norm_topk_prob=true", "topk:scoring_func=sigmoid", "topk:score=sigmoid,norm_topk_prob=true,route_scale=2.5",
    "topk:n_group=3,topk_group=2", "topk:n_group=2,topk_group=1,top_k=3,norm_topk_prob=true", "topk:router_jitter_noise=0.3", "topk:router_jitter_noise=0.3,jitter_scope=block", "topk:routed_scaling_factor=16",
    "topk:capacity_factor=0.7", "topk:capacity_factor=0.7,norm_topk_prob=true", "topk:capacity_factor=0.7,norm_topk_prob=true,normalise=before",
    "topk:capacity_factor=0.7,drop_order=rank,norm_topk_prob=true", "topk:capacity_factor=0.7,prioritised=true", "topk:capacity_factor=0.7,group_size=5,min_capacity=1",
    "topk:capacity_factor=1,capacity_rule=gshard,eval_capacity_factor=0.5", "topk:eval_capacity_fraction=0.2", "topk:second_policy=random,norm_topk_prob=true",
    "topk:second_policy=random,norm_topk_prob=true,normalise=before", "topk:second_policy=sampling,norm_topk_prob=true", "topk:second_policy=random",
    "gshard", "gshard:capacity_factor=0.5", "gshard:normalise=before,capacity_factor=0.5", "gshard:normalise=before,second_policy=sampling", "switch", "switch:min_capacity=0,capacity_factor=0.5", "mixtral", "qwen2moe:top_k=4", "deepseekmoe",
};

static void routes(void **state)
{
    (void)state;
    static const sy_mode modes[] = { SY_TRAIN, SY_EVAL, SY_SERVE };
    for (size_t i = 0; i < SY_COUNT(texts); i++)
        for (size_t m = 0; m < SY_COUNT(modes); m++) {
            sy_test_case("%s, mode %d", texts[i], (int)modes[m]);
            bed B;
            bed_open(&B, BED_SPEC(.router = texts[i], .E = 6));
            sy_param *bias = sy_params_find(&B.params, "model.layers.3.mlp.gate.bias");
            for (int e = 0; bias && e < 6; e++) bias->leaf.x[e] = (sy_real)(0.4 * e - 1);
            bed_tokens(&B, 0, 3, 7);
            bed_go(&B, modes[m]);
            want_route want = oracle(&B, modes[m]);
            const sy_route *r = B.route;
            for (int t = 0; t < B.T; t++) {
                assert_int_equal(r->first_slot[t + 1] - r->first_slot[t], want.t[t].n);
                sy_expect_ids("expert", r->expert + r->first_slot[t], want.t[t].id, (size_t)want.t[t].n);
                double all = 0;
                for (int e = 0; e < 6; e++) all += want.p[t * 6 + e];
                for (int e = 0; e < 6; e++) sy_expect_near("probs", (double)r->probs->x[t * 6 + e], want.p[t * 6 + e] / all, BED_TOL, BED_TOL);
                for (int k = 0; k < want.t[t].n; k++)
                    if (want.t[t].id[k] >= 0) sy_expect_near("weight", (double)r->weight->x[r->first_slot[t] + k], want.t[t].w[k], BED_TOL, BED_TOL);
            }
            if (opt(&B, "jitter_scope")) memcpy(B.value, want.x, (size_t)B.T * B.D * sizeof *B.value);      /* the experts see it too */
            bed_expect_layer(&B);
            free(want.p), free(want.t), free(want.x);
            bed_close(&B);
        }
}

/* A second run of the same tokens keeps choices and drops, and gives the same bits; also when its scores would choose otherwise. */
static void again(void **state)
{
    (void)state;
    for (size_t i = 0; i < SY_COUNT(texts); i++) {
        bed B;
        sy_test_case("%s", texts[i]);
        bed_open(&B, BED_SPEC(.router = texts[i], .E = 6));
        bed_tokens(&B, 0, 3, 7);
        bed_go(&B, SY_TRAIN);
        bed_keep(&B);
        sy_real *y = malloc((size_t)B.T * B.D * sizeof *y);
        memcpy(y, B.y->x, (size_t)B.T * B.D * sizeof *y);
        for (int other = 0; other < 2; other++) {
            if (other) sy_param_fill(B.b.gate, 0.1);
            sy_expect_ok(bed_run(&B, SY_TRAIN, &B.again, err));
            assert_int_equal(B.route->n, B.again.n);
            sy_expect_ids("first_slot", B.route->first_slot, B.again.first_slot, (size_t)B.T + 1);
            sy_expect_ids("expert", B.route->expert, B.again.expert, (size_t)B.again.n);
            if (!other) sy_expect_same("y", B.y->x, y, (size_t)B.T * B.D * sizeof *y);
        }
        free(y);
        bed_close(&B);
    }
}

/* gshard: "with capacity >= N no drop and sum of weights = 1 (policy all); with C=0 y=0" */
static void gshard_invariants(void **state)
{
    (void)state;
    bed B;
    sy_test_case("capacity >= N: no drop and weights sum to 1");
    bed_open(&B, BED_SPEC(.router = "gshard:second_policy=all,capacity_factor=8"));
    bed_tokens(&B, 0, 2, 9);
    bed_go(&B, SY_TRAIN);
    for (int t = 0; t < B.T; t++) {
        double sum = 0;
        assert_int_equal(B.route->first_slot[t + 1] - B.route->first_slot[t], 2);
        for (int s = 2 * t; s < 2 * t + 2; s++) {
            assert_true(B.route->expert[s] >= 0);
            sum += (double)B.route->weight->x[s];
        }
        sy_expect_near("sum of weights", sum, 1, 1e-6, 0);
    }
    bed_close(&B);
    sy_test_case("C = 0: y = 0");
    bed_open(&B, BED_SPEC(.router = "gshard:capacity_factor=0.001"));
    bed_tokens(&B, 0, 2, 9);
    bed_go(&B, SY_TRAIN);
    for (int i = 0; i < B.T * B.D; i++) assert_true(B.y->x[i] == 0);
    for (int s = 0; s < B.route->n; s++) assert_true(B.route->expert[s] < 0);
    sy_expect_ok(sy_backward_from(&B.tape, B.y, B.value, err));
    for (int i = 0; i < B.T * B.D; i++) assert_true(!B.x->dx || B.x->dx[i] == 0);      /* 0, not NaN: nothing was kept to divide by */
    bed_close(&B);
    sy_test_case("one-expert survivors get weight 1 with normalise=after");
    bed_open(&B, BED_SPEC(.router = "gshard:second_policy=all,capacity_factor=0.6"));
    bed_tokens(&B, 0, 2, 9);
    bed_go(&B, SY_TRAIN);
    int survivors = 0;
    for (int t = 0; t < B.T; t++)
        if ((B.route->expert[2 * t] < 0) != (B.route->expert[2 * t + 1] < 0)) {
            survivors++;
            sy_expect_near("weight", (double)B.route->weight->x[2 * t + (B.route->expert[2 * t] < 0)], 1, 1e-6, 0);
        }
    assert_true(survivors > 0);
    bed_close(&B);
}

/* switch: "c_e after drops <= C; jitter off at eval (two evals bit-equal)"; dropped slots are counted */
static void switch_invariants(void **state)
{
    (void)state;
    bed B;
    bed_open(&B, BED_SPEC(.router = "switch:min_capacity=0,capacity_factor=1"));
    bed_tokens(&B, 0, 4, 8);
    bed_go(&B, SY_TRAIN);
    int kept[4] = { 0 };
    int64_t dropped = 0;
    for (int s = 0; s < B.route->n; s++) {
        if (B.route->expert[s] >= 0) kept[B.route->expert[s]]++;
        else dropped++;
    }
    for (int e = 0; e < 4; e++) {
        assert_true(kept[e] <= 8);
        dropped -= B.b.counts.dropped[e];
        assert_int_equal(B.b.counts.micro[e], kept[e] + B.b.counts.dropped[e]);
    }
    assert_int_equal(dropped, 0);
    bed_go(&B, SY_EVAL);
    sy_real *first = malloc((size_t)B.T * B.D * sizeof *first);
    memcpy(first, B.y->x, (size_t)B.T * B.D * sizeof *first);
    bed_go(&B, SY_EVAL);
    sy_expect_same("two evaluations", B.y->x, first, (size_t)B.T * B.D * sizeof *first);
    free(first);
    bed_close(&B);
}

/* switch: "gradient of y w.r.t. z_j for j != e equals -p_e p_j FFN_e(x)"; z_j moves through row j of the gate by x */
static void switch_gradient(void **state)
{
    (void)state;
    bed B;
    bed_open(&B, BED_SPEC(.router = "topk:top_k=1"));
    bed_tokens(&B, 0, 1, 1);
    bed_go(&B, SY_TRAIN);
    int e = B.route->expert[0], D = B.D;
    double ffn[8];
    bed_swiglu(&B, e, B.value, ffn);
    for (int out = 0; out < D; out++) {
        sy_real dy[8] = { 0 };
        dy[out] = 1;
        bed_go(&B, SY_TRAIN);
        memset(B.b.gate->w.dx, 0, B.b.gate->n * sizeof(sy_real));
        sy_expect_ok(sy_backward_from(&B.tape, B.y, dy, err));
        const sy_real *p = B.route->probs->x;
        for (int j = 0; j < 4; j++) {
            double want = (double)p[e] * ((j == e) - (double)p[j]) * ffn[out];
            for (int d = 0; d < D; d++) sy_expect_near("d gate", (double)B.b.gate->w.dx[j * D + d], want * B.value[d], BED_TOL, 1e-5);
        }
    }
    bed_close(&B);
}

/* conventions: "softmax, top-k, renormalise is identical to top-k on logits followed by softmax over the K kept logits"; K = E */
static void renormalised(void **state)
{
    (void)state;
    bed B;
    for (int K = 2; K <= 4; K++) {
        bed_open(&B, BED_SPEC(.router = K == 2 ? "mixtral" : K == 3 ? "mixtral:top_k=3" : "mixtral:top_k=4"));
        bed_tokens(&B, 0, 1, 9);
        bed_go(&B, SY_SERVE);
        double *z = bed_logits(&B, GATE);
        for (int t = 0; t < B.T; t++) {
            double sum = 0;
            for (int k = 0; k < K; k++) sum += exp(z[t * 4 + B.route->expert[K * t + k]]);
            for (int k = 0; k < K; k++) sy_expect_near("weight", (double)B.route->weight->x[K * t + k], exp(z[t * 4 + B.route->expert[K * t + k]]) / sum, BED_TOL, BED_TOL);
        }
        free(z);
        bed_close(&B);
    }
}

static void ties(void **state)
{
    (void)state;
    bed B;
    bed_open(&B, BED_SPEC(.router = "topk:top_k=3"));
    sy_param_fill(B.b.gate, 0);
    bed_tokens(&B, 0, 1, 5);
    bed_go(&B, SY_TRAIN);
    for (int s = 0; s < B.route->n; s++) assert_int_equal(B.route->expert[s], s % 3);     /* the lower index wins */
    bed_close(&B);
}

/* smoedropout, scmoe: another K, or given places of the order; a random expert is one the token does not have */
static void overrides(void **state)
{
    (void)state;
    bed B;
    bed_open(&B, BED_SPEC(.router = "topk:top_k=2", .E = 5));
    bed_tokens(&B, 0, 2, 6);
    B.over = &(sy_override){ .k = 4 };
    bed_go(&B, SY_SERVE);
    assert_int_equal(B.route->n, 4 * B.T);
    double *z = bed_logits(&B, GATE);
    B.over = &(sy_override){ .n_ranks = 3, .ranks = (int[]){ 2, 5, 0 } };
    bed_go(&B, SY_SERVE);
    for (int t = 0; t < B.T; t++) {
        int order[5], *e = B.route->expert + 3 * t;
        top(z + 5 * t, 5, 5, order);
        assert_int_equal(e[0], order[2]);
        assert_int_equal(e[2], order[0]);
        assert_true(e[1] >= 0 && e[1] < 5 && e[1] != e[0] && e[1] != e[2]);
    }
    free(z);
    static const int past[] = { 6 }, below[] = { -1 };
    static const struct { sy_override o; const char *part; } bad[] = {
        { { .k = 6 }, "6 experts a token are asked for, there are 5" }, { { .n_ranks = 1, .ranks = past }, "rank 6 is outside 0 .. 5" },
        { { .n_ranks = 1, .ranks = below }, "rank -1" }, { { .threshold = 0.3 }, "threshold 0.3 is given" },
    };
    for (size_t i = 0; i < SY_COUNT(bad); i++) {
        sy_err e = { 0 }, *err = &e;
        B.over = &bad[i].o;
        sy_status st = bed_run(&B, SY_SERVE, NULL, err);
        assert_true(st != SY_OK);
        sy_expect_fail(st, st, bad[i].part);
    }
    bed_close(&B);
}

static void refusals(void **state)
{
    (void)state;
    static const struct { const char *router, *part; } bad[] = {
        { "topk:top_k=5", "num_experts_per_tok 5 exceeds the 4 experts" }, { "topk:n_group=3", "n_group 3 does not divide the 4 experts" },
        { "topk:n_group=2,topk_group=3", "topk_group 3 exceeds n_group 2" }, { "topk:n_group=2,topk_group=1,top_k=3", "exceeds the 2 experts of topk_group 1" },
        { "topk:top_k=3,second_policy=random", "num_experts_per_tok is 3" }, { "topk:top_k=1,norm_topk_prob=true", "the constant 1" },
        { "topk:top_k=0", "outside 1 .. 1024" }, { "topk:capacity_factor=nan", "outside" }, { "topk:topk=2", "did you mean 'top_k'" },
    };
    for (size_t i = 0; i < SY_COUNT(bad); i++) {
        sy_test_case("%s", bad[i].router);
        bed_refused(BED_SPEC(.router = bad[i].router), SY_EARG, bad[i].part);
    }
    bed B;
    sy_err e = { 0 };
    sy_test_case("a loaded model's config is obeyed");
    bed_open(&B, BED_SPEC());
    sy_block again;
    sy_block_spec spec = bed_spec(BED_SPEC(.router = "topk:top_k=1,norm_topk_prob=true"));
    sy_params params = { .arena = &B.arena };                               /* not fresh: a checkpoint will bring the weights */
    sy_site site = { .init_std = 0.1 };
    assert_int_equal(sy_block_init(&again, &spec, &site, &sy_builtin_methods, &params, 1, &e), SY_OK);
    bed_close(&B);
}

/* Neutral settings: jitter 0 and no capacity are plain top-k, bit for bit; a count pass routes as training does. */
static void neutral(void **state)
{
    (void)state;
    static const char *const same[] = { "topk:top_k=2,router_jitter_noise=0,capacity_factor=0", "topk:capacity_factor=100", "topk:n_group=2,topk_group=2", "topk:prioritised=true,drop_order=rank" };
    bed A, B;
    bed_open(&A, BED_SPEC());
    bed_tokens(&A, 0, 2, 8);
    bed_go(&A, SY_TRAIN);
    for (size_t i = 0; i < SY_COUNT(same); i++) {
        sy_test_case("%s", same[i]);
        bed_open(&B, BED_SPEC(.router = same[i]));
        bed_tokens(&B, 0, 2, 8);
        bed_go(&B, SY_TRAIN);
        sy_expect_same("y", B.y->x, A.y->x, (size_t)A.T * A.D * sizeof(sy_real));
        bed_close(&B);
    }
    bed_close(&A);
    sy_test_case("count pass against training");
    bed_open(&B, BED_SPEC(.router = "gshard:second_policy=sampling,router_jitter_noise=0.2"));
    bed_tokens(&B, 0, 2, 8);
    bed_go(&B, SY_COUNT_PASS);
    bed_keep(&B);
    bed_go(&B, SY_TRAIN);
    assert_int_equal(B.route->n, B.again.n);
    sy_expect_ids("expert", B.route->expert, B.again.expert, (size_t)B.again.n);
    bed_close(&B);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(routes), cmocka_unit_test(again), cmocka_unit_test(gshard_invariants), cmocka_unit_test(switch_invariants), cmocka_unit_test(switch_gradient), cmocka_unit_test(renormalised),
        cmocka_unit_test(ties), cmocka_unit_test(overrides), cmocka_unit_test(refusals), cmocka_unit_test(neutral),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
