/* model/spec.h - what a decoder is made of: one flat set of keys with Hugging Face's names, and a pattern of layers.
 *
 * The rows of sy_spec_opts are the keys of an own config.json, of --set and of the help. */
#ifndef SY_SPEC_H
#define SY_SPEC_H

#include "core/method.h"
#include "kernels/kernels.h"

enum { SY_NORM_RMS, SY_NORM_LAYER };                                                 /* norm */
enum { SY_PLACE_PRE, SY_PLACE_POST, SY_PLACE_PARALLEL };                             /* norm_place */
enum { SY_GQA, SY_MLA };                                                             /* attention */
enum { SY_QK_NONE, SY_QK_HEAD, SY_QK_ROW };                                          /* qk_norm */
enum { SY_ROPE_DEFAULT, SY_ROPE_LINEAR, SY_ROPE_DYNAMIC, SY_ROPE_LLAMA3, SY_ROPE_YARN, SY_ROPE_LONGROPE, SY_ROPE_NONE };   /* rope_type */
enum { SY_POOL_NONE, SY_POOL_MEAN, SY_POOL_CLS };                                    /* pooling */

typedef struct sy_spec {
    int         vocab_size, hidden_size, num_hidden_layers, num_attention_heads, num_key_value_heads, head_dim;
    int         intermediate_size, max_position_embeddings, sliding_window;
    double      rms_norm_eps, rope_theta, initializer_range;
    bool        tie_word_embeddings;
    int         qk_norm;
    int         hidden_act;             /* index into "silu|gelu|gelu_tanh|relu|relu2": sy_spec_act */
    const char *layers;                 /* pattern, see sy_spec_sparse */
    int         num_experts, zero_experts, moe_intermediate_size, shared_expert_intermediate_size;
    bool        shared_expert_gate, shared_expert_bias;
    double      routed_scaling_factor;
    const char *router, *expert, *zero_expert;      /* method texts */
    const char *balance, *edit;         /* method texts, several separated by blanks; "" = none */

    /* Norms and the residual stream. */
    int         norm, norm_place;
    bool        norm_bias, embedding_norm, final_norm;
    double      embedding_multiplier, residual_multiplier, logits_scaling;      /* logits are divided by the last */
    bool        lm_head, lm_head_bias, learned_positions, causal;
    int         type_vocab_size, pooling;
    double      final_logit_softcapping;            /* 0 = none */

    /* Attention. */
    int         attention;
    bool        attention_bias, attention_out_bias, attention_sinks;
    double      clip_qkv, attn_logit_softcapping;   /* 0 = none */
    double      attention_multiplier;   /* of the scores; 0 = what sy_spec_score_scale derives */
    bool        scale_attn_by_inverse_layer_idx;
    const char *window_layers, *rope_layers;        /* patterns of "sliding" and "full", of "rope" and "nope" */
    int         q_lora_rank, kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim, v_head_dim;      /* mla; q_lora_rank 0 = one matrix */
    double      lora_norm_eps;
    bool        mla_absorb;

    /* Rotation. 0 of a number = not given. */
    int         rope_type, original_max_position_embeddings;
    bool        rope_interleaved, rope_truncate;
    double      rope_local_base_freq;   /* of layers that see a window; 0 = rope_theta for all */
    double      partial_rotary_factor, rope_factor, rope_low_freq_factor, rope_high_freq_factor, rope_beta_fast, rope_beta_slow, rope_attention_factor;
    double      rope_mscale, rope_mscale_all_dim, rope_short_mscale, rope_long_mscale;
    const char *rope_short_factor, *rope_long_factor;           /* numbers separated by blanks */

    /* Dense FFN; experts have options of their own. */
    bool        ffn_gated, mlp_bias;
    double      swiglu_alpha, swiglu_limit;         /* 0 = plain; else gate sigmoid(alpha gate) (up + 1), clamped */
} sy_spec;

extern const sy_opt sy_spec_opts[];

void      sy_spec_defaults(sy_spec *s);
/* Fills what follows from other keys (head_dim 0 = hidden_size / heads, key-value heads 0 = heads, moe width 0 = intermediate_size)
 * and checks every rule between sizes; a sentence names the keys and their values. */
sy_status sy_spec_check(sy_spec *s, sy_err *err);
/* True when layer l is sparse. Pattern: items separated by commas, each "dense" or "sparse" with an optional "*count"; the list is
 * repeated until all layers are covered and must end with the last layer: "sparse", "dense,sparse", "dense*1,sparse*5". */
bool      sy_spec_sparse(const sy_spec *s, int layer);
int       sy_spec_n_sparse(const sy_spec *s);
/* Other facts of a layer, patterns alike: whether it sees sliding_window positions only, whether it rotates queries and keys. */
bool      sy_spec_sliding(const sy_spec *s, int layer);
bool      sy_spec_rotates(const sy_spec *s, int layer);
sy_act    sy_spec_act(const sy_spec *s);
int       sy_spec_positions(const sy_spec *s);       /* longest context: max_position_embeddings, under rope_type=dynamic times rope_factor */
int       sy_spec_turns(const sy_spec *s);           /* head_dim (mla: qk_rope_head_dim) times partial_rotary_factor, rounded down: d of the angles base^(-2i/d) */
int       sy_spec_rotary(const sy_spec *s);          /* values of a head that turn: those, rounded up to pairs */
double    sy_spec_share(int turns, int head);        /* partial_rotary_factor under which `turns` of a head of that width turn */
int       sy_spec_qk_dim(const sy_spec *s);          /* width of a query head */
int       sy_spec_v_dim(const sy_spec *s);           /* width of a value head */
/* What scores of a layer are multiplied by: attention_multiplier, else 1/sqrt(width of a query head); under mla and a stretched rotation with
 * mscale_all_dim m also times (0.1 m ln(factor) + 1)^2 (DeepSeek-V2, arXiv:2405.04434); divided by layer + 1 under scale_attn_by_inverse_layer_idx. */
double    sy_spec_score_scale(const sy_spec *s, int layer);
/* Parameters in all, parameters that one token uses (experts: nominal K of the router text, or all E when it names none), and
 * multiply-adds of one token's forward at context length 0. k: experts per token. */
void      sy_spec_size(const sy_spec *s, double k, double *total, double *active, double *madds);
/* Values that a forward pass makes for one token, by the shapes and k experts a token; in training as many gradients follow. What a router makes beyond logits,
 * probabilities and slots is not in it. */
typedef struct sy_activations { double layers, largest, ends; } sy_activations;     /* of all layers; of the largest one; in front of them and behind */
void      sy_spec_activations(const sy_spec *s, double k, sy_activations *out);

#endif
