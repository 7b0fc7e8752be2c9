/* tests/experiments/test_beds.c - the beds "classes", "sums" and "answers": the same bits for the same trial, settings that arrive, settings that are refused. Figures of methods are no test: they stand in docs/results. */
#include "testing.h"

#include <math.h>

#include "experiments/bed.h"
#include "methods.h"

static sy_engine eng;

static int open_engine(void **state)
{
    (void)state;
    sy_expect_ok(sy_engine_init(&eng, 2, NULL, &sy_builtin_methods, err));
    return 0;
}

static int close_engine(void **state)
{
    (void)state;
    sy_engine_uninit(&eng);
    return 0;
}

static sy_trial_result trial(const char *bed, const char *settings)
{
    sy_bed_context c = { .eng = &eng };
    sy_trial_result r;
    sy_test_case("%s %s", bed, settings);
    sy_expect_ok(sy_bed_run(&c, &(sy_trial){ bed, settings, 1, 1, 0, 1 }, &r, err));
    for (int i = 0; i < r.n; i++) assert_true(isfinite(r.m[i].value));
    return r;
}

static void same_bits(void **state)
{
    (void)state;
    static const struct { const char *bed, *settings; } cases[] = { { "classes", "steps=20 consistency=1" }, { "sums", "steps=4 batch_size=8 asked=5 decode=scmoe" },
                                                                     { "answers", "steps=4 tune_steps=3 batch_size=8 tasks=2 objective=roma:lambda_warmup_steps=1" } };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_trial_result a = trial(cases[i].bed, cases[i].settings), b = trial(cases[i].bed, cases[i].settings);
        assert_int_equal(a.n, b.n);
        for (int k = 0; k < a.n; k++) assert_true(a.m[k].value == b.m[k].value);
    }
}

static void classes(void **state)
{
    (void)state;
    sy_trial_result free = trial("classes", "steps=150"), two = trial("classes", "steps=150 consistency=0"), agree = trial("classes", "steps=150 consistency=30"), one = trial("classes", "steps=150 num_experts=1 router=topk:top_k=1");
    assert_true(sy_metric_get(&two, "loss") < log(5) - 0.3);                   /* it learns */
    assert_true(sy_metric_get(&free, "loss") != sy_metric_get(&two, "loss"));
    assert_true(sy_metric_get(&agree, "divergence") < sy_metric_get(&two, "divergence"));
    assert_true(sy_metric_get(&two, "loss_ensemble") <= sy_metric_get(&two, "loss"));          /* ln of a mean is no less than the mean of ln */
    sy_expect_near("one expert", sy_metric_get(&one, "loss_ensemble"), sy_metric_get(&one, "loss"), 0.2, 0);
    assert_true(sy_metric_get(&one, "divergence") == 0);
}

/* What is decoded differently was trained alike: a neutral method gives the model's own answers. */
static void sums(void **state)
{
    (void)state;
    static const char *const alike[][2] = { { "steps=20 batch_size=8 asked=4 measure=nats", "steps=20 batch_size=8 asked=4 measure=nats decode=scmoe:cd_alpha=0,cd_beta=0" }, { "steps=20 batch_size=8 asked=4 measure=nats ask=rare", "steps=20 batch_size=8 asked=4 measure=nats ask=rare decode=rewire:steps=0" },
                                            { "steps=20 batch_size=8 asked=9", "steps=20 batch_size=8 asked=9 decode=rewire:steps=0" } };
    for (size_t i = 0; i < SY_COUNT(alike); i++) {
        sy_trial_result a = trial("sums", alike[i][0]), b = trial("sums", alike[i][1]);
        assert_true(sy_metric_get(&a, "loss") == sy_metric_get(&b, "loss"));
    }
    sy_trial_result a = trial("sums", "steps=20 batch_size=8 asked=4 measure=nats"), b = trial("sums", "steps=20 batch_size=8 asked=4 measure=nats decode=rewire:lr=0.3,steps=2"), c = trial("sums", "steps=20 batch_size=8 asked=4 measure=nats rare=1"), d = trial("sums", "steps=20 batch_size=8 asked=4 measure=nats ask=rare");
    assert_true(sy_metric_get(&a, "loss") != sy_metric_get(&b, "loss") && sy_metric_get(&b, "decode_mmadds") > 2 * sy_metric_get(&a, "decode_mmadds"));
    assert_true(sy_metric_get(&a, "loss") < sy_metric_get(&c, "loss") && sy_metric_get(&a, "loss") < sy_metric_get(&d, "loss"));      /* the other language is another one */
}

/* Arms begin alike; tuning helps what noise has spoiled; without noise and tuning nothing is spoiled. */
static void answers(void **state)
{
    (void)state;
    sy_trial_result not = trial("answers", "tasks=1 steps=60 batch_size=8 tune_steps=0"), clean = trial("answers", "tasks=1 steps=60 batch_size=8 tune_steps=0 noise=0"),
                    tuned = trial("answers", "tasks=1 steps=60 batch_size=8 tune_steps=20 objective=roma:lambda_reg=0"), roma = trial("answers", "tasks=1 steps=60 batch_size=8 tune_steps=20 objective=roma:lambda_warmup_steps=1"),
                    gates = trial("answers", "tasks=1 steps=60 batch_size=8 tune_steps=20");
    assert_true(sy_metric_get(&clean, "loss") < sy_metric_get(&not, "loss") && sy_metric_get(&clean, "loss") < log(5) - 0.3);
    assert_true(sy_metric_get(&tuned, "loss") < sy_metric_get(&not, "loss"));
    assert_true(sy_metric_get(&roma, "loss") != sy_metric_get(&tuned, "loss"));
    assert_true(sy_metric_get(&gates, "loss") == sy_metric_get(&tuned, "loss"));       /* lambda=0 equals router tuning; all three layers have routers, and all are tuned */
    assert_true(sy_metric_get(&not, "noisy_accuracy") == sy_metric_get(&tuned, "noisy_accuracy") && sy_metric_get(&not, "accuracy") == sy_metric_get(&not, "noisy_accuracy"));
}

static void refusals(void **state)
{
    (void)state;
    static const struct { const char *bed, *settings, *part; } cases[] = {
        { "classes", "stepps=3", "bed classes: unknown" }, { "classes", "router=topk:top_k=9", "9" }, { "classes", "steps", "malformed at 'steps'" },
        { "sums", "stepps=3", "bed sums: unknown" }, { "sums", "steps=1 decode=scmo", "did you mean 'scmoe'" }, { "sums", "steps=1 router=thor balance= decode=rewire", "declares that it has none" },
        { "answers", "stepps=3", "bed answers: unknown" }, { "answers", "steps=1 tune_steps=1 objective=tor", "did you mean 'thor'" },
    };
    sy_bed_context c = { .eng = &eng };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_trial_result r;
        sy_err e = { 0 }, *err = &e;
        sy_test_case("%s %s", cases[i].bed, cases[i].settings);
        sy_status st = sy_bed_run(&c, &(sy_trial){ cases[i].bed, cases[i].settings, 1, 1, 0, 1 }, &r, err);
        sy_expect_fail(st, st, cases[i].part);
        assert_int_not_equal(st, SY_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(same_bits), cmocka_unit_test(classes), cmocka_unit_test(sums), cmocka_unit_test(answers), cmocka_unit_test(refusals) };
    return cmocka_run_group_tests(tests, open_engine, close_engine);
}
