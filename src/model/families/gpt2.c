/* model/families/gpt2.c - GPT-2: learned positions, LayerNorm, biases everywhere; matrices lie [in,out], queries, keys and values in one. */
#include "model/families/keys.h"

static const sy_family_key keys[] = {
    SY_KEY("vocab_size", "vocab_size", NULL),
    SY_KEY("n_embd hidden_size", "hidden_size", NULL),
    SY_KEY("n_layer num_hidden_layers", "num_hidden_layers", NULL),
    SY_KEY("n_head num_attention_heads", "num_attention_heads", NULL),
    SY_KEY("n_positions max_position_embeddings", "max_position_embeddings", "1024"),
    SY_KEY("layer_norm_epsilon", "rms_norm_eps", "1e-5"),
    SY_KEY("initializer_range", "initializer_range", "0.02"),
    SY_KEY("tie_word_embeddings", "tie_word_embeddings", "true"),
    { "activation_function", "hidden_act", "gelu_tanh", NULL, "gelu_new=gelu_tanh gelu_pytorch_tanh=gelu_tanh gelu_fast=gelu_tanh gelu_python_tanh=gelu_tanh gelu_accurate=gelu_tanh gelu=gelu gelu_python=gelu relu=relu silu=silu swish=silu relu2=relu2", false },
    { "scale_attn_weights", "attention_multiplier", "0", NULL, "true=0 false=1", false },
    SY_KEY("scale_attn_by_inverse_layer_idx", "scale_attn_by_inverse_layer_idx", "false"), SY_KEY_ONLY("add_cross_attention", "false"),
    SY_KEYS_END,
};

/* n_inner: null is four times n_embd. */
static sy_status read_inner(sy_config_reading *r, sy_err *err)
{
    sy_spec *s = &r->c->spec;
    long long n = 4LL * s->hidden_size;
    SY_TRY(sy_json_get_int(r->root, r->path, "n_inner", false, 1, 1 << 24, &n, err));
    s->intermediate_size = (int)n;
    return SY_OK;
}

static void write_inner(sy_config_writing *w)
{
    sy_json_key(&w->j, "n_inner");
    if (w->s->intermediate_size == 4 * w->s->hidden_size) sy_json_null(&w->j);
    else sy_json_int(&w->j, w->s->intermediate_size);
}

static const char *const inner_keys[] = { "n_inner", NULL };
static const sy_family_group inner = { inner_keys, read_inner, write_inner };
static const sy_family_group *const groups[] = { &inner, NULL };

static const char *const ignored[] = { "n_ctx", "reorder_and_upcast_attn", "summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels", "summary_first_dropout", NULL };

#define H "transformer.h.{l}."
#define L "model.layers.{l}."
#define BOTH(own, file)                         { own ".weight", file ".weight", 0, 0, 0 }, { own ".bias", file ".bias", 0, 0, 0 }
#define TURNED(own, file, part, parts)          { own ".weight", file ".weight", SY_LAY_TRANSPOSED, part, parts }, { own ".bias", file ".bias", 0, part, parts }
static const sy_family_part parts[] = {
    { "model.embed_tokens.weight", "transformer.wte.weight", 0, 0, 0 },
    { "model.embed_positions.weight", "transformer.wpe.weight", 0, 0, 0 },
    BOTH(L "input_layernorm", H "ln_1"),
    TURNED(L "self_attn.q_proj", H "attn.c_attn", 0, 3), TURNED(L "self_attn.k_proj", H "attn.c_attn", 1, 3), TURNED(L "self_attn.v_proj", H "attn.c_attn", 2, 3),
    TURNED(L "self_attn.o_proj", H "attn.c_proj", 0, 0),
    BOTH(L "post_attention_layernorm", H "ln_2"),
    TURNED(L "mlp.up_proj", H "mlp.c_fc", 0, 0), TURNED(L "mlp.down_proj", H "mlp.c_proj", 0, 0),
    BOTH("model.norm", "transformer.ln_f"),
    SY_PARTS_END,
};

static const sy_family_part modules[] = {
    { "model.embed_tokens", "transformer.wte", 0, 0, 0 }, { "model.embed_positions", "transformer.wpe", 0, 0, 0 }, { "model.norm", "transformer.ln_f", 0, 0, 0 },
    { "model.layers.{l}", "transformer.h.{l}", 0, 0, 0 }, { L "input_layernorm", H "ln_1", 0, 0, 0 }, { L "post_attention_layernorm", H "ln_2", 0, 0, 0 },
    { L "self_attn", H "attn", 0, 0, 0 }, { L "self_attn.o_proj", H "attn.c_proj", 0, 0, 0 },
    { L "self_attn.q_proj", H "attn.c_attn", 0, 0, 3 }, { L "self_attn.k_proj", H "attn.c_attn", 0, 1, 3 }, { L "self_attn.v_proj", H "attn.c_attn", 0, 2, 3 },
    { L "mlp.up_proj", H "mlp.c_fc", 0, 0, 0 }, { L "mlp.act_fn", H "mlp.act", 0, 0, 0 }, { L "mlp.down_proj", H "mlp.c_proj", 0, 0, 0 },
    SY_PARTS_END,
};

static const sy_family_skip skips[] = {
    { "*h.{l}.attn.bias", "a stored causal mask", true },
    { "*h.{l}.attn.masked_bias", "a constant of the causal mask", false },
    SY_SKIPS_END,
};

const sy_family sy_family_gpt2 = {
    .name = "gpt2", .architecture = "GPT2LMHeadModel",
    .base = "norm=layer,norm_bias=true,learned_positions=true,rope_type=none,ffn_gated=false,mlp_bias=true,attention_bias=true,attention_out_bias=true",
    .keys = keys, .groups = groups, .ignored = ignored, .parts = parts, .skips = skips, .modules = modules, .prefix = "transformer.",
};
