/* tensor/ops/rows.c - moving rows, columns and single values; nothing is computed here but sums of what meets at one place.
 *
 * Rows that meet at one target are added in ascending order of the source: each task owns some columns and walks all rows. */
#include "tensor/ops/span.h"

#include <string.h>

/* y[to[i]] += x[i] for i ascending (gathers = false), columns cut over threads. */
struct add_rows { const sy_kernels *k; const int *to; int n; size_t D; const sy_real *x; sy_real *y; };

static void add_rows_columns(void *arg, int from, int to, int worker)
{
    (void)worker;
    const struct add_rows *a = arg;
    for (int i = 0; i < a->n; i++) {
        sy_real *y = a->y + (size_t)a->to[i] * a->D + from;
        a->k->add((size_t)(to - from), a->x + (size_t)i * a->D + from, y, y);
    }
}

static void add_rows(sy_engine *e, const int *to, int n, int D, const sy_real *x, sy_real *y)
{
    struct add_rows a = { e->k, to, n, (size_t)D, x, y };
    sy_each(e, D, n, add_rows_columns, &a);
}

static bool in_range(sy_tape *t, const char *op, const int *index, int n, int end)
{
    for (int i = 0; i < n; i++)
        if (index[i] < 0 || index[i] >= end) {
            sy_tape_fail(t, SY_EARG, "%s: index %d is %d, not in 0 to %d", op, i, index[i], end - 1);
            return false;
        }
    return true;
}

struct index { const int *at; int n; };

static sy_tensor *by_index(sy_tape *t, const sy_op *op, sy_tensor *x, const int *at, int n, int end, int rows)
{
    if (!sy__same(t, op->name, 1, &x) || !in_range(t, op->name, at, n, end)) return &t->empty;
    sy_node *node = sy_node_new(t, op, SY_IN(x), SY_NOW);
    if (!node || !sy_node_arg(node, &(struct index){ at, n }, sizeof(struct index))) return &t->empty;
    node->out = sy_new(t, SY_DIM(rows, sy_cols(x)));
    return sy_apply(node);
}

/* ---- y[i] = x[from[i]] ---- */

static void gather_rows(const sy_span *s, size_t at, size_t n)
{
    const int *from = ((const struct index *)s->n->arg)->at;
    size_t D = (size_t)s->cols;
    for (size_t r = at; r < at + n; r++) memcpy(s->y + r * D, s->a + (size_t)from[r] * D, D * sizeof *s->y);
}
static void rows_gather_f(sy_node *n) { sy__rows_f(n, sy_cols(n->out), 0, gather_rows); }
static void rows_gather_b(sy_node *n)
{
    const struct index *a = n->arg;
    sy_real *dx = sy_grad(n, 0);
    if (dx) add_rows(n->tape->eng, a->at, a->n, sy_cols(n->out), n->out->dx, dx);
}
static sy_tensor *rows_gather_sample(sy_tape *t, int variant)
{
    static const int from[] = { 2, 0, 2, 3, 2 };
    return variant ? NULL : sy_rows_gather(t, sy_sample_leaf(t, -1, 1, SY_DIM(4, 3)), from, 5);
}
const sy_op sy_op_rows_gather = { "rows_gather", rows_gather_f, rows_gather_b, NULL, rows_gather_sample };
sy_tensor *sy_rows_gather(sy_tape *t, sy_tensor *x, const int *from, int n)
{
    return by_index(t, &sy_op_rows_gather, x, from, n, sy_rows(x), n);
}

/* ---- y[to[i]] += x[i] ---- */

static void rows_scatter_f(sy_node *n)
{
    const struct index *a = n->arg;
    memset(n->out->x, 0, sy_numel(n->out) * sizeof(sy_real));
    add_rows(n->tape->eng, a->at, a->n, sy_cols(n->out), n->in[0]->x, n->out->x);
}
/* dx[i] += dy[to[i]]: the rows of the input, seen as values of it */
struct scatter_back { const sy_kernels *k; const int *to; size_t D; const sy_real *dy; sy_real *dx; };
static void scatter_back(void *arg, int from, int to, int worker)
{
    (void)worker;
    const struct scatter_back *b = arg;
    for (int i = from; i < to; i++) {
        sy_real *dx = b->dx + (size_t)i * b->D;
        b->k->add(b->D, b->dy + (size_t)b->to[i] * b->D, dx, dx);
    }
}
static void rows_scatter_b(sy_node *n)
{
    const struct index *a = n->arg;
    struct scatter_back b = { n->tape->eng->k, a->at, (size_t)sy_cols(n->out), n->out->dx, sy_grad(n, 0) };
    if (b.dx) sy_each(n->tape->eng, a->n, sy_cols(n->out), scatter_back, &b);
}
static sy_tensor *rows_scatter_sample(sy_tape *t, int variant)
{
    static const int to[] = { 2, 0, 2, 3, 2 };
    return variant ? NULL : sy_rows_scatter(t, sy_sample_leaf(t, -1, 1, SY_DIM(5, 3)), to, 6);
}
const sy_op sy_op_rows_scatter = { "rows_scatter", rows_scatter_f, rows_scatter_b, NULL, rows_scatter_sample };
sy_tensor *sy_rows_scatter(sy_tape *t, sy_tensor *x, const int *to, int T)
{
    return by_index(t, &sy_op_rows_scatter, x, to, t->status == SY_OK ? sy_rows(x) : 0, T, T);
}

/* ---- y[s] = x[t, col[s]] for the slots s of row t ---- */

struct pick { const int *first, *col; const sy_real *x, *dy; sy_real *y, *dx; size_t E; };

static void pick_rows(void *arg, int from, int to, int worker)
{
    (void)worker;
    const struct pick *p = arg;
    for (int t = from; t < to; t++)
        for (int s = p->first[t]; s < p->first[t + 1]; s++) {
            size_t at = (size_t)t * p->E + (size_t)p->col[s];
            if (p->dx) p->dx[at] += p->dy[s];
            else p->y[s] = p->x[at];
        }
}
static void pick_run(sy_node *n, sy_real *dx)
{
    struct pick p = *(const struct pick *)n->arg;
    int T = sy_rows(n->in[0]);
    p.x = n->in[0]->x;
    p.y = n->out->x;
    p.dy = n->out->dx;
    p.dx = dx;
    p.E = (size_t)sy_cols(n->in[0]);
    sy_each(n->tape->eng, T, T ? 4.0 * p.first[T] / T : 0, pick_rows, &p);
}
static void pick_f(sy_node *n) { pick_run(n, NULL); }
static void pick_b(sy_node *n)
{
    sy_real *dx = sy_grad(n, 0);
    if (dx) pick_run(n, dx);
}
static sy_tensor *pick_sample(sy_tape *t, int variant)
{
    static const int first[] = { 0, 2, 2, 5, 6 }, col[] = { 4, 1, 0, 3, 0, 2 };
    return variant ? NULL : sy_pick(t, sy_sample_leaf(t, -1, 1, SY_DIM(4, 5)), first, col, 6);
}
const sy_op sy_op_pick = { "pick", pick_f, pick_b, NULL, pick_sample };

/* first [T+1] starts at 0, never falls, and ends at n. */
static bool slots_fit(sy_tape *t, const char *op, const int *first, int T, int n)
{
    bool fit = first[0] == 0 && first[T] == n;
    for (int i = 0; fit && i < T; i++) fit = first[i] <= first[i + 1];
    if (!fit) sy_tape_fail(t, SY_EARG, "%s: the slots of %d rows must run from 0 to %d without a step back; they run from %d to %d", op, T, n, first[0], first[T]);
    return fit;
}

sy_tensor *sy_pick(sy_tape *t, sy_tensor *x, const int *first_slot, const int *col, int n)
{
    if (!sy__same(t, "pick", 1, &x) || !slots_fit(t, "pick", first_slot, sy_rows(x), n) || !in_range(t, "pick", col, n, sy_cols(x))) return &t->empty;
    sy_node *node = sy_node_new(t, &sy_op_pick, SY_IN(x), SY_NOW);
    if (!node || !sy_node_arg(node, &(struct pick){ .first = first_slot, .col = col }, sizeof(struct pick))) return &t->empty;
    node->out = sy_new(t, SY_DIM(n));
    return sy_apply(node);
}

/* ---- some columns, and columns side by side ---- */

struct cols_slice { int from; };

static void slice_rows(const sy_span *s, size_t at, size_t n)
{
    size_t from = (size_t)((const struct cols_slice *)s->n->arg)->from, D = (size_t)sy_cols(s->n->in[0]), m = (size_t)s->cols;
    for (size_t r = at; r < at + n; r++) memcpy(s->y + r * m, s->a + r * D + from, m * sizeof *s->y);
}
static void slice_back(const sy_span *s, size_t at, size_t n)
{
    size_t from = (size_t)((const struct cols_slice *)s->n->arg)->from, D = (size_t)sy_cols(s->n->in[0]), m = (size_t)s->cols;
    for (size_t r = at; s->da && r < at + n; r++) s->k->add(m, s->dy + r * m, s->da + r * D + from, s->da + r * D + from);
}
static void cols_slice_f(sy_node *n) { sy__rows_f(n, sy_cols(n->out), 0, slice_rows); }
static void cols_slice_b(sy_node *n) { sy__rows_b(n, sy_cols(n->out), 0, slice_back); }
static sy_tensor *cols_slice_sample(sy_tape *t, int variant) { return variant ? NULL : sy_cols_slice(t, sy_sample_leaf(t, -1, 1, SY_DIM(3, 7)), 2, 4); }
const sy_op sy_op_cols_slice = { "cols_slice", cols_slice_f, cols_slice_b, NULL, cols_slice_sample };
sy_tensor *sy_cols_slice(sy_tape *t, sy_tensor *x, int from, int n)
{
    if (!sy__same(t, "cols_slice", 1, &x)) return &t->empty;
    if (from < 0 || n < 0 || from > sy_cols(x) - n) return sy_tape_fail(t, SY_ESHAPE, "cols_slice: %d columns from column %d, the input has %d", n, from, sy_cols(x));
    sy_node *node = sy_node_new(t, &sy_op_cols_slice, SY_IN(x), SY_NOW);
    if (!node || !sy_node_arg(node, &(struct cols_slice){ from }, sizeof(struct cols_slice))) return &t->empty;
    node->out = sy_new(t, SY_DIM(sy_rows(x), n));
    return sy_apply(node);
}

static void concat_rows(const sy_span *s, size_t at, size_t n)
{
    size_t Da = (size_t)sy_cols(s->n->in[0]), Db = (size_t)sy_cols(s->n->in[1]);
    for (size_t r = at; r < at + n; r++) {
        sy_real *y = s->y + r * (Da + Db);
        memcpy(y, s->a + r * Da, Da * sizeof *y);
        memcpy(y + Da, s->b + r * Db, Db * sizeof *y);
    }
}
static void concat_back(const sy_span *s, size_t at, size_t n)
{
    size_t Da = (size_t)sy_cols(s->n->in[0]), Db = (size_t)sy_cols(s->n->in[1]);
    for (size_t r = at; r < at + n; r++) {
        const sy_real *dy = s->dy + r * (Da + Db);
        if (s->da) s->k->add(Da, dy, s->da + r * Da, s->da + r * Da);
        if (s->db) s->k->add(Db, dy + Da, s->db + r * Db, s->db + r * Db);
    }
}
static void cols_concat_f(sy_node *n) { sy__rows_f(n, sy_cols(n->out), 0, concat_rows); }
static void cols_concat_b(sy_node *n) { sy__rows_b(n, sy_cols(n->out), 0, concat_back); }
static sy_tensor *cols_concat_sample(sy_tape *t, int variant)
{
    if (variant) return NULL;
    sy_tensor *a = sy_sample_leaf(t, -1, 1, SY_DIM(3, 4));
    return sy_cols_concat(t, a, sy_sample_leaf(t, -1, 1, SY_DIM(3, 2)));
}
const sy_op sy_op_cols_concat = { "cols_concat", cols_concat_f, cols_concat_b, NULL, cols_concat_sample };
sy_tensor *sy_cols_concat(sy_tape *t, sy_tensor *a, sy_tensor *b)
{
    if (t->status != SY_OK) return &t->empty;
    if (!a->x || !b->x || sy_rows(a) != sy_rows(b)) return sy_tape_fail(t, SY_ESHAPE, "cols_concat: %d and %d rows of real values", a->x ? sy_rows(a) : 0, b->x ? sy_rows(b) : 0);
    sy_node *n = sy_node_new(t, &sy_op_cols_concat, SY_IN(a, b), SY_NOW);
    if (!n) return &t->empty;
    n->out = sy_new(t, SY_DIM(sy_rows(a), sy_cols(a) + sy_cols(b)));
    return sy_apply(n);
}

/* ---- another shape over the same values ---- */

static void reshape_f(sy_node *n) { (void)n; }
static void reshape_back(const sy_span *s, size_t at, size_t n) { if (s->da) s->k->add(n, s->dy + at, s->da + at, s->da + at); }
/* The first to reach the input hands its gradient over as it lies: the output's is not needed any more. */
static void reshape_b(sy_node *n)
{
    if (n->in[0]->wants && !n->in[0]->dx) n->in[0]->dx = n->out->dx;
    else sy__values_b(n, 1, reshape_back);
}
static sy_tensor *reshape_sample(sy_tape *t, int variant) { return variant ? NULL : sy_reshape(t, sy_sample_leaf(t, -1, 1, SY_DIM(3, 4)), SY_DIM(2, 3, 2)); }
const sy_op sy_op_reshape = { "reshape", reshape_f, reshape_b, NULL, reshape_sample };
sy_tensor *sy_reshape(sy_tape *t, sy_tensor *x, int nd, const int *dim)
{
    if (!sy__same(t, "reshape", 1, &x)) return &t->empty;
    size_t n = 1;
    bool fit = nd >= 0 && nd <= 4;
    for (int d = 0; fit && d < nd; d++) {
        fit = dim[d] >= 0;
        n *= (size_t)dim[d];
    }
    if (!fit || n != sy_numel(x)) return sy_tape_fail(t, SY_ESHAPE, "reshape: %zu values do not fill the new shape of %zu in %d dimensions", sy_numel(x), n, nd);
    sy_node *node = sy_node_new(t, &sy_op_reshape, SY_IN(x), SY_NOW);
    if (!node || !(node->out = sy_tape_alloc(t, 1, sizeof *node->out))) return &t->empty;
    node->out->x = x->x;
    node->out->nd = nd;
    memcpy(node->out->dim, dim, (size_t)nd * sizeof *dim);
    return sy_apply(node);
}

/* ---- weights of a token's slots over their sum ---- */

struct slots { const int *first; int T; sy_real eps; const sy_real *w, *y, *dy; sy_real *out, *dw; };

static sy_real slots_sum(const struct slots *a, int t)
{
    sy_real sum = 0;
    for (int s = a->first[t]; s < a->first[t + 1]; s++) sum += a->w[s];
    return sum + a->eps;
}
static void slots_f(void *arg, int from, int to, int worker)
{
    (void)worker;
    const struct slots *a = arg;
    for (int t = from; t < to; t++) {
        sy_real sum = slots_sum(a, t);
        for (int s = a->first[t]; s < a->first[t + 1]; s++) a->out[s] = a->w[s] / sum;
    }
}
static void slots_b(void *arg, int from, int to, int worker)     /* dw_s += (dy_s - sum_j dy_j y_j) / sum */
{
    (void)worker;
    const struct slots *a = arg;
    for (int t = from; t < to; t++) {
        sy_real sum = slots_sum(a, t), c = 0;
        for (int s = a->first[t]; s < a->first[t + 1]; s++) c += a->dy[s] * a->y[s];
        for (int s = a->first[t]; s < a->first[t + 1]; s++) a->dw[s] += (a->dy[s] - c) / sum;
    }
}
static void normalise_run(sy_node *n, sy_real *dw, void (*fn)(void *, int, int, int))
{
    struct slots a = *(const struct slots *)n->arg;
    a.w = n->in[0]->x;
    a.y = a.out = n->out->x;
    a.dy = n->out->dx;
    a.dw = dw;
    sy_each(n->tape->eng, a.T, a.T ? 8.0 * a.first[a.T] / a.T : 0, fn, &a);
}
static void normalise_slots_f(sy_node *n) { normalise_run(n, NULL, slots_f); }
static void normalise_slots_b(sy_node *n)
{
    sy_real *dw = sy_grad(n, 0);
    if (dw) normalise_run(n, dw, slots_b);
}
static sy_tensor *normalise_slots_sample(sy_tape *t, int variant)
{
    static const int first[] = { 0, 2, 2, 5, 6 };
    return variant > 1 ? NULL : sy_normalise_slots(t, sy_sample_leaf(t, 0.2, 1, SY_DIM(6)), first, 4, variant ? 0.5 : 0);
}
const sy_op sy_op_normalise_slots = { "normalise_slots", normalise_slots_f, normalise_slots_b, NULL, normalise_slots_sample };
sy_tensor *sy_normalise_slots(sy_tape *t, sy_tensor *w, const int *first_slot, int T, double eps)
{
    if (!sy__same(t, "normalise_slots", 1, &w) || !slots_fit(t, "normalise_slots", first_slot, T, (int)sy_numel(w))) return &t->empty;
    sy_node *n = sy_node_new(t, &sy_op_normalise_slots, SY_IN(w), SY_NOW);
    if (!n || !sy_node_arg(n, &(struct slots){ .first = first_slot, .T = T, .eps = (sy_real)eps }, sizeof(struct slots))) return &t->empty;
    n->out = sy_new_like(t, w);
    return sy_apply(n);
}
