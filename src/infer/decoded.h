/* infer/decoded.h - what a decoding method makes of held-out text: every window is read token by token, by the model alone and by the method.
 *
 * Of a window the first `prefix` ids are read at once, as a prompt; then each id is predicted, counted and read. A method may exclude ids, which then have no
 * probability: those are counted apart, and nats are the mean over the others. */
#ifndef SY_DECODED_H
#define SY_DECODED_H

#include "data/data.h"
#include "infer/decode.h"

typedef struct sy_decoded_side {
    double   nats;                      /* sum of -ln p over predicted ids that were possible */
    int64_t  excluded, hits;            /* ids that could not come; ids that were the likeliest */
    uint64_t madds;                     /* multiply-adds */
} sy_decoded_side;

typedef struct sy_decoded {
    int64_t         windows, tokens;    /* ids predicted */
    sy_decoded_side plain, method;
} sy_decoded;

static inline double sy_decoded_nats(const sy_decoded *d, const sy_decoded_side *s)
{
    return d->tokens > s->excluded ? s->nats / (double)(d->tokens - s->excluded) : 0;
}

typedef struct sy_decoded_job {
    sy_model      *model;
    const sy_data *data;
    const char    *method;              /* "scmoe:cd_beta=0.5" */
    int            seq_len, prefix;     /* of a window; at least 1 */
    int64_t        windows;             /* at most so many of each domain; 0 = all */
    bool         (*seen)(void *arg, const sy_decoded *so_far);     /* after each window; false: end with SY_ESTOP; may be NULL */
    void          *arg;
} sy_decoded_job;

/* SY_EARG: nothing is held out, or no window is longer than the prefix. */
sy_status sy_decoded_run(const sy_decoded_job *j, sy_decoded *out, sy_err *err);

#endif
