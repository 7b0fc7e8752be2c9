/* model/gguf_tokenizer.h - the tokenizer of a folder as keys of a GGUF file, and back into a folder's files. */
#ifndef SY_GGUF_TOKENIZER_H
#define SY_GGUF_TOKENIZER_H

#include "model/gguf.h"
#include "model/ledger.h"

/* Writes tokenizer.ggml.* from DIR/tokenizer.json, with the special ids and the template of its other files, and the whole tokenizer.json as
 * tokenizer.huggingface.json, so that the way back loses nothing. vocab: rows of the embedding; what lies behind the tokenizer becomes unused
 * tokens. pre: tokenizer.ggml.pre where the rule that cuts text has no name there; NULL: SY_EUNSUP then. Without a tokenizer.json the model is
 * "none", and the ledger says so. */
sy_status sy_gguf_put_tokenizer(sy_gguf_writer *w, const char *dir, int vocab, const char *pre, sy_ledger *l, sy_err *err);
/* Writes tokenizer.json, tokenizer_config.json and generation_config.json into `dir` from the keys. */
sy_status sy_gguf_save_tokenizer(const sy_gguf *g, const char *dir, sy_ledger *l, sy_err *err);

#endif
