/* infer/grouping.h - how much the group of a token says about its experts, and how much it would say by chance. Private to infer/. */
#ifndef SY_INFER_GROUPING_H
#define SY_INFER_GROUPING_H

#include "core/random.h"
#include "infer/analysis.h"

typedef struct sy__grouping_job {
    const sy_trace *t;
    const int32_t  *label;              /* [n] 0 .. groups-1 */
    int             groups, min_count, shuffles;
    bool            whole_docs;         /* labels belong to documents and are shuffled among them */
    uint64_t        key;
    bool          (*stop)(void *arg);   /* may be NULL */
    void           *arg;
} sy__grouping_job;

/* out [layers]: definitions in analysis.h. */
sy_status sy__group(const sy__grouping_job *j, sy_grouping *out, sy_arena *work, sy_err *err);
/* Slots of layer l as [groups][E+Z], from the arena; NULL without memory. */
uint32_t *sy__tabulate(const sy_trace *t, int l, const int32_t *label, int groups, sy_arena *a);
/* A random permutation (Fisher-Yates) of x[n] by the numbers of (key, turn). */
void      sy__shuffle(int32_t *x, size_t n, uint64_t key, unsigned turn);
double    sy__xlnx(int64_t x);                      /* x ln x, 0 at 0 */

#endif
