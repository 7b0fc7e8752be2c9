/* experiments/cr.c - the bed "clustered regression".
 *
 * 8 domains; centre_c ~ N(0,I) in R^16, A_c entries ~ N(0, 1/16), y = A_c x + 0.05 noise in R^4, x = centre_c + 0.5 noise; a constant 1 is appended to
 * x. 8 linear experts 17 -> 4 under any router; loss = squared error, mean over batch and outputs; Adam 3e-3, batch 256, 3000 steps; noise floor 0.0025.
 * Variants: dom (micro-batches of 32, each of one domain), blend (half of the tokens between two domains), easy (domains 0-3 have target 0), skew (domain c
 * with probability proportional to 0.6^c). Held out: 4096 fresh tokens, in serving mode; a router without a causal form in evaluation, a batch at a time.
 * slim: the loss is also taken with 1, 2, ... experts a token (loss_k1, ...). ids: each domain has so many token ids of its own, for routers that read ids. sequence_length: consecutive tokens are one sequence. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "experiments/bed.h"
#include "route/block.h"
#include "train/optim.h"

enum { D = 16, X = D + 1, O = 4, DOMAINS = 8, HELD_OUT = 4096 };

typedef struct cr_options {
    int         variant, steps, batch_size, micro_batches, num_experts, zero_experts, ids, sequence_length;
    bool        slim;
    const char *router, *balance, *edit, *zero_expert;
    double      lr;
} cr_options;

static const sy_opt cr_opts[] = {
    SY_ENUM_(cr_options, variant, NULL, 0, "plain|dom|blend|easy|skew", "how tokens are drawn"),
    SY_INT (cr_options, steps, NULL, 3000, 1, 1 << 24, "optimiser steps"),
    SY_INT (cr_options, batch_size, NULL, 256, 1, 1 << 16, "tokens of a step"),
    SY_INT (cr_options, micro_batches, NULL, 1, 1, 64, "micro-batches of a step; dom gives each one domain"),
    SY_INT (cr_options, num_experts, NULL, 8, 1, 1024, "experts"),
    SY_INT (cr_options, zero_experts, NULL, 0, 0, 1024, "zero-cost experts"),
    SY_INT (cr_options, ids, NULL, 0, 0, 1024, "token ids of a domain; 0 = every token has id 0"),
    SY_INT (cr_options, sequence_length, NULL, 1, 1, 1 << 16, "tokens of a sequence"),
    SY_BOOL(cr_options, slim, NULL, false, "measure with every number of experts a token, too"),
    SY_TEXT(cr_options, router, NULL, "topk:top_k=2,norm_topk_prob=true", "router"),
    SY_TEXT(cr_options, balance, NULL, "", "balance terms joined by +"),
    SY_TEXT(cr_options, edit, NULL, "", "edits joined by +"),
    SY_TEXT(cr_options, zero_expert, NULL, "null", "kind of the zero-cost experts"),
    SY_REAL(cr_options, lr, NULL, 3e-3, 0, 10, "learning rate"),
    { 0 }
};

enum { PLAIN, DOM, BLEND, EASY, SKEW };

/* --- the expert kind of this bed: one matrix [O,X] ----------------------------------------------------------------------------- */

typedef struct linear_state { sy_param *w; } linear_state;

static sy_status linear_params(void *s, const sy_site *at, int E, sy_own *own, sy_err *err)
{
    linear_state *l = s;
    l->w = sy_own_param(own, "{e}.weight", 0, false, 1.0 / 8, 3, (int[]){ E, O, at->D });
    return l->w ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory for the experts");
}

static sy_tensor *linear_run(void *s, sy_tape *t, const sy_site *at, sy_tensor *x, const int *first, int E)
{
    (void)at, (void)E;
    return sy_grouped(t, x, &((linear_state *)s)->w->w, first);
}

static const sy_method linear_expert = {
    .kind = SY_EXPERT, .name = "cr-linear", .title = "one matrix", .size = sizeof(linear_state),
    .hooks = &(const sy_expert_hooks){ .abi = SY_ROUTER_ABI, .params = linear_params, .run = linear_run },
};

/* --- the task --------------------------------------------------------------------------------------------------------------------- */

typedef struct task { int variant; uint64_t seed; double centre[DOMAINS][D], A[DOMAINS][O][D]; } task;

static void make_task(task *k, int variant, uint64_t seed)
{
    uint64_t key = sy_key(seed, SY_FOR_DATA, 1, 0, 0);
    k->variant = variant;
    k->seed = seed;
    for (int c = 0; c < DOMAINS; c++) {
        for (int d = 0; d < D; d++) k->centre[c][d] = sy_draw_normal(key, (uint64_t)(c * D + d), 0);
        for (int o = 0; o < O; o++) for (int d = 0; d < D; d++) k->A[c][o][d] = 0.25 * sy_draw_normal(key, (uint64_t)((c * O + o) * D + d), 1);
    }
}

static int skewed(double u)
{
    double all = 0, sum = 0;
    for (int c = 0; c < DOMAINS; c++) all += pow(0.6, c);
    for (int c = 0; c < DOMAINS; c++) if ((sum += pow(0.6, c) / all) > u) return c;
    return DOMAINS - 1;
}

/* Token `n` of a stream; `fixed` >= 0: of that domain. Writes x [X], y [O], and in *hard whether it lies between two domains (blend) or has a target to learn (easy);
 * returns its domain. */
static int make_token(const task *k, uint64_t stream, uint64_t n, int fixed, sy_real *x, sy_real *y, bool *hard)
{
    uint64_t key = sy_key(k->seed, SY_FOR_DATA, 2, stream, n);
    int c = fixed >= 0 ? fixed : k->variant == SKEW ? skewed(sy_draw(key, 0, 0)) : (int)sy_draw_below(key, 0, 0, DOMAINS), other = c;
    bool blend = k->variant == BLEND && sy_draw(key, 1, 0) < 0.5;
    if (blend) other = (c + 1 + (int)sy_draw_below(key, 2, 0, DOMAINS - 1)) % DOMAINS;
    for (int d = 0; d < D; d++) {
        double noise = sy_draw_normal(key, (uint64_t)d, 1);
        x[d] = (sy_real)(blend ? 0.707 * (k->centre[c][d] + k->centre[other][d]) + 0.3 * noise : k->centre[c][d] + 0.5 * noise);
    }
    x[D] = 1;
    *hard = blend || (k->variant == EASY && c >= 4);
    for (int o = 0; o < O; o++) {
        double s = 0.05 * sy_draw_normal(key, (uint64_t)o, 2);
        for (int d = 0; d < D; d++) s += (blend ? 0.5 * (k->A[c][o][d] + k->A[other][o][d]) : k->A[c][o][d]) * (double)x[d];
        y[o] = (sy_real)(k->variant == EASY && c < 4 ? 0.05 * sy_draw_normal(key, (uint64_t)o, 3) : s);
    }
    return c;
}

/* --- training ---------------------------------------------------------------------------------------------------------------------- */

typedef struct bed { const sy_bed_context *c; cr_options o; task k; sy_block block; sy_arena arena; sy_params params; sy_tape tape; uint64_t seed, madds; int64_t step, at; double gmadds, progress, trained; const sy_override *over; } bed;

/* The spent share of the budget, one of steps or of multiply-adds, and the step that schedules of `steps` steps are at then. */
static void look_at_clock(bed *b)
{
    b->progress = b->gmadds ? fmin(1, (double)b->madds / 1e9 / b->gmadds) : (double)b->step / b->o.steps;
    b->at = b->gmadds ? (int64_t)(b->progress * b->o.steps + 1e-6) : b->step;
}

/* What a forward was about: two kinds of token, plain and hard. */
typedef struct { int64_t tokens[2], slots[2]; double error[2]; } sides;

static void count_sides(sides *k, const bool *hard, const sy_tensor *off, const sy_route *r, int n)
{
    for (int i = 0; i < n; i++) {
        int h = hard[i];
        k->tokens[h]++;
        for (int o = 0; o < O; o++) k->error[h] += (double)off->x[(size_t)i * O + o] / O;
        for (int s = r ? r->first_slot[i] : 0; r && s < r->first_slot[i + 1]; s++) k->slots[h] += r->expert[s] >= 0 && r->expert[s] < r->E;
    }
}

/* Forward of n tokens of a stream from `first` on: the mean squared error; stats and kinds may be NULL. */
static sy_tensor *forward(bed *b, sy_mode mode, uint64_t stream, uint64_t first, int n, int micro, int n_micro, sy_losses *losses, sy_stats *stats, sides *kinds)
{
    sy_tape *t = &b->tape;
    sy_tensor *x = sy_new(t, SY_DIM(n, X)), *y = sy_new(t, SY_DIM(n, O));
    int len = b->o.sequence_length, *domain = sy_tape_alloc(t, (size_t)n, sizeof *domain), *seq = sy_tape_alloc(t, (size_t)n, sizeof *seq), *pos = sy_tape_alloc(t, (size_t)n, sizeof *pos);
    int *id = sy_tape_alloc(t, (size_t)n, sizeof *id), *back[4];
    bool *hard = sy_tape_alloc(t, (size_t)n, sizeof *hard);
    uint64_t *key = sy_tape_alloc(t, (size_t)n, sizeof *key);
    sy_route *route = NULL;
    for (int k = 0; k < 4; k++) back[k] = sy_tape_alloc(t, (size_t)n, sizeof **back);
    if (t->status != SY_OK) return &t->empty;
    int fixed = b->o.variant == DOM && mode == SY_TRAIN ? (int)((first / (uint64_t)n) % DOMAINS) : -1;
    for (int i = 0; i < n; i++) {
        domain[i] = make_token(&b->k, stream, first + (uint64_t)i, fixed, x->x + (size_t)i * X, y->x + (size_t)i * O, &hard[i]);
        seq[i] = i / len;
        pos[i] = i % len;
        id[i] = b->o.ids ? domain[i] * b->o.ids + (int)sy_draw_below(sy_key(b->k.seed, SY_FOR_DATA, 3, stream, first + (uint64_t)i), 0, 0, (uint64_t)b->o.ids) : 0;
        for (int k = 0; k < 4; k++) back[k][i] = pos[i] > k ? id[i - 1 - k] : -1;
        key[i] = sy_key(b->seed, SY_FOR_ROUTE, first + (uint64_t)(i - pos[i]), 0, stream);
    }
    sy_route_in in = { .mode = mode, .T = n, .x = x, .id = id, .pos = pos, .seq = seq, .label = domain, .key = key, .n_seq = (n + len - 1) / len, .step = b->at, .steps = b->o.steps,
                       .batch_key = sy_key(b->seed, SY_FOR_ROUTE_BATCH, (uint64_t)b->step, (uint64_t)micro, 0), .progress = b->progress,
                       .micro = micro, .n_micro = n_micro, .n_pass = 1, .over = b->over };
    for (int k = 0; k < 4; k++) in.back[k] = back[k];
    sy_tensor *off = sy_square(t, sy_sub(t, sy_block_run(&b->block, t, in, losses, &route, stats), y));
    if (kinds && t->status == SY_OK) count_sides(kinds, hard, off, route, n);
    return sy_mean(t, off);
}

static sy_status one_step(bed *b, const sy_optim *o, sy_err *err)
{
    int n = b->o.batch_size / b->o.micro_batches;
    look_at_clock(b);
    SY_TRY(sy_block_before(&b->block, b->at, b->o.steps, b->progress, err));
    sy_grad_zero(b->c->eng, &b->params);
    bool count = b->block.flags & SY_NEEDCOUNT;
    for (int pass = count ? 0 : 1; pass < 2; pass++)
        for (int i = 0; i < b->o.micro_batches; i++) {
            sy_losses losses = { 0 };
            sy_tape_reset(&b->tape);
            b->tape.record = pass == 1;
            sy_tensor *loss = forward(b, pass ? SY_TRAIN : SY_COUNT_PASS, 0, (uint64_t)b->step * (uint64_t)b->o.batch_size + (uint64_t)(i * n), n, i, b->o.micro_batches, &losses, NULL, NULL);
            SY_TRY(sy_tape_status(&b->tape, err));
            if (pass && !i) b->trained *= b->step ? 0.99 : 0;
            if (pass) b->trained += (b->step ? 0.01 : 1) * (double)loss->x[0] / b->o.micro_batches;
            for (int l = 0; l < losses.n; l++) loss = sy_add(&b->tape, loss, losses.l[l].value);
            if (pass) SY_TRY(sy_backward(&b->tape, sy_affine(&b->tape, loss, 1.0 / b->o.micro_batches, 0), err));
            SY_TRY(sy_tape_status(&b->tape, err));
            b->madds += b->tape.madds;
            b->tape.madds = 0;
        }
    sy_optim_step(b->c->eng, &b->params, o, o->lr, b->step + 1, 1);
    SY_TRY(sy_block_after(&b->block, b->at, b->o.steps, b->progress, err));
    b->step++;
    return SY_OK;
}

static void side_metrics(sy_trial_result *out, const sides *k, const char *plain, const char *hard)
{
    const char *const name[] = { plain, hard };
    for (int h = 0; h < 2; h++) {
        char text[48];
        if (!k->tokens[h]) continue;
        snprintf(text, sizeof text, "experts_%s", name[h]);
        sy_metric_add(out, text, (double)k->slots[h] / (double)k->tokens[h]);
        snprintf(text, sizeof text, "loss_%s", name[h]);
        sy_metric_add(out, text, k->error[h] / (double)k->tokens[h]);
    }
}

static sy_status measure(bed *b, sy_trial_result *out, sy_err *err)
{
    sy_stats s;
    sides kinds = { 0 };
    bool causal = !(b->block.flags & SY_NOSERVE);
    int n = causal ? HELD_OUT : b->o.batch_size;
    double mse = 0, load = 0;
    SY_TRY(sy_stats_init(&s, b->o.num_experts, b->o.zero_experts, DOMAINS, &b->arena, err));
    b->tape.record = false;
    b->tape.madds = 0;
    for (int from = 0; from < HELD_OUT; from += n) {
        int m = HELD_OUT - from < n ? HELD_OUT - from : n;
        sy_tape_reset(&b->tape);
        sy_tensor *loss = forward(b, causal ? SY_SERVE : SY_EVAL, 1, (uint64_t)from, m, 0, 1, NULL, &s, &kinds);
        SY_TRY(sy_tape_status(&b->tape, err));
        mse += (double)loss->x[0] * m / HELD_OUT;
    }
    for (int e = 0; e < s.E; e++) load += (double)s.load[e];
    sy_metric_add(out, "loss", mse);
    sy_metric_add(out, "train_loss", b->trained);
    if (s.tokens) {
        int64_t least = s.load[0];
        for (int e = 1; e < s.E; e++) if (s.load[e] < least) least = s.load[e];
        sy_metric_add(out, "maxvio", sy_stats_maxvio(&s));
        sy_metric_add(out, "specialisation", sy_stats_specialisation(&s));
        sy_metric_add(out, "experts_per_token", load / HELD_OUT);
        sy_metric_add(out, "least_share", load > 0 ? (double)least * s.E / load : 0);
    }
    sy_metric_add(out, "flops_per_token", 2 * (double)b->tape.madds / HELD_OUT);
    sy_metric_add(out, "train_flops_per_token", 2 * (double)b->madds / ((double)b->step * b->o.batch_size));
    sy_metric_add(out, "parameters", sy_bed_parameters(&b->params));
    for (int k = 1; b->o.slim && k <= b->o.num_experts && k <= 9; k++) {
        sy_override over = { .k = k };
        char name[24];
        b->over = &over;
        sy_tape_reset(&b->tape);
        sy_tensor *loss = forward(b, SY_SERVE, 1, 0, HELD_OUT, 0, 1, NULL, NULL, NULL);
        b->over = NULL;
        SY_TRY(sy_tape_status(&b->tape, err));
        snprintf(name, sizeof name, "loss_k%d", k);
        sy_metric_add(out, name, (double)loss->x[0]);
    }
    if (b->o.variant == BLEND) side_metrics(out, &kinds, "single", "blend");
    if (b->o.variant == EASY) side_metrics(out, &kinds, "easy", "hard");
    sy_metric_add(out, "train_gmadds", (double)b->madds / 1e9);
    return SY_OK;
}

/* Splits text at '+' into out; at most SY_MAX_TERMS pieces. */
static sy_status terms(bed *b, const char *text, const char **out, int *n, sy_err *err)
{
    for (const char *p = text; *p; p += strspn(p, "+")) {
        size_t len = strcspn(p, "+");
        if (*n == SY_MAX_TERMS) return sy_fail(err, SY_EARG, "bed cr: more than %d terms in '%s'", SY_MAX_TERMS, text);
        if (!(out[(*n)++] = sy_arena_printf(&b->arena, "%.*s", (int)len, p))) return sy_fail(err, SY_ENOMEM, "no memory for the terms of a block");
        p += len;
    }
    return SY_OK;
}

static sy_status open_block(bed *b, sy_err *err)
{
    sy_block_spec spec = { .router = b->o.router, .expert = "cr-linear", .zero = b->o.zero_experts ? b->o.zero_expert : NULL, .D = X, .F = O, .E = b->o.num_experts,
                           .Z = b->o.zero_experts, .routed_scale = 1 };
    sy_site site = { .layer = 0, .nth = 0, .n_sparse = 1, .D = X, .F = O, .E = b->o.num_experts, .Z = b->o.zero_experts, .V = b->o.ids ? b->o.ids * DOMAINS : 1, .init_std = 0.02 };
    SY_TRY(terms(b, b->o.balance, spec.balance, &spec.n_balance, err));
    SY_TRY(terms(b, b->o.edit, spec.edit, &spec.n_edit, err));
    b->params = (sy_params){ .arena = &b->arena, .train = true, .fresh = true };
    SY_TRY(sy_block_init(&b->block, &spec, &site, &b->c->eng->methods, &b->params, b->seed, err));
    int64_t *count = sy_arena_array(&b->arena, (size_t)site.V, sizeof *count);                  /* of ids in a text of 4096 tokens */
    if (!count) return sy_fail(err, SY_ENOMEM, "no memory for the counts of %d ids", site.V);
    sy_real x[X], y[O];
    bool hard;
    for (uint64_t n = 0; n < HELD_OUT; n++) {
        int domain = make_token(&b->k, 2, n, -1, x, y, &hard);
        count[b->o.ids ? domain * b->o.ids + (int)sy_draw_below(sy_key(b->k.seed, SY_FOR_DATA, 3, 2, n), 0, 0, (uint64_t)b->o.ids) : 0]++;
    }
    return sy_block_learn(&b->block, site.V, count, NULL, err);
}

static sy_status run(bed *b, const sy_trial *trial, sy_trial_result *out, sy_err *err)
{
    SY_TRY(sy_bed_settings("cr", cr_opts, &b->o, trial->settings, &b->arena, err));
    b->o.steps = sy_budget_steps(trial, b->o.steps);
    if (b->o.batch_size % b->o.micro_batches) return sy_fail(err, SY_EARG, "bed cr: batch_size %d is not a multiple of micro_batches %d", b->o.batch_size, b->o.micro_batches);
    make_task(&b->k, b->o.variant, trial->seed);
    SY_TRY(open_block(b, err));
    sy_tape_init(&b->tape, b->c->eng, true);
    sy_optim o;
    sy_opt_defaults(sy_optim_opts, &o);
    o.lr = b->o.lr * trial->lr_scale, o.beta2 = 0.999, o.weight_decay = 0, o.adam_eps = 1e-8;
    while (b->gmadds ? (double)b->madds < 1e9 * b->gmadds : b->step < b->o.steps) {
        SY_TRY(sy_within(err, one_step(b, &o, err), "bed cr, step %lld", (long long)b->step));
        if (b->c->stop && b->c->stop(b->c->arg)) return sy_fail(err, SY_ESTOP, "stopped");
    }
    look_at_clock(b);
    return measure(b, out, err);
}

sy_status sy_bed_cr(const sy_bed_context *c, const sy_trial *trial, sy_trial_result *out, sy_err *err)
{
    sy_err ignored;
    bed *b = sy_calloc(1, sizeof *b);
    if (!b) return sy_fail(err, SY_ENOMEM, "no memory for bed cr");
    b->c = c;
    b->seed = trial->seed, b->gmadds = trial->gmadds;
    sy_engine_register(c->eng, &linear_expert, &ignored);           /* there already from the run before: fine */
    sy_status st = run(b, trial, out, err);
    sy_tape_free(&b->tape);
    sy_arena_free(&b->arena);
    sy_free(b);
    return st;
}
