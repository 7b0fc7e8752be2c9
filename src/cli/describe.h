/* cli/describe.h - methods and options as text: everything is read from the tables. */
#ifndef SY_DESCRIBE_H
#define SY_DESCRIBE_H

#include <stdio.h>

#include "core/method.h"

void      sy_describe_list(FILE *to, const sy_methods *m, sy_kind only);                 /* only: SY_KINDS = all */
sy_status sy_describe_markdown(FILE *to, const sy_methods *m, sy_err *err);              /* docs/methods.md */
sy_status sy_describe_refusals(FILE *to, const sy_methods *m, sy_err *err);              /* its last part (refusals.c): every pair is tried */
sy_status sy_describe_json(FILE *to, const sy_methods *m, sy_kind only, sy_err *err);
void      sy_describe_method(FILE *to, const sy_methods *m, const sy_method *method, const sy_preset *preset);   /* the manual entry; preset: whose name was asked for, or NULL */
void      sy_describe_options(FILE *to, const sy_opt *rows, const char *indent);         /* one option a line or two */
char     *sy_describe_range(const sy_opt *row, char *buf, size_t size);                  /* "2; 1 .. 1024"; returns buf */
void      sy_manual(FILE *to, const sy_methods *m);                                      /* man/switchyard.1 (manual.c) */
void      sy_completion_bash(FILE *to, const sy_methods *m);                             /* completion.c */
void      sy_completion_zsh(FILE *to, const sy_methods *m);

#endif
