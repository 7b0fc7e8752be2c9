/* infer/perplexity.h - perplexity as llama.cpp defines it, and how far two models are from each other on the same text.
 *
 * The ids of the whole text are cut into chunks of `ctx`; what does not fill the last one is left out. In each chunk the places ctx/2 .. ctx-2 predict
 * the id behind them, with all of the chunk before as context: ctx - ctx/2 - 1 predictions a chunk. Perplexity = exp(mean -ln p). */
#ifndef SY_PERPLEXITY_H
#define SY_PERPLEXITY_H

#include "model/model.h"

typedef struct sy_perplexity_job {
    sy_model  *model, *against;         /* against: the reference, or NULL; of the same vocabulary */
    const int *id; int64_t n;
    int        ctx, most_chunks;        /* most_chunks 0: all */
    int        bos;                     /* put in the place of each chunk's first id, as llama.cpp does for vocabularies that begin texts with one; -1: not */
    bool     (*seen)(void *arg, int done, int chunks, double perplexity);      /* after each chunk; false: end with SY_ESTOP; may be NULL */
    void      *arg;
} sy_perplexity_job;

typedef struct sy_perplexity {
    int     chunks;
    int64_t n;                          /* predictions */
    double  nats, error;                /* mean -ln p, and its standard error */
    double  ref_nats;                   /* of the reference */
    double  kl, kl_error, median, p90, p99, most;      /* KL(reference || model) in nats: mean, its standard error, median, percentiles, largest */
    double  same_top;                   /* share of places where both find the same id most likely */
} sy_perplexity;

/* SY_ESHAPE: the text is shorter than two chunks, or a model takes fewer positions than ctx. */
sy_status sy_perplexity_run(const sy_perplexity_job *j, sy_perplexity *out, sy_err *err);

#endif
