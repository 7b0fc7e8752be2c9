/* tests/infer/test_routing.c - routing.json of a report. Oracle: routes of the held-out text, window by window, counted here. */
#include "testing.h"

#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/file.h"
#include "core/json.h"
#include "infer/routing.h"
#include "methods.h"

enum { E = 4, K = 2, V = 256 };

static sy_engine eng;
static sy_tokenizer *tok;
static sy_data *data;
static char dir[300];

static int setup(void **state)
{
    (void)state;
    char a[400], b[400];
    sy_buf t = { 0 };
    sy_expect_ok(sy_engine_init(&eng, 2, NULL, &sy_builtin_methods, err));
    sy_expect_ok(sy_tokenizer_open_bytes(&tok, false, err));
    snprintf(dir, sizeof dir, "%s", sy_test_dir());
    snprintf(a, sizeof a, "%s/prose.txt", dir);
    snprintf(b, sizeof b, "%s/code.txt", dir);
    for (int i = 0; i < 30; i++) sy_buf_printf(&t, "Sentence %d says nothing new.\n", i);
    sy_expect_ok(sy_file_write(a, t.data, t.n, err));
    sy_buf_clear(&t);
    for (int i = 0; i < 20; i++) sy_buf_printf(&t, "int f%d(void) { return %d; }\n", i, i * i);
    sy_expect_ok(sy_file_write(b, t.data, t.n, err));
    sy_buf_free(&t);
    sy_data_options o;
    sy_opt_defaults(sy_data_opts, &o);
    o.seq_len = 32;
    sy_expect_ok(sy_data_open(&data, &(sy_sources){ .eval = (const char *[]){ a, b }, .n_eval = 2 }, &o, tok, 1, err));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sy_data_close(data);
    sy_tokenizer_close(tok);
    sy_engine_uninit(&eng);
    return 0;
}

static sy_model *model_of(const char *layers)
{
    sy_spec s;
    sy_model *m;
    sy_spec_defaults(&s);
    s.vocab_size = V, s.hidden_size = 32, s.num_hidden_layers = 2, s.num_attention_heads = 2, s.intermediate_size = 48, s.num_experts = E;
    s.layers = layers, s.router = "topk:top_k=2", s.max_position_embeddings = 48, s.initializer_range = 0.3;
    sy_expect_ok(sy_model_new(&m, &eng, &s, 0, 3, err));
    return m;
}

static json_t *written(sy_model *m, const sy_routing_options *o)
{
    char path[400];
    json_t *v;
    snprintf(path, sizeof path, "%s/routing.json", dir);
    sy_expect_ok(sy_routing_write(m, data, tok, o, path, err));
    sy_expect_ok(sy_json_read(&v, path, 1 << 24, err));
    return v;
}

static int64_t at(const json_t *list, int i) { return (int64_t)json_integer_value(json_array_get(list, (size_t)i)); }

/* load[domain][expert] and by_token[expert][id], one window after the other. */
static void count(sy_model *m, int64_t load[2][E], int64_t by_token[E][V])
{
    sy_tape t;
    sy_tape_init(&t, &eng, false);
    for (int d = 0; d < 2; d++) {
        sy_eval it;
        bool more = true;
        sy_expect_ok(sy_eval_start(&it, data, d, 1, err));
        for (;;) {
            sy_batch b;
            sy_route *route[1] = { 0 };
            sy_tape_reset(&t);
            sy_expect_ok(sy_eval_next(&it, &t.arena, &b, &more, err));
            if (!more) break;
            sy_run run = { .mode = SY_SERVE, .routes = route };
            sy_model_hidden(m, &t, &b, &run);
            sy_expect_ok(sy_tape_status(&t, err));
            for (int i = 0; i < b.T; i++)
                for (int s = route[0]->first_slot[i]; s < route[0]->first_slot[i + 1]; s++) {
                    load[d][route[0]->expert[s]]++;
                    by_token[route[0]->expert[s]][b.id[i]]++;
                }
        }
    }
    sy_tape_free(&t);
}

static void test_counts(void **state)
{
    (void)state;
    static int64_t load[2][E], by_token[E][V];
    sy_model *m = model_of("dense,sparse");
    sy_routing_options o = { .rows = 5, .top_tokens = 6, .sentence = "int main" };
    count(m, load, by_token);
    json_t *v = written(m, &o), *layer = json_array_get(json_object_get(v, "layers"), 0);
    assert_int_equal(json_array_size(json_object_get(v, "layers")), 1);
    assert_int_equal(json_integer_value(json_object_get(layer, "layer")), 1);
    assert_string_equal(json_string_value(json_array_get(json_object_get(v, "domains"), 0)), "prose");
    for (int e = 0; e < E; e++) {
        sy_test_case("expert %d", e);
        sy_expect_near("load", (double)at(json_object_get(layer, "load"), e), (double)(load[0][e] + load[1][e]), 0, 0);
        for (int d = 0; d < 2; d++) sy_expect_near("load of a domain", (double)at(json_array_get(json_object_get(layer, "by_domain"), (size_t)d), e), (double)load[d][e], 0, 0);
        const json_t *top = json_array_get(json_object_get(layer, "top_tokens"), (size_t)e);
        int64_t before = INT64_MAX;
        for (size_t i = 0; i < json_array_size(top); i++) {
            const json_t *x = json_array_get(top, i);
            int64_t n = (int64_t)json_integer_value(json_object_get(x, "count")), largest = 0;
            for (int id = 0; id < V; id++) if (by_token[e][id] > largest) largest = by_token[e][id];
            if (!i) sy_expect_near("most frequent", (double)n, (double)largest, 0, 0);
            assert_true(n <= before);
            before = n;
            unsigned char id = (unsigned char)json_string_value(json_object_get(x, "token"))[0];
            sy_expect_near("count of the token", (double)n, (double)by_token[e][id], 0, 0);
            sy_expect_near("share", json_real_value(json_object_get(x, "share")), (double)n / (double)(load[0][e] + load[1][e]), 1e-12, 0);
        }
    }
    json_decref(v);
    sy_model_free(m);
}

static void test_sentence(void **state)
{
    (void)state;
    sy_model *m = model_of("sparse");
    char text[200];
    memset(text, 'x', sizeof text);                  /* longer than the model takes: its beginning is shown */
    text[199] = 0;
    const char *const sentences[] = { "int main", text };
    const size_t shown[] = { 8, 48 };
    for (int c = 0; c < 2; c++) {
        sy_routing_options o = { .rows = 5, .top_tokens = 3, .sentence = sentences[c] };
        json_t *v = written(m, &o), *s = json_object_get(v, "sentence"), *layers = json_object_get(s, "layers"), *next = json_object_get(s, "next");
        assert_int_equal(json_array_size(json_object_get(s, "tokens")), shown[c]);
        assert_int_equal(json_array_size(layers), 2);
        assert_int_equal(json_array_size(next), shown[c]);
        for (size_t i = 0; i < shown[c]; i++) {
            const json_t *slot = json_array_get(json_array_get(layers, 1), i), *table = json_array_get(next, i);
            assert_int_equal(json_array_size(json_object_get(slot, "experts")), K);
            assert_int_equal(json_array_size(json_object_get(slot, "weights")), K);
            double sum = 0, before = 1;
            for (size_t k = 0; k < json_array_size(table); k++) {
                double p = json_real_value(json_object_get(json_array_get(table, k), "p"));
                assert_true(p > 0 && p <= before);
                sum += before = p;
            }
            assert_true(json_array_size(table) == 5 && sum <= 1 + 1e-6);
        }
        json_decref(v);
    }
    sy_model_free(m);
}

static bool always(void *arg) { (void)arg; return true; }

static void test_dense_stop_and_memory(void **state)
{
    (void)state;
    char path[400];
    sy_err e = { 0 }, *err = &e;
    sy_model *m = model_of("dense");
    sy_routing_options o = { .rows = 5, .top_tokens = 3 };
    json_t *v = written(m, &o);
    assert_int_equal(json_array_size(json_object_get(v, "layers")), 0);
    json_decref(v);
    sy_model_free(m);
    m = model_of("dense,sparse");
    o.sentence = "ab";
    snprintf(path, sizeof path, "%s/none.json", dir);
    o.stop = always;
    sy_expect_fail(sy_routing_write(m, data, tok, &o, path, err), SY_ESTOP, "stopped");
    o.stop = NULL;
    for (uint64_t n = 1;; n++) {
        uint64_t before = sy_alloc_calls();
        sy_alloc_fail_at(n, 1);
        sy_status st = sy_routing_write(m, data, tok, &o, path, err);
        bool reached = sy_alloc_calls() - before >= n;
        sy_alloc_fail_at(0, 0);
        if (!reached) { assert_int_equal(st, SY_OK); break; }
        sy_test_case("allocation %llu and all that follow", (unsigned long long)n);
        sy_expect_near("status", st, SY_ENOMEM, 0, 0);
        assert_false(sy_file_exists(path));
    }
    sy_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_counts), cmocka_unit_test(test_sentence), cmocka_unit_test(test_dense_stop_and_memory) };
    return cmocka_run_group_tests(tests, setup, teardown);
}
