/* experiments/arms.h - arms of a comparison under the rules: equal tuning, equal seeds and data, a verdict.
 *
 * Tuning: every arm over learning rate x {1/2, 1, 2} and, where it has one, its main coefficient x {1/3, 1, 3}, on one seed that is not used again.
 * Verdict: difference of means against twice its standard error, else "no difference at this size". */
#ifndef SY_ARMS_H
#define SY_ARMS_H

#include "core/buffer.h"
#include "experiments/trials.h"

enum { SY_MAX_SEEDS = 64, SY_TUNING_SEED = 1000, SY_GRID = 3 };

typedef struct sy_arm {
    const char *name;
    const char *settings;               /* "$C" stands for the coefficient */
    double      coef;                   /* main coefficient at scale 1; 0 = it has none */
} sy_arm;

typedef struct sy_arm_runs {            /* an arm and what it did */
    const sy_arm   *arm;
    double          gmadds;             /* sy_trial.gmadds of its runs; 0 = equal tokens */
    double          lr_scale, coef_scale;           /* what tuning chose; 1 at first */
    double          tuning[SY_GRID][SY_GRID];       /* loss at learning rate [i], coefficient [j], in the order 1, lower, higher; NaN: not run, or not finite */
    sy_trial_result result[SY_MAX_SEEDS];
    const char     *why;                /* why it has no result (refused, not finite, not run yet); NULL: it has one. An arm that has a reason before its runs is left out */
} sy_arm_runs;

typedef struct sy_comparison {          /* what all arms of a comparison share */
    const char *key, *bed;
    double      budget;                 /* 0 or 1: all steps */
    int         seeds;
    sy_trials  *trials;
} sy_comparison;

int  sy_arm_tuning_runs(const sy_arm *a);
/* Five on cr, three on lm-tiny. */
int  sy_default_seeds(const char *bed);
/* Refuses a budget outside 0 .. 1 and more seeds than there are. */
sy_status sy_comparison_check(const sy_comparison *c, sy_err *err);
/* Runs the grid of every arm and sets the scales of the lowest loss. */
sy_status sy_arms_tune(const sy_comparison *c, sy_arm_runs *s, int arms, sy_err *err);
/* Runs every arm on seeds 1 .. seeds at its scales. */
sy_status sy_arms_run(const sy_comparison *c, sy_arm_runs *s, int arms, sy_err *err);

/* Mean over the seeds; sd (n - 1 in the divisor, 0 with one seed) through `sd` unless NULL. */
double sy_arm_mean(const sy_arm_runs *s, int seeds, const char *metric, double *sd);

typedef struct sy_verdict { double diff, se; int lower, seeds; } sy_verdict;    /* mean difference, its standard error (infinite with one seed), seeds on which it is below 0 */
/* Seeds are paired, so the difference is judged by its own spread. */
sy_verdict sy_judge(const double *loss, const double *base, int n);
sy_verdict sy_arm_judge(const sy_arm_runs *s, const sy_arm_runs *base, int seeds);
static inline int sy_verdict_sign(const sy_verdict *v) { return v->diff <= 2 * v->se && v->diff >= -2 * v->se ? 0 : v->diff < 0 ? -1 : v->diff > 0 ? 1 : 0; }
const char *sy_verdict_text(const sy_verdict *v);   /* "lower loss", "higher loss", "no difference at this size" */

#endif
