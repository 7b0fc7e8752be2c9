/* tsan */
/* tests/train/test_step.c - one training step. Oracles: the whole batch as one micro-batch against any split of it, a slow sum over
 * tokens, and invariants of what a skipped step must leave alone. */
#include "testing.h"

#include <math.h>

#include "bed.h"
#include "core/alloc.h"

static const double tol = sizeof(sy_real) == 4 ? 2e-5 : 1e-12;

static sy_real *all_grads(const sy_model *m, size_t *n)
{
    *n = 0;
    for (int i = 0; i < m->params.n; i++) if (m->params.p[i]->w.dx) *n += m->params.p[i]->n;
    sy_real *g = calloc(*n, sizeof *g), *at = g;
    for (int i = 0; i < m->params.n; i++) {
        const sy_param *p = m->params.p[i];
        if (!p->w.dx) continue;
        memcpy(at, p->w.dx, p->n * sizeof *g);
        at += p->n;
    }
    return g;
}

/* Norm of the difference, relative. */
static double apart(const sy_real *a, const sy_real *b, size_t n)
{
    double d = 0, s = 0;
    for (size_t i = 0; i < n; i++) d += pow((double)a[i] - (double)b[i], 2), s += pow((double)b[i], 2);
    return sqrt(d / s);
}

static sy_arena kept;                   /* lists of results that outlive their stepper */

static sy_aux *keep(const sy_aux *a, int n)
{
    sy_aux *copy = sy_arena_array(&kept, (size_t)n + 1, sizeof *copy);
    for (int i = 0; i < n; i++) copy[i] = (sy_aux){ sy_arena_strdup(&kept, a[i].name), a[i].value };
    return copy;
}

/* One step from fresh weights with this split; gradients come back. */
static sy_real *one_step(const char *settings, int micro, sy_step_result *out, size_t *n)
{
    bed b;
    sy_stepper s;
    bed_open(&b, 2, settings);
    b.c.train.micro_batch_size = micro;
    sy_model *m = bed_model(&b);
    bed_stepper(&b, m, &s);
    sy_expect_ok(sy_stepper_run(&s, out, err));
    sy_real *g = all_grads(m, n);
    out->aux = keep(out->aux, out->n_aux);
    out->domain = keep(out->domain, out->n_domain);
    sy_stepper_close(&s);
    sy_model_free(m);
    bed_close(&b);
    return g;
}

static void test_micro(void **state)
{
    (void)state;
    static const struct { const char *what, *settings; bool aux_too; } cases[] = {
        { "dense", "layers=dense batch_size=6", true },
        { "z-loss and smoothing", "layers=dense batch_size=6 z_loss=0.01 label_smoothing=0.1", true },
        { "sparse without balance", "balance='' batch_size=6", true },
        { "zloss is a mean over tokens", "balance=zloss:coef=0.1 batch_size=6", true },
        { "scope step, exact", "balance=switch:coef=0.5,scope=step,mode=exact batch_size=6", true },
        { "scope sequence", "balance=switch:coef=0.5,scope=sequence batch_size=6", false },      /* a mean over sequences, weighted by tokens */
        { "scope micro", "balance=switch:coef=0.5,scope=micro batch_size=6", false },            /* depends on the split, by its definition */
    };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        size_t n, k;
        sy_step_result whole, part;
        sy_test_case("%s", cases[i].what);
        sy_real *want = one_step(cases[i].settings, 0, &whole, &n);
        assert_true(whole.counted > 0 && whole.counted <= whole.tokens);
        for (int micro = 1; micro <= 4; micro++) {
            sy_real *got = one_step(cases[i].settings, micro, &part, &k);
            sy_test_case("%s, %d rows at once", cases[i].what, micro);
            assert_int_equal(n, k);
            assert_int_equal(part.tokens, whole.tokens);
            assert_int_equal(part.counted, whole.counted);
            assert_int_equal(part.n_aux, whole.n_aux);
            sy_expect_near("loss", part.loss, whole.loss, 0, tol);
            if (cases[i].aux_too) {
                for (int d = 0; d < whole.n_domain; d++) sy_expect_near(whole.domain[d].name, part.domain[d].value, whole.domain[d].value, 0, tol);
                for (int a = 0; a < whole.n_aux; a++) sy_expect_near(whole.aux[a].name, part.aux[a].value, whole.aux[a].value, 0, tol);
                sy_expect_near("distance of the gradients", apart(got, want, n), 0, tol, 0);
            }
            free(got);
        }
        free(want);
    }
}

/* Products in bfloat16: eight bits of every operand, so gradients near those of float, and not the same. */
static void test_bfloat16(void **state)
{
    (void)state;
    size_t n, k;
    sy_step_result whole, half;
    sy_real *want = one_step("batch_size=6", 0, &whole, &n), *got = one_step("batch_size=6 dtype=bfloat16", 0, &half, &k);
    assert_int_equal(n, k);
    assert_true(half.loss != whole.loss);
    sy_expect_near("loss", half.loss, whole.loss, 0, 2e-3);
    double d = apart(got, want, n);
    if (!(d > 1e-4 && d < 0.03)) fail_msg("the gradients are %g apart", d);
    free(got), free(want);
}

/* The step's scale is 1 / counted of the whole step, exactly: a step whose second micro-batch has no labels gives the first one's bits. */
static void test_scale(void **state)
{
    (void)state;
    enum { LEN = 12 };
    bed b;
    sy_stepper s;
    sy_step_result one, two, masked;
    sy_err why = { 0 }, *err = &why;
    size_t n;
    int id[LEN], label[LEN], none[LEN], pos[LEN], seq[LEN];
    sy_segment seg = { .n = LEN };
    uint64_t no = 5;
    sy_test_case("scale");
    for (int i = 0; i < LEN; i++) id[i] = 3 * i, label[i] = i % 3 ? 7 * i : -1, none[i] = -1, pos[i] = i, seq[i] = 0;
    sy_batch full = { .T = LEN, .n_seg = 1, .id = id, .label = label, .pos = pos, .seq = seq, .seg = &seg, .seq_no = &no }, empty = full;
    empty.label = none;
    bed_open(&b, 2, "balance='' max_grad_norm=0");
    b.c.train.optim.lr = 0;
    sy_model *m = bed_model(&b);
    bed_stepper(&b, m, &s);
    sy_expect_ok(sy_stepper_batches(&s, &full, 1, &one, err));
    sy_real *want = all_grads(m, &n);
    sy_expect_ok(sy_stepper_batches(&s, (sy_batch[]){ full, empty }, 2, &two, err));
    sy_real *got = all_grads(m, &n);
    sy_expect_same("loss", &two.loss, &one.loss, sizeof one.loss);
    sy_expect_same("gradients", got, want, n * sizeof *got);
    assert_int_equal(two.counted, 8);
    assert_int_equal(two.tokens, 2 * LEN);
    int64_t step = s.step, updates = s.updates;
    sy_expect_fail(sy_stepper_batches(&s, (sy_batch[]){ empty, empty }, 2, &masked, err), SY_EARG, "every token is masked");
    assert_int_equal(s.step, step);
    assert_int_equal(s.updates, updates);
    free(want);
    free(got);
    sy_stepper_close(&s);
    sy_model_free(m);
    bed_close(&b);
}

/* Loss with smoothing and z-loss against its formula, from the logits in double. */
static void test_formula(void **state)
{
    (void)state;
    bed b;
    sy_stepper s;
    sy_step_result got;
    sy_batch batch;
    sy_arena a = { 0 };
    sy_tape t;
    double want = 0, smooth = 0.2, z = 0.05, nats[2] = { 0 };
    int64_t of_domain[2] = { 0 };
    sy_test_case("formula");
    bed_open(&b, 2, "z_loss=0.05 label_smoothing=0.2 layers=dense initializer_range=0.3");
    sy_model *m = bed_model(&b);
    sy_expect_ok(sy_data_rows(b.data, 0, 3, &a, &batch, err));
    sy_tape_init(&t, &b.eng, false);
    sy_tensor *l = sy_model_logits(m, &t, sy_model_hidden(m, &t, &batch, &(sy_run){ .mode = SY_EVAL }), NULL, batch.T);
    int V = b.c.model.vocab_size, counted = 0;
    for (int i = 0; i < batch.T; i++) {
        const sy_real *x = l->x + (size_t)i * V;
        double sum = 0, mean = 0;
        if (batch.label[i] < 0) continue;
        for (int v = 0; v < V; v++) sum += exp((double)x[v]), mean += (double)x[v] / V;
        double lse = log(sum);
        nats[batch.domain[i]] += lse - (double)x[batch.label[i]];
        of_domain[batch.domain[i]]++;
        want += lse - (1 - smooth) * (double)x[batch.label[i]] - smooth * mean + z * lse * lse;
        counted++;
    }
    bed_stepper(&b, m, &s);
    sy_expect_ok(sy_stepper_batches(&s, &batch, 1, &got, err));
    assert_int_equal(got.counted, counted);
    sy_expect_near("loss", got.loss, want / counted, 0, tol);
    int listed = 0;
    for (int d = 0; d < 2; d++) {
        if (!of_domain[d]) continue;
        assert_string_equal(got.domain[listed].name, sy_data_domain(b.data, d)->name);
        sy_expect_near(got.domain[listed].name, got.domain[listed].value, nats[d] / (double)of_domain[d], 0, tol);
        listed++;
    }
    assert_true(listed > 0 && got.n_domain == listed);
    sy_tape_free(&t);
    sy_arena_free(&a);
    sy_stepper_close(&s);
    sy_model_free(m);
    bed_close(&b);
}

/* Each auxiliary loss is added once: half its coefficient twice over (two terms) is the same step; the router alone moves by it when the main loss
 * has no part in it. */
static void test_once(void **state)
{
    (void)state;
    size_t n;
    sy_step_result one, two, none;
    sy_test_case("added once");
    sy_real *a = one_step("balance=zloss:coef=0.5 micro_batch_size=2", 2, &one, &n), *b = one_step("balance='zloss:coef=0.25 zloss:coef=0.25'", 2, &two, &n),
            *c = one_step("balance=''", 2, &none, &n);
    assert_int_equal(one.n_aux, 1);
    assert_int_equal(none.n_aux, 0);
    sy_expect_near("value", two.aux[0].value, one.aux[0].value, 0, tol);
    sy_expect_near("loss has no part of it", one.loss, none.loss, 0, 1e-12);
    sy_expect_near("gradients", apart(b, a, n), 0, tol, 0);
    assert_true(apart(c, a, n) > 1e-4);
    free(a), free(b), free(c);
}

/* A router with forty losses of its own: every one is reported, whatever their number. */
enum { CHATTER = 40 };
static sy_status chatty_select(void *s, sy_tape *t, const sy_route_in *in, sy_tensor *z, sy_route *out, sy_err *err)
{
    static char name[CHATTER][24];
    (void)s;
    sy_tensor *p = sy_softmax(t, z);
    SY_TRY(sy_slots_topk(t, in, p, 1, out, err));
    out->probs = p;
    out->weight = sy_slots_pick(t, p, out);
    for (int i = 0; out->aux && i < CHATTER; i++) {
        snprintf(name[i], sizeof name[i], "chatter-%d", i);
        sy_losses_add(t, out->aux, name[i], in->site->layer, sy_affine(t, sy_mean(t, out->weight), 0, 0.001 * (i + 1)));
    }
    return sy_tape_status(t, err);
}
static const sy_method chatty = { .kind = SY_ROUTER, .name = "chatty", .title = "many losses", .hooks = &(const sy_router_hooks){ SY_ROUTER_ABI, .select = chatty_select } };

static void test_many_losses(void **state)
{
    (void)state;
    bed b;
    sy_stepper s;
    sy_step_result r;
    bed_open(&b, 1, "router=chatty balance='' micro_batch_size=2");
    sy_expect_ok(sy_engine_register(&b.eng, &chatty, err));
    sy_model *m = bed_model(&b);
    bed_stepper(&b, m, &s);
    sy_expect_ok(sy_stepper_run(&s, &r, err));
    assert_int_equal(r.n_aux, CHATTER);
    for (int i = 0; i < CHATTER; i++) {
        char name[24];
        snprintf(name, sizeof name, "chatter-%d", i);
        assert_string_equal(r.aux[i].name, name);
        sy_expect_near(name, r.aux[i].value, 0.001 * (i + 1), 0, tol);
    }
    sy_stepper_close(&s);
    sy_model_free(m);
    bed_close(&b);
}

static sy_real *weights(const sy_model *m, size_t *n)
{
    *n = 0;
    for (int i = 0; i < m->params.n; i++) *n += m->params.p[i]->n;
    sy_real *w = calloc(*n, sizeof *w), *at = w;
    for (int i = 0; i < m->params.n; at += m->params.p[i++]->n) memcpy(at, m->params.p[i]->w.data, m->params.p[i]->n * sizeof *w);
    return w;
}

/* A step that is not finite changes no weight, no moment, no bias of the router and no count of its load; a finite one does. */
static void test_skip(void **state)
{
    (void)state;
    static const struct { const char *what; double poison; } cases[] = { { "infinite weight", INFINITY }, { "NaN", NAN } };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        bed b;
        sy_stepper s;
        sy_step_result r;
        size_t n;
        sy_test_case("%s", cases[i].what);
        bed_open(&b, 2, "router=auxfree:top_k=2,bias_update=0.1 balance='' micro_batch_size=2");
        sy_model *m = bed_model(&b);
        bed_stepper(&b, m, &s);
        sy_expect_ok(sy_stepper_run(&s, &r, err));
        assert_false(r.skipped);
        sy_block *blk = sy_model_block(m, 0);
        int64_t prev[4];
        memcpy(prev, blk->counts.prev, sizeof prev);
        assert_true(prev[0] + prev[1] + prev[2] + prev[3] == 2 * r.tokens);
        sy_param *down = sy_params_find(&m->params, "model.layers.0.mlp.down_proj.weight"), *bias = NULL;
        assert_non_null(down);
        for (int p = 0; p < m->params.n; p++) if (strstr(m->params.p[p]->name, "bias")) bias = m->params.p[p];
        assert_non_null(bias);
        sy_real keep = ((sy_real *)down->w.data)[5];
        ((sy_real *)down->w.data)[5] = (sy_real)cases[i].poison;
        sy_real *before = weights(m, &n), *first = malloc(down->n * sizeof *first);
        memcpy(first, down->m, down->n * sizeof *first);
        int64_t row = s.row;
        sy_expect_ok(sy_stepper_run(&s, &r, err));
        assert_true(r.skipped);
        assert_true(!isfinite(r.loss) || !isfinite(r.grad_norm));
        if (isfinite(r.loss)) assert_non_null(r.broken);
        if (r.broken) assert_true(sy_params_find(&m->params, r.broken->name) == r.broken);
        assert_int_equal(s.step, 2);
        assert_int_equal(s.updates, 1);
        assert_int_equal(s.row, row + 4);
        sy_real *after = weights(m, &n);
        sy_expect_same("weights", after, before, n * sizeof *after);
        sy_expect_same("moments", down->m, first, down->n * sizeof *first);
        sy_expect_same("counts of the step before", blk->counts.prev, prev, sizeof prev);
        for (int e = 0; e < 4; e++) assert_true(blk->counts.full[e] == 0 && blk->counts.seen[e] == 0);    /* those of the skipped step are taken back */
        ((sy_real *)down->w.data)[5] = keep;
        sy_real was[4];
        memcpy(was, bias->w.data, sizeof was);
        sy_expect_ok(sy_stepper_run(&s, &r, err));
        assert_false(r.skipped);
        assert_int_equal(s.updates, 2);
        assert_true(memcmp(was, bias->w.data, sizeof was) != 0);
        int64_t sum = 0;
        for (int e = 0; e < 4; e++) sum += blk->counts.prev[e];
        assert_int_equal(sum, 2 * r.tokens);         /* nothing of the skipped step is in it */
        free(before), free(after), free(first);
        sy_stepper_close(&s);
        sy_model_free(m);
        bed_close(&b);
    }
}

static uint64_t calls_of(sy_stepper *s)
{
    sy_step_result r;
    uint64_t before = sy_alloc_calls();
    sy_expect_ok(sy_stepper_run(s, &r, err));
    return sy_alloc_calls() - before;
}

/* After the steps in which memory grows to its high water, a step asks the heap for nothing. That the count would show an allocation is shown by
 * one in the first step, and by one that is made on purpose. */
static void test_heap(void **state)
{
    (void)state;
    static const char *const cases[] = { "", "router=auxfree:top_k=2 balance='' micro_batch_size=1", "balance=switch:scope=step,mode=exact micro_batch_size=2",
                                         "router=topk:top_k=2,capacity_factor=1 balance='switch:coef=0.01 zloss:coef=0.01'" };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        bed b;
        sy_stepper s;
        sy_test_case("heap: %s", cases[i]);
        bed_open(&b, 2, cases[i]);
        sy_model *m = bed_model(&b);
        bed_stepper(&b, m, &s);
        assert_true(calls_of(&s) > 0);
        for (int k = 0; k < 24; k++) calls_of(&s);  /* rows differ in how many pieces they hold, so the high water comes late */
        for (int k = 0; k < 12; k++)
            if (calls_of(&s)) fail_msg("case '%s': step %d asks the heap for memory", cases[i], 25 + k);
        uint64_t before = sy_alloc_calls();
        sy_free(sy_malloc(1));
        assert_int_equal(sy_alloc_calls() - before, 1);
        sy_stepper_close(&s);
        sy_model_free(m);
        bed_close(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_micro), cmocka_unit_test(test_bfloat16), cmocka_unit_test(test_scale), cmocka_unit_test(test_formula), cmocka_unit_test(test_once), cmocka_unit_test(test_many_losses),
                                        cmocka_unit_test(test_skip), cmocka_unit_test(test_heap) };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    sy_arena_free(&kept);
    return failed;
}
