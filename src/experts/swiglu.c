/* experts/swiglu.c - the gated FFN of nearly every current mixture: y = W_down (act(W_gate x) * (W_up x)), act = silu unless an option says else.
 *
 * Paper: Shazeer 2020, arXiv:2002.05202. Weights [E,F,D] and [E,D,F], saved as PREFIX.{e}.gate_proj.weight and so on. */
#include "route/router.h"

typedef struct { int hidden_act; sy_param *gate, *up, *down; } swiglu_state;

static const sy_act acts[] = { SY_ACT_SILU, SY_ACT_GELU, SY_ACT_GELU_TANH, SY_ACT_RELU, SY_ACT_RELU2 };

static const sy_opt swiglu_opts[] = {
    SY_ENUM_(swiglu_state, hidden_act, "act", 0, "silu|gelu|gelu_tanh|relu|relu2", "activation of the gate"),
    { 0 }
};

static sy_status swiglu_params(void *state, const sy_site *at, int E, sy_own *own, sy_err *err)
{
    swiglu_state *s = state;
    (void)err;
    if (!(s->gate = sy_own_param(own, "{e}.gate_proj.weight", 0, false, at->init_std, SY_DIM(E, at->F, at->D)))) return own->err->status;
    if (!(s->up = sy_own_param(own, "{e}.up_proj.weight", 0, false, at->init_std, SY_DIM(E, at->F, at->D)))) return own->err->status;
    if (!(s->down = sy_own_param(own, "{e}.down_proj.weight", 0, false, at->init_std, SY_DIM(E, at->D, at->F)))) return own->err->status;
    return SY_OK;
}

static sy_tensor *swiglu_run(void *state, sy_tape *t, const sy_site *at, sy_tensor *x, const int *first, int E)
{
    const swiglu_state *s = state;
    (void)at, (void)E;
    sy_hold(t);
    sy_tensor *gate = sy_grouped(t, x, &s->gate->w, first), *up = sy_grouped(t, x, &s->up->w, first);
    sy_go(t);
    return sy_grouped(t, sy_glu(t, acts[s->hidden_act], gate, up), &s->down->w, first);
}

const sy_method sy_expert_swiglu = {
    .kind = SY_EXPERT, .name = "swiglu", .title = "gated FFN with SiLU", .paper = "arXiv:2002.05202",
    .summary = "down(silu(gate x) * up x), three matrices of width moe_intermediate_size; other activations as an option",
    .when = "The expert of most language models of today, and the default.",
    .cost = "6 D F FLOPs for a row.",
    .example = "switchyard train --recipe lm-tiny --data text --expert swiglu:hidden_act=gelu --out run",
    .opts = swiglu_opts, .size = sizeof(swiglu_state),
    .hooks = &(const sy_expert_hooks){ SY_ROUTER_ABI, .params = swiglu_params, .run = swiglu_run },
};
