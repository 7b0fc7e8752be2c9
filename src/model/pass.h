/* model/pass.h - what the files of one forward pass share: attention.c, forward.c. Not for others. */
#ifndef SY_MODEL_PASS_H
#define SY_MODEL_PASS_H

#include <stdio.h>

#include "model/model.h"

typedef struct sy_pass {                /* what all layers of one pass share */
    sy_model       *m;
    sy_tape        *t;
    const sy_batch *b;
    const sy_run   *r;
    sy_attn         attn;               /* window and sinks are each layer's */
    sy_rope         rope, local;        /* local: of layers that see a window */
    sy_segment     *seg;                /* with caches: a copy that a layer points at its keys */
    const int      *back[4];
    uint64_t       *key;                /* [T] of the layer at hand */
    sy_tensor      *carry;
    const sy_counts *counts;            /* of the layer at hand, in its second run: what the first began with; else NULL */
} sy_pass;

static inline sy_tensor *sy__leaf(sy_param *p) { return p ? &p->leaf : NULL; }

/* Hands the output of a module on to whoever dumps; returns it. l < 0: of no layer; an empty name: the layer itself. */
static inline sy_tensor *sy__seen(const sy_pass *p, int l, const char *module, sy_tensor *x)
{
    char name[96];
    if (!p->r->dump || p->t->status != SY_OK) return x;
    if (l < 0) snprintf(name, sizeof name, "%s", module);
    else snprintf(name, sizeof name, "model.layers.%d%s%s", l, *module ? "." : "", module);
    p->r->dump->take(p->r->dump->arg, name, x);
    return x;
}

/* Fills attn, rope and seg; refuses what a cache has no room for. */
sy_status  sy__attention_open(sy_pass *p);
/* The sublayer: h [T,D], normed -> [T,D]. Keys and values go to the caches, when there are any. */
sy_tensor *sy__attention(sy_pass *p, int l, sy_tensor *h);

#endif
