/* routers/auxfree.c - selection by score plus bias, weights from the score alone; the bias follows the load.
 *
 * Papers: Wang et al. 2024, arXiv:2408.15664 (loss-free balancing); DeepSeek-V3, arXiv:2412.19437 (sigmoid scores, groups).
 *   s[t,e] = sigmoid(z[t,e]) or softmax over e;   r[t,e] = s[t,e] + b[e], for selection only
 *   n_group equal groups of consecutive experts; a group's score is the sum of its 2 largest r (or its largest); outside the token's
 *   topk_group best groups r = -inf (or 0, as Hugging Face has it);   S[t] = the K largest of r, ties to the lower index
 *   w[t,k] = routed_scaling_factor * s[t,S[t,k]], divided by the sum of the chosen s when norm_topk_prob (auto: for sigmoid)
 *   after each optimiser step, with the slots c_e wanted over the whole step: b_e += bias_update * sign(mean c - c_e), sign(0) = 0
 * b starts at 0, is saved, never gets a gradient, and rests from the share bias_update_off_after of the budget on. probs is s / sum s.
 * The per-sequence complement loss is --balance switch:scope=sequence,coef=0.0001. */
#include <math.h>

#include "route/router.h"

enum { SIGMOID, SOFTMAX };
enum { AUTO, OFF, ON };
enum { TOP2, MAX };
enum { INF, ZERO };

typedef struct {
    int       num_experts_per_tok, scoring_func, norm_topk_prob;
    double    routed_scaling_factor;
    int       n_group, topk_group, group_score, group_mask;
    double    bias_update, bias_update_off_after;
    sy_param *weight, *bias;
} auxfree_state;

static const sy_opt auxfree_opts[] = {
    SY_INT  (auxfree_state, num_experts_per_tok,   "top_k",       8, 1, 1024, "experts each token is sent to"),
    SY_ENUM_(auxfree_state, scoring_func,          "score",       SIGMOID, "sigmoid|softmax", "how logits become scores"),
    SY_ENUM_(auxfree_state, norm_topk_prob,        NULL,          AUTO, "auto|false|true", "divide the chosen scores by their sum; auto: for sigmoid scores"),
    SY_REAL (auxfree_state, routed_scaling_factor, "route_scale", 1, -1e6, 1e6, "weights times this"),
    SY_INT  (auxfree_state, n_group,               "n_groups",    1, 1, 1024, "equal groups of consecutive experts"),
    SY_INT  (auxfree_state, topk_group,            "topk_groups", 1, 1, 1024, "groups a token may use, those with the largest score"),
    SY_ENUM_(auxfree_state, group_score,           NULL,          TOP2, "top2|max", "score of a group: the sum of its two largest, or its largest"),
    SY_ENUM_(auxfree_state, group_mask,            NULL,          INF, "inf|zero", "what experts of other groups are set to: -inf, or 0"),
    SY_REAL (auxfree_state, bias_update,           "bias_speed",  0.001, 0, 1e3, "step of the bias; 0 leaves it alone"),
    SY_REAL (auxfree_state, bias_update_off_after, NULL,          1, 0, 1, "share of the training budget after which the bias rests"),
    { 0 }
};

static bool normalises(const auxfree_state *s) { return s->norm_topk_prob == ON || (s->norm_topk_prob == AUTO && s->scoring_func == SIGMOID); }

static sy_status auxfree_check(const void *state, const void *site, sy_err *err)
{
    const auxfree_state *s = state;
    const sy_site *at = site;
    int K = s->num_experts_per_tok, cols = at->E + at->Z;
    if (K > cols) return sy_fail(err, SY_EARG, "num_experts_per_tok %d exceeds the %d experts", K, cols);
    if (cols % s->n_group) return sy_fail(err, SY_EARG, "n_group %d does not divide the %d experts", s->n_group, cols);
    if (s->topk_group > s->n_group) return sy_fail(err, SY_EARG, "topk_group %d exceeds n_group %d", s->topk_group, s->n_group);
    if (K > s->topk_group * (cols / s->n_group))
        return sy_fail(err, SY_EARG, "num_experts_per_tok %d exceeds the %d experts of topk_group %d", K, s->topk_group * (cols / s->n_group), s->topk_group);
    if (K == 1 && normalises(s) && cols > 1 && !at->loaded)
        return sy_fail(err, SY_EARG, "norm_topk_prob with num_experts_per_tok 1: the weight would be the constant %g and the router would learn nothing; set norm_topk_prob=false", s->routed_scaling_factor);
    return SY_OK;
}

static sy_status auxfree_params(void *state, const sy_site *at, sy_own *own, sy_err *err)
{
    auxfree_state *s = state;
    (void)err;
    if (!(s->weight = sy_own_param(own, "weight", 0, false, at->init_std, SY_DIM(at->E + at->Z, at->D)))) return own->err->status;
    if (!(s->bias = sy_own_param(own, "e_score_correction_bias", SY_BUFFER, false, 0, SY_DIM(at->E + at->Z)))) return own->err->status;
    return SY_OK;
}

static sy_tensor *auxfree_score(void *state, sy_tape *t, const sy_route_in *in, sy_weight *w, sy_route *out)
{
    auxfree_state *s = state;
    (void)w, (void)out;
    return sy_linear(t, in->x, &s->weight->w, NULL);
}

static sy_status auxfree_select(void *state, sy_tape *t, const sy_route_in *in, sy_tensor *z, sy_route *out, sy_err *err)
{
    const auxfree_state *s = state;
    sy_tensor *score = s->scoring_func == SIGMOID ? sy_activate(t, SY_ACT_SIGMOID, z) : sy_softmax(t, z);
    out->probs = s->scoring_func == SIGMOID ? sy_div_rows(t, score, sy_sum_cols(t, score)) : score;
    sy_tensor *by = sy_new_like(t, z);
    SY_TRY(sy_tape_status(t, err));
    const sy_real *b = s->bias->w.data;
    int cols = sy_cols(z);
    for (int i = 0; i < in->T; i++)
        for (int e = 0; e < cols; e++) by->x[(size_t)i * cols + e] = score->x[(size_t)i * cols + e] + b[e];
    if (s->topk_group < s->n_group) by = sy_group_limit(t, by, s->n_group, s->topk_group, s->group_score == TOP2, s->group_mask == ZERO ? 0 : -INFINITY);
    SY_TRY(sy_slots_topk(t, in, by, s->num_experts_per_tok, out, err));
    sy_tensor *w = sy_slots_pick(t, score, out);
    if (normalises(s)) w = sy_slots_normalise(t, w, out);
    out->weight = s->routed_scaling_factor != 1 ? sy_affine(t, w, s->routed_scaling_factor, 0) : w;
    return sy_tape_status(t, err);
}

/* Whole numbers are compared, so an expert at exactly the mean stays where it is. */
static sy_status auxfree_after(void *state, const sy_site *at, const sy_step *st, sy_err *err)
{
    auxfree_state *s = state;
    int cols = at->E + at->Z;
    sy_real *b = s->bias->w.data;
    int64_t sum = 0;
    (void)err;
    if (!(s->bias_update > 0) || st->progress >= s->bias_update_off_after) return SY_OK;
    for (int e = 0; e < cols; e++) sum += st->counts->full[e];
    for (int e = 0; e < cols; e++) {
        int64_t c = st->counts->full[e] * cols;
        if (c != sum) b[e] += (sy_real)(c < sum ? s->bias_update : -s->bias_update);
    }
    return SY_OK;
}

const sy_method sy_router_auxfree = {
    .kind = SY_ROUTER, .name = "auxfree", .title = "top-k with a selection bias that follows the load", .paper = "arXiv:2408.15664",
    .summary = "sigmoid scores, balance by a bias that only selects, optional groups; the gate of DeepSeek-V3",
    .when = "For balance without a loss that pulls on the model: long runs, many experts. In short runs lower bias_update if loads oscillate.",
    .cost = "One addition a score; after each step one comparison an expert.",
    .example = "switchyard train --recipe lm-tiny --data text --router auxfree:top_k=2,bias_update=0.001 --out run",
    .opts = auxfree_opts, .size = sizeof(auxfree_state), .neutral = "bias_update=0: topk with score=sigmoid,norm_topk_prob=true", .check = auxfree_check,
    .hooks = &(const sy_router_hooks){ SY_ROUTER_ABI, .params = auxfree_params, .score = auxfree_score, .select = auxfree_select, .after = auxfree_after },
};
