/* tests/routers/test_rmoe.c - the recurrent router: both cells against slow loops in double, the state across layers, and the card's two-layer task. */
#include "routers/contract.h"

enum { D = 6, H = 5, E = 4 };

static void contract_of(void **state)
{
    (void)state;
    contract_run(&(contract){ .key = "rmoe", .router = "rmoe:moe_router_rnn_hidden_size=5", .more = { "rmoe:moe_router_rnn_hidden_size=3,moe_router_type=rnn,detach_state=true,top_k=3" }, .balance = "switch" });
}

/* Two sparse layers over one set of parameters: what a model does, without the attention in between. */
typedef struct pair { bed *B; sy_block second; } pair;

static void open(pair *p, bed *B, const char *router)
{
    sy_block_spec spec = bed_spec(BED_SPEC(.router = router));
    sy_site site = { .layer = 4, .nth = 1, .n_sparse = 2, .V = 16, .init_std = 0.4 };
    bed_open(B, &spec);
    p->B = B;
    sy_expect_ok(sy_block_init(&p->second, &spec, &site, &B->eng.methods, &B->params, 12, err));
}

static sy_route_in input(const bed *B, sy_tensor *x, sy_tensor *carry)
{
    return (sy_route_in){ .mode = SY_TRAIN, .T = B->T, .x = x, .id = B->id, .pos = B->pos, .seq = B->seq, .label = B->label, .key = B->key, .n_micro = 1, .n_pass = 1, .n_seq = B->n_seq, .carry = carry };
}

/* x through both layers; the state goes along. */
static sy_tensor *run(pair *p, sy_route *route[2], bool carry)
{
    bed *B = p->B;
    sy_tape *t = &B->tape;
    sy_tape_reset(t);
    B->x = sy_new(t, SY_DIM(B->T, B->D));
    memcpy(B->x->x, B->value, (size_t)B->T * B->D * sizeof(sy_real));
    B->x->wants = true;
    sy_tensor *y = sy_block_run(&B->b, t, input(B, B->x, NULL), NULL, &route[0], NULL);
    sy_expect_ok(sy_tape_status(t, err));
    y = sy_block_run(&p->second, t, input(B, y, carry ? route[0]->carry : NULL), NULL, &route[1], NULL);
    sy_expect_ok(sy_tape_status(t, err));
    return y;
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* h after a layer, by the definition; x in double. */
static void cell(const bed *B, int layer, bool gru, const double *x, const double *h, double *out)
{
    char name[80];
    snprintf(name, sizeof name, "model.layers.%d.mlp.gate.in.weight", layer);
    const sy_real *w1 = sy_params_find(&B->params, name)->w.data, *wi = sy_params_find(&B->params, "model.router.cell.weight_ih")->w.data,
                  *wh = sy_params_find(&B->params, "model.router.cell.weight_hh")->w.data, *bi = sy_params_find(&B->params, "model.router.cell.bias_ih")->w.data,
                  *bh = sy_params_find(&B->params, "model.router.cell.bias_hh")->w.data;
    double v[H] = { 0 }, a[3 * H], b[3 * H];
    for (int i = 0; i < H; i++) for (int d = 0; d < D; d++) v[i] += (double)w1[i * D + d] * x[d];
    for (int i = 0; i < (gru ? 3 : 1) * H; i++) {
        a[i] = (double)bi[i], b[i] = (double)bh[i];
        for (int k = 0; k < H; k++) a[i] += (double)wi[i * H + k] * v[k], b[i] += (double)wh[i * H + k] * h[k];
    }
    for (int i = 0; i < H; i++) {
        double r = sigmoid(a[i] + b[i]), u = gru ? sigmoid(a[H + i] + b[H + i]) : 0, n = gru ? tanh(a[2 * H + i] + r * b[2 * H + i]) : tanh(a[i] + b[i]);
        out[i] = (1 - u) * n + u * h[i];
    }
}

static void formulas(void **state)
{
    (void)state;
    for (int gru = 0; gru < 2; gru++) {
        bed B;
        pair p;
        sy_route *route[2];
        sy_test_case(gru ? "gru" : "rnn");
        open(&p, &B, gru ? "rmoe:moe_router_rnn_hidden_size=5" : "rmoe:moe_router_rnn_hidden_size=5,moe_router_type=rnn");
        assert_int_equal(B.b.carry, H);
        const char *shared[] = { "weight_ih", "weight_hh", "bias_ih", "bias_hh" };
        for (int i = 0; i < 4; i++) {                         /* far from 0, so that a wrong gate would show */
            char name[64];
            snprintf(name, sizeof name, "model.router.cell.%s", shared[i]);
            sy_param_normal(sy_params_find(&B.params, name), 4, 0.7);
        }
        bed_tokens(&B, 0, 3, 7);
        run(&p, route, true);
        for (int t = 0; t < B.T; t++) {
            double x[D], h0[H] = { 0 }, h1[H], z[E], sum = 0;
            for (int d = 0; d < D; d++) x[d] = (double)B.value[t * D + d];
            cell(&B, 3, gru, x, h0, h1);
            for (int i = 0; i < H; i++) sy_expect_near("h", (double)route[0]->carry->x[t * H + i], h1[i], 1e-5, 1e-5);
            const sy_real *w2 = sy_params_find(&B.params, "model.layers.3.mlp.gate.weight")->w.data;
            for (int e = 0; e < E; e++) {
                z[e] = 0;
                for (int i = 0; i < H; i++) z[e] += (double)w2[e * H + i] * h1[i];
                sum += exp(z[e]);
            }
            for (int e = 0; e < E; e++) sy_expect_near("p", (double)route[0]->probs->x[t * E + e], exp(z[e]) / sum, 1e-5, 1e-5);
            double two = (double)route[0]->weight->x[2 * t] + (double)route[0]->weight->x[2 * t + 1];
            sy_expect_near("weights sum to 1", two, 1, 1e-6, 0);
        }
        bed_close(&B);
    }
}

/* "u forced to 0 and W_h* = 0 makes layer l independent of earlier layers; zeroing W2_l gives uniform p" */
static void invariants(void **state)
{
    (void)state;
    bed B;
    pair p;
    sy_route *route[2];
    open(&p, &B, "rmoe:moe_router_rnn_hidden_size=5");
    bed_tokens(&B, 0, 3, 7);
    sy_real *bi = sy_params_find(&B.params, "model.router.cell.bias_ih")->w.data;
    size_t bytes = (size_t)B.T * D * sizeof(sy_real);
    sy_real *with = malloc(bytes);
    memcpy(with, run(&p, route, true)->x, bytes);
    assert_true(memcmp(with, run(&p, route, false)->x, bytes));           /* as drawn, the state matters */
    sy_param_fill(sy_params_find(&B.params, "model.router.cell.weight_hh"), 0);
    for (int i = H; i < 2 * H; i++) bi[i] = -200;             /* u = 0 */
    memcpy(with, run(&p, route, true)->x, bytes);
    sy_expect_same("y", run(&p, route, false)->x, with, bytes);
    sy_param_fill(sy_params_find(&B.params, "model.layers.3.mlp.gate.weight"), 0);
    run(&p, route, true);
    for (int i = 0; i < B.T * E; i++) sy_expect_near("p", (double)route[0]->probs->x[i], 0.25, 1e-7, 0);
    free(with);
    bed_close(&B);
}

/* The gradient of the second layer's output reaches the first layer's router through the state alone, unless it is detached. */
static void through_layers(void **state)
{
    (void)state;
    for (int detach = 0; detach < 2; detach++) {
        bed B;
        pair p;
        sy_route *route[2];
        sy_test_case("detach_state %d", detach);
        open(&p, &B, detach ? "rmoe:moe_router_rnn_hidden_size=5,detach_state=true" : "rmoe:moe_router_rnn_hidden_size=5");
        bed_tokens(&B, 0, 3, 7);
        sy_param_fill(sy_params_find(&B.params, "model.layers.3.mlp.experts.{e}.down_proj.weight"), 0);   /* the first layer's output is 0, and so is its weights' gradient */
        run(&p, route, true);
        sy_grad_zero(&B.eng, &B.params);
        sy_param *w1 = sy_params_find(&B.params, "model.layers.3.mlp.gate.in.weight");
        double most = 0;
        sy_expect_ok(sy_backward(&B.tape, sy_dot_const(&B.tape, route[1]->probs, B.value), err));
        for (size_t i = 0; i < w1->n; i++) most = fmax(most, fabs((double)w1->w.dx[i]));
        if (detach) assert_true(most == 0);
        else assert_true(most > 1e-9);
        bed_close(&B);
    }
}

/* --- the card's task: what layer 1 is told, layer 2 needs ----------------------------------------------------------------------- */

enum { X = 4, DOMAINS = 4, W = X + DOMAINS, N = 64 };

/* Layer 1: x without its domain columns, whatever the expert. */
static sy_tensor *blank_run(void *s, sy_tape *t, const sy_site *at, sy_tensor *x, const int *first, int experts)
{
    (void)s, (void)at, (void)first, (void)experts;
    sy_real *keep = sy_tape_alloc(t, sy_numel(x), sizeof *keep);
    for (size_t i = 0; keep && i < sy_numel(x); i++) keep[i] = i % W < X;
    return keep ? sy_mul_const(t, x, keep) : &t->empty;
}
static sy_status blank_params(void *s, const sy_site *at, int experts, sy_own *own, sy_err *err) { (void)s, (void)at, (void)experts, (void)own, (void)err; return SY_OK; }
static const sy_method blank = { .kind = SY_EXPERT, .name = "blank", .hooks = &(const sy_expert_hooks){ .abi = SY_ROUTER_ABI, .params = blank_params, .run = blank_run } };

/* Layer 2: one matrix an expert. */
typedef struct matrix { sy_param *w; } matrix;
static sy_status matrix_params(void *s, const sy_site *at, int experts, sy_own *own, sy_err *err)
{
    (void)err;
    return (((matrix *)s)->w = sy_own_param(own, "{e}.weight", 0, false, 0.1, SY_DIM(experts, at->D, at->D))) ? SY_OK : SY_ENOMEM;
}
static sy_tensor *matrix_run(void *s, sy_tape *t, const sy_site *at, sy_tensor *x, const int *first, int experts) { (void)at, (void)experts; return sy_grouped(t, x, &((matrix *)s)->w->w, first); }
static const sy_method matrices = { .kind = SY_EXPERT, .name = "matrices", .size = sizeof(matrix), .hooks = &(const sy_expert_hooks){ .abi = SY_ROUTER_ABI, .params = matrix_params, .run = matrix_run } };
static const sy_method *const extra[] = { &blank, &matrices, NULL };

/* Mean squared error, in shares of the target's variance, after 1500 steps. */
static double trained(const char *router)
{
    enum { STEPS = 1500 };
    bed B;
    sy_block second;
    sy_methods all = sy_builtin_methods;
    sy_err e;
    sy_optim o;
    double off = 0, var = 0, A[DOMAINS][X][X];
    all.extra = extra;
    if (bed_try(&B, BED_SPEC(.router = router, .expert = "blank", .D = W), 1, true, &all, &e) != SY_OK) fail_msg("%s", e.text);
    sy_site site = { .layer = 4, .nth = 1, .n_sparse = 2, .V = 16, .init_std = 0.1 };
    sy_block_spec spec = bed_spec(BED_SPEC(.router = router, .expert = "matrices", .D = W));
    sy_expect_ok(sy_block_init(&second, &spec, &site, &B.eng.methods, &B.params, 12, err));
    sy_opt_defaults(sy_optim_opts, &o);
    o.weight_decay = 0;
    bed_tokens(&B, 0, N, 1);
    for (int i = 0; i < DOMAINS * X * X; i++) A[i / (X * X)][i / X % X][i % X] = sy_draw_normal(2, (uint64_t)i, 0);
    for (int step = 0; step < STEPS; step++) {
        sy_real y[N * W] = { 0 };
        for (int t = 0; t < N; t++) {
            uint64_t n = (uint64_t)(step * N + t);
            int domain = (int)sy_draw_below(4, n, 0, DOMAINS);
            for (int d = 0; d < X; d++) B.value[t * W + d] = (sy_real)sy_draw_normal(5, n, (unsigned)d);
            for (int d = 0; d < DOMAINS; d++) B.value[t * W + X + d] = d == domain;
            for (int r = 0; r < X; r++) for (int d = 0; d < X; d++) y[t * W + r] += (sy_real)(A[domain][r][d] * (double)B.value[t * W + d]);
        }
        sy_tape *t = &B.tape;
        sy_route *route[2];
        sy_tape_reset(t);
        sy_grad_zero(&B.eng, &B.params);
        sy_tensor *x = sy_new(t, SY_DIM(N, W)), *want = sy_new(t, SY_DIM(N, W));
        memcpy(x->x, B.value, sizeof y), memcpy(want->x, y, sizeof y);
        sy_tensor *h = sy_block_run(&B.b, t, input(&B, x, NULL), NULL, &route[0], NULL);
        sy_expect_ok(sy_tape_status(t, err));
        h = sy_block_run(&second, t, input(&B, h, route[0]->carry), NULL, &route[1], NULL);
        sy_tensor *l = sy_mean(t, sy_square(t, sy_sub(t, h, want)));
        sy_expect_ok(sy_backward(t, l, err));
        sy_optim_step(&B.eng, &B.params, &o, 1e-2, step + 1, 1);
        if (step < STEPS - 100) continue;
        off += (double)l->x[0] / 100;
        for (int i = 0; i < N * W; i++) var += (double)y[i] * (double)y[i] / (N * W) / 100;
    }
    bed_close(&B);
    return off / var;
}

/* "A plain router in layer 2 stays near the variance of the targets around the mean map, RMoE (h carries the domain) reaches the noise floor" */
static void needs_the_state(void **state)
{
    (void)state;
    double plain = trained("topk:top_k=2,norm_topk_prob=true"), recurrent = trained("rmoe:moe_router_rnn_hidden_size=8");
    printf("share of the variance left: plain %.3f, recurrent %.3f\n", plain, recurrent);
    assert_true(plain > 0.4);
    assert_true(recurrent < 0.1);
}

static void refusals(void **state)
{
    (void)state;
    bed_refused(BED_SPEC(.router = "rmoe:top_k=5"), SY_EARG, "num_experts_per_tok 5 exceeds the 4 experts");
    bed_refused(BED_SPEC(.router = "rmoe:top_k=1"), SY_EARG, "the constant 1");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(contract_of), cmocka_unit_test(formulas), cmocka_unit_test(invariants), cmocka_unit_test(through_layers), cmocka_unit_test(needs_the_state), cmocka_unit_test(refusals) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
