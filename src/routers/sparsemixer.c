/* routers/sparsemixer.c - two experts a token, each weighed among the experts near it (Phi-3.5-MoE); serving only.
 *
 * Paper: Liu et al. 2024, GRIN, arXiv:2409.12136; rule in evaluation as published with the model. s = W x, j = router_jitter_noise:
 *   e1 = argmax s, m = s[e1];  w1 = exp(s[e1]) / sum of exp(s[e]) over e with (m - s[e]) / max(|s[e]|, m) <= 2 j
 *   e2 = argmax of s without e1, m = s[e2];  w2 likewise at e2 over e other than e1, the same test on s
 * The two weights are not divided by their sum: experts well apart have nearly 1 each. max(|s[e]|, m) bounds from below, so a negative m leaves
 * |s[e]|. Its training draws the experts and takes a gradient of its own (Heun's third-order rule), which is not written: training is refused. */
#include <math.h>

#include "route/router.h"

typedef struct { int num_experts_per_tok; double router_jitter_noise; } sparsemixer_state;

static const sy_opt sparsemixer_opts[] = {
    SY_INT (sparsemixer_state, num_experts_per_tok, "top_k", 2, 2, 2, "experts each token is sent to: the rule is about two"),
    SY_REAL(sparsemixer_state, router_jitter_noise, "jitter_eps", 0.01, 0, 10, "experts further below the best than twice this, relative to their score, do not share the weight"),
    { 0 }
};

static sy_status sparsemixer_check(const void *state, const void *site, sy_err *err)
{
    const sparsemixer_state *s = state;
    const sy_site *at = site;
    return at->E + at->Z < s->num_experts_per_tok ? sy_fail(err, SY_EARG, "it sends a token to 2 experts, there are %d", at->E + at->Z) : SY_OK;
}

/* Weight of expert e among those near it; `but` (or -1) takes no part. */
static double weight_of(const sy_real *s, int n, int e, int but, double jitter)
{
    double m = (double)s[e], sum = 0;
    for (int i = 0; i < n; i++)
        if (i != but && !((m - (double)s[i]) / fmax(fabs((double)s[i]), m) > 2 * jitter)) sum += exp((double)s[i] - m);
    return 1 / sum;
}

static sy_status sparsemixer_select(void *state, sy_tape *t, const sy_route_in *in, sy_tensor *z, sy_route *out, sy_err *err)
{
    const sparsemixer_state *s = state;
    if (in->mode == SY_TRAIN || in->mode == SY_COUNT_PASS)
        return sy_fail(err, SY_EUNSUP, "the gradient of its training is not written; freeze the model and serve it, or train with --router topk");
    if (in->over && (in->over->n_ranks || in->over->k > s->num_experts_per_tok)) return sy_fail(err, SY_EUNSUP, "it weighs the best two experts only; other ranks and more experts have no weight");
    out->probs = sy_softmax(t, z);
    SY_TRY(sy_slots_topk(t, in, z, s->num_experts_per_tok, out, err));
    out->weight = sy_new(t, SY_DIM(out->n));
    SY_TRY(sy_tape_status(t, err));
    int cols = sy_cols(z);
    for (int i = 0; i < in->T; i++)
        for (int slot = out->first_slot[i], first = slot; slot < out->first_slot[i + 1]; slot++) {
            int but = slot == first ? -1 : sy_wanted(out->expert[first]);
            out->weight->x[slot] = (sy_real)weight_of(z->x + (size_t)i * (size_t)cols, cols, sy_wanted(out->expert[slot]), but, s->router_jitter_noise);
        }
    return SY_OK;
}

const sy_method sy_router_sparsemixer = {
    .kind = SY_ROUTER, .name = "sparsemixer", .title = "two experts, each weighed among its near rivals", .paper = "arXiv:2409.12136",
    .summary = "the router of Phi-3.5-MoE, for serving its checkpoints; training through it is refused",
    .when = "To serve Phi-3.5-MoE and what was trained as it was. A new model takes topk: the estimator of the gradient that belongs to this router is not part of the engine.",
    .cost = "Two passes over the scores of a token in place of one; two experts.",
    .example = "switchyard generate Phi-3.5-MoE-instruct -p \"To be, or not\"",
    .opts = sparsemixer_opts, .size = sizeof(sparsemixer_state), .check = sparsemixer_check,
    .hooks = &(const sy_router_hooks){ SY_ROUTER_ABI, .select = sparsemixer_select },
};
