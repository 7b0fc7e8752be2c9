/* objectives/roma.c - routers alone are tuned, and a sample's routing is pulled to that of its nearest samples that the model answered rightly (RoMA).
 *
 * Paper: Li, Li and Zhou 2025, arXiv:2511.07419. A sample is a document with a prompt and an answer (the tokens that count in the loss). r_i = the distributions over experts of the
 * last target_layers sparse layers at the last token of its prompt, one behind the other. Before training the model, as it is, answers every sample once; S = those whose answer is right,
 * every token the likeliest. u_i = a vector of the prompt; N(i) = the k members of S whose u is nearest by cosine, i left out; these and the r_j of S stay as they are.
 *   sim_ij = exp(-(1 - cos(u_i,u_j))^2 / (2 sigma^2)),  W_ij = sim_ij / (sum over N(i) + 1e-9)
 *   L = cross-entropy + lambda(t) / B sum_i sum_{j in N(i)} W_ij |r_i - r_j|^2,  lambda(t) = lambda_reg min(1, (t+1) / lambda_warmup_steps), B samples of the step
 * r_i is the current router's and has the gradient. Trained are the gates of the target layers, unless routers_only is false. Inference is as before.
 * Departs: the vector of a prompt is the mean of the model's own token embeddings, or counts of hashed 1- to 3-grams, where the paper has a sentence encoder. A document longer than a row is cut, and is
 * no sample. The other settings of the paper are the trainer's: batch_size=32, lr=7e-5, weight_decay=0.01, warmup_steps=2000, epochs=3. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/objective.h"

enum { TOKENS, NGRAMS };
enum { HASHED = 1024, ROWS = 16 };      /* width of hashed vectors; rows of one forward in prepare */

typedef struct sample { uint64_t key; int index; } sample;      /* sorted by key */

typedef struct {
    int       k, lambda_warmup_steps, target_layers, embed;
    double    sigma, lambda_reg;
    bool      routers_only;
    int       first, layers, cols, n, width;        /* sparse layers first .. first+layers-1; samples; of a prompt's vector */
    sample   *by_key;                   /* [n] */
    bool     *right;                    /* [n] in S */
    sy_real  *r;                        /* [n, layers, cols] at the start */
    float    *u;                        /* [n, width] of length one */
    int      *near;                     /* [n, k] -1: none */
    double   *weight;                   /* [n, k] */
} roma_state;

static const sy_opt roma_opts[] = {
    SY_INT  (roma_state, k, NULL, 5, 1, 64, "neighbours of a sample"),
    SY_REAL (roma_state, sigma, NULL, 0.4, 1e-3, 1e3, "width of the kernel over 1 - cosine"),
    SY_REAL (roma_state, lambda_reg, "lambda", 0.8, 0, 1e6, "weight of the distance to the neighbours"),
    SY_INT  (roma_state, lambda_warmup_steps, NULL, 2000, 1, 1 << 30, "steps in which that weight grows"),
    SY_INT  (roma_state, target_layers, NULL, 5, 1, 1 << 20, "last sparse layers whose routers are tuned and compared; all, when there are fewer"),
    SY_ENUM_(roma_state, embed, NULL, TOKENS, "tokens|ngrams", "vector of a prompt: mean of the model's token embeddings, or hashed 1- to 3-grams"),
    SY_BOOL (roma_state, routers_only, NULL, true, "everything but the gates of those layers is frozen"),
    { 0 }
};

/* A parameter of the routers of sparse layers `first` and on. */
static bool is_gate(const sy_model *m, int first, const sy_param *p)
{
    for (int l = 0, nth = 0; l < m->spec.num_hidden_layers; l++) {
        char prefix[64];
        if (!m->layer[l].sparse || nth++ < first) continue;
        int len = snprintf(prefix, sizeof prefix, "model.layers.%d.mlp.gate.", l);
        if (!strncmp(p->name, prefix, (size_t)len)) return true;
    }
    return false;
}

static sy_status roma_check(const void *state, const void *model, sy_err *err)
{
    const roma_state *s = state;
    const sy_model *m = model;
    if (!m->n_sparse) return sy_fail(err, SY_EUNSUP, "this model is dense: it has no routers to tune");
    for (int l = 0, nth = 0; l < m->spec.num_hidden_layers; l++) {
        const sy_block *b = &m->layer[l].block;
        if (!m->layer[l].sparse || nth++ < m->n_sparse - s->target_layers) continue;
        if (b->flags & (SY_NOPROBS | SY_MIXES))
            return sy_fail(err, SY_EUNSUP, "layer %d: it compares distributions over experts and router %s declares that it has none", l, b->router.m->name);
    }
    int first = m->n_sparse > s->target_layers ? m->n_sparse - s->target_layers : 0, gates = 0;
    for (int i = 0; i < m->params.n; i++) gates += is_gate(m, first, m->params.p[i]) && sy_param_trains(m->params.p[i]);
    return gates || !s->routers_only ? SY_OK : sy_fail(err, SY_EUNSUP, "the routers of the last %d sparse layers have nothing that is trained: leave the objective out, or set routers_only=false", m->n_sparse - first);
}

/* --- samples ---------------------------------------------------------------------------------------------------------------------- */

/* The token that predicts the first of the answer, as a row of the batch; -1: nothing counts. */
static int last_of_prompt(const sy_batch *b, int seg)
{
    for (int i = b->seg[seg].row; i < b->seg[seg].row + b->seg[seg].n; i++) if (b->label[i] >= 0) return i;
    return -1;
}

/* Of ids and labels: what a sample is known by in every epoch. */
static uint64_t key_of(const sy_batch *b, int seg)
{
    uint64_t h = 1469598103934665603u;
    for (int i = b->seg[seg].row; i < b->seg[seg].row + b->seg[seg].n; i++) {
        h = (h ^ (uint64_t)(unsigned)b->id[i]) * 1099511628211u;
        h = (h ^ (uint64_t)(unsigned)(b->label[i] + 1)) * 1099511628211u;
    }
    return h;
}

static int by_key(const void *a, const void *b)
{
    const sample *x = a, *y = b;
    return x->key < y->key ? -1 : x->key > y->key ? 1 : x->index - y->index;
}

/* Index of a sample, or -1. */
static int find(const roma_state *s, uint64_t key)
{
    int lo = 0, hi = s->n;
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2;
        if (s->by_key[mid].key < key) lo = mid + 1;
        else hi = mid;
    }
    return lo < s->n && s->by_key[lo].key == key ? s->by_key[lo].index : -1;
}

static void embed(const roma_state *s, const sy_model *m, const int *id, int n, float *u)
{
    double norm = 0;
    for (int i = 0; i < n; i++) {
        if (s->embed == TOKENS) {
            const sy_real *row = m->embed->leaf.x + (size_t)id[i] * (size_t)s->width;
            for (int d = 0; d < s->width; d++) u[d] += (float)row[d];
            continue;
        }
        uint64_t h = 1469598103934665603u;
        for (int k = 0; k < 3 && k <= i; k++) {
            h = (h ^ (uint64_t)(unsigned)id[i - k]) * 1099511628211u;
            u[(h >> 33) % HASHED] += 1;
        }
    }
    for (int d = 0; d < s->width; d++) norm += (double)u[d] * (double)u[d];
    for (int d = 0; d < s->width && norm > 0; d++) u[d] = (float)((double)u[d] / sqrt(norm));
}

/* True when every token of the answer was the likeliest; z [.., V] begins at the first counted token of the batch, `at` counts them. */
static bool answered(const sy_batch *b, int seg, const sy_real *z, int V, int *at)
{
    bool right = true;
    for (int i = b->seg[seg].row; i < b->seg[seg].row + b->seg[seg].n; i++) {
        if (b->label[i] < 0) continue;
        const sy_real *row = z + (size_t)(*at)++ * (size_t)V;
        int best = 0;
        for (int v = 1; v < V; v++) if (row[v] > row[best]) best = v;
        right &= best == b->label[i];
    }
    return right;
}

/* One forward of the model as it is: the samples of a batch are added. */
static sy_status look(roma_state *s, sy_model *m, const sy_batch *b, sy_tape *t, sy_err *err)
{
    int counted = 0, at = 0, *row = sy_tape_alloc(t, (size_t)b->T, sizeof *row);
    sy_route **routes = sy_tape_alloc(t, (size_t)m->n_sparse, sizeof *routes);
    SY_TRY(sy_tape_status(t, err));
    for (int i = 0; i < b->T; i++) if (b->label[i] >= 0) row[counted++] = i;
    sy_tensor *z = sy_model_logits(m, t, sy_model_hidden(m, t, b, &(sy_run){ .mode = SY_SERVE, .routes = routes }), row, counted);
    SY_TRY(sy_tape_status(t, err));
    for (int g = 0; g < b->n_seg; g++) {
        int last = last_of_prompt(b, g);
        bool right = answered(b, g, z->x, m->spec.vocab_size, &at);
        if (last < 0) continue;
        s->by_key[s->n] = (sample){ key_of(b, g), s->n };
        s->right[s->n] = right;
        for (int l = 0; l < s->layers; l++)
            memcpy(s->r + ((size_t)s->n * s->layers + l) * s->cols, routes[s->first + l]->probs->x + (size_t)last * s->cols, (size_t)s->cols * sizeof(sy_real));
        embed(s, m, b->id + b->seg[g].row, last - b->seg[g].row + 1, s->u + (size_t)s->n * s->width);
        s->n++;
    }
    return SY_OK;
}

/* --- neighbours --------------------------------------------------------------------------------------------------------------------- */

static void neighbours(roma_state *s, int i)
{
    double best[64], sum = 1e-9;
    int have = 0, *near = s->near + (size_t)i * s->k;
    double *w = s->weight + (size_t)i * s->k;
    for (int j = 0; j < s->n; j++) {
        if (j == i || !s->right[j]) continue;
        double cos = 0;
        for (int d = 0; d < s->width; d++) cos += (double)s->u[(size_t)i * s->width + d] * (double)s->u[(size_t)j * s->width + d];
        if (have == s->k && !(cos > best[have - 1])) continue;
        int at = have < s->k ? have++ : have - 1;
        for (; at > 0 && cos > best[at - 1]; at--) best[at] = best[at - 1], near[at] = near[at - 1];
        best[at] = cos, near[at] = j;
    }
    for (int at = 0; at < have; at++) sum += w[at] = exp(-(1 - best[at]) * (1 - best[at]) / (2 * s->sigma * s->sigma));
    for (int at = 0; at < s->k; at++) {
        if (at < have) w[at] /= sum;
        else near[at] = -1, w[at] = 0;
    }
}

struct all { roma_state *s; };
static void some_neighbours(void *arg, int from, int to, int worker)
{
    (void)worker;
    for (int i = from; i < to; i++) neighbours(((struct all *)arg)->s, i);
}

/* The first of equal samples stands for all. */
static void drop_twins(roma_state *s)
{
    int kept = 0;
    qsort(s->by_key, (size_t)s->n, sizeof *s->by_key, by_key);
    for (int i = 0; i < s->n; i++) {
        if (kept && s->by_key[kept - 1].key == s->by_key[i].key) s->right[s->by_key[i].index] = false;
        else s->by_key[kept++] = s->by_key[i];
    }
    for (int i = kept; i < s->n; i++) s->by_key[i] = (sample){ UINT64_MAX, -1 };
}

static void roma_freeze(const roma_state *s, sy_model *m)
{
    for (int i = 0; i < m->params.n; i++) if (!is_gate(m, s->first, m->params.p[i]) && m->params.p[i]->w.dx) sy_param_freeze(m->params.p[i]);
}

static sy_status room(roma_state *s, sy_model *m, sy_data *d, sy_arena *a, sy_err *err)
{
    sy_arena rows = { 0 };
    sy_status st = SY_OK;
    size_t n = 0;
    for (int64_t at = 0, all = sy_data_epoch_rows(d); at < all && st == SY_OK; at += ROWS) {
        sy_batch b;
        sy_arena_reset(&rows);
        st = sy_data_rows(d, at, (int)(all - at < ROWS ? all - at : ROWS), &rows, &b, err);
        for (int g = 0; st == SY_OK && g < b.n_seg; g++) n += last_of_prompt(&b, g) >= 0;
    }
    sy_arena_free(&rows);
    SY_TRY(st);
    if (n > 1u << 24) return sy_fail(err, SY_EARG, "%zu samples: every one is compared with every other; at most %u", n, 1u << 24);
    s->layers = s->target_layers < m->n_sparse ? s->target_layers : m->n_sparse;
    s->first = m->n_sparse - s->layers;
    s->cols = m->spec.num_experts + m->spec.zero_experts;
    s->width = s->embed == TOKENS ? m->spec.hidden_size : HASHED;
    s->by_key = sy_arena_array(a, n + 1, sizeof *s->by_key);
    s->right = sy_arena_array(a, n + 1, sizeof *s->right);
    s->r = sy_arena_array(a, (n + 1) * (size_t)s->layers, (size_t)s->cols * sizeof *s->r);
    s->u = sy_arena_array(a, n + 1, (size_t)s->width * sizeof *s->u);
    s->near = sy_arena_array(a, n + 1, (size_t)s->k * sizeof *s->near);
    s->weight = sy_arena_array(a, n + 1, (size_t)s->k * sizeof *s->weight);
    return s->by_key && s->right && s->r && s->u && s->near && s->weight ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory for %zu samples", n);
}

static sy_status roma_prepare(void *state, sy_model *m, sy_data *d, sy_arena *a, uint64_t *id, sy_err *err)
{
    roma_state *s = state;
    sy_arena rows = { 0 };
    sy_tape t;
    sy_status st = SY_OK;
    if (!d) return sy_fail(err, SY_EARG, "it compares samples of the training text, and there is none");
    SY_TRY(room(s, m, d, a, err));
    sy_tape_init(&t, m->eng, false);
    for (int64_t at = 0, all = sy_data_epoch_rows(d); at < all && st == SY_OK; at += ROWS) {
        sy_batch b;
        sy_arena_reset(&rows);
        sy_tape_reset(&t);
        st = sy_data_rows(d, at, (int)(all - at < ROWS ? all - at : ROWS), &rows, &b, err);
        if (st == SY_OK) st = look(s, m, &b, &t, err);
    }
    sy_tape_free(&t);
    sy_arena_free(&rows);
    SY_TRY(st);
    if (!s->n) return sy_fail(err, SY_EARG, "the training text has no sample: give JSON lines with prompt and completion");
    drop_twins(s);
    sy_each(m->eng, s->n, 2.0 * s->n * s->width, some_neighbours, &(struct all){ s });
    uint64_t h = 1469598103934665603u;
    for (int i = 0; i < s->n; i++) h = (h ^ s->by_key[i].key ^ (uint64_t)s->right[i]) * 1099511628211u;
    const unsigned char *bytes = (const unsigned char *)s->r;
    for (size_t i = 0; i < (size_t)s->n * (size_t)s->layers * (size_t)s->cols * sizeof *s->r; i++) h = (h ^ bytes[i]) * 1099511628211u;
    *id = h;
    if (s->routers_only) roma_freeze(s, m);
    return SY_OK;
}

/* --- the loss ------------------------------------------------------------------------------------------------------------------------ */

/* sum over pairs of weight |r_i - r_j|^2 of one layer: row [n] of the batch against sample other [n]. */
static sy_tensor *distance(const roma_state *s, sy_tape *t, sy_tensor *probs, int layer, const int *row, const int *other, const double *weight, int n)
{
    sy_tensor *there = sy_new(t, SY_DIM(n, s->cols));
    sy_real *c = sy_tape_alloc(t, (size_t)n * s->cols, sizeof *c);
    if (t->status != SY_OK) return &t->empty;
    for (int i = 0; i < n; i++)
        for (int e = 0; e < s->cols; e++) {
            there->x[(size_t)i * s->cols + e] = s->r[((size_t)other[i] * s->layers + layer) * s->cols + e];
            c[(size_t)i * s->cols + e] = (sy_real)weight[i];
        }
    return sy_dot_const(t, sy_square(t, sy_sub(t, sy_rows_gather(t, probs, row, n), there)), c);
}

static sy_status roma_loss(void *state, sy_tape *t, const sy_objective_in *in, sy_losses *add, sy_err *err)
{
    const roma_state *s = state;
    const sy_batch *b = in->batch;
    double lambda = s->lambda_reg * fmin(1, (double)(in->step + 1) / s->lambda_warmup_steps);
    size_t most = (size_t)b->n_seg * (size_t)s->k;
    int n = 0, *row = sy_tape_alloc(t, most, sizeof *row), *other = sy_tape_alloc(t, most, sizeof *other);
    double *weight = sy_tape_alloc(t, most, sizeof *weight);
    SY_TRY(sy_tape_status(t, err));
    for (int g = 0; g < b->n_seg; g++) {
        int last = last_of_prompt(b, g), i = last < 0 ? -1 : find(s, key_of(b, g));
        for (int at = 0; i >= 0 && at < s->k; at++) {
            if (s->near[(size_t)i * s->k + at] < 0) break;
            row[n] = last;
            other[n] = s->near[(size_t)i * s->k + at];
            weight[n++] = lambda / (double)in->sequences * s->weight[(size_t)i * s->k + at];
        }
    }
    sy_tensor *sum = NULL;
    for (int l = 0; n && lambda > 0 && l < s->layers; l++) {
        sy_tensor *d = distance(s, t, in->route[0][s->first + l]->probs, l, row, other, weight, n);
        sum = sum ? sy_add(t, sum, d) : d;
    }
    if (sum) sy_losses_add(t, add, "roma.distance", -1, sum);
    return sy_tape_status(t, err);
}

const sy_method sy_objective_roma = {
    .kind = SY_OBJECTIVE, .name = "roma", .title = "routers tuned towards those of successful neighbours (RoMA)", .paper = "arXiv:2511.07419",
    .summary = "tunes the routers of a trained model on prompts and answers, and pulls the routing of a sample to that of similar ones that were answered rightly",
    .when = "A trained mixture whose experts are good and whose routers could be better, and samples with answers of which the model gets some right. Start it with --from.",
    .cost = "One forward of the training text before the first step, and a comparison of every pair of samples; little in a step. Only gates are trained.",
    .example = "switchyard train --from run --data answers.jsonl --objective roma:lambda_reg=0.8 --set lr=7e-5,epochs=3 --out tuned",
    .neutral = "lambda_reg=0,routers_only=false",
    .opts = roma_opts, .size = sizeof(roma_state), .check = roma_check,
    .hooks = &(const sy_objective_hooks){ .abi = SY_OBJECTIVE_ABI, .passes = 1, .prepare = roma_prepare, .loss = roma_loss },
};
