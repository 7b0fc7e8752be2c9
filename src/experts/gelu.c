/* experts/gelu.c - the two-matrix FFN of Switch, GShard and GLaM: y = W_down act(W_up x), no bias.
 *
 * Papers: Vaswani et al. 2017, arXiv:1706.03762 (relu); Hendrycks and Gimpel 2016, arXiv:1606.08415 (gelu). */
#include "route/router.h"

typedef struct { int hidden_act; sy_param *up, *down; } gelu_state;

static const sy_act acts[] = { SY_ACT_GELU, SY_ACT_GELU_TANH, SY_ACT_RELU, SY_ACT_RELU2, SY_ACT_SILU };

static const sy_opt gelu_opts[] = {
    SY_ENUM_(gelu_state, hidden_act, "act", 0, "gelu|gelu_tanh|relu|relu2|silu", "activation between the two matrices"),
    { 0 }
};

static sy_status gelu_params(void *state, const sy_site *at, int E, sy_own *own, sy_err *err)
{
    gelu_state *s = state;
    (void)err;
    if (!(s->up = sy_own_param(own, "{e}.up_proj.weight", 0, false, at->init_std, SY_DIM(E, at->F, at->D)))) return own->err->status;
    if (!(s->down = sy_own_param(own, "{e}.down_proj.weight", 0, false, at->init_std, SY_DIM(E, at->D, at->F)))) return own->err->status;
    return SY_OK;
}

static sy_tensor *gelu_run(void *state, sy_tape *t, const sy_site *at, sy_tensor *x, const int *first, int E)
{
    const gelu_state *s = state;
    (void)at, (void)E;
    return sy_grouped(t, sy_activate(t, acts[s->hidden_act], sy_grouped(t, x, &s->up->w, first)), &s->down->w, first);
}

const sy_method sy_expert_gelu = {
    .kind = SY_EXPERT, .name = "gelu", .title = "two-matrix FFN", .paper = "arXiv:1606.08415",
    .summary = "down(act(up x)), two matrices of width moe_intermediate_size; act is an option",
    .when = "For the plain FFNs of GPT-2, Switch and their kind. At equal width it has two thirds of the weights of swiglu.",
    .cost = "4 D F FLOPs for a row.",
    .example = "switchyard train --recipe lm-tiny --data text --expert gelu:hidden_act=relu --out run",
    .opts = gelu_opts, .size = sizeof(gelu_state),
    .hooks = &(const sy_expert_hooks){ SY_ROUTER_ABI, .params = gelu_params, .run = gelu_run },
};
