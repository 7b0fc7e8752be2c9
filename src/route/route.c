/* route/route.c - the list of named losses, and what params() hooks declare. */
#include "route/router.h"

#include <stdio.h>
#include <string.h>

void sy_losses_add(sy_tape *t, sy_losses *l, const char *name, int layer, sy_tensor *value)
{
    if (t->status != SY_OK) return;
    if (l->n == l->room) {
        int room = l->room ? 2 * l->room : 16;
        sy_loss *more = sy_tape_alloc(t, (size_t)room, sizeof *more);
        if (!more) return;
        if (l->n) memcpy(more, l->l, (size_t)l->n * sizeof *more);
        l->l = more;
        l->room = room;
    }
    l->l[l->n++] = (sy_loss){ name, layer, value };
}

sy_param *sy_own_param(sy_own *o, const char *name, unsigned flags, bool shared, double init_std, int nd, const int *dim)
{
    char full[256];
    int len = snprintf(full, sizeof full, "%s.%s", shared ? o->shared : o->prefix, name);
    if (len < 0 || len >= (int)sizeof full) {
        sy_fail(o->err, SY_EARG, "parameter name %s.%s is longer than %zu bytes", shared ? o->shared : o->prefix, name, sizeof full - 1);
        return NULL;
    }
    sy_param *p = sy_params_find(o->params, full);
    if (p) {
        if (!shared) { sy_fail(o->err, SY_EEXIST, "parameter %s is declared twice", full); return NULL; }
        if (p->w.nd == nd && !memcmp(p->w.dim, dim, (size_t)nd * sizeof *dim)) return p;
        sy_fail(o->err, SY_ESHAPE, "parameter %s is shared by layers that give it different sizes", full);
        return NULL;
    }
    p = sy_params_add(o->params, full, flags | o->flags, nd, dim);
    if (!p) { sy_fail(o->err, SY_ENOMEM, "no memory for parameter %s", full); return NULL; }
    if (init_std > 0) sy_param_normal(p, o->seed, init_std);
    return p;
}

void sy_own_carry(sy_own *o, int width) { o->carry = width; }
