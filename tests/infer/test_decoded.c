/* tests/infer/test_decoded.c - held-out text through a decoding method. Oracle: sy_evaluate for the model alone where every token is counted, and a generator by hand. */
#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "data/evaluate.h"
#include "infer/decoded.h"
#include "methods.h"

static sy_engine eng;
static sy_tokenizer *tok;
static sy_data *data;
static sy_model *model;

static int setup(void **state)
{
    (void)state;
    char path[400];
    sy_buf t = { 0 };
    sy_data_options o;
    sy_spec s;
    sy_expect_ok(sy_engine_init(&eng, 1, NULL, &sy_builtin_methods, err));
    sy_expect_ok(sy_tokenizer_open_bytes(&tok, false, err));
    snprintf(path, sizeof path, "%s/text.txt", sy_test_dir());
    for (int i = 0; i < 9; i++) sy_buf_printf(&t, "Line %d of nothing new.\n", i);
    sy_expect_ok(sy_file_write(path, t.data, t.n, err));
    sy_buf_free(&t);
    sy_opt_defaults(sy_data_opts, &o);
    o.seq_len = 24;
    sy_expect_ok(sy_data_open(&data, &(sy_sources){ .eval = (const char *[]){ path }, .n_eval = 1 }, &o, tok, 1, err));
    sy_spec_defaults(&s);
    s.vocab_size = 256, s.hidden_size = 16, s.num_hidden_layers = 2, s.num_attention_heads = 2, s.intermediate_size = 24, s.num_experts = 4, s.moe_intermediate_size = 12;
    s.layers = "sparse", s.router = "topk:top_k=2", s.max_position_embeddings = 24, s.initializer_range = 0.4;
    sy_expect_ok(sy_model_new(&model, &eng, &s, 0, 3, err));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sy_model_free(model);
    sy_data_close(data);
    sy_tokenizer_close(tok);
    sy_engine_uninit(&eng);
    return 0;
}

/* With a prefix of one id every label is counted: the model alone has the loss of sy_evaluate, and a neutral method is the model alone. */
static void whole(void **state)
{
    (void)state;
    sy_arena a = { 0 };
    sy_evaluation e;
    sy_decoded d;
    sy_expect_ok(sy_evaluate(model, data, 2, NULL, &e, &a, err));
    sy_expect_ok(sy_decoded_run(&(sy_decoded_job){ .model = model, .data = data, .method = "scmoe:cd_alpha=0,cd_beta=0", .seq_len = 24, .prefix = 1 }, &d, err));
    int64_t tokens = e.line[e.lines - 1].tokens;
    assert_in_range(d.tokens, tokens - 1, tokens);                            /* a last window of one id is not longer than the prefix */
    if (d.tokens == tokens) sy_expect_near("nats", d.plain.nats, e.line[e.lines - 1].nats, 1e-3, 1e-5);
    assert_true(d.method.nats == d.plain.nats && d.method.hits == d.plain.hits && d.method.excluded == 0 && d.plain.excluded == 0);
    assert_true(d.method.madds == d.plain.madds && d.plain.madds > 0);
    sy_arena_free(&a);
}

/* Excluded ids have no nats and are counted; the rest is what a generator says. */
static void by_hand(void **state)
{
    (void)state;
    static const char method[] = "scmoe:alpha=0.03,beta=1,rank=3";
    sy_decoded d;
    sy_eval it;
    sy_batch b;
    sy_arena a = { 0 };
    bool more = true;
    double nats = 0;
    int64_t excluded = 0, hits = 0, tokens = 0;
    sy_generator g;
    sy_expect_ok(sy_decoded_run(&(sy_decoded_job){ .model = model, .data = data, .method = method, .seq_len = 24, .prefix = 10, .windows = 3 }, &d, err));
    sy_expect_ok(sy_generator_open(&g, model, NULL, 24, err));
    sy_expect_ok(sy_generator_decode(&g, method, err));
    sy_expect_ok(sy_eval_start(&it, data, 0, 1, err));
    for (int w = 0; w < 3; w++) {
        sy_expect_ok(sy_eval_next(&it, &a, &b, &more, err));
        assert_true(more && b.n_seg == 1);
        sy_generator_rewind(&g, 0);
        for (int i = 9; i < b.T; i++) {
            sy_expect_ok(sy_generator_feed(&g, b.id + (i == 9 ? 0 : i), i == 9 ? 10 : 1, NULL, err));
            if (b.label[i] < 0) continue;
            double sum = 0, most = -INFINITY;
            int best = 0;
            for (int v = 0; v < 256; v++) if ((double)g.logits[v] > most) most = (double)g.logits[best = v];
            for (int v = 0; v < 256; v++) sum += exp((double)g.logits[v] - most);
            if (isinf((double)g.logits[b.label[i]])) excluded++;
            else nats += most + log(sum) - (double)g.logits[b.label[i]];
            hits += best == b.label[i];
            tokens++;
        }
    }
    assert_true(excluded > 0 && excluded < tokens);
    assert_int_equal(d.windows, 3);
    assert_int_equal(d.tokens, tokens);
    assert_int_equal(d.method.excluded, excluded);
    assert_int_equal(d.method.hits, hits);
    sy_expect_near("nats", d.method.nats, nats, 1e-9, 1e-9);
    sy_expect_near("mean", sy_decoded_nats(&d, &d.method), nats / (double)(tokens - excluded), 1e-9, 1e-9);
    sy_generator_close(&g);
    sy_arena_free(&a);
}

static bool once(void *arg, const sy_decoded *d) { return (*(int64_t *)arg = d->windows) < 2; }

static void refusals(void **state)
{
    (void)state;
    sy_decoded d = { .windows = 77 };
    sy_err e = { 0 }, *err = &e;
    int64_t seen = 0;
    sy_expect_fail(sy_decoded_run(&(sy_decoded_job){ .model = model, .data = data, .method = "scmoe", .seq_len = 24, .prefix = 24 }, &d, err), SY_EARG, "give 1 .. 23");
    sy_expect_fail(sy_decoded_run(&(sy_decoded_job){ .model = model, .data = data, .method = "scmo", .seq_len = 24, .prefix = 5 }, &d, err), SY_ENOENT, "scmoe");
    sy_expect_fail(sy_decoded_run(&(sy_decoded_job){ .model = model, .data = data, .method = "scmoe", .seq_len = 24, .prefix = 5, .seen = once, .arg = &seen }, &d, err), SY_ESTOP, "after 2 windows");
    assert_int_equal(d.windows, 77);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(whole), cmocka_unit_test(by_hand), cmocka_unit_test(refusals) };
    return cmocka_run_group_tests(tests, setup, teardown);
}
