/* model/tokenizer.h - text to ids and back. Bytes as ids, or byte-level BPE from a tokenizer.json. Constant once it is open: several
 * threads may encode at a time. */
#ifndef SY_TOKENIZER_H
#define SY_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/status.h"

typedef struct sy_tokenizer sy_tokenizer;

/* 256 ids, one a byte; with `eot` a 257th that ends documents. */
sy_status sy_tokenizer_open_bytes(sy_tokenizer **out, bool eot, sy_err *err);
/* A tokenizer.json with byte-level BPE, or a folder that holds one. What it does not know it refuses by name (SY_EUNSUP). The token that ends
 * documents is the eos_token of the tokenizer_config.json beside it, without one <|endoftext|>. */
sy_status sy_tokenizer_load(sy_tokenizer **out, const char *path, sy_err *err);
/* The same from memory, without the tokenizer_config.json beside it; `name` names it in sentences. */
sy_status sy_tokenizer_from_memory(sy_tokenizer **out, const char *json, size_t n, const char *name, sy_err *err);
/* Writes DIR/tokenizer.json and DIR/tokenizer_config.json, each atomically; the `tokenizers` package reads them and gives the same ids. */
sy_status sy_tokenizer_save(const sy_tokenizer *t, const char *dir, sy_err *err);
void      sy_tokenizer_close(sy_tokenizer *t);                       /* NULL is fine */

int         sy_tokenizer_vocab(const sy_tokenizer *t);               /* ids are 0 .. vocab-1 */
int         sy_tokenizer_eot(const sy_tokenizer *t);                 /* the id that ends a document, -1: none */
const char *sy_tokenizer_id(const sy_tokenizer *t);                  /* 32 hex digits over all that decides ids; the same for equal tokenizers */
size_t      sy_tokenizer_most(const sy_tokenizer *t, size_t bytes);  /* most ids that so many bytes can give */
/* Bytes to ids; `id` has room for sy_tokenizer_most(t, n). Text of special tokens inside is ordinary text; added tokens that are not
 * special are found. SY_EUNSUP: a byte of the text is no id of this vocabulary (foreign ones may lack those that UTF-8 never has). */
sy_status   sy_tokenizer_encode(const sy_tokenizer *t, const char *text, size_t n, int32_t *id, size_t *ids, sy_err *err);
/* The same, but special tokens written out in the text become their ids: for templates and prompts of the program itself. */
sy_status   sy_tokenizer_encode_special(const sy_tokenizer *t, const char *text, size_t n, int32_t *id, size_t *ids, sy_err *err);
/* Bytes that an id stands for, and their number (0 for special tokens and ids that stand for nothing). Borrowed. */
const char *sy_tokenizer_piece(const sy_tokenizer *t, int id, size_t *n);
int         sy_tokenizer_bytes(const sy_tokenizer *t, int id);
/* Text of a special token ("<|endoftext|>"), NULL for ordinary ids. */
const char *sy_tokenizer_special(const sy_tokenizer *t, int id);
int         sy_tokenizer_find(const sy_tokenizer *t, const char *special);           /* id of a special token by its text, -1: none */
int         sy_tokenizer_lookup(const sy_tokenizer *t, const char *bytes, size_t n); /* id that stands for these bytes, -1: none; not for special tokens */
/* Appends the text of the ids; special tokens are left out. Bytes come back exactly as they went in, but for what the
 * tokenizer itself changes: a normalizer, add_prefix_space, spaces that an added token strips. */
sy_status   sy_tokenizer_decode(const sy_tokenizer *t, const int32_t *id, size_t n, sy_buf *out, sy_err *err);

#endif
