/* Models through GGUF files and back, for every architecture: the same bits of every logit, whether loaded from the folder, from the GGUF file in
 * place, or from the folder made of it; the same file bytes the second time. Other types: bytes do not depend on the way, logits stay near. What
 * is damaged is refused with the names. Oracle: the model before it was written. */
#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/json.h"
#include "methods.h"
#include "model/checkpoint.h"
#include "model/convert.h"
#include "model/gguf_files.h"

enum { T = 24, WIDE = 64 };             /* logits of 61, or hidden states of 64 */

#define PHI "layers=sparse,norm=layer,norm_bias=true,num_experts=5,moe_intermediate_size=32,"
#define LONGROPE "rope_type=longrope,rope_factor=8,original_max_position_embeddings=16,rope_short_factor='1 1.1 1.2 1.5 1.7 2.1 2.2 3',rope_long_factor='1 1.5 2 3 5 8 13.7 20'"     /* T is beyond 16 */
#define BERT "layers=dense,norm=layer,norm_bias=true,norm_place=post,embedding_norm=true,final_norm=false,lm_head=false,causal=false,learned_positions=true,rope_type=none,ffn_gated=false," \
    "mlp_bias=true,hidden_act=gelu,attention_bias=true,attention_out_bias=true,"

static const struct { const char *arch, *settings; } models[] = {
    { "llama", "layers=dense,num_key_value_heads=2" },
    { "llama", "layers=dense,tie_word_embeddings=true,sliding_window=9,head_dim=32" },
    { "llama", "layers=dense,attention_bias=true,attention_out_bias=true" },
    { "llama", "layers=dense,rope_type=llama3,rope_factor=8,rope_low_freq_factor=1,rope_high_freq_factor=4,original_max_position_embeddings=64" },
    { "llama", "layers=dense,rope_type=linear,rope_factor=4" },
    { "llama", "layers=sparse,router='topk:top_k=2,norm_topk_prob=true',num_experts=5,moe_intermediate_size=64,num_key_value_heads=1" },
    { "qwen3", "layers=dense,qk_norm=true,num_key_value_heads=2,head_dim=32" },
    { "qwen3", "layers=dense,qk_norm=true,rope_type=yarn,rope_factor=4,original_max_position_embeddings=32" },
    { "qwen3moe", "layers=sparse,qk_norm=true,router='topk:top_k=3,norm_topk_prob=true',num_experts=6,moe_intermediate_size=32" },
    { "qwen2moe", "layers=sparse,attention_bias=true,router='topk:top_k=2',num_experts=6,moe_intermediate_size=32,shared_expert_intermediate_size=96,shared_expert_gate=true" },
    { "olmoe", "layers=sparse,qk_norm=row,router='topk:top_k=2',num_experts=6,moe_intermediate_size=32" },
    { "deepseek", "layers='dense*1,sparse*1',router='topk:top_k=2',num_experts=6,moe_intermediate_size=32,shared_expert_intermediate_size=64" },
    { "granitemoe", "layers=sparse,router='topk:top_k=2,norm_topk_prob=true',num_experts=6,moe_intermediate_size=32,embedding_multiplier=3,residual_multiplier=0.5,logits_scaling=2,"
                    "attention_multiplier=0.125" },
    { "glm4moe", "layers='dense*1,sparse*1',attention_bias=true,partial_rotary_factor=0.5,router='auxfree:top_k=2,norm_topk_prob=true,routed_scaling_factor=1.5',num_experts=6,"
                 "moe_intermediate_size=32,shared_expert_intermediate_size=32" },
    { "deepseek2", "layers='dense*1,sparse*1',attention=mla,q_lora_rank=24,kv_lora_rank=32,qk_nope_head_dim=16,qk_rope_head_dim=8,v_head_dim=16,rope_interleaved=true,"
                   "router='topk:top_k=2,routed_scaling_factor=2',num_experts=6,moe_intermediate_size=32,shared_expert_intermediate_size=64,rope_type=yarn,rope_factor=8,rope_mscale=0.707,"
                   "rope_mscale_all_dim=0.707,original_max_position_embeddings=64" },
    { "deepseek2", "layers=sparse,attention=mla,q_lora_rank=0,kv_lora_rank=32,qk_nope_head_dim=16,qk_rope_head_dim=8,v_head_dim=16,rope_interleaved=true,"
                   "router='auxfree:scoring_func=sigmoid,top_k=2,norm_topk_prob=true,routed_scaling_factor=2.5,n_group=2,topk_group=1',num_experts=6,moe_intermediate_size=32,shared_expert_intermediate_size=32" },
    { "gpt-oss", "layers=sparse,attention_bias=true,attention_out_bias=true,attention_sinks=true,sliding_window=8,window_layers='sliding,full',rope_truncate=false,rope_type=yarn,rope_factor=4,"
                 "original_max_position_embeddings=64,num_key_value_heads=2,router='topk:top_k=2,norm_topk_prob=true,router_bias=true',expert=swiglu_clamped,num_experts=4,moe_intermediate_size=32" },
    { "gpt2", "layers=dense,norm=layer,norm_bias=true,learned_positions=true,rope_type=none,ffn_gated=false,mlp_bias=true,hidden_act=gelu_tanh,attention_bias=true,attention_out_bias=true,"
              "tie_word_embeddings=true" },
    { "gptneox", "layers=dense,norm=layer,norm_bias=true,norm_place=parallel,ffn_gated=false,mlp_bias=true,hidden_act=gelu,attention_bias=true,attention_out_bias=true,partial_rotary_factor=0.25" },
    { "gptneox", "layers=dense,norm=layer,norm_bias=true,norm_place=parallel,ffn_gated=false,mlp_bias=true,hidden_act=gelu,attention_bias=true,attention_out_bias=true,partial_rotary_factor=0.3" },      /* 4 of 16 values */
    { "phimoe", PHI "attention_bias=true,attention_out_bias=true,lm_head_bias=true,router=sparsemixer,num_key_value_heads=2" },
    { "phimoe", PHI "router='sparsemixer:router_jitter_noise=0.2'," LONGROPE },
    { "phimoe", PHI "lm_head_bias=true,router=sparsemixer,rope_short_mscale=1.243163121016122,rope_long_mscale=1.243163121016122," LONGROPE },
    { "phimoe", PHI "tie_word_embeddings=true,router=sparsemixer,rope_short_mscale=1.2,rope_long_mscale=1.3," LONGROPE },
    { "bert", BERT "type_vocab_size=2" },
    { "bert", BERT "type_vocab_size=3,pooling=mean,rms_norm_eps=1e-12" },
    { "bert", BERT "pooling=cls,num_key_value_heads=2" },
};

static sy_engine eng;

static char *in_dir(const char *name)
{
    static char path[4][1024];
    static int turn;
    char *p = path[turn++ % 4];
    snprintf(p, sizeof *path, "%s/%s", sy_test_dir(), name);
    return p;
}

/* The last parts of a path must be new for each model. */
static char *fresh(const char *name)
{
    static int n;
    char text[64];
    snprintf(text, sizeof text, "%d-%s", n++, name);
    return in_dir(text);
}

static sy_model *model_of(const char *settings)
{
    sy_spec s;
    sy_arena a = { 0 };
    sy_model *m;
    sy_spec_defaults(&s);
    s.vocab_size = 61, s.hidden_size = 64, s.num_hidden_layers = 2, s.num_attention_heads = 4, s.intermediate_size = 96, s.max_position_embeddings = 128;
    s.initializer_range = 0.2;
    sy_expect_ok(sy_opt_parse(sy_spec_opts, &s, settings, &a, NULL, err));
    sy_expect_ok(sy_model_new(&m, &eng, &s, 0, sy_test_seed(), err));
    for (int i = 0; i < m->params.n; i++) {          /* norms, biases and the router's bias are not left at their plain values */
        sy_param *p = m->params.p[i];
        if (p->w.nd < 2) for (size_t k = 0; k < p->n; k++) ((sy_real *)p->w.data)[k] += (sy_real)((int)(k * 7 % 13) - 6) / 64;
    }
    sy_arena_free(&a);
    return m;
}

static void save(const sy_model *m, const char *dir)
{
    sy_expect_ok(sy_mkdirs(dir, err));
    sy_expect_ok(sy_model_save(m, dir, -1, NULL, err));
}

static sy_status pass(sy_model *m, sy_real *out, sy_err *err)
{
    int id[T], pos[T], seq[T] = { 0 };
    sy_segment seg = { .n = T };
    uint64_t no = 1;
    sy_tape t;
    for (int i = 0; i < T; i++) id[i] = i * 17 % m->spec.vocab_size, pos[i] = i;
    sy_batch b = { .T = T, .n_seg = 1, .id = id, .pos = pos, .seq = seq, .seg = &seg, .seq_no = &no };
    sy_run run = { .mode = SY_EVAL };
    sy_tape_init(&t, &eng, false);
    sy_tensor *z = sy_model_hidden(m, &t, &b, &run);
    if (m->spec.lm_head) z = sy_model_logits(m, &t, z, NULL, T);
    sy_status st = sy_tape_status(&t, err);
    if (st == SY_OK) {
        assert_true(sy_numel(z) <= T * WIDE);
        memset(out, 0, T * WIDE * sizeof *out);
        memcpy(out, z->x, sy_numel(z) * sizeof *out);
    }
    sy_tape_free(&t);
    return st;
}

static void logits_of(sy_model *m, sy_real *out) { sy_expect_ok(pass(m, out, err)); }

static sy_status convert_to(const char *in, const char *out, const char *type, sy_err *err)
{
    sy_ledger l = { 0 };
    sy_convert c = { .in = in, .out = out, .type = type };
    sy_status st = sy_convert_run(&eng, &c, &l, err);
    sy_ledger_free(&l);
    return st;
}

static void load_logits(const char *path, sy_real *out)
{
    sy_model *m;
    sy_expect_ok(sy_model_load(&m, &eng, path, 0, NULL, err));
    logits_of(m, out);
    sy_model_free(m);
}

static void expect_same_file(const char *a, const char *b)
{
    sy_map x, y;
    sy_expect_ok(sy_map_open(&x, a, err));
    sy_expect_ok(sy_map_open(&y, b, err));
    assert_int_equal(x.size, y.size);
    sy_expect_same("file", x.data, y.data, x.size);
    sy_map_close(&x);
    sy_map_close(&y);
}

static void both_ways(void **state)
{
    static sy_real want[T * WIDE], got[T * WIDE];
    (void)state;
    for (size_t i = 0; i < SY_COUNT(models); i++) {
        char *dir = strdup(fresh("model")), *gguf = strdup(fresh("model.gguf")), *back = strdup(fresh("back")), *again = strdup(fresh("again.gguf"));
        sy_model *m = model_of(models[i].settings);
        sy_gguf_files f;
        sy_arena a = { 0 };
        const char *arch = NULL;
        sy_test_case("%s: %s", models[i].arch, models[i].settings);
        save(m, dir);
        logits_of(m, want);
        sy_model_free(m);
        sy_expect_ok(convert_to(dir, gguf, NULL, err));
        sy_expect_ok(sy_gguf_files_open(&f, gguf, true, err));
        sy_expect_ok(sy_gguf_text(&f.g[0], "general.architecture", true, &a, &arch, err));
        assert_string_equal(arch, models[i].arch);
        sy_gguf_files_close(&f);
        sy_arena_free(&a);
        load_logits(gguf, got);
        if (sizeof(sy_real) == 4) sy_expect_same("logits from the GGUF file", got, want, sizeof got);
        else sy_expect_close("logits from the GGUF file", got, want, T * WIDE, 1e-4, 1e-4);      /* a file of floats */
        sy_expect_ok(convert_to(gguf, back, NULL, err));
        load_logits(back, got);
        if (sizeof(sy_real) == 4) sy_expect_same("logits from the folder made of it", got, want, sizeof got);
        else sy_expect_close("logits from the folder made of it", got, want, T * WIDE, 1e-4, 1e-4);
        sy_expect_ok(convert_to(back, again, NULL, err));
        expect_same_file(gguf, again);
        free(dir), free(gguf), free(back), free(again);
    }
}

/* Numbers that llama.cpp wants are in the file even where they are what this reader would take without them. */
static void numbers_are_said(void **state)
{
    static const struct { const char *settings, *key; double value; } cases[] = {
        { "layers=sparse,router='topk:top_k=2,norm_topk_prob=true',num_experts=6,moe_intermediate_size=32,embedding_multiplier=3", "granitemoe.logit_scale", 1 },
        { "layers=sparse,attention=mla,q_lora_rank=24,kv_lora_rank=32,qk_nope_head_dim=16,qk_rope_head_dim=8,v_head_dim=16,rope_interleaved=true,num_experts=6,moe_intermediate_size=32,"
          "shared_expert_intermediate_size=32,router='auxfree:scoring_func=sigmoid,top_k=2,norm_topk_prob=true,n_group=2,topk_group=1'", "deepseek2.expert_group_used_count", 1 },
    };
    (void)state;
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        char *dir = strdup(fresh("model")), *gguf = strdup(fresh("model.gguf"));
        sy_model *m = model_of(cases[i].settings);
        sy_gguf_files f;
        double value = 0;
        sy_test_case("%s", cases[i].key);
        save(m, dir);
        sy_model_free(m);
        sy_expect_ok(convert_to(dir, gguf, NULL, err));
        sy_expect_ok(sy_gguf_files_open(&f, gguf, true, err));
        sy_expect_ok(sy_gguf_real(&f.g[0], cases[i].key, true, 0, 100, &value, err));
        assert_true(value == cases[i].value);
        sy_gguf_files_close(&f);
        free(dir), free(gguf);
    }
}

/* Types by way of floats or at once; the error shrinks with the bits. */
static void types(void **state)
{
    static const struct { const char *type; double most; } cases[] = { { "f16", 0.02 }, { "bf16", 0.15 }, { "q8_0", 0.1 }, { "q5_0", 0.9 }, { "q4_k", 2 }, { "iq4_nl", 1.5 }, { "mxfp4", 3 } };
    static sy_real want[T * WIDE], got[T * WIDE];
    char *dir = strdup(fresh("model")), *gguf = strdup(fresh("f32.gguf"));
    sy_model *m = model_of("layers=sparse,router='topk:top_k=6,norm_topk_prob=true',num_experts=6,moe_intermediate_size=64");      /* all experts: no choice flips */
    (void)state;
    save(m, dir);
    logits_of(m, want);
    sy_model_free(m);
    sy_expect_ok(convert_to(dir, gguf, NULL, err));
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        char *a = strdup(fresh("a.gguf")), *b = strdup(fresh("b.gguf"));
        double sum = 0, size = 0;
        sy_test_case("%s", cases[i].type);
        sy_expect_ok(convert_to(dir, a, cases[i].type, err));
        sy_expect_ok(convert_to(gguf, b, cases[i].type, err));
        expect_same_file(a, b);
        load_logits(a, got);
        for (int k = 0; k < T * WIDE; k++) sum += fabs((double)got[k] - (double)want[k]), size += fabs((double)want[k]);
        if (!(sum / size < cases[i].most)) fail_msg("%s: logits are off by %g of their size", cases[i].type, sum / size);
        free(a), free(b);
    }
    free(dir), free(gguf);
}

static void refused(void **state)
{
    sy_err told = { 0 }, *err = &told;
    char *dir = strdup(fresh("model")), *gguf = strdup(fresh("m.gguf")), *out = strdup(fresh("out"));
    sy_model *m = model_of("layers=sparse,router='topk:top_k=2,norm_topk_prob=true',num_experts=3,moe_intermediate_size=64"), *loaded;
    (void)state;
    save(m, dir);
    sy_model_free(m);
    sy_expect_ok(convert_to(dir, gguf, NULL, err));
    sy_expect_fail(convert_to(dir, gguf, NULL, err), SY_EEXIST, "is there already");
    sy_expect_fail(convert_to(dir, dir, NULL, err), SY_EARG, "into itself");
    sy_expect_fail(convert_to(gguf, out, "q4_k", err), SY_EARG, "a folder holds f32, f16 or bf16");
    sy_expect_fail(convert_to(dir, out, "q4", err), SY_EARG, "'q4' is no type of numbers");
    sy_expect_fail(convert_to(in_dir("nowhere.gguf"), out, NULL, err), SY_ENOENT, "nowhere.gguf");
    sy_expect_fail(sy_model_load(&loaded, &eng, gguf, SY_MODEL_TRAIN, NULL, err), SY_EUNSUP, "cannot be trained");
    assert_false(sy_file_exists(out));

    sy_test_case("a model that no architecture says");
    char *odd = strdup(fresh("odd"));
    static const char *const unsaid[] = {
        "layers=sparse,router='topk:top_k=2,norm_topk_prob=true',num_experts=3,moe_intermediate_size=64,qk_norm=row",
        "layers=dense,norm=layer,norm_bias=true,norm_place=parallel,ffn_gated=false,mlp_bias=true,hidden_act=gelu,attention_bias=true,attention_out_bias=true,partial_rotary_factor=0.2",    /* 3 of 16 values */
        "layers=dense,norm=layer,norm_bias=true,learned_positions=true,rope_type=none,ffn_gated=false,mlp_bias=true,hidden_act=gelu_tanh,attention_bias=true,attention_out_bias=true,"
        "tie_word_embeddings=true,scale_attn_by_inverse_layer_idx=true",
    };
    for (size_t i = 0; i < SY_COUNT(unsaid); i++) {
        m = model_of(unsaid[i]);
        save(m, odd);
        sy_model_free(m);
        sy_expect_fail(convert_to(odd, fresh("odd.gguf"), NULL, err), SY_EUNSUP, "no architecture of GGUF files says all of this model");
    }

    sy_test_case("a tensor renamed");
    sy_buf b = { 0 };
    sy_expect_ok(sy_file_read(gguf, 1 << 26, &b, err));
    char *at = memmem(b.data, b.n, "blk.1.attn_v.weight", 19), *bad = strdup(fresh("bad.gguf"));
    assert_non_null(at);
    at[4] = '7';
    sy_expect_ok(sy_file_write(bad, b.data, b.n, err));
    sy_expect_fail(sy_model_load(&loaded, &eng, bad, 0, NULL, err), SY_ELEDGER, "blk.1.attn_v.weight");
    sy_expect_fail(convert_to(bad, out, NULL, err), SY_ELEDGER, "blk.7.attn_v.weight");
    assert_false(sy_file_exists(out));

    sy_test_case("a key of another size");
    at[4] = '1';
    at = memmem(b.data, b.n, "llama.embedding_length", 22);
    assert_non_null(at);
    uint32_t wrong = 32;
    memcpy(at + 26, &wrong, 4);
    sy_expect_ok(sy_file_write(bad, b.data, b.n, err));
    sy_expect_fail(sy_model_load(&loaded, &eng, bad, 0, NULL, err), SY_ESHAPE, "token_embd.weight' is 61 x 64");
    sy_buf_free(&b);

    sy_test_case("weights that a type cannot hold");
    m = model_of("layers=dense");
    sy_param *p = sy_params_find(&m->params, "model.layers.1.mlp.up_proj.weight");
    ((sy_real *)p->w.data)[5] = (sy_real)1e9;
    char *big = strdup(fresh("big"));
    save(m, big);
    sy_model_free(m);
    sy_expect_fail(convert_to(big, fresh("big.gguf"), "f16", err), SY_ENUM, "blk.1.ffn_up.weight' holds 1e+09, which F16 cannot");
    free(dir), free(gguf), free(out), free(odd), free(bad), free(big);
}

/* Latent attention as newer files have it: attn_k_b with each head's matrix turned round, attn_v_b, lengths of what the cache holds. */
static void two_halves(void **state)
{
    enum { H = 4, R = 32, NOPE = 16, ROT = 8, V = 16 };
    static sy_real want[T * WIDE], got[T * WIDE];
    static float k[H * R * NOPE], v[H * V * R];
    char *dir = strdup(fresh("model")), *old = strdup(fresh("old.gguf")), *new = strdup(fresh("new.gguf")), *back = strdup(fresh("back"));
    sy_model *m = model_of("layers=sparse,attention=mla,q_lora_rank=0,kv_lora_rank=32,qk_nope_head_dim=16,qk_rope_head_dim=8,v_head_dim=16,rope_interleaved=true,"
                           "router='topk:top_k=2',num_experts=3,moe_intermediate_size=32,shared_expert_intermediate_size=32");
    sy_gguf_files f;
    sy_gguf_writer w;
    (void)state;
    save(m, dir);
    sy_model_free(m);
    sy_expect_ok(convert_to(dir, old, NULL, err));
    load_logits(old, want);
    sy_expect_ok(sy_gguf_files_open(&f, old, true, err));
    sy_expect_ok(sy_gguf_writer_open(&w, new, err));
    for (int i = 0; i < f.g[0].keys; i++) {
        const char *name = f.g[0].key[i].key;
        if (!strcmp(name, "deepseek2.attention.head_count_kv")) sy_gguf_put_u32(&w, name, 1);
        else if (!strcmp(name, "deepseek2.attention.key_length")) sy_gguf_put_u32(&w, name, R + ROT), sy_gguf_put_u32(&w, "deepseek2.attention.key_length_mla", NOPE + ROT);
        else if (!strcmp(name, "deepseek2.attention.value_length")) sy_gguf_put_u32(&w, name, R), sy_gguf_put_u32(&w, "deepseek2.attention.value_length_mla", V);
        else sy_gguf_put_key(&w, &f.g[0].key[i]);
    }
    for (int pass = 0; pass < 2; pass++) {           /* infos, then data */
        for (int i = 0; i < f.g[0].n; i++) {
            const sy_gguf_tensor *t = &f.g[0].t[i];
            char name[64];
            bool halves = strstr(t->name, "attn_kv_b") != NULL;
            for (size_t h = 0; halves && h < H; h++)
                for (size_t r = 0; r < R; r++) {
                    for (size_t n = 0; n < NOPE; n++) memcpy(&k[(h * R + r) * NOPE + n], t->data + 4 * ((h * (NOPE + V) + n) * R + r), 4);
                    for (size_t n = 0; n < V; n++) memcpy(&v[(h * V + n) * R + r], t->data + 4 * ((h * (NOPE + V) + NOPE + n) * R + r), 4);
                }
            if (pass && halves) {
                sy_expect_ok(sy_gguf_writer_data(&w, k, sizeof k, err));
                sy_expect_ok(sy_gguf_writer_data(&w, v, sizeof v, err));
            } else if (pass) sy_expect_ok(sy_gguf_writer_data(&w, t->data, t->bytes, err));
            else if (halves) {
                snprintf(name, sizeof name, "blk.%c.attn_k_b.weight", t->name[4]);
                sy_expect_ok(sy_gguf_put_tensor(&w, name, 0, 3, (int64_t[]){ H, R, NOPE }, err));
                snprintf(name, sizeof name, "blk.%c.attn_v_b.weight", t->name[4]);
                sy_expect_ok(sy_gguf_put_tensor(&w, name, 0, 3, (int64_t[]){ H, V, R }, err));
            } else sy_expect_ok(sy_gguf_put_tensor(&w, t->name, t->id, t->nd, t->dim, err));
        }
        if (!pass) sy_expect_ok(sy_gguf_writer_begin(&w, err));
    }
    sy_expect_ok(sy_gguf_writer_close(&w, err));
    sy_gguf_writer_abandon(&w);
    sy_gguf_files_close(&f);
    load_logits(new, got);
    sy_expect_same("logits", got, want, sizeof got);
    sy_expect_ok(convert_to(new, back, NULL, err));
    load_logits(back, got);
    sy_expect_close("logits from the folder", got, want, T * WIDE, sizeof(sy_real) == 4 ? 0 : 1e-4, 0);
    free(dir), free(old), free(new), free(back);
}

static void put_part(const sy_gguf *g, const char *path, int no, int from, int to)
{
    sy_gguf_writer w;
    sy_expect_ok(sy_gguf_writer_open(&w, path, err));
    for (int i = 0; i < g->keys && no == 0; i++) sy_gguf_put_key(&w, &g->key[i]);
    sy_gguf_put_one(&w, "split.no", SY_GGUF_U16), sy_gguf_elem(&w, &(uint16_t){ (uint16_t)no }, 2);
    sy_gguf_put_one(&w, "split.count", SY_GGUF_U16), sy_gguf_elem(&w, &(uint16_t){ 2 }, 2);
    sy_gguf_put_one(&w, "split.tensors.count", SY_GGUF_I32), sy_gguf_elem(&w, &(int32_t){ g->n }, 4);
    for (int i = from; i < to; i++) sy_expect_ok(sy_gguf_put_tensor(&w, g->t[i].name, g->t[i].id, g->t[i].nd, g->t[i].dim, err));
    sy_expect_ok(sy_gguf_writer_begin(&w, err));
    for (int i = from; i < to; i++) sy_expect_ok(sy_gguf_writer_data(&w, g->t[i].data, g->t[i].bytes, err));
    sy_expect_ok(sy_gguf_writer_close(&w, err));
    sy_gguf_writer_abandon(&w);
}

/* A model in two files: the same logits, and one file again. */
static void split(void **state)
{
    static sy_real want[T * WIDE], got[T * WIDE];
    sy_err told = { 0 }, *err = &told;
    char *dir = strdup(fresh("model")), *gguf = strdup(fresh("whole.gguf")), *one = strdup(fresh("one.gguf")), *first = strdup(in_dir("part-00001-of-00002.gguf")), *second = strdup(in_dir("part-00002-of-00002.gguf"));
    sy_model *m = model_of("layers=dense"), *loaded;
    sy_gguf_files f;
    (void)state;
    save(m, dir);
    sy_model_free(m);
    sy_expect_ok(convert_to(dir, gguf, NULL, err));
    load_logits(gguf, want);
    sy_expect_ok(sy_gguf_files_open(&f, gguf, true, err));
    put_part(&f.g[0], first, 0, 0, 9);
    put_part(&f.g[0], second, 1, 9, f.g[0].n);
    load_logits(first, got);
    sy_expect_same("logits", got, want, sizeof got);
    sy_expect_ok(convert_to(first, one, NULL, err));
    expect_same_file(gguf, one);
    sy_expect_fail(sy_model_load(&loaded, &eng, second, 0, NULL, err), SY_EARG, "is part 2 of 2; give the first");
    put_part(&f.g[0], second, 1, 8, f.g[0].n);
    sy_expect_fail(sy_model_load(&loaded, &eng, first, 0, NULL, err), SY_EFORMAT, "tensors in all");
    put_part(&f.g[0], second, 1, 10, f.g[0].n);
    sy_expect_fail(sy_model_load(&loaded, &eng, first, 0, NULL, err), SY_EFORMAT, "tensors in all");
    remove(second);
    sy_expect_fail(sy_model_load(&loaded, &eng, first, 0, NULL, err), SY_ENOENT, "part-00002-of-00002.gguf");
    sy_gguf_files_close(&f);
    free(dir), free(gguf), free(one), free(first), free(second);
}

/* Counts of 0, none, and more than there are: NEEDS of hostile keys. */
static void hostile_keys(void **state)
{
    static const struct { const char *key; uint32_t v; const char *part; } cases[] = {
        { "llama.block_count", 0, "block_count' is 0" }, { "llama.block_count", 1u << 31, "block_count' is 2147483648" }, { "llama.block_count", 1000, "describe 1000 layers" }, { "llama.expert_used_count", 9, "num_experts_per_tok 9" },
        { "llama.expert_count", 1u << 31, "expert_count' is 2147483648" }, { "llama.attention.head_count", 0, NULL }, { "llama.attention.head_count", 1u << 31, NULL },
        { "llama.attention.head_count_kv", 3, "num_key_value_heads 3" }, { "llama.attention.key_length", 0, "key_length' is 0" }, { "llama.vocab_size", 62, "vocab_size is 62" },
        { "llama.expert_used_count", 0, NULL },
    };
    char *dir = strdup(fresh("model")), *gguf = strdup(fresh("m.gguf")), *bad = strdup(fresh("bad.gguf"));
    sy_model *m = model_of("layers=sparse,router='topk:top_k=2,norm_topk_prob=true',num_experts=3,moe_intermediate_size=64");
    (void)state;
    save(m, dir);
    sy_model_free(m);
    sy_expect_ok(convert_to(dir, gguf, NULL, err));
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_buf b = { 0 };
        sy_err told = { 0 };
        size_t n = strlen(cases[i].key);
        sy_model *loaded;
        sy_expect_ok(sy_file_read(gguf, 1 << 26, &b, err));
        char *at = memmem(b.data, b.n, cases[i].key, n);
        while (at && at[n] != SY_GGUF_U32) at = memmem(at + 1, (size_t)(b.data + b.n - at - 1), cases[i].key, n);      /* of head_count, not of head_count_kv */
        assert_non_null(at);
        memcpy(at + n + 4, &cases[i].v, 4);
        sy_expect_ok(sy_file_write(bad, b.data, b.n, err));
        sy_test_case("%s = %u", cases[i].key, cases[i].v);
        sy_status st = sy_model_load(&loaded, &eng, bad, 0, NULL, &told);
        if (st == SY_OK || !*told.text || !strstr(told.text, "bad.gguf")) fail_msg("status %d, '%s'", st, told.text);
        if (cases[i].part && !strstr(told.text, cases[i].part)) fail_msg("'%s' does not say '%s'", told.text, cases[i].part);
        sy_buf_free(&b);
    }
    free(dir), free(gguf), free(bad);
}

static int open_engine(void **state)
{
    (void)state;
    sy_expect_ok(sy_engine_init(&eng, 2, NULL, &sy_builtin_methods, err));
    return 0;
}

static int close_engine(void **state)
{
    (void)state;
    sy_engine_uninit(&eng);
    return 0;
}

/* A file that loses its end between opening and use, or between two uses: a status from every pass, whichever thread of the pool met the lost page,
 * and from saving; the other model is not touched by it. */
static void cut_in_use(void **state)
{
    static sy_real want[T * WIDE], got[T * WIDE];
    (void)state;
    for (int how = 0; how < 6; how++) {
        bool gguf = how & 1, used = how & 2, most = how & 4;
        sy_err told = { 0 }, *err = &told;
        char *dir = strdup(fresh("model")), *copy = strdup(fresh("copy")), *file = strdup(fresh("model.gguf")), path[1100];
        sy_model *m, *other;
        sy_test_case("%s, %s, %s of it lost", gguf ? "a GGUF file" : "a folder", used ? "after a pass" : "before the first pass", most ? "most" : "the end");
        if (!gguf && sizeof(sy_real) != 4) { free(dir), free(copy), free(file); continue; }        /* a build of doubles maps no folders */
        m = model_of("layers=sparse,router='topk:top_k=2,norm_topk_prob=true',num_experts=5,moe_intermediate_size=128");
        save(m, dir);
        save(m, copy);
        sy_model_free(m);
        if (gguf) sy_expect_ok(convert_to(dir, file, NULL, err));
        snprintf(path, sizeof path, "%s%s", gguf ? file : dir, gguf ? "" : "/model.safetensors");
        sy_expect_ok(sy_model_load(&m, &eng, gguf ? file : dir, SY_MODEL_MAPPED, NULL, err));
        sy_expect_ok(sy_model_load(&other, &eng, copy, SY_MODEL_MAPPED, NULL, err));
        sy_expect_ok(sy_model_whole(m, err));
        logits_of(other, want);
        if (used) logits_of(m, got);
        assert_int_equal(truncate(path, most ? 4096 : sy_file_size(path) / 8192 * 4096), 0);
        sy_expect_fail(pass(m, got, err), SY_EIO, "was cut short");
        sy_expect_fail(pass(m, got, err), SY_EIO, path);
        sy_expect_fail(sy_model_whole(m, err), SY_EIO, "run again");
        if (!gguf) {
            char *out = strdup(fresh("out"));
            sy_expect_ok(sy_mkdirs(out, err));
            sy_expect_fail(sy_model_save(m, out, -1, NULL, err), SY_EIO, "was cut short");
            snprintf(path, sizeof path, "%s/model.safetensors", out);
            assert_false(sy_file_exists(path));
            free(out);
        }
        logits_of(other, got);
        sy_expect_same("the other model", got, want, sizeof got);
        sy_model_free(m);
        sy_model_free(other);
        free(dir), free(copy), free(file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(both_ways), cmocka_unit_test(numbers_are_said), cmocka_unit_test(types), cmocka_unit_test(refused), cmocka_unit_test(two_halves), cmocka_unit_test(split), cmocka_unit_test(hostile_keys),
                                        cmocka_unit_test(cut_in_use) };
    return cmocka_run_group_tests(tests, open_engine, close_engine);
}
