/* tests/infer/test_sample.c - filters and draws. Oracles: transformers' logits processors (a fixture), a slow reimplementation in long
 * double, and the chi-square of many draws against softmax. */
#include "testing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/random.h"
#include "infer/sample.h"
#include "model/safetensors.h"

enum { V = 41, S = 12 };

static sy_sample_options plain(void)
{
    sy_sample_options o;
    sy_opt_defaults(sy_sample_opts, &o);
    o.top_k = 0;
    return o;
}

/* --- the slow one: every filter by its definition, ids compared in pairs ---------------------------------------------------------- */

enum { MOST = 100 };

static void probabilities(const float *s, int n, long double *p)
{
    long double top = -INFINITY, z = 0;
    for (int j = 0; j < n; j++) if (s[j] > top) top = s[j];
    for (int j = 0; j < n; j++) z += p[j] = expl((long double)s[j] - top);
    for (int j = 0; j < n; j++) p[j] /= z;
}

static void slow_filters(float *s, int n, const int *seen, int n_seen, const sy_sample_options *o)
{
    float before[MOST];
    long double p[MOST];
    float penalty = (float)o->repetition_penalty, t = (float)o->temperature;
    memcpy(before, s, (size_t)n * sizeof *s);
    for (int i = 0; i < n_seen; i++) {               /* from the untouched scores: an id that occurs twice is changed once */
        float x = before[seen[i]];
        if (penalty != 1) s[seen[i]] = x < 0 ? x * penalty : x / penalty;
    }
    for (int i = 0; i < n; i++) s[i] /= t;
    memcpy(before, s, (size_t)n * sizeof *s);
    for (int i = 0; i < n && o->top_k; i++) {        /* goes when at least k scores are larger: ties with the k-th stay */
        int larger = 0;
        for (int j = 0; j < n; j++) larger += before[j] > before[i];
        if (larger >= o->top_k) s[i] = -INFINITY;
    }
    memcpy(before, s, (size_t)n * sizeof *s);
    probabilities(before, n, p);
    for (int i = 0; i < n && o->top_p < 1; i++) {    /* goes when it and all below it have at most 1 - p; the first of the order never */
        long double below = 0;
        bool first = true;
        for (int j = 0; j < n; j++) {
            bool under = before[j] < before[i] || (before[j] == before[i] && j >= i);
            if (under) below += p[j];
            else first = false;
        }
        if (below <= 1 - (long double)o->top_p && !first) s[i] = -INFINITY;
    }
    long double best = 0;
    probabilities(s, n, p);
    for (int i = 0; i < n; i++) if (p[i] > best) best = p[i];
    for (int i = 0; i < n && o->min_p > 0; i++) if (p[i] < o->min_p * best) s[i] = -INFINITY;
}

static void expect_scores(const float *got, const float *want, int n)
{
    for (int i = 0; i < n; i++) {
        if (got[i] == want[i]) continue;             /* the removed ones included */
        sy_expect_near("score", (double)got[i], (double)want[i], 0, 2e-7);
    }
}

static void test_transformers(void **state)
{
    (void)state;
    sy_map map;
    sy_st st;
    sy_arena a = { 0 };
    sy_sampler s;
    sy_expect_ok(sy_map_open(&map, "tests/fixtures/sample.safetensors", err));
    sy_expect_ok(sy_st_parse(&st, map.data, map.size, "sample", &a, err));
    const sy_st_tensor *logits = sy_st_find(&st, "logits"), *settings = sy_st_find(&st, "settings"), *seen = sy_st_find(&st, "seen"), *scores = sy_st_find(&st, "scores");
    assert_true(logits && settings && seen && scores);
    assert_int_equal(logits->dim[1], V);
    sy_expect_ok(sy_sampler_open(&s, V, err));
    for (size_t i = 0; i < (size_t)logits->dim[0]; i++) {
        float l[V], want[V];
        double set[5], ids[S];
        sy_real x[V];
        int id;
        sy_expect_ok(sy_st_read_f32(logits, i * V, V, l, err));
        sy_expect_ok(sy_st_read_f32(scores, i * V, V, want, err));
        sy_expect_ok(sy_st_read_f64(settings, i * 5, 5, set, err));
        sy_expect_ok(sy_st_read_f64(seen, i * S, S, ids, err));
        for (int v = 0; v < V; v++) x[v] = (sy_real)l[v];
        sy_sample_options o = plain();
        o.repetition_penalty = set[0], o.temperature = set[1], o.top_k = (int)set[2], o.top_p = set[3], o.min_p = set[4];
        sy_test_case("penalty %g, temperature %g, k %d, p %g, min_p %g", set[0], set[1], o.top_k, set[3], set[4]);
        sy_sampler_forget(&s);
        for (int k = 0; k < S; k++) sy_sampler_saw(&s, &(int){ (int)ids[k] }, 1);
        sy_expect_ok(sy_sample(&s, &o, x, 0, &id, err));
        expect_scores(s.score, want, V);
        assert_true(want[id] > -INFINITY);
    }
    sy_sampler_close(&s);
    sy_map_close(&map);
    sy_arena_free(&a);
}

static void test_slow(void **state)
{
    (void)state;
    static const double penalty[] = { 1, 1.2, 0.7 }, temperature[] = { 1, 0.6, 2 }, top_p[] = { 1, 0.95, 0.5, 0 }, min_p[] = { 0, 0.05, 1 };
    static const int size[] = { 1, 2, 7, MOST }, top_k[] = { 0, 1, 3, 6, 99, 100, 5000 };
    sy_real x[MOST];
    float want[MOST];
    int cases = 0;
    for (size_t n = 0; n < SY_COUNT(size); n++) {
        sy_sampler s;
        sy_expect_ok(sy_sampler_open(&s, size[n], err));
        for (unsigned c = 0; c < 3 * 3 * 4 * 3 * 7; c++) {
            sy_sample_options o = plain();
            o.repetition_penalty = penalty[c % 3], o.temperature = temperature[c / 3 % 3], o.top_p = top_p[c / 9 % 4], o.min_p = min_p[c / 36 % 3], o.top_k = top_k[c / 108];
            uint64_t key = sy_key(sy_test_seed(), SY_FOR_TEST, n, c, 0);
            bool ties = c % 2;
            int seen[5], id;
            for (int i = 0; i < size[n]; i++) {
                double v = 3 * sy_draw_normal(key, (uint64_t)i, 0);
                x[i] = (sy_real)(float)(ties ? floor(v) : v);
                want[i] = (float)x[i];
            }
            for (int i = 0; i < 5; i++) seen[i] = (int)sy_draw_below(key, (uint64_t)i, 1, (uint64_t)size[n]);
            sy_test_case("V %d, penalty %g, temperature %g, k %d, p %g, min_p %g%s", size[n], o.repetition_penalty, o.temperature, o.top_k, o.top_p, o.min_p, ties ? ", ties" : "");
            sy_sampler_forget(&s);
            sy_sampler_saw(&s, seen, 5);
            slow_filters(want, size[n], seen, 5, &o);
            sy_expect_ok(sy_sample(&s, &o, x, (int64_t)c, &id, err));
            expect_scores(s.score, want, size[n]);
            assert_true(s.score[id] > -INFINITY);
            cases++;
        }
        sy_sampler_close(&s);
    }
    assert_int_equal(cases, 4 * 756);
}

static void test_greedy(void **state)
{
    (void)state;
    static const struct { sy_real x[5]; int seen; double penalty; int want; const char *what; } cases[] = {
        { { 1, 3, 2, 3, 3 },                     -1, 1,   1, "the first of the largest" },
        { { -5, -4, -4, -9, -8 },                -1, 1,   1, "all negative" },
        { { 0, 0, 0, 0, 0 },                     -1, 1,   0, "all equal" },
        { { -INFINITY, -1e30f, -INFINITY, -2e30f, -INFINITY }, -1, 1, 1, "most removed" },
        { { 2, 3, 1, 0, 0 },                      1, 2,   0, "a positive logit is divided" },
        { { -2, -1.5f, -9, -9, -9 },              1, 2,   0, "a negative logit is multiplied" },
    };
    sy_sampler s;
    sy_sample_options o = plain();
    sy_expect_ok(sy_sampler_open(&s, 5, err));
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        int id;
        sy_test_case("%s", cases[i].what);
        o.do_sample = false;
        o.temperature = 0.5, o.top_p = 0.1, o.top_k = 1;             /* filters of sampling do not take part */
        o.repetition_penalty = cases[i].penalty;
        sy_sampler_forget(&s);
        sy_sampler_saw(&s, &cases[i].seen, 1);
        sy_expect_ok(sy_sample(&s, &o, cases[i].x, 3, &id, err));
        sy_expect_ids("greedy", &id, &cases[i].want, 1);
    }
    sy_sampler_close(&s);
}

static void test_broken_logits(void **state)
{
    (void)state;
    static const struct { sy_real x[3]; const char *says; } cases[] = {
        { { 1, (sy_real)NAN, 2 }, "token 1" }, { { (sy_real)NAN, (sy_real)NAN, (sy_real)NAN }, "token 0" },
        { { -INFINITY, -INFINITY, -INFINITY }, "largest logit is -inf" }, { { 0, INFINITY, 0 }, "largest logit is inf" },
    };
    sy_sampler s;
    sy_err e = { 0 }, *err = &e;
    sy_expect_ok(sy_sampler_open(&s, 3, err));
    for (size_t i = 0; i < SY_COUNT(cases); i++)
        for (int sample = 0; sample < 2; sample++) {
            sy_sample_options o = plain();
            int id = -7;
            o.do_sample = sample;
            sy_test_case("%s", cases[i].says);
            sy_expect_fail(sy_sample(&s, &o, cases[i].x, 0, &id, err), SY_ENUM, cases[i].says);
            assert_int_equal(id, -7);                /* written on success only */
        }
    sy_sampler_close(&s);
}

static void test_draws(void **state)
{
    (void)state;
    enum { N = 20000, B = 8 };
    sy_real x[B] = { 0, 1, 2, -1, -30, 0.5f, 1.5f, 2 };
    float s0[B];
    long double p[B];
    int count[B] = { 0 }, first[64], again[64];
    sy_sampler s;
    sy_sample_options o = plain();
    o.seed = 5;
    o.temperature = 1.3;
    sy_expect_ok(sy_sampler_open(&s, B, err));
    for (int i = 0; i < N; i++) {
        int id;
        sy_expect_ok(sy_sample(&s, &o, x, i, &id, err));
        count[id]++;
        if (i < 64) first[i] = id;
    }
    for (int i = 63; i >= 0; i--) sy_expect_ok(sy_sample(&s, &o, x, i, &again[i], err));     /* in another order: a draw is of (seed, pos) */
    sy_expect_ids("draw", again, first, 64);
    o.seed = 6;
    for (int i = 0; i < 64; i++) sy_expect_ok(sy_sample(&s, &o, x, i, &again[i], err));
    assert_memory_not_equal(first, again, sizeof first);
    for (int i = 0; i < B; i++) s0[i] = (float)x[i] / 1.3f;
    probabilities(s0, B, p);
    double chi = 0;
    for (int i = 0; i < B; i++) {
        double want = N * (double)p[i];
        if (want < 1) { assert_true(count[i] <= 2); continue; }
        chi += (count[i] - want) * (count[i] - want) / want;
    }
    sy_test_case("chi-square of 6 degrees of freedom, 1 in 10000");
    sy_expect_near("chi-square", chi, 0, 27.86, 0);
    sy_sampler_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transformers), cmocka_unit_test(test_slow), cmocka_unit_test(test_greedy), cmocka_unit_test(test_broken_logits), cmocka_unit_test(test_draws),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
