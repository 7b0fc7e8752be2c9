/* report/report.h - what runs did, as one page for people and as a table for terminals.
 *
 * The page is one HTML file without outside parts: text and main table stand in it as HTML, the rest is JSON that a script of
 * ours (report.js) draws. Knows runs only as report/record.h reads them. */
#ifndef SY_REPORT_H
#define SY_REPORT_H

#include "core/buffer.h"
#include "report/record.h"

enum { SY_REPORT_RUNS = 8 };            /* more would be a picture that nobody can read */

/* The page for n runs (1 .. SY_REPORT_RUNS). Several are compared with a baseline: the dense run where exactly one is dense,
 * else the first. Appended to `html`. SY_EARG: n out of range. */
sy_status sy_report_html(const sy_record *runs, int n, sy_buf *html, sy_err *err);
/* What the page draws, as JSON of one line: curves thinned, lists cut to what is shown. */
sy_status sy_report_json(const sy_record *runs, int n, sy_buf *json, sy_err *err);
/* Held-out loss by domain and the verdict, in Markdown that is aligned for a terminal too. Same runs, same baseline. */
sy_status sy_report_text(const sy_record *runs, int n, sy_buf *text, sy_err *err);

#endif
