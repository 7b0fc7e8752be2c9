/* model/gguf_arch.c - the architectures of GGUF files, a table each. Keys and names as llama.cpp's converter writes them. */
#include "model/gguf_card.h"

#define L "model.layers.{l}."
#define B "blk.{l}."
#define PART(own, file) { own, file, 0, 0, 0 }

#define ENDS PART("model.embed_tokens.weight", "token_embd.weight"), PART("model.norm.weight", "output_norm.weight"), PART("lm_head.weight", "output.weight")
#define NORMS PART(L "input_layernorm.weight", B "attn_norm.weight"), PART(L "post_attention_layernorm.weight", B "ffn_norm.weight")
/* q and k straight, or permuted. */
#define ATTN(lay) \
    { L "self_attn.q_proj.weight", B "attn_q.weight", lay, 0, 0 }, { L "self_attn.k_proj.weight", B "attn_k.weight", lay, 0, 0 }, \
    { L "self_attn.q_proj.bias", B "attn_q.bias", lay, 0, 0 }, { L "self_attn.k_proj.bias", B "attn_k.bias", lay, 0, 0 },         \
    PART(L "self_attn.v_proj.weight", B "attn_v.weight"), PART(L "self_attn.v_proj.bias", B "attn_v.bias"),                       \
    PART(L "self_attn.o_proj.weight", B "attn_output.weight"), PART(L "self_attn.o_proj.bias", B "attn_output.bias")
#define QK_NORMS PART(L "self_attn.q_norm.weight", B "attn_q_norm.weight"), PART(L "self_attn.k_norm.weight", B "attn_k_norm.weight")
#define FFN PART(L "mlp.gate_proj.weight", B "ffn_gate.weight"), PART(L "mlp.up_proj.weight", B "ffn_up.weight"), PART(L "mlp.down_proj.weight", B "ffn_down.weight")
/* Experts are stacks; files from before April 2024 have a tensor each, newer ones may have gate and up in one. */
#define EXPERTS \
    PART(L "mlp.gate.weight", B "ffn_gate_inp.weight"), PART(L "mlp.experts.{e}.gate_proj.weight", B "ffn_gate_exps.weight"),      \
    PART(L "mlp.experts.{e}.up_proj.weight", B "ffn_up_exps.weight"), PART(L "mlp.experts.{e}.down_proj.weight", B "ffn_down_exps.weight"), \
    { L "mlp.experts.{e}.gate_proj.weight", B "ffn_gate_up_exps.weight", 0, 0, 2 }, { L "mlp.experts.{e}.up_proj.weight", B "ffn_gate_up_exps.weight", 0, 1, 2 }, \
    PART(L "mlp.experts.{e}.gate_proj.weight", B "ffn_gate.{e}.weight"), PART(L "mlp.experts.{e}.up_proj.weight", B "ffn_up.{e}.weight"), \
    PART(L "mlp.experts.{e}.down_proj.weight", B "ffn_down.{e}.weight")
#define SHARED \
    PART(L "mlp.shared_expert.gate_proj.weight", B "ffn_gate_shexp.weight"), PART(L "mlp.shared_expert.up_proj.weight", B "ffn_up_shexp.weight"), \
    PART(L "mlp.shared_expert.down_proj.weight", B "ffn_down_shexp.weight"), PART(L "mlp.shared_expert_gate.weight", B "ffn_gate_inp_shexp.weight")
#define END { NULL, NULL, 0, 0, 0 }

static const sy_family_part llama_parts[] = { ENDS, NORMS, ATTN(SY_LAY_ROTARY), FFN, EXPERTS, SHARED, END };
static const sy_family_part qwen_parts[] = { ENDS, NORMS, ATTN(0), QK_NORMS, FFN, EXPERTS, SHARED, END };
static const sy_family_part glm_parts[] = {
    ENDS, PART(L "input_layernorm.weight", B "attn_norm.weight"), PART(L "post_attention_layernorm.weight", B "post_attention_norm.weight"), ATTN(0), QK_NORMS, FFN, EXPERTS, SHARED,
    PART(L "mlp.gate.e_score_correction_bias", B "exp_probs_b.bias"), END };

#define BOTH(own, file) PART(own ".weight", file ".weight"), PART(own ".bias", file ".bias")
#define QKV(p, part) { L "self_attn." p ".weight", B "attn_qkv.weight", 0, part, 3 }, { L "self_attn." p ".bias", B "attn_qkv.bias", 0, part, 3 }
static const sy_family_part gpt_parts[] = {          /* GPT-2 and GPT-NeoX: queries, keys and values one behind the other */
    PART("model.embed_tokens.weight", "token_embd.weight"), PART("model.embed_positions.weight", "position_embd.weight"), BOTH("model.norm", "output_norm"),
    PART("lm_head.weight", "output.weight"), BOTH(L "input_layernorm", B "attn_norm"), BOTH(L "post_attention_layernorm", B "ffn_norm"),
    QKV("q_proj", 0), QKV("k_proj", 1), QKV("v_proj", 2), BOTH(L "self_attn.o_proj", B "attn_output"), BOTH(L "mlp.up_proj", B "ffn_up"), BOTH(L "mlp.down_proj", B "ffn_down"), END };
static const sy_family_part oss_parts[] = {
    ENDS, PART(L "input_layernorm.weight", B "attn_norm.weight"), PART(L "post_attention_layernorm.weight", B "post_attention_norm.weight"), ATTN(0),
    PART(L "self_attn.sinks", B "attn_sinks.weight"), EXPERTS, PART(L "mlp.gate.bias", B "ffn_gate_inp.bias"), PART(L "mlp.experts.{e}.gate_proj.bias", B "ffn_gate_exps.bias"),
    PART(L "mlp.experts.{e}.up_proj.bias", B "ffn_up_exps.bias"), PART(L "mlp.experts.{e}.down_proj.bias", B "ffn_down_exps.bias"), END };
static const sy_family_part mla_parts[] = {          /* written is the older of the two generations, with one attn_kv_b; gguf_files.c reads the halves of the newer */
    ENDS, NORMS, PART(L "self_attn.q_proj.weight", B "attn_q.weight"), PART(L "self_attn.q_a_proj.weight", B "attn_q_a.weight"),
    PART(L "self_attn.q_a_layernorm.weight", B "attn_q_a_norm.weight"), PART(L "self_attn.q_b_proj.weight", B "attn_q_b.weight"),
    PART(L "self_attn.kv_a_proj_with_mqa.weight", B "attn_kv_a_mqa.weight"), PART(L "self_attn.kv_a_layernorm.weight", B "attn_kv_a_norm.weight"),
    PART(L "self_attn.kv_b_proj.weight", B "attn_kv_b.weight"), PART(L "self_attn.o_proj.weight", B "attn_output.weight"), FFN, EXPERTS, SHARED,
    PART(L "mlp.gate.e_score_correction_bias", B "exp_probs_b.bias"), END };

static const sy_family_part phimoe_parts[] = {
    ENDS, PART("model.norm.bias", "output_norm.bias"), PART("lm_head.bias", "output.bias"), NORMS, PART(L "input_layernorm.bias", B "attn_norm.bias"),
    PART(L "post_attention_layernorm.bias", B "ffn_norm.bias"), ATTN(0), EXPERTS, END };
static const sy_family_part bert_parts[] = {
    PART("model.embed_tokens.weight", "token_embd.weight"), PART("model.embed_positions.weight", "position_embd.weight"), PART("model.embed_types.weight", "token_types.weight"),
    BOTH("model.embed_norm", "token_embd_norm"), ATTN(0), BOTH(L "input_layernorm", B "attn_output_norm"), BOTH(L "mlp.up_proj", B "ffn_up"), BOTH(L "mlp.down_proj", B "ffn_down"),
    BOTH(L "post_attention_layernorm", B "layer_output_norm"), END };

#define FIELD(key, field, def) { key, field, def, NULL }
#define FIELDS_END { NULL, NULL, NULL, NULL }
#define FFN_WIDTH FIELD("feed_forward_length", "intermediate_size", NULL)
#define MOE FIELD("expert_count", "num_experts", NULL), FIELD("expert_used_count", "router.num_experts_per_tok", NULL)
#define MOE_WIDTH FIELD("expert_feed_forward_length", "moe_intermediate_size", NULL)

static const sy_gguf_field llama[] = { FFN_WIDTH, FIELD("attention.sliding_window", "sliding_window", "0"), FIELDS_END };
static const sy_gguf_field mixtral[] = { FIELD("feed_forward_length", "moe_intermediate_size", NULL), MOE, FIELD("attention.sliding_window", "sliding_window", "0"), FIELDS_END };
static const sy_gguf_field dense[] = { FFN_WIDTH, FIELDS_END };
static const sy_gguf_field qwen2moe[] = { FFN_WIDTH, MOE, MOE_WIDTH, FIELD("expert_shared_feed_forward_length", "shared_expert_intermediate_size", NULL), FIELDS_END };
static const sy_gguf_field qwen3moe[] = { FFN_WIDTH, MOE, MOE_WIDTH, FIELDS_END };
static const sy_gguf_field olmoe[] = { FIELD("feed_forward_length", "moe_intermediate_size", NULL), MOE, FIELD("attention.clamp_kqv", "clip_qkv", "0"), FIELDS_END };
static const sy_gguf_field deepseek[] = { FFN_WIDTH, MOE, MOE_WIDTH, FIELD("expert_weights_scale", "router.routed_scaling_factor", "1"), FIELDS_END };
static const sy_gguf_field granitemoe[] = {
    FIELD("feed_forward_length", "moe_intermediate_size", NULL), MOE, FIELD("attention.scale", "attention_multiplier", "0"), FIELD("embedding_scale", "embedding_multiplier", "1"),
    FIELD("residual_scale", "residual_multiplier", "1"), FIELD("logit_scale", "logits_scaling", "1"),
    FIELD("expert_shared_feed_forward_length", "shared_expert_intermediate_size", "0"), FIELDS_END };
static const sy_gguf_field glm4moe[] = {
    FFN_WIDTH, MOE, MOE_WIDTH, FIELD("expert_weights_scale", "router.routed_scaling_factor", "1"), { "expert_weights_norm", "router.norm_topk_prob", "false", "true=true false=false true=auto" },
    { "expert_gating_func", "router.scoring_func", NULL, "1=softmax 2=sigmoid" }, FIELD("expert_group_count", "router.n_group", "1"), FIELD("expert_group_used_count", "router.topk_group", "1"), FIELDS_END };

static const sy_gguf_field gptneox[] = { FFN_WIDTH, { "use_parallel_residual", "norm_place", "parallel", "true=parallel false=pre" }, FIELDS_END };
static const sy_gguf_field oss[] = { MOE, MOE_WIDTH, FIELD("attention.sliding_window", "sliding_window", NULL), FIELD("expert_gating_func", NULL, "3"), FIELDS_END };
#define LATENT FFN_WIDTH, MOE, MOE_WIDTH, FIELD("attention.q_lora_rank", "q_lora_rank", "0"), FIELD("attention.kv_lora_rank", "kv_lora_rank", NULL), \
    FIELD("expert_weights_scale", "router.routed_scaling_factor", "1"), FIELD("expert_group_count", "router.n_group", "1"), FIELD("expert_group_used_count", "router.topk_group", "1")
static const sy_gguf_field deepseek2[] = { LATENT, { "expert_weights_norm", "router.norm_topk_prob", "false", "true=true false=false" }, FIELD("expert_gating_func", NULL, "1"), FIELDS_END };
static const sy_gguf_field deepseek3[] = { LATENT, { "expert_weights_norm", "router.norm_topk_prob", "false", "true=true false=false true=auto" },
                                           { "expert_gating_func", "router.scoring_func", NULL, "1=softmax 2=sigmoid" }, FIELDS_END };

static const sy_gguf_field phimoe[] = {              /* the router's noise has no key of llama.cpp's: it computes another router */
    FIELD("feed_forward_length", "moe_intermediate_size", NULL), MOE, FIELD("attention.sliding_window", "sliding_window", "0"),
    FIELD("router_jitter_noise", "router.router_jitter_noise", "0.01"), FIELDS_END };
static const sy_gguf_field bert[] = {
    FFN_WIDTH, { "attention.causal", "causal", "false", "true=true false=false" }, { "pooling_type", "pooling", "none", "0=none 1=mean 2=cls" }, FIELDS_END };

const sy_gguf_arch sy_gguf_archs[] = {
    { .arch = "llama", .family = "llama", .base = "layers=dense", .fields = llama, .parts = llama_parts },
    { .arch = "llama", .family = "mixtral", .base = "layers=sparse", .router = "topk:norm_topk_prob=true", .expert = "swiglu", .fields = mixtral, .parts = llama_parts },
    { .arch = "qwen2", .family = "qwen2", .base = "layers=dense", .fields = dense, .parts = qwen_parts },
    { .arch = "qwen3", .family = "qwen3", .base = "layers=dense,qk_norm=true", .fields = dense, .parts = qwen_parts },
    { .arch = "qwen2moe", .family = "qwen2_moe", .base = "layers=sparse,shared_expert_gate=true", .router = "topk:norm_topk_prob=false", .expert = "swiglu", .fields = qwen2moe, .parts = qwen_parts },
    { .arch = "qwen3moe", .family = "qwen3_moe", .base = "layers=sparse,qk_norm=true", .router = "topk:norm_topk_prob=true", .expert = "swiglu", .fields = qwen3moe, .parts = qwen_parts },
    { .arch = "olmoe", .family = "olmoe", .base = "layers=sparse,qk_norm=row", .router = "topk:norm_topk_prob=false", .expert = "swiglu", .fields = olmoe, .parts = qwen_parts },
    { .arch = "deepseek", .family = "deepseek", .base = "", .router = "topk:norm_topk_prob=false", .expert = "swiglu", .dense_first = true, .shared_count = true, .fields = deepseek,
      .parts = llama_parts },
    { .arch = "granitemoe", .family = "granitemoe", .base = "layers=sparse", .router = "topk:norm_topk_prob=true", .expert = "swiglu", .fields = granitemoe, .parts = llama_parts },
    { .arch = "glm4moe", .family = "glm4_moe", .base = "", .router = "auxfree", .expert = "swiglu", .dense_first = true, .shared_count = true, .mtp = true, .partial = true, .qk_norm = "true",
      .fields = glm4moe, .parts = glm_parts },
    { .arch = "deepseek2", .family = "deepseek_v2", .base = "attention=mla,rope_interleaved=true", .router = "topk", .expert = "swiglu", .dense_first = true, .shared_count = true, .mla = true,
      .gating = 1, .fields = deepseek2, .parts = mla_parts },
    { .arch = "deepseek2", .family = "deepseek_v3", .base = "attention=mla,rope_interleaved=true", .router = "auxfree", .expert = "swiglu", .dense_first = true, .shared_count = true, .mla = true,
      .gating = 2, .fields = deepseek3, .parts = mla_parts },
    { .arch = "gpt-oss", .family = "gpt_oss", .base = "layers=sparse,attention_sinks=true,rope_truncate=false,window_layers='sliding,full'", .router = "topk:norm_topk_prob=true,router_bias=true",
      .expert = "swiglu_clamped", .fields = oss, .parts = oss_parts },
    { .arch = "gpt2", .family = "gpt2", .base = "layers=dense,norm=layer,norm_bias=true,learned_positions=true,rope_type=none,ffn_gated=false,mlp_bias=true,hidden_act=gelu_tanh", .layer_norm = true,
      .no_rope = true, .fields = dense, .parts = gpt_parts },
    { .arch = "gptneox", .family = "gpt_neox", .base = "layers=dense,norm=layer,norm_bias=true,ffn_gated=false,mlp_bias=true,hidden_act=gelu", .layer_norm = true, .partial = true, .fields = gptneox,
      .parts = gpt_parts },
    { .arch = "phimoe", .family = "phimoe", .base = "layers=sparse,norm=layer,norm_bias=true", .router = "sparsemixer", .expert = "swiglu", .longrope = true, .fields = phimoe, .parts = phimoe_parts },
    { .arch = "bert", .family = "bert", .base = "layers=dense,norm=layer,norm_bias=true,norm_place=post,embedding_norm=true,final_norm=false,lm_head=false,learned_positions=true,rope_type=none,"
                                                "ffn_gated=false,mlp_bias=true,hidden_act=gelu", .layer_norm = true, .no_rope = true, .fields = bert, .parts = bert_parts },
    { .arch = NULL },
};
