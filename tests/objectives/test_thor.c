/* tests/objectives/test_thor.c - THOR's consistency: the loss against slow loops over whole distributions, its gradient, and the invariants of the definition. */
#include "objectives/contract.h"

#include <math.h>

#define THOR "layers=dense,sparse router=thor balance='' "

/* Loss and gradients of one step from fresh weights; nothing is updated. */
static sy_real *one_step(const char *settings, sy_step_result *out, size_t *n, double *consistency)
{
    bed b;
    sy_stepper s;
    sy_arena a = { 0 };
    bed_open(&b, 1, settings);
    sy_model *m = bed_model(&b);
    bed_stepper(&b, m, &s);
    sy_expect_ok(sy_objectives_open(&s.objectives, b.c.train.objective, &b.eng.methods, &a, err));
    sy_expect_ok(sy_objectives_begin(&s.objectives, m, b.data, &a, err));
    sy_expect_ok(sy_stepper_run(&s, out, err));
    *n = 0;
    for (int i = 0; i < m->params.n; i++) *n += m->params.p[i]->n;
    sy_real *g = calloc(*n, sizeof *g), *at = g;
    for (int i = 0; i < m->params.n; at += m->params.p[i++]->n) if (m->params.p[i]->w.dx) memcpy(at, m->params.p[i]->w.dx, m->params.p[i]->n * sizeof *g);
    *consistency = NAN;
    for (int i = 0; i < out->n_aux; i++) if (!strcmp(out->aux[i].name, "thor.consistency")) *consistency = out->aux[i].value;
    sy_stepper_close(&s);
    sy_model_free(m);
    bed_close(&b);
    sy_arena_free(&a);
    return g;
}

/* alpha=0, E=1, no dropout: loss is twice the plain loss, and so is every gradient; the loss that is told is that of one pass. */
static void twice(void **state)
{
    (void)state;
    sy_step_result plain, both;
    size_t n, k;
    double c;
    sy_real *a = one_step(THOR "num_experts=1", &plain, &n, &c), *b = one_step(THOR "num_experts=1 objective=thor:alpha=0", &both, &k, &c);
    assert_int_equal(n, k);
    sy_expect_near("loss", both.loss, plain.loss, 1e-12, 1e-6);
    sy_expect_near("norm", both.grad_norm, 2 * plain.grad_norm, 0, 1e-4);
    for (size_t i = 0; i < n; i++) sy_expect_near("gradient", (double)b[i], 2 * (double)a[i], sizeof(sy_real) == 4 ? 1e-6 : 1e-13, 1e-4);
    assert_true(isnan(c));
    free(a), free(b);
}

/* the consistency term is >= 0 and = 0 iff p = q: one expert gives equal passes, several do not. */
static void zero_iff_equal(void **state)
{
    (void)state;
    sy_step_result r;
    size_t n;
    double one, four;
    free(one_step(THOR "num_experts=1 objective=thor", &r, &n, &one));
    sy_expect_near("one expert", one, 0, 1e-12, 0);
    double most = 0;
    for (int seed = 1; seed < 5; seed++) {                     /* two passes may draw alike */
        char settings[160];
        snprintf(settings, sizeof settings, THOR "num_experts=8 objective=thor initializer_range=0.3 seed=%d", seed);
        free(one_step(settings, &r, &n, &four));
        assert_true(four >= 0);
        most = fmax(most, four);
    }
    assert_true(most > 1e-3);
}

/* The op against loops over whole distributions in double; equal arguments give 0. */
static void slow(void **state)
{
    (void)state;
    enum { T = 7, D = 5, V = 11 };
    static const int label[T] = { 0, -1, 3, 10, 2, -1, 7 };
    sy_engine eng;
    sy_tape t;
    sy_expect_ok(sy_engine_init(&eng, 1, NULL, &sy_builtin_methods, err));
    sy_tape_init(&t, &eng, true);
    for (int same = 0; same < 2; same++) {
        uint64_t g = 3;
        double want = 0;
        sy_tensor *x = sy_new(&t, SY_DIM(T, D)), *y = sy_new(&t, SY_DIM(T, D));
        sy_real w[V * D];
        for (int i = 0; i < V * D; i++) w[i] = (sy_real)((double)(bed_rng(&g) >> 40) / (1 << 23) - 1);
        for (int i = 0; i < T * D; i++) {
            x->x[i] = (sy_real)((double)(bed_rng(&g) >> 40) / (1 << 22) - 2);
            y->x[i] = same ? x->x[i] : (sy_real)((double)(bed_rng(&g) >> 40) / (1 << 22) - 2);
        }
        sy_weight head = { .nd = 2, .dim = { V, D }, .data = w };
        for (int i = 0; i < T; i++) {
            double p[2][V];
            for (int side = 0; side < 2; side++) {
                const sy_real *h = (side ? y : x)->x + i * D;
                double sum = 0;
                for (int v = 0; v < V; v++) {
                    p[side][v] = 0;
                    for (int d = 0; d < D; d++) p[side][v] += (double)w[v * D + d] * (double)h[d];
                    sum += p[side][v] = exp(p[side][v]);
                }
                for (int v = 0; v < V; v++) p[side][v] /= sum;
            }
            for (int v = 0; v < V && label[i] >= 0; v++) want += (p[0][v] - p[1][v]) * (log(p[0][v]) - log(p[1][v]));
        }
        sy_tensor *got = sy_symmetric_kl(&t, x, y, &head, label, &(sy_divergence){ .scale = 0.5 });
        sy_expect_ok(sy_tape_status(&t, err));
        sy_expect_near("divergence", (double)got->x[0], 0.5 * want, 1e-6, 1e-5);
        assert_true(same ? want == 0 : want > 1);
    }
    sy_tape_free(&t);
    sy_engine_uninit(&eng);
}

/* Cross-entropies and consistency together, through both passes, against central differences; the draws are the same in every run of a step. */
static void gradient(void **state)
{
    (void)state;
    if (sizeof(sy_real) == 4) { print_message("gradients are checked in double\n"); return; }
    bed b;
    sy_stepper s;
    sy_step_result r;
    sy_arena a = { 0 };
    bed_open(&b, 1, THOR "objective=thor:alpha=3 label_smoothing=0.1 initializer_range=0.3 lr=0");
    sy_model *m = bed_model(&b);
    bed_stepper(&b, m, &s);
    sy_expect_ok(sy_objectives_open(&s.objectives, b.c.train.objective, &b.eng.methods, &a, err));
    sy_expect_ok(sy_objectives_begin(&s.objectives, m, b.data, &a, err));
    for (int i = 0; i < m->params.n; i++) {
        sy_param *p = m->params.p[i];
        for (size_t k = 0; k < p->n; k += p->n / 7 + 1) {
            const double h = 1e-5;
            double at[2], got;
            sy_real was = p->leaf.x[k];
            for (int side = 0; side < 3; side++) {           /* at the place itself last: its gradient stays */
                p->leaf.x[k] = was + (sy_real)(side == 0 ? h : side == 1 ? -h : 0);
                s.step = s.row = 0;
                sy_expect_ok(sy_stepper_run(&s, &r, err));
                double sum = 2 * r.loss;
                for (int x = 0; x < r.n_aux; x++) sum += r.aux[x].value;
                if (side < 2) at[side] = sum;
            }
            got = (double)p->w.dx[k];
            char what[120];
            snprintf(what, sizeof what, "%s[%zu]", p->name, k);
            sy_expect_near(what, got, (at[0] - at[1]) / (2 * h), 1e-8, 1e-6);
        }
    }
    sy_stepper_close(&s);
    sy_model_free(m);
    bed_close(&b);
    sy_arena_free(&a);
}

/* Micro-batches, and a step under thor trains: losses fall, a run that was cut goes on with the same bits. */
static void runs(void **state)
{
    (void)state;
    static const char settings[] = THOR "objective=thor:alpha=2 label_smoothing=0.1 micro_batch_size=2 checkpoint_every=5 num_experts=3";
    bed b;
    const char *whole = bed_path("whole"), *cut = bed_path("cut");
    bed_open(&b, 1, settings);
    sy_expect_ok(bed_train(&b, whole, false, err));
    bed_close(&b);
    bed_open(&b, 2, settings);
    volatile sig_atomic_t stop = 1;                  /* ends behind the first step */
    sy_expect_ok(sy_train(&(sy_train_job){ .eng = &b.eng, .config = &b.c, .data = b.data, .tok = b.tok, .out = cut, .stop = &stop }, err));
    sy_expect_ok(bed_train(&b, cut, true, err));
    bed_close(&b);
    bed_expect_same_run(whole, cut);
    sy_buf m = bed_metrics(whole);
    assert_non_null(strstr(m.data, "thor.consistency"));
    sy_buf_free(&m);
}

static void refusals(void **state)
{
    (void)state;
    static const struct { const char *text, *part; sy_status status; } cases[] = {
        { "thor:alpha=-1", "outside 0 .. 1e+06", SY_EARG }, { "tor", "did you mean 'thor'", SY_ENOENT }, { "thor thor:alpha=1", "given twice", SY_EARG },
    };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_objectives o;
        sy_arena a = { 0 };
        sy_err e = { 0 }, *err = &e;
        sy_test_case("%s", cases[i].text);
        sy_expect_fail(sy_objectives_open(&o, cases[i].text, &sy_builtin_methods, &a, err), cases[i].status, cases[i].part);
        sy_arena_free(&a);
    }
}

static void contract(void **state)
{
    (void)state;
    objective_contract_run(&(objective_contract){ .key = "thor", .objective = "thor:alpha=3", .off = "thor:alpha=0", .settings = THOR "initializer_range=0.3 lr=1e-2 warmup_steps=0" });
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(contract), cmocka_unit_test(twice), cmocka_unit_test(zero_iff_equal), cmocka_unit_test(slow), cmocka_unit_test(gradient), cmocka_unit_test(runs), cmocka_unit_test(refusals) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
