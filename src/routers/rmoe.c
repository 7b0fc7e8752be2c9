/* routers/rmoe.c - the router of a layer sees a state that sums up what the same token's routers saw in the layers before.
 *
 * Paper: Qiu et al. 2024, arXiv:2408.06793, per token, sparse layers in order, h of width p, zero before the first:
 *   v = W1_l x;   gru   r = sigmoid(W_ir v + b_ir + W_hr h + b_hr);  u = sigmoid(W_iz v + b_iz + W_hz h + b_hz);  n = tanh(W_in v + b_in + r (W_hn h + b_hn))
 *                       h <- (1 - u) n + u h
 *                 rnn   h <- tanh(W_in v + b_in + W_hn h + b_hn)
 *   z = W2_l h;  p = softmax(z);  S[t] = the K largest;  w = p over S[t], divided by its sum
 * W1 and W2 belong to a layer; the cell is shared by all layers (model.router.*), biases included it starts N(0, 0.02^2). The state goes over depth, never over time:
 * nothing is kept between tokens, and decoding needs no cache for it. Its gradient flows through all layers, unless detach_state. A dense layer leaves it alone; leaving a
 * layer out changes the routing of all that follow. The paper's shared expert is shared_expert_intermediate_size of the model's config, with weight 1. */
#include <math.h>

#include "route/router.h"

enum { GRU, RNN };

typedef struct {
    int       num_experts_per_tok, moe_router_type, moe_router_rnn_hidden_size;
    bool      detach_state;
    sy_param *into, *out, *wi, *wh, *bi, *bh;
} rmoe_state;

static const sy_opt rmoe_opts[] = {
    SY_INT  (rmoe_state, num_experts_per_tok,        "top_k", 2, 1, 1024, "experts each token is sent to"),
    SY_ENUM_(rmoe_state, moe_router_type,            NULL, GRU, "gru|rnn", "cell that carries the state from layer to layer"),
    SY_INT  (rmoe_state, moe_router_rnn_hidden_size, NULL, 256, 1, 65536, "width of the state; 128 is enough for small models"),
    SY_BOOL (rmoe_state, detach_state,               NULL, false, "no gradient through the state into earlier layers (for ablation)"),
    { 0 }
};

static sy_status rmoe_check(const void *state, const void *site, sy_err *err)
{
    const rmoe_state *s = state;
    const sy_site *at = site;
    int K = s->num_experts_per_tok, cols = at->E + at->Z;
    if (K > cols) return sy_fail(err, SY_EARG, "num_experts_per_tok %d exceeds the %d experts", K, cols);
    if (K == 1 && cols > 1 && !at->loaded)
        return sy_fail(err, SY_EARG, "num_experts_per_tok 1: weights are divided by their sum, so it would be the constant 1 and the router would learn nothing; take 2 or more");
    return SY_OK;
}

static sy_status rmoe_params(void *state, const sy_site *at, sy_own *own, sy_err *err)
{
    rmoe_state *s = state;
    int p = s->moe_router_rnn_hidden_size, gates = s->moe_router_type == GRU ? 3 : 1;
    (void)err;
    if (!(s->into = sy_own_param(own, "in.weight", 0, false, at->init_std, SY_DIM(p, at->D)))) return own->err->status;
    if (!(s->out = sy_own_param(own, "weight", 0, false, at->init_std, SY_DIM(at->E + at->Z, p)))) return own->err->status;
    if (!(s->wi = sy_own_param(own, "cell.weight_ih", 0, true, 0.02, SY_DIM(gates * p, p)))) return own->err->status;
    if (!(s->wh = sy_own_param(own, "cell.weight_hh", 0, true, 0.02, SY_DIM(gates * p, p)))) return own->err->status;
    if (!(s->bi = sy_own_param(own, "cell.bias_ih", 0, true, 0.02, SY_DIM(gates * p)))) return own->err->status;
    if (!(s->bh = sy_own_param(own, "cell.bias_hh", 0, true, 0.02, SY_DIM(gates * p)))) return own->err->status;
    sy_own_carry(own, p);
    return SY_OK;
}

static sy_tensor *state_before(sy_tape *t, const sy_route_in *in, int p)
{
    if (in->carry) return sy_cols(in->carry) == p ? in->carry : sy_cols_slice(t, in->carry, 0, p);
    sy_tensor *h = sy_new(t, SY_DIM(in->T, p));
    for (size_t i = 0; t->status == SY_OK && i < sy_numel(h); i++) h->x[i] = 0;
    return h;
}

static sy_tensor *rmoe_score(void *state, sy_tape *t, const sy_route_in *in, sy_weight *w, sy_route *out)
{
    rmoe_state *s = state;
    int p = s->moe_router_rnn_hidden_size;
    (void)w;
    if (in->carry && t->status == SY_OK && sy_cols(in->carry) < p) return sy_tape_fail(t, SY_ESHAPE, "the state that comes from the layer before has width %d, moe_router_rnn_hidden_size is %d", sy_cols(in->carry), p);
    sy_tensor *h = state_before(t, in, p);
    if (s->detach_state) h = sy_stop(t, h);
    sy_tensor *a = sy_linear(t, sy_linear(t, in->x, &s->into->w, NULL), &s->wi->w, &s->bi->leaf), *b = sy_linear(t, h, &s->wh->w, &s->bh->leaf);
    if (s->moe_router_type == RNN) h = sy_activate(t, SY_ACT_TANH, sy_add(t, a, b));
    else {
        sy_tensor *r = sy_activate(t, SY_ACT_SIGMOID, sy_add(t, sy_cols_slice(t, a, 0, p), sy_cols_slice(t, b, 0, p)));
        sy_tensor *u = sy_activate(t, SY_ACT_SIGMOID, sy_add(t, sy_cols_slice(t, a, p, p), sy_cols_slice(t, b, p, p)));
        sy_tensor *n = sy_activate(t, SY_ACT_TANH, sy_add(t, sy_cols_slice(t, a, 2 * p, p), sy_mul(t, r, sy_cols_slice(t, b, 2 * p, p))));
        h = sy_add(t, n, sy_mul(t, u, sy_sub(t, h, n)));                                    /* (1-u) n + u h */
    }
    out->carry = h;
    return sy_linear(t, h, &s->out->w, NULL);
}

static sy_status rmoe_select(void *state, sy_tape *t, const sy_route_in *in, sy_tensor *z, sy_route *out, sy_err *err)
{
    const rmoe_state *s = state;
    out->probs = sy_softmax(t, z);
    SY_TRY(sy_slots_topk(t, in, out->probs, s->num_experts_per_tok, out, err));
    out->weight = sy_slots_normalise(t, sy_slots_pick(t, out->probs, out), out);
    return sy_tape_status(t, err);
}

const sy_method sy_router_rmoe = {
    .kind = SY_ROUTER, .name = "rmoe", .title = "layerwise recurrent router (RMoE)", .paper = "arXiv:2408.06793",
    .summary = "top-k whose logits come from a recurrent state over the layers, so that a layer knows how the token was routed before",
    .when = "In deep models, where a router may gain from knowing how the token was routed below. It needs two sparse layers or more.",
    .cost = "A small recurrent cell for each token and sparse layer: p D + 6 p^2 multiply-adds; nothing is kept between tokens.",
    .example = "switchyard train --recipe lm-tiny --data text --router rmoe:moe_router_rnn_hidden_size=64 --balance switch:coef=0.01 --out run",
    .opts = rmoe_opts, .size = sizeof(rmoe_state), .check = rmoe_check,
    .hooks = &(const sy_router_hooks){ SY_ROUTER_ABI, .params = rmoe_params, .score = rmoe_score, .select = rmoe_select },
};
