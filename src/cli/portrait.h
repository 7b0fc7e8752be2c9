/* cli/portrait.h - what a run leaves for its report beside the metrics: routing.json at the end, samples.jsonl also on the way. */
#ifndef SY_CLI_PORTRAIT_H
#define SY_CLI_PORTRAIT_H

#include "cli/cli.h"
#include "data/data.h"

/* Appends short texts generated at this step. Same model and data, same bytes; the model is not changed. */
sy_status sy_samples_add(sy_cli *cli, sy_model *m, const sy_data *d, const sy_tokenizer *tok, const char *out, int64_t step, sy_err *err);
/* A run goes on from `step`: samples of later steps are taken away. *has: samples of this very step are there. */
sy_status sy_samples_cut(const char *out, int64_t step, bool *has, sy_err *err);
/* Routing of the held-out text and of one sentence, and text generated after the beginning of each domain's held-out text, which takes the place
 * of samples of this step. Same model and data, same bytes. SY_ESTOP: stopped by a signal; what is not written yet is left out. */
sy_status sy_portrait(sy_cli *cli, sy_model *m, const sy_data *d, const sy_tokenizer *tok, const char *out, int64_t step, int eval_rows, sy_err *err);

#endif
