/* cli/completion.c - completion for bash and zsh, from the tables of commands, flags, keys and methods.
 *
 * The scripts hold one case a flag that has words to offer; after any other flag, and where no word fits, files are offered. */
#include <string.h>

#include "cli/cli.h"
#include "cli/describe.h"
#include "train/config.h"

static void key(const sy_opt *row, size_t at, int index, void *arg)
{
    (void)at, (void)index;
    fprintf(arg, " %s=", row->name);
}

static bool has_kind(const sy_methods *m, const char *word, sy_kind *kind)
{
    for (int k = 0; k < SY_KINDS; k++)
        for (const sy_method *const *l = m->list; *l; l++)
            if ((int)(*l)->kind == k && !strcmp(sy_kind_word((sy_kind)k), word)) { *kind = (sy_kind)k; return true; }
    return false;
}

static void methods(FILE *to, const sy_methods *m, sy_kind kind)
{
    for (const sy_method *const *l = m->list; *l; l++) if ((*l)->kind == kind) fprintf(to, " %s", (*l)->name);
    for (const sy_preset *p = m->presets; p && p->name; p++) if (p->kind == kind) fprintf(to, " %s", p->name);
}

/* The words that may follow a flag: methods of the kind that it is named after, keys of its tables, recipes. */
static void flag_case(FILE *to, const sy_methods *m, const char *command, const sy_flag *f)
{
    sy_kind kind;
    bool recipe = f->value && !strcmp(f->value, "NAME") && (!strcmp(f->name, "recipe") || !strcmp(f->name, "preset"));
    if (!recipe && !f->keys && !has_kind(m, f->name, &kind)) return;
    fprintf(to, "    '%s --%s'", command, f->name);
    if (f->letter) fprintf(to, "|'%s -%c'", command, f->letter);
    fprintf(to, ") offer='");
    if (recipe) for (const sy_recipe *r = sy_recipes; r->name; r++) fprintf(to, " %s", r->name);
    else if (f->keys) for (const sy_opt *const *rows = f->keys; *rows; rows++) sy_opt_each(*rows, key, to);
    else methods(to, m, kind);
    fprintf(to, "' ;;\n");
}

static void flags(FILE *to, const sy_flag *f)
{
    for (; f && f->kind != SY_FLAG_END; f++) fprintf(to, " --%s", f->name);
}

/* case "$command $previous" and case "$command": sets offer. Both shells read it. */
static void cases(FILE *to, const sy_methods *m)
{
    sy_kind kind;
    fprintf(to, "  case \"$command $previous\" in\n");
    for (const sy_command *const *c = sy_commands; *c; c++)
        for (const sy_flag *f = (*c)->flags; f && f->kind != SY_FLAG_END; f++) flag_case(to, m, (*c)->name, f);
    fprintf(to, "    'help help') offer='config recipes debug manual");
    for (const sy_command *const *c = sy_commands; *c; c++) fprintf(to, " %s", (*c)->name);
    for (int k = 0; k < SY_KINDS; k++) if (has_kind(m, sy_kind_word((sy_kind)k), &kind)) fprintf(to, " %s", sy_kind_word(kind));
    fprintf(to, "' ;;\n");
    for (int k = 0; k < SY_KINDS; k++) {
        if (!has_kind(m, sy_kind_word((sy_kind)k), &kind)) continue;
        fprintf(to, "    'help %s') offer='", sy_kind_word(kind));
        methods(to, m, kind);
        fprintf(to, "' ;;\n");
    }
    fprintf(to, "    'methods methods') offer='");
    for (int k = 0; k < SY_KINDS; k++) if (has_kind(m, sy_kind_word((sy_kind)k), &kind)) fprintf(to, " %s", sy_kind_word(kind));
    fprintf(to, "' ;;\n    'completion completion') offer='bash zsh' ;;\n  esac\n");
    fprintf(to, "  case \"$command $current\" in\n");
    for (const sy_command *const *c = sy_commands; *c; c++) {
        fprintf(to, "    '%s -'*) offer='", (*c)->name);
        flags(to, (*c)->flags);
        flags(to, sy_common_flags);
        fprintf(to, "' ;;\n");
    }
    fprintf(to, "  esac\n");
}

static void command_words(FILE *to)
{
    fprintf(to, "offer='");
    for (const sy_command *const *c = sy_commands; *c; c++) fprintf(to, " %s", (*c)->name);
    fprintf(to, " --help --version'");
}

void sy_completion_bash(FILE *to, const sy_methods *m)
{
    fprintf(to, "# Completion of switchyard for bash; made by `switchyard completion bash`. Use: source <(switchyard completion bash)\n"
                "_switchyard() {\n  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]} offer=\n"
                "  if [ \"$COMP_CWORD\" -eq 1 ]; then command=; ");
    command_words(to);
    fprintf(to, "; fi\n");
    cases(to, m);
    fprintf(to, "  COMPREPLY=($(compgen -W \"$offer\" -- \"$current\"))\n"
                "  case \"${COMPREPLY[0]-}\" in *=) compopt -o nospace ;; esac\n}\ncomplete -o default -F _switchyard switchyard\n");
}

void sy_completion_zsh(FILE *to, const sy_methods *m)
{
    fprintf(to, "#compdef switchyard\n# Completion of switchyard for zsh; made by `switchyard completion zsh`. Use: save it as _switchyard in a folder of $fpath\n"
                "_switchyard() {\n  local current=$words[CURRENT] previous=$words[CURRENT-1] command=$words[2] at=$CURRENT\n  local offer=\n"
                "  if (( at == 2 )); then command=; ");
    command_words(to);
    fprintf(to, "; fi\n");
    cases(to, m);
    fprintf(to, "  if [[ -z $offer ]]; then _files; return; fi\n  if [[ $offer == *=* ]]; then compadd -S '' -- ${=offer}; else compadd -- ${=offer}; fi\n}\n"
                "if [[ $funcstack[1] == _switchyard ]]; then _switchyard \"$@\"; else compdef _switchyard switchyard; fi\n");
}
