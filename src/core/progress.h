/* core/progress.h - how far a long job is: a bar on a terminal, plain lines elsewhere.
 *
 *     train  [=========>           ]  42 %  168/400  3.1 step/s  1:15 left  loss 1.832
 *
 * A bar is drawn at most ten times a second and asks for the terminal's width each time, so a resize needs no signal handler. Plain
 * lines come after 2 s, then ever more rarely, down to one a minute. One caller at a time. */
#ifndef SY_PROGRESS_H
#define SY_PROGRESS_H

#include <stdbool.h>
#include <stdio.h>

/* AUTO: a bar where `to` is a terminal that can draw one, else plain lines; PLAIN: always lines; QUIET: nothing. */
typedef enum { SY_PROGRESS_AUTO, SY_PROGRESS_PLAIN, SY_PROGRESS_QUIET, SY_PROGRESS_BAR } sy_progress_mode;

typedef struct sy_progress {
    FILE  *to;
    sy_progress_mode mode;              /* AUTO resolved */
    char   what[64], extra[256];
    const char *unit;                   /* of `total`: "step", "MB"; borrowed; set after open, "" without */
    double total, done;                 /* total 0: not known, no bar and no time left */
    double from;                        /* where this run began (a resumed one: set after open), so that the rate is its own */
    double began, shown;                /* sy_now() of open and of the last output */
    double rate_at, rate_done, rate, rate_weight;   /* smoothed rate: exponential mean over about 20 s, weight corrects its start */
    double gap;                         /* seconds to the next plain line */
    bool   on_screen;                   /* a bar stands in the current line */
} sy_progress;

/* what: a word or two, copied. Allocates nothing, cannot fail. */
void sy_progress_open(sy_progress *p, FILE *to, const char *what, double total, sy_progress_mode mode);
void sy_progress_at(sy_progress *p, double done, const char *extra);        /* extra: shown behind ("loss 1.83"), copied; may be NULL */
void sy_progress_hide(sy_progress *p);               /* wipes the bar, so that something else can be printed */
void sy_progress_show(sy_progress *p);               /* draws it again */
/* Wipes the bar; prints final_text as a line of its own when it is not NULL (not when quiet). The object may be opened again. */
void sy_progress_close(sy_progress *p, const char *final_text);

/* "0:07", "12:34", "1:02:03", "3d 04:05" for seconds; returns buf (at least 32 bytes). */
char *sy_duration(char *buf, size_t size, double seconds);

#endif
