/* routers/stablemoe.c - routing is learned first, handed over to a router that sees only token ids, and then frozen.
 *
 * Paper: Dai et al. 2022, arXiv:2204.08396:
 *   s[t,e] = x_t . w_e (main);  q[t,e] = f_t . v_e (distilled), f from a word table of its own, [V, routing_dim]:
 *     wordemb  f = emb[id];   bigram  f = (emb[id] + emb[id before]) / 2;   cnn  f = C [emb[id], emb of the 4 ids before], zeros before the start of a sequence
 *   stage 1, step < two_stage_updates: expert = argmax s, with two losses of the router's own, in means over the N tokens:
 *     balance_factor / N  sum over e (n_e - N/E) / (N/E) * sum over t of e's tokens of sigmoid(s[t,e]): scores of crowded experts go down, of empty ones up
 *     distill_factor / N  sum over t of -log softmax(q[t])[argmax s[t]]: the gradient reaches emb, v and C alone
 *   stage 2: expert = argmax q; emb, v and C are frozen and do not decay; no loss of the router's own
 *   weight sigmoid(s[t,expert]) in both: the main centroids keep learning how much.  Evaluation and serving take argmax q in either stage.
 * Block and start (w and v orthogonal of length 0.1) are those of routers/base.c. An expert takes capacity_factor N / E tokens of a micro-batch; the others pass by.
 * The taps of cnn are reconstructed. Losses are means where the paper has sums, as the model's own loss is one here. */
#include <math.h>

#include "route/router.h"

enum { WORDEMB, BIGRAM, CNN };

typedef struct {
    int       two_stage_updates;
    double    balance_factor, distill_factor, capacity_factor;
    int       routing_dim, router;
    sy_param *weight, *emb, *v, *conv;
} stablemoe_state;

static const sy_opt stablemoe_opts[] = {
    SY_INT  (stablemoe_state, two_stage_updates, NULL, 6000, 0, 1 << 30, "steps of the first stage; about a tenth of the run"),
    SY_REAL (stablemoe_state, balance_factor,  NULL, 0.3, 0, 1e6, "weight of the balance loss of the first stage"),
    SY_REAL (stablemoe_state, distill_factor,  NULL, 0.3, 0, 1e6, "weight of the loss that teaches the word router"),
    SY_REAL (stablemoe_state, capacity_factor, NULL, 2, 0, 1e6, "tokens an expert may take, relative to an even share; 0 = no limit; none when serving"),
    SY_INT  (stablemoe_state, routing_dim,     NULL, 50, 1, 65536, "width of the word router's table"),
    SY_ENUM_(stablemoe_state, router,          NULL, WORDEMB, "wordemb|bigram|cnn", "what the word router sees: the id, the one before as well, or four before"),
    { 0 }
};

static sy_status stablemoe_check(const void *state, const void *site, sy_err *err)
{
    const sy_site *at = site;
    (void)state;
    if (at->Z) return sy_fail(err, SY_EUNSUP, "%d zero-cost experts: the balance loss gives each an equal share of the tokens; leave them out", at->Z);
    return SY_OK;
}

static unsigned stablemoe_declares(const void *state)
{
    const stablemoe_state *s = state;
    return sy_cap_declares(&(sy_cap_rule){ .capacity_factor = s->capacity_factor }, 1);
}

static sy_status stablemoe_params(void *state, const sy_site *at, sy_own *own, sy_err *err)
{
    stablemoe_state *s = state;
    int R = s->routing_dim;
    (void)err;
    if (!(s->weight = sy_own_param(own, "weight", 0, false, 0, SY_DIM(at->E, at->D)))) return own->err->status;
    if (!(s->emb = sy_own_param(own, "words", 0, false, 1 / sqrt(R), SY_DIM(at->V, R)))) return own->err->status;
    if (!(s->v = sy_own_param(own, "distilled", 0, false, 0, SY_DIM(at->E, R)))) return own->err->status;
    if (s->router == CNN && !(s->conv = sy_own_param(own, "taps", 0, false, 1 / sqrt(5.0 * R), SY_DIM(R, 5 * R)))) return own->err->status;
    sy_param_orthogonal(s->weight, own->seed, 0.1);
    sy_param_orthogonal(s->v, own->seed, 0.1);
    return SY_OK;
}

static bool second_stage(const stablemoe_state *s, const sy_route_in *in) { return in->step >= s->two_stage_updates; }

static sy_status stablemoe_before(void *state, const sy_site *at, const sy_step *st, sy_err *err)
{
    stablemoe_state *s = state;
    sy_param *words[] = { s->emb, s->v, s->conv };
    (void)at, (void)err;
    for (size_t i = 0; i < SY_COUNT(words); i++)
        if (words[i] && st->step >= s->two_stage_updates) words[i]->flags |= SY_FROZEN | SY_NODECAY;
    return SY_OK;
}

static sy_tensor *stablemoe_score(void *state, sy_tape *t, const sy_route_in *in, sy_weight *w, sy_route *out)
{
    stablemoe_state *s = state;
    (void)w, (void)out;
    return sy_linear(t, in->x, &s->weight->w, NULL);
}

/* emb of the ids `id`, zeros where there is none. */
static sy_tensor *word(stablemoe_state *s, sy_tape *t, const sy_route_in *in, const int *id)
{
    int R = s->routing_dim, *known = sy_tape_alloc(t, (size_t)in->T, sizeof *known);
    sy_real *mask = sy_tape_alloc(t, (size_t)in->T * (size_t)R, sizeof *mask);
    bool all = true;
    if (!known || !mask) return &t->empty;
    for (int i = 0; i < in->T; i++) {
        known[i] = id[i] < 0 ? 0 : id[i];
        all &= id[i] >= 0;
        for (int r = 0; r < R && id[i] >= 0; r++) mask[(size_t)i * R + r] = 1;
    }
    sy_tensor *e = sy_embed(t, &s->emb->w, known, in->T);
    return all ? e : sy_mul_const(t, e, mask);
}

static sy_tensor *distilled(stablemoe_state *s, sy_tape *t, const sy_route_in *in)
{
    int before = s->router == WORDEMB ? 0 : s->router == BIGRAM ? 1 : 4;
    if (!in->id) return sy_tape_fail(t, SY_EARG, "the word router needs the ids of the tokens");
    for (int i = 0; i < before; i++) if (!in->back[i]) return sy_tape_fail(t, SY_EUNSUP, "router=%s needs the ids before each token, which are not supplied here", s->router == CNN ? "cnn" : "bigram");
    sy_tensor *f = word(s, t, in, in->id);
    if (s->router == BIGRAM) f = sy_affine(t, sy_add(t, f, word(s, t, in, in->back[0])), 0.5, 0);
    if (s->router == CNN) {
        for (int i = 0; i < 4; i++) f = sy_cols_concat(t, f, word(s, t, in, in->back[i]));
        f = sy_linear(t, f, &s->conv->w, NULL);
    }
    return sy_linear(t, f, &s->v->w, NULL);
}

/* The losses of stage 1; slot i belongs to the i-th valid token. */
static sy_status losses(stablemoe_state *s, sy_tape *t, const sy_route_in *in, sy_tensor *q, sy_tensor *weight, sy_route *out, sy_err *err)
{
    int N = out->n, *n = sy_tape_alloc(t, (size_t)out->E, sizeof *n);
    sy_real *c = sy_tape_alloc(t, (size_t)N, sizeof *c), *each = sy_tape_alloc(t, (size_t)in->T, sizeof *each), *minus = sy_tape_alloc(t, (size_t)N, sizeof *minus);
    SY_TRY(sy_tape_status(t, err));
    if (!N) return SY_OK;
    double even = (double)N / out->E;
    for (int i = 0; i < N; i++) n[sy_wanted(out->expert[i])]++;
    for (int i = 0; i < N; i++) {
        c[i] = (sy_real)(s->balance_factor / N * (n[sy_wanted(out->expert[i])] - even) / even);
        minus[i] = (sy_real)(-s->distill_factor / N);
    }
    for (int i = 0; i < in->T; i++) each[i] = sy_valid(in, i) ? (sy_real)(s->distill_factor / N) : 0;
    if (s->balance_factor > 0) sy_route_loss(t, in, out, "stablemoe.balance", sy_dot_const(t, weight, c));
    if (s->distill_factor > 0) sy_route_loss(t, in, out, "stablemoe.distill", sy_add(t, sy_dot_const(t, sy_logsumexp(t, q), each), sy_dot_const(t, sy_slots_pick(t, q, out), minus)));
    return SY_OK;
}

static sy_status stablemoe_select(void *state, sy_tape *t, const sy_route_in *in, sy_tensor *z, sy_route *out, sy_err *err)
{
    stablemoe_state *s = state;
    bool training = in->mode == SY_TRAIN || in->mode == SY_COUNT_PASS, by_main = training && !second_stage(s, in);
    sy_tensor *q = distilled(s, t, in);
    out->probs = by_main ? sy_softmax(t, z) : sy_softmax(t, sy_stop(t, q));
    SY_TRY(sy_slots_topk(t, in, by_main ? z : q, 1, out, err));
    sy_cap(t, in, &(sy_cap_rule){ .capacity_factor = s->capacity_factor, .eval_capacity_factor = s->capacity_factor }, 1, NULL, out);
    out->weight = sy_activate(t, SY_ACT_SIGMOID, sy_slots_pick(t, z, out));
    if (by_main && in->mode == SY_TRAIN && out->aux) SY_TRY(losses(s, t, in, q, out->weight, out, err));
    return sy_tape_status(t, err);
}

const sy_method sy_router_stablemoe = {
    .kind = SY_ROUTER, .name = "stablemoe", .title = "routing learned, distilled and frozen (StableMoE)", .paper = "arXiv:2204.08396",
    .summary = "one expert a token; the first part of training learns the routing and teaches it to a word router, the rest keeps it fixed, so that no token changes its expert",
    .when = "When tokens should keep their expert: routing that still changes late in training wastes what experts have learned. Set two_stage_updates to about a tenth of the run.",
    .cost = "A word table of its own, [V, routing_dim], in every sparse layer; serving does not need the main scores to choose, only to weigh.",
    .example = "switchyard train --recipe lm-tiny --data text --router stablemoe:two_stage_updates=100 --set balance= --out run",
    .opts = stablemoe_opts, .size = sizeof(stablemoe_state), .check = stablemoe_check,
    .hooks = &(const sy_router_hooks){ SY_ROUTER_ABI, .params = stablemoe_params, .before = stablemoe_before, .score = stablemoe_score, .select = stablemoe_select,
                                       .declares = stablemoe_declares },
};
