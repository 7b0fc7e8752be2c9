/* infer/steering.h - which experts serve a task: how much more often they are used on its text than on other text. For edits/steer.c.
 *
 * F_l(e | text) = share of tokens of the text that layer l sends to expert e;  delta = F(e | task) - F(e | general). Chosen up are experts of the layers first .. last whose delta is at least tau, or
 * the `count` of largest delta in each layer; down, when asked for, those at most -tau. */
#ifndef SY_STEERING_H
#define SY_STEERING_H

#include "core/buffer.h"
#include "data/evaluate.h"

typedef struct sy_steering_options {
    double tau;
    int    count, first_layer, last_layer;          /* layers of the model; last 0: the middle third of its sparse layers */
    bool   down;
} sy_steering_options;
extern const sy_opt sy_steering_opts[];

typedef struct sy_steering { int layers, cols; int *layer; double *task, *general; } sy_steering;     /* layers: sparse ones; [layers] number in the model; [layers,cols] F on each text */

/* Runs the held-out text of both through the model in serving mode; memory from `a`. */
sy_status sy_steering_measure(sy_steering *s, sy_model *m, const sy_data *task, const sy_data *general, int rows, bool (*stop)(void *arg), void *arg, sy_arena *a, sy_err *err);
/* The chosen ones as the text of the edit's option: "3.17+3.2+4.-5"; empty when there are none. `most`: experts of a layer that may be pushed up (a token's number of experts), 0 = any. */
sy_status sy_steering_choose(const sy_steering *s, const sy_steering_options *o, int most, sy_buf *out, sy_err *err);

#endif
