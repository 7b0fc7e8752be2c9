/* tests/infer/test_steering.c - which experts serve a task. Oracle: routes of both texts counted here, and choices from a small table by hand. */
#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "infer/steering.h"
#include "methods.h"

enum { E = 4, V = 256 };

struct count { double *f; const sy_model *m; int64_t tokens; };

static void seen(void *arg, const sy_batch *b, sy_route *const *routes)
{
    struct count *c = arg;
    c->tokens += b->T;
    for (int l = 0; l < c->m->n_sparse; l++) for (int s = 0; s < routes[l]->n; s++) c->f[l * E + routes[l]->expert[s]]++;
}

static sy_data *text_of(const sy_tokenizer *tok, const char *name, const char *line)
{
    char path[400];
    sy_buf t = { 0 };
    sy_data *d;
    sy_data_options o;
    snprintf(path, sizeof path, "%s/%s.txt", sy_test_dir(), name);
    for (int i = 0; i < 20; i++) sy_buf_printf(&t, line, i, i * i);
    sy_expect_ok(sy_file_write(path, t.data, t.n, err));
    sy_buf_free(&t);
    sy_opt_defaults(sy_data_opts, &o);
    o.seq_len = 32;
    sy_expect_ok(sy_data_open(&d, &(sy_sources){ .eval = (const char *[]){ path }, .n_eval = 1 }, &o, tok, 1, err));
    return d;
}

static void frequencies(void **state)
{
    (void)state;
    sy_engine eng;
    sy_tokenizer *tok;
    sy_arena a = { 0 };
    sy_spec s;
    sy_model *m;
    sy_steering got;
    sy_expect_ok(sy_engine_init(&eng, 2, NULL, &sy_builtin_methods, err));
    sy_expect_ok(sy_tokenizer_open_bytes(&tok, false, err));
    sy_spec_defaults(&s);
    s.vocab_size = V, s.hidden_size = 16, s.num_hidden_layers = 3, s.num_attention_heads = 2, s.intermediate_size = 24, s.num_experts = E, s.moe_intermediate_size = 12;
    s.layers = "dense,sparse*2", s.router = "topk:top_k=2", s.max_position_embeddings = 32, s.initializer_range = 0.4;
    sy_expect_ok(sy_model_new(&m, &eng, &s, 0, 3, err));
    sy_data *d[] = { text_of(tok, "task", "%d+%d\n"), text_of(tok, "general", "No number %d, no sum %d here.\n") };
    sy_expect_ok(sy_steering_measure(&got, m, d[0], d[1], 4, NULL, NULL, &a, err));
    assert_int_equal(got.layers, 2);
    assert_int_equal(got.cols, E);
    for (int side = 0; side < 2; side++) {
        double f[2 * E] = { 0 };
        struct count c = { f, m, 0 };
        sy_evaluation e;
        sy_expect_ok(sy_evaluate(m, d[side], 3, &(sy_eval_hooks){ .seen = seen, .arg = &c }, &e, &a, err));
        for (int i = 0; i < 2 * E; i++) sy_expect_near("frequency", (side ? got.general : got.task)[i], f[i] / (double)c.tokens, 1e-12, 0);
        sy_data_close(d[side]);
    }
    for (int l = 0; l < 2; l++) assert_int_equal(got.layer[l], l + 1);
    sy_model_free(m);
    sy_tokenizer_close(tok);
    sy_engine_uninit(&eng);
    sy_arena_free(&a);
}

static void choices(void **state)
{
    (void)state;
    int layer[] = { 1, 3, 5, 7, 9, 11 };                     /* the middle third: layers 5 and 7 */
    double task[6 * E], general[6 * E];
    sy_steering s = { 6, E, layer, task, general };
    static const double up[6][E] = { { 0.5, 0, 0, 0 }, { 0, 0.4, 0, 0 }, { 0.35, -0.4, 0.1, 0.5 }, { 0.3, 0.2, -0.25, 0.3 }, { 0.9, 0, 0, 0 }, { 0, 0, 0, 0.9 } };
    for (int i = 0; i < 6 * E; i++) general[i] = 0.5, task[i] = 0.5 + up[i / E][i % E];
    static const struct { const char *what, *want; sy_steering_options o; int most; } cases[] = {
        { "tau 0.29, middle third",      "5.0+5.3+7.0+7.3",            { .tau = 0.29 }, 0 },
        { "down, too",                   "5.0+5.-1+5.3+7.0+7.3",       { .tau = 0.29, .down = true }, 0 },
        { "the best of each layer",      "5.3+7.0",                    { .tau = 0.29, .count = 1 }, 0 },
        { "at most one above others",    "5.3+7.0",                    { .tau = 0.29 }, 1 },
        { "three, and no negative ones", "5.0+5.2+5.3+7.0+7.1+7.3",    { .count = 3 }, 0 },
        { "layers given",                "1.0+3.1",                    { .tau = 0.39, .first_layer = 0, .last_layer = 3 }, 0 },
        { "none",                        "",                           { .tau = 0.95 }, 0 },
    };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_buf b = { 0 };
        sy_test_case("%s", cases[i].what);
        sy_expect_ok(sy_steering_choose(&s, &cases[i].o, cases[i].most, &b, err));
        assert_string_equal(b.data, cases[i].want);
        sy_buf_free(&b);
    }
    sy_err e = { 0 }, *err = &e;
    sy_buf b = { 0 };
    sy_expect_fail(sy_steering_choose(&s, &(sy_steering_options){ .first_layer = 5, .last_layer = 2 }, 0, &b, err), SY_EARG, "lies behind");
    sy_buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(frequencies), cmocka_unit_test(choices) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
