/* report/table.c - the table for terminals. */
#include <limits.h>
#include <math.h>
#include <stdio.h>

#include "core/utf8.h"
#include "report/sheet.h"

enum { NAME_WIDTH = 32 };

/* Printed width: characters, not bytes. */
static int width_of(const char *text)
{
    int w = 0;
    for (size_t i = 0, n = strlen(text); i < n; w++) {
        uint32_t c;
        int len = sy_utf8_next(text + i, n - i, &c);
        i += (size_t)(len < 0 ? -len : len);
    }
    return w;
}

/* A name safe for a terminal and a Markdown cell: what is unseen becomes U+FFFD, a bar a slash; padded or cut to `width`
 * (0: as it is). */
static void padded(sy_buf *o, const char *text, int width, bool right)
{
    int pad = width - width_of(text), left = width && pad < 0 ? width - 1 : INT_MAX;
    if (right && pad > 0) sy_buf_printf(o, "%*s", pad, "");
    for (size_t i = 0, n = strlen(text); i < n;) {
        if (!left--) { sy_buf_text(o, "\u2026"); break; }
        uint32_t c;
        int len = sy_utf8_next(text + i, n - i, &c);
        if (len < 0 || sy__is_unseen(c)) sy_buf_text(o, "\xEF\xBF\xBD");
        else if (c == '|') sy_buf_text(o, "/");
        else sy_buf_put(o, text + i, (size_t)len);
        i += (size_t)(len < 0 ? -len : len);
    }
    if (!right && pad > 0) sy_buf_printf(o, "%*s", pad, "");
}

static void rule(sy_buf *o, int width, bool right)
{
    sy_buf_text(o, right ? " " : "| ");
    for (int i = 0; i < width - right; i++) sy_buf_text(o, "-");
    sy_buf_text(o, right ? ": |" : " |");
}

static void figure(sy_buf *o, const char *fmt, double v, int width)
{
    char b[64] = "-";
    if (isfinite(v)) snprintf(b, sizeof b, fmt, v);
    sy_buf_printf(o, " %*s |", width, b);
}

static void text_table(const sy__sheet *s, sy_buf *o)
{
    int first = 6, width[SY_REPORT_RUNS];
    for (size_t d = 0; d < s->n_domain; d++)
        if (width_of(s->domain[d]) > first) first = width_of(s->domain[d]);
    if (first > NAME_WIDTH) first = NAME_WIDTH;
    sy_buf_text(o, "| ");
    padded(o, "domain", first, false);
    sy_buf_text(o, " |");
    for (int i = 0; i < s->n; i++) {
        width[i] = width_of(s->label[i]) > 7 ? width_of(s->label[i]) : 7;
        if (width[i] > NAME_WIDTH) width[i] = NAME_WIDTH;
        sy_buf_text(o, " ");
        padded(o, s->label[i], width[i], true);
        sy_buf_text(o, " |");
    }
    for (int i = 0; i < s->n; i++)
        if (i != s->base) sy_buf_text(o, " difference |       % |");
    sy_buf_text(o, "\n");
    rule(o, first, false);
    for (int i = 0; i < s->n; i++) rule(o, width[i], true);
    for (int i = 0; i < s->n; i++)
        if (i != s->base) { rule(o, 10, true); rule(o, 7, true); }
    sy_buf_text(o, "\n");
    for (size_t d = 0; d < s->n_domain; d++) {
        double base = sy__loss_of(s, s->base, s->domain[d], s->bytes);
        sy_buf_text(o, "| ");
        padded(o, s->domain[d], first, false);
        sy_buf_text(o, " |");
        for (int i = 0; i < s->n; i++) figure(o, "%.4f", sy__loss_of(s, i, s->domain[d], s->bytes), width[i]);
        for (int i = 0; i < s->n; i++) {
            if (i == s->base) continue;
            double diff = sy__loss_of(s, i, s->domain[d], s->bytes) - base;
            figure(o, "%+.4f", diff, 10);
            figure(o, "%+.2f", 100 * diff / fabs(base), 7);
        }
        sy_buf_text(o, "\n");
    }
}

sy_status sy_report_text(const sy_record *runs, int n, sy_buf *o, sy_err *err)
{
    sy__sheet s = { 0 };
    sy__verdict v;
    sy_status st = sy__sheet_open(&s, runs, n, err);
    if (st == SY_OK && s.n_domain) {
        sy_buf_printf(o, "Held-out loss, %s, at the last evaluation:\n\n", sy__unit_of(&s));
        text_table(&s, o);
    } else if (st == SY_OK) sy_buf_text(o, "No evaluation on held-out text was found.\n");
    for (int i = 0; st == SY_OK && n > 1 && i < n; i++) {
        if (i == s.base) continue;
        sy_buf_text(o, "\n");
        padded(o, s.label[i], 0, false);
        if (!sy__judge(&s, i, &v)) { sy_buf_text(o, " cannot be compared: it or the baseline has no held-out loss.\n"); continue; }
        if (v.diff) sy_buf_printf(o, " is %.4f %s (%.2f %%) %s ", fabs(v.diff), sy__unit_of(&s), 100 * fabs(v.diff) / fabs(v.base), v.diff < 0 ? "below" : "above");
        else sy_buf_text(o, " is equal to ");
        padded(o, s.label[s.base], 0, false);
        if (v.domains) sy_buf_printf(o, ", lower in %d of %d domains", v.lower, v.domains);
        sy_buf_text(o, "; ");
        sy__basis(&s, i, o);
        sy_buf_text(o, ".\n");
    }
    for (int i = 0; st == SY_OK && i < n; i++)
        for (size_t k = 0; k < runs[i].n_note; k++) {
            sy_buf_text(o, k ? "" : "\n");
            sy_buf_text(o, "note: ");
            padded(o, s.label[i], 0, false);
            sy_buf_text(o, ": ");
            padded(o, runs[i].note[k], 0, false);
            sy_buf_text(o, "\n");
        }
    sy__sheet_close(&s);
    return st == SY_OK && o->failed ? sy_fail(err, SY_ENOMEM, "no memory left for the report") : st;
}
