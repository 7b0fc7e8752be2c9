/* tensor/tensor.h - tensors, weights and parameters.
 *
 * A tensor is contiguous, row-major, has at most 4 dimensions and no strides, and holds sy_real or int32. A weight is what
 * products and the embedding read: only sy_real masters have gradients; other types (bf16, quantised blocks) come as types of
 * sy_weight, never as tensors. A parameter is a weight with a name, flags and optimiser moments. */
#ifndef SY_TENSOR_H
#define SY_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/arena.h"
#include "core/pool.h"
#include "core/status.h"
#include "kernels/quant.h"
#include "kernels/real.h"

typedef struct sy_tensor {
    sy_real    *x;                      /* values, or NULL for an int32 tensor */
    int32_t    *i;
    sy_real    *dx;                     /* gradient; NULL until backward first reaches it (see sy_grad) */
    int         nd, dim[4];
    bool        wants;                  /* a gradient is wanted here */
    const char *name;                   /* for messages and dumps; may be NULL */
} sy_tensor;

static inline size_t sy_numel(const sy_tensor *t)
{
    size_t n = 1;
    for (int d = 0; d < t->nd; d++) n *= (size_t)t->dim[d];
    return n;
}
/* The tensor seen as a matrix: all dimensions but the last are rows. */
static inline int sy_cols(const sy_tensor *t) { return t->nd ? t->dim[t->nd - 1] : 1; }
static inline int sy_rows(const sy_tensor *t)
{
    int n = 1;
    for (int d = 0; d + 1 < t->nd; d++) n *= t->dim[d];
    return n;
}

/* What products and the embedding read. SY_W_REAL is a master: sy_real in memory, trained or not. The stored formats (kernels/quant.h) are used
 * where they lie, in a mapped file too: rows are turned into numbers as they are needed, never the whole weight. Such weights have no
 * gradient of their own; the gradient of what they multiply passes through them. */
typedef struct sy_weight {
    sy_wtype    type;
    int         nd, dim[4];             /* [N,K], y = x W^T, or [E,N,K] for experts; [V,D] for an embedding */
    void       *data;                   /* row-major; stored formats: whole blocks a row, not aligned, read only */
    const void *const *part;            /* [dim 0] where each matrix of [E,N,K] begins, when they do not follow each other and data is NULL; else NULL */
    sy_real    *dx;                     /* gradient of a trained master, else NULL */
    sy_real    *panels;                 /* packed copy (kernels.h: pack) of data as it is now, or NULL; only of masters that do not change */
} sy_weight;

enum { SY_FROZEN = 1, SY_NODECAY = 2, SY_BUFFER = 4, SY_LAZY = 8 };  /* BUFFER: saved, never trained; LAZY: untouched rows keep their moments */

typedef struct sy_param {
    const char *name;                   /* full name in a checkpoint; "{e}" stands for the index of dimension 0, saved as one tensor each */
    sy_weight   w;
    sy_tensor   leaf;                   /* the same value for ops that take tensors: leaf.x = w.data, leaf.dx = w.dx */
    sy_real    *m, *v;                  /* Adam moments [n], or NULL */
    size_t      n;                      /* values in all */
    unsigned    flags;                  /* may change between steps */
    bool        fresh;                  /* to be given starting values; false when a checkpoint will bring them */
    uint8_t    *touched;                /* [dim 0] rows used in this step, for SY_LAZY; else NULL */
    sy_pool    *pool;                   /* draws starting values; borrowed; NULL: the calling thread does */
} sy_param;

/* All parameters of a model in the order in which they were declared; memory from the model's arena. */
typedef struct sy_params {
    sy_param **p;
    int        n, room;
    sy_arena  *arena;
    bool       train, fresh;
    bool       bare;                    /* values get no memory yet: sy_param_own or sy_param_store follows for each; not with train or fresh */
    sy_pool   *pool;                    /* draws starting values; NULL: the calling thread does */
} sy_params;

/* Declares a parameter: values zeroed, gradient and moments only when `l->train` and it is neither frozen nor a buffer.
 * The name is copied. NULL without memory or when the sizes wrap. */
sy_param *sy_params_add(sy_params *l, const char *name, unsigned flags, int nd, const int *dim);
/* A bare parameter gets zeroed memory from `a` (nothing happens when it has some); false without memory. */
bool      sy_param_own(sy_param *p, sy_arena *a);
/* A bare parameter reads its values from rows in a stored format, all of them at `data` as long as the parameter lives; its leaf has no
 * values, so only products and the embedding may use it. SY_EUNSUP: it has memory or a gradient; SY_ESHAPE: rows are not whole blocks. */
sy_status sy_param_store(sy_param *p, sy_wtype type, const void *data, sy_err *err);
/* The same for [E,N,K] whose matrices lie apart; part [E] lives as long as the parameter. */
sy_status sy_param_store_parts(sy_param *p, sy_wtype type, const void *const *part, sy_err *err);
sy_param *sy_params_find(const sy_params *l, const char *name);
/* N(0, std^2) from (seed, name): independent of the order of declaration and of threads, the same for float and double. Nothing happens to a
 * parameter that is not `fresh`. */
void      sy_param_normal(sy_param *p, uint64_t seed, double std);
/* Rows (or, where there are more rows than columns, columns) that are orthogonal and of length gain, from (seed, name); [N,K]. Fresh ones alone, as above. */
void      sy_param_orthogonal(sy_param *p, uint64_t seed, double gain);
/* Uniform in (-most, most) from (seed, name); fresh ones alone. */
void      sy_param_uniform(sy_param *p, uint64_t seed, double most);
void      sy_param_fill(sy_param *p, double value);
/* Takes gradient and moments away: nothing is computed for it from now on. */
void      sy_param_freeze(sy_param *p);
/* True when the optimiser moves it and backward fills its gradient. */
static inline bool sy_param_trains(const sy_param *p) { return p->w.dx && !(p->flags & (SY_FROZEN | SY_BUFFER)); }

#endif
