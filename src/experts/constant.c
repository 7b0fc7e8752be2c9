/* experts/constant.c - a zero-cost expert that pulls its input towards a trained vector.
 *
 * Paper: MoE++, Jin et al. 2024, arXiv:2410.07348 (constant expert). Of expert e, with trained W [2,D] and v [D]:
 *   y = a1 x + a2 v,   (a1, a2) = softmax(W x)
 * W starts as N(0, init_std^2) and v as N(0, init_std^2). */
#include "route/router.h"

typedef struct { sy_param *mix, *vector; } constant_state;

static sy_status constant_params(void *state, const sy_site *at, int E, sy_own *own, sy_err *err)
{
    constant_state *s = state;
    (void)err;
    if (!(s->mix = sy_own_param(own, "{e}.mix.weight", 0, false, at->init_std, SY_DIM(E, 2, at->D)))) return own->err->status;
    if (!(s->vector = sy_own_param(own, "{e}.vector", 0, false, at->init_std, SY_DIM(E, at->D)))) return own->err->status;
    return SY_OK;
}

static sy_tensor *constant_run(void *state, sy_tape *t, const sy_site *at, sy_tensor *x, const int *first, int E)
{
    constant_state *s = state;
    (void)at;
    int n = first[E];
    int *owner = sy_tape_alloc(t, (size_t)n, sizeof *owner);
    if (!owner) return &t->empty;
    for (int e = 0; e < E; e++) for (int r = first[e]; r < first[e + 1]; r++) owner[r] = e;
    sy_tensor *a = sy_softmax(t, sy_grouped(t, x, &s->mix->w, first));
    sy_tensor *a1 = sy_reshape(t, sy_cols_slice(t, a, 0, 1), SY_DIM(n)), *a2 = sy_reshape(t, sy_cols_slice(t, a, 1, 1), SY_DIM(n));
    return sy_add(t, sy_mul_rows(t, x, a1), sy_mul_rows(t, sy_rows_gather(t, &s->vector->leaf, owner, n), a2));
}

const sy_method sy_expert_constant = {
    .kind = SY_EXPERT, .name = "constant", .title = "constant expert", .paper = "arXiv:2410.07348",
    .summary = "zero-cost: y = a1 x + a2 v with a trained vector v and (a1, a2) = softmax(W x)",
    .when = "With a router that may send tokens to zero-cost experts, where such a token should get something learned all the same.",
    .cost = "Three products of width D for a row; no matrix.",
    .example = "switchyard train --recipe lm-tiny --data text --router adamoe:top_k=3 --set zero_experts=2 --set zero_expert=constant --set balance= --out run",
    .size = sizeof(constant_state),
    .hooks = &(const sy_expert_hooks){ SY_ROUTER_ABI, .flags = SY_ZEROCOST, .params = constant_params, .run = constant_run },
};
