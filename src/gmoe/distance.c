/* gmoe/distance.c - how far a fit is from the truth: Voronoi losses of the parameters, Hellinger distance of the densities. */
#include <math.h>

#include "gmoe/gmoe.h"

static double apart(const sy_gmoe *g, int i, const sy_gmoe *truth, int j, bool gate)
{
    return (gate ? fabs(g->beta1[i] - truth->beta1[j]) : 0) + fabs(g->a[i] - truth->a[j]) + fabs(g->b[i] - truth->b[j]) + fabs(g->v[i] - truth->v[j]);
}

void sy_gmoe_align(sy_gmoe *g, const sy_gmoe *truth)
{
    int last = 0;
    for (int i = 1; i < g->k; i++) if (apart(g, i, truth, truth->k - 1, false) < apart(g, last, truth, truth->k - 1, false)) last = i;
    double b0 = g->beta0[last], b1 = g->act == SY_GMOE_LINEAR ? g->beta1[last] : 0;
    for (int i = 0; i < g->k; i++) g->beta0[i] -= b0, g->beta1[i] -= b1;
}

void sy_gmoe_cells(const sy_gmoe *g, const sy_gmoe *truth, int *cell)
{
    for (int i = 0; i < g->k; i++) {
        cell[i] = 0;
        for (int j = 1; j < truth->k; j++) if (apart(g, i, truth, j, true) < apart(g, i, truth, cell[i], true)) cell[i] = j;
    }
}

/* The sum of the K largest of part [n]. */
static double largest(double *part, int n, int K)
{
    double sum = 0;
    for (int c = 0; c < K && c < n; c++) {
        int best = c;
        for (int j = c + 1; j < n; j++) if (part[j] > part[best]) best = j;
        double x = part[best];
        part[best] = part[c];
        sum += x;
    }
    return sum;
}

static double voronoi(const sy_gmoe *g, const sy_gmoe *truth, bool over)
{
    int cell[SY_GMOE_ATOMS], size[SY_GMOE_ATOMS] = { 0 };
    double part[SY_GMOE_ATOMS] = { 0 }, weight[SY_GMOE_ATOMS] = { 0 };
    sy_gmoe_cells(g, truth, cell);
    for (int i = 0; i < g->k; i++) size[cell[i]]++;
    for (int i = 0; i < g->k; i++) {
        int j = cell[i];
        double w = exp(g->beta0[i]), slow = !over || size[j] == 1 ? 1 : size[j] == 2 ? 4 : 6, fast = slow == 1 ? 1 : slow / 2;
        part[j] += w * (pow(fabs(g->beta1[i] - truth->beta1[j]), slow) + pow(fabs(g->b[i] - truth->b[j]), slow) + pow(fabs(g->a[i] - truth->a[j]), fast) + pow(fabs(g->v[i] - truth->v[j]), fast));
        weight[j] += w;
    }
    for (int j = 0; j < truth->k; j++) part[j] += fabs(weight[j] - exp(truth->beta0[j]));
    return largest(part, truth->k, truth->K);
}

double sy_gmoe_d1(const sy_gmoe *g, const sy_gmoe *truth) { return voronoi(g, truth, false); }
double sy_gmoe_d2(const sy_gmoe *g, const sy_gmoe *truth) { return voronoi(g, truth, true); }

/* y runs over the lines of both, 8 standard deviations on either side, in steps of a tenth of the smallest; the middle of each of 100 pieces of x. */
double sy_gmoe_hellinger(const sy_gmoe *g, const sy_gmoe *truth)
{
    enum { PIECES = 100, MOST = 20000 };
    double sum = 0;
    for (int p = 0; p < PIECES; p++) {
        double x = (p + 0.5) / PIECES, lo = INFINITY, hi = -INFINITY, least = INFINITY, both = 0;
        for (int w = 0; w < 2; w++) {
            const sy_gmoe *m = w ? truth : g;
            double pi[SY_GMOE_ATOMS];
            sy_gmoe_gate(m, x, pi);
            for (int i = 0; i < m->k; i++) {
                if (pi[i] < 1e-14) continue;
                double s = sqrt(m->v[i]), y = m->a[i] * x + m->b[i];
                lo = fmin(lo, y - 8 * s), hi = fmax(hi, y + 8 * s), least = fmin(least, s);
            }
        }
        int n = (int)fmin(MOST, ceil((hi - lo) / (0.1 * least)));
        for (int q = 0; q < n; q++) {
            double y = lo + (q + 0.5) * (hi - lo) / n;
            both += exp(0.5 * (sy_gmoe_log_density(g, x, y) + sy_gmoe_log_density(truth, x, y)));
        }
        sum += fmax(0, 1 - both * (hi - lo) / n);
    }
    return sqrt(sum / PIECES);
}
