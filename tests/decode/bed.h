/* tests/decode/bed.h - a small mixture with a generator around it, and what every decoding method owes.
 *
 * decode_contract(): defaults are valid and every option reads back; out of its range it is refused; the neutral setting gives the model's logits bit for bit; the same reads after
 * a rewind give the same bits; weights keep theirs; reading one id allocates nothing once it is warm; the n-th allocation fails and a status comes back; a dense model is refused. */
#ifndef SY_TESTS_DECODE_BED_H
#define SY_TESTS_DECODE_BED_H

#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/random.h"
#include "infer/decode.h"
#include "methods.h"

enum { DECODE_V = 40, DECODE_ROOM = 48 };

static sy_engine decode_eng;

static int decode_engine(void **state)
{
    (void)state;
    sy_expect_ok(sy_engine_init(&decode_eng, 1, NULL, &sy_builtin_methods, err));
    return 0;
}

static int decode_engine_end(void **state)
{
    (void)state;
    sy_engine_uninit(&decode_eng);
    return 0;
}

/* Width 16, three layers, the last two sparse with 4 experts, 2 a token; `settings` change it. */
static inline sy_status decode_model_try(sy_model **m, const char *settings, unsigned how, sy_err *err)
{
    sy_spec s;
    sy_arena a = { 0 };
    sy_spec_defaults(&s);
    s.vocab_size = DECODE_V, s.hidden_size = 16, s.num_hidden_layers = 3, s.num_attention_heads = 2, s.num_key_value_heads = 1, s.intermediate_size = 24, s.moe_intermediate_size = 12;
    s.num_experts = 4, s.layers = "dense,sparse*2", s.router = "topk:top_k=2,norm_topk_prob=true", s.max_position_embeddings = DECODE_ROOM, s.initializer_range = 0.5;
    sy_status st = sy_opt_parse(sy_spec_opts, &s, settings, &a, NULL, err);
    if (st == SY_OK) st = sy_model_new(m, &decode_eng, &s, how, 3, err);
    sy_arena_free(&a);
    return st;
}

static inline sy_model *decode_model(const char *settings)
{
    sy_model *m = NULL;
    sy_err e;
    if (decode_model_try(&m, settings, 0, &e) != SY_OK) fail_msg("%s: %s", settings, e.text);
    return m;
}

static inline void decode_open(sy_generator *g, sy_model *m, const char *method)
{
    sy_expect_ok(sy_generator_open(g, m, NULL, DECODE_ROOM, err));
    if (method) sy_expect_ok(sy_generator_decode(g, method, err));
}

/* The n-th id of a text without end. */
static inline int decode_id(int i) { return (int)sy_draw_below(5, (uint64_t)i, 0, DECODE_V); }

/* Feeds ids from .. to-1 of that text in one read. */
static inline sy_status decode_feed(sy_generator *g, int from, int to, sy_err *err)
{
    int id[DECODE_ROOM];
    for (int i = from; i < to; i++) id[i - from] = decode_id(i);
    return sy_generator_feed(g, id, to - from, NULL, err);
}

/* Greedy ids after a prompt of `prompt` ids. */
static inline void decode_greedy(sy_model *m, const char *method, int prompt, int *out, int n)
{
    sy_generator g;
    decode_open(&g, m, method);
    sy_expect_ok(decode_feed(&g, 0, prompt, err));
    for (int i = 0; i < n; i++) {
        int best = 0;
        for (int v = 1; v < DECODE_V; v++) if (g.logits[v] > g.logits[best]) best = v;
        out[i] = best;
        sy_expect_ok(sy_generator_feed(&g, &best, 1, NULL, err));
    }
    sy_generator_close(&g);
}

typedef struct decode_contract { const char *key, *method, *neutral; const char *dense; } decode_contract;      /* dense: a piece of the sentence that refuses a dense model */

static inline void decode_option(const sy_opt *row, size_t at, int index, void *arg)
{
    const decode_contract *c = arg;
    sy_arena a = { 0 };
    sy_err e = { 0 }, *err = &e;
    const sy_method *m;
    void *s, *again;
    (void)at, (void)index;
    assert_true(row->help && strlen(row->help) > 5);
    char *text = row->type == SY_OPT_ENUM ? sy_arena_printf(&a, "%s:%s=%s", c->key, row->name, strrchr(row->text, '|') + 1)
                 : row->type == SY_OPT_BOOL ? sy_arena_printf(&a, "%s:%s=%s", c->key, row->name, row->def != 0 ? "false" : "true") : sy_arena_printf(&a, "%s:%s=%g", c->key, row->name, row->lo);
    sy_test_case("%s", text);
    sy_expect_ok(sy_method_make(&sy_builtin_methods, SY_DECODE, text, &a, &m, &s, err));
    char *all = sy_method_text(m, s, true, &a);
    sy_expect_ok(sy_method_make(&sy_builtin_methods, SY_DECODE, all, &a, &m, &again, err));
    assert_string_equal(sy_method_text(m, again, true, &a), all);
    if (row->type == SY_OPT_INT || row->type == SY_OPT_REAL) {
        text = sy_arena_printf(&a, "%s:%s=%.0f", c->key, row->name, row->hi * 4 + 4);
        sy_test_case("%s", text);
        sy_expect_fail(sy_method_make(&sy_builtin_methods, SY_DECODE, text, &a, &m, &s, err), SY_EARG, row->name);
    }
    sy_arena_free(&a);
}

static inline void decode_contract_options(const decode_contract *c)
{
    const sy_method *m;
    const sy_preset *preset;
    sy_expect_ok(sy_method_find(&sy_builtin_methods, SY_DECODE, c->key, &m, &preset, err));
    assert_true(m->summary && strlen(m->summary) > 30 && m->when && m->cost && m->example && m->paper);
    assert_string_equal(m->neutral, c->neutral);
    sy_opt_each(m->opts, decode_option, (void *)c);
    sy_generator g;
    sy_err e = { 0 }, *err = &e;
    sy_test_case("%s: a dense model", c->key);
    sy_model *dense = decode_model("layers=dense");
    decode_open(&g, dense, NULL);
    sy_expect_fail(sy_generator_decode(&g, c->method, err), SY_EUNSUP, c->dense);
    sy_generator_close(&g);
    sy_model_free(dense);
}

static inline void decode_contract_neutral(const decode_contract *c)
{
    sy_arena a = { 0 };
    sy_generator plain, g;
    sy_model *m = decode_model("");
    sy_test_case("%s:%s is the model alone", c->key, c->neutral);
    decode_open(&plain, m, NULL);
    decode_open(&g, m, sy_arena_printf(&a, "%s:%s", c->key, c->neutral));
    for (int at = 0; at < 20; at += at ? 1 : 7) {
        sy_expect_ok(decode_feed(&plain, at, at ? at + 1 : 7, err));
        sy_expect_ok(decode_feed(&g, at, at ? at + 1 : 7, err));
        sy_expect_same("scores", g.logits, plain.logits, DECODE_V * sizeof(sy_real));
    }
    sy_generator_close(&plain), sy_generator_close(&g);
    sy_model_free(m);
    sy_arena_free(&a);
}

static inline void decode_contract_again(const decode_contract *c)
{
    sy_generator g;
    sy_model *m = decode_model("");
    sy_real first[DECODE_V], **old = calloc((size_t)m->params.n, sizeof *old);
    for (int i = 0; i < m->params.n; i++) {
        old[i] = malloc(m->params.p[i]->n * sizeof(sy_real));
        memcpy(old[i], m->params.p[i]->w.data, m->params.p[i]->n * sizeof(sy_real));
    }
    sy_test_case("%s: the same reads after a rewind; weights keep their bits", c->method);
    decode_open(&g, m, c->method);
    for (int turn = 0; turn < 2; turn++) {
        sy_expect_ok(decode_feed(&g, 0, 9, err));
        for (int i = 9; i < 16; i++) sy_expect_ok(decode_feed(&g, i, i + 1, err));
        if (turn) sy_expect_same("scores", g.logits, first, sizeof first);
        else memcpy(first, g.logits, sizeof first);
        sy_generator_rewind(&g, 0);
    }
    for (int i = 0; i < m->params.n; i++) {
        sy_expect_same(m->params.p[i]->name, m->params.p[i]->w.data, old[i], m->params.p[i]->n * sizeof(sy_real));
        free(old[i]);
    }
    free(old);
    sy_generator_close(&g);
    sy_model_free(m);
}

static inline sy_status decode_life(sy_generator *g, sy_model *m, const char *method, sy_err *err)
{
    SY_TRY(sy_generator_open(g, m, NULL, DECODE_ROOM, err));
    SY_TRY(sy_generator_decode(g, method, err));
    SY_TRY(decode_feed(g, 0, 6, err));
    for (int i = 6; i < 12; i++) SY_TRY(decode_feed(g, i, i + 1, err));
    return SY_OK;
}

static inline void decode_contract_memory(const decode_contract *c)
{
    sy_generator g;
    sy_model *m = decode_model("");
    uint64_t n = 1, calls;
    for (sy_status st = SY_ENOMEM; st != SY_OK; n++) {
        sy_err e = { 0 };
        sy_test_case("%s, allocation %d fails", c->method, (int)n);
        sy_alloc_fail_at(n, 1);
        st = decode_life(&g, m, c->method, &e);
        sy_alloc_fail_at(0, 0);
        if (st != SY_OK) assert_int_equal(st, SY_ENOMEM);
        if (g.model) sy_generator_close(&g);
        assert_true(n < 500);
    }
    assert_true(n > 5);
    sy_test_case("%s: reading an id allocates nothing once it is warm", c->method);
    sy_expect_ok(decode_life(&g, m, c->method, err));
    calls = sy_alloc_calls();
    for (int i = 12; i < 20; i++) sy_expect_ok(decode_feed(&g, i, i + 1, err));
    assert_int_equal(sy_alloc_calls(), calls);
    sy_generator_close(&g);
    sy_model_free(m);
}

static inline void decode_contract_run(const decode_contract *c)
{
    decode_contract_options(c);
    decode_contract_neutral(c);
    decode_contract_again(c);
    decode_contract_memory(c);
}

#endif
