/* infer/trace.h - which experts every token used in every sparse layer: collected while a model runs, written as a file that analyses, caches and
 * pruning read. A trace is a safetensors file: doc, pos, id, domain int32 [n]; experts uint16 [layers,n,K], 65535 = none; weights f16 [layers,n,K].
 * K is the most slots that a token had; the metadata `layers` names the layers of the model, "1 2 5". */
#ifndef SY_INFER_TRACE_H
#define SY_INFER_TRACE_H

#include "core/buffer.h"
#include "model/model.h"

typedef struct sy_trace {
    int    layers, K;                   /* sparse layers; the most slots so far */
    size_t n;                           /* tokens */
    sy_buf token;                       /* doc, pos, id, domain of each, int32 */
    sy_buf count, expert, weight;       /* of each token and layer: how many slots (int32); then of each slot int32 and float */
} sy_trace;

void      sy_trace_open(sy_trace *t, int layers);
void      sy_trace_close(sy_trace *t);
/* The T tokens of a batch of one sequence; slots that capacity took away are left out. A NULL route (a mixing router) has no slots. */
sy_status sy_trace_add(sy_trace *t, sy_route *const *routes, const int *id, int T, int pos0, int doc, int domain, sy_err *err);
/* Slot k of every token and layer, as [layers,n,K]: experts with `none` where there is none, weights with 0. */
void      sy_trace_experts(const sy_trace *t, int32_t none, int32_t *out);
void      sy_trace_weights(const sy_trace *t, float *out);
/* Writes the file, atomically. SY_ESHAPE: an expert's number does not fit 16 bits. */
sy_status sy_trace_write(const sy_trace *t, const sy_model *m, const char *path, sy_err *err);

#endif
