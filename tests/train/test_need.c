/* float only */
/* tests/train/test_need.c - the memory that a run is said to need, against what it takes. Oracles: the model's arena, the high-water marks of the tapes of steps and
 * evaluations, and the parameters themselves. */
#include "testing.h"

#include <math.h>

#include "bed.h"
#include "data/evaluate.h"
#include "train/need.h"

#define SHAPE "vocab_size=256 num_attention_heads=4 max_position_embeddings=256 seq_len=128 batch_size=4 eval_rows=2 balance='' hidden_size=64 num_hidden_layers=3 tie_word_embeddings=false "

static const char *const cases[] = {
    SHAPE "layers=dense intermediate_size=128", SHAPE "layers=dense intermediate_size=400 num_key_value_heads=1 qk_norm=true", SHAPE "layers=dense intermediate_size=128 recompute=layers num_hidden_layers=9",
    SHAPE "layers=sparse num_experts=8 moe_intermediate_size=64 router=topk:top_k=2", SHAPE "layers=sparse num_experts=8 moe_intermediate_size=64 router=topk:top_k=2 recompute=layers num_hidden_layers=7",
    SHAPE "layers=sparse num_experts=32 moe_intermediate_size=32 router=topk:top_k=7 shared_expert_intermediate_size=64",
    SHAPE "layers=dense,sparse,dense num_experts=4 moe_intermediate_size=128 intermediate_size=128 router=topk:top_k=1,norm_topk_prob=false micro_batch_size=2",
    SHAPE "layers=sparse num_experts=8 moe_intermediate_size=64 router=auxfree:top_k=2 attention=mla kv_lora_rank=32 qk_rope_head_dim=8 qk_nope_head_dim=16 v_head_dim=16",
    SHAPE "vocab_size=8192 layers=sparse num_experts=8 moe_intermediate_size=64 router=topk:top_k=2 balance=switch:coef=0.01 recompute=layers micro_batch_size=1",
};

static sy_need need_of(bed *b)
{
    sy_need n;
    sy_spec s = b->c.model;
    sy_expect_ok(sy_spec_check(&s, err));
    sy_expect_ok(sy_need_of(&n, &b->eng, &b->c, &s, 1, err));
    return n;
}

static void near(const char *what, double said, double took, double most)
{
    if (!(fabs(said / took - 1) <= most)) fail_msg("%s: said %.0f bytes, took %.0f (%.3f)", what, said, took, said / took);
}

static void test_need(void **state)
{
    (void)state;
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        bed b;
        sy_stepper s;
        sy_step_result r;
        sy_test_case("%s", cases[i]);
        bed_open(&b, 1, cases[i]);
        sy_need n = need_of(&b);
        sy_model *m = bed_model(&b);
        bed_stepper(&b, m, &s);
        for (int k = 0; k < 3; k++) sy_expect_ok(sy_stepper_run(&s, &r, err));
        double weights = 0;
        for (int k = 0; k < m->params.n; k++) weights += (double)(m->params.p[k]->n * sizeof(sy_real));
        sy_expect_near("weights", n.weights, weights, 0, 0);
        near("model", n.weights + n.gradients + n.moments, (double)m->arena.used, 0.03);       /* the rest are names, and padding to whole lines */
        near("step", n.step, (double)(s.tape.arena.high + s.tape.part.high), 0.05);
        sy_evaluation e;
        sy_expect_ok(sy_evaluate(m, b.data, b.c.train.eval_rows, NULL, &e, &b.a, err));
        near("evaluation", n.eval, (double)e.bytes, 0.1);
        sy_stepper_close(&s);
        sy_model_free(m);
        bed_close(&b);
    }
}

/* What does not fit is refused with what takes how much and what would help, and only with what is not set yet; one byte more is enough. */
static void test_refused(void **state)
{
    static const struct { const char *settings, *says, *not; } sets[] = {
        { "", "set a smaller micro_batch_size, recompute=layers, a smaller eval_rows, a smaller seq_len", NULL },
        { "recompute=layers", "can be had: set a smaller micro_batch_size, a smaller eval_rows, a smaller seq_len", "recompute" },
        { "micro_batch_size=1 recompute=layers", "can be had: set a smaller eval_rows, a smaller seq_len", "micro_batch_size" },
        { "eval_rows=4096", "a smaller eval_rows", NULL }, { "batch_size=1 recompute=layers eval_rows=1", "can be had: set a smaller eval_rows, a smaller seq_len", "micro_batch_size" },
    };
    (void)state;
    for (size_t i = 0; i < SY_COUNT(sets); i++) {
        bed b;
        sy_err e = { 0 }, *err = &e;
        sy_test_case("%s", sets[i].settings);
        bed_open(&b, 1, SHAPE "layers=dense");
        sy_expect_ok(bed_set(&b, sets[i].settings, err));
        sy_need n = need_of(&b);
        sy_expect_ok(sy_need_fits(&n, &b.c, n.total, err));
        sy_expect_near("sum", n.weights + n.gradients + n.moments + n.step + n.eval, n.total, 0, 0);
        sy_expect_fail(sy_need_fits(&n, &b.c, n.total - 1, err), SY_ENOMEM, sets[i].says);
        if (sets[i].not && strstr(e.text, sets[i].not)) fail_msg("%s names %s, which is set", e.text, sets[i].not);
        sy_expect_fail(sy_need_fits(&n, &b.c, n.weights, err), SY_ENOMEM, "make hidden_size, layers, vocabulary or experts smaller");
        bed_close(&b);
    }
}

/* What a run will take can be told of every router that a model may have. */
static void test_routers(void **state)
{
    (void)state;
    for (const sy_method *const *m = sy_builtin_methods.list; *m; m++) {
        bed b;
        sy_need n;
        sy_err e = { 0 };
        char settings[600];
        if ((*m)->kind != SY_ROUTER) continue;
        sy_test_case("%s", (*m)->name);
        snprintf(settings, sizeof settings, SHAPE "layers=sparse num_experts=8 router=%s", (*m)->name);
        bed_open(&b, 1, settings);
        sy_spec s = b.c.model;
        sy_model *model = NULL;
        sy_expect_ok(sy_spec_check(&s, err));
        sy_status st = sy_need_of(&n, &b.eng, &b.c, &s, 1, &e), made = sy_model_new(&model, &b.eng, &s, SY_MODEL_TRAIN, 1, &e);
        if (made == SY_OK) near("model", n.weights + n.gradients + n.moments, (double)model->arena.used, 0.03);
        assert_int_equal(st, made);
        sy_model_free(model);
        bed_close(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_need), cmocka_unit_test(test_refused), cmocka_unit_test(test_routers) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
