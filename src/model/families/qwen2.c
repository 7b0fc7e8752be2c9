/* model/families/qwen2.c - Qwen 2 and 2.5: Llama with biases on queries, keys and values, and windows on late layers. */
#include "model/families/keys.h"

static const sy_family_key keys[] = {
    SY_KEYS_COMMON("32", "32768", "1e-6"),
    SY_KEY_HEAD_DIM("0"), SY_KEY_FFN, SY_KEY_ACT("hidden_act"),
    SY_KEYS_END,
};
static const sy_family_group *const groups[] = { &sy__keys_rope, &sy__keys_window_late, NULL };

const sy_family sy_family_qwen2 = {
    .name = "qwen2", .architecture = "Qwen2ForCausalLM", .base = "attention_bias=true", .rope_theta = 10000, .keys = keys, .groups = groups, .skips = sy__skip_rotary,
};
