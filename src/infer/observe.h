/* infer/observe.h - a model runs over text and an analysis watches its routes. */
#ifndef SY_INFER_OBSERVE_H
#define SY_INFER_OBSERVE_H

#include "data/data.h"
#include "infer/analysis.h"

typedef struct sy_observe_options {
    int     rows;                       /* windows at once */
    int64_t most_tokens;                /* of each domain, from its beginning; whole windows but for the last; 0: all */
    bool  (*seen)(void *arg, double done, double all);      /* tokens, after each batch; false: end with SY_ESTOP; may be NULL */
    void   *arg;
} sy_observe_options;

/* Runs the held-out text of `d` in windows of seq_len, in serving mode; a window is a document of the analysis. `a` was opened for the domains of `d`. */
sy_status sy_observe(sy_model *m, const sy_data *d, const sy_observe_options *o, sy_analysis *a, sy_err *err);

#endif
