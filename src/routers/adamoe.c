/* routers/adamoe.c - top-k among the experts and some that do nothing, so that the number of true experts a token gets follows the token.
 *
 * Paper: Zeng et al. 2024, arXiv:2406.13233:   E true experts and Z null ones (zero_experts of the model's config, kind null)
 *   p = softmax over all E + Z of z;  S[t] = the K largest;  S+ = the true experts of S;  w[t,e] = p[t,e] / sum over S+ of p, for e in S+; S+ empty: the token passes by
 *   loss = coef (E + Z) sum over e of f_e P_e;  c_e = slots of e, those of null experts replaced by their mean;  f_e = c_e / sum c;  P_e = mean over t of p[t,e]
 * The loss asks for balance among the true experts and for a share of Z / (E + Z) of null ones in all, not for balance among the nulls: balanced, a token has
 * K E / (E + Z) true experts on average. K / (E + Z) near the K / E of a model keeps its cost. Null rows of the gate hear of the loss alone, since the weights are
 * divided by the sum over true experts; with one true expert the weight is 1 and so do the others. */
#include "route/router.h"

typedef struct {
    int    num_experts_per_tok;
    bool   norm_topk_prob;
    double router_aux_loss_coef, router_jitter_noise;
} adamoe_state;

static const sy_opt adamoe_opts[] = {
    SY_INT (adamoe_state, num_experts_per_tok,  "top_k", 4, 1, 1024, "experts each token is sent to, null ones included"),
    SY_BOOL(adamoe_state, norm_topk_prob,       NULL, true, "divide the weights by the sum over the chosen true experts"),
    SY_REAL(adamoe_state, router_aux_loss_coef, "coef", 0.001, 0, 1e6, "weight of the balance loss"),
    SY_REAL(adamoe_state, router_jitter_noise,  "jitter_eps", 0, 0, 1, "training: the router sees x times U(1-eps, 1+eps)"),
    { 0 }
};

static sy_status adamoe_check(const void *state, const void *site, sy_err *err)
{
    const adamoe_state *s = state;
    const sy_site *at = site;
    int K = s->num_experts_per_tok, cols = at->E + at->Z;
    if (K > cols) return sy_fail(err, SY_EARG, "num_experts_per_tok %d exceeds the %d experts and %d null experts", K, at->E, at->Z);
    if (K == 1 && s->norm_topk_prob && cols > 1 && !at->loaded)
        return sy_fail(err, SY_EARG, "num_experts_per_tok 1: the weight would be the constant 1 and the router would learn nothing from the model's loss; take 2 or more, or norm_topk_prob=false");
    return SY_OK;
}

static sy_tensor *adamoe_score(void *state, sy_tape *t, const sy_route_in *in, sy_weight *w, sy_route *out)
{
    const adamoe_state *s = state;
    (void)out;
    return sy_linear(t, sy_jitter(t, in, s->router_jitter_noise), w, NULL);
}

static sy_tensor *balance(const adamoe_state *s, sy_tape *t, const sy_route_in *in, const sy_route *r)
{
    int cols = r->E + r->Z, n = sy_count_valid(in);
    double *c = sy_tape_alloc(t, (size_t)cols, sizeof *c), null = 0, sum = 0;
    sy_real *each = sy_tape_alloc(t, (size_t)in->T * (size_t)cols, sizeof *each);
    if (!c || !each) return &t->empty;
    for (int i = 0; i < r->n; i++) c[sy_wanted(r->expert[i])]++;
    for (int e = r->E; e < cols; e++) null += c[e] / r->Z;
    for (int e = r->E; e < cols; e++) c[e] = null;
    for (int e = 0; e < cols; e++) sum += c[e];
    for (int i = 0; i < in->T; i++)
        for (int e = 0; e < cols && sy_valid(in, i); e++) each[(size_t)i * cols + e] = (sy_real)(s->router_aux_loss_coef * cols * c[e] / (sum * n));
    return sy_dot_const(t, r->probs, each);
}

static sy_status adamoe_select(void *state, sy_tape *t, const sy_route_in *in, sy_tensor *z, sy_route *out, sy_err *err)
{
    const adamoe_state *s = state;
    bool null = false;
    out->probs = sy_softmax(t, z);
    SY_TRY(sy_slots_topk(t, in, out->probs, s->num_experts_per_tok, out, err));
    sy_tensor *w = sy_slots_pick(t, out->probs, out);
    for (int i = 0; i < out->n; i++) null |= out->expert[i] >= out->E;
    if (null) {
        sy_real *real = sy_tape_alloc(t, (size_t)out->n, sizeof *real);
        SY_TRY(sy_tape_status(t, err));
        for (int i = 0; i < out->n; i++) real[i] = out->expert[i] < out->E;
        w = sy_mul_const(t, w, real);
    }
    out->weight = s->norm_topk_prob ? sy_slots_normalise(t, w, out) : w;
    if (s->router_aux_loss_coef > 0 && out->aux && out->n) sy_route_loss(t, in, out, "adamoe.balance", balance(s, t, in, out));
    return sy_tape_status(t, err);
}

const sy_method sy_router_adamoe = {
    .kind = SY_ROUTER, .name = "adamoe", .title = "null experts (AdaMoE)", .paper = "arXiv:2406.13233",
    .summary = "top-k over true experts and null ones that cost nothing: easy tokens spend their choices on nulls, hard ones on true experts; set zero_experts too",
    .when = "To let easy tokens use fewer experts at a given mean. Also to thin out a trained model: keep its gate rows and experts, add null ones, raise top_k, fine-tune.",
    .cost = "Z more rows in the gate; true experts a token: top_k E / (E + Z) on average when balanced.",
    .example = "switchyard train --recipe lm-tiny --data text --router adamoe:top_k=4 --set zero_experts=8 --set balance= --out run",
    .opts = adamoe_opts, .size = sizeof(adamoe_state), .neutral = "zero_experts=0 of the model: topk with norm_topk_prob=true", .check = adamoe_check,
    .hooks = &(const sy_router_hooks){ SY_ROUTER_ABI, .score = adamoe_score, .select = adamoe_select },
};
