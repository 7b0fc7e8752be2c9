/* routers/remoe.c - ReLU in place of softmax and top-k: fully differentiable, with the number of experts held by a penalty that adapts itself.
 *
 * Paper: Wang et al. 2024, arXiv:2412.14711:   g[t] = ReLU(W x_t);  every g[t,e] > 0 is a slot with that weight
 *   loss = lambda / N sum over t, e of f_e g[t,e];  f_e = E / (K N) times the slots of e (load balance), or 1 with load_balance=false
 *   after each step, with S = 1 - slots / (N E) over the whole step: lambda <- lambda * lambda_alpha^sign((1 - K/E) - S)
 * so that a token comes to use K = num_experts_per_tok experts on average. Training begins dense and becomes sparse in its first part by itself; lambda, a buffer that
 * starts at lambda_init, is of one layer here and common to all in the paper. Serving is the same rule; a token without a positive logit passes by. probs is g / sum g. */
#include <math.h>

#include "route/router.h"

typedef struct {
    int       num_experts_per_tok;
    double    lambda_init, lambda_alpha;
    bool      load_balance;
    sy_param *weight, *lambda;
    int64_t   tokens;                   /* valid tokens of this step */
} remoe_state;

static const sy_opt remoe_opts[] = {
    SY_INT (remoe_state, num_experts_per_tok, "top_k", 2, 1, 1024, "experts a token is to use on average"),
    SY_REAL(remoe_state, lambda_init,  NULL, 1e-8, 1e-30, 1e6, "weight of the penalty at first"),
    SY_REAL(remoe_state, lambda_alpha, NULL, 1.2, 1, 10, "after each step the weight is multiplied or divided by this"),
    SY_BOOL(remoe_state, load_balance, NULL, true, "the penalty weighs on crowded experts more than on empty ones"),
    { 0 }
};

static sy_status remoe_check(const void *state, const void *site, sy_err *err)
{
    const remoe_state *s = state;
    const sy_site *at = site;
    if (s->num_experts_per_tok > at->E + at->Z) return sy_fail(err, SY_EARG, "num_experts_per_tok %d exceeds the %d experts", s->num_experts_per_tok, at->E + at->Z);
    return SY_OK;
}

static sy_status remoe_params(void *state, const sy_site *at, sy_own *own, sy_err *err)
{
    remoe_state *s = state;
    (void)err;
    if (!(s->weight = sy_own_param(own, "weight", 0, false, at->init_std, SY_DIM(at->E + at->Z, at->D)))) return own->err->status;
    if (!(s->lambda = sy_own_param(own, "lambda", SY_BUFFER, false, 0, SY_DIM(1)))) return own->err->status;
    if (s->lambda->fresh) sy_param_fill(s->lambda, s->lambda_init);
    return SY_OK;
}

static sy_tensor *remoe_score(void *state, sy_tape *t, const sy_route_in *in, sy_weight *w, sy_route *out)
{
    remoe_state *s = state;
    (void)w, (void)out;
    return sy_linear(t, in->x, &s->weight->w, NULL);
}

static sy_status penalty(const remoe_state *s, sy_tape *t, const sy_route_in *in, sy_route *r, sy_err *err)
{
    int cols = r->E + r->Z, N = sy_count_valid(in), *c = sy_tape_alloc(t, (size_t)cols, sizeof *c);
    sy_real *each = sy_tape_alloc(t, (size_t)r->n, sizeof *each);
    SY_TRY(sy_tape_status(t, err));
    double lambda = (double)((const sy_real *)s->lambda->w.data)[0];
    for (int i = 0; i < r->n; i++) c[sy_wanted(r->expert[i])]++;
    for (int i = 0; i < r->n; i++) each[i] = (sy_real)(lambda / N * (s->load_balance ? (double)cols * c[sy_wanted(r->expert[i])] / ((double)s->num_experts_per_tok * N) : 1));
    sy_route_loss(t, in, r, "remoe.penalty", sy_dot_const(t, r->weight, each));
    return SY_OK;
}

static sy_status remoe_select(void *state, sy_tape *t, const sy_route_in *in, sy_tensor *z, sy_route *out, sy_err *err)
{
    remoe_state *s = state;
    SY_TRY(sy_only_override(in, false, false, err));
    sy_tensor *g = sy_activate(t, SY_ACT_RELU, z);
    out->probs = sy_div_rows(t, g, sy_affine(t, sy_sum_cols(t, g), 1, 1e-20));
    SY_TRY(sy_slots_dense(t, in, g, out, err));
    if (in->mode == SY_TRAIN && !in->again && !t->replay) s->tokens += sy_count_valid(in);
    if (in->mode == SY_TRAIN && out->aux && out->n) SY_TRY(penalty(s, t, in, out, err));
    return sy_tape_status(t, err);
}

static sy_status remoe_before(void *state, const sy_site *at, const sy_step *st, sy_err *err)
{
    (void)at, (void)st, (void)err;
    ((remoe_state *)state)->tokens = 0;
    return SY_OK;
}

/* Whole numbers are compared: exactly K experts a token leaves lambda alone. */
static sy_status remoe_after(void *state, const sy_site *at, const sy_step *st, sy_err *err)
{
    remoe_state *s = state;
    sy_real *lambda = s->lambda->w.data;
    int64_t slots = 0, want = s->tokens * s->num_experts_per_tok;
    (void)err;
    for (int e = 0; e < at->E + at->Z; e++) slots += st->counts->full[e];
    if (slots > want) lambda[0] = (sy_real)fmin((double)lambda[0] * s->lambda_alpha, 1e6);
    if (slots < want) lambda[0] = (sy_real)fmax((double)lambda[0] / s->lambda_alpha, 1e-30);
    return SY_OK;
}

const sy_method sy_router_remoe = {
    .kind = SY_ROUTER, .name = "remoe", .title = "ReLU routing (ReMoE)", .paper = "arXiv:2412.14711",
    .summary = "weights are ReLU(logits): differentiable everywhere, as many experts as a token needs, and a penalty that adapts itself until K are used on average",
    .when = "For a differentiable gate with a set mean cost and no tuning of a coefficient: lambda finds itself. Expect the first part of training to be nearly dense.",
    .cost = "About half of all experts for every token at first, num_experts_per_tok on average later.",
    .example = "switchyard train --recipe lm-tiny --data text --router remoe:top_k=2 --set balance= --out run",
    .opts = remoe_opts, .size = sizeof(remoe_state), .check = remoe_check,
    .hooks = &(const sy_router_hooks){ SY_ROUTER_ABI, .params = remoe_params, .before = remoe_before, .score = remoe_score, .select = remoe_select, .after = remoe_after },
};
