/* experiments/experiment.c - runs of an experiment, and its page. */
#include "experiments/experiment.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_ARMS = 4 };

static void verdict(sy_buf *b, const sy_arm_runs *base, const sy_arm_runs *s, int n)
{
    sy_verdict v = sy_arm_judge(s, base, n);
    sy_buf_printf(b, "- **%s against %s**: %+.4f (standard error %.4f), lower on %d of %d seeds: %s.\n", s->arm->name, base->arm->name, v.diff, v.se, v.lower, n, sy_verdict_text(&v));
}

/* One table of means. */
static void table_of(const sy_experiment *x, const sy_arm_runs *s, int arms, int seeds, sy_buf *b)
{
    sy_buf_text(b, "| arm | lr x | coefficient | loss, mean (sd) |");
    for (const char *p = x->metrics; *p; p += strspn(p, " ")) { size_t n = strcspn(p, " "); sy_buf_printf(b, " %.*s |", (int)n, p); p += n; }
    sy_buf_text(b, "\n|---|---|---|---|");
    for (const char *p = x->metrics; *p; p += strspn(p, " ")) { sy_buf_text(b, "---|"); p += strcspn(p, " "); }
    sy_buf_text(b, "\n");
    for (int a = 0; a < arms; a++) {
        double sd, m = sy_arm_mean(&s[a], seeds, "loss", &sd);
        if (s[a].arm->coef) sy_buf_printf(b, "| %s | %.3g | %.3g | %.4f (%.4f) |", s[a].arm->name, s[a].lr_scale, s[a].arm->coef * s[a].coef_scale, m, sd);
        else sy_buf_printf(b, "| %s | %.3g | | %.4f (%.4f) |", s[a].arm->name, s[a].lr_scale, m, sd);
        for (const char *p = x->metrics; *p; p += strspn(p, " ")) {
            char name[48];
            size_t n = strcspn(p, " ");
            snprintf(name, sizeof name, "%.*s", (int)n, p);
            double v = sy_arm_mean(&s[a], seeds, name, NULL);
            if (isnan(v)) sy_buf_text(b, " |");
            else sy_buf_printf(b, fabs(v) < 1e4 ? " %.4g |" : " %.0f |", v);
            p += n;
        }
        sy_buf_text(b, "\n");
    }
}

/* Means of the loss on each domain, where the bed has domains. */
static void domains_of(const sy_arm_runs *s, int arms, int seeds, sy_buf *b)
{
    static const char prefix[] = "domain.";
    const sy_trial_result *r = &s[0].result[0];
    size_t skip = sizeof prefix - 1;
    int n = 0;
    for (int i = 0; i < r->n; i++)
        if (!strncmp(r->m[i].name, prefix, skip)) sy_buf_printf(b, "%s %s |", n++ ? "" : "\n| arm |", r->m[i].name + skip);
    if (!n) return;
    sy_buf_text(b, "\n|---|");
    for (int i = 0; i < n; i++) sy_buf_text(b, "---|");
    for (int a = 0; a < arms; a++) {
        sy_buf_printf(b, "\n| %s |", s[a].arm->name);
        for (int i = 0; i < r->n; i++)
            if (!strncmp(r->m[i].name, prefix, skip)) sy_buf_printf(b, " %.4f |", sy_arm_mean(&s[a], seeds, r->m[i].name, NULL));
    }
    sy_buf_text(b, "\n");
}

/* A best value at an end of its grid may not be the best there is. */
static void edges_of(const sy_arm_runs *s, int arms, sy_buf *b)
{
    int n = 0;
    for (int a = 0; a < arms; a++)
        if (s[a].lr_scale != 1 || s[a].coef_scale != 1) sy_buf_printf(b, "%s %s", n++ ? "," : "At an end of the tuning grid:", s[a].arm->name);
    if (n) sy_buf_text(b, "; a wider grid might find a lower loss.\n");
}

static void page_of(const sy_experiment *x, const sy_experiment_options *o, const sy_arm_runs *s, const sy_arm_runs *plain, int arms, int seeds, sy_buf *b)
{
    sy_buf_printf(b, "# %s: %s\n\n%s (%s)\n\nBed: %s. %s\n\n", x->key, x->title, x->question, x->paper, x->bed,
                  o->tune ? "Each arm was tuned over learning rate x {1/2, 1, 2} and its coefficient x {1/3, 1, 3} on a seed that is not used below." : "Nothing was tuned: every arm runs at its defaults.");
    if (o->budget && o->budget != 1) sy_buf_printf(b, "A quick look: every run has %.3g %% of its steps, so losses are not those of the method.\n\n", 100 * o->budget);
    table_of(x, s, arms, seeds, b);
    domains_of(s, arms, seeds, b);
    sy_buf_printf(b, "\n%d seeds; all arms share seeds and data. Loss is held out%s.\n", seeds, strcmp(x->bed, "lm-tiny") ? "" : ", nats per byte");
    edges_of(s, arms, b);
    sy_buf_text(b, "\n");
    for (int a = 1; a < arms; a++) verdict(b, &s[x->against[a]], &s[a], seeds);
    if (x->note) sy_buf_printf(b, "\n%s\n", x->note);
    sy_buf_text(b, "\n| seed |");
    for (int a = 0; a < arms; a++) sy_buf_printf(b, " %s |", s[a].arm->name);
    sy_buf_text(b, "\n|---|");
    for (int a = 0; a < arms; a++) sy_buf_text(b, "---|");
    for (int i = 0; i < seeds; i++) {
        sy_buf_printf(b, "\n| %d |", i + 1);
        for (int a = 0; a < arms; a++) sy_buf_printf(b, " %.4f |", sy_metric_get(&s[a].result[i], "loss"));
    }
    if (x->expect) {
        sy_buf_printf(b, "\n\nUntuned, every arm at its own values. Expected here: %s\n\n", x->expect);
        table_of(x, plain, arms, seeds, b);
    } else sy_buf_text(b, "\n");
    sy_buf_text(b, "\nSettings:\n\n");
    for (int a = 0; a < arms; a++) sy_buf_printf(b, "- %s: `%s`\n", s[a].arm->name, s[a].arm->settings);
}

/* Tuning and seeds of all arms; with an expectation, all seeds at the arms' own values, too. */
static sy_status run_all(const sy_comparison *c, const sy_experiment *x, bool tune, sy_arm_runs *s, sy_arm_runs *plain, int arms, sy_err *err)
{
    SY_TRY(sy_comparison_check(c, err));
    SY_TRY(sy_trials_open(c->trials, x->bed, err));
    if (tune) SY_TRY(sy_arms_tune(c, s, arms, err));
    for (int a = 0; a < arms; a++) if (s[a].why) return sy_fail(err, SY_ENUM, "%s: %s, %s", x->key, s[a].arm->name, s[a].why);
    SY_TRY(sy_arms_run(c, s, arms, err));
    return x->expect ? sy_arms_run(c, plain, arms, err) : SY_OK;
}

sy_status sy_experiment_run(const sy_bed_context *c, const sy_experiment *x, const sy_experiment_options *o, sy_buf *page, sy_err *err)
{
    sy_arena a = { 0 };
    sy_trials trials = { .c = c, .store = o->store, .side_by_side = o->side_by_side, .tell = o->tell, .arg = o->arg, .arena = &a };
    sy_comparison rules = { x->key, x->bed, o->budget, o->seeds ? o->seeds : sy_default_seeds(x->bed), &trials };
    sy_arm_runs *s = sy_arena_array(&a, MAX_ARMS, sizeof *s), *plain = sy_arena_array(&a, MAX_ARMS, sizeof *plain);
    int arms = 0;
    sy_status st = s && plain ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory for an experiment");
    for (; st == SY_OK && arms < MAX_ARMS && x->arm[arms].name; arms++) {
        s[arms].arm = plain[arms].arm = &x->arm[arms];
        s[arms].lr_scale = s[arms].coef_scale = plain[arms].lr_scale = plain[arms].coef_scale = 1;
        trials.all += (x->expect ? 2 : 1) * rules.seeds + (o->tune ? sy_arm_tuning_runs(&x->arm[arms]) : 0);
    }
    if (st == SY_OK) st = run_all(&rules, x, o->tune, s, plain, arms, err);
    if (st == SY_OK) {
        page_of(x, o, s, plain, arms, rules.seeds, page);
        if (page->failed) st = sy_fail(err, SY_ENOMEM, "no memory for the page");
    }
    sy_arena_free(&a);
    return st;
}
