/* report/league.c - the league as a page: a table whose rows carry a strip of all seeds beside the baseline. */
#include "report/league.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/json.h"
#include "report/page.h"
#include "report/sheet.h"

static const char *const verdicts[] = { "lower loss", "no difference at this size", "higher loss" };
static const char *const tones[] = { "low", "tie", "high" };

static const sy_league_row *base_of(const sy_league_group *g) { return &g->row[g->base]; }
static bool is_base(const sy_league_group *g, const sy_league_row *r) { return r == base_of(g); }
static bool judged(const sy_league_group *g, const sy_league_row *r) { return !r->why && !base_of(g)->why && !is_base(g, r); }

/* Decimals of a loss: four, five where the lowest is below 0.05, so that what is judged can be seen. */
static int digits(const sy_league *l)
{
    double least = INFINITY;
    for (int k = 0; k < l->groups; k++)
        for (int i = 0; i < l->group[k].n; i++) if (!l->group[k].row[i].why) least = fmin(least, l->group[k].row[i].loss);
    return least < 0.05 ? 5 : 4;
}

static const char *loss_format(const sy_league *l) { return digits(l) == 5 ? "%.5f" : "%.4f"; }
static const char *diff_format(const sy_league *l) { return digits(l) == 5 ? "%+.5f" : "%+.4f"; }

/* A number between two pieces of HTML. */
static void num(sy_buf *o, const char *before, const char *fmt, double v, const char *after)
{
    sy_buf_text(o, before);
    sy__number(o, fmt, v);
    sy_buf_text(o, after);
}

/* Rows that ended with each verdict, and those without a result. */
static void tally(const sy_league_group *g, int count[3], int *out)
{
    count[0] = count[1] = count[2] = *out = 0;
    for (int i = 0; i < g->n; i++) {
        if (g->row[i].why) ++*out;
        else if (judged(g, &g->row[i])) count[g->row[i].sign + 1]++;
    }
}

/* --- the strip of seeds -------------------------------------------------------------------------------------------------------- */

typedef struct axis { double lo, hi; bool log; } axis;
enum { STRIP = 250, PAD = 6, MAX_GROUPS = 8 };

/* From the lowest to the highest seed of a group; by factors where they differ by more than four. */
static axis axis_of(const sy_league *l, const sy_league_group *g)
{
    axis a = { INFINITY, -INFINITY, false };
    for (int i = 0; i < g->n; i++)
        for (int s = 0; s < l->seeds && !g->row[i].why; s++) {
            if (g->row[i].seed[s] < a.lo) a.lo = g->row[i].seed[s];
            if (g->row[i].seed[s] > a.hi) a.hi = g->row[i].seed[s];
        }
    a.log = a.lo > 0 && a.hi > 4 * a.lo;
    return a;
}

static double place(const axis *a, double v)
{
    double share = !(a->hi > a->lo) ? 0.5 : a->log ? log(v / a->lo) / log(a->hi / a->lo) : (v - a->lo) / (a->hi - a->lo);
    return PAD + share * (STRIP - 2 * PAD);
}

static void axis_html(const axis *a, double base, sy_buf *o)
{
    if (!(a->lo < INFINITY)) return;
    double at = place(a, base);
    sy_buf_printf(o, "<svg viewBox=\"0 0 %d 28\" role=\"img\" aria-label=\"Scale of the loss, %s\"><path class=\"axis\" d=\"M%d 22H%d\"/>", STRIP, a->log ? "by factors" : "linear", PAD, STRIP - PAD);
    sy_buf_printf(o, "<text x=\"%d\" y=\"16\">%.4g</text><text x=\"%d\" y=\"16\" text-anchor=\"end\">%.4g</text>", PAD, a->lo, STRIP - PAD, a->hi);
    if (isfinite(base)) {
        if (at > 60 && at < STRIP - 60) sy_buf_printf(o, "<text x=\"%.1f\" y=\"16\" text-anchor=\"middle\">baseline</text>", at);
        sy_buf_printf(o, "<path class=\"rule\" d=\"M%.1f 20V28\"/>", at);
    }
    sy_buf_text(o, "</svg>");
}

static void strip_html(const sy_league *l, const axis *a, const sy_league_row *r, double base, sy_buf *o)
{
    double lo = INFINITY, hi = -INFINITY;
    for (int s = 0; s < l->seeds; s++) lo = fmin(lo, r->seed[s]), hi = fmax(hi, r->seed[s]);
    sy_buf_printf(o, "<td class=\"strip\"><svg viewBox=\"0 0 %d 28\" role=\"img\" aria-label=\"Loss of %d seeds: %.4g to %.4g\">", STRIP, l->seeds, lo, hi);
    if (isfinite(base)) sy_buf_printf(o, "<path class=\"rule\" d=\"M%.1f -4V32\"/>", place(a, base));
    sy_buf_printf(o, "<path class=\"span\" d=\"M%.1f 14H%.1f\"/>", place(a, lo), place(a, hi));
    for (int s = 0; s < l->seeds; s++) sy_buf_printf(o, "<circle class=\"seed\" cx=\"%.1f\" cy=\"14\" r=\"4\"><title>seed %d: %.5g</title></circle>", place(a, r->seed[s]), s + 1, r->seed[s]);
    sy_buf_printf(o, "<circle class=\"mean\" cx=\"%.1f\" cy=\"14\" r=\"5.5\"><title>mean %.5g</title></circle></svg></td>", place(a, r->loss), r->loss);
}

/* --- the table ------------------------------------------------------------------------------------------------------------------- */

/* A number with a thin bar below it: its share of the largest in the column. */
static void bar_cell(sy_buf *o, const char *text, double v, double most)
{
    sy_buf_printf(o, "<td class=\"num\">%s", isfinite(v) ? text : "\u2013");
    if (isfinite(v) && most > 0) sy_buf_printf(o, "<i class=\"bar-cell\" style=\"width:%.0f%%\"></i>", 100 * fmax(0, v) / most);
    sy_buf_text(o, "</td>");
}

typedef struct most { double maxvio, experts, flops, parameters; } most;

static most most_of(const sy_league *l)
{
    most m = { 0 };
    for (int g = 0; g < l->groups; g++)
        for (int i = 0; i < l->group[g].n; i++) {
            const sy_league_row *r = &l->group[g].row[i];
            if (r->why) continue;
            m.maxvio = fmax(m.maxvio, r->maxvio), m.experts = fmax(m.experts, r->experts);
            m.flops = fmax(m.flops, r->flops), m.parameters = fmax(m.parameters, r->parameters);
        }
    return m;
}

static void row_html(const sy_league *l, const sy_league_group *g, const sy_league_row *r, const axis *a, const most *m, sy_buf *o)
{
    char text[64], b[32], c[32];
    sy_buf_printf(o, "<tr class=\"%s\"><th scope=\"row\" title=\"", r->why ? "out" : is_base(g, r) ? "base" : judged(g, r) ? tones[r->sign + 1] : "tie");
    sy__html(o, r->title ? r->title : "");
    sy_buf_text(o, "\">");
    sy__html(o, r->name);
    sy_buf_text(o, "</th>");
    if (r->why) {
        sy_buf_text(o, "<td colspan=\"8\">No result: ");
        sy__html(o, r->why);
        sy_buf_text(o, "</td></tr>\n");
        return;
    }
    strip_html(l, a, r, base_of(g)->why ? NAN : base_of(g)->loss, o);
    num(o, "<td class=\"num\">", loss_format(l), r->loss, "<small>\u00b1 ");
    num(o, "", loss_format(l), r->sd, "</small></td>");
    if (judged(g, r)) {
        num(o, "<td class=\"num\">", diff_format(l), r->diff, "<small>\u00b1 ");
        num(o, "", loss_format(l), r->se, "</small></td>");
        sy_buf_printf(o, "<td><span class=\"pill\">%s</span><small>lower on %d of %d seeds</small></td>", r->sign < 0 ? "lower" : r->sign > 0 ? "higher" : "no difference", r->lower, l->seeds);
    } else sy_buf_printf(o, "<td class=\"num\">\u2013</td><td>%s</td>", is_base(g, r) ? "baseline" : "\u2013");
    snprintf(text, sizeof text, "%.2f", r->maxvio), bar_cell(o, text, r->maxvio, m->maxvio);
    snprintf(text, sizeof text, "%.2f", r->experts), bar_cell(o, text, r->experts, m->experts);
    snprintf(text, sizeof text, "%s<small>%s</small>", sy__si(r->flops, b), sy__si(r->train_flops, c)), bar_cell(o, text, r->flops, m->flops);
    bar_cell(o, sy__si(r->parameters, b), r->parameters, m->parameters);
    sy_buf_text(o, "</tr>\n");
}

static void group_html(const sy_league *l, int nth, const most *m, sy_buf *o)
{
    const sy_league_group *g = &l->group[nth];
    axis a = axis_of(l, g);
    sy_buf_printf(o, "<section id=\"g%d\" aria-labelledby=\"g%d-title\"><h2 id=\"g%d-title\">", nth, nth, nth);
    sy__html(o, g->title);
    sy_buf_text(o, "</h2>\n<p>");
    sy__html(o, g->what);
    sy_buf_text(o, "</p>\n<div class=\"wide\"><table class=\"league\"><thead><tr><th scope=\"col\">Method</th><th scope=\"col\" class=\"strip\">");
    axis_html(&a, base_of(g)->why ? NAN : base_of(g)->loss, o);
    sy_buf_text(o, "</th><th scope=\"col\" class=\"num\">Loss<small>\u00b1 sd</small></th><th scope=\"col\" class=\"num\">Difference<small>\u00b1 standard error</small></th><th scope=\"col\">Verdict</th>"
                   "<th scope=\"col\" class=\"num\">MaxVio</th><th scope=\"col\" class=\"num\">Experts<small>a token</small></th>"
                   "<th scope=\"col\" class=\"num\">FLOPs<small>a token; in training</small></th><th scope=\"col\" class=\"num\">Parameters</th></tr></thead>\n<tbody>\n");
    for (int i = 0; i < g->n; i++) row_html(l, g, &g->row[i], &a, m, o);
    sy_buf_text(o, "</tbody></table></div>\n</section>\n");
}

/* --- domains --------------------------------------------------------------------------------------------------------------------- */

static void domains_html(const sy_league *l, sy_buf *o)
{
    if (!l->domains) return;
    sy_buf_text(o, "<section id=\"domains\" aria-labelledby=\"domains-title\"><h2 id=\"domains-title\">By domain</h2>\n<p>Loss on each domain, and its difference to the baseline of the group: blue is lower.</p>\n");
    for (int k = 0; k < l->groups; k++) {
        const sy_league_group *g = &l->group[k];
        sy_buf_text(o, "<div class=\"wide\"><table class=\"league heat\"><caption><span>");
        sy__html(o, g->title);
        sy_buf_text(o, "</span></caption><thead><tr><th scope=\"col\">Method</th>");
        for (int d = 0; d < l->domains; d++) sy_buf_text(o, "<th scope=\"col\" class=\"num\">"), sy__html(o, l->domain[d]), sy_buf_text(o, "</th>");
        sy_buf_text(o, "</tr></thead><tbody>\n");
        for (int i = 0; i < g->n; i++) {
            const sy_league_row *r = &g->row[i];
            if (r->why) continue;
            sy_buf_printf(o, "<tr%s><th scope=\"row\">", is_base(g, r) ? " class=\"base\"" : "");
            sy__html(o, r->name);
            sy_buf_text(o, "</th>");
            for (int d = 0; d < l->domains; d++) {
                double diff = judged(g, r) ? r->domain[d] - base_of(g)->domain[d] : NAN;
                num(o, "<td class=\"num\">", "%.4f", r->domain[d], "");
                if (isfinite(diff)) num(o, diff < 0 ? "<small class=\"diff-down\">" : "<small class=\"diff-up\">", "%+.4f", diff, "</small>");
                sy_buf_text(o, "</td>");
            }
            sy_buf_text(o, "</tr>\n");
        }
        sy_buf_text(o, "</tbody></table></div>\n");
    }
    sy_buf_text(o, "</section>\n");
}

/* --- the page -------------------------------------------------------------------------------------------------------------------- */

static void lead_html(const sy_league *l, sy_buf *o)
{
    sy_buf_text(o, "<section class=\"lead\" aria-labelledby=\"title\"><h1 id=\"title\">");
    sy__html(o, l->title);
    sy_buf_text(o, "</h1>\n<p class=\"basis\">");
    sy__html(o, l->about);
    sy_buf_text(o, "</p>\n<ul class=\"groups\">\n");
    for (int k = 0; k < l->groups; k++) {
        const sy_league_group *g = &l->group[k];
        int count[3], out;
        tally(g, count, &out);
        sy_buf_text(o, "<li><b>");
        sy__html(o, g->title);
        sy_buf_text(o, "</b><span class=\"tally\" aria-hidden=\"true\"><svg width=\"100%\" height=\"12\">");
        double x = 0, all = count[0] + count[1] + count[2];
        static const char *const hue[] = { "--more", "--c7", "--less" };
        for (int i = 0; i < 3 && all > 0; x += count[i++] / all * 100)
            if (count[i]) sy_buf_printf(o, "<rect x=\"%.2f%%\" width=\"%.2f%%\" height=\"12\" style=\"fill:var(%s)\"/>", x, count[i] / all * 100 - (x + count[i] / all * 100 < 99.9 ? 0.6 : 0), hue[i]);
        sy_buf_printf(o, "</svg></span><p>%d below the baseline, %d no different, %d above it%s", count[0], count[1], count[2], out ? ", " : "");
        if (out) sy_buf_printf(o, "%d without a result", out);
        sy_buf_text(o, ".</p></li>\n");
    }
    sy_buf_text(o, "</ul></section>\n");
}

static void details_html(const sy_league *l, sy_buf *o)
{
    sy_buf_text(o, "<section id=\"arms\" aria-labelledby=\"arms-title\"><h2 id=\"arms-title\">What was run</h2>\n<p>Settings of each arm ($C is its coefficient), what tuning chose, and the loss as it was trained.</p>\n"
                   "<div class=\"wide\"><table class=\"league details\"><thead><tr><th scope=\"col\">Method</th><th scope=\"col\">Settings</th><th scope=\"col\" class=\"num\">Learning rate \u00d7</th>"
                   "<th scope=\"col\" class=\"num\">Coefficient</th><th scope=\"col\" class=\"num\">Training loss</th><th scope=\"col\" class=\"num\">Specialisation</th></tr></thead><tbody>\n");
    for (int k = 0; k < l->groups; k++)
        for (int i = 0; i < l->group[k].n; i++) {
            const sy_league_row *r = &l->group[k].row[i];
            if (l->group[k].again && is_base(&l->group[k], r)) continue;
            sy_buf_text(o, "<tr><th scope=\"row\">");
            sy__html(o, r->name);
            if (l->group[k].again) sy_buf_text(o, ", equal work");
            sy_buf_text(o, "</th><td><code>");
            sy__html(o, r->settings);
            sy_buf_text(o, "</code>");
            if (r->note) sy_buf_text(o, "<small>"), sy__html(o, r->note), sy_buf_text(o, "</small>");
            sy_buf_text(o, "</td>");
            if (r->why) { sy_buf_text(o, "<td></td><td></td><td></td><td></td></tr>\n"); continue; }
            sy_buf_printf(o, "<td class=\"num\">%.3g%s</td><td class=\"num\">", r->lr_scale, r->edge ? " *" : "");
            if (r->coef) sy_buf_printf(o, "%.3g", r->coef);
            num(o, "</td><td class=\"num\">", loss_format(l), r->train_loss, "</td>");
            num(o, "<td class=\"num\">", "%.3f", r->specialisation, "</td></tr>\n");
        }
    sy_buf_text(o, "</tbody></table></div>\n<p class=\"note\">* tuning ended at an end of its grid: a wider one might find a lower loss.</p></section>\n");
}

sy_status sy_league_html(const sy_league *l, sy_buf *o, sy_err *err)
{
    most m = most_of(l);
    const char *anchor[MAX_GROUPS + 2], *word[MAX_GROUPS + 2];
    char id[MAX_GROUPS][16];
    int n = 0;
    if (l->groups > MAX_GROUPS) return sy_fail(err, SY_EARG, "a league of %d groups; the page has room for %d", l->groups, MAX_GROUPS);
    for (; n < l->groups; n++) {
        snprintf(id[n], sizeof id[n], "g%d", n);
        anchor[n] = id[n], word[n] = l->group[n].title;
    }
    if (l->domains) anchor[n] = "domains", word[n++] = "Domains";
    anchor[n] = "arms", word[n++] = "What was run";
    sy__page_open(o, l->title, anchor, word, n);
    lead_html(l, o);
    for (int k = 0; k < l->groups; k++) group_html(l, k, &m, o);
    domains_html(l, o);
    details_html(l, o);
    sy__page_close(o, l->made_by);
    return o->failed ? sy_fail(err, SY_ENOMEM, "no memory left for the league's page") : SY_OK;
}

/* --- Markdown and JSON ------------------------------------------------------------------------------------------------------------- */

static void figure(sy_buf *o, const char *fmt, double v)
{
    if (isfinite(v)) sy_buf_text(o, " "), sy_buf_printf(o, fmt, v);
    sy_buf_text(o, " |");
}

static void big(sy_buf *o, double v)
{
    char b[32];
    if (isfinite(v)) sy_buf_printf(o, " %s |", sy__si(v, b));
    else sy_buf_text(o, " |");
}

static bool any_result(const sy_league_group *g)
{
    for (int i = 0; i < g->n; i++) if (!g->row[i].why) return true;
    return false;
}

/* Rows without a result, those with the same reason together; one before `i` has told it for row i. */
static void reasons_markdown(const sy_league_group *g, sy_buf *o)
{
    for (int i = 0, told = 0; i < g->n; i++) {
        bool again = !g->row[i].why;
        int n = 0;
        for (int k = 0; k < i && !again; k++) again = g->row[k].why && !strcmp(g->row[k].why, g->row[i].why);
        if (again) continue;
        sy_buf_text(o, told++ ? "- " : "\n- ");
        for (int k = i; k < g->n; k++)
            if (g->row[k].why && !strcmp(g->row[k].why, g->row[i].why)) sy_buf_printf(o, "%s%s", n++ ? ", " : "", g->row[k].name);
        sy_buf_printf(o, " %s no result: %s.\n", n > 1 ? "have" : "has", g->row[i].why);
    }
}

static void group_markdown(const sy_league *l, const sy_league_group *g, sy_buf *o)
{
    sy_buf_printf(o, "\n## %s\n\n%s\n", g->title, g->what);
    if (any_result(g)) sy_buf_text(o, "\n| method | loss, mean (sd) | difference (standard error) | lower on | verdict | training loss | MaxVio | experts a token | FLOPs a token | in training | parameters | lr x | coefficient |\n"
                     "|---|---|---|---|---|---|---|---|---|---|---|---|---|\n");
    for (int i = 0; i < g->n; i++) {
        const sy_league_row *r = &g->row[i];
        if (r->why) continue;
        int d = digits(l);
        sy_buf_printf(o, "| %s | %.*f (%.*f) |", r->name, d, r->loss, d, r->sd);
        if (judged(g, r)) sy_buf_printf(o, " %+.*f (%.*f) | %d of %d | %s |", d, r->diff, d, r->se, r->lower, l->seeds, verdicts[r->sign + 1]);
        else sy_buf_printf(o, " | | %s |", is_base(g, r) ? "baseline" : "");
        figure(o, loss_format(l), r->train_loss), figure(o, "%.2f", r->maxvio), figure(o, "%.2f", r->experts);
        big(o, r->flops), big(o, r->train_flops), big(o, r->parameters);
        sy_buf_printf(o, " %.3g%s |", r->lr_scale, r->edge ? " *" : "");
        if (r->coef) sy_buf_printf(o, " %.3g |\n", r->coef);
        else sy_buf_text(o, " |\n");
    }
    reasons_markdown(g, o);
}

static void seeds_markdown(const sy_league *l, const sy_league_group *g, sy_buf *o)
{
    sy_buf_printf(o, "\n### %s, by seed\n\n| method |", g->title);
    for (int d = 0; d < l->seeds; d++) sy_buf_printf(o, " %d |", d + 1);
    sy_buf_text(o, "\n|---|");
    for (int d = 0; d < l->seeds; d++) sy_buf_text(o, "---|");
    sy_buf_text(o, "\n");
    for (int i = 0; i < g->n; i++) {
        if (g->row[i].why) continue;
        sy_buf_printf(o, "| %s |", g->row[i].name);
        for (int d = 0; d < l->seeds; d++) figure(o, loss_format(l), g->row[i].seed[d]);
        sy_buf_text(o, "\n");
    }
}

static void domains_markdown(const sy_league *l, const sy_league_group *g, sy_buf *o)
{
    sy_buf_printf(o, "\n### %s, by domain\n\n| method |", g->title);
    for (int d = 0; d < l->domains; d++) sy_buf_printf(o, " %s |", l->domain[d]);
    sy_buf_text(o, "\n|---|");
    for (int d = 0; d < l->domains; d++) sy_buf_text(o, "---|");
    sy_buf_text(o, "\n");
    for (int i = 0; i < g->n; i++) {
        if (g->row[i].why) continue;
        sy_buf_printf(o, "| %s |", g->row[i].name);
        for (int d = 0; d < l->domains; d++) figure(o, "%.4f", g->row[i].domain[d]);
        sy_buf_text(o, "\n");
    }
}

sy_status sy_league_markdown(const sy_league *l, sy_buf *o, sy_err *err)
{
    bool edge = false;
    sy_buf_printf(o, "# %s\n\n%s\n", l->title, l->about);
    for (int k = 0; k < l->groups; k++) {
        group_markdown(l, &l->group[k], o);
        if (l->domains && any_result(&l->group[k])) domains_markdown(l, &l->group[k], o);
        if (any_result(&l->group[k])) seeds_markdown(l, &l->group[k], o);
        for (int i = 0; i < l->group[k].n; i++) edge = edge || l->group[k].row[i].edge;
    }
    if (edge) sy_buf_text(o, "\n\\* tuning ended at an end of its grid: a wider one might find a lower loss.\n");
    sy_buf_text(o, "\n## What was run\n\n$C is the arm's coefficient, as the tables give it.\n\n");
    for (int k = 0; k < l->groups && !l->group[k].again; k++)
        for (int i = 0; i < l->group[k].n; i++) {
            const sy_league_row *r = &l->group[k].row[i];
            sy_buf_printf(o, "- %s: `%s`%s%s\n", r->name, r->settings, r->note ? ". " : "", r->note ? r->note : "");
        }
    sy_buf_printf(o, "\nMade by %s.\n", l->made_by);
    return o->failed ? sy_fail(err, SY_ENOMEM, "no memory left for the league") : SY_OK;
}

static void row_json(const sy_league *l, const sy_league_group *g, const sy_league_row *r, sy_json *j)
{
    const struct { const char *key; double v; } figures[] = { { "loss", r->loss }, { "sd", r->sd }, { "train_loss", r->train_loss }, { "maxvio", r->maxvio }, { "specialisation", r->specialisation },
        { "experts_per_token", r->experts }, { "flops_per_token", r->flops }, { "train_flops_per_token", r->train_flops }, { "parameters", r->parameters }, { "active_parameters", r->active }, { "lr_scale", r->lr_scale } };
    sy_json_begin(j, '{');
    sy_json_key(j, "name"), sy_json_text(j, r->name);
    sy_json_key(j, "settings"), sy_json_text(j, r->settings);
    sy_json_key(j, "baseline"), sy_json_bool(j, is_base(g, r));
    if (r->why) sy_json_key(j, "why"), sy_json_text(j, r->why);
    for (size_t i = 0; i < SY_COUNT(figures) && !r->why; i++) sy_json_key(j, figures[i].key), sy_json_real(j, figures[i].v);
    if (r->coef && !r->why) sy_json_key(j, "coefficient"), sy_json_real(j, r->coef);
    if (judged(g, r)) {
        sy_json_key(j, "difference"), sy_json_real(j, r->diff);
        sy_json_key(j, "standard_error"), sy_json_real(j, r->se);
        sy_json_key(j, "verdict"), sy_json_text(j, verdicts[r->sign + 1]);
    }
    if (!r->why) {
        sy_json_key(j, "seeds"), sy_json_begin(j, '[');
        for (int s = 0; s < l->seeds; s++) sy_json_real(j, r->seed[s]);
        sy_json_end(j, ']');
        sy_json_key(j, "domains"), sy_json_begin(j, '{');
        for (int d = 0; d < l->domains; d++) sy_json_key(j, l->domain[d]), sy_json_real(j, r->domain[d]);
        sy_json_end(j, '}');
    }
    sy_json_end(j, '}');
}

sy_status sy_league_json(const sy_league *l, sy_buf *o, sy_err *err)
{
    sy_json j;
    sy_json_open(&j, o, 0);
    sy_json_begin(&j, '{');
    sy_json_key(&j, "title"), sy_json_text(&j, l->title);
    sy_json_key(&j, "unit"), sy_json_text(&j, l->unit);
    sy_json_key(&j, "groups"), sy_json_begin(&j, '[');
    for (int k = 0; k < l->groups; k++) {
        sy_json_begin(&j, '{');
        sy_json_key(&j, "title"), sy_json_text(&j, l->group[k].title);
        sy_json_key(&j, "rows"), sy_json_begin(&j, '[');
        for (int i = 0; i < l->group[k].n; i++) row_json(l, &l->group[k], &l->group[k].row[i], &j);
        sy_json_end(&j, ']');
        sy_json_end(&j, '}');
    }
    sy_json_end(&j, ']');
    sy_json_end(&j, '}');
    sy_buf_text(o, "\n");
    return o->failed ? sy_fail(err, SY_ENOMEM, "no memory left for the league") : SY_OK;
}
