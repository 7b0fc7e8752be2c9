/* cli/analyse.h - one model's analysis as the command keeps it, and how it is printed. Private to cmd_analyse.c and analyse_print.c. */
#ifndef SY_CLI_ANALYSE_H
#define SY_CLI_ANALYSE_H

#include "infer/languages.h"

typedef struct sy_subject {             /* a model, a checkpoint or a trace */
    const char        *name, *place;    /* shown; as given */
    int64_t            step;            /* of a checkpoint; -1: none */
    bool               has_routes, has_languages;
    sy_analysis        routes, spoken;  /* over --data, over --parallel */
    sy_analysis_result of_routes, of_spoken;
    sy_parallel        parallel;
    sy_languages       languages;
    sy_tokenizer      *tok;             /* or NULL: ids by number */
    sy_overlap        *overlap;         /* [layers] with the first model or the last checkpoint; NULL: not compared */
    const char        *overlap_with;
} sy_subject;

void sy_print_subject(FILE *to, const sy_subject *s);
/* Checkpoints by step, the last one last: what their routes have in common with the last. */
void sy_print_learning(FILE *to, const sy_subject *s, int n);

#endif
