/* tests/infer/test_logits.c - logits of given ids, traces, dumps and their comparison. Oracle: the generator's logits and routes, one token at a time. */
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "infer/generate.h"
#include "infer/logits.h"
#include "methods.h"
#include "model/family.h"
#include "model/safetensors.h"

enum { V = 23, T = 9 };

static sy_engine eng;
static sy_model *model;
static const int id[T] = { 3, 1, 4, 1, 5, 9, 2, 6, 5 };

static int setup(void **state)
{
    sy_spec s;
    (void)state;
    sy_expect_ok(sy_engine_init(&eng, 2, NULL, &sy_builtin_methods, err));
    sy_spec_defaults(&s);
    s.vocab_size = V, s.hidden_size = 16, s.num_hidden_layers = 3, s.num_attention_heads = 2, s.intermediate_size = 24, s.num_experts = 5;
    s.layers = "dense,sparse,sparse", s.router = "topk:top_k=2", s.max_position_embeddings = 16, s.initializer_range = 0.5;
    sy_expect_ok(sy_model_new(&model, &eng, &s, 0, 3, err));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sy_model_free(model);
    sy_engine_uninit(&eng);
    return 0;
}

static const char *path_of(const char *name)
{
    static char path[2][512];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", sy_test_dir(), name);
    return path[turn];
}

static void logits_and_routes_do_not_depend_on_the_prefill(void **state)
{
    (void)state;
    static sy_real want[T * V];
    static float got[T * V];
    int experts[2][T][2];
    float weights[2][T][2];
    sy_generator g;
    sy_expect_ok(sy_generator_open(&g, model, NULL, T, err));
    for (int i = 0; i < T; i++) {
        sy_expect_ok(sy_generator_feed(&g, &id[i], 1, NULL, err));
        memcpy(want + i * V, g.logits, V * sizeof *want);
        for (int l = 0; l < 2; l++)
            for (int k = 0; k < 2; k++) experts[l][i][k] = g.routes[l]->expert[k], weights[l][i][k] = (float)g.routes[l]->weight->x[k];
    }
    sy_generator_close(&g);
    for (int prefill = 1; prefill <= T; prefill += 4) {
        sy_trace trace;
        int32_t e[2 * T * 2];
        float w[2 * T * 2];
        sy_test_case("prefill %d", prefill);
        sy_expect_ok(sy_trace_open(&trace, model, err));
        sy_expect_ok(sy_logits_run(&(sy_logits_job){ .model = model, .id = id, .T = T, .prefill = prefill, .trace = &trace }, got, err));
        for (int i = 0; i < T * V; i++) assert_true(got[i] == (float)want[i]);       /* the same bits */
        assert_int_equal(trace.K, 2);
        assert_int_equal(trace.n, T);
        sy_trace_experts(&trace, -1, e);
        sy_trace_weights(&trace, w);
        sy_expect_ids("experts", e, &experts[0][0][0], 2 * T * 2);
        sy_expect_same("weights", w, weights, sizeof w);
        sy_trace_close(&trace);
    }
}

static void a_trace_is_a_file(void **state)
{
    (void)state;
    static float got[T * V];
    sy_trace trace;
    sy_map map;
    sy_st st;
    sy_arena a = { 0 };
    const char *path = path_of("trace.safetensors");
    sy_expect_ok(sy_trace_open(&trace, model, err));
    sy_expect_ok(sy_logits_run(&(sy_logits_job){ .model = model, .id = id, .T = T, .prefill = T, .trace = &trace }, got, err));
    sy_expect_ok(sy_trace_write(&trace, path, err));
    sy_expect_ok(sy_map_open(&map, path, err));
    sy_expect_ok(sy_st_parse(&st, map.data, map.size, path, &a, err));
    assert_int_equal(st.n, 6);
    const sy_st_tensor *e = sy_st_find(&st, "experts"), *w = sy_st_find(&st, "weights"), *pos = sy_st_find(&st, "pos"), *ids = sy_st_find(&st, "id");
    assert_true(e && w && pos && ids && e->type == SY_DT_U16 && w->type == SY_DT_F16 && pos->type == SY_DT_I32);
    assert_true(e->nd == 3 && e->dim[0] == 2 && e->dim[1] == T && e->dim[2] == 2);
    assert_string_equal(sy_st_meta(&st, "layers"), "1 2");
    for (int i = 0; i < T; i++) {
        float at[2], sum[2];
        sy_expect_ok(sy_st_read_f32(pos, (size_t)i, 1, at, err));
        sy_expect_ok(sy_st_read_f32(ids, (size_t)i, 1, at + 1, err));
        assert_true(at[0] == i && at[1] == id[i]);
        sy_expect_ok(sy_st_read_f32(w, (size_t)i * 2, 2, sum, err));
        assert_true(sum[0] >= sum[1] && sum[1] > 0);
    }
    sy_map_close(&map);
    sy_arena_free(&a);
    sy_trace_close(&trace);
}

static void dump(const char *pattern, int prefill, const char *path)
{
    static float got[T * V];
    sy_dumper d;
    sy_dumper_open(&d, model, pattern);
    sy_expect_ok(sy_logits_run(&(sy_logits_job){ .model = model, .id = id, .T = T, .prefill = prefill, .dump = &d }, got, err));
    sy_expect_ok(sy_dumper_write(&d, path, err));
    sy_dumper_close(&d);
}

static void inner_tensors_are_written_and_compared(void **state)
{
    (void)state;
    char a[512], b[512];
    sy_difference d;
    sy_err sentence = { 0 }, *err = &sentence;
    snprintf(a, sizeof a, "%s", path_of("a.safetensors"));
    snprintf(b, sizeof b, "%s", path_of("b.safetensors"));
    dump("*", T, a);
    dump("*", 2, b);
    sy_expect_ok(sy_dump_compare(a, b, 0, 0, &d, err));
    assert_null(d.why);
    /* embedding, norm, head; a layer: itself, norms, attention with q k v, context and o, mlp; the dense one's gate, up, act and down, the sparse ones' gate and experts */
    assert_int_equal(d.same, 3 + 3 * (1 + 2 + 6 + 1) + 4 + 2 * 2);
    sy_real *w = model->layer[1].q->w.data, old = w[3];
    w[3] += 1;
    dump("*", T, b);
    w[3] = old;
    sy_expect_ok(sy_dump_compare(a, b, 1e-6, 0, &d, err));
    assert_string_equal(d.name, "model.layers.1.self_attn.q_proj");
    assert_string_equal(d.why, "values");
    assert_true(d.differing > 0 && d.most > 0 && d.a != d.b);
    dump("model.layers.1.*layernorm", T, b);
    sy_expect_ok(sy_dump_compare(b, a, 0, 0, &d, err));
    assert_string_equal(d.why, "only in the second file");
    sy_dumper none;
    sy_dumper_open(&none, model, "model.layer.*");
    sy_expect_fail(sy_dumper_write(&none, b, err), SY_ENOENT, "no tensor is called 'model.layer.*'");
    sy_dumper_close(&none);
}

/* A file of a dump, read whole. */
typedef struct dumped { sy_map map; sy_st st; sy_arena a; } dumped;

static const float *dumped_open(dumped *d, const char *path, const char *name, int64_t cols)
{
    memset(d, 0, sizeof *d);
    sy_expect_ok(sy_map_open(&d->map, path, err));
    sy_expect_ok(sy_st_parse(&d->st, d->map.data, d->map.size, path, &d->a, err));
    const sy_st_tensor *t = sy_st_find(&d->st, name);
    if (!t) fail_msg("%s has no %s", path, name);
    assert_true(t->type == SY_DT_F32 && t->nd == 2 && t->dim[0] == T && t->dim[1] == cols);
    float *x = sy_arena_array(&d->a, t->n, sizeof *x);
    sy_expect_ok(sy_st_read_f32(t, 0, t->n, x, err));
    return x;
}

static void dumped_close(dumped *d)
{
    sy_map_close(&d->map);
    sy_arena_free(&d->a);
}

/* Names are those of the family's modules in transformers; queries, keys and values that a family has in one product stand in one tensor. */
static void inner_tensors_have_the_names_of_the_family(void **state)
{
    static const struct { const char *family, *own, *theirs[3]; } cases[] = {
        { NULL, "model.layers.0.mlp.gate", { "model.layers.0.mlp.gate" } },
        { "llama", "model.layers.10.self_attn.q_proj", { "model.layers.10.self_attn.q_proj" } },
        { "gpt2", "model.embed_positions", { "transformer.wpe" } },
        { "gpt2", "model.layers.10", { "transformer.h.10" } },
        { "gpt2", "model.layers.10.mlp", { "transformer.h.10.mlp" } },
        { "gpt2", "model.layers.10.input_layernorm", { "transformer.h.10.ln_1" } },
        { "gpt2", "lm_head", { "lm_head" } },
        { "deepseek_v2", "model.layers.3.mlp.shared_expert.up_proj", { "model.layers.3.mlp.shared_experts.up_proj" } },
        { "qwen2_moe", "model.layers.3.mlp.shared_expert_gate", { "model.layers.3.mlp.shared_expert_gate" } },
        { "deepseek_v2", "model.layers.3.mlp.shared_expert_gate", { "model.layers.3.mlp.shared_expert_gate" } },
        { "granitemoe", "model.layers.3.mlp.gate", { "model.layers.3.block_sparse_moe.router" } },
        { "granitemoe", "model.layers.3.mlp.experts", { "model.layers.3.block_sparse_moe.experts" } },
        { "bert", "model.layers.3.mlp", { NULL } },
        { "bert", "model.layers.3.input_layernorm", { "encoder.layer.3.attention.output.LayerNorm", "encoder.layer.3.attention.output", "encoder.layer.3.attention" } },
    };
    static const struct { const char *family, *name; bool heads; } products[] = { { "gpt2", "transformer.h.1.attn.c_attn", false }, { "gpt_neox", "gpt_neox.layers.1.attention.query_key_value", true } };
    (void)state;
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_module_name got[SY_MODULE_NAMES];
        sy_test_case("%s, %s", cases[i].family ? cases[i].family : "an own model", cases[i].own);
        int n = sy_family_modules(cases[i].family ? sy_family_find(cases[i].family) : NULL, cases[i].own, got);
        for (int k = 0; k < 3; k++) {
            assert_true((k < n) == (cases[i].theirs[k] != NULL));
            if (k < n) assert_string_equal(got[k].name, cases[i].theirs[k]);
        }
    }
    enum { D = 16, HD = 8 };
    for (size_t i = 0; i < SY_COUNT(products); i++) {
        char whole[512], parts[512];
        dumped w, p;
        sy_test_case("%s", products[i].name);
        snprintf(whole, sizeof whole, "%s", path_of("whole.safetensors"));
        snprintf(parts, sizeof parts, "%s", path_of("parts.safetensors"));
        dump("*", 4, parts);
        model->family = sy_family_find(products[i].family);
        dump("*", 4, whole);
        model->family = NULL;
        const float *x = dumped_open(&w, whole, products[i].name, 3 * D);
        for (int k = 0; k < 3; k++) {
            char name[64];
            snprintf(name, sizeof name, "model.layers.1.self_attn.%c_proj", "qkv"[k]);
            const float *y = dumped_open(&p, parts, name, D);
            for (int t = 0; t < T; t++)
                for (int c = 0; c < D; c++) assert_true(x[t * 3 * D + (products[i].heads ? (c / HD * 3 + k) * HD + c % HD : k * D + c)] == y[t * D + c]);
            dumped_close(&p);
        }
        dumped_close(&w);
    }
}

static const struct { const char *text, *part; } bad[] = {
    { "", "is empty" }, { " \n", "holds no ids" }, { "1 2\nx", "line 2: 'x' is no id" }, { "1 -2", "'-2' is no id" }, { "23", "id 23; this model has the ids 0 to 22" },
    { "99999999999999999999", "this model has the ids" }, { "1.5", "'.5' is no id" },
};

static void ids_are_read(void **state)
{
    (void)state;
    sy_arena a = { 0 };
    sy_err sentence = { 0 }, *err = &sentence;
    int *got, n;
    const char *path = path_of("ids.txt");
    sy_expect_ok(sy_file_write(path, "[3, 1,\n 22]\n", 12, err));
    sy_expect_ok(sy_ids_read(path, V, &a, &got, &n, err));
    assert_true(n == 3 && got[0] == 3 && got[1] == 1 && got[2] == 22);
    for (size_t i = 0; i < SY_COUNT(bad); i++) {
        sy_test_case("'%s'", bad[i].text);
        sy_expect_ok(sy_file_write(path, bad[i].text, strlen(bad[i].text), err));
        sy_expect_fail(sy_ids_read(path, V, &a, &got, &n, err), SY_EFORMAT, bad[i].part);
    }
    sy_arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_and_routes_do_not_depend_on_the_prefill), cmocka_unit_test(a_trace_is_a_file), cmocka_unit_test(inner_tensors_are_written_and_compared), cmocka_unit_test(inner_tensors_have_the_names_of_the_family),
        cmocka_unit_test(ids_are_read),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
