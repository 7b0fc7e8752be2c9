/* report/page.h - what pages are made of: text, numbers, the shell around them, pictures of rates. For code that writes pages. */
#ifndef SY_REPORT_PAGE_H
#define SY_REPORT_PAGE_H

#include <stdbool.h>

#include "core/buffer.h"

/* Made from the files of these names by the build; each ends with NUL. */
extern const char sy__report_html[], sy__report_css[], sy__report_js[], sy__league_css[];

/* Text for elements and quoted attributes; what is unseen becomes U+FFFD. */
void sy__html(sy_buf *o, const char *text);
/* A number with a true minus sign; a dash for what is not finite. */
void sy__number(sy_buf *o, const char *fmt, double v);

/* A page without a script, up to its <main>: style of the report and of the league. `anchor` [n] are ids of sections, `word` [n] their names. */
void sy__page_open(sy_buf *o, const char *title, const char *const *anchor, const char *const *word, int n);
/* "Made by MADE_BY. ..." and the end. */
void sy__page_close(sy_buf *o, const char *made_by);

enum { SY_PLOT_SERIES = 4 };
typedef struct sy_series { const char *name; int n; const double *x, *y, *lo, *hi; double slope, at; } sy_series;   /* lo, hi [n] or NULL: whiskers; the line ln y = at + slope ln x */
/* A picture of powers: both axes by factors of ten, a line through each series, and a dashed line of slope -1/2 to compare with. What is not above 0 is left out. */
void sy__plot_rates(sy_buf *o, const char *title, const char *x_name, const sy_series *s, int n);

#endif
