/* tensor/param.c - declaring and filling parameters. */
#include "tensor/tensor.h"

#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/random.h"

sy_param *sy_params_add(sy_params *l, const char *name, unsigned flags, int nd, const int *dim)
{
    size_t n = 1;
    for (int d = 0; d < nd; d++) n = sy_mul_size(n, (size_t)dim[d]);
    if (l->n == l->room) {
        int room = l->room ? 2 * l->room : 64;
        sy_param **p = sy_arena_array(l->arena, (size_t)room, sizeof *p);
        if (!p) return NULL;
        if (l->n) memcpy(p, l->p, (size_t)l->n * sizeof *p);
        l->p = p;
        l->room = room;
    }
    sy_param *p = sy_arena_zalloc(l->arena, sizeof *p);
    if (!p) return NULL;
    p->name = sy_arena_strdup(l->arena, name);
    if (!l->bare) p->w.data = sy_arena_array(l->arena, n, sizeof(sy_real));
    if (!p->name || (!p->w.data && !l->bare)) return NULL;
    if (l->train && !(flags & (SY_FROZEN | SY_BUFFER))) {
        p->w.dx = sy_arena_array(l->arena, n, sizeof(sy_real));
        p->m = sy_arena_array(l->arena, n, sizeof(sy_real));
        p->v = sy_arena_array(l->arena, n, sizeof(sy_real));
        if (!p->w.dx || !p->m || !p->v) return NULL;
    }
    if (flags & SY_LAZY && !(p->touched = sy_arena_array(l->arena, (size_t)dim[0], 1))) return NULL;
    p->w.type = SY_W_REAL;
    p->w.nd = p->leaf.nd = nd;
    for (int d = 0; d < nd; d++) p->w.dim[d] = p->leaf.dim[d] = dim[d];
    p->leaf.x = p->w.data;
    p->leaf.dx = p->w.dx;
    p->leaf.wants = p->w.dx != NULL;
    p->leaf.name = p->name;
    p->n = n;
    p->flags = flags;
    p->fresh = l->fresh;
    p->pool = l->pool;
    l->p[l->n++] = p;
    return p;
}

bool sy_param_own(sy_param *p, sy_arena *a)
{
    if (p->w.data) return true;
    p->w.data = sy_arena_array(a, p->n, sizeof(sy_real));
    p->leaf.x = p->w.data;
    return p->w.data != NULL;
}

/* Values of the build's real that lie aligned are a master as they are. */
static sy_status may_store(sy_param *p, sy_wtype type, sy_err *err)
{
    int row = p->w.dim[p->w.nd - 1];
    if (p->w.data || p->w.part || p->w.dx) return sy_fail(err, SY_EUNSUP, "%s: a parameter that has memory of its own or is trained cannot be stored as %s", p->name, sy_wtype_name(type));
    if (type <= SY_W_REAL || type >= SY_WTYPES || row % sy_wtype_block(type))
        return sy_fail(err, SY_ESHAPE, "%s: rows of %d values are no whole number of %s blocks", p->name, row, sy_wtype_name(type));
    return SY_OK;
}

static bool is_master(sy_wtype type, const void *data) { return sizeof(sy_real) == 4 && type == SY_W_F32 && (uintptr_t)data % sizeof(sy_real) == 0; }

sy_status sy_param_store(sy_param *p, sy_wtype type, const void *data, sy_err *err)
{
    SY_TRY(may_store(p, type, err));
    p->w.data = (void *)data;                        /* read only: products and the embedding never write */
    if (is_master(type, data)) p->leaf.x = p->w.data;
    else p->w.type = type;
    return SY_OK;
}

sy_status sy_param_store_parts(sy_param *p, sy_wtype type, const void *const *part, sy_err *err)
{
    bool masters = true;
    SY_TRY(may_store(p, type, err));
    if (p->w.nd != 3) return sy_fail(err, SY_ESHAPE, "%s: only matrices of experts may lie apart, it has %d dimensions", p->name, p->w.nd);
    for (int e = 0; e < p->w.dim[0]; e++) masters &= is_master(type, part[e]);
    p->w.part = part;
    if (!masters) p->w.type = type;
    return SY_OK;
}

sy_param *sy_params_find(const sy_params *l, const char *name)
{
    for (int i = 0; i < l->n; i++)
        if (!strcmp(l->p[i]->name, name)) return l->p[i];
    return NULL;
}

static uint64_t key_of(const sy_param *p, uint64_t seed)
{
    uint64_t h = 1469598103934665603u;               /* FNV-1a of the name */
    for (const char *c = p->name; *c; c++) h = (h ^ (unsigned char)*c) * 1099511628211u;
    return sy_key(seed, SY_FOR_INIT, h, 0, 0);
}

enum { DRAW = 1 << 14 };                /* values of one task; even, since they come in pairs */

struct drawing { sy_real *w; size_t n; uint64_t key; double std; };

static void draw_some(void *arg, int task, int worker)
{
    const struct drawing *d = arg;
    size_t from = (size_t)task * DRAW, to = d->n - from < DRAW ? d->n : from + DRAW;
    (void)worker;
    for (size_t i = from; i < to; i += 2) {
        double pair[2];
        sy_draw_normals(d->key, i / 2, 0, pair);
        d->w[i] = (sy_real)(float)(d->std * pair[0]);
        if (i + 1 < to) d->w[i + 1] = (sy_real)(float)(d->std * pair[1]);
    }
}

void sy_param_normal(sy_param *p, uint64_t seed, double std)
{
    if (!p->fresh) return;
    struct drawing d = { p->w.data, p->n, key_of(p, seed), std };
    if (p->n) sy_pool_run(p->pool, (int)((p->n + DRAW - 1) / DRAW), draw_some, &d);
}

/* Gram-Schmidt, each vector twice, on normal vectors along the longer side. */
void sy_param_orthogonal(sy_param *p, uint64_t seed, double gain)
{
    if (!p->fresh) return;
    sy_param_normal(p, seed, 1);
    size_t K = (size_t)p->w.dim[p->w.nd - 1], N = p->n / K, n = N < K ? N : K, len = N < K ? K : N, step = N < K ? 1 : K, next = N < K ? K : 1;
    sy_real *w = p->w.data;
    for (size_t i = 0; i < n; i++) {
        sy_real *a = w + i * next;
        for (size_t pass = 0; pass < 2; pass++)
            for (size_t j = 0; j < i; j++) {
                const sy_real *b = w + j * next;
                double dot = 0, own = 0;
                for (size_t k = 0; k < len; k++) dot += (double)a[k * step] * (double)b[k * step], own += (double)b[k * step] * (double)b[k * step];
                for (size_t k = 0; k < len && own > 0; k++) a[k * step] -= (sy_real)(dot / own * (double)b[k * step]);
            }
        double norm = 0;
        for (size_t k = 0; k < len; k++) norm += (double)a[k * step] * (double)a[k * step];
        for (size_t k = 0; k < len && norm > 0; k++) a[k * step] = (sy_real)(float)(gain * (double)a[k * step] / sqrt(norm));
    }
}

void sy_param_uniform(sy_param *p, uint64_t seed, double most)
{
    if (!p->fresh) return;
    uint64_t key = key_of(p, seed);
    sy_real *w = p->w.data;
    for (size_t i = 0; i < p->n; i++) w[i] = (sy_real)(float)(most * (2 * sy_draw(key, i, 0) - 1));
}

void sy_param_fill(sy_param *p, double value)
{
    sy_real *w = p->w.data;
    for (size_t i = 0; w && i < p->n; i++) w[i] = (sy_real)value;        /* a bare one has nothing to fill */
}

void sy_param_freeze(sy_param *p)
{
    p->flags |= SY_FROZEN;
    p->w.dx = p->leaf.dx = NULL;
    p->leaf.wants = false;
    p->m = p->v = NULL;
}
