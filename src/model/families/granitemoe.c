/* model/families/granitemoe.c - Granite-MoE: four multipliers, stacked experts, weights over the chosen alone. */
#include "model/families/keys.h"

static const sy_family_key keys[] = {
    SY_KEYS_COMMON("0", "2048", "1e-6"),
    SY_KEY_HEAD_DIM("0"), SY_KEY_ACT("expert.hidden_act"),
    SY_KEY("attention_bias", "attention_bias", "false"), SY_KEY("attention_bias", "attention_out_bias", "false"),
    SY_KEY("embedding_multiplier", "embedding_multiplier", "1"), SY_KEY("residual_multiplier", "residual_multiplier", "1"),
    SY_KEY("logits_scaling", "logits_scaling", "1"),
    SY_KEY("intermediate_size", "moe_intermediate_size", NULL),
    SY_KEY("num_local_experts num_experts", "num_experts", NULL),
    SY_KEY("num_experts_per_tok", "router.num_experts_per_tok", NULL),
    SY_KEYS_END,
};

/* Scores are multiplied by it, whatever the width of a head. A field of 0 means that width, so a 0 of the file is none. */
static sy_status read_multiplier(sy_config_reading *r, sy_err *err)
{
    sy_spec *s = &r->c->spec;
    s->attention_multiplier = 1;
    return sy_json_get_real(r->root, r->path, "attention_multiplier", false, 1e-9, 1e6, &s->attention_multiplier, err);
}

static void write_multiplier(sy_config_writing *w) { sy_json_key(&w->j, "attention_multiplier"), sy_json_real(&w->j, sy_spec_score_scale(w->s, 0)); }

static const char *const multiplier_keys[] = { "attention_multiplier", NULL };
static const sy_family_group multiplier = { multiplier_keys, read_multiplier, write_multiplier };
static const sy_family_group *const groups[] = { &multiplier, &sy__keys_rope, &sy__keys_balance, NULL };
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

static const sy_family_part modules[] = {
    { "model.layers.{l}.mlp", MOE, 0, 0, 0 }, { "model.layers.{l}.mlp.gate", MOE ".router", 0, 0, 0 },
    SY_PARTS_END,
};

/* A softmax over the chosen logits is that over all, divided by the sum of the chosen. */
const sy_family sy_family_granitemoe = {
    .name = "granitemoe", .architecture = "GraniteMoeForCausalLM", .base = "layers=sparse", .router = "topk:norm_topk_prob=true", .expert = "swiglu", .rope_theta = 10000,
    .keys = keys, .groups = groups, .parts = parts, .skips = sy__skip_rotary, .modules = modules,
};
