/* report/sheet.h - the runs of a report and what follows from them: names, baseline, domains, verdicts. Private to report/. */
#ifndef SY_REPORT_SHEET_H
#define SY_REPORT_SHEET_H

#include <stdbool.h>
#include <string.h>

#include "core/json.h"
#include "report/report.h"

typedef struct sy__sheet {              /* the runs, their names, the domains of all of them */
    const sy_record *runs;
    int           n, base;
    const char   *label[SY_REPORT_RUNS];
    const char  **domain;               /* [n_domain] in order of appearance, "all" last where there is one */
    size_t        n_domain;
    bool          bytes;                /* some run knows nats per byte; else tokens are all there is */
} sy__sheet;

/* The runs are borrowed. Close also after a failure. SY_EARG: n out of range. */
sy_status sy__sheet_open(sy__sheet *s, const sy_record *runs, int n, sy_err *err);
void      sy__sheet_close(sy__sheet *s);

static inline bool sy__is_all(const char *domain) { return !strcmp(domain, "all"); }
double      sy__loss_of(const sy__sheet *s, int run, const char *domain, bool bytes);
double      sy__tokens_of(const sy__sheet *s, int run);         /* read in training; NaN: not known */
int64_t     sy__step_of(const sy_record *r);                    /* the last that was logged, -1: none */
const char *sy__unit_of(const sy__sheet *s);                    /* "nats per byte" */

/* The verdict on run i against the baseline over all held-out text; false where either has no such loss. */
typedef struct sy__verdict { double loss, base, diff; int lower, domains; } sy__verdict;
bool sy__judge(const sy__sheet *s, int i, sy__verdict *v);
/* Appends whether the run and the baseline spent the same: tokens and active parameters within 1 %. */
void sy__basis(const sy__sheet *s, int i, sy_buf *o);

const char *sy__si(double v, char buf[32]);                     /* 1234567 -> "1.23 M", with three digits */
/* Controls and characters that hide or turn text round (zero widths, direction marks, separators, tags). */
bool sy__is_unseen(uint32_t c);

/* Parts of the JSON: whole numbers without a point; NaN where there is no number; text of at most `most` bytes, cut between characters (true: it was). */
void   sy__real(sy_json *j, double v);
void   sy__member(sy_json *j, const char *key, double v);
double sy__at_key(const json_t *o, const char *key);
double sy__at_index(const json_t *a, size_t i);
bool   sy__text_cut(sy_json *j, const char *text, size_t most);
/* The analysis of a run (NULL: null), checked entry by entry; report/analysis.c. */
void   sy__analysis_json(sy_json *j, const json_t *a);

/* What report.js draws, as JSON of one line; report/data.c. */
sy_status sy__sheet_json(const sy__sheet *s, sy_buf *o, sy_err *err);

#endif
