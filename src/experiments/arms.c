/* experiments/arms.c - tuning, seeds, means and verdicts. */
#include "experiments/arms.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double lr_grid[SY_GRID] = { 1, 0.5, 2 }, coef_grid[SY_GRID] = { 1, 1.0 / 3, 3 };

static int columns(const sy_arm *a) { return a->coef ? SY_GRID : 1; }
int sy_arm_tuning_runs(const sy_arm *a) { return SY_GRID * columns(a); }
int sy_default_seeds(const char *bed) { return !strcmp(bed, "cr") ? 5 : 3; }

sy_status sy_comparison_check(const sy_comparison *c, sy_err *err)
{
    if (!(c->budget >= 0 && c->budget <= 1)) return sy_fail(err, SY_EARG, "a budget of %g is outside 0 .. 1", c->budget);
    if (c->seeds < 1 || c->seeds > SY_MAX_SEEDS) return sy_fail(err, SY_EARG, "%d seeds; at most %d", c->seeds, SY_MAX_SEEDS);
    return SY_OK;
}

/* The arm's settings with its coefficient in the place of every "$C"; NULL without memory. */
static const char *settings_of(const sy_arm *a, double coef_scale, sy_arena *arena)
{
    const char *out = "";
    for (const char *p = a->settings; out && *p; ) {
        const char *hole = strstr(p, "$C");
        if (!hole) return sy_arena_printf(arena, "%s%s", out, p);
        out = sy_arena_printf(arena, "%s%.*s%.6g", out, (int)(hole - p), p, a->coef * coef_scale);
        p = hole + 2;
    }
    return out;
}

static sy_status fill(const sy_comparison *c, const sy_arm_runs *s, double lr, double coef, uint64_t seed, sy_job *j, sy_err *err)
{
    const sy_arm *a = s->arm;
    sy_arena *arena = c->trials->arena;
    const char *settings = settings_of(a, coef, arena);
    j->what = sy_arena_printf(arena, "%s: %s, lr x %.3g, coefficient x %.3g, seed %llu", c->key, a->name, lr, coef, (unsigned long long)seed);
    j->trial = (sy_trial){ .bed = c->bed, .settings = settings, .lr_scale = lr, .budget = c->budget ? c->budget : 1, .gmadds = s->gmadds, .seed = seed };
    return settings && j->what ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory for a run of %s", a->name);
}

static sy_status jobs_of(const sy_comparison *c, size_t n, sy_job **out, sy_err *err)
{
    *out = sy_arena_array(c->trials->arena, n ? n : 1, sizeof **out);
    return *out ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory for %zu runs", n);
}

/* Of n runs some are not made yet: no result before they are. */
static sy_status count_missing(const sy_comparison *c, sy_arm_runs *s, const char *what, const sy_job *j, int n, int stride, sy_err *err)
{
    int in = 0;
    for (int i = 0; i < n; i++) in += j[i * stride].status != SY_ENOENT;
    if (in == n || s->why) return SY_OK;
    s->why = in ? sy_arena_printf(c->trials->arena, "%s: %d of %d runs are in", what, in, n) : "no run is in: not made yet, or refused";
    return s->why ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory for a sentence");
}

/* An arm that is refused has no result; a point of the grid that does not stay finite only loses. */
static void choose(sy_arm_runs *s, const sy_job *j)
{
    double best = INFINITY;
    const char *why = NULL;
    for (int i = 0; i < SY_GRID; i++)
        for (int k = 0; k < SY_GRID; k++) {
            s->tuning[i][k] = NAN;
            if (k >= columns(s->arm)) continue;
            const sy_job *at = &j[i * columns(s->arm) + k];
            if (at->status != SY_OK) { why = at->why; continue; }
            double loss = s->tuning[i][k] = sy_metric_get(&at->result, "loss");
            if (loss < best) best = loss, s->lr_scale = lr_grid[i], s->coef_scale = coef_grid[k];
        }
    if (!(best < INFINITY)) s->why = why ? why : "no point of the tuning grid has a finite loss";
}

sy_status sy_arms_tune(const sy_comparison *c, sy_arm_runs *s, int arms, sy_err *err)
{
    sy_job *job;
    int n = 0, at = 0;
    for (int a = 0; a < arms; a++) if (!s[a].why) n += sy_arm_tuning_runs(s[a].arm);
    SY_TRY(jobs_of(c, (size_t)n, &job, err));
    for (int a = 0; a < arms; a++)
        for (int i = 0; i < SY_GRID && !s[a].why; i++)
            for (int k = 0; k < columns(s[a].arm); k++) SY_TRY(fill(c, &s[a], lr_grid[i], coef_grid[k], SY_TUNING_SEED, &job[at++], err));
    SY_TRY(sy_trials_run(c->trials, job, n, err));
    for (int a = 0; a < arms; a++) {
        int runs = sy_arm_tuning_runs(s[a].arm);
        if (s[a].why) continue;
        SY_TRY(count_missing(c, &s[a], "tuning", job, runs, 1, err));
        if (!s[a].why) choose(&s[a], job);
        job += runs;
    }
    return SY_OK;
}

/* What a seed gave an arm; the first that gave nothing to compare is why the arm has no result. */
static sy_status take(const sy_comparison *c, sy_arm_runs *s, int seed, const sy_job *j, sy_err *err)
{
    s->result[seed] = j->result;
    if (s->why) return SY_OK;
    if (j->status != SY_OK) s->why = j->why;
    else if (!isfinite(sy_metric_get(&j->result, "loss")) && !(s->why = sy_arena_printf(c->trials->arena, "seed %d: the loss is not finite", seed + 1)))
        return sy_fail(err, SY_ENOMEM, "no memory for a sentence");
    return SY_OK;
}

sy_status sy_arms_run(const sy_comparison *c, sy_arm_runs *s, int arms, sy_err *err)
{
    sy_job *job;
    sy_arm_runs **who = sy_arena_array(c->trials->arena, (size_t)arms, sizeof *who);
    int m = 0, n = 0;
    if (!who) return sy_fail(err, SY_ENOMEM, "no memory for %d arms", arms);
    for (int a = 0; a < arms; a++) if (!s[a].why) who[m++] = &s[a];
    SY_TRY(jobs_of(c, (size_t)m * (size_t)c->seeds, &job, err));
    for (int i = 0; i < c->seeds; i++)
        for (int a = 0; a < m; a++) SY_TRY(fill(c, who[a], who[a]->lr_scale, who[a]->coef_scale, (uint64_t)i + 1, &job[n++], err));
    SY_TRY(sy_trials_run(c->trials, job, n, err));
    for (int a = 0; a < m; a++) SY_TRY(count_missing(c, who[a], "seeds", job + a, c->seeds, m, err));
    for (int i = 0; i < c->seeds; i++)
        for (int a = 0; a < m; a++) SY_TRY(take(c, who[a], i, &job[i * m + a], err));
    return SY_OK;
}

double sy_arm_mean(const sy_arm_runs *s, int n, const char *metric, double *sd)
{
    double m = 0, v = 0;
    for (int i = 0; i < n; i++) m += sy_metric_get(&s->result[i], metric) / n;
    for (int i = 0; i < n; i++) v += pow(sy_metric_get(&s->result[i], metric) - m, 2);
    if (sd) *sd = n > 1 ? sqrt(v / (n - 1)) : 0;
    return m;
}

sy_verdict sy_judge(const double *loss, const double *base, int n)
{
    sy_verdict r = { .seeds = n, .se = INFINITY };
    double v = 0;
    for (int i = 0; i < n; i++) r.diff += (loss[i] - base[i]) / n, r.lower += loss[i] < base[i];
    for (int i = 0; i < n; i++) v += pow(loss[i] - base[i] - r.diff, 2);
    if (n > 1) r.se = sqrt(v / (n - 1) / n);
    return r;
}

sy_verdict sy_arm_judge(const sy_arm_runs *s, const sy_arm_runs *base, int seeds)
{
    double a[SY_MAX_SEEDS], b[SY_MAX_SEEDS];
    for (int i = 0; i < seeds; i++) a[i] = sy_metric_get(&s->result[i], "loss"), b[i] = sy_metric_get(&base->result[i], "loss");
    return sy_judge(a, b, seeds);
}

const char *sy_verdict_text(const sy_verdict *v)
{
    int sign = sy_verdict_sign(v);
    return sign < 0 ? "lower loss" : sign > 0 ? "higher loss" : "no difference at this size";
}
