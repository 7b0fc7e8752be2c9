/* model/families/olmoe.c - OLMoE: norms over whole rows of queries and keys, an optional clamp behind them. */
#include "model/families/keys.h"

static const sy_family_key keys[] = {
    SY_KEYS_COMMON("0", "4096", "1e-5"),
    SY_KEY_HEAD_DIM("0"), SY_KEY_ACT("expert.hidden_act"),
    SY_KEY("attention_bias", "attention_bias", "false"), SY_KEY("attention_bias", "attention_out_bias", "false"),
    SY_KEY_NONE("clip_qkv", "clip_qkv", "0", "0"),
    SY_KEY("intermediate_size", "moe_intermediate_size", NULL),
    SY_KEY("num_experts num_local_experts", "num_experts", NULL),
    SY_KEY("num_experts_per_tok", "router.num_experts_per_tok", NULL),
    SY_KEY("norm_topk_prob", "router.norm_topk_prob", "false"),
    SY_KEYS_END,
};
static const sy_family_group *const groups[] = { &sy__keys_rope, &sy__keys_balance_olmoe, NULL };
static const sy_family_part parts[] = {
    SY_PARTS_EXPERTS("model.layers.{l}.mlp", "gate_proj", "up_proj", "down_proj"),
    SY_PARTS_FUSED("model.layers.{l}.mlp"),
    SY_PARTS_END,
};

const sy_family sy_family_olmoe = {
    .name = "olmoe", .architecture = "OlmoeForCausalLM", .base = "layers=sparse,qk_norm=row", .router = "topk", .expert = "swiglu", .rope_theta = 10000,
    .keys = keys, .groups = groups, .parts = parts, .skips = sy__skip_rotary,
};
