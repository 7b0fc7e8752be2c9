/* infer/decoded.c - held-out windows through two generators, one with a decoding method. */
#include "infer/decoded.h"

#include <math.h>

typedef struct pair { const sy_decoded_job *j; sy_generator plain, method; sy_arena rows; sy_decoded *out; } pair;

/* -ln p of `id` under the softmax of z; INFINITY when it is excluded. *first: the first of the largest. */
static double surprise(const sy_real *z, int V, int id, int *first)
{
    double most = -INFINITY, sum = 0;
    for (int v = 0; v < V; v++) if ((double)z[v] > most) most = (double)z[v], *first = v;
    for (int v = 0; v < V; v++) sum += exp((double)z[v] - most);
    return log(sum) + most - (double)z[id];
}

static sy_status read_window(pair *p, sy_generator *g, sy_decoded_side *side, const int *id, const int *label, int n, sy_err *err)
{
    sy_generator_rewind(g, 0);
    for (int at = 0; at < n; ) {
        int take = at ? 1 : p->j->prefix, likely = 0;
        SY_TRY(sy_generator_feed(g, id + at, take, NULL, err));
        at += take;
        if (label[at - 1] < 0) continue;
        double nats = surprise(g->logits, g->model->spec.vocab_size, label[at - 1], &likely);
        side->hits += likely == label[at - 1];
        if (isinf(nats)) side->excluded++;
        else side->nats += nats;
    }
    side->madds = g->madds;
    return SY_OK;
}

static sy_status windows_of(pair *p, int domain, sy_err *err)
{
    sy_eval it;
    sy_batch b;
    bool more = true;
    int64_t windows = 0;
    SY_TRY(sy_eval_start(&it, p->j->data, domain, 1, err));
    while (more && (!p->j->windows || windows < p->j->windows)) {
        sy_arena_reset(&p->rows);
        SY_TRY(sy_eval_next(&it, &p->rows, &b, &more, err));
        for (int s = 0; more && s < b.n_seg && (!p->j->windows || windows < p->j->windows); s++) {
            const int *id = b.id + b.seg[s].row, *label = b.label + b.seg[s].row, n = b.seg[s].n;
            if (n <= p->j->prefix) continue;
            SY_TRY(read_window(p, &p->plain, &p->out->plain, id, label, n, err));
            SY_TRY(read_window(p, &p->method, &p->out->method, id, label, n, err));
            for (int i = p->j->prefix - 1; i < n; i++) p->out->tokens += label[i] >= 0;
            p->out->windows++;
            windows++;
            if (p->j->seen && !p->j->seen(p->j->arg, p->out)) return sy_fail(err, SY_ESTOP, "stopped after %lld windows", (long long)p->out->windows);
        }
    }
    return SY_OK;
}

static sy_status run(pair *p, sy_err *err)
{
    SY_TRY(sy_generator_open(&p->plain, p->j->model, NULL, p->j->seq_len, err));
    SY_TRY(sy_generator_open(&p->method, p->j->model, NULL, p->j->seq_len, err));
    SY_TRY(sy_generator_decode(&p->method, p->j->method, err));
    for (int d = 0; d < sy_data_domains(p->j->data); d++)
        if (sy_data_domain(p->j->data, d)->eval_tokens) SY_TRY(windows_of(p, d, err));
    if (!p->out->tokens) return sy_fail(err, SY_EARG, "no held-out window is longer than the prefix of %d ids", p->j->prefix);
    return SY_OK;
}

sy_status sy_decoded_run(const sy_decoded_job *j, sy_decoded *out, sy_err *err)
{
    sy_decoded sum = { 0 };
    pair p = { .j = j, .out = &sum };
    if (j->prefix < 1 || j->prefix >= j->seq_len) return sy_fail(err, SY_EARG, "a prefix of %d ids in windows of %d; give 1 .. %d", j->prefix, j->seq_len, j->seq_len - 1);
    sy_status st = run(&p, err);
    if (p.plain.model) sy_generator_close(&p.plain);
    if (p.method.model) sy_generator_close(&p.method);
    sy_arena_free(&p.rows);
    if (st == SY_OK) *out = sum;
    return st;
}
