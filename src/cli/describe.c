/* cli/describe.c - walking the tables of methods and options. */
#include "cli/describe.h"

#include <string.h>

#include "core/json.h"
#include "experiments/experiment.h"
#include "route/router.h"

char *sy_describe_range(const sy_opt *row, char *buf, size_t size)
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
    case SY_OPT_INT: snprintf(buf, size, "%.0f; %.0f .. %.0f", d, row->lo, row->hi); break;
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
    fprintf(t->f, "%s%-34s %s [%s]\n", t->indent, left, row->help, sy_describe_range(row, r, sizeof r));
}

void sy_describe_options(FILE *to, const sy_opt *rows, const char *indent)
{
    struct to t = { to, indent };
    sy_opt_each(rows, option_line, &t);
}

static const char *const kind_text[] = {
#define X(name, word, text) text,
    SY_KIND_LIST(X)
#undef X
};

void sy_describe_list(FILE *to, const sy_methods *m, sy_kind only)
{
    for (int k = 0; k < SY_KINDS; k++) {
        bool first = true;
        if (only != SY_KINDS && (int)only != k) continue;
        for (const sy_method *const *l = m->list; *l; l++) {
            if ((int)(*l)->kind != k) continue;
            if (first) fprintf(to, "%s: %s\n", sy_kind_word((sy_kind)k), kind_text[k]);
            first = false;
            fprintf(to, "  %-14s %s%s%s%s\n", (*l)->name, (*l)->summary ? (*l)->summary : (*l)->title, (*l)->paper ? " (" : "", (*l)->paper ? (*l)->paper : "", (*l)->paper ? ")" : "");
        }
        for (const sy_preset *p = m->presets; p && p->name; p++)
            if ((int)p->kind == k) fprintf(to, "  %-14s preset of %s:%s (%s)\n", p->name, p->method, p->values, p->paper);
    }
}

/* A label in 9 columns, then text broken at blanks so that no line is longer than 110. */
static void labelled(FILE *to, const char *label, const char *text)
{
    enum { LEFT = 9, RIGHT = 110 };
    int at = LEFT;
    fprintf(to, "%-*s", LEFT, label);
    for (const char *p = text; *p; ) {
        int n = (int)strcspn(p, " ");
        if (at > LEFT && at + 1 + n > RIGHT) fprintf(to, "\n%*s", LEFT, ""), at = LEFT;
        at += fprintf(to, "%s%.*s", at > LEFT ? " " : "", n, p);
        p += n;
        p += strspn(p, " ");
    }
    fputc('\n', to);
}

/* --- what a method declares ---------------------------------------------------------------------- */

static const struct { unsigned flag; const char *text; } flag_text[] = {
    { SY_COUPLES, "couples tokens: the route of a token depends on others in the batch" },
    { SY_PEEKS, "peeks: on later tokens, too; held-out loss is taken in serving mode" },
    { SY_NOSERVE, "has no causal form: cannot serve" },
    { SY_NOLOGITS, "has no logits" },
    { SY_NOPROBS, "has no distribution over experts" },
    { SY_MIXES, "mixes tokens instead of routing them" },
    { SY_NEEDCOUNT, "needs a counting pass before each step" },
    { SY_NEEDLOGITS, "reads the router's logits" },
    { SY_NEEDPROBS, "reads the router's distribution" },
    { SY_RESTS, "experts without a row in a step rest: values and moments keep their bits" },
    { SY_ZEROCOST, "may stand as a zero-cost expert" },
};

/* The flags that a method declares at these options; kinds without hooks of the sparse block declare none. */
static unsigned declared(const sy_method *x, const void *state)
{
    unsigned flags = 0, (*more)(const void *) = NULL;
    switch (x->kind) {
#define FLAGS(type) do { const type *h = x->hooks; flags = h->flags; more = h->declares; } while (0)
    case SY_ROUTER: FLAGS(sy_router_hooks); break;
    case SY_EDIT: FLAGS(sy_edit_hooks); if (((const sy_edit_hooks *)x->hooks)->logits) flags |= SY_NEEDLOGITS; break;
    case SY_BALANCE: FLAGS(sy_balance_hooks); break;
    case SY_EXPERT: FLAGS(sy_expert_hooks); break;
#undef FLAGS
    default: return 0;
    }
    return flags | (more ? more(state) : 0);
}

/* A command line with `--balance` before each of the terms. */
static void with_terms(FILE *to, const char *terms)
{
    for (const char *p = terms; p && *p; p += strspn(p, " ")) {
        int n = (int)strcspn(p, " ");
        fprintf(to, " --balance %.*s", n, p);
        p += n;
    }
}

static bool goes_with(const sy_preset *p) { return p->with && *p->with; }

static void describe_preset(FILE *to, const sy_preset *p)
{
    fprintf(to, "%s %s: preset of %s\n\nis       %s:%s\n", sy_kind_word(p->kind), p->name, p->method, p->method, p->values);
    if (goes_with(p)) fprintf(to, "with    "), with_terms(to, p->with), fprintf(to, "  (as in the paper; a preset sets the router alone)\n");
    fprintf(to, "paper    %s\n\nexample\n  switchyard train --recipe lm-tiny --data text --set num_experts=64 --%s %s", p->paper, sy_kind_word(p->kind), p->name);
    with_terms(to, p->with);
    fprintf(to, " --out run\n\nWhat it sets:\n\n");
}

void sy_describe_method(FILE *to, const sy_methods *m, const sy_method *x, const sy_preset *preset)
{
    if (preset) describe_preset(to, preset);
    fprintf(to, "%s %s: %s\n\n%s\n", sy_kind_word(x->kind), x->name, x->title, x->summary ? x->summary : "");
    if (x->when || x->cost || x->paper || x->neutral) fputc('\n', to);
    if (x->when) labelled(to, "when", x->when);
    if (x->cost) labelled(to, "cost", x->cost);
    if (x->paper) fprintf(to, "paper    %s\n", x->paper);
    if (x->neutral) fprintf(to, "neutral  %s  (then it equals its base bit for bit)\n", x->neutral);
    sy_arena a = { 0 };
    const sy_method *same;
    void *state = NULL;
    if (sy_method_make(m, x->kind, x->name, &a, &same, &state, NULL) == SY_OK)
        for (size_t i = 0; i < SY_COUNT(flag_text); i++) if (declared(x, state) & flag_text[i].flag) labelled(to, "declares", flag_text[i].text);
    sy_arena_free(&a);
    fprintf(to, "\noptions\n");
    if (x->opts) sy_describe_options(to, x->opts, "  ");
    else fprintf(to, "  none\n");
    bool first = true;
    for (const sy_preset *p = m->presets; p && p->name; p++)
        if (p->kind == x->kind && !strcmp(p->method, x->name)) {
            if (first) fprintf(to, "\npresets\n");
            first = false;
            fprintf(to, "  %-12s %s  (%s)\n", p->name, p->values, p->paper);
            if (goes_with(p)) fprintf(to, "  %-12s with", ""), with_terms(to, p->with), fputc('\n', to);
        }
    if (x->example) fprintf(to, "\nexample\n  %s\n", x->example);
    for (const sy_experiment *e = sy_experiments; e->key; e++)
        if (!strcmp(e->key, x->name) && x->kind != SY_BALANCE) fprintf(to, "  switchyard reproduce %s   (%s; docs/results/%s.md)\n", e->key, e->title, e->key);
}

struct declares { FILE *to; const sy_methods *m; const sy_method *x; sy_arena *a; unsigned base; int lines; };

static void flag_lines(struct declares *d, unsigned flags, const char *cause)
{
    for (size_t i = 0; i < SY_COUNT(flag_text); i++) {
        if (!(flags & flag_text[i].flag)) continue;
        if (!d->lines++) fprintf(d->to, "\nDeclares:\n\n");
        fprintf(d->to, "- %s%s%s%s\n", cause ? "`" : "", cause ? cause : "", cause ? "`: " : "", flag_text[i].text);
    }
}

/* One option alone away from its default: which flags does that bring? */
static void option_declares(const sy_opt *row, size_t at, int index, void *arg)
{
    struct declares *d = arg;
    (void)at, (void)index;
    char cause[256], value[96];
    int words = 1;
    if (row->type == SY_OPT_TEXT) return;
    for (const char *w = row->type == SY_OPT_ENUM ? row->text : ""; *w; w++) words += *w == '|';
    for (int v = 0; v < words; v++) {
        const sy_method *m;
        const char *w = row->text;
        void *s = NULL;
        for (int i = 0; row->type == SY_OPT_ENUM && i < v; i++) w += strcspn(w, "|") + 1;
        if (row->type == SY_OPT_ENUM) snprintf(value, sizeof value, "%.*s", (int)strcspn(w, "|"), w);
        else if (row->type == SY_OPT_BOOL) snprintf(value, sizeof value, "%s", row->def != 0 ? "false" : "true");
        else snprintf(value, sizeof value, "%.17g", row->def == row->hi ? row->lo : row->hi);
        snprintf(cause, sizeof cause, "%s:%s=%s", d->x->name, row->name, value);
        if (sy_method_make(d->m, d->x->kind, cause, d->a, &m, &s, NULL) != SY_OK) continue;
        unsigned more = declared(m, s) & ~d->base;
        snprintf(cause, sizeof cause, row->type == SY_OPT_BOOL || row->type == SY_OPT_ENUM ? "%s=%s" : "%s", row->name, value);
        flag_lines(d, more, cause);
    }
}

static void markdown_declares(FILE *to, const sy_methods *m, const sy_method *x, sy_arena *a)
{
    const sy_method *same;
    void *s = NULL;
    if (sy_method_make(m, x->kind, x->name, a, &same, &s, NULL) != SY_OK) return;
    struct declares d = { .to = to, .m = m, .x = x, .a = a, .base = declared(x, s) };
    flag_lines(&d, d.base, NULL);
    sy_opt_each(x->opts, option_declares, &d);
}

/* --- the page ----------------------------------------------------------------------------------------------------------------- */

static void cell(FILE *to, const char *text)
{
    for (; *text; text++) fprintf(to, *text == '|' ? "\\|" : "%c", *text);
}

static void option_row(const sy_opt *row, size_t at, int index, void *arg)
{
    (void)at, (void)index;
    char r[256];
    FILE *to = arg;
    fprintf(to, "| `%s` | %s%s%s | ", row->name, row->alias ? "`" : "", row->alias ? row->alias : "", row->alias ? "`" : "");
    cell(to, sy_describe_range(row, r, sizeof r));
    fprintf(to, " | ");
    cell(to, row->help);
    fprintf(to, " |\n");
}

/* "arXiv:1701.06538" as a link; anything else as it stands. */
static void paper(FILE *to, const char *text)
{
    if (!strncmp(text, "arXiv:", 6) && !strpbrk(text, " ,")) fprintf(to, "[%s](https://arxiv.org/abs/%s)", text, text + 6);
    else fprintf(to, "%s", text);
}

static void markdown_method(FILE *to, const sy_methods *m, const sy_method *x, sy_arena *a)
{
    fprintf(to, "\n### %s %s\n\n%s", sy_kind_word(x->kind), x->name, x->title);
    if (x->paper) fprintf(to, ", "), paper(to, x->paper);
    fprintf(to, ".\n");
    if (x->summary) fprintf(to, "%s.\n", x->summary);
    if (x->when) fprintf(to, "\nWhen: %s\n", x->when);
    if (x->cost) fprintf(to, "\nCost: %s\n", x->cost);
    if (x->neutral) fprintf(to, "\nNeutral setting, at which it equals its base bit for bit: `%s`.\n", x->neutral);
    if (x->opts) {
        fprintf(to, "\n| option | other name | default; range | meaning |\n|---|---|---|---|\n");
        sy_opt_each(x->opts, option_row, to);
    } else fprintf(to, "\nIt has no options.\n");
    markdown_declares(to, m, x, a);
}

static void markdown_presets(FILE *to, const sy_methods *m, sy_kind kind, sy_arena *a)
{
    bool first = true;
    for (const sy_preset *p = m->presets; p && p->name; p++) {
        const sy_method *x;
        void *s = NULL;
        if (p->kind != kind) continue;
        if (first) fprintf(to, "\n### Presets of kind %s\n\n| preset | is | with, in the paper | declares | paper |\n|---|---|---|---|---|\n", sy_kind_word(kind));
        first = false;
        fprintf(to, "| `%s` | `%s:%s` | %s%s%s | ", p->name, p->method, p->values, goes_with(p) ? "`" : "", goes_with(p) ? p->with : "", goes_with(p) ? "`" : "");
        unsigned flags = sy_method_make(m, kind, p->name, a, &x, &s, NULL) == SY_OK ? declared(x, s) : 0;
        const char *comma = "";
        for (size_t i = 0; i < SY_COUNT(flag_text); i++) {
            if (!(flags & flag_text[i].flag)) continue;
            fprintf(to, "%s%.*s", comma, (int)strcspn(flag_text[i].text, ":"), flag_text[i].text);
            comma = ", ";
        }
        fprintf(to, " | ");
        paper(to, p->paper);
        fprintf(to, " |\n");
    }
}

sy_status sy_describe_markdown(FILE *to, const sy_methods *m, sy_err *err)
{
    sy_arena a = { 0 };
    fprintf(to, "# Methods\n\nMade by `switchyard methods --markdown` from the tables that the program itself reads; do not edit.\n"
                "A method is written `KEY` or `KEY:OPTION=VALUE,...`, as in `--router topk:top_k=2 --balance switch:coef=0.01`.\n"
                "What a method declares decides how it is evaluated and which pairs are refused (end of this page); flags that an option brings are listed for\n"
                "that option alone. A preset is a paper's values under a name: `--router mixtral`. [adding-a-method.md](adding-a-method.md) shows how to add one.\n");
    for (int k = 0; k < SY_KINDS; k++) {
        bool first = true;
        for (const sy_method *const *l = m->list; *l; l++) {
            if ((int)(*l)->kind != k) continue;
            if (first) fprintf(to, "\n## Kind: %s\n\nWhat it is: %s.\n", sy_kind_word((sy_kind)k), kind_text[k]);
            first = false;
            markdown_method(to, m, *l, &a);
        }
        markdown_presets(to, m, (sy_kind)k, &a);
    }
    sy_arena_free(&a);
    return sy_describe_refusals(to, m, err);
}

static void option_json(const sy_opt *row, size_t at, int index, void *arg)
{
    (void)at, (void)index;
    sy_json *j = arg;
    char r[256];
    sy_json_begin(j, '{');
    sy_json_key(j, "name"), sy_json_text(j, row->name);
    if (row->alias) sy_json_key(j, "alias"), sy_json_text(j, row->alias);
    sy_json_key(j, "default"), sy_json_text(j, sy_describe_range(row, r, sizeof r));
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
