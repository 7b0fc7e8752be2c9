/* gmoe/study.h - the rates at which a fit nears the truth, measured: many samples of growing size, a slope for each error, tables and a page. */
#ifndef SY_GMOE_STUDY_H
#define SY_GMOE_STUDY_H

#include "core/arena.h"
#include "core/buffer.h"
#include "core/pool.h"
#include "gmoe/gmoe.h"

enum { SY_STUDY_ERRORS = 4, SY_STUDY_SIZES = 16 };

typedef struct sy_gmoe_study {
    const char *key, *title, *paper, *about, *expect;
    sy_gmoe     truth;
    int         k, K;                   /* of the fit */
    bool        near_alone;             /* one start, at a fixed distance of the truth: where the distance that stays is what is measured */
    const char *error[SY_STUDY_ERRORS]; /* names, ends with NULL */
    void      (*measure)(const sy_gmoe *fit, const sy_gmoe *truth, double *error);      /* of an aligned fit; NaN: there is none in this fit */
} sy_gmoe_study;
extern const sy_gmoe_study sy_gmoe_studies[];       /* ends with a NULL key */

typedef struct sy_study_options {
    int      reps, starts;              /* samples of each size; starts from random cuts beside the one near the truth */
    int      sizes, size[SY_STUDY_SIZES];
    uint64_t seed;
    sy_gmoe_rules rules;
    sy_pool *pool;                      /* fits run side by side; NULL: one after the other. The numbers are the same */
    void   (*tell)(void *arg, int done, int all);   /* from the calling thread; may be NULL */
    bool   (*stop)(void *arg);
    void    *arg;
} sy_study_options;

typedef struct sy_study_rate {          /* one error: by size, and the slope of ln mean error over ln n with its standard error (jackknife over the samples) */
    double mean[SY_STUDY_SIZES], sd[SY_STUDY_SIZES], slope, at, se;
    int    missing;                     /* fits that had none */
} sy_study_rate;
typedef struct sy_study_result {
    const sy_gmoe_study *study;
    int           errors;
    sy_study_rate rate[SY_STUDY_ERRORS];
    double        rounds[SY_STUDY_SIZES];
    int           ended[SY_STUDY_SIZES];            /* fits that ended by their rule, not by the number of rounds */
    double        fell;                 /* the most that a round lost */
} sy_study_result;

/* Slope and height of the line ln y = at + slope ln x of least squares; NaN with fewer than two points above 0. */
void      sy_fit_power(const double *x, const double *y, int n, double *slope, double *at);
/* The start of sample `rep`: the truth with noise, its extra atoms copies of true ones. */
void      sy_study_start(const sy_gmoe_study *s, uint64_t key, int rep, sy_gmoe *out);
sy_status sy_study_run(const sy_gmoe_study *s, const sy_study_options *o, sy_study_result *out, sy_err *err);

sy_status sy_study_markdown(const sy_study_result *r, int n, const sy_study_options *o, const char *made_by, sy_buf *text, sy_err *err);
sy_status sy_study_json(const sy_study_result *r, int n, const sy_study_options *o, sy_buf *json, sy_err *err);
sy_status sy_study_html(const sy_study_result *r, int n, const sy_study_options *o, const char *made_by, sy_buf *html, sy_err *err);

#endif
