/* model/spec.h - what a decoder is made of: one flat set of keys with Hugging Face's names, and a pattern of layers.
 *
 * The rows of sy_spec_opts are the keys of an own config.json, of --set and of the help. */
#ifndef SY_SPEC_H
#define SY_SPEC_H

#include "core/method.h"
#include "kernels/kernels.h"

typedef struct sy_spec {
    int         vocab_size, hidden_size, num_hidden_layers, num_attention_heads, num_key_value_heads, head_dim;
    int         intermediate_size, max_position_embeddings, sliding_window;
    double      rms_norm_eps, rope_theta, initializer_range;
    bool        tie_word_embeddings, qk_norm;
    int         hidden_act;             /* index into "silu|gelu|gelu_tanh|relu|relu2": sy_spec_act */
    const char *layers;                 /* pattern, see sy_spec_layer */
    int         num_experts, zero_experts, moe_intermediate_size, shared_expert_intermediate_size;
    bool        shared_expert_gate;
    double      routed_scaling_factor;
    const char *router, *expert, *zero_expert;      /* method texts */
    const char *balance, *edit;         /* method texts, several separated by blanks; "" = none */
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
sy_act    sy_spec_act(const sy_spec *s);
/* Parameters in all, parameters that one token uses (experts: nominal K of the router text, or all E when it names none), and
 * multiply-adds of one token's forward at context length 0. k: experts per token. */
void      sy_spec_size(const sy_spec *s, double k, double *total, double *active, double *madds);

#endif
