/* train/step.h - one training step: micro-batches forward and backward, clip, update, hooks. Knows no files.
 *
 * LM loss = sum over the counted tokens of the whole step / their number, whatever the micro-batches; auxiliary losses = their mean over
 * micro-batches weighted by tokens; each is added once, here. Objectives may ask for several passes over each micro-batch: losses of passes are added, too, and told as
 * their mean; what an objective adds comes with its final scale. */
#ifndef SY_STEP_H
#define SY_STEP_H

#include "data/data.h"
#include "model/model.h"
#include "train/objective.h"
#include "train/optim.h"

typedef struct sy_aux { const char *name; double value; } sy_aux;  /* a named number of a step */

typedef struct sy_step_result {
    double  loss;                       /* nats per counted token; the mean over passes */
    double  grad_norm, lr;
    int64_t tokens, counted, sequences; /* tokens read, tokens with a label, segments */
    sy_aux *aux, *domain;               /* auxiliary losses, each summed over layers; nats per counted token by domain, those that the step read */
    int     n_aux, n_domain;            /* ... borrowed until the stepper's next step or close */
    const sy_param *broken;             /* the step was skipped: this gradient was not finite (NULL with a loss that is not: see `skipped`) */
    bool    skipped;
} sy_step_result;

typedef struct sy_stepper {             /* everything a step needs; the caller fills it in and opens the tape */
    sy_model      *model;
    sy_data       *data;
    const sy_optim *optim;
    sy_tape        tape;
    sy_arena       rows, notes;         /* the step's batches; what its result points at */
    uint64_t       seed;
    int            batch_size, micro_batch_size;    /* rows; micro 0 = the whole batch */
    double         z_loss, label_smoothing;
    bool           recompute;           /* layers are computed again in backward; the same bits (model.h: sy_run) */
    bool           bf16;                /* products round their operands to bfloat16; routers, weights, sums and the optimiser stay sy_real */
    int64_t        step, steps, updates, row;       /* next step, their number, optimiser updates done, next row of the data order */
    uint64_t       madds, most_madds;   /* multiply-adds so far; what schedules of `steps` steps take for the whole, 0: the steps themselves. When to end is the caller's */
    sy_objectives  objectives;          /* zeroed: none */
} sy_stepper;

void      sy_stepper_close(sy_stepper *s);
/* Once, before step 0 of fresh weights: routers that learn tables get the counts of the ids of s->data (none without data) and the embedding.
 * Depends on data, weights and options only. What was loaded from a checkpoint, or goes on, has learned already. */
sy_status sy_stepper_learn(sy_stepper *s, sy_err *err);
/* Runs one step and moves step and row on. A step whose loss or gradients are not finite changes no weight: it is reported as skipped. */
sy_status sy_stepper_run(sy_stepper *s, sy_step_result *out, sy_err *err);
/* The same on n micro-batches that the caller made; the row of the data order stays. */
sy_status sy_stepper_batches(sy_stepper *s, const sy_batch *batch, int n, sy_step_result *out, sy_err *err);

#endif
