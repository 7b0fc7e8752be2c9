/* model/families/deepseek.c - DeepSeekMoE v1: Llama's layer, dense ones first, shared experts as one FFN. */
#include "model/families/keys.h"

static const sy_family_key keys[] = {
    SY_KEYS_COMMON("0", "2048", "1e-6"),
    SY_KEY_FFN, SY_KEY_ACT("hidden_act"), SY_KEY_ACT("expert.hidden_act"),
    SY_KEY("attention_bias", "attention_bias", "false"), SY_KEY("attention_bias", "attention_out_bias", "false"),
    SY_KEY("moe_intermediate_size", "moe_intermediate_size", NULL),
    SY_KEY("n_routed_experts", "num_experts", NULL),
    SY_KEY("num_experts_per_tok", "router.num_experts_per_tok", NULL),
    SY_KEY("norm_topk_prob", "router.norm_topk_prob", NULL),
    SY_KEY_FIXED("scoring_func", "softmax"),
    SY_KEYS_END,
};
static const sy_family_group *const groups[] = { &sy__keys_rope, &sy__keys_first_dense, &sy__keys_shared, &sy__keys_alpha, NULL };
static const sy_family_part parts[] = { SY_PARTS_SHARED, SY_PARTS_END };

const sy_family sy_family_deepseek = {
    .name = "deepseek", .architecture = "DeepseekForCausalLM", .router = "topk", .expert = "swiglu", .rope_theta = 10000,
    .keys = keys, .groups = groups, .parts = parts, .skips = sy__skip_rotary, .modules = sy__modules_shared,
};
