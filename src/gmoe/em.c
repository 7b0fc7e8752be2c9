/* gmoe/em.c - expectation maximisation. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/random.h"
#include "gmoe/gate.h"

enum { P_MOST = 2 * SY_GMOE_ATOMS + 1, NEWTON_STEPS = 30 };
static const double FLAT = 1e-10;                    /* a gate whose mean gradient is nowhere larger is at its maximum */

typedef struct em { sy_gmoe *g; const double *x, *y; int n; double floor, *r; unsigned char *kept; } em;      /* r [n,k]; kept [n]: a bit an atom */

/* Responsibilities and kept atoms of every sample; returns the mean log-likelihood. */
static double expect(em *e)
{
    double sum = 0;
    for (int t = 0; t < e->n; t++) {
        double u[SY_GMOE_ATOMS], lp[SY_GMOE_ATOMS];
        sy__gmoe_logits(e->g, e->x[t], u);
        e->kept[t] = (unsigned char)sy__gmoe_kept(e->g, e->x[t], u);
        sum += sy__gmoe_responsible(e->g, e->x[t], e->y[t], e->kept[t], u, lp, e->r + (size_t)t * e->g->k);
    }
    return sum / e->n;
}

/* Weighted least squares; an expert that is responsible for next to nothing stays as it is. */
static void experts(em *e)
{
    int k = e->g->k;
    for (int i = 0; i < k; i++) {
        double w = 0, mx = 0, my = 0, xx = 0, xy = 0, rest = 0;
        for (int t = 0; t < e->n; t++) { double r = e->r[(size_t)t * k + i]; w += r, mx += r * e->x[t], my += r * e->y[t]; }
        if (!(w > 1e-8)) continue;
        mx /= w, my /= w;
        for (int t = 0; t < e->n; t++) { double r = e->r[(size_t)t * k + i], dx = e->x[t] - mx; xx += r * dx * dx, xy += r * dx * (e->y[t] - my); }
        if (xx > 1e-12 * w) e->g->a[i] = xy / xx;
        e->g->b[i] = my - e->g->a[i] * mx;
        for (int t = 0; t < e->n; t++) { double d = e->y[t] - e->g->a[i] * e->x[t] - e->g->b[i]; rest += e->r[(size_t)t * k + i] * d * d; }
        e->g->v[i] = rest / w > e->floor ? rest / w : e->floor;
    }
}

/* Mean of sum_i r_i ln pi_i under the kept atoms of the round; with its gradient and the negative of its Hessian (of its Fisher part, where the logits bend), lower half. */
static double gate_value(const em *e, double *grad, double (*H)[P_MOST])
{
    int k = e->g->k, P = sy__gmoe_gate_free(e->g);
    double sum = 0, scale = 1.0 / e->n;
    for (int p = 0; p < P; p++) { grad[p] = 0; for (int q = 0; q <= p; q++) H[p][q] = 0; }
    for (int t = 0; t < e->n; t++) {
        double u[SY_GMOE_ATOMS], pi[SY_GMOE_ATOMS], J[SY_GMOE_ATOMS][SY_GMOE_FREE], mean[P_MOST] = { 0 }, most = -INFINITY, all = 0, got = 0;
        const double *r = e->r + (size_t)t * k;
        sy__gmoe_logits(e->g, e->x[t], u);
        for (int i = 0; i < k; i++) if (e->kept[t] >> i & 1 && u[i] > most) most = u[i];
        for (int i = 0; i < k; i++) all += pi[i] = e->kept[t] >> i & 1 ? exp(u[i] - most) : 0;
        for (int i = 0; i < k; i++) if (r[i] > 0) got += r[i] * (u[i] - most);
        sum += got - log(all);                       /* the r of a sample sum to 1 */
        sy__gmoe_slopes(e->g, e->x[t], J);
        for (int i = 0; i < k; i++) {
            double share = pi[i] / all;
            for (int p = 0; p < P; p++) {
                double j = J[i][p];
                if (j == 0) continue;
                grad[p] += (r[i] - share) * j;
                mean[p] += share * j;
                for (int q = 0; q <= p; q++) H[p][q] += share * j * J[i][q];
            }
        }
        for (int p = 0; p < P; p++) for (int q = 0; q <= p; q++) H[p][q] -= mean[p] * mean[q];
    }
    for (int p = 0; p < P; p++) { grad[p] *= scale; for (int q = 0; q <= p; q++) H[p][q] *= scale; }
    return sum * scale;
}

/* Solves (H + ridge I) s = g by Cholesky; H is lower and is overwritten. */
static bool solve(double (*H)[P_MOST], const double *g, int P, double ridge, double *s)
{
    for (int p = 0; p < P; p++) {
        H[p][p] += ridge;
        for (int q = 0; q <= p; q++) {
            double v = H[p][q];
            for (int m = 0; m < q; m++) v -= H[p][m] * H[q][m];
            if (p == q && !(v > 0)) return false;
            H[p][q] = p == q ? sqrt(v) : v / H[q][q];
        }
    }
    for (int p = 0; p < P; p++) { s[p] = g[p]; for (int m = 0; m < p; m++) s[p] -= H[p][m] * s[m]; s[p] /= H[p][p]; }
    for (int p = P - 1; p >= 0; p--) { for (int m = p + 1; m < P; m++) s[p] -= H[m][p] * s[m]; s[p] /= H[p][p]; }
    return true;
}

static void move_gate(sy_gmoe *to, const sy_gmoe *from, const double *s, double share)
{
    int m = from->k - 1;
    for (int i = 0; i < m; i++) to->beta1[i] = from->beta1[i] + share * s[i], to->beta0[i] = from->beta0[i] + share * s[m + i];
    if (from->temperature) to->tau = from->tau * exp(share * s[2 * m]);
}

/* A whole step is at most 5 in beta1, 2 in beta0 and 1/2 in ln tau. */
static void clip(const sy_gmoe *g, double *s)
{
    int m = g->k - 1;
    double share = 1;
    for (int p = 0; p < sy__gmoe_gate_free(g); p++) share = fmin(share, (p < m ? 5 : p < 2 * m ? 2 : 0.5) / fmax(fabs(s[p]), 1e-300));
    for (int p = 0; p < sy__gmoe_gate_free(g); p++) s[p] *= share;
}

/* The gate that maximises the expected log-likelihood: Newton's method, each step halved until it does not lose. */
static void gate(em *e)
{
    double grad[P_MOST], H[P_MOST][P_MOST], s[P_MOST];
    int P = sy__gmoe_gate_free(e->g);
    if (!P) return;
    double value = gate_value(e, grad, H);
    for (int step = 0; step < NEWTON_STEPS; step++) {
        sy_gmoe from = *e->g;
        double most = 0, trace = 0, share = 1, gain = 0;
        for (int p = 0; p < P; p++) most = fmax(most, fabs(grad[p])), trace += H[p][p];
        if (most < FLAT || !solve(H, grad, P, 1e-9 * trace + 1e-14, s)) return;
        clip(&from, s);
        for (int p = 0; p < P; p++) gain += grad[p] * s[p];
        if (gain < 1e-14 * (1 + fabs(value))) {      /* below what the value can show: the last step of a method that doubles its digits */
            move_gate(e->g, &from, s, 1);
            return;
        }
        for (int half = 0; ; half++, share /= 2) {
            if (half == 40) { *e->g = from; return; }
            move_gate(e->g, &from, s, share);
            double now = gate_value(e, grad, H);
            if (now >= value) { value = now; break; }
        }
    }
}

/* With K < k the kept atoms move with the gate, which the round could not see: the way back to the gate before is halved until nothing is lost. */
static double take_back(em *e, const sy_gmoe *before, double likelihood)
{
    double now = sy_gmoe_likelihood(e->g, e->x, e->y, e->n);
    for (int half = 0; half < 12 && now < likelihood; half++) {
        for (int i = 0; i < before->k - 1; i++) {
            e->g->beta1[i] = half == 11 ? before->beta1[i] : 0.5 * (e->g->beta1[i] + before->beta1[i]);
            e->g->beta0[i] = half == 11 ? before->beta0[i] : 0.5 * (e->g->beta0[i] + before->beta0[i]);
        }
        now = sy_gmoe_likelihood(e->g, e->x, e->y, e->n);
    }
    return now;
}

sy_status sy_gmoe_em(sy_gmoe *g, const double *x, const double *y, int n, const sy_gmoe_rules *rules, sy_gmoe_fit *out, sy_err *err)
{
    SY_TRY(sy_gmoe_check(g, err));
    if (n < 1) return sy_fail(err, SY_EARG, "a fit to %d samples", n);
    em e = { g, x, y, n, rules->floor > 0 ? rules->floor : 1e-6, sy_malloc(sy_mul_size((size_t)n * (size_t)g->k, sizeof(double))), sy_malloc((size_t)n) };
    sy_status st = e.r && e.kept ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory to fit %d samples", n);
    if (st == SY_OK) {
        double grad[SY_GMOE_FREE], was = expect(&e);
        *out = (sy_gmoe_fit){ 0 };
        while (!out->ended && out->rounds < rules->most) {
            sy_gmoe before = *g;
            out->rounds++;
            experts(&e);
            gate(&e);
            if (g->K < g->k) take_back(&e, &before, was);
            double now = expect(&e);
            if (was - now > out->fell) out->fell = was - now;
            out->ended = fabs(now - was) < rules->eps;
            was = now;
        }
        out->likelihood = was;
        int P = sy_gmoe_gradient(g, x, y, n, grad);
        for (int p = 0; p < P; p++) out->gradient = fmax(out->gradient, fabs(grad[p]));
        if (!isfinite(was)) st = sy_fail(err, SY_ENUM, "the likelihood of a fit to %d samples is not finite", n);
    }
    sy_free(e.r);
    sy_free(e.kept);
    return st;
}

static int rising(const void *a, const void *b) { double d = *(const double *)a - *(const double *)b; return (d > 0) - (d < 0); }

/* A start: each piece of the x axis belongs to one expert by nine tenths. */
static void from_pieces(em *e, uint64_t key)
{
    int k = e->g->k;
    double cut[SY_GMOE_ATOMS];
    for (int i = 0; i < k - 1; i++) cut[i] = sy_draw(key, (uint64_t)i, 0);
    qsort(cut, (size_t)k - 1, sizeof *cut, rising);
    for (int t = 0; t < e->n; t++) {
        int mine = 0;
        while (mine < k - 1 && e->x[t] > cut[mine]) mine++;
        mine = (int)((unsigned)mine + sy_draw_below(key, 0, 1, (uint64_t)k)) % k;       /* any of them may be the last, whose gate is 0 */
        for (int i = 0; i < k; i++) e->r[(size_t)t * k + i] = k == 1 ? 1 : i == mine ? 0.9 : 0.1 / (k - 1);
        e->kept[t] = (unsigned char)((1u << k) - 1);
    }
    for (int i = 0; i < k; i++) e->g->beta0[i] = e->g->beta1[i] = e->g->a[i] = e->g->b[i] = 0, e->g->v[i] = 1;
    for (int i = 0; i < k - 1 && e->g->act != SY_GMOE_LINEAR; i++) e->g->beta1[i] = 4 * sy_draw_normal(key, (uint64_t)i, 2);       /* at 0 a bent gate's slopes may vanish */
    experts(e);
    gate(e);
}

sy_status sy_gmoe_search(sy_gmoe *g, bool near, int starts, uint64_t key, const double *x, const double *y, int n, const sy_gmoe_rules *rules, sy_gmoe_fit *out, sy_err *err)
{
    SY_TRY(sy_gmoe_check(g, err));
    if (n < 1 || (!near && starts < 1)) return sy_fail(err, SY_EARG, "a search from %d starts in %d samples", starts, n);
    sy_gmoe best = *g;
    double most = -INFINITY;
    for (int s = near ? -1 : 0; s < starts; s++) {
        sy_gmoe try = *g;
        sy_gmoe_fit fit;
        if (s >= 0) {
            em e = { &try, x, y, n, rules->floor > 0 ? rules->floor : 1e-6, sy_malloc(sy_mul_size((size_t)n * (size_t)g->k, sizeof(double))), sy_malloc((size_t)n) };
            bool room = e.r && e.kept;
            if (room) from_pieces(&e, sy_key(key, SY_FOR_INIT, (uint64_t)s, 0, 0));
            sy_free(e.r);
            sy_free(e.kept);
            if (!room) return sy_fail(err, SY_ENOMEM, "no memory to fit %d samples", n);
        }
        SY_TRY(sy_gmoe_em(&try, x, y, n, rules, &fit, err));
        if (fit.likelihood > most) most = fit.likelihood, best = try, *out = fit;
    }
    *g = best;
    return SY_OK;
}
