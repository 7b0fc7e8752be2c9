/* infer/steering.c - counting, and choosing. */
#include "infer/steering.h"

#include <string.h>

const sy_opt sy_steering_opts[] = {
    SY_REAL(sy_steering_options, tau, NULL, 0.3, 0, 1, "an expert is chosen when its share of tokens is so much larger on the task"),
    SY_INT (sy_steering_options, count, NULL, 0, 0, 1024, "instead of tau: so many experts of each layer, those that gain most; 0 = by tau"),
    SY_INT (sy_steering_options, first_layer, "start", 0, 0, 1 << 20, "first layer, with last_layer"),
    SY_INT (sy_steering_options, last_layer, "end", 0, 0, 1 << 20, "last layer; 0 = the middle third of the sparse layers"),
    SY_BOOL(sy_steering_options, down, NULL, false, "choose experts to be pushed down, too: those used less on the task by tau"),
    { 0 }
};

static sy_status frequencies(sy_steering *s, sy_model *m, const sy_data *d, int rows, bool (*stop)(void *arg), void *arg, double *out, sy_arena *a, sy_err *err)
{
    sy_evaluation e;
    SY_TRY(sy_evaluate(m, d, rows, &(sy_eval_hooks){ .stop = stop, .arg = arg }, &e, a, err));
    for (int l = 0; l < s->layers; l++)
        for (int c = 0; c < s->cols; c++) out[(size_t)l * s->cols + c] = e.stats[l].tokens ? (double)e.stats[l].load[c] / (double)e.stats[l].tokens : 0;
    return SY_OK;
}

sy_status sy_steering_measure(sy_steering *s, sy_model *m, const sy_data *task, const sy_data *general, int rows, bool (*stop)(void *arg), void *arg, sy_arena *a, sy_err *err)
{
    if (!m->n_sparse) return sy_fail(err, SY_EUNSUP, "this model is dense: it has no experts to choose from");
    sy_steering made = { .layers = m->n_sparse, .cols = m->spec.num_experts + m->spec.zero_experts };
    size_t n = (size_t)made.layers * (size_t)made.cols;
    made.layer = sy_arena_array(a, (size_t)made.layers, sizeof *made.layer);
    made.task = sy_arena_array(a, n, sizeof *made.task);
    made.general = sy_arena_array(a, n, sizeof *made.general);
    if (!made.layer || !made.task || !made.general) return sy_fail(err, SY_ENOMEM, "no memory for the frequencies of %d experts in %d layers", made.cols, made.layers);
    for (int l = 0; l < made.layers; l++) {
        const sy_block *b = sy_model_block(m, l);
        if (b->flags & SY_MIXES) return sy_fail(err, SY_EUNSUP, "router %s declares that it mixes tokens instead of routing them: no expert is used more than another", b->router.m->name);
        made.layer[l] = b->site.layer;
    }
    SY_TRY(sy_within(err, frequencies(&made, m, task, rows, stop, arg, made.task, a, err), "the task"));
    SY_TRY(sy_within(err, frequencies(&made, m, general, rows, stop, arg, made.general, a, err), "the other text"));
    *s = made;
    return SY_OK;
}

static double gain(const sy_steering *s, int l, int e) { return s->task[(size_t)l * s->cols + e] - s->general[(size_t)l * s->cols + e]; }

/* How many experts of the layer come before e by sign * gain; ties to the lower index. */
static int before(const sy_steering *s, int l, int e, int sign)
{
    int n = 0;
    for (int c = 0; c < s->cols; c++) n += sign * gain(s, l, c) > sign * gain(s, l, e) || (gain(s, l, c) == gain(s, l, e) && c < e);
    return n;
}

sy_status sy_steering_choose(const sy_steering *s, const sy_steering_options *o, int most, sy_buf *out, sy_err *err)
{
    int from = s->layer[s->layers / 3], to = s->layer[(2 * s->layers - 1) / 3];
    if (o->last_layer) from = o->first_layer, to = o->last_layer;
    if (from > to) return sy_fail(err, SY_EARG, "first_layer %d lies behind last_layer %d", from, to);
    sy_buf_clear(out);
    for (int l = 0; l < s->layers; l++)
        for (int e = 0; e < s->cols && s->layer[l] >= from && s->layer[l] <= to; e++)
            for (int sign = 1; sign >= (o->down ? -1 : 1); sign -= 2) {
                double by = sign * gain(s, l, e);
                int rank = before(s, l, e, sign);
                if (!(by > 0) || (o->count ? rank >= o->count : by < o->tau) || (sign > 0 && most && rank >= most)) continue;
                sy_buf_printf(out, "%s%d.%s%d", out->n ? "+" : "", s->layer[l], sign < 0 ? "-" : "", e);
            }
    sy_buf_put(out, "", 0);
    return out->failed ? sy_fail(err, SY_ENOMEM, "no memory for a list of experts") : SY_OK;
}
