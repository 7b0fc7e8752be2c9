/* model/families/granitemoe.c - Granite-MoE: four multipliers, stacked experts, weights over the chosen alone. */
#include "model/families/keys.h"

static const sy_family_key keys[] = {
    SY_KEYS_COMMON("0", "2048", "1e-6"),
    SY_KEY_HEAD_DIM("0"), SY_KEY_ACT("expert.hidden_act"),
    SY_KEY("attention_bias", "attention_bias", "false"), SY_KEY("attention_bias", "attention_out_bias", "false"),
    SY_KEY("embedding_multiplier", "embedding_multiplier", "1"), SY_KEY("residual_multiplier", "residual_multiplier", "1"),
    SY_KEY("attention_multiplier", "attention_multiplier", "1"), SY_KEY("logits_scaling", "logits_scaling", "1"),
    SY_KEY("intermediate_size", "moe_intermediate_size", NULL),
    SY_KEY("num_local_experts num_experts", "num_experts", NULL),
    SY_KEY("num_experts_per_tok", "router.num_experts_per_tok", NULL),
    SY_KEYS_END,
};
static const sy_family_group *const groups[] = { &sy__keys_rope, &sy__keys_balance, NULL };
#define MOE "model.layers.{l}.block_sparse_moe"
static const sy_family_part parts[] = {
    { "model.layers.{l}.mlp.gate.weight", MOE ".router.layer.weight", 0, 0, 0 },
    { "model.layers.{l}.mlp.experts.{e}.gate_proj.weight", MOE ".input_linear.weight", 0, 0, 2 },
    { "model.layers.{l}.mlp.experts.{e}.up_proj.weight", MOE ".input_linear.weight", 0, 1, 2 },
    { "model.layers.{l}.mlp.experts.{e}.down_proj.weight", MOE ".output_linear.weight", 0, 0, 0 },
    { "model.layers.{l}.mlp.gate.weight", MOE ".router.weight", 0, 0, 0 },
    SY_PARTS_FUSED(MOE),
    SY_PARTS_END,
};

/* A softmax over the chosen logits is that over all, divided by the sum of the chosen. */
const sy_family sy_family_granitemoe = {
    .name = "granitemoe", .architecture = "GraniteMoeForCausalLM", .base = "layers=sparse", .router = "topk:norm_topk_prob=true", .expert = "swiglu", .rope_theta = 10000,
    .keys = keys, .groups = groups, .parts = parts, .skips = sy__skip_rotary,
};
