/* routers/dselectk.c - k selectors of one expert each, written as bits that turn from soft to hard while they are trained.
 *
 * Paper: Hazimeh et al. 2021, arXiv:2106.03760:   m = ceil(log2 E) bits
 *   u = A x + a, [T,k,m];  s = S(u), the smooth step of route/paths.c;  r_i[e] = product over bits j of s[i,j] where bit j of e is 1, else 1 - s[i,j]; bit 0 is the highest
 *   w = softmax over the k selectors of B x + b;  g_e = sum over i of w_i r_i[e];  every g_e > 0 is a slot with that weight
 *   loss = entropy_reg mean over t of sum over i, e of -r_i[e] ln(r_i[e] + 1e-6): pushes selectors to one expert each
 *        + zeta sum over t, i of 1 / (1e-6 + sum over e < E of r_i[e]), where E is no power of 2: keeps mass off codes that are no expert. A sum over the micro-batch
 * With static_gate u and the selectors' logits are parameters that do not see x. A, a start uniform in +-gamma/100, B, b in +-0.05.
 * While bits are soft a token runs all E experts: a budget of FLOPs, not of steps, compares this router with others. A bit that has become 0 or 1 has no gradient and
 * stays. There are no logits of experts; probs is g (divided by its sum where E is no power of 2). */
#include "route/router.h"

typedef struct {
    int       num_experts_per_tok;
    double    gamma, entropy_reg, zeta;
    bool      static_gate;
    sy_param *A, *a, *B, *b;
    sy_paths  codes;                    /* of all k selectors: [k,E] */
    int       m;
} dselectk_state;

static const sy_opt dselectk_opts[] = {
    SY_INT (dselectk_state, num_experts_per_tok, "k", 2, 1, 64, "selectors: experts a token is sent to once all bits are hard"),
    SY_REAL(dselectk_state, gamma,       NULL, 1, 1e-3, 1e3, "width of the smooth step; a wide one hardens late"),
    SY_REAL(dselectk_state, entropy_reg, NULL, 1e-6, 0, 1e6, "weight of the entropy that hardens the bits"),
    SY_REAL(dselectk_state, zeta,        NULL, 1, 0, 1e6, "weight of the loss against codes that are no expert, where the experts are no power of 2"),
    SY_BOOL(dselectk_state, static_gate, NULL, false, "the same experts for every token: the gate does not see x"),
    { 0 }
};

static sy_status dselectk_check(const void *state, const void *site, sy_err *err)
{
    const sy_site *at = site;
    (void)state;
    if (at->E + at->Z < 2) return sy_fail(err, SY_EARG, "%d expert needs no selector", at->E + at->Z);
    return SY_OK;
}

static sy_status dselectk_params(void *state, const sy_site *at, sy_own *own, sy_err *err)
{
    dselectk_state *s = state;
    int E = at->E + at->Z, k = s->num_experts_per_tok;
    for (s->m = 0; 1 << s->m < E; s->m++) { }
    int n = k * E, *first = sy_arena_array(own->params->arena, (size_t)n + 1, sizeof *first), *bit = sy_arena_array(own->params->arena, (size_t)n * s->m, sizeof *bit);
    if (!first || !bit) return sy_fail(err, SY_ENOMEM, "no memory for the codes of %d experts", E);
    for (int i = 0; i < k; i++)
        for (int e = 0; e < E; e++) {
            int l = i * E + e;
            for (int j = 0; j < s->m; j++) bit[l * s->m + j] = e >> (s->m - 1 - j) & 1 ? i * s->m + j : ~(i * s->m + j);
            first[l + 1] = (l + 1) * s->m;
        }
    s->codes = (sy_paths){ n, first, bit };
    if (!s->static_gate) {
        if (!(s->A = sy_own_param(own, "bits.weight", 0, false, 0, SY_DIM(k * s->m, at->D)))) return own->err->status;
        sy_param_uniform(s->A, own->seed, s->gamma / 100);
    }
    if (!(s->a = sy_own_param(own, "bits.bias", 0, false, 0, SY_DIM(k * s->m)))) return own->err->status;
    sy_param_uniform(s->a, own->seed, s->gamma / 100);
    if (k == 1) return SY_OK;                                /* one selector: w is 1 */
    if (!s->static_gate && !(s->B = sy_own_param(own, "selectors.weight", 0, false, 0, SY_DIM(k, at->D)))) return own->err->status;
    if (!(s->b = sy_own_param(own, "selectors.bias", 0, false, 0, SY_DIM(k)))) return own->err->status;
    if (s->B) sy_param_uniform(s->B, own->seed, 0.05);
    sy_param_uniform(s->b, own->seed, 0.05);
    return SY_OK;
}

/* W x + b, or b for every token. */
static sy_tensor *affine(sy_tape *t, const sy_route_in *in, sy_param *w, sy_param *b)
{
    if (w) return sy_linear(t, in->x, &w->w, &b->leaf);
    sy_tensor *zero = sy_new(t, SY_DIM(in->T, (int)b->n));
    for (size_t i = 0; t->status == SY_OK && i < sy_numel(zero); i++) zero->x[i] = 0;
    return sy_add_bias(t, zero, &b->leaf);
}

/* zeta times the sum over valid tokens and selectors of 1 / (1e-6 + mass on experts); mass [T] of one selector */
static sy_tensor *unreachable(sy_tape *t, const sy_route_in *in, sy_tensor *mass, double zeta)
{
    sy_tensor *one = sy_new(t, SY_DIM(in->T));
    if (t->status != SY_OK) return &t->empty;
    for (int i = 0; i < in->T; i++) one->x[i] = sy_valid(in, i);
    return sy_affine(t, sy_sum(t, sy_div(t, one, sy_affine(t, mass, 1, 1e-6))), zeta, 0);
}

static sy_status dselectk_select(void *state, sy_tape *t, const sy_route_in *in, sy_tensor *z, sy_route *out, sy_err *err)
{
    dselectk_state *s = state;
    int E = out->E + out->Z, k = s->num_experts_per_tok;
    bool whole = E == 1 << s->m;
    (void)z;
    SY_TRY(sy_only_override(in, false, false, err));
    sy_tensor *r = sy_paths_walk(t, sy_smooth_step(t, affine(t, in, s->A, s->a), s->gamma), &s->codes);
    sy_tensor *w = k > 1 ? sy_softmax(t, affine(t, in, s->B, s->b)) : NULL, *g = NULL, *off = NULL;
    for (int i = 0; i < k; i++) {
        sy_tensor *mine = sy_cols_slice(t, r, i * E, E);
        if (!whole && s->zeta > 0 && out->aux) {
            sy_tensor *one = unreachable(t, in, sy_sum_cols(t, mine), s->zeta);
            off = off ? sy_add(t, off, one) : one;
        }
        if (k > 1) mine = sy_mul_rows(t, mine, sy_reshape(t, sy_cols_slice(t, w, i, 1), SY_DIM(in->T)));
        g = g ? sy_add(t, g, mine) : mine;
    }
    SY_TRY(sy_slots_dense(t, in, g, out, err));
    out->probs = whole ? g : sy_div_rows(t, g, sy_affine(t, sy_sum_cols(t, g), 1, 1e-6));
    if (s->entropy_reg > 0 && out->aux) sy_route_loss(t, in, out, "dselectk.entropy", sy_mean_entropy(t, in, r, 1e-6, s->entropy_reg));
    if (off) sy_route_loss(t, in, out, "dselectk.codes", off);
    return sy_tape_status(t, err);
}

const sy_method sy_router_dselectk = {
    .kind = SY_ROUTER, .name = "dselectk", .title = "DSelect-k", .paper = "arXiv:2106.03760",
    .summary = "k selectors made of soft bits that harden in training: differentiable from all experts down to k; dense, and as costly, at first",
    .when = "When the choice itself should be differentiable. Few experts, or a budget of FLOPs: compare at equal cost, not at equal steps. Raise entropy_reg until experts_per_token comes down to k.",
    .cost = "All experts for every token until the bits harden; then k or fewer. The gate is k log2(E) small products.",
    .example = "switchyard train --recipe lm-tiny --data text --router dselectk:k=2,entropy_reg=0.01 --set balance= --out run",
    .opts = dselectk_opts, .size = sizeof(dselectk_state), .check = dselectk_check,
    .hooks = &(const sy_router_hooks){ SY_ROUTER_ABI, .flags = SY_NOLOGITS, .params = dselectk_params, .select = dselectk_select },
};
