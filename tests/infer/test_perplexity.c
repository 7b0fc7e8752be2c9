/* tests/infer/test_perplexity.c - perplexity in chunks, and the divergence of two models. Oracle: the same sums in long double over logits that come one
 * token at a time through a cache. */
#include "testing.h"

#include <math.h>
#include <stdlib.h>

#include "infer/generate.h"
#include "infer/perplexity.h"
#include "methods.h"

enum { V = 19, CTX = 11, N = 3 * CTX + 4 };

static sy_engine eng;
static sy_model *model, *other;
static int id[N];

static int setup(void **state)
{
    sy_spec s;
    (void)state;
    sy_expect_ok(sy_engine_init(&eng, 2, NULL, &sy_builtin_methods, err));
    sy_spec_defaults(&s);
    s.vocab_size = V, s.hidden_size = 16, s.num_hidden_layers = 2, s.num_attention_heads = 2, s.intermediate_size = 24, s.num_experts = 4;
    s.layers = "dense,sparse", s.router = "topk:top_k=2", s.max_position_embeddings = 16, s.initializer_range = 0.5;
    sy_expect_ok(sy_model_new(&model, &eng, &s, 0, 3, err));
    sy_expect_ok(sy_model_new(&other, &eng, &s, 0, 4, err));
    for (int i = 0; i < N; i++) id[i] = (i * i * 7 + i) % V;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sy_model_free(model);
    sy_model_free(other);
    sy_engine_uninit(&eng);
    return 0;
}

/* ln p of all ids behind each place of a chunk: [CTX][V]. */
static void slow(sy_model *m, const int *text, int bos, long double lp[CTX][V])
{
    sy_generator g;
    sy_expect_ok(sy_generator_open(&g, m, NULL, CTX, err));
    for (int i = 0; i < CTX; i++) {
        long double z = 0;
        sy_expect_ok(sy_generator_feed(&g, i || bos < 0 ? &text[i] : &bos, 1, NULL, err));
        for (int v = 0; v < V; v++) z += expl(g.logits[v]);
        for (int v = 0; v < V; v++) lp[i][v] = g.logits[v] - logl(z);
    }
    sy_generator_close(&g);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static int top(const long double *lp)
{
    int best = 0;
    for (int v = 1; v < V; v++) if (lp[v] > lp[best]) best = v;
    return best;
}

static void sums_are_those_of_the_definition(void **state)
{
    (void)state;
    for (int bos = -1; bos < 1; bos++) {
        static long double p[CTX][V], q[CTX][V];
        double nats = 0, ref = 0, kl[64], mean = 0;
        int n = 0, same = 0;
        sy_perplexity r;
        sy_test_case("bos %d", bos);
        for (int c = 0; c < 3; c++) {
            slow(model, id + c * CTX, bos, p);
            slow(other, id + c * CTX, bos, q);
            for (int i = CTX / 2; i + 1 < CTX; i++, n++) {
                nats -= (double)p[i][id[c * CTX + i + 1]];
                ref -= (double)q[i][id[c * CTX + i + 1]];
                kl[n] = 0;
                for (int v = 0; v < V; v++) kl[n] += (double)(expl(q[i][v]) * (q[i][v] - p[i][v]));
                mean += kl[n];
                same += top(p[i]) == top(q[i]);
            }
        }
        qsort(kl, (size_t)n, sizeof *kl, ascending);
        sy_expect_ok(sy_perplexity_run(&(sy_perplexity_job){ .model = model, .against = other, .id = id, .n = N, .ctx = CTX, .bos = bos }, &r, err));
        assert_int_equal(r.chunks, 3);
        assert_int_equal(r.n, n);
        sy_expect_near("nats", r.nats, nats / n, 1e-5, 1e-5);
        sy_expect_near("nats of the reference", r.ref_nats, ref / n, 1e-5, 1e-5);
        sy_expect_near("mean", r.kl, mean / n, 1e-5, 1e-4);
        sy_expect_near("median", r.median, n % 2 ? kl[n / 2] : (kl[n / 2 - 1] + kl[n / 2]) / 2, 1e-5, 1e-4);
        sy_expect_near("largest", r.most, kl[n - 1], 1e-5, 1e-4);
        sy_expect_near("top", r.same_top, (double)same / n, 1e-9, 0);
    }
}

static void a_model_is_no_way_from_itself(void **state)
{
    (void)state;
    sy_perplexity r;
    sy_expect_ok(sy_perplexity_run(&(sy_perplexity_job){ .model = model, .against = model, .id = id, .n = N, .ctx = CTX, .most_chunks = 1, .bos = -1 }, &r, err));
    assert_int_equal(r.chunks, 1);
    assert_true(r.kl < 1e-9 && r.most < 1e-9 && r.same_top == 1 && r.nats == r.ref_nats);
}

static bool enough(void *arg, int done, int chunks, double perplexity) { (void)arg, (void)chunks; return perplexity > 0 && done < 2; }

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    sy_perplexity r;
    sy_err sentence = { 0 }, *err = &sentence;
    sy_expect_fail(sy_perplexity_run(&(sy_perplexity_job){ .model = model, .id = id, .n = 2 * CTX - 1, .ctx = CTX, .bos = -1 }, &r, err), SY_ESHAPE, "needs at least 22");
    sy_expect_fail(sy_perplexity_run(&(sy_perplexity_job){ .model = model, .id = id, .n = N, .ctx = 17, .bos = -1 }, &r, err), SY_ESHAPE, "takes 16 positions");
    sy_expect_fail(sy_perplexity_run(&(sy_perplexity_job){ .model = model, .id = id, .n = N, .ctx = 3, .bos = -1 }, &r, err), SY_EARG, "at least 4");
    sy_expect_fail(sy_perplexity_run(&(sy_perplexity_job){ .model = model, .id = id, .n = N, .ctx = 8, .bos = V }, &r, err), SY_EARG, "--bos 19");
    sy_expect_fail(sy_perplexity_run(&(sy_perplexity_job){ .model = model, .id = id, .n = N, .ctx = CTX, .bos = -1, .seen = enough }, &r, err), SY_ESTOP, "2 of 3");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(sums_are_those_of_the_definition), cmocka_unit_test(a_model_is_no_way_from_itself), cmocka_unit_test(what_does_not_fit_is_refused) };
    return cmocka_run_group_tests(tests, setup, teardown);
}
