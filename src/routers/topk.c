/* routers/topk.c - token-choice top-k routing.
 *
 * Papers: Shazeer et al. 2017, arXiv:1701.06538 (top-k of the gate); GShard, arXiv:2006.16668; Switch, arXiv:2101.03961; presets name others.
 *   z = W x' (+ b with router_bias), x' = x in evaluation, x times U(1-eps, 1+eps) element by element in training (router_jitter_noise). With jitter_scope = router
 *            the experts see x (Switch), with block they see x' too (transformers' Mixtral)
 *   p[t,e] = softmax over e of z[t,e], or sigmoid(z[t,e])
 *   S[t]   = the K experts of largest p[t,.], largest first, ties to the lower index; with n_group only among the experts of the
 *            topk_group groups whose largest p is largest (DeepSeek-V2, arXiv:2405.04434)
 *   w[t,k] = p[t,S[t,k]], divided by their sum when norm_topk_prob, times routed_scaling_factor
 * GShard's second choice (training only, K = 2): `all` keeps it; `random` keeps it with probability min(1, 2 g2), g2 = p2 / (p1 + p2); `sampling`
 * takes the argmax of z + Gumbel noise among the others. Capacity (route/cap.c) drops slots before the weights are made: normalise = after
 * divides by the sum of what is left, before by the sum of what was wanted. probs is p, for a sigmoid p / sum p.
 * Departs from the papers: GShard clamps the divisor at 1.2e-7, here 1e-20 is added; balance losses are methods of their own (src/balance/). */
#include <math.h>

#include "route/router.h"

enum { SOFTMAX, SIGMOID };
enum { ALL, RANDOM, SAMPLING };
enum { AFTER, BEFORE };
enum { SCOPE_ROUTER, SCOPE_BLOCK };
enum { SALT_SECOND = 1 << 24, SALT_GUMBEL = 1 << 25 };       /* jitter draws with the column as salt, below 2^24 */

typedef struct {
    int         num_experts_per_tok;
    int         scoring_func;
    bool        norm_topk_prob;
    double      routed_scaling_factor, router_jitter_noise;
    int         jitter_scope, n_group, topk_group, second_policy, normalise;
    bool        router_bias;
    sy_cap_rule cap;
    sy_param   *bias;
} topk_state;

static const sy_opt topk_opts[] = {
    SY_INT  (topk_state, num_experts_per_tok,   "top_k",       2, 1, 1024, "experts each token is sent to"),
    SY_ENUM_(topk_state, scoring_func,          "score",       SOFTMAX, "softmax|sigmoid", "how logits become scores"),
    SY_BOOL (topk_state, norm_topk_prob,        NULL,          false, "divide the chosen scores by their sum"),
    SY_REAL (topk_state, routed_scaling_factor, "route_scale", 1, -1e6, 1e6, "weights times this"),
    SY_REAL (topk_state, router_jitter_noise,   "jitter_eps",  0, 0, 1, "training: the router sees x times U(1-eps, 1+eps)"),
    SY_ENUM_(topk_state, jitter_scope,          NULL,          SCOPE_ROUTER, "router|block", "who sees the jittered x: the router alone, or the experts too"),
    SY_INT  (topk_state, n_group,               "n_groups",    1, 1, 1024, "equal groups of consecutive experts"),
    SY_INT  (topk_state, topk_group,            "topk_groups", 1, 1, 1024, "groups a token may use, those with the largest score"),
    SY_ENUM_(topk_state, second_policy,         NULL,          ALL, "all|random|sampling", "training, K = 2: whether and how the second expert is taken (GShard)"),
    SY_ENUM_(topk_state, normalise,             NULL,          AFTER, "after|before", "norm_topk_prob divides by the sum after or before slots are dropped"),
    SY_BOOL (topk_state, router_bias,           NULL,          false, "logits get a learned bias (gpt-oss)"),
    SY_OPTS (topk_state, cap, sy_cap_opts),
    { 0 }
};

static sy_status topk_check(const void *state, const void *site, sy_err *err)
{
    const topk_state *s = state;
    const sy_site *at = site;
    int K = s->num_experts_per_tok, cols = at->E + at->Z;
    if (K > cols) return sy_fail(err, SY_EARG, "num_experts_per_tok %d exceeds the %d experts", K, cols);
    if (cols % s->n_group) return sy_fail(err, SY_EARG, "n_group %d does not divide the %d experts", s->n_group, cols);
    if (s->topk_group > s->n_group) return sy_fail(err, SY_EARG, "topk_group %d exceeds n_group %d", s->topk_group, s->n_group);
    if (K > s->topk_group * (cols / s->n_group))
        return sy_fail(err, SY_EARG, "num_experts_per_tok %d exceeds the %d experts of topk_group %d", K, s->topk_group * (cols / s->n_group), s->topk_group);
    if (s->second_policy != ALL && K != 2) return sy_fail(err, SY_EARG, "second_policy is about two experts a token, num_experts_per_tok is %d", K);
    if (K == 1 && s->norm_topk_prob && cols > 1 && !at->loaded)
        return sy_fail(err, SY_EARG, "norm_topk_prob with num_experts_per_tok 1: the weight would be the constant 1 and the router would learn nothing; set norm_topk_prob=false");
    return sy_cap_check(&s->cap, err);
}

static unsigned topk_declares(const void *state)
{
    const topk_state *s = state;
    return sy_cap_declares(&s->cap, s->num_experts_per_tok);
}

static bool training(const sy_route_in *in) { return in->mode == SY_TRAIN || in->mode == SY_COUNT_PASS; }

static sy_tensor *jittered(const topk_state *s, sy_tape *t, const sy_route_in *in) { return sy_jitter(t, in, s->router_jitter_noise); }

static sy_status topk_params(void *state, const sy_site *at, sy_own *own, sy_err *err)
{
    topk_state *s = state;
    (void)err;
    if (!s->router_bias) return SY_OK;
    s->bias = sy_own_param(own, "bias", SY_NODECAY, false, 0, SY_DIM(at->E + at->Z));
    return s->bias ? SY_OK : own->err->status;
}

static sy_tensor *topk_input(void *state, sy_tape *t, const sy_route_in *in)
{
    const topk_state *s = state;
    return s->jitter_scope == SCOPE_BLOCK ? jittered(s, t, in) : in->x;
}

static sy_tensor *topk_score(void *state, sy_tape *t, const sy_route_in *in, sy_weight *w, sy_route *out)
{
    const topk_state *s = state;
    (void)out;
    return sy_linear(t, s->jitter_scope == SCOPE_ROUTER ? jittered(s, t, in) : in->x, w, s->bias ? &s->bias->leaf : NULL);
}

/* The best expert of a row but one, scores moved by Gumbel noise when a key is given. */
static int best_but(const sy_real *z, int n, int but, const uint64_t *key, uint64_t pos)
{
    int best = -1;
    double most = 0;
    for (int e = 0; e < n; e++) {
        double v = z[e] + (key ? -log(-log(sy_draw(*key, pos, SALT_GUMBEL + (unsigned)e))) : 0);
        if (e == but || (best >= 0 && !(v > most))) continue;
        best = e;
        most = v;
    }
    return best;
}

/* GShard's second choice. r comes with two slots a token, or under in->again with the first run's one or two, and leaves with the slots that
 * are kept. wanted: both choices of every token with slots; of: its kept slots as places in wanted. */
static sy_status second_choice(const topk_state *s, sy_tape *t, const sy_route_in *in, const sy_tensor *z, const sy_tensor *p, sy_route *r, sy_route *wanted, int **of, sy_err *err)
{
    int cols = sy_cols(p), n = 0, m = 0;
    if (!in->key || !in->pos) return sy_fail(err, SY_EARG, "second_policy draws random numbers: it needs the keys and positions of the tokens");
    *wanted = *r;
    wanted->first_slot = sy_tape_alloc(t, (size_t)r->T + 1, sizeof(int));
    wanted->expert = sy_tape_alloc(t, 2 * (size_t)r->T, sizeof(int));
    *of = sy_tape_alloc(t, 2 * (size_t)r->T, sizeof(int));
    SY_TRY(sy_tape_status(t, err));
    for (int i = 0, from = 0; i < r->T; i++) {
        int *slot = r->expert + from, have = r->first_slot[i + 1] - from, e1 = have ? slot[0] : 0, e2, first = sy_wanted(e1);
        from = r->first_slot[i + 1];
        r->first_slot[i] = n;
        wanted->first_slot[i] = m;
        if (!have) continue;
        bool keep = true;
        if (in->again) {
            keep = have == 2;
            e2 = keep ? slot[1] : best_but(p->x + (size_t)i * cols, cols, first, NULL, 0);
        } else if (s->second_policy == SAMPLING) e2 = best_but(z->x + (size_t)i * cols, cols, first, &in->key[i], (uint64_t)in->pos[i]);
        else {
            e2 = slot[1];
            double p1 = p->x[(size_t)i * cols + first], p2 = p->x[(size_t)i * cols + e2];
            keep = 2 * p2 > sy_draw(in->key[i], (uint64_t)in->pos[i], SALT_SECOND) * (p1 + p2);
        }
        wanted->expert[m] = first;
        wanted->expert[m + 1] = sy_wanted(e2);
        (*of)[n] = m;
        r->expert[n++] = e1;
        if (keep) {
            (*of)[n] = m + 1;
            r->expert[n++] = e2;
        }
        m += 2;
    }
    r->n = r->first_slot[r->T] = n;
    wanted->n = wanted->first_slot[r->T] = m;
    return SY_OK;
}

static void cap(const topk_state *s, sy_tape *t, const sy_route_in *in, const sy_tensor *p, int K, sy_route *r)
{
    sy_real *score = NULL;
    if (s->cap.prioritised) {
        if (!(score = sy_tape_alloc(t, (size_t)r->n + 1, sizeof *score))) return;
        for (int i = 0; i < r->T; i++)
            for (int k = r->first_slot[i]; k < r->first_slot[i + 1]; k++) score[k] = p->x[(size_t)i * sy_cols(p) + sy_wanted(r->expert[k])];
    }
    sy_cap(t, in, &s->cap, K, score, r);
}

static sy_status topk_select(void *state, sy_tape *t, const sy_route_in *in, sy_tensor *z, sy_route *out, sy_err *err)
{
    const topk_state *s = state;
    sy_tensor *p = s->scoring_func == SIGMOID ? sy_activate(t, SY_ACT_SIGMOID, z) : sy_softmax(t, z);
    out->probs = s->scoring_func == SIGMOID ? sy_div_rows(t, p, sy_sum_cols(t, p)) : p;
    const sy_tensor *by = s->topk_group < s->n_group ? sy_group_limit(t, p, s->n_group, s->topk_group, false, -INFINITY) : p;
    SY_TRY(sy_slots_topk(t, in, by, s->num_experts_per_tok, out, err));
    bool second = s->second_policy != ALL && training(in) && !(in->over && (in->over->k || in->over->n_ranks));
    sy_route wanted;
    int *of = NULL, K = in->over && in->over->k ? in->over->k : in->over && in->over->n_ranks ? in->over->n_ranks : s->num_experts_per_tok;
    if (second) SY_TRY(second_choice(s, t, in, z, p, out, &wanted, &of, err));
    cap(s, t, in, p, K, out);
    sy_tensor *w;
    if (!s->norm_topk_prob) w = sy_slots_pick(t, p, out);
    else if (s->normalise == AFTER) w = sy_slots_normalise(t, sy_slots_pick(t, p, out), out);
    else {
        const sy_route *all = second ? &wanted : out;
        w = sy_normalise_slots(t, sy_slots_pick(t, p, all), all->first_slot, all->T, 1e-20);
        if (second) {
            int *first = sy_tape_alloc(t, 2, sizeof *first);
            SY_TRY(sy_tape_status(t, err));
            first[1] = out->n;
            w = sy_pick(t, sy_reshape(t, w, SY_DIM(1, all->n)), first, of, out->n);
        }
    }
    out->weight = s->routed_scaling_factor != 1 ? sy_affine(t, w, s->routed_scaling_factor, 0) : w;
    return sy_tape_status(t, err);
}

const sy_method sy_router_topk = {
    .kind = SY_ROUTER, .name = "topk", .title = "token-choice top-k", .paper = "arXiv:1701.06538",
    .summary = "each token takes the K experts with the largest score; the plain choice, with capacity, jitter and GShard's second choice as options",
    .when = "The first choice, and the base of most others. Give it a balance term; set norm_topk_prob where weights should sum to 1.",
    .cost = "One linear map of width E and K experts a token; with capacity some slots are dropped in training and evaluation, never when serving.",
    .example = "switchyard train --recipe lm-tiny --data text --router topk:top_k=2,norm_topk_prob=true --balance switch:coef=0.01 --out run",
    .opts = topk_opts, .size = sizeof(topk_state), .check = topk_check,
    .hooks = &(const sy_router_hooks){ SY_ROUTER_ABI, .flags = SY_LINEAR, .params = topk_params, .input = topk_input, .score = topk_score, .select = topk_select, .declares = topk_declares },
};
