/* tensor/ops/dropout.c - inverted dropout (Srivastava et al. 2014): y = x keep / (1 - p). */
#include "core/random.h"
#include "tensor/ops/span.h"

struct dropout { double p; uint64_t key; };

static void dropout_values(const sy_span *s, size_t at, size_t n)
{
    const struct dropout *d = s->n->arg;
    sy_real *factor = s->n->aux, scale = (sy_real)(1 / (1 - d->p));
    for (size_t i = at; i < at + n; i++) factor[i] = sy_draw(d->key, i, 0) >= d->p ? scale : 0;
    s->k->mul(n, s->a + at, factor + at, s->y + at);
}
static void dropout_back(const sy_span *s, size_t at, size_t n)
{
    if (s->da) s->k->muladd(n, s->dy + at, (const sy_real *)s->n->aux + at, s->da + at);
}
static void dropout_f(sy_node *n)
{
    n->aux = sy_tape_alloc(n->tape, sy_numel(n->out), sizeof(sy_real));
    if (n->aux) sy__values_f(n, 40, dropout_values);
}
static void dropout_b(sy_node *n) { sy__values_b(n, 1, dropout_back); }
static sy_tensor *dropout_sample(sy_tape *t, int variant)
{
    static const double p[] = { 0.3, 0 };
    return variant >= (int)SY_COUNT(p) ? NULL : sy_dropout(t, sy_sample_leaf(t, -1, 1, SY_DIM(4, 9)), p[variant], 11);
}
const sy_op sy_op_dropout = { "dropout", dropout_f, dropout_b, NULL, dropout_sample };

sy_tensor *sy_dropout(sy_tape *t, sy_tensor *x, double p, uint64_t key)
{
    if (t->status != SY_OK || p == 0) return t->status == SY_OK ? x : &t->empty;
    if (!(p > 0 && p < 1)) return sy_tape_fail(t, SY_EARG, "dropout: probability %g is not in [0, 1)", p);
    return sy__map(t, &sy_op_dropout, x, &(struct dropout){ p, key }, sizeof(struct dropout));
}
