/* model/model.h - the model: built from a spec, run over a batch in any mode. Floor 5: must not know training.
 *
 *   x = embed[id];  per layer: x += Attn(N1 x), x += FFN(N2 x) (dense or sparse);  logits = head N(x);  variations: spec.h, forward.c */
#ifndef SY_MODEL_H
#define SY_MODEL_H

#include "model/spec.h"
#include "route/block.h"

typedef struct sy_kv {                  /* keys and values of one sequence, after rotation: [layer][kv head][position][head_dim] */
    int      layers, heads, head_dim, room, n;      /* n positions are filled */
    sy_real *k, *v;                     /* latent attention: one head, kv_lora_rank + qk_rope_head_dim wide, in k; v is NULL */
    int     *id;                        /* [room] token ids, for routers that look at earlier ones */
} sy_kv;
sy_status sy_kv_open(sy_kv *kv, const sy_spec *s, int room, sy_err *err);      /* heap; room positions */
void      sy_kv_close(sy_kv *kv);

/* T tokens from any mixture of sequences. All arrays are borrowed until the tape is reset. */
typedef struct sy_batch {
    int               T, n_seg;
    const int        *id;               /* [T] */
    const int        *label;            /* [T] the token to predict, -1 = not counted; NULL when serving */
    const int        *pos;              /* [T] place in its sequence */
    const int        *seq;              /* [T] segment of the token: 0 .. n_seg-1 */
    const int        *domain;           /* [T] domain number, or NULL */
    const uint8_t    *valid;            /* [T] 0 = padding, or NULL */
    const sy_segment *seg;              /* [n_seg] row, n and pos0; k and v stay NULL: caches come through sy_run */
    const uint64_t   *seq_no;           /* [n_seg] number of the sequence in the data order, or the request's seed */
} sy_batch;

typedef struct sy_run {                 /* how a forward pass is meant; zeroed = EVAL without extras except what is said */
    sy_mode     mode;
    uint64_t    seed;
    int64_t     step, steps;            /* where schedules are */
    int64_t     ahead;                  /* steps that were made beyond `step`: under a budget of work the two differ. Draws of a batch go by their sum */
    double      progress;
    int         micro, n_micro, pass, n_pass;
    bool        recompute;              /* what a layer makes is forgotten behind it, and on a tape that records made again in backward: the same bits, memory of one layer, in training a third more work */
    sy_kv     **kv;                     /* [n_seg] caches to read and extend, or NULL: keys are the batch's own rows */
    const sy_override *over;
    sy_losses  *losses;                 /* where balance losses go (TRAIN), or NULL */
    sy_stats   *stats;                  /* [sparse layers], or NULL */
    sy_route  **routes;                 /* [sparse layers] out, or NULL */
    sy_route *const *again;             /* [sparse layers] routes to repeat, or NULL */
    const sy_dump *dump;                /* who wants to see inner tensors, or NULL */
    const sy_term *edits;               /* [sparse layers] one more edit for each, of this pass alone (its m may be NULL); or NULL */
} sy_run;

/* Names under which sy_run.dump sees the inner tensors of a pass, one row a token: what the module of that name gives in transformers' Llama-like
 * models. sy_family_modules has what a family calls them.
 *   model.embed_tokens, model.embed_{positions,types,norm}; model.layers.{l}, model.norm; of a layer:
 *   .input_layernorm  .post_attention_layernorm  .self_attn .self_attn.{q,k,v,o}_proj .self_attn.{q,k}_norm, .self_attn.context: what o_proj is given
 *   latent attention: .self_attn.{q_a_proj,q_a_layernorm,q_b_proj,kv_a_proj_with_mqa,kv_a_layernorm,kv_b_proj}
 *   .mlp  .mlp.{gate,up,down}_proj .mlp.act_fn, sparse: .mlp.gate: the router's logits, .mlp.experts: the weighted sum,
 *   .mlp.shared_expert .mlp.shared_expert.{gate,up,down}_proj .mlp.shared_expert.act_fn .mlp.shared_expert_gate */

typedef struct sy_layer {
    bool      sparse;
    sy_param *norm1, *norm2, *o;        /* norm1 belongs to attention, norm2 to the FFN, wherever they stand */
    sy_param *norm1_bias, *norm2_bias, *o_bias, *sinks;         /* or NULL */
    sy_param *q, *k, *v, *q_norm, *k_norm, *q_bias, *k_bias, *v_bias;       /* latent attention: q is the second matrix, or the only one; no k and v */
    sy_param *q_a, *q_a_bias, *q_a_norm, *kv_a, *kv_a_bias, *kv_a_norm, *kv_b;      /* latent attention, or NULL */
    sy_param *gate, *up, *down;         /* dense; gate NULL when it is not gated */
    sy_param *gate_bias, *up_bias, *down_bias;      /* or NULL */
    sy_block  block;                    /* sparse */
} sy_layer;

typedef struct sy_model {
    sy_engine *eng;                     /* borrowed */
    sy_arena   arena;                   /* the model's life */
    sy_spec    spec;                    /* texts live in the arena */
    const struct sy_family *family;     /* whose files it was loaded from; NULL: none, or an own model's */
    sy_params  params;
    sy_param  *embed, *norm, *head;     /* head NULL when tied or when there is none; norm may be NULL */
    sy_param  *positions, *types, *embed_norm, *embed_norm_bias, *norm_bias, *head_bias;       /* or NULL */
    sy_layer  *layer;
    int        n_sparse;
    double    *inv_freq, *local_freq, rope_scale;   /* of all layers; of those that see a window; factor on cosines and sines (rope.h) */
    void      *held;                    /* what weights lie in beside the arena (mapped files), or NULL; let go when the model is freed */
    void     (*let_go)(void *held);
    sy_status (*whole)(const void *held, sy_err *err);          /* SY_EIO when one of those files was cut short under us; NULL without held */
    int        carry;                   /* width of the state that routers hand from layer to layer */
} sy_model;

enum {                                  /* how a model is made or loaded */
    SY_MODEL_TRAIN  = 1,                /* with gradients and moments */
    SY_MODEL_EMPTY  = 2,                /* weights stay zero, a checkpoint brings them */
    SY_MODEL_STRICT = 4,                /* loading refuses config keys that are not known */
    SY_MODEL_BARE   = 8,                /* parameters without memory, with names and sizes alone (tensor.h: sy_params) */
    SY_MODEL_MAPPED = 16                /* loading a family: every weight that can stays in its file; without it those of a mebibyte and more */
};
/* Fresh weights from `seed`. The spec is checked and copied. */
sy_status sy_model_new(sy_model **out, sy_engine *eng, const sy_spec *spec, unsigned how, uint64_t seed, sy_err *err);
void      sy_model_free(sy_model *m);

/* SY_EIO when files that weights lie in were cut short: what was computed with them means nothing. Forward passes ask themselves and fail on the
 * tape; who runs backward through such weights asks after it. */
sy_status sy_model_whole(const sy_model *m, sy_err *err);

sy_block *sy_model_block(sy_model *m, int nth);                  /* nth sparse layer */
sy_weight *sy_model_head(sy_model *m);                           /* [V,D] */
/* Hidden states after the last norm: [T,D]. */
sy_tensor *sy_model_hidden(sy_model *m, sy_tape *t, const sy_batch *b, const sy_run *r);
/* Logits of rows row[0..n-1] of the hidden states: [n,V]. row NULL: all. */
sy_tensor *sy_model_logits(sy_model *m, sy_tape *t, sy_tensor *hidden, const int *row, int n);
/* Cross-entropy of the logits of all hidden states, never whole (tensor/ops.h); `a` as there, but for what the head brings. */
sy_tensor *sy_model_loss(sy_model *m, sy_tape *t, sy_tensor *hidden, const int *label, const sy_xent *a);
/* Symmetric divergence of the output distributions of two passes over tokens with label >= 0 (tensor/ops.h); `scale` as there. */
sy_tensor *sy_model_divergence(sy_model *m, sy_tape *t, sy_tensor *a, sy_tensor *b, const int *label, double scale);
/* One more edit for every sparse layer, from now on: "steer:experts=1.3". An edit with parameters of its own is refused. After a failure the model may only be freed. */
sy_status sy_model_attach(sy_model *m, const char *edit, sy_err *err);
/* True when some router learns from the corpus before step 0. */
bool      sy_model_learns(const sy_model *m);
/* Once before step 0 of fresh weights, layer by layer: id_count [vocab_size] counts the ids of the training text; NULL: not known. A model
 * that was loaded has learned already. */
sy_status sy_model_learn(sy_model *m, const int64_t *id_count, sy_err *err);
/* Around the optimiser, for all sparse layers. */
sy_status sy_model_before(sy_model *m, int64_t step, int64_t steps, double progress, sy_err *err);
sy_status sy_model_after(sy_model *m, int64_t step, int64_t steps, double progress, sy_err *err);
/* Experts a token uses nominally: the router's num_experts_per_tok, or 0 when it has no such option. */
double    sy_model_nominal_k(const sy_model *m);

#endif
