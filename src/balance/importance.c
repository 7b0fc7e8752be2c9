/* balance/importance.c - squared coefficient of variation of the summed gates.
 *
 * Paper: Shazeer et al. 2017, arXiv:1701.06538, equations 6 and 7:
 *   Importance_e = sum over tokens of the combine weight given to e,   loss = coef * var(Importance) / (mean(Importance)^2 + 1e-10)
 * The variance divides by n = E + Z, as the original code does. Dropped slots have no weight and count nothing. */
#include "route/router.h"

typedef struct { double coef; } importance_state;

static const sy_opt importance_opts[] = {
    SY_REAL(importance_state, coef, "w_importance", 0.1, 0, 1e6, "weight of the loss"),
    { 0 }
};

static sy_tensor *importance_loss(void *state, sy_tape *t, const sy_route_in *in, sy_tensor *logits, const sy_route *r)
{
    const importance_state *s = state;
    int n = r->E + r->Z, kept = 0;
    (void)in, (void)logits;
    if (!(s->coef > 0)) return NULL;
    int *slot = sy_tape_alloc(t, (size_t)r->n, sizeof *slot), *expert = sy_tape_alloc(t, (size_t)r->n, sizeof *expert);
    if (!slot || !expert) return &t->empty;
    for (int i = 0; i < r->n; i++) {
        if (r->expert[i] < 0) continue;
        slot[kept] = i;
        expert[kept++] = r->expert[i];
    }
    if (!kept) return NULL;
    sy_tensor *w = sy_reshape(t, r->weight, SY_DIM(r->n, 1));
    if (kept < r->n) w = sy_rows_gather(t, w, slot, kept);
    sy_tensor *sum = sy_rows_scatter(t, w, expert, n);                               /* [n,1] */
    sy_tensor *mean = sy_affine(t, sy_sum(t, sum), 1.0 / n, 0);
    sy_tensor *var = sy_affine(t, sy_sum(t, sy_square(t, sy_add_bias(t, sum, sy_affine(t, mean, -1, 0)))), s->coef / n, 0);
    return sy_div(t, var, sy_affine(t, sy_square(t, mean), 1, 1e-10));
}

const sy_method sy_balance_importance = {
    .kind = SY_BALANCE, .name = "importance", .title = "importance loss", .paper = "arXiv:1701.06538",
    .summary = "coef * CV^2 of the weights summed by expert; reads the route only, so it also goes with routers without probabilities",
    .opts = importance_opts, .size = sizeof(importance_state), .neutral = "coef=0",
    .hooks = &(const sy_balance_hooks){ SY_ROUTER_ABI, .loss = importance_loss },
};
