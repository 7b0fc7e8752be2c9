/* routers/evomoe.c - one expert first, then all of them, then fewer and fewer: the dense-to-sparse gate.
 *
 * Paper: Nie et al. 2021, arXiv:2112.14397:
 *   phase 1, steps before spawn_step: every token goes to expert 0 with weight 1; the others wait
 *   at spawn_step: expert 0 and its optimiser moments are copied to all experts, and of each copy a random share spawn_mask of the inputs of its last matrix (the hidden
 *     units of an FFN) is set to zero, by expert; these weights are trained on (reconstructed)
 *   phase 2, n steps later: q[t] = softmax((z[t] + Gumbel noise) / tau(n));  S[t] = {e: q[t,e] > threshold};  from switch_to_hard on S[t] = {argmax q[t]}
 *     w[t,e] = softmax(z[t])_e, or q[t,e] with use_gumbel_gates; never renormalised
 *     tau(n) = max(max_temperature - n (max_temperature - min_temperature) / decay_steps, min_temperature), or exponential
 *   loss = coef E sum over e of me_e ce_e;  me_e = mean over t of w[t,e], with its gradient; ce_e = share of tokens that have e. E when all have all, 1 when balanced and one each
 *   evaluation and serving: argmax of z without noise, weight softmax(z)_e; before the spawn, expert 0
 * The threshold meets the noisy q, the weight does not. While it is dense a token costs E experts: compare by FLOPs, not by steps. The phase is a buffer, so that a
 * checkpoint knows it. */
#include <math.h>
#include <string.h>

#include "route/router.h"

enum { LINEAR, EXP };

typedef struct {
    int       spawn_step;
    double    spawn_mask;
    bool      use_gumbel_softmax, use_gumbel_gates;
    int       gumbel_decay_scheduler, decay_steps;
    double    max_temperature, min_temperature, threshold;
    int       switch_to_hard;
    double    router_aux_loss_coef;
    uint64_t  seed;
    sy_param *weight, *phase;
} evomoe_state;

static const sy_opt evomoe_opts[] = {
    SY_INT  (evomoe_state, spawn_step,  NULL, 0, 0, 1 << 30, "steps in which one expert is trained alone; 0 = start with all, as they were drawn"),
    SY_REAL (evomoe_state, spawn_mask,  NULL, 0.2, 0, 1, "share of a copy's hidden units that start without output"),
    SY_BOOL (evomoe_state, use_gumbel_softmax, NULL, true,  "training: Gumbel noise on the logits"),
    SY_BOOL (evomoe_state, use_gumbel_gates,   NULL, false, "weights are the noisy, tempered q instead of the softmax of the logits"),
    SY_ENUM_(evomoe_state, gumbel_decay_scheduler, NULL, LINEAR, "Linear|Exp", "how the temperature falls"),
    SY_INT  (evomoe_state, decay_steps, NULL, 0, 0, 1 << 30, "steps after the spawn in which the temperature falls; 0 = all that are left"),
    SY_REAL (evomoe_state, max_temperature, NULL, 2, 1e-3, 1e3, "temperature at the spawn"),
    SY_REAL (evomoe_state, min_temperature, NULL, 0.3, 1e-3, 1e3, "temperature at the end"),
    SY_REAL (evomoe_state, threshold,   NULL, 0.001, 0, 1, "an expert is taken when its q exceeds this"),
    SY_INT  (evomoe_state, switch_to_hard, NULL, -1, -1, 1 << 30, "steps after the spawn from which a token takes one expert; -1 = never"),
    SY_REAL (evomoe_state, router_aux_loss_coef, "coef", 0.01, 0, 1e6, "weight of the loss that evens out loads and makes the gate sparse"),
    { 0 }
};

static sy_status evomoe_check(const void *state, const void *site, sy_err *err)
{
    const evomoe_state *s = state;
    const sy_site *at = site;
    if (s->min_temperature > s->max_temperature) return sy_fail(err, SY_EARG, "min_temperature %g exceeds max_temperature %g: the temperature falls", s->min_temperature, s->max_temperature);
    if (s->threshold * (at->E + at->Z) >= 1) return sy_fail(err, SY_EARG, "threshold %g: with %d experts all could be below it; give less than %g", s->threshold, at->E + at->Z, 1.0 / (at->E + at->Z));
    return SY_OK;
}

static sy_status evomoe_params(void *state, const sy_site *at, sy_own *own, sy_err *err)
{
    evomoe_state *s = state;
    (void)err;
    s->seed = own->seed;
    if (!(s->weight = sy_own_param(own, "weight", 0, false, at->init_std, SY_DIM(at->E + at->Z, at->D)))) return own->err->status;
    if (!(s->phase = sy_own_param(own, "phase", SY_BUFFER, false, 0, SY_DIM(1)))) return own->err->status;
    if (s->phase->fresh) sy_param_fill(s->phase, s->spawn_step ? 1 : 2);
    return SY_OK;
}

static bool alone(const evomoe_state *s) { return ((const sy_real *)s->phase->w.data)[0] < (sy_real)1.5; }

/* Expert 0 to all, then holes in the inputs of the last matrix. */
static void spawn(const evomoe_state *s, const sy_site *at)
{
    sy_param *last = NULL;
    for (int i = 0; i < at->n_expert; i++) {
        sy_param *p = at->expert[i];
        size_t n = p->n / (size_t)p->w.dim[0];
        sy_real *copy[] = { p->w.data, p->m, p->v };
        for (int e = 1; e < at->E; e++)
            for (size_t k = 0; k < SY_COUNT(copy); k++) if (copy[k]) memcpy(copy[k] + (size_t)e * n, copy[k], n * sizeof(sy_real));
        if (p->w.nd == 3) last = p;
    }
    if (!last || !(s->spawn_mask > 0)) return;
    int rows = last->w.dim[1], cols = last->w.dim[2];
    for (int e = 0; e < at->E; e++)
        for (int c = 0; c < cols; c++) {
            if (sy_draw(sy_key(s->seed, SY_FOR_INIT, (uint64_t)at->layer, (uint64_t)e, 11), (uint64_t)c, 0) >= s->spawn_mask) continue;
            for (int r = 0; r < rows; r++) ((sy_real *)last->w.data)[((size_t)e * rows + r) * cols + c] = 0;
        }
}

static sy_status evomoe_before(void *state, const sy_site *at, const sy_step *st, sy_err *err)
{
    evomoe_state *s = state;
    (void)err;
    if (!alone(s) || st->step < s->spawn_step) return SY_OK;
    spawn(s, at);
    sy_param_fill(s->phase, 2);
    return SY_OK;
}

static sy_tensor *evomoe_score(void *state, sy_tape *t, const sy_route_in *in, sy_weight *w, sy_route *out)
{
    evomoe_state *s = state;
    (void)w, (void)out;
    return sy_linear(t, in->x, &s->weight->w, NULL);
}

static double temperature(const evomoe_state *s, const sy_route_in *in)
{
    double n = (double)(in->step - s->spawn_step), all = s->decay_steps ? s->decay_steps : (double)(in->steps - s->spawn_step), share = all > 0 ? n / all : 1;
    if (share < 0) share = 0;
    double tau = s->gumbel_decay_scheduler == LINEAR ? s->max_temperature - share * (s->max_temperature - s->min_temperature)
                                                     : s->max_temperature * pow(s->min_temperature / s->max_temperature, share);
    return fmax(tau, s->min_temperature);
}

/* All tokens to expert 0 with weight 1. */
static sy_status first_expert(sy_tape *t, const sy_route_in *in, sy_route *out, sy_err *err)
{
    bool done;
    SY_TRY(sy_only_override(in, false, false, err));
    SY_TRY(sy_slots_again(t, in, out, &done, err));
    if (!done) {
        out->first_slot = sy_tape_alloc(t, (size_t)in->T + 1, sizeof(int));
        out->expert = sy_tape_alloc(t, (size_t)in->T, sizeof(int));
        SY_TRY(sy_tape_status(t, err));
        for (int i = 0; i < in->T; i++) out->first_slot[i + 1] = out->first_slot[i] + sy_valid(in, i);
        out->n = out->first_slot[in->T];
    }
    out->weight = sy_new(t, SY_DIM(out->n));
    for (int i = 0; i < out->n && t->status == SY_OK; i++) out->weight->x[i] = 1;
    return sy_tape_status(t, err);
}

static sy_tensor *balance(const evomoe_state *s, sy_tape *t, const sy_route_in *in, const sy_route *r)
{
    int cols = r->E + r->Z, n = sy_count_valid(in), *c = sy_tape_alloc(t, (size_t)cols, sizeof *c);
    sy_real *each = sy_tape_alloc(t, (size_t)r->n, sizeof *each);
    if (!c || !each) return &t->empty;
    for (int i = 0; i < r->n; i++) c[sy_wanted(r->expert[i])]++;
    for (int i = 0; i < r->n; i++) each[i] = (sy_real)(s->router_aux_loss_coef * cols * c[sy_wanted(r->expert[i])] / ((double)n * n));
    return sy_dot_const(t, r->weight, each);
}

static sy_status evomoe_select(void *state, sy_tape *t, const sy_route_in *in, sy_tensor *z, sy_route *out, sy_err *err)
{
    const evomoe_state *s = state;
    int cols = sy_cols(z);
    size_t n = sy_numel(z);
    out->probs = sy_softmax(t, z);
    if (alone(s)) return first_expert(t, in, out, err);
    if (in->mode != SY_TRAIN && in->mode != SY_COUNT_PASS) {
        SY_TRY(sy_slots_topk(t, in, z, 1, out, err));
        out->weight = sy_slots_pick(t, out->probs, out);
        return sy_tape_status(t, err);
    }
    SY_TRY(sy_only_override(in, false, false, err));
    if (s->use_gumbel_softmax && (!in->key || !in->pos)) return sy_fail(err, SY_EARG, "Gumbel noise needs the keys and positions of the tokens");
    bool hard = s->switch_to_hard >= 0 && in->step - s->spawn_step >= s->switch_to_hard;
    sy_tensor *noisy = sy_new(t, SY_DIM(in->T, cols)), *q;
    sy_real *mask = sy_tape_alloc(t, n, sizeof *mask);
    SY_TRY(sy_tape_status(t, err));
    for (size_t i = 0; i < n; i++) {
        size_t tok = i / (size_t)cols;
        double u = s->use_gumbel_softmax ? fmin(fmax(sy_draw(in->key[tok], (uint64_t)in->pos[tok], (unsigned)(i % (size_t)cols)), 1e-10), 1 - 1e-10) : 0;
        noisy->x[i] = (sy_real)(s->use_gumbel_softmax ? -log(-log(u)) : 0);
    }
    q = sy_softmax(t, sy_affine(t, sy_add(t, z, noisy), 1 / temperature(s, in), 0));
    SY_TRY(sy_tape_status(t, err));
    for (int i = 0; i < in->T; i++) {
        int best;
        sy_top_row(q->x + (size_t)i * cols, cols, 1, &best);
        for (int e = 0; e < cols; e++) mask[(size_t)i * cols + e] = hard ? e == best : q->x[(size_t)i * cols + e] > (sy_real)s->threshold;
    }
    sy_tensor *g = s->use_gumbel_gates ? q : out->probs;
    SY_TRY(sy_slots_dense(t, in, in->again ? g : sy_mul_const(t, g, mask), out, err));
    if (s->router_aux_loss_coef > 0 && out->aux && out->n) sy_route_loss(t, in, out, "evomoe.balance", balance(s, t, in, out));
    return sy_tape_status(t, err);
}

const sy_method sy_router_evomoe = {
    .kind = SY_ROUTER, .name = "evomoe", .title = "dense-to-sparse gate (EvoMoE)", .paper = "arXiv:2112.14397",
    .summary = "trains one expert, copies it to all, then anneals a Gumbel-softmax gate from all experts down to one; dense, and as costly, at first; serves top-1",
    .when = "When top-1 from a random start loses experts: the dense phase gives all of them a gradient before the gate narrows. With spawn_step they also start from one trained expert.",
    .cost = "Near E experts a token at first, one at the end: about half of a dense mixture over the whole run; top-1 when serving.",
    .example = "switchyard train --recipe lm-tiny --data text --router evomoe:spawn_step=100 --set balance= --out run",
    .opts = evomoe_opts, .size = sizeof(evomoe_state), .check = evomoe_check,
    .hooks = &(const sy_router_hooks){ SY_ROUTER_ABI, .params = evomoe_params, .before = evomoe_before, .score = evomoe_score, .select = evomoe_select },
};
