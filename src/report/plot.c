/* report/plot.c - pictures of rates, as SVG. */
#include <math.h>
#include <stdio.h>

#include "report/page.h"

enum { W = 560, H = 350, LEFT = 56, RIGHT = 132, TOP = 14, BOTTOM = 40 };

typedef struct frame { double x0, x1, y0, y1; } frame;              /* in powers of ten */

static double at_x(const frame *f, double x) { return LEFT + (log10(x) - f->x0) / (f->x1 - f->x0) * (W - LEFT - RIGHT); }
static double at_y(const frame *f, double y) { return H - BOTTOM - (log10(y) - f->y0) / (f->y1 - f->y0) * (H - TOP - BOTTOM); }
static bool shown(const sy_series *s, int i) { return s->x[i] > 0 && s->y[i] > 0 && isfinite(s->y[i]); }

static frame frame_of(const sy_series *s, int n)
{
    frame f = { INFINITY, -INFINITY, INFINITY, -INFINITY };
    for (int k = 0; k < n; k++)
        for (int i = 0; i < s[k].n; i++) {
            if (!shown(&s[k], i)) continue;
            double lo = s[k].lo && s[k].lo[i] > 0 ? s[k].lo[i] : s[k].y[i], hi = s[k].hi && isfinite(s[k].hi[i]) ? s[k].hi[i] : s[k].y[i];
            f.x0 = fmin(f.x0, log10(s[k].x[i])), f.x1 = fmax(f.x1, log10(s[k].x[i]));
            f.y0 = fmin(f.y0, log10(lo)), f.y1 = fmax(f.y1, log10(hi));
        }
    if (!(f.x0 < INFINITY)) return (frame){ 0, 1, 0, 1 };
    f.x0 -= 0.08, f.x1 += 0.08;
    f.y0 = floor(f.y0 - 0.05), f.y1 = ceil(f.y1 + 0.05);
    return f;
}

static void tick(sy_buf *o, double v) { sy_buf_printf(o, v >= 1e-3 && v < 1e6 ? "%g" : "%.0e", v); }

static void axes(sy_buf *o, const frame *f, const char *x_name, const sy_series *s)
{
    for (int e = (int)f->y0; e <= (int)f->y1; e++) {
        double y = at_y(f, pow(10, e));
        sy_buf_printf(o, "<path class=\"grid\" d=\"M%d %.1fH%d\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">", LEFT, y, W - RIGHT, LEFT - 8, y + 4);
        tick(o, pow(10, e));
        sy_buf_text(o, "</text>");
    }
    for (int i = 0; i < s->n; i++) sy_buf_printf(o, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%g</text>", at_x(f, s->x[i]), H - BOTTOM + 18, s->x[i]);
    sy_buf_printf(o, "<path class=\"axis\" d=\"M%d %dH%d\"/><text x=\"%d\" y=\"%d\" text-anchor=\"middle\">", LEFT, H - BOTTOM, W - RIGHT, (LEFT + W - RIGHT) / 2, H - 6);
    sy__html(o, x_name);
    sy_buf_text(o, "</text>");
}

/* The line of a series between its first and last x, cut at the frame. */
static void line(sy_buf *o, const frame *f, const char *class, int hue, double slope, double at, double x0, double x1)
{
    double y0 = exp(at + slope * log(x0)), y1 = exp(at + slope * log(x1)), lo = pow(10, f->y0), hi = pow(10, f->y1);
    if (!isfinite(y0) || !isfinite(y1) || y0 < lo || y1 < lo || y0 > hi || y1 > hi) return;
    sy_buf_printf(o, "<path class=\"%s\" d=\"M%.1f %.1fL%.1f %.1f\" style=\"stroke:var(--c%d)\"/>", class, at_x(f, x0), at_y(f, y0), at_x(f, x1), at_y(f, y1), hue);
}

void sy__plot_rates(sy_buf *o, const char *title, const char *x_name, const sy_series *s, int n)
{
    frame f = frame_of(s, n);
    double taken[SY_PLOT_SERIES];
    if (n > SY_PLOT_SERIES) n = SY_PLOT_SERIES;
    sy_buf_printf(o, "<div class=\"chart rates\"><svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", W, H);
    sy__html(o, title);
    sy_buf_text(o, "\">");
    if (n) axes(o, &f, x_name, s);
    if (n && s->n && shown(s, 0)) line(o, &f, "hair", 7, -0.5, log(s->y[0]) + 0.5 * log(s->x[0]), s->x[0], s->x[s->n - 1]);
    for (int k = 0; k < n; k++) {
        int last = -1;
        if (isfinite(s[k].slope)) line(o, &f, "line", k, s[k].slope, s[k].at, s[k].x[0], s[k].x[s[k].n - 1]);
        for (int i = 0; i < s[k].n; i++) {
            if (!shown(&s[k], i)) continue;
            last = i;
            double x = at_x(&f, s[k].x[i]), y = at_y(&f, s[k].y[i]);
            if (s[k].lo && s[k].hi && s[k].lo[i] > 0) sy_buf_printf(o, "<path class=\"whisker\" d=\"M%.1f %.1fV%.1f\" style=\"stroke:var(--c%d)\"/>", x, at_y(&f, s[k].lo[i]), at_y(&f, s[k].hi[i]), k);
            sy_buf_printf(o, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" style=\"fill:var(--c%d)\"><title>%.4g at %g</title></circle>", x, y, k, s[k].y[i], s[k].x[i]);
        }
        if (last < 0) { taken[k] = -100; continue; }
        double y = at_y(&f, s[k].y[last]) + 4;
        for (int again = 0; again < 2 * n; again++) for (int j = 0; j < k; j++) if (fabs(y - taken[j]) < 30) y = taken[j] + (y < taken[j] && taken[j] > 60 ? -30 : 30);
        taken[k] = y;
        sy_buf_printf(o, "<text class=\"end\" x=\"%d\" y=\"%.1f\" style=\"fill:var(--c%d)\">", W - RIGHT + 10, y, k);
        sy__html(o, s[k].name);
        sy_buf_text(o, "</text>");
        if (isfinite(s[k].slope)) {
            sy_buf_printf(o, "<text x=\"%d\" y=\"%.1f\">slope ", W - RIGHT + 10, y + 14);
            sy__number(o, "%+.2f", s[k].slope);
            sy_buf_text(o, "</text>");
        }
    }
    sy_buf_text(o, "</svg></div>\n");
}
