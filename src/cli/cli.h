/* cli/cli.h - subcommands: one file each, described by a table that parsing, help, completion and the man page read.
 *
 * A command defines `const sy_command sy_cmd_NAME` and stands in commands.def. Exit codes: 0 done, 1 failed, 2 wrong use. */
#ifndef SY_CLI_H
#define SY_CLI_H

#include <signal.h>
#include <stdio.h>

#include "core/log.h"
#include "core/progress.h"
#include "tensor/engine.h"

typedef enum { SY_FLAG_END, SY_FLAG_ON, SY_FLAG_TEXT, SY_FLAG_INT, SY_FLAG_REAL, SY_FLAG_LIST } sy_flag_kind;

typedef struct sy_list { const char *v[64]; int n; } sy_list;

typedef struct sy_flag {
    const char  *name;                  /* "out": written --out, read from SY_OUT, too */
    char         letter;                /* 'o', or 0 */
    sy_flag_kind kind;
    size_t       at;                    /* field of the arguments: bool, const char *, int, double, sy_list */
    const char  *value, *help;          /* value: what stands behind it in the help, "DIR" */
    const sy_opt *const *keys;          /* of KEY=VALUE: the tables that hold the keys, ends with NULL; for completion and the man page */
} sy_flag;
#define SY_FLAG(S, f, name, letter, kind, value, help) { name, letter, kind, offsetof(S, f), value, help, NULL }
#define SY_FLAG_SET(S, f, help, ...) { #f, 's', SY_FLAG_LIST, offsetof(S, f), "KEY=VALUE", help, (const sy_opt *const[]){ __VA_ARGS__, NULL } }

typedef struct sy_cli {
    sy_engine   eng;                    /* opened by sy_cli_engine */
    sy_log      log;
    sy_arena    arena;                  /* the program's life */
    int         threads;                /* --threads, 0 = default */
    bool        json, quiet;
    bool        strict;                 /* --strict: config keys that are not known are refused */
    sy_progress_mode progress;
    volatile sig_atomic_t *stop;        /* set by SIGINT and SIGTERM */
} sy_cli;

typedef struct sy_command {
    const char    *name, *summary;
    const char    *usage;               /* behind "switchyard NAME " */
    const char    *text;                /* paragraph of the help */
    const char    *example;             /* whole command lines, one a line */
    const sy_flag *flags;               /* ends with SY_FLAG_END; NULL: none of its own */
    size_t         size;                /* of its arguments struct, zeroed before parsing */
    int            min_words, max_words;/* positional arguments; max -1 = any number */
    /* Returns a status; a sentence goes to err. words [n] are the positional arguments. */
    sy_status    (*run)(sy_cli *cli, void *args, const char *const *words, int n, sy_err *err);
} sy_command;

extern const sy_command *const sy_commands[];       /* ends with NULL */
extern const sy_flag sy_common_flags[];             /* --threads, --json, --quiet, --strict, --help */

/* Opens cli->eng with the built-in methods and the debugging switches of the environment. */
sy_status sy_cli_engine(sy_cli *cli, sy_err *err);
/* Sizes that cannot be, found while the user's own settings are checked, are wrong use like any other bad option: SY_ESHAPE becomes SY_EARG, and
 * the exit code 2. Of a model that was read from a file it stays what it is: that command failed. */
sy_status sy_cli_own_sizes(sy_status st, sy_err *err);
/* Prints the help of one command. */
void      sy_cli_help(FILE *to, const sy_command *c);

#endif
