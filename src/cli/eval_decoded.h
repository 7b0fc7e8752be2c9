/* cli/eval_decoded.h - switchyard eval --decode: held-out text token by token, by the model alone and by a decoding method. */
#ifndef SY_CLI_EVAL_DECODED_H
#define SY_CLI_EVAL_DECODED_H

#include "cli/cli.h"
#include "infer/decoded.h"

/* Runs the job with a progress bar and prints both sides as a table, or as JSON with --json. */
sy_status sy_eval_decoded(sy_cli *cli, sy_decoded_job *j, sy_err *err);

#endif
