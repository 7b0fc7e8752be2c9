/* cli/inspect_gguf.h - what a GGUF file holds, for switchyard inspect. */
#ifndef SY_CLI_INSPECT_GGUF_H
#define SY_CLI_INSPECT_GGUF_H

#include "cli/cli.h"

/* Prints architecture, sizes, bytes by kind and type, metadata and tokenizer; `tensors`: each tensor too. As JSON under cli->json. */
sy_status sy_inspect_gguf(sy_cli *cli, const char *path, bool tensors, sy_err *err);

#endif
