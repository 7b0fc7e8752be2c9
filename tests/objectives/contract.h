/* tests/objectives/contract.h - what every objective owes, whatever it does: one call of objective_contract_run() from its test file.
 *
 * Defaults are valid and every option reads back; what lies outside its range is refused; the manual entry is whole; each trained parameter moves, each frozen one keeps its bits;
 * the same bits for any number of threads; the objective reaches a gradient (it differs from that at the setting that switches it off); the neutral setting is the run without
 * it, bit for bit; bfloat16 stays finite and near float32; a step allocates nothing once it is warm; the n-th allocation fails and a status comes back. */
#ifndef SY_TESTS_OBJECTIVES_CONTRACT_H
#define SY_TESTS_OBJECTIVES_CONTRACT_H

#include "train/bed.h"

#include <math.h>

#include "core/alloc.h"

typedef struct objective_contract {
    const char *key;
    const char *objective;              /* text that works on the model */
    const char *off;                    /* the same with its own term switched off */
    const char *neutral;                /* options at which it equals a run without it; NULL: it has none */
    const char *settings;               /* of the model and the data; the steps are made large, so that what is to move does */
    const char *text;                   /* training text; NULL: the bed's */
    sy_model *(*model)(bed *b);         /* the model that the run begins with; NULL: a fresh one */
} objective_contract;

typedef struct objective_run { bed b; sy_model *m; sy_stepper s; sy_arena a; } objective_run;

static inline sy_status objective_open(objective_run *r, const objective_contract *c, const char *objective, int threads, const char *more, sy_err *err)
{
    char settings[900];
    memset(r, 0, sizeof *r);
    snprintf(settings, sizeof settings, "%s %s", c->settings, more);
    bed_open_text(&r->b, threads, settings, c->text ? c->text : bed_text(0));
    r->m = c->model ? c->model(&r->b) : bed_model(&r->b);
    bed_stepper(&r->b, r->m, &r->s);
    SY_TRY(sy_objectives_open(&r->s.objectives, objective, &r->b.eng.methods, &r->a, err));
    return sy_objectives_begin(&r->s.objectives, r->m, r->b.data, &r->a, err);
}

static inline void objective_close(objective_run *r)
{
    sy_stepper_close(&r->s);
    sy_model_free(r->m);
    bed_close(&r->b);
    sy_arena_free(&r->a);
}

/* The weights after n steps, one after the other; *loss: of the last step. */
static inline sy_real *objective_steps(const objective_contract *c, const char *objective, int threads, const char *more, int n, size_t *size, double *loss)
{
    objective_run r;
    sy_step_result out = { 0 };
    sy_expect_ok(objective_open(&r, c, objective, threads, more, err));
    for (int i = 0; i < n; i++) {
        sy_expect_ok(sy_stepper_run(&r.s, &out, err));
        if (out.skipped || !isfinite(out.loss) || !isfinite(out.grad_norm)) fail_msg("step %d: loss %g, gradient %g, skipped %d", i, out.loss, out.grad_norm, out.skipped);
    }
    *size = 0, *loss = out.loss;
    for (int i = 0; i < r.m->params.n; i++) *size += r.m->params.p[i]->n;
    sy_real *w = malloc(*size * sizeof *w), *at = w;
    for (int i = 0; i < r.m->params.n; at += r.m->params.p[i++]->n) memcpy(at, r.m->params.p[i]->w.data, r.m->params.p[i]->n * sizeof *w);
    objective_close(&r);
    return w;
}

/* --- options ------------------------------------------------------------------------------------------------------------------------ */

static inline void objective_option(const sy_opt *row, size_t at, int index, void *arg)
{
    const objective_contract *c = arg;
    sy_arena a = { 0 };
    sy_err e = { 0 }, *err = &e;
    const sy_method *m;
    void *s, *again;
    (void)at, (void)index;
    assert_true(row->help && strlen(row->help) > 5);
    char *text = row->type == SY_OPT_ENUM ? sy_arena_printf(&a, "%s:%s=%s", c->key, row->name, strrchr(row->text, '|') + 1)
                 : row->type == SY_OPT_BOOL ? sy_arena_printf(&a, "%s:%s=%s", c->key, row->name, row->def != 0 ? "false" : "true") : sy_arena_printf(&a, "%s:%s=%g", c->key, row->name, row->lo);
    sy_test_case("%s", text);
    sy_expect_ok(sy_method_make(&sy_builtin_methods, SY_OBJECTIVE, text, &a, &m, &s, err));
    char *all = sy_method_text(m, s, true, &a);
    sy_expect_ok(sy_method_make(&sy_builtin_methods, SY_OBJECTIVE, all, &a, &m, &again, err));
    assert_string_equal(sy_method_text(m, again, true, &a), all);
    assert_non_null(strstr(all, strchr(text, ':') + 1));
    for (int side = 0; side < 2 && (row->type == SY_OPT_INT || row->type == SY_OPT_REAL); side++) {
        double out = side ? row->hi + fmax(1, fabs(row->hi)) : row->lo - fmax(1, fabs(row->lo));
        text = sy_arena_printf(&a, row->type == SY_OPT_INT ? "%s:%s=%.0f" : "%s:%s=%g", c->key, row->name, out);
        sy_test_case("%s", text);
        sy_expect_fail(sy_method_make(&sy_builtin_methods, SY_OBJECTIVE, text, &a, &m, &s, err), SY_EARG, row->name);
    }
    sy_expect_fail(sy_method_make(&sy_builtin_methods, SY_OBJECTIVE, sy_arena_printf(&a, "%s:%s=nonsense", c->key, row->name), &a, &m, &s, err), SY_EARG, row->name);
    sy_arena_free(&a);
}

static inline void objective_options(const objective_contract *c)
{
    const sy_method *m;
    const sy_preset *preset;
    sy_arena a = { 0 };
    void *s;
    sy_err e = { 0 }, *err = &e;
    sy_test_case("options of %s", c->key);
    sy_expect_ok(sy_method_find(&sy_builtin_methods, SY_OBJECTIVE, c->key, &m, &preset, err));
    assert_true(m->summary && strlen(m->summary) > 30 && m->when && m->cost && m->example && m->paper);
    assert_true((m->neutral != NULL) == (c->neutral != NULL) && (!c->neutral || !strcmp(m->neutral, c->neutral)));
    assert_int_equal(((const sy_objective_hooks *)m->hooks)->abi, SY_OBJECTIVE_ABI);
    sy_opt_each(m->opts, objective_option, (void *)c);
    sy_expect_fail(sy_method_make(&sy_builtin_methods, SY_OBJECTIVE, sy_arena_printf(&a, "%s:no_such_option=1", c->key), &a, &m, &s, err), SY_EARG, "no_such_option");
    sy_arena_free(&a);
}

/* --- training ------------------------------------------------------------------------------------------------------------------------ */

static inline void objective_trains(const objective_contract *c)
{
    objective_run r;
    sy_step_result out;
    sy_test_case("%s: what is trained moves, what is frozen keeps its bits", c->objective);
    sy_expect_ok(objective_open(&r, c, c->objective, 1, "", err));
    sy_params *p = &r.m->params;
    sy_real **old = calloc((size_t)p->n, sizeof *old);
    int frozen = 0, moved = 0;
    for (int i = 0; i < p->n; i++) old[i] = malloc((p->p[i]->n + 1) * sizeof(sy_real)), memcpy(old[i], p->p[i]->w.data, p->p[i]->n * sizeof(sy_real));
    for (int i = 0; i < 6; i++) sy_expect_ok(sy_stepper_run(&r.s, &out, err));
    for (int i = 0; i < p->n; i++) {
        bool trains = sy_param_trains(p->p[i]), same = !memcmp(old[i], p->p[i]->w.data, p->p[i]->n * sizeof(sy_real));
        if (trains == same && !(p->p[i]->flags & SY_LAZY)) fail_msg("%s is %s and %s", p->p[i]->name, trains ? "trained" : "frozen", same ? "stays" : "moves");
        frozen += !trains, moved += !same;
        free(old[i]);
    }
    assert_true(moved > 0 && moved + frozen <= p->n);
    free(old);
    objective_close(&r);
}

static inline void objective_bits(const objective_contract *c)
{
    size_t n, k;
    double loss, other;
    sy_test_case("%s: the same bits on one thread and on three", c->objective);
    sy_real *one = objective_steps(c, c->objective, 1, "", 3, &n, &loss), *three = objective_steps(c, c->objective, 3, "", 3, &k, &other), *off, *plain, *none;
    assert_int_equal(n, k);
    sy_expect_same("weights", three, one, n * sizeof *one);
    sy_test_case("%s: it reaches what is trained; %s does not", c->objective, c->off);
    off = objective_steps(c, c->off, 1, "", 3, &k, &other);
    assert_true(memcmp(one, off, n * sizeof *one) != 0);
    if (c->neutral) {
        char text[200];
        snprintf(text, sizeof text, "%s:%s", c->key, c->neutral);
        sy_test_case("%s is a run without it", text);
        plain = objective_steps(c, text, 1, "", 3, &k, &other), none = objective_steps(c, "", 1, "", 3, &k, &other);
        sy_expect_same("weights", plain, none, n * sizeof *one);
        free(plain), free(none);
    }
    if (sizeof(sy_real) == 4) {
        sy_test_case("%s: bfloat16", c->objective);
        free(objective_steps(c, c->objective, 1, "dtype=bfloat16", 3, &k, &other));
        sy_expect_near("loss", other, loss, 0.05, 0.05);
    }
    free(one), free(three), free(off);
}

/* --- memory --------------------------------------------------------------------------------------------------------------------------- */

static inline void objective_memory(const objective_contract *c)
{
    objective_run r;
    sy_step_result out;
    sy_test_case("%s: a step allocates nothing once it is warm", c->objective);
    sy_expect_ok(objective_open(&r, c, c->objective, 1, "", err));
    for (int i = 0; i < 12; i++) sy_expect_ok(sy_stepper_run(&r.s, &out, err));
    uint64_t calls = sy_alloc_calls();
    r.s.row = 0;                                    /* rows that were seen, so that no route is larger than any before */
    for (int i = 0; i < 3; i++) sy_expect_ok(sy_stepper_run(&r.s, &out, err));
    assert_int_equal(sy_alloc_calls(), calls);
    objective_close(&r);
    uint64_t n = 1;
    for (sy_status st = SY_ENOMEM; st != SY_OK; n += n < 40 ? 1 : n / 8) {
        sy_err e = { 0 };
        sy_test_case("%s, allocation %d of its life fails", c->objective, (int)n);
        sy_expect_ok(objective_open(&r, c, "", 1, "", &e));
        sy_alloc_fail_at(n, 1);
        st = sy_objectives_open(&r.s.objectives, c->objective, &r.b.eng.methods, &r.a, &e);
        if (st == SY_OK) st = sy_objectives_begin(&r.s.objectives, r.m, r.b.data, &r.a, &e);
        if (st == SY_OK) st = sy_stepper_run(&r.s, &out, &e);
        sy_alloc_fail_at(0, 0);
        if (st != SY_OK) assert_int_equal(st, SY_ENOMEM);
        objective_close(&r);
        assert_true(n < 100000);
    }
    assert_true(n > 5);
}

static inline void objective_contract_run(const objective_contract *c)
{
    objective_options(c);
    objective_trains(c);
    objective_bits(c);
    objective_memory(c);
}

#endif
