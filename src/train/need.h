/* train/need.h - the memory that a run will take, from its settings alone: told before it starts, and refused where it cannot be had. Takes none itself. */
#ifndef SY_NEED_H
#define SY_NEED_H

#include "train/config.h"
#include "tensor/engine.h"

typedef struct sy_need {                /* bytes */
    double values, trained;             /* parameters, and those that are trained: numbers */
    double weights, gradients, moments; /* exact */
    double step, eval;                  /* activations of the largest micro-batch with their gradients; of a batch of held-out windows. By shapes: within a tenth of what tapes
                                         * take for routers whose work is logits, probabilities and slots, once batches have some hundred tokens (tests/train/test_need.c) */
    double total;
    int    tokens;                      /* of the largest micro-batch */
    bool   recompute;                   /* that is without all layers but one */
} sy_need;

/* `spec` is c->model as sy_spec_check leaves it; passes: of the objectives over a micro-batch. */
sy_status sy_need_of(sy_need *out, sy_engine *e, const sy_config *c, const sy_spec *spec, int passes, sy_err *err);
/* SY_ENOMEM when it exceeds the `left` bytes that can be had (core/memory.h): what takes how much, and which settings make it less. */
sy_status sy_need_fits(const sy_need *n, const sy_config *c, double left, sy_err *err);

#endif
