/* model/families/phimoe.c - Phi-3.5-MoE: LayerNorm in spite of its key's name, biases, the sparse mixer; training through that is refused. */
#include "model/families/keys.h"

static const char *const ignored[] = { "input_jitter_noise", NULL };                  /* of training */
static const sy_family_key keys[] = {
    SY_KEYS_COMMON("8", "131072", "1e-5"),
    SY_KEY_HEAD_DIM("0"), SY_KEY_ACT("expert.hidden_act"),
    SY_KEY("attention_bias", "attention_bias", "false"), SY_KEY("attention_bias", "attention_out_bias", "false"),
    SY_KEY("lm_head_bias", "lm_head_bias", "false"),
    SY_KEY("intermediate_size", "moe_intermediate_size", NULL),
    SY_KEY("num_local_experts num_experts", "num_experts", NULL),
    SY_KEY("num_experts_per_tok", "router.num_experts_per_tok", "2"),
    SY_KEY("router_jitter_noise", "router.router_jitter_noise", "0.01"),
    SY_KEY_NONE("sliding_window", "sliding_window", "0", "0"),
    SY_KEYS_END,
};
static const sy_family_group *const groups[] = { &sy__keys_rope, &sy__keys_balance, NULL };
static const sy_family_part parts[] = {
    { "model.layers.{l}.mlp.gate.weight", "model.layers.{l}.block_sparse_moe.gate.weight", 0, 0, 0 },
    SY_PARTS_EXPERTS("model.layers.{l}.block_sparse_moe", "w1", "w3", "w2"),
    { "model.layers.{l}.mlp.gate.weight", "model.layers.{l}.mlp.router.weight", 0, 0, 0 },
    SY_PARTS_FUSED("model.layers.{l}.mlp"),
    SY_PARTS_END,
};

const sy_family sy_family_phimoe = {
    .name = "phimoe", .architecture = "PhimoeForCausalLM", .base = "layers=sparse,norm=layer,norm_bias=true", .router = "sparsemixer", .expert = "swiglu", .rope_theta = 1e6, .rope_mscales = true,
    .keys = keys, .groups = groups, .parts = parts, .skips = sy__skip_rotary, .modules = sy__modules_router, .ignored = ignored,
};
