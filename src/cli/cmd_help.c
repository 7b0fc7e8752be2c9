/* cli/cmd_help.c - help of a command, a method, the config keys, the recipes, the debugging switches. */
#include <string.h>

#include "cli/cli.h"
#include "cli/describe.h"
#include "core/buffer.h"
#include "core/debug.h"
#include "methods.h"
#include "train/config.h"

static sy_status config_help(void)
{
    printf("Keys of a config file ({\"model\": {...}, \"train\": {...}, \"data\": {...}}) and of --set KEY=VALUE.\n\nmodel\n");
    sy_describe_options(stdout, sy_spec_opts, "  ");
    printf("\ntrain\n");
    sy_describe_options(stdout, sy_train_opts, "  ");
    printf("\ndata\n");
    sy_describe_options(stdout, sy_corpus_opts, "  ");
    sy_describe_options(stdout, sy_data_opts, "  ");
    return SY_OK;
}

static sy_status recipes_help(void)
{
    for (const sy_recipe *r = sy_recipes; r->name; r++) printf("%-14s %s\n    %s\n", r->name, r->title, r->settings);
    return SY_OK;
}

static sy_status method_help(const char *word, const char *key, sy_err *err)
{
    for (int k = 0; k < SY_KINDS; k++)
        if (!strcmp(sy_kind_word((sy_kind)k), word)) {
            const sy_method *m;
            const sy_preset *p;
            SY_TRY(sy_method_find(&sy_builtin_methods, (sy_kind)k, key, &m, &p, err));
            sy_describe_method(stdout, &sy_builtin_methods, m, p);
            return SY_OK;
        }
    return sy_fail(err, SY_EARG, "no kind is called '%.60s' (switchyard methods lists them)", word);
}

static sy_status run(sy_cli *cli, void *a, const char *const *words, int n, sy_err *err)
{
    (void)cli, (void)a;
    if (n == 2) return method_help(words[0], words[1], err);
    if (!strcmp(words[0], "config")) return config_help();
    if (!strcmp(words[0], "recipes")) return recipes_help();
    if (!strcmp(words[0], "manual")) return sy_manual(stdout, &sy_builtin_methods), SY_OK;
    if (!strcmp(words[0], "debug")) {
        sy_buf b = { 0 };
        sy_debug_help(&b);
        fputs(b.failed ? "" : b.data, stdout);
        sy_buf_free(&b);
        return SY_OK;
    }
    for (const sy_command *const *c = sy_commands; *c; c++)
        if (!strcmp((*c)->name, words[0])) { sy_cli_help(stdout, *c); return SY_OK; }
    return sy_fail(err, SY_EARG, "there is no help on '%.60s'; try a command, config, recipes, debug, manual, or KIND KEY as in: switchyard help router topk", words[0]);
}

const sy_command sy_cmd_help = {
    .name = "help", .summary = "explain a command, a method, the config keys, the recipes", .usage = "COMMAND | KIND KEY | config | recipes | debug | manual",
    .text = "Everything it prints is read from the tables that the program itself reads; manual prints man/switchyard.1.", .example = "switchyard help router topk",
    .min_words = 1, .max_words = 2, .run = run,
};
