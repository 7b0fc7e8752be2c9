/* report/report.c - the page: its text and main table are written here as HTML; all else goes into it as JSON (report/data.c) and is drawn by
 * report.js. Nothing of a run's text reaches the page unescaped. */
#include <math.h>
#include <stdio.h>

#include "core/utf8.h"
#include "report/page.h"
#include "report/sheet.h"

/* --- HTML ----------------------------------------------------------------------------------------------------------- */

/* JSON inside a script element: outside of strings none of these characters stands, so escaping them all keeps the value. */
static void script_safe(sy_buf *o, const char *json, size_t n)
{
    size_t from = 0;
    for (size_t i = 0; i < n;) {
        uint32_t c;
        int len = sy_utf8_next(json + i, n - i, &c);
        bool escape = c == '<' || c == '>' || c == '&' || (c > 0x20 && sy__is_unseen(c));
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

static void cell(sy_buf *o, const char *class, const char *fmt, double v)
{
    sy_buf_printf(o, "<td class=\"num%s\">", class);
    sy__number(o, fmt, v);
    sy_buf_text(o, "</td>");
}

static void title_html(const sy__sheet *s, sy_buf *o)
{
    for (int i = 0; i < s->n; i++) {
        if (i) sy_buf_text(o, s->n == 2 ? " against " : i == s->n - 1 ? " and " : ", ");
        sy__html(o, s->label[s->n == 2 ? (i ? s->base : 1 - s->base) : i]);
    }
}

/* What was analysed, of a model without a run. */
static void analysed_html(const sy__sheet *s, int i, sy_buf *o)
{
    const json_t *a = s->runs[i].analysis;
    size_t domains = json_array_size(json_object_get(a, "domains")), languages = json_array_size(json_object_get(json_object_get(a, "languages"), "names"));
    double tokens = sy__at_key(a, "tokens");
    char b[32];
    sy_buf_text(o, "<p class=\"verdict\">The routes of ");
    sy__html(o, s->label[i]);
    if (isfinite(tokens)) sy_buf_printf(o, " over %s tokens of %zu domain%s", sy__si(tokens, b), domains, domains == 1 ? "" : "s");
    if (languages) sy_buf_printf(o, "%s %zu languages", isfinite(tokens) ? ", and of" : " over", languages);
    sy_buf_text(o, ".</p>\n");
}

static void verdict_html(const sy__sheet *s, sy_buf *o)
{
    sy__verdict v;
    char b[32];
    int compared = 0;
    for (int i = 0; i < s->n; i++) {
        if (sy_record_is_analysis(&s->runs[i])) { analysed_html(s, i, o); continue; }
        if (s->n > 1 && i == s->base) continue;
        if (!sy__judge(s, i, &v)) {
            sy_buf_text(o, "<p class=\"verdict\">");
            sy__html(o, s->label[i]);
            sy_buf_text(o, s->n > 1 ? " cannot be compared: it or the baseline has no held-out loss yet.</p>\n" : " has no held-out loss yet.</p>\n");
            continue;
        }
        if (s->n == 1) {
            sy_buf_printf(o, "<p class=\"verdict\">Held-out loss <strong>%.3f %s</strong>", v.loss, sy__unit_of(s));
            if (s->bytes) sy_buf_printf(o, " (%.3f bits)", v.loss / M_LN2);
            if (isfinite(sy__tokens_of(s, 0))) sy_buf_printf(o, " after %s tokens", sy__si(sy__tokens_of(s, 0), b));
            sy_buf_text(o, ".</p>\n");
            continue;
        }
        sy_buf_text(o, "<p class=\"verdict\"><strong>");
        sy__html(o, s->label[i]);
        sy_buf_printf(o, "</strong> reaches %.3f %s on held-out text, <strong>", v.loss, sy__unit_of(s));
        if (v.diff) {
            sy_buf_printf(o, "%.3f (", fabs(v.diff));
            sy__number(o, "%.1f", 100 * fabs(v.diff) / fabs(v.base));
            sy_buf_printf(o, " %%) %s</strong> ", v.diff < 0 ? "below" : "above");
        } else sy_buf_text(o, "the same as</strong> ");
        sy__html(o, s->label[s->base]);
        if (v.domains) sy_buf_printf(o, "; lower in %d of %d domains", v.lower, v.domains);
        sy_buf_text(o, ".</p>\n<p class=\"basis\">Basis: ");
        sy__basis(s, i, o);
        sy_buf_text(o, ".</p>\n");
        compared++;
    }
    if (compared) sy_buf_text(o, "<p class=\"basis\">One run each: only more seeds can tell whether a difference is more than chance.</p>\n");
}

static void tile(sy_buf *o, const char *name, const char *value, const char *small)
{
    sy_buf_printf(o, "<div><dt>%s</dt><dd>", name);
    sy__html(o, value);
    if (small && *small) {
        sy_buf_text(o, "<small>");
        sy__html(o, small);
        sy_buf_text(o, "</small>");
    }
    sy_buf_text(o, "</dd></div>\n");
}

/* Facts of a single run. */
static void facts_html(const sy__sheet *s, sy_buf *o)
{
    const sy_record *r = &s->runs[0];
    char a[32], b[64], c[32];
    double total = sy_record_number(r, "derived", "parameters"), active = sy_record_number(r, "derived", "active_parameters"), flops = sy_record_number(r, "derived", "flops_per_token");
    double seconds = sy_record_seconds(r), tokens = sy__tokens_of(s, 0);
    double seed = sy_record_number(r, "train", "seed");
    const char *version = json_string_value(json_object_get(r->config, "switchyard")), *commit = json_string_value(json_object_get(r->config, "commit"));
    if (s->n > 1) return;
    sy_buf_text(o, "<dl class=\"tiles\">\n");
    if (isfinite(total)) {
        snprintf(b, sizeof b, "%s active", sy__si(active, c));
        tile(o, "Parameters", sy__si(total, a), isfinite(active) && active != total ? b : "all active");
    }
    if (isfinite(flops)) tile(o, "Work per token", strcat(strcpy(b, sy__si(flops, a)), "FLOP"), NULL);
    if (isfinite(tokens)) {
        snprintf(b, sizeof b, "%lld steps", (long long)sy__step_of(r));
        tile(o, "Tokens trained", sy__si(tokens, a), b);
    }
    if (isfinite(seconds) && seconds > 0) {
        snprintf(b, sizeof b, "%s tokens/s", sy__si(tokens / seconds, c));
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

static void notes_html(const sy__sheet *s, sy_buf *o)
{
    size_t n = 0;
    for (int i = 0; i < s->n; i++) n += s->runs[i].n_note;
    if (!n) return;
    sy_buf_text(o, "<div class=\"warn\" role=\"note\" aria-label=\"What could not be read\"><ul>\n");
    for (int i = 0; i < s->n; i++)
        for (size_t k = 0; k < s->runs[i].n_note; k++) {
            sy_buf_text(o, "<li>");
            if (s->n > 1) { sy__html(o, s->label[i]); sy_buf_text(o, ": "); }
            sy__html(o, s->runs[i].note[k]);
            sy_buf_text(o, "</li>\n");
        }
    sy_buf_text(o, "</ul></div>\n");
}

static void row_begin(sy_buf *o, const char *domain)
{
    sy_buf_printf(o, "<tr%s><th scope=\"row\">", sy__is_all(domain) ? " class=\"sum\"" : "");
    sy__html(o, domain);
    sy_buf_text(o, "</th>");
}

/* One run: every unit in a column. */
static void table_one(const sy__sheet *s, sy_buf *o)
{
    sy_buf_text(o, "<div class=\"wide\"><table class=\"data\"><caption><span>At the last evaluation, over the whole held-out text.</span></caption>\n<thead><tr><th scope=\"col\">Domain</th>");
    if (s->bytes) sy_buf_text(o, "<th scope=\"col\" class=\"num\">Nats per byte</th><th scope=\"col\" class=\"num\">Bits per byte</th>");
    sy_buf_text(o, "<th scope=\"col\" class=\"num\">Nats per token</th><th scope=\"col\" class=\"num\">Perplexity per token</th></tr></thead>\n<tbody>\n");
    for (size_t d = 0; d < s->n_domain; d++) {
        double byte = sy__loss_of(s, 0, s->domain[d], true), token = sy__loss_of(s, 0, s->domain[d], false);
        row_begin(o, s->domain[d]);
        if (s->bytes) { cell(o, "", "%.3f", byte); cell(o, "", "%.3f", byte / M_LN2); }
        cell(o, "", "%.3f", token);
        cell(o, "", exp(token) < 100 ? "%.2f" : "%.0f", exp(token));
        sy_buf_text(o, "</tr>\n");
    }
    sy_buf_text(o, "</tbody></table></div>\n");
}

/* Several runs: a column each, and the difference to the baseline. */
static void table_many(const sy__sheet *s, bool bytes, sy_buf *o)
{
    sy_buf_printf(o, "<div class=\"wide\"><table class=\"data\"><caption><span>%s at the last evaluation, over the whole held-out text; the lowest of a row is bold. Differences are against ", bytes ? "Nats per byte" : "Nats per token");
    sy__html(o, s->label[s->base]);
    sy_buf_text(o, ".</span></caption>\n<thead><tr><th scope=\"col\">Domain</th>");
    for (int i = 0; i < s->n; i++) {
        sy_buf_text(o, "<th scope=\"col\" class=\"num\">");
        sy__html(o, s->label[i]);
        sy_buf_text(o, "</th>");
    }
    for (int i = 0; i < s->n; i++) {
        if (i == s->base) continue;
        sy_buf_text(o, "<th scope=\"col\" class=\"num\">");
        if (s->n > 2) sy__html(o, s->label[i]);
        sy_buf_text(o, s->n > 2 ? ", difference</th><th scope=\"col\" class=\"num\">%</th>" : "Difference</th><th scope=\"col\" class=\"num\">%</th>");
    }
    sy_buf_text(o, "</tr></thead>\n<tbody>\n");
    for (size_t d = 0; d < s->n_domain; d++) {
        double v[SY_REPORT_RUNS], least = INFINITY;
        for (int i = 0; i < s->n; i++)
            if ((v[i] = sy__loss_of(s, i, s->domain[d], bytes)) < least) least = v[i];
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

static void table_html(const sy__sheet *s, sy_buf *o)
{
    bool losses = false;
    for (int i = 0; i < s->n; i++) losses = losses || !sy_record_is_analysis(&s->runs[i]);
    if (!losses) return;
    if (!s->n_domain) { sy_buf_text(o, "<p class=\"note\">No evaluation on held-out text was found.</p>\n"); return; }
    if (s->n == 1) { table_one(s, o); return; }
    table_many(s, s->bytes, o);
    if (!s->bytes) return;
    sy_buf_text(o, "<details><summary>In nats per token</summary>\n");
    table_many(s, false, o);
    sy_buf_text(o, "</details>\n");
}

/* --- the page ------------------------------------------------------------------------------------------------------- */

static sy_status embed_data(const sy__sheet *s, sy_buf *o, sy_err *err)
{
    sy_buf raw = { 0 };
    sy_status st = sy__sheet_json(s, &raw, err);
    if (st == SY_OK) script_safe(o, raw.data, raw.n);
    sy_buf_free(&raw);
    return st;
}

static sy_status fill(const sy__sheet *s, const char *name, size_t n, sy_buf *o, sy_err *err)
{
    static const struct { const char *name; void (*write)(const sy__sheet *s, sy_buf *o); } parts[] = {
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
    sy__sheet s = { 0 };
    sy_status st = sy__sheet_open(&s, runs, n, err);
    for (const char *p = sy__report_html; st == SY_OK && *p;) {        /* @@name@@ in the template is filled in */
        const char *at = strstr(p, "@@"), *end = at ? strstr(at + 2, "@@") : NULL;
        if (!end) { sy_buf_text(out, p); break; }
        sy_buf_put(out, p, (size_t)(at - p));
        st = fill(&s, at + 2, (size_t)(end - at - 2), out, err);
        p = end + 2;
    }
    sy__sheet_close(&s);
    return st == SY_OK && out->failed ? sy_fail(err, SY_ENOMEM, "no memory left for the report") : st;
}
