/* route/block.h - the sparse block: router, edits, balance terms, experts and shared expert of one layer, put together.
 *
 * What the model sees of a sparse layer. Built once from method texts ("topk:top_k=2"); run in every mode. */
#ifndef SY_BLOCK_H
#define SY_BLOCK_H

#include "route/router.h"
#include "route/stats.h"

enum { SY_MAX_TERMS = 8 };

typedef struct sy_block_spec {          /* texts as the user wrote them; borrowed until sy_block_init returns */
    const char *router, *expert, *zero; /* zero: kind of the Z zero-cost experts ("null", "identity", "constant"); NULL when Z = 0 */
    const char *edit[SY_MAX_TERMS], *balance[SY_MAX_TERMS];
    int n_edit, n_balance;
    int D, F, E, Z;
    int shared_F;                       /* width of the shared expert; 0 = none */
    bool shared_gate;                   /* its output times sigmoid(x . w) (Qwen2-MoE) */
    bool shared_bias;                   /* its three matrices add biases */
    sy_act shared_act;                  /* of its gate; zeroed: silu */
    double routed_scale;                /* weights times this; 1 */
} sy_block_spec;

typedef struct sy_term { const sy_method *m; void *s; } sy_term;

typedef struct sy_block {
    sy_site   site;
    sy_term   router, expert, zero, edit[SY_MAX_TERMS], balance[SY_MAX_TERMS];
    int       n_edit, n_balance;
    double    routed_scale;
    sy_act    shared_act;
    sy_param *gate;                     /* the linear router's weight [E+Z,D], or NULL when the router declares its own */
    sy_param *shared_up, *shared_gate_proj, *shared_down, *shared_gate;   /* or NULL */
    sy_param *shared_up_bias, *shared_gate_proj_bias, *shared_down_bias;  /* or NULL */
    sy_counts counts;
    int       carry;                    /* width of the router's state across layers, 0 = none */
    unsigned  flags;                    /* of the router; SY_NEEDCOUNT also when a balance term or an edit needs the counts */
} sy_block;

/* Finds the methods, makes their states in `params->arena`, checks the pairs (a refusal is one sentence that names both and the
 * declared flag), declares parameters under "model.layers.{layer}.mlp". The block is borrowed by its own hooks: it must not move afterwards. */
sy_status sy_block_init(sy_block *b, const sy_block_spec *spec, const sy_site *site, const sy_methods *methods, sy_params *params, uint64_t seed, sy_err *err);
/* True when an edit that is not the block's own may be given to it, by sy_route_in.edit or sy_block_attach; else SY_EUNSUP and the sentence. */
sy_status sy_block_takes(const sy_block *b, const sy_term *edit, sy_err *err);
/* One more edit for a block that stands, for all calls; its state goes to `a`. An edit with parameters of its own is refused: no file has brought them. */
sy_status sy_block_attach(sy_block *b, const char *edit, const sy_methods *methods, sy_arena *a, sy_err *err);
/* The sublayer: x [T,D] -> [T,D] (0 for tokens that pass by, plus the shared expert). in->site is filled in here, and in->counts,
 * unless t->replay is set and the caller gives a copy of what the counts were before the first run.
 * Balance losses and the router's own are appended to `aux` in TRAIN mode only. `route` (in the tape's arena) gets the route,
 * NULL for a mixing router; stats may be NULL. */
sy_tensor *sy_block_run(sy_block *b, sy_tape *t, sy_route_in in, sy_losses *aux, sy_route **route, sy_stats *stats);
/* True when the router learns something before step 0. */
bool sy_block_learns(const sy_block *b);
/* Once before step 0: what a router learns from the corpus (id_count [V], or NULL) and the embedding (or NULL). */
sy_status sy_block_learn(sy_block *b, int V, const int64_t *id_count, const sy_weight *embed, sy_err *err);
/* Around the optimiser, once a step. before also clears the step's counts; after moves full to prev. */
sy_status sy_block_before(sy_block *b, int64_t step, int64_t steps, double progress, sy_err *err);
sy_status sy_block_after(sy_block *b, int64_t step, int64_t steps, double progress, sy_err *err);
/* The step was thrown away (a micro-batch was not finite): its counts are taken back, those of the step before stay. */
void sy_block_forget(sy_block *b);

#endif
