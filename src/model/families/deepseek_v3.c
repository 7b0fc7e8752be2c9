/* model/families/deepseek_v3.c - DeepSeek-V3 and R1: latent attention; sigmoid scores, a bias that selects, groups by the sum of their two best; plain
 * or as FP8 blocks of 128 x 128. */
#include "model/families/keys.h"

static const sy_family_key keys[] = {
    SY_KEYS_COMMON("0", "4096", "1e-6"),
    SY_KEY_FFN, SY_KEY_ACT("hidden_act"), SY_KEY_ACT("expert.hidden_act"),
    SY_KEYS_MLA,
    SY_KEY_NONE("rope_interleave", "rope_interleaved", "true", "false"),
    SY_KEY("moe_intermediate_size", "moe_intermediate_size", NULL),
    SY_KEY("n_routed_experts num_local_experts", "num_experts", NULL),
    SY_KEY("num_experts_per_tok", "router.num_experts_per_tok", "8"),
    SY_KEY("n_group", "router.n_group", "8"), SY_KEY("topk_group", "router.topk_group", "4"),
    SY_KEY("routed_scaling_factor", "router.routed_scaling_factor", "2.5"),
    SY_KEY_NONE("norm_topk_prob", "router.norm_topk_prob", "true", "false"),
    SY_KEY("attention_bias", "attention_bias", "false"), SY_KEY("attention_bias", "attention_out_bias", "false"),
    SY_KEY_ONLY("scoring_func", "sigmoid"), SY_KEY_ONLY("topk_method", "noaux_tc"),
    SY_KEYS_END,
};
static const sy_family_group *const groups[] = { &sy__keys_rope, &sy__keys_first_dense, &sy__keys_shared, &sy__keys_mtp, NULL };
static const char *const ignored[] = { "aux_loss_alpha", "seq_aux", "ep_size", "head_dim", "qk_head_dim", NULL };

static const sy_family_part parts[] = { SY_PARTS_EXPERTS("model.layers.{l}.mlp", "gate_proj", "up_proj", "down_proj"), SY_PARTS_SHARED, SY_PARTS_FUSED("model.layers.{l}.mlp"), SY_PARTS_END };
static const sy_family_skip skips[] = { SY_SKIP_ROTARY, SY_SKIP_MTP, SY_SKIPS_END };

const sy_family sy_family_deepseek_v3 = {
    .name = "deepseek_v3", .architecture = "DeepseekV3ForCausalLM", .base = "attention=mla", .router = "auxfree:scoring_func=sigmoid", .expert = "swiglu", .rope_theta = 10000,
    .keys = keys, .groups = groups, .ignored = ignored, .parts = parts, .skips = skips, .modules = sy__modules_shared, .fp8 = true,
};
