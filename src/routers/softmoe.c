/* routers/softmoe.c - experts work on slots, which are mixtures of tokens; tokens are mixtures of slots. Nothing is chosen.
 *
 * Paper: Puigcerver et al. 2023, arXiv:2308.00951:   per sequence, P slots an expert, mu [E P, D]
 *   l[t,s] = scale * x_t / sqrt(|x_t|^2 + 1e-6) . mu_s / sqrt(|mu_s|^2 + 1e-6)   (+ noise_std n in training, n ~ N(0,1))
 *   slot_s = sum over t of softmax over t of l[t,s] times x_t;   o = FFN of the slot's expert;   y_t = sum over s of softmax over s of l[t,s] times o_s
 * mu starts N(0, 1/D), scale at 1. Every token takes part in every slot, so a slot sees later tokens: there is no causal form, and a causal language model is refused.
 * A slot costs what a token costs a top-1 layer: num_slots = (tokens of a sequence) / E is capacity 1. Padding is in no slot and gets 0. */
#include <math.h>

#include "route/router.h"

typedef struct {
    int       num_slots;
    double    noise_std;
    sy_param *mu, *scale;
} softmoe_state;

static const sy_opt softmoe_opts[] = {
    SY_INT (softmoe_state, num_slots, NULL, 1, 1, 65536, "slots an expert has for each sequence"),
    SY_REAL(softmoe_state, noise_std, NULL, 0, 0, 1e3, "training: normal noise of this size on the logits"),
    { 0 }
};

static sy_status softmoe_params(void *state, const sy_site *at, sy_own *own, sy_err *err)
{
    softmoe_state *s = state;
    (void)err;
    if (!(s->mu = sy_own_param(own, "slots", 0, false, 1 / sqrt(at->D), SY_DIM(at->E * s->num_slots, at->D)))) return own->err->status;
    if (!(s->scale = sy_own_param(own, "scale", 0, false, 0, SY_DIM(1, 1)))) return own->err->status;
    if (s->scale->fresh) sy_param_fill(s->scale, 1);
    s->scale->flags |= SY_NODECAY;
    return SY_OK;
}

/* x / sqrt(|x|^2 + 1e-6) = rmsnorm(x) / sqrt(D), with 1e-6 / D in the norm */
static sy_tensor *unit(sy_tape *t, sy_tensor *x) { return sy_affine(t, sy_rmsnorm(t, x, NULL, 1e-6 / sy_cols(x)), 1 / sqrt(sy_cols(x)), 0); }

/* Constants of both softmaxes: add [T,S], -1e30 where a slot is of another sequence (of padding, too, for the one over tokens); on [T,S], 1 where token and slot meet. */
struct meet { sy_tensor *add, *add_t; sy_real *on, *on_t; };

static bool meets(softmoe_state *s, sy_tape *t, const sy_route_in *in, int S, struct meet *m)
{
    size_t T = (size_t)in->T, P = (size_t)s->num_slots, Q = (size_t)in->n_seq, n = T * (size_t)S;
    bool noisy = in->mode == SY_TRAIN && s->noise_std > 0;
    m->add = sy_new(t, SY_DIM(in->T, S)), m->add_t = sy_new(t, SY_DIM(S, in->T));
    m->on = sy_tape_alloc(t, n, sizeof(sy_real)), m->on_t = sy_tape_alloc(t, n, sizeof(sy_real));
    if (t->status != SY_OK) return false;
    for (size_t i = 0; i < T; i++)
        for (size_t row = 0; row < (size_t)S; row++) {
            size_t e = row / (Q * P), q = row / P % Q, p = row % P;
            bool same = q == (size_t)in->seq[i], valid = sy_valid(in, (int)i);
            sy_real noise = noisy ? (sy_real)(s->noise_std * sy_draw_normal(in->key[i], (uint64_t)in->pos[i], (unsigned)(e * P + p))) : 0;
            m->add->x[i * (size_t)S + row] = same ? noise : (sy_real)-1e30;
            m->add_t->x[row * T + i] = same && valid ? noise : (sy_real)-1e30;
            m->on[i * (size_t)S + row] = m->on_t[row * T + i] = same && valid;
        }
    return true;
}

static sy_status softmoe_mix(void *state, sy_tape *t, const sy_route_in *in, sy_tensor *logits, sy_mix *out, sy_err *err)
{
    softmoe_state *s = state;
    int E = in->site->E, P = s->num_slots, S = E * P * in->n_seq, T = in->T;
    struct meet m;
    (void)logits;
    SY_TRY(sy_only_override(in, false, false, err));
    if (!in->seq) return sy_fail(err, SY_EARG, "slots belong to sequences: the sequence of each token is needed");
    if (s->noise_std > 0 && in->mode == SY_TRAIN && (!in->key || !in->pos)) return sy_fail(err, SY_EARG, "noise_std needs the keys and positions of the tokens");
    int *from = sy_tape_alloc(t, (size_t)S, sizeof *from), *one = sy_tape_alloc(t, (size_t)T, sizeof *one);
    if (!from || !one || !meets(s, t, in, S, &m)) return sy_tape_status(t, err);
    for (int row = 0; row < S; row++) from[row] = row / (in->n_seq * P) * P + row % P;           /* of every sequence the slot (e,p) */
    sy_tensor *mu = sy_rows_gather(t, unit(t, &s->mu->leaf), from, S);
    sy_tensor *x = sy_mul_rows(t, unit(t, in->x), sy_reshape(t, sy_rows_gather(t, &s->scale->leaf, one, T), SY_DIM(T)));
    sy_tensor *over_t = sy_softmax(t, sy_add(t, sy_matmul_nt(t, mu, x), m.add_t));
    sy_tensor *over_s = sy_softmax(t, sy_add(t, sy_matmul_nt(t, x, mu), m.add));
    *out = (sy_mix){ P, sy_mul_const(t, over_t, m.on_t), sy_mul_const(t, over_s, m.on) };
    return sy_tape_status(t, err);
}

const sy_method sy_router_softmoe = {
    .kind = SY_ROUTER, .name = "softmoe", .title = "Soft MoE", .paper = "arXiv:2308.00951",
    .summary = "each expert works on slots that are weighted means of all tokens of a sequence: no choice, no drops, every parameter has a gradient; not for causal text",
    .when = "For sets and images, where a token may see all others. Not for text that is generated: it is refused in a causal model.",
    .cost = "E num_slots rows of experts for each sequence, whatever its length, and two products of tokens by slots.",
    .example = "switchyard reproduce softmoe",
    .opts = softmoe_opts, .size = sizeof(softmoe_state),
    .hooks = &(const sy_router_hooks){ SY_ROUTER_ABI, .flags = SY_COUPLES | SY_PEEKS | SY_NOSERVE | SY_NOLOGITS | SY_NOPROBS | SY_MIXES, .params = softmoe_params, .mix = softmoe_mix },
};
