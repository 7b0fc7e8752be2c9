/* cli/cmd_completion.c - switchyard completion: a script that completes commands, flags, keys and methods. */
#include <string.h>

#include "cli/cli.h"
#include "cli/describe.h"
#include "methods.h"

static sy_status run(sy_cli *cli, void *a, const char *const *words, int n, sy_err *err)
{
    (void)cli, (void)a, (void)n;
    if (!strcmp(words[0], "bash")) sy_completion_bash(stdout, &sy_builtin_methods);
    else if (!strcmp(words[0], "zsh")) sy_completion_zsh(stdout, &sy_builtin_methods);
    else return sy_fail(err, SY_EARG, "there is completion for bash and zsh, not for '%.60s'", words[0]);
    return SY_OK;
}

const sy_command sy_cmd_completion = {
    .name = "completion", .summary = "print the script that completes command lines", .usage = "bash | zsh",
    .text = "Completes commands, flags, config keys behind --set, and the names of methods, presets and recipes.",
    .example = "source <(switchyard completion bash)", .min_words = 1, .max_words = 1, .run = run,
};
