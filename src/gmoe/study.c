/* gmoe/study.c - the studies, and how they are run. */
#include "gmoe/study.h"

#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/random.h"

/* --- errors ---------------------------------------------------------------------------------------------------------------------- */

static void parameters(const sy_gmoe *g, const sy_gmoe *t, double *e)
{
    e[0] = sy_gmoe_d1(g, t);
    e[1] = sy_gmoe_hellinger(g, t);
}

/* Mean |da| + |db| over the fitted atoms of cells that hold one, and of cells that hold more. */
static void by_cell(const sy_gmoe *g, const sy_gmoe *t, double *e)
{
    int cell[SY_GMOE_ATOMS], size[SY_GMOE_ATOMS] = { 0 }, n[2] = { 0 };
    double sum[2] = { 0 };
    sy_gmoe_cells(g, t, cell);
    for (int i = 0; i < g->k; i++) size[cell[i]]++;
    for (int i = 0; i < g->k; i++) {
        int many = size[cell[i]] > 1;
        sum[many] += fabs(g->a[i] - t->a[cell[i]]) + fabs(g->b[i] - t->b[cell[i]]);
        n[many]++;
    }
    for (int m = 0; m < 2; m++) e[m] = n[m] ? sum[m] / n[m] : NAN;
    e[2] = sy_gmoe_d2(g, t);
    e[3] = sy_gmoe_hellinger(g, t);
}

static void temperature(const sy_gmoe *g, const sy_gmoe *t, double *e)
{
    e[0] = fabs(g->beta1[0] - t->beta1[0]) + fabs(g->tau - t->tau);
    e[1] = fabs(g->beta1[0] / g->tau - t->beta1[0] / t->tau);
    e[2] = sy_gmoe_hellinger(g, t);
}

static void experts(const sy_gmoe *g, const sy_gmoe *t, double *e)
{
    e[0] = e[1] = 0;
    for (int i = 0; i < g->k; i++) {
        e[0] += fabs(g->a[i] - t->a[i]) + fabs(g->b[i] - t->b[i]);
        e[1] += fabs(g->beta1[i] - t->beta1[i]);
    }
    e[2] = sy_gmoe_hellinger(g, t);
}

/* --- studies --------------------------------------------------------------------------------------------------------------------- */

#define TRUTH .k = 2, .K = 2, .tau = 1, .beta0 = { -8, 0 }, .beta1 = { 25, 0 }, .a = { -20, 20 }, .b = { 15, -5 }, .v = { 0.09, 0.16 }

const sy_gmoe_study sy_gmoe_studies[] = {
    { "exact", "Two experts, fitted by two", "arXiv:2309.13850",
      "A dense softmax gate over two experts; the fit has two as well. D1 is the Voronoi loss of all parameters, density the Hellinger distance.",
      "D1 at n = 250, 1000, 4000, 16000 about 0.63, 0.18, 0.075, 0.041, slope -0.56; -1/2 by the theory, for the density too.",
      { TRUTH }, 2, 2, false, { "D1", "density" }, parameters },
    { "over", "Two experts, fitted by three", "arXiv:2309.13850",
      "The same truth; the fit has an expert too many, so one true expert is covered by two fitted ones. Errors are mean |a| + |b| differences over the atoms of a cell. D2 raises the distances in the crowded cell to the powers that are slow there.",
      "Error in the doubly covered cell 0.81, 0.38, 0.29, 0.15, in the single one 0.60, 0.17, 0.070, 0.037 at n = 250, 1000, 4000, 16000: -1/2 in the single one, slower in the other; the density keeps -1/2.",
      { TRUTH }, 3, 3, false, { "single cell", "crowded cell", "D2", "density" }, by_cell },
    { "top1", "Two experts, a gate that keeps one", "arXiv:2309.13850",
      "Each x belongs to the one expert of larger beta1 x + beta0. Responsibilities are then 0 or 1 like the gate, so EM has nothing to tell the gate by: it stays where it started, and the experts' errors with it.",
      "The gate does not move; the experts' errors stall above what -1/2 would give.",
      { TRUTH, .rank_bias = true }, 2, 1, true, { "experts", "gate", "density" }, experts },
    { "temperature", "A temperature in a linear gate", "arXiv:2401.13875",
      "The gate is a softmax of beta1 x / tau + beta0 with tau fitted too. Multiplying beta1 and tau by one number changes nothing, so the data cannot tell them apart, only their ratio. Every fit starts a fixed distance from the truth.",
      "|beta1| + |tau| flat, near the distance of the start; the ratio and the density about -1/2.",
      { TRUTH, .temperature = true }, 2, 2, true, { "beta1 and tau", "beta1 / tau", "density" }, temperature },
    { "activation", "A temperature and a sigmoid", "arXiv:2401.13875",
      "The gate is a softmax of sigmoid(beta1 x) / tau + beta0. The bend of the sigmoid ties beta1 and tau to the data, and their errors fall like those of all else.",
      "-1/2 for all three.",
      { .k = 2, .K = 2, .act = SY_GMOE_SIGMOID, .temperature = true, .tau = 0.1, .beta0 = { -2.5, 0 }, .beta1 = { 6, 0 }, .a = { -20, 20 }, .b = { 15, -5 }, .v = { 0.09, 0.16 } },
      2, 2, true, { "beta1 and tau", "beta1 / tau", "density" }, temperature },
    { NULL }
};

/* --- running --------------------------------------------------------------------------------------------------------------------- */

void sy_study_start(const sy_gmoe_study *s, uint64_t key, int rep, sy_gmoe *out)
{
    const sy_gmoe *t = &s->truth;
    sy_gmoe g = *t;
    uint64_t at = sy_key(key, SY_FOR_INIT, (uint64_t)rep, 0, 0);
    g.k = s->k, g.K = s->K;
    for (int i = 0; i < s->k; i++) {                 /* true atoms but the last, extra ones, the last */
        int j = i < t->k - 1 ? i : i == s->k - 1 ? t->k - 1 : rep % t->k;
        g.beta0[i] = t->beta0[j], g.beta1[i] = t->beta1[j], g.a[i] = t->a[j], g.b[i] = t->b[j], g.v[i] = t->v[j];
    }
    for (int i = 0; i < s->k; i++) {
        double z[4];
        for (int p = 0; p < 4; p++) z[p] = sy_draw_normal(at, (uint64_t)i, (unsigned)p);
        g.a[i] += 0.5 * z[0], g.b[i] += 0.5 * z[1], g.v[i] *= exp(0.2 * z[2]);
        if (i < s->k - 1) g.beta0[i] += 0.25 * z[3];
    }
    if (t->temperature) {                            /* a fifth off along the flat direction, in turn on either side */
        double c = exp(rep % 2 ? 0.2 : -0.2);
        g.tau *= c;
        for (int i = 0; i < s->k - 1; i++) g.beta1[i] *= c;
    } else for (int i = 0; i < s->k - 1; i++) g.beta1[i] += sy_draw_normal(at, (uint64_t)i, 4);
    *out = g;
}

typedef struct one_fit { double error[SY_STUDY_ERRORS]; sy_gmoe_fit fit; sy_status st; sy_err err; } one_fit;
typedef struct running { const sy_gmoe_study *s; const sy_study_options *o; one_fit *out; int done; bool end; } running;

static sy_status fit_one(const running *r, int size, int rep, one_fit *out, sy_err *err)
{
    int n = r->o->size[size];
    uint64_t key = sy_key(r->o->seed, SY_FOR_DATA, (uint64_t)rep, 0, 0);            /* of the sample alone: the small ones are the beginnings of the large ones */
    double *x = sy_malloc(sy_mul_size((size_t)n, 2 * sizeof *x));
    sy_gmoe g;
    if (!x) return sy_fail(err, SY_ENOMEM, "no memory for %d samples", n);
    sy_gmoe_sample(&r->s->truth, key, n, x, x + n);
    sy_study_start(r->s, r->o->seed, rep, &g);
    sy_status st = sy_gmoe_search(&g, true, r->s->near_alone ? 0 : r->o->starts, key, x, x + n, n, &r->o->rules, &out->fit, err);
    sy_free(x);
    SY_TRY(st);
    if (r->s->K == r->s->k) sy_gmoe_align(&g, &r->s->truth);
    r->s->measure(&g, &r->s->truth, out->error);
    return SY_OK;
}

/* Tasks come from the largest size down, so that the last ones are short. */
static void task(void *arg, int i, int worker)
{
    running *r = arg;
    int size = r->o->sizes - 1 - i / r->o->reps, rep = i % r->o->reps;
    one_fit *out = &r->out[size * r->o->reps + rep];
    if (__atomic_load_n(&r->end, __ATOMIC_RELAXED)) { out->st = SY_ESTOP; return; }
    out->st = fit_one(r, size, rep, out, &out->err);
    int done = __atomic_add_fetch(&r->done, 1, __ATOMIC_RELAXED);
    if (worker != 0) return;
    if (r->o->tell) r->o->tell(r->o->arg, done, r->o->sizes * r->o->reps);
    if (r->o->stop && r->o->stop(r->o->arg)) __atomic_store_n(&r->end, true, __ATOMIC_RELAXED);
}

void sy_fit_power(const double *x, const double *y, int n, double *slope, double *at)
{
    double mx = 0, my = 0, xx = 0, xy = 0;
    int m = 0;
    for (int i = 0; i < n; i++) if (y[i] > 0 && isfinite(y[i])) mx += log(x[i]), my += log(y[i]), m++;
    mx /= m, my /= m;
    for (int i = 0; i < n; i++) if (y[i] > 0 && isfinite(y[i])) xx += (log(x[i]) - mx) * (log(x[i]) - mx), xy += (log(x[i]) - mx) * (log(y[i]) - my);
    *slope = m > 1 && xx > 0 ? xy / xx : NAN;
    *at = my - *slope * mx;
}

/* Means by size without sample `out` (-1: with all). */
static void means(const running *r, int error, int out, double *mean)
{
    for (int z = 0; z < r->o->sizes; z++) {
        double sum = 0;
        int n = 0;
        for (int i = 0; i < r->o->reps; i++) {
            double e = r->out[z * r->o->reps + i].error[error];
            if (i != out && isfinite(e)) sum += e, n++;
        }
        mean[z] = n ? sum / n : NAN;
    }
}

static void rate_of(const running *r, int error, sy_study_rate *q)
{
    double x[SY_STUDY_SIZES], mean[SY_STUDY_SIZES], slope, at, sum = 0, square = 0;
    int n = r->o->reps;
    *q = (sy_study_rate){ .se = NAN };
    for (int z = 0; z < r->o->sizes; z++) x[z] = r->o->size[z];
    means(r, error, -1, q->mean);
    sy_fit_power(x, q->mean, r->o->sizes, &q->slope, &q->at);
    for (int z = 0; z < r->o->sizes; z++) {
        int m = 0;
        for (int i = 0; i < n; i++) {
            double e = r->out[z * n + i].error[error];
            if (!isfinite(e)) { q->missing++; continue; }
            q->sd[z] += (e - q->mean[z]) * (e - q->mean[z]);
            m++;
        }
        q->sd[z] = m > 1 ? sqrt(q->sd[z] / (m - 1)) : 0;
    }
    for (int i = 0; i < n && n > 1; i++) {
        means(r, error, i, mean);
        sy_fit_power(x, mean, r->o->sizes, &slope, &at);
        sum += slope, square += slope * slope;
    }
    if (n > 1) q->se = sqrt(fmax(0, (square - sum * sum / n) * (n - 1) / n));
}

sy_status sy_study_run(const sy_gmoe_study *s, const sy_study_options *o, sy_study_result *res, sy_err *err)
{
    if (o->sizes < 1 || o->sizes > SY_STUDY_SIZES) return sy_fail(err, SY_EARG, "%d sizes of samples; 1 to %d are possible", o->sizes, SY_STUDY_SIZES);
    if (o->reps < 1 || o->reps > 100000) return sy_fail(err, SY_EARG, "%d samples of each size; 1 to 100000 are possible", o->reps);
    for (int z = 0; z < o->sizes; z++) if (o->size[z] < 10 || o->size[z] > 10000000) return sy_fail(err, SY_EARG, "a sample of %d; 10 to 10000000 are possible", o->size[z]);
    int all = o->sizes * o->reps;
    running r = { s, o, sy_calloc((size_t)all, sizeof *r.out), 0, false };
    if (!r.out) return sy_fail(err, SY_ENOMEM, "no memory for %d fits", all);
    sy_pool_run(o->pool, all, task, &r);
    sy_status st = r.end ? sy_fail(err, SY_ESTOP, "stopped") : SY_OK;
    for (int i = 0; i < all && st == SY_OK; i++) if ((st = r.out[i].st) != SY_OK) *err = r.out[i].err;
    *res = (sy_study_result){ .study = s };
    while (res->errors < SY_STUDY_ERRORS && s->error[res->errors]) res->errors++;
    for (int e = 0; e < res->errors && st == SY_OK; e++) rate_of(&r, e, &res->rate[e]);
    for (int i = 0; i < all && st == SY_OK; i++) {
        res->rounds[i / o->reps] += (double)r.out[i].fit.rounds / o->reps;
        res->ended[i / o->reps] += r.out[i].fit.ended;
        res->fell = fmax(res->fell, r.out[i].fit.fell);
    }
    sy_free(r.out);
    return st;
}
