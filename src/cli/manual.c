/* cli/manual.c - the man page, from the tables of commands, flags, keys, methods and switches. */
#include <ctype.h>
#include <string.h>

#include "build_info.h"
#include "cli/cli.h"
#include "cli/describe.h"
#include "core/debug.h"
#include "train/config.h"

/* Text of a page: no escape, no request at a line's start, hyphens that can be copied. */
static void put(FILE *to, const char *text)
{
    bool fresh = true;
    for (; *text; text++) {
        if (fresh && (*text == '.' || *text == '\'')) fputs("\\&", to);
        if (*text == '\\') fputs("\\e", to);
        else if (*text == '-') fputs("\\-", to);
        else putc(*text, to);
        if (*text == ',' && text[1] != ' ') fputs("\\:", to);       /* a long list of options may break here */
        fresh = *text == '\n';
    }
}

static void flags(FILE *to, const sy_flag *f)
{
    for (; f && f->kind != SY_FLAG_END; f++) {
        fputs(".TP\n.B ", to);
        if (f->letter) fprintf(to, "\\-%c\\fR, \\fB", f->letter);
        fputs("\\-\\-", to);
        put(to, f->name);
        if (f->value) fprintf(to, "\\fR \\fI"), put(to, f->value), fputs("\\fR", to);
        putc('\n', to);
        put(to, f->help);
        fputs(f->kind == SY_FLAG_LIST ? " (may be repeated)\n" : "\n", to);
    }
}

static void option(const sy_opt *row, size_t at, int index, void *arg)
{
    FILE *to = arg;
    char r[256];
    (void)at, (void)index;
    fputs(".TP\n.B ", to);
    put(to, row->name);
    if (row->alias) fputs("\\fR, \\fB", to), put(to, row->alias);
    fputs("\\fR [", to);
    put(to, sy_describe_range(row, r, sizeof r));
    fputs("]\n", to);
    put(to, row->help);
    putc('\n', to);
}

static void keys(FILE *to, const char *section, const sy_opt *rows)
{
    if (section) fprintf(to, ".SS \"Section %s\"\n", section);
    sy_opt_each(rows, option, to);
}

static void commands(FILE *to)
{
    fputs(".SH COMMANDS\n", to);
    for (const sy_command *const *c = sy_commands; *c; c++) {
        fprintf(to, ".SS switchyard %s ", (*c)->name);
        put(to, (*c)->usage);
        putc('\n', to);
        put(to, (*c)->text);
        putc('\n', to);
        flags(to, (*c)->flags);
        if (!(*c)->example) continue;
        fputs(".PP\nExample:\n.PP\n.nf\n.RS\n", to);
        put(to, (*c)->example);
        fputs("\n.RE\n.fi\n", to);
    }
    fputs(".SS Flags of every command\n", to);
    flags(to, sy_common_flags);
}

static void methods(FILE *to, const sy_methods *m)
{
    fputs(".SH METHODS\nA method is written KEY or KEY:OPTION=VALUE,...; a preset is a paper's values under a name.\n", to);
    fputs(".B switchyard help\n.I KIND KEY\nexplains one.\n", to);
    for (int k = 0; k < SY_KINDS; k++) {
        bool first = true;
        for (const sy_method *const *l = m->list; *l; l++) {
            if ((int)(*l)->kind != k) continue;
            if (first) fprintf(to, ".SS \"Kind %s\"\n", sy_kind_word((sy_kind)k));
            first = false;
            fputs(".TP\n.B ", to), put(to, (*l)->name), putc('\n', to);
            put(to, (*l)->summary ? (*l)->summary : (*l)->title), putc('\n', to);
        }
        for (const sy_preset *p = m->presets; p && p->name; p++) {
            if ((int)p->kind != k) continue;
            fputs(".TP\n.B ", to), put(to, p->name), fputs("\npreset ", to);
            put(to, p->method), putc(':', to), put(to, p->values), putc('\n', to);
        }
    }
}

void sy_manual(FILE *to, const sy_methods *m)
{
    fprintf(to, ".\\\" Made by `switchyard help manual` from the tables of the program; do not edit.\n.TH SWITCHYARD 1 \"\" \"switchyard %s\" \"User Commands\"\n.ad l\n", SY_VERSION);
    fputs(".SH NAME\nswitchyard \\- models that decide per token what to compute\n.SH SYNOPSIS\n.B switchyard\n.I COMMAND\n.RI [ FLAG ...]\n.RI [ WORD ...]\n", to);
    fputs(".SH DESCRIPTION\nTrains mixtures of experts and their dense twins on text, evaluates them, generates with them and shows what their routers do.\n"
          "Everything runs on one machine, on its processor.\n", to);
    commands(to);
    fputs(".SH CONFIG KEYS\nKeys of a config file and of\n.BR \\-\\-set .\nIn brackets: the default; the range.\n", to);
    keys(to, "model", sy_spec_opts);
    keys(to, "train", sy_train_opts);
    keys(to, "data", sy_corpus_opts);
    keys(to, NULL, sy_data_opts);
    fputs(".SH RECIPES\n", to);
    for (const sy_recipe *r = sy_recipes; r->name; r++) {
        fputs(".TP\n.B ", to), put(to, r->name), putc('\n', to);
        put(to, r->title), putc('\n', to);
    }
    methods(to, m);
    fputs(".SH ENVIRONMENT\nEvery flag but those that may be repeated is read from\n.BI SY_ FLAG\ntoo, as SY_THREADS; the command line wins.\n"
          ".TP\n.B SY_DATA\nfolder where data sets of recipes are looked for\n", to);
    for (const sy_switch *s = sy_switches; s->variable; s++) {
        fputs(".TP\n.B ", to), put(to, s->variable), putc('\n', to);
        put(to, s->help);
        for (const char *const *v = s->values; *v; v++) fprintf(to, v == s->values ? " (%s" : ", %s", *v);
        fputs(")\n", to);
    }
    fputs(".SH EXIT STATUS\n0 done, 1 failed, 2 wrong use. A failure is one sentence on standard error.\n", to);
}
