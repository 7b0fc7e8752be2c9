/* routers/comet.c - k soft trees whose leaves are the experts; a split that has hardened prunes what lies behind it.
 *
 * Paper: Ibrahim et al. 2023, arXiv:2306.02824:   tree j is a heap: splits 0 .. E-2, leaves E-1 .. 2E-2, children of n: 2n+1 and 2n+2, for any E
 *   s[j,n] = S(w_jn . x + c_jn), the smooth step of route/paths.c;  q_j[e] = product along the path to leaf e: s to the left, 1 - s to the right
 *   b_j[e] = v_je . x + d_je + ln(q_j[e] + 1e-8) where q_j[e] > 0, else minus infinity
 *   G = softmax over all k E entries of b;  g_e = sum over j of G_j[e]: sums to 1, at most k are above 0 once all splits are hard;  every g_e > 0 is a slot
 *   loss = entropy_reg mean over t of sum over j, e of -q_j[e] ln(q_j[e] + 1e-6)
 * Experts are the leaves from left to right. w, c start uniform in +-gamma/100, v, d in +-0.05. A hard split has no gradient and stays. As with routers/dselectk.c a token
 * runs all experts until splits harden. The paper's local search over orders of experts is an edit, which goes with any router. probs is g. */
#include <math.h>

#include "route/router.h"

typedef struct {
    int       num_experts_per_tok;
    double    gamma, entropy_reg;
    sy_param *w, *c, *v, *d;
    sy_paths  leaves;                   /* of all k trees: [k,E] */
} comet_state;

static const sy_opt comet_opts[] = {
    SY_INT (comet_state, num_experts_per_tok, "k", 2, 1, 64, "trees: experts a token is sent to once all splits are hard"),
    SY_REAL(comet_state, gamma,       NULL, 1, 1e-3, 1e3, "width of the smooth step; a wide one hardens late"),
    SY_REAL(comet_state, entropy_reg, NULL, 0.01, 0, 1e6, "weight of the entropy that hardens the splits"),
    { 0 }
};

static sy_status comet_check(const void *state, const void *site, sy_err *err)
{
    const sy_site *at = site;
    (void)state;
    if (at->E + at->Z < 2) return sy_fail(err, SY_EARG, "%d expert needs no tree", at->E + at->Z);
    return SY_OK;
}

/* The path from the root to each leaf, leaves from left to right. */
struct climb { int E, tree, leaf, *first, *at; int path[SY_MAX_PATH]; };

static void climb(struct climb *c, int node, int depth)
{
    if (node >= c->E - 1) {
        int l = c->tree * c->E + c->leaf++, from = c->first[l];
        for (int i = 0; i < depth; i++) c->at[from + i] = c->path[i];
        c->first[l + 1] = from + depth;
        return;
    }
    int split = c->tree * (c->E - 1) + node;
    c->path[depth] = split;
    climb(c, 2 * node + 1, depth + 1);
    c->path[depth] = ~split;
    climb(c, 2 * node + 2, depth + 1);
}

static sy_status comet_params(void *state, const sy_site *at, sy_own *own, sy_err *err)
{
    comet_state *s = state;
    int E = at->E + at->Z, k = s->num_experts_per_tok, deep = 1;
    while (1 << deep < E) deep++;                            /* a heap of E leaves is at most this deep */
    struct climb c = { .E = E, .first = sy_arena_array(own->params->arena, (size_t)k * E + 1, sizeof(int)), .at = sy_arena_array(own->params->arena, (size_t)k * E * deep, sizeof(int)) };
    if (!c.first || !c.at) return sy_fail(err, SY_ENOMEM, "no memory for %d trees of %d experts", k, E);
    for (; c.tree < k; c.tree++) {
        c.leaf = 0;
        climb(&c, 0, 0);
    }
    s->leaves = (sy_paths){ k * E, c.first, c.at };
    if (!(s->w = sy_own_param(own, "splits.weight", 0, false, 0, SY_DIM(k * (E - 1), at->D)))) return own->err->status;
    if (!(s->c = sy_own_param(own, "splits.bias", 0, false, 0, SY_DIM(k * (E - 1))))) return own->err->status;
    if (!(s->v = sy_own_param(own, "leaves.weight", 0, false, 0, SY_DIM(k * E, at->D)))) return own->err->status;
    if (!(s->d = sy_own_param(own, "leaves.bias", 0, false, 0, SY_DIM(k * E)))) return own->err->status;
    sy_param_uniform(s->w, own->seed, s->gamma / 100);
    sy_param_uniform(s->c, own->seed, s->gamma / 100);
    sy_param_uniform(s->v, own->seed, 0.05);
    sy_param_uniform(s->d, own->seed, 0.05);
    return SY_OK;
}

static double log_mass(double q, double arg) { (void)arg; return q > 0 ? log(q + 1e-8) : -1e30; }
static double log_mass_slope(double q, double arg) { (void)arg; return q > 0 ? 1 / (q + 1e-8) : 0; }

static sy_status comet_select(void *state, sy_tape *t, const sy_route_in *in, sy_tensor *z, sy_route *out, sy_err *err)
{
    comet_state *s = state;
    int E = out->E + out->Z, k = s->num_experts_per_tok;
    (void)z;
    SY_TRY(sy_only_override(in, false, false, err));
    sy_tensor *q = sy_paths_walk(t, sy_smooth_step(t, sy_linear(t, in->x, &s->w->w, &s->c->leaf), s->gamma), &s->leaves);
    sy_real *alive = sy_tape_alloc(t, sy_numel(q), sizeof *alive);
    SY_TRY(sy_tape_status(t, err));
    for (size_t i = 0; i < sy_numel(q); i++) alive[i] = q->x[i] > 0;
    sy_tensor *b = sy_add(t, sy_linear(t, in->x, &s->v->w, &s->d->leaf), sy_along(t, &(sy_curve){ log_mass, log_mass_slope, 0 }, q));
    sy_tensor *G = sy_mul_const(t, sy_softmax(t, b), alive), *g = k == 1 ? G : NULL;         /* exactly 0 behind a hard split */
    for (int j = 0; j < k && k > 1; j++) {
        sy_tensor *tree = sy_cols_slice(t, G, j * E, E);
        g = g ? sy_add(t, g, tree) : tree;
    }
    out->probs = g;
    SY_TRY(sy_slots_dense(t, in, g, out, err));
    if (s->entropy_reg > 0 && out->aux) sy_route_loss(t, in, out, "comet.entropy", sy_mean_entropy(t, in, q, 1e-6, s->entropy_reg));
    return sy_tape_status(t, err);
}

const sy_method sy_router_comet = {
    .kind = SY_ROUTER, .name = "comet", .title = "COMET: soft trees over experts", .paper = "arXiv:2306.02824",
    .summary = "k soft trees with experts as leaves: differentiable from all experts down to k as splits harden; dense, and as costly, at first",
    .when = "As dselectk, and for numbers of experts that are no power of 2, since every leaf is an expert. A wide gamma keeps trees soft for longer and is more exact, a narrow one is cheaper sooner.",
    .cost = "All experts for every token until the splits harden; then k or fewer.",
    .example = "switchyard train --recipe lm-tiny --data text --router comet:k=2,gamma=10,entropy_reg=0.01 --set balance= --out run",
    .opts = comet_opts, .size = sizeof(comet_state), .check = comet_check,
    .hooks = &(const sy_router_hooks){ SY_ROUTER_ABI, .flags = SY_NOLOGITS, .params = comet_params, .select = comet_select },
};
