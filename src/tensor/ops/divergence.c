/* tensor/ops/divergence.c - how far the distributions of two hidden states are from each other, never the whole logits.
 *
 *   loss = scale * sum over counted tokens t of  sum_v (p_v - q_v)(ln p_v - ln q_v),   p = softmax(a_t W^T + b), q = softmax(c_t W^T + b)
 * the symmetric Kullback-Leibler divergence, KL(p|q) + KL(q|p) (Jeffreys). With d_v = ln p_v - ln q_v and z the logits behind p, u those behind q:
 *   dloss/dz_v = scale * ( p_v (d_v - KL(p|q)) + p_v - q_v ),   dloss/du_v = scale * ( q_v (-d_v - KL(q|p)) + q_v - p_v )
 * A cap C makes z = C tanh((a w + b) / C), as in cross-entropy. Tokens are taken in chunks, and one visit makes loss and gradients, as there. */
#include <math.h>
#include <string.h>

#include "tensor/ops/span.h"
#include "tensor/product.h"

enum { LOGIT_BYTES = 4 << 20 };                     /* of one chunk of one side */

struct divergence { const int *label; sy_divergence a; };

struct aux { sy_real *dx[2], *dw, *db; };           /* [T,D] of each side, [V,D], [V]: for a loss of weight one; NULL where none is wanted */

struct visit {
    const struct divergence *a;
    const sy_kernels *k;
    sy_real *z[2], *room;               /* [tokens of the chunk, V] logits, then their gradients; room [tokens, 2 V]: slopes of a cap, NULL without one */
    double *loss;                       /* [T] */
    int at, V;
    bool grad;
};

/* z <- ln softmax of z. */
static void log_softmax(sy_real *z, int V)
{
    double most = (double)z[0], sum = 0;
    for (int v = 1; v < V; v++) if ((double)z[v] > most) most = (double)z[v];
    for (int v = 0; v < V; v++) sum += exp((double)z[v] - most);
    for (int v = 0; v < V; v++) z[v] = (sy_real)((double)z[v] - most - log(sum));
}

static void cap(sy_real *z, const sy_real *bias, int V, double softcap)
{
    for (int v = 0; bias && v < V; v++) z[v] += bias[v];
    for (int v = 0; softcap != 0 && v < V; v++) z[v] = (sy_real)(softcap * tanh((double)z[v] / softcap));
}

static void visit_tokens(void *arg, int from, int to, int worker)
{
    (void)worker;
    const struct visit *v = arg;
    const sy_divergence *a = &v->a->a;
    int V = v->V;
    for (int i = from; i < to; i++) {
        sy_real *z = v->z[0] + (size_t)i * V, *u = v->z[1] + (size_t)i * V, *slope = v->room ? v->room + (size_t)i * 2 * V : NULL;     /* of the cap, both sides */
        double pq = 0, qp = 0;
        v->loss[v->at + i] = 0;
        if (v->a->label[v->at + i] < 0) {
            if (v->grad) memset(z, 0, (size_t)V * sizeof *z), memset(u, 0, (size_t)V * sizeof *u);
            continue;
        }
        cap(z, a->bias ? a->bias->x : NULL, V, a->softcap);
        cap(u, a->bias ? a->bias->x : NULL, V, a->softcap);
        for (int j = 0; slope && v->grad && j < V; j++) {
            slope[j] = 1 - z[j] / (sy_real)a->softcap * (z[j] / (sy_real)a->softcap);
            slope[V + j] = 1 - u[j] / (sy_real)a->softcap * (u[j] / (sy_real)a->softcap);
        }
        log_softmax(z, V);
        log_softmax(u, V);
        for (int j = 0; j < V; j++) {
            double d = (double)z[j] - (double)u[j];
            pq += exp((double)z[j]) * d;
            qp -= exp((double)u[j]) * d;
        }
        v->loss[v->at + i] = pq + qp;
        for (int j = 0; v->grad && j < V; j++) {
            double d = (double)z[j] - (double)u[j], p = exp((double)z[j]), q = exp((double)u[j]);
            z[j] = (sy_real)(a->scale * (p * (d - pq) + p - q));
            u[j] = (sy_real)(a->scale * (q * (-d - qp) + q - p));
            if (slope) z[j] *= slope[j], u[j] *= slope[V + j];
        }
    }
}

/* One chunk: tokens v->at .. v->at+m-1. */
static bool chunk(sy_node *n, struct visit *v, int m, const struct aux *g, bool first)
{
    const sy_weight *w = n->w[0];
    int V = v->V, D = w->dim[1];
    const sy_real *x[2];
    sy_gemm_job j[2];
    for (int side = 0; side < 2; side++) {
        x[side] = n->in[side]->x + (size_t)v->at * (size_t)D;
        j[side] = (sy_gemm_job){ .M = m, .N = V, .K = D, .A = x[side], .ars = (size_t)D, .aks = 1, .type = w->type, .B = w->data, .bks = (size_t)D, .rows = true, .panels = w->panels, .C = v->z[side], .ldc = (size_t)V };
    }
    if (!sy_node_gemm(n, j, 2)) return false;
    sy_each(n->tape->eng, m, 40.0 * V, visit_tokens, v);
    for (int side = 0; side < 2; side++) {
        sy_gemm_job back[2];
        int jobs = 0;
        if (g->db) sy__col_sums(n->tape->eng, m, V, v->z[side], NULL, NULL, g->db);
        if (g->dx[side]) back[jobs++] = (sy_gemm_job){ .M = m, .N = D, .K = V, .A = v->z[side], .ars = (size_t)V, .aks = 1, .type = w->type, .B = w->data, .bks = (size_t)D,
                                                       .C = g->dx[side] + (size_t)v->at * (size_t)D, .ldc = (size_t)D };
        if (g->dw) back[jobs++] = (sy_gemm_job){ .M = V, .N = D, .K = m, .A = v->z[side], .ars = 1, .aks = (size_t)V, .B = x[side], .bks = (size_t)D, .acc = !first || side, .C = g->dw, .ldc = (size_t)D };
        if (jobs && !sy_node_gemm(n, back, jobs)) return false;
    }
    return true;
}

static void divergence_f(sy_node *n)
{
    sy_tape *t = n->tape;
    const struct divergence *a = n->arg;
    int T = sy_rows(n->in[0]), V = n->w[0]->dim[0];
    size_t D = (size_t)sy_cols(n->in[0]);
    int step = (int)(LOGIT_BYTES / sizeof(sy_real)) / V;
    step = step < 1 ? 1 : step > T ? T : step;
    struct aux g = { { NULL, NULL }, NULL, NULL };
    for (int side = 0; side < 2; side++) if (t->record && n->in[side]->wants) g.dx[side] = sy__room(n, (size_t)T, D);
    if (t->record && n->w[0]->dx) g.dw = sy__room(n, (size_t)V, D);
    if (t->record && a->a.bias && a->a.bias->wants) g.db = sy_tape_alloc(t, (size_t)V, sizeof *g.db);
    bool grad = g.dx[0] || g.dx[1] || g.dw || g.db;
    if (grad) n->aux = sy_tape_alloc(t, 1, sizeof g);
    sy_mark mark = sy_arena_mark(&t->arena);
    struct visit v = { .a = a, .k = t->eng->k, .V = V, .grad = grad };
    v.loss = sy_tape_alloc(t, (size_t)T, sizeof *v.loss);
    for (int side = 0; side < 2; side++) v.z[side] = sy__room(n, (size_t)step, (size_t)V);
    if (a->a.softcap != 0) v.room = sy__room(n, (size_t)step, 2 * (size_t)V);
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

static void divergence_b(sy_node *n)
{
    const struct aux *g = n->aux;
    const sy_kernels *k = n->tape->eng->k;
    size_t D = (size_t)sy_cols(n->in[0]), T = (size_t)sy_rows(n->in[0]), V = (size_t)n->w[0]->dim[0];
    sy_real g1 = n->out->dx[0], *dw = sy_wgrad(n, 0), *db = sy_grad(n, 2);
    for (int side = 0; side < 2; side++) {
        sy_real *dx = sy_grad(n, side);
        if (dx) k->axpy(T * D, g1, g->dx[side], dx);
    }
    if (dw) k->axpy(V * D, g1, g->dw, dw);
    if (db) k->axpy(V, g1, g->db, db);
}

static sy_tensor *divergence_sample(sy_tape *t, int variant)
{
    static const int label[] = { 3, -1, 0, 6, 3 };
    static const struct { sy_divergence a; bool bias; } cases[] = { { { .scale = 1 }, false }, { { .scale = 0.25 }, true }, { { .scale = 2, .softcap = 0.9 }, false }, { { .scale = 1, .softcap = 1.25 }, true } };
    if (variant >= (int)SY_COUNT(cases)) return NULL;
    sy_divergence a = cases[variant].a;
    sy_tensor *x = sy_sample_leaf(t, -1, 1, SY_DIM(5, 4)), *y = sy_sample_leaf(t, -2, 1, SY_DIM(5, 4));
    sy_weight *w = sy_sample_weight(t, -1, 1, SY_DIM(7, 4));
    if (cases[variant].bias) a.bias = sy_sample_leaf(t, -1, 1, SY_DIM(7));
    return sy_symmetric_kl(t, x, y, w, label, &a);
}

const sy_op sy_op_divergence = { "divergence", divergence_f, divergence_b, NULL, divergence_sample };

sy_tensor *sy_symmetric_kl(sy_tape *t, sy_tensor *x, sy_tensor *y, sy_weight *w, const int *label, const sy_divergence *a)
{
    sy_tensor *both[] = { x, y };
    if (!sy__same(t, "divergence", 2, both)) return &t->empty;
    if (w->nd != 2 || sy_cols(x) != w->dim[1] || w->dim[0] < 1)
        return sy_tape_fail(t, SY_ESHAPE, "divergence: input has %d columns, weight is %d x %d", sy_cols(x), w->dim[0], w->dim[1]);
    if (a->bias && (!a->bias->x || sy_numel(a->bias) != (size_t)w->dim[0]))
        return sy_tape_fail(t, SY_ESHAPE, "divergence: a bias of %zu values for %d logits", a->bias->x ? sy_numel(a->bias) : 0, w->dim[0]);
    if (!(a->softcap >= 0)) return sy_tape_fail(t, SY_EARG, "divergence: logits capped at %g; a cap is positive, 0 means none", a->softcap);
    sy_node *n = sy_node_new(t, &sy_op_divergence, SY_IN(x, y, a->bias), SY_W(w));
    if (!n || !sy_node_arg(n, &(struct divergence){ label, *a }, sizeof(struct divergence))) return &t->empty;
    n->out = sy_new(t, SY_DIM(1));
    return sy_apply(n);
}
