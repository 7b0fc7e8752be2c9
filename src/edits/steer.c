/* edits/steer.c - pushes chosen experts up or down in the router's logits (router steering).
 *
 * Papers: Bandarkar et al. 2025, arXiv:2510.04694 (which experts, and where); the hard rule is that of SteerMoE, Fayyaz et al. 2025. Of layer l, A+ are the experts named for it, A- those named
 * with a minus in front; for every token
 *   soft   z[e] += lam * std(z) for e in A+, -= for e in A-; std over the experts of the token, divided by their number
 *   hard   s = log_softmax(z);  s[e] = max s + eps for e in A+,  min s - eps for e in A-; max and min before any change
 * then the router's own rule goes on with the changed logits. Which experts those are is found by `switchyard steer`: the difference of how often an expert is used on text of the
 * task and on other text. Reconstructed: the soft rule, lam. The gradient of the soft rule passes through std, that of the hard one through max and min. */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "route/router.h"

enum { SOFT, HARD };

typedef struct {
    int         mode;
    double      lam, eps;
    const char *experts;
    signed char *side;                  /* [E+Z] of this layer: 1 in A+, -1 in A-, 0; NULL when there is nothing to do */
} steer_state;

static const sy_opt steer_opts[] = {
    SY_ENUM_(steer_state, mode, NULL, SOFT, "soft|hard", "soft: by a share of the spread of the logits; hard: above or below all others"),
    SY_REAL (steer_state, lam, "lambda", 0.5, 0, 1e3, "soft: standard deviations that a logit moves by"),
    SY_REAL (steer_state, eps, NULL, 0.01, 1e-9, 1e3, "hard: how far above the largest, or below the smallest"),
    SY_TEXT (steer_state, experts, NULL, "", "LAYER.EXPERT joined by +, as in 3.17+3.2+4.-5; a minus pushes down"),
    { 0 }
};

/* The next LAYER.EXPERT at *p; false at the end. *side is 0 when it is malformed. */
static bool next_expert(const char **p, long *layer, long *expert, int *side)
{
    char *end;
    const char *c = *p;
    if (!*c) return false;
    *side = 0;
    *layer = isdigit((unsigned char)*c) ? strtol(c, &end, 10) : -1;
    if (*layer < 0 || *end != '.') return true;
    c = end + 1;
    int sign = *c == '-' ? -1 : 1;
    if (*c == '-') c++;
    if (!isdigit((unsigned char)*c)) return true;
    *expert = strtol(c, &end, 10);
    if (*end && *end != '+') return true;
    if (*end == '+' && !end[1]) return true;
    *p = *end ? end + 1 : end;
    *side = sign;
    return true;
}

static sy_status steer_check(const void *state, const void *site, sy_err *err)
{
    const steer_state *s = state;
    const sy_site *at = site;
    const char *p = s->experts;
    long layer, expert;
    int side, up = 0;
    while (next_expert(&p, &layer, &expert, &side)) {
        if (!side) return sy_fail(err, SY_EARG, "experts: '%.40s' is no LAYER.EXPERT, or LAYER.-EXPERT", p);
        if (layer != at->layer) continue;
        if (expert >= at->E + at->Z) return sy_fail(err, SY_EARG, "experts: %ld.%ld, but the layer has the experts 0 to %d", layer, expert, at->E + at->Z - 1);
        up += side > 0;
    }
    if (s->mode == HARD && at->K && up > at->K)
        return sy_fail(err, SY_EARG, "experts: %d of layer %d are to stand above all others, and a token takes %d", up, at->layer, at->K);
    return SY_OK;
}

static sy_status steer_params(void *state, const sy_site *at, sy_own *own, sy_err *err)
{
    steer_state *s = state;
    const char *p = s->experts;
    long layer, expert;
    int side, n = 0, cols = at->E + at->Z;
    while (next_expert(&p, &layer, &expert, &side)) n += layer == at->layer;
    if (!n || (s->mode == SOFT && s->lam == 0)) return SY_OK;
    if (!(s->side = sy_arena_array(own->params->arena, (size_t)cols, 1))) return sy_fail(err, SY_ENOMEM, "no memory for a list of %d experts", cols);
    for (p = s->experts; next_expert(&p, &layer, &expert, &side); ) {
        if (layer != at->layer) continue;
        if (s->side[expert]) return sy_fail(err, SY_EARG, "experts: %ld.%ld stands there twice", layer, expert);
        s->side[expert] = (signed char)side;
    }
    return SY_OK;
}

struct steer { const signed char *side; double lam, eps; };

/* aux [T][2]: mean and standard deviation. */
static void soft_f(sy_node *n)
{
    const struct steer *a = n->arg;
    int T = sy_rows(n->out), E = sy_cols(n->out);
    double *kept = n->aux = sy_tape_alloc(n->tape, (size_t)T * 2, sizeof *kept);
    for (int t = 0; kept && t < T; t++) {
        const sy_real *z = n->in[0]->x + (size_t)t * E;
        double mean = 0, var = 0;
        for (int e = 0; e < E; e++) mean += (double)z[e] / E;
        for (int e = 0; e < E; e++) var += ((double)z[e] - mean) * ((double)z[e] - mean) / E;
        kept[2 * t] = mean, kept[2 * t + 1] = sqrt(var);
        for (int e = 0; e < E; e++) n->out->x[(size_t)t * E + e] = (sy_real)((double)z[e] + a->lam * a->side[e] * sqrt(var));
    }
}

static void soft_b(sy_node *n)
{
    const struct steer *a = n->arg;
    int T = sy_rows(n->out), E = sy_cols(n->out);
    const double *kept = n->aux;
    sy_real *dz = sy_grad(n, 0);
    for (int t = 0; dz && t < T; t++) {
        const sy_real *z = n->in[0]->x + (size_t)t * E, *dy = n->out->dx + (size_t)t * E;
        double dstd = 0;
        for (int e = 0; e < E; e++) dstd += a->lam * a->side[e] * (double)dy[e];
        for (int e = 0; e < E; e++) dz[(size_t)t * E + e] += (sy_real)((double)dy[e] + (kept[2 * t + 1] > 0 ? dstd * ((double)z[e] - kept[2 * t]) / (E * kept[2 * t + 1]) : 0));
    }
}

/* First of the largest, or of the smallest. */
static int extreme(const sy_real *z, int E, int sign)
{
    int best = 0;
    for (int e = 1; e < E; e++) if (sign > 0 ? z[e] > z[best] : z[e] < z[best]) best = e;
    return best;
}

static void hard_f(sy_node *n)
{
    const struct steer *a = n->arg;
    int T = sy_rows(n->out), E = sy_cols(n->out);
    for (int t = 0; t < T; t++) {
        const sy_real *z = n->in[0]->x + (size_t)t * E;
        sy_real *y = n->out->x + (size_t)t * E;
        int most = extreme(z, E, 1), least = extreme(z, E, -1);
        double sum = 0;
        for (int e = 0; e < E; e++) sum += exp((double)z[e] - (double)z[most]);
        double lse = (double)z[most] + log(sum);
        for (int e = 0; e < E; e++) y[e] = (sy_real)((double)z[a->side[e] > 0 ? most : a->side[e] < 0 ? least : e] - lse + a->side[e] * a->eps);
    }
}

static void hard_b(sy_node *n)
{
    const struct steer *a = n->arg;
    int T = sy_rows(n->out), E = sy_cols(n->out);
    sy_real *dz = sy_grad(n, 0);
    for (int t = 0; dz && t < T; t++) {
        const sy_real *z = n->in[0]->x + (size_t)t * E, *dy = n->out->dx + (size_t)t * E;
        int most = extreme(z, E, 1), least = extreme(z, E, -1);
        double all = 0, sum = 0;
        for (int e = 0; e < E; e++) sum += exp((double)z[e] - (double)z[most]), all += (double)dy[e];
        for (int e = 0; e < E; e++) {
            dz[(size_t)t * E + (a->side[e] > 0 ? most : a->side[e] < 0 ? least : e)] += dy[e];
            dz[(size_t)t * E + e] -= (sy_real)(all * exp((double)z[e] - (double)z[most]) / sum);
        }
    }
}

static const sy_op op_soft = { .name = "steer_soft", .fwd = soft_f, .bwd = soft_b };
static const sy_op op_hard = { .name = "steer_hard", .fwd = hard_f, .bwd = hard_b };

static sy_tensor *steer_logits(void *state, sy_tape *t, const sy_route_in *in, sy_tensor *z)
{
    const steer_state *s = state;
    (void)in;
    if (!s->side || t->status != SY_OK) return z;
    sy_node *n = sy_node_new(t, s->mode == HARD ? &op_hard : &op_soft, SY_IN(z), SY_NOW);
    if (!n || !sy_node_arg(n, &(struct steer){ s->side, s->lam, s->eps }, sizeof(struct steer))) return &t->empty;
    n->out = sy_new_like(t, z);
    return sy_apply(n);
}

const sy_method sy_edit_steer = {
    .kind = SY_EDIT, .name = "steer", .title = "chosen experts pushed up or down (router steering)", .paper = "arXiv:2510.04694",
    .summary = "adds to the logits of chosen experts, or puts them above all others, in a model as it is; switchyard steer finds the experts of a task",
    .when = "To lead text in a language or style that a model knows less of through the experts that serve the same task in one that it knows well; middle layers, few experts.",
    .cost = "Nothing to speak of: a few operations a token and expert in the layers named.",
    .example = "switchyard generate run -p \"To be\" --edit steer:mode=soft,lam=0.5,experts=1.3+1.6",
    .neutral = "lam=0",
    .opts = steer_opts, .size = sizeof(steer_state), .check = steer_check,
    .hooks = &(const sy_edit_hooks){ SY_ROUTER_ABI, .params = steer_params, .logits = steer_logits },
};
