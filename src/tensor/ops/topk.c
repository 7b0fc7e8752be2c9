/* tensor/ops/topk.c - the K largest of each row. */
#include "tensor/ops/span.h"

struct topk { int K; const sy_real *x; int E; int32_t *id; };

/* NaN stands below every number, so that the ids are K different columns whatever the input holds. */
static bool above(sy_real a, sy_real b) { return a > b || (b != b && a == a); }

static void topk_rows(void *arg, int from, int to, int worker)
{
    (void)worker;
    const struct topk *a = arg;
    for (int t = from; t < to; t++) {
        const sy_real *x = a->x + (size_t)t * (size_t)a->E;
        int32_t *id = a->id + (size_t)t * (size_t)a->K;
        int have = 0;
        for (int c = 0; c < a->E; c++) {             /* columns ascend: an equal value goes behind those that are there */
            int at = have;
            while (at > 0 && above(x[c], x[id[at - 1]])) at--;
            if (at == a->K) continue;
            if (have < a->K) have++;
            for (int i = have - 1; i > at; i--) id[i] = id[i - 1];
            id[at] = c;
        }
    }
}

static void topk_f(sy_node *n)
{
    struct topk a = *(const struct topk *)n->arg;
    a.x = n->in[0]->x;
    a.E = sy_cols(n->in[0]);
    a.id = n->out->i;
    sy_each(n->tape->eng, sy_rows(n->in[0]), 4.0 * a.E, topk_rows, &a);
}

static sy_tensor *topk_sample(sy_tape *t, int variant)
{
    static const int K[] = { 2, 1, 6 };
    return variant >= (int)SY_COUNT(K) ? NULL : sy_topk(t, sy_sample_leaf(t, -1, 1, SY_DIM(4, 6)), K[variant]);
}

const sy_op sy_op_topk = { "topk", topk_f, NULL, "it gives column numbers; sy_pick takes the values", topk_sample };

sy_tensor *sy_topk(sy_tape *t, sy_tensor *x, int K)
{
    if (!sy__same(t, "topk", 1, &x)) return &t->empty;
    if (K < 1 || K > sy_cols(x)) return sy_tape_fail(t, SY_ESHAPE, "topk: %d of %d columns", K, sy_cols(x));
    sy_node *n = sy_node_new(t, &sy_op_topk, SY_IN(x), SY_NOW);
    if (!n || !sy_node_arg(n, &(struct topk){ .K = K }, sizeof(struct topk))) return &t->empty;
    n->out = sy_new_int(t, SY_DIM(sy_rows(x), K));
    return sy_apply(n);
}
