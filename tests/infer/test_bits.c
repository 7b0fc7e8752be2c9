/* tests/infer/test_bits.c - docs/design.md, section 5: the same bits in training, prefill and decode, with any neighbours, packing and
 * number of threads, in every kernel set. The oracle is another path of our own: one document, one thread, one piece. */
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#include "core/random.h"
#include "methods.h"
#include "model/model.h"

enum { DOCS = 5, MAX = 400 };
static const int length[DOCS] = { 1, 390, 37, 64, 5 };               /* one of them crosses blocks and chunks of keys */

static const struct { const char *what, *settings; } models[] = {
    { "dense",   "layers=dense" },
    { "dense, GQA, qk-norm, window, tied", "layers=dense,qk_norm=true,num_key_value_heads=1,sliding_window=40,tie_word_embeddings=true,head_dim=10" },
    { "window of more than a chunk", "layers=dense,num_key_value_heads=2,sliding_window=290" },
    { "topk",    "layers='dense,sparse',router='topk:top_k=2',num_experts=6,moe_intermediate_size=24" },
    { "topk, GQA, qk-norm, window, shared", "layers=sparse,router='topk:top_k=3,norm_topk_prob=true',num_experts=8,moe_intermediate_size=20,num_key_value_heads=2,"
                                            "qk_norm=true,sliding_window=100,shared_expert_intermediate_size=28,shared_expert_gate=true" },
    { "auxfree", "layers='dense,sparse',router='auxfree:top_k=2',num_experts=8,moe_intermediate_size=24,shared_expert_intermediate_size=24,routed_scaling_factor=1.5" },
    { "long sums", "layers='dense,sparse',intermediate_size=1500,router='topk:top_k=2',num_experts=4,moe_intermediate_size=1300" },
    { "biases, a norm a row, clipped, multipliers", "attention_bias=true,attention_out_bias=true,mlp_bias=true,lm_head_bias=true,qk_norm=row,clip_qkv=1.5,embedding_multiplier=2,residual_multiplier=0.4,logits_scaling=3" },
    { "LayerNorm, learned positions, a plain FFN", "norm=layer,norm_bias=true,learned_positions=true,rope_type=none,ffn_gated=false,mlp_bias=true,hidden_act=gelu_tanh" },
    { "parallel, a part of the head turns", "norm=layer,norm_bias=true,norm_place=parallel,partial_rotary_factor=0.5,ffn_gated=false,hidden_act=gelu" },
    { "latent attention, expanded", "attention=mla,q_lora_rank=20,kv_lora_rank=24,qk_nope_head_dim=12,qk_rope_head_dim=8,v_head_dim=10,rope_interleaved=true,mla_absorb=false,rope_type=yarn,rope_factor=8,"
                                    "rope_mscale=1,rope_mscale_all_dim=1,original_max_position_embeddings=64" },
    { "sinks, windows by layer, experts with limits", "layers=sparse,router='topk:top_k=2,norm_topk_prob=true,router_bias=true',expert='swiglu_clamped:limit=0.8',num_experts=6,moe_intermediate_size=24,"
                                    "attention_sinks=true,num_key_value_heads=2,sliding_window=70,window_layers='sliding,full'" },
    { "caps, two bases", "attn_logit_softcapping=2,final_logit_softcapping=3,sliding_window=100,window_layers='sliding,full',rope_local_base_freq=100" },
    { "zero experts", "layers=sparse,router='topk:top_k=2',num_experts=4,zero_experts=2,zero_expert=identity,moe_intermediate_size=24" },
    { "routes by this id and the one before", "layers=sparse,router='hash:table=bigram,multi=2',num_experts=8,moe_intermediate_size=12" },
    { "routes by this id and four before", "layers='dense,sparse',router='stablemoe:router=cnn,two_stage_updates=0,capacity_factor=0,routing_dim=20',num_experts=6,moe_intermediate_size=24" },
    { "as many experts as it takes", "layers=sparse,router='dynmoe:top_p_threshold=0.7',num_experts=6,moe_intermediate_size=24" },
    { "soft bits", "layers=sparse,router='dselectk:k=3',num_experts=6,moe_intermediate_size=24" },
};

static sy_model *model_of(sy_engine *eng, const char *settings)
{
    sy_spec s;
    sy_arena a = { 0 };
    sy_model *m;
    sy_spec_defaults(&s);
    s.vocab_size = 61, s.hidden_size = 48, s.num_hidden_layers = 2, s.num_attention_heads = 4, s.intermediate_size = 72, s.max_position_embeddings = MAX;
    s.initializer_range = 0.3;                       /* far from zero, so that differences would show */
    sy_expect_ok(sy_opt_parse(sy_spec_opts, &s, settings, &a, NULL, err));
    sy_expect_ok(sy_model_new(&m, eng, &s, 0, sy_test_seed(), err));
    sy_arena_free(&a);
    return m;
}

typedef struct bed {
    int        id[DOCS][MAX];
    sy_real   *want[DOCS];              /* [length][V] */
    int        V;
} bed;

/* Logits of some documents in one pass: whole documents without caches, or with caches their ids from `at` on, n each. */
static void pass(sy_model *m, bed *b, const int *doc, const int *at, const int *n, int docs, sy_kv **kv, sy_mode mode, bool record, sy_real *const *out)
{
    int id[2 * MAX * DOCS], pos[2 * MAX * DOCS], seq[2 * MAX * DOCS], T = 0;
    sy_segment seg[2 * DOCS];
    uint64_t no[2 * DOCS];
    sy_tape t;
    for (int d = 0; d < docs; d++) {
        seg[d] = (sy_segment){ .row = T, .n = n[d], .pos0 = at[d] };
        no[d] = (uint64_t)doc[d] + 7;
        for (int i = 0; i < n[d]; i++, T++) {
            id[T] = b->id[doc[d]][at[d] + i];
            pos[T] = at[d] + i;
            seq[T] = d;
        }
    }
    sy_batch batch = { .T = T, .n_seg = docs, .id = id, .pos = pos, .seq = seq, .seg = seg, .seq_no = no };
    sy_run run = { .mode = mode, .kv = kv, .step = 3, .steps = 9, .seed = 1 };
    sy_tape_init(&t, m->eng, record);
    sy_tensor *logits = sy_model_logits(m, &t, sy_model_hidden(m, &t, &batch, &run), NULL, T);
    sy_expect_ok(sy_tape_status(&t, err));
    for (int d = 0; d < docs; d++) memcpy(out[d], logits->x + (size_t)seg[d].row * b->V, (size_t)n[d] * b->V * sizeof(sy_real));
    sy_tape_free(&t);
}

static void expect_doc(const char *name, const bed *b, int doc, int at, int n, const sy_real *got)
{
    const sy_real *want = b->want[doc] + (size_t)at * b->V;
    for (int i = 0; i < n * b->V; i++)
        if (memcmp(&got[i], &want[i], sizeof *got))
            fail_msg("%s: document %d (%d tokens), position %d, logit %d is %.9g, alone it is %.9g", name, doc, length[doc], at + i / b->V, i % b->V, (double)got[i], (double)want[i]);
}

/* All documents in one batch, in the given order, some of them twice. */
static void packed(sy_model *m, bed *b, const int *order, int docs, sy_mode mode, bool record, const char *name)
{
    int at[2 * DOCS] = { 0 }, n[2 * DOCS] = { 0 };
    sy_real *out[2 * DOCS] = { 0 };
    for (int d = 0; d < docs; d++) {
        n[d] = length[order[d]];
        out[d] = malloc((size_t)n[d] * b->V * sizeof(sy_real));
    }
    pass(m, b, order, at, n, docs, NULL, mode, record, out);
    for (int d = 0; d < docs; d++) {
        expect_doc(name, b, order[d], 0, n[d], out[d]);
        free(out[d]);
    }
}

/* The documents side by side through their caches, `piece` ids of each at a time; a document that is over leaves the batch. */
static void cached(sy_model *m, bed *b, const int *docs, int n_docs, const int *piece, int n_pieces, const char *name)
{
    sy_kv kv[DOCS];
    int done[DOCS] = { 0 };
    for (int d = 0; d < n_docs; d++) sy_expect_ok(sy_kv_open(&kv[d], &m->spec, MAX, err));
    for (int round = 0; ; round++) {
        int doc[DOCS] = { 0 }, at[DOCS] = { 0 }, n[DOCS] = { 0 }, who[DOCS] = { 0 }, k = 0;
        sy_kv *caches[DOCS] = { 0 };
        sy_real *out[DOCS] = { 0 };
        for (int d = 0; d < n_docs; d++) {
            int left = length[docs[d]] - done[d], want = piece[(round + d) % n_pieces];
            if (!left) continue;
            doc[k] = docs[d], at[k] = done[d], n[k] = want < left ? want : left, who[k] = d, caches[k] = &kv[d];
            out[k] = malloc((size_t)n[k] * b->V * sizeof(sy_real));
            k++;
        }
        if (!k) break;
        pass(m, b, doc, at, n, k, caches, SY_SERVE, false, out);
        for (int i = 0; i < k; i++) {
            expect_doc(name, b, doc[i], at[i], n[i], out[i]);
            done[who[i]] += n[i];
            free(out[i]);
        }
    }
    for (int d = 0; d < n_docs; d++) sy_kv_close(&kv[d]);
}

static void one_model(sy_model *m, bed *b)
{
    static const int order[] = { 0, 1, 2, 3, 4 }, other[] = { 4, 2, 1, 0, 1, 3 }, two[] = { 1, 2 };
    static const int one[] = { 1 }, pieces[] = { 7, 64, 1, 100, 3 }, whole[] = { MAX };
    packed(m, b, order, 5, SY_TRAIN, true, "training, packed");
    packed(m, b, other, 6, SY_TRAIN, true, "training, packed in another order");
    packed(m, b, order, 5, SY_SERVE, false, "serving, packed");
    cached(m, b, order, 5, whole, 1, "prefill in one piece");
    cached(m, b, order, 5, pieces, 5, "prefill in pieces, many sequences");
    cached(m, b, two, 1, pieces, 5, "prefill in pieces, alone");
    cached(m, b, order, 5, one, 1, "token by token, many sequences");
    cached(m, b, two, 1, one, 1, "token by token, alone");
}

static void with_kernels(const char *kernels)
{
    for (size_t c = 0; c < SY_COUNT(models); c++) {
        static bed b;
        for (int d = 0; d < DOCS; d++)
            for (int i = 0; i < length[d]; i++) b.id[d][i] = (int)sy_draw_below(sy_key(sy_test_seed(), SY_FOR_TEST, (uint64_t)d, 0, 0), (uint64_t)i, 0, 61);
        for (int threads = 1; threads <= 3; threads++) {
            sy_engine eng;
            sy_expect_ok(sy_engine_init(&eng, threads, kernels, &sy_builtin_methods, err));
            sy_model *m = model_of(&eng, models[c].settings);
            b.V = m->spec.vocab_size;
            sy_test_case("%s, kernels %s, %d threads", models[c].what, kernels, threads);
            for (int d = 0; d < DOCS && threads == 1; d++) {
                b.want[d] = malloc((size_t)length[d] * b.V * sizeof(sy_real));
                pass(m, &b, &d, &(int){ 0 }, &length[d], 1, NULL, SY_SERVE, false, &b.want[d]);
            }
            one_model(m, &b);
            sy_model_free(m);
            sy_engine_uninit(&eng);
        }
        for (int d = 0; d < DOCS; d++) free(b.want[d]);
    }
}

static void test_same_bits(void **state)
{
    (void)state;
    for (int i = 0; sy_kernels_at(i); i++)
        if (!sy_kernels_at(i)->gemm16) with_kernels(sy_kernels_at(i)->name);         /* sets with products in bfloat16 have the float32 kernels of avx512 */
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_same_bits) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
