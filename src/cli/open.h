/* cli/open.h - what several commands open: tokenizer and data of a config, with progress. */
#ifndef SY_CLI_OPEN_H
#define SY_CLI_OPEN_H

#include "cli/cli.h"
#include "data/evaluate.h"
#include "model/checkpoint.h"
#include "model/tokenizer.h"
#include "train/config.h"

/* "bytes", "bytes+eot", "bpe" (learned from the config's data), or a path. The chat template that the config names goes with it. */
sy_status sy_open_tokenizer(sy_cli *cli, const sy_config *c, sy_tokenizer **out, sy_err *err);
/* The config's sources; shards are cached below `cache` (NULL: not at all). */
sy_status sy_open_data(sy_cli *cli, const sy_config *c, const sy_tokenizer *tok, const char *cache, sy_data **out, sy_err *err);
/* The paths of a repeated flag as one value of a config (core/words.h); from cli->arena. */
sy_status sy_set_sources(sy_cli *cli, const sy_list *l, const char **text, sy_err *err);
/* Model and tokenizer (tok NULL: the model alone) of a model folder or a run folder; the ledger's summary is logged. */
sy_status sy_open_model(sy_cli *cli, const char *path, sy_model **model, sy_tokenizer **tok, sy_err *err);
/* The tokenizer of a model or run folder, a tokenizer.json or a GGUF file. */
sy_status sy_open_tokenizer_at(const char *path, sy_tokenizer **tok, sy_err *err);
/* "k=4" or "threshold=0.6": what a router is told from outside. */
sy_status sy_override_of(const char *text, sy_override *out, sy_err *err);
/* Text that a model made; on a terminal control characters and malformed bytes become '?', since a model may have learned escape sequences. */
void      sy_put_text(FILE *to, const char *text, size_t n);
/* Prints losses by domain as a table. */
void      sy_print_eval(FILE *to, const sy_evaluation *e);

#endif
