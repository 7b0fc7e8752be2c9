/* data/evaluate.h - the loss of a model over held-out text, by domain. */
#ifndef SY_EVALUATE_H
#define SY_EVALUATE_H

#include "data/data.h"

typedef struct sy_eval_line {           /* one domain, or all of them together */
    const char *name;                   /* borrowed from the data; "all" for the last */
    int64_t     tokens, bytes;          /* predicted, and the text they stand for */
    double      nats;                   /* sum of -ln p */
} sy_eval_line;

static inline double sy_eval_per_token(const sy_eval_line *l) { return l->tokens ? l->nats / (double)l->tokens : 0; }
static inline double sy_eval_per_byte(const sy_eval_line *l) { return l->bytes ? l->nats / (double)l->bytes : 0; }

typedef struct sy_evaluation {
    sy_eval_line *line;                 /* [lines]: domains that hold something out, then "all" */
    int           lines;
    uint64_t      madds;                /* multiply-adds of the pass */
    size_t        bytes;                /* most that its tape held */
    sy_stats     *stats;                /* [sparse layers], by domain of the data; NULL for a dense model */
} sy_evaluation;

typedef struct sy_eval_hooks {          /* zeroed: none */
    /* Called after each batch, while its routes [sparse layers] stand on the tape. */
    void (*seen)(void *arg, const sy_batch *b, sy_route *const *routes);
    /* True: end now with SY_ESTOP. */
    bool (*stop)(void *arg);
    void *arg;
    const sy_override *over;            /* what routers are told from outside, or NULL */
} sy_eval_hooks;

/* Evaluates all held-out text in windows of seq_len, in serving mode (docs/design.md, section 8), `rows` windows at a time; results from
 * `a`. The model is not changed. SY_EARG when nothing is held out. */
sy_status sy_evaluate(sy_model *m, const sy_data *d, int rows, const sy_eval_hooks *hooks, sy_evaluation *out, sy_arena *a, sy_err *err);

#endif
