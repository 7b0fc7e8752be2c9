/* tensor/ops/xent.c - cross-entropy of x W^T against labels, never the whole logits.
 *
 *   loss = scale * sum over counted tokens t of  (1-s) (lse_t - z_t[label]) + s (lse_t - mean z_t) + c lse_t^2
 *   dloss/dz_t[v] = scale * ( p_t[v] (1 + 2 c lse_t) - (1-s) [v = label] - s / V )
 * with s the label smoothing (Szegedy et al., arXiv:1512.00567) and c the z-loss (Chowdhery et al., arXiv:2204.02311). A bias b and a
 * cap C make z = C tanh((x w + b) / C); the slope 1 - (z / C)^2 then multiplies the gradient.
 *
 * Tokens are taken in chunks whose logits stay in the last cache. One visit of a chunk makes the logits, the loss, the gradient
 * of the logits in place, and from it the chunk's dX and its share of dW: 6 products of T D V instead of the 8 that a second visit
 * in backward would cost. Both gradients wait in buffers of their own, for a loss of weight one, so that a forward without
 * a backward leaves nothing behind; backward adds them times the gradient that arrives. */
#include <math.h>
#include <string.h>

#include "tensor/ops/span.h"
#include "tensor/product.h"

enum { LOGIT_BYTES = 8 << 20 };                     /* of one chunk */

struct xent { const int *label; sy_xent a; };

struct aux { sy_real *dx, *dw, *db; };              /* [T,D], [V,D], [V]: gradients for a loss of weight one; NULL where none is wanted */

struct visit {
    const struct xent *a;
    const sy_kernels *k;
    sy_real *z, *capped;                /* [tokens of the chunk, V] logits, then their gradient; with a cap their values are kept */
    double *loss;                       /* [T] */
    int at, V;                          /* first token of the chunk */
    bool grad;
};

static void visit_tokens(void *arg, int from, int to, int worker)
{
    (void)worker;
    const struct visit *v = arg;
    const sy_xent *a = &v->a->a;
    size_t V = (size_t)v->V;
    for (int i = from; i < to; i++) {
        int t = v->at + i, label = v->a->label[t];
        sy_real *z = v->z + (size_t)i * V, *kept = v->capped ? v->capped + (size_t)i * V : NULL;
        v->loss[t] = 0;
        if (a->nll) a->nll[t] = 0;
        if (label < 0) {
            if (v->grad) memset(z, 0, V * sizeof *z);
            continue;
        }
        if (a->bias) v->k->add(V, z, a->bias->x, z);
        for (size_t j = 0; kept && j < V; j++) kept[j] = z[j] = (sy_real)(a->softcap * tanh((double)z[j] / a->softcap));
        double hit = (double)z[label], mean = a->smoothing != 0 ? (double)v->k->sum(V, z) / v->V : 0, lse = (double)v->k->xent_row(v->V, z, v->grad);
        v->loss[t] = (1 - a->smoothing) * (lse - hit) + a->smoothing * (lse - mean) + a->z_loss * lse * lse;
        if (a->nll) a->nll[t] = (sy_real)(lse - hit);
        if (!v->grad) continue;
        v->k->scale(V, (sy_real)(a->scale * (1 + 2 * a->z_loss * lse)), z, z);
        if (a->smoothing != 0) {
            sy_real even = (sy_real)(a->scale * a->smoothing / v->V);
            for (size_t j = 0; j < V; j++) z[j] -= even;
        }
        z[label] -= (sy_real)(a->scale * (1 - a->smoothing));
        for (size_t j = 0; kept && j < V; j++) z[j] *= 1 - kept[j] / (sy_real)a->softcap * (kept[j] / (sy_real)a->softcap);
    }
}

/* One chunk: tokens v->at .. v->at+m-1. */
static bool chunk(sy_node *n, struct visit *v, int m, const struct aux *g, bool first)
{
    const sy_tensor *x = n->in[0];
    const sy_weight *w = n->w[0];
    int D = sy_cols(x), V = v->V;
    const sy_real *xc = x->x + (size_t)v->at * (size_t)D;
    sy_gemm_job j = { .M = m, .N = V, .K = D, .A = xc, .ars = (size_t)D, .aks = 1, .type = w->type, .B = w->data, .bks = (size_t)D, .rows = true, .panels = w->panels, .C = v->z, .ldc = (size_t)V };
    if (!sy_node_gemm(n, &j, 1)) return false;
    sy_each(n->tape->eng, m, 8.0 * V, visit_tokens, v);
    if (g->db) sy__col_sums(n->tape->eng, m, V, v->z, NULL, NULL, g->db);
    sy_gemm_job back[2];
    int jobs = 0;
    if (g->dx) back[jobs++] = (sy_gemm_job){ .M = m, .N = D, .K = V, .A = v->z, .ars = (size_t)V, .aks = 1, .type = w->type, .B = w->data, .bks = (size_t)D,
                                             .C = g->dx + (size_t)v->at * (size_t)D, .ldc = (size_t)D };
    if (g->dw) back[jobs++] = (sy_gemm_job){ .M = V, .N = D, .K = m, .A = v->z, .ars = 1, .aks = (size_t)V, .B = xc, .bks = (size_t)D, .acc = !first, .C = g->dw, .ldc = (size_t)D };
    return !jobs || sy_node_gemm(n, back, jobs);
}

static void cross_entropy_f(sy_node *n)
{
    sy_tape *t = n->tape;
    const struct xent *a = n->arg;
    int T = sy_rows(n->in[0]), V = n->w[0]->dim[0];
    size_t D = (size_t)sy_cols(n->in[0]);
    int step = (int)(LOGIT_BYTES / sizeof(sy_real)) / V;
    step = step < 1 ? 1 : step > T ? T : step;
    struct aux g = { 0 };
    if (t->record && n->in[0]->wants) g.dx = sy__room(n, (size_t)T, D);
    if (t->record && n->w[0]->dx) g.dw = sy__room(n, (size_t)V, D);
    if (t->record && a->a.bias && a->a.bias->wants) g.db = sy_tape_alloc(t, (size_t)V, sizeof *g.db);
    if (g.dx || g.dw || g.db) n->aux = sy_tape_alloc(t, 1, sizeof g);
    sy_mark mark = sy_arena_mark(&t->arena);
    struct visit v = { .a = a, .k = t->eng->k, .V = V, .grad = g.dx || g.dw || g.db };
    v.loss = sy_tape_alloc(t, (size_t)T, sizeof *v.loss);
    v.z = sy__room(n, (size_t)step, (size_t)V);
    if (a->a.softcap != 0) v.capped = sy__room(n, (size_t)step, (size_t)V);
    if (t->status != SY_OK) return;
    if (n->aux) *(struct aux *)n->aux = g;
    double loss = 0;
    for (v.at = 0; v.at < T; v.at += step)
        if (!chunk(n, &v, T - v.at < step ? T - v.at : step, &g, v.at == 0)) return;
    if (!T && g.dw) memset(g.dw, 0, (size_t)V * D * sizeof(sy_real));
    for (int i = 0; i < T; i++) loss += v.loss[i];
    n->out->x[0] = (sy_real)(a->a.scale * loss);
    sy_arena_release(&t->arena, mark);
}

struct add_scaled { const sy_kernels *k; sy_real s; const sy_real *x; sy_real *y; size_t D; };

static void add_scaled_rows(void *arg, int from, int to, int worker)
{
    (void)worker;
    const struct add_scaled *a = arg;
    a->k->axpy((size_t)(to - from) * a->D, a->s, a->x + (size_t)from * a->D, a->y + (size_t)from * a->D);
}

static void cross_entropy_b(sy_node *n)
{
    const struct aux *g = n->aux;
    sy_engine *e = n->tape->eng;
    size_t D = (size_t)sy_cols(n->in[0]);
    sy_real g1 = n->out->dx[0], *dw = sy_wgrad(n, 0);
    bool handed = n->in[0]->wants && !n->in[0]->dx && g1 == 1;         /* the usual case: the buffer becomes the gradient */
    if (handed) n->in[0]->dx = g->dx;
    sy_real *dx = handed ? NULL : sy_grad(n, 0);
    if (dx) sy_each(e, sy_rows(n->in[0]), (double)D, add_scaled_rows, &(struct add_scaled){ e->k, g1, g->dx, dx, D });
    if (dw) sy_each(e, n->w[0]->dim[0], (double)D, add_scaled_rows, &(struct add_scaled){ e->k, g1, g->dw, dw, D });
    sy_real *db = sy_grad(n, 1);
    if (db) e->k->axpy((size_t)n->w[0]->dim[0], g1, g->db, db);
}

static sy_tensor *cross_entropy_sample(sy_tape *t, int variant)
{
    static const int label[] = { 3, -1, 0, 6, 3 };
    static sy_real nll[SY_COUNT(label)];
    static const struct { sy_xent a; bool bias; } cases[] = {
        { { .scale = 1 }, false }, { { .scale = 0.25, .smoothing = 0.1 }, false }, { { .scale = 0.5, .z_loss = 0.02, .nll = nll }, false }, { { .scale = 2, .smoothing = 0.2, .z_loss = 0.01 }, false },
        { { .scale = 0.5, .smoothing = 0.1 }, true }, { { .scale = 1, .softcap = 0.9 }, false }, { { .scale = 2, .smoothing = 0.2, .z_loss = 0.01, .softcap = 1.25 }, true },
    };
    if (variant >= (int)SY_COUNT(cases)) return NULL;
    sy_xent a = cases[variant].a;
    sy_tensor *x = sy_sample_leaf(t, -1, 1, SY_DIM(5, 4));
    sy_weight *w = sy_sample_weight(t, -1, 1, SY_DIM(7, 4));
    if (cases[variant].bias) a.bias = sy_sample_leaf(t, -1, 1, SY_DIM(7));
    return sy_cross_entropy(t, x, w, label, &a);
}

const sy_op sy_op_cross_entropy = { "cross_entropy", cross_entropy_f, cross_entropy_b, NULL, cross_entropy_sample };

sy_tensor *sy_cross_entropy(sy_tape *t, sy_tensor *x, sy_weight *w, const int *label, const sy_xent *a)
{
    if (!sy__same(t, "cross_entropy", 1, &x)) return &t->empty;
    if (w->nd != 2 || sy_cols(x) != w->dim[1] || w->dim[0] < 1)
        return sy_tape_fail(t, SY_ESHAPE, "cross_entropy: input has %d columns, weight is %d x %d", sy_cols(x), w->dim[0], w->dim[1]);
    for (int i = 0; i < sy_rows(x); i++)
        if (label[i] >= w->dim[0]) return sy_tape_fail(t, SY_EARG, "cross_entropy: label %d is %d, the vocabulary has %d", i, label[i], w->dim[0]);
    if (a->bias && (!a->bias->x || sy_numel(a->bias) != (size_t)w->dim[0]))
        return sy_tape_fail(t, SY_ESHAPE, "cross_entropy: a bias of %zu values for %d logits", a->bias->x ? sy_numel(a->bias) : 0, w->dim[0]);
    if (!(a->softcap >= 0)) return sy_tape_fail(t, SY_EARG, "cross_entropy: logits capped at %g; a cap is positive, 0 means none", a->softcap);
    sy_node *n = sy_node_new(t, &sy_op_cross_entropy, SY_IN(x, a->bias), SY_W(w));
    if (!n || !sy_node_arg(n, &(struct xent){ label, *a }, sizeof(struct xent))) return &t->empty;
    n->out = sy_new(t, SY_DIM(1));
    return sy_apply(n);
}
