/* gmoe/gmoe.h - Gaussian mixtures of experts: drawing from them, maximum likelihood by EM, and how far a fit is from the truth.
 *
 * Papers: Nguyen et al. 2023, arXiv:2309.13850 (top-K softmax gate); Nguyen et al. 2024, arXiv:2401.13875 (temperature and activation in the gate).
 *   density of y given x in R:   sum over i of pi_i(x) Normal(y; a_i x + b_i, v_i)
 *   u_i = act(beta1_i x) / tau + beta0_i      (divide_bias: beta0_i / tau)
 *   pi  = softmax of u over the K atoms of largest beta1_i x (rank_bias: of largest u), 0 elsewhere
 * The last atom has beta0 = beta1 = 0, which is what identifies the gate. All in float64; knows no tensors and no models. */
#ifndef SY_GMOE_H
#define SY_GMOE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

enum { SY_GMOE_ATOMS = 8, SY_GMOE_FREE = 5 * SY_GMOE_ATOMS };

typedef enum { SY_GMOE_LINEAR, SY_GMOE_SIGMOID, SY_GMOE_TANH, SY_GMOE_GELU } sy_gmoe_act;

typedef struct sy_gmoe {
    int         k, K;                   /* atoms, and those that the gate keeps; K = k: a dense softmax */
    sy_gmoe_act act;
    bool        temperature;            /* tau is fitted; else it stays */
    bool        divide_bias, rank_bias;
    double      tau;
    double      beta0[SY_GMOE_ATOMS], beta1[SY_GMOE_ATOMS], a[SY_GMOE_ATOMS], b[SY_GMOE_ATOMS], v[SY_GMOE_ATOMS];     /* v: variance */
} sy_gmoe;

/* SY_EARG for sizes or values that make no model. */
sy_status sy_gmoe_check(const sy_gmoe *g, sy_err *err);
void      sy_gmoe_gate(const sy_gmoe *g, double x, double *pi /*[k]*/);
double    sy_gmoe_log_density(const sy_gmoe *g, double x, double y);
/* n pairs, x uniform in (0,1); the first m of n are the first m of any larger n. */
void      sy_gmoe_sample(const sy_gmoe *g, uint64_t key, int n, double *x, double *y);
/* Mean log-likelihood. */
double    sy_gmoe_likelihood(const sy_gmoe *g, const double *x, const double *y, int n);
/* Gradient of the mean log-likelihood; grad [count]: beta1 and beta0 of all atoms but the last, ln tau when it is fitted, a, b, v. Returns the count. Kept atoms are held. */
int       sy_gmoe_gradient(const sy_gmoe *g, const double *x, const double *y, int n, double *grad /*[SY_GMOE_FREE]*/);
/* The free parameter of that index; to be read and set. */
double   *sy_gmoe_free(sy_gmoe *g, int index);

typedef struct sy_gmoe_rules { int most; double eps, floor; } sy_gmoe_rules;   /* rounds at most; ends when a round gains less than eps a sample; least variance */
typedef struct sy_gmoe_fit {
    int    rounds;
    bool   ended;                       /* by eps, not by the number of rounds */
    double likelihood, fell, gradient;  /* mean; the most that a round lost (0 but for rounding); largest entry of the gradient at the end */
} sy_gmoe_fit;

/* EM from *g on. A round: exact responsibilities; weighted least squares for the experts; Newton's method for the gate, to its end (for an activation or a temperature, scoring steps
 * with a line search). With K < k the kept atoms are those of the round's beginning, and a gate step that lowers the likelihood is shortened. */
sy_status sy_gmoe_em(sy_gmoe *g, const double *x, const double *y, int n, const sy_gmoe_rules *rules, sy_gmoe_fit *out, sy_err *err);
/* EM from `starts` cuts of the x axis into k random pieces, and from *g itself when `near`; *g is the fit of the largest likelihood. */
sy_status sy_gmoe_search(sy_gmoe *g, bool near, int starts, uint64_t key, const double *x, const double *y, int n, const sy_gmoe_rules *rules, sy_gmoe_fit *out, sy_err *err);

/* --- distances (distance.c) ------------------------------------------------------------------------------------------------------ */

/* Shifts the gate, which a linear one does not notice, so that the atom nearest to the truth's last one has beta0 = beta1 = 0 (another gate: beta0 alone). */
void   sy_gmoe_align(sy_gmoe *g, const sy_gmoe *truth);
/* cell[i] = the true atom nearest to fitted atom i, by the sum of absolute differences of beta1, a, b, v; ties to the lower index. */
void   sy_gmoe_cells(const sy_gmoe *g, const sy_gmoe *truth, int *cell /*[g->k]*/);
/* Voronoi losses of an aligned fit. D1: each atom's distance to its cell's truth weighs exp(beta0); plus what the cell's weights miss. D2: in a cell of two or more atoms the distances
 * are raised to the powers that are slow there (4 and 2 for two atoms, 6 and 3 for more). With K < k the largest sum over K cells. */
double sy_gmoe_d1(const sy_gmoe *g, const sy_gmoe *truth);
double sy_gmoe_d2(const sy_gmoe *g, const sy_gmoe *truth);
/* Hellinger distance of the densities of y, its square averaged over x in (0,1); by quadrature. */
double sy_gmoe_hellinger(const sy_gmoe *g, const sy_gmoe *truth);

#endif
