/* cli/describe.c - walking the tables of methods and options. */
#include "cli/describe.h"

#include <string.h>

#include "core/json.h"

/* "default 2, 1 .. 1024" */
static char *range(const sy_opt *row, char *buf, size_t size)
{
    double d = row->def;
    switch (row->type) {
    case SY_OPT_BOOL: snprintf(buf, size, "%s", d != 0 ? "true" : "false"); break;
    case SY_OPT_ENUM: {
        const char *w = row->text;
        for (int i = (int)d; i > 0; i--) w += strcspn(w, "|") + 1;
        snprintf(buf, size, "%.*s; one of %s", (int)strcspn(w, "|"), w, row->text);
        break;
    }
    case SY_OPT_TEXT: snprintf(buf, size, "%s", row->text && *row->text ? row->text : "empty"); break;
    default: snprintf(buf, size, "%g; %g .. %g", d, row->lo, row->hi); break;
    }
    return buf;
}

struct to { FILE *f; const char *indent; };

static void option_line(const sy_opt *row, size_t at, int index, void *arg)
{
    (void)at, (void)index;
    struct to *t = arg;
    char left[96], r[256];
    snprintf(left, sizeof left, "%s%s%s%s", row->name, row->alias ? " (" : "", row->alias ? row->alias : "", row->alias ? ")" : "");
    fprintf(t->f, "%s%-34s %s [%s]\n", t->indent, left, row->help, range(row, r, sizeof r));
}

void sy_describe_options(FILE *to, const sy_opt *rows, const char *indent)
{
    struct to t = { to, indent };
    sy_opt_each(rows, option_line, &t);
}

void sy_describe_list(FILE *to, const sy_methods *m, sy_kind only)
{
    static const char *const what[] = {
#define X(name, word, text) text,
        SY_KIND_LIST(X)
#undef X
    };
    for (int k = 0; k < SY_KINDS; k++) {
        bool first = true;
        if (only != SY_KINDS && (int)only != k) continue;
        for (const sy_method *const *l = m->list; *l; l++) {
            if ((int)(*l)->kind != k) continue;
            if (first) fprintf(to, "%s: %s\n", sy_kind_word((sy_kind)k), what[k]);
            first = false;
            fprintf(to, "  %-14s %s%s%s%s\n", (*l)->name, (*l)->summary ? (*l)->summary : (*l)->title, (*l)->paper ? " (" : "", (*l)->paper ? (*l)->paper : "", (*l)->paper ? ")" : "");
        }
        for (const sy_preset *p = m->presets; p && p->name; p++)
            if ((int)p->kind == k) fprintf(to, "  %-14s preset of %s:%s (%s)\n", p->name, p->method, p->values, p->paper);
    }
}

void sy_describe_method(FILE *to, const sy_methods *m, const sy_method *x)
{
    fprintf(to, "%s %s: %s\n\n%s\n", sy_kind_word(x->kind), x->name, x->title, x->summary ? x->summary : "");
    if (x->paper) fprintf(to, "\npaper    %s\n", x->paper);
    if (x->neutral) fprintf(to, "neutral  %s  (then it equals its base bit for bit)\n", x->neutral);
    fprintf(to, "\noptions\n");
    if (x->opts) sy_describe_options(to, x->opts, "  ");
    else fprintf(to, "  none\n");
    bool first = true;
    for (const sy_preset *p = m->presets; p && p->name; p++)
        if (p->kind == x->kind && !strcmp(p->method, x->name)) {
            if (first) fprintf(to, "\npresets\n");
            first = false;
            fprintf(to, "  %-12s %s  (%s)\n", p->name, p->values, p->paper);
        }
}

static void option_row(const sy_opt *row, size_t at, int index, void *arg)
{
    (void)at, (void)index;
    char r[256];
    FILE *to = arg;
    range(row, r, sizeof r);
    fprintf(to, "| `%s` | %s%s%s | ", row->name, row->alias ? "`" : "", row->alias ? row->alias : "", row->alias ? "`" : "");
    for (const char *c = r; *c; c++) fprintf(to, *c == '|' ? "\\|" : "%c", *c);
    fprintf(to, " | %s |\n", row->help);
}

void sy_describe_markdown(FILE *to, const sy_methods *m)
{
    fprintf(to, "# Methods\n\nMade by `switchyard methods --markdown` from the tables in the sources; do not edit.\n");
    for (int k = 0; k < SY_KINDS; k++) {
        bool first = true;
        for (const sy_method *const *l = m->list; *l; l++) {
            if ((int)(*l)->kind != k) continue;
            if (first) fprintf(to, "\n## Kind: %s\n", sy_kind_word((sy_kind)k));
            first = false;
            fprintf(to, "\n### %s\n\n%s%s%s%s\n", (*l)->name, (*l)->title, (*l)->paper ? ", " : "", (*l)->paper ? (*l)->paper : "", ".");
            if ((*l)->summary) fprintf(to, "\n%s\n", (*l)->summary);
            if ((*l)->neutral) fprintf(to, "\nNeutral setting: `%s`.\n", (*l)->neutral);
            if (!(*l)->opts) continue;
            fprintf(to, "\n| option | other name | default; range | meaning |\n|---|---|---|---|\n");
            sy_opt_each((*l)->opts, option_row, to);
        }
        first = true;
        for (const sy_preset *p = m->presets; p && p->name; p++) {
            if ((int)p->kind != k) continue;
            if (first) fprintf(to, "\n### Presets of kind %s\n\n| preset | is | paper |\n|---|---|---|\n", sy_kind_word((sy_kind)k));
            first = false;
            fprintf(to, "| `%s` | `%s:%s` | %s |\n", p->name, p->method, p->values, p->paper);
        }
    }
}

static void option_json(const sy_opt *row, size_t at, int index, void *arg)
{
    (void)at, (void)index;
    sy_json *j = arg;
    char r[256];
    sy_json_begin(j, '{');
    sy_json_key(j, "name"), sy_json_text(j, row->name);
    if (row->alias) sy_json_key(j, "alias"), sy_json_text(j, row->alias);
    sy_json_key(j, "default"), sy_json_text(j, range(row, r, sizeof r));
    sy_json_key(j, "help"), sy_json_text(j, row->help);
    sy_json_end(j, '}');
}

sy_status sy_describe_json(FILE *to, const sy_methods *m, sy_kind only, sy_err *err)
{
    sy_buf b = { 0 };
    sy_json j;
    sy_json_open(&j, &b, 2);
    sy_json_begin(&j, '[');
    for (const sy_method *const *l = m->list; *l; l++) {
        if (only != SY_KINDS && (*l)->kind != only) continue;
        sy_json_begin(&j, '{');
        sy_json_key(&j, "kind"), sy_json_text(&j, sy_kind_word((*l)->kind));
        sy_json_key(&j, "name"), sy_json_text(&j, (*l)->name);
        sy_json_key(&j, "title"), sy_json_text(&j, (*l)->title);
        sy_json_key(&j, "paper"), sy_json_text(&j, (*l)->paper);
        sy_json_key(&j, "summary"), sy_json_text(&j, (*l)->summary);
        sy_json_key(&j, "options");
        sy_json_begin(&j, '[');
        sy_opt_each((*l)->opts, option_json, &j);
        sy_json_end(&j, ']');
        sy_json_end(&j, '}');
    }
    sy_json_end(&j, ']');
    bool failed = b.failed;
    if (!failed) fprintf(to, "%s\n", b.data);
    sy_buf_free(&b);
    return failed ? sy_fail(err, SY_ENOMEM, "no memory for the list of methods") : SY_OK;
}
