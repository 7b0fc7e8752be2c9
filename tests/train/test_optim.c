/* tests/train/test_optim.c - AdamW, norms and schedules. Oracles: a slow loop in double that follows the paper's algorithm, and exact
 * values of the schedules worked out by hand. (test_reference.c sets the same update beside PyTorch.) */
#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "methods.h"
#include "train/optim.h"

static const double atol = sizeof(sy_real) == 4 ? 1e-7 : 1e-15, rtol = sizeof(sy_real) == 4 ? 2e-6 : 1e-12;

static const struct { const char *name; unsigned flags; int nd, dim[3]; bool decays; } shape[] = {
    { "matrix",  0,           2, { 40, 1000 },    true  },           /* more than one block, the last one short */
    { "stack",   0,           3, { 3, 7, 11 },    true  },
    { "vector",  0,           1, { 33 },          false },
    { "nodecay", SY_NODECAY,  2, { 5, 9 },        false },
    { "frozen",  SY_FROZEN,   2, { 6, 6 },        false },
    { "buffer",  SY_BUFFER,   1, { 12 },          false },
    { "lazy",    SY_LAZY,     2, { 9, 4001 },     true  },           /* rows cross blocks */
    { "thin",    SY_LAZY,     3, { 50, 2, 3 },    true  },
};
enum { PARAMS = SY_COUNT(shape), LAST = 40 * 1000 };

typedef struct set { sy_arena a; sy_params p; } set;

static double value(uint64_t i, uint64_t salt) { return sin(0.7 * (double)i + 13.1 * (double)salt); }

static void open_set(set *s)
{
    *s = (set){ 0 };
    s->p = (sy_params){ .arena = &s->a, .train = true, .fresh = true };
    for (size_t i = 0; i < PARAMS; i++) {
        sy_param *p = sy_params_add(&s->p, shape[i].name, shape[i].flags, shape[i].nd, shape[i].dim);
        assert_non_null(p);
        for (size_t k = 0; k < p->n; k++) ((sy_real *)p->w.data)[k] = (sy_real)(0.5 * value(k, i));
    }
}

static void gradients(set *s, int t)
{
    for (int i = 0; i < s->p.n; i++) {
        sy_param *p = s->p.p[i];
        for (size_t k = 0; p->w.dx && k < p->n; k++) p->w.dx[k] = (sy_real)(0.1 * value(k + (size_t)t * 31, (uint64_t)i + 77));
        for (int r = 0; p->touched && r < p->w.dim[0]; r++) p->touched[r] = (r + t) % 3 == 0;
    }
}

/* Algorithm 2 of arXiv:1711.05101 with schedule multiplier 1 and the usual lr * decay, in double. */
static void slow(const sy_param *p, double *w, double *m, double *v, const sy_optim *o, bool decays, double lr, int t, double clip)
{
    size_t row = p->n / (size_t)p->w.dim[0];
    for (size_t k = 0; k < p->n; k++) {
        if ((p->flags & SY_LAZY) && !p->touched[k / row]) continue;
        double g = (double)p->w.dx[k] * clip;
        m[k] = o->beta1 * m[k] + (1 - o->beta1) * g;
        v[k] = o->beta2 * v[k] + (1 - o->beta2) * g * g;
        double mh = m[k] / (1 - pow(o->beta1, t)), vh = v[k] / (1 - pow(o->beta2, t));
        w[k] -= lr * (mh / (sqrt(vh) + o->adam_eps) + (decays ? o->weight_decay * w[k] : 0));
    }
}

static void expect(const char *what, const char *name, const sy_real *got, const double *want, size_t n)
{
    char at[64];
    snprintf(at, sizeof at, "%s of %s", what, name);
    for (size_t k = 0; k < n; k++) sy_expect_near(at, (double)got[k], want[k], atol, rtol);
}

static void adamw(const char *kernels)
{
    enum { STEPS = 6 };
    static double w[PARAMS][LAST], m[PARAMS][LAST], v[PARAMS][LAST];
    static sy_real before[PARAMS][LAST];
    sy_engine e;
    sy_optim o;
    set s;
    sy_test_case("kernels %s", kernels);
    sy_opt_defaults(sy_optim_opts, &o);
    o.weight_decay = 0.3;
    sy_expect_ok(sy_engine_init(&e, 2, kernels, &sy_builtin_methods, err));
    open_set(&s);
    memset(m, 0, sizeof m), memset(v, 0, sizeof v);
    for (int i = 0; i < s.p.n; i++)
        for (size_t k = 0; k < s.p.p[i]->n; k++) w[i][k] = (double)(before[i][k] = ((sy_real *)s.p.p[i]->w.data)[k]);
    for (int t = 1; t <= STEPS; t++) {
        double lr = 0.01 * t, clip = t % 2 ? 1 : 0.37;
        gradients(&s, t);
        sy_optim_step(&e, &s.p, &o, lr, t, clip);
        for (int i = 0; i < s.p.n; i++)
            if (sy_param_trains(s.p.p[i])) slow(s.p.p[i], w[i], m[i], v[i], &o, shape[i].decays, lr, t, clip);
    }
    for (int i = 0; i < s.p.n; i++) {
        const sy_param *p = s.p.p[i];
        if (!sy_param_trains(p)) {
            sy_expect_same(p->name, p->w.data, before[i], p->n * sizeof(sy_real));
            continue;
        }
        expect("weight", p->name, p->w.data, w[i], p->n);
        expect("first moment", p->name, p->m, m[i], p->n);
        expect("second moment", p->name, p->v, v[i], p->n);
    }
    sy_arena_free(&s.a);
    sy_engine_uninit(&e);
}

static void test_adamw(void **state)
{
    (void)state;
    for (int i = 0; sy_kernels_at(i); i++) adamw(sy_kernels_at(i)->name);
}

/* What is frozen between two steps stays exactly as it is, moments included; untouched lazy rows too. */
static void test_rest(void **state)
{
    (void)state;
    static sy_real w[LAST], m[LAST], v[LAST];
    sy_engine e;
    sy_optim o;
    set s;
    sy_test_case("what must not move");
    sy_opt_defaults(sy_optim_opts, &o);
    sy_expect_ok(sy_engine_init(&e, 2, NULL, &sy_builtin_methods, err));
    open_set(&s);
    gradients(&s, 1);
    sy_optim_step(&e, &s.p, &o, 0.1, 1, 1);
    sy_param *p = s.p.p[0], *lazy = s.p.p[6];
    size_t row = lazy->n / (size_t)lazy->w.dim[0], bytes = p->n * sizeof *w;
    memcpy(w, p->w.data, bytes), memcpy(m, p->m, bytes), memcpy(v, p->v, bytes);
    p->flags |= SY_FROZEN;
    gradients(&s, 2);
    sy_optim_step(&e, &s.p, &o, 0.1, 2, 1);
    sy_expect_same("frozen weight", p->w.data, w, bytes);
    sy_expect_same("frozen moment", p->m, m, bytes);
    sy_expect_same("frozen moment", p->v, v, bytes);
    p->flags &= ~(unsigned)SY_FROZEN;
    bytes = lazy->n * sizeof *w;
    memcpy(w, lazy->w.data, bytes), memcpy(m, lazy->m, bytes), memcpy(v, lazy->v, bytes);
    gradients(&s, 3);
    sy_optim_step(&e, &s.p, &o, 0.1, 3, 1);
    for (int r = 0; r < lazy->w.dim[0]; r++) {
        size_t at = (size_t)r * row, n = row * sizeof *w;
        bool same = !memcmp((sy_real *)lazy->w.data + at, w + at, n) && !memcmp(lazy->m + at, m + at, n) && !memcmp(lazy->v + at, v + at, n);
        assert_int_equal(same, !lazy->touched[r]);
    }
    sy_grad_zero(&e, &s.p);
    for (int i = 0; i < s.p.n; i++) {
        for (size_t k = 0; sy_param_trains(s.p.p[i]) && k < s.p.p[i]->n; k++) assert_true(s.p.p[i]->w.dx[k] == 0);
        for (int r = 0; s.p.p[i]->touched && r < s.p.p[i]->w.dim[0]; r++) assert_int_equal(s.p.p[i]->touched[r], 0);
    }
    sy_arena_free(&s.a);
    sy_engine_uninit(&e);
}

static void test_norm(void **state)
{
    (void)state;
    double one = 0, want = 0;
    set s;
    open_set(&s);
    gradients(&s, 4);
    for (int i = 0; i < s.p.n; i++)
        for (size_t k = 0; sy_param_trains(s.p.p[i]) && k < s.p.p[i]->n; k++) want += (double)s.p.p[i]->w.dx[k] * (double)s.p.p[i]->w.dx[k];
    for (int threads = 1; threads <= 4; threads++) {
        sy_engine e;
        sy_test_case("norm with %d threads", threads);
        sy_expect_ok(sy_engine_init(&e, threads, NULL, &sy_builtin_methods, err));
        double got = sy_grad_norm(&e, &s.p);
        if (threads == 1) one = got;
        sy_expect_near("norm", got, sqrt(want), 0, 1e-12);
        sy_expect_same("norm", &got, &one, sizeof one);
        sy_engine_uninit(&e);
    }
    assert_null(sy_grad_broken(&s.p));
    s.p.p[2]->w.dx[32] = (sy_real)INFINITY;
    s.p.p[6]->w.dx[1] = (sy_real)NAN;
    assert_ptr_equal(sy_grad_broken(&s.p), s.p.p[2]);
    s.p.p[2]->w.dx[32] = 0;
    assert_ptr_equal(sy_grad_broken(&s.p), s.p.p[6]);
    sy_arena_free(&s.a);
}

static void test_schedules(void **state)
{
    (void)state;
    enum { COS = SY_SCHED_COSINE, WSD = SY_SCHED_WSD, FLAT = SY_SCHED_CONSTANT };
    static const struct { const char *what; int kind, warmup; double low, decay; int step, steps; double want; } cases[] = {
        { "warm-up, first step",          COS,  4, 0.1, 0,   0,   105, 0.25 },
        { "warm-up, middle",              COS,  4, 0.1, 0,   1,   105, 0.5  },
        { "warm-up, its end",             COS,  4, 0.1, 0,   3,   105, 1    },
        { "cosine begins",                COS,  4, 0.1, 0,   4,   105, 1    },
        { "cosine, a quarter",            COS,  4, 0.1, 0,   29,  105, 0.1 + 0.9 * 0.5 * (1 + 0.70710678118654752440) },
        { "cosine, half",                 COS,  4, 0.1, 0,   54,  105, 0.55 },
        { "cosine, last step",            COS,  4, 0.1, 0,   104, 105, 0.1  },
        { "cosine to zero",               COS,  0, 0,   0,   99,  100, 0    },
        { "no warm-up",                   COS,  0, 0.1, 0,   0,   101, 1    },
        { "no warm-up, half",             COS,  0, 0.1, 0,   50,  101, 0.55 },
        { "only warm-up: first",          COS,  8, 0.1, 0,   0,   8,   0.125 },
        { "only warm-up: last",           COS,  8, 0.1, 0,   7,   8,   1    },
        { "warm-up longer than the run",  COS,  8, 0.1, 0,   3,   4,   0.5  },
        { "one step after the warm-up",   COS,  3, 0.1, 0,   3,   4,   0.1  },
        { "one step in all",              FLAT, 0, 0.1, 0,   0,   1,   1    },
        { "one step in all, in warm-up",  COS,  1, 0.1, 0,   0,   1,   1    },
        { "wsd, warm-up",                 WSD,  5, 0.1, 0.2, 1,   100, 0.4  },
        { "wsd, flat",                    WSD,  5, 0.1, 0.2, 50,  100, 1    },
        { "wsd, flat to its end",         WSD,  5, 0.1, 0.2, 79,  100, 1    },
        { "wsd, first step that falls",   WSD,  5, 0.1, 0.2, 80,  100, 0.1 + 0.9 * 19 / 20 },
        { "wsd, half way down",           WSD,  5, 0.1, 0.2, 89,  100, 0.55 },
        { "wsd, last step",               WSD,  5, 0.1, 0.2, 99,  100, 0.1  },
        { "wsd, nothing falls",           WSD,  5, 0.1, 0,   99,  100, 1    },
        { "wsd, all falls",               WSD,  0, 0,   1,   49,  100, 0.5  },
        { "constant",                     FLAT, 5, 0.1, 0.2, 99,  100, 1    },
        { "constant, warm-up",            FLAT, 5, 0.1, 0.2, 0,   100, 0.2  },
    };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_optim o = { .lr = 3e-3, .min_lr_ratio = cases[i].low, .decay_ratio = cases[i].decay, .warmup_steps = cases[i].warmup, .lr_schedule = cases[i].kind };
        sy_test_case("%s", cases[i].what);
        sy_expect_near("learning rate", sy_lr_at(&o, cases[i].step, cases[i].steps), 3e-3 * cases[i].want, 1e-17, 1e-13);
    }
    for (int kind = COS; kind <= FLAT; kind++)       /* never above the peak, never below the least, no jump after the warm-up that falls */
        for (int warmup = 0; warmup <= 12; warmup += 3)
            for (int steps = 1; steps <= 12; steps++)
                for (int step = 0; step < steps; step++) {
                    sy_optim o = { .lr = 2, .min_lr_ratio = 0.25, .decay_ratio = 0.3, .warmup_steps = warmup, .lr_schedule = kind };
                    double lr = sy_lr_at(&o, step, steps);
                    assert_true(lr <= 2 && (lr >= 0.5 || step < warmup) && lr > 0);
                    if (step && step < warmup) assert_true(lr > sy_lr_at(&o, step - 1, steps));
                    if (step > warmup) assert_true(lr <= sy_lr_at(&o, step - 1, steps));
                }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_adamw), cmocka_unit_test(test_rest), cmocka_unit_test(test_norm), cmocka_unit_test(test_schedules) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
