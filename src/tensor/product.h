/* tensor/product.h - all matrix products of the tape go through here: a list of independent jobs, cut into tiles over threads.
 *
 * A dense layer is one job, a layer of experts is one job an expert; the skew of a load only changes how many tiles a job has.
 * Each tile owns its outputs, and each output is one chain (kernels.h), so cuts and threads never change a bit. */
#ifndef SY_PRODUCT_H
#define SY_PRODUCT_H

#include "tensor/engine.h"

typedef struct sy_gemm_job {
    int            M, N, K;
    const sy_real *A;                   /* A[m*ars + k*aks] */
    size_t         ars, aks;
    const sy_real *B;                   /* `rows`: W [N,K] with row stride bks, else B[k*bks + n] */
    size_t         bks;
    bool           rows, acc;           /* acc: C += */
    const sy_real *panels;              /* of W, or NULL; only with `rows` */
    sy_real       *C;
    size_t         ldc;
} sy_gemm_job;

/* Runs all jobs. SY_ENOMEM when the packing scratch cannot be had. */
sy_status sy_gemm_all(sy_engine *e, const sy_gemm_job *job, int n, sy_err *err);
/* Multiply-adds of the jobs. */
uint64_t  sy_gemm_madds(const sy_gemm_job *job, int n);

#endif
