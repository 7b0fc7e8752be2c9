/* tensor/ops/norm.c - RMSNorm (Zhang and Sennrich, arXiv:1910.07467) and LayerNorm (Ba et al., arXiv:1607.06450) over rows.
 *
 * Gradients of weight and bias are summed over runs of 64 rows, then run by run in order: the cut depends on the rows alone. */
#include <string.h>
#include <math.h>

#include "core/alloc.h"
#include "tensor/ops/span.h"

enum { RUN = 64 };

struct norm { double eps; };

struct back {
    sy_node *n;
    const sy_kernels *k;
    const sy_real *x, *w, *dy;
    sy_real *dx, *part, *tmp;           /* part [runs, parts D]: sums of one run for dw, then for db */
    bool dw, db;
    int T, D;
    size_t parts;                       /* values of one run in part */
    void (*row)(const struct back *b, int t, sy_real *dx, sy_real *dw, sy_real *db, sy_real *tmp);
};

static void back_runs(void *arg, int from, int to, int worker)
{
    const struct back *b = arg;
    size_t D = (size_t)b->D;
    sy_real *tmp = b->tmp + (size_t)worker * (2 * D + 16);
    for (int r = from; r < to; r++) {
        sy_real *dw = b->dw ? b->part + (size_t)r * b->parts : NULL, *db = b->db ? b->part + (size_t)r * b->parts + (b->dw ? D : 0) : NULL;
        for (int t = r * RUN; t < b->T && t < (r + 1) * RUN; t++) {
            sy_real *dx = b->dx ? b->dx + (size_t)t * D : tmp + D;   /* a gradient that nobody wants goes nowhere */
            b->row(b, t, dx, dw, db, tmp);
        }
    }
}

/* Walks the rows with `row`; then adds the sums of the runs to the gradients of weight and bias. */
static void norm_back(sy_node *n, void (*row)(const struct back *, int, sy_real *, sy_real *, sy_real *, sy_real *))
{
    sy_tape *t = n->tape;
    sy_real *dw = sy_grad(n, 1), *db = n->n_in > 2 ? sy_grad(n, 2) : NULL;
    struct back b = { .n = n, .k = t->eng->k, .x = n->in[0]->x, .w = n->in[1] ? n->in[1]->x : NULL, .dy = n->out->dx, .dx = sy_grad(n, 0),
                      .dw = dw != NULL, .db = db != NULL, .T = sy_rows(n->out), .D = sy_cols(n->out), .row = row };
    int runs = (b.T + RUN - 1) / RUN;
    size_t D = (size_t)b.D;
    b.parts = ((dw != NULL) + (size_t)(db != NULL)) * D;
    sy_mark mark = sy_arena_mark(&t->arena);
    b.part = sy_tape_alloc(t, sy_mul_size((size_t)runs, b.parts), sizeof(sy_real));
    b.tmp = sy_tape_alloc(t, sy_mul_size((size_t)t->eng->threads, 2 * D + 16), sizeof(sy_real));
    if (t->status != SY_OK) return;
    sy_each(t->eng, runs, 4.0 * RUN * b.D, back_runs, &b);
    for (int r = 0; r < runs; r++) {
        const sy_real *p = b.part + (size_t)r * b.parts;
        if (dw) b.k->add(D, p, dw, dw);
        if (db) b.k->add(D, p + (dw ? D : 0), db, db);
    }
    sy_arena_release(&t->arena, mark);
}

static sy_tensor *norm(sy_tape *t, const sy_op *op, sy_tensor *x, sy_tensor *w, sy_tensor *b, int n_in, double eps)
{
    if (!sy__same(t, op->name, 1, &x)) return &t->empty;
    size_t D = (size_t)sy_cols(x), nw = w ? sy_numel(w) : D, nb = b ? sy_numel(b) : D;
    if (nw != D || nb != D) return sy_tape_fail(t, SY_ESHAPE, "%s: input has %zu columns, weight has %zu, bias has %zu", op->name, D, nw, nb);
    if (!(eps >= 0)) return sy_tape_fail(t, SY_EARG, "%s: eps is %g, it must not be negative", op->name, eps);
    sy_node *n = sy_node_new(t, op, n_in, (sy_tensor *[]){ x, w, b }, SY_NOW);
    if (!n || !sy_node_arg(n, &(struct norm){ eps }, sizeof(struct norm))) return &t->empty;
    n->out = sy_new_like(t, x);
    return sy_apply(n);
}

/* ---- RMSNorm: y = x / sqrt(mean x^2 + eps) w; aux [T] = 1/rms ---- */

static void rms_rows(const sy_span *s, size_t at, size_t n)
{
    size_t D = (size_t)s->cols;
    double eps = ((const struct norm *)s->n->arg)->eps;
    for (size_t r = at; r < at + n; r++) s->k->rmsnorm(s->cols, eps, s->a + r * D, s->b, s->y + r * D, (sy_real *)s->n->aux + r);
}
static void rms_back(const struct back *b, int t, sy_real *dx, sy_real *dw, sy_real *db, sy_real *tmp)
{
    (void)db;
    (void)tmp;
    size_t o = (size_t)t * (size_t)b->D;
    b->k->rmsnorm_b(b->D, b->x + o, b->w, ((const sy_real *)b->n->aux)[t], b->dy + o, dx, dw);
}
static void rmsnorm_f(sy_node *n)
{
    n->aux = sy_tape_alloc(n->tape, (size_t)sy_rows(n->out), sizeof(sy_real));
    if (n->aux) sy__rows_f(n, 3 * sy_cols(n->out), 0, rms_rows);
}
static void rmsnorm_b(sy_node *n) { norm_back(n, rms_back); }

static sy_tensor *rmsnorm_sample(sy_tape *t, int variant)
{
    if (variant > 2) return NULL;
    sy_tensor *x = sy_sample_leaf(t, -1, 1, SY_DIM(variant == 2 ? 67 : 3, 5));     /* 67 rows: two runs */
    return sy_rmsnorm(t, x, variant ? sy_sample_leaf(t, 0.5, 1.5, SY_DIM(5)) : NULL, variant == 1 ? 0.1 : 1e-6);
}
const sy_op sy_op_rmsnorm = { "rmsnorm", rmsnorm_f, rmsnorm_b, NULL, rmsnorm_sample };
sy_tensor *sy_rmsnorm(sy_tape *t, sy_tensor *x, sy_tensor *w, double eps) { return norm(t, &sy_op_rmsnorm, x, w, NULL, 2, eps); }

/* ---- LayerNorm: y = (x - mean) / sqrt(var + eps) w + b; aux [T][2] = mean, 1/sqrt(var + eps) ---- */

static void layer_rows(const sy_span *s, size_t at, size_t n)
{
    int D = s->cols;
    const sy_real *bias = s->n->in[2] ? s->n->in[2]->x : NULL;
    double eps = ((const struct norm *)s->n->arg)->eps;
    for (size_t r = at; r < at + n; r++) {
        const sy_real *x = s->a + r * (size_t)D;
        sy_real *y = s->y + r * (size_t)D, *stat = (sy_real *)s->n->aux + 2 * r;
        sy_real mean = s->k->sum((size_t)D, x) / (sy_real)D;
        for (int i = 0; i < D; i++) y[i] = x[i] - mean;
        sy_real rinv = (sy_real)(1 / sqrt((double)s->k->dot((size_t)D, y, y) / D + eps));
        for (int i = 0; i < D; i++) y[i] = y[i] * rinv * (s->b ? s->b[i] : 1) + (bias ? bias[i] : 0);
        stat[0] = mean;
        stat[1] = rinv;
    }
}
/* With h = (x - mean) rinv and g = w dy:  dx += rinv (g - mean(g) - h mean(g h)),  dw += dy h,  db += dy. */
static void layer_back(const struct back *b, int t, sy_real *dx, sy_real *dw, sy_real *db, sy_real *tmp)
{
    int D = b->D;
    size_t n = (size_t)D;
    const sy_real *x = b->x + (size_t)t * n, *dy = b->dy + (size_t)t * n, *stat = (const sy_real *)b->n->aux + 2 * (size_t)t;
    sy_real mean = stat[0], rinv = stat[1], *h = tmp;
    for (int i = 0; i < D; i++) h[i] = (x[i] - mean) * rinv;
    if (dw) b->k->muladd(n, dy, h, dw);
    if (db) b->k->add(n, dy, db, db);
    sy_real sg, sgh;
    if (b->w) {
        sg = b->k->dot(n, b->w, dy) / (sy_real)D;
        b->k->mul(n, b->w, h, h);                    /* w h, so that the sum of g h is a dot product with dy */
        sgh = b->k->dot(n, dy, h) / (sy_real)D;
        for (int i = 0; i < D; i++) dx[i] += rinv * (b->w[i] * dy[i] - sg - (x[i] - mean) * rinv * sgh);
    } else {
        sg = b->k->sum(n, dy) / (sy_real)D;
        sgh = b->k->dot(n, dy, h) / (sy_real)D;
        for (int i = 0; i < D; i++) dx[i] += rinv * (dy[i] - sg - h[i] * sgh);
    }
}
static void layernorm_f(sy_node *n)
{
    n->aux = sy_tape_alloc(n->tape, 2 * (size_t)sy_rows(n->out), sizeof(sy_real));
    if (n->aux) sy__rows_f(n, 6 * sy_cols(n->out), 0, layer_rows);
}
static void layernorm_b(sy_node *n) { norm_back(n, layer_back); }

static sy_tensor *layernorm_sample(sy_tape *t, int variant)
{
    if (variant > 4) return NULL;
    sy_tensor *x = sy_sample_leaf(t, -1, 1, SY_DIM(variant == 4 ? 67 : 3, 5));
    sy_tensor *w = variant == 1 || variant >= 3 ? sy_sample_leaf(t, 0.5, 1.5, SY_DIM(5)) : NULL;
    return sy_layernorm(t, x, w, variant >= 2 ? sy_sample_leaf(t, -1, 1, SY_DIM(5)) : NULL, variant == 1 ? 0.1 : 1e-6);
}
const sy_op sy_op_layernorm = { "layernorm", layernorm_f, layernorm_b, NULL, layernorm_sample };
sy_tensor *sy_layernorm(sy_tape *t, sy_tensor *x, sy_tensor *w, sy_tensor *b, double eps) { return norm(t, &sy_op_layernorm, x, w, b, 3, eps); }
