/* experts/identity.c - a zero-cost expert that hands its input on: y = x.
 *
 * Paper: MoE++, Jin et al. 2024, arXiv:2410.07348 (copy expert). */
#include "route/router.h"

static sy_tensor *identity_run(void *state, sy_tape *t, const sy_site *at, sy_tensor *x, const int *first, int E)
{
    (void)state, (void)t, (void)at, (void)first, (void)E;
    return x;
}

const sy_method sy_expert_identity = {
    .kind = SY_EXPERT, .name = "identity", .title = "identity expert", .paper = "arXiv:2410.07348",
    .summary = "zero-cost: y = x; a token that picks it keeps more of itself",
    .when = "In place of null, where a token that skips an expert should keep more of itself.",
    .cost = "A weight times the row, added.",
    .example = "switchyard train --recipe lm-tiny --data text --router adamoe:top_k=3 --set zero_experts=2 --set zero_expert=identity --set balance= --out run",
    .hooks = &(const sy_expert_hooks){ SY_ROUTER_ABI, .flags = SY_ZEROCOST, .run = identity_run },
};
