/* report/report.c - the page and the table.
 *
 * The page's text and main table are written here as HTML; all else goes into it as JSON, checked entry by entry, and is drawn by
 * report.js. Nothing of a run's text reaches the page unescaped. */
#include "report/report.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/json.h"
#include "core/utf8.h"
#include "report/curve.h"

/* Made from report.html, report.css and report.js by the build; each ends with NUL. */
extern const char sy__report_html[], sy__report_css[], sy__report_js[];

enum {                                  /* sizes that keep a page readable and small */
    MAIN_POINTS = 1000, SIDE_POINTS = 240, MAX_LAYERS = 256, MAX_EXPERTS = 1024, MAX_DOMAINS = 64, MAX_COACTIVE = 64,
    TOP_TOKENS = 8, TOP_BUDGET = 6000, MAX_SENTENCE = 256, MAX_SLOTS = 32, MAX_NEXT = 10, MAX_SAMPLES = 24, SAMPLE_BYTES = 4000,
    TOKEN_BYTES = 64, MAX_CELLS = 500000, CONFIG_BYTES = 256 << 10, NAME_WIDTH = 32
};

/* --- what is compared ----------------------------------------------------------------------------------------------- */

typedef struct sheet {                  /* the runs, their names, the domains of all of them */
    const sy_record *runs;
    int           n, base;
    const char   *label[SY_REPORT_RUNS];
    const char  **domain;               /* [n_domain] in order of appearance, "all" last where there is one */
    size_t        n_domain;
    bool          bytes;                /* some run knows nats per byte; else tokens are all there is */
} sheet;

static bool is_all(const char *domain) { return !strcmp(domain, "all"); }

static sy_status find_domains(sheet *s, sy_err *err)
{
    size_t room = 1;
    bool all = false;
    for (int i = 0; i < s->n; i++) room += s->runs[i].n_column;
    if (!(s->domain = sy_calloc(room, sizeof *s->domain))) return sy_fail(err, SY_ENOMEM, "no memory for the domains of %d runs", s->n);
    for (int i = 0; i < s->n; i++)
        for (size_t k = 0; k < s->runs[i].n_column; k++) {
            const sy_column *c = &s->runs[i].column[k];
            if (c->kind != SY_COL_BYTE && c->kind != SY_COL_TOKEN) continue;
            if (c->kind == SY_COL_BYTE && isfinite(sy_column_last(c, NULL))) s->bytes = true;
            bool known = false;
            for (size_t d = 0; d < s->n_domain && !known; d++) known = !strcmp(s->domain[d], c->name);
            if (is_all(c->name)) all = true;
            else if (!known) s->domain[s->n_domain++] = c->name;
        }
    if (all) s->domain[s->n_domain++] = "all";
    return SY_OK;
}

static sy_status sheet_open(sheet *s, const sy_record *runs, int n, sy_err *err)
{
    *s = (sheet){ .runs = runs, .n = n };
    if (n < 1 || n > SY_REPORT_RUNS) return sy_fail(err, SY_EARG, "a report shows 1 to %d runs, not %d", SY_REPORT_RUNS, n);
    int dense = 0, at = 0;
    for (int i = 0; i < n; i++) {
        if (!sy_record_is_sparse(&runs[i])) { dense++; at = i; }
        s->label[i] = runs[i].name;
        for (int k = 0; k < n; k++)
            if (k != i && !strcmp(runs[k].name, runs[i].name)) s->label[i] = runs[i].path;
    }
    s->base = dense == 1 ? at : 0;
    return find_domains(s, err);
}

static void sheet_close(sheet *s) { sy_free(s->domain); }

static double loss_of(const sheet *s, int run, const char *domain, bool bytes)
{
    return sy_record_heldout(&s->runs[run], bytes ? SY_COL_BYTE : SY_COL_TOKEN, domain);
}

/* The verdict on run i against the baseline over all held-out text; false where either has no such loss. */
typedef struct verdict { double loss, base, diff; int lower, domains; } verdict;
static bool judge(const sheet *s, int i, verdict *v)
{
    *v = (verdict){ loss_of(s, i, "all", s->bytes), loss_of(s, s->base, "all", s->bytes), 0, 0, 0 };
    v->diff = v->loss - v->base;
    for (size_t d = 0; d < s->n_domain; d++) {
        if (is_all(s->domain[d])) continue;
        double a = loss_of(s, i, s->domain[d], s->bytes), b = loss_of(s, s->base, s->domain[d], s->bytes);
        if (!isfinite(a) || !isfinite(b)) continue;
        v->domains++;
        v->lower += a < b;
    }
    return isfinite(v->diff);
}

static const char *unit_of(const sheet *s) { return s->bytes ? "nats per byte" : "nats per token"; }

/* 1234567 -> "1.23 M", with three digits. */
static const char *si(double v, char buf[32])
{
    static const struct { double from; const char *sign; } steps[] = { { 1e12, "T" }, { 1e9, "G" }, { 1e6, "M" }, { 1e3, "k" } };
    if (!isfinite(v)) return "unknown";
    for (size_t i = 0; i < SY_COUNT(steps); i++)
        if (fabs(v) >= steps[i].from * 0.9995) {
            double m = v / steps[i].from;
            snprintf(buf, 32, "%.*f %s", fabs(m) >= 99.95 ? 0 : fabs(m) >= 9.995 ? 1 : 2, m, steps[i].sign);
            return buf;
        }
    snprintf(buf, 32, "%.0f", v);
    return buf;
}

static double tokens_of(const sheet *s, int i) { return sy_column_last(sy_record_column(&s->runs[i], SY_COL_TOKENS, NULL, -1), NULL); }

static int64_t step_of(const sy_record *r)
{
    int64_t most = -1;
    for (size_t i = 0; i < r->n_column; i++)
        if (r->column[i].n && r->column[i].step[r->column[i].n - 1] > most) most = r->column[i].step[r->column[i].n - 1];
    return most;
}

/* One sentence that says whether the runs spent the same: tokens and active parameters within 1 %. */
static void basis(const sheet *s, int i, sy_buf *o)
{
    char a[32], b[32];
    struct { const char *what; double run, base; } spent[] = {
        { "active parameters", sy_record_number(&s->runs[i], "derived", "active_parameters"), sy_record_number(&s->runs[s->base], "derived", "active_parameters") },
        { "tokens", tokens_of(s, i), tokens_of(s, s->base) } };
    for (size_t k = 0; k < SY_COUNT(spent); k++) {
        double x = spent[k].run, y = spent[k].base;
        sy_buf_text(o, k ? ", " : "");
        if (!isfinite(x) || !isfinite(y)) sy_buf_printf(o, "%s unknown", spent[k].what);
        else if (fabs(x - y) <= 0.01 * fabs(y)) sy_buf_printf(o, "equal %s (%s)", spent[k].what, si(y, b));
        else sy_buf_printf(o, "unequal %s (%s against %s)", spent[k].what, si(x, a), si(y, b));
    }
}

/* --- HTML ----------------------------------------------------------------------------------------------------------- */

/* Controls and characters that hide or turn text round (zero widths, direction marks, separators, tags). */
static bool is_unseen(uint32_t c)
{
    return c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0xAD || c == 0x61C || (c >= 0x200B && c <= 0x200F) || (c >= 0x2028 && c <= 0x202E)
        || (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF || (c >= 0xFFF9 && c <= 0xFFFB) || (c >= 0xE0000 && c <= 0xE007F);
}

/* Text for elements and quoted attributes; what is unseen becomes U+FFFD. */
static void html(sy_buf *o, const char *text)
{
    for (size_t i = 0, n = strlen(text); i < n;) {
        uint32_t c;
        int len = sy_utf8_next(text + i, n - i, &c);
        if (len < 0 || is_unseen(c)) sy_buf_text(o, "\xEF\xBF\xBD");
        else if (c == '<') sy_buf_text(o, "&lt;");
        else if (c == '>') sy_buf_text(o, "&gt;");
        else if (c == '&') sy_buf_text(o, "&amp;");
        else if (c == '"') sy_buf_text(o, "&quot;");
        else if (c == '\'') sy_buf_text(o, "&#39;");
        else sy_buf_put(o, text + i, (size_t)len);
        i += (size_t)(len < 0 ? -len : len);
    }
}

/* JSON inside a script element: outside of strings none of these characters stands, so escaping them all keeps the value. */
static void script_safe(sy_buf *o, const char *json, size_t n)
{
    size_t from = 0;
    for (size_t i = 0; i < n;) {
        uint32_t c;
        int len = sy_utf8_next(json + i, n - i, &c);
        bool escape = c == '<' || c == '>' || c == '&' || (c > 0x20 && is_unseen(c));
        if (escape) {
            sy_buf_put(o, json + from, i - from);
            if (c < 0x10000) sy_buf_printf(o, "\\u%04x", (unsigned)c);
            else sy_buf_printf(o, "\\u%04x\\u%04x", 0xD800 + (unsigned)((c - 0x10000) >> 10), 0xDC00 + (unsigned)((c - 0x10000) & 0x3FF));
        }
        i += (size_t)(len < 0 ? -len : len);
        if (escape) from = i;
    }
    sy_buf_put(o, json + from, n - from);
}

static void number(sy_buf *o, const char *fmt, double v)
{
    char b[64];
    if (!isfinite(v)) { sy_buf_text(o, "\u2013"); return; }
    snprintf(b, sizeof b, fmt, v);
    for (const char *p = b; *p; p++)
        if (*p == '-') sy_buf_text(o, "\u2212");
        else sy_buf_put(o, p, 1);
}

static void cell(sy_buf *o, const char *class, const char *fmt, double v)
{
    sy_buf_printf(o, "<td class=\"num%s\">", class);
    number(o, fmt, v);
    sy_buf_text(o, "</td>");
}

static void title_html(const sheet *s, sy_buf *o)
{
    for (int i = 0; i < s->n; i++) {
        if (i) sy_buf_text(o, s->n == 2 ? " against " : i == s->n - 1 ? " and " : ", ");
        html(o, s->label[s->n == 2 ? (i ? s->base : 1 - s->base) : i]);
    }
}

static void verdict_html(const sheet *s, sy_buf *o)
{
    verdict v;
    char b[32];
    int compared = 0;
    for (int i = 0; i < s->n; i++) {
        if (s->n > 1 && i == s->base) continue;
        if (!judge(s, i, &v)) {
            sy_buf_text(o, "<p class=\"verdict\">");
            html(o, s->label[i]);
            sy_buf_text(o, s->n > 1 ? " cannot be compared: it or the baseline has no held-out loss yet.</p>\n" : " has no held-out loss yet.</p>\n");
            continue;
        }
        if (s->n == 1) {
            sy_buf_printf(o, "<p class=\"verdict\">Held-out loss <strong>%.3f %s</strong>", v.loss, unit_of(s));
            if (s->bytes) sy_buf_printf(o, " (%.3f bits)", v.loss / M_LN2);
            if (isfinite(tokens_of(s, 0))) sy_buf_printf(o, " after %s tokens", si(tokens_of(s, 0), b));
            sy_buf_text(o, ".</p>\n");
            continue;
        }
        sy_buf_text(o, "<p class=\"verdict\"><strong>");
        html(o, s->label[i]);
        sy_buf_printf(o, "</strong> reaches %.3f %s on held-out text, <strong>", v.loss, unit_of(s));
        if (v.diff) {
            sy_buf_printf(o, "%.3f (", fabs(v.diff));
            number(o, "%.1f", 100 * fabs(v.diff) / fabs(v.base));
            sy_buf_printf(o, " %%) %s</strong> ", v.diff < 0 ? "below" : "above");
        } else sy_buf_text(o, "the same as</strong> ");
        html(o, s->label[s->base]);
        if (v.domains) sy_buf_printf(o, "; lower in %d of %d domains", v.lower, v.domains);
        sy_buf_text(o, ".</p>\n<p class=\"basis\">Basis: ");
        basis(s, i, o);
        sy_buf_text(o, ".</p>\n");
        compared++;
    }
    if (compared) sy_buf_text(o, "<p class=\"basis\">One run each: only more seeds can tell whether a difference is more than chance.</p>\n");
}

static void tile(sy_buf *o, const char *name, const char *value, const char *small)
{
    sy_buf_printf(o, "<div><dt>%s</dt><dd>", name);
    html(o, value);
    if (small && *small) {
        sy_buf_text(o, "<small>");
        html(o, small);
        sy_buf_text(o, "</small>");
    }
    sy_buf_text(o, "</dd></div>\n");
}

/* Facts of a single run. */
static void facts_html(const sheet *s, sy_buf *o)
{
    const sy_record *r = &s->runs[0];
    char a[32], b[64], c[32];
    double total = sy_record_number(r, "derived", "parameters"), active = sy_record_number(r, "derived", "active_parameters"), flops = sy_record_number(r, "derived", "flops_per_token");
    double seconds = sy_record_seconds(r), tokens = tokens_of(s, 0);
    double seed = sy_record_number(r, "train", "seed");
    const char *version = json_string_value(json_object_get(r->config, "switchyard")), *commit = json_string_value(json_object_get(r->config, "commit"));
    if (s->n > 1) return;
    sy_buf_text(o, "<dl class=\"tiles\">\n");
    if (isfinite(total)) {
        snprintf(b, sizeof b, "%s active", si(active, c));
        tile(o, "Parameters", si(total, a), isfinite(active) && active != total ? b : "all active");
    }
    if (isfinite(flops)) tile(o, "Work per token", strcat(strcpy(b, si(flops, a)), "FLOP"), NULL);
    if (isfinite(tokens)) {
        snprintf(b, sizeof b, "%lld steps", (long long)step_of(r));
        tile(o, "Tokens trained", si(tokens, a), b);
    }
    if (isfinite(seconds) && seconds > 0) {
        snprintf(b, sizeof b, "%s tokens/s", si(tokens / seconds, c));
        snprintf(a, sizeof a, seconds < 90 ? "%.0f s" : "%.0f min", seconds < 90 ? seconds : seconds / 60);
        tile(o, "Time trained", a, b);
    }
    if (isfinite(seed)) {
        snprintf(a, sizeof a, "%.0f", seed);
        tile(o, "Seed", a, NULL);
    }
    if (commit) {
        snprintf(a, sizeof a, "%.12s", commit);
        snprintf(b, sizeof b, "version %.40s", version ? version : "unknown");
        tile(o, "Made by commit", a, b);
    }
    sy_buf_text(o, "</dl>\n");
}

static void notes_html(const sheet *s, sy_buf *o)
{
    size_t n = 0;
    for (int i = 0; i < s->n; i++) n += s->runs[i].n_note;
    if (!n) return;
    sy_buf_text(o, "<div class=\"warn\" role=\"note\" aria-label=\"What could not be read\"><ul>\n");
    for (int i = 0; i < s->n; i++)
        for (size_t k = 0; k < s->runs[i].n_note; k++) {
            sy_buf_text(o, "<li>");
            if (s->n > 1) { html(o, s->label[i]); sy_buf_text(o, ": "); }
            html(o, s->runs[i].note[k]);
            sy_buf_text(o, "</li>\n");
        }
    sy_buf_text(o, "</ul></div>\n");
}

static void row_begin(sy_buf *o, const char *domain)
{
    sy_buf_printf(o, "<tr%s><th scope=\"row\">", is_all(domain) ? " class=\"sum\"" : "");
    html(o, domain);
    sy_buf_text(o, "</th>");
}

/* One run: every unit in a column. */
static void table_one(const sheet *s, sy_buf *o)
{
    sy_buf_text(o, "<div class=\"wide\"><table class=\"data\"><caption><span>At the last evaluation, over the whole held-out text.</span></caption>\n<thead><tr><th scope=\"col\">Domain</th>");
    if (s->bytes) sy_buf_text(o, "<th scope=\"col\" class=\"num\">Nats per byte</th><th scope=\"col\" class=\"num\">Bits per byte</th>");
    sy_buf_text(o, "<th scope=\"col\" class=\"num\">Nats per token</th><th scope=\"col\" class=\"num\">Perplexity per token</th></tr></thead>\n<tbody>\n");
    for (size_t d = 0; d < s->n_domain; d++) {
        double byte = loss_of(s, 0, s->domain[d], true), token = loss_of(s, 0, s->domain[d], false);
        row_begin(o, s->domain[d]);
        if (s->bytes) { cell(o, "", "%.3f", byte); cell(o, "", "%.3f", byte / M_LN2); }
        cell(o, "", "%.3f", token);
        cell(o, "", exp(token) < 100 ? "%.2f" : "%.0f", exp(token));
        sy_buf_text(o, "</tr>\n");
    }
    sy_buf_text(o, "</tbody></table></div>\n");
}

/* Several runs: a column each, and the difference to the baseline. */
static void table_many(const sheet *s, bool bytes, sy_buf *o)
{
    sy_buf_printf(o, "<div class=\"wide\"><table class=\"data\"><caption><span>%s at the last evaluation, over the whole held-out text; the lowest of a row is bold. Differences are against ", bytes ? "Nats per byte" : "Nats per token");
    html(o, s->label[s->base]);
    sy_buf_text(o, ".</span></caption>\n<thead><tr><th scope=\"col\">Domain</th>");
    for (int i = 0; i < s->n; i++) {
        sy_buf_text(o, "<th scope=\"col\" class=\"num\">");
        html(o, s->label[i]);
        sy_buf_text(o, "</th>");
    }
    for (int i = 0; i < s->n; i++) {
        if (i == s->base) continue;
        sy_buf_text(o, "<th scope=\"col\" class=\"num\">");
        if (s->n > 2) html(o, s->label[i]);
        sy_buf_text(o, s->n > 2 ? ", difference</th><th scope=\"col\" class=\"num\">%</th>" : "Difference</th><th scope=\"col\" class=\"num\">%</th>");
    }
    sy_buf_text(o, "</tr></thead>\n<tbody>\n");
    for (size_t d = 0; d < s->n_domain; d++) {
        double v[SY_REPORT_RUNS], least = INFINITY;
        for (int i = 0; i < s->n; i++)
            if ((v[i] = loss_of(s, i, s->domain[d], bytes)) < least) least = v[i];
        row_begin(o, s->domain[d]);
        for (int i = 0; i < s->n; i++) cell(o, v[i] == least ? " best" : "", "%.3f", v[i]);
        for (int i = 0; i < s->n; i++) {
            if (i == s->base) continue;
            double diff = v[i] - v[s->base];
            const char *class = diff < 0 ? " diff-down" : diff > 0 ? " diff-up" : "";
            cell(o, class, "%+.3f", diff);
            cell(o, class, "%+.1f", 100 * diff / fabs(v[s->base]));
        }
        sy_buf_text(o, "</tr>\n");
    }
    sy_buf_text(o, "</tbody></table></div>\n");
}

static void table_html(const sheet *s, sy_buf *o)
{
    if (!s->n_domain) { sy_buf_text(o, "<p class=\"note\">No evaluation on held-out text was found.</p>\n"); return; }
    if (s->n == 1) { table_one(s, o); return; }
    table_many(s, s->bytes, o);
    if (!s->bytes) return;
    sy_buf_text(o, "<details><summary>In nats per token</summary>\n");
    table_many(s, false, o);
    sy_buf_text(o, "</details>\n");
}

/* --- JSON ----------------------------------------------------------------------------------------------------------- */

static void real(sy_json *j, double v)
{
    if (isfinite(v) && v == rint(v) && fabs(v) < 9e15) sy_json_int(j, (long long)v);
    else sy_json_real(j, v);
}

static void member(sy_json *j, const char *key, double v) { sy_json_key(j, key); real(j, v); }

static double at_key(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

static double at_index(const json_t *a, size_t i)
{
    const json_t *v = json_array_get(a, i);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

/* At most `most` bytes of text, cut between characters; true when it was cut. */
static bool text_cut(sy_json *j, const char *text, size_t most)
{
    size_t n = strlen(text), len = n < most ? n : most;
    if (len < n) len -= sy_utf8_tail(text, len);
    sy_json_bytes(j, text, len);
    return len < n;
}

/* {"x": steps, "y": values}, thinned. */
static sy_status series(sy_json *j, const sy_column *c, size_t points, sy_err *err)
{
    size_t keep[MAIN_POINTS], n = sy_curve_thin(c->value, c->n, points, keep);
    sy_json_begin(j, '{');
    sy_json_key(j, "x");
    sy_json_begin(j, '[');
    for (size_t i = 0; i < n; i++) sy_json_int(j, c->step[keep[i]]);
    sy_json_end(j, ']');
    sy_json_key(j, "y");
    sy_json_begin(j, '[');
    for (size_t i = 0; i < n; i++) real(j, c->value[keep[i]]);
    sy_json_end(j, ']');
    sy_json_end(j, '}');
    return j->b->failed ? sy_fail(err, SY_ENOMEM, "no memory left for the report") : SY_OK;
}

/* All columns of one kind as an object by name. */
static sy_status named_columns(sy_json *j, const sy_record *r, sy_column_kind kind, sy_err *err)
{
    sy_json_begin(j, '{');
    for (size_t i = 0; i < r->n_column; i++) {
        if (r->column[i].kind != kind || !r->column[i].n) continue;
        sy_json_key(j, r->column[i].name);
        SY_TRY(series(j, &r->column[i], SIDE_POINTS, err));
    }
    sy_json_end(j, '}');
    return SY_OK;
}

static sy_status curves(sy_json *j, const sy_record *r, sy_err *err)
{
    static const struct { const char *key; sy_column_kind kind; size_t points; } plain[] = {
        { "tokens", SY_COL_TOKENS, SIDE_POINTS }, { "loss", SY_COL_LOSS, MAIN_POINTS }, { "lr", SY_COL_LR, SIDE_POINTS },
        { "grad_norm", SY_COL_GRAD, SIDE_POINTS }, { "tokens_per_s", SY_COL_SPEED, SIDE_POINTS } };
    static const struct { const char *key; sy_column_kind kind; } layered[] = { { "maxvio", SY_COL_MAXVIO }, { "entropy", SY_COL_ENTROPY }, { "dropped", SY_COL_DROPPED } };
    sy_json_key(j, "curves");
    sy_json_begin(j, '{');
    for (size_t i = 0; i < SY_COUNT(plain); i++) {
        const sy_column *c = sy_record_column(r, plain[i].kind, NULL, -1);
        if (!c || !c->n) continue;
        sy_json_key(j, plain[i].key);
        SY_TRY(series(j, c, plain[i].points, err));
    }
    sy_json_end(j, '}');
    sy_json_key(j, "aux");
    SY_TRY(named_columns(j, r, SY_COL_AUX, err));
    sy_json_key(j, "heldout");
    sy_json_begin(j, '{');
    sy_json_key(j, "byte");
    SY_TRY(named_columns(j, r, SY_COL_BYTE, err));
    sy_json_key(j, "token");
    SY_TRY(named_columns(j, r, SY_COL_TOKEN, err));
    sy_json_end(j, '}');
    sy_json_key(j, "routing");
    sy_json_begin(j, '[');
    bool done[MAX_LAYERS] = { false };
    for (size_t i = 0; i < r->n_column; i++) {
        int layer = r->column[i].layer;
        if (layer < 0 || layer >= MAX_LAYERS || done[layer]) continue;
        done[layer] = true;
        sy_json_begin(j, '{');
        member(j, "layer", layer);
        for (size_t k = 0; k < SY_COUNT(layered); k++) {
            const sy_column *c = sy_record_column(r, layered[k].kind, NULL, layer);
            if (!c) continue;
            sy_json_key(j, layered[k].key);
            SY_TRY(series(j, c, SIDE_POINTS, err));
        }
        sy_json_end(j, '}');
    }
    sy_json_end(j, ']');
    return SY_OK;
}

/* Exactly n numbers; what is missing is null. */
static void row_of(sy_json *j, const json_t *a, size_t n)
{
    sy_json_begin(j, '[');
    for (size_t i = 0; i < n; i++) real(j, at_index(a, i));
    sy_json_end(j, ']');
}

static const char *string_or(const json_t *s, const char *other) { return json_is_string(s) ? json_string_value(s) : other; }

static void top_tokens(sy_json *j, const json_t *all, size_t slots, size_t each)
{
    sy_json_begin(j, '[');
    for (size_t e = 0; e < slots && e < json_array_size(all); e++) {
        const json_t *list = json_array_get(all, e);
        sy_json_begin(j, '[');
        for (size_t k = 0; k < each && k < json_array_size(list); k++) {
            const json_t *t = json_array_get(list, k);
            sy_json_begin(j, '[');
            text_cut(j, string_or(json_object_get(t, "token"), ""), TOKEN_BYTES);
            real(j, at_key(t, "share"));
            real(j, at_key(t, "count"));
            sy_json_end(j, ']');
        }
        sy_json_end(j, ']');
    }
    sy_json_end(j, ']');
}

/* Experts and zero-cost experts that a layer claims; 0 where that is no size. */
static size_t slots_of(const json_t *layer, size_t *zero)
{
    double E = at_key(layer, "experts"), Z = at_key(layer, "zero");
    if (!isfinite(Z)) Z = 0;
    if (!(E >= 1 && E <= MAX_EXPERTS && Z >= 0 && Z <= MAX_EXPERTS)) return 0;
    *zero = (size_t)Z;
    return (size_t)E + (size_t)Z;
}

static void layer_json(sy_json *j, const json_t *l, size_t index, size_t n_domain, size_t n_layer)
{
    static const char *const plain[] = { "entropy", "dropped", "passed", "specialisation", "maxvio" };
    size_t zero = 0, slots = slots_of(l, &zero), each = TOP_BUDGET / (slots * n_layer);
    double number_of = at_key(l, "layer");
    sy_json_begin(j, '{');
    member(j, "layer", number_of >= 0 && number_of < 1e6 ? number_of : (double)index);
    member(j, "experts", (double)(slots - zero));
    member(j, "zero", (double)zero);
    for (size_t i = 0; i < SY_COUNT(plain); i++) member(j, plain[i], at_key(l, plain[i]));
    sy_json_key(j, "load");
    row_of(j, json_object_get(l, "load"), slots);
    sy_json_key(j, "by_domain");
    sy_json_begin(j, '[');
    const json_t *by = json_object_get(l, "by_domain"), *co = json_object_get(l, "coactivation");
    if (slots * n_layer * n_domain > MAX_CELLS) n_domain = 0;            /* sizes that only a hostile file claims */
    for (size_t d = 0; d < n_domain && json_is_array(by); d++) row_of(j, json_array_get(by, d), slots);
    sy_json_end(j, ']');
    sy_json_key(j, "coactivation");
    sy_json_begin(j, '[');
    for (size_t e = 0; e < slots && slots <= MAX_COACTIVE && e < json_array_size(co); e++) row_of(j, json_array_get(co, e), json_array_size(co) < slots ? json_array_size(co) : slots);
    sy_json_end(j, ']');
    sy_json_key(j, "top");
    top_tokens(j, json_object_get(l, "top_tokens"), slots, each < 1 ? 1 : each > TOP_TOKENS ? TOP_TOKENS : each);
    sy_json_end(j, '}');
}

/* Experts and weights of one token in one layer; ids that are no index are left out. */
static void slots_json(sy_json *j, const json_t *t)
{
    const json_t *e = json_object_get(t, "experts"), *w = json_object_get(t, "weights");
    size_t n = json_array_size(e) < MAX_SLOTS ? json_array_size(e) : MAX_SLOTS;
    sy_json_begin(j, '{');
    for (int pass = 0; pass < 2; pass++) {
        sy_json_key(j, pass ? "weights" : "experts");
        sy_json_begin(j, '[');
        for (size_t k = 0; k < n; k++) {
            double id = at_index(e, k);
            if (id >= 0 && id < 2 * MAX_EXPERTS && id == floor(id)) real(j, pass ? at_index(w, k) : id);
        }
        sy_json_end(j, ']');
    }
    sy_json_end(j, '}');
}

static void sentence_json(sy_json *j, const json_t *s)
{
    const json_t *tokens = json_object_get(s, "tokens"), *layers = json_object_get(s, "layers"), *next = json_object_get(s, "next");
    size_t n = json_array_size(tokens) < MAX_SENTENCE ? json_array_size(tokens) : MAX_SENTENCE;
    sy_json_begin(j, '{');
    sy_json_key(j, "tokens");
    sy_json_begin(j, '[');
    for (size_t t = 0; t < n; t++) text_cut(j, string_or(json_array_get(tokens, t), ""), TOKEN_BYTES);
    sy_json_end(j, ']');
    sy_json_key(j, "layers");
    sy_json_begin(j, '[');
    for (size_t l = 0; l < json_array_size(layers) && l < MAX_LAYERS; l++) {
        sy_json_begin(j, '[');
        for (size_t t = 0; t < n; t++) slots_json(j, json_array_get(json_array_get(layers, l), t));
        sy_json_end(j, ']');
    }
    sy_json_end(j, ']');
    sy_json_key(j, "next");
    sy_json_begin(j, '[');
    for (size_t t = 0; t < n; t++) {
        const json_t *list = json_array_get(next, t);
        sy_json_begin(j, '[');
        for (size_t k = 0; k < json_array_size(list) && k < MAX_NEXT; k++) {
            const json_t *c = json_array_get(list, k);
            sy_json_begin(j, '[');
            text_cut(j, string_or(json_object_get(c, "token"), ""), TOKEN_BYTES);
            real(j, at_key(c, "p"));
            sy_json_end(j, ']');
        }
        sy_json_end(j, ']');
    }
    sy_json_end(j, ']');
    sy_json_end(j, '}');
}

static void routing_json(sy_json *j, const json_t *r)
{
    const json_t *domains = json_object_get(r, "domains"), *layers = json_object_get(r, "layers"), *sentence = json_object_get(r, "sentence");
    size_t n_domain = json_array_size(domains) < MAX_DOMAINS ? json_array_size(domains) : MAX_DOMAINS;
    size_t n_layer = json_array_size(layers) < MAX_LAYERS ? json_array_size(layers) : MAX_LAYERS, zero;
    sy_json_begin(j, '{');
    sy_json_key(j, "domains");
    sy_json_begin(j, '[');
    for (size_t d = 0; d < n_domain; d++) text_cut(j, string_or(json_array_get(domains, d), "?"), TOKEN_BYTES);
    sy_json_end(j, ']');
    sy_json_key(j, "layers");
    sy_json_begin(j, '[');
    for (size_t l = 0; l < n_layer; l++)
        if (slots_of(json_array_get(layers, l), &zero)) layer_json(j, json_array_get(layers, l), l, n_domain, n_layer);
    sy_json_end(j, ']');
    sy_json_key(j, "sentence");
    if (json_is_object(sentence)) sentence_json(j, sentence);
    else sy_json_null(j);
    sy_json_end(j, '}');
}

static void any_json(sy_json *j, const json_t *v)
{
    const char *key;
    json_t *part, *of = (json_t *)v;
    size_t i;
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        sy_json_begin(j, '{');
        json_object_foreach(of, key, part) { sy_json_key(j, key); any_json(j, part); }
        sy_json_end(j, '}');
        break;
    case JSON_ARRAY:
        sy_json_begin(j, '[');
        json_array_foreach(of, i, part) any_json(j, part);
        sy_json_end(j, ']');
        break;
    case JSON_STRING:  sy_json_text(j, json_string_value(v)); break;
    case JSON_INTEGER: sy_json_int(j, (long long)json_integer_value(v)); break;
    case JSON_REAL:    sy_json_real(j, json_real_value(v)); break;
    case JSON_TRUE:    sy_json_bool(j, true); break;
    case JSON_FALSE:   sy_json_bool(j, false); break;
    case JSON_NULL:    sy_json_null(j); break;
    }
}

/* The newest samples, and earlier ones at equal distances. */
static void samples_json(sy_json *j, const sy_record *r)
{
    size_t n = r->n_sample, show = n < MAX_SAMPLES ? n : MAX_SAMPLES;
    sy_json_begin(j, '[');
    for (size_t k = 0; k < show; k++) {
        const sy_record_sample *s = &r->sample[show < 2 ? n - 1 : k * (n - 1) / (show - 1)];
        sy_json_begin(j, '{');
        sy_json_key(j, "step");
        sy_json_int(j, s->step);
        sy_json_key(j, "prompt");
        text_cut(j, s->prompt, SAMPLE_BYTES);
        sy_json_key(j, "text");
        bool cut = text_cut(j, s->text, SAMPLE_BYTES);
        sy_json_key(j, "cut");
        sy_json_bool(j, cut);
        sy_json_end(j, '}');
    }
    sy_json_end(j, ']');
}

static sy_status run_json(sy_json *j, const sheet *s, int i, sy_err *err)
{
    const sy_record *r = &s->runs[i];
    sy_json_begin(j, '{');
    sy_json_key(j, "name");
    sy_json_text(j, s->label[i]);
    sy_json_key(j, "sparse");
    sy_json_bool(j, sy_record_is_sparse(r));
    member(j, "seconds", sy_record_seconds(r));
    member(j, "step", step_of(r) < 0 ? NAN : (double)step_of(r));
    member(j, "steps_total", sy_record_number(r, "derived", "steps"));
    SY_TRY(curves(j, r, err));
    sy_json_key(j, "final");
    if (r->routing) routing_json(j, r->routing);
    else sy_json_null(j);
    sy_json_key(j, "samples");
    samples_json(j, r);
    sy_json_key(j, "config");
    size_t before = j->b->n;
    sy_json at = *j;
    if (r->config) any_json(j, r->config);
    else sy_json_null(j);
    if (!j->b->failed && j->b->n - before > CONFIG_BYTES) {  /* no run of ours has so long a config */
        j->b->n = before;
        *j = at;
        sy_json_null(j);
    }
    sy_json_end(j, '}');
    return j->b->failed ? sy_fail(err, SY_ENOMEM, "no memory left for the report") : SY_OK;
}

static sy_status data_json(const sheet *s, sy_buf *o, sy_err *err)
{
    sy_json j;
    sy_status st = SY_OK;
    sy_json_open(&j, o, 0);
    sy_json_begin(&j, '{');
    member(&j, "baseline", s->base);
    sy_json_key(&j, "runs");
    sy_json_begin(&j, '[');
    for (int i = 0; i < s->n && st == SY_OK; i++) st = run_json(&j, s, i, err);
    sy_json_end(&j, ']');
    sy_json_end(&j, '}');
    return st == SY_OK && o->failed ? sy_fail(err, SY_ENOMEM, "no memory left for the report") : st;
}

sy_status sy_report_json(const sy_record *runs, int n, sy_buf *o, sy_err *err)
{
    sheet s = { 0 };
    sy_status st = sheet_open(&s, runs, n, err);
    if (st == SY_OK) st = data_json(&s, o, err);
    sheet_close(&s);
    return st;
}

static sy_status embed_data(const sheet *s, sy_buf *o, sy_err *err)
{
    sy_buf raw = { 0 };
    sy_status st = data_json(s, &raw, err);
    if (st == SY_OK) script_safe(o, raw.data, raw.n);
    sy_buf_free(&raw);
    return st;
}

/* --- the page ------------------------------------------------------------------------------------------------------- */

static sy_status fill(const sheet *s, const char *name, size_t n, sy_buf *o, sy_err *err)
{
    static const struct { const char *name; void (*write)(const sheet *s, sy_buf *o); } parts[] = {
        { "title", title_html }, { "verdict", verdict_html }, { "facts", facts_html }, { "notes", notes_html }, { "table", table_html } };
    for (size_t i = 0; i < SY_COUNT(parts); i++)
        if (n == strlen(parts[i].name) && !memcmp(name, parts[i].name, n)) { parts[i].write(s, o); return SY_OK; }
    if (n == 3 && !memcmp(name, "css", 3)) sy_buf_text(o, sy__report_css);
    else if (n == 2 && !memcmp(name, "js", 2)) sy_buf_text(o, sy__report_js);
    else if (n == 4 && !memcmp(name, "data", 4)) return embed_data(s, o, err);
    return SY_OK;
}

sy_status sy_report_html(const sy_record *runs, int n, sy_buf *out, sy_err *err)
{
    sheet s = { 0 };
    sy_status st = sheet_open(&s, runs, n, err);
    for (const char *p = sy__report_html; st == SY_OK && *p;) {        /* @@name@@ in the template is filled in */
        const char *at = strstr(p, "@@"), *end = at ? strstr(at + 2, "@@") : NULL;
        if (!end) { sy_buf_text(out, p); break; }
        sy_buf_put(out, p, (size_t)(at - p));
        st = fill(&s, at + 2, (size_t)(end - at - 2), out, err);
        p = end + 2;
    }
    sheet_close(&s);
    return st == SY_OK && out->failed ? sy_fail(err, SY_ENOMEM, "no memory left for the report") : st;
}

/* --- the table for terminals ---------------------------------------------------------------------------------------- */

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
        if (len < 0 || is_unseen(c)) sy_buf_text(o, "\xEF\xBF\xBD");
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

static void text_table(const sheet *s, sy_buf *o)
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
        double base = loss_of(s, s->base, s->domain[d], s->bytes);
        sy_buf_text(o, "| ");
        padded(o, s->domain[d], first, false);
        sy_buf_text(o, " |");
        for (int i = 0; i < s->n; i++) figure(o, "%.4f", loss_of(s, i, s->domain[d], s->bytes), width[i]);
        for (int i = 0; i < s->n; i++) {
            if (i == s->base) continue;
            double diff = loss_of(s, i, s->domain[d], s->bytes) - base;
            figure(o, "%+.4f", diff, 10);
            figure(o, "%+.2f", 100 * diff / fabs(base), 7);
        }
        sy_buf_text(o, "\n");
    }
}

sy_status sy_report_text(const sy_record *runs, int n, sy_buf *o, sy_err *err)
{
    sheet s = { 0 };
    verdict v;
    sy_status st = sheet_open(&s, runs, n, err);
    if (st == SY_OK && s.n_domain) {
        sy_buf_printf(o, "Held-out loss, %s, at the last evaluation:\n\n", unit_of(&s));
        text_table(&s, o);
    } else if (st == SY_OK) sy_buf_text(o, "No evaluation on held-out text was found.\n");
    for (int i = 0; st == SY_OK && n > 1 && i < n; i++) {
        if (i == s.base) continue;
        sy_buf_text(o, "\n");
        padded(o, s.label[i], 0, false);
        if (!judge(&s, i, &v)) { sy_buf_text(o, " cannot be compared: it or the baseline has no held-out loss.\n"); continue; }
        if (v.diff) sy_buf_printf(o, " is %.4f %s (%.2f %%) %s ", fabs(v.diff), unit_of(&s), 100 * fabs(v.diff) / fabs(v.base), v.diff < 0 ? "below" : "above");
        else sy_buf_text(o, " is equal to ");
        padded(o, s.label[s.base], 0, false);
        if (v.domains) sy_buf_printf(o, ", lower in %d of %d domains", v.lower, v.domains);
        sy_buf_text(o, "; ");
        basis(&s, i, o);
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
    sheet_close(&s);
    return st == SY_OK && o->failed ? sy_fail(err, SY_ENOMEM, "no memory left for the report") : st;
}
