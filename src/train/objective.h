/* train/objective.h - what an objective is: a loss over the layers and passes of a micro-batch, on top of the cross-entropy. Floor 6: must not know any method.
 *
 * Before the first step prepare() may run the model over the data, as it is when the run begins. In each step the trainer runs every micro-batch as many times as the most
 * demanding objective asks for, all on one tape, adds the cross-entropies of the passes, and calls loss() once before backward. Contract of the hooks: what is kept between
 * steps is made in prepare() from the starting weights, the data and the options alone, so a resumed run makes it again; in loss() no malloc but the tape's, no global,
 * random numbers only from keys. */
#ifndef SY_OBJECTIVE_H
#define SY_OBJECTIVE_H

#include "core/method.h"
#include "data/data.h"
#include "model/model.h"

enum { SY_OBJECTIVE_ABI = 1, SY_MAX_PASSES = 8, SY_MAX_OBJECTIVES = 4 };

typedef struct sy_objective_in {        /* one micro-batch, as it stands on the tape */
    sy_model            *model;
    const sy_batch      *batch;
    int                  passes;        /* at least as many as the objective asks for */
    sy_tensor *const    *hidden;        /* [passes] [T,D], before the head */
    sy_route *const *const *route;      /* [passes][sparse layers]; NULL: a router that mixes */
    int64_t              counted, sequences;    /* of the whole step: tokens with a label; segments */
    int64_t              step, steps;
} sy_objective_in;

typedef struct sy_objective_hooks {     /* kind "objective"; s = the method's state: options first, zeroed behind them; check() of the descriptor gets the model */
    int abi, passes;                    /* forwards of each micro-batch */
    /* Once, before the first step or when a run goes on: the model has the weights that the run began with. Memory for the run from `a`. `data` may be NULL
     * (a caller that makes its own batches). May freeze parameters. *id: of what was made, equal ids mean equal state; NULL hook: nothing to prepare. */
    sy_status (*prepare)(void *s, sy_model *m, sy_data *data, sy_arena *a, uint64_t *id, sy_err *err);
    /* Appends losses with their final scale: the trainer adds each as it is, once. A sum over tokens is divided by in->counted, one over sequences by in->sequences. */
    sy_status (*loss)(void *s, sy_tape *t, const sy_objective_in *in, sy_losses *add, sy_err *err);
} sy_objective_hooks;

typedef struct sy_objectives { sy_term term[SY_MAX_OBJECTIVES]; int n, passes; uint64_t id; } sy_objectives;     /* zeroed: none, one pass */

/* Methods from a blank-separated text, their states in `a`. */
sy_status sy_objectives_open(sy_objectives *o, const char *text, const sy_methods *methods, sy_arena *a, sy_err *err);
/* Checks them against the model, which has the weights that the run begins with, and prepares them. */
sy_status sy_objectives_begin(sy_objectives *o, sy_model *m, sy_data *d, sy_arena *a, sy_err *err);
/* True when one of them is prepared from the weights that the run begins with. */
bool      sy_objectives_prepares(const sy_objectives *o);
static inline int sy_objectives_passes(const sy_objectives *o) { return o->passes > 1 ? o->passes : 1; }

#endif
