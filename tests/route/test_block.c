/* tests/route/test_block.c - the whole sparse block: counts, refusals, neighbours, mixing, faults of memory, and what it costs in allocations. */
#include "route/bed.h"

/* ---- a router, an edit and a balance term from outside the tree ---- */

static sy_status mix(void *s, sy_tape *t, const sy_route_in *in, sy_tensor *z, sy_mix *out, sy_err *err)
{
    (void)s, (void)err;
    out->slots = 1;
    out->combine = sy_softmax(t, z);                                      /* [T,E]: one slot an expert, one sequence */
    sy_tensor *d = sy_new(t, SY_DIM(sy_cols(z), in->T));
    for (int e = 0; e < sy_cols(z) && t->status == SY_OK; e++)
        for (int i = 0; i < in->T; i++) d->x[e * in->T + i] = (sy_real)1 / (sy_real)(1 + e + i);
    out->dispatch = d;
    return SY_OK;
}
static const sy_method mixer = { .kind = SY_ROUTER, .name = "mixer", .hooks = &(const sy_router_hooks){ SY_ROUTER_ABI, .flags = SY_MIXES | SY_NOPROBS | SY_PEEKS, .mix = mix } };

/* Writes a wrong route: the engine must say so instead of reading past it. */
static sy_status broken_select(void *s, sy_tape *t, const sy_route_in *in, sy_tensor *z, sy_route *out, sy_err *err)
{
    (void)s;
    out->probs = sy_softmax(t, z);
    SY_TRY(sy_slots_topk(t, in, out->probs, 1, out, err));
    out->expert[0] = 99;
    out->weight = sy_new(t, SY_DIM(out->n));
    return SY_OK;
}
static const sy_method broken = { .kind = SY_ROUTER, .name = "broken", .hooks = &(const sy_router_hooks){ SY_ROUTER_ABI, .select = broken_select } };

/* Every token to expert 0 with weight 1, without logits or probabilities. */
static sy_status plain_select(void *s, sy_tape *t, const sy_route_in *in, sy_tensor *z, sy_route *out, sy_err *err)
{
    (void)s, (void)z;
    sy_tensor *g = sy_new(t, SY_DIM(in->T, out->E + out->Z));
    SY_TRY(sy_tape_status(t, err));
    for (size_t i = 0; i < sy_numel(g); i++) g->x[i] = i % (size_t)(out->E + out->Z) == 0;
    return sy_slots_dense(t, in, g, out, err);
}
static const sy_method plain = { .kind = SY_ROUTER, .name = "plain", .hooks = &(const sy_router_hooks){ SY_ROUTER_ABI, .flags = SY_NOLOGITS | SY_NOPROBS, .select = plain_select } };
static const sy_method old = { .kind = SY_ROUTER, .name = "old", .hooks = &(const sy_router_hooks){ SY_ROUTER_ABI + 1, .select = plain_select } };

static sy_tensor *shift_logits(void *s, sy_tape *t, const sy_route_in *in, sy_tensor *z) { (void)s, (void)in; return sy_affine(t, z, 2, 0.5); }
static sy_status flip_gates(void *s, sy_tape *t, const sy_route_in *in, sy_route *io, sy_err *err)
{
    (void)s, (void)t, (void)in, (void)err;
    for (int i = 0; i < io->n; i++) io->expert[i] = io->E - 1 - io->expert[i];
    return SY_OK;
}
static const sy_method editor = { .kind = SY_EDIT, .name = "editor", .hooks = &(const sy_edit_hooks){ SY_ROUTER_ABI, .logits = shift_logits, .gates = flip_gates } };
static const sy_method gates_only = { .kind = SY_EDIT, .name = "flip", .hooks = &(const sy_edit_hooks){ SY_ROUTER_ABI, .gates = flip_gates } };

static const sy_method *const extra[] = { &mixer, &broken, &plain, &old, &editor, &gates_only, NULL };

static sy_methods with_extra(void)
{
    sy_methods m = sy_builtin_methods;
    m.extra = extra;
    return m;
}

static void open_extra(bed *B, const sy_block_spec *spec)
{
    sy_methods m = with_extra();
    sy_err e;
    if (bed_try(B, spec, 1, true, &m, &e) != SY_OK) fail_msg("%s", e.text);
}

/* ---- */

static void counts(void **state)
{
    (void)state;
    bed B;
    bed_open(&B, BED_SPEC(.router = "topk:capacity_factor=0.5"));
    bed_tokens(&B, 0, 2, 6);
    int64_t want[4] = { 0 };
    const sy_counts *c = &B.b.counts;
    sy_expect_ok(sy_block_before(&B.b, 0, 5, 0, err));
    bed_go(&B, SY_COUNT_PASS);
    for (int s = 0; s < B.route->n; s++) want[sy_wanted(B.route->expert[s])]++;
    for (int e = 0; e < 4; e++) {
        assert_int_equal(c->full[e], want[e]);
        assert_int_equal(c->micro[e], want[e]);
        assert_int_equal(c->seen[e] + c->prev[e] + c->dropped[e], 0);
    }
    bed_go(&B, SY_TRAIN);
    bed_keep(&B);
    int64_t dropped = c->dropped[0] + c->dropped[1] + c->dropped[2] + c->dropped[3];
    assert_true(dropped > 0);
    bed_go(&B, SY_EVAL);
    bed_go(&B, SY_SERVE);
    sy_expect_ok(bed_run(&B, SY_TRAIN, &B.again, err));                   /* nothing moves in a second run */
    B.tape.replay = true;
    bed_go(&B, SY_TRAIN);
    B.tape.replay = false;
    for (int e = 0; e < 4; e++) {
        assert_int_equal(c->seen[e], want[e]);
        assert_int_equal(c->full[e], want[e]);
        dropped -= c->dropped[e];
    }
    assert_int_equal(dropped, 0);
    sy_expect_ok(sy_block_after(&B.b, 0, 5, 0.2, err));
    sy_expect_ok(sy_block_before(&B.b, 1, 5, 0.2, err));
    for (int e = 0; e < 4; e++) {
        assert_int_equal(c->prev[e], want[e]);
        assert_int_equal(c->seen[e] + c->full[e] + c->micro[e] + c->dropped[e], 0);
    }
    bed_close(&B);
}

static void statistics(void **state)
{
    (void)state;
    bed B;
    sy_stats s;
    bed_open(&B, BED_SPEC());
    bed_tokens(&B, 0, 3, 5);
    B.valid = malloc(15);
    for (int t = 0; t < 15; t++) B.valid[t] = t != 4;
    sy_expect_ok(sy_stats_init(&s, 4, 0, 3, &B.arena, err));
    B.stats = &s;
    bed_go(&B, SY_SERVE);
    assert_int_equal(s.tokens, 14);
    assert_int_equal(s.slots, 28);
    assert_int_equal(B.route->first_slot[5] - B.route->first_slot[4], 0);     /* padding has no slots, so its y is 0 */
    for (int d = 0; d < 6; d++) assert_true(B.y->x[4 * 6 + d] == 0);
    bed_close(&B);
}

/* "same bits whatever shares the batch": one sequence alone, in a batch, and token by token */
static void alone(void **state)
{
    (void)state;
    static const struct { const char *router; int D, E; } cases[] = {
        { "topk", 6, 4 }, { "mixtral:router_jitter_noise=0.2", 6, 4 }, { "topk:second_policy=sampling", 6, 4 }, { "topk:second_policy=random,norm_topk_prob=true", 6, 4 },
        { "auxfree:top_k=3,n_group=2,topk_group=1,route_scale=2.5", 33, 16 }, { "topk:score=sigmoid,top_k=5", 40, 24 },
    };
    static const sy_mode modes[] = { SY_TRAIN, SY_EVAL, SY_SERVE };
    enum { LEN = 9 };
    for (size_t i = 0; i < SY_COUNT(cases); i++)
        for (size_t m = 0; m < SY_COUNT(modes); m++) {
            bed A, B;
            sy_test_case("%s, mode %d", cases[i].router, (int)modes[m]);
            const sy_block_spec *spec = BED_SPEC(.router = cases[i].router, .D = cases[i].D, .E = cases[i].E, .F = 19, .shared_F = 7, .shared_gate = true);
            bed_open(&A, spec), bed_open(&B, spec);
            assert_int_equal(A.b.flags & SY_COUPLES, 0);
            bed_tokens(&A, 0, 8, LEN), bed_tokens(&B, 5, 1, LEN);
            bed_go(&A, modes[m]), bed_go(&B, modes[m]);
            size_t bytes = (size_t)LEN * (size_t)A.D * sizeof(sy_real);
            sy_expect_same("y", B.y->x, A.y->x + (size_t)5 * LEN * (size_t)A.D, bytes);
            for (int t = 0; t < LEN; t++) {                               /* token t on its own row */
                bed C;
                bed_open(&C, spec);
                bed_tokens(&C, 5, 1, LEN);
                C.T = 1;
                memcpy(C.value, B.value + (size_t)t * (size_t)A.D, (size_t)A.D * sizeof(sy_real));
                C.pos[0] = t;
                bed_go(&C, modes[m]);
                sy_expect_same("y of one token", C.y->x, B.y->x + (size_t)t * (size_t)A.D, (size_t)A.D * sizeof(sy_real));
                bed_close(&C);
            }
            bed_close(&A), bed_close(&B);
        }
}

static void edges(void **state)
{
    (void)state;
    bed B;
    sy_test_case("no token");
    bed_open(&B, BED_SPEC(.router = "gshard", .balance = { "switch", "zloss", "importance" }, .n_balance = 3, .Z = 1, .zero = "constant"));
    bed_tokens(&B, 0, 1, 0);
    bed_go(&B, SY_TRAIN);
    assert_int_equal(B.route->n, 0);
    sy_test_case("padding alone");
    bed_tokens(&B, 0, 1, 3);
    B.valid = calloc(3, 1);
    bed_go(&B, SY_TRAIN);
    assert_int_equal(B.route->n, 0);
    for (int i = 0; i < B.aux.n; i++) assert_true(B.aux.l[i].value->x[0] == 0);
    bed_close(&B);
    sy_test_case("every token kept when the capacity is at least N");
    bed_open(&B, BED_SPEC(.router = "topk:capacity_factor=2"));           /* round(2 * 2 * N / 4) = N */
    sy_param_fill(B.b.gate, 0);
    bed_tokens(&B, 0, 2, 9);
    bed_go(&B, SY_TRAIN);
    for (int s = 0; s < B.route->n; s++) assert_int_equal(B.route->expert[s], s % 2);
    bed_close(&B);
    sy_test_case("routed scale");
    bed A;
    bed_open(&A, BED_SPEC(.routed_scale = 4));
    bed_open(&B, BED_SPEC());
    bed_tokens(&A, 0, 1, 5), bed_tokens(&B, 0, 1, 5);
    bed_go(&A, SY_TRAIN), bed_go(&B, SY_TRAIN);
    for (int i = 0; i < 30; i++) sy_expect_near("y", (double)A.y->x[i], 4 * (double)B.y->x[i], 0, 1e-6);
    bed_close(&A), bed_close(&B);
}

static void shared(void **state)
{
    (void)state;
    for (int gated = 0; gated < 2; gated++) {
        bed A, B;
        sy_test_case("gated %d", gated);
        bed_open(&A, BED_SPEC());
        bed_open(&B, BED_SPEC(.shared_F = 3, .shared_gate = gated));
        bed_tokens(&A, 0, 1, 6), bed_tokens(&B, 0, 1, 6);
        bed_go(&A, SY_TRAIN), bed_go(&B, SY_TRAIN);
        const sy_real *wg = B.b.shared_gate_proj->w.data, *wu = B.b.shared_up->w.data, *wd = B.b.shared_down->w.data;
        for (int t = 0; t < 6; t++) {
            const sy_real *x = B.value + 6 * t;
            double y[6] = { 0 }, gate = 1, s = 0;
            for (int f = 0; f < 3; f++) {
                double g = 0, u = 0;
                for (int d = 0; d < 6; d++) g += (double)wg[f * 6 + d] * x[d], u += (double)wu[f * 6 + d] * x[d];
                for (int d = 0; d < 6; d++) y[d] += g / (1 + exp(-g)) * u * wd[d * 3 + f];
            }
            for (int d = 0; gated && d < 6; d++) s += (double)((const sy_real *)B.b.shared_gate->w.data)[d] * x[d];
            if (gated) gate = 1 / (1 + exp(-s));
            for (int d = 0; d < 6; d++) sy_expect_near("y", (double)B.y->x[6 * t + d], (double)A.y->x[6 * t + d] + gate * y[d], BED_TOL, BED_TOL);
        }
        bed_close(&A), bed_close(&B);
    }
}

/* With products in bfloat16 every router, its weights and its losses keep their bits; only the experts' outputs move, and by little. */
static void bfloat16(void **state)
{
    (void)state;
    static const char *const routers[] = { "topk:top_k=2,norm_topk_prob=true", "auxfree:top_k=2", "rmoe", "dselectk", "remoe", "comet", "stablemoe" };
    for (size_t i = 0; i < SY_COUNT(routers); i++) {
        bed A, B;
        sy_test_case("%s", routers[i]);
        bed_open(&A, BED_SPEC(.router = routers[i], .balance = { "switch:coef=1" }, .n_balance = 1));
        bed_open(&B, BED_SPEC(.router = routers[i], .balance = { "switch:coef=1" }, .n_balance = 1));
        bed_tokens(&A, 0, 2, 9), bed_tokens(&B, 0, 2, 9);
        B.tape.bf16 = true;
        bed_go(&A, SY_TRAIN), bed_go(&B, SY_TRAIN);
        assert_true(B.tape.bf16);
        assert_int_equal(A.route->n, B.route->n);
        sy_expect_same("experts", B.route->expert, A.route->expert, (size_t)A.route->n * sizeof(int));
        sy_expect_same("weights", B.route->weight->x, A.route->weight->x, (size_t)A.route->n * sizeof(sy_real));
        for (int l = 0; l < A.aux.n; l++) sy_expect_same(A.aux.l[l].name, B.aux.l[l].value->x, A.aux.l[l].value->x, sizeof(sy_real));
        int moved = 0;
        for (size_t k = 0; k < 18 * 6; k++) {
            sy_expect_near("y", (double)B.y->x[k], (double)A.y->x[k], 0.02, 0);
            moved += B.y->x[k] != A.y->x[k];
        }
        assert_true(moved > 54);
        bed_close(&A), bed_close(&B);
    }
}

static void mixing(void **state)
{
    (void)state;
    bed B;
    open_extra(&B, BED_SPEC(.router = "mixer", .routed_scale = 2));
    bed_tokens(&B, 0, 1, 5);
    bed_go(&B, SY_TRAIN);
    assert_null(B.route);
    double *z = bed_logits(&B, "model.layers.3.mlp.gate.weight"), *c = bed_softmax(z, 5, 4), slot[4][6];
    for (int e = 0; e < 4; e++) {
        sy_real x[6];
        for (int d = 0; d < 6; d++) {
            double sum = 0;
            for (int t = 0; t < 5; t++) sum += (double)B.value[6 * t + d] / (1 + e + t);
            x[d] = (sy_real)sum;
        }
        bed_swiglu(&B, e, x, slot[e]);
    }
    for (int t = 0; t < 5; t++)
        for (int d = 0; d < 6; d++) {
            double want = 0;
            for (int e = 0; e < 4; e++) want += 2 * c[4 * t + e] * slot[e][d];
            sy_expect_near("y", (double)B.y->x[6 * t + d], want, 1e-5, 1e-4);
        }
    sy_expect_ok(sy_backward_from(&B.tape, B.y, B.value, err));
    free(z), free(c);
    bed_close(&B);
}

static void edits(void **state)
{
    (void)state;
    bed A, B;
    bed_open(&A, BED_SPEC());
    open_extra(&B, BED_SPEC(.edit = { "editor" }, .n_edit = 1));
    bed_tokens(&A, 0, 1, 8), bed_tokens(&B, 0, 1, 8);
    bed_go(&A, SY_TRAIN), bed_go(&B, SY_TRAIN);
    double *z = bed_logits(&B, "model.layers.3.mlp.gate.weight");
    for (int i = 0; i < 32; i++) z[i] = 2 * z[i] + 0.5;
    double *p = bed_softmax(z, 8, 4);
    for (int i = 0; i < 32; i++) sy_expect_near("probs", (double)B.route->probs->x[i], p[i], BED_TOL, BED_TOL);
    for (int s = 0; s < 16; s++) assert_int_equal(B.route->expert[s], 3 - A.route->expert[s]);
    bed_keep(&B);
    sy_expect_ok(bed_run(&B, SY_TRAIN, &B.again, err));                   /* the router repeats its own choices and the edit meets those */
    sy_expect_ids("again", B.route->expert, B.again.expert, 16);
    sy_expect_ids("own", B.route->own->expert, B.again.own->expert, 16);
    free(z), free(p);
    bed_close(&A), bed_close(&B);
}

static void refusals(void **state)
{
    (void)state;
    static const struct { sy_block_spec spec; const char *part; } bad[] = {
        { { .router = "nope" }, "no router is called 'nope'" },
        { { .routed_scale = NAN }, "routed scale of nan" },
        { { .E = -1 }, "-1 experts" },
        { { .router = "topk", .shared_gate = true }, "without a shared expert" },
        { { .router = "plain", .balance = { "switch" }, .n_balance = 1 }, "balance switch reads a distribution over experts and router plain" },
        { { .router = "plain", .balance = { "zloss" }, .n_balance = 1 }, "balance zloss reads logits and router plain" },
        { { .router = "plain", .edit = { "editor" }, .n_edit = 1 }, "edit editor reads logits and router plain" },
        { { .router = "mixer", .balance = { "importance" }, .n_balance = 1 }, "reads a route and router mixer" },
        { { .router = "mixer", .edit = { "flip" }, .n_edit = 1 }, "edit flip reads a route and router mixer" },
        { { .router = "mixer", .Z = 1, .zero = "null" }, "need a router that chooses" },
        { { .router = "old" }, "was built for interface 2" },
    };
    for (size_t i = 0; i < SY_COUNT(bad); i++) {
        bed B;
        sy_err e = { 0 }, *err = &e;
        sy_methods m = with_extra();
        sy_test_case("%s", bad[i].part);
        sy_status st = bed_try(&B, &bad[i].spec, 1, true, &m, err);
        assert_true(st != SY_OK);
        sy_expect_fail(st, st, bad[i].part);
        bed_close(&B);
    }
    bed B;
    sy_err e = { 0 }, *err = &e;
    open_extra(&B, BED_SPEC(.router = "broken"));
    bed_tokens(&B, 0, 1, 3);
    sy_status st = bed_run(&B, SY_TRAIN, NULL, err);
    sy_expect_fail(st, SY_ESHAPE, "router broken made a route");
    bed_close(&B);
    open_extra(&B, BED_SPEC(.router = "plain", .balance = { "importance" }, .n_balance = 1));
    bed_tokens(&B, 0, 1, 3);
    bed_go(&B, SY_TRAIN);
    assert_null(B.b.gate);
    sy_expect_near("all tokens to one expert of four: CV^2 = 3", bed_aux(&B, "importance"), 0.3, 1e-6, 0);
    bed_close(&B);
}

static sy_status whole_life(const sy_block_spec *spec, bed *B, sy_err *err)
{
    SY_TRY(bed_try(B, spec, 1, true, &sy_builtin_methods, err));
    bed_tokens(B, 0, 2, 20);
    SY_TRY(sy_block_before(&B->b, 0, 1, 0, err));
    SY_TRY(bed_run(B, SY_TRAIN, NULL, err));
    SY_TRY(sy_backward_from(&B->tape, B->y, B->value, err));
    return sy_block_after(&B->b, 0, 1, 0, err);
}

static const sy_block_spec *const lives[] = {
    BED_SPEC(.router = "gshard:prioritised=true", .D = 40, .F = 33, .E = 8, .Z = 2, .zero = "constant", .shared_F = 16, .shared_gate = true,
             .balance = { "switch", "zloss", "importance", "switch:scope=sequence" }, .n_balance = 4),
    BED_SPEC(.router = "auxfree:top_k=2,n_group=4,topk_group=2", .D = 40, .F = 33, .E = 8, .balance = { "switch:scope=step" }, .n_balance = 1),
};

/* The 1st, 2nd, 3rd ... allocation fails: a status comes back and nothing leaks. */
static void memory_faults(void **state)
{
    (void)state;
    for (size_t i = 0; i < SY_COUNT(lives); i++) {
        uint64_t n = 1;
        for (sy_status st = SY_ENOMEM; st != SY_OK; n++) {
            bed B;
            sy_err e = { 0 };
            sy_test_case("%s, allocation %d fails", lives[i]->router, (int)n);
            sy_alloc_fail_at(n, 1);
            st = whole_life(lives[i], &B, &e);
            sy_alloc_fail_at(0, 0);
            if (st != SY_OK) assert_int_equal(st, SY_ENOMEM);
            bed_close(&B);
            assert_true(n < 500);
        }
        assert_true(n > 3);
    }
}

static void no_allocation(void **state)
{
    (void)state;
    for (size_t i = 0; i < SY_COUNT(lives); i++) {
        bed B;
        sy_err e;
        sy_test_case("%s", lives[i]->router);
        assert_int_equal(whole_life(lives[i], &B, &e), SY_OK);
        uint64_t calls = 0;
        for (int step = 0; step < 5; step++) {
            if (step == 2) calls = sy_alloc_calls();
            sy_expect_ok(sy_block_before(&B.b, step, 5, 0, err));
            bed_go(&B, SY_TRAIN);
            sy_expect_ok(sy_backward_from(&B.tape, B.y, B.value, err));
            sy_expect_ok(sy_block_after(&B.b, step, 5, 0, err));
        }
        assert_int_equal(sy_alloc_calls(), calls);
        bed_close(&B);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts), cmocka_unit_test(statistics), cmocka_unit_test(alone), cmocka_unit_test(edges), cmocka_unit_test(shared), cmocka_unit_test(bfloat16), cmocka_unit_test(mixing), cmocka_unit_test(edits),
        cmocka_unit_test(refusals), cmocka_unit_test(memory_faults), cmocka_unit_test(no_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
