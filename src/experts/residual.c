/* experts/residual.c - an expert that is a small residual network of its own: the sublayers of a BASE layer.
 *
 * Paper: Lewis et al. 2021, arXiv:2103.16716, of expert e:   h_0 = x;   h_i = h_(i-1) + W_down,i relu(W_up,i N_i(h_(i-1)));   y = h_n - x
 * N_1 is the identity, since x comes from the layer's own norm; the others are LayerNorms of the expert. W_down starts at 0, so every expert begins by adding nothing.
 * The paper's expert gives h_n, and its layer alpha h_n + (1 - alpha) x: the residual sum of the block makes that of y, exactly so up to where x is normed. One sublayer is
 * the expert gelu:hidden_act=relu that starts at 0. */
#include <stdio.h>

#include "route/router.h"

enum { MOST = 8 };

typedef struct {
    int       base_sublayers;
    bool      zero_init;
    sy_param *up[MOST], *down[MOST], *scale[MOST], *shift[MOST];
} residual_state;

static const sy_opt residual_opts[] = {
    SY_INT(residual_state, base_sublayers, NULL, 1, 1, MOST, "residual sublayers of an expert, each of width moe_intermediate_size"),
    SY_BOOL(residual_state, zero_init, NULL, true, "the second matrices start at 0"),
    { 0 }
};

static sy_param *declare(sy_own *own, int i, const char *part, unsigned flags, double std, int nd, const int *dim)
{
    char name[64];
    snprintf(name, sizeof name, "{e}.%d.%s", i, part);
    return sy_own_param(own, name, flags, false, std, nd, dim);
}

static sy_status residual_params(void *state, const sy_site *at, int E, sy_own *own, sy_err *err)
{
    residual_state *s = state;
    (void)err;
    for (int i = 0; i < s->base_sublayers; i++) {
        if (i && !(s->scale[i] = declare(own, i, "norm.weight", SY_NODECAY, 0, SY_DIM(E, at->D)))) return own->err->status;
        if (i && !(s->shift[i] = declare(own, i, "norm.bias", SY_NODECAY, 0, SY_DIM(E, at->D)))) return own->err->status;
        if (!(s->up[i] = declare(own, i, "up_proj.weight", 0, at->init_std, SY_DIM(E, at->F, at->D)))) return own->err->status;
        if (!(s->down[i] = declare(own, i, "down_proj.weight", 0, s->zero_init ? 0 : at->init_std, SY_DIM(E, at->D, at->F)))) return own->err->status;
        if (i && s->scale[i]->fresh) sy_param_fill(s->scale[i], 1);
    }
    return SY_OK;
}

static sy_tensor *residual_run(void *state, sy_tape *t, const sy_site *at, sy_tensor *x, const int *first, int E)
{
    residual_state *s = state;
    sy_tensor *h = x, *sum = NULL;
    int n = first[E], *owner = sy_tape_alloc(t, (size_t)n, sizeof *owner);
    (void)at;
    if (!owner) return &t->empty;
    for (int e = 0; e < E; e++) for (int r = first[e]; r < first[e + 1]; r++) owner[r] = e;
    for (int i = 0; i < s->base_sublayers; i++) {
        sy_tensor *in = h;
        if (i) {
            in = sy_layernorm(t, h, NULL, NULL, 1e-5);
            in = sy_add(t, sy_mul(t, in, sy_rows_gather(t, &s->scale[i]->leaf, owner, n)), sy_rows_gather(t, &s->shift[i]->leaf, owner, n));
        }
        sy_tensor *f = sy_grouped(t, sy_activate(t, SY_ACT_RELU, sy_grouped(t, in, &s->up[i]->w, first)), &s->down[i]->w, first);
        sum = sum ? sy_add(t, sum, f) : f;
        if (i + 1 < s->base_sublayers) h = sy_add(t, h, f);
    }
    return sum;
}

const sy_method sy_expert_residual = {
    .kind = SY_EXPERT, .name = "residual", .title = "residual sublayers (BASE)", .paper = "arXiv:2103.16716",
    .summary = "each expert is a stack of residual FFNs with norms of its own that starts by adding nothing",
    .when = "With router base, as in its paper, or where an expert should be deep rather than wide.",
    .cost = "base_sublayers times two matrices of width moe_intermediate_size.",
    .example = "switchyard train --recipe lm-tiny --data text --router base --expert residual:base_sublayers=2 --set balance= --out run",
    .opts = residual_opts, .size = sizeof(residual_state),
    .hooks = &(const sy_expert_hooks){ SY_ROUTER_ABI, .params = residual_params, .run = residual_run },
};
