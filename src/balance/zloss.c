/* balance/zloss.c - router z-loss: keeps logits small, against rounding and blow-up.
 *
 * Paper: ST-MoE, Zoph et al. 2022, arXiv:2202.08906:   coef / N * sum over valid tokens t of (log sum over e of exp z[t,e])^2
 * z are the logits that the router uses, after jitter and edits, before any selection bias. Gradient: coef / N * 2 lse_t p[t,e]. */
#include "route/router.h"

typedef struct { double router_z_loss_coef; } zloss_state;

static const sy_opt zloss_opts[] = {
    SY_REAL(zloss_state, router_z_loss_coef, "coef", 0.001, 0, 1e6, "weight of the loss"),
    { 0 }
};

static sy_tensor *zloss_loss(void *state, sy_tape *t, const sy_route_in *in, sy_tensor *logits, const sy_route *r)
{
    const zloss_state *s = state;
    int n = 0;
    (void)r;
    if (!(s->router_z_loss_coef > 0)) return NULL;
    sy_real *c = sy_tape_alloc(t, (size_t)in->T, sizeof *c);
    if (!c) return &t->empty;
    for (int i = 0; i < in->T; i++) n += sy_valid(in, i);
    if (!n) return NULL;
    for (int i = 0; i < in->T; i++) c[i] = sy_valid(in, i) ? (sy_real)(s->router_z_loss_coef / n) : 0;
    return sy_dot_const(t, sy_square(t, sy_logsumexp(t, logits)), c);
}

const sy_method sy_balance_zloss = {
    .kind = SY_BALANCE, .name = "zloss", .title = "router z-loss", .paper = "arXiv:2202.08906",
    .summary = "coef * mean squared log-sum-exp of the router's logits; goes with any router that has logits",
    .when = "Against logits that grow until the softmax saturates: high learning rates, bfloat16, long runs. It stands beside a balance term, not in its place.",
    .cost = "A log-sum-exp of each token's logits.",
    .example = "switchyard train --recipe lm-tiny --data text --balance switch:coef=0.01 --balance zloss:coef=0.001 --out run",
    .opts = zloss_opts, .size = sizeof(zloss_state), .neutral = "router_z_loss_coef=0",
    .hooks = &(const sy_balance_hooks){ SY_ROUTER_ABI, .flags = SY_NEEDLOGITS, .loss = zloss_loss },
};
