/* route/stats.c - statistics of one sparse layer, summed over batches. */
#include "route/stats.h"

#include <math.h>
#include <string.h>

sy_status sy_stats_init(sy_stats *s, int E, int Z, int domains, sy_arena *a, sy_err *err)
{
    size_t cols = (size_t)E + (size_t)Z;
    sy_stats n = { .E = E, .Z = Z, .domains = domains };
    n.load = sy_arena_array(a, cols, sizeof *n.load);
    n.by_domain = sy_arena_array(a, cols * (size_t)(domains > 0 ? domains : 1), sizeof *n.by_domain);
    n.co = sy_arena_array(a, (size_t)E * (size_t)E, sizeof *n.co);
    if (!n.load || !n.by_domain || !n.co) return sy_fail(err, SY_ENOMEM, "no memory for the statistics of %d experts and %d domains", E + Z, domains);
    *s = n;
    return SY_OK;
}

void sy_stats_clear(sy_stats *s)
{
    size_t cols = (size_t)s->E + (size_t)s->Z;
    memset(s->load, 0, cols * sizeof *s->load);
    memset(s->by_domain, 0, cols * (size_t)(s->domains > 0 ? s->domains : 1) * sizeof *s->by_domain);
    memset(s->co, 0, (size_t)s->E * (size_t)s->E * sizeof *s->co);
    *s = (sy_stats){ .E = s->E, .Z = s->Z, .domains = s->domains, .load = s->load, .by_domain = s->by_domain, .co = s->co };
}

static int wanted(int e) { return e < 0 ? ~e : e; }

static void add_token(sy_stats *s, const sy_route *r, int t, int label)
{
    int cols = s->E + s->Z, from = r->first_slot[t], to = r->first_slot[t + 1];
    double top = 0;
    s->tokens++;
    s->slots += to - from;
    s->passed += to == from;
    for (int i = from; i < to; i++) {
        int e = wanted(r->expert[i]);
        s->load[e]++;
        if (label >= 0 && label < s->domains) s->by_domain[(size_t)label * cols + e]++;
        if (r->expert[i] < 0) s->dropped++;
        else if (r->weight && r->weight->x[i] > top) top = r->weight->x[i];
        for (int j = from; j < i && e < s->E; j++) {
            int f = wanted(r->expert[j]);
            if (f < s->E && f != e) s->co[(size_t)(e < f ? e : f) * s->E + (e < f ? f : e)]++;
        }
    }
    s->top_weight += top;
    for (int e = 0; r->probs && e < cols; e++) {
        double p = r->probs->x[(size_t)t * cols + e];
        if (p > 0) s->entropy -= p * log(p);
    }
}

void sy_stats_add(sy_stats *s, const sy_route *r, const int *label, const uint8_t *valid)
{
    for (int t = 0; t < r->T; t++)
        if (!valid || valid[t]) add_token(s, r, t, label ? label[t] : -1);
}

double sy_stats_maxvio(const sy_stats *s)
{
    int64_t most = 0, sum = 0;
    for (int e = 0; e < s->E; e++) {
        sum += s->load[e];
        if (s->load[e] > most) most = s->load[e];
    }
    return sum ? (double)most * s->E / (double)sum - 1 : 0;
}

/* I(D; X) = sum over domain d and expert e of p(d,e) ln (p(d,e) / p(d) p(e)). */
double sy_stats_specialisation(const sy_stats *s)
{
    int cols = s->E + s->Z;
    double all = 0, info = 0;
    if (s->domains < 2) return 0;
    for (int i = 0; i < s->domains * cols; i++) all += (double)s->by_domain[i];
    for (int d = 0; d < s->domains && all > 0; d++) {
        double row = 0;
        for (int e = 0; e < cols; e++) row += (double)s->by_domain[(size_t)d * cols + e];
        for (int e = 0; e < cols; e++) {
            double c = (double)s->by_domain[(size_t)d * cols + e], col = 0;
            if (c <= 0) continue;
            for (int k = 0; k < s->domains; k++) col += (double)s->by_domain[(size_t)k * cols + e];
            info += c / all * log(c * all / (row * col));
        }
    }
    return info / log(s->domains);
}
