/* model/families/qwen3_moe.c - Qwen3-MoE: dense Qwen 3's attention, a mixture without shared expert. */
#include "model/families/keys.h"

static const char *const ignored[] = { "max_window_layers", NULL };         /* published files have it, their code does not read it */
static const sy_family_key keys[] = {
    SY_KEYS_COMMON("4", "32768", "1e-6"),
    SY_KEY_HEAD_DIM("0"), SY_KEY_FFN, SY_KEY_ACT("hidden_act"), SY_KEY_ACT("expert.hidden_act"),
    SY_KEY("attention_bias", "attention_bias", "false"), SY_KEY("attention_bias", "attention_out_bias", "false"),
    SY_KEY("moe_intermediate_size", "moe_intermediate_size", NULL),
    SY_KEY("num_experts num_local_experts", "num_experts", NULL),
    SY_KEY("num_experts_per_tok", "router.num_experts_per_tok", NULL),
    SY_KEY("norm_topk_prob", "router.norm_topk_prob", "false"),
    SY_KEYS_END,
};
static const sy_family_group *const groups[] = { &sy__keys_rope, &sy__keys_window_all, &sy__keys_sparse_step, &sy__keys_balance, NULL };
static const sy_family_part parts[] = {
    SY_PARTS_EXPERTS("model.layers.{l}.mlp", "gate_proj", "up_proj", "down_proj"),
    SY_PARTS_FUSED("model.layers.{l}.mlp"),
    SY_PARTS_END,
};

const sy_family sy_family_qwen3_moe = {
    .name = "qwen3_moe", .architecture = "Qwen3MoeForCausalLM", .base = "qk_norm=true", .router = "topk", .expert = "swiglu", .rope_theta = 10000,
    .keys = keys, .groups = groups, .parts = parts, .skips = sy__skip_rotary, .ignored = ignored, .fp8 = true,
};
