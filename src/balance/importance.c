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
    int kept = 0;
    (void)in, (void)logits;
    for (int i = 0; i < r->n; i++) kept += r->expert[i] >= 0;
    if (!(s->coef > 0) || !kept) return NULL;
    return sy_cv2(t, sy_slots_sum(t, r->weight, r), s->coef);
}

const sy_method sy_balance_importance = {
    .kind = SY_BALANCE, .name = "importance", .title = "importance loss", .paper = "arXiv:1701.06538",
    .summary = "coef * CV^2 of the weights summed by expert; reads the route only, so it also goes with routers without probabilities",
    .when = "Where summed weights should be even rather than numbers of tokens. It reads a route alone, so it also goes with routers without a distribution; it teaches those whose weights depend on the router. noisytopk brings it along.",
    .cost = "A sum of the weights of each expert.",
    .example = "switchyard train --recipe lm-tiny --data text --router topk:top_k=2 --balance importance:coef=0.1 --out run",
    .opts = importance_opts, .size = sizeof(importance_state), .neutral = "coef=0",
    .hooks = &(const sy_balance_hooks){ SY_ROUTER_ABI, .loss = importance_loss },
};
