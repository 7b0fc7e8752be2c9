/* cli/eval_text.h - perplexity in chunks and the divergence of two models, for `switchyard eval --perplexity`. */
#ifndef SY_CLI_EVAL_TEXT_H
#define SY_CLI_EVAL_TEXT_H

#include "cli/cli.h"
#include "model/model.h"
#include "model/tokenizer.h"

typedef struct sy_text_job {
    sy_model           *model;
    const sy_tokenizer *tok;
    const sy_list      *files;          /* read whole, one behind the other */
    const char         *against;        /* folder of the reference, or NULL */
    const char         *bos;            /* an id as text, or NULL */
    int                 ctx, chunks;
} sy_text_job;

/* Runs and prints. The reference must have the same tokenizer. */
sy_status sy_eval_text(sy_cli *cli, const sy_text_job *j, sy_err *err);

#endif
