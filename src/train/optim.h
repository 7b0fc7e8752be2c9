/* train/optim.h - AdamW over a model's parameters, clipping, and the schedule of the learning rate. */
#ifndef SY_OPTIM_H
#define SY_OPTIM_H

#include "core/option.h"
#include "tensor/engine.h"
#include "tensor/tensor.h"

typedef enum { SY_SCHED_COSINE, SY_SCHED_WSD, SY_SCHED_CONSTANT } sy_schedule;

typedef struct sy_optim {
    double lr, min_lr_ratio, beta1, beta2, adam_eps, weight_decay, max_grad_norm, decay_ratio;
    int    warmup_steps, lr_schedule;   /* sy_schedule */
} sy_optim;
extern const sy_opt sy_optim_opts[];

/* Learning rate of step 0 .. steps-1: linear warm-up to lr at step warmup_steps, then cosine to lr * min_lr_ratio at the last step; or
 * flat and, over the last decay_ratio of all steps, linear to it (warm-up-stable-decay, Hu et al., arXiv:2404.06395); or flat. */
double sy_lr_at(const sy_optim *o, int64_t step, int64_t steps);

/* L2 norm of all gradients, in double, in an order that no thread count changes; NaN without memory (scratch[0].failed). */
double sy_grad_norm(sy_engine *e, const sy_params *p);
/* The first parameter whose gradient holds a NaN or an infinity, or NULL. */
const sy_param *sy_grad_broken(const sy_params *p);
void   sy_grad_zero(sy_engine *e, const sy_params *p);
/* One update, t = 1, 2, ... ; gradients are multiplied by `clip` first. Vectors and what carries SY_NODECAY do not decay; frozen
 * parameters and buffers keep their bits; rows of a SY_LAZY parameter that are not `touched` keep value and moments. */
void   sy_optim_step(sy_engine *e, const sy_params *p, const sy_optim *o, double lr, int64_t t, double clip);

#endif
