/* routers/smoedropout.c - a random router that is never trained, and more and more experts while the rest is.
 *
 * Paper: Chen et al. 2023, arXiv:2303.01610:   z = W x + b, W and b uniform in +-1/sqrt(D), frozen;  S[t] = the k largest of z;  w = softmax of z over S[t]
 *   training, f = step / dynamic_overall_steps, k between moe_top_k_min and moe_top_k_max, rounded:
 *     linear_increase  k_min + (k_max - k_min) f;   linear_decrease  k_max - (k_max - k_min) f;   cosine_increase  k_min + (k_max - k_min) (1 - cos(pi f / 2))
 *     multi_step       k_min doubled in equal parts of the run until it is k_max
 *   evaluation and serving: inference_k experts, any number per call (--router-override k=N): the finished model slims itself
 * No auxiliary loss. The softmax is over the chosen logits alone, so another k rescales all weights without a jump. Compare costs by the mean k of the training.
 * The paper's cosine starts and ends elsewhere, round((k_min - k_max) cos(pi f / 2)) + k_max, which is the same curve. */
#include <math.h>

#include "route/router.h"

enum { LINEAR_INCREASE, LINEAR_DECREASE, COSINE_INCREASE, MULTI_STEP };

typedef struct {
    int       moe_top_k_min, moe_top_k_max, dynamic_moe_mode, dynamic_overall_steps, inference_k;
    bool      freeze_gate;
    sy_param *weight, *bias;
} smoedropout_state;

static const sy_opt smoedropout_opts[] = {
    SY_INT  (smoedropout_state, moe_top_k_min, "k_min", 2, 1, 1024, "experts a token is sent to when training begins"),
    SY_INT  (smoedropout_state, moe_top_k_max, "k_max", 0, 0, 1024, "and when it ends; 0 = all"),
    SY_ENUM_(smoedropout_state, dynamic_moe_mode, NULL, LINEAR_INCREASE, "linear_increase|linear_decrease|cosine_increase|multi_step", "how their number changes"),
    SY_INT  (smoedropout_state, dynamic_overall_steps, NULL, 0, 0, 1 << 30, "steps in which it changes; 0 = the whole run"),
    SY_INT  (smoedropout_state, inference_k, NULL, 0, 0, 1024, "experts in evaluation and serving; 0 = moe_top_k_max"),
    SY_BOOL (smoedropout_state, freeze_gate, NULL, true, "the router stays as it was drawn; false: it is trained"),
    { 0 }
};

static int k_max(const smoedropout_state *s, int cols) { return s->moe_top_k_max ? s->moe_top_k_max : cols; }

static sy_status smoedropout_check(const void *state, const void *site, sy_err *err)
{
    const smoedropout_state *s = state;
    const sy_site *at = site;
    int cols = at->E + at->Z, most = k_max(s, cols);
    if (most > cols) return sy_fail(err, SY_EARG, "moe_top_k_max %d exceeds the %d experts", most, cols);
    if (s->moe_top_k_min > most) return sy_fail(err, SY_EARG, "moe_top_k_min %d exceeds moe_top_k_max, %d", s->moe_top_k_min, most);
    if (s->inference_k > cols) return sy_fail(err, SY_EARG, "inference_k %d exceeds the %d experts", s->inference_k, cols);
    return SY_OK;
}

static sy_status smoedropout_params(void *state, const sy_site *at, sy_own *own, sy_err *err)
{
    smoedropout_state *s = state;
    unsigned flags = s->freeze_gate ? SY_FROZEN | SY_NODECAY : 0;
    (void)err;
    if (!(s->weight = sy_own_param(own, "weight", flags, false, 0, SY_DIM(at->E + at->Z, at->D)))) return own->err->status;
    if (!(s->bias = sy_own_param(own, "bias", flags, false, 0, SY_DIM(at->E + at->Z)))) return own->err->status;
    sy_param_uniform(s->weight, own->seed, 1 / sqrt(at->D));
    sy_param_uniform(s->bias, own->seed, 1 / sqrt(at->D));
    return SY_OK;
}

static sy_tensor *smoedropout_score(void *state, sy_tape *t, const sy_route_in *in, sy_weight *w, sy_route *out)
{
    smoedropout_state *s = state;
    (void)w, (void)out;
    return sy_linear(t, in->x, &s->weight->w, &s->bias->leaf);
}

/* k of this step. In multi_step the run is cut in as many equal parts as there are doublings, and one. */
static int scheduled(const smoedropout_state *s, const sy_route_in *in, int cols)
{
    const double pi = 3.14159265358979323846;
    int lo = s->moe_top_k_min, hi = k_max(s, cols), parts = 1, k = lo;
    double all = s->dynamic_overall_steps ? s->dynamic_overall_steps : (double)in->steps, f = all > 0 ? fmin((double)in->step / all, 1) : 1, v = lo;
    switch (s->dynamic_moe_mode) {
    case LINEAR_INCREASE: v = lo + (hi - lo) * f; break;
    case LINEAR_DECREASE: v = hi - (hi - lo) * f; break;
    case COSINE_INCREASE: v = lo + (hi - lo) * (1 - cos(pi * f / 2)); break;
    case MULTI_STEP:
        for (int n = lo; n < hi; n *= 2) parts++;
        for (int i = 0; i < (int)fmin(f * parts, parts - 1); i++) k *= 2;
        v = k;
        break;
    }
    k = (int)rint(v);
    return k < lo ? lo : k > hi ? hi : k;
}

static sy_status smoedropout_select(void *state, sy_tape *t, const sy_route_in *in, sy_tensor *z, sy_route *out, sy_err *err)
{
    const smoedropout_state *s = state;
    int cols = sy_cols(z);
    bool training = in->mode == SY_TRAIN || in->mode == SY_COUNT_PASS;
    out->probs = sy_softmax(t, z);
    SY_TRY(sy_slots_topk(t, in, z, training ? scheduled(s, in, cols) : s->inference_k ? s->inference_k : k_max(s, cols), out, err));
    out->weight = sy_slots_normalise(t, sy_slots_pick(t, out->probs, out), out);
    return sy_tape_status(t, err);
}

const sy_method sy_router_smoedropout = {
    .kind = SY_ROUTER, .name = "smoedropout", .title = "random routing with a growing number of experts (SMoE-Dropout)", .paper = "arXiv:2303.01610",
    .summary = "a frozen random router; training starts with few experts a token and ends with all, so that the finished model runs with any number",
    .when = "To train one model that is run at several sizes, and against co-adaptation where learned routing would collapse. Routing is random, so experts do not specialise. generate and eval take the size as --override k=N.",
    .cost = "From k_min to k_max experts a token over the run, half of all on average; when serving as many as are asked for.",
    .example = "switchyard train --recipe lm-tiny --data text --router smoedropout:k_min=2 --set balance= --out run",
    .opts = smoedropout_opts, .size = sizeof(smoedropout_state), .check = smoedropout_check,
    .hooks = &(const sy_router_hooks){ SY_ROUTER_ABI, .params = smoedropout_params, .score = smoedropout_score, .select = smoedropout_select },
};
