/* experts/null.c - a zero-cost expert that does nothing: y = 0, so its weight is spent on silence.
 *
 * Papers: AdaMoE, Zeng et al. 2024, arXiv:2406.13233 (null experts); MoE++, Jin et al. 2024, arXiv:2410.07348 (zero expert). Without a run hook its
 * slots get no row at all. */
#include "route/router.h"

const sy_method sy_expert_null = {
    .kind = SY_EXPERT, .name = "null", .title = "null expert", .paper = "arXiv:2406.13233",
    .summary = "zero-cost: y = 0; a token that picks it uses fewer real experts",
    .when = "With adamoe: a token that chooses it uses one real expert fewer.",
    .cost = "Nothing, and it saves an expert.",
    .example = "switchyard train --recipe lm-tiny --data text --router adamoe:top_k=4 --set zero_experts=8 --set zero_expert=null --set balance= --out run",
    .hooks = &(const sy_expert_hooks){ SY_ROUTER_ABI, .flags = SY_ZEROCOST },
};
