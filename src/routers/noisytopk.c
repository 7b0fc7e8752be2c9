/* routers/noisytopk.c - top-k of logits with learned noise, and the two losses that go with it.
 *
 * Paper: Shazeer et al. 2017, arXiv:1701.06538, sections 3 and 4, appendix A:
 *   a = W_g x;  s = softplus(W_n x) + noise_eps;  h = a + s n, n ~ N(0,1) for each token and expert in training, h = a otherwise
 *   S[t] = the K experts of largest h, ties to the lower index;  w[t,k] = softmax of h over S[t]
 *   Importance_e = sum over t of w[t,e];  Load_e = sum over t of Phi((a[t,e] - thr[t,e]) / s[t,e]): the chance that e is chosen if its noise alone is drawn again.
 *   thr[t,e] = the (K+1)-th largest h[t,.] when e is in S[t], else the K-th largest: the best h that e has to beat. It is another expert's h and has its gradient
 *   loss = w_importance CV2(Importance) + w_load CV2(Load), CV2(v) = var(v) / (mean(v)^2 + 1e-10), the variance divided by the number of experts
 * W_g and W_n start at zero: before the first step only the noise decides, and all experts are equally likely. probs is the softmax of h.
 * Noise is drawn by the token's key, so it does not depend on the batch; with K = E every load is certain and its loss is left out. */
#include <math.h>

#include "route/router.h"

typedef struct {
    int       num_experts_per_tok;
    double    noise_eps, w_importance, w_load;
    sy_param *gate, *noise;
} noisytopk_state;

static const sy_opt noisytopk_opts[] = {
    SY_INT (noisytopk_state, num_experts_per_tok, "top_k", 2, 1, 1024, "experts each token is sent to"),
    SY_REAL(noisytopk_state, noise_eps,    NULL, 0.01, 1e-6, 1e3, "the noise is never smaller than this"),
    SY_REAL(noisytopk_state, w_importance, NULL, 0.1, 0, 1e6, "weight of the loss that evens out the summed weights of experts"),
    SY_REAL(noisytopk_state, w_load,       NULL, 0.1, 0, 1e6, "weight of the loss that evens out the expected number of tokens of experts"),
    { 0 }
};

static sy_status noisytopk_check(const void *state, const void *site, sy_err *err)
{
    const noisytopk_state *s = state;
    const sy_site *at = site;
    int K = s->num_experts_per_tok, cols = at->E + at->Z;
    if (K > cols) return sy_fail(err, SY_EARG, "num_experts_per_tok %d exceeds the %d experts", K, cols);
    if (K == 1 && cols > 1 && !at->loaded)
        return sy_fail(err, SY_EARG, "num_experts_per_tok 1: the softmax over one expert is the constant 1 and the router would learn nothing from the model's loss; take 2 or more");
    return SY_OK;
}

static sy_status noisytopk_params(void *state, const sy_site *at, sy_own *own, sy_err *err)
{
    noisytopk_state *s = state;
    (void)err;
    if (!(s->gate = sy_own_param(own, "weight", 0, false, 0, SY_DIM(at->E + at->Z, at->D)))) return own->err->status;
    if (!(s->noise = sy_own_param(own, "noise_weight", 0, false, 0, SY_DIM(at->E + at->Z, at->D)))) return own->err->status;
    return SY_OK;
}

static sy_tensor *noisytopk_score(void *state, sy_tape *t, const sy_route_in *in, sy_weight *w, sy_route *out)
{
    noisytopk_state *s = state;
    (void)w, (void)out;
    return sy_linear(t, in->x, &s->gate->w, NULL);
}

static double softplus(double x, double eps) { return (x > 0 ? x : 0) + log1p(exp(-fabs(x))) + eps; }
static double softplus_slope(double x, double eps) { (void)eps; return 1 / (1 + exp(-x)); }
static double normal_cdf(double x, double arg) { (void)arg; return 0.5 * erfc(-x * 0.70710678118654752440); }
static double normal_pdf(double x, double arg) { (void)arg; return 0.39894228040143267794 * exp(-0.5 * x * x); }

/* thr [T,E]: of each entry, the h that it has to beat, on the tape. */
static sy_tensor *thresholds(sy_tape *t, const sy_route_in *in, sy_tensor *h, int K)
{
    int cols = sy_cols(h), n = in->T * cols;
    int *first = sy_tape_alloc(t, (size_t)in->T + 1, sizeof *first), *col = sy_tape_alloc(t, (size_t)n, sizeof *col), *top = sy_tape_alloc(t, (size_t)K + 1, sizeof *top);
    if (!first || !col || !top) return &t->empty;
    for (int i = 0; i < in->T; i++) {
        int *mine = col + (size_t)i * cols;
        first[i + 1] = first[i] + cols;
        sy_top_row(h->x + (size_t)i * cols, cols, K + 1, top);
        for (int e = 0; e < cols; e++) mine[e] = top[K - 1];
        for (int k = 0; k < K; k++) mine[top[k]] = top[K];
    }
    return sy_reshape(t, sy_pick(t, h, first, col, n), SY_DIM(in->T, cols));
}

static sy_status noisytopk_select(void *state, sy_tape *t, const sy_route_in *in, sy_tensor *a, sy_route *out, sy_err *err)
{
    const noisytopk_state *s = state;
    bool noisy = in->mode == SY_TRAIN || in->mode == SY_COUNT_PASS;
    int cols = sy_cols(a), K = s->num_experts_per_tok;
    sy_tensor *h = a, *std = NULL;
    if (noisy) {
        if (!in->key || !in->pos) return sy_fail(err, SY_EARG, "noise needs the keys and positions of the tokens");
        sy_real *n = sy_tape_alloc(t, sy_numel(a), sizeof *n);
        SY_TRY(sy_tape_status(t, err));
        for (int i = 0; i < in->T; i++)
            for (int e = 0; e < cols; e++) n[(size_t)i * cols + e] = (sy_real)sy_draw_normal(in->key[i], (uint64_t)in->pos[i], (unsigned)e);
        std = sy_along(t, &(sy_curve){ softplus, softplus_slope, s->noise_eps }, sy_linear(t, in->x, &s->noise->w, NULL));
        h = sy_add(t, a, sy_mul_const(t, std, n));
    }
    out->probs = sy_softmax(t, h);
    SY_TRY(sy_slots_topk(t, in, h, K, out, err));
    out->weight = sy_slots_normalise(t, sy_slots_pick(t, out->probs, out), out);
    if (out->aux && in->mode == SY_TRAIN && out->n) {
        if (s->w_importance > 0) sy_route_loss(t, in, out, "noisytopk.importance", sy_cv2(t, sy_slots_sum(t, out->weight, out), s->w_importance));
        if (s->w_load > 0 && K < cols) {
            sy_tensor *chance = sy_along(t, &(sy_curve){ normal_cdf, normal_pdf, 0 }, sy_div(t, sy_sub(t, a, thresholds(t, in, h, K)), std));
            sy_route_loss(t, in, out, "noisytopk.load", sy_cv2(t, sy_sum_rows(t, chance, in->valid), s->w_load));
        }
    }
    return sy_tape_status(t, err);
}

const sy_method sy_router_noisytopk = {
    .kind = SY_ROUTER, .name = "noisytopk", .title = "noisy top-k", .paper = "arXiv:1701.06538",
    .summary = "top-k of logits with learned Gaussian noise, balanced by the spread of summed weights and of expected loads; the gate of the first large mixtures",
    .when = "To spread load without a balance term of its own: noise explores, and both losses come with the router. In small runs it balances better than the Switch loss at its usual weight.",
    .cost = "A second linear map of the gate and one normal number for each token and expert, in training alone; serving is plain top-k.",
    .example = "switchyard train --recipe lm-tiny --data text --router noisytopk:top_k=2,w_importance=0.1,w_load=0.1 --set balance= --out run",
    .opts = noisytopk_opts, .size = sizeof(noisytopk_state), .check = noisytopk_check,
    .hooks = &(const sy_router_hooks){ SY_ROUTER_ABI, .params = noisytopk_params, .score = noisytopk_score, .select = noisytopk_select },
};
