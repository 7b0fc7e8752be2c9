/* cli/portrait.h - what a finished run leaves for its report beside the metrics: routing.json and samples.jsonl. */
#ifndef SY_CLI_PORTRAIT_H
#define SY_CLI_PORTRAIT_H

#include "cli/cli.h"
#include "data/data.h"

/* Routing of the held-out text and of one sentence, and text generated after the beginning of each domain's held-out text. Same model
 * and data, same bytes. SY_ESTOP: stopped by a signal; what is not written yet is left out. */
sy_status sy_portrait(sy_cli *cli, sy_model *m, const sy_data *d, const sy_tokenizer *tok, const char *out, int64_t step, int eval_rows, sy_err *err);

#endif
