/* cli/cmd_methods.c - lists the methods by kind; --markdown writes docs/methods.md. */
#include <string.h>

#include "cli/cli.h"
#include "cli/describe.h"
#include "methods.h"

typedef struct args { bool markdown; } args;

static const sy_flag flags[] = {
    SY_FLAG(args, markdown, "markdown", 0, SY_FLAG_ON, NULL, "the page docs/methods.md, with every option"),
    { 0 }
};

static sy_status kind_of(const char *word, sy_kind *kind, sy_err *err)
{
    const char *names[SY_KINDS + 1] = { 0 };
    for (int k = 0; k < SY_KINDS; k++) {
        names[k] = sy_kind_word((sy_kind)k);
        size_t n = strlen(names[k]);
        if (!strncmp(names[k], word, n) && (!word[n] || !strcmp(word + n, "s"))) { *kind = (sy_kind)k; return SY_OK; }
    }
    const char *near = sy_nearest(word, names);
    if (near) return sy_fail(err, SY_EARG, "no kind is called '%.60s'; did you mean '%s'?", word, near);
    return sy_fail(err, SY_EARG, "no kind is called '%.60s' (switchyard methods lists them)", word);
}

static sy_status run(sy_cli *cli, void *a, const char *const *words, int n, sy_err *err)
{
    const args *arg = a;
    sy_kind only = SY_KINDS;
    if (n) SY_TRY(kind_of(words[0], &only, err));
    if (arg->markdown) return sy_describe_markdown(stdout, &sy_builtin_methods, err);
    if (cli->json) return sy_describe_json(stdout, &sy_builtin_methods, only, err);
    sy_describe_list(stdout, &sy_builtin_methods, only);
    return SY_OK;
}

const sy_command sy_cmd_methods = {
    .name = "methods", .summary = "list the methods: routers, balance terms, experts, ...", .usage = "[KIND]",
    .text = "Lists every method with one line, grouped by kind. A KIND (router, balance, expert, ...) limits the list.",
    .example = "switchyard methods router", .flags = flags, .size = sizeof(args), .max_words = 1, .run = run,
};
