/* gmoe/model.c - gate, density, samples, likelihood and its gradient. */
#include "gmoe/gate.h"

#include <math.h>

#include "core/random.h"

static double phi(double z) { return 0.39894228040143267794 * exp(-0.5 * z * z); }
static double Phi(double z) { return 0.5 * erfc(-z * 0.70710678118654752440); }

double sy__gmoe_act(sy_gmoe_act act, double z, double *slope)
{
    double s;
    switch (act) {
    case SY_GMOE_SIGMOID: s = 1 / (1 + exp(-z)); *slope = s * (1 - s); return s;
    case SY_GMOE_TANH:    s = tanh(z); *slope = 1 - s * s; return s;
    case SY_GMOE_GELU:    *slope = Phi(z) + z * phi(z); return z * Phi(z);
    default:              *slope = 1; return z;
    }
}

sy_status sy_gmoe_check(const sy_gmoe *g, sy_err *err)
{
    if (g->k < 1 || g->k > SY_GMOE_ATOMS) return sy_fail(err, SY_EARG, "a mixture of %d experts; 1 to %d are possible", g->k, SY_GMOE_ATOMS);
    if (g->K < 1 || g->K > g->k) return sy_fail(err, SY_EARG, "%d of %d experts kept", g->K, g->k);
    if (!(g->tau > 0)) return sy_fail(err, SY_EARG, "a temperature of %g", g->tau);
    if (g->K < g->k && (g->temperature || g->act != SY_GMOE_LINEAR)) return sy_fail(err, SY_EARG, "keeping %d of %d experts goes with a linear gate of fixed temperature", g->K, g->k);
    for (int i = 0; i < g->k; i++) if (!(g->v[i] > 0)) return sy_fail(err, SY_EARG, "expert %d has a variance of %g", i, g->v[i]);
    return SY_OK;
}

void sy__gmoe_logits(const sy_gmoe *g, double x, double *u)
{
    for (int i = 0; i < g->k; i++) {
        double slope, s = sy__gmoe_act(g->act, g->beta1[i] * x, &slope);
        u[i] = g->divide_bias ? (s + g->beta0[i]) / g->tau : s / g->tau + g->beta0[i];
    }
}

unsigned sy__gmoe_kept(const sy_gmoe *g, double x, const double *u)
{
    unsigned kept = 0, all = (1u << g->k) - 1;
    if (g->K == g->k) return all;
    for (int n = 0; n < g->K; n++) {
        int best = -1;
        double most = 0;
        for (int i = 0; i < g->k; i++) {
            double by = g->rank_bias ? u[i] : g->beta1[i] * x;
            if (!(kept >> i & 1) && (best < 0 || by > most)) best = i, most = by;
        }
        kept |= 1u << best;
    }
    return kept;
}

void sy__gmoe_log_gate(const sy_gmoe *g, const double *u, unsigned kept, double *lp)
{
    double most = -INFINITY, sum = 0;
    for (int i = 0; i < g->k; i++) if (kept >> i & 1 && u[i] > most) most = u[i];
    for (int i = 0; i < g->k; i++) if (kept >> i & 1) sum += exp(u[i] - most);
    double norm = most + log(sum);
    for (int i = 0; i < g->k; i++) lp[i] = kept >> i & 1 ? u[i] - norm : -INFINITY;
}

void sy_gmoe_gate(const sy_gmoe *g, double x, double *pi)
{
    double u[SY_GMOE_ATOMS];
    sy__gmoe_logits(g, x, u);
    sy__gmoe_log_gate(g, u, sy__gmoe_kept(g, x, u), pi);
    for (int i = 0; i < g->k; i++) pi[i] = exp(pi[i]);
}

/* r [k] = responsibilities, lp [k] = log gate; returns the log density. */
double sy__gmoe_responsible(const sy_gmoe *g, double x, double y, unsigned kept, const double *u, double *lp, double *r)
{
    double most = -INFINITY, sum = 0;
    sy__gmoe_log_gate(g, u, kept, lp);
    for (int i = 0; i < g->k; i++) {
        double d = y - g->a[i] * x - g->b[i];
        r[i] = lp[i] - 0.91893853320467274178 - 0.5 * log(g->v[i]) - 0.5 * d * d / g->v[i];
        if (r[i] > most) most = r[i];
    }
    for (int i = 0; i < g->k; i++) sum += r[i] = exp(r[i] - most);
    for (int i = 0; i < g->k; i++) r[i] /= sum;
    return most + log(sum);
}

double sy_gmoe_log_density(const sy_gmoe *g, double x, double y)
{
    double u[SY_GMOE_ATOMS], lp[SY_GMOE_ATOMS], r[SY_GMOE_ATOMS];
    sy__gmoe_logits(g, x, u);
    return sy__gmoe_responsible(g, x, y, sy__gmoe_kept(g, x, u), u, lp, r);
}

double sy_gmoe_likelihood(const sy_gmoe *g, const double *x, const double *y, int n)
{
    double sum = 0;
    for (int t = 0; t < n; t++) sum += sy_gmoe_log_density(g, x[t], y[t]);
    return sum / n;
}

void sy_gmoe_sample(const sy_gmoe *g, uint64_t key, int n, double *x, double *y)
{
    for (int t = 0; t < n; t++) {
        double pi[SY_GMOE_ATOMS], at = sy_draw(key, (uint64_t)t, 0), left = sy_draw(key, (uint64_t)t, 1);
        sy_gmoe_gate(g, at, pi);
        int i = 0;
        while (i < g->k - 1 && (left -= pi[i]) > 0) i++;
        while (!(pi[i] > 0)) i--;                    /* the last atoms may be switched off here */
        x[t] = at;
        y[t] = g->a[i] * at + g->b[i] + sqrt(g->v[i]) * sy_draw_normal(key, (uint64_t)t, 2);
    }
}

int sy__gmoe_gate_free(const sy_gmoe *g) { return 2 * (g->k - 1) + g->temperature; }

void sy__gmoe_slopes(const sy_gmoe *g, double x, double (*J)[SY_GMOE_FREE])
{
    int m = g->k - 1, P = sy__gmoe_gate_free(g);
    for (int i = 0; i < g->k; i++) {
        double slope, s = sy__gmoe_act(g->act, g->beta1[i] * x, &slope);
        for (int p = 0; p < P; p++) J[i][p] = 0;
        if (i < m) J[i][i] = slope * x / g->tau;
        if (i < m) J[i][m + i] = g->divide_bias ? 1 / g->tau : 1;
        if (g->temperature) J[i][2 * m] = -(g->divide_bias ? s + g->beta0[i] : s) / g->tau;
    }
}

int sy_gmoe_gradient(const sy_gmoe *g, const double *x, const double *y, int n, double *grad)
{
    int G = sy__gmoe_gate_free(g), k = g->k, all = G + 3 * k;
    for (int p = 0; p < all; p++) grad[p] = 0;
    for (int t = 0; t < n; t++) {
        double u[SY_GMOE_ATOMS], lp[SY_GMOE_ATOMS], r[SY_GMOE_ATOMS], J[SY_GMOE_ATOMS][SY_GMOE_FREE];
        sy__gmoe_logits(g, x[t], u);
        sy__gmoe_responsible(g, x[t], y[t], sy__gmoe_kept(g, x[t], u), u, lp, r);
        sy__gmoe_slopes(g, x[t], J);
        for (int i = 0; i < k; i++) {
            double d = y[t] - g->a[i] * x[t] - g->b[i], v = g->v[i];
            for (int p = 0; p < G; p++) grad[p] += (r[i] - exp(lp[i])) * J[i][p] / n;
            grad[G + i] += r[i] * d * x[t] / v / n;
            grad[G + k + i] += r[i] * d / v / n;
            grad[G + 2 * k + i] += r[i] * 0.5 * (d * d / v - 1) / v / n;
        }
    }
    return all;
}

double *sy_gmoe_free(sy_gmoe *g, int index)
{
    int m = g->k - 1, G = sy__gmoe_gate_free(g);
    if (index < m) return &g->beta1[index];
    if (index < 2 * m) return &g->beta0[index - m];
    if (index < G) return &g->tau;
    index -= G;
    double *of[] = { g->a, g->b, g->v };
    return &of[index / g->k][index % g->k];
}
