/* float only */
/* tests/train/test_recompute.c - layers that are computed again in backward. Oracle: the same steps with everything kept on the tape, bit for bit: losses, gradients,
 * weights and moments, counts of the routers, counted products. Every router, and what can stand around one. */
#include "bed.h"

#include "core/alloc.h"

#define SHAPE "hidden_size=16 num_attention_heads=2 layers=dense,sparse,sparse num_hidden_layers=3 num_experts=8 moe_intermediate_size=8 seq_len=12 max_position_embeddings=16 batch_size=5 steps=20 "

enum { STEPS = 4 };

typedef struct outcome {                /* of STEPS steps */
    sy_err   error;
    double   loss[STEPS], norm[STEPS], aux[STEPS];
    uint64_t madds, allocations;        /* allocations of the last step */
    size_t   bytes, high;               /* of `all`; most that the tape held */
    char    *all;                       /* weights, moments, last gradients, counts */
} outcome;

static void put(sy_buf *b, const void *x, size_t n) { if (x) sy_buf_put(b, x, n); }

static void collect(sy_buf *b, sy_model *m)
{
    for (int i = 0; i < m->params.n; i++) {
        const sy_param *p = m->params.p[i];
        put(b, p->w.data, p->n * sizeof(sy_real));
        put(b, p->w.dx, p->n * sizeof(sy_real));
        put(b, p->m, p->n * sizeof(sy_real));
        put(b, p->v, p->n * sizeof(sy_real));
        put(b, p->touched, p->touched ? (size_t)p->w.dim[0] : 0);
    }
    for (int l = 0; l < m->spec.num_hidden_layers; l++) {
        const sy_block *k = &m->layer[l].block;
        if (m->layer[l].sparse) put(b, k->counts.micro, 5 * (size_t)(k->site.E + k->site.Z) * sizeof(int64_t));
    }
}

/* False: this model is refused, with `error`. */
static bool run(const char *settings, bool recompute, outcome *o)
{
    bed b;
    sy_model *m;
    sy_stepper s;
    sy_buf all = { 0 };
    sy_err *err = &o->error;
    *o = (outcome){ 0 };
    bed_open(&b, 2, SHAPE);
    sy_expect_ok(bed_set(&b, settings, err));
    sy_expect_ok(bed_set(&b, recompute ? "recompute=layers" : "recompute=none", err));
    if (sy_model_new(&m, &b.eng, &b.c.model, SY_MODEL_TRAIN, 1, err) != SY_OK) { bed_close(&b); return false; }
    bed_stepper(&b, m, &s);
    sy_expect_ok(sy_objectives_open(&s.objectives, b.c.train.objective, &b.eng.methods, &b.a, err));
    sy_expect_ok(sy_stepper_learn(&s, err));
    sy_expect_ok(sy_objectives_begin(&s.objectives, m, b.data, &b.a, err));
    bool ran = true;
    for (int i = 0; i < STEPS && ran; i++) {
        sy_step_result r;
        uint64_t before = sy_alloc_calls();
        ran = sy_stepper_run(&s, &r, err) == SY_OK;
        if (!ran) break;
        o->allocations = sy_alloc_calls() - before;
        o->loss[i] = r.loss;
        o->norm[i] = r.grad_norm;
        for (int k = 0; k < r.n_aux; k++) o->aux[i] += (k + 1) * r.aux[k].value;
        assert_false(r.skipped);
    }
    collect(&all, m);
    o->all = all.data;
    o->bytes = all.n;
    o->madds = s.madds;
    o->high = s.tape.arena.high + s.tape.part.high;
    sy_stepper_close(&s);
    sy_model_free(m);
    bed_close(&b);
    return ran;
}

/* Both ways; false when the model is refused. */
static bool same(const char *settings)
{
    outcome want, got;
    bool ran = run(settings, false, &want), again = run(settings, true, &got);
    assert_int_equal(ran, again);
    if (!ran) {
        assert_string_equal(want.error.text, got.error.text);
        free(want.all), free(got.all);
        return false;
    }
    sy_expect_same("losses", got.loss, want.loss, sizeof want.loss);
    sy_expect_same("norms", got.norm, want.norm, sizeof want.norm);
    sy_expect_same("auxiliary losses", got.aux, want.aux, sizeof want.aux);
    assert_int_equal(got.bytes, want.bytes);
    sy_expect_same("weights, gradients, moments and counts", got.all, want.all, want.bytes);
    assert_int_equal(got.madds, want.madds);
    if (got.high >= want.high) fail_msg("the tape held %zu bytes, and %zu with everything kept", got.high, want.high);
    free(want.all), free(got.all);
    return true;
}

static const char *const around[] = {
    "balance='switch:coef=0.01 zloss:coef=0.01 importance:coef=0.01'", "balance=switch:coef=0.1,scope=step,mode=exact micro_batch_size=2", "balance=switch:coef=0.1,scope=step,mode=buffer micro_batch_size=2",
    "balance=switch:coef=0.1,scope=sequence micro_batch_size=2", "dtype=bfloat16 micro_batch_size=3", "expert=gelu", "expert=residual", "zero_experts=2 zero_expert=constant", "zero_experts=3 zero_expert=null",
    "edit=perm", "objective=roma", "objective=thor", "objective=thor balance=switch:coef=0.1,scope=step,mode=buffer micro_batch_size=2", "shared_expert_intermediate_size=8 shared_expert_gate=true", "tie_word_embeddings=false z_loss=0.01",
    "norm_place=post", "norm_place=parallel", "attention=mla kv_lora_rank=8 qk_rope_head_dim=4 qk_nope_head_dim=4 v_head_dim=8", "num_key_value_heads=1 qk_norm=true sliding_window=5", "layers=dense",
    "router=switch:capacity_factor=1", "router=gshard", "router=auxfree:top_k=2 balance='' micro_batch_size=2",
};

static void test_around(void **state)
{
    (void)state;
    for (size_t i = 0; i < SY_COUNT(around); i++) {
        sy_test_case("%s", around[i]);
        if (!same(around[i])) fail_msg("%s is refused", around[i]);
    }
}

static void test_routers(void **state)
{
    (void)state;
    static const char *const balance[] = { "''", "switch:coef=0.1 micro_batch_size=2", "importance:coef=0.1 edit=perm micro_batch_size=3" };
    int done = 0, refused = 0;
    for (const sy_method *const *m = sy_builtin_methods.list; *m; m++) {
        if ((*m)->kind != SY_ROUTER) continue;
        for (size_t i = 0; i < SY_COUNT(balance); i++) {
            char settings[300];
            snprintf(settings, sizeof settings, "router=%s balance=%s", (*m)->name, balance[i]);
            sy_test_case("%s", settings);
            if (same(settings)) done++;
            else refused++;
        }
    }
    print_message("%d models compared, %d are refused with and without\n", done, refused);
    assert_true(done >= 34);
}

/* After the first steps nothing is taken from the heap, as without. */
static void test_allocations(void **state)
{
    outcome o;
    (void)state;
    assert_true(run("", true, &o));
    assert_int_equal(o.allocations, 0);
    free(o.all);
}

/* The point of it: of many layers one is kept. */
static void test_memory(void **state)
{
    static const char deep[] = "layers=sparse num_hidden_layers=12";
    outcome all, one;
    (void)state;
    assert_true(run(deep, false, &all) && run(deep, true, &one));
    sy_expect_same("weights", one.all, all.all, all.bytes);
    if (one.high * 3 > all.high) fail_msg("12 layers: %zu bytes, and %zu with everything kept", one.high, all.high);
    free(all.all), free(one.all);
}

/* A run that is stopped and goes on gives the files of one that was left alone, and those of one without. */
static void test_run(void **state)
{
    static const char *const dir[] = { "kept", "again" };
    char path[2][800];
    (void)state;
    for (int i = 0; i < 2; i++) {
        bed b;
        snprintf(path[i], sizeof path[i], "%s", bed_path("%s", dir[i]));
        bed_open(&b, 2, "checkpoint_every=4");
        sy_expect_ok(bed_set(&b, i ? "recompute=layers" : "recompute=none", err));
        sy_expect_ok(bed_train(&b, path[i], false, err));
        bed_close(&b);
    }
    bed_expect_same_run(path[1], path[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_around), cmocka_unit_test(test_routers), cmocka_unit_test(test_allocations), cmocka_unit_test(test_memory), cmocka_unit_test(test_run) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
