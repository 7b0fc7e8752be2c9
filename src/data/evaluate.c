/* data/evaluate.c - a pass over the held-out text. */
#include "data/evaluate.h"

#include <string.h>

/* Sums the losses of one batch in token order. */
static sy_status one_batch(sy_model *m, sy_tape *t, const sy_batch *b, const sy_run *run, sy_eval_line *line, sy_err *err)
{
    sy_real *nll = sy_tape_alloc(t, (size_t)b->T, sizeof *nll);
    sy_tensor *h = sy_model_hidden(m, t, b, run);
    sy_model_loss(m, t, h, b->label, &(sy_xent){ .scale = 1, .nll = nll });
    SY_TRY(sy_tape_status(t, err));
    for (int i = 0; i < b->T; i++)
        if (b->label[i] >= 0) line->nats += (double)nll[i];
    return SY_OK;
}

static sy_status one_domain(sy_model *m, sy_tape *t, const sy_data *d, int domain, int rows, const sy_eval_hooks *h, sy_stats *stats, sy_eval_line *line, sy_err *err)
{
    sy_eval it;
    SY_TRY(sy_eval_start(&it, d, domain, rows, err));
    for (bool more = true; ; ) {
        sy_batch b;
        sy_tape_reset(t);
        SY_TRY(sy_eval_next(&it, &t->arena, &b, &more, err));
        if (!more) break;
        sy_route **routes = sy_tape_alloc(t, (size_t)m->n_sparse + 1, sizeof *routes);
        if (!routes) return sy_tape_status(t, err);
        sy_run run = { .mode = SY_SERVE, .stats = stats, .routes = routes, .over = h ? h->over : NULL, .recompute = true };
        SY_TRY(one_batch(m, t, &b, &run, line, err));
        if (h && h->seen) h->seen(h->arg, &b, routes);
        if (h && h->stop && h->stop(h->arg)) return sy_fail(err, SY_ESTOP, "stopped while evaluating %s", line->name);
    }
    line->tokens = it.tokens;
    line->bytes = it.bytes;
    return SY_OK;
}

sy_status sy_evaluate(sy_model *m, const sy_data *d, int rows, const sy_eval_hooks *hooks, sy_evaluation *out, sy_arena *a, sy_err *err)
{
    int domains = sy_data_domains(d);
    sy_tape t;
    sy_status st = SY_OK;
    *out = (sy_evaluation){ .line = sy_arena_array(a, (size_t)domains + 1, sizeof *out->line) };
    if (m->n_sparse) out->stats = sy_arena_array(a, (size_t)m->n_sparse, sizeof *out->stats);
    if (!out->line || (m->n_sparse && !out->stats)) return sy_fail(err, SY_ENOMEM, "no memory to evaluate %d domains", domains);
    for (int i = 0; i < m->n_sparse; i++) SY_TRY(sy_stats_init(&out->stats[i], m->spec.num_experts, m->spec.zero_experts, domains, a, err));
    sy_tape_init(&t, m->eng, false);
    sy_eval_line all = { .name = "all" };
    for (int i = 0; i < domains && st == SY_OK; i++) {
        const sy_domain *dom = sy_data_domain(d, i);
        if (!dom->eval_tokens) continue;
        sy_eval_line *line = &out->line[out->lines++];
        *line = (sy_eval_line){ .name = dom->name };
        st = one_domain(m, &t, d, i, rows, hooks, out->stats, line, err);
        all.tokens += line->tokens;
        all.bytes += line->bytes;
        all.nats += line->nats;
    }
    out->madds = t.madds;
    out->bytes = t.arena.high + t.part.high;
    sy_tape_free(&t);
    SY_TRY(st);
    if (!out->lines) return sy_fail(err, SY_EARG, "no text is held out; give --eval-data or a val_fraction above 0");
    out->line[out->lines++] = all;
    return SY_OK;
}
