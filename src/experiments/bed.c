/* experiments/bed.c - which bed, and what a run measured. */
#include "experiments/bed.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void sy_metric_add(sy_trial_result *r, const char *name, double value)
{
    if (r->n == SY_MAX_METRICS) return;
    snprintf(r->m[r->n].name, sizeof r->m[r->n].name, "%s", name);
    r->m[r->n++].value = value;
}

double sy_metric_get(const sy_trial_result *r, const char *name)
{
    for (int i = 0; i < r->n; i++) if (!strcmp(r->m[i].name, name)) return r->m[i].value;
    return NAN;
}

double sy_bed_parameters(const sy_params *p)
{
    double n = 0;
    for (int i = 0; i < p->n; i++) if (!(p->p[i]->flags & SY_BUFFER)) n += (double)p->p[i]->n;
    return n;
}

sy_status sy_bed_run(const sy_bed_context *c, const sy_trial *t, sy_trial_result *out, sy_err *err)
{
    *out = (sy_trial_result){ 0 };
    if (!strcmp(t->bed, "cr")) return sy_bed_cr(c, t, out, err);
    if (!strcmp(t->bed, "classes")) return sy_bed_classes(c, t, out, err);
    if (!strcmp(t->bed, "sums")) return sy_bed_sums(c, t, out, err);
    if (!strcmp(t->bed, "answers")) return sy_bed_answers(c, t, out, err);
    if (!strcmp(t->bed, "lm-tiny")) return sy_bed_lm(c, t, out, err);
    return sy_fail(err, SY_EARG, "no bed is called '%s'", t->bed);
}
