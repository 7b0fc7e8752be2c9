/* experiments/bed.h - test beds: small tasks on which a setting is trained and measured in seconds or a minute.
 *
 *   cr        clustered regression: 8 domains of linear maps, a mixture of 8 linear experts; variants dom, blend, easy, skew
 *   classes   300 points of five classes, a mixture of small experts: for experts that are to agree (THOR)
 *   sums      a language model of additions, trained alike and decoded by different methods
 *   answers   a mixture that knows facts, with noise on its gates, whose routers are tuned
 *   lm-tiny   a byte-level language model of 3 layers on several domains of text */
#ifndef SY_BED_H
#define SY_BED_H

#include "data/data.h"
#include "train/config.h"

enum { SY_MAX_METRICS = 24 };

/* What both beds measure, where it exists: loss; train_loss (mean over the last hundred steps or so, as they were trained); domain.NAME (loss of a domain);
 * maxvio, specialisation, experts_per_token (real experts), by the held-out text; flops_per_token of the held-out forward and train_flops_per_token, both
 * counted in products; parameters, active_parameters; train_gmadds. */
typedef struct sy_metric { char name[48]; double value; } sy_metric;

typedef struct sy_trial_result {        /* what one run measured; "loss" is what arms are compared by, held out in serving mode: lower is better. */
    sy_metric m[SY_MAX_METRICS];
    int       n;
} sy_trial_result;
void   sy_metric_add(sy_trial_result *r, const char *name, double value);
double sy_metric_get(const sy_trial_result *r, const char *name);   /* NaN when absent */

typedef struct sy_trial {               /* one run, known by all of its fields */
    const char *bed;                    /* "cr", "classes", "sums", "answers" or "lm-tiny" */
    const char *settings;               /* of the bed, blank-separated key=value */
    double      lr_scale;               /* times the bed's learning rate */
    double      budget;                 /* share of the steps, 0 < budget <= 1; at least one is run; 0: all */
    double      gmadds;                 /* cr and lm-tiny: training ends once it has spent so many 1e9 multiply-adds instead, and schedules run on the spent share; 0: after its steps */
    uint64_t    seed;
} sy_trial;

typedef struct sy_bed_context {         /* what beds need beside the trial */
    sy_engine  *eng;
    const char *const *data; int n_data;            /* sources of the text beds */
    bool      (*stop)(void *arg);
    void       *arg;
} sy_bed_context;

/* Numbers that the parameters hold, without buffers. */
double sy_bed_parameters(const sy_params *p);
/* Steps of a run that has `steps` of them at its whole budget. */
static inline int sy_budget_steps(const sy_trial *t, int steps)
{
    double n = t->budget ? t->budget * steps : steps;
    return n < 1 ? 1 : (int)(n + 0.5);
}
sy_status sy_bed_run(const sy_bed_context *c, const sy_trial *t, sy_trial_result *out, sy_err *err);
sy_status sy_bed_cr(const sy_bed_context *c, const sy_trial *t, sy_trial_result *out, sy_err *err);
sy_status sy_bed_classes(const sy_bed_context *c, const sy_trial *t, sy_trial_result *out, sy_err *err);
sy_status sy_bed_sums(const sy_bed_context *c, const sy_trial *t, sy_trial_result *out, sy_err *err);
sy_status sy_bed_answers(const sy_bed_context *c, const sy_trial *t, sy_trial_result *out, sy_err *err);
/* Defaults, then "key=value key=value" over them. */
sy_status sy_bed_settings(const char *bed, const sy_opt *rows, void *options, const char *settings, sy_arena *a, sy_err *err);
sy_status sy_bed_lm(const sy_bed_context *c, const sy_trial *t, sy_trial_result *out, sy_err *err);
/* 32 hex digits over the text of the context and the recipe of lm-tiny; paths and times do not matter. */
sy_status sy_bed_lm_id(const sy_bed_context *c, char id[33], sy_err *err);

#endif
