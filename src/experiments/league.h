/* experiments/league.h - all methods of a kind on one bed, under the rules of arms.h: equal tokens, equal tuning, shared seeds and data, a verdict each.
 *
 * Routers whose number of experts floats run a second time, until they have spent the multiply-adds of their baseline, with their schedules on the spent share.
 * A method of the kind takes part by being in the table of methods: how it is set up follows from its options and flags. Where that is not what
 * its definition asks for (a coefficient of its own, token ids, one expert a token), a line of league.c says so. */
#ifndef SY_LEAGUE_H
#define SY_LEAGUE_H

#include "experiments/arms.h"
#include "report/league.h"

typedef struct sy_league_options {
    sy_kind     kind;                   /* SY_ROUTER or SY_BALANCE */
    const char *bed;                    /* "cr" or "lm-tiny" */
    const char *only;                   /* keys of methods or presets joined by commas, beside the baselines; NULL: all of the kind */
    int         seeds;                  /* 0: five on cr, three on lm-tiny */
    const char *store;
    int         side_by_side;
    double      budget;                 /* 0: 1 */
    bool        tune;
    bool        so_far;                 /* runs nothing: the league of the runs that the store has; arms whose runs are not all there say so */
    const char *made_by;                /* for the page; borrowed */
    void      (*tell)(const sy_trials *t, const char *what, void *arg);
    void       *arg;
} sy_league_options;

/* Runs what the store does not have. The result and all in it live in `a`. */
sy_status sy_league_run(const sy_bed_context *c, const sy_league_options *o, sy_arena *a, sy_league *out, sy_err *err);

#endif
