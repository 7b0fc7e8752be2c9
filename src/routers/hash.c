/* routers/hash.c - the expert of a token is looked up in a fixed table; nothing is learned by the router.
 *
 * Paper: Roller et al. 2021, arXiv:2106.04426:   y[t] = sum over m < multi of FFN of expert m (E / multi) + table[m][id[t]], each with weight 1
 *   random      a bucket drawn evenly for each id
 *   balanced    ids by falling count in the training text, each into the bucket with the smallest sum of counts so far, ties to the lower one
 *   bigram      a hash of the id before and the id; no table
 *   dispersed   like tokens into different buckets (reconstructed): the embeddings are halved along the line between two means until E / multi tokens are left, and
 *               each such cluster is dealt out over all buckets
 *   Ids that the training text does not have, and all of them where there is no text (benchmarks): id mod buckets.
 * multi = M is the paper's MultiHash: M slots a token over M groups of E / M experts, which are the slices of a wide FFN when experts are M times narrower. The groups have
 * different tables: another seed, and for balanced the counts that order the ids are first scaled by 0.5 .. 1.5. Layers differ in the same way. A table is a buffer: it is
 * saved and never changes. An id with a share of the text above multi / E cannot be balanced (of bytes, the blank from 7 experts on): there bigram helps. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "route/router.h"

enum { RANDOM, BALANCED, BIGRAM, DISPERSED };

typedef struct {
    int       table, multi, seed;
    sy_param *map;                      /* [multi,V] buckets, as numbers */
} hash_state;

static const sy_opt hash_opts[] = {
    SY_ENUM_(hash_state, table, NULL, BALANCED, "random|balanced|bigram|dispersed", "how ids are spread over the experts"),
    SY_INT  (hash_state, multi, NULL, 1, 1, 64, "experts a token, one of each of so many equal groups (MultiHash)"),
    SY_INT  (hash_state, seed,  NULL, 0, 0, 1 << 30, "another number is another table"),
    { 0 }
};

static sy_status hash_check(const void *state, const void *site, sy_err *err)
{
    const hash_state *s = state;
    const sy_site *at = site;
    if (at->E % s->multi) return sy_fail(err, SY_EARG, "multi %d does not divide the %d experts", s->multi, at->E);
    if (at->Z) return sy_fail(err, SY_EUNSUP, "%d zero-cost experts: a table sends the same ids to them for good; leave them out", at->Z);
    return SY_OK;
}

static uint64_t key_of(const hash_state *s, const sy_site *at, int m) { return sy_key((uint64_t)s->seed, SY_FOR_INIT, (uint64_t)at->layer, (uint64_t)m, 7); }

static sy_status hash_params(void *state, const sy_site *at, sy_own *own, sy_err *err)
{
    hash_state *s = state;
    int buckets = at->E / s->multi;
    (void)err;
    if (s->table == BIGRAM) return SY_OK;
    if (!(s->map = sy_own_param(own, "table", SY_BUFFER, false, 0, SY_DIM(s->multi, at->V)))) return own->err->status;
    sy_real *map = s->map->w.data;
    for (int m = 0; m < s->multi && s->map->fresh; m++)
        for (int id = 0; id < at->V; id++) map[(size_t)m * at->V + id] = (sy_real)(s->table == RANDOM ? (int)sy_draw_below(key_of(s, at, m), (uint64_t)id, 0, (uint64_t)buckets) : id % buckets);
    return SY_OK;
}

/* --- tables from the corpus ------------------------------------------------------------------------------------------------------ */

struct rank { double count; int id; };

static int by_count(const void *a, const void *b)
{
    const struct rank *x = a, *y = b;
    return x->count > y->count ? -1 : x->count < y->count ? 1 : (x->id > y->id) - (x->id < y->id);
}

static void balance(const hash_state *s, const sy_site *at, struct rank *rank, int64_t *sum, int buckets)
{
    for (int m = 0; m < s->multi; m++) {
        sy_real *map = (sy_real *)s->map->w.data + (size_t)m * at->V;
        bool jitter = m || at->nth;
        for (int id = 0; id < at->V; id++) rank[id] = (struct rank){ (double)at->id_count[id] * (jitter ? 0.5 + sy_draw(key_of(s, at, m), (uint64_t)id, 0) : 1), id };
        qsort(rank, (size_t)at->V, sizeof *rank, by_count);
        memset(sum, 0, (size_t)buckets * sizeof *sum);
        for (int i = 0; i < at->V && at->id_count[rank[i].id] > 0; i++) {
            int least = 0;
            for (int b = 1; b < buckets; b++) if (sum[b] < sum[least]) least = b;
            sum[least] += at->id_count[rank[i].id];
            map[rank[i].id] = (sy_real)least;
        }
    }
}

/* Sorts id[0..n-1] by their place on the line between two means of their embeddings: rank is room for n. */
static void along_line(const sy_weight *embed, int *id, int n, struct rank *rank, double *mean)
{
    int D = embed->dim[1], far = 0;
    const sy_real *w = embed->data;
    double most = -1;
    for (int i = 0; i < n; i++) {
        double d = 0;
        for (int k = 0; k < D; k++) d += pow((double)w[(size_t)id[i] * D + k] - (double)w[(size_t)id[0] * D + k], 2);
        if (d > most) most = d, far = i;
    }
    for (int k = 0; k < D; k++) mean[k] = (double)w[(size_t)id[0] * D + k], mean[D + k] = (double)w[(size_t)id[far] * D + k];
    for (int round = 0; round < 6; round++) {
        int have[2] = { 0, 0 };
        for (int i = 0; i < n; i++) {
            double side = 0;
            for (int k = 0; k < D; k++) side += (mean[D + k] - mean[k]) * ((double)w[(size_t)id[i] * D + k] - (mean[k] + mean[D + k]) / 2);
            rank[i] = (struct rank){ -side, id[i] };
        }
        if (round == 5) break;
        for (int k = 0; k < 2 * D; k++) mean[2 * D + k] = 0;
        for (int i = 0; i < n; i++) {
            int part = rank[i].count < 0;
            have[part]++;
            for (int k = 0; k < D; k++) mean[(2 + part) * D + k] += (double)w[(size_t)id[i] * D + k];
        }
        if (!have[0] || !have[1]) break;
        for (int k = 0; k < 2 * D; k++) mean[k] = mean[2 * D + k] / have[k / D];
    }
    qsort(rank, (size_t)n, sizeof *rank, by_count);
    for (int i = 0; i < n; i++) id[i] = rank[i].id;
}

/* Halves until a cluster has no more tokens than there are buckets, then deals it out, beginning at a bucket that the key draws. */
static void disperse(const hash_state *s, const sy_site *at, int *id, int n, struct rank *rank, double *mean, int buckets)
{
    if (n > buckets) {
        int left = (n / 2 + buckets - 1) / buckets * buckets;
        if (left >= n) left = n - 1;
        along_line(at->embed, id, n, rank, mean);
        disperse(s, at, id, left, rank, mean, buckets);
        disperse(s, at, id + left, n - left, rank, mean, buckets);
        return;
    }
    for (int m = 0; m < s->multi && n; m++) {
        int from = (int)sy_draw_below(key_of(s, at, m), (uint64_t)id[0], 1, (uint64_t)buckets);
        for (int i = 0; i < n; i++) ((sy_real *)s->map->w.data)[(size_t)m * at->V + id[i]] = (sy_real)((from + i) % buckets);
    }
}

static sy_status hash_learn(void *state, const sy_site *at, sy_err *err)
{
    hash_state *s = state;
    int buckets = at->E / s->multi;
    if (s->table == RANDOM || s->table == BIGRAM || !s->map->fresh) return SY_OK;
    if (s->map->w.dim[1] != at->V) return sy_fail(err, SY_ESHAPE, "the table is for %d ids, the corpus has %d", s->map->w.dim[1], at->V);
    if (s->table == BALANCED && !at->id_count) return SY_OK;  /* no text: a benchmark; id mod buckets stands */
    if (s->table == DISPERSED && (!at->embed || at->embed->type != SY_W_REAL)) return sy_fail(err, SY_EARG, "table=dispersed needs an embedding of real numbers; use table=balanced");
    size_t V = (size_t)at->V, D = at->embed ? (size_t)at->embed->dim[1] : 0;
    struct rank *rank = sy_calloc(V, sizeof *rank);
    int64_t *sum = sy_calloc((size_t)buckets, sizeof *sum);
    int *id = sy_calloc(V, sizeof *id);
    double *mean = sy_calloc(4 * D + 1, sizeof *mean);
    bool ok = rank && sum && id && mean;
    if (ok && s->table == BALANCED) balance(s, at, rank, sum, buckets);
    for (int i = 0; ok && i < at->V; i++) id[i] = i;
    if (ok && s->table == DISPERSED) disperse(s, at, id, at->V, rank, mean, buckets);
    sy_free(rank), sy_free(sum), sy_free(id), sy_free(mean);
    return ok ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory for a table of %d ids", at->V);
}

/* --- looking up --------------------------------------------------------------------------------------------------------------------- */

static int bucket(const hash_state *s, const sy_route_in *in, int m, int t, int buckets)
{
    if (s->table != BIGRAM) return (int)((const sy_real *)s->map->w.data)[(size_t)m * in->site->V + in->id[t]];
    return (int)sy_draw_below(key_of(s, in->site, m), (uint64_t)(in->back[0][t] + 1) << 32 | (uint64_t)in->id[t], 2, (uint64_t)buckets);
}

static sy_status hash_select(void *state, sy_tape *t, const sy_route_in *in, sy_tensor *z, sy_route *out, sy_err *err)
{
    const hash_state *s = state;
    int M = s->multi, buckets = out->E / M;
    bool done;
    (void)z;
    SY_TRY(sy_only_override(in, false, false, err));
    SY_TRY(sy_slots_again(t, in, out, &done, err));
    if (!in->id) return sy_fail(err, SY_EARG, "router hash needs the ids of the tokens");
    if (s->table == BIGRAM && !in->back[0]) return sy_fail(err, SY_EUNSUP, "table=bigram needs the id before each token, which is not supplied here");
    if (!done) {
        out->first_slot = sy_tape_alloc(t, (size_t)in->T + 1, sizeof(int));
        out->expert = sy_tape_alloc(t, (size_t)in->T * (size_t)M, sizeof(int));
        SY_TRY(sy_tape_status(t, err));
        for (int i = 0; i < in->T; i++) {
            if (sy_valid(in, i) && (in->id[i] < 0 || in->id[i] >= in->site->V)) return sy_fail(err, SY_EARG, "token %d has id %d, the table is for %d ids", i, in->id[i], in->site->V);
            for (int m = 0; m < M && sy_valid(in, i); m++) out->expert[out->n++] = m * buckets + bucket(s, in, m, i, buckets);
            out->first_slot[i + 1] = out->n;
        }
    }
    out->weight = sy_new(t, SY_DIM(out->n));
    SY_TRY(sy_tape_status(t, err));
    for (int i = 0; i < out->n; i++) out->weight->x[i] = 1;
    return SY_OK;
}

const sy_method sy_router_hash = {
    .kind = SY_ROUTER, .name = "hash", .title = "hash layer", .paper = "arXiv:2106.04426",
    .summary = "the expert is a fixed function of the token's id, so nothing can collapse and nothing is learned; the baseline that a learned router has to beat",
    .when = "As a baseline: what a learned router gives over a fixed division of the vocabulary. Use table=bigram with bytes, where single ids are too frequent to balance.",
    .cost = "Nothing: no parameter, no product; a look-up for each token.",
    .example = "switchyard train --recipe lm-tiny --data text --router hash:table=bigram --set balance= --out run",
    .opts = hash_opts, .size = sizeof(hash_state), .check = hash_check,
    .hooks = &(const sy_router_hooks){ SY_ROUTER_ABI, .flags = SY_NOLOGITS | SY_NOPROBS, .params = hash_params, .learn = hash_learn, .select = hash_select },
};
