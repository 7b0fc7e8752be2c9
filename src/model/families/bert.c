/* model/families/bert.c - BERT and the sentence encoders built on it: norms after the sums, no causal mask, no head. */
#include "model/families/keys.h"

static const sy_family_key keys[] = {
    SY_KEYS_SIZES, SY_KEY_FFN,
    SY_KEY("max_position_embeddings", "max_position_embeddings", "512"),
    SY_KEY("type_vocab_size", "type_vocab_size", "2"),
    SY_KEY("layer_norm_eps", "rms_norm_eps", "1e-12"),
    SY_KEY("initializer_range", "initializer_range", "0.02"),
    { "hidden_act", "hidden_act", "gelu", NULL, SY_WORDS_ACT, false },
    SY_KEY_ONLY("position_embedding_type", "absolute"), SY_KEY_ONLY("is_decoder", "false"), SY_KEY_ONLY("add_cross_attention", "false"),
    SY_KEYS_END,
};
static const char *const ignored[] = { "hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "tie_word_embeddings", NULL };

#define B "bert.encoder.layer.{l}."
#define L "model.layers.{l}."
#define BOTH(own, file) { own ".weight", file ".weight", 0, 0, 0 }, { own ".bias", file ".bias", 0, 0, 0 }
#define NORM(own, file) BOTH(own, file), { own ".weight", file ".gamma", 0, 0, 0 }, { own ".bias", file ".beta", 0, 0, 0 }         /* the last two: old files */
static const sy_family_part parts[] = {
    { "model.embed_tokens.weight", "bert.embeddings.word_embeddings.weight", 0, 0, 0 },
    { "model.embed_positions.weight", "bert.embeddings.position_embeddings.weight", 0, 0, 0 },
    { "model.embed_types.weight", "bert.embeddings.token_type_embeddings.weight", 0, 0, 0 },
    NORM("model.embed_norm", "bert.embeddings.LayerNorm"),
    BOTH(L "self_attn.q_proj", B "attention.self.query"), BOTH(L "self_attn.k_proj", B "attention.self.key"), BOTH(L "self_attn.v_proj", B "attention.self.value"),
    BOTH(L "self_attn.o_proj", B "attention.output.dense"), NORM(L "input_layernorm", B "attention.output.LayerNorm"),
    BOTH(L "mlp.up_proj", B "intermediate.dense"), BOTH(L "mlp.down_proj", B "output.dense"), NORM(L "post_attention_layernorm", B "output.LayerNorm"),
    SY_PARTS_END,
};

/* BertModel, without the prefix of its files. Norms follow the sums, so what a layer gives is what its second norm gives. */
#define M "encoder.layer.{l}."
static const sy_family_part modules[] = {
    { "model.embed_tokens", "embeddings.word_embeddings", 0, 0, 0 }, { "model.embed_positions", "embeddings.position_embeddings", 0, 0, 0 },
    { "model.embed_types", "embeddings.token_type_embeddings", 0, 0, 0 }, { "model.embed_norm", "embeddings.LayerNorm", 0, 0, 0 }, { "model.embed_norm", "embeddings", 0, 0, 0 },
    { "model.layers.{l}", "encoder.layer.{l}", 0, 0, 0 },
    { L "self_attn.q_proj", M "attention.self.query", 0, 0, 0 }, { L "self_attn.k_proj", M "attention.self.key", 0, 0, 0 }, { L "self_attn.v_proj", M "attention.self.value", 0, 0, 0 },
    { L "self_attn.context", M "attention.self", 0, 0, 0 }, { L "self_attn.o_proj", M "attention.output.dense", 0, 0, 0 }, { L "self_attn", "", 0, 0, 0 },
    { L "input_layernorm", M "attention.output.LayerNorm", 0, 0, 0 }, { L "input_layernorm", M "attention.output", 0, 0, 0 }, { L "input_layernorm", M "attention", 0, 0, 0 },
    { L "mlp.up_proj", M "intermediate.dense", 0, 0, 0 }, { L "mlp.act_fn", M "intermediate.intermediate_act_fn", 0, 0, 0 }, { L "mlp.act_fn", M "intermediate", 0, 0, 0 },
    { L "mlp.down_proj", M "output.dense", 0, 0, 0 }, { L "mlp", "", 0, 0, 0 }, { L "post_attention_layernorm", M "output.LayerNorm", 0, 0, 0 }, { L "post_attention_layernorm", M "output", 0, 0, 0 },
    SY_PARTS_END,
};

static const sy_family_skip skips[] = {
    { "*pooler.dense.*", "the pooler is not part of a sentence vector", false },
    { "*embeddings.position_ids", "positions count from 0", false },
    { "cls.*", "heads of pre-training", false },
    SY_SKIPS_END,
};

const sy_family sy_family_bert = {
    .name = "bert", .architecture = "BertModel",
    .base = "norm=layer,norm_bias=true,norm_place=post,embedding_norm=true,final_norm=false,lm_head=false,causal=false,learned_positions=true,rope_type=none,ffn_gated=false,"
            "mlp_bias=true,attention_bias=true,attention_out_bias=true",
    .keys = keys, .ignored = ignored, .parts = parts, .skips = skips, .modules = modules, .prefix = "bert.",
};
