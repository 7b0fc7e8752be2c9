/* infer/embed.c - texts side by side through an encoder, and their vectors. */
#include "infer/embed.h"

#include <math.h>
#include <string.h>

enum { TOKENS = 2048 };                              /* tokens of a pass, when there is more than one text */

/* --- texts to vectors --------------------------------------------------------------------------------------------------- */

static void pool(const sy_pooling *p, const sy_kernels *k, const sy_real *h, int n, size_t D, sy_real *out)
{
    memcpy(out, h, D * sizeof *out);
    for (int i = 1; i < n && p->how == SY_POOL_MEAN; i++) k->add(D, h + (size_t)i * D, out, out);
    if (p->how == SY_POOL_MEAN) k->scale(D, 1 / (sy_real)n, out, out);
    double length = sqrt((double)k->dot(D, out, out));
    if (p->unit && length > 0) k->scale(D, (sy_real)(1 / length), out, out);
}

/* Texts from .. to-1 in one pass. */
static sy_status one_pass(sy_model *m, sy_tape *t, const sy_pooling *p, const int *id, const int *first, int from, int to, sy_real *out, sy_err *err)
{
    int T = first[to] - first[from], n = to - from;
    size_t D = (size_t)m->spec.hidden_size;
    sy_tape_reset(t);
    int *pos = sy_tape_alloc(t, (size_t)T, sizeof *pos), *seq = sy_tape_alloc(t, (size_t)T, sizeof *seq);
    sy_segment *seg = sy_tape_alloc(t, (size_t)n, sizeof *seg);
    SY_TRY(sy_tape_status(t, err));
    for (int i = 0; i < n; i++) {
        seg[i] = (sy_segment){ .row = first[from + i] - first[from], .n = first[from + i + 1] - first[from + i] };
        for (int j = 0; j < seg[i].n; j++) {
            pos[seg[i].row + j] = j;
            seq[seg[i].row + j] = i;
        }
    }
    sy_batch b = { .T = T, .n_seg = n, .id = id + first[from], .pos = pos, .seq = seq, .seg = seg };
    sy_tensor *h = sy_model_hidden(m, t, &b, &(sy_run){ .mode = SY_EVAL });
    SY_TRY(sy_tape_status(t, err));
    for (int i = 0; i < n; i++) pool(p, m->eng->k, h->x + (size_t)seg[i].row * D, seg[i].n, D, out + (size_t)(from + i) * D);
    return SY_OK;
}

sy_status sy_embed_texts(sy_model *m, sy_tape *t, const sy_pooling *p, const int *id, const int *first, int n, sy_real *out, sy_err *err)
{
    for (int i = 0; i < n; i++) {
        int have = first[i + 1] - first[i];
        if (have < 1 || have > p->most) return sy_fail(err, SY_EARG, "text %d has %d tokens; this model reads 1 to %d", i, have, p->most);
    }
    for (int from = 0, to; from < n; from = to) {
        for (to = from + 1; to < n && first[to + 1] - first[from] <= TOKENS; to++) { }
        SY_TRY(one_pass(m, t, p, id, first, from, to, out, err));
    }
    return SY_OK;
}
