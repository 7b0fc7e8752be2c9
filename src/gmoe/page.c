/* gmoe/page.c - results of studies as Markdown and as a page. */
#include <math.h>
#include <stdio.h>

#include "core/json.h"
#include "gmoe/study.h"
#include "report/page.h"

sy_status sy_study_markdown(const sy_study_result *r, int n, const sy_study_options *o, const char *made_by, sy_buf *b, sy_err *err)
{
    sy_buf_printf(b, "# Rates of Gaussian mixtures of experts\n\nMean errors of maximum-likelihood fits over %d samples of each size, and the slope of ln error over ln n with its standard error.\n", o->reps);
    for (int s = 0; s < n; s++) {
        const sy_gmoe_study *y = r[s].study;
        sy_buf_printf(b, "\n## %s: %s\n\n%s (%s)\n\nExpected: %s\n\n| n |", y->key, y->title, y->about, y->paper, y->expect);
        for (int e = 0; e < r[s].errors; e++) sy_buf_printf(b, " %s (sd) |", y->error[e]);
        sy_buf_text(b, " rounds | ended |\n|---|");
        for (int e = 0; e < r[s].errors + 2; e++) sy_buf_text(b, "---|");
        for (int z = 0; z < o->sizes; z++) {
            sy_buf_printf(b, "\n| %d |", o->size[z]);
            for (int e = 0; e < r[s].errors; e++) sy_buf_printf(b, " %.4g (%.2g) |", r[s].rate[e].mean[z], r[s].rate[e].sd[z]);
            sy_buf_printf(b, " %.0f | %d of %d |", r[s].rounds[z], r[s].ended[z], o->reps);
        }
        sy_buf_text(b, "\n| **slope** |");
        for (int e = 0; e < r[s].errors; e++) sy_buf_printf(b, " **%+.3f** (%.3f) |", r[s].rate[e].slope, r[s].rate[e].se);
        sy_buf_printf(b, " | |\n\nThe most that a round of EM lost in mean log-likelihood: %.1g.\n", r[s].fell);
        for (int e = 0; e < r[s].errors; e++) if (r[s].rate[e].missing) sy_buf_printf(b, "%d fits have no %s.\n", r[s].rate[e].missing, y->error[e]);
    }
    sy_buf_printf(b, "\nMade by %s.\n", made_by);
    return b->failed ? sy_fail(err, SY_ENOMEM, "no memory left for the table") : SY_OK;
}

static void reals(sy_json *j, const char *key, const double *v, int n)
{
    sy_json_key(j, key);
    sy_json_begin(j, '[');
    for (int i = 0; i < n; i++) sy_json_real(j, v[i]);
    sy_json_end(j, ']');
}

sy_status sy_study_json(const sy_study_result *r, int n, const sy_study_options *o, sy_buf *b, sy_err *err)
{
    double size[SY_STUDY_SIZES];
    sy_json j;
    for (int z = 0; z < o->sizes; z++) size[z] = o->size[z];
    sy_json_open(&j, b, 0);
    sy_json_begin(&j, '{');
    sy_json_key(&j, "samples"), sy_json_int(&j, o->reps);
    reals(&j, "n", size, o->sizes);
    sy_json_key(&j, "studies"), sy_json_begin(&j, '[');
    for (int s = 0; s < n; s++) {
        sy_json_begin(&j, '{');
        sy_json_key(&j, "key"), sy_json_text(&j, r[s].study->key);
        reals(&j, "rounds", r[s].rounds, o->sizes);
        sy_json_key(&j, "errors"), sy_json_begin(&j, '[');
        for (int e = 0; e < r[s].errors; e++) {
            const sy_study_rate *q = &r[s].rate[e];
            sy_json_begin(&j, '{');
            sy_json_key(&j, "name"), sy_json_text(&j, r[s].study->error[e]);
            reals(&j, "mean", q->mean, o->sizes), reals(&j, "sd", q->sd, o->sizes);
            sy_json_key(&j, "slope"), sy_json_real(&j, q->slope);
            sy_json_key(&j, "standard_error"), sy_json_real(&j, q->se);
            sy_json_key(&j, "missing"), sy_json_int(&j, q->missing);
            sy_json_end(&j, '}');
        }
        sy_json_end(&j, ']'), sy_json_end(&j, '}');
    }
    sy_json_end(&j, ']'), sy_json_end(&j, '}');
    sy_buf_text(b, "\n");
    return b->failed ? sy_fail(err, SY_ENOMEM, "no memory left for the result") : SY_OK;
}

static void number_cell(sy_buf *o, const char *fmt, double v, const char *small, double w)
{
    sy_buf_text(o, "<td class=\"num\">");
    sy__number(o, fmt, v);
    sy_buf_text(o, "<small>\u00b1 ");
    sy__number(o, small, w);
    sy_buf_text(o, "</small></td>");
}

static void table_html(const sy_study_result *r, const sy_study_options *o, sy_buf *b)
{
    sy_buf_text(b, "<div class=\"wide\"><table class=\"league\"><thead><tr><th scope=\"col\">n</th>");
    for (int e = 0; e < r->errors; e++) sy_buf_text(b, "<th scope=\"col\" class=\"num\">"), sy__html(b, r->study->error[e]), sy_buf_text(b, "<small>\u00b1 sd</small></th>");
    sy_buf_text(b, "<th scope=\"col\" class=\"num\">Rounds</th><th scope=\"col\" class=\"num\">Ended by rule</th></tr></thead><tbody>\n");
    for (int z = 0; z < o->sizes; z++) {
        sy_buf_printf(b, "<tr><th scope=\"row\">%d</th>", o->size[z]);
        for (int e = 0; e < r->errors; e++) number_cell(b, "%.4g", r->rate[e].mean[z], "%.2g", r->rate[e].sd[z]);
        sy_buf_printf(b, "<td class=\"num\">%.0f</td><td class=\"num\">%d of %d</td></tr>\n", r->rounds[z], r->ended[z], o->reps);
    }
    sy_buf_text(b, "<tr class=\"base\"><th scope=\"row\">slope</th>");
    for (int e = 0; e < r->errors; e++) number_cell(b, "%+.3f", r->rate[e].slope, "%.3f", r->rate[e].se);
    sy_buf_text(b, "<td></td><td></td></tr></tbody></table></div>\n");
}

sy_status sy_study_html(const sy_study_result *r, int n, const sy_study_options *o, const char *made_by, sy_buf *b, sy_err *err)
{
    const char *word[16] = { 0 };
    double x[SY_STUDY_SIZES], lo[SY_STUDY_ERRORS][SY_STUDY_SIZES], hi[SY_STUDY_ERRORS][SY_STUDY_SIZES];
    if (n > 16) return sy_fail(err, SY_EARG, "a page of %d studies", n);
    for (int s = 0; s < n; s++) word[s] = r[s].study->key;
    for (int z = 0; z < o->sizes; z++) x[z] = o->size[z];
    sy__page_open(b, "Rates of Gaussian mixtures of experts", word, word, n);
    sy_buf_printf(b, "<section class=\"lead\" aria-labelledby=\"title\"><h1 id=\"title\">Rates of Gaussian mixtures of experts</h1>\n<p class=\"basis\">Mean errors of maximum-likelihood fits over %d samples of each size; "
                     "both axes by factors of ten, whiskers are two standard errors, the dashed line falls like n to the power \u22121/2.</p></section>\n", o->reps);
    for (int s = 0; s < n; s++) {
        const sy_gmoe_study *y = r[s].study;
        sy_series line[SY_STUDY_ERRORS];
        sy_buf_printf(b, "<section id=\"%s\" aria-labelledby=\"%s-title\"><h2 id=\"%s-title\">", y->key, y->key, y->key);
        sy__html(b, y->title);
        sy_buf_text(b, "</h2>\n<p>");
        sy__html(b, y->about);
        sy_buf_text(b, "</p>\n<p class=\"note\">Expected: ");
        sy__html(b, y->expect);
        sy_buf_text(b, " (");
        sy__html(b, y->paper);
        sy_buf_text(b, ")</p>\n");
        for (int e = 0; e < r[s].errors; e++) {
            const sy_study_rate *q = &r[s].rate[e];
            for (int z = 0; z < o->sizes; z++) lo[e][z] = q->mean[z] - 2 * q->sd[z] / sqrt(o->reps), hi[e][z] = q->mean[z] + 2 * q->sd[z] / sqrt(o->reps);
            line[e] = (sy_series){ y->error[e], o->sizes, x, q->mean, lo[e], hi[e], q->slope, q->at };
        }
        sy__plot_rates(b, y->title, "samples", line, r[s].errors);
        table_html(&r[s], o, b);
        sy_buf_text(b, "</section>\n");
    }
    sy__page_close(b, made_by);
    return b->failed ? sy_fail(err, SY_ENOMEM, "no memory left for the page") : SY_OK;
}
