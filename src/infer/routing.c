/* infer/routing.c - counting tokens by expert, and writing it down. */
#include "infer/routing.h"

#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "core/utf8.h"

typedef struct count {                  /* of one sparse layer */
    int64_t *by_token;                  /* [E][V] */
} count;

typedef struct gather {
    const sy_routing_options *o;
    const sy_model *m;
    count          *layer;              /* [sparse layers] */
} gather;

static void seen(void *arg, const sy_batch *b, sy_route *const *routes)
{
    gather *g = arg;
    size_t V = (size_t)g->m->spec.vocab_size;
    for (int l = 0; l < g->m->n_sparse; l++) {
        const sy_route *r = routes[l];
        if (!r) continue;
        for (int t = 0; t < r->T; t++)
            for (int s = r->first_slot[t]; s < r->first_slot[t + 1]; s++)
                if (r->expert[s] >= 0 && r->expert[s] < r->E) g->layer[l].by_token[(size_t)r->expert[s] * V + (size_t)b->id[t]]++;
    }
}

static bool stopping(void *arg)
{
    const gather *g = arg;
    return g->o->stop && g->o->stop(g->o->arg);
}

void sy_token_json(sy_json *j, const sy_tokenizer *tok, int id)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t n, k = 0;
    const char *special = sy_tokenizer_special(tok, id), *p = sy_tokenizer_piece(tok, id, &n);
    char text[400];
    for (size_t i = 0; i < n && k + 6 < sizeof text && !special; ) {
        uint32_t cp;
        int len = sy_utf8_next(p + i, n - i, &cp);
        unsigned char c = (unsigned char)p[i];
        if (len > 0 && cp) { memcpy(text + k, p + i, (size_t)len); k += (size_t)len; i += (size_t)len; }
        else { memcpy(text + k, (char[]){ '<', '0', 'x', hex[c >> 4], hex[c & 15], '>' }, 6); k += 6; i++; }
    }
    if (special) sy_json_text(j, special);
    else sy_json_bytes(j, text, k);
}

static void ints(sy_json *j, const int64_t *v, int n)
{
    sy_json_begin(j, '[');
    for (int i = 0; i < n; i++) sy_json_int(j, (long long)v[i]);
    sy_json_end(j, ']');
}

/* The `top` ids of largest count, found one after the other: top is small. share = part of the expert's tokens. */
static void top_tokens(sy_json *j, const sy_tokenizer *tok, int64_t *by_token, int V, int top)
{
    int64_t all = 0;
    for (int v = 0; v < V; v++) all += by_token[v];
    sy_json_begin(j, '[');
    for (int i = 0; i < top && i < V; i++) {
        int best = 0;
        for (int v = 1; v < V; v++) if (by_token[v] > by_token[best]) best = v;
        if (by_token[best] <= 0) break;
        sy_json_begin(j, '{');
        sy_json_key(j, "token"), sy_token_json(j, tok, best);
        sy_json_key(j, "count"), sy_json_int(j, (long long)by_token[best]);
        sy_json_key(j, "share"), sy_json_real(j, (double)by_token[best] / (double)all);
        sy_json_end(j, '}');
        by_token[best] = -1;
    }
    sy_json_end(j, ']');
}

static void layer_json(sy_json *j, sy_model *m, int nth, const sy_stats *s, count *c, const sy_tokenizer *tok, int top)
{
    int n = s->E + s->Z, V = m->spec.vocab_size;
    double tokens = s->tokens ? (double)s->tokens : 1;
    sy_json_begin(j, '{');
    sy_json_key(j, "layer"), sy_json_int(j, sy_model_block(m, nth)->site.layer);
    sy_json_key(j, "experts"), sy_json_int(j, s->E);
    sy_json_key(j, "zero"), sy_json_int(j, s->Z);
    sy_json_key(j, "load"), ints(j, s->load, n);
    sy_json_key(j, "by_domain");
    sy_json_begin(j, '[');
    for (int d = 0; d < s->domains; d++) ints(j, s->by_domain + (size_t)d * n, n);
    sy_json_end(j, ']');
    sy_json_key(j, "entropy"), sy_json_real(j, s->entropy / tokens);
    sy_json_key(j, "dropped"), sy_json_real(j, s->slots ? (double)s->dropped / (double)s->slots : 0);
    sy_json_key(j, "passed"), sy_json_real(j, (double)s->passed / tokens);
    sy_json_key(j, "specialisation"), sy_json_real(j, sy_stats_specialisation(s));
    sy_json_key(j, "maxvio"), sy_json_real(j, sy_stats_maxvio(s));
    sy_json_key(j, "coactivation");
    sy_json_begin(j, '[');
    for (int e = 0; e < s->E; e++) ints(j, s->co + (size_t)e * s->E, s->E);
    sy_json_end(j, ']');
    sy_json_key(j, "top_tokens");
    sy_json_begin(j, '[');
    for (int e = 0; e < s->E; e++) top_tokens(j, tok, c->by_token + (size_t)e * V, V, top);
    sy_json_end(j, ']');
    sy_json_end(j, '}');
}

/* Five most likely next ids of one row of logits. */
static void next_table(sy_json *j, const sy_tokenizer *tok, const sy_tape *t, const sy_real *logits, sy_real *p, int V)
{
    t->eng->k->softmax(V, logits, p);
    sy_json_begin(j, '[');
    for (int i = 0; i < 5 && i < V; i++) {
        int best = 0;
        for (int v = 1; v < V; v++) if (p[v] > p[best]) best = v;
        sy_json_begin(j, '{');
        sy_json_key(j, "token"), sy_token_json(j, tok, best);
        sy_json_key(j, "p"), sy_json_real(j, (double)p[best]);
        sy_json_end(j, '}');
        p[best] = -1;
    }
    sy_json_end(j, ']');
}

static void route_json(sy_json *j, const sy_route *r, int t)
{
    sy_json_begin(j, '{');
    sy_json_key(j, "experts");
    sy_json_begin(j, '[');
    for (int s = r->first_slot[t]; s < r->first_slot[t + 1]; s++) if (r->expert[s] >= 0) sy_json_int(j, r->expert[s]);
    sy_json_end(j, ']');
    sy_json_key(j, "weights");
    sy_json_begin(j, '[');
    for (int s = r->first_slot[t]; s < r->first_slot[t + 1]; s++) if (r->expert[s] >= 0) sy_json_real(j, (double)r->weight->x[s]);
    sy_json_end(j, ']');
    sy_json_end(j, '}');
}

static sy_status sentence_json(sy_json *j, sy_model *m, const sy_tokenizer *tok, const char *text, sy_tape *t, sy_err *err)
{
    size_t n = 0, most = sy_tokenizer_most(tok, strlen(text)) + 1;
    int *id = sy_tape_alloc(t, most, sizeof *id), *pos = sy_tape_alloc(t, most, sizeof *pos), *seq = sy_tape_alloc(t, most, sizeof *seq);
    sy_real *p = sy_tape_alloc(t, (size_t)m->spec.vocab_size, sizeof *p);
    sy_route **routes = sy_tape_alloc(t, (size_t)m->n_sparse + 1, sizeof *routes);
    SY_TRY(sy_tape_status(t, err));
    SY_TRY(sy_tokenizer_encode(tok, text, strlen(text), id, &n, err));
    int T = (int)n < m->spec.max_position_embeddings ? (int)n : m->spec.max_position_embeddings;
    for (int i = 0; i < T; i++) pos[i] = i;
    sy_segment seg = { .n = T };
    uint64_t no = 0;
    sy_batch b = { .T = T, .n_seg = 1, .id = id, .pos = pos, .seq = seq, .seg = &seg, .seq_no = &no };
    sy_run run = { .mode = SY_SERVE, .routes = routes };
    sy_tensor *logits = sy_model_logits(m, t, sy_model_hidden(m, t, &b, &run), NULL, T);
    SY_TRY(sy_tape_status(t, err));
    sy_json_begin(j, '{');
    sy_json_key(j, "tokens");
    sy_json_begin(j, '[');
    for (int i = 0; i < T; i++) sy_token_json(j, tok, id[i]);
    sy_json_end(j, ']');
    sy_json_key(j, "layers");
    sy_json_begin(j, '[');
    for (int l = 0; l < m->n_sparse; l++) {
        sy_json_begin(j, '[');
        for (int i = 0; i < T && routes[l]; i++) route_json(j, routes[l], i);
        sy_json_end(j, ']');
    }
    sy_json_end(j, ']');
    sy_json_key(j, "next");
    sy_json_begin(j, '[');
    for (int i = 0; i < T; i++) next_table(j, tok, t, logits->x + (size_t)i * m->spec.vocab_size, p, m->spec.vocab_size);
    sy_json_end(j, ']');
    sy_json_end(j, '}');
    return SY_OK;
}

static sy_status write_all(gather *g, sy_model *m, const sy_data *d, const sy_tokenizer *tok, const sy_evaluation *e, sy_buf *b, sy_err *err)
{
    sy_json j;
    sy_tape t;
    sy_json_open(&j, b, 0);
    sy_json_begin(&j, '{');
    sy_json_key(&j, "domains");
    sy_json_begin(&j, '[');
    for (int i = 0; i < sy_data_domains(d); i++) sy_json_text(&j, sy_data_domain(d, i)->name);
    sy_json_end(&j, ']');
    sy_json_key(&j, "layers");
    sy_json_begin(&j, '[');
    for (int l = 0; l < m->n_sparse; l++) layer_json(&j, m, l, &e->stats[l], &g->layer[l], tok, g->o->top_tokens);
    sy_json_end(&j, ']');
    sy_status st = SY_OK;
    if (g->o->sentence && *g->o->sentence) {
        sy_tape_init(&t, m->eng, false);
        sy_json_key(&j, "sentence");
        st = sentence_json(&j, m, tok, g->o->sentence, &t, err);
        sy_tape_free(&t);
    }
    sy_json_end(&j, '}');
    sy_buf_put(b, "\n", 1);
    return st != SY_OK ? st : b->failed ? sy_fail(err, SY_ENOMEM, "no memory for the routing of %d layers", m->n_sparse) : SY_OK;
}

sy_status sy_routing_write(sy_model *m, const sy_data *d, const sy_tokenizer *tok, const sy_routing_options *o, const char *path, sy_err *err)
{
    sy_arena a = { 0 };
    sy_buf b = { 0 };
    sy_evaluation e;
    gather g = { .o = o, .m = m, .layer = sy_arena_array(&a, (size_t)m->n_sparse + 1, sizeof(count)) };
    sy_status st = g.layer ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory to count the tokens of %d experts", m->spec.num_experts);
    for (int l = 0; l < m->n_sparse && st == SY_OK; l++) {
        g.layer[l].by_token = sy_arena_array(&a, (size_t)m->spec.num_experts * (size_t)m->spec.vocab_size, sizeof(int64_t));
        if (!g.layer[l].by_token) st = sy_fail(err, SY_ENOMEM, "no memory to count the tokens of %d experts", m->spec.num_experts);
    }
    if (st == SY_OK) st = sy_evaluate(m, d, o->rows, &(sy_eval_hooks){ .seen = seen, .stop = stopping, .arg = &g }, &e, &a, err);
    if (st == SY_OK) st = write_all(&g, m, d, tok, &e, &b, err);
    if (st == SY_OK) st = sy_file_write(path, b.data, b.n, err);
    sy_buf_free(&b);
    sy_arena_free(&a);
    return st;
}
