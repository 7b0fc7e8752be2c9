/* model/families/qwen3.c - dense Qwen 3: norms on each query and key head, biases by key. */
#include "model/families/keys.h"

static const sy_family_key keys[] = {
    SY_KEYS_COMMON("32", "32768", "1e-6"),
    SY_KEY_HEAD_DIM("128"), SY_KEY_FFN, SY_KEY_ACT("hidden_act"),
    SY_KEY("attention_bias", "attention_bias", "false"), SY_KEY("attention_bias", "attention_out_bias", "false"),
    SY_KEYS_END,
};
static const sy_family_group *const groups[] = { &sy__keys_rope, &sy__keys_window_late, NULL };

const sy_family sy_family_qwen3 = {
    .name = "qwen3", .architecture = "Qwen3ForCausalLM", .base = "qk_norm=true", .rope_theta = 10000, .keys = keys, .groups = groups, .skips = sy__skip_rotary, .fp8 = true,
};
