/* infer/observe.c - held-out text, window by window. */
#include "infer/observe.h"

typedef struct watching { sy_model *m; const sy_data *d; const sy_observe_options *o; sy_analysis *a; int docs; int64_t left; double done, all; } watching;

static int64_t wanted(const watching *w, int domain)
{
    int64_t n = sy_data_domain(w->d, domain)->eval_tokens;
    return w->o->most_tokens && w->o->most_tokens < n ? w->o->most_tokens : n;
}

static sy_status batch(watching *w, sy_tape *t, const sy_batch *b, int domain, sy_err *err)
{
    sy_route **routes = sy_tape_alloc(t, (size_t)w->m->n_sparse + 1, sizeof *routes);
    if (!routes) return sy_tape_status(t, err);
    sy_run run = { .mode = SY_SERVE, .routes = routes };
    sy_model_hidden(w->m, t, b, &run);
    SY_TRY(sy_tape_status(t, err));
    for (int s = 0; s < b->n_seg && w->left > 0; s++) {
        const sy_segment *seg = &b->seg[s];
        int n = seg->n < w->left ? seg->n : (int)w->left;
        SY_TRY(sy_analysis_add(w->a, routes, seg->row, b->id + seg->row, n, 0, w->docs++, domain, err));
        w->left -= n;
        w->done += n;
    }
    return SY_OK;
}

static sy_status one_domain(watching *w, sy_tape *t, int domain, sy_err *err)
{
    sy_eval it;
    w->left = wanted(w, domain);
    SY_TRY(sy_eval_start(&it, w->d, domain, w->o->rows, err));
    while (w->left > 0) {
        sy_batch b;
        bool more;
        sy_tape_reset(t);
        SY_TRY(sy_eval_next(&it, &t->arena, &b, &more, err));
        if (!more) break;
        SY_TRY(batch(w, t, &b, domain, err));
        if (w->o->seen && !w->o->seen(w->o->arg, w->done, w->all)) return sy_fail(err, SY_ESTOP, "stopped while %s was read", sy_data_domain(w->d, domain)->name);
    }
    return SY_OK;
}

sy_status sy_observe(sy_model *m, const sy_data *d, const sy_observe_options *o, sy_analysis *a, sy_err *err)
{
    watching w = { .m = m, .d = d, .o = o, .a = a };
    sy_tape t;
    sy_status st = SY_OK;
    for (int i = 0; i < sy_data_domains(d); i++) w.all += (double)wanted(&w, i);
    if (w.all <= 0) return sy_fail(err, SY_EARG, "there is no text to analyse");
    sy_tape_init(&t, m->eng, false);
    for (int i = 0; i < sy_data_domains(d) && st == SY_OK; i++) if (wanted(&w, i)) st = one_domain(&w, &t, i, err);
    sy_tape_free(&t);
    return st;
}
