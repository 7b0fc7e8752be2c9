/* double only */
/* tests/model/test_grad.c - gradients of whole tiny models, part by part of what a spec can ask for: central differences of the loss in double
 * against backward, at values of every parameter. Routes are held fixed while a value moves. */
#include "testing.h"

#include <math.h>
#include <string.h>

#include "core/random.h"
#include "methods.h"
#include "model/model.h"

enum { T = 13, VALUES = 7 };                         /* tokens; values that are moved of one parameter */
static const double H = 1e-5, TOLERANCE = 1e-6;

static const struct { const char *what, *settings; } models[] = {
    { "grouped heads, a norm a head", "qk_norm=true,num_key_value_heads=1" },
    { "biases and multipliers", "attention_bias=true,attention_out_bias=true,mlp_bias=true,lm_head_bias=true,embedding_multiplier=3,residual_multiplier=0.5,logits_scaling=2,attention_multiplier=0.3" },
    { "a norm a row, clipped", "qk_norm=row,clip_qkv=0.9" },
    { "GPT-2's parts", "norm=layer,norm_bias=true,learned_positions=true,rope_type=none,ffn_gated=false,mlp_bias=true,hidden_act=gelu_tanh,attention_bias=true,attention_out_bias=true,tie_word_embeddings=true" },
    { "GPT-NeoX's parts", "norm=layer,norm_bias=true,norm_place=parallel,partial_rotary_factor=0.5,ffn_gated=false,hidden_act=gelu,mlp_bias=true" },
    { "scores by layer, three of four values turn", "scale_attn_by_inverse_layer_idx=true,attention_multiplier=1,partial_rotary_factor=0.75" },
    { "BERT's parts", "norm=layer,norm_bias=true,norm_place=post,embedding_norm=true,final_norm=false,causal=false,lm_head=false,type_vocab_size=2,learned_positions=true,rope_type=none,ffn_gated=false,mlp_bias=true,hidden_act=gelu" },
    { "latent attention, one matrix for queries", "attention=mla,kv_lora_rank=6,qk_nope_head_dim=4,qk_rope_head_dim=2,v_head_dim=3,rope_interleaved=true" },
    { "latent attention, low rank, stretched", "attention=mla,q_lora_rank=5,kv_lora_rank=6,qk_nope_head_dim=3,qk_rope_head_dim=4,v_head_dim=6,rope_interleaved=true,attention_bias=true,rope_type=yarn,rope_factor=4,"
                                               "original_max_position_embeddings=8,rope_mscale=0.7,rope_mscale_all_dim=0.9" },
    { "gpt-oss's parts", "layers=sparse,expert='swiglu_clamped:limit=0.6',router='topk:top_k=2,norm_topk_prob=true,router_bias=true',num_experts=4,attention_sinks=true,attention_bias=true,attention_out_bias=true,"
                         "sliding_window=4,window_layers='sliding,full'" },
    { "a dense FFN with limits", "swiglu_alpha=1.7,swiglu_limit=0.5,mlp_bias=true" },
    { "caps, two bases", "attn_logit_softcapping=0.8,final_logit_softcapping=0.7,lm_head_bias=true,sliding_window=5,window_layers='sliding,full',rope_local_base_freq=100" },
    { "longrope", "rope_type=longrope,rope_factor=4,original_max_position_embeddings=6,rope_short_factor='1 1.2',rope_long_factor='1.5 3',rope_long_mscale=1.3" },
    { "shared expert, groups, a bias that selects", "layers='dense,sparse',router='auxfree:top_k=2,n_group=2,topk_group=1',num_experts=6,shared_expert_intermediate_size=5,shared_expert_gate=true,shared_expert_bias=true" },
};

typedef struct bed { sy_engine eng; sy_model *m; sy_route *again[8]; sy_arena keep; } bed;

static void open_model(bed *b, const char *settings)
{
    sy_spec s;
    sy_arena a = { 0 };
    memset(b, 0, sizeof *b);
    sy_spec_defaults(&s);
    s.vocab_size = 11, s.hidden_size = 8, s.num_hidden_layers = 2, s.num_attention_heads = 2, s.head_dim = 4, s.intermediate_size = 7, s.moe_intermediate_size = 5, s.max_position_embeddings = 16;
    sy_expect_ok(sy_engine_init(&b->eng, 1, NULL, &sy_builtin_methods, err));
    sy_expect_ok(sy_opt_parse(sy_spec_opts, &s, settings, &a, NULL, err));
    sy_expect_ok(sy_model_new(&b->m, &b->eng, &s, SY_MODEL_TRAIN, 1, err));
    sy_arena_free(&a);
    for (int i = 0; i < b->m->params.n; i++) {           /* no value is special: biases are not zero, norms not one */
        sy_param *p = b->m->params.p[i];
        uint64_t key = sy_key(sy_test_seed(), SY_FOR_TEST, 3, (uint64_t)i, 0);
        for (size_t j = 0; j < p->n; j++) p->leaf.x[j] = (p->flags & SY_NODECAY && p->leaf.x[j] == 1) + 1.2 * sy_draw(key, j, 0) - 0.6;
    }
}

/* The loss of two sequences; with t->record its gradient goes to the parameters. The first call keeps the routes. */
static double loss_of(bed *b, sy_tape *t)
{
    static const int id[T] = { 3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 10 }, label[T] = { 1, 4, 1, 5, 9, 2, -1, 5, 3, 5, 8, 10, 0 };
    static const int pos[T] = { 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4 }, seq[T] = { 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1 };
    static const sy_segment seg[] = { { .n = 8 }, { .row = 8, .n = 5 } };
    sy_batch batch = { .T = T, .n_seg = 2, .id = id, .pos = pos, .seq = seq, .seg = seg };
    sy_route *routes[8] = { 0 };
    sy_run run = { .mode = SY_TRAIN, .steps = 1, .routes = routes, .again = t->record ? NULL : b->again };
    sy_tape_reset(t);
    sy_tensor *h = sy_model_hidden(b->m, t, &batch, &run), *loss;
    if (b->m->spec.lm_head) loss = sy_model_loss(b->m, t, h, label, &(sy_xent){ .scale = 0.25, .z_loss = 0.01 });
    else {                                               /* an encoder: its hidden states against random numbers */
        sy_real *c = sy_tape_alloc(t, sy_numel(h), sizeof *c);
        for (size_t i = 0; c && i < sy_numel(h); i++) c[i] = sy_draw(sy_key(sy_test_seed(), SY_FOR_TEST, 5, 0, 0), i, 0) - 0.5;
        loss = c ? sy_dot_const(t, h, c) : h;
    }
    sy_expect_ok(sy_tape_status(t, err));
    for (int i = 0; t->record && i < b->m->n_sparse; i++) {
        sy_route *r = sy_arena_zalloc(&b->keep, sizeof *r);
        assert_non_null(r);
        *r = *routes[i];
        r->first_slot = sy_arena_alloc(&b->keep, (size_t)(r->T + 1) * sizeof(int));
        r->expert = sy_arena_alloc(&b->keep, (size_t)r->n * sizeof(int) + 1);
        assert_true(r->first_slot && r->expert);
        memcpy(r->first_slot, routes[i]->first_slot, (size_t)(r->T + 1) * sizeof(int));
        memcpy(r->expert, routes[i]->expert, (size_t)r->n * sizeof(int));
        r->weight = r->probs = r->carry = NULL;
        b->again[i] = r;
    }
    if (t->record) sy_expect_ok(sy_backward(t, loss, err));
    return (double)loss->x[0];
}

/* What the spec says of its size is what was declared. */
static void check_size(const sy_model *m)
{
    double total, n = 0;
    sy_spec_size(&m->spec, 1, &total, NULL, NULL);
    for (int i = 0; i < m->params.n; i++) n += (double)m->params.p[i]->n;
    if (!m->n_sparse && n != total) fail_msg("%.0f parameters, the spec says %.0f", n, total);      /* routers and experts have more than it counts */
}

static void check_param(bed *b, sy_tape *t, sy_param *p)
{
    double off = 0, norm = 0, any = 0;
    for (size_t i = 0; i < p->n; i++) any += fabs((double)p->w.dx[i]);
    bool unused = strstr(p->name, "embed_types") || strstr(p->name, "k_proj.bias");         /* zero in part, or by the shift that softmax does not see */
    if (!unused && !(any > 0)) fail_msg("%s gets no gradient", p->name);
    for (int i = 0; i < VALUES; i++) {
        size_t at = p->n <= VALUES ? (size_t)i : (size_t)sy_draw_below(sy_key(sy_test_seed(), SY_FOR_TEST, 4, p->n, 0), (uint64_t)i, 0, (int)p->n);
        if (at >= p->n) break;
        sy_real x = p->leaf.x[at];
        p->leaf.x[at] = x + (sy_real)H;
        double up = loss_of(b, t);
        p->leaf.x[at] = x - (sy_real)H;
        double down = loss_of(b, t), want = (up - down) / (2 * H), got = (double)p->w.dx[at];
        p->leaf.x[at] = x;
        off += (want - got) * (want - got);
        norm += want * want;
    }
    if (!(sqrt(off) <= TOLERANCE * sqrt(norm) + 2e-10)) fail_msg("%s: the gradient is off by %.3g of its norm %.3g", p->name, sqrt(off), sqrt(norm));
}

static void parts(void **state)
{
    (void)state;
    for (size_t c = 0; c < SY_COUNT(models); c++) {
        bed b;
        sy_tape rec, t;
        sy_test_case("%s", models[c].what);
        open_model(&b, models[c].settings);
        check_size(b.m);
        sy_tape_init(&rec, &b.eng, true);
        sy_tape_init(&t, &b.eng, false);
        loss_of(&b, &rec);
        for (int i = 0; i < b.m->params.n; i++)
            if (sy_param_trains(b.m->params.p[i])) check_param(&b, &t, b.m->params.p[i]);
        sy_tape_free(&rec);
        sy_tape_free(&t);
        sy_model_free(b.m);
        sy_engine_uninit(&b.eng);
        sy_arena_free(&b.keep);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(parts) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
