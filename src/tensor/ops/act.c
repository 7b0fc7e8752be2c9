/* tensor/ops/act.c - activations, alone and as gates of a linear unit (GLU family: Shazeer, arXiv:2002.05202). */
#include <math.h>

#include "tensor/ops/span.h"

#include <math.h>

enum { ACT_OPS = 8 };                               /* work of one activation, in element-wise operations */

struct act { sy_act a; };
static sy_act act_of(const sy_span *s) { return ((const struct act *)s->n->arg)->a; }

static bool known(sy_tape *t, const char *op, sy_act a)
{
    if (t->status == SY_OK && (unsigned)a >= SY_ACTS) sy_tape_fail(t, SY_EARG, "%s: there is no activation %d (0 to %d)", op, (int)a, SY_ACTS - 1);
    return t->status == SY_OK;
}

static void act_values(const sy_span *s, size_t at, size_t n) { s->k->act(act_of(s), n, s->a + at, s->y + at); }
static void act_back(const sy_span *s, size_t at, size_t n) { if (s->da) s->k->act_b(act_of(s), n, s->a + at, s->dy + at, s->da + at); }
static void activate_f(sy_node *n) { sy__values_f(n, ACT_OPS, act_values); }
static void activate_b(sy_node *n) { sy__values_b(n, ACT_OPS, act_back); }

static sy_tensor *activate_sample(sy_tape *t, int variant)
{
    return variant >= SY_ACTS ? NULL : sy_activate(t, (sy_act)variant, sy_sample_leaf(t, -3, 3, SY_DIM(4, 9)));
}

const sy_op sy_op_activate = { "activate", activate_f, activate_b, NULL, activate_sample };

sy_tensor *sy_activate(sy_tape *t, sy_act a, sy_tensor *x)
{
    return known(t, "activate", a) ? sy__map(t, &sy_op_activate, x, &(struct act){ a }, sizeof(struct act)) : &t->empty;
}

/* ---- a curve of a method's own ---- */

enum { CURVE_OPS = 40 };

static void along_values(const sy_span *s, size_t at, size_t n)
{
    const sy_curve *c = s->n->arg;
    for (size_t i = at; i < at + n; i++) s->y[i] = (sy_real)c->f((double)s->a[i], c->arg);
}
static void along_back(const sy_span *s, size_t at, size_t n)
{
    const sy_curve *c = s->n->arg;
    for (size_t i = at; s->da && i < at + n; i++) s->da[i] += (sy_real)(c->df((double)s->a[i], c->arg) * (double)s->dy[i]);
}
static void along_f(sy_node *n) { sy__values_f(n, CURVE_OPS, along_values); }
static void along_b(sy_node *n) { sy__values_b(n, CURVE_OPS, along_back); }

static double wave(double x, double arg) { return sin(arg * x); }
static double wave_slope(double x, double arg) { return arg * cos(arg * x); }

static sy_tensor *along_sample(sy_tape *t, int variant)
{
    return variant ? NULL : sy_along(t, &(sy_curve){ wave, wave_slope, 0.7 }, sy_sample_leaf(t, -3, 3, SY_DIM(4, 9)));
}

const sy_op sy_op_along = { "along", along_f, along_b, NULL, along_sample };

sy_tensor *sy_along(sy_tape *t, const sy_curve *c, sy_tensor *x) { return sy__map(t, &sy_op_along, x, c, sizeof *c); }

static void glu_values(const sy_span *s, size_t at, size_t n) { s->k->glu(act_of(s), n, s->a + at, s->b + at, s->y + at); }

/* The kernel stores both gradients. What must be added is made a short run at a time, in the first level of cache. */
static void glu_back(const sy_span *s, size_t at, size_t n)
{
    enum { RUN = 512 };
    sy_real dg[RUN], du[RUN];
    for (size_t end = at + n; at < end; at += RUN) {
        size_t m = end - at < RUN ? end - at : RUN;
        s->k->glu_b(act_of(s), m, s->a + at, s->b + at, s->dy + at, s->new_a ? s->da + at : dg, s->new_b ? s->db + at : du);
        if (s->da && !s->new_a) s->k->add(m, dg, s->da + at, s->da + at);
        if (s->db && !s->new_b) s->k->add(m, du, s->db + at, s->db + at);
    }
}

static void glu_f(sy_node *n) { sy__values_f(n, ACT_OPS, glu_values); }
static void glu_b(sy_node *n) { sy__values_store(n, ACT_OPS + 4, glu_back); }

static sy_tensor *glu_sample(sy_tape *t, int variant)
{
    if (variant >= SY_ACTS) return NULL;
    sy_tensor *gate = sy_sample_leaf(t, -3, 3, SY_DIM(4, 9));
    return sy_glu(t, (sy_act)variant, gate, sy_sample_leaf(t, -1, 1, SY_DIM(4, 9)));
}

const sy_op sy_op_glu = { "glu", glu_f, glu_b, NULL, glu_sample };

sy_tensor *sy_glu(sy_tape *t, sy_act a, sy_tensor *gate, sy_tensor *up)
{
    if (!known(t, "glu", a) || !sy__same(t, "glu", SY_IN(gate, up))) return &t->empty;
    sy_node *n = sy_node_new(t, &sy_op_glu, SY_IN(gate, up), SY_NOW);
    if (!n || !sy_node_arg(n, &(struct act){ a }, sizeof(struct act))) return &t->empty;
    n->out = sy_new_like(t, gate);
    return sy_apply(n);
}

sy_tensor *sy_glu_clamped(sy_tape *t, sy_tensor *gate, sy_tensor *up, double alpha, double limit)
{
    sy_tensor *g = sy_clamp(t, gate, -INFINITY, limit), *u = sy_affine(t, sy_clamp(t, up, -limit, limit), 1, 1);
    return sy_mul(t, sy_mul(t, g, sy_activate(t, SY_ACT_SIGMOID, sy_affine(t, g, alpha, 0))), u);
}
