/* model/families/keys.h - rows and groups of keys that several families share. */
#ifndef SY_FAMILIES_KEYS_H
#define SY_FAMILIES_KEYS_H

#include "model/family.h"

#define SY_WORDS_ACT "silu=silu swish=silu gelu=gelu gelu_python=gelu gelu_pytorch_tanh=gelu_tanh gelu_new=gelu_tanh gelu_fast=gelu_tanh gelu_python_tanh=gelu_tanh gelu_accurate=gelu_tanh relu=relu relu2=relu2"

/* What a decoder cannot be built without. */
#define SY_KEYS_SIZES                                               \
    { "vocab_size", "vocab_size", NULL, NULL, NULL, false },        \
    { "hidden_size", "hidden_size", NULL, NULL, NULL, false },      \
    { "num_hidden_layers", "num_hidden_layers", NULL, NULL, NULL, false }, \
    { "num_attention_heads", "num_attention_heads", NULL, NULL, NULL, false }
/* kv, positions, eps: defaults of the class. */
#define SY_KEYS_COMMON(kv, positions, eps)                          \
    SY_KEYS_SIZES,                                                  \
    { "num_key_value_heads", "num_key_value_heads", kv, "0", NULL, false }, \
    { "max_position_embeddings", "max_position_embeddings", positions, NULL, NULL, false }, \
    { "rms_norm_eps", "rms_norm_eps", eps, NULL, NULL, false },     \
    { "initializer_range", "initializer_range", "0.02", NULL, NULL, false }, \
    { "tie_word_embeddings", "tie_word_embeddings", "false", NULL, NULL, false }
#define SY_KEY_HEAD_DIM(def)    { "head_dim", "head_dim", def, "0", NULL, false }
#define SY_KEY_FFN              { "intermediate_size", "intermediate_size", NULL, NULL, NULL, false }
#define SY_KEY_ACT(field)       { "hidden_act", field, "silu", NULL, SY_WORDS_ACT, false }
#define SY_KEY_BIAS(key, field, def) { key, field, def, NULL, NULL, false }
#define SY_KEY(key, field, def) { key, field, def, NULL, NULL, false }
#define SY_KEY_NONE(key, field, def, none) { key, field, def, none, NULL, false }      /* null is a value of its own */
#define SY_KEY_ONLY(key, value) { key, NULL, value, NULL, NULL, true }                 /* any other value is refused; not written */
#define SY_KEY_FIXED(key, value) { key, NULL, value, NULL, NULL, false }               /* the same; written */
/* Latent attention. */
#define SY_KEYS_MLA                                                 \
    { "q_lora_rank", "q_lora_rank", "1536", "0", NULL, false },     \
    SY_KEY("kv_lora_rank", "kv_lora_rank", "512"),                  \
    SY_KEY("qk_nope_head_dim", "qk_nope_head_dim", "128"),          \
    SY_KEY("qk_rope_head_dim", "qk_rope_head_dim", "64"),           \
    SY_KEY("v_head_dim", "v_head_dim", "128")
#define SY_KEYS_END             { NULL, NULL, NULL, NULL, NULL, false }

/* rope_theta with rope_scaling (transformers 4) or rope_parameters (5), partial_rotary_factor, original_max_position_embeddings. */
extern const sy_family_group sy__keys_rope;
/* The object that says how the model turns: rope_scaling where it holds something, else rope_parameters; may be NULL. *name: which. */
const json_t *sy__rope_object(const sy_config_reading *r, const char **name);
/* use_sliding_window, sliding_window, max_window_layers, layer_types: layers from max_window_layers on slide (Qwen2, Qwen3). */
extern const sy_family_group sy__keys_window_late;
/* The same keys; every second of the first max_window_layers slides (Qwen2-MoE). */
extern const sy_family_group sy__keys_window_even;
/* use_sliding_window, sliding_window: all layers (Qwen3-MoE). */
extern const sy_family_group sy__keys_window_all;
/* sliding_window, layer_types: every second layer slides, the first one does (gpt-oss). */
extern const sy_family_group sy__keys_window_alternate;
/* num_nextn_predict_layers: layers behind the last, which SY_SKIP_MTP leaves out. */
extern const sy_family_group sy__keys_mtp;
/* decoder_sparse_step, mlp_only_layers. */
extern const sy_family_group sy__keys_sparse_step;
/* first_k_dense_replace, moe_layer_freq. */
extern const sy_family_group sy__keys_first_dense;
/* n_shared_experts as a multiple of moe_intermediate_size. */
extern const sy_family_group sy__keys_shared;
/* router_aux_loss_coef: over the slots of all sparse layers together there; a share of slots, layer by layer, here. */
extern const sy_family_group sy__keys_balance;          /* 0.001 where it is absent */
extern const sy_family_group sy__keys_balance_olmoe;    /* 0.01 */
/* aux_loss_alpha, seq_aux (DeepSeek). */
extern const sy_family_group sy__keys_alpha;

/* Experts as transformers 5 holds them in memory: gate and up of all experts in one tensor. */
#define SY_PARTS_FUSED(mlp) \
    { "model.layers.{l}.mlp.experts.{e}.gate_proj.weight", mlp ".experts.gate_up_proj", 0, 0, 2 }, \
    { "model.layers.{l}.mlp.experts.{e}.up_proj.weight", mlp ".experts.gate_up_proj", 0, 1, 2 },   \
    { "model.layers.{l}.mlp.experts.{e}.down_proj.weight", mlp ".experts.down_proj", 0, 0, 0 }
/* One tensor an expert. */
#define SY_PARTS_EXPERTS(mlp, gate, up, down) \
    { "model.layers.{l}.mlp.experts.{e}.gate_proj.weight", mlp ".experts.{e}." gate ".weight", 0, 0, 0 }, \
    { "model.layers.{l}.mlp.experts.{e}.up_proj.weight", mlp ".experts.{e}." up ".weight", 0, 0, 0 },     \
    { "model.layers.{l}.mlp.experts.{e}.down_proj.weight", mlp ".experts.{e}." down ".weight", 0, 0, 0 }
#define SY_PARTS_SHARED \
    { "model.layers.{l}.mlp.shared_expert.gate_proj.weight", "model.layers.{l}.mlp.shared_experts.gate_proj.weight", 0, 0, 0 }, \
    { "model.layers.{l}.mlp.shared_expert.up_proj.weight", "model.layers.{l}.mlp.shared_experts.up_proj.weight", 0, 0, 0 },     \
    { "model.layers.{l}.mlp.shared_expert.down_proj.weight", "model.layers.{l}.mlp.shared_experts.down_proj.weight", 0, 0, 0 }
#define SY_PARTS_SHARED_BIAS \
    { "model.layers.{l}.mlp.shared_expert.gate_proj.bias", "model.layers.{l}.mlp.shared_experts.gate_proj.bias", 0, 0, 0 }, \
    { "model.layers.{l}.mlp.shared_expert.up_proj.bias", "model.layers.{l}.mlp.shared_experts.up_proj.bias", 0, 0, 0 },     \
    { "model.layers.{l}.mlp.shared_expert.down_proj.bias", "model.layers.{l}.mlp.shared_experts.down_proj.bias", 0, 0, 0 }
extern const sy_family_part sy__modules_shared[];    /* the shared expert's module is called shared_experts */
extern const sy_family_part sy__modules_router[];    /* the router's module is called router, not gate */
#define SY_PARTS_END { NULL, NULL, 0, 0, 0 }

#define SY_SKIP_ROTARY { "*.rotary_emb.inv_freq", "angles of the rotation follow from config.json", false }
#define SY_SKIP_MTP    { "model.layers.{mtp}.*", "a layer that predicts further tokens; serving has no use for it", false }
#define SY_SKIPS_END   { NULL, NULL, false }
extern const sy_family_skip sy__skip_rotary[];       /* that row alone */

#endif
