/* cli/main.c - finds the command, reads its flags, runs it, says what went wrong. Knows no method by name. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "build_info.h"
#include "cli/cli.h"
#include "core/debug.h"
#include "core/utf8.h"
#include "methods.h"

#define X(name) extern const sy_command sy_cmd_##name;
#include "cli/commands.def"
#undef X

const sy_command *const sy_commands[] = {
#define X(name) &sy_cmd_##name,
#include "cli/commands.def"
#undef X
    NULL
};

typedef struct common { int threads; bool json, quiet, strict, help; } common;

const sy_flag sy_common_flags[] = {
    SY_FLAG(common, threads, "threads", 't', SY_FLAG_INT, "N", "threads; default: what the affinity mask and the container allow"),
    SY_FLAG(common, json, "json", 0, SY_FLAG_ON, NULL, "results as JSON on standard output"),
    SY_FLAG(common, quiet, "quiet", 'q', SY_FLAG_ON, NULL, "no progress, only results and failures"),
    SY_FLAG(common, strict, "strict", 0, SY_FLAG_ON, NULL, "refuse a model whose config.json has keys that its family does not know"),
    SY_FLAG(common, help, "help", 'h', SY_FLAG_ON, NULL, "this text"),
    { 0 }
};

static volatile sig_atomic_t stop;
static void on_signal(int sig)
{
    if (stop) _Exit(128 + sig);                      /* the second time: at once */
    stop = 1;
}

sy_status sy_cli_engine(sy_cli *cli, sy_err *err)
{
    sy_debug d;
    SY_TRY(sy_debug_read(&d, err));
    int most = sy_pool_default_threads();
    if (cli->threads > most) sy_log_warn(&cli->log, "%d threads were asked for; this machine gives %d cores, more will be slower", cli->threads, most);
    SY_TRY(sy_engine_init(&cli->eng, cli->threads, d.kernels, &sy_builtin_methods, err));
    cli->eng.log = &cli->log;
    cli->eng.check_nan = d.check != NULL;
    return SY_OK;
}

/* --- flags ------------------------------------------------------------------------------------------------------------------ */

static const sy_flag *find_flag(const sy_flag *f, const char *name, char letter)
{
    for (; f && f->kind != SY_FLAG_END; f++)
        if (name ? !strcmp(f->name, name) : f->letter && f->letter == letter) return f;
    return NULL;
}

static sy_status set_flag(const sy_flag *f, void *args, const char *value, sy_err *err)
{
    char *field = (char *)args + f->at, *end;
    switch (f->kind) {
    case SY_FLAG_ON: *(bool *)field = true; break;
    case SY_FLAG_TEXT: *(const char **)field = value; break;
    case SY_FLAG_INT: {
        long v = strtol(value, &end, 10);
        if (end == value || *end || v < 0 || v > 2147483647) return sy_fail(err, SY_EARG, "--%s: '%s' is not a whole number of 0 or more", f->name, value);
        *(int *)field = (int)v;
        break;
    }
    case SY_FLAG_REAL: {
        double v = strtod(value, &end);
        if (end == value || *end || !(v >= -1e300 && v <= 1e300)) return sy_fail(err, SY_EARG, "--%s: '%s' is not a number", f->name, value);
        *(double *)field = v;
        break;
    }
    case SY_FLAG_LIST: {
        sy_list *l = (sy_list *)field;
        if (l->n == (int)SY_COUNT(l->v)) return sy_fail(err, SY_EARG, "--%s is given more than %zu times", f->name, SY_COUNT(l->v));
        l->v[l->n++] = value;
        break;
    }
    case SY_FLAG_END: break;
    }
    return SY_OK;
}

/* SY_OUT for --out; a flag on the command line comes later and wins. Lists are not read from the environment. */
static sy_status flags_of_environment(const sy_flag *f, void *args, sy_err *err)
{
    for (; f && f->kind != SY_FLAG_END; f++) {
        char name[64] = "SY_";
        for (size_t i = 0; f->name[i] && i < 56; i++) name[3 + i] = f->name[i] == '-' ? '_' : (char)toupper((unsigned char)f->name[i]), name[4 + i] = 0;
        const char *v = getenv(name);
        if (!v || !*v || f->kind == SY_FLAG_LIST || (f->kind == SY_FLAG_ON && !strcmp(v, "0"))) continue;
        SY_TRY(sy_within(err, set_flag(f, args, v, err), "%s", name));
    }
    return SY_OK;
}

static sy_status unknown_flag(const sy_command *c, const char *flag, sy_err *err)
{
    const char *names[128];
    int n = 0;
    for (const sy_flag *f = c->flags; f && f->kind != SY_FLAG_END && n < 120; f++) names[n++] = f->name;
    for (const sy_flag *f = sy_common_flags; f->kind != SY_FLAG_END; f++) names[n++] = f->name;
    names[n] = NULL;
    const char *near = sy_nearest(flag, names);
    if (near) return sy_fail(err, SY_EARG, "%s has no flag --%s; did you mean --%s?", c->name, flag, near);
    return sy_fail(err, SY_EARG, "%s has no flag --%s (switchyard %s --help lists them)", c->name, flag, c->name);
}

static sy_status read_args(const sy_command *c, void *args, common *com, char **argv, const char **words, int *n, sy_err *err)
{
    SY_TRY(flags_of_environment(c->flags, args, err));
    SY_TRY(flags_of_environment(sy_common_flags, com, err));
    bool only_words = false;
    for (*n = 0; *argv; argv++) {
        const char *a = *argv, *value = NULL;
        if (only_words || a[0] != '-' || !a[1]) { words[(*n)++] = a; continue; }
        if (!strcmp(a, "--")) { only_words = true; continue; }
        char name[64] = "";
        if (a[1] == '-') {
            size_t len = strcspn(a + 2, "=");
            snprintf(name, sizeof name, "%.*s", (int)(len < 63 ? len : 63), a + 2);
            if (a[2 + len]) value = a + 3 + len;
        } else if (a[2]) value = a + 2;              /* -t4 */
        void *into = args;
        const sy_flag *f = find_flag(c->flags, *name ? name : NULL, a[1]);
        if (!f) f = find_flag(sy_common_flags, *name ? name : NULL, a[1]), into = com;
        if (!f) return unknown_flag(c, *name ? name : a + 1, err);
        if (f->kind == SY_FLAG_ON && value) return sy_fail(err, SY_EARG, "--%s takes no value", f->name);
        if (f->kind != SY_FLAG_ON && !value) {
            if (!argv[1]) return sy_fail(err, SY_EARG, "--%s needs a value: %s", f->name, f->value ? f->value : "VALUE");
            value = *++argv;
        }
        SY_TRY(set_flag(f, into, value, err));
    }
    return SY_OK;
}

/* --- help ------------------------------------------------------------------------------------------------------------------- */

static void print_flags(FILE *to, const sy_flag *f)
{
    for (; f && f->kind != SY_FLAG_END; f++) {
        char left[64];
        snprintf(left, sizeof left, "%c%c%s --%s%s%s", f->letter ? '-' : ' ', f->letter ? f->letter : ' ', f->letter ? "," : " ", f->name, f->value ? " " : "", f->value ? f->value : "");
        fprintf(to, "  %-28s  %s%s\n", left, f->help, f->kind == SY_FLAG_LIST ? " (may be repeated)" : "");
    }
}

void sy_cli_help(FILE *to, const sy_command *c)
{
    fprintf(to, "usage: switchyard %s %s\n\n%s\n", c->name, c->usage, c->text);
    fprintf(to, "\nflags\n");
    print_flags(to, c->flags);
    print_flags(to, sy_common_flags);
    if (c->example) fprintf(to, "\nexample\n  %s\n", c->example);
}

static void overview(FILE *to)
{
    fprintf(to, "switchyard %s: models that decide per token what to compute\n\nusage: switchyard COMMAND ...\n\n", SY_VERSION);
    for (const sy_command *const *c = sy_commands; *c; c++) fprintf(to, "  %-10s  %s\n", (*c)->name, (*c)->summary);
    fprintf(to, "\nswitchyard COMMAND --help explains a command; switchyard methods lists the methods.\n");
}

sy_status sy_cli_own_sizes(sy_status st, sy_err *err)
{
    if (st == SY_ESHAPE) st = err->status = SY_EARG;
    return st;
}

static int finish(sy_status st, const sy_err *err, const char *name)
{
    if (st == SY_OK) return 0;
    char text[sizeof err->text];
    snprintf(text, sizeof text, "%s", err->text[0] ? err->text : sy_status_text(st));
    fprintf(stderr, "switchyard %s: %s\n", name, sy_utf8_clean(text));
    return st == SY_EARG ? 2 : 1;
}

static int run_command(const sy_command *c, char **argv, int argc)
{
    sy_err err = { 0 };
    sy_cli cli = { .log = { .level = SY_LOG_INFO, .to = stderr }, .stop = &stop };
    common com = { 0 };
    int n = 0;
    const char **words = sy_arena_array(&cli.arena, (size_t)argc + 1, sizeof *words);
    void *args = sy_arena_zalloc(&cli.arena, c->size + 1);
    sy_status st = words && args ? read_args(c, args, &com, argv, words, &n, &err) : sy_fail(&err, SY_ENOMEM, "no memory for the arguments");
    if (st == SY_OK && com.help) {
        sy_cli_help(stdout, c);
        sy_arena_free(&cli.arena);
        return 0;
    }
    cli.threads = com.threads;
    cli.json = com.json;
    cli.strict = com.strict;
    cli.quiet = com.quiet;
    cli.progress = com.quiet ? SY_PROGRESS_QUIET : SY_PROGRESS_AUTO;
    if (com.quiet) cli.log.level = SY_LOG_WARN;
    if (st == SY_OK && (n < c->min_words || (c->max_words >= 0 && n > c->max_words)))
        st = sy_fail(&err, SY_EARG, "%s; usage: switchyard %s %s", n < c->min_words ? "something is missing" : "too many words", c->name, c->usage);
    if (st == SY_OK) st = c->run(&cli, args, words, n, &err);
    if ((fflush(stdout) != 0 || ferror(stdout)) && st == SY_OK) st = sy_fail(&err, SY_EIO, "standard output cannot be written");
    sy_engine_uninit(&cli.eng);
    sy_arena_free(&cli.arena);
    return finish(st, &err, c->name);
}

int main(int argc, char **argv)
{
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    signal(SIGPIPE, SIG_IGN);                        /* a closed pipe is a failed write */
    if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        overview(argc < 2 ? stderr : stdout);
        return argc < 2 ? 2 : 0;
    }
    if (!strcmp(argv[1], "--version")) {
        printf("switchyard %s (%s, %s, %s)\n", SY_VERSION, SY_COMMIT, SY_COMPILER, SY_REAL_NAME);
        return 0;
    }
    const char *names[64];
    int n = 0;
    for (const sy_command *const *c = sy_commands; *c; c++) {
        if (!strcmp((*c)->name, argv[1])) return run_command(*c, argv + 2, argc - 2);
        if (n < 63) names[n++] = (*c)->name;
    }
    names[n] = NULL;
    const char *near = sy_nearest(argv[1], names);
    fprintf(stderr, "switchyard: no command is called '%.60s'%s%s%s\n", argv[1], near ? "; did you mean '" : " (switchyard --help lists them)", near ? near : "", near ? "'?" : "");
    return 2;
}
