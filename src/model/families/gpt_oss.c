/* model/families/gpt_oss.c - gpt-oss: sinks, windows on every second layer, experts with limits and biases; expert matrices as MXFP4 or plain. */
#include "model/families/keys.h"

static const sy_family_key keys[] = {
    SY_KEYS_COMMON("8", "131072", "1e-5"),
    SY_KEY_HEAD_DIM("64"), SY_KEY_ONLY("hidden_act", "silu"),
    SY_KEY("intermediate_size", "moe_intermediate_size", NULL),
    SY_KEY("num_local_experts num_experts", "num_experts", NULL),
    SY_KEY("num_experts_per_tok experts_per_token", "router.num_experts_per_tok", "4"),
    SY_KEY("swiglu_alpha", "expert.swiglu_alpha", "1.702"), SY_KEY("swiglu_limit", "expert.swiglu_limit", "7"),
    SY_KEY("attention_bias", "attention_bias", "true"), SY_KEY("attention_bias", "attention_out_bias", "true"),
    SY_KEYS_END,
};
static const sy_family_group *const groups[] = { &sy__keys_rope, &sy__keys_window_alternate, &sy__keys_balance, NULL };
static const char *const ignored[] = { "initial_context_length", "max_seq_len", NULL };

#define E "model.layers.{l}.mlp.experts."
static const sy_family_part parts[] = {
    { "model.layers.{l}.mlp.gate.weight", "model.layers.{l}.mlp.router.weight", 0, 0, 0 },
    { "model.layers.{l}.mlp.gate.bias", "model.layers.{l}.mlp.router.bias", 0, 0, 0 },
    { E "{e}.gate_proj.weight", E "gate_up_proj", SY_LAY_TRANSPOSED | SY_LAY_PAIRS, 0, 2 },
    { E "{e}.up_proj.weight", E "gate_up_proj", SY_LAY_TRANSPOSED | SY_LAY_PAIRS, 1, 2 },
    { E "{e}.down_proj.weight", E "down_proj", SY_LAY_TRANSPOSED, 0, 0 },
    { E "{e}.gate_proj.bias", E "gate_up_proj_bias", SY_LAY_PAIRS, 0, 2 },
    { E "{e}.up_proj.bias", E "gate_up_proj_bias", SY_LAY_PAIRS, 1, 2 },
    { E "{e}.down_proj.bias", E "down_proj_bias", 0, 0, 0 },
    { E "{e}.gate_proj.weight", E "gate_up_proj", SY_LAY_MXFP4 | SY_LAY_PAIRS, 0, 2 },
    { E "{e}.up_proj.weight", E "gate_up_proj", SY_LAY_MXFP4 | SY_LAY_PAIRS, 1, 2 },
    { E "{e}.down_proj.weight", E "down_proj", SY_LAY_MXFP4, 0, 0 },
    SY_PARTS_END,
};

const sy_family sy_family_gpt_oss = {
    .name = "gpt_oss", .architecture = "GptOssForCausalLM", .base = "layers=sparse,attention_sinks=true,rope_type=yarn,rope_factor=32,rope_truncate=false,original_max_position_embeddings=4096", .router = "topk:norm_topk_prob=true,router_bias=true", .expert = "swiglu_clamped",
    .rope_theta = 150000, .keys = keys, .groups = groups, .ignored = ignored, .parts = parts, .skips = sy__skip_rotary, .modules = sy__modules_router, .mxfp4 = true,
};
