/* Studies of rates: the slope and its error on numbers made by hand, the same numbers on one thread and on three, small studies whose rates are known, the pages. */
#include "testing.h"

#include <math.h>
#include <string.h>

#include "core/json.h"
#include "gmoe/study.h"
#include "report/html.h"

static const sy_gmoe_study *study(const char *key)
{
    for (const sy_gmoe_study *s = sy_gmoe_studies; s->key; s++) if (!strcmp(s->key, key)) return s;
    fail_msg("no study '%s'", key);
    return NULL;
}

static sy_study_options options(int reps, int starts, int sizes, const int *size)
{
    sy_study_options o = { .reps = reps, .starts = starts, .sizes = sizes, .seed = 1, .rules = { 120, 1e-8, 1e-6 } };
    memcpy(o.size, size, (size_t)sizes * sizeof *size);
    return o;
}

static void test_slope(void **state)
{
    (void)state;
    double x[] = { 10, 100, 1000 }, y[] = { 8, 0.8, 0.08 }, z[] = { 3, 0, NAN }, slope, at;
    sy_fit_power(x, y, 3, &slope, &at);
    sy_expect_near("slope", slope, -1, 1e-12, 0);
    sy_expect_near("height", exp(at), 80, 1e-9, 0);
    sy_fit_power(x, z, 3, &slope, &at);
    assert_true(isnan(slope));
    /* ln y = 0, 1, 5 over ln x = 0, 1, 2: slope (5 - 0) / 2 */
    sy_fit_power((double[]){ 1, M_E, M_E * M_E }, (double[]){ 1, M_E, exp(5) }, 3, &slope, &at);
    sy_expect_near("slope", slope, 2.5, 1e-12, 0);
}

/* An error that is positive in every fit. */
static void by_hand(const sy_gmoe *fit, const sy_gmoe *truth, double *error)
{
    (void)truth;
    error[0] = fit->v[0];
}

static void test_jackknife(void **state)
{
    (void)state;
    static const int size[] = { 20, 40 };
    sy_gmoe_study s = *study("exact");
    sy_study_result r;
    sy_study_options o = options(3, 0, 2, size);
    s.measure = by_hand, s.error[0] = "v", s.error[1] = NULL;
    sy_expect_ok(sy_study_run(&s, &o, &r, err));
    assert_int_equal(r.errors, 1);
    /* The three leave-one-out slopes, from runs of their own. */
    double slope[3], mean[2], mid = 0, v = 0;
    double e[3][2];
    for (int i = 0; i < 3; i++)
        for (int z = 0; z < 2; z++) {
            sy_study_result one;
            sy_study_options p = options(i + 1, 0, 1, &size[z]);
            sy_expect_ok(sy_study_run(&s, &p, &one, err));
            e[i][z] = one.rate[0].mean[0] * (i + 1);
            for (int k = 0; k < i; k++) e[i][z] -= e[k][z];
        }
    for (int out = 0; out < 3; out++) {
        for (int z = 0; z < 2; z++) { mean[z] = 0; for (int i = 0; i < 3; i++) if (i != out) mean[z] += e[i][z] / 2; }
        slope[out] = log(mean[1] / mean[0]) / log(2);
        mid += slope[out] / 3;
    }
    for (int out = 0; out < 3; out++) v += (slope[out] - mid) * (slope[out] - mid);
    sy_expect_near("error of the slope", r.rate[0].se, sqrt(v * 2 / 3), 1e-9, 0);
    sy_expect_near("mean", r.rate[0].mean[0], (e[0][0] + e[1][0] + e[2][0]) / 3, 1e-12, 0);
}

static void test_threads(void **state)
{
    (void)state;
    static const int size[] = { 100, 200 };
    sy_study_result one, three;
    for (const sy_gmoe_study *s = sy_gmoe_studies; s->key; s++) {
        sy_test_case("%s", s->key);
        sy_study_options o = options(3, 1, 2, size);
        sy_expect_ok(sy_study_run(s, &o, &one, err));
        sy_expect_ok(sy_pool_open(&o.pool, 3, err));
        sy_expect_ok(sy_study_run(s, &o, &three, err));
        sy_pool_close(o.pool);
        sy_expect_same("rates", one.rate, three.rate, (size_t)one.errors * sizeof one.rate[0]);
        sy_expect_same("rounds", one.rounds, three.rounds, sizeof one.rounds);
        assert_true(one.fell <= 1e-12);
    }
}

/* The theory on a small scale: the exact fit nears the truth, a temperature in a linear gate does not, its ratio does; a gate that keeps one does not move. */
static void test_rates(void **state)
{
    (void)state;
    static const int size[] = { 200, 2000 };
    sy_study_options o = options(5, 0, 2, size);
    sy_study_result r;
    sy_expect_ok(sy_study_run(study("exact"), &o, &r, err));
    assert_true(r.rate[1].slope < -0.3 && r.rate[1].slope > -0.75);
    sy_expect_ok(sy_study_run(study("temperature"), &o, &r, err));
    assert_true(fabs(r.rate[0].slope) < 0.15 && r.rate[1].slope < -0.25 && r.rate[2].slope < -0.3);
    sy_expect_ok(sy_study_run(study("top1"), &o, &r, err));
    assert_true(fabs(r.rate[1].slope) < 0.01 && r.rate[1].mean[0] > 0.1);
}

static bool at_once(void *arg) { (void)arg; return true; }

static void test_pages(void **state)
{
    (void)state;
    static const int size[] = { 50, 100, 200 };
    sy_study_options o = options(3, 0, 3, size);
    sy_study_result r[2];
    sy_buf b = { 0 };
    sy_err e = { 0 }, *err = &e;
    sy_expect_ok(sy_study_run(study("exact"), &o, &r[0], err));
    sy_expect_ok(sy_study_run(study("over"), &o, &r[1], err));
    sy_expect_ok(sy_study_html(r, 2, &o, "`a <test>`", &b, err));
    check_html(b.data);
    assert_non_null(strstr(b.data, "id=\"over\""));
    assert_non_null(strstr(b.data, "&lt;test&gt;"));
    assert_null(strstr(b.data, "nan"));
    sy_buf_clear(&b);
    sy_expect_ok(sy_study_markdown(r, 2, &o, "a test", &b, err));
    assert_non_null(strstr(b.data, "\n| n | D1 (sd) | density (sd) | rounds | ended |\n|---|---|---|---|---|\n| 50 |"));
    assert_non_null(strstr(b.data, "| **slope** | **"));
    sy_buf_clear(&b);
    sy_expect_ok(sy_study_json(r, 2, &o, &b, err));
    json_t *root;
    sy_expect_ok(sy_json_parse(&root, b.data, b.n, "the studies", err));
    sy_expect_near("slope", json_number_value(json_object_get(json_array_get(json_object_get(json_array_get(json_object_get(root, "studies"), 0), "errors"), 1), "slope")), r[0].rate[1].slope, 0, 0);
    json_decref(root);
    sy_buf_free(&b);
    sy_test_case("refused, stopped");
    o.sizes = 0;
    sy_expect_fail(sy_study_run(study("exact"), &o, r, err), SY_EARG, "0 sizes");
    o.sizes = 3, o.size[1] = 5;
    sy_expect_fail(sy_study_run(study("exact"), &o, r, err), SY_EARG, "a sample of 5");
    o.size[1] = 100, o.reps = 0;
    sy_expect_fail(sy_study_run(study("exact"), &o, r, err), SY_EARG, "0 samples");
    o.reps = 3, o.stop = at_once;
    sy_expect_fail(sy_study_run(study("exact"), &o, r, err), SY_ESTOP, "stopped");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_slope), cmocka_unit_test(test_jackknife), cmocka_unit_test(test_threads), cmocka_unit_test(test_rates), cmocka_unit_test(test_pages) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
