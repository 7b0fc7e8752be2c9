/* balance/switch.c - the balance loss of Switch, in its published scalings and scopes: coef * n * sum over e of f_e P_e.
 *
 * Papers: Switch, arXiv:2101.03961; GShard, arXiv:2006.16668 (first choices); DeepSeekMoE, arXiv:2401.06066 (per sequence, groups of experts); Qiu et al.
 * 2025, arXiv:2501.11873 (load counted over the global batch). n = E + Z columns, P_e = mean over tokens of probs[t,e], c_e = slots wanted of e:
 *   form share   f_e = c_e / sum c        1 when balanced
 *   form slots   f_e = c_e / tokens       K when balanced (HF's scaling, tokens x K slots)
 *   form first   f_e = share of tokens whose first choice is e
 *   scope micro, sequence   c and P over the micro-batch, or over each sequence, then the mean over sequences
 *   scope step   c over the whole step, P over the micro-batch: mode buffer = the step so far, this micro-batch included; exact = all of it (costs a forward
 *                pass that counts first); prev = the step before (nothing in the first step)
 *   groups G     f is first averaged inside each of G equal groups of consecutive experts (DeepSeekMoE's device-level loss)
 * f is a constant; the gradient goes through P alone: d loss / d probs[t,e] = coef n f_e / tokens. In form slots with scope step, the slots
 * a token are those of this micro-batch. */
#include "route/router.h"

enum { SHARE, SLOTS, FIRST };
enum { MICRO, SEQUENCE, STEP };
enum { BUFFER, EXACT, PREV };

typedef struct {
    double router_aux_loss_coef;
    int    form, scope, mode, groups;
    double micro_mix;
} switch_state;

static const sy_opt switch_opts[] = {
    SY_REAL (switch_state, router_aux_loss_coef, "coef", 0.01, 0, 1e6, "weight of the loss"),
    SY_ENUM_(switch_state, form,      NULL, SHARE, "share|slots|first", "load as a share of slots, as slots a token, or as a share of first choices"),
    SY_ENUM_(switch_state, scope,     NULL, MICRO, "micro|sequence|step", "what the load is counted over"),
    SY_ENUM_(switch_state, mode,      NULL, BUFFER, "buffer|exact|prev", "scope step: the step so far, all of it (one more forward pass), or the step before"),
    SY_INT  (switch_state, groups,    "n_device_groups", 0, 0, 1024, "average the load over this many equal groups of experts; 0 = no groups"),
    SY_REAL (switch_state, micro_mix, NULL, 0, 0, 1e6, "scope step: add this share of the micro-batch's own loss"),
    { 0 }
};

static sy_status switch_check(const void *state, const void *site, sy_err *err)
{
    const switch_state *s = state;
    const sy_site *at = site;
    if (s->scope == STEP && s->form == FIRST)
        return sy_fail(err, SY_EARG, "form=first with scope=step: first choices are counted in a micro-batch or a sequence, the counts of a step hold all choices; use form=share");
    if (s->scope != STEP && s->mode != BUFFER) return sy_fail(err, SY_EARG, "mode is about the load of a step: set scope=step");
    if (s->scope != STEP && s->micro_mix > 0) return sy_fail(err, SY_EARG, "micro_mix %g adds to the load of a step: set scope=step", s->micro_mix);
    if (s->groups && (at->E + at->Z) % s->groups) return sy_fail(err, SY_EARG, "groups %d does not divide the %d experts", s->groups, at->E + at->Z);
    return SY_OK;
}

static unsigned switch_declares(const void *state)
{
    const switch_state *s = state;
    return s->scope == STEP && s->mode == EXACT && s->router_aux_loss_coef > 0 ? SY_NEEDCOUNT : 0;
}

/* f [n]: counts become a load: divided by their sum, times `scale`, and averaged inside each group of experts. All zero stays all zero. */
static void to_load(const switch_state *s, double *f, int n, double scale)
{
    double sum = 0;
    for (int e = 0; e < n; e++) sum += f[e];
    for (int e = 0; e < n && sum > 0; e++) f[e] *= scale / sum;
    int size = s->groups ? n / s->groups : 1;
    for (int g = 0; g < n && size > 1; g += size) {
        double mean = 0;
        for (int e = g; e < g + size; e++) mean += f[e] / size;
        for (int e = g; e < g + size; e++) f[e] = mean;
    }
}

/* Load of the step in place of the micro-batch's own, of which micro_mix stays. */
static void step_load(const switch_state *s, const sy_counts *c, double *f, double *step, int n, double scale)
{
    const int64_t *count = s->mode == EXACT ? c->full : s->mode == PREV ? c->prev : c->seen;
    for (int e = 0; e < n; e++) step[e] = (double)count[e];
    to_load(s, step, n, scale);
    for (int e = 0; e < n; e++) f[e] = step[e] + s->micro_mix * f[e];
}

struct part { double *f; int64_t tokens, slots; };       /* a sequence, or the whole micro-batch: load [n], valid tokens, their slots */

/* Counts every token into its part; returns the number of parts that have tokens. */
static int tally(const switch_state *s, const sy_route_in *in, const sy_route *r, struct part *part)
{
    int used = 0;
    for (int t = 0; t < in->T; t++) {
        if (!sy_valid(in, t)) continue;
        struct part *mine = &part[s->scope == SEQUENCE ? in->seq[t] : 0];
        int from = r->first_slot[t], to = r->first_slot[t + 1], upto = s->form == FIRST && to > from ? from + 1 : to;
        used += mine->tokens++ == 0;
        mine->slots += to - from;
        for (int i = from; i < upto; i++) mine->f[sy_wanted(r->expert[i])]++;
    }
    return used;
}

static sy_tensor *switch_loss(void *state, sy_tape *t, const sy_route_in *in, sy_tensor *logits, const sy_route *r)
{
    const switch_state *s = state;
    int n = r->E + r->Z, parts = s->scope == SEQUENCE ? in->n_seq : 1;
    (void)logits;
    if (!(s->router_aux_loss_coef > 0)) return NULL;
    if (s->scope == SEQUENCE && !in->seq) return sy_tape_fail(t, SY_EARG, "balance switch: scope=sequence needs the sequence of each token");
    for (int i = 0; s->scope == SEQUENCE && i < in->T; i++)
        if (in->seq[i] < 0 || in->seq[i] >= parts) return sy_tape_fail(t, SY_EARG, "balance switch: token %d is of sequence %d, there are %d", i, in->seq[i], parts);
    struct part *part = sy_tape_alloc(t, (size_t)parts, sizeof *part);
    double *f = sy_tape_alloc(t, ((size_t)parts + 1) * (size_t)n, sizeof *f);
    sy_real *c = sy_tape_alloc(t, (size_t)in->T * (size_t)n, sizeof *c);
    if (!part || !f || !c) return &t->empty;
    for (int q = 0; q < parts; q++) part[q].f = f + (size_t)q * n;
    int used = tally(s, in, r, part);
    for (int q = 0; q < parts; q++) {
        if (!part[q].tokens) continue;
        double scale = s->form == SLOTS ? (double)part[q].slots / (double)part[q].tokens : 1;
        to_load(s, part[q].f, n, scale);
        if (s->scope == STEP) step_load(s, in->counts, part[q].f, f + (size_t)parts * n, n, scale);
    }
    for (int i = 0; i < in->T; i++) {
        if (!sy_valid(in, i)) continue;
        const struct part *mine = &part[s->scope == SEQUENCE ? in->seq[i] : 0];
        double each = s->router_aux_loss_coef * n / ((double)used * (double)mine->tokens);
        for (int e = 0; e < n; e++) c[(size_t)i * n + e] = (sy_real)(each * mine->f[e]);
    }
    return sy_dot_const(t, r->probs, c);
}

const sy_method sy_balance_switch = {
    .kind = SY_BALANCE, .name = "switch", .title = "Switch balance loss", .paper = "arXiv:2101.03961",
    .summary = "coef * E * sum_e load_e * mean probability_e; over the micro-batch, each sequence or the whole step",
    .when = "The usual term for routers that choose by probabilities. scope=step where micro-batches hold few sequences or domains, so that experts may specialise; scope=sequence to even out each text. A published coefficient belongs to a form: slots is share times the experts a token, first counts first choices (GShard).",
    .cost = "A mean of the probabilities and a count for each expert. scope=step,mode=exact runs the forward of all micro-batches once more, about a third of a step.",
    .example = "switchyard train --recipe lm-tiny --data text --router topk:top_k=2 --balance switch:scope=step,coef=0.01 --out run",
    .opts = switch_opts, .size = sizeof(switch_state), .neutral = "router_aux_loss_coef=0", .check = switch_check,
    .hooks = &(const sy_balance_hooks){ SY_ROUTER_ABI, .flags = SY_NEEDPROBS, .loss = switch_loss, .declares = switch_declares },
};
