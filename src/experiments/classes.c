/* experiments/classes.c - the bed "classes": few points of five classes, for methods that train experts to agree.
 *
 * Centres 0.8 N(0,I) in R^16, unit noise around them; 300 training points, 4000 held out. Experts 16 -> 32 -> 5, ReLU, with biases, under any router; Adam 1e-3, 1500 steps of 32 points.
 * With consistency >= 0 every batch is run twice, as by the objective thor: both cross-entropies, and consistency / 2 times the symmetric divergence of the two outputs. Held out, in
 * serving mode, each point by every expert alone: loss is the mean cross-entropy over experts, accuracy likewise, divergence the mean symmetric divergence over pairs of experts;
 * loss_ensemble is that of the experts' mean logits. A router that is trained is measured by its own choice instead (loss_served; loss is the same then). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "experiments/bed.h"
#include "route/block.h"
#include "train/optim.h"

enum { D = 16, H = 32, C = 5, TRAINED = 300, HELD_OUT = 4000, CHUNK = 500 };

typedef struct classes_options { int steps, batch_size, num_experts; double consistency, lr; const char *router; } classes_options;

static const sy_opt classes_opts[] = {
    SY_INT (classes_options, steps, NULL, 1500, 1, 1 << 24, "optimiser steps"),
    SY_INT (classes_options, batch_size, NULL, 32, 1, 1 << 12, "points of a step"),
    SY_INT (classes_options, num_experts, NULL, 4, 1, 64, "experts"),
    SY_REAL(classes_options, consistency, NULL, -1, -1, 1e6, "weight of the divergence between two passes; -1: one pass"),
    SY_REAL(classes_options, lr, NULL, 1e-3, 0, 10, "learning rate"),
    SY_TEXT(classes_options, router, NULL, "thor", "router"),
    { 0 }
};

/* --- the expert kind of this bed ---------------------------------------------------------------------------------------------------- */

typedef struct mlp_state { sy_param *up, *up_bias, *down, *down_bias; } mlp_state;

static sy_status mlp_params(void *s, const sy_site *at, int E, sy_own *own, sy_err *err)
{
    mlp_state *l = s;
    l->up = sy_own_param(own, "{e}.up.weight", 0, false, 1 / sqrt(D), SY_DIM(E, H, at->D));
    l->up_bias = sy_own_param(own, "{e}.up.bias", 0, false, 0, SY_DIM(E, H));
    l->down = sy_own_param(own, "{e}.down.weight", 0, false, 1 / sqrt(H), SY_DIM(E, C, H));
    l->down_bias = sy_own_param(own, "{e}.down.bias", 0, false, 0, SY_DIM(E, C));
    return l->up && l->up_bias && l->down && l->down_bias ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory for the experts");
}

static sy_tensor *mlp_run(void *s, sy_tape *t, const sy_site *at, sy_tensor *x, const int *first, int E)
{
    mlp_state *l = s;
    (void)at, (void)E;
    sy_tensor *h = sy_activate(t, SY_ACT_RELU, sy_add_bias_grouped(t, sy_grouped(t, x, &l->up->w, first), &l->up_bias->leaf, first));
    return sy_add_bias_grouped(t, sy_grouped(t, h, &l->down->w, first), &l->down_bias->leaf, first);
}

static const sy_method mlp_expert = {
    .kind = SY_EXPERT, .name = "classes-mlp", .title = "two matrices with biases", .size = sizeof(mlp_state),
    .hooks = &(const sy_expert_hooks){ .abi = SY_ROUTER_ABI, .params = mlp_params, .run = mlp_run },
};

/* --- points ---------------------------------------------------------------------------------------------------------------------------- */

typedef struct bed {
    const sy_bed_context *c;
    classes_options o;
    double     centre[C][D];
    sy_real    one[C * C];              /* the identity: experts give logits themselves */
    sy_weight  head;
    sy_block   block;
    sy_arena   arena;
    sy_params  params;
    sy_tape    tape;
    uint64_t   seed;
    int64_t    step;
} bed;

static int make_point(const bed *b, uint64_t n, sy_real *x)
{
    uint64_t key = sy_key(b->seed, SY_FOR_DATA, 12, n, 0);
    int c = (int)sy_draw_below(key, 0, 1, C);
    for (int d = 0; d < D; d++) x[d] = (sy_real)(b->centre[c][d] + sy_draw_normal(key, (uint64_t)d, 0));
    return c;
}

/* Logits [n,C] of points point[0..n-1]; their classes go to label. */
static sy_tensor *forward(bed *b, sy_mode mode, const uint64_t *point, int n, int pass, int n_pass, int *label)
{
    sy_tape *t = &b->tape;
    sy_tensor *x = sy_new(t, SY_DIM(n, D));
    int *pos = sy_tape_alloc(t, (size_t)n, sizeof *pos), *seq = sy_tape_alloc(t, (size_t)n, sizeof *seq);
    uint64_t *key = sy_tape_alloc(t, (size_t)n, sizeof *key);
    if (t->status != SY_OK) return &t->empty;
    for (int i = 0; i < n; i++) {
        label[i] = make_point(b, point[i], x->x + (size_t)i * D);
        seq[i] = i;
        key[i] = sy_key(b->seed, SY_FOR_ROUTE, point[i], 0, (uint64_t)pass);
    }
    sy_route_in in = { .mode = mode, .T = n, .x = x, .pos = pos, .seq = seq, .label = label, .key = key, .n_seq = n, .step = b->step, .steps = b->o.steps, .progress = (double)b->step / b->o.steps,
                       .batch_key = sy_key(b->seed, SY_FOR_ROUTE_BATCH, (uint64_t)b->step, (uint64_t)pass, 0), .n_micro = 1, .pass = pass, .n_pass = n_pass };
    return sy_block_run(&b->block, t, in, NULL, NULL, NULL);
}

static sy_status one_step(bed *b, const sy_optim *o, sy_err *err)
{
    sy_tape *t = &b->tape;
    int n = b->o.batch_size, passes = b->o.consistency >= 0 ? 2 : 1;
    SY_TRY(sy_block_before(&b->block, b->step, b->o.steps, (double)b->step / b->o.steps, err));
    sy_grad_zero(b->c->eng, &b->params);
    sy_tape_reset(t);
    uint64_t *point = sy_tape_alloc(t, (size_t)n, sizeof *point);
    int *label = sy_tape_alloc(t, (size_t)n, sizeof *label);
    SY_TRY(sy_tape_status(t, err));
    for (int i = 0; i < n; i++) point[i] = sy_draw_below(sy_key(b->seed, SY_FOR_SHUFFLE, 12, (uint64_t)b->step, 0), (uint64_t)i, 0, TRAINED);
    sy_tensor *z[2], *loss = NULL;
    for (int p = 0; p < passes; p++) {
        z[p] = forward(b, SY_TRAIN, point, n, p, passes, label);
        sy_tensor *one = sy_cross_entropy(t, z[p], &b->head, label, &(sy_xent){ .scale = 1.0 / n });
        loss = p ? sy_add(t, loss, one) : one;
    }
    if (b->o.consistency > 0) loss = sy_add(t, loss, sy_symmetric_kl(t, z[0], z[1], &b->head, label, &(sy_divergence){ .scale = 0.5 * b->o.consistency / n }));
    SY_TRY(sy_tape_status(t, err));
    SY_TRY(sy_backward(t, loss, err));
    sy_optim_step(b->c->eng, &b->params, o, o->lr, b->step + 1, 1);
    SY_TRY(sy_block_after(&b->block, b->step, b->o.steps, (double)b->step / b->o.steps, err));
    b->step++;
    return SY_OK;
}

/* --- measuring -------------------------------------------------------------------------------------------------------------------------- */

static void log_softmax(const sy_real *z, double *out)
{
    double most = -INFINITY, sum = 0;
    for (int c = 0; c < C; c++) most = fmax(most, (double)z[c]);
    for (int c = 0; c < C; c++) sum += exp((double)z[c] - most);
    for (int c = 0; c < C; c++) out[c] = (double)z[c] - most - log(sum);
}

typedef struct sums { double loss, right, divergence, ensemble; } sums;

/* Points of one chunk by every expert alone: z [E][n, C]. */
static void add_chunk(const bed *b, sy_tensor *const *z, const int *label, int n, sums *s)
{
    int E = b->o.num_experts;
    for (int i = 0; i < n; i++) {
        double l[64][C], mean[C];
        sy_real avg[C];
        for (int c = 0; c < C; c++) avg[c] = 0;
        for (int e = 0; e < E; e++) {
            const sy_real *row = z[e]->x + (size_t)i * C;
            int best = 0;
            log_softmax(row, l[e]);
            for (int c = 0; c < C; c++) {
                if (row[c] > row[best]) best = c;
                avg[c] += row[c] / (sy_real)E;
            }
            s->loss -= l[e][label[i]] / E;
            s->right += (best == label[i]) / (double)E;
            for (int f = 0; f < e; f++)
                for (int c = 0; c < C; c++) s->divergence += (exp(l[e][c]) - exp(l[f][c])) * (l[e][c] - l[f][c]) * 2 / (E * (E - 1.0));
        }
        log_softmax(avg, mean);
        s->ensemble -= mean[label[i]];
    }
}

static sy_status measure(bed *b, sy_trial_result *out, sy_err *err)
{
    sy_tape *t = &b->tape;
    sums s = { 0 };
    double served = 0, right = 0;
    bool trained = b->block.gate != NULL;
    t->record = false;
    for (int from = 0; from < HELD_OUT; from += CHUNK) {
        uint64_t point[CHUNK];
        int label[CHUNK], first[65];
        sy_tensor *z[64];
        for (int i = 0; i < CHUNK; i++) point[i] = TRAINED + (uint64_t)(from + i);
        sy_tape_reset(t);
        sy_tensor *own = forward(b, SY_SERVE, point, CHUNK, 0, 1, label), *x = sy_new(t, SY_DIM(CHUNK, D));
        SY_TRY(sy_tape_status(t, err));
        for (int i = 0; i < CHUNK; i++) make_point(b, point[i], x->x + (size_t)i * D);
        for (int e = 0; e < b->o.num_experts; e++) {
            for (int f = 0; f <= b->o.num_experts; f++) first[f] = f > e ? CHUNK : 0;
            z[e] = mlp_run(b->block.expert.s, t, &b->block.site, x, first, b->o.num_experts);
        }
        SY_TRY(sy_tape_status(t, err));
        add_chunk(b, z, label, CHUNK, &s);
        for (int i = 0; i < CHUNK; i++) {
            double l[C];
            int best = 0;
            log_softmax(own->x + (size_t)i * C, l);
            for (int c = 1; c < C; c++) if (l[c] > l[best]) best = c;
            served -= l[label[i]];
            right += best == label[i];
        }
    }
    sy_metric_add(out, "loss", (trained ? served : s.loss) / HELD_OUT);
    sy_metric_add(out, "accuracy", (trained ? right : s.right) / HELD_OUT);
    sy_metric_add(out, "divergence", s.divergence / HELD_OUT);
    sy_metric_add(out, "loss_served", served / HELD_OUT);
    sy_metric_add(out, "loss_ensemble", s.ensemble / HELD_OUT);
    return SY_OK;
}

static sy_status run(bed *b, const sy_trial *trial, sy_trial_result *out, sy_err *err)
{
    SY_TRY(sy_bed_settings("classes", classes_opts, &b->o, trial->settings, &b->arena, err));
    b->o.steps = sy_budget_steps(trial, b->o.steps);
    for (int c = 0; c < C; c++) for (int d = 0; d < D; d++) b->centre[c][d] = 0.8 * sy_draw_normal(sy_key(b->seed, SY_FOR_DATA, 11, 0, 0), (uint64_t)(c * D + d), 0);
    for (int c = 0; c < C; c++) b->one[c * C + c] = 1;
    b->head = (sy_weight){ .type = SY_W_REAL, .nd = 2, .dim = { C, C }, .data = b->one };
    b->params = (sy_params){ .arena = &b->arena, .train = true, .fresh = true };
    sy_block_spec spec = { .router = b->o.router, .expert = "classes-mlp", .D = D, .F = H, .E = b->o.num_experts, .routed_scale = 1 };
    sy_site site = { .n_sparse = 1, .V = 1, .init_std = 0.02 };
    SY_TRY(sy_block_init(&b->block, &spec, &site, &b->c->eng->methods, &b->params, b->seed, err));
    sy_tape_init(&b->tape, b->c->eng, true);
    sy_optim o;
    sy_opt_defaults(sy_optim_opts, &o);
    o.lr = b->o.lr * trial->lr_scale, o.beta2 = 0.999, o.weight_decay = 0, o.adam_eps = 1e-8;
    while (b->step < b->o.steps) {
        SY_TRY(sy_within(err, one_step(b, &o, err), "bed classes, step %lld", (long long)b->step));
        if (b->c->stop && b->c->stop(b->c->arg)) return sy_fail(err, SY_ESTOP, "stopped");
    }
    return measure(b, out, err);
}

sy_status sy_bed_classes(const sy_bed_context *c, const sy_trial *trial, sy_trial_result *out, sy_err *err)
{
    sy_err ignored;
    bed *b = sy_calloc(1, sizeof *b);
    if (!b) return sy_fail(err, SY_ENOMEM, "no memory for bed classes");
    b->c = c;
    b->seed = trial->seed;
    sy_engine_register(c->eng, &mlp_expert, &ignored);              /* there already from the run before: fine */
    sy_status st = run(b, trial, out, err);
    sy_tape_free(&b->tape);
    sy_arena_free(&b->arena);
    sy_free(b);
    return st;
}
