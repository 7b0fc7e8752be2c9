/* report/sheet.c - what several runs are compared by. */
#include "report/sheet.h"

#include <math.h>
#include <stdio.h>

#include "core/alloc.h"

static sy_status find_domains(sy__sheet *s, sy_err *err)
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
            if (sy__is_all(c->name)) all = true;
            else if (!known) s->domain[s->n_domain++] = c->name;
        }
    if (all) s->domain[s->n_domain++] = "all";
    return SY_OK;
}

sy_status sy__sheet_open(sy__sheet *s, const sy_record *runs, int n, sy_err *err)
{
    *s = (sy__sheet){ .runs = runs, .n = n };
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

void sy__sheet_close(sy__sheet *s) { sy_free(s->domain); }

double sy__loss_of(const sy__sheet *s, int run, const char *domain, bool bytes)
{
    return sy_record_heldout(&s->runs[run], bytes ? SY_COL_BYTE : SY_COL_TOKEN, domain);
}

bool sy__judge(const sy__sheet *s, int i, sy__verdict *v)
{
    *v = (sy__verdict){ sy__loss_of(s, i, "all", s->bytes), sy__loss_of(s, s->base, "all", s->bytes), 0, 0, 0 };
    v->diff = v->loss - v->base;
    for (size_t d = 0; d < s->n_domain; d++) {
        if (sy__is_all(s->domain[d])) continue;
        double a = sy__loss_of(s, i, s->domain[d], s->bytes), b = sy__loss_of(s, s->base, s->domain[d], s->bytes);
        if (!isfinite(a) || !isfinite(b)) continue;
        v->domains++;
        v->lower += a < b;
    }
    return isfinite(v->diff);
}

const char *sy__unit_of(const sy__sheet *s) { return s->bytes ? "nats per byte" : "nats per token"; }

const char *sy__si(double v, char buf[32])
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

double sy__tokens_of(const sy__sheet *s, int i) { return sy_column_last(sy_record_column(&s->runs[i], SY_COL_TOKENS, NULL, -1), NULL); }

int64_t sy__step_of(const sy_record *r)
{
    int64_t most = -1;
    for (size_t i = 0; i < r->n_column; i++)
        if (r->column[i].n && r->column[i].step[r->column[i].n - 1] > most) most = r->column[i].step[r->column[i].n - 1];
    return most;
}

void sy__basis(const sy__sheet *s, int i, sy_buf *o)
{
    char a[32], b[32];
    struct { const char *what; double run, base; } spent[] = {
        { "active parameters", sy_record_number(&s->runs[i], "derived", "active_parameters"), sy_record_number(&s->runs[s->base], "derived", "active_parameters") },
        { "tokens", sy__tokens_of(s, i), sy__tokens_of(s, s->base) } };
    for (size_t k = 0; k < SY_COUNT(spent); k++) {
        double x = spent[k].run, y = spent[k].base;
        sy_buf_text(o, k ? ", " : "");
        if (!isfinite(x) || !isfinite(y)) sy_buf_printf(o, "%s unknown", spent[k].what);
        else if (fabs(x - y) <= 0.01 * fabs(y)) sy_buf_printf(o, "equal %s (%s)", spent[k].what, sy__si(y, b));
        else sy_buf_printf(o, "unequal %s (%s against %s)", spent[k].what, sy__si(x, a), sy__si(y, b));
    }
}

bool sy__is_unseen(uint32_t c)
{
    return c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0xAD || c == 0x61C || (c >= 0x200B && c <= 0x200F) || (c >= 0x2028 && c <= 0x202E)
        || (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF || (c >= 0xFFF9 && c <= 0xFFFB) || (c >= 0xE0000 && c <= 0xE007F);
}
