/* model/families/glm4_moe.c - GLM-4.5 and Air: half of each head turns, the router of DeepSeek-V3, a layer for further tokens behind the last. */
#include "model/families/keys.h"

static const sy_family_key keys[] = {
    SY_KEYS_COMMON("8", "131072", "1e-5"),
    SY_KEY_HEAD_DIM("0"), SY_KEY_FFN, SY_KEY_ACT("hidden_act"), SY_KEY_ACT("expert.hidden_act"),
    SY_KEY("attention_bias", "attention_bias", "false"),
    SY_KEY("use_qk_norm", "qk_norm", "false"),
    SY_KEY("moe_intermediate_size", "moe_intermediate_size", NULL),
    SY_KEY("n_routed_experts num_experts num_local_experts", "num_experts", NULL),
    SY_KEY("num_experts_per_tok", "router.num_experts_per_tok", NULL),
    SY_KEY("norm_topk_prob", "router.norm_topk_prob", "true"),
    SY_KEY("routed_scaling_factor", "router.routed_scaling_factor", "1"),
    SY_KEY("n_group", "router.n_group", "1"), SY_KEY("topk_group", "router.topk_group", "1"),
    SY_KEY_ONLY("scoring_func", "sigmoid"), SY_KEY_ONLY("topk_method", "noaux_tc"),
    SY_KEYS_END,
};
static const sy_family_group *const groups[] = { &sy__keys_rope, &sy__keys_first_dense, &sy__keys_shared, &sy__keys_mtp, NULL };
static const sy_family_part parts[] = {
    SY_PARTS_SHARED,
    SY_PARTS_EXPERTS("model.layers.{l}.mlp", "gate_proj", "up_proj", "down_proj"),
    SY_PARTS_FUSED("model.layers.{l}.mlp"),
    SY_PARTS_END,
};
static const sy_family_skip skips[] = { SY_SKIP_ROTARY, SY_SKIP_MTP, SY_SKIPS_END };

const sy_family sy_family_glm4_moe = {
    .name = "glm4_moe", .architecture = "Glm4MoeForCausalLM", .router = "auxfree:scoring_func=sigmoid,group_score=top2,group_mask=inf", .expert = "swiglu", .rope_theta = 10000,
    .partial_rotary_factor = 0.5, .keys = keys, .groups = groups, .parts = parts, .skips = skips, .modules = sy__modules_shared,
};
