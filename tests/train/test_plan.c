/* float only */
/* tests/train/test_plan.c - the memory that a step is said to need, against what its tape takes. Oracle: the tape's high-water mark. */
#include "testing.h"

#include "bed.h"

#define SHAPE "vocab_size=256 num_attention_heads=4 max_position_embeddings=256 seq_len=128 batch_size=4 balance='' hidden_size=64 num_hidden_layers=3 "

static void test_activations(void **state)
{
    static const struct { const char *settings; double k; } cases[] = {
        { SHAPE "layers=dense intermediate_size=128", 0 }, { SHAPE "layers=dense intermediate_size=400 num_key_value_heads=1 qk_norm=true", 0 },
        { SHAPE "layers=sparse num_experts=8 moe_intermediate_size=64 router=topk:top_k=2", 2 }, { SHAPE "layers=sparse num_experts=32 moe_intermediate_size=32 router=topk:top_k=7 shared_expert_intermediate_size=64", 7 },
        { SHAPE "layers=dense,sparse,dense num_experts=4 moe_intermediate_size=128 intermediate_size=128 router=topk:top_k=1,norm_topk_prob=false", 1 },
    };
    (void)state;
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        bed b;
        sy_stepper s;
        sy_step_result r;
        sy_test_case("%s", cases[i].settings);
        bed_open(&b, 1, cases[i].settings);
        sy_model *m = bed_model(&b);
        bed_stepper(&b, m, &s);
        sy_expect_ok(sy_stepper_run(&s, &r, err));
        double took = (double)s.tape.arena.high, said = sy_spec_activations(&m->spec, cases[i].k) * (double)r.tokens * (double)sizeof(sy_real);
        if (!(said > 0.67 * took && said < 1.5 * took)) fail_msg("%s: said %.0f bytes, took %.0f (%.2f)", cases[i].settings, said, took, said / took);
        sy_stepper_close(&s);
        sy_model_free(m);
        bed_close(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_activations) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
