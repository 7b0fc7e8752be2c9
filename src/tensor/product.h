/* tensor/product.h - all matrix products of the tape go through here: a list of independent jobs, cut into tiles over threads.
 *
 * A dense layer is one job, a layer of experts is one job an expert; the skew of a load only changes how many tiles a job has.
 * Each tile owns its outputs, and each output is one chain (kernels.h), so cuts and threads never change a bit. A weight in a stored format
 * gives the bits of the same numbers as masters: a few rows at a time become numbers in scratch, then the same kernels run.
 *
 * With `int8` the rows of A are rounded to eight bits for weights whose format has such products (kernels/int8.h), each row once a list, whichever jobs
 * read it; other jobs of the list are exact. The bits of a row then still depend on that row and W alone. */
#ifndef SY_PRODUCT_H
#define SY_PRODUCT_H

#include "kernels/quant.h"
#include "tensor/tape.h"

typedef struct sy_gemm_job {
    int            M, N, K;
    const sy_real *A;                   /* A[m*ars + k*aks] */
    size_t         ars, aks;
    sy_wtype       type;                /* of B; SY_W_REAL unless B is a weight in a stored format */
    const void    *B;                   /* `rows`: W [N,K] with row stride bks, else B[k*bks + n] */
    size_t         bks;                 /* in values; a stored format has whole blocks in bks */
    bool           rows, acc;           /* acc: C += */
    bool           bf16;                /* operands are rounded to bfloat16 on their way in */
    bool           int8;                /* Y = X W^T of a stored weight: X is rounded to eight bits, where the format of W has such products */
    const sy_real *panels;              /* of W, or NULL; only with `rows` */
    sy_real       *C;
    size_t         ldc;
} sy_gemm_job;

/* Values from .. from+n-1 (both whole blocks of a stored format) of a weight that begins at `data`. */
void      sy_weight_read(sy_wtype type, const void *data, size_t from, size_t n, sy_real *out);
/* Whether this job's products are on eight-bit activations; false in the double build, which has none. */
bool      sy_gemm_rounds(const sy_gemm_job *j);
/* Runs all jobs; one list at a time, not from inside a task of the pool. SY_ENOMEM when the scratch for packed, decoded or rounded rows cannot be had. */
sy_status sy_gemm_all(sy_engine *e, const sy_gemm_job *job, int n, sy_err *err);
/* The jobs of a node: in bfloat16 where it is, forward ones on eight-bit activations where it is, and counted by its tape. False: the tape has the error. */
bool      sy_node_gemm(sy_node *n, sy_gemm_job *job, int jobs);
/* The same for the jobs of a forward pass; between sy_hold and sy_go (ops.h) they wait for the others, and outputs are not there yet. */
bool      sy_node_gemm_held(sy_node *n, sy_gemm_job *job, int jobs);
/* Multiply-adds of the jobs. */
uint64_t  sy_gemm_madds(const sy_gemm_job *job, int n);

#endif
