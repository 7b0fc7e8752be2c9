/* tests/decode/test_rewire.c - vectors trained on the context: the gradient of a vector in double, steps against steps by hand, and the invariants of the definition. */
#include "decode/bed.h"

static void contract_of(void **state)
{
    (void)state;
    decode_contract_run(&(decode_contract){ "rewire", "rewire:steps=2,lr=0.05,select=all", "steps=0", "no router logits" });
}

/* --- the same by hand: an edit that adds vectors, one pass over all ids ------------------------------------------------------------ */

static sy_tensor *add_vector(void *state, sy_tape *t, const sy_route_in *in, sy_tensor *z) { (void)in; return sy_add_bias(t, z, state); }

static const sy_method adder = { .kind = SY_EDIT, .name = "by-hand", .hooks = &(const sy_edit_hooks){ .abi = SY_ROUTER_ABI, .logits = add_vector } };

enum { LAYERS = 2, E = 4 };

typedef struct hand { sy_model *m; sy_tape t; sy_real delta[LAYERS][E], grad[LAYERS][E]; sy_tensor leaf[LAYERS]; sy_term edit[LAYERS]; sy_route *routes[LAYERS], again[LAYERS], *const *keep; } hand;

static void hand_open(hand *h, sy_model *m, const bool *on)
{
    *h = (hand){ .m = m };
    sy_tape_init(&h->t, &decode_eng, true);
    for (int l = 0; l < LAYERS; l++) {
        h->leaf[l] = (sy_tensor){ .x = h->delta[l], .dx = h->grad[l], .nd = 1, .dim = { E }, .wants = true };
        if (on[l]) h->edit[l] = (sy_term){ &adder, &h->leaf[l] };
    }
}

/* Mean -ln P(c_i | c_<i) of ids 0 .. n-1; with `back` the gradient, too. The logits of the last id go to `z` [V] when given. */
static double hand_loss(hand *h, int n, bool back, sy_real *z)
{
    int id[DECODE_ROOM], label[DECODE_ROOM], pos[DECODE_ROOM], seq[DECODE_ROOM] = { 0 }, last = n - 1;
    for (int i = 0; i < n; i++) id[i] = decode_id(i), pos[i] = i, label[i] = i + 1 < n ? decode_id(i + 1) : -1;
    sy_segment seg = { .n = n };
    sy_batch b = { .T = n, .n_seg = 1, .id = id, .pos = pos, .seq = seq, .seg = &seg, .seq_no = &(uint64_t){ 0 } };
    sy_tape_reset(&h->t);
    sy_tensor *x = sy_model_hidden(h->m, &h->t, &b, &(sy_run){ .mode = SY_SERVE, .edits = h->edit, .routes = h->routes, .again = h->keep });
    sy_tensor *loss = sy_model_loss(h->m, &h->t, x, label, &(sy_xent){ .scale = 1.0 / (n - 1) });
    if (z) {
        sy_tensor *y = sy_model_logits(h->m, &h->t, x, &last, 1);
        sy_expect_ok(sy_tape_status(&h->t, err));
        memcpy(z, y->x, DECODE_V * sizeof *z);
    }
    sy_expect_ok(sy_tape_status(&h->t, err));
    double value = (double)loss->x[0];
    memset(h->grad, 0, sizeof h->grad);
    if (back) sy_expect_ok(sy_backward(&h->t, loss, err));
    return value;
}

/* gradient of delta sums to 0 over experts; against central differences, choices held fixed. */
static void gradient(void **state)
{
    (void)state;
    static const char *const routers[] = { "router='topk:top_k=2,norm_topk_prob=true'", "router='topk:top_k=2'", "router='topk:top_k=2',shared_expert_intermediate_size=5" };
    for (size_t i = 0; i < SY_COUNT(routers); i++) {
        hand h;
        sy_real grad[LAYERS][E];
        sy_route again[LAYERS], *keep[LAYERS];
        sy_model *m = decode_model(routers[i]);
        sy_test_case("%s", routers[i]);
        hand_open(&h, m, (bool[]){ true, true });
        for (int l = 0; l < LAYERS; l++) for (int e = 0; e < E; e++) h.delta[l][e] = (sy_real)(0.3 * sy_draw(9, (uint64_t)(l * E + e), 0));
        hand_loss(&h, 20, true, NULL);
        memcpy(grad, h.grad, sizeof grad);
        sy_arena a = { 0 };
        for (int l = 0; l < LAYERS; l++) {
            const sy_route *r = h.routes[l];
            again[l] = (sy_route){ .T = r->T, .E = r->E, .Z = r->Z, .n = r->n, .first_slot = sy_arena_alloc(&a, (size_t)(r->T + 1) * sizeof(int)), .expert = sy_arena_alloc(&a, (size_t)r->n * sizeof(int)) };
            memcpy(again[l].first_slot, r->first_slot, (size_t)(r->T + 1) * sizeof(int));
            memcpy(again[l].expert, r->expert, (size_t)r->n * sizeof(int));
            keep[l] = &again[l];
        }
        h.keep = keep;
        for (int l = 0; l < LAYERS; l++) {
            double sum = 0, most = 0;
            for (int e = 0; e < E; e++) {
                const double step = sizeof(sy_real) == 8 ? 1e-5 : 2e-2;
                sy_real was = h.delta[l][e];
                h.delta[l][e] = was + (sy_real)step;
                double up = hand_loss(&h, 20, false, NULL);
                h.delta[l][e] = was - (sy_real)step;
                double down = hand_loss(&h, 20, false, NULL);
                h.delta[l][e] = was;
                sy_expect_near("gradient", (double)grad[l][e], (up - down) / (2 * step), sizeof(sy_real) == 8 ? 1e-9 : 2e-4, sizeof(sy_real) == 8 ? 1e-6 : 2e-2);
                sum += (double)grad[l][e], most = fmax(most, fabs((double)grad[l][e]));
            }
            assert_true(most > 1e-4);
            sy_expect_near("sum over experts", sum, 0, sizeof(sy_real) == 8 ? 1e-14 : 1e-7, 0);
        }
        sy_tape_free(&h.t);
        sy_arena_free(&a);
        sy_model_free(m);
    }
}

/* adding the same constant to all entries of delta_l changes nothing (for softmax gates) */
static void constant(void **state)
{
    (void)state;
    hand h;
    sy_real a[DECODE_V], b[DECODE_V];
    sy_model *m = decode_model("");
    hand_open(&h, m, (bool[]){ true, true });
    hand_loss(&h, 20, false, a);
    for (int e = 0; e < E; e++) h.delta[0][e] = 1;
    hand_loss(&h, 20, false, b);
    sy_expect_close("logits", b, a, DECODE_V, 1e-5, 1e-4);
    sy_tape_free(&h.t);
    sy_model_free(m);
}

/* --- the method against steps by hand ------------------------------------------------------------------------------------------------- */

static void hand_adapt(hand *h, int n, int steps, double lr, bool adam, double l2)
{
    double m[LAYERS][E] = { { 0 } }, v[LAYERS][E] = { { 0 } };
    for (int t = 1; t <= steps; t++) {
        hand_loss(h, n, true, NULL);
        for (int l = 0; l < LAYERS; l++)
            for (int e = 0; e < E && h->edit[l].m; e++) {
                double g = (double)h->grad[l][e] + 2 * l2 * (double)h->delta[l][e];
                m[l][e] = 0.9 * m[l][e] + 0.1 * g;
                v[l][e] = 0.999 * v[l][e] + 0.001 * g * g;
                h->delta[l][e] -= (sy_real)(lr * (adam ? m[l][e] / (1 - pow(0.9, t)) / (sqrt(v[l][e] / (1 - pow(0.999, t))) + 1e-8) : g));
            }
    }
}

/* prefill: adapt on the prompt; generate m tokens with delta fixed; adapt on prompt + generated text; the cache is rebuilt: logits equal a pass without one. */
static void steps(void **state)
{
    (void)state;
    static const struct { const char *method; int steps, interval; double lr, l2; bool adam, on[LAYERS]; } cases[] = {
        { "rewire:steps=3,lr=0.05,interval=4,select=all", 3, 4, 0.05, 0, true, { true, true } },
        { "rewire:steps=2,lr=0.3,interval=100,select=last,optimizer=sgd,l2=0.2", 2, 100, 0.3, 0.2, false, { false, true } },
        { "rewire:steps=4,lr=0.1,interval=3,select=last,layer_fraction=0.1", 4, 3, 0.1, 0, true, { false, true } },
    };
    sy_model *m = decode_model("");
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        hand h;
        sy_generator g;
        sy_test_case("%s", cases[i].method);
        decode_open(&g, m, cases[i].method);
        hand_open(&h, m, cases[i].on);
        for (int n = 8, adapted = 0; n < 20; n++) {
            sy_real z[DECODE_V];
            sy_expect_ok(decode_feed(&g, n == 8 ? 0 : n - 1, n, err));
            if (!adapted || n - adapted >= cases[i].interval) hand_adapt(&h, adapted = n, cases[i].steps, cases[i].lr, cases[i].adam, cases[i].l2);
            hand_loss(&h, n, false, z);
            sy_expect_same("logits", g.logits, z, sizeof z);
        }
        sy_generator_close(&g);
        sy_tape_free(&h.t);
    }
    sy_model_free(m);
}

static void told(const sy_generator *g, int *times, double *first, double *last)
{
    char line[256];
    ((const sy_decode_hooks *)g->decode->hooks)->tell(g->decoder, line, sizeof line);
    if (sscanf(line, "%d adaptations; in the last one the loss of the context went from %lf to %lf", times, first, last) != 3) fail_msg("'%s'", line);
}

/* Context loss must fall at every adaptation (lr small). delta is reset to 0 for each new request (option keep=1 carries it over). */
static void requests(void **state)
{
    (void)state;
    static const char *const method[] = { "rewire:lr=0.001,interval=6", "rewire:lr=0.001,interval=6,keep=true" };
    sy_model *m = decode_model("");
    for (int keep = 0; keep < 2; keep++) {
        sy_generator g;
        double start[2] = { 0 }, first, last;
        int times;
        sy_test_case("%s", method[keep]);
        decode_open(&g, m, method[keep]);
        for (int turn = 0; turn < 2; turn++) {
            for (int n = 10; n < 30; n++) {
                sy_expect_ok(decode_feed(&g, n == 10 ? 0 : n - 1, n, err));
                told(&g, &times, &first, &last);
                assert_int_equal(times, 1 + (n - 10) / 6);
                assert_true(last < first);
                if (n == 10) start[turn] = first;
            }
            sy_generator_rewind(&g, 0);
        }
        if (keep) assert_true(start[1] != start[0]);
        else assert_true(start[1] == start[0]);
        sy_generator_close(&g);
    }
    sy_model_free(m);
}

/* select=confident takes the layer whose tokens give their experts the most probability; random and all differ from it as they should. */
static void layers(void **state)
{
    (void)state;
    static const struct { const char *method; bool on[LAYERS]; } cases[] = {
        { "rewire:steps=2,select=confident,layer_fraction=0.5", { false, true } }, { "rewire:steps=2,select=confident,layer_fraction=1", { true, true } },
        { "rewire:steps=2,select=confident,layer_fraction=0", { false, true } }, { "rewire:steps=2,select=all,layer_fraction=0", { true, true } },
    };
    sy_model *m = decode_model("");
    sy_param *gate = sy_params_find(&m->params, "model.layers.2.mlp.gate.weight");
    for (size_t i = 0; i < gate->n; i++) gate->leaf.x[i] *= 3;                /* the second sparse layer is the sure one */
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        hand h;
        sy_generator g;
        sy_real z[DECODE_V];
        sy_test_case("%s", cases[i].method);
        decode_open(&g, m, cases[i].method);
        hand_open(&h, m, cases[i].on);
        sy_expect_ok(decode_feed(&g, 0, 12, err));
        hand_adapt(&h, 12, 2, 0.01, true, 0);
        hand_loss(&h, 12, false, z);
        sy_expect_same("logits", g.logits, z, sizeof z);
        sy_generator_close(&g);
        sy_tape_free(&h.t);
    }
    int seen = 0;
    for (int seed = 0; seed < 8; seed++) {                                     /* select=random: by the seed */
        char method[64];
        sy_generator g;
        sy_real z[DECODE_V];
        snprintf(method, sizeof method, "rewire:steps=2,select=random,seed=%d", seed);
        decode_open(&g, m, method);
        sy_expect_ok(decode_feed(&g, 0, 12, err));
        for (int l = 0; l < LAYERS; l++) {
            hand h;
            hand_open(&h, m, (bool[]){ l == 0, l == 1 });
            hand_adapt(&h, 12, 2, 0.01, true, 0);
            hand_loss(&h, 12, false, z);
            if (!memcmp(z, g.logits, sizeof z)) seen |= 1 << l;
            sy_tape_free(&h.t);
        }
        sy_generator_close(&g);
    }
    assert_int_equal(seen, 3);
    sy_model_free(m);
}

static void refusals(void **state)
{
    (void)state;
    static const struct { const char *settings, *method; unsigned how; sy_status status; const char *part; bool at_read; } cases[] = {
        { "router=hash", "rewire", 0, SY_EUNSUP, "declares that it has none", false },
        { "router=thor", "rewire", 0, SY_EUNSUP, "declares that it has none", false },
        { "router=topk", "rewire", SY_MODEL_TRAIN, SY_EUNSUP, "opened for training", false },
        { "router=topk", "rewire:lr=-1", 0, SY_EARG, "outside 0 .. 100", false },
    };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_generator g;
        sy_err e = { 0 }, *err = &e;
        sy_model *m;
        sy_test_case("%s, %s", cases[i].settings, cases[i].method);
        sy_expect_ok(decode_model_try(&m, cases[i].settings, cases[i].how, err));
        decode_open(&g, m, NULL);
        sy_status st = sy_generator_decode(&g, cases[i].method, err);
        if (cases[i].at_read && st == SY_OK) st = decode_feed(&g, 0, 6, err);
        sy_expect_fail(st, cases[i].status, cases[i].part);
        sy_generator_close(&g);
        sy_model_free(m);
    }
    /* renormalised top-1 models get no gradient (weight constant 1): such a model is refused in training, but files bring it (SY_MODEL_EMPTY obeys them) */
    sy_generator g;
    sy_err e = { 0 }, *err = &e;
    sy_model *m;
    sy_expect_ok(decode_model_try(&m, "router='topk:top_k=1,norm_topk_prob=true'", SY_MODEL_EMPTY, err));
    for (int i = 0; i < m->params.n; i++) for (size_t k = 0; k < m->params.p[i]->n; k++) m->params.p[i]->leaf.x[k] = (sy_real)(sy_draw((uint64_t)i, k, 0) - 0.5);
    decode_open(&g, m, "rewire");
    sy_expect_fail(decode_feed(&g, 0, 6, err), SY_EUNSUP, "no gradient reaches the router logits");
    sy_generator_close(&g);
    sy_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(contract_of), cmocka_unit_test(gradient), cmocka_unit_test(constant), cmocka_unit_test(steps), cmocka_unit_test(requests), cmocka_unit_test(layers), cmocka_unit_test(refusals) };
    return cmocka_run_group_tests(tests, decode_engine, decode_engine_end);
}
