/* gmoe/gate.h - pieces that model.c and em.c share. Private to gmoe/. */
#ifndef SY_GMOE_GATE_H
#define SY_GMOE_GATE_H

#include "gmoe/gmoe.h"

double   sy__gmoe_act(sy_gmoe_act act, double z, double *slope);
void     sy__gmoe_logits(const sy_gmoe *g, double x, double *u);
unsigned sy__gmoe_kept(const sy_gmoe *g, double x, const double *u);             /* a bit an atom */
void     sy__gmoe_log_gate(const sy_gmoe *g, const double *u, unsigned kept, double *lp);
double   sy__gmoe_responsible(const sy_gmoe *g, double x, double y, unsigned kept, const double *u, double *lp, double *r);
int      sy__gmoe_gate_free(const sy_gmoe *g);                                   /* free numbers of the gate: beta1, beta0, ln tau */
void     sy__gmoe_slopes(const sy_gmoe *g, double x, double (*J)[SY_GMOE_FREE]); /* J[i][p] = d u_i / d free p */

#endif
