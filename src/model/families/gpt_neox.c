/* model/families/gpt_neox.c - GPT-NeoX and Pythia: attention and FFN side by side, LayerNorm, biases, a part of each head rotates; queries, keys
 * and values of a head lie together. */
#include "model/families/keys.h"

static const sy_family_key keys[] = {
    SY_KEYS_SIZES, SY_KEY_FFN,
    SY_KEY("max_position_embeddings", "max_position_embeddings", "2048"),
    SY_KEY("layer_norm_eps", "rms_norm_eps", "1e-5"),
    SY_KEY("initializer_range", "initializer_range", "0.02"),
    SY_KEY("tie_word_embeddings", "tie_word_embeddings", "false"),
    { "hidden_act", "hidden_act", "gelu", NULL, SY_WORDS_ACT, false },
    { "use_parallel_residual", "norm_place", "parallel", NULL, "true=parallel false=pre", false },
    SY_KEY("attention_bias", "attention_bias", "true"), SY_KEY("attention_bias", "attention_out_bias", "true"),
    SY_KEYS_END,
};

/* rotary_pct and rotary_emb_base, where rope_parameters (or rope_scaling) does not say it. Other families' keys at the top are not this one's. */
static sy_status read_old(sy_config_reading *r, sy_err *err)
{
    sy_spec *s = &r->c->spec;
    const char *name;
    const json_t *p = sy__rope_object(r, &name);
    struct { const char *key, *own; double lo, hi, *to; } old[] = { { "partial_rotary_factor", "rotary_pct", 1e-3, 1, &s->partial_rotary_factor }, { "rope_theta", "rotary_emb_base", 1, 1e12, &s->rope_theta } };
    for (size_t i = 0; i < SY_COUNT(old); i++) {
        double other = *old[i].to;
        bool given = json_object_get(p, old[i].key);
        if (!given) *old[i].to = i ? r->c->family->rope_theta : r->c->family->partial_rotary_factor;
        if (!given) SY_TRY(sy_json_get_real(r->root, r->path, old[i].own, false, old[i].lo, old[i].hi, old[i].to, err));
        if (!given && json_object_get(r->root, old[i].key) && other != *old[i].to)
            return sy_fail(err, SY_EUNSUP, "%s: %s is %g at the top, where family gpt_neox reads %s (%g here)", r->path, old[i].key, other, old[i].own, *old[i].to);
    }
    return SY_OK;
}

static void write_old(sy_config_writing *w)
{
    sy_json_key(&w->j, "rotary_pct"), sy_json_real(&w->j, w->s->partial_rotary_factor);
    sy_json_key(&w->j, "rotary_emb_base"), sy_json_real(&w->j, w->s->rope_theta);
}

static const char *const old_keys[] = { "rotary_pct", "rotary_emb_base", NULL };
static const sy_family_group old = { old_keys, read_old, write_old };
static const sy_family_group *const groups[] = { &sy__keys_rope, &old, NULL };
static const char *const ignored[] = { "classifier_dropout", NULL };

#define N "gpt_neox.layers.{l}."
#define L "model.layers.{l}."
#define BOTH(own, file, layout, part, parts) { own ".weight", file ".weight", layout, part, parts }, { own ".bias", file ".bias", layout, part, parts }
static const sy_family_part parts[] = {
    { "model.embed_tokens.weight", "gpt_neox.embed_in.weight", 0, 0, 0 },
    BOTH(L "input_layernorm", N "input_layernorm", 0, 0, 0),
    BOTH(L "self_attn.q_proj", N "attention.query_key_value", SY_LAY_HEADS, 0, 3),
    BOTH(L "self_attn.k_proj", N "attention.query_key_value", SY_LAY_HEADS, 1, 3),
    BOTH(L "self_attn.v_proj", N "attention.query_key_value", SY_LAY_HEADS, 2, 3),
    BOTH(L "self_attn.o_proj", N "attention.dense", 0, 0, 0),
    BOTH(L "post_attention_layernorm", N "post_attention_layernorm", 0, 0, 0),
    BOTH(L "mlp.up_proj", N "mlp.dense_h_to_4h", 0, 0, 0),
    BOTH(L "mlp.down_proj", N "mlp.dense_4h_to_h", 0, 0, 0),
    BOTH("model.norm", "gpt_neox.final_layer_norm", 0, 0, 0),
    { "lm_head.weight", "embed_out.weight", 0, 0, 0 },
    { "lm_head.weight", "lm_head.weight", 0, 0, 0 },         /* transformers 5 in memory */
    SY_PARTS_END,
};

static const sy_family_part modules[] = {
    { "model.embed_tokens", "gpt_neox.embed_in", 0, 0, 0 }, { "model.norm", "gpt_neox.final_layer_norm", 0, 0, 0 }, { "model.layers.{l}", "gpt_neox.layers.{l}", 0, 0, 0 },
    { L "self_attn", N "attention", 0, 0, 0 }, { L "self_attn.o_proj", N "attention.dense", 0, 0, 0 },
    { L "self_attn.q_proj", N "attention.query_key_value", SY_LAY_HEADS, 0, 3 }, { L "self_attn.k_proj", N "attention.query_key_value", SY_LAY_HEADS, 1, 3 },
    { L "self_attn.v_proj", N "attention.query_key_value", SY_LAY_HEADS, 2, 3 },
    { L "mlp.up_proj", N "mlp.dense_h_to_4h", 0, 0, 0 }, { L "mlp.act_fn", N "mlp.act", 0, 0, 0 }, { L "mlp.down_proj", N "mlp.dense_4h_to_h", 0, 0, 0 },
    SY_PARTS_END,
};

static const sy_family_skip skips[] = {
    { "*layers.{l}.attention.bias", "a stored causal mask", true },
    { "*layers.{l}.attention.masked_bias", "a constant of the causal mask", false },
    SY_SKIP_ROTARY, SY_SKIPS_END,
};

const sy_family sy_family_gpt_neox = {
    .name = "gpt_neox", .architecture = "GPTNeoXForCausalLM", .base = "norm=layer,norm_bias=true,ffn_gated=false,mlp_bias=true",
    .rope_theta = 10000, .partial_rotary_factor = 0.25, .keys = keys, .groups = groups, .ignored = ignored, .parts = parts, .skips = skips, .modules = modules, .prefix = "gpt_neox.",
};
