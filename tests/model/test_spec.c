/* The keys of a model: what follows from others, rules between sizes, the pattern of layers, and the sizes that are promised. Oracles: patterns
 * written out by hand, the parameters of a model that was built. */
#include "testing.h"

#include <stdio.h>
#include <string.h>

#include "methods.h"
#include "model/model.h"

static void defaults(void **state)
{
    (void)state;
    sy_spec s;
    sy_spec_defaults(&s);
    s.vocab_size = 256;
    sy_expect_ok(sy_spec_check(&s, err));
    assert_true(s.head_dim * s.num_attention_heads == s.hidden_size && s.num_key_value_heads == s.num_attention_heads && s.moe_intermediate_size == s.intermediate_size);
    assert_int_equal(sy_spec_n_sparse(&s), 0);
    sy_spec again = s;
    sy_expect_ok(sy_spec_check(&again, err));        /* what follows is stable */
    assert_memory_equal(&s, &again, sizeof s);
}

static void patterns(void **state)
{
    static const struct { const char *layers; int L; const char *want; } cases[] = {         /* want NULL: refused */
        { "dense", 3, "ddd" }, { "sparse", 3, "sss" }, { "dense,sparse", 4, "dsds" }, { "dense*1,sparse*5", 6, "dsssss" }, { "dense*2,sparse", 6, "ddsdds" },
        { "sparse,dense,sparse", 3, "sds" }, { "dense*3", 3, "ddd" }, { "dense*1,sparse*5", 12, "dsssssdsssss" }, { "sparse*1024", 1024, NULL },
        { "dense,sparse", 3, NULL }, { "dense*4", 2, NULL }, { "", 2, NULL }, { ",", 2, NULL }, { "dense,", 2, NULL }, { ",dense", 2, NULL }, { "dense sparse", 2, NULL },
        { "dense*0", 2, NULL }, { "dense*-1", 2, NULL }, { "dense*", 2, NULL }, { "dense*1.5", 2, NULL }, { "denser", 2, NULL }, { "Dense", 2, NULL }, { "dense,,sparse", 2, NULL },
        { "dense*99999999999999999999", 2, NULL }, { "dense*1024,sparse*1024", 2, NULL }, { "dense* 1", 2, NULL }, { "dense*+1", 2, NULL },
    };
    (void)state;
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_err e = { 0 }, *err = &e;
        sy_spec s;
        sy_spec_defaults(&s);
        s.vocab_size = 256;
        sy_test_case("'%s' over %d", cases[i].layers, cases[i].L);
        s.layers = cases[i].layers, s.num_hidden_layers = cases[i].L;
        sy_status st = sy_spec_check(&s, err);
        if (cases[i].L == 1024) {                    /* the longest */
            if (st != SY_OK) fail_msg("%s", e.text);
            assert_int_equal(sy_spec_n_sparse(&s), 1024);
            continue;
        }
        if (!cases[i].want) { sy_expect_fail_(st, SY_EARG, err, "layers", "sy_spec_check"); continue; }
        if (st != SY_OK) fail_msg("case '%s': %s", cases[i].layers, e.text);
        int sparse = 0;
        for (int l = 0; l < cases[i].L; l++) {
            bool want = cases[i].want[l] == 's';
            sparse += want;
            if (sy_spec_sparse(&s, l) != want) fail_msg("'%s': layer %d is %s", cases[i].layers, l, want ? "dense" : "sparse");
        }
        assert_int_equal(sy_spec_n_sparse(&s), sparse);
    }
}

static void rules(void **state)
{
    static const struct { const char *set; sy_status want; const char *part; } cases[] = {
        { "vocab_size=0", SY_EARG, "vocab_size is not set" },
        { "hidden_size=10,num_attention_heads=4", SY_ESHAPE, "hidden_size 10" },
        { "num_attention_heads=4,num_key_value_heads=3", SY_ESHAPE, "num_key_value_heads 3" },
        { "num_attention_heads=4,num_key_value_heads=8", SY_ESHAPE, "num_key_value_heads 8" },
        { "head_dim=5", SY_ESHAPE, "head_dim 5 is odd" },
        { "hidden_size=12,num_attention_heads=4", SY_ESHAPE, "head_dim 3 is odd" },
        { "shared_expert_gate=true,layers=sparse", SY_EARG, "shared_expert_intermediate_size" },
        { "shared_expert_bias=true,layers=sparse", SY_EARG, "shared_expert_intermediate_size" },
        { "layers=sparse,hidden_size=1048576,num_attention_heads=256,intermediate_size=16777216,num_experts=65536", SY_ESHAPE, "parameters" },
        { "hidden_size=10,num_attention_heads=4,head_dim=6", SY_OK, NULL },
        { "num_attention_heads=6,num_key_value_heads=3,head_dim=8", SY_OK, NULL },
    };
    (void)state;
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_err e = { 0 }, *err = &e;
        sy_arena a = { 0 };
        sy_spec s;
        sy_spec_defaults(&s);
        s.vocab_size = 256;
        sy_test_case("%s", cases[i].set);
        sy_expect_ok(sy_opt_parse(sy_spec_opts, &s, cases[i].set, &a, NULL, err));
        sy_status st = sy_spec_check(&s, err);
        if (cases[i].want == SY_OK && st != SY_OK) fail_msg("case '%s': %s", cases[i].set, e.text);
        if (cases[i].want != SY_OK) sy_expect_fail_(st, cases[i].want, err, cases[i].part, "sy_spec_check");
        sy_arena_free(&a);
    }
}

/* The promised number of parameters is that of the model that is built. */
static void sizes(void **state)
{
    static const char *const sets[] = {
        "layers=dense", "layers=sparse", "layers='dense,sparse',num_key_value_heads=1", "layers=sparse,tie_word_embeddings=true,qk_norm=true",
        "layers=sparse,shared_expert_intermediate_size=12,shared_expert_gate=true", "layers=sparse,shared_expert_intermediate_size=12,shared_expert_bias=true", "layers=sparse,head_dim=6,moe_intermediate_size=10,zero_experts=3", "layers=sparse,num_experts=1,router=topk:top_k=1",
    };
    sy_engine eng;
    (void)state;
    sy_expect_ok(sy_engine_init(&eng, 1, "ref", &sy_builtin_methods, err));
    for (size_t i = 0; i < SY_COUNT(sets); i++) {
        sy_arena a = { 0 };
        sy_spec s;
        sy_model *m;
        double total, active, madds, all;
        sy_spec_defaults(&s);
        s.vocab_size = 30, s.hidden_size = 16, s.num_hidden_layers = 2, s.intermediate_size = 24, s.num_attention_heads = 4;
        sy_test_case("%s", sets[i]);
        sy_expect_ok(sy_opt_parse(sy_spec_opts, &s, sets[i], &a, NULL, err));
        sy_expect_ok(sy_model_new(&m, &eng, &s, 0, 1, err));
        size_t n = 0;
        for (int p = 0; p < m->params.n; p++) n += m->params.p[p]->n;
        sy_spec_size(&m->spec, 2, &total, &active, &madds);
        sy_spec_size(&m->spec, m->spec.num_experts, &all, &active, NULL);
        sy_expect_near("total", total, (double)n, 0, 0);
        sy_expect_near("active with all experts", active, total, 0, 0);
        sy_expect_near("same total", all, total, 0, 0);
        double one, two;
        sy_spec_size(&m->spec, 1, NULL, &one, NULL);
        sy_spec_size(&m->spec, 2, NULL, &two, NULL);
        sy_expect_near("an expert more", two - one, 3.0 * s.hidden_size * m->spec.moe_intermediate_size * m->n_sparse, 0, 0);
        sy_model_free(m);
        sy_arena_free(&a);
    }
    sy_engine_uninit(&eng);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(defaults), cmocka_unit_test(patterns), cmocka_unit_test(rules), cmocka_unit_test(sizes) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
