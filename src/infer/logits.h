/* infer/logits.h - the logits of given ids, some in one pass and the rest one by one through the cache: what exactness is checked with. */
#ifndef SY_INFER_LOGITS_H
#define SY_INFER_LOGITS_H

#include "infer/dump.h"
#include "infer/trace.h"

typedef struct sy_logits_job {
    sy_model  *model;
    const int *id; int T;
    int        prefill;                 /* ids of the first pass, 1 .. T */
    sy_dumper *dump;                    /* or NULL */
    sy_trace  *trace;                   /* or NULL; opened */
    bool     (*seen)(void *arg, int done);          /* false: end with SY_ESTOP; may be NULL */
    void      *arg;
} sy_logits_job;

/* Whole numbers out of a file: blanks, line breaks, commas and brackets stand between them. */
sy_status sy_ids_read(const char *path, int vocab, sy_arena *a, int **id, int *n, sy_err *err);
/* logits [T,V] go to `out`; NULL: inner tensors are all that is wanted, as of an encoder, which has no head. */
sy_status sy_logits_run(const sy_logits_job *j, float *out, sy_err *err);

#endif
