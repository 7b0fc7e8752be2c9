/* tensor/ops/softmax.c - softmax and log-sum-exp along the last dimension. */
#include "tensor/ops/span.h"

#include <string.h>

enum { SOFTMAX_OPS = 6 };                           /* work of one value */

static void softmax_rows(const sy_span *s, size_t at, size_t n)
{
    size_t D = (size_t)s->cols;
    for (size_t r = at; r < at + n; r++) s->k->softmax(s->cols, s->a + r * D, s->y + r * D);
}
static void softmax_back(const sy_span *s, size_t at, size_t n)
{
    size_t D = (size_t)s->cols;
    for (size_t r = at; s->da && r < at + n; r++) s->k->softmax_b(s->cols, s->y + r * D, s->dy + r * D, s->da + r * D);
}
static void softmax_f(sy_node *n) { sy__rows_f(n, SOFTMAX_OPS * sy_cols(n->out), 0, softmax_rows); }
static void softmax_b(sy_node *n) { sy__rows_b(n, SOFTMAX_OPS * sy_cols(n->out), 0, softmax_back); }
static sy_tensor *softmax_sample(sy_tape *t, int variant)
{
    static const int D[] = { 7, 1, 19 };
    return variant >= (int)SY_COUNT(D) ? NULL : sy_softmax(t, sy_sample_leaf(t, -2, 2, SY_DIM(3, D[variant])));
}
const sy_op sy_op_softmax = { "softmax", softmax_f, softmax_b, NULL, softmax_sample };
sy_tensor *sy_softmax(sy_tape *t, sy_tensor *x) { return sy__map(t, &sy_op_softmax, x, NULL, 0); }

/* The softmax, which is the gradient, is left in aux. The output has one column, the input many: the loops run over values. */
static void lse_values(const sy_span *s, size_t at, size_t n)
{
    int D = sy_cols(s->n->in[0]);
    sy_real *p = s->n->aux;
    for (size_t r = at; r < at + n; r++) {
        memcpy(p + r * (size_t)D, s->a + r * (size_t)D, (size_t)D * sizeof *p);
        s->y[r] = s->k->xent_row(D, p + r * (size_t)D, true);
    }
}
static void lse_back(const sy_span *s, size_t at, size_t n)
{
    size_t D = (size_t)sy_cols(s->n->in[0]);
    const sy_real *p = s->n->aux;
    for (size_t r = at; s->da && r < at + n; r++) s->k->axpy(D, s->dy[r], p + r * D, s->da + r * D);
}
static void logsumexp_f(sy_node *n)
{
    n->aux = sy_tape_alloc(n->tape, sy_numel(n->in[0]), sizeof(sy_real));
    if (n->aux) sy__values_f(n, SOFTMAX_OPS * sy_cols(n->in[0]), lse_values);
}
static void logsumexp_b(sy_node *n) { sy__values_b(n, sy_cols(n->in[0]), lse_back); }
static sy_tensor *logsumexp_sample(sy_tape *t, int variant)
{
    static const int D[] = { 7, 1, 19 };
    return variant >= (int)SY_COUNT(D) ? NULL : sy_logsumexp(t, sy_sample_leaf(t, -2, 2, SY_DIM(3, D[variant])));
}
const sy_op sy_op_logsumexp = { "logsumexp", logsumexp_f, logsumexp_b, NULL, logsumexp_sample };

sy_tensor *sy_logsumexp(sy_tape *t, sy_tensor *x)
{
    if (!sy__same(t, "logsumexp", 1, &x)) return &t->empty;
    if (sy_cols(x) < 1) return sy_tape_fail(t, SY_ESHAPE, "logsumexp: a row has no values");
    sy_node *n = sy_node_new(t, &sy_op_logsumexp, SY_IN(x), SY_NOW);
    if (!n) return &t->empty;
    n->out = sy_new(t, SY_DIM(sy_rows(x)));
    return sy_apply(n);
}
