/* infer/trace.h - which experts every token used in every sparse layer: collected while a model runs, written as a file that analyses, caches and
 * pruning read, and read back.
 *
 * A trace is a safetensors file: doc, pos, id, domain int32 [n]; experts uint16 [layers,n,K], best first, 65535 = none; weights f16 [layers,n,K]. K is
 * the most slots that a token had. Metadata: `layers`, the numbers of the sparse layers in the model, "1 2 5"; `num_experts` and `zero_experts`;
 * `domains`, their names with blanks between, where there are any. Slots that capacity took away are left out; serving has no capacity. */
#ifndef SY_INFER_TRACE_H
#define SY_INFER_TRACE_H

#include "core/buffer.h"
#include "model/model.h"

typedef struct sy_trace_token { int32_t doc, pos, id, domain; } sy_trace_token;
typedef struct sy_trace_layer {         /* slots of one token after the other */
    sy_buf count;                       /* of each token, int32 */
    sy_buf expert, weight;              /* of each slot, int32 and float */
} sy_trace_layer;

typedef struct sy_trace {
    int    layers, E, Z, K;             /* sparse layers; real and zero-cost experts of each; the most slots so far */
    size_t n;                           /* tokens */
    sy_buf token;                       /* sy_trace_token of each */
    sy_trace_layer *layer;              /* [layers] */
    char  *numbers, *domains;           /* the texts of the metadata; domains may be NULL */
} sy_trace;

/* Of a model, or of so many layers that are numbered from 0; SY_ENOMEM, SY_ESHAPE (an expert's number would not fit 16 bits). */
sy_status sy_trace_open(sy_trace *t, const sy_model *m, sy_err *err);
sy_status sy_trace_open_bare(sy_trace *t, int layers, int E, int Z, sy_err *err);
void      sy_trace_close(sy_trace *t);              /* fine on a zeroed one and after a failed open */
/* Names of the domains, each without blanks. */
sy_status sy_trace_name(sy_trace *t, const char *const *domain, int n, sy_err *err);
/* n tokens of one sequence, which stand in rows row0 .. row0+n-1 of the routes. A NULL route (a mixing router) has no slots. */
sy_status sy_trace_add(sy_trace *t, sy_route *const *routes, int row0, const int *id, int n, int pos0, int doc, int domain, sy_err *err);
static inline const sy_trace_token *sy_trace_tokens(const sy_trace *t) { return (const sy_trace_token *)t->token.data; }
/* Slot k of every token and layer, as [layers,n,K]: experts with `none` where there is none, weights with 0. */
void      sy_trace_experts(const sy_trace *t, int32_t none, int32_t *out);
void      sy_trace_weights(const sy_trace *t, float *out);
/* Writes the file, atomically. */
sy_status sy_trace_write(const sy_trace *t, const char *path, sy_err *err);
/* Opens a trace that stands in a file. SY_EFORMAT names what is wrong: a tensor that is missing or has another type or shape, an expert that the model has
 * not got, an expert twice for one token, tokens whose documents or domains are not in order. */
sy_status sy_trace_read(sy_trace *t, const char *path, sy_err *err);

#endif
