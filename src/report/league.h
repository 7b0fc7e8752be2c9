/* report/league.h - a league: many arms on one bed, each judged against the baseline of its group; as a page and as Markdown.
 *
 * Plain numbers in, text out: knows neither beds nor how a run is made. What is not known is NaN, and shown as a dash. */
#ifndef SY_REPORT_LEAGUE_H
#define SY_REPORT_LEAGUE_H

#include <stdbool.h>

#include "core/buffer.h"

typedef struct sy_league_row {
    const char *name, *title, *settings;
    const char *note;                   /* a sentence about this arm, or NULL */
    const char *why;                    /* why it has no result (refused, not finite); NULL: it has one */
    double      lr_scale, coef;         /* as tuned; coef 0: it has none */
    bool        edge;                   /* tuning ended at an end of its grid */
    double      loss, sd, diff, se;     /* held out; mean and spread over seeds; against the baseline, with the standard error */
    int         lower, sign;            /* seeds on which it is below the baseline; the verdict: -1 lower, 0 no difference, 1 higher */
    double      train_loss, maxvio, specialisation, experts, flops, train_flops, parameters, active;
    const double *seed, *domain;        /* [seeds] and [domains] losses */
} sy_league_row;

typedef struct sy_league_group {        /* arms of equal budget; rows by falling rank, those without result last */
    const char    *title, *what;        /* what: what is equal, in a sentence */
    sy_league_row *row;
    int            n, base;             /* base: index of the baseline */
    bool           again;               /* its arms stand in an earlier group with the same settings: what was run is not told twice */
} sy_league_group;

typedef struct sy_league {
    const char *title, *about;          /* about: the bed and the rules, whole sentences */
    const char *unit, *made_by;         /* of the loss; the command and what it ran on */
    int         seeds, domains, groups;
    const char *const *domain;          /* [domains] names */
    sy_league_group *group;
} sy_league;

/* One HTML file without outside parts and without a script. */
sy_status sy_league_html(const sy_league *l, sy_buf *html, sy_err *err);
sy_status sy_league_markdown(const sy_league *l, sy_buf *text, sy_err *err);
sy_status sy_league_json(const sy_league *l, sy_buf *json, sy_err *err);

#endif
