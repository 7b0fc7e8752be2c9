/* tests/routers/test_presets.c - every preset and method of the tables: it can be made, reads back from its own text, and holds the published values. */
#include "route/bed.h"

static void all(void **state)
{
    (void)state;
    sy_arena a = { 0 };
    sy_site site = { .D = 8, .F = 8, .E = 64, .init_std = 0.02 };
    int n = 0;
    for (const sy_preset *p = sy_builtin_methods.presets; p->name; p++, n++) {
        const sy_method *m;
        void *s, *again;
        const sy_method *same;
        sy_test_case("%s %s", sy_kind_word(p->kind), p->name);
        assert_true(p->paper && !strncmp(p->paper, "arXiv:", 6));
        sy_expect_ok(sy_method_make(&sy_builtin_methods, p->kind, p->name, &a, &m, &s, err));
        if (m->check) sy_expect_ok(m->check(s, &site, err));
        char *text = sy_method_text(m, s, true, &a);
        sy_expect_ok(sy_method_make(&sy_builtin_methods, p->kind, text, &a, &same, &again, err));
        assert_ptr_equal(same, m);
        assert_string_equal(sy_method_text(m, again, true, &a), text);
    }
    assert_true(n >= 15);
    for (const sy_method *const *m = sy_builtin_methods.list; *m; m++) {
        sy_test_case("%s %s", sy_kind_word((*m)->kind), (*m)->name);
        assert_true((*m)->title && (*m)->paper && (*m)->summary && (*m)->hooks);
        if (m[1] && (*m)->kind == m[1]->kind) assert_true(strcmp((*m)->name, m[1]->name) < 0);      /* sorted, and so without doubles */
    }
    sy_arena_free(&a);
}

/* Values of the cards, written a second time on purpose. */
static void published(void **state)
{
    (void)state;
    static const struct { sy_kind kind; const char *preset, *want; } cases[] = {
        { SY_ROUTER, "mixtral", "topk:norm_topk_prob=true" },
        { SY_ROUTER, "qwen2moe", "topk:num_experts_per_tok=4" },
        { SY_ROUTER, "qwen3moe", "topk:num_experts_per_tok=8,norm_topk_prob=true" },
        { SY_ROUTER, "olmoe", "topk:num_experts_per_tok=8" },
        { SY_ROUTER, "deepseekmoe", "topk:num_experts_per_tok=6" },
        { SY_ROUTER, "deepseekv2", "topk:num_experts_per_tok=6,routed_scaling_factor=16,n_group=8,topk_group=3" },
        { SY_ROUTER, "switch", "topk:num_experts_per_tok=1,router_jitter_noise=0.01,capacity_factor=1.25,eval_capacity_factor=2,min_capacity=4,group_size=8192" },
        { SY_ROUTER, "gshard", "topk:norm_topk_prob=true,second_policy=random,capacity_factor=1,eval_capacity_fraction=0.25,capacity_rule=gshard,drop_order=rank" },
        { SY_ROUTER, "dsv3gate", "auxfree:routed_scaling_factor=2.5,n_group=8,topk_group=4" },
        { SY_ROUTER, "deepseekv3", "auxfree:routed_scaling_factor=2.5,n_group=8,topk_group=4" },
        { SY_ROUTER, "kimik2", "auxfree:routed_scaling_factor=2.827" },
        { SY_BALANCE, "gshard", "switch:form=first" },
        { SY_BALANCE, "globallbl", "switch:scope=step" },
        { SY_BALANCE, "deepseekseq", "switch:router_aux_loss_coef=0.001,scope=sequence" },
        { SY_BALANCE, "deepseekdevice", "switch:router_aux_loss_coef=0.05,groups=8" },
    };
    sy_arena a = { 0 };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        const sy_method *m;
        void *s;
        sy_test_case("%s %s", sy_kind_word(cases[i].kind), cases[i].preset);
        sy_expect_ok(sy_method_make(&sy_builtin_methods, cases[i].kind, cases[i].preset, &a, &m, &s, err));
        assert_string_equal(sy_method_text(m, s, false, &a), cases[i].want);
    }
    sy_arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(all), cmocka_unit_test(published) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
