/* model/families/mistral.c - Mistral 7B and Nemo: Llama with a window on every layer where sliding_window is a number. */
#include "model/families/keys.h"

static const sy_family_key keys[] = {
    SY_KEYS_COMMON("8", "131072", "1e-6"),
    SY_KEY_HEAD_DIM("0"), SY_KEY_FFN, SY_KEY_ACT("hidden_act"),
    SY_KEY_NONE("sliding_window", "sliding_window", "4096", "0"),
    SY_KEYS_END,
};
static const sy_family_group *const groups[] = { &sy__keys_rope, NULL };

const sy_family sy_family_mistral = {
    .name = "mistral", .architecture = "MistralForCausalLM", .rope_theta = 10000, .keys = keys, .groups = groups, .skips = sy__skip_rotary,
};
