/* tests/experiments/test_experiment.c - beds with tiny budgets; the store, the tuning grid and the verdict on results that the test wrote itself. Oracles: the
 * same run again; numbers chosen by hand. */
#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "experiments/experiment.h"
#include "methods.h"

static sy_engine eng;
static int asked;                       /* times that a bed asked whether to stop: once a step */
static int stop_at;                     /* the question that is answered by yes; 0: none */

static bool stopping(void *arg) { (void)arg; return ++asked == stop_at; }

static sy_bed_context context(void) { return (sy_bed_context){ .eng = &eng, .stop = stopping }; }

static const char *in_dir(const char *name)
{
    static char path[4][600];
    static int turn;
    char *p = path[turn++ % 4];
    snprintf(p, 600, "%s/%s", sy_test_dir(), name);
    return p;
}

/* --- beds ------------------------------------------------------------------------------------------------------------------------ */

#define TOP2 "router=topk:top_k=2,norm_topk_prob=true"

static sy_trial_result cr(const char *settings, double budget, uint64_t seed)
{
    sy_bed_context c = context();
    sy_trial_result r;
    sy_expect_ok(sy_bed_run(&c, &(sy_trial){ "cr", settings, 1, budget, 0, seed }, &r, err));
    return r;
}

/* The same under a budget of work; counts its steps in `asked`. */
static sy_trial_result cr_work(const char *settings, double gmadds, uint64_t seed)
{
    sy_bed_context c = context();
    sy_trial_result r;
    asked = 0;
    sy_expect_ok(sy_bed_run(&c, &(sy_trial){ "cr", settings, 1, 1, gmadds, seed }, &r, err));
    return r;
}

static void same_result(const sy_trial_result *a, const sy_trial_result *b)
{
    assert_int_equal(a->n, b->n);
    for (int i = 0; i < a->n; i++) {
        assert_string_equal(a->m[i].name, b->m[i].name);
        sy_expect_near(a->m[i].name, a->m[i].value, b->m[i].value, 0, 0);
    }
}

static void test_cr(void **state)
{
    static const char *const cases[] = { "steps=3 batch_size=32", "variant=dom steps=3 batch_size=32 micro_batches=2 " TOP2 " balance=switch:coef=0.1,scope=step,mode=exact",
                                         "variant=blend steps=3 batch_size=32 balance=switch:coef=0.1+zloss:coef=0.01", "variant=easy steps=3 batch_size=32 zero_experts=2",
                                         "variant=skew steps=3 batch_size=32 router=auxfree:top_k=2,bias_update=0.001", "steps=3 batch_size=32 num_experts=1 router=topk:top_k=1,norm_topk_prob=false" };
    (void)state;
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_test_case("%s", cases[i]);
        sy_trial_result a = cr(cases[i], 1, 1), b = cr(cases[i], 1, 1), other = cr(cases[i], 1, 2);
        same_result(&a, &b);
        assert_true(sy_metric_get(&a, "loss") > 0 && isfinite(sy_metric_get(&a, "loss")) && sy_metric_get(&a, "loss") != sy_metric_get(&other, "loss"));
        assert_true(sy_metric_get(&a, "maxvio") >= 0 && isnan(sy_metric_get(&a, "nothing")));
        assert_true(sy_metric_get(&a, "experts_per_token") > 0);
    }
    sy_test_case("it learns: towards the noise floor of 0.0025");
    sy_trial_result few = cr("steps=1 batch_size=64 lr=0.02 " TOP2, 1, 1), many = cr("steps=300 batch_size=64 lr=0.02 " TOP2, 1, 1);
    if (!(sy_metric_get(&many, "loss") < 0.2 * sy_metric_get(&few, "loss"))) fail_msg("loss %g after 1 step, %g after 300", sy_metric_get(&few, "loss"), sy_metric_get(&many, "loss"));
    sy_expect_near("experts a token", sy_metric_get(&many, "experts_per_token"), 2, 0, 0);
    sy_test_case("a budget is a share of the steps");
    asked = 0;
    cr("steps=40 batch_size=16", 0.25, 1);
    assert_int_equal(asked, 10);
    asked = 0;
    cr("steps=40 batch_size=16", 0.001, 1);
    assert_int_equal(asked, 1);
    sy_test_case("a budget of work: schedules run on the spent share");
    static const char anneal[] = "steps=40 batch_size=16 router=actgate:top_k=2,tau_mode=anneal";
    sy_trial_result all = cr(anneal, 1, 1), same = cr_work(anneal, sy_metric_get(&all, "train_gmadds"), 1);
    assert_int_equal(asked, 40);
    sy_expect_near("what costs the same each step: the same loss", sy_metric_get(&same, "loss"), sy_metric_get(&all, "loss"), 0, 1e-5);
    cr_work(anneal, 0.5 * sy_metric_get(&all, "train_gmadds"), 1);
    assert_int_equal(asked, 20);
    sy_trial_result dense = cr_work("steps=40 batch_size=16 router=comet:k=2", sy_metric_get(&all, "train_gmadds"), 1);
    assert_true(asked > 5 && asked < 25);
    double spent = sy_metric_get(&dense, "train_gmadds"), most = sy_metric_get(&all, "train_gmadds");
    assert_true(spent >= most && spent - spent / asked < most);
}

static void test_refusals(void **state)
{
    static const struct { const char *bed, *settings, *part; } cases[] = {
        { "none", "", "no bed is called 'none'" }, { "cr", "steps=3 widht=2", "bed cr: unknown" }, { "cr", "steps", "malformed at 'steps'" },
        { "cr", "batch_size=10 micro_batches=3", "not a multiple" }, { "cr", "router=topk:top_k=9", "9" }, { "lm-tiny", "", "needs text" }, { "lm-tiny", "stepps=3", "did you mean 'steps'" },
    };
    sy_err e = { 0 }, *err = &e;
    sy_bed_context c = context();
    sy_trial_result r;
    (void)state;
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_test_case("%s %s", cases[i].bed, cases[i].settings);
        sy_expect_fail(sy_bed_run(&c, &(sy_trial){ cases[i].bed, cases[i].settings, 1, 1, 0, 1 }, &r, err), SY_EARG, cases[i].part);
    }
    stop_at = asked + 2;
    sy_expect_fail(sy_bed_run(&c, &(sy_trial){ "cr", "steps=9 batch_size=16", 1, 1, 0, 1 }, &r, err), SY_ESTOP, "stopped");
    stop_at = 0;
}

#define TINY_LM "hidden_size=8 num_hidden_layers=2 num_attention_heads=2 max_position_embeddings=16 seq_len=16 batch_size=2 moe_intermediate_size=8 num_experts=4 "

static void test_lm(void **state)
{
    (void)state;
    sy_buf b = { 0 };
    char one[700], two[700];
    for (int i = 0; i < 300; i++) sy_buf_printf(&b, "line %d of the text\n", i * 7 % 31);
    sy_expect_ok(sy_file_write(in_dir("lines.txt"), b.data, b.n, err));
    sy_buf_clear(&b);
    for (int i = 0; i < 300; i++) sy_buf_printf(&b, "%d+%d;", i % 7, i % 5);
    sy_expect_ok(sy_file_write(in_dir("sums.txt"), b.data, b.n, err));
    sy_buf_free(&b);
    snprintf(one, sizeof one, "lines=%s", in_dir("lines.txt"));
    snprintf(two, sizeof two, "sums=%s", in_dir("sums.txt"));
    sy_bed_context c = context();
    c.data = (const char *const []){ one, two };
    c.n_data = 2;
    sy_trial_result r[3];
    static const struct { const char *settings; double lr, budget; int steps; } cases[] = { { TINY_LM "steps=4", 1, 1, 4 }, { TINY_LM "steps=4", 1, 1, 4 }, { TINY_LM "steps=40 layers=dense intermediate_size=16 warmup_steps=0", 2, 0.1, 4 } };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_test_case("%s", cases[i].settings);
        asked = 0;
        sy_expect_ok(sy_bed_run(&c, &(sy_trial){ "lm-tiny", cases[i].settings, cases[i].lr, cases[i].budget, 0, 3 }, &r[i], err));
        assert_int_equal(asked, cases[i].steps);
        double all = sy_metric_get(&r[i], "loss"), lines = sy_metric_get(&r[i], "domain.lines"), sums = sy_metric_get(&r[i], "domain.sums");
        assert_true(all > 0 && all < 6 && (all - lines) * (all - sums) <= 0);       /* all lies between its domains */
        assert_true(sy_metric_get(&r[i], "train_gmadds") > 0 && sy_metric_get(&r[i], "parameters") >= sy_metric_get(&r[i], "active_parameters"));
        assert_true(i == 2 ? isnan(sy_metric_get(&r[i], "maxvio")) : sy_metric_get(&r[i], "maxvio") >= 0);
    }
    same_result(&r[0], &r[1]);
    sy_test_case("a budget of work: the rate falls with the spent share");
    asked = 0;
    sy_expect_ok(sy_bed_run(&c, &(sy_trial){ "lm-tiny", TINY_LM "steps=4", 1, 1, sy_metric_get(&r[0], "train_gmadds"), 3 }, &r[1], err));
    assert_int_equal(asked, 4);
    same_result(&r[0], &r[1]);
    asked = 0;
    sy_expect_ok(sy_bed_run(&c, &(sy_trial){ "lm-tiny", TINY_LM "steps=40 layers=sparse", 1, 1, 1.1 * sy_metric_get(&r[0], "train_gmadds"), 3 }, &r[1], err));
    assert_int_equal(asked, 5);
    sy_test_case("stopped");
    sy_err e = { 0 }, *err = &e;
    stop_at = asked + 1;
    sy_expect_fail(sy_bed_run(&c, &(sy_trial){ "lm-tiny", TINY_LM "steps=4", 1, 1, 0, 3 }, &r[0], err), SY_ESTOP, "stopped");
    stop_at = 0;
}

/* --- experiments ------------------------------------------------------------------------------------------------------------------- */

static const sy_experiment tiny = { "tiny", "three arms", "arXiv:0000.00000", "cr", "Does it run?", "maxvio specialisation",
    { { "base", "steps=2 batch_size=16 " TOP2 " balance=switch:coef=$C", 0.1 }, { "other", "steps=2 batch_size=16 router=auxfree:top_k=2,bias_update=$C", 0.003 },
      { "plain", "steps=2 batch_size=16 " TOP2, 0 } }, NULL, NULL, { 0 } };

static int told;
static char last[200];
static void tell(const sy_trials *t, const char *what, void *arg)
{
    (void)arg;
    told++;
    assert_true(t->done < t->all && t->found <= t->done);
    snprintf(last, sizeof last, "%s (%d of %d)", what, t->done + 1, t->all);
}

static sy_status go(const char *store, int seeds, bool tune, double budget, sy_buf *page, sy_err *err)
{
    sy_bed_context c = context();
    told = 0;
    sy_buf_clear(page);
    return sy_experiment_run(&c, &tiny, &(sy_experiment_options){ .seeds = seeds, .store = store, .budget = budget, .tune = tune, .tell = tell }, page, err);
}

static int files_in(const char *dir)
{
    sy_arena a = { 0 };
    const char **name;
    int n;
    sy_expect_ok(sy_dir_list(dir, &a, &name, &n, err));
    sy_arena_free(&a);
    return n;
}

static void expect_in(const sy_buf *page, const char *part)
{
    if (!strstr(page->data, part)) fail_msg("'%s' is not in:\n%s", part, page->data);
}

static void test_store(void **state)
{
    (void)state;
    const char *store = in_dir("store");
    sy_err e = { 0 }, *err = &e;
    sy_buf first = { 0 }, page = { 0 };
    sy_test_case("stopped on the way");
    stop_at = asked + 9;                             /* inside the fifth run of two steps */
    assert_int_equal(go(store, 2, false, 0, &first, err), SY_ESTOP);
    assert_non_null(strstr(e.text, "tiny: other, lr x 1, coefficient x 1, seed 2: stopped"));
    stop_at = 0;
    assert_int_equal(files_in(store), 4);
    sy_test_case("continued");
    asked = 0;
    sy_expect_ok(go(store, 2, false, 0, &first, err));
    assert_int_equal(asked, 2 * 2);                  /* two runs of two steps are left */
    assert_int_equal(told, 6);
    assert_non_null(strstr(last, "tiny: plain, lr x 1, coefficient x 1, seed 2 (6 of 6)"));
    assert_int_equal(files_in(store), 6);
    sy_test_case("again: everything is there");
    asked = 0;
    sy_expect_ok(go(store, 2, false, 0, &page, err));
    assert_int_equal(asked, 0);
    assert_string_equal(page.data, first.data);
    sy_test_case("left alone in another store: the same page");
    sy_expect_ok(go(in_dir("other"), 2, false, 0, &page, err));
    assert_string_equal(page.data, first.data);
    sy_test_case("one more seed runs three more");
    asked = 0;
    sy_expect_ok(go(store, 3, false, 0, &page, err));
    assert_int_equal(asked, 3 * 2);
    sy_test_case("a damaged result is run again");
    sy_arena a = { 0 };
    const char **name;
    char path[800];
    int n;
    sy_expect_ok(sy_dir_list(store, &a, &name, &n, err));
    snprintf(path, sizeof path, "%s/%s", store, name[0]);
    sy_expect_ok(sy_file_write(path, "{\"metrics\": {\"lo", 16, err));
    asked = 0;
    sy_expect_ok(go(store, 2, false, 0, &page, err));
    sy_expect_ok(go(store, 3, false, 0, &page, err));
    assert_int_equal(asked, 2);
    sy_test_case("another budget is another run");
    asked = 0;
    sy_expect_ok(go(store, 2, false, 0.5, &page, err));
    assert_int_equal(asked, 6);
    expect_in(&page, "every run has 50 % of its steps");
    assert_null(strstr(first.data, "A quick look"));
    sy_arena_free(&a);
    sy_test_case("refused");
    sy_expect_fail(go(store, 65, false, 0, &page, err), SY_EARG, "65 seeds; at most 64");
    sy_expect_fail(go(store, 2, false, 1.5, &page, err), SY_EARG, "a budget of 1.5");
    sy_expect_ok(sy_file_write(in_dir("file"), "", 0, err));
    assert_int_not_equal(go(in_dir("file"), 2, false, 0, &page, err), SY_OK);
    sy_buf_free(&first);
    sy_buf_free(&page);
}

/* Every run of a store gets the loss that `loss` gives it. */
static void construct(const char *store, double (*loss)(const char *settings, double lr, int64_t seed))
{
    sy_arena a = { 0 };
    const char **name;
    int n;
    sy_expect_ok(sy_dir_list(store, &a, &name, &n, err));
    for (int i = 0; i < n; i++) {
        char path[800];
        json_t *root;
        snprintf(path, sizeof path, "%s/%s", store, name[i]);
        sy_expect_ok(sy_json_read(&root, path, 1 << 20, err));
        double v = loss(json_string_value(json_object_get(root, "settings")), json_number_value(json_object_get(root, "lr_scale")), json_integer_value(json_object_get(root, "seed")));
        json_object_set_new(json_object_get(root, "metrics"), "loss", json_real(v));
        assert_int_equal(json_dump_file(root, path, 0), 0);
        json_decref(root);
    }
    sy_arena_free(&a);
}

/* base 1, 2, 3, ...; other: 0.5 below, give or take 0.1; plain: differences of 1, -1, ... that prove nothing. */
static double three(const char *settings, double lr, int64_t seed)
{
    double base = (double)seed;
    (void)lr;
    return strstr(settings, "auxfree") ? base - 0.5 + (seed % 2 ? 0.1 : -0.1) : strstr(settings, "balance") ? base : base + (seed % 2 ? 1 : -1);
}

static void test_verdict(void **state)
{
    (void)state;
    const char *store = in_dir("verdict");
    sy_buf page = { 0 };
    sy_expect_ok(go(store, 4, false, 0, &page, err));
    construct(store, three);
    asked = 0;
    sy_expect_ok(go(store, 4, false, 0, &page, err));
    assert_int_equal(asked, 0);
    expect_in(&page, "| base | 1 | 0.1 | 2.5000 (1.2910) |");
    expect_in(&page, "| plain | 1 | | 2.5000 (");
    /* differences -0.4, -0.6, -0.4, -0.6: mean -0.5, sd 0.11547, error 0.0577 */
    expect_in(&page, "**other against base**: -0.5000 (standard error 0.0577), lower on 4 of 4 seeds: lower loss.");
    /* 1, -1, 1, -1: mean 0, sd 1.1547, error 0.5774 */
    expect_in(&page, "**plain against base**: +0.0000 (standard error 0.5774), lower on 2 of 4 seeds: no difference at this size.");
    expect_in(&page, "\n| 3 | 3.0000 | 2.6000 | 4.0000 |");
    expect_in(&page, "- other: `steps=2 batch_size=16 router=auxfree:top_k=2,bias_update=$C`");
    expect_in(&page, "Nothing was tuned");
    sy_test_case("another baseline for one arm");
    sy_experiment other = tiny;
    sy_bed_context c = context();
    other.against[2] = 1;
    sy_buf_clear(&page);
    sy_expect_ok(sy_experiment_run(&c, &other, &(sy_experiment_options){ .seeds = 4, .store = store }, &page, err));
    expect_in(&page, "**other against base**");
    /* 2 - 0.6, 1 - 1.4 ...: plain is base + 1, - 1; other is base - 0.4, - 0.6: differences 1.4, -0.4, 1.4, -0.4 */
    expect_in(&page, "**plain against other**: +0.5000 (standard error 0.5196), lower on 2 of 4 seeds: no difference at this size.");
    sy_test_case("one seed proves nothing");
    sy_expect_ok(go(store, 1, false, 0, &page, err));
    expect_in(&page, "lower on 1 of 1 seeds: no difference at this size.");
    sy_buf_free(&page);
}

/* Tuning: base is best at twice the rate and three times the coefficient, other at half and a third; of equal losses the first wins. */
static double tuned(const char *settings, double lr, int64_t seed)
{
    if (seed != 1000) return 7;
    if (strstr(settings, "auxfree")) return lr + (strstr(settings, "bias_update=0.001") ? 0 : 1);
    return strstr(settings, "balance") ? (lr == 2 ? 0 : 1) + (strstr(settings, "coef=0.3") ? 0 : 1) : 1;
}

static void test_tuning(void **state)
{
    (void)state;
    const char *store = in_dir("tuning");
    sy_buf page = { 0 };
    sy_expect_ok(go(store, 1, true, 0, &page, err));
    assert_int_equal(told, 9 + 9 + 3 + 3);
    construct(store, tuned);
    asked = 0;
    sy_expect_ok(go(store, 1, true, 0, &page, err));
    expect_in(&page, "| base | 2 | 0.3 | ");
    expect_in(&page, "| other | 0.5 | 0.001 | ");
    expect_in(&page, "| plain | 1 | | ");
    expect_in(&page, "Each arm was tuned");
    sy_buf_free(&page);
}

static void test_list(void **state)
{
    (void)state;
    sy_err e = { 0 }, *err = &e;
    for (const sy_experiment *x = sy_experiments; x->key; x++) {
        sy_test_case("%s", x->key);
        assert_ptr_equal(sy_experiment_find(x->key, err), x);
        for (const sy_arm *a = x->arm; a < x->arm + 4 && a->name; a++) assert_true((a->coef != 0) == (strstr(a->settings, "$C") != NULL));
    }
    assert_null(sy_experiment_find("toppk", err));
    assert_non_null(strstr(e.text, "did you mean 'topk'?"));
    assert_null(sy_experiment_find("zzzzzzzz", err));
    assert_non_null(strstr(e.text, "lists them"));
}

static int open_engine(void **state)
{
    (void)state;
    sy_expect_ok(sy_engine_init(&eng, 1, NULL, &sy_builtin_methods, err));
    return 0;
}

static int close_engine(void **state)
{
    (void)state;
    sy_engine_uninit(&eng);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_cr), cmocka_unit_test(test_refusals), cmocka_unit_test(test_lm), cmocka_unit_test(test_store),
                                        cmocka_unit_test(test_verdict), cmocka_unit_test(test_tuning), cmocka_unit_test(test_list) };
    return cmocka_run_group_tests(tests, open_engine, close_engine);
}
