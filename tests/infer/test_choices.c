/* tests/infer/test_choices.c - questions with given answers. Oracle: the same ln p token by token through a cache, softmax in long double. */
#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/file.h"
#include "infer/choices.h"
#include "infer/generate.h"
#include "methods.h"

static sy_engine eng;
static sy_tokenizer *tok;
static sy_model *model;

static int setup(void **state)
{
    sy_spec s;
    (void)state;
    sy_expect_ok(sy_engine_init(&eng, 2, NULL, &sy_builtin_methods, err));
    sy_expect_ok(sy_tokenizer_open_bytes(&tok, true, err));
    sy_spec_defaults(&s);
    s.vocab_size = 257, s.hidden_size = 32, s.num_hidden_layers = 2, s.num_attention_heads = 2, s.intermediate_size = 48, s.num_experts = 4;
    s.layers = "dense,sparse", s.router = "topk:top_k=2", s.max_position_embeddings = 40, s.initializer_range = 0.3;
    sy_expect_ok(sy_model_new(&model, &eng, &s, 0, 3, err));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sy_model_free(model);
    sy_tokenizer_close(tok);
    sy_engine_uninit(&eng);
    return 0;
}

static double slow(const char *prompt, const char *choice)
{
    sy_generator g;
    long double sum = 0;
    int eot = 256;
    sy_expect_ok(sy_generator_open(&g, model, tok, 40, err));
    if (!*prompt) sy_expect_ok(sy_generator_feed(&g, &eot, 1, NULL, err));
    for (const char *c = prompt; *c; c++) sy_expect_ok(sy_generator_feed(&g, &(int){ (unsigned char)*c }, 1, NULL, err));
    for (const char *c = choice; *c; c++) {
        long double z = 0, top = g.logits[0];
        for (int v = 0; v < 257; v++) if (g.logits[v] > top) top = g.logits[v];
        for (int v = 0; v < 257; v++) z += expl(g.logits[v] - top);
        sum += g.logits[(unsigned char)*c] - top - logl(z);
        sy_expect_ok(sy_generator_feed(&g, &(int){ (unsigned char)*c }, 1, NULL, err));
    }
    sy_generator_close(&g);
    return (double)sum;
}

static void test_scores(void **state)
{
    (void)state;
    static const char *const a[] = { " four", " 5", " forty-two" }, *const b[] = { "x", "yz" };
    static const sy_question q[] = { { "two and two is", a, 3, 0, 1 }, { "", b, 2, 1, 2 }, { "p", b, 2, 0, 3 } };
    sy_tape t;
    sy_tape_init(&t, &eng, false);
    for (size_t i = 0; i < SY_COUNT(q); i++) {
        double logp[3];
        sy_test_case("prompt '%s'", q[i].prompt);
        sy_expect_ok(sy_choices_score(model, tok, &q[i], &t, logp, err));
        for (int c = 0; c < q[i].n; c++) sy_expect_near("ln p", logp[c], slow(q[i].prompt, q[i].choice[c]), 1e-5, 1e-5);
    }
    sy_tape_free(&t);
}

/* Accuracies, chance and nats of a whole file against scores one by one. */
static void test_file(void **state)
{
    (void)state;
    char path[400];
    static const char text[] = "{\"prompt\":\"ab\",\"choices\":[\"c\",\"cdefghij\"],\"answer\":1}\n\n"
                               "{\"prompt\":\"q\",\"choices\":[\"zz\",\"y\",\"xxx\",\"w\"],\"answer\":3,\"id\":\"other keys are fine\"}\r\n"
                               "{\"prompt\":\"\",\"choices\":[\"k\",\"kk\"],\"answer\":0}";
    sy_arena a = { 0 };
    sy_questions all;
    sy_choices_result r;
    int right = 0, per_byte = 0;
    double nats = 0;
    snprintf(path, sizeof path, "%s/q.jsonl", sy_test_dir());
    sy_expect_ok(sy_file_write(path, text, strlen(text), err));
    sy_expect_ok(sy_choices_read(&all, path, &a, err));
    assert_int_equal(all.n, 3);
    assert_int_equal(all.q[1].line, 3);
    for (int i = 0; i < all.n; i++) {
        const sy_question *q = &all.q[i];
        int best = 0, best_b = 0;
        for (int c = 1; c < q->n; c++) {
            if (slow(q->prompt, q->choice[c]) > slow(q->prompt, q->choice[best])) best = c;
            if (slow(q->prompt, q->choice[c]) / (double)strlen(q->choice[c]) > slow(q->prompt, q->choice[best_b]) / (double)strlen(q->choice[best_b])) best_b = c;
        }
        right += best == q->answer;
        per_byte += best_b == q->answer;
        nats -= slow(q->prompt, q->choice[q->answer]) / all.n;
    }
    sy_expect_ok(sy_choices_run(model, tok, &all, NULL, NULL, &r, err));
    assert_int_equal(r.n, 3);
    assert_int_equal(r.right, right);
    assert_int_equal(r.right_per_byte, per_byte);
    sy_expect_near("chance", r.chance, (0.5 + 0.25 + 0.5) / 3, 1e-12, 0);
    sy_expect_near("nats", r.nats, nats, 1e-5, 1e-5);
    sy_arena_free(&a);
}

static void test_bad_files(void **state)
{
    (void)state;
    static const struct { const char *text, *says; } cases[] = {
        { "", "holds no question" }, { "\n \n", "holds no question" },
        { "{\"prompt\":\"a\",\"choices\":[\"b\",\"c\"],\"answer\":0}\n{broken", "line 2" },
        { "[1]", "line 1 is no object" },
        { "{\"choices\":[\"b\",\"c\"],\"answer\":0}", "prompt" },
        { "{\"prompt\":3,\"choices\":[\"b\",\"c\"],\"answer\":0}", "prompt" },
        { "{\"prompt\":\"a\",\"choices\":[\"b\"],\"answer\":0}", "2 to 64" },
        { "{\"prompt\":\"a\",\"choices\":\"b\",\"answer\":0}", "2 to 64" },
        { "{\"prompt\":\"a\",\"choices\":[\"b\",\"\"],\"answer\":0}", "choice 1 is empty" },
        { "{\"prompt\":\"a\",\"choices\":[\"b\",7],\"answer\":0}", "choice 1 is no text" },
        { "{\"prompt\":\"a\",\"choices\":[\"b\",\"c\"]}", "answer" },
        { "{\"prompt\":\"a\",\"choices\":[\"b\",\"c\"],\"answer\":2}", "answer" },
        { "{\"prompt\":\"a\",\"choices\":[\"b\",\"c\"],\"answer\":\"b\"}", "answer" },
    };
    char path[400];
    snprintf(path, sizeof path, "%s/bad.jsonl", sy_test_dir());
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_arena a = { 0 };
        sy_questions all;
        sy_err e = { 0 }, *err = &e;
        sy_test_case("%s", cases[i].text);
        sy_expect_ok(sy_file_write(path, cases[i].text, strlen(cases[i].text), err));
        sy_expect_fail(sy_choices_read(&all, path, &a, err), SY_EFORMAT, cases[i].says);
        assert_non_null(strstr(e.text, "bad.jsonl"));
        sy_arena_free(&a);
    }
}

static bool second(void *arg, int done) { (void)arg; return done < 2; }

static void test_refusals(void **state)
{
    (void)state;
    static const char *const a[] = { "b", "a choice that is far too long for the model" };
    sy_question q[] = { { "p", a, 1, 0, 1 }, { "p", a, 1, 0, 5 }, { "p", a, 2, 0, 7 } };
    sy_questions all = { "file", q, 3 };
    sy_choices_result r = { .n = -1 };
    sy_err e = { 0 }, *err = &e;
    sy_tokenizer *plain;
    sy_expect_fail(sy_choices_run(model, tok, &all, NULL, NULL, &r, err), SY_ESHAPE, "file line 7: prompt and choice 1 are 44 tokens together, the model takes 40");
    sy_expect_fail(sy_choices_run(model, tok, &all, second, NULL, &r, err), SY_ESTOP, "2 of 3");
    assert_int_equal(r.n, -1);
    sy_expect_ok(sy_tokenizer_open_bytes(&plain, false, err));
    q[0].prompt = "";
    sy_expect_fail(sy_choices_run(model, plain, &all, NULL, NULL, &r, err), SY_EUNSUP, "no end-of-document token");
    sy_tokenizer_close(plain);
}

static void test_without_memory(void **state)
{
    (void)state;
    static const char *const a[] = { "b", "cc" };
    static const char line[] = "{\"prompt\":\"a\",\"choices\":[\"b\",\"cc\"],\"answer\":0}";
    sy_question q = { "p", a, 2, 0, 1 };
    sy_questions all = { "file", &q, 1 }, read;
    sy_choices_result r;
    char path[400];
    snprintf(path, sizeof path, "%s/m.jsonl", sy_test_dir());
    sy_expect_ok(sy_file_write(path, line, strlen(line), err));
    for (int part = 0; part < 2; part++)
        for (uint64_t n = 1;; n++) {
            sy_arena arena = { 0 };
            sy_err e = { 0 };
            uint64_t before = sy_alloc_calls();
            sy_alloc_fail_at(n, 0);
            sy_status st = part ? sy_choices_read(&read, path, &arena, &e) : sy_choices_run(model, tok, &all, NULL, NULL, &r, &e);
            bool reached = sy_alloc_calls() - before >= n;
            sy_alloc_fail_at(0, 0);
            sy_arena_free(&arena);
            if (!reached) { assert_int_equal(st, SY_OK); break; }
            sy_test_case("allocation %llu of part %d: %s", (unsigned long long)n, part, e.text);
            sy_expect_near("status", st, SY_ENOMEM, 0, 0);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scores), cmocka_unit_test(test_file), cmocka_unit_test(test_bad_files), cmocka_unit_test(test_refusals), cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
