/* tensor/ops/reduce.c - sums: of everything, of rows, of columns.
 *
 * A sum of everything goes over runs of 4096 values, whose sums are added in order in double: the cut depends on the size alone. */
#include "tensor/ops/span.h"

enum { RUN = 4096 };

struct all { const sy_kernels *k; const sy_real *x, *c; size_t n; double *part; };

static void sum_runs(void *arg, int from, int to, int worker)
{
    (void)worker;
    const struct all *a = arg;
    for (int i = from; i < to; i++) {
        size_t at = (size_t)i * RUN, n = a->n - at < RUN ? a->n - at : RUN;
        a->part[i] = (double)(a->c ? a->k->dot(n, a->x + at, a->c + at) : a->k->sum(n, a->x + at));
    }
}

/* Sum of x, or of x c. */
static double sum_all(sy_node *n, const sy_real *c)
{
    sy_tape *t = n->tape;
    struct all a = { t->eng->k, n->in[0]->x, c, sy_numel(n->in[0]), NULL };
    size_t runs = (a.n + RUN - 1) / RUN;
    sy_mark mark = sy_arena_mark(&t->arena);
    a.part = sy_tape_alloc(t, runs, sizeof *a.part);
    if (!a.part) return 0;
    sy_each(t->eng, (int)runs, RUN, sum_runs, &a);
    double s = 0;
    for (size_t i = 0; i < runs; i++) s += a.part[i];
    sy_arena_release(&t->arena, mark);
    return s;
}

static sy_tensor *to_one(sy_tape *t, const sy_op *op, sy_tensor *x, const void *arg, size_t size)
{
    if (!sy__same(t, op->name, 1, &x)) return &t->empty;
    sy_node *n = sy_node_new(t, op, SY_IN(x), SY_NOW);
    if (!n || (arg && !sy_node_arg(n, arg, size))) return &t->empty;
    n->out = sy_new(t, SY_DIM(1));
    return sy_apply(n);
}

/* dx += g, everywhere. */
static void spread(sy_node *n, sy_real g)
{
    sy_real *dx = sy_grad(n, 0);
    size_t all = dx ? sy_numel(n->in[0]) : 0;
    for (size_t i = 0; i < all; i++) dx[i] += g;
}

static void sum_f(sy_node *n) { n->out->x[0] = (sy_real)sum_all(n, NULL); }
static void sum_b(sy_node *n) { spread(n, n->out->dx[0]); }
static sy_tensor *sum_sample(sy_tape *t, int variant) { return variant ? NULL : sy_sum(t, sy_sample_leaf(t, -1, 1, SY_DIM(3, 5))); }
const sy_op sy_op_sum = { "sum", sum_f, sum_b, NULL, sum_sample };
sy_tensor *sy_sum(sy_tape *t, sy_tensor *x) { return to_one(t, &sy_op_sum, x, NULL, 0); }

static void mean_f(sy_node *n) { n->out->x[0] = (sy_real)(sum_all(n, NULL) / (double)sy_numel(n->in[0])); }
static void mean_b(sy_node *n) { spread(n, (sy_real)((double)n->out->dx[0] / (double)sy_numel(n->in[0]))); }
static sy_tensor *mean_sample(sy_tape *t, int variant) { return variant ? NULL : sy_mean(t, sy_sample_leaf(t, -1, 1, SY_DIM(3, 5))); }
const sy_op sy_op_mean = { "mean", mean_f, mean_b, NULL, mean_sample };
sy_tensor *sy_mean(sy_tape *t, sy_tensor *x)
{
    if (t->status == SY_OK && !sy_numel(x)) return sy_tape_fail(t, SY_ESHAPE, "mean: of no values");
    return to_one(t, &sy_op_mean, x, NULL, 0);
}

struct dot_const { const sy_real *c; };

static void dot_const_f(sy_node *n) { n->out->x[0] = (sy_real)sum_all(n, ((const struct dot_const *)n->arg)->c); }
static void dot_const_b(sy_node *n)
{
    sy_real *dx = sy_grad(n, 0);
    if (dx) n->tape->eng->k->axpy(sy_numel(n->in[0]), n->out->dx[0], ((const struct dot_const *)n->arg)->c, dx);
}
static sy_tensor *dot_const_sample(sy_tape *t, int variant)
{
    static const sy_real c[] = { 1, 0, -2, 0.5, 3, -0.25 };
    return variant ? NULL : sy_dot_const(t, sy_sample_leaf(t, -1, 1, SY_DIM(2, 3)), c);
}
const sy_op sy_op_dot_const = { "dot_const", dot_const_f, dot_const_b, NULL, dot_const_sample };
sy_tensor *sy_dot_const(sy_tape *t, sy_tensor *x, const sy_real *c) { return to_one(t, &sy_op_dot_const, x, &(struct dot_const){ c }, sizeof(struct dot_const)); }

struct sum_rows { const uint8_t *valid; };

static void sum_rows_f(sy_node *n)
{
    int D = sy_cols(n->in[0]);
    for (int c = 0; c < D; c++) n->out->x[c] = 0;
    sy__col_sums(n->tape->eng, sy_rows(n->in[0]), D, n->in[0]->x, NULL, ((const struct sum_rows *)n->arg)->valid, n->out->x);
}
static void sum_rows_b(sy_node *n)
{
    const uint8_t *valid = ((const struct sum_rows *)n->arg)->valid;
    size_t D = (size_t)sy_cols(n->in[0]);
    sy_real *dx = sy_grad(n, 0);
    for (int r = 0; dx && r < sy_rows(n->in[0]); r++)
        if (!valid || valid[r]) n->tape->eng->k->add(D, n->out->dx, dx + (size_t)r * D, dx + (size_t)r * D);
}
static sy_tensor *sum_rows_sample(sy_tape *t, int variant)
{
    static const uint8_t valid[] = { 1, 0, 1, 1 };
    return variant > 1 ? NULL : sy_sum_rows(t, sy_sample_leaf(t, -1, 1, SY_DIM(4, 5)), variant ? valid : NULL);
}
const sy_op sy_op_sum_rows = { "sum_rows", sum_rows_f, sum_rows_b, NULL, sum_rows_sample };
sy_tensor *sy_sum_rows(sy_tape *t, sy_tensor *x, const uint8_t *valid)
{
    if (!sy__same(t, "sum_rows", 1, &x)) return &t->empty;
    sy_node *n = sy_node_new(t, &sy_op_sum_rows, SY_IN(x), SY_NOW);
    if (!n || !sy_node_arg(n, &(struct sum_rows){ valid }, sizeof(struct sum_rows))) return &t->empty;
    n->out = sy_new(t, SY_DIM(sy_cols(x)));
    return sy_apply(n);
}

static void sum_cols_values(const sy_span *s, size_t at, size_t n)
{
    size_t D = (size_t)sy_cols(s->n->in[0]);
    for (size_t r = at; r < at + n; r++) s->y[r] = s->k->sum(D, s->a + r * D);
}
static void sum_cols_back(const sy_span *s, size_t at, size_t n)
{
    size_t D = (size_t)sy_cols(s->n->in[0]);
    for (size_t r = at; s->da && r < at + n; r++)
        for (size_t c = 0; c < D; c++) s->da[r * D + c] += s->dy[r];
}
static void sum_cols_f(sy_node *n) { sy__values_f(n, sy_cols(n->in[0]), sum_cols_values); }
static void sum_cols_b(sy_node *n) { sy__values_b(n, sy_cols(n->in[0]), sum_cols_back); }
static sy_tensor *sum_cols_sample(sy_tape *t, int variant) { return variant ? NULL : sy_sum_cols(t, sy_sample_leaf(t, -1, 1, SY_DIM(4, 5))); }
const sy_op sy_op_sum_cols = { "sum_cols", sum_cols_f, sum_cols_b, NULL, sum_cols_sample };
sy_tensor *sy_sum_cols(sy_tape *t, sy_tensor *x)
{
    if (!sy__same(t, "sum_cols", 1, &x)) return &t->empty;
    sy_node *n = sy_node_new(t, &sy_op_sum_cols, SY_IN(x), SY_NOW);
    if (!n) return &t->empty;
    n->out = sy_new(t, SY_DIM(sy_rows(x)));
    return sy_apply(n);
}
