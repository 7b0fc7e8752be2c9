/* decode/rewire.c - vectors added to router logits, trained on the text so far while it is generated (continuous rerouting).
 *
 * Paper: Su et al., Rewiring Experts on the Fly, October 2025. For chosen layers l a vector delta_l [E], zero at first, is added to the router logits of every token:  z' = z + delta_l; the model's own
 * rule follows. All weights are frozen. Adapting to a context c_1 .. c_n is `steps` steps of
 *   L(delta) = -1/(n-1) sum_{i=2..n} ln P(c_i | c_<i; delta) + l2 sum_l |delta_l|^2,  Adam (0.9, 0.999, fresh moments each time) or plain gradient descent with rate lr
 * The gradient reaches delta through the weights of the chosen experts; choices are made anew in each step. A request: adapt to the prompt, generate `interval` tokens with
 * delta fixed, adapt to all of the text, and so on; after each adaptation the cache is built again. A new request begins with delta = 0, unless `keep`.
 * Layers: confident = largest mean over the prompt of the summed probability of a token's experts, under delta = 0; the share layer_fraction of all sparse layers, at least one.
 * Reconstructed from the abstract: the loss, the choice of layers and every default. Ours: l2. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/random.h"
#include "infer/decode.h"

enum { CONFIDENT, ALL, LAST, RANDOM };
enum { ADAM, SGD };

typedef struct {
    int       steps, interval, select, optimizer, seed;
    double    lr, layer_fraction, l2;
    bool      keep;
    sy_tape   tape;                     /* of adaptations */
    int       layers, cols;             /* sparse layers; experts of each, zero-cost ones too */
    sy_real  *delta, *grad;             /* [layers, cols] */
    double   *m, *v, *confidence;       /* [layers, cols] twice; [layers] */
    sy_tensor *leaf;                    /* [layers] the rows of delta, as the tape sees them */
    sy_term  *edits;                    /* [layers] m is NULL where a layer was not chosen */
    sy_route **routes;                  /* [layers] of the pass that chooses layers */
    bool      chosen;                   /* layers were chosen for this request */
    int       adapted;                  /* positions that the last adaptation saw; -1: none yet in this request */
    int       adaptations;
    double    first, last;              /* context loss in the first and the last step of the last one */
} rewire_state;

static const sy_opt rewire_opts[] = {
    SY_INT  (rewire_state, steps, NULL, 5, 0, 10000, "steps of each adaptation"),
    SY_REAL (rewire_state, lr, NULL, 0.01, 0, 100, "rate of a step"),
    SY_INT  (rewire_state, interval, NULL, 128, 1, 1 << 30, "tokens between adaptations"),
    SY_REAL (rewire_state, layer_fraction, NULL, 0.5, 0, 1, "share of the sparse layers that get a vector; at least one does"),
    SY_ENUM_(rewire_state, select, NULL, CONFIDENT, "confident|all|last|random", "which of them"),
    SY_ENUM_(rewire_state, optimizer, NULL, ADAM, "adam|sgd", "how a step is made"),
    SY_REAL (rewire_state, l2, NULL, 0, 0, 1e6, "weight of the squared length of the vectors"),
    SY_BOOL (rewire_state, keep, NULL, false, "a new request goes on with the vectors of the one before"),
    SY_INT  (rewire_state, seed, NULL, 0, 0, 2147483647, "select=random draws by it"),
    { 0 }
};

/* The edit of this method: state is the leaf of one layer. */
static sy_tensor *shift_logits(void *state, sy_tape *t, const sy_route_in *in, sy_tensor *z)
{
    (void)in;
    return sy_add_bias(t, z, state);
}

static const sy_method shift = {
    .kind = SY_EDIT, .name = "rewire", .title = "a vector added to the logits",
    .hooks = &(const sy_edit_hooks){ .abi = SY_ROUTER_ABI, .logits = shift_logits },
};

static sy_status rewire_check(const void *state, const void *model, sy_err *err)
{
    const rewire_state *s = state;
    const sy_model *m = model;
    if (!m->n_sparse) return sy_fail(err, SY_EUNSUP, "this model is dense: it has no router logits to add anything to");
    for (int l = 0; l < m->spec.num_hidden_layers; l++) {
        if (!m->layer[l].sparse) continue;
        const sy_block *b = &m->layer[l].block;
        SY_TRY(sy_within(err, sy_block_takes(b, &(sy_term){ &shift, NULL }, err), "layer %d", l));
        if (s->select == CONFIDENT && b->flags & (SY_NOPROBS | SY_MIXES))
            return sy_fail(err, SY_EUNSUP, "select=confident reads a distribution over experts and router %s declares that it has none: choose all, last or random", b->router.m->name);
    }
    for (int i = 0; i < m->params.n; i++)
        if (m->params.p[i]->w.dx) return sy_fail(err, SY_EUNSUP, "this model was opened for training: its weights would get gradients of their own; open it for generation");
    return SY_OK;
}

static sy_status rewire_open(void *state, sy_generator *g, sy_err *err)
{
    rewire_state *s = state;
    s->layers = g->model->n_sparse;
    s->cols = g->model->spec.num_experts + g->model->spec.zero_experts;
    s->adapted = -1;
    size_t layers = (size_t)s->layers, n = layers * (size_t)s->cols;
    sy_tape_init(&s->tape, g->model->eng, true);
    s->delta = sy_calloc(n, sizeof *s->delta), s->grad = sy_calloc(n, sizeof *s->grad);
    s->m = sy_calloc(n, sizeof *s->m), s->v = sy_calloc(n, sizeof *s->v), s->confidence = sy_calloc(layers, sizeof *s->confidence);
    s->leaf = sy_calloc(layers, sizeof *s->leaf), s->edits = sy_calloc(layers, sizeof *s->edits), s->routes = sy_calloc(layers, sizeof *s->routes);
    if (!s->delta || !s->grad || !s->m || !s->v || !s->confidence || !s->leaf || !s->edits || !s->routes) return sy_fail(err, SY_ENOMEM, "no memory for vectors of %d layers with %d experts", s->layers, s->cols);
    for (int l = 0; l < s->layers; l++) s->leaf[l] = (sy_tensor){ .x = s->delta + (size_t)l * s->cols, .dx = s->grad + (size_t)l * s->cols, .nd = 1, .dim = { s->cols }, .wants = true };
    return SY_OK;
}

/* Ids 0 .. n-1 as one sequence on the tape of adaptations; every one is predicted from those before it. */
static sy_tensor *forward(rewire_state *s, sy_generator *g, int n, sy_route **routes, int **label)
{
    sy_tape *t = &s->tape;
    sy_tape_reset(t);
    int *pos = sy_tape_alloc(t, (size_t)n, sizeof *pos), *seq = sy_tape_alloc(t, (size_t)n, sizeof *seq);
    *label = sy_tape_alloc(t, (size_t)n, sizeof **label);
    sy_segment *seg = sy_tape_alloc(t, 1, sizeof *seg);      /* stands until the tape is reset: backward reads it */
    uint64_t *no = sy_tape_alloc(t, 1, sizeof *no);
    if (t->status != SY_OK) return &t->empty;
    for (int i = 0; i < n; i++) {
        pos[i] = i;
        (*label)[i] = i + 1 < n ? g->id[i + 1] : -1;
    }
    seg->n = n;
    sy_batch b = { .T = n, .n_seg = 1, .id = g->id, .pos = pos, .seq = seq, .seg = seg, .seq_no = no };
    sy_run run = { .mode = SY_SERVE, .edits = s->edits, .routes = routes };
    return sy_model_hidden(g->model, t, &b, &run);
}

/* Mean over the tokens of the summed probability of their experts. */
static double confidence_of(const sy_route *r)
{
    double sum = 0;
    for (int i = 0; i < r->T; i++)
        for (int k = r->first_slot[i]; k < r->first_slot[i + 1]; k++) sum += (double)r->probs->x[(size_t)i * (size_t)(r->E + r->Z) + (size_t)sy_wanted(r->expert[k])];
    return sum / r->T;
}

static sy_status measure(rewire_state *s, sy_generator *g, int n, sy_err *err)
{
    int *label;
    uint64_t before = s->tape.madds;
    s->tape.record = false;
    forward(s, g, n, s->routes, &label);
    s->tape.record = true;
    g->madds += s->tape.madds - before;
    SY_TRY(sy_tape_status(&s->tape, err));
    for (int l = 0; l < s->layers; l++) s->confidence[l] = confidence_of(s->routes[l]);
    return SY_OK;
}

/* Which layers get a vector in this request. */
static sy_status choose(rewire_state *s, sy_generator *g, int n, sy_err *err)
{
    int want = (int)rint(s->layer_fraction * s->layers);
    want = s->select == ALL ? s->layers : want < 1 ? 1 : want;
    if (s->select == CONFIDENT) SY_TRY(measure(s, g, n, err));
    for (int l = 0; l < s->layers; l++) {
        if (s->select == LAST || s->select == ALL) s->confidence[l] = l;
        if (s->select == RANDOM) s->confidence[l] = sy_draw(sy_key((uint64_t)s->seed, SY_FOR_SAMPLE, 7, 0, 0), (uint64_t)l, 0);
    }
    for (int l = 0; l < s->layers; l++) {
        int above = 0;                                      /* layers that come before it; ties to the lower one */
        for (int k = 0; k < s->layers; k++) above += s->confidence[k] > s->confidence[l] || (s->confidence[k] == s->confidence[l] && k < l);
        s->edits[l] = above < want ? (sy_term){ &shift, &s->leaf[l] } : (sy_term){ 0 };
    }
    s->chosen = true;
    return SY_OK;
}

static void update(rewire_state *s, int t)
{
    double b1 = 1 - pow(0.9, t), b2 = 1 - pow(0.999, t);
    for (int i = 0; i < s->layers * s->cols; i++) {
        double g = (double)s->grad[i] + 2 * s->l2 * (double)s->delta[i], by = g;
        if (!s->edits[i / s->cols].m) continue;
        if (s->optimizer == ADAM) {
            s->m[i] = 0.9 * s->m[i] + 0.1 * g;
            s->v[i] = 0.999 * s->v[i] + 0.001 * g * g;
            by = s->m[i] / b1 / (sqrt(s->v[i] / b2) + 1e-8);
        }
        s->delta[i] -= (sy_real)(s->lr * by);
    }
}

static sy_status adapt(rewire_state *s, sy_generator *g, int n, sy_err *err)
{
    size_t size = (size_t)s->layers * (size_t)s->cols;
    if (!s->chosen) SY_TRY(choose(s, g, n, err));
    memset(s->m, 0, size * sizeof *s->m);
    memset(s->v, 0, size * sizeof *s->v);
    for (int step = 0; step < s->steps; step++) {
        int *label;
        bool any = false;
        uint64_t before = s->tape.madds;
        sy_tensor *h = forward(s, g, n, NULL, &label), *loss = sy_model_loss(g->model, &s->tape, h, label, &(sy_xent){ .scale = 1.0 / (n - 1) });
        SY_TRY(sy_tape_status(&s->tape, err));
        s->last = (double)loss->x[0];
        if (!step) s->first = s->last;
        memset(s->grad, 0, size * sizeof *s->grad);
        SY_TRY(sy_backward(&s->tape, loss, err));
        g->madds += s->tape.madds - before;
        for (size_t i = 0; i < size; i++) any |= s->grad[i] != 0;
        if (!any) return sy_fail(err, SY_EUNSUP, "no gradient reaches the router logits: the weights of this router do not depend on them (one renormalised expert a token)");
        update(s, step + 1);
    }
    s->adaptations++;
    return SY_OK;
}

static sy_status rewire_read(void *state, sy_generator *g, int to, const sy_override *over, const sy_real **scores, sy_err *err)
{
    rewire_state *s = state;
    if (over) return sy_fail(err, SY_EUNSUP, "an override of the routing: vectors are trained under the model's own rule");
    if (s->adapted < 0 || to - s->adapted >= s->interval) {
        if (to > 1 && s->steps) {
            SY_TRY(sy_within(err, adapt(s, g, to, err), "adapting to %d ids", to));
            g->kv.n = 0;
        }
        s->adapted = to;
    }
    return sy_generator_pass(g, &(sy_generator_call){ .tape = &g->tape, .kv = &g->kv, .edits = s->edits, .routes = g->routes }, to, scores, err);
}

static void rewire_rewind(void *state, sy_generator *g, int n)
{
    rewire_state *s = state;
    (void)g;
    if (s->adapted > n) s->adapted = n;
    if (n > 0) return;
    s->adapted = -1;
    s->adaptations = 0;
    if (s->keep) return;
    s->chosen = false;
    memset(s->delta, 0, (size_t)s->layers * (size_t)s->cols * sizeof *s->delta);
    memset(s->edits, 0, (size_t)s->layers * sizeof *s->edits);
}

static void rewire_tell(const void *state, char *text, size_t size)
{
    const rewire_state *s = state;
    snprintf(text, size, "%d adaptations; in the last one the loss of the context went from %.6f to %.6f", s->adaptations, s->first, s->last);
}

static void rewire_close(void *state)
{
    rewire_state *s = state;
    sy_tape_free(&s->tape);
    sy_free(s->delta), sy_free(s->grad), sy_free(s->m), sy_free(s->v), sy_free(s->confidence), sy_free(s->leaf), sy_free(s->edits), sy_free(s->routes);
}

const sy_method sy_decode_rewire = {
    .kind = SY_DECODE, .name = "rewire", .title = "vectors on router logits, trained on the context (continuous rerouting)", .paper = "Su et al. 2025, Rewiring Experts on the Fly",
    .summary = "adapts a frozen mixture to the text at hand: one vector a layer on the router logits, trained on prompt and output while it generates",
    .when = "Text unlike what the model was trained on, long enough to learn from. Few steps and a small rate: the vectors can overfit the context.",
    .cost = "An adaptation is `steps` forwards and backwards over all of the text, and one more pass to fill the cache again; memory as for a training step over it.",
    .example = "switchyard generate run -p \"To be, or not\" --decode rewire:steps=5,interval=64",
    .neutral = "steps=0",
    .opts = rewire_opts, .size = sizeof(rewire_state), .check = rewire_check,
    .hooks = &(const sy_decode_hooks){ .abi = SY_DECODE_ABI, .open = rewire_open, .read = rewire_read, .rewind = rewire_rewind, .tell = rewire_tell, .close = rewire_close },
};
