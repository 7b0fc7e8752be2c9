/* routers/actgate.c - an activation between the gate's linear map and its softmax, and a temperature.
 *
 * Paper: Nguyen et al. 2024, arXiv:2401.13875:   z = act(W x);  p = softmax(z / tau);  S[t] = the K largest of p;  w[t,k] = p, divided by their sum when norm_topk_prob
 * With a linear gate, W -> c W and tau -> c tau give the same p: scale and temperature cannot be told apart, and estimates of both are slow. A bounded or bent act (none of
 * them a power) removes that. The temperature is learned, tau = exp(log_tau), or annealed: tau_init (tau_min / tau_init)^share of the budget spent, kept as a buffer so that a
 * checkpoint serves with the one it was trained at. sigmoid and tanh bound the logits, so p is never sharper than tau allows. act=none, tau_init=1 annealed to 1 is topk. */
#include <math.h>

#include "route/router.h"

enum { SIGMOID, TANH, GELU, NONE };
enum { LEARNED, ANNEAL };

typedef struct {
    int       num_experts_per_tok;
    bool      norm_topk_prob;
    int       act, tau_mode;
    double    tau_init, tau_min;
    sy_param *weight, *tau;             /* tau: log_tau (learned) or tau (annealed), [1,1] */
} actgate_state;

static const sy_opt actgate_opts[] = {
    SY_INT  (actgate_state, num_experts_per_tok, "top_k", 2, 1, 1024, "experts each token is sent to"),
    SY_BOOL (actgate_state, norm_topk_prob,      NULL, true, "divide the chosen scores by their sum"),
    SY_ENUM_(actgate_state, act,      NULL, SIGMOID, "sigmoid|tanh|gelu|none", "activation of the logits"),
    SY_ENUM_(actgate_state, tau_mode, NULL, LEARNED, "learned|anneal", "the temperature is a parameter, or falls over the run"),
    SY_REAL (actgate_state, tau_init, NULL, 1, 1e-3, 1e3, "temperature at first"),
    SY_REAL (actgate_state, tau_min,  NULL, 0.3, 1e-3, 1e3, "anneal: temperature at the end"),
    { 0 }
};

static sy_status actgate_check(const void *state, const void *site, sy_err *err)
{
    const actgate_state *s = state;
    const sy_site *at = site;
    int K = s->num_experts_per_tok, cols = at->E + at->Z;
    if (K > cols) return sy_fail(err, SY_EARG, "num_experts_per_tok %d exceeds the %d experts", K, cols);
    if (K == 1 && s->norm_topk_prob && cols > 1 && !at->loaded)
        return sy_fail(err, SY_EARG, "norm_topk_prob with num_experts_per_tok 1: the weight would be the constant 1 and the router would learn nothing; set norm_topk_prob=false");
    return SY_OK;
}

static sy_status actgate_params(void *state, const sy_site *at, sy_own *own, sy_err *err)
{
    actgate_state *s = state;
    bool learned = s->tau_mode == LEARNED;
    (void)err;
    if (!(s->weight = sy_own_param(own, "weight", 0, false, at->init_std, SY_DIM(at->E + at->Z, at->D)))) return own->err->status;
    if (!(s->tau = sy_own_param(own, learned ? "log_tau" : "tau", learned ? SY_NODECAY : SY_BUFFER, false, 0, SY_DIM(1, 1)))) return own->err->status;
    if (s->tau->fresh) sy_param_fill(s->tau, learned ? log(s->tau_init) : s->tau_init);
    return SY_OK;
}

static sy_status actgate_before(void *state, const sy_site *at, const sy_step *st, sy_err *err)
{
    actgate_state *s = state;
    (void)at, (void)err;
    if (s->tau_mode == ANNEAL) sy_param_fill(s->tau, s->tau_init * pow(s->tau_min / s->tau_init, st->progress));
    return SY_OK;
}

static sy_tensor *actgate_score(void *state, sy_tape *t, const sy_route_in *in, sy_weight *w, sy_route *out)
{
    static const sy_act acts[] = { SY_ACT_SIGMOID, SY_ACT_TANH, SY_ACT_GELU };
    actgate_state *s = state;
    (void)w, (void)out;
    sy_tensor *z = sy_linear(t, in->x, &s->weight->w, NULL);
    if (s->act != NONE) z = sy_activate(t, acts[s->act], z);
    double tau = (double)((const sy_real *)s->tau->w.data)[0];
    if (s->tau_mode == ANNEAL) return tau != 1 ? sy_affine(t, z, 1 / tau, 0) : z;
    int *zero = sy_tape_alloc(t, (size_t)in->T, sizeof *zero);
    if (!zero) return &t->empty;
    sy_tensor *each = sy_rows_gather(t, sy_exp(t, sy_affine(t, &s->tau->leaf, -1, 0)), zero, in->T);        /* 1 / tau for every token */
    return sy_mul_rows(t, z, sy_reshape(t, each, SY_DIM(in->T)));
}

static sy_status actgate_select(void *state, sy_tape *t, const sy_route_in *in, sy_tensor *z, sy_route *out, sy_err *err)
{
    const actgate_state *s = state;
    out->probs = sy_softmax(t, z);
    SY_TRY(sy_slots_topk(t, in, out->probs, s->num_experts_per_tok, out, err));
    sy_tensor *w = sy_slots_pick(t, out->probs, out);
    out->weight = s->norm_topk_prob ? sy_slots_normalise(t, w, out) : w;
    return sy_tape_status(t, err);
}

const sy_method sy_router_actgate = {
    .kind = SY_ROUTER, .name = "actgate", .title = "top-k behind an activation, with a temperature", .paper = "arXiv:2401.13875",
    .summary = "top-k of softmax(act(W x) / tau): the activation makes scale and temperature of a gate identifiable; tau is learned or annealed",
    .when = "When logits run away or a z-loss costs too much: a bounded activation caps them. Where gates are to be estimated and interpreted, not only used.",
    .cost = "One activation a logit beside topk.",
    .example = "switchyard train --recipe lm-tiny --data text --router actgate:act=tanh,tau_init=0.3 --balance switch:coef=0.01 --out run",
    .opts = actgate_opts, .size = sizeof(actgate_state), .neutral = "act=none,tau_mode=anneal,tau_init=1,tau_min=1,norm_topk_prob=false", .check = actgate_check,
    .hooks = &(const sy_router_hooks){ SY_ROUTER_ABI, .params = actgate_params, .before = actgate_before, .score = actgate_score, .select = actgate_select },
};
