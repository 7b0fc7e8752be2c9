/* routers/expertchoice.c - each expert takes the tokens that it likes best.
 *
 * Paper: Zhou et al. 2022, arXiv:2202.09368:
 *   p[t,e] = softmax over e of z[t,e];  C = round(capacity_factor N / E), N valid tokens of a group, halves to the even integer, 1 at least
 *   expert e takes the C tokens with the largest p[.,e] of its column, ties to the earlier token;  w[t,e] = p[t,e], not renormalised
 * So every expert has the same load, and a token has from 0 to E experts. A group is the micro-batch, or each sequence.
 *
 * Training looks at later tokens, which no causal model can do when it serves. There (reconstructed) expert e takes token t when p[t,e] >= threshold[e]: a running mean,
 * kept as a buffer, of the C-th largest p of its column over the steps, threshold <- threshold + (1 - threshold_decay) (mean of the step - threshold), the first step's
 * mean to begin with. An untrained model has thresholds of 0 and takes everything. Loads are even in training by definition, and nearly so when serving. Held-out loss
 * is taken in serving mode; a training loss is of another route. */
#include <math.h>

#include "route/router.h"

enum { BATCH, SEQUENCE };

typedef struct {
    double    capacity_factor;
    int       group;
    double    threshold_decay;
    sy_param *weight, *threshold;
    double   *sum; int groups;          /* [E] C-th largest p of this step's groups, added up; how many groups */
} expertchoice_state;

static const sy_opt expertchoice_opts[] = {
    SY_REAL (expertchoice_state, capacity_factor, NULL, 2, 0.001, 1024, "experts a token has on average; an expert takes this times N / E tokens"),
    SY_ENUM_(expertchoice_state, group,           NULL, BATCH, "batch|sequence", "an expert picks among the tokens of the micro-batch, or of each sequence"),
    SY_REAL (expertchoice_state, threshold_decay, NULL, 0.95, 0, 0.99999, "decay of the running mean of the thresholds that serving uses"),
    { 0 }
};

static sy_status expertchoice_check(const void *state, const void *site, sy_err *err)
{
    const expertchoice_state *s = state;
    const sy_site *at = site;
    if (at->Z) return sy_fail(err, SY_EUNSUP, "%d zero-cost experts: with a fixed load each of them would take its tokens from nobody; leave them out", at->Z);
    if (s->capacity_factor > at->E) return sy_fail(err, SY_EARG, "capacity_factor %g: a token has at most the %d experts", s->capacity_factor, at->E);
    return SY_OK;
}

static sy_status expertchoice_params(void *state, const sy_site *at, sy_own *own, sy_err *err)
{
    expertchoice_state *s = state;
    if (!(s->weight = sy_own_param(own, "weight", 0, false, at->init_std, SY_DIM(at->E, at->D)))) return own->err->status;
    if (!(s->threshold = sy_own_param(own, "threshold", SY_BUFFER, false, 0, SY_DIM(at->E)))) return own->err->status;
    s->sum = sy_arena_array(own->params->arena, (size_t)at->E, sizeof *s->sum);
    return s->sum ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory for the thresholds of %d experts", at->E);
}

static sy_tensor *expertchoice_score(void *state, sy_tape *t, const sy_route_in *in, sy_weight *w, sy_route *out)
{
    expertchoice_state *s = state;
    (void)w, (void)out;
    return sy_linear(t, in->x, &s->weight->w, NULL);
}

/* All groups; `note`: the thresholds of a training step are remembered. */
static void by_column(expertchoice_state *s, sy_tape *t, const sy_route_in *in, const sy_tensor *p, uint8_t *take, bool note)
{
    int cols = sy_cols(p), *token = sy_tape_alloc(t, (size_t)in->T, sizeof *token), *heap = sy_tape_alloc(t, (size_t)in->T, sizeof *heap);
    if (!token || !heap) return;
    for (int from = 0; from < in->T; ) {
        int to = from, n = 0;
        for (; to < in->T && (s->group == BATCH || in->seq[to] == in->seq[from]); to++) if (sy_valid(in, to)) token[n++] = to;
        double want = rint(s->capacity_factor * n / cols);
        int C = want < 1 ? 1 : want > n ? n : (int)want;
        for (int e = 0; e < cols && n; e++) {
            int have = sy_best_of(p->x + e, (size_t)cols, token, n, C, heap);
            for (int i = 0; i < have; i++) take[(size_t)heap[i] * cols + e] = 1;
            if (note) s->sum[e] += (double)p->x[(size_t)heap[0] * cols + e];
        }
        if (note && n) s->groups++;
        from = to;
    }
}

static sy_status expertchoice_select(void *state, sy_tape *t, const sy_route_in *in, sy_tensor *z, sy_route *out, sy_err *err)
{
    expertchoice_state *s = state;
    int cols = sy_cols(z);
    bool serve = in->mode == SY_SERVE;
    out->probs = sy_softmax(t, z);
    SY_TRY(sy_only_override(in, false, false, err));
    if (in->again) return sy_slots_dense(t, in, out->probs, out, err);
    if (s->group == SEQUENCE && !in->seq) return sy_fail(err, SY_EARG, "group=sequence needs the sequence of each token");
    uint8_t *take = sy_tape_alloc(t, (size_t)in->T * (size_t)cols, 1);
    sy_real *mask = sy_tape_alloc(t, (size_t)in->T * (size_t)cols, sizeof *mask);
    SY_TRY(sy_tape_status(t, err));
    const sy_real *threshold = s->threshold->w.data, *p = out->probs->x;
    if (!serve) by_column(s, t, in, out->probs, take, in->mode == SY_TRAIN && !t->replay);
    for (int i = 0; i < in->T; i++)
        for (int e = 0; e < cols; e++) {
            size_t at = (size_t)i * cols + e;
            mask[at] = serve ? p[at] >= threshold[e] : take[at];
        }
    return sy_slots_dense(t, in, sy_mul_const(t, out->probs, mask), out, err);
}

static sy_status expertchoice_after(void *state, const sy_site *at, const sy_step *st, sy_err *err)
{
    expertchoice_state *s = state;
    sy_real *threshold = s->threshold->w.data;
    (void)st, (void)err;
    for (int e = 0; e < at->E && s->groups; e++) {
        double mean = s->sum[e] / s->groups, old = (double)threshold[e];
        threshold[e] = (sy_real)(old > 0 ? old + (1 - s->threshold_decay) * (mean - old) : mean);
        s->sum[e] = 0;
    }
    s->groups = 0;
    return SY_OK;
}

/* What a step that was thrown away has left is forgotten here. */
static sy_status expertchoice_before(void *state, const sy_site *at, const sy_step *st, sy_err *err)
{
    expertchoice_state *s = state;
    (void)st, (void)err;
    for (int e = 0; e < at->E; e++) s->sum[e] = 0;
    s->groups = 0;
    return SY_OK;
}

const sy_method sy_router_expertchoice = {
    .kind = SY_ROUTER, .name = "expertchoice", .title = "expert choice", .paper = "arXiv:2202.09368",
    .summary = "each expert takes its best tokens, so loads are even and tokens get as many experts as want them; serves by running thresholds",
    .when = "When every expert must have the same work in training and no loss should say so. In a causal model serving follows thresholds, so training and serving differ: read the held-out loss, which is taken as it serves.",
    .cost = "In training a selection down each column of the scores; a token has capacity_factor experts on average, from 0 to all.",
    .example = "switchyard train --recipe lm-tiny --data text --router expertchoice:capacity_factor=2 --set balance= --out run",
    .opts = expertchoice_opts, .size = sizeof(expertchoice_state), .check = expertchoice_check,
    .hooks = &(const sy_router_hooks){ SY_ROUTER_ABI, .flags = SY_COUPLES | SY_PEEKS, .params = expertchoice_params, .before = expertchoice_before, .score = expertchoice_score,
                                       .select = expertchoice_select, .after = expertchoice_after },
};
