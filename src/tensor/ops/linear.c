/* tensor/ops/linear.c - products of the tape: y = x W^T, dense and grouped by expert.
 *
 *   forward  Y = X W^T         contraction over K
 *   dX += dY W                 contraction over N: the rows of W are B as they lie
 *   dW += dY^T X               contraction over rows, ascending
 * A weight without gradient buffer (frozen, quantised) still passes the gradient to its input. */
#include <string.h>

#include "tensor/ops.h"
#include "tensor/product.h"

struct bias { const sy_real *bias; sy_real *y; size_t N; };

static void bias_rows(void *arg, int from, int to, int worker)
{
    (void)worker;
    const struct bias *b = arg;
    for (int t = from; t < to; t++) memcpy(b->y + (size_t)t * b->N, b->bias, b->N * sizeof *b->y);
}

/* Adds the column sums of dy [T,N] to db [N], rows ascending. */
struct colsum { const sy_real *dy; sy_real *db; int T, N; const sy_kernels *k; };

static void colsum(void *arg, int from, int to, int worker)
{
    (void)worker;
    struct colsum *c = arg;
    for (int t = 0; t < c->T; t++) c->k->add((size_t)(to - from), c->dy + (size_t)t * c->N + from, c->db + from, c->db + from);
}

static void linear_f(sy_node *n)
{
    const sy_tensor *x = n->in[0], *bias = n->in[1];
    const sy_weight *w = n->w[0];
    int T = sy_rows(x), K = sy_cols(x), N = w->dim[0];
    bool acc = bias != NULL;
    if (acc) sy_each(n->tape->eng, T, N, bias_rows, &(struct bias){ bias->x, n->out->x, (size_t)N });    /* the first term of each chain */
    sy_gemm_job j = { .M = T, .N = N, .K = K, .A = x->x, .ars = (size_t)K, .aks = 1, .type = w->type, .B = w->data, .bks = (size_t)K, .rows = true, .acc = acc,
                      .panels = w->panels, .C = n->out->x, .ldc = (size_t)N };
    sy_node_gemm_held(n, &j, 1);
}

static void linear_b(sy_node *n)
{
    const sy_tensor *x = n->in[0];
    const sy_weight *w = n->w[0];
    int T = sy_rows(x), K = sy_cols(x), N = w->dim[0];
    const sy_real *dy = n->out->dx;
    bool fresh;
    sy_real *dx = sy_grad_fresh(n, 0, &fresh), *db = sy_grad(n, 1), *dw = sy_wgrad(n, 0);
    if (n->tape->status != SY_OK) return;
    sy_gemm_job j[2];
    int jobs = 0;
    if (dx) j[jobs++] = (sy_gemm_job){ .M = T, .N = K, .K = N, .A = dy, .ars = (size_t)N, .aks = 1, .type = w->type, .B = w->data, .bks = (size_t)K, .acc = !fresh, .C = dx, .ldc = (size_t)K };
    if (dw) j[jobs++] = (sy_gemm_job){ .M = N, .N = K, .K = T, .A = dy, .ars = 1, .aks = (size_t)N, .B = x->x, .bks = (size_t)K, .acc = true, .C = dw, .ldc = (size_t)K };
    sy_node_gemm(n, j, jobs);
    if (db) {
        struct colsum c = { dy, db, T, N, n->tape->eng->k };
        sy_each(n->tape->eng, N, T, colsum, &c);
    }
}

static sy_tensor *linear_sample(sy_tape *t, int variant)
{
    static const int T[] = { 5, 1, 19 };
    if (variant >= (int)SY_COUNT(T)) return NULL;
    sy_tensor *x = sy_sample_leaf(t, -1, 1, SY_DIM(T[variant], 7));
    sy_weight *w = sy_sample_weight(t, -1, 1, SY_DIM(3, 7));
    return sy_linear(t, x, w, variant == 1 ? NULL : sy_sample_leaf(t, -1, 1, SY_DIM(3)));
}

const sy_op sy_op_linear = { "linear", linear_f, linear_b, NULL, linear_sample };

sy_tensor *sy_linear(sy_tape *t, sy_tensor *x, sy_weight *w, sy_tensor *bias)
{
    if (t->status != SY_OK) return &t->empty;
    if (w->nd != 2 || sy_cols(x) != w->dim[1] || (bias && sy_numel(bias) != (size_t)w->dim[0]))
        return sy_tape_fail(t, SY_ESHAPE, "linear: input has %d columns, weight is %d x %d, bias has %zu", sy_cols(x), w->dim[0], w->dim[1], bias ? sy_numel(bias) : 0);
    sy_node *n = sy_node_new(t, &sy_op_linear, SY_IN(x, bias), SY_W(w));
    if (!n) return &t->empty;
    n->out = sy_new(t, SY_DIM(sy_rows(x), w->dim[0]));
    return sy_apply(n);
}

struct grouped { const int *first; int E; };

/* One job an expert; experts without rows cost nothing. form: 0 forward, 1 dX, 2 dW. */
static void grouped_run(sy_node *n, const sy_real *dy, sy_real *dx, bool fresh, sy_real *dw)
{
    const struct grouped *g = n->arg;
    const sy_weight *w = n->w[0];
    const sy_real *x = n->in[0]->x;
    size_t N = (size_t)w->dim[1], K = (size_t)w->dim[2];
    sy_gemm_job *j = sy_tape_alloc(n->tape, 2 * (size_t)g->E, sizeof *j);
    if (!j) return;
    int jobs = 0;
    for (int e = 0; e < g->E; e++) {
        int r0 = g->first[e], rows = g->first[e + 1] - r0;
        if (!rows) continue;
        const void *we = w->part ? w->part[e] : (const char *)w->data + sy_wtype_bytes(w->type, e * N * K);
        const sy_real *xe = x + r0 * K;
        if (!dy) j[jobs++] = (sy_gemm_job){ .M = rows, .N = (int)N, .K = (int)K, .A = xe, .ars = K, .aks = 1, .type = w->type, .B = we, .bks = K, .rows = true,
                                           .panels = w->panels ? w->panels + e * ((N + n->tape->eng->k->nr - 1) / n->tape->eng->k->nr * n->tape->eng->k->nr) * K : NULL,
                                           .C = n->out->x + r0 * N, .ldc = N };
        if (dx) j[jobs++] = (sy_gemm_job){ .M = rows, .N = (int)K, .K = (int)N, .A = dy + r0 * N, .ars = N, .aks = 1, .type = w->type, .B = we, .bks = K, .acc = !fresh, .C = dx + r0 * K, .ldc = K };
        if (dw) j[jobs++] = (sy_gemm_job){ .M = (int)N, .N = (int)K, .K = rows, .A = dy + r0 * N, .ars = 1, .aks = N, .B = xe, .bks = K, .acc = true, .C = dw + e * N * K, .ldc = K };
    }
    if (dy) sy_node_gemm(n, j, jobs);
    else sy_node_gemm_held(n, j, jobs);
}

static void grouped_f(sy_node *n) { grouped_run(n, NULL, NULL, false, NULL); }
static void grouped_b(sy_node *n)
{
    bool fresh;                                      /* every row belongs to one expert, so every value of dX is stored */
    sy_real *dx = sy_grad_fresh(n, 0, &fresh), *dw = sy_wgrad(n, 0);
    if (n->tape->status == SY_OK && (dx || dw)) grouped_run(n, n->out->dx, dx, fresh, dw);
}

static sy_tensor *grouped_sample(sy_tape *t, int variant)
{
    static const int first[][5] = { { 0, 3, 3, 4, 9 }, { 0, 0, 0, 9, 9 } };
    if (variant >= (int)SY_COUNT(first)) return NULL;
    sy_tensor *x = sy_sample_leaf(t, -1, 1, SY_DIM(9, 5));
    return sy_grouped(t, x, sy_sample_weight(t, -1, 1, SY_DIM(4, 3, 5)), first[variant]);
}

const sy_op sy_op_grouped = { "grouped", grouped_f, grouped_b, NULL, grouped_sample };

sy_tensor *sy_grouped(sy_tape *t, sy_tensor *x, sy_weight *w, const int *first)
{
    if (t->status != SY_OK) return &t->empty;
    if (w->nd != 3 || sy_cols(x) != w->dim[2] || first[0] || first[w->dim[0]] != sy_rows(x))
        return sy_tape_fail(t, SY_ESHAPE, "grouped: input is %d x %d, weight is %d x %d x %d, packed rows run from %d to %d", sy_rows(x), sy_cols(x), w->dim[0], w->dim[1], w->dim[2], first[0], first[w->dim[0]]);
    sy_node *n = sy_node_new(t, &sy_op_grouped, SY_IN(x), SY_W(w));
    if (!n || !sy_node_arg(n, &(struct grouped){ first, w->dim[0] }, sizeof(struct grouped))) return &t->empty;
    n->out = sy_new(t, SY_DIM(sy_rows(x), w->dim[1]));
    return sy_apply(n);
}

/* ---- a matrix a head: y_h = x_h W_h^T (forward) or x_h W_h;  the gradient is the other form, dW_h += dy_h^T x_h or x_h^T dy_h ---- */

/* Products of all heads: of x, or with dy those of the gradient of x (dx) and of w (dw). */
static void heads_run(sy_node *n, const sy_real *dy, sy_real *dx, sy_real *dw)
{
    const sy_heads *a = n->arg;
    const sy_weight *w = n->w[0];
    size_t H = (size_t)a->n_heads, N = (size_t)a->N, K = (size_t)w->dim[1], in = a->forward ? K : N, out = a->forward ? N : K;
    int T = sy_rows(n->out);
    sy_gemm_job *j = sy_tape_alloc(n->tape, 2 * H, sizeof *j);
    if (!j) return;
    int jobs = 0;
    for (size_t h = 0; h < H; h++) {
        size_t at = (h * (size_t)a->each + (size_t)a->at) * K;
        const void *wh = (const char *)w->data + sy_wtype_bytes(w->type, at);           /* whole rows: whole blocks */
        const sy_real *x = n->in[0]->x + h * in;
        if (!dy) j[jobs++] = (sy_gemm_job){ .M = T, .N = (int)out, .K = (int)in, .A = x, .ars = H * in, .aks = 1, .type = w->type, .B = wh, .bks = K, .rows = a->forward, .C = n->out->x + h * out, .ldc = H * out };
        if (dx) j[jobs++] = (sy_gemm_job){ .M = T, .N = (int)in, .K = (int)out, .A = dy + h * out, .ars = H * out, .aks = 1, .type = w->type, .B = wh, .bks = K, .rows = !a->forward, .acc = true, .C = dx + h * in, .ldc = H * in };
        const sy_real *rows = a->forward ? dy + h * out : x, *cols = a->forward ? x : dy + h * out;         /* [T,N] and [T,K] */
        if (dw) j[jobs++] = (sy_gemm_job){ .M = (int)N, .N = (int)K, .K = T, .A = rows, .ars = 1, .aks = H * N, .B = cols, .bks = H * K, .acc = true, .C = dw + at, .ldc = K };
    }
    sy_node_gemm(n, j, jobs);
}

static void linear_heads_f(sy_node *n) { heads_run(n, NULL, NULL, NULL); }
static void linear_heads_b(sy_node *n)
{
    sy_real *dx = sy_grad(n, 0), *dw = sy_wgrad(n, 0);
    if (n->tape->status == SY_OK && (dx || dw)) heads_run(n, n->out->dx, dx, dw);
}

static sy_tensor *linear_heads_sample(sy_tape *t, int variant)
{
    static const sy_heads cases[] = { { 3, 4, 0, 4, true }, { 2, 6, 4, 2, true }, { 3, 4, 0, 4, false }, { 2, 6, 1, 3, false } };
    if (variant >= (int)SY_COUNT(cases)) return NULL;
    const sy_heads *a = &cases[variant];
    sy_tensor *x = sy_sample_leaf(t, -1, 1, SY_DIM(4, a->n_heads * (a->forward ? 5 : a->N)));
    return sy_linear_heads(t, x, sy_sample_weight(t, -1, 1, SY_DIM(a->n_heads * a->each, 5)), a);
}

const sy_op sy_op_linear_heads = { "linear_heads", linear_heads_f, linear_heads_b, NULL, linear_heads_sample };

sy_tensor *sy_linear_heads(sy_tape *t, sy_tensor *x, sy_weight *w, const sy_heads *a)
{
    if (t->status != SY_OK) return &t->empty;
    if (w->nd != 2 || a->n_heads < 1 || a->at < 0 || a->N < 1 || a->at + a->N > a->each || w->dim[0] != a->n_heads * a->each || sy_cols(x) != a->n_heads * (a->forward ? w->dim[1] : a->N))
        return sy_tape_fail(t, SY_ESHAPE, "linear_heads: input has %d columns for %d heads, weight is %d x %d, rows %d to %d of every %d are taken", sy_cols(x), a->n_heads, w->dim[0], w->dim[1], a->at, a->at + a->N - 1, a->each);
    sy_node *n = sy_node_new(t, &sy_op_linear_heads, SY_IN(x), SY_W(w));
    if (!n || !sy_node_arg(n, a, sizeof *a)) return &t->empty;
    n->out = sy_new(t, SY_DIM(sy_rows(x), a->n_heads * (a->forward ? a->N : w->dim[1])));
    return sy_apply(n);
}

/* ---- both operands on the tape: C = A B^T;  dA += dC B,  dB += dC^T A ---- */

static void matmul_nt_f(sy_node *n)
{
    const sy_tensor *a = n->in[0], *b = n->in[1];
    size_t K = (size_t)sy_cols(a);
    sy_gemm_job j = { .M = sy_rows(a), .N = sy_rows(b), .K = (int)K, .A = a->x, .ars = K, .aks = 1, .B = b->x, .bks = K, .rows = true, .C = n->out->x, .ldc = (size_t)sy_rows(b) };
    sy_node_gemm(n, &j, 1);
}

static void matmul_nt_b(sy_node *n)
{
    const sy_tensor *a = n->in[0], *b = n->in[1];
    int M = sy_rows(a), N = sy_rows(b), K = sy_cols(a);
    size_t ld = (size_t)K, ldc = (size_t)N;
    const sy_real *dc = n->out->dx;
    sy_real *da = sy_grad(n, 0), *db = sy_grad(n, 1);
    if (n->tape->status != SY_OK) return;
    sy_gemm_job ja = { .M = M, .N = K, .K = N, .A = dc, .ars = ldc, .aks = 1, .B = b->x, .bks = ld, .acc = true, .C = da, .ldc = ld };
    sy_gemm_job jb = { .M = N, .N = K, .K = M, .A = dc, .ars = 1, .aks = ldc, .B = a->x, .bks = ld, .acc = true, .C = db, .ldc = ld };
    if (da) sy_node_gemm(n, &ja, 1);                 /* one after the other: a and b may be one tensor */
    if (db) sy_node_gemm(n, &jb, 1);
}

static sy_tensor *matmul_nt_sample(sy_tape *t, int variant)
{
    if (variant > 1) return NULL;
    sy_tensor *a = sy_sample_leaf(t, -1, 1, SY_DIM(5, 7));
    return sy_matmul_nt(t, a, variant ? a : sy_sample_leaf(t, -1, 1, SY_DIM(4, 7)));
}

const sy_op sy_op_matmul_nt = { "matmul_nt", matmul_nt_f, matmul_nt_b, NULL, matmul_nt_sample };

sy_tensor *sy_matmul_nt(sy_tape *t, sy_tensor *a, sy_tensor *b)
{
    if (t->status != SY_OK) return &t->empty;
    if (!a->x || !b->x || sy_cols(a) != sy_cols(b)) return sy_tape_fail(t, SY_ESHAPE, "matmul_nt: the operands have %d and %d columns of real values", a->x ? sy_cols(a) : 0, b->x ? sy_cols(b) : 0);
    sy_node *n = sy_node_new(t, &sy_op_matmul_nt, SY_IN(a, b), SY_NOW);
    if (!n) return &t->empty;
    n->out = sy_new(t, SY_DIM(sy_rows(a), sy_rows(b)));
    return sy_apply(n);
}
