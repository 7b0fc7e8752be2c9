/* model/families/llama.c - Llama 2, 3, 3.1, 3.2, 3.3 and what is built like them: the engine's own names are Llama's. */
#include "model/families/keys.h"

static const sy_family_key keys[] = {
    SY_KEYS_COMMON("0", "2048", "1e-6"),
    SY_KEY_HEAD_DIM("0"), SY_KEY_FFN, SY_KEY_ACT("hidden_act"),
    SY_KEY("attention_bias", "attention_bias", "false"), SY_KEY("attention_bias", "attention_out_bias", "false"),      /* of all four projections */
    SY_KEY("mlp_bias", "mlp_bias", "false"),
    SY_KEYS_END,
};
static const sy_family_group *const groups[] = { &sy__keys_rope, NULL };

const sy_family sy_family_llama = {
    .name = "llama", .architecture = "LlamaForCausalLM", .rope_theta = 10000, .keys = keys, .groups = groups, .skips = sy__skip_rotary,
};
