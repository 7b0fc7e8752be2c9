/* infer/perplexity.c - chunks of a text through one model or two. */
#include "infer/perplexity.h"

#include <math.h>
#include <stdlib.h>

#include "core/alloc.h"

typedef struct sums { double nll, nll2, ref, kl, kl2; int64_t n, same; float *each; } sums;     /* each: KL of every place, with a reference */

/* Logits [rows,V] of the places first .. ctx-2 of one chunk. */
static sy_status chunk_logits(sy_model *m, sy_tape *t, const int *id, int ctx, int first, const sy_real **out, sy_err *err)
{
    int rows = ctx - 1 - first;
    sy_tape_reset(t);
    int *pos = sy_tape_alloc(t, (size_t)ctx, sizeof *pos), *seq = sy_tape_alloc(t, (size_t)ctx, sizeof *seq), *row = sy_tape_alloc(t, (size_t)rows, sizeof *row);
    SY_TRY(sy_tape_status(t, err));
    for (int i = 0; i < ctx; i++) pos[i] = i;
    for (int i = 0; i < rows; i++) row[i] = first + i;
    sy_segment seg = { .n = ctx };
    uint64_t no = 0;
    sy_batch b = { .T = ctx, .n_seg = 1, .id = id, .pos = pos, .seq = seq, .seg = &seg, .seq_no = &no };
    sy_run run = { .mode = SY_SERVE };
    sy_tensor *z = sy_model_logits(m, t, sy_model_hidden(m, t, &b, &run), row, rows);
    SY_TRY(sy_tape_status(t, err));
    *out = z->x;
    return SY_OK;
}

static double log_sum(const sy_real *z, int V, int *top)
{
    double most = -INFINITY, sum = 0;
    *top = 0;
    for (int v = 0; v < V; v++) if ((double)z[v] > most) most = (double)z[v], *top = v;
    for (int v = 0; v < V; v++) sum += exp((double)z[v] - most);
    return most + log(sum);
}

static void add_place(sums *s, const sy_real *z, const sy_real *ref, int V, int next)
{
    int top, ref_top;
    double lse = log_sum(z, V, &top), nll = lse - (double)z[next], kl = 0;
    s->nll += nll;
    s->nll2 += nll * nll;
    if (ref) {
        double ref_lse = log_sum(ref, V, &ref_top);
        s->ref += ref_lse - (double)ref[next];
        for (int v = 0; v < V; v++) {
            double lp = (double)ref[v] - ref_lse;
            if (lp > -700) kl += exp(lp) * (lp - ((double)z[v] - lse));
        }
        if (kl < 0) kl = 0;                          /* rounding of two equal distributions */
        s->kl += kl;
        s->kl2 += kl * kl;
        s->same += top == ref_top;
        s->each[s->n] = (float)kl;
    }
    s->n++;
}

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

/* Between the two values around place p (n-1), as most tools do. */
static double percentile(const float *sorted, int64_t n, double p)
{
    double at = p * (double)(n - 1);
    int64_t i = (int64_t)at;
    return i + 1 < n ? (double)sorted[i] + (at - (double)i) * ((double)sorted[i + 1] - (double)sorted[i]) : (double)sorted[n - 1];
}

static double standard_error(double sum, double squares, int64_t n)
{
    double mean = sum / (double)n, spread = squares / (double)n - mean * mean;
    return n > 1 && spread > 0 ? sqrt(spread / (double)(n - 1)) : 0;
}

static void finish(const sy_perplexity_job *j, sums *s, int chunks, sy_perplexity *out)
{
    *out = (sy_perplexity){ .chunks = chunks, .n = s->n, .nats = s->nll / (double)s->n, .error = standard_error(s->nll, s->nll2, s->n) };
    if (!j->against) return;
    qsort(s->each, (size_t)s->n, sizeof *s->each, ascending);
    out->ref_nats = s->ref / (double)s->n;
    out->kl = s->kl / (double)s->n;
    out->kl_error = standard_error(s->kl, s->kl2, s->n);
    out->median = percentile(s->each, s->n, 0.5);
    out->p90 = percentile(s->each, s->n, 0.9);
    out->p99 = percentile(s->each, s->n, 0.99);
    out->most = (double)s->each[s->n - 1];
    out->same_top = (double)s->same / (double)s->n;
}

static sy_status all_chunks(const sy_perplexity_job *j, int chunks, sy_tape *t, sy_tape *u, int *id, sums *s, sy_err *err)
{
    int first = j->ctx / 2, V = j->model->spec.vocab_size;
    for (int c = 0; c < chunks; c++) {
        const int *text = j->id + (int64_t)c * j->ctx;
        const sy_real *z = NULL, *ref = NULL;
        for (int i = 0; i < j->ctx; i++) id[i] = text[i];
        if (j->bos >= 0) id[0] = j->bos;
        SY_TRY(chunk_logits(j->model, t, id, j->ctx, first, &z, err));
        if (j->against) SY_TRY(sy_within(err, chunk_logits(j->against, u, id, j->ctx, first, &ref, err), "the reference"));
        for (int i = first; i + 1 < j->ctx; i++) {
            size_t at = (size_t)(i - first) * (size_t)V;
            add_place(s, z + at, ref ? ref + at : NULL, V, text[i + 1]);
        }
        if (s->nll != s->nll) return sy_fail(err, SY_ENUM, "the logits of chunk %d are not finite", c + 1);
        if (j->seen && !j->seen(j->arg, c + 1, chunks, exp(s->nll / (double)s->n))) return sy_fail(err, SY_ESTOP, "stopped after %d of %d chunks", c + 1, chunks);
    }
    return SY_OK;
}

static sy_status fits(const sy_perplexity_job *j, const sy_model *m, const char *which, sy_err *err)
{
    if (j->ctx > sy_spec_positions(&m->spec)) return sy_fail(err, SY_ESHAPE, "chunks of %d ids; %s takes %d positions: give a smaller --ctx", j->ctx, which, sy_spec_positions(&m->spec));
    if (m->spec.vocab_size != j->model->spec.vocab_size) return sy_fail(err, SY_ESHAPE, "%s has %d ids, the model %d", which, m->spec.vocab_size, j->model->spec.vocab_size);
    if (j->bos >= m->spec.vocab_size) return sy_fail(err, SY_EARG, "--bos %d; %s has the ids 0 to %d", j->bos, which, m->spec.vocab_size - 1);
    return SY_OK;
}

sy_status sy_perplexity_run(const sy_perplexity_job *j, sy_perplexity *out, sy_err *err)
{
    sy_tape t, u;
    sums s = { 0 };
    if (j->ctx < 4) return sy_fail(err, SY_EARG, "--ctx %d: a chunk has at least 4 ids", j->ctx);
    SY_TRY(fits(j, j->model, "the model", err));
    if (j->against) SY_TRY(fits(j, j->against, "the reference", err));
    int64_t all = j->n / j->ctx;
    if (all < 2) return sy_fail(err, SY_ESHAPE, "the text has %lld ids; perplexity in chunks of %d needs at least %lld: give more text or a smaller --ctx", (long long)j->n, j->ctx, 2 * (long long)j->ctx);
    int chunks = j->most_chunks && j->most_chunks < all ? j->most_chunks : all < INT32_MAX ? (int)all : INT32_MAX;
    size_t places = (size_t)chunks * (size_t)(j->ctx - 1 - j->ctx / 2);
    int *id = sy_malloc((size_t)j->ctx * sizeof *id);
    if (j->against) s.each = sy_malloc(places * sizeof *s.each);
    sy_tape_init(&t, j->model->eng, false);
    sy_tape_init(&u, j->model->eng, false);
    sy_status st = id && (s.each || !j->against) ? all_chunks(j, chunks, &t, &u, id, &s, err) : sy_fail(err, SY_ENOMEM, "no memory for %zu places", places);
    if (st == SY_OK) finish(j, &s, chunks, out);
    sy_tape_free(&t);
    sy_tape_free(&u);
    sy_free(id);
    sy_free(s.each);
    return st;
}
