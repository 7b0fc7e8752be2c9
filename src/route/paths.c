/* route/paths.c - products of soft switches along paths: what gates of bits and trees are made of.
 *
 *   smooth step (Hazimeh et al. 2021, arXiv:2106.03760):  S(u) = 0 for u <= -g/2, 1 for u >= g/2, else -2 u^3 / g^3 + 3 u / (2 g) + 1/2
 *   paths       y[t,l] = product over the switches n of path l of  s[t,n]  or  1 - s[t,n]
 *               backward: the product of the other factors, by running products from both ends, so that a factor of 0 divides nothing
 *   entropy     of what such products give: they may be exactly 0 */
#include <math.h>

#include "route/router.h"

static double step(double u, double g) { return u <= -g / 2 ? 0 : u >= g / 2 ? 1 : -2 * u * u * u / (g * g * g) + 3 * u / (2 * g) + 0.5; }
static double step_slope(double u, double g) { return u <= -g / 2 || u >= g / 2 ? 0 : -6 * u * u / (g * g * g) + 3 / (2 * g); }

sy_tensor *sy_smooth_step(sy_tape *t, sy_tensor *u, double gamma) { return sy_along(t, &(sy_curve){ step, step_slope, gamma }, u); }

static double entropy(double q, double eps) { return q > 0 ? -q * log(q + eps) : 0; }
static double entropy_slope(double q, double eps) { return q + eps > 0 ? -log(q + eps) - q / (q + eps) : 0; }

sy_tensor *sy_mean_entropy(sy_tape *t, const sy_route_in *in, sy_tensor *q, double eps, double scale)
{
    int n = sy_count_valid(in);
    sy_tensor *h = sy_sum_rows(t, sy_along(t, &(sy_curve){ entropy, entropy_slope, eps }, q), in->valid);
    return sy_affine(t, sy_sum(t, h), n ? scale / n : 0, 0);
}

static sy_real factor(const sy_real *s, int n) { return n < 0 ? 1 - s[~n] : s[n]; }

static void walk_rows(void *arg, int from, int to, int worker)
{
    (void)worker;
    const sy_node *n = arg;
    const sy_paths *p = n->arg;
    for (int t = from; t < to; t++) {
        const sy_real *s = n->in[0]->x + (size_t)t * sy_cols(n->in[0]);
        sy_real *y = n->out->x + (size_t)t * p->n;
        for (int l = 0; l < p->n; l++) {
            y[l] = 1;
            for (int i = p->first[l]; i < p->first[l + 1]; i++) y[l] *= factor(s, p->at[i]);
        }
    }
}

struct back { const sy_node *n; sy_real *ds; };

static void back_rows(void *arg, int from, int to, int worker)
{
    (void)worker;
    const struct back *b = arg;
    const sy_paths *p = b->n->arg;
    int cols = sy_cols(b->n->in[0]);
    for (int t = from; t < to; t++) {
        const sy_real *s = b->n->in[0]->x + (size_t)t * cols, *dy = b->n->out->dx + (size_t)t * p->n;
        sy_real *ds = b->ds + (size_t)t * cols;
        for (int l = 0; l < p->n; l++) {
            sy_real before = 1, after[SY_MAX_PATH];
            int from_l = p->first[l], len = p->first[l + 1] - from_l;
            if (!len) continue;
            after[len - 1] = 1;
            for (int i = len - 1; i > 0; i--) after[i - 1] = after[i] * factor(s, p->at[from_l + i]);
            for (int i = 0; i < len; i++) {
                int at = p->at[from_l + i];
                sy_real d = dy[l] * before * after[i];
                if (at < 0) ds[~at] -= d;
                else ds[at] += d;
                before *= factor(s, at);
            }
        }
    }
}

static double work(const sy_node *n) { const sy_paths *p = n->arg; return 2.0 * p->first[p->n] + p->n; }
static void paths_f(sy_node *n) { sy_each(n->tape->eng, sy_rows(n->in[0]), work(n), walk_rows, n); }
static void paths_b(sy_node *n)
{
    struct back b = { n, sy_grad(n, 0) };
    if (b.ds) sy_each(n->tape->eng, sy_rows(n->in[0]), 3 * work(n), back_rows, &b);
}

/* A tree of three leaves, an empty path, and a path that meets one switch twice. */
static sy_tensor *paths_sample(sy_tape *t, int variant)
{
    static const int first[] = { 0, 1, 3, 5, 5, 8 }, at[] = { 0, ~0, 1, ~0, ~1, 2, ~2, 0 };
    static const sy_paths p[] = { { 5, first, at }, { 1, first, at } };
    return variant >= (int)SY_COUNT(p) ? NULL : sy_paths_walk(t, sy_sample_leaf(t, 0, 1, SY_DIM(4, 3)), &p[variant]);
}

const sy_op sy_op_paths = { "paths", paths_f, paths_b, NULL, paths_sample };

sy_tensor *sy_paths_walk(sy_tape *t, sy_tensor *s, const sy_paths *p)
{
    if (t->status != SY_OK) return &t->empty;
    for (int l = 0; l < p->n; l++)
        if (p->first[l + 1] - p->first[l] > SY_MAX_PATH) return sy_tape_fail(t, SY_ESHAPE, "paths: path %d has %d switches; at most %d", l, p->first[l + 1] - p->first[l], SY_MAX_PATH);
    for (int i = 0; i < p->first[p->n]; i++)
        if ((p->at[i] < 0 ? ~p->at[i] : p->at[i]) >= sy_cols(s)) return sy_tape_fail(t, SY_ESHAPE, "paths: switch %d of %d", p->at[i], sy_cols(s));
    sy_node *n = sy_node_new(t, &sy_op_paths, SY_IN(s), SY_NOW);
    if (!n || !sy_node_arg(n, p, sizeof *p)) return &t->empty;
    n->out = sy_new(t, SY_DIM(sy_rows(s), p->n));
    return sy_apply(n);
}
