/* route/route.h - where tokens go: the route that a router decides, and the plan that packs its rows by expert.
 *
 * Some routers pick exactly K experts, some as many as needed, some let experts pick tokens; one CSR structure serves them
 * all, and all that follows reads only this. Floor 3: must not know which router made it, nor models. */
#ifndef SY_ROUTE_H
#define SY_ROUTE_H

#include "tensor/ops.h"

typedef struct sy_loss { const char *name; int layer; sy_tensor *value; } sy_loss;     /* value [1] on the tape, its coefficient applied */
typedef struct sy_losses { sy_loss *l; int n, room; } sy_losses;                        /* memory: the tape's arena */
/* Appends one named loss; the trainer adds and scales each once. Fails through the tape. */
void sy_losses_add(sy_tape *t, sy_losses *l, const char *name, int layer, sy_tensor *value);

typedef struct sy_route {
    int        T, E, Z, n;              /* tokens, real and zero-cost experts, slots in all */
    int       *first_slot;              /* [T+1] slots of token t: first_slot[t] .. first_slot[t+1]-1, best first; none = the token passes by */
    int       *expert;                  /* [n] 0..E-1 real; E..E+Z-1 zero-cost (null, identity, constant); ~e = wanted e, dropped by capacity */
    sy_tensor *weight;                  /* [n] combine weights, on the tape; a dropped slot's weight is not read */
    sy_tensor *probs;                   /* [T,E+Z] full distribution on the tape, or NULL */
    sy_tensor *carry;                   /* [T,c] state for the next sparse layer, or NULL */
    const struct sy_route *own;         /* the router's choices before edits changed them (first_slot, expert, n); NULL: no edit of gates. Who keeps a route keeps this too */
    sy_losses *aux;                     /* where losses of the router itself go; given by the caller */
} sy_route;

typedef struct sy_plan {                /* where each kept slot's row lives once rows are packed by expert */
    int  n, T, E;                       /* rows packed, tokens, experts that run rows (real and zero-cost) */
    int *first;                         /* [E+1] rows of expert e: first[e] .. first[e+1]-1 */
    int *slot, *token;                  /* [n] row -> slot, row -> token */
    int *row;                           /* [slots] slot -> row, or -1 (dropped, or a null expert) */
    const int *first_slot;              /* the route's */
} sy_plan;

/* Stable counting sort of the kept slots by expert. Slots of experts >= null_from are counted nowhere and get no row
 * (null experts); pass E+Z to pack all. Memory: the tape's arena. */
sy_plan   *sy_plan_build(sy_tape *t, const sy_route *r, int null_from);
sy_tensor *sy_gather(sy_tape *t, sy_tensor *x /*[T,D]*/, const sy_plan *p);                        /* [n,D] rows by expert */
/* y[t] = sum over the token's kept slots, in slot order, of weight * row: [T,D]; a token without rows gets zeros. */
sy_tensor *sy_combine(sy_tape *t, sy_tensor *rows /*[n,D]*/, sy_tensor *weight /*[slots]*/, const sy_plan *p);
/* The same for rows that were made in two parts: gather rows from .. to-1 of the plan, and combine `a`, its first rows, with `b`, the rest (or NULL). */
sy_tensor *sy_gather_part(sy_tape *t, sy_tensor *x, const sy_plan *p, int from, int to);           /* [to-from,D] */
sy_tensor *sy_combine_parts(sy_tape *t, sy_tensor *a, sy_tensor *b, sy_tensor *weight, const sy_plan *p);
sy_tensor *sy_matmul_nn(sy_tape *t, sy_tensor *a /*[M,K]*/, sy_tensor *b /*[K,N]*/);               /* [M,N] = a b: the mixed slots of soft routing */

extern const sy_op *const sy_route_ops[];   /* every op of this folder, from ops.def; ends with NULL */

#endif
