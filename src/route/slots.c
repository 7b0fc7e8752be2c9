/* route/slots.c - from scores to slots: the K best of a token, group limits, weights of slots. */
#include <string.h>

#include "route/router.h"

void sy_top_row(const sy_real *row, int n, int k, int *id)
{
    int have = 0;
    for (int e = 0; e < n; e++) {
        if (have == k && !(row[e] > row[id[k - 1]])) continue;
        int i = have < k ? have++ : k - 1;
        for (; i > 0 && row[e] > row[id[i - 1]]; i--) id[i] = id[i - 1];   /* strict: equals stay before, the lower index wins */
        id[i] = e;
    }
}

/* Which of two is given up first: the smaller, and the later of equals. */
static bool worse(const sy_real *x, size_t stride, int a, int b)
{
    sy_real u = x[(size_t)a * stride], v = x[(size_t)b * stride];
    return u < v || (u == v && a > b);
}

/* A heap whose root is the worst that is held. */
int sy_best_of(const sy_real *x, size_t stride, const int *id, int n, int k, int *heap)
{
    int have = 0;
    for (int i = 0; i < n && k > 0; i++) {
        int new = id[i], at = 0;
        if (have < k) {
            for (at = have++; at > 0 && worse(x, stride, new, heap[(at - 1) / 2]); at = (at - 1) / 2) heap[at] = heap[(at - 1) / 2];
        } else {
            if (!worse(x, stride, heap[0], new)) continue;
            for (int child = 1; child < k; child = 2 * at + 1) {
                if (child + 1 < k && worse(x, stride, heap[child + 1], heap[child])) child++;
                if (!worse(x, stride, heap[child], new)) break;
                heap[at] = heap[child];
                at = child;
            }
        }
        heap[at] = new;
    }
    return have;
}

/* The first run's choices: copied, since an edit may change them in place. */
static sy_status same_again(sy_tape *t, const sy_route_in *in, sy_route *out, sy_err *err)
{
    const sy_route *a = in->again;
    if (a->T != in->T) return sy_fail(err, SY_ESHAPE, "the first run had %d tokens, the second has %d", a->T, in->T);
    out->first_slot = sy_tape_alloc(t, (size_t)a->T + 1, sizeof(int));
    out->expert = sy_tape_alloc(t, (size_t)a->n, sizeof(int));
    SY_TRY(sy_tape_status(t, err));
    memcpy(out->first_slot, a->first_slot, ((size_t)a->T + 1) * sizeof(int));
    memcpy(out->expert, a->expert, (size_t)a->n * sizeof(int));
    out->n = a->n;
    return SY_OK;
}

sy_status sy_slots_again(sy_tape *t, const sy_route_in *in, sy_route *out, bool *done, sy_err *err)
{
    SY_TRY(sy_tape_status(t, err));
    *done = in->again != NULL;
    return in->again ? same_again(t, in, out, err) : SY_OK;
}

sy_status sy_only_override(const sy_route_in *in, bool k, bool threshold, sy_err *err)
{
    const sy_override *o = in->over;
    if (!o) return SY_OK;
    if (o->k && !k) return sy_fail(err, SY_EUNSUP, "k %d is given, but this router does not choose by a number of experts a token", o->k);
    if (o->n_ranks) return sy_fail(err, SY_EUNSUP, "%d ranks are given, but this router does not take experts by their place in an order", o->n_ranks);
    if (o->threshold != 0 && !threshold) return sy_fail(err, SY_EUNSUP, "threshold %g is given, but this router does not choose by a threshold", o->threshold);
    return SY_OK;
}

struct pick { const sy_route_in *in; const sy_tensor *by; sy_route *out; int k, deep; int *order; };

static bool taken(const int *id, int k, int e)
{
    for (int i = 0; i < k; i++) if (id[i] == e) return true;
    return false;
}

/* Places of the order by score that the caller asked for; a place equal to the number of experts is one drawn at random among
 * the experts that the token does not have yet. */
static void by_rank(const struct pick *p, const int *order, int t, int *id)
{
    int cols = sy_cols(p->by);
    for (int i = 0; i < p->k; i++) id[i] = p->in->over->ranks[i] < cols ? order[p->in->over->ranks[i]] : -1;
    for (int i = 0; i < p->k; i++) {
        int left = 0;
        if (id[i] >= 0) continue;
        for (int e = 0; e < cols; e++) left += !taken(id, p->k, e);
        int skip = (int)sy_draw_below(p->in->key[t], (uint64_t)p->in->pos[t], (unsigned)i, (uint64_t)left), e = 0;
        for (; taken(id, p->k, e) || skip-- > 0; e++) { }
        id[i] = e;
    }
}

static void pick_rows(void *arg, int from, int to, int worker)
{
    (void)worker;
    const struct pick *p = arg;
    int cols = sy_cols(p->by);
    for (int t = from; t < to; t++) {
        int *id = p->out->expert + p->out->first_slot[t];
        const sy_real *row = p->by->x + (size_t)t * cols;
        if (p->out->first_slot[t + 1] == p->out->first_slot[t]) continue;
        if (!p->order) { sy_top_row(row, cols, p->k, id); continue; }
        int *order = p->order + (size_t)t * p->deep;
        sy_top_row(row, cols, p->deep, order);
        by_rank(p, order, t, id);
    }
}

sy_status sy_slots_topk(sy_tape *t, const sy_route_in *in, const sy_tensor *by, int K, sy_route *out, sy_err *err)
{
    SY_TRY(sy_tape_status(t, err));
    if (in->again) return same_again(t, in, out, err);
    const sy_override *o = in->over;
    int cols = sy_cols(by), deep = 0;
    bool ranks = o && o->n_ranks > 0;
    if (o && o->threshold != 0) return sy_fail(err, SY_EUNSUP, "threshold %g is given, but this router takes a fixed number of experts; override k or ranks instead", o->threshold);
    if (o && o->k) K = o->k;
    if (ranks) K = o->n_ranks;
    if (sy_rows(by) != in->T) return sy_fail(err, SY_ESHAPE, "scores have %d rows for %d tokens", sy_rows(by), in->T);
    if (K < 1 || K > cols) return sy_fail(err, SY_EARG, "%d experts a token are asked for, there are %d", K, cols);
    for (int i = 0; ranks && i < K; i++) {
        if (o->ranks[i] < 0 || o->ranks[i] > cols) return sy_fail(err, SY_EARG, "rank %d is outside 0 .. %d (%d: a random expert)", o->ranks[i], cols, cols);
        if (o->ranks[i] == cols && (!in->key || !in->pos)) return sy_fail(err, SY_EARG, "a random expert needs the keys and positions of the tokens");
        if (o->ranks[i] < cols && o->ranks[i] >= deep) deep = o->ranks[i] + 1;
    }
    out->first_slot = sy_tape_alloc(t, (size_t)in->T + 1, sizeof(int));
    SY_TRY(sy_tape_status(t, err));
    for (int i = 0; i < in->T; i++) out->first_slot[i + 1] = out->first_slot[i] + (sy_valid(in, i) ? K : 0);
    out->n = out->first_slot[in->T];
    out->expert = sy_tape_alloc(t, (size_t)out->n, sizeof(int));
    struct pick p = { in, by, out, K, deep ? deep : 1, ranks ? sy_tape_alloc(t, (size_t)in->T * (deep ? deep : 1), sizeof(int)) : NULL };
    SY_TRY(sy_tape_status(t, err));
    sy_each(t->eng, in->T, cols + 4.0 * K, pick_rows, &p);
    return SY_OK;
}

sy_status sy_slots_dense(sy_tape *t, const sy_route_in *in, sy_tensor *g, sy_route *out, sy_err *err)
{
    SY_TRY(sy_tape_status(t, err));
    int cols = sy_cols(g), n = 0;
    if (in->again) SY_TRY(same_again(t, in, out, err));
    else {
        out->first_slot = sy_tape_alloc(t, (size_t)in->T + 1, sizeof(int));
        SY_TRY(sy_tape_status(t, err));
        for (int i = 0; i < in->T; i++) {
            for (int e = 0; e < cols && sy_valid(in, i); e++) n += g->x[(size_t)i * cols + e] > 0;
            out->first_slot[i + 1] = n;
        }
        out->n = n;
        out->expert = sy_tape_alloc(t, (size_t)n, sizeof(int));
        SY_TRY(sy_tape_status(t, err));
        for (int i = 0; i < in->T; i++) {
            int k = out->first_slot[i + 1] - out->first_slot[i];     /* the k largest are the k positive ones */
            if (k) sy_top_row(g->x + (size_t)i * cols, cols, k, out->expert + out->first_slot[i]);
        }
    }
    out->weight = sy_slots_pick(t, g, out);
    return sy_tape_status(t, err);
}

sy_tensor *sy_slots_pick(sy_tape *t, sy_tensor *x, const sy_route *r)
{
    int *col = sy_tape_alloc(t, (size_t)r->n, sizeof *col);
    if (!col) return &t->empty;
    for (int s = 0; s < r->n; s++) col[s] = sy_wanted(r->expert[s]);
    return sy_pick(t, x, r->first_slot, col, r->n);
}

sy_tensor *sy_slots_normalise(sy_tape *t, sy_tensor *w, const sy_route *r)
{
    bool dropped = false;
    for (int s = 0; s < r->n; s++) dropped |= r->expert[s] < 0;
    if (dropped) {
        sy_real *kept = sy_tape_alloc(t, (size_t)r->n, sizeof *kept);
        if (!kept) return &t->empty;
        for (int s = 0; s < r->n; s++) kept[s] = r->expert[s] >= 0;
        w = sy_mul_const(t, w, kept);
    }
    return sy_normalise_slots(t, w, r->first_slot, r->T, 1e-20);     /* the constant matters only where nothing is kept */
}

sy_tensor *sy_slots_sum(sy_tape *t, sy_tensor *w, const sy_route *r)
{
    int n = r->E + r->Z, kept = 0;
    int *slot = sy_tape_alloc(t, (size_t)r->n, sizeof *slot), *expert = sy_tape_alloc(t, (size_t)r->n, sizeof *expert);
    if (!slot || !expert) return &t->empty;
    for (int i = 0; i < r->n; i++) {
        if (r->expert[i] < 0) continue;
        slot[kept] = i;
        expert[kept++] = r->expert[i];
    }
    w = sy_reshape(t, w, SY_DIM(r->n, 1));
    if (kept < r->n) w = sy_rows_gather(t, w, slot, kept);
    return sy_reshape(t, sy_rows_scatter(t, w, expert, n), SY_DIM(n));
}

sy_tensor *sy_cv2(sy_tape *t, sy_tensor *v, double scale)
{
    int n = (int)sy_numel(v);
    v = sy_reshape(t, v, SY_DIM(n, 1));
    sy_tensor *mean = sy_affine(t, sy_sum(t, v), 1.0 / n, 0);
    sy_tensor *var = sy_affine(t, sy_sum(t, sy_square(t, sy_add_bias(t, v, sy_affine(t, mean, -1, 0)))), scale / n, 0);
    return sy_div(t, var, sy_affine(t, sy_square(t, mean), 1, 1e-10));
}

int sy_count_valid(const sy_route_in *in)
{
    int n = 0;
    for (int t = 0; t < in->T; t++) n += sy_valid(in, t);
    return n;
}

void sy_route_loss(sy_tape *t, const sy_route_in *in, sy_route *out, const char *name, sy_tensor *value)
{
    if (out->aux && in->mode == SY_TRAIN) sy_losses_add(t, out->aux, name, in->site->layer, value);
}

sy_tensor *sy_jitter(sy_tape *t, const sy_route_in *in, double eps)
{
    if (!(eps > 0) || (in->mode != SY_TRAIN && in->mode != SY_COUNT_PASS)) return in->x;
    if (!in->key || !in->pos) return sy_tape_fail(t, SY_EARG, "router_jitter_noise needs the keys and positions of the tokens");
    int D = sy_cols(in->x);
    sy_real *u = sy_tape_alloc(t, sy_numel(in->x), sizeof *u);
    for (int i = 0; u && i < in->T; i++)
        for (int d = 0; d < D; d++) u[(size_t)i * D + d] = (sy_real)(1 + eps * (2 * sy_draw(in->key[i], (uint64_t)in->pos[i], (unsigned)d) - 1));
    return u ? sy_mul_const(t, in->x, u) : &t->empty;
}

struct limit { const sy_tensor *by; sy_real *out, *score; int *best; int groups, keep; bool two; sy_real mask; };

static void limit_rows(void *arg, int from, int to, int worker)
{
    (void)worker;
    const struct limit *l = arg;
    int cols = sy_cols(l->by), size = cols / l->groups, top[2];
    bool two = l->two && size > 1;
    for (int t = from; t < to; t++) {
        const sy_real *x = l->by->x + (size_t)t * cols;
        sy_real *y = l->out + (size_t)t * cols, *score = l->score + (size_t)t * l->groups;
        int *best = l->best + (size_t)t * l->keep;
        for (int g = 0; g < l->groups; g++) {
            sy_top_row(x + g * size, size, two ? 2 : 1, top);
            score[g] = x[g * size + top[0]] + (two ? x[g * size + top[1]] : 0);
        }
        sy_top_row(score, l->groups, l->keep, best);
        for (int e = 0; e < cols; e++) y[e] = l->mask;
        for (int i = 0; i < l->keep; i++) memcpy(y + best[i] * size, x + best[i] * size, (size_t)size * sizeof *y);
    }
}

sy_tensor *sy_group_limit(sy_tape *t, const sy_tensor *by, int groups, int keep, bool two, double mask)
{
    if (t->status != SY_OK) return &t->empty;
    if (groups < 1 || keep < 1 || keep > groups || sy_cols(by) % groups)
        return sy_tape_fail(t, SY_ESHAPE, "%d of %d groups of %d experts: groups must divide the experts", keep, groups, sy_cols(by));
    sy_tensor *out = sy_new_like(t, by);
    size_t T = (size_t)sy_rows(by);
    struct limit l = { by, out->x, sy_tape_alloc(t, T * groups, sizeof(sy_real)), sy_tape_alloc(t, T * keep, sizeof(int)), groups, keep, two, (sy_real)mask };
    if (t->status == SY_OK) sy_each(t->eng, (int)T, 3.0 * sy_cols(by), limit_rows, &l);
    return t->status == SY_OK ? out : &t->empty;
}
