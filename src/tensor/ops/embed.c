/* tensor/ops/embed.c - rows of a table by token id. Backward adds rows of one id in token order: columns are cut over threads. */
#include "tensor/ops.h"
#include "tensor/product.h"

struct embed { const int *id; int T; };

static void embed_f(sy_node *n)
{
    const struct embed *a = n->arg;
    size_t D = (size_t)n->w[0]->dim[1];
    const sy_weight *w = n->w[0];
    for (int t = 0; t < a->T; t++) sy_weight_read(w->type, w->data, (size_t)a->id[t] * D, D, n->out->x + t * D);
}

struct embed_back { const struct embed *a; const sy_real *dy; sy_real *dw; size_t D; const sy_kernels *k; };

static void add_columns(void *arg, int from, int to, int worker)
{
    (void)worker;
    const struct embed_back *b = arg;
    for (int t = 0; t < b->a->T; t++) {
        sy_real *row = b->dw + b->a->id[t] * b->D + from;
        b->k->add((size_t)(to - from), b->dy + t * b->D + from, row, row);
    }
}

static void embed_b(sy_node *n)
{
    const struct embed *a = n->arg;
    sy_real *dw = sy_wgrad(n, 0);
    if (!dw) return;
    struct embed_back b = { a, n->out->dx, dw, (size_t)n->w[0]->dim[1], n->tape->eng->k };
    sy_each(n->tape->eng, n->w[0]->dim[1], a->T, add_columns, &b);
}

static sy_tensor *embed_sample(sy_tape *t, int variant)
{
    static const int id[] = { 2, 0, 2, 4, 2 };
    return variant ? NULL : sy_embed(t, sy_sample_weight(t, -1, 1, SY_DIM(5, 3)), id, 5);
}

const sy_op sy_op_embed = { "embed", embed_f, embed_b, NULL, embed_sample };

sy_tensor *sy_embed(sy_tape *t, sy_weight *w, const int *id, int T)
{
    if (t->status != SY_OK) return &t->empty;
    for (int i = 0; i < T; i++)
        if (id[i] < 0 || id[i] >= w->dim[0]) return sy_tape_fail(t, SY_EARG, "embed: token %d has id %d, the vocabulary has %d", i, id[i], w->dim[0]);
    sy_node *n = sy_node_new(t, &sy_op_embed, 0, NULL, SY_W(w));
    if (!n || !sy_node_arg(n, &(struct embed){ id, T }, sizeof(struct embed))) return &t->empty;
    n->out = sy_new(t, SY_DIM(T, w->dim[1]));
    return sy_apply(n);
}
