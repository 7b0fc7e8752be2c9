/* infer/sample.h - from the logits of one position to the next id, with the meaning and the order of transformers:
 * repetition penalty; then, when sampling: temperature, top-k, top-p, min-p, typical, softmax, one draw. Greedy takes the first largest. */
#ifndef SY_SAMPLE_H
#define SY_SAMPLE_H

#include "core/option.h"
#include "kernels/real.h"

typedef struct sy_sample_options {
    bool   do_sample;
    double temperature, top_p, min_p, typical_p, repetition_penalty;
    int    top_k, seed;
} sy_sample_options;
extern const sy_opt sy_sample_opts[];

typedef struct sy_sampler {             /* buffers for a vocabulary; no allocation after open */
    int      V;
    float   *score;                     /* [V] */
    int     *order;                     /* [V] */
    float   *far;                       /* [V] how far an id is from the typical one */
    uint8_t *seen;                      /* [V] ids of prompt and output */
} sy_sampler;

sy_status sy_sampler_open(sy_sampler *s, int V, sy_err *err);
void      sy_sampler_close(sy_sampler *s);
void      sy_sampler_saw(sy_sampler *s, const int *id, int n);       /* for the repetition penalty: prompt and output */
void      sy_sampler_forget(sy_sampler *s);
/* The id that follows; `pos` counts the positions of the sequence, so a draw depends on (seed, pos) alone. SY_ENUM when a logit is NaN
 * or none is finite. */
sy_status sy_sample(sy_sampler *s, const sy_sample_options *o, const sy_real *logits, int64_t pos, int *id, sy_err *err);

#endif
