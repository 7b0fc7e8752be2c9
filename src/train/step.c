/* train/step.c - the only place where losses are added and scaled. */
#include "train/step.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"

void sy_stepper_close(sy_stepper *s)
{
    sy_tape_free(&s->tape);
    sy_arena_free(&s->rows);
    sy_arena_free(&s->notes);
}

sy_status sy_stepper_learn(sy_stepper *s, sy_err *err)
{
    int vocab = s->model->spec.vocab_size;
    if (!sy_model_learns(s->model)) return SY_OK;
    int64_t *count = s->data ? sy_calloc((size_t)vocab, sizeof *count) : NULL;
    if (s->data && !count) return sy_fail(err, SY_ENOMEM, "no memory to count the %d ids of the vocabulary", vocab);
    sy_status st = s->data ? sy_data_count_ids(s->data, count, vocab, err) : SY_OK;
    if (st == SY_OK) st = sy_model_learn(s->model, count, err);
    sy_free(count);
    return st;
}

static int64_t counted(const sy_batch *b)
{
    int64_t n = 0;
    for (int t = 0; t < b->T; t++) n += b->label[t] >= 0;
    return n;
}

typedef struct notes {                  /* what is added up over the micro-batches of a step */
    sy_arena *a;
    int       room;                     /* of out->aux */
    double   *nats;                     /* [domains] sums over counted tokens, and their number */
    int64_t  *counted;
} notes;

static sy_status notes_open(notes *k, sy_stepper *s, sy_err *err)
{
    size_t n = s->data ? (size_t)sy_data_domains(s->data) : 0;
    sy_arena_reset(&s->notes);
    *k = (notes){ .a = &s->notes, .nats = sy_arena_array(&s->notes, n + 1, sizeof *k->nats), .counted = sy_arena_array(&s->notes, n + 1, sizeof *k->counted) };
    return k->nats && k->counted ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory for the losses of %zu domains", n);
}

static sy_status note_aux(notes *k, sy_step_result *out, const sy_losses *l, double share, sy_err *err)
{
    for (int i = 0; i < l->n; i++) {
        int at = 0;
        while (at < out->n_aux && strcmp(out->aux[at].name, l->l[i].name)) at++;
        if (at == out->n_aux) {
            if (at == k->room) {
                k->room = k->room ? 2 * k->room : 16;
                sy_aux *more = sy_arena_array(k->a, (size_t)k->room, sizeof *more);
                if (!more) return sy_fail(err, SY_ENOMEM, "no memory for %d auxiliary losses", k->room);
                if (at) memcpy(more, out->aux, (size_t)at * sizeof *more);
                out->aux = more;
            }
            if (!(out->aux[at].name = sy_arena_strdup(k->a, l->l[i].name))) return sy_fail(err, SY_ENOMEM, "no memory for the name of a loss");
            out->aux[at].value = 0;
            out->n_aux++;
        }
        out->aux[at].value += share * (double)l->l[i].value->x[0];
    }
    return SY_OK;
}

static void note_domains(notes *k, const sy_batch *b, const sy_real *nll, int pass, int passes)
{
    for (int t = 0; t < b->T; t++) {
        if (b->label[t] < 0) continue;
        k->nats[b->domain[t]] += (double)nll[t] / passes;
        k->counted[b->domain[t]] += pass == 0;
    }
}

static sy_status notes_close(notes *k, const sy_stepper *s, sy_step_result *out, sy_err *err)
{
    int n = s->data ? sy_data_domains(s->data) : 0;
    out->domain = sy_arena_array(k->a, (size_t)n + 1, sizeof *out->domain);
    if (!out->domain) return sy_fail(err, SY_ENOMEM, "no memory for the losses of %d domains", n);
    for (int d = 0; d < n; d++)
        if (k->counted[d]) out->domain[out->n_domain++] = (sy_aux){ sy_data_domain(s->data, d)->name, k->nats[d] / (double)k->counted[d] };
    return SY_OK;
}

/* What the objectives add to `loss`; hidden states and routes of all passes stand on the tape. */
static sy_tensor *objectives(sy_stepper *s, const sy_objective_in *in, sy_tensor *loss, notes *k, sy_step_result *out)
{
    sy_tape *t = &s->tape;
    sy_losses more = { 0 };
    sy_err err;
    for (int i = 0; i < s->objectives.n && t->status == SY_OK; i++) {
        const sy_term *e = &s->objectives.term[i];
        sy_status st = ((const sy_objective_hooks *)e->m->hooks)->loss(e->s, t, in, &more, &err);
        if (st != SY_OK && t->status == SY_OK) sy_tape_fail(t, st, "objective %s: %s", e->m->name, err.text);
    }
    for (int i = 0; i < more.n; i++) loss = sy_add(t, loss, more.l[i].value);
    if (t->status == SY_OK && note_aux(k, out, &more, 1, &err) != SY_OK) sy_tape_fail(t, err.status, "%s", err.text);
    return loss;
}

/* Forward and backward of one micro-batch; adds its share of the loss to *out. */
static sy_status micro_batch(sy_stepper *s, const sy_batch *b, sy_run *run, notes *k, sy_step_result *out, sy_err *err)
{
    sy_tape *t = &s->tape;
    sy_losses losses = { 0 };
    int passes = sy_objectives_passes(&s->objectives);
    sy_tensor *hidden[SY_MAX_PASSES], *loss = NULL;
    sy_route **route[SY_MAX_PASSES];
    bool by_domain = s->data && b->domain;
    sy_tape_reset(t);
    t->bf16 = s->bf16;
    run->losses = &losses;
    run->n_pass = passes;
    for (int p = 0; p < passes; p++) {
        run->pass = p;
        run->routes = route[p] = s->objectives.n ? sy_tape_alloc(t, (size_t)s->model->n_sparse + 1, sizeof **route) : NULL;
        hidden[p] = sy_model_hidden(s->model, t, b, run);
        sy_real *nll = by_domain ? sy_tape_alloc(t, (size_t)b->T, sizeof *nll) : NULL;
        sy_xent x = { .scale = 1.0 / (double)out->counted, .smoothing = s->label_smoothing, .z_loss = s->z_loss, .nll = nll };
        sy_tensor *one = sy_model_loss(s->model, t, hidden[p], b->label, &x);
        SY_TRY(sy_tape_status(t, err));
        out->loss += (double)one->x[0] / passes;
        if (by_domain) note_domains(k, b, nll, p, passes);
        loss = p ? sy_add(t, loss, one) : one;
    }
    double share = (double)b->T / (double)out->tokens;
    for (int i = 0; i < losses.n; i++) loss = sy_add(t, loss, sy_affine(t, losses.l[i].value, share, 0));
    SY_TRY(note_aux(k, out, &losses, share / passes, err));
    const sy_objective_in in = { s->model, b, passes, hidden, (sy_route *const *const *)route, out->counted, out->sequences, run->step, s->steps };
    if (s->objectives.n) loss = objectives(s, &in, loss, k, out);
    SY_TRY(sy_backward(t, loss, err));
    return sy_model_whole(s->model, err);
}

static bool needs_count(const sy_model *m)
{
    for (int l = 0; l < m->spec.num_hidden_layers; l++)
        if (m->layer[l].sparse && m->layer[l].block.flags & SY_NEEDCOUNT) return true;
    return false;
}

/* Forward only over the step's rows, so that routers know the whole step's counts before any backward. */
static sy_status count_pass(sy_stepper *s, const sy_batch *b, sy_run run, sy_err *err)
{
    bool record = s->tape.record;
    s->tape.bf16 = s->bf16;
    s->tape.record = false;
    run.mode = SY_COUNT_PASS;
    run.losses = NULL;
    run.n_pass = sy_objectives_passes(&s->objectives);
    for (run.pass = 0; run.pass < run.n_pass; run.pass++) {
        if (!run.pass || s->tape.status == SY_OK) sy_tape_reset(&s->tape);
        sy_model_hidden(s->model, &s->tape, b, &run);
    }
    s->tape.record = record;
    return sy_tape_status(&s->tape, err);
}

/* Spent share of the budget, and the step that schedules are at then. */
static int64_t scheduled(const sy_stepper *s, double *progress)
{
    double work = s->most_madds ? fmin(1, (double)s->madds / (double)s->most_madds) : 0;
    *progress = s->most_madds ? work : s->steps ? (double)s->step / (double)s->steps : 0;
    return s->most_madds ? (int64_t)fmin(work * (double)s->steps + 1e-6, (double)s->steps - 1) : s->step;
}

static void forget(sy_stepper *s)
{
    for (int l = 0; l < s->model->spec.num_hidden_layers; l++)
        if (s->model->layer[l].sparse) sy_block_forget(&s->model->layer[l].block);
}

sy_status sy_stepper_batches(sy_stepper *s, const sy_batch *batch, int n, sy_step_result *out, sy_err *err)
{
    sy_engine *e = s->model->eng;
    sy_params *p = &s->model->params;
    double progress;
    int64_t at = scheduled(s, &progress);
    notes k;
    *out = (sy_step_result){ .lr = sy_lr_at(s->optim, at, s->steps) };
    SY_TRY(notes_open(&k, s, err));
    for (int i = 0; i < n; i++) {
        out->counted += counted(&batch[i]);
        out->tokens += batch[i].T;
        out->sequences += batch[i].n_seg;
    }
    if (!out->counted) return sy_fail(err, SY_EARG, "step %lld: none of its %lld tokens has a label; every token is masked", (long long)s->step, (long long)out->tokens);
    SY_TRY(sy_model_before(s->model, at, s->steps, progress, err));
    sy_grad_zero(e, p);
    sy_run run = { .mode = SY_TRAIN, .seed = s->seed, .step = at, .ahead = s->step - at, .steps = s->steps, .progress = progress, .n_micro = n, .recompute = s->recompute };
    for (int i = 0; i < n && needs_count(s->model); i++) {
        run.micro = i;
        SY_TRY(sy_within(err, count_pass(s, &batch[i], run, err), "step %lld", (long long)s->step));
    }
    for (int i = 0; i < n; i++) {
        run.micro = i;
        SY_TRY(sy_within(err, micro_batch(s, &batch[i], &run, &k, out, err), "step %lld", (long long)s->step));
    }
    SY_TRY(notes_close(&k, s, out, err));
    s->madds += s->tape.madds;
    s->tape.madds = 0;
    out->grad_norm = sy_grad_norm(e, p);
    if (isnan(out->grad_norm) && e->scratch[0].failed) return sy_fail(err, SY_ENOMEM, "step %lld: no memory for the norm of the gradients", (long long)s->step);
    if (!isfinite(out->loss) || !isfinite(out->grad_norm)) {
        out->skipped = true;
        out->broken = sy_grad_broken(p);
        forget(s);
    } else {
        double max = s->optim->max_grad_norm, clip = max > 0 && out->grad_norm > max ? max / out->grad_norm : 1;
        sy_optim_step(e, p, s->optim, out->lr, ++s->updates, clip);
        SY_TRY(sy_model_after(s->model, at, s->steps, progress, err));
    }
    s->step++;
    return SY_OK;
}

sy_status sy_stepper_run(sy_stepper *s, sy_step_result *out, sy_err *err)
{
    enum { MAX_MICRO = 1024 };
    int micro = s->micro_batch_size > 0 && s->micro_batch_size < s->batch_size ? s->micro_batch_size : s->batch_size;
    int n = (s->batch_size + micro - 1) / micro;
    sy_batch batch[MAX_MICRO];
    if (n > MAX_MICRO) return sy_fail(err, SY_EARG, "batch_size %d in micro-batches of %d gives %d of them; at most %d", s->batch_size, micro, n, MAX_MICRO);
    sy_arena_reset(&s->rows);
    for (int i = 0; i < n; i++) {
        int rows = i + 1 < n ? micro : s->batch_size - i * micro;
        SY_TRY(sy_data_rows(s->data, s->row + (int64_t)i * micro, rows, &s->rows, &batch[i], err));
    }
    SY_TRY(sy_stepper_batches(s, batch, n, out, err));
    s->row += s->batch_size;
    return SY_OK;
}
