/* model/families/mixtral.c - Mixtral: Llama's layer, every FFN a mixture; w1, w3, w2 are gate, up, down. */
#include "model/families/keys.h"

static const sy_family_key keys[] = {
    SY_KEYS_COMMON("8", "131072", "1e-5"),
    SY_KEY_HEAD_DIM("0"), SY_KEY_ACT("expert.hidden_act"),
    SY_KEY("intermediate_size", "moe_intermediate_size", NULL),
    SY_KEY("num_local_experts num_experts", "num_experts", NULL),
    SY_KEY("num_experts_per_tok", "router.num_experts_per_tok", NULL),
    SY_KEY("router_jitter_noise", "router.router_jitter_noise", "0"),
    SY_KEY_NONE("sliding_window", "sliding_window", "0", "0"),
    SY_KEYS_END,
};

/* Noise multiplies what the whole block sees, the experts too. */
static sy_status read_noise(sy_config_reading *r, sy_err *err)
{
    double noise = 0;
    SY_TRY(sy_json_get_real(r->root, r->path, "router_jitter_noise", false, 0, 1, &noise, err));
    return noise > 0 ? sy__set(r, "router.jitter_scope", "block", err) : SY_OK;
}

static void write_noise(sy_config_writing *w) { (void)w; }             /* a row of keys writes it */

static const char *const noise_keys[] = { "router_jitter_noise", NULL };
static const sy_family_group noise = { noise_keys, read_noise, write_noise };
static const sy_family_group *const groups[] = { &sy__keys_rope, &sy__keys_balance, &noise, NULL };
static const sy_family_part parts[] = {
    { "model.layers.{l}.mlp.gate.weight", "model.layers.{l}.block_sparse_moe.gate.weight", 0, 0, 0 },
    SY_PARTS_EXPERTS("model.layers.{l}.block_sparse_moe", "w1", "w3", "w2"),
    { "model.layers.{l}.mlp.gate.weight", "model.layers.{l}.mlp.gate.weight", 0, 0, 0 },
    SY_PARTS_FUSED("model.layers.{l}.mlp"),
    SY_PARTS_FUSED("model.layers.{l}.block_sparse_moe"),
    SY_PARTS_END,
};

const sy_family sy_family_mixtral = {
    .name = "mixtral", .architecture = "MixtralForCausalLM", .base = "layers=sparse", .router = "topk:norm_topk_prob=true", .expert = "swiglu", .rope_theta = 1e6,
    .keys = keys, .groups = groups, .parts = parts, .skips = sy__skip_rotary,
};
