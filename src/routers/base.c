/* routers/base.c - balanced assignment of tokens to experts in training, the best expert when serving.
 *
 * Paper: Lewis et al. 2021, arXiv:2103.16716:
 *   s[t,e] = x_t . w_e, w orthogonal of length 0.1 at first;   one expert a token, weight sigmoid(s[t,e]): the gradient reaches w through it alone
 *   training: every expert gets N / E tokens and the sum of s over the assignment is as large as the auction below makes it (more than 0.995 of the best)
 *   evaluation and serving: argmax over e of s[t,e], ties to the lower index
 * The paper's block, sigmoid(s) F(x) + (1 - sigmoid(s)) x with F(x) = x + FFN(norm(x)), is this engine's sparse block with the weight above, the layer's norm in the
 * place of the expert's own; several sublayers an expert are --expert residual:base_sublayers=N. No loss and no capacity are needed. N that E does not divide: the solver
 * fills up with copies of the last token, which then stay nowhere.
 *
 * Auction (Bertsekas), quota q, eps = max(1e-4, (max S - min S) / 50), value = S, cost = 0; in each round
 *   every expert bids for its q most valued tokens: value of the token - value of its (q+1)-th + eps; tokens that it won before and still holds: eps (first 100 rounds)
 *   every token goes to the highest bid (ties to the lower expert), which is added to its cost; value = S - cost; a held token is worth more to its holder than any other
 *   (from round 100 on: just S, which is quicker and less exact)
 *   done when every token has a bid: then the q best of all experts are disjoint */
#include <math.h>

#include "route/router.h"

typedef struct { sy_param *weight; } base_state;

static sy_status base_check(const void *state, const void *site, sy_err *err)
{
    const sy_site *at = site;
    (void)state;
    if (at->Z) return sy_fail(err, SY_EUNSUP, "%d zero-cost experts: the assignment would send an equal share of all tokens to each of them; leave them out", at->Z);
    return SY_OK;
}

static sy_status base_params(void *state, const sy_site *at, sy_own *own, sy_err *err)
{
    base_state *s = state;
    (void)err;
    if (!(s->weight = sy_own_param(own, "weight", 0, false, 0, SY_DIM(at->E, at->D)))) return own->err->status;
    sy_param_orthogonal(s->weight, own->seed, 0.1);
    return SY_OK;
}

static sy_tensor *base_score(void *state, sy_tape *t, const sy_route_in *in, sy_weight *w, sy_route *out)
{
    base_state *s = state;
    (void)w, (void)out;
    return sy_linear(t, in->x, &s->weight->w, NULL);
}

struct auction {
    int E, N, q;                        /* N = E q tokens, copies included */
    sy_real *S, *value, *bid, *cost;    /* [E,N], [E,N], [E,N], [N] */
    int *id, *heap, *winner;            /* 0..N-1; [q+1]; [N] or -1 */
    sy_real eps, held;
};

enum { EXACT_ROUNDS = 100, ROUNDS = 20000 };

/* One round of bids; true when every token has one. */
static bool bids(struct auction *a, int round)
{
    bool all = true;
    for (size_t i = 0; i < (size_t)a->E * a->N; i++) a->bid[i] = 0;
    for (int e = 0; e < a->E; e++) {
        const sy_real *v = a->value + (size_t)e * a->N;
        sy_real *b = a->bid + (size_t)e * a->N;
        sy_best_of(v, 1, a->id, a->N, a->q + 1, a->heap);
        for (int i = 1; i <= a->q; i++) b[a->heap[i]] = v[a->heap[i]] - v[a->heap[0]] + a->eps;     /* heap[0] is the (q+1)-th */
        for (int t = 0; t < a->N && round > 0 && round < EXACT_ROUNDS; t++) if (a->winner[t] == e) b[t] = a->eps;
    }
    for (int t = 0; t < a->N; t++) {
        a->winner[t] = -1;
        for (int e = 0; e < a->E; e++)
            if (a->bid[(size_t)e * a->N + t] > 0 && (a->winner[t] < 0 || a->bid[(size_t)e * a->N + t] > a->bid[(size_t)a->winner[t] * a->N + t])) a->winner[t] = e;
        all &= a->winner[t] >= 0;
    }
    return all;
}

static void pay(struct auction *a, int round)
{
    for (int t = 0; t < a->N; t++) {
        int w = a->winner[t];
        if (w < 0) continue;
        a->cost[t] += a->bid[(size_t)w * a->N + t];
        for (int e = 0; e < a->E; e++) a->value[(size_t)e * a->N + t] = a->S[(size_t)e * a->N + t] - a->cost[t];
        a->value[(size_t)w * a->N + t] = round < EXACT_ROUNDS ? a->held : a->S[(size_t)w * a->N + t];
    }
}

/* Scores of the valid tokens as [E,N] above the least of them, which also stands for what is not finite: a constant changes no assignment, and costs that are
 * added to small numbers are not lost in rounding. */
static void fill(struct auction *a, const sy_tensor *z, const int *token, int n)
{
    sy_real least = 0, most = 0;
    bool any = false;
    for (int i = 0; i < n; i++)
        for (int e = 0; e < a->E; e++) {
            sy_real v = z->x[(size_t)token[i] * a->E + e];
            if (!isfinite(v)) continue;
            if (!any || v < least) least = v;
            if (!any || v > most) most = v;
            any = true;
        }
    for (int i = 0; i < a->N; i++) {
        a->id[i] = i;
        for (int e = 0; e < a->E; e++) {
            sy_real v = z->x[(size_t)token[i < n ? i : n - 1] * a->E + e];
            a->S[(size_t)e * a->N + i] = a->value[(size_t)e * a->N + i] = isfinite(v) ? v - least : 0;
        }
    }
    a->eps = (sy_real)fmax(1e-4, (double)(most - least) / 50);
    a->held = most - least + a->eps;
}

/* choice[i] = expert of the i-th valid token. */
static sy_status assign(sy_tape *t, const sy_tensor *z, const int *token, int n, int *choice, sy_err *err)
{
    int E = sy_cols(z), q = (n + E - 1) / E;
    size_t N = (size_t)E * q;
    struct auction a = { .E = E, .N = E * q, .q = q };
    if (!n || E == 1) return SY_OK;                          /* choice is zeroed */
    sy_real *real = sy_tape_alloc(t, (3 * (size_t)E + 1) * N, sizeof *real);
    int *whole = sy_tape_alloc(t, 2 * N + q + 1, sizeof *whole);
    SY_TRY(sy_tape_status(t, err));
    a.S = real, a.value = a.S + E * N, a.bid = a.value + E * N, a.cost = a.bid + E * N;
    a.id = whole, a.winner = a.id + N, a.heap = a.winner + N;
    fill(&a, z, token, n);
    for (int round = 0; !bids(&a, round); round++) {
        if (round == ROUNDS) return sy_fail(err, SY_ENUM, "the auction of %d tokens among %d experts does not end in %d rounds; are the scores of all tokens equal?", n, E, ROUNDS);
        pay(&a, round);
    }
    for (int i = 0; i < n; i++) choice[i] = a.winner[i];     /* every token has one bid, so its winner is the expert that has it among its q best */
    return SY_OK;
}

static sy_status base_select(void *state, sy_tape *t, const sy_route_in *in, sy_tensor *z, sy_route *out, sy_err *err)
{
    bool done, training = in->mode == SY_TRAIN || in->mode == SY_COUNT_PASS;
    (void)state;
    out->probs = sy_softmax(t, z);
    if (!training) SY_TRY(sy_slots_topk(t, in, z, 1, out, err));
    else {
        SY_TRY(sy_only_override(in, false, false, err));
        SY_TRY(sy_slots_again(t, in, out, &done, err));
        if (!done) {
            int n = 0, *token = sy_tape_alloc(t, (size_t)in->T, sizeof *token);
            out->first_slot = sy_tape_alloc(t, (size_t)in->T + 1, sizeof(int));
            out->expert = sy_tape_alloc(t, (size_t)in->T, sizeof(int));
            SY_TRY(sy_tape_status(t, err));
            for (int i = 0; i < in->T; i++) {
                if (sy_valid(in, i)) token[n++] = i;
                out->first_slot[i + 1] = n;
            }
            out->n = n;
            SY_TRY(assign(t, z, token, n, out->expert, err));
        }
    }
    out->weight = sy_activate(t, SY_ACT_SIGMOID, sy_slots_pick(t, z, out));
    return sy_tape_status(t, err);
}

const sy_method sy_router_base = {
    .kind = SY_ROUTER, .name = "base", .title = "balanced assignment (BASE)", .paper = "arXiv:2103.16716",
    .summary = "one expert a token: in training an auction gives every expert the same number of tokens, when serving each takes its best; no loss to tune",
    .when = "For one expert a token with exactly even load and nothing to tune. Serving takes the best expert, which is not always the one that training gave.",
    .cost = "An auction over all tokens of a micro-batch, in training alone: about ten rounds of a selection in every expert's column.",
    .example = "switchyard train --recipe lm-tiny --data text --router base --set balance= --out run",
    .size = sizeof(base_state), .check = base_check,
    .hooks = &(const sy_router_hooks){ SY_ROUTER_ABI, .flags = SY_COUPLES | SY_PEEKS, .params = base_params, .score = base_score, .select = base_select },
};
