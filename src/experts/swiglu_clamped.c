/* experts/swiglu_clamped.c - the expert of gpt-oss: a gated FFN with limits and a bias in every product.
 *
 * Paper: Agarwal et al. 2025, arXiv:2508.10925 (gpt-oss); gated units: Shazeer 2020, arXiv:2002.05202.
 *   g = min(W_gate x + b_gate, limit),  u = clamp(W_up x + b_up, -limit, limit),  y = W_down (g sigmoid(alpha g) (u + 1)) + b_down
 * Weights [E,F,D] and [E,D,F], biases [E,F] and [E,D]. No gradient passes a limit that is reached. */
#include <stdio.h>

#include "route/router.h"

typedef struct {
    double    swiglu_alpha, swiglu_limit;
    sy_param *gate, *gate_bias, *up, *up_bias, *down, *down_bias;
} clamped_state;

static const sy_opt clamped_opts[] = {
    SY_REAL(clamped_state, swiglu_alpha, "alpha", 1.702, 0, 1e3, "slope within the sigmoid of the gate"),
    SY_REAL(clamped_state, swiglu_limit, "limit", 7, 1e-6, 1e9, "largest gate, and largest size of the other factor before 1 is added"),
    { 0 }
};

/* One product: weight [E,N,K] and bias [E,N]. */
static sy_status product(sy_own *own, const char *name, double std, int E, int N, int K, sy_param **w, sy_param **b)
{
    char full[64];
    snprintf(full, sizeof full, "{e}.%s.weight", name);
    if (!(*w = sy_own_param(own, full, 0, false, std, SY_DIM(E, N, K)))) return own->err->status;
    snprintf(full, sizeof full, "{e}.%s.bias", name);
    if (!(*b = sy_own_param(own, full, SY_NODECAY, false, 0, SY_DIM(E, N)))) return own->err->status;
    return SY_OK;
}

static sy_status clamped_params(void *state, const sy_site *at, int E, sy_own *own, sy_err *err)
{
    clamped_state *s = state;
    (void)err;
    SY_TRY(product(own, "gate_proj", at->init_std, E, at->F, at->D, &s->gate, &s->gate_bias));
    SY_TRY(product(own, "up_proj", at->init_std, E, at->F, at->D, &s->up, &s->up_bias));
    return product(own, "down_proj", at->init_std, E, at->D, at->F, &s->down, &s->down_bias);
}

static sy_tensor *clamped_run(void *state, sy_tape *t, const sy_site *at, sy_tensor *x, const int *first, int E)
{
    const clamped_state *s = state;
    (void)at, (void)E;
    sy_hold(t);
    sy_tensor *g = sy_grouped(t, x, &s->gate->w, first), *u = sy_grouped(t, x, &s->up->w, first);
    sy_go(t);
    g = sy_add_bias_grouped(t, g, &s->gate_bias->leaf, first);
    u = sy_add_bias_grouped(t, u, &s->up_bias->leaf, first);
    return sy_add_bias_grouped(t, sy_grouped(t, sy_glu_clamped(t, g, u, s->swiglu_alpha, s->swiglu_limit), &s->down->w, first), &s->down_bias->leaf, first);
}

const sy_method sy_expert_swiglu_clamped = {
    .kind = SY_EXPERT, .name = "swiglu_clamped", .title = "gated FFN with limits and biases", .paper = "arXiv:2508.10925",
    .summary = "down(g sigmoid(alpha g) (u + 1)) with g and u held within a limit and a bias in each product (gpt-oss)",
    .when = "For checkpoints of gpt-oss, and where activations must not run away.",
    .cost = "6 D F FLOPs for a row, and three biases an expert.",
    .example = "switchyard train --recipe lm-tiny --data text --expert swiglu_clamped --out run",
    .opts = clamped_opts, .size = sizeof(clamped_state),
    .hooks = &(const sy_expert_hooks){ SY_ROUTER_ABI, .params = clamped_params, .run = clamped_run },
};
