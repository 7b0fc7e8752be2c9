/* route/combine.c - rows out to the experts and back.
 *
 *   pack      rows[r] = x[token[r]]                            backward: dx[t] += its rows' gradients, in slot order
 *   combine   y[t] = sum over kept slots, in slot order, of weight[s] row[s]
 *             backward: dweight[s] = <dy[t], row[s]>, drow[s] = weight[s] dy[t], in one pass
 *   matmul_nn C = A B, for the mixed slots of soft routing
 * A slot has one row and a row one slot, so each row and each weight is written by the task of one token: no atomics, and one order. */
#include <string.h>

#include "route/route.h"
#include "tensor/product.h"

#define X(name) extern const sy_op sy_op_##name;
#include "route/ops.def"
#undef X
#define X(name) &sy_op_##name,
const sy_op *const sy_route_ops[] = {
#include "route/ops.def"
    NULL
};
#undef X

struct part { const sy_plan *p; int from, to; };         /* rows from .. to-1 of the plan */
struct task { sy_node *n; sy_real *da, *db, *dw; };

static void pack_rows(void *arg, int from, int to, int worker)
{
    (void)worker;
    const sy_node *n = ((struct task *)arg)->n;
    const struct part *g = n->arg;
    size_t D = (size_t)sy_cols(n->in[0]);
    for (int r = from; r < to; r++) memcpy(n->out->x + (size_t)r * D, n->in[0]->x + (size_t)g->p->token[g->from + r] * D, D * sizeof(sy_real));
}

static void pack_f(sy_node *n)
{
    const struct part *g = n->arg;
    sy_each(n->tape->eng, g->to - g->from, sy_cols(n->in[0]), pack_rows, &(struct task){ .n = n });
}

static void unpack_tokens(void *arg, int from, int to, int worker)
{
    (void)worker;
    const struct task *k = arg;
    const struct part *g = k->n->arg;
    size_t D = (size_t)sy_cols(k->n->in[0]);
    for (int t = from; t < to; t++)
        for (int s = g->p->first_slot[t]; s < g->p->first_slot[t + 1]; s++) {
            int r = g->p->row[s];
            if (r < g->from || r >= g->to) continue;
            sy_real *dx = k->da + (size_t)t * D;
            k->n->tape->eng->k->add(D, dx, k->n->out->dx + (size_t)(r - g->from) * D, dx);
        }
}

static void pack_b(sy_node *n)
{
    const struct part *g = n->arg;
    sy_real *dx = sy_grad(n, 0);
    if (dx) sy_each(n->tape->eng, g->p->T, (double)sy_cols(n->in[0]) * (g->to - g->from) / (g->p->T + 1), unpack_tokens, &(struct task){ n, dx, NULL, NULL });
}

/* A route for samples: a token without slots, one with a dropped slot, an expert without rows, and the last expert null from 4 on. */
static const sy_plan *sample_plan(sy_tape *t, int variant)
{
    static int first_slot[][6] = { { 0, 2, 2, 5, 6, 8 }, { 0, 1, 2, 3, 4, 5 }, { 0, 0, 0, 0, 0, 0 } };
    static int expert[][8] = { { 2, 0, 2, ~1, 4, 0, 3, 2 }, { 1, 1, 1, 1, 1 }, { 0 } };
    static const int n[] = { 8, 5, 0 };
    if (variant >= (int)SY_COUNT(n)) return NULL;
    sy_route r = { .T = 5, .E = 4, .Z = 1, .n = n[variant], .first_slot = first_slot[variant], .expert = expert[variant] };
    return sy_plan_build(t, &r, 4);
}

static sy_tensor *pack_sample(sy_tape *t, int variant)
{
    const sy_plan *p = sample_plan(t, variant);
    return p ? sy_gather(t, sy_sample_leaf(t, -1, 1, SY_DIM(5, 7)), p) : NULL;
}

const sy_op sy_op_pack = { "pack", pack_f, pack_b, NULL, pack_sample };

sy_tensor *sy_gather_part(sy_tape *t, sy_tensor *x, const sy_plan *p, int from, int to)
{
    if (t->status != SY_OK) return &t->empty;
    if (sy_rows(x) != p->T || from < 0 || from > to || to > p->n)
        return sy_tape_fail(t, SY_ESHAPE, "gather: rows %d .. %d of a plan with %d rows of %d tokens, input has %d rows", from, to, p->n, p->T, sy_rows(x));
    sy_node *n = sy_node_new(t, &sy_op_pack, SY_IN(x), SY_NOW);
    if (!n || !sy_node_arg(n, &(struct part){ p, from, to }, sizeof(struct part))) return &t->empty;
    n->out = sy_new(t, SY_DIM(to - from, sy_cols(x)));
    return sy_apply(n);
}

sy_tensor *sy_gather(sy_tape *t, sy_tensor *x, const sy_plan *p) { return sy_gather_part(t, x, p, 0, p->n); }

/* Row r of the plan: in the first part up to its length, then in the second. */
static inline sy_real *row_at(sy_real *a, sy_real *b, int split, int r, size_t D)
{
    if (r < split) return a ? a + (size_t)r * D : NULL;
    return b ? b + (size_t)(r - split) * D : NULL;
}

static void combine_tokens(void *arg, int from, int to, int worker)
{
    (void)worker;
    const sy_node *n = ((struct task *)arg)->n;
    const sy_kernels *k = n->tape->eng->k;
    const struct part *g = n->arg;
    const sy_tensor *a = n->in[0], *w = n->in[1], *b = n->in[2];
    size_t D = (size_t)sy_cols(a);
    for (int t = from; t < to; t++) {
        sy_real *y = n->out->x + (size_t)t * D;
        bool any = false;
        for (int s = g->p->first_slot[t]; s < g->p->first_slot[t + 1]; s++) {
            int r = g->p->row[s];
            if (r < 0) continue;
            const sy_real *x = row_at(a->x, b ? b->x : NULL, g->to, r, D);
            if (any) k->axpy(D, w->x[s], x, y);
            else k->scale(D, w->x[s], x, y);
            any = true;
        }
        if (!any) memset(y, 0, D * sizeof *y);
    }
}

static void combine_f(sy_node *n)
{
    const struct part *g = n->arg;
    sy_each(n->tape->eng, g->p->T, 2.0 * sy_cols(n->in[0]) * (g->p->n + 1) / (g->p->T + 1), combine_tokens, &(struct task){ .n = n });
}

static void split_tokens(void *arg, int from, int to, int worker)
{
    (void)worker;
    const struct task *c = arg;
    const sy_kernels *k = c->n->tape->eng->k;
    const struct part *g = c->n->arg;
    const sy_tensor *a = c->n->in[0], *w = c->n->in[1], *b = c->n->in[2];
    size_t D = (size_t)sy_cols(a);
    for (int t = from; t < to; t++) {
        const sy_real *dy = c->n->out->dx + (size_t)t * D;
        for (int s = g->p->first_slot[t]; s < g->p->first_slot[t + 1]; s++) {
            int r = g->p->row[s];
            if (r < 0) continue;
            sy_real *drow = row_at(c->da, c->db, g->to, r, D);
            if (c->dw) c->dw[s] += k->dot(D, dy, row_at(a->x, b ? b->x : NULL, g->to, r, D));
            if (drow) k->axpy(D, w->x[s], dy, drow);
        }
    }
}

static void combine_b(sy_node *n)
{
    const struct part *g = n->arg;
    struct task c = { n, sy_grad(n, 0), n->in[2] ? sy_grad(n, 2) : NULL, sy_grad(n, 1) };
    if (n->tape->status == SY_OK) sy_each(n->tape->eng, g->p->T, 4.0 * sy_cols(n->in[0]) * (g->p->n + 1) / (g->p->T + 1), split_tokens, &c);
}

static sy_tensor *combine_sample(sy_tape *t, int variant)
{
    const sy_plan *p = sample_plan(t, variant);
    if (!p) return NULL;
    int slots = p->first_slot[p->T], a = variant == 0 ? 4 : p->n;
    sy_tensor *rows = sy_sample_leaf(t, -1, 1, SY_DIM(a, 7)), *rest = a < p->n ? sy_sample_leaf(t, -1, 1, SY_DIM(p->n - a, 7)) : NULL;
    return sy_combine_parts(t, rows, rest, sy_sample_leaf(t, 0.1, 1, SY_DIM(slots)), p);
}

const sy_op sy_op_combine = { "combine", combine_f, combine_b, NULL, combine_sample };

sy_tensor *sy_combine_parts(sy_tape *t, sy_tensor *a, sy_tensor *b, sy_tensor *weight, const sy_plan *p)
{
    if (t->status != SY_OK) return &t->empty;
    int rows = sy_rows(a) + (b ? sy_rows(b) : 0);
    if (rows != p->n || (b && sy_cols(b) != sy_cols(a)) || sy_numel(weight) != (size_t)p->first_slot[p->T])
        return sy_tape_fail(t, SY_ESHAPE, "combine: %d rows for a plan of %d, %zu weights for %d slots", rows, p->n, sy_numel(weight), p->first_slot[p->T]);
    sy_node *n = sy_node_new(t, &sy_op_combine, SY_IN(a, weight, b), SY_NOW);
    if (!n || !sy_node_arg(n, &(struct part){ p, 0, sy_rows(a) }, sizeof(struct part))) return &t->empty;
    n->out = sy_new(t, SY_DIM(p->T, sy_cols(a)));
    return sy_apply(n);
}

sy_tensor *sy_combine(sy_tape *t, sy_tensor *rows, sy_tensor *weight, const sy_plan *p) { return sy_combine_parts(t, rows, NULL, weight, p); }

static void matmul_nn_f(sy_node *n)
{
    const sy_tensor *a = n->in[0], *b = n->in[1];
    int M = sy_rows(a), K = sy_cols(a), N = sy_cols(b);
    sy_gemm_job j = { .M = M, .N = N, .K = K, .A = a->x, .ars = (size_t)K, .aks = 1, .B = b->x, .bks = (size_t)N, .C = n->out->x, .ldc = (size_t)N };
    sy_node_gemm(n, &j, 1);
}

/* dA += dC B^T, where B [K,N] is read as the rows of a weight; dB += A^T dC. */
static void matmul_nn_b(sy_node *n)
{
    const sy_tensor *a = n->in[0], *b = n->in[1];
    int M = sy_rows(a), K = sy_cols(a), N = sy_cols(b), jobs = 0;
    sy_real *da = sy_grad(n, 0), *db = sy_grad(n, 1), *dc = n->out->dx;
    sy_gemm_job j[2];
    if (da) j[jobs++] = (sy_gemm_job){ .M = M, .N = K, .K = N, .A = dc, .ars = (size_t)N, .aks = 1, .B = b->x, .bks = (size_t)N, .rows = true, .acc = true, .C = da, .ldc = (size_t)K };
    if (db) j[jobs++] = (sy_gemm_job){ .M = K, .N = N, .K = M, .A = a->x, .ars = 1, .aks = (size_t)K, .B = dc, .bks = (size_t)N, .acc = true, .C = db, .ldc = (size_t)N };
    sy_node_gemm(n, j, jobs);
}

static sy_tensor *matmul_nn_sample(sy_tape *t, int variant)
{
    static const int dim[][3] = { { 4, 5, 3 }, { 1, 1, 1 }, { 3, 11, 6 } };
    if (variant >= (int)SY_COUNT(dim)) return NULL;
    const int *d = dim[variant];
    sy_tensor *a = sy_sample_leaf(t, -1, 1, SY_DIM(d[0], d[1])), *b = sy_sample_leaf(t, -1, 1, SY_DIM(d[1], d[2]));
    return sy_matmul_nn(t, a, b);
}

const sy_op sy_op_matmul_nn = { "matmul_nn", matmul_nn_f, matmul_nn_b, NULL, matmul_nn_sample };

sy_tensor *sy_matmul_nn(sy_tape *t, sy_tensor *a, sy_tensor *b)
{
    if (t->status != SY_OK) return &t->empty;
    if (sy_cols(a) != sy_rows(b))
        return sy_tape_fail(t, SY_ESHAPE, "matmul_nn: the factors are %d x %d and %d x %d", sy_rows(a), sy_cols(a), sy_rows(b), sy_cols(b));
    sy_node *n = sy_node_new(t, &sy_op_matmul_nn, SY_IN(a, b), SY_NOW);
    if (!n) return &t->empty;
    n->out = sy_new(t, SY_DIM(sy_rows(a), sy_cols(b)));
    return sy_apply(n);
}
