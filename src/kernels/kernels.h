/* kernels/kernels.h - inner loops behind one table of function pointers.
 *
 * One file per instruction set fills a sy_kernels; ref.c is plain C, is compiled for float and double, and is the oracle of
 * the others. Contract of every entry, within one set: an output element is accumulated along one chain with its
 * contraction index ascending, whatever the number of rows, the tail, the alignment or the thread; so one row or many give the
 * same bits. Rows may be unaligned. No entry allocates, and none knows threads: callers cut the work. A product may use 512 KiB of
 * stack. Knows no model, no tape.
 *
 * Reductions along a row (sums, sums of squares, maxima) have one fixed order per set that depends on n alone. */
#ifndef SY_KERNELS_H
#define SY_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "kernels/real.h"

typedef enum { SY_ACT_SILU, SY_ACT_GELU, SY_ACT_GELU_TANH, SY_ACT_RELU, SY_ACT_RELU2, SY_ACT_SIGMOID, SY_ACT_TANH, SY_ACTS } sy_act;

typedef struct sy_adamw {               /* one AdamW update of a flat run of weights, Loshchilov and Hutter, arXiv:1711.05101 */
    double lr, beta1, beta2, eps, weight_decay;
    double bias1, bias2;                /* 1 - beta^t */
    double clip;                        /* gradients are multiplied by it first */
} sy_adamw;

/* A product in bfloat16, any of the three forms: C[m,n] = (acc ? C[m,n] : 0) + sum over k ascending of A[m*ars + k*aks] * B[k*bks + n*bns], the
 * operands rounded to the nearest bfloat16, sums in sy_real. One of ars and aks is 1, and one of bks and bns. `work`: SY_GEMM16_WORK bytes,
 * aligned to 64. How the sums of a few neighbouring k are taken, and whether denormal values count as zero, is the set's own. */
enum { SY_GEMM16_WORK = 640 << 10 };
typedef void sy_gemm16_fn(int M, int N, int K, const sy_real *A, size_t ars, size_t aks, const sy_real *B, size_t bks, size_t bns, sy_real *C, size_t ldc, bool acc, void *work);

typedef struct sy_kernels {
    const char *name;
    int         nr;                     /* columns of one packed panel */

    /* C[m,n] = (acc ? C[m,n] : 0) + sum over k ascending of A[m*ars + k*aks] * B[k*bks + n].  The three products of a layer:
     *   forward  Y = X W^T : B = panels of W (see pack);   dX = dY W : B = W itself;   dW = dY^T X : A = dY with ars 1, B = X. */
    void (*gemm)(int M, int N, int K, const sy_real *A, size_t ars, size_t aks, const sy_real *B, size_t bks, sy_real *C, size_t ldc, bool acc);
    /* W [N,K] with row stride ldw -> ceil(N/nr) panels of [K][nr], the tail filled with zeros. */
    void (*pack)(int N, int K, const sy_real *W, size_t ldw, sy_real *panels);
    /* C[m,n] = (acc ? C : 0) + sum_k A[m*ars + k] * W[n,k], from panels (column 0 of C is column 0 of the first panel). */
    void (*gemm_panels)(int M, int N, int K, const sy_real *A, size_t ars, const sy_real *panels, sy_real *C, size_t ldc, bool acc);
    /* The same product straight from W [N,K]: same bits as through panels; for few rows, where packing does not pay. */
    void (*gemm_rows)(int M, int N, int K, const sy_real *A, size_t ars, const sy_real *W, size_t ldw, sy_real *C, size_t ldc, bool acc);
    /* With instructions of its own for bfloat16; NULL in a set without them. Callers use sy_gemm16. */
    sy_gemm16_fn *gemm16;

    /* element-wise over n values; y may be x unless said */
    void (*add)(size_t n, const sy_real *a, const sy_real *b, sy_real *y);
    void (*axpy)(size_t n, sy_real s, const sy_real *x, sy_real *y);                   /* y += s x */
    void (*scale)(size_t n, sy_real s, const sy_real *x, sy_real *y);                  /* y = s x */
    void (*mul)(size_t n, const sy_real *a, const sy_real *b, sy_real *y);
    void (*muladd)(size_t n, const sy_real *a, const sy_real *b, sy_real *y);          /* y += a b */
    void (*exp)(size_t n, const sy_real *x, sy_real *y);
    void (*act)(sy_act a, size_t n, const sy_real *x, sy_real *y);
    void (*act_b)(sy_act a, size_t n, const sy_real *x, const sy_real *dy, sy_real *dx);            /* dx += act'(x) dy */
    void (*glu)(sy_act a, size_t n, const sy_real *g, const sy_real *u, sy_real *h);                /* h = act(g) u */
    void (*glu_b)(sy_act a, size_t n, const sy_real *g, const sy_real *u, const sy_real *dh, sy_real *dg, sy_real *du);  /* both = , not += */

    /* along one row of n */
    sy_real (*dot)(size_t n, const sy_real *a, const sy_real *b);
    sy_real (*sum)(size_t n, const sy_real *x);
    sy_real (*max)(size_t n, const sy_real *x);                                        /* n >= 1; NaN if one is there */
    void (*softmax)(int n, const sy_real *x, sy_real *y);
    void (*softmax_b)(int n, const sy_real *y, const sy_real *dy, sy_real *dx);        /* dx += y (dy - <y,dy>) */
    void (*rmsnorm)(int n, double eps, const sy_real *x, const sy_real *w, sy_real *y, sy_real *rinv);   /* rinv[0] = 1/rms; w NULL: ones */
    /* dx += (w dy - x <w dy, x> rinv^2 / n) rinv;  dw += dy x rinv (dw NULL: skipped) */
    void (*rmsnorm_b)(int n, const sy_real *x, const sy_real *w, sy_real rinv, const sy_real *dy, sy_real *dx, sy_real *dw);
    /* Rotates pairs (x[i], x[i + half]) for i < half: y[i] = x[i] c[i] - x[i+half] s[i], y[i+half] = x[i+half] c[i] + x[i] s[i]. y may be x. */
    void (*rope)(int half, const sy_real *c, const sy_real *s, const sy_real *x, sy_real *y);

    /* Attention, one row of scores against one block of keys (online softmax, Milakov and Gimelshein, arXiv:1805.02867).
     * s[0..n) are raw dot products, scaled here; returns a = exp(m_old - m_new), by which the caller scales l and O; s becomes
     * exp(s*scale - m_new); *m is moved, *l = a * *l + sum s. n may be 0: then a = 1. */
    sy_real (*attn_row)(int n, sy_real scale, sy_real *s, sy_real *m, sy_real *l);
    /* Backward of such a row, from its log-sum-exp and dot = <dO, O>: raw dot products s become p = exp(scale s - lse), and dp = <dO, V> becomes
     * scale p (dp - dot), the gradient of the raw products. */
    void (*attn_row_b)(int n, sy_real scale, sy_real lse, sy_real dot, sy_real *s, sy_real *dp);

    /* Cross-entropy of one row of V logits: returns log-sum-exp and writes p = softmax(logits) in place when `want_p`. */
    sy_real (*xent_row)(int V, sy_real *logits, bool want_p);

    void (*adamw)(size_t n, const sy_adamw *a, sy_real *w, const sy_real *g, sy_real *m, sy_real *v);
    double (*sumsq)(size_t n, const sy_real *x);                                       /* accumulated in double */

    /* Nothing but n rounds of independent multiply-add chains in registers, for peak.h; returns how many multiply-adds that was. */
    size_t (*spin)(size_t n, sy_real *x);
    size_t (*spin16)(size_t n);                                                        /* the same in bfloat16; NULL where gemm16 is */
} sy_kernels;

/* The set's gemm16, or its plain twin: rounded copies and the set's products of sy_real, with the sums of those. */
void sy_gemm16(const sy_kernels *k, int M, int N, int K, const sy_real *A, size_t ars, size_t aks, const sy_real *B, size_t bks, size_t bns, sy_real *C, size_t ldc, bool acc, void *work);

extern const sy_kernels sy_kernels_ref;
/* The best set that this CPU runs, or the one named ("ref", "avx2", "avx512", "avx512bf16", "amx"); a name that is unknown, not built in or not
 * runnable here is SY_EUNSUP and lists what there is. name NULL: the best. */
sy_status sy_kernels_pick(const char *name, const sy_kernels **out, sy_err *err);
/* The i-th set that can run here (0 = ref, then faster ones), NULL past the last. */
const sy_kernels *sy_kernels_at(int i);

#endif
