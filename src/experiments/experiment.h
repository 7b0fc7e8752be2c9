/* experiments/experiment.h - a method against its baseline under the rules of arms.h, and a page. Finished runs are kept in one store, so that an
 * experiment can be stopped at any time and continued. */
#ifndef SY_EXPERIMENT_H
#define SY_EXPERIMENT_H

#include "experiments/arms.h"

typedef struct sy_experiment {
    const char *key, *title, *paper, *bed;
    const char *question;               /* what is compared, in a sentence or two */
    const char *metrics;                /* shown beside the loss, blank-separated */
    sy_arm      arm[4];                 /* arm[0] is the baseline; ends with a NULL name */
    const char *expect;                 /* figures that the method is expected to reach at its own values; then the page shows these, too. NULL: none are known */
    const char *note;                   /* how to read the result, and what else was tried; NULL: it speaks for itself */
    int         against[4];             /* index of the arm that each is judged against, where it is not the first */
} sy_experiment;
extern const sy_experiment sy_experiments[];        /* ends with a NULL key */
const sy_experiment *sy_experiment_find(const char *key, sy_err *err);

typedef struct sy_experiment_options {
    int         seeds;                  /* 0: five on cr, three on lm-tiny */
    const char *store;                  /* folder of finished runs; made when absent */
    int         side_by_side;           /* runs at a time: trials.h */
    double      budget;                 /* share of every run's steps, above 0, at most 1; 0: 1. The page says so */
    bool        tune;                   /* false: every arm at scale 1 (the page says so) */
    void      (*tell)(const sy_trials *t, const char *what, void *arg);
    void       *arg;
} sy_experiment_options;

/* Runs what the store does not have and writes the page (Markdown) into `page`. */
sy_status sy_experiment_run(const sy_bed_context *c, const sy_experiment *x, const sy_experiment_options *o, sy_buf *page, sy_err *err);

#endif
