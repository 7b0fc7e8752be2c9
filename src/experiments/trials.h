/* experiments/trials.h - many runs: from the store of finished ones where they are there, else made, several side by side.
 *
 * A run is known by the hash of all that it follows from; its result is one file of that name, written whole when the run ends. So whoever asks for the
 * same run gets the same file, and a process that dies loses the runs in flight alone. Runs side by side have a thread each, and the same bits. */
#ifndef SY_TRIALS_H
#define SY_TRIALS_H

#include "experiments/bed.h"

typedef struct sy_job {                 /* one run that somebody wants */
    sy_trial        trial;
    const char     *what;               /* says which it is, to people */
    sy_trial_result result;
    sy_status       status;             /* SY_OK, or why there is no result: see sy_trials_run */
    const char     *why;                /* the sentence of it, from `arena`; NULL */
} sy_job;

typedef struct sy_trials {
    const sy_bed_context *c;
    const char *store;                  /* folder of finished runs; made when absent */
    int         side_by_side;           /* runs at a time, a thread each; 0: one, on the threads of the context's engine */
    bool        keep_going;             /* a run that is refused or does not stay finite is noted in its job, and the others go on */
    bool        so_far;                 /* nothing is run: a job that the store does not have ends SY_ENOENT; with keep_going only */
    char        text[33];               /* id of what the bed reads; set by sy_trials_open */
    int         done, found, missing, refused, all;       /* runs that are over; those of them that the store had; those that so_far left out; those that were refused, among the done; how many there will be (the caller's estimate) */
    void      (*tell)(const struct sy_trials *t, const char *what, void *arg);      /* a run begins; one call at a time; may be NULL */
    void       *arg;
    sy_arena   *arena;                  /* of the sentences */
} sy_trials;

/* Makes the store and identifies the text of bed `bed`. */
sy_status sy_trials_open(sy_trials *t, const char *bed, sy_err *err);
/* Runs jobs [n]; equal ones once. Without keep_going the first failure is returned. With it a job may end SY_EARG, SY_ESHAPE, SY_EUNSUP (refused) or
 * SY_ENUM (not finite; the store keeps that, too), and what concerns all (memory, disk, SY_ESTOP) is returned. */
sy_status sy_trials_run(sy_trials *t, sy_job *job, int n, sy_err *err);

#endif
