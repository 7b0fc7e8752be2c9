/* routers/dynmoe.c - as many experts as it takes for their probabilities to exceed a threshold (top-p).
 *
 * Paper: Huang et al. 2024, arXiv:2403.07652:
 *   p[t,e] = softmax over e of z[t,e] / temperature, sorted p_(1) >= p_(2) >= ..., ties to the lower index
 *   S[t] = the first n experts of that order, n the smallest with p_(1) + ... + p_(n) > threshold (all of them where none is), at most max_experts; w[t,e] = p[t,e]
 *   loss of its own = dyn_coef mean over t of -sum over e of p ln p: without it the router flattens p and a token takes everything
 * The balance loss of the paper is --balance switch:form=slots,coef=0.01. A threshold of 1 or more is the dense mixture, whatever p sums to in floating point; 0 is top-1.
 * Weights sum to between threshold and 1. The same rule serves; a threshold given per call stands in for the option. */
#include "route/router.h"

typedef struct {
    double top_p_threshold, temperature, dyn_coef;
    int    max_experts;
} dynmoe_state;

static const sy_opt dynmoe_opts[] = {
    SY_REAL(dynmoe_state, top_p_threshold, "threshold", 0.4, 0, 1, "a token takes experts until their probabilities exceed this"),
    SY_REAL(dynmoe_state, temperature,     NULL, 1, 1e-3, 1e3, "logits are divided by this"),
    SY_REAL(dynmoe_state, dyn_coef,        NULL, 1e-4, 0, 1e6, "weight of the entropy of p, which keeps the number of experts low"),
    SY_INT (dynmoe_state, max_experts,     NULL, 0, 0, 1024, "a token takes no more than this; 0 = no limit"),
    { 0 }
};

static sy_status dynmoe_select(void *state, sy_tape *t, const sy_route_in *in, sy_tensor *z, sy_route *out, sy_err *err)
{
    const dynmoe_state *s = state;
    int cols = sy_cols(z), most = s->max_experts && s->max_experts < cols ? s->max_experts : cols;
    double threshold = in->over && in->over->threshold != 0 ? in->over->threshold : s->top_p_threshold;
    bool done;
    SY_TRY(sy_only_override(in, false, true, err));
    if (!(threshold >= 0)) return sy_fail(err, SY_EARG, "threshold %g is no probability: give one from 0 to 1", threshold);
    out->probs = sy_softmax(t, s->temperature != 1 ? sy_affine(t, z, 1 / s->temperature, 0) : z);
    SY_TRY(sy_slots_again(t, in, out, &done, err));
    if (!done) {
        int *order = sy_tape_alloc(t, (size_t)most, sizeof *order);
        out->first_slot = sy_tape_alloc(t, (size_t)in->T + 1, sizeof(int));
        out->expert = sy_tape_alloc(t, (size_t)in->T * (size_t)most, sizeof(int));
        SY_TRY(sy_tape_status(t, err));
        for (int i = 0; i < in->T; i++) {
            const sy_real *p = out->probs->x + (size_t)i * cols;
            double sum = 0;
            if (sy_valid(in, i)) sy_top_row(p, cols, most, order);
            for (int k = 0; sy_valid(in, i) && k < most && (threshold >= 1 || !(sum > threshold)); k++) {
                sum += (double)p[order[k]];
                out->expert[out->n++] = order[k];
            }
            out->first_slot[i + 1] = out->n;
        }
    }
    out->weight = sy_slots_pick(t, out->probs, out);
    if (s->dyn_coef > 0 && out->aux) sy_route_loss(t, in, out, "dynmoe.entropy", sy_mean_entropy(t, in, out->probs, 0, s->dyn_coef));
    return sy_tape_status(t, err);
}

const sy_method sy_router_dynmoe = {
    .kind = SY_ROUTER, .name = "dynmoe", .title = "top-p routing", .paper = "arXiv:2403.07652",
    .summary = "a token takes its best experts until their probabilities exceed a threshold: one where the router is sure, several where it is not",
    .when = "When tokens differ in difficulty and the mean number of experts may float. Balance goes with form=slots; raise dyn_coef if tokens take ever more experts. Another threshold when serving: --override threshold=P.",
    .cost = "A sort of each token's probabilities; between 1 and E experts a token: bound them with max_experts.",
    .example = "switchyard train --recipe lm-tiny --data text --router dynmoe:top_p_threshold=0.4 --balance switch:form=slots,coef=0.01 --out run",
    .opts = dynmoe_opts, .size = sizeof(dynmoe_state), .neutral = "top_p_threshold=0",
    .hooks = &(const sy_router_hooks){ SY_ROUTER_ABI, .select = dynmoe_select },
};
